//! A table of processes to be kept ([`doula_model::snapshot`]), by the reader of [`crate::procfs`].
//!
//! It is read one process after the other: who is born or ends meanwhile may be missing, and a parent may be told of
//! that has ended. `/proc` tells neither of subreapers nor of signals at a parent's death; who sleeps in wait(2), and the
//! PID namespaces of others, are told only to those who may trace them.

use crate::procfs::{Process, Reader, Spare, Want};
use doula_model::snapshot::Snapshot;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// The number of the first PID namespace of every machine (PROC_PID_INIT_INO).
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFC;

/// All processes that can be seen.
///
/// ```
/// let snapshot = doula_host::snapshot::take().expect("/proc");
/// assert!(snapshot.find(std::process::id() as i32).is_some());
/// ```
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn take() -> io::Result<Snapshot> {
    let mut want = Want::default();
    ask(&mut want);
    of(&Reader::open()?.scan(&want)?)
}

/// Asks for what a table has.
///
/// ```
/// use doula_host::procfs::Want;
/// // For a table and for something else in the same look.
/// let mut want = Want { cgroup: true, ..Want::default() };
/// doula_host::snapshot::ask(&mut want);
/// assert!(want.cgroup && want.status && want.namespaces);
/// ```
pub fn ask(want: &mut Want) {
    want.status = true;
    want.wchan = true;
    want.namespaces = true;
    want.spare = Spare::default();
}

/// The table of these, of whom was asked so.
///
/// # Errors
/// Where `/proc` does not tell in which PID namespace we are.
///
/// ```
/// use doula_host::procfs::{Reader, Want};
/// use doula_host::snapshot;
/// let mut want = Want::default();
/// snapshot::ask(&mut want);
/// let processes = Reader::open()?.scan(&want)?;
/// let table = snapshot::of(&processes)?;
/// assert!(table.find(std::process::id() as i32).is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn of(processes: &[Process]) -> io::Result<Snapshot> {
    let initial = fs::metadata("/proc/self/ns/pid")?.ino() == FIRST_NAMESPACE;
    Ok(Snapshot::of(processes, initial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_seen_as_we_are() {
        let snapshot = take().expect("/proc");
        let us = snapshot.find(std::process::id() as i32).expect("us");
        assert_eq!(us.ppid, std::os::unix::process::parent_id() as i32);
        assert_eq!(us.numbers.first(), Some(&us.pid));
        assert!(us.threads >= 1 && us.signals.is_some() && us.namespace.is_some(), "{us:?}");
        assert!(snapshot.find(1).is_some(), "init is there");
        assert!(
            snapshot.processes.iter().all(|row| row.pid != 2 || row.ppid != 0),
            "kernel threads are left out"
        );
    }
}
