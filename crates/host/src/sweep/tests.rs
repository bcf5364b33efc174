//! Sweeps over real processes, each test with an id of its own.

use super::*;
use crate::spawn;
use doula_model::exit::ExitStatus;
use doula_model::plan::{FdMapping, Resource, Rlimit, Session};
use doula_model::recipe::Recipe;
use doula_sys::fd::{self, AsFd as _, AsRawFd as _};
use doula_sys::fork::{self, Born, copy};
use doula_sys::poll;
use doula_sys::wait::{self, For, Who};
use std::time::Duration;

/// A shell in a session of its own with a mark. A test that fails ends all that carry the mark.
struct Marked {
    id: String,
    born: Born,
    /// The reading end of its standard output.
    output: OwnedFd,
    /// The writing end of its standard input.
    input: OwnedFd,
}

impl Marked {
    fn new(id: &str, script: &str) -> Marked {
        doula_sys::adopt::set_subreaper(true).expect("prctl");
        let (output, writer) = fd::pipe().expect("pipe");
        let (reader, input) = fd::pipe().expect("pipe");
        let command = ["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let mut plan = spawn::plan(&Recipe::default(), &command, &[(MARK.to_owned(), id.to_owned())]);
        plan.session = Session::NewSession { terminal: None };
        plan.fds
            .extend([(&reader, 0), (&writer, 1)].map(|(end, to)| FdMapping { from: end.as_raw_fd(), to }));
        Marked { id: id.to_owned(), born: fork::spawn(&plan).expect("a birth"), output, input }
    }

    /// The main process, for the sweeper.
    fn main(&self) -> Option<(Pid, u64)> {
        Some((self.born.pid, start_ticks(self.born.pid)?))
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut sweeper = Sweeper::new();
            sweeper.set(&self.id, self.main(), Order::Kill);
            let _: bool = ends(&mut sweeper);
        }
    }
}

fn id(name: &str) -> String {
    format!("{}-{name}", doula_sys::group::pid())
}

/// Buries those that a sweep left dead, by handle, and never anybody else's child.
fn bury(sweeper: &Sweeper) {
    for member in sweeper.targets.values().flat_map(|target| target.members.values()) {
        let _ = wait::waitid(Who::Pidfd(member.handle.as_fd()), For::END);
    }
}

/// Passes until nobody is left; between them, waits for an end of one of them. Whether it came to that.
fn ends(sweeper: &mut Sweeper) -> bool {
    const ENOUGH: usize = 10_000;
    for _ in 0..ENOUGH {
        let found = sweeper.pass().unwrap_or_default();
        bury(sweeper);
        if found.iter().all(|(_, found)| found.alive == 0) {
            return true;
        }
        let someone = sweeper.targets.values().flat_map(|target| target.members.values()).next();
        if let Some(member) = someone {
            let _ = poll::readable(&member.handle, Some(Duration::from_millis(2)));
        }
    }
    false
}

#[test]
fn an_escapee_is_found_by_its_mark_and_an_unmarked_one_by_its_session() {
    let id = id("escapee");
    // The two between are dead and buried when the second word comes.
    let script = "(setsid sleep 1000 &); echo a; (env -i sleep 1000 &); echo b; exec sleep 1000";
    let shell = Marked::new(&id, script);
    let mut bytes = [0; 4];
    assert_eq!(fd::read_full(&shell.output, &mut bytes), Ok(4));
    let mut sweeper = Sweeper::new();
    sweeper.set(&id, shell.main(), Order::Look);
    let found = sweeper.pass().expect("/proc");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].1.alive, found[0].1.fresh), (3, 3), "{found:?}");
    sweeper.set(&id, None, Order::Kill);
    assert!(ends(&mut sweeper), "the sweep does not end");
    wait::end(Who::Pidfd(shell.born.pidfd.as_fd())).expect_err("buried by the sweep");
    sweeper.forget(&id);
    assert!(sweeper.is_idle());
}

#[test]
fn who_has_no_mark_is_found_in_the_session_of_one_who_was_seen_also_when_that_one_is_gone() {
    let id = id("session");
    let script = "setsid sh -c 'echo a; read line; (env -i sleep 1000 &); echo b'; echo c; exec sleep 1000";
    let shell = Marked::new(&id, script);
    assert_eq!(fd::read_full(&shell.output, &mut [0; 2]), Ok(2));
    let mut sweeper = Sweeper::new();
    sweeper.set(&id, shell.main(), Order::Look);
    assert_eq!(sweeper.pass().expect("/proc")[0].1.alive, 2, "the shell, and who leads the other session");
    assert_eq!(fd::write(&shell.input, b"\n"), Ok(1));
    assert_eq!(fd::read_full(&shell.output, &mut [0; 4]), Ok(4));
    let found = sweeper.pass().expect("/proc");
    assert_eq!((found[0].1.alive, found[0].1.fresh), (2, 1), "{found:?}");
    sweeper.set(&id, None, Order::Kill);
    assert!(ends(&mut sweeper), "the sweep does not end");
}

#[test]
fn a_fork_storm_of_sessions_is_ended_without_cgroups() {
    let id = id("storm");
    let storm = "(setsid sh -c 'while :; do (setsid sleep 1000 &); done' &); echo; \
                 while :; do (setsid sleep 1000 &); done";
    let shell = Marked::new(&id, storm);
    assert_eq!(fd::read(&shell.output, &mut [0; 1]), Ok(1));
    let mut sweeper = Sweeper::new();
    sweeper.set(&id, shell.main(), Order::Kill);
    assert!(ends(&mut sweeper), "the sweep does not end");
    let found = sweeper.pass().expect("/proc");
    assert_eq!(found[0].1.alive, 0);
}

