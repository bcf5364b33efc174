//! The load average, taken apart.
//!
//! Linux counts who runs or wants to, and who is blocked (D), but not who is frozen and not its own idle threads (I). So a
//! high load can be CPUs that are wanted, or a disk or a server that does not answer: those are told apart here, by where in the kernel
//! they wait and by cgroup.

use crate::procfs::{ProcState, Process, Reader, Want};
use doula_model::id::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Threads that wait at one place, of one cgroup.
///
/// ```
/// for waiting in doula_host::diagnosis::Doctor::new()?.load()?.blocked {
///     let place = waiting.wchan.as_deref().map(String::from_utf8_lossy);
///     println!("{} threads at {}", waiting.threads.len(), place.as_deref().unwrap_or("?"));
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The function of the kernel; `None` where we may not see it.
    pub wchan: Option<Vec<u8>>,
    /// Their cgroup.
    pub cgroup: Option<Vec<u8>>,
    /// Whether the load counts them.
    pub counted: bool,
    /// The threads, each with its process.
    pub threads: Vec<(Pid, Pid)>,
}

/// Which share of the time tasks lost by waiting (`/proc/pressure`): some of them, and all at once. Percent over 10 s.
///
/// ```
/// for pressure in doula_host::diagnosis::Doctor::new()?.load()?.pressure {
///     println!("{} % of the time somebody waits for {}", pressure.some, pressure.what);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Pressure {
    /// `cpu`, `io`, `memory`.
    pub what: &'static str,
    /// Some waited.
    pub some: f64,
    /// All waited at once.
    pub full: Option<f64>,
}

/// The load at one moment.
///
/// ```
/// let load = doula_host::diagnosis::Doctor::new()?.load()?;
/// if load.runnable() > load.cpus {
///     println!("{} threads want {} CPUs", load.runnable(), load.cpus);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// The averages of one, five and fifteen minutes; `None` where `/proc` shows processes only.
    pub averages: Option<[f64; 3]>,
    /// CPUs that we may use.
    pub cpus: usize,
    /// Threads that run or want to, without the one that looks, by cgroup.
    pub running: BTreeMap<Option<Vec<u8>>, usize>,
    /// Threads that are blocked, the most at one place first.
    pub blocked: Vec<Waiting>,
    /// Where tasks lose time; empty on kernels without it.
    pub pressure: Vec<Pressure>,
}

impl Load {
    /// How many run or want to.
    ///
    /// ```
    /// let load = doula_host::diagnosis::Doctor::new()?.load()?;
    /// assert_eq!(load.runnable(), load.running.values().sum::<usize>());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn runnable(&self) -> usize {
        self.running.values().sum()
    }

    /// How many are blocked: those that the load counts, or those that it does not.
    ///
    /// ```
    /// let load = doula_host::diagnosis::Doctor::new()?.load()?;
    /// println!("{} wait for disks and the like, {} stand still", load.blocked(true), load.blocked(false));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn blocked(&self, counted: bool) -> usize {
        self.blocked.iter().filter(|one| one.counted == counted).map(|one| one.threads.len()).sum()
    }
}

pub(super) fn take(reader: &mut Reader) -> io::Result<Load> {
    let want = Want { threads: true, wchan: true, cgroup: true, ..Want::default() };
    let us = doula_sys::group::pid();
    let mut load = Load {
        averages: averages(&fs::read_to_string("/proc/loadavg").unwrap_or_default()),
        cpus: doula_sys::limits::cpu_count().unwrap_or(1),
        running: BTreeMap::new(),
        blocked: Vec::new(),
        pressure: ["cpu", "io", "memory"].into_iter().filter_map(pressure).collect(),
    };
    for process in reader.scan(&want)?.iter().filter(|process| process.tgid != us) {
        match process.stat.state {
            ProcState::Running => *load.running.entry(process.cgroup.known().cloned()).or_default() += 1,
            ProcState::Blocked => add(&mut load.blocked, process),
            ProcState::Sleeping
            | ProcState::Stopped
            | ProcState::Traced
            | ProcState::Zombie
            | ProcState::Dead
            | ProcState::Idle
            | ProcState::Parked
            | ProcState::Other(_) => {}
        }
    }
    load.blocked.sort_by_key(|one| std::cmp::Reverse(one.threads.len()));
    Ok(load)
}

fn add(blocked: &mut Vec<Waiting>, process: &Process) {
    let (wchan, cgroup) = (process.wchan.known().cloned(), process.cgroup.known().cloned());
    // The refrigerator of the v1 freezer is a wait that the kernel does not count (TASK_FROZEN, PF_FROZEN before 6.1).
    let counted = !wchan.as_deref().is_some_and(|name| name.ends_with(b"refrigerator"));
    let thread = (process.stat.pid, process.tgid);
    match blocked.iter_mut().find(|one| one.wchan == wchan && one.cgroup == cgroup) {
        Some(one) => one.threads.push(thread),
        None => blocked.push(Waiting { wchan, cgroup, counted, threads: vec![thread] }),
    }
}

/// `0.20 0.18 0.12 1/80 11206`.
fn averages(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_ascii_whitespace().map(|word| word.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

fn pressure(what: &'static str) -> Option<Pressure> {
    let text = fs::read_to_string(format!("/proc/pressure/{what}")).ok()?;
    let of = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
    };
    Some(Pressure { what, some: of("some")?, full: of("full") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_three_numbers_or_nothing() {
        assert_eq!(averages("0.20 0.18 12.5 1/80 11206\n"), Some([0.2, 0.18, 12.5]));
        for text in ["", "1 2", "a b c"] {
            assert_eq!(averages(text), None);
        }
    }
}
