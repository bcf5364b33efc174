//! A table of processes at one moment, as data: what `/proc` tells of them, and what it does not tell is `None`.
//!
//! Written as JSON by `doula sim snapshot`, read by `doula sim load` (docs/what-if.md has every field). A reader
//! takes fields that it does not know for those of a later version, and passes over them.

use alloc::string::String;
use alloc::vec::Vec;

/// The version of the format.
pub const VERSION: u32 = 1;

/// All processes that could be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// [`VERSION`].
    pub version: u32,
    /// Whether it was taken in the first PID namespace of the machine, so that PID 1 is the machine's init.
    pub initial: bool,
    /// The processes, without the kernel's own threads.
    pub processes: Vec<Process>,
}

impl Snapshot {
    /// The process by a number.
    pub fn find(&self, pid: i32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }
}

/// One process. Numbers are those of the namespace in which the snapshot was taken; 0 is one that is outside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its parent's.
    pub ppid: i32,
    /// Its group's.
    pub pgid: i32,
    /// Its session's.
    pub sid: i32,
    /// The letter of proc(5): R S D T t Z I.
    pub state: char,
    /// The name of its program (`comm`).
    pub name: String,
    /// When it was born: clock ticks since the machine's boot.
    pub started: u64,
    /// How many threads it has.
    pub threads: u32,
    /// The real user.
    #[cfg_attr(feature = "serde", serde(default))]
    pub uid: Option<u32>,
    /// Its numbers (`NSpid`): as it is seen here first, and in its own namespace last.
    #[cfg_attr(feature = "serde", serde(default))]
    pub numbers: Vec<i32>,
    /// Its PID namespace, as a number that is the same for all who are in it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub namespace: Option<u64>,
    /// Its controlling terminal; `None` when it has none.
    #[cfg_attr(feature = "serde", serde(default))]
    pub terminal: Option<Terminal>,
    /// What it does about signals.
    #[cfg_attr(feature = "serde", serde(default))]
    pub signals: Option<Signals>,
    /// Whether it sleeps in wait(2).
    #[cfg_attr(feature = "serde", serde(default))]
    pub waits: Option<bool>,
    /// Whether it is a subreaper. `/proc` does not tell.
    #[cfg_attr(feature = "serde", serde(default))]
    pub subreaper: Option<bool>,
    /// The signal that it gets at its parent's death; 0 for none. `/proc` does not tell.
    #[cfg_attr(feature = "serde", serde(default))]
    pub death_signal: Option<i32>,
}

impl Process {
    /// Whether it has ended and is not buried: a first thread that ended before others is no such process.
    pub const fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

/// A controlling terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Terminal {
    /// The number of the device (`tty_nr`).
    pub device: u32,
    /// The group in the foreground; -1 for none.
    pub foreground: i32,
}

/// What a process does about signals: bit `n - 1` for signal `n`, as sixteen hexadecimal digits in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Signals {
    /// `SigIgn`.
    #[cfg_attr(feature = "serde", serde(with = "hex"))]
    pub ignored: u64,
    /// `SigCgt`.
    #[cfg_attr(feature = "serde", serde(with = "hex"))]
    pub caught: u64,
    /// `SigBlk` of its first thread.
    #[cfg_attr(feature = "serde", serde(with = "hex"))]
    pub blocked: u64,
}

#[cfg(feature = "serde")]
mod hex {
    use alloc::format;
    use alloc::string::String;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bits: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{bits:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        let text = String::deserialize(from)?;
        u64::from_str_radix(&text, 16).map_err(|_| D::Error::custom("a set of signals is hexadecimal digits"))
    }
}
