//! What is wrong with a configuration, said so that it can be mended: where, what, and what to write instead.
//!
//! Problems are collected, never thrown: a user who made five mistakes learns of five. Deliberately absent:
//! warnings. What doula would not do as written is an error; everything else is silent.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// More problems than this are counted and not shown: nobody reads on, and a hostile file must not flood.
const MAX_SHOWN: usize = 100;

/// At most so many bytes of a source line are shown; a minified file has lines of a megabyte.
const MAX_LINE: usize = 400;

/// A file that was read: its name for people, and its text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The path as the user gave it.
    pub(crate) name: String,
    /// The whole text.
    pub(crate) text: String,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where: the file and the bytes of it; `None` when no file could be read at all.
    place: Option<(Rc<Source>, Range<usize>)>,
    /// What is wrong, as a sentence.
    title: String,
    /// A word or two under the caret.
    label: String,
    /// What to write instead.
    help: Option<String>,
}

/// Everything that is wrong, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problems(Vec<Problem>);

/// What is wrong with a value, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// What is wrong, as a sentence.
    pub(crate) title: String,
    /// A word or two under the caret.
    pub(crate) label: String,
    /// What to write instead.
    pub(crate) help: Option<String>,
}

impl Complaint {
    /// A complaint with a label and no suggestion.
    pub(crate) fn new(title: impl Into<String>, label: impl Into<String>) -> Complaint {
        Complaint { title: title.into(), label: label.into(), help: None }
    }

    /// The same with a suggestion.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Complaint {
        self.help = Some(help.into());
        self
    }
}

/// Where problems of one file are collected.
#[derive(Debug)]
pub(crate) struct Report {
    source: Rc<Source>,
    found: Rc<RefCell<Vec<Problem>>>,
}

impl Report {
    /// Nothing wrong so far in this file.
    pub(crate) fn new(source: Source) -> Report {
        Report { source: Rc::new(source), found: Rc::default() }
    }

    /// A report about another file that belongs to this one (an environment file); collected together.
    pub(crate) fn of_file(&self, source: Source) -> Report {
        Report { source: Rc::new(source), found: Rc::clone(&self.found) }
    }

    /// The name of the file.
    pub(crate) fn name(&self) -> &str {
        &self.source.name
    }

    /// The text of the file.
    pub(crate) fn text(&self) -> &str {
        &self.source.text
    }

    /// Notes a problem at these bytes of the file. The same problem at the same place is noted once.
    pub(crate) fn note(&self, span: &Range<usize>, complaint: Complaint) {
        let place = Some((Rc::clone(&self.source), span.clone()));
        let Complaint { title, label, help } = complaint;
        let help = help.as_deref().map(printable);
        let problem = Problem { place, title: printable(&title), label: printable(&label), help };
        self.found.borrow_mut().push(problem);
    }

    /// The value, if nothing was found wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Problems> {
        let mut found = self.found.take();
        if found.is_empty() {
            return Ok(value);
        }
        found.sort_by(|one, other| one.order().cmp(&other.order()));
        found.dedup_by(|one, other| one.order() == other.order());
        Err(Problems(found))
    }
}

impl Problems {
    /// A file that could not be read at all.
    pub(crate) fn unreadable(title: impl Into<String>, help: Option<String>) -> Problems {
        Problems(vec![Problem { place: None, title: title.into(), label: String::new(), help }])
    }

    /// All of them, in the order of the file.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// For people: each with its source line and a caret, coloured or not.
    pub(crate) fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let shown = self.0.iter().take(MAX_SHOWN).map(|problem| problem.render(&renderer));
        let mut text = shown.collect::<Vec<_>>().join("\n\n");
        let hidden = self.0.len().saturating_sub(MAX_SHOWN);
        if hidden > 0 {
            text.push_str(&format!("\n\n… and {hidden} more problems"));
        }
        text.push('\n');
        text
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

impl Problem {
    /// What is wrong, as a sentence.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// What to write instead.
    pub(crate) fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// File, line and column, both counted from 1; the column in characters.
    pub(crate) fn position(&self) -> Option<(&str, usize, usize)> {
        let (source, span) = self.place.as_ref()?;
        let before = &source.text[..floor(&source.text, span.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some((&source.name, before.matches('\n').count() + 1, before[line_start..].chars().count() + 1))
    }

    /// What problems are sorted by. By the name of the file, since comparing the texts would be slow.
    fn order(&self) -> (Option<(&str, usize, usize)>, &str) {
        let place = self.place.as_ref();
        (place.map(|(source, span)| (source.name.as_str(), span.start, span.end)), &self.title)
    }

    fn render(&self, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(&self.title);
        let help = self.help.as_deref().map(|help| Level::HELP.message(help));
        let Some((source, span)) = &self.place else {
            let group = title.elements(help);
            return renderer.render(&[group]);
        };
        let (line, shown, caret) = line_of(&source.text, span.clone());
        let annotation = AnnotationKind::Primary.span(caret).label(&self.label);
        let snippet = Snippet::source(shown).path(&source.name).line_start(line).annotation(annotation);
        let group = title.element(snippet).elements(help);
        renderer.render(&[group])
    }
}

/// The line on which `span` starts: its number, its text, and the part of the span that lies on it.
///
/// Only this line is given to the renderer, so that its work does not depend on the size of the file.
fn line_of(text: &str, span: Range<usize>) -> (usize, &str, Range<usize>) {
    let start = floor(text, span.start);
    let number = text[..start].matches('\n').count() + 1;
    let from = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let to = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let cut = floor(text, to.min(start.saturating_add(MAX_LINE)));
    let from = if start - from > MAX_LINE { floor(text, start - MAX_LINE) } else { from };
    let end = floor(text, span.end).clamp(start, cut);
    (number, &text[from..cut], start - from..end - from)
}

/// The text without control characters: a file must not be able to speak to the terminal.
fn printable(text: &str) -> String {
    text.chars().fold(String::new(), |mut shown, letter| {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
        shown
    })
}

/// The nearest character border at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// `did you mean …?` for a word that is close to one of those that are known.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    /// Below this likeness (Jaro-Winkler) a suggestion is noise.
    const ALIKE: f64 = 0.8;
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}
