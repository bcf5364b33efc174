//! Waiting that ends: what takes longer than a minute fails, and tells what is known.

use super::Said;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::AsFd;
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Whether there is something to read, or its end, before the patience ends.
fn is_ready(fd: impl AsFd) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).expect("a minute");
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.expect("an open fd") > 0,
        }
    }
}

/// A reader that does not wait for ever.
pub(super) struct Bounded<F>(pub(super) F);

impl<F: AsFd + Read> Read for Bounded<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if is_ready(&self.0) { self.0.read(buffer) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

/// Reads by lines.
pub(super) fn lines<F: AsFd + Read>(from: F) -> BufReader<Bounded<F>> {
    BufReader::new(Bounded(from))
}

/// The next line.
pub(super) fn line<F: AsFd + Read>(from: &mut BufReader<Bounded<F>>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap_or_else(|error| panic!("no line after `{line}`: {error}"));
    line
}

/// Waits until nobody has it open for writing.
pub(super) fn await_end(from: impl AsFd + Read) {
    Bounded(from).read_to_end(&mut Vec::new()).expect("nobody writes any more");
}

/// Waits for the end of a child; one that does not end is killed, and `None`.
pub(super) fn wait(child: &mut Child) -> Option<ExitStatus> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a handle");
    let ended = is_ready(handle);
    if !ended {
        child.kill().expect("it lives");
    }
    let status = child.wait().expect("its end");
    ended.then_some(status)
}

/// Collects what a run says until its end.
pub(super) fn end_of(mut doula: Child) -> Said {
    drop(doula.stdin.take());
    let (out, err) = (collected(doula.stdout.take()), collected(doula.stderr.take()));
    let status = wait(&mut doula);
    // Whoever has our pipe must not hold us up.
    let text = |said: mpsc::Receiver<String>| said.recv_timeout(PATIENCE).expect("its output ends with it");
    let said = Said { code: status.and_then(|status| status.code()), out: text(out), err: text(err) };
    assert!(status.is_some(), "it does not end: {said:?}");
    said
}

/// What is read until the end.
fn collected(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            drop(from.read_to_end(&mut bytes));
        }
        tell.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    told
}
