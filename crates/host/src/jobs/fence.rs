//! The cgroup around one job or worker: it tells when the last of them is gone.

use crate::Signal;
use crate::cgroup::Leaf;
use crate::child::Row;
use doula_core::again::Again;
use doula_model::time::Time;
use doula_sys::fd::OwnedFd;
use doula_sys::time;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Fence {
    row: Arc<Row>,
    /// Readable with priority when it becomes empty.
    pub(super) events: OwnedFd,
    /// A kill can miss one.
    again: Again,
}

impl Fence {
    /// `None` where no cgroup may be made.
    pub(super) fn new() -> Option<Fence> {
        Fence::around(Row::new()?)
    }

    /// Where an earlier run put a job.
    pub(super) fn of(leaf: Leaf) -> Option<Fence> {
        Fence::around(Row::at(leaf)?)
    }

    fn around(row: Arc<Row>) -> Option<Fence> {
        let events = row.events().ok()?;
        Some(Fence { row, events, again: Again::default() })
    }

    pub(super) fn row(&self) -> Arc<Row> {
        Arc::clone(&self.row)
    }

    /// Whether nobody is in it. Its events are read by this: who asks has to act on it.
    pub(super) fn is_empty(&mut self) -> io::Result<bool> {
        let empty = self.row.is_empty(&self.events)?;
        if empty {
            self.again.gone();
        }
        Ok(empty)
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.row.signal(signal)
    }

    /// Kills everybody, without waiting. It can miss one ([`Leaf::kill`]): who waits calls [`Fence::kill_again`], too.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.row.kill()?;
        self.again.killed(time::monotonic());
        Ok(())
    }

    /// When somebody is to be killed again; `None`: nobody was killed, or nobody was seen to be left.
    pub(super) fn kills_again_at(&self) -> Option<Time> {
        self.again.deadline()
    }

    /// Kills those again who were killed and are not gone, if it is time to; whether it was.
    pub(super) fn kill_again(&mut self, now: Time) -> io::Result<bool> {
        let due = self.again.is_due(now);
        if due {
            self.kill()?;
        }
        Ok(due)
    }

    /// Kills everybody until nobody is left, or the time is over.
    pub(super) fn end(&mut self, within: Duration) {
        if self.row.end(Instant::now().checked_add(within)).is_ok() {
            self.again.gone();
        }
    }
}
