//! Containment on this machine's hierarchies; each test says so when they are not there.
#![expect(clippy::print_stdout, reason = "a skipped test says why")]

use super::*;
use crate::spawn;
use doula_model::exit::ExitStatus;
use doula_model::plan::ChildPlan;
use doula_model::recipe::{Limits, Recipe};
use doula_sys::fd::{AsFd as _, AsRawFd as _};
use doula_sys::fork::{self, Born};
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::wait::{self, Who};

/// The family of a test, or a word about why there is none.
fn family(name: &str) -> Option<Cgroups> {
    let found = Cgroups::discover(name);
    if found.is_none() {
        println!("skipped: no writable cgroup v2 hierarchy");
    }
    found
}

fn script(text: &str) -> ChildPlan {
    spawn::plan(&Recipe::default(), &["sh".to_owned(), "-c".to_owned(), text.to_owned()], &[])
}

/// Gives birth in a leaf, with standard output to a pipe whose reading end is returned.
fn born_in(leaf: &Leaf, text: &str) -> (Born, OwnedFd) {
    let (reader, writer) = fd::pipe().expect("pipe");
    let directory = leaf.open().expect("the leaf");
    let mut plan = script(text);
    plan.cgroup = Some(directory.as_raw_fd());
    plan.fds.push(doula_model::plan::FdMapping { from: writer.as_raw_fd(), to: 1 });
    (fork::spawn(&plan).expect("a birth"), reader)
}

/// Waits until one byte comes.
fn await_byte(reader: &OwnedFd) {
    assert_eq!(fd::read(reader, &mut [0; 1]), Ok(1));
}

fn await_empty(leaf: &Leaf) {
    let events = leaf.events().expect("cgroup.events");
    let epoll = Epoll::new().expect("epoll");
    epoll.add(&events, Interest::PRIORITY, 0).expect("add");
    while !read_events(&events).expect("read") {
        epoll.wait(&mut [Happening::EMPTY; 1], None).expect("wait");
    }
}

/// Another one that starts removes the leaves of supervisors that are dead, also of one whose family lives on under the next.
#[test]
fn a_leaf_that_somebody_removed_while_it_was_watched_is_empty() {
    let Some(cgroups) = family("removed") else { return };
    let leaf = cgroups.leaf("service").expect("a leaf");
    let events = leaf.events().expect("cgroup.events");
    leaf.try_remove();
    assert!(read_events(&events).expect("it says so"));
    leaf.kill().expect("nobody is left to be killed");
    assert!(leaf.is_empty().expect("it is gone"));
}

/// A directory in the place of `cgroup.kill` stands for a kernel that refuses it.
#[test]
fn where_a_group_cannot_be_killed_at_once_each_of_it_is_killed() {
    let leaf = std::env::temp_dir().join(format!("doula-leaf-{}", doula_sys::group::pid()));
    std::fs::create_dir_all(leaf.join("cgroup.kill")).expect("a directory");
    let born = fork::spawn(&script("exec sleep 1000")).expect("a birth");
    std::fs::write(leaf.join("cgroup.procs"), format!("{}\n", born.pid)).expect("its members");
    Leaf::at(leaf.clone()).kill().expect("one by one");
    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::signal(Signal::KILL)));
    std::fs::remove_dir_all(leaf).expect("it is ours");
}

#[test]
fn who_is_frozen_stands_still_until_it_is_thawed_or_killed() {
    let Some(cgroups) = family("frozen") else { return };
    let leaf = cgroups.leaf("service").expect("a leaf");
    let (born, reader) = born_in(&leaf, "echo; while :; do :; done & while :; do :; done");
    await_byte(&reader);
    let events = leaf.events().expect("cgroup.events");
    let frozen = || read_event(&events, b"frozen 1").expect("read");
    leaf.freeze(Duration::from_secs(60)).expect("freeze");
    assert!(frozen(), "all stand still when it returns");
    leaf.thaw();
    assert!(!frozen());
    leaf.freeze(Duration::from_secs(60)).expect("freeze");
    leaf.kill().expect("kill");
    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::signal(Signal::KILL)));
    await_empty(&leaf);
}

#[test]
fn an_escapee_of_two_forks_and_a_new_session_dies_with_its_leaf() {
    let Some(cgroups) = family("escapee") else { return };
    let leaf = cgroups.leaf("service").expect("a leaf");
    let (born, reader) = born_in(&leaf, "(setsid env -i sleep 1000 & echo); sleep 1000");
    await_byte(&reader);
    assert!(leaf.members().contains(&born.pid));
    assert!(!leaf.try_remove(), "somebody lives in it");
    leaf.kill().expect("kill");
    wait::end(Who::Pidfd(born.pidfd.as_fd())).expect("our child");
    await_empty(&leaf);
    assert!(leaf.is_empty().expect("events"));
    assert!(leaf.try_remove());
    assert!(leaf.is_empty().expect("removed is empty"));
    let path = cgroups.path().to_owned();
    drop(cgroups);
    assert!(!path.exists());
}

