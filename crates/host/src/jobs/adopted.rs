//! A job's process: one that was born here, or one that an earlier run left behind.

use super::place::GONE_WITHIN;
use crate::aim::Missed;
use crate::cgroup::{self, Leaf};
use crate::child::{self, Child, os_error};
use crate::sweep;
use crate::{Errno, Pid, Signal, Usage};
use doula_model::exit::ExitStatus;
use doula_sys::fd::{AsFd as _, BorrowedFd, OwnedFd};
use doula_sys::{pidfd, poll};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a process with its descendants is found by, when whoever began it is not there any more.
///
/// ```
/// use doula_host::jobs::{Adopted, Identity};
/// use doula_host::{Pid, sweep::start_ticks};
/// let us = Pid::new(std::process::id() as i32).expect("a number");
/// let identity = Identity { pid: us, start: start_ticks(us).expect("we live"), leaf: None, mark: None };
/// assert!(Adopted::of(&identity)?.lives());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "supervisor", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "supervisor", serde(rename_all = "kebab-case"))]
pub struct Identity {
    /// Its number.
    pub pid: Pid,
    /// When it was born, in clock ticks since the machine started (field 22 of proc_pid_stat(5)).
    pub start: u64,
    /// The cgroup that its tree has for itself.
    #[cfg_attr(feature = "supervisor", serde(default, skip_serializing_if = "Option::is_none"))]
    pub leaf: Option<PathBuf>,
    /// The mark in the environment of its tree.
    #[cfg_attr(feature = "supervisor", serde(default, skip_serializing_if = "Option::is_none"))]
    pub mark: Option<String>,
}

impl Identity {
    /// That of a child that lives.
    pub(super) fn of(child: &Child) -> Identity {
        let (leaf, mark) = child.found_by();
        Identity { pid: child.pid(), start: sweep::start_ticks(child.pid()).unwrap_or_default(), leaf, mark }
    }
}

/// A process that an earlier run began, and who descends from it.
///
/// ```
/// use doula_host::{Command, jobs::Adopted, sweep::start_ticks};
/// let mut child = Command::new("sleep").arg("1000").spawn()?;
/// // Number and start, as an earlier run wrote them down.
/// let identity = (child.pid(), start_ticks(child.pid()).expect("it lives"));
/// let adopted = Adopted::find(identity, None, None)?;
/// assert!(adopted.lives());
/// child.kill()?;
/// child.wait();
/// assert!(!adopted.lives());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Adopted {
    identity: (Pid, u64),
    /// `None`: it has ended.
    handle: Option<OwnedFd>,
    leaf: Option<PathBuf>,
    mark: Option<String>,
}

impl Adopted {
    /// The process with this number that was born at this time (field 22 of proc_pid_stat(5)). Its tree is known by the
    /// cgroup that it has for itself, or by the mark in the environment of everybody of it.
    ///
    /// # Errors
    /// Those of pidfd_open(2). One that is gone is no error: the others of its tree may live.
    ///
    /// ```
    /// use doula_host::{Command, jobs::Adopted, sweep::start_ticks};
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// let start = start_ticks(child.pid()).expect("it lives");
    /// let earlier = Adopted::find((child.pid(), start - 1), None, None)?;
    /// assert!(!earlier.lives(), "who has the number now was born later");
    /// child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find(
        identity: (Pid, u64),
        leaf: Option<PathBuf>,
        mark: Option<String>,
    ) -> Result<Adopted, Missed> {
        let (pid, start) = identity;
        let handle = match pidfd::open(pid) {
            Ok(handle) => Some(handle).filter(|_| sweep::start_ticks(pid) == Some(start)),
            Err(Errno::ESRCH) => None,
            Err(errno) => return Err(errno.into()),
        };
        let leaf = leaf.filter(|leaf| leaf.is_dir());
        Ok(Adopted { identity, handle, leaf, mark })
    }

    /// The same by an [`Identity`].
    ///
    /// # Errors
    /// As [`Adopted::find`].
    ///
    /// ```
    /// use doula_host::jobs::{Adopted, Identity};
    /// let nobody = Identity { pid: doula_host::Pid::INIT, start: u64::MAX, leaf: None, mark: None };
    /// assert!(!Adopted::of(&nobody)?.lives(), "who has the number was born at another time");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(identity: &Identity) -> Result<Adopted, Missed> {
        let Identity { pid, start, leaf, mark } = identity.clone();
        Adopted::find((pid, start), leaf, mark)
    }

    /// Kills it with everybody of its tree, and waits until all are gone.
    ///
    /// # Errors
    /// It may not be killed, or somebody lives still after some seconds.
    ///
    /// ```
    /// use doula_host::{Command, jobs::Adopted, sweep::start_ticks};
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// let adopted = Adopted::find((child.pid(), start_ticks(child.pid()).expect("it lives")), None, None)?;
    /// adopted.end()?;
    /// assert!(!adopted.lives());
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end(&self) -> io::Result<()> {
        let deadline = Instant::now().checked_add(GONE_WITHIN);
        let main = self.lives().then_some(self.identity);
        match self.handle.as_ref().map(|handle| pidfd::send(handle, Signal::KILL)) {
            Some(Err(errno)) if errno != Errno::ESRCH => return Err(os_error(errno)),
            _ => {}
        }
        match (self.leaf(), &self.mark) {
            (Some(leaf), _) => end_all_in(&leaf, deadline)?,
            (None, Some(mark)) => child::end_marked(mark, main, GONE_WITHIN)?,
            (None, None) => {}
        }
        let Some(handle) = &self.handle else { return Ok(()) };
        match poll::readable(handle, Some(GONE_WITHIN)).map_err(os_error)? {
            true => Ok(()),
            false => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Nobody.
    ///
    /// ```
    /// use doula_host::jobs::Adopted;
    /// // The machine was started anew meanwhile: no number from before means anything.
    /// assert!(!Adopted::gone().lives());
    /// ```
    #[must_use]
    pub fn gone() -> Adopted {
        Adopted { identity: (Pid::INIT, 0), handle: None, leaf: None, mark: None }
    }

    /// Kills who is left of the tree of one that is gone, and waits until all are.
    ///
    /// # Errors
    /// Somebody lives still after some seconds.
    ///
    /// ```
    /// use doula_host::jobs::Adopted;
    /// let adopted = Adopted::gone();
    /// if !adopted.lives() {
    ///     // Its job may have left somebody behind, who must not meet the next attempt.
    ///     adopted.end_rest()?;
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn end_rest(&self) -> io::Result<()> {
        match (self.leaf(), &self.mark) {
            (Some(leaf), _) => end_all_in(&leaf, Instant::now().checked_add(GONE_WITHIN)),
            (None, Some(mark)) => child::end_marked(mark, None, GONE_WITHIN).map_err(io::Error::from),
            (None, None) => Ok(()),
        }
    }

    /// Whether it lives.
    ///
    /// ```
    /// use doula_host::{Command, jobs::Adopted, sweep::start_ticks};
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// let start = start_ticks(child.pid()).expect("it lives");
    /// assert!(Adopted::find((child.pid(), start), None, None)?.lives());
    /// child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn lives(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| !has_ended(handle))
    }

    /// The cgroup of its tree.
    pub(super) fn leaf(&self) -> Option<Leaf> {
        self.leaf.clone().map(Leaf::at)
    }
}

