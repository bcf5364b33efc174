//! Who was born and has ended between two looks: no look shows them, but the kernel tells of them.

use crate::processes::printable;
use doula_host::lives::Life;
use doula_model::words::Span;
use serde_json::{Value as Json, json};
use std::collections::VecDeque;

/// More of them are forgotten, the earliest first.
const REMEMBERED: usize = 500;

/// Those of one look, and how many more there were.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ended {
    pub(super) lives: Vec<Life>,
    pub(super) missing: u64,
}

/// Those of the last looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Short {
    /// The last one first.
    lives: VecDeque<Life>,
    /// So many of them are of the last look.
    fresh: usize,
    missing: u64,
}

impl Short {
    pub(super) fn sees(&mut self, ended: Ended) {
        (self.fresh, self.missing) = (ended.lives.len(), ended.missing);
        ended.lives.into_iter().for_each(|life| self.lives.push_front(life));
        self.lives.truncate(REMEMBERED);
    }

    /// Those of the last look, in one line.
    pub(super) fn line(&self) -> String {
        let missing = if self.missing > 0 { "+" } else { "" };
        match self.fresh {
            0 if self.missing == 0 => "none".to_owned(),
            fresh => {
                let told: Vec<String> = self.lives.iter().take(fresh).map(sentence).collect();
                format!("{fresh}{missing}: {}", told.join("; "))
            }
        }
    }

    /// Each in a line.
    pub(super) fn lines(&self) -> Vec<String> {
        let none = "nobody yet: who lives from one look to another is in the list".to_owned();
        if self.lives.is_empty() { vec![none] } else { self.lives.iter().map(sentence).collect() }
    }
}

/// For programs.
pub(super) fn as_json(ended: &Ended) -> Json {
    let one = |life: &Life| {
        json!({
            "pid": life.pid.get(),
            "ppid": life.parent.get(),
            "name": life.name.as_deref().map(printable),
            "lived": life.lived.as_secs_f64(),
            "end": life.status.to_string(),
        })
    };
    json!({ "lives": ended.lives.iter().map(one).collect::<Vec<_>>(), "missing": ended.missing })
}

fn sentence(life: &Life) -> String {
    let name = life.name.as_deref().map_or_else(|| "?".to_owned(), printable);
    format!("{} {name}, child of {}, {} after {}", life.pid, life.parent, life.status, Span(life.lived))
}
