//! What a supervisor writes down of its family, so that another one can go on when it was killed.
//!
//! A file of lines in the family's directory: eight digits of a checksum, a blank, and an [`Entry`] in JSON. Lines are only
//! appended; for each service the last one of a kind counts (which are written when: [`doula_core::journal`]). When the file has grown to several times of what counts, it is
//! written anew beside itself and renamed, so that at each moment there is a whole one.
//!
//! It is for the next supervisor since the same start of the machine, and so need survive the death of a process only, which
//! needs no fsync(2).
//!
//! - [`mod@line`]: one line, here and in the journal of jobs
//! - [`mod@write`]: the file as it grows
//! - [`read`]: what is in it, up to the first line that is not whole

pub(crate) mod line;
pub(crate) mod read;
pub(crate) mod write;

use doula_core::journal::Whereabouts;
use doula_model::id::{Generation, Pid};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file's name in the family's directory.
pub(crate) const FILE: &str = "state";

/// Grows with each change after which an older program would go on wrongly.
pub(crate) const VERSION: u32 = 1;

/// One line.
pub(crate) type Entry = doula_model::journal::Entry<Head, Place>;

/// Who writes, and on which machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Head {
    /// [`VERSION`].
    pub(crate) version: u32,
    /// The version of the program.
    pub(crate) program: String,
    /// Our number.
    pub(crate) pid: Pid,
    /// Which start of the machine, and which PID namespace: only there do times and numbers mean anything.
    pub(crate) world: String,
    /// What the marks of our processes begin with.
    pub(crate) token: String,
    /// The cgroup in which the leaves of the services are.
    pub(crate) cgroup: Option<PathBuf>,
}

/// Where the processes of one life are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// Which life.
    pub(crate) generation: Generation,
    /// What its mark begins with.
    pub(crate) token: String,
    /// Its leaf.
    pub(crate) leaf: Option<PathBuf>,
}

impl Whereabouts for Place {
    fn generation(&self) -> Generation {
        self.generation
    }
}

/// Which start of this machine (random(4)), and which PID namespace.
pub(crate) fn this_world() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), namespace.display())
}

/// The journal in this directory.
pub(crate) fn path(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

#[cfg(test)]
mod tests;
