//! What happened, one event after the other: counted, mixed into a hash, and kept as lines if anybody wants to read.
//!
//! Two runs of a seed are the same when their hashes are.

use crate::kernel::StableHasher;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher as _};
use doula_model::time::Time;

/// An event as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When, on the clock of the world.
    pub at: Time,
    /// Who.
    pub who: String,
    /// What.
    pub what: String,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Log {
    hasher: StableHasher,
    events: u64,
    lines: Option<Vec<Line>>,
}

impl Log {
    pub(crate) fn new(keep: bool) -> Log {
        Log { lines: keep.then(Vec::new), ..Log::default() }
    }

    pub(crate) const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// An event. What is hashed has to tell it from every other.
    pub(crate) fn note(&mut self, at: Time, event: impl Hash) {
        self.events += 1;
        at.as_nanos().hash(&mut self.hasher);
        event.hash(&mut self.hasher);
    }

    /// Whether lines are kept: else nobody needs to write one.
    pub(crate) const fn is_read(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn say(&mut self, at: Time, who: impl fmt::Display, what: impl fmt::Display) {
        if let Some(lines) = &mut self.lines {
            lines.push(Line { at, who: alloc::format!("{who}"), what: alloc::format!("{what}") });
        }
    }

    pub(crate) fn into_lines(self) -> Vec<Line> {
        self.lines.unwrap_or_default()
    }
}
