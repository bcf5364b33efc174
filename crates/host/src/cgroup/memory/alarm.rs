//! The kernel's word that there was want of memory.

use super::{EVENTS, OOM_CONTROL};
use crate::cgroup::{Leaf, open, os_error, write};
use doula_sys::fd::{self, AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use doula_sys::poll::{self, Interest};
use std::io;
use std::path::Path;

/// An fd that tells when the processes of a service were short of memory.
#[derive(Debug)]
pub(crate) enum Alarm {
    /// `memory.events` of its leaf. The count is raised before this tells.
    Events(OwnedFd),
    /// An eventfd that its v1 group writes to before somebody is killed: the count follows.
    Warning(OwnedFd),
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Alarm::Events(fd) | Alarm::Warning(fd) => fd.as_fd(),
        }
    }
}

impl Alarm {
    /// That of the leaf, if it has the memory controller, else of one of these v1 groups.
    ///
    /// # Errors
    /// Those of open(2) and write(2); ENOENT where no memory controller is.
    pub(crate) fn new<'a>(leaf: Option<&Leaf>, groups: impl Iterator<Item = &'a Path>) -> io::Result<Alarm> {
        let leaf = leaf.map(|leaf| leaf.path().join(EVENTS)).filter(|file| file.exists());
        if let Some(file) = leaf {
            let alarm = Alarm::Events(open(&file, fd::Access::Read)?);
            alarm.hear();
            return Ok(alarm);
        }
        let group = groups.into_iter().find(|group| group.join(OOM_CONTROL).exists());
        let group = group.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let (event, control) =
            (poll::eventfd().map_err(os_error)?, open(&group.join(OOM_CONTROL), fd::Access::Read)?);
        let order = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        write(&group.join("cgroup.event_control"), &order)?;
        Ok(Alarm::Warning(event))
    }

    /// What to wait for.
    #[must_use]
    pub(crate) fn interest(&self) -> Interest {
        match self {
            Alarm::Events(_) => Interest::PRIORITY,
            Alarm::Warning(_) => Interest::READ,
        }
    }

    /// Whether it tells before the count is raised.
    #[must_use]
    pub(crate) fn comes_before_the_count(&self) -> bool {
        matches!(self, Alarm::Warning(_))
    }

    /// Hears it, so that it can tell of the next time.
    pub(crate) fn hear(&self) {
        // Nothing there, or a cgroup that is gone: then it told nothing.
        let _ = match self {
            Alarm::Events(events) => fd::read_at(events, &mut [0; 512], 0),
            Alarm::Warning(event) => fd::read(event, &mut [0; 8]),
        };
    }
}
