//! What a loop does beside its tasks, the one for commands and the one for workers: it waits for the source of tasks, and asks now
//! and then whether the machine has room.

use super::Stop;
use doula_core::queue::Event;
use doula_model::plan::Errno;
use doula_sys::fd::BorrowedFd;
use doula_sys::poll::{Epoll, Interest};
use std::time::{Duration, Instant};

/// Whether tasks may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// There may be one.
    Asked,
    /// It is asked when it can be read.
    Awaited,
    /// The same as the first, and it was awaited before.
    AskedAgain,
    Ended,
}

impl Source {
    /// Whether it is to be asked.
    pub(super) fn is_asked(self) -> bool {
        matches!(self, Source::Asked | Source::AskedAgain)
    }

    /// Has the epoll tell when it can be read; `false` if it can be at once. A source that waits for nothing is asked again
    /// after the next event.
    pub(super) fn wait(
        &mut self,
        epoll: &Epoll,
        fd: Option<BorrowedFd<'_>>,
        token: u64,
    ) -> Result<bool, Errno> {
        let Some(fd) = fd else { return Ok(true) };
        let once = Interest::READ.and(Interest::ONCE);
        let awaited = match self {
            Source::AskedAgain => epoll.modify(fd, once, token),
            Source::Asked | Source::Awaited | Source::Ended => epoll.add(fd, once, token),
        };
        match awaited {
            Ok(()) => *self = Source::Awaited,
            // A file is always ready.
            Err(Errno::EPERM) => return Ok(false),
            Err(errno) => return Err(errno),
        }
        Ok(true)
    }
}

/// When it is asked whether the machine has room.
#[derive(Debug)]
pub(super) struct Looks {
    every: Option<Duration>,
    next: Option<Instant>,
}

impl Looks {
    pub(super) fn new(every: Option<Duration>) -> Looks {
        Looks { every, next: None }
    }

    /// Asks whether there is none, if it is time to, and what came of it.
    pub(super) fn ask(&mut self, throttle: impl FnOnce() -> bool) -> Option<Event> {
        let every = self.every?;
        let now = Instant::now();
        if self.next.is_some_and(|due| due > now) {
            return None;
        }
        self.next = Some(now + every);
        Some(Event::Throttle(throttle()))
    }

    /// How long until it is time again.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.next.map(|due| due.saturating_duration_since(Instant::now()))
    }
}

impl Stop {
    /// What the queue is told of it. With [`Stop::Kill`] all that runs is killed, too.
    pub(super) fn event(self) -> Option<Event> {
        match self {
            Stop::No => None,
            Stop::Soon => Some(Event::Stop { now: false }),
            Stop::Now | Stop::Kill => Some(Event::Stop { now: true }),
        }
    }
}

/// Whether this ends by itself, when somebody else does.
pub(super) fn is_shortage(errno: Errno) -> bool {
    [Errno::EAGAIN, Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM].contains(&errno)
}
