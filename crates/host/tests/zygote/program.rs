//! A zygote that is a program: this one, in a role.

use crate::harness::{self, role};
use crate::{children, handle};
use doula_host::zygote::serve;
use doula_host::{Command, ExitStatus, Signal, Task, Zygote, ZygoteError};
use doula_sys::{group, pidfd};
use std::io;
use std::sync::mpsc::channel;

/// The number of the process whose child this is to be comes with the request.
fn work(task: Task) -> u8 {
    let parent = group::parent().map(|pid| pid.get().to_string());
    if Some(task.request) == parent.map(String::into_bytes) { 21 } else { 1 }
}

pub(crate) fn play() -> io::Result<u8> {
    Ok(serve(work)?)
}

pub(crate) fn a_program_serves_beside_any_threads_and_is_executed_again_when_it_is_renewed() {
    let (stop, wait) = channel::<()>();
    let other = std::thread::spawn(move || wait.recv());
    let mut command = role("program");
    command.stdout(doula_host::Stdio::null());
    let zygote = Zygote::exec(&command).expect("it serves");
    let us = std::process::id().to_string();
    let ask = || zygote.spawn(us.as_bytes(), &[]).map(|mut child| child.wait());
    assert_eq!(ask().expect("a child"), ExitStatus::code(21));
    pidfd::send(handle(&zygote), Signal::KILL).expect("it lives");
    assert!(matches!(ask(), Err(ZygoteError::Gone(_))));
    zygote.renew().expect("it serves");
    assert_eq!(ask().expect("a child"), ExitStatus::code(21));
    drop(zygote);
    assert_eq!(children(), []);
    drop(stop);
    assert!(other.join().is_ok());
}

pub(crate) fn a_program_that_does_not_serve_is_told() {
    let error = Zygote::exec(Command::new("sh").args(["-c", "exit 3"])).expect_err("no zygote");
    assert!(matches!(error, ZygoteError::Gone(end) if end == ExitStatus::code(3)), "{error}");
    // One that closes the socket and goes on is ended.
    let closing = "exec 3>&-; exec sleep 1000";
    let error = Zygote::exec(Command::new("sh").args(["-c", closing])).expect_err("no zygote");
    assert!(matches!(error, ZygoteError::Gone(end) if end.killed_by() == Some(Signal::KILL)), "{error}");
    let error = Zygote::exec(&role("threads")).expect_err("no zygote");
    assert!(matches!(error, ZygoteError::Threads(2)), "{error}");
    assert_eq!(children(), []);
}

/// It cannot serve, and goes on.
pub(crate) fn play_threads() -> io::Result<u8> {
    let (_never, wait) = channel::<()>();
    let other = std::thread::spawn(move || wait.recv());
    let error = serve(work).expect_err("two threads");
    assert!(matches!(error, ZygoteError::Threads(2)), "{error}");
    drop(other);
    loop {
        std::thread::park();
    }
}

pub(crate) fn who_was_not_started_as_a_zygote_cannot_serve() {
    let output = role("program").output().expect("a capture");
    assert!(!output.status.success());
    assert!(output.stderr_text().contains("was not started as a zygote"), "{}", output.stderr_text());
    let mut command = role("program");
    command.fd(3, doula_host::Stdio::null());
    assert!(!command.output().expect("a capture").status.success());
}

/// CLONE_PARENT is refused to PID 1 itself, not to its child.
pub(crate) fn the_first_process_of_a_namespace_may_ask() {
    let ourselves = std::env::current_exe().expect("the path of this program");
    let mut command = Command::new("unshare");
    command.args(["-U", "-r", "-p", "-f", "--mount-proc"]);
    let possible = command.clone().arg("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        println!("skipped: no PID namespace can be made here");
        return;
    }
    let output = command.arg(ourselves).args([harness::ROLE, "first"]).output().expect("a capture");
    assert_eq!(output.status, ExitStatus::code(0), "{}", output.stderr_text());
}

pub(crate) fn play_first() -> io::Result<u8> {
    assert_eq!(std::process::id(), 1);
    let zygote = Zygote::start(work)?;
    assert_eq!(zygote.spawn(b"1", &[])?.wait(), ExitStatus::code(21));
    Ok(0)
}
