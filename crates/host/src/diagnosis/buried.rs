//! The facts about zombies and their parents.

use super::{Chld, Finding, Parent, Party, Room, Zombie, age, living, tasks, zombie};
use crate::cgroup;
use crate::procfs::{Machine, ProcState, Process, Reader, Stat, Status, Want};
use doula_model::id::Pid;
use doula_model::signal::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// What is to be said about those zombies of whom this holds.
pub(super) fn findings(reader: &mut Reader, all: &[Process], of: impl Fn(&Stat) -> bool) -> Vec<Finding> {
    measured(reader, all, of, |_| None)
}

/// The same, with how many zombies a parent had before, and how long ago that was.
pub(super) fn measured(
    reader: &mut Reader,
    all: &[Process],
    of: impl Fn(&Stat) -> bool,
    before: impl Fn(Pid) -> Option<(usize, Duration)>,
) -> Vec<Finding> {
    let mut by_parent: BTreeMap<Pid, Vec<&Stat>> = BTreeMap::new();
    for stat in all.iter().map(|process| &process.stat) {
        let parent = Pid::new(stat.ppid).filter(|_| (stat.is_zombie() || stat.is_headless()) && of(stat));
        if let Some(parent) = parent {
            by_parent.entry(parent).or_default().push(stat);
        }
    }
    let machine = Machine::now();
    let mut found = Vec::new();
    for (pid, stats) in by_parent {
        let Some(parent) = parent(reader, pid) else { continue };
        let zombies: Vec<Zombie> = stats.into_iter().map(|stat| zombie(reader, stat, &machine)).collect();
        found.extend(zombie::findings(&parent, zombies, &rooms(pid), before(pid)));
    }
    found
}

fn status(reader: &mut Reader, pid: Pid) -> Option<Status> {
    let found = reader.some(&[pid], &Want { status: true, ..Want::default() }).ok()?;
    found.first()?.status.known().map(|status| Status::clone(status))
}

fn party(reader: &mut Reader, pid: Pid) -> Option<Party> {
    let stat = reader.stat(pid)?;
    Some(Party { pid, name: stat.name, state: stat.state })
}

fn parent(reader: &mut Reader, pid: Pid) -> Option<Parent> {
    let who = party(reader, pid)?;
    let status = status(reader, pid);
    let threads = living(reader, pid);
    let numbers: Vec<Pid> = threads.iter().map(|(thread, _)| *thread).collect();
    let (blocked, pending) = tasks::holds_back(pid, &numbers);
    let chld = status.as_ref().map(|status| Chld {
        ignored: status.ignored.contains(Signal::CHLD),
        caught: status.caught.contains(Signal::CHLD),
        blocked,
        pending,
    });
    let tracer = status.as_ref().and_then(|status| tasks::process_of(Pid::new(status.tracer)?));
    Some(Parent {
        is_init: status.is_some_and(|status| status.ns_pids.last() == Some(&1)),
        chld,
        tracer: tracer.and_then(|tracer| party(reader, tracer)),
        // Of several threads another one may wait for the rest.
        awaits: if let [only] = numbers[..] { tasks::awaited(pid, only) } else { None },
        threads: threads.into_iter().map(|(_, state)| state).collect::<Vec<ProcState>>(),
        who,
    })
}

fn zombie(reader: &mut Reader, stat: &Stat, machine: &Machine) -> Zombie {
    let tracer = tasks::tracer(stat.pid, stat.pid).filter(|tracer| tracer.get() != stat.ppid);
    Zombie {
        who: stat.identity(),
        name: stat.name.clone(),
        end: stat.end(),
        age: age(machine, stat),
        living: if stat.is_headless() { living(reader, stat.pid).len() as u32 } else { 0 },
        tracer: tracer.and_then(|tracer| party(reader, tracer)),
    }
}

/// From what the numbers of this parent's children are taken: those of the machine, and of each cgroup above it.
fn rooms(parent: Pid) -> Vec<Room> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut rooms = Vec::new();
    // `0.00 0.01 0.05 1/123 4567`: the number behind the slash is that of all threads.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let used = load.split('/').nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    for name in ["pid_max", "threads-max"] {
        if let (Some(used), Some(most)) = (used, number(&format!("/proc/sys/kernel/{name}"))) {
            rooms.push(Room { name: name.to_owned(), used, most });
        }
    }
    let places = fs::read(format!("/proc/{parent}/cgroup")).unwrap_or_default();
    for controller in [None, Some("pids")] {
        let Some(own) = cgroup::directory_of(&places, controller) else { continue };
        for directory in own.ancestors().take_while(|directory| directory.join("cgroup.procs").exists()) {
            let file = |name: &str| number(&directory.join(name).to_string_lossy());
            if let (Some(used), Some(most)) = (file("pids.current"), file("pids.max")) {
                rooms.push(Room { name: format!("pids.max of {}", directory.display()), used, most });
            }
        }
    }
    rooms
}
