//! Waiting, signalling, dropping.

use crate::{LONG, actors::actor, handle, is_dead};
use doula_host::{Command, Evidence, ExitStatus, OnDrop, Outcome, Signal, reap_left};
use doula_sys::fd::AsFd as _;
use doula_sys::poll::readable;
use doula_sys::wait::{self, Who};
use std::time::Duration;

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000");
    command
}

#[test]
fn an_end_that_somebody_else_took_is_told_by_the_handle() {
    let mut child = Command::exact(actor("exit_with")).arg("42").spawn().expect("a birth");
    assert_eq!(wait::end(Who::Pid(child.pid())), Ok(ExitStatus::code(42)));
    let status = child.wait();
    if status == ExitStatus::UNKNOWN {
        return println!("skipped: this kernel keeps no exit status for pidfds (Linux 6.15 does)");
    }
    assert_eq!((status.outcome, status.evidence), (Outcome::Code(42), Evidence::Pidfd));
    assert_eq!(child.usage(), Some(doula_host::Usage::default()));
}

#[test]
fn the_handle_is_readable_when_the_child_has_ended_and_not_before() {
    let mut child = sleeper().spawn().expect("a birth");
    assert_eq!(readable(&child, Some(Duration::ZERO)), Ok(false));
    assert_eq!(child.wait_timeout(Duration::from_millis(1)), None);
    child.kill().expect("alive");
    assert_eq!(readable(&child, Some(LONG)), Ok(true));
    assert_eq!(child.try_wait(), Some(ExitStatus::signal(Signal::KILL)));
    assert_eq!(child.wait_timeout(Duration::ZERO), Some(ExitStatus::signal(Signal::KILL)), "told again");
}

#[test]
fn a_dropped_child_is_killed_and_buried() {
    let child = sleeper().spawn().expect("a birth");
    let handle = handle(child.pid());
    drop(child);
    assert!(!doula_sys::pidfd::exists(&handle), "not even a zombie is left");
}

#[test]
fn a_dropped_child_that_is_to_be_waited_for_ends_by_itself() {
    let mut command = Command::new("sh");
    command.args(["-c", "read line"]).stdin(doula_host::Stdio::pipe_in()).on_drop(OnDrop::Wait);
    let child = command.spawn().expect("a birth");
    let handle = handle(child.pid());
    // Its input is closed first, else both would wait for ever.
    drop(child);
    assert!(!doula_sys::pidfd::exists(&handle));
}

#[test]
fn a_child_that_was_left_lives_on_and_is_buried_by_a_later_birth() {
    let child = sleeper().on_drop(OnDrop::Leave).spawn().expect("a birth");
    let (pid, handle) = (child.pid(), handle(child.pid()));
    drop(child);
    assert!(!is_dead(pid));
    assert!(reap_left() > 0);
    doula_sys::pidfd::send(&handle, Signal::KILL).expect("alive");
    assert_eq!(readable(&handle, Some(LONG)), Ok(true));
    Command::new("true").status().expect("a birth");
    assert!(!doula_sys::pidfd::exists(&handle));
}

#[test]
fn a_waiting_parent_holds_no_input_open_for_which_its_child_waits() {
    let mut cat = Command::new("cat").stdin(doula_host::Stdio::pipe_in()).spawn().expect("a birth");
    assert_eq!(cat.wait(), ExitStatus::code(0));
}

#[test]
fn a_signal_reaches_the_whole_group_of_a_leader() {
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $!; wait"]).new_group().stdout(doula_host::Stdio::pipe_out());
    let mut child = command.spawn().expect("a birth");
    let mut number = [0; 16];
    let out = child.stdout.take().expect("a pipe");
    let length = doula_sys::fd::read(out.as_fd(), &mut number).expect("read");
    let text = String::from_utf8_lossy(&number[..length]).trim().to_owned();
    let grandchild = handle(doula_host::Pid::new(text.parse().expect("a number")).expect("a number"));
    child.signal_group(Signal::TERM).expect("alive");
    assert_eq!(child.wait().killed_by(), Some(Signal::TERM));
    assert_eq!(readable(&grandchild, Some(LONG)), Ok(true));
}

#[test]
fn what_a_child_has_used_is_known_after_its_end() {
    let mut child = Command::new("sh").args(["-c", ":"]).spawn().expect("a birth");
    assert_eq!(child.usage(), None);
    assert!(child.wait().success());
    assert!(child.usage().is_some_and(|usage| usage.max_rss_kb > 0));
}

#[test]
fn a_child_ignores_nothing_of_what_we_ignore() {
    let real_time = Signal::new(50).expect("a signal");
    for signal in [Signal::WINCH, real_time] {
        doula_sys::signal::ignore(signal).expect("sigaction");
    }
    let output = Command::new("grep").args(["SigIgn", "/proc/self/status"]).output().expect("a capture");
    for signal in [Signal::WINCH, real_time] {
        doula_sys::signal::reset(signal).expect("sigaction");
    }
    assert_eq!(output.stdout_text(), "SigIgn:\t0000000000000000\n");
}
