//! The end of a zygote, of its caller, and of children that nobody could take.

use crate::harness::{Actor, role, say};
use crate::{children, echo, handle};
use doula_host::fork::{Threads, fork};
use doula_host::{Errno, ExitStatus, OnDrop, Pid, Resource, Rlimit, Signal, Task, Zygote, ZygoteError};
use doula_sys::fd::{AsFd as _, OwnedFd};
use doula_sys::wait::{self, Who};
use doula_sys::{adopt, limits, pidfd, poll};
use std::fs::File;
use std::io;

pub(crate) fn a_killed_zygote_is_told_and_renewed() {
    let zygote = echo();
    pidfd::send(handle(&zygote), Signal::KILL).expect("it lives");
    for _ in 0..2 {
        let error = zygote.spawn(&[1], &[]).expect_err("nobody is there");
        assert_eq!(error.to_string(), "the zygote is gone: it was killed by SIGKILL");
        assert!(matches!(error, ZygoteError::Gone(end) if end.killed_by() == Some(Signal::KILL)));
    }
    assert_eq!(children(), [], "it is buried");
    zygote.renew().expect("one thread");
    assert_eq!(zygote.spawn(&[1], &[]).expect("a child").wait(), ExitStatus::code(1));
    // Also one that lives is replaced, and buried.
    let old = handle(&zygote);
    zygote.renew().expect("one thread");
    assert!(!pidfd::exists(&old));
    assert_eq!(zygote.spawn(&[2], &[]).expect("a child").wait(), ExitStatus::code(2));
    assert_eq!(children().len(), 1);
}

pub(crate) fn a_dropped_zygote_is_buried_and_its_children_live_on() {
    let zygote = Zygote::start(|task: Task| {
        let ends = task.fds.into_iter().map(File::from).map(io::read_to_string);
        u8::from(ends.filter_map(Result::ok).collect::<String>() != "live on")
    });
    let zygote = zygote.expect("one thread");
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut child = zygote.spawn(b"", &[reader.as_fd()]).expect("a child");
    let process = handle(&zygote);
    drop(zygote);
    assert!(!pidfd::exists(&process));
    assert_eq!(child.try_wait(), None);
    io::Write::write_all(&mut &writer, b"live on").expect("it reads");
    drop(writer);
    assert_eq!((child.wait(), children()), (ExitStatus::code(0), vec![]));
}

/// The numbers of the zygote, of its child, and of a copy of the caller, which all live.
pub(crate) fn a_zygote_ends_with_its_caller_also_where_a_copy_of_that_lives_on() {
    adopt::set_subreaper(true).expect("prctl");
    let mut caller = Actor::of(&role("caller"));
    let open = |line: String| {
        let pid = line.parse().ok().and_then(Pid::new).expect("a number");
        pidfd::open(pid).expect("it lives as long as its caller")
    };
    let [zygote, child, copy]: [OwnedFd; 3] = [(); 3].map(|()| open(caller.line()));
    caller.child.kill().expect("it lives");
    assert_eq!(caller.child.wait().killed_by(), Some(Signal::KILL));
    // Nobody who holds a descriptor of the caller has to end before.
    assert_eq!(poll::readable(&zygote, None), Ok(true));
    let buried = |process: &OwnedFd| wait::end(Who::Pidfd(process.as_fd()));
    assert_eq!(buried(&zygote), Ok(ExitStatus::code(0)));
    for orphan in [&child, &copy] {
        assert_eq!(poll::readable(orphan, Some(std::time::Duration::ZERO)), Ok(false), "it lives on");
        pidfd::send(orphan, Signal::KILL).expect("it lives");
        assert_eq!(buried(orphan), Ok(ExitStatus::signal(Signal::KILL)));
    }
    adopt::set_subreaper(false).expect("prctl");
}

pub(crate) fn play_caller() -> io::Result<u8> {
    let wait_for_ever = || {
        loop {
            std::thread::park();
        }
    };
    let zygote = Zygote::start(move |_| wait_for_ever())?;
    let child = zygote.spawn(b"", &[])?;
    let copy = fork(Threads::Refuse, wait_for_ever)?;
    for pid in [zygote.pid(), child.pid(), copy.pid()] {
        say(&pid.get().to_string())?;
    }
    wait_for_ever();
    Ok(1)
}

pub(crate) fn a_child_whose_handle_finds_no_number_is_not_left_behind() {
    let (lines, end) = Actor::of(&role("crowded")).end();
    assert_eq!((lines, end), (vec![], ExitStatus::code(0)));
}

/// The limit is ours alone, and leaves no number free.
pub(crate) fn play_crowded() -> io::Result<u8> {
    let zygote = Zygote::start(|task: Task| {
        if task.request.is_empty() {
            loop {
                std::thread::park();
            }
        } else {
            8
        }
    })?;
    let limit = limits::get(Resource::Nofile).map_err(crate::harness::os_error)?;
    let mut fillers = vec![File::open("/dev/null")?];
    limits::set(Rlimit { soft: 32, ..limit }).map_err(crate::harness::os_error)?;
    while let Ok(file) = File::open("/dev/null") {
        fillers.push(file);
    }
    let error = zygote.spawn(b"", &[]).expect_err("no number is free");
    drop(fillers);
    limits::set(limit).map_err(crate::harness::os_error)?;
    assert!(matches!(error, ZygoteError::Os(Errno::EMFILE)), "{error}");
    assert_eq!(children().len(), 1, "the zygote alone: {:?}", children());
    let mut child = zygote.spawn(b"go", &[])?;
    child.set_on_drop(OnDrop::Wait);
    assert_eq!(child.wait(), ExitStatus::code(8));
    Ok(0)
}
