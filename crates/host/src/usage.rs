//! What services use: processes, memory, CPU time.
//!
//! Read by whoever wants to know it, in a process of its own, and never by the supervisor: a thousand services
//! are thousands of files, and nobody should wait for that but who asked. Only files are read whose answer never
//! waits for the process they tell about: `stat` and `statm` of `/proc/PID`, and those of cgroups; not `smaps`,
//! `cmdline` or `environ`, which wait for the lock of its memory map.
//!
//! With cgroup v2 the members of the leaf are counted, and their CPU time is that of all lives of the service.
//! Without, those count that are in the session of the main process or descend from it, and what they buried.

use crate::sweep::{self, Stat};
use doula_model::control::ServiceStatus;
use doula_model::id::Pid;
use doula_sys::limits::page_size;
use doula_sys::time::clock_ticks;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Fills in what the services use, so far as it can be seen. Their numbers and cgroups must be those of our own
/// namespaces: see [`crate::control::Connection::is_of_our_namespace`].
pub fn fill(services: &mut [ServiceStatus]) {
    let mut processes = None;
    for service in services {
        let found = in_cgroups(service).or_else(|| {
            let main = service.pid?;
            Some(below(main, processes.get_or_insert_with(sweep::all)))
        });
        let Some(usage) = found else {
            service.processes = Some(0);
            continue;
        };
        service.processes = Some(u32::try_from(usage.processes).unwrap_or(u32::MAX));
        service.memory = (usage.processes > 0).then_some(usage.memory);
        service.cpu = Some(usage.cpu);
    }
}

/// What one service uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    processes: usize,
    memory: u64,
    cpu: Duration,
}

/// By its leaf; `None` without one.
fn in_cgroups(service: &ServiceStatus) -> Option<Usage> {
    let mut paths = service.cgroups.iter().map(Path::new);
    let leaf = paths.clone().find(|path| path.join("cgroup.controllers").exists())?;
    let members = members(leaf);
    let counted = number(&leaf.join("memory.current"))
        .or_else(|| paths.find_map(|path| number(&path.join("memory.usage_in_bytes"))));
    let memory = counted.unwrap_or_else(|| members.iter().copied().filter_map(resident).sum());
    Some(Usage { processes: members.len(), memory, cpu: cpu_of(leaf).unwrap_or_default() })
}

/// Those in a cgroup and below it.
fn members(path: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut members: Vec<Pid> = text.lines().filter_map(|line| Pid::new(line.parse().ok()?)).collect();
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            members.extend(self::members(&entry.path()));
        }
    }
    members
}

fn cpu_of(leaf: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(leaf.join("cpu.stat")).ok()?;
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())?;
    Some(Duration::from_micros(micros))
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The memory of a process that is in RAM (proc_pid_statm(5)). What it shares with others counts in full.
fn resident(pid: Pid) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * page_size())
}

/// By the session of the main process and its descendants.
fn below(main: Pid, all: &BTreeMap<Pid, Stat>) -> Usage {
    let mut usage = Usage::default();
    let mut ticks = 0;
    let alive = all.iter().filter(|(_, stat)| !stat.dead());
    for (pid, stat) in alive.filter(|(pid, stat)| stat.session == main.get() || descends(**pid, main, all)) {
        usage.processes += 1;
        usage.memory += resident(*pid).unwrap_or(0);
        ticks += stat.ticks;
    }
    usage.cpu = Duration::from_millis(ticks.saturating_mul(1000) / clock_ticks());
    usage
}

fn descends(mut pid: Pid, ancestor: Pid, all: &BTreeMap<Pid, Stat>) -> bool {
    // As many steps as there are processes: parents may change while we climb.
    for _ in 0..all.len() {
        if pid == ancestor {
            return true;
        }
        match all.get(&pid) {
            Some(stat) => pid = stat.parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(parent: i32, session: i32, ticks: u64) -> Stat {
        let parent = Pid::new(parent).expect("positive");
        Stat { state: b'S', parent, session, threads: 1, start: 1, ticks, flags: 0, environment: (0, 0) }
    }

    #[test]
    fn without_cgroups_the_session_and_the_descendants_of_the_main_process_count() {
        let pid = |number| Pid::new(number).expect("positive");
        let far = i32::MAX - 10;
        let mut all = BTreeMap::from([
            (pid(far), stat(1, far, 100)),
            (pid(far + 1), stat(far, far + 1, 10)),
            (pid(far + 2), stat(1, far, 1)),
            (pid(far + 3), stat(1, far + 3, 1000)),
        ]);
        let usage = below(pid(far), &all);
        assert_eq!((usage.processes, usage.memory), (3, 0));
        assert_eq!(usage.cpu, Duration::from_millis(111 * 1000 / clock_ticks()));
        // A circle, as it can be seen while parents change, has an end.
        all.insert(pid(far + 3), stat(far + 4, far + 3, 0));
        all.insert(pid(far + 4), stat(far + 3, far + 3, 0));
        assert_eq!(below(pid(far), &all).processes, 3);
    }

    #[test]
    fn our_own_memory_is_more_than_nothing() {
        assert!(resident(doula_sys::group::pid()).expect("we live") > page_size());
        assert_eq!(resident(Pid::new(i32::MAX).expect("positive")), None);
    }
}
