//! The cgroup around one job or worker: it tells when the last of them is gone.

use crate::Signal;
use crate::cgroup::Leaf;
use crate::child::Row;
use doula_sys::fd::OwnedFd;
use std::io;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Fence {
    row: Arc<Row>,
    /// Readable with priority when it becomes empty.
    pub(super) events: OwnedFd,
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
        Some(Fence { row, events })
    }

    pub(super) fn row(&self) -> Arc<Row> {
        Arc::clone(&self.row)
    }

    pub(super) fn is_empty(&self) -> io::Result<bool> {
        self.row.is_empty(&self.events)
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.row.signal(signal)
    }

    /// Kills everybody, without waiting. Nobody can be born in it any more.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.row.kill()
    }
}