/// Kills everybody in it until nobody is left, and removes it.
fn end_all_in(leaf: &Leaf, deadline: Option<Instant>) -> io::Result<()> {
    child::end_leaf(leaf, deadline)?;
    leaf.try_remove();
    // Whoever limited it can remove its groups no more.
    cgroup::sweep(Some(leaf.path()));
    Ok(())
}

fn has_ended(handle: &OwnedFd) -> bool {
    poll::readable(handle, Some(Duration::ZERO)).unwrap_or(false)
}

/// The process of a job.
#[derive(Debug)]
pub(super) enum Body {
    Born(Child),
    Adopted(Adopted),
}

impl Body {
    /// What is readable when it has ended; one that had ended before has none.
    pub(super) fn handle(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Body::Born(child) => Some(child.as_fd()),
            Body::Adopted(adopted) => adopted.handle.as_ref().map(OwnedFd::as_fd),
        }
    }

    /// Its number. Whoever looks after an adopted one has another.
    pub(super) fn pid(&self) -> Option<Pid> {
        match self {
            Body::Born(child) => Some(child.pid()),
            Body::Adopted(_) => None,
        }
    }

    /// How it ended, if it has: of an adopted one nobody of us can see how.
    pub(super) fn try_wait(&mut self) -> Option<ExitStatus> {
        match self {
            Body::Born(child) => child.try_wait(),
            Body::Adopted(adopted) => (!adopted.lives()).then_some(ExitStatus::UNKNOWN),
        }
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match self {
            Body::Born(child) => child.signal(signal),
            Body::Adopted(Adopted { handle: Some(handle), .. }) => match pidfd::send(handle, signal) {
                Err(errno) if errno != Errno::ESRCH => Err(os_error(errno)),
                _ => Ok(()),
            },
            Body::Adopted(_) => Ok(()),
        }
    }

    /// Kills it with everybody of its tree, as far as they are found by their mark.
    pub(super) fn kill_tree(&mut self, within: Duration) -> io::Result<()> {
        match self {
            Body::Born(child) => child.kill_tree(within).map(drop).map_err(io::Error::from),
            Body::Adopted(adopted) => {
                let main = adopted.lives().then_some(adopted.identity);
                match &adopted.mark {
                    Some(mark) => child::end_marked(mark, main, within).map_err(io::Error::from),
                    None => self.signal(Signal::KILL),
                }
            }
        }
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        match self {
            Body::Born(child) => child.usage(),
            Body::Adopted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    #[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
    fn who_is_left_of_one_that_is_gone_is_dead_when_it_was_ended() {
        let Some(leaf) = Leaf::single() else { return println!("skipped: no cgroup may be made here") };
        let place = leaf.open().expect("its directory");
        let mut child = Command::new("sleep").arg("1000").cgroup(place).spawn().expect("a child");
        let gone =
            Adopted::find((Pid::INIT, u64::MAX), Some(leaf.path().to_owned()), None).expect("a handle");
        gone.end_rest().expect("nobody is left");
        assert!(!leaf.path().exists(), "only an empty one can be removed");
        assert_eq!(child.wait().killed_by(), Some(Signal::KILL));
    }
}
