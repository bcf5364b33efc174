//! A table of processes at one moment, to be kept: of what [`crate::process`] can tell, that which decides what follows from a
//! death. What is not known is `None`.
//!
//! Written as JSON by `doula sim snapshot` and `doula ps --json --full`, read by `doula sim load` (docs/what-if.md has every
//! field). A reader takes fields that it does not know for those of a later version, and passes over them.

use crate::process;
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
    /// The table of these, each with its status, namespaces and the place where it waits. The kernel's own threads are left out.
    pub fn of(processes: &[process::Process], initial: bool) -> Snapshot {
        let ours = processes.iter().filter(|process| !process.stat.is_kernel());
        Snapshot { version: VERSION, initial, processes: ours.map(Process::from).collect() }
    }

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
    /// The name of its program (`comm`): a string in JSON, or `{"hex": "…"}` when its bytes are no text.
    #[cfg_attr(feature = "serde", serde(with = "name"))]
    pub name: Vec<u8>,
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

impl From<&process::Process> for Process {
    fn from(from: &process::Process) -> Process {
        let (stat, status) = (&from.stat, from.status.known());
        let terminal = Terminal { device: stat.tty, foreground: stat.tpgid };
        Process {
            pid: stat.pid.get(),
            ppid: stat.ppid,
            pgid: stat.pgid,
            sid: stat.sid,
            state: stat.state.letter(),
            name: stat.name.clone(),
            started: stat.start_ticks,
            threads: stat.threads,
            uid: status.map(|status| status.uids[0]),
            numbers: status.map(|status| status.ns_pids.clone()).unwrap_or_default(),
            namespace: from.namespaces.known().and_then(|namespaces| namespaces.pid),
            terminal: (stat.tty != 0).then_some(terminal),
            signals: status.map(|status| Signals {
                ignored: status.ignored.0,
                caught: status.caught.0,
                blocked: status.blocked.0,
            }),
            // It is told of nobody who runs, and not to those who may not know.
            waits: from.wchan.known().map(|place| place == b"do_wait"),
            subreaper: None,
            death_signal: None,
        }
    }
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

#[cfg(feature = "serde")]
mod name {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Name {
        Text(String),
        Bytes { hex: String },
    }

    pub(super) fn serialize<S: Serializer>(name: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let hex = || name.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = core::str::from_utf8(name);
        name.map_or_else(|_| Name::Bytes { hex: hex() }, |text| Name::Text(text.into())).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let hex = match Name::deserialize(from)? {
            Name::Text(text) => return Ok(text.into_bytes()),
            Name::Bytes { hex } => hex,
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
        let bytes: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(byte).collect();
        bytes.ok_or_else(|| D::Error::custom("the bytes of a name are pairs of hexadecimal digits"))
    }
}
