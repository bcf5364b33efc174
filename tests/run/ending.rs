//! How a run ends before its time.

use super::bounded::{await_end, end_of, line, lines};
use super::{Scratch, start};
use rustix::process::{Pid, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::Write as _;
use std::process::Child;

/// Sends a signal to a run that was not waited for yet: its number is its own.
pub(super) fn signal(doula: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(doula.id()).expect("a pid")).expect("a pid");
    let handle = pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a handle");
    pidfd_send_signal(handle, signal).expect("it lives");
}

/// Starts a run of jobs that say when they begin, and then read on.
fn begun(scratch: &Scratch, args: &[&str]) -> (Child, File) {
    let (said, both) = scratch.fifo("said");
    let (go, hold) = scratch.fifo("go");
    let job = format!("echo begun >{said}; read x <{go}; echo went on {{#}}");
    let doula = start(&[args, &["-j1", "--shell", &job, ":::", "1", "2"]].concat());
    assert_eq!(line(&mut lines(both)), "begun\n");
    (doula, hold)
}

#[test]
fn after_sigterm_running_jobs_come_to_their_end_and_no_more_begin() {
    let scratch = Scratch::new("term");
    let (mut doula, mut go) = begun(&scratch, &[]);
    signal(&doula, Signal::TERM);
    let told = line(&mut lines(doula.stderr.take().expect("a pipe")));
    assert!(told.starts_with("SIGTERM: no more jobs are begun"), "{told}");
    writeln!(go, "on").expect("written");
    let said = end_of(doula);
    assert_eq!((said.code, said.out.as_str()), (Some(143), "went on 1\n"));
}

#[test]
fn a_second_sigterm_and_a_first_sigint_end_the_running_jobs_too() {
    let scratch = Scratch::new("twice");
    let (mut doula, _go) = begun(&scratch, &[]);
    let mut err = lines(doula.stderr.take().expect("a pipe"));
    signal(&doula, Signal::TERM);
    line(&mut err);
    signal(&doula, Signal::TERM);
    let ended = end_of(doula);
    assert_eq!((ended.code, ended.out.as_str()), (Some(143), ""));
    let scratch = Scratch::new("int");
    let (doula, _go) = begun(&scratch, &[]);
    signal(&doula, Signal::INT);
    assert_eq!(end_of(doula).code, Some(130));
}

#[test]
fn jobs_do_not_outlive_a_run_that_is_killed() {
    let scratch = Scratch::new("kill");
    let (fifo, both) = scratch.fifo("held");
    let job = format!("exec 9<>{fifo}; echo begun >&9; read x <&8");
    let (_, _hold) = scratch.fifo("never");
    let never = scratch.path("never");
    let mut doula = start(&["--shell", &format!("exec 8<{never}; {job}"), ":::", "1"]);
    let mut reader = lines(both);
    line(&mut reader);
    doula.kill().expect("it lives");
    doula.wait().expect("its end");
    let rest = File::open(&fifo).expect("a FIFO");
    drop(reader);
    // The job had it open for writing: the end comes when it is dead.
    await_end(rest);
}
