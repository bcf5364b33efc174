//! What joins a child with the next one: a pipe of which we know nothing, or one that is counted. Then what the one writes
//! is carried to a second pipe, from which the next one reads, by splice(2), which moves pages and copies no byte.

use super::Child;
use super::holders;
use doula_model::plan::Errno;
use doula_sys::Result;
use doula_sys::fd::{self, OwnedFd, RawFd};
use doula_sys::poll::{Epoll, Interest};
use std::path::PathBuf;

/// As much as is moved in one step: the largest pipe that anybody may have.
const STEP: usize = 1 << 20;

/// The way from one child to the next.
#[derive(Debug)]
pub(crate) struct Link {
    /// What the next one reads from.
    pub(crate) input: RawFd,
    pub(crate) relay: Option<Relay>,
}

impl Link {
    /// The pipe into which the one before writes, as `/proc/PID/fd` names it.
    pub(super) fn pipe(&self, next: &Child) -> Option<PathBuf> {
        match &self.relay {
            Some(relay) => holders::name_of_ours(&relay.ends.as_ref()?.0),
            None => holders::name_of(next, self.input),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.ends.is_some())
    }
}

/// Carries bytes from one pipe to another.
#[derive(Debug)]
pub(crate) struct Relay {
    /// What we read from and write to; nothing when it is over.
    ends: Option<(OwnedFd, OwnedFd)>,
    passed: u64,
    tokens: (u64, u64),
    /// The pipe we write to was full.
    full: bool,
}

impl Relay {
    pub(crate) fn new(from: OwnedFd, to: OwnedFd) -> Relay {
        Relay { ends: Some((from, to)), passed: 0, tokens: (0, 0), full: false }
    }

    /// Has its ends watched.
    pub(super) fn begin(&mut self, epoll: &Epoll, from: u64, to: u64) -> Result<()> {
        let Some((source, sink)) = &self.ends else { return Ok(()) };
        self.tokens = (from, to);
        epoll.add(source, Interest::READ, from)?;
        // Told in any case: nobody reads any more.
        epoll.add(sink, Interest::NONE, to)
    }

    /// So many bytes so far.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// One step, when an end is ready: the sink while it was full has room, else nobody reads it. Both ends close together: who
    /// writes must hear that nobody reads, and who reads that nobody writes.
    pub(super) fn carry(&mut self, epoll: &Epoll, sink_is_ready: bool) -> Result<()> {
        let Some((source, sink)) = &self.ends else { return Ok(()) };
        let gone = sink_is_ready && !self.full;
        match if gone { Ok(0) } else { fd::splice(source, sink, STEP) } {
            Ok(0) | Err(Errno::EPIPE) => {
                if !self.full {
                    epoll.delete(source)?;
                }
                epoll.delete(sink)?;
                self.ends = None;
                Ok(())
            }
            Ok(count) => {
                self.passed += count as u64;
                self.wait_for_room(epoll, false)
            }
            // Whoever we waited for is ready, so it is the other one.
            Err(Errno::EAGAIN) => self.wait_for_room(epoll, !self.full),
            Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Waits for room in the one pipe, or else for bytes in the other.
    fn wait_for_room(&mut self, epoll: &Epoll, full: bool) -> Result<()> {
        let Some((source, sink)) = &self.ends else { return Ok(()) };
        if full == self.full {
            return Ok(());
        }
        self.full = full;
        if full {
            epoll.delete(source)?;
            epoll.modify(sink, Interest::WRITE, self.tokens.1)
        } else {
            epoll.add(source, Interest::READ, self.tokens.0)?;
            epoll.modify(sink, Interest::NONE, self.tokens.1)
        }
    }
}
