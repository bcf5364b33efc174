//! Why processes are not buried, and what the blocked wait for: facts in, findings out.
//!
//! [`zombie`] says why zombies stay and what to do about it; [`wait`] what a thread waits for and whether SIGKILL would help;
//! [`graph`] who is to blame at the end of a chain of those who wait. Who gathers the facts on Linux is `diagnosis` of
//! `doula-host`. Absent on purpose: reading, and doing anything about it.

pub mod graph;
pub mod wait;
pub mod zombie;

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use doula_model::id::Pid;
use doula_model::process::ProcState;

/// Somebody who is named in a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// The number.
    pub pid: Pid,
    /// What it calls itself.
    pub name: Vec<u8>,
    /// What it does.
    pub state: ProcState,
}

impl fmt::Display for Party {
    /// `1234 (sshd)`, and what it does unless that is normal. Bytes are not escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, String::from_utf8_lossy(&self.name))?;
        let normal = matches!(self.state, ProcState::Running | ProcState::Sleeping | ProcState::Idle);
        if normal { Ok(()) } else { write!(f, ", {}", self.state) }
    }
}

/// `a, b and 3 more`: the first few of several.
pub(crate) fn list<T: fmt::Display>(items: &[T]) -> String {
    list_of(items, 0)
}

/// The same of these and so many more.
pub(crate) fn list_of<T: fmt::Display>(items: &[T], more: usize) -> String {
    /// More are counted only.
    const NAMED: usize = 3;
    let mut text = items.iter().take(NAMED).map(T::to_string).collect::<Vec<_>>().join(", ");
    let more = more + items.len().saturating_sub(NAMED);
    if more > 0 {
        text.push_str(" and ");
        text.push_str(&more.to_string());
        text.push_str(" more");
    }
    text
}
