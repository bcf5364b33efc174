//! Children that must end in time, and what they said: a test that hangs would cost the whole run of all tests.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::Read;
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// No test waits longer for anything. Long, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Whether there is something to read, or its end, before the patience ends.
pub(crate) fn is_ready(fd: impl AsFd) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).expect("a minute");
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.expect("an open fd") > 0,
        }
    }
}

/// Waits for the end of a child; one that does not end is killed, and `None`.
pub(crate) fn wait(child: &mut Child) -> Option<ExitStatus> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a handle");
    let ended = is_ready(handle);
    if !ended {
        child.kill().expect("it lives");
    }
    let status = child.wait().expect("its end");
    ended.then_some(status)
}

/// Collects what a child says until its end, without more input; whoever hangs is killed, and the test fails.
pub(crate) fn end_of(mut child: Child) -> Said {
    drop(child.stdin.take());
    let (out, err) = (collected(child.stdout.take()), collected(child.stderr.take()));
    let status = wait(&mut child);
    // Whoever has our pipe must not hold us up.
    let text = |said: Receiver<String>| said.recv_timeout(PATIENCE).expect("its output ends with it");
    let said = Said { code: status.and_then(|status| status.code()), out: text(out), err: text(err) };
    assert!(status.is_some(), "it does not end: {said:?}");
    said
}

/// What is read until the end.
fn collected(from: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            drop(from.read_to_end(&mut bytes));
        }
        tell.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    told
}
