//! The one door for output: everything that doula prints goes through here.
//!
//! People first: aligned tables, colour only on a terminal, one sentence for an error and a hint. Programs
//! get `--json`. No control byte of a service's name, message or log line reaches a terminal: see
//! [`mod@escape`]. Colour never carries meaning alone.

mod escape;
mod keys;
mod screen;
mod style;
mod table;

pub(crate) use escape::escape;
pub(crate) use keys::{Key, Keys};
pub(crate) use screen::Screen;
pub(crate) use style::Style;
pub(crate) use table::{Cell, Table};

use crate::error::{Failure, Kind};
use clap::ValueEnum;
use doula_host::terminal;
use serde::Serialize;
use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless the environment has `NO_COLOR`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether this stream gets colour.
    fn wanted(self, stream: &impl IsTerminal) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                stream.is_terminal() && !no_color && env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        }
    }
}

/// Standard output and standard error of one run.
#[derive(Debug)]
pub(crate) struct Ui {
    out_color: bool,
    err_color: bool,
}

impl Ui {
    /// The streams of this process.
    pub(crate) fn new(color: Color) -> Ui {
        Ui { out_color: color.wanted(&io::stdout()), err_color: color.wanted(&io::stderr()) }
    }

    /// Whether standard output gets colour.
    pub(crate) fn color(&self) -> bool {
        self.out_color
    }

    /// Whether standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// The columns of the terminal; `None` when standard output is none, and lines may be as long as they are.
    pub(crate) fn width(&self) -> Option<usize> {
        terminal::size(&io::stdout()).map(|size| usize::from(size.columns)).filter(|columns| *columns > 0)
    }

    /// The same for standard error.
    pub(crate) fn err_width(&self) -> Option<usize> {
        terminal::size(&io::stderr()).map(|size| usize::from(size.columns)).filter(|columns| *columns > 0)
    }

    /// The lines of the terminal; `None` when standard output is none.
    pub(crate) fn height(&self) -> Option<usize> {
        terminal::size(&io::stdout()).map(|size| usize::from(size.rows)).filter(|rows| *rows > 0)
    }

    /// Whether people watch standard error.
    pub(crate) fn notes_are_seen(&self) -> bool {
        io::stderr().is_terminal()
    }

    /// Writes text that is ready for people (control bytes are escaped already) to standard output.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes bytes as they are to standard output: for generated files and the output of services only.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| unwritable(&error))
    }

    /// Standard output, for bytes as they are: the output of jobs.
    pub(crate) fn out(&mut self) -> impl Write + use<> {
        io::stdout().lock()
    }

    /// Standard error, for the same.
    pub(crate) fn err(&mut self) -> impl Write + use<> {
        io::stderr().lock()
    }

    /// Writes one line to standard output.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.print(&format!("{text}\n"))
    }

    /// Writes one JSON value on one line to standard output.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::doula(format!("failed to write the answer as JSON: {error}")))?;
        self.line(&text)
    }

    /// Tells people something beside the result, on standard error. An unreadable stream is ignored.
    pub(crate) fn note(&mut self, text: &str) {
        drop(writeln!(io::stderr().lock(), "{}", escape(text)));
    }

    /// Tells people what they can do next, on standard error.
    pub(crate) fn hint(&mut self, text: &str) {
        drop(writeln!(
            io::stderr().lock(),
            "{}: {}",
            Style::Name.paint("hint", self.err_color),
            escape(text)
        ));
    }

    /// Writes a diagnosis that is already laid out for people (with line breaks and a caret) to standard
    /// error.
    pub(crate) fn diagnosis(&mut self, text: &str) {
        drop(io::stderr().lock().write_all(text.as_bytes()));
    }

    /// Shows why a verb failed: `error: …`, and `hint: …` if there is advice.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        drop(io::stderr().lock().write_all(failure_text(failure, self.err_color).as_bytes()));
    }

    /// Whether standard error gets colour.
    pub(crate) fn err_color(&self) -> bool {
        self.err_color
    }
}

/// The lines that show a failure.
fn failure_text(failure: &Failure, color: bool) -> String {
    if failure.kind == Kind::Unread {
        return String::new();
    }
    let mut text = format!("{}: {}\n", Style::Bad.paint("error", color), escape(&failure.text));
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("{}: {}\n", Style::Name.paint("hint", color), escape(hint)));
    }
    text
}

/// What a failed write to standard output means.
fn unwritable(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::new(Kind::Unread, "nobody reads the output");
    }
    Failure::doula(format!("failed to write to standard output: {error}"))
}

/// Prints the help, the version, or what is wrong with the command line.
pub(crate) fn clap_answer(answer: &clap::Error) -> ExitCode {
    drop(answer.print());
    let kind = if answer.use_stderr() { Kind::Usage } else { Kind::Unread };
    kind.exit().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_sentence_and_a_hint_without_control_bytes() {
        let failure = Failure::usage("no service `we\x1b[2Jb`").hint("known: web");
        assert_eq!(failure_text(&failure, false), "error: no service `we\\x1b[2Jb`\nhint: known: web\n");
        assert_eq!(failure_text(&Failure::new(Kind::Unread, "x"), false), "");
    }

    #[test]
    fn colour_is_only_added_when_it_is_wanted() {
        let failure = Failure::doula("failed");
        assert_eq!(failure_text(&failure, true), "\x1b[1;31merror\x1b[0m: failed\n");
        assert!(!Color::Never.wanted(&io::stdout()));
        assert!(Color::Always.wanted(&io::stdout()));
    }
}
