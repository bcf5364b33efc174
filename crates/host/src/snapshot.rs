//! A table of all processes, as `/proc` shows them just now ([`doula_model::snapshot`]).
//!
//! It is read one process after the other: who is born or ends meanwhile may be missing, and a parent may be told of
//! that has ended. `/proc` tells neither of subreapers nor of signals at a parent's death; who sleeps in wait(2), and the
//! PID namespaces of others, are told only to those who may trace them.

use doula_model::id::Pid;
use doula_model::snapshot::{Process, Signals, Snapshot, Terminal, VERSION};
use doula_sys::proc::Numbers;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

/// The number of the first PID namespace of every machine (PROC_PID_INIT_INO).
const FIRST_NAMESPACE: u64 = 0xEFFF_FFFC;
/// A thread of the kernel (PF_KTHREAD) among the flags of proc(5).
const KERNEL_THREAD: u64 = 0x0020_0000;

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
    let numbers = Numbers::read().map_err(|errno| io::Error::from_raw_os_error(errno.0))?;
    let initial = fs::metadata("/proc/self/ns/pid")?.ino() == FIRST_NAMESPACE;
    Ok(Snapshot { version: VERSION, initial, processes: numbers.filter_map(process).collect() })
}

/// One process; `None` when it has gone meanwhile, and for threads of the kernel.
fn process(pid: Pid) -> Option<Process> {
    let text = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    // The first of these is field 3 of the manual page.
    let fields: Vec<&str> = after.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let number = |at: usize| field(at)?.parse::<i32>().ok();
    if field(9)?.parse::<u64>().ok()? & KERNEL_THREAD != 0 {
        return None;
    }
    let device = number(7)? as u32;
    let foreground = number(8)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let bits = |name: &str| u64::from_str_radix(line(name)?.trim(), 16).ok();
    let signals = || {
        let (ignored, caught, blocked) = (bits("SigIgn:")?, bits("SigCgt:")?, bits("SigBlk:")?);
        Some(Signals { ignored, caught, blocked })
    };
    Some(Process {
        pid: pid.get(),
        ppid: number(4)?,
        pgid: number(5)?,
        sid: number(6)?,
        state: field(3)?.chars().next()?,
        name,
        started: field(22)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        uid: line("Uid:").and_then(|line| line.split_whitespace().next()?.parse().ok()),
        numbers: numbers(line("NSpid:")),
        namespace: fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|found| found.ino()),
        terminal: (device != 0).then_some(Terminal { device, foreground }),
        signals: signals(),
        waits: fs::read_to_string(format!("/proc/{pid}/wchan")).ok().and_then(|place| waits(&place)),
        subreaper: None,
        death_signal: None,
    })
}

fn numbers(line: Option<&str>) -> Vec<i32> {
    line.into_iter().flat_map(str::split_whitespace).filter_map(|number| number.parse().ok()).collect()
}

/// Whether the place where a process sleeps is wait(2). `0` is told of those who run, and to those who may not know.
fn waits(place: &str) -> Option<bool> {
    match place {
        "" | "0" => None,
        place => Some(place == "do_wait"),
    }
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
