//! The tree for people.

use super::shape::Line;
use super::{Args, Forest};
use crate::processes::{Column, Value, name_of, printable, style_of};
use crate::ui::{Cell, Style};
use doula_model::process::{Answer, Process};
use doula_model::words::Size;
use unicode_width::UnicodeWidthStr as _;

/// So many numbers of children that are alike are told.
const NUMBERS: usize = 6;
/// Deeper levels are not moved to the right any more; their depth is told instead.
const DEEPEST: usize = 40;

/// What is to be drawn, and how.
pub(super) struct Drawing<'a> {
    pub(super) forest: &'a Forest,
    pub(super) args: &'a Args,
    pub(super) color: bool,
    pub(super) width: Option<usize>,
}

/// What stands before a process: for a level where something follows and one where nothing does, and the same for its own.
struct Rails {
    more: &'static str,
    none: &'static str,
    branch: &'static str,
    last: &'static str,
}

const LINES: Rails = Rails { more: "│  ", none: "   ", branch: "├─ ", last: "└─ " };
const ASCII: Rails = Rails { more: "|  ", none: "   ", branch: "|- ", last: "`- " };

impl Drawing<'_> {
    /// All lines, each with its newline.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines() {
            self.line(line, &mut text);
        }
        text
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let alike = |at: usize| self.alike(at);
        self.forest.lines(if self.args.expand { None } else { Some(&alike) })
    }

    /// What children must have in common to stand in one line.
    fn alike(&self, at: usize) -> Vec<u8> {
        self.words(at, true).into_iter().flat_map(|(text, _)| text.into_bytes()).collect()
    }

    fn line(&self, line: &Line, into: &mut String) {
        let mut used = self.rails(&line.follows, into);
        for (text, style) in self.line_words(line) {
            let left = self.width.map_or(usize::MAX, |width| width.saturating_sub(used));
            if left == 0 {
                break;
            }
            let cell = Cell::new(text);
            let text = cell.cut(left);
            used += text.width() + 1;
            into.push_str(&style.paint(&text, self.color));
            into.push(' ');
        }
        into.truncate(into.trim_end_matches(' ').len());
        into.push('\n');
    }

    /// What stands in a line behind its rails.
    pub(super) fn line_words(&self, line: &Line) -> Vec<(String, Style)> {
        let count = line.alike.len() + 1;
        let mut words = self.words(line.at, false);
        if count > 1 {
            words[0].0 = format!("{count} ×");
            words.push((self.numbers(line), Style::Dim));
        }
        words.retain(|(text, _)| !text.is_empty());
        words
    }

    /// What leads from the parent to a process; the columns that it takes.
    fn rails(&self, follows: &[bool], into: &mut String) -> usize {
        let rails = if self.args.ascii { &ASCII } else { &LINES };
        let depth = follows.len() - 1;
        // Roots have no rails among each other.
        let [_, before @ .., own] = follows else { return 0 };
        if depth > DEEPEST {
            let text = format!("{}({depth}) ", rails.none.repeat(DEEPEST));
            into.push_str(&text);
            return text.len();
        }
        for more in before {
            into.push_str(if *more { rails.more } else { rails.none });
        }
        into.push_str(if *own { rails.branch } else { rails.last });
        depth * rails.none.len()
    }

    /// Number, state, name and what is to be said, each with its colour. Without the number what is common to those alike.
    fn words(&self, at: usize, common: bool) -> Vec<(String, Style)> {
        let (process, node) = (&self.forest.processes[at], &self.forest.shape.nodes[at]);
        let mut words = vec![(if common { String::new() } else { process.stat.pid.to_string() }, Style::Dim)];
        let style = style_of(process.stat.state);
        words.push((process.stat.state.letter().to_string(), style));
        words.push((
            self.name(process),
            if process.stat.sid == process.stat.pid.get() { Style::Name } else { style },
        ));
        if self.args.ids {
            words.push((self.ids(at), Style::Dim));
        }
        if let Some(bytes) = self.forest.sums[at].filter(|_| self.args.pss) {
            words.push((if common { String::new() } else { Size(bytes).to_string() }, Style::Good));
        }
        let notes = [
            process.stat.end().map(|end| end.to_string()),
            node.is_orphan.then(|| "orphan".to_owned()),
            node.adopts.then(|| "adopts orphans".to_owned()),
            process.stat.is_headless().then(|| "its first thread has ended".to_owned()),
            process.is_locked().then(|| "memory map locked".to_owned()),
        ];
        words.extend(notes.into_iter().flatten().map(|note| (format!("({note})"), Style::Busy)));
        words
    }

    fn name(&self, process: &Process) -> String {
        let is_thread = process.tgid != process.stat.pid;
        match (&process.args, is_thread) {
            (_, true) => format!("{{{}}}", printable(&process.stat.name)),
            (Answer::Is(args), _) if !args.is_empty() => {
                Column::find("args").map_or(Value::None, |c| c.value(process, &self.forest.context)).show()
            }
            _ if process.stat.is_kernel() => printable(&name_of(process)),
            _ => printable(&process.stat.name),
        }
    }

    /// Group, session and terminal, unless they are the parent's.
    fn ids(&self, at: usize) -> String {
        let stat = &self.forest.processes[at].stat;
        let parent = self.forest.shape.nodes[at].parent.map(|at| &self.forest.processes[at].stat);
        let tty = Column::find("tty")
            .map_or(Value::None, |c| c.value(&self.forest.processes[at], &self.forest.context));
        let parts = [
            (parent.map(|parent| parent.pgid) != Some(stat.pgid)).then(|| format!("pgid {}", stat.pgid)),
            (parent.map(|parent| parent.sid) != Some(stat.sid)).then(|| format!("sid {}", stat.sid)),
            (parent.map(|parent| parent.tty) != Some(stat.tty)).then(|| format!("tty {}", tty.show())),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn numbers(&self, line: &Line) -> String {
        let pid = |at: &usize| self.forest.processes[*at].stat.pid.to_string();
        let all = std::iter::once(&line.at).chain(&line.alike);
        let some: Vec<String> = all.take(NUMBERS).map(pid).collect();
        let more = (line.alike.len() + 1).saturating_sub(NUMBERS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("({}{more})", some.join(", "))
    }
}
