//! Deaths for want of memory: the kernel's count of them, and its word that there was one.
//!
//! A main process whose end we see says it by its status; its descendants do not, so the controller has to be asked.

use super::{Leaf, open, write};
use doula_sys::fd::{self, AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use doula_sys::poll::{self, Interest};
use std::io;
use std::path::Path;

/// The file of v2 that counts.
const EVENTS: &str = "memory.events";
/// The file of v1 that counts, since Linux 4.13.
const OOM_CONTROL: &str = "memory.oom_control";

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
            (poll::eventfd().map_err(super::os_error)?, open(&group.join(OOM_CONTROL), fd::Access::Read)?);
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

/// How many processes of the leaf, else of one of these v1 groups, were killed for want of memory; `None` where nobody
/// counts.
#[must_use]
pub(crate) fn killed<'a>(leaf: Option<&Leaf>, groups: impl Iterator<Item = &'a Path>) -> Option<u64> {
    let in_leaf = leaf.and_then(|leaf| count(&leaf.path().join(EVENTS)));
    in_leaf.or_else(|| groups.into_iter().find_map(|group| count(&group.join(OOM_CONTROL))))
}

/// The number behind `oom_kill`; `None` without such a file or line.
fn count(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_counted_by_the_leaf_before_the_groups_and_nobody_counts_without_a_controller() {
        let scratch = std::env::temp_dir().join(format!("doula-memory-{}", std::process::id()));
        let (leaf, group) = (Leaf { path: scratch.join("leaf") }, scratch.join("group"));
        std::fs::create_dir_all(leaf.path()).and_then(|()| std::fs::create_dir_all(&group)).expect("folders");
        let killed = || killed(Some(&leaf), std::iter::once(group.as_path()));
        assert_eq!(killed(), None);
        assert!(Alarm::new(Some(&leaf), std::iter::once(group.as_path())).is_err());
        std::fs::write(group.join(OOM_CONTROL), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
            .expect("a file");
        assert_eq!(killed(), Some(3));
        std::fs::write(leaf.path().join(EVENTS), "max 9\noom 2\noom_kill 1\noom_group_kill 0\n")
            .expect("a file");
        assert_eq!(killed(), Some(1));
        std::fs::remove_dir_all(&scratch).expect("to clean up");
    }
}