#[test]
fn a_fork_storm_is_ended_with_and_without_cgroup_kill() {
    let Some(cgroups) = family("storm") else { return };
    for one_by_one in [false, true] {
        let leaf = cgroups.leaf("storm").expect("a leaf");
        let storm = "storm() { n=0; while [ $n -lt 40 ]; do n=$((n+1)); (setsid sh -c 'sleep 1000 & sleep 1000' &); \
                     done; }; storm; echo; while :; do (setsid sleep 1000 &); done";
        let (born, reader) = born_in(&leaf, storm);
        await_byte(&reader);
        if one_by_one {
            leaf.kill_one_by_one().expect("kill");
        } else {
            leaf.kill().expect("kill");
        }
        wait::end(Who::Pidfd(born.pidfd.as_fd())).expect("our child");
        await_empty(&leaf);
        assert!(leaf.try_remove(), "empty");
    }
}

#[test]
fn a_signal_reaches_every_member_also_in_nested_groups() {
    let Some(cgroups) = family("signal") else { return };
    let leaf = cgroups.leaf("service").expect("a leaf");
    let nested = Leaf { path: leaf.path.join("nested") };
    std::fs::create_dir(&nested.path).expect("mkdir");
    let (outer, _) = born_in(&leaf, "exec sleep 1000");
    let (inner, _) = born_in(&nested, "exec sleep 1000");
    assert_eq!(leaf.signal_all(Signal::TERM).expect("signal"), 2);
    for born in [outer, inner] {
        let end = wait::end(Who::Pidfd(born.pidfd.as_fd()));
        assert_eq!(end, Ok(ExitStatus::signal(Signal::TERM)));
    }
    assert!(leaf.try_remove(), "nested groups go with it");
}

#[test]
fn what_a_dead_supervisor_left_is_removed_and_what_lives_is_not() {
    let Some(cgroups) = family("stale") else { return };
    let us = doula_sys::group::pid();
    let namespace = pid_namespace().expect("a namespace");
    let start = sweep::start_ticks(us).expect("we live");
    let stale = cgroups.own.join(format!("doula-old.{us}.{}.{namespace}", start + 1));
    let foreign = cgroups.own.join(format!("doula-old.{us}.{}.1", start + 1));
    std::fs::create_dir_all(stale.join("leaf")).expect("mkdir");
    std::fs::create_dir(&foreign).expect("mkdir");
    let second = Cgroups::discover("second").expect("as the first");
    assert!(!stale.exists() && foreign.exists() && cgroups.family.exists());
    drop(second);
    std::fs::remove_dir(&foreign).expect("rmdir");
    assert!(["doula-x", "other.1.2.2", "doula-x.0.1.2"].iter().all(|name| !is_stale(name, "2")));
}

#[test]
fn a_row_whose_cgroup_somebody_removed_is_empty() {
    let Some(leaf) = Leaf::single() else { return println!("skipped: no cgroup may be made here") };
    let row = crate::child::Row::at(leaf.clone()).expect("it is there");
    let events = row.events().expect("it is there");
    assert!(leaf.try_remove());
    assert!(row.is_empty(&events).expect("known"));
}

#[test]
fn names_are_made_safe_for_a_path() {
    for (name, safe) in [("web@1", "web@1"), ("../x", "___x"), ("", "_"), ("cgroup.kill", "cgroup_kill")] {
        assert_eq!(plain(name), safe);
    }
    assert_eq!(plain(&"x".repeat(500)).len(), 150);
}

#[test]
fn a_limit_of_processes_is_felt_by_the_service() {
    let mut cgroups = Cgroups::discover("limit");
    let limiters = Limiters::discover("limit");
    let leaf = cgroups.as_ref().map(|cgroups| cgroups.leaf("service").expect("a leaf"));
    let limits = Limits { pids: Some(3), memory: Some(64 << 20), cpu_milli: Some(500) };
    let limited = limiters.apply(cgroups.as_mut(), leaf.as_ref(), "service", limits).expect("limits");
    if !limited.missing.is_empty() {
        println!("skipped: no controller for {}", limited.missing.join(", "));
        return;
    }
    let directory = leaf.as_ref().map(|leaf| leaf.open().expect("the leaf"));
    let mut plan = script("exec 1>&-; for n in 1 2 3 4; do sleep 1000 2>&- & done; wait");
    plan.cgroup = directory.as_ref().map(|fd| fd.as_raw_fd());
    plan.cgroup_procs = limited.cgroup_procs();
    let (reader, writer) = fd::pipe().expect("pipe");
    plan.fds.push(doula_model::plan::FdMapping { from: writer.as_raw_fd(), to: 2 });
    plan.session = doula_model::plan::Session::NewGroup { terminal: None };
    let born = fork::spawn(&plan).expect("a birth");
    drop(writer);
    let mut text = [0; 200];
    let read = fd::read_full(&reader, &mut text);
    pidfd::send_group(born.pid, Signal::KILL).expect("the leader is not reaped");
    wait::end(Who::Pidfd(born.pidfd.as_fd())).expect("our child");
    if let Some(leaf) = &leaf {
        await_empty(leaf);
        assert!(leaf.try_remove());
    }
    let complaint = String::from_utf8_lossy(&text[..read.expect("a complaint")]).to_lowercase();
    assert!(complaint.contains("fork"), "{complaint}");
}