#[test]
fn looks_prove_only_when_all_who_could_not_be_told_by_them_have_been_told_since() {
    let found = |alive, vanished, untold| Found { alive, vanished, untold, ..Found::default() };
    // Each: what looks in a row have found, and whether they prove that nobody is left.
    for (row, proven) in [
        (vec![found(0, 0, 0)], false),
        (vec![found(0, 0, 0), found(0, 0, 0)], true),
        (vec![found(0, 1, 0); 5], false),
        (vec![found(0, 1, 0); 6], true),
        (vec![found(0, 0, 0), found(0, 0, 0), found(1, 0, 0), found(0, 0, 0)], false),
        // One stays in the middle of execve(2).
        (vec![found(0, 0, 1), found(0, 0, 2)], false),
        (vec![found(0, 0, 1), found(0, 0, 2), found(0, 0, 3), found(0, 0, 4)], false),
        (vec![found(0, 0, 1), found(0, 0, 2), found(0, 0, 3), found(0, 0, 0)], true),
        // One is met by the second look, and told; those who come later do not hold it up.
        (vec![found(0, 0, 0), found(0, 0, 1)], false),
        (vec![found(0, 0, 0), found(0, 0, 1), found(0, 0, 1)], true),
        (vec![found(0, 0, 0), found(0, 0, 1), found(0, 0, 2)], false),
        (vec![found(0, 0, 0), found(0, 0, 1), found(0, 0, 2), found(0, 0, 2)], true),
        // One was of it.
        (vec![found(0, 0, 1), found(0, 0, 2), found(1, 0, 0), found(0, 0, 0)], false),
    ] {
        let mut looks = Looks::default();
        let last = row.iter().fold(false, |_, &found| looks.prove_empty(found));
        assert_eq!((last, looks.is_proof()), (proven, proven), "{row:?}");
    }
}

#[test]
fn each_member_gets_an_ordinary_signal_once() {
    let id = id("signal");
    let script = "trap 'echo got' TERM; echo ready; while :; do sleep 1000 & wait; done";
    let shell = Marked::new(&id, script);
    let mut line = [0; 6];
    assert_eq!(fd::read_full(&shell.output, &mut line), Ok(6));
    let mut sweeper = Sweeper::new();
    sweeper.set(&id, shell.main(), Order::Signal(Signal::TERM));
    sweeper.pass().expect("/proc");
    let mut line = [0; 4];
    assert_eq!(fd::read_full(&shell.output, &mut line), Ok(4));
    assert_eq!(&line, b"got\n");
    sweeper.set(&id, None, Order::Kill);
    assert!(ends(&mut sweeper), "the sweep does not end");
}

#[test]
fn a_process_of_any_name_is_read_and_a_line_that_is_cut_is_not() {
    let line = b"42 (a) R 1 (x) S 7 42 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 12345 0 0";
    let parent = Pid::new(7).expect("positive");
    let expected = Stat {
        state: b'S',
        parent,
        session: 40,
        threads: 3,
        start: 12345,
        ticks: 5 + 6 + 7 + 8,
        flags: 4194560,
        environment: (0, 0),
    };
    assert_eq!(parse(line), Some(expected));
    let longer = [line.as_slice(), &b" 0".repeat(25), b" 71 74 0"].concat();
    assert_eq!(parse(&longer), Some(Stat { environment: (71, 74), ..expected }));
    for length in 0..60 {
        assert_eq!(parse(&line[..length]), None);
    }
    assert_eq!(start_ticks(Pid::new(i32::MAX).expect("positive")), None);
}

#[test]
fn a_test_that_fails_leaves_nobody_of_its_mark_behind() {
    let id = id("failing");
    let (sender, receiver) = std::sync::mpsc::channel();
    let test = std::thread::spawn({
        let id = id.clone();
        move || {
            let shell = Marked::new(&id, "(setsid sleep 1000 &); echo; exec sleep 1000");
            assert_eq!(fd::read(&shell.output, &mut [0; 1]), Ok(1));
            sender.send(fd::duplicate(&shell.output, 0).expect("a copy")).expect("somebody waits");
            std::panic::resume_unwind(Box::new("it fails"));
        }
    });
    let output = receiver.recv().expect("it got so far");
    assert!(test.join().is_err());
    // Nobody is left who could write.
    assert_eq!(poll::readable(&output, Some(Duration::from_secs(40))), Ok(true));
    assert_eq!(fd::read(&output, &mut [0; 1]), Ok(0));
}

#[test]
fn who_cannot_look_for_want_of_an_fd_does_not_take_the_living_for_gone() {
    let us = doula_sys::group::pid();
    let start = start_ticks(us).expect("we live");
    let code = || {
        let limit = Rlimit { resource: Resource::Nofile, soft: 200, hard: 200 };
        doula_sys::limits::set(limit).expect("less is allowed to everybody");
        let mut all = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            all.push(file);
        }
        let none = !is_gone(us, start) && handle(us, start).is_err();
        // Enough for a handle, and not for a look at whose it is.
        drop(all.pop());
        let one = !is_gone(us, start) && handle(us, start).is_err();
        drop(all);
        let enough = handle(us, start).is_ok_and(|handle| handle.is_some());
        u8::from(!(none && one && enough))
    };
    let born = copy::fork(copy::Threads::Accept, code).expect("a copy");
    assert_eq!(wait::end(Who::Pidfd(born.pidfd.as_fd())), Ok(ExitStatus::code(0)));
}
