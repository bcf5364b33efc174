//! A script: lines with names, blocks, loops and handlers, as plain data that can be printed and read again.
//!
//! The lines are one flat list; a line that opens a block knows where the block is closed. Whoever plays them needs
//! a number, not a tree.

use super::names;
use super::text::Name;
use crate::kernel::call::Call;
use crate::kernel::sigset::Action;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// What a process does. Read from text ([`FromStr`](core::str::FromStr)), printed as the same text without its comments.
///
/// | line | what it does |
/// |---|---|
/// | any call: `kill 3 TERM` | makes it; `kill $worker TERM`, `kill -$worker TERM`: with the number of a name |
/// | `fork as worker`, `pipe as from into` | names the number, or both, that the call gives back; `wait4 any as dead status`: whom it found, and the status word |
/// | `fork as worker {` … `}` | the child does the block and ends with 0; the parent goes on behind it |
/// | `loop {`, `repeat 10 {`, `break` | over and over, or so often; out of the innermost one |
/// | `if failed {`, `if failed ECHILD {` | whether the last call failed, or failed so |
/// | `if none {` | whether the last call gave 0 or no bytes: nobody to bury, the end of a pipe |
/// | `if $dead is $main {` | whether two numbers are the same |
/// | `on TERM {` … `}`, `on CHLD as who {` | from now on the block runs when the signal was caught; `who` sent it |
/// | `ignore TERM` | `sigaction TERM ignore` |
/// | `sleep 5s` (`ms`, `s`, `m`, `h`) | lets time pass; a signal that is caught ends it early, as it does sleep(3) |
/// | `notify READY=1` | tells whoever plays the script; `$name` becomes its number |
/// | `exec NAME` | goes on as another script; comes back only when there is none of this name |
/// | `write 1 4096 bytes` | writes so many bytes, the last of which ends a line |
///
/// `$self` and `$parent` are known without being named. `#` begins a comment. The end of the script is `exit 0`.
///
/// ```
/// use doula_sim::program::Script;
/// let script: Script = "fork as it {\n  pause\n}\nkill $it TERM\nwait4 pid $it".parse().expect("a script");
/// let printed = script.to_string();
/// assert_eq!(printed.parse::<Script>().expect("the same"), script);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Script {
    pub(super) lines: Vec<Line>,
    /// The names by their slots; the first two are `self` and `parent`.
    pub(super) names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Line {
    pub(super) what: What,
    /// Where the block that it opens is closed; itself when it opens none.
    pub(super) end: usize,
    /// Whether `$self` has to be known for it.
    pub(super) own: bool,
    /// Whether `$parent` has.
    pub(super) parent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    Call {
        call: Call,
        /// Whether there are names among its numbers.
        named: bool,
        /// The names that its result is given.
        gives: [Option<usize>; 2],
    },
    /// A write of so many bytes.
    Fill(i32, usize),
    Sleep(Duration),
    Notify(Arc<str>),
    Exec(Arc<str>),
    On(Signal, Option<usize>),
    Loop,
    Repeat(u32),
    If(Test),
    Break,
    /// `}`: of the line with this number.
    Close(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Test {
    Failed(Option<Errno>),
    None,
    Same(i32, i32),
}

/// The units of a duration, the longest first.
pub(super) const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut depth = 0;
        for (at, line) in self.lines.iter().enumerate() {
            depth -= usize::from(matches!(line.what, What::Close(_)));
            write!(f, "{:1$}", "", depth * 4)?;
            self.print(f, &line.what)?;
            let opens = line.end > at;
            depth += usize::from(opens);
            f.write_str(if opens { " {\n" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Script {
    /// Gives each of its sleeps another time.
    pub(crate) fn each_sleep(&mut self, mut other: impl FnMut(Duration) -> Duration) {
        for line in &mut self.lines {
            if let What::Sleep(time) = &mut line.what {
                *time = other(*time);
            }
        }
    }

    pub(super) fn slot(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    fn print(&self, f: &mut fmt::Formatter<'_>, what: &What) -> fmt::Result {
        match what {
            What::Call { call: Call::Sigaction(signal, Action::IGNORE), .. } => {
                write!(f, "ignore {}", Name(signal.number()))
            }
            What::Call { call, gives, .. } => {
                self.print_call(f, call)?;
                self.print_names(f, gives.iter().flatten())
            }
            What::Fill(fd, bytes) => {
                f.write_str("write ")?;
                self.print_number(f, *fd)?;
                write!(f, " {bytes} bytes")
            }
            What::Sleep(time) => {
                let millis = time.as_millis() as u64;
                let fits = UNITS.iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
                let (word, unit) = fits.unwrap_or(&("ms", 1));
                write!(f, "sleep {}{word}", millis / unit)
            }
            What::Notify(text) => write!(f, "notify {text}"),
            What::Exec(name) => write!(f, "exec {name}"),
            What::On(signal, who) => {
                write!(f, "on {}", Name(signal.number()))?;
                self.print_names(f, who.iter())
            }
            What::Loop => f.write_str("loop"),
            What::Repeat(times) => write!(f, "repeat {times}"),
            What::If(Test::Failed(None)) => f.write_str("if failed"),
            What::If(Test::Failed(Some(errno))) => write!(f, "if failed {}", errno.name().unwrap_or("?")),
            What::If(Test::None) => f.write_str("if none"),
            What::If(Test::Same(one, other)) => {
                f.write_str("if ")?;
                self.print_number(f, *one)?;
                f.write_str(" is ")?;
                self.print_number(f, *other)
            }
            What::Break => f.write_str("break"),
            What::Close(_) => f.write_str("}"),
        }
    }

    /// The call with names where it has their numbers.
    fn print_call(&self, f: &mut fmt::Formatter<'_>, call: &Call) -> fmt::Result {
        for (at, word) in call.to_string().split(' ').enumerate() {
            f.write_str(if at == 0 { "" } else { " " })?;
            match word.parse() {
                Ok(number) => self.print_number(f, number)?,
                Err(_) => f.write_str(word)?,
            }
        }
        Ok(())
    }

    fn print_number(&self, f: &mut fmt::Formatter<'_>, number: i32) -> fmt::Result {
        match names::slot_of(number).and_then(|slot| self.names.get(slot)) {
            Some(name) => write!(f, "{}${name}", if number < 0 { "-" } else { "" }),
            None => write!(f, "{number}"),
        }
    }

    fn print_names<'a>(
        &self,
        f: &mut fmt::Formatter<'_>,
        slots: impl Iterator<Item = &'a usize>,
    ) -> fmt::Result {
        for (at, slot) in slots.enumerate() {
            write!(f, "{}{}", if at == 0 { " as " } else { " " }, self.names[*slot])?;
        }
        Ok(())
    }
}
