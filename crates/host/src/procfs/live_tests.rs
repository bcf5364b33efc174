//! Looking again and again, on processes that these tests make.

use super::*;
use crate::{Child, Command, Signal};
use doula_model::id::Pid;
use doula_model::process::ProcState;

/// Looks until something is so that soon will be.
pub(super) fn soon<T>(live: &mut Live, mut look: impl FnMut(&Live) -> Option<T>) -> T {
    loop {
        live.look(&Want::default()).expect("/proc");
        if let Some(found) = look(live) {
            return found;
        }
        doula_sys::limits::give_way();
    }
}

pub(super) fn seen(live: &Live, pid: Pid) -> Option<&Process> {
    live.place(pid).map(|at| &live.processes()[at])
}

pub(super) fn sleeper() -> Child {
    let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
    // execve(2) lets us go on before the child is called by its new name.
    while std::fs::read(format!("/proc/{}/comm", child.pid())).expect("our child") != b"sleep\n" {
        std::thread::yield_now();
    }
    child
}

/// No tree takes longer to end, however busy the machine is.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[test]
fn who_is_born_stops_ends_and_is_buried_is_seen_in_each_state() {
    for room in [0, 1000] {
        let mut live = Live::with_room(room).expect("/proc");
        live.look(&Want::default()).expect("/proc");
        let mut child = sleeper();
        let pid = child.pid();
        soon(&mut live, |live| seen(live, pid).filter(|process| process.stat.name == b"sleep").map(drop));
        for (signal, state) in [
            (Signal::STOP, ProcState::Stopped),
            (Signal::CONT, ProcState::Sleeping),
            (Signal::KILL, ProcState::Zombie),
        ] {
            child.signal(signal).expect("ours");
            soon(&mut live, |live| (seen(live, pid)?.stat.state == state).then_some(()));
        }
        child.wait();
        live.look(&Want::default()).expect("/proc");
        assert!(seen(&live, pid).is_none(), "it is buried");
    }
}

#[test]
fn what_is_kept_is_what_a_fresh_reader_says_of_each_sleeper() {
    let mut children: Vec<Child> = (0..20).map(|_| sleeper()).collect();
    let mut live = Live::with_room(10_000).expect("/proc");
    for child in &children {
        let pid = child.pid();
        soon(&mut live, |live| (seen(live, pid)?.stat.state == ProcState::Sleeping).then_some(()));
    }
    for _ in 0..3 {
        live.look(&Want::default()).expect("/proc");
    }
    let mut reader = Reader::open().expect("/proc");
    for child in &children {
        assert_eq!(seen(&live, child.pid()).map(|process| &process.stat), reader.stat(child.pid()).as_ref());
        let at = live.place(child.pid()).expect("it lives");
        assert_eq!(live.spent(at), Some(0), "it sleeps");
    }
    assert!(
        live.read_count() < live.processes().len() || live.processes().len() < 5,
        "sleepers are not read"
    );
    children.iter_mut().for_each(|child| {
        child.signal(Signal::KILL).expect("ours");
        child.wait();
    });
}

#[test]
fn a_sleeper_that_loses_its_parent_has_another_at_once() {
    let mut live = Live::with_room(10_000).expect("/proc");
    let mut shell = Command::new("sh").args(["-c", "sleep 1000 & wait"]).contained().spawn().expect("sh");
    let parent = shell.pid();
    let below = |live: &Live| {
        let mut all = live.processes().iter();
        let found = all.find(|one| one.stat.ppid == parent.get() && one.stat.name == b"sleep")?;
        (found.stat.state == ProcState::Sleeping).then(|| found.stat.identity())
    };
    let orphan = soon(&mut live, below);
    shell.signal(Signal::KILL).expect("ours");
    shell.wait();
    live.look(&Want::default()).expect("/proc");
    let found = seen(&live, orphan.pid).expect("it lives");
    assert_ne!(found.stat.ppid, parent.get());
    shell.kill_tree(PATIENCE).expect("nobody is left");
}

#[test]
fn what_is_refreshed_is_of_who_was_meant_only() {
    let mut child = sleeper();
    let mut live = Live::open().expect("/proc");
    live.look(&Want::default()).expect("/proc");
    let identity = seen(&live, child.pid()).expect("it lives").stat.identity();
    let want = Want { status: true, args: true, ..Want::default() };
    let other = Identity { start_ticks: identity.start_ticks + 1, ..identity };
    live.refresh(&[other], &want).expect("to ask");
    assert_eq!(seen(&live, child.pid()).map(|process| &process.status), Some(&Answer::Unasked));
    live.refresh(&[identity], &want).expect("to ask");
    let process = seen(&live, child.pid()).expect("it lives");
    assert!(process.status.known().is_some() && process.args.known().is_some(), "{process:?}");
    child.signal(Signal::KILL).expect("ours");
    child.wait();
}
