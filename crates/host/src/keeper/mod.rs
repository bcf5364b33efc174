//! The keeper: a small process that keeps a supervisor's fds open when that is killed, until another supervisor takes them over.
//!
//! It is a copy of the supervisor, made at its very start, with which it has its fd table together (`CLONE_FILES`). So it
//! holds what the supervisor holds, from the moment in which that opens it, and nothing has to be handed over: a birth costs
//! no more than before, and there is no moment in which an fd could be lost. Which fds are to outlive the supervisor, and what
//! they are, is written into memory that both have (`ledger`). All others (its lock, its control socket, its clients) are
//! closed by the keeper as soon as the supervisor is dead.
//!
//! It sleeps as long as the supervisor lives, and nothing but its death wakes it. It leads a session of its own, takes no
//! signal but SIGKILL as long as somebody lives whom it holds, and ends when the family ends, or nobody can find it any more.
//! If it is killed, the supervisor makes another one, which at once holds everything.
//!
//! - `ledger`: what is held, and for what
//! - `serve`: the life of the keeper
//! - `heir`: how the next supervisor gets what is held

pub(crate) mod heir;
pub(crate) mod ledger;
mod serve;
#[cfg(test)]
mod tests;

use crate::steps;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{AsFd, AsRawFd, OwnedFd};
use doula_sys::fork::sibling::sharing_files;
use doula_sys::fork::{Born, copy};
use doula_sys::poll::{Epoll, Interest};
use doula_sys::wait::{self, Who};
use doula_sys::{Result, group, pidfd, poll};
pub use ledger::Held;
pub(crate) use ledger::{Ledger, Mark, Tag};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// The name of the keeper's socket in the family's directory.
pub(crate) const SOCKET: &str = "keeper";

/// The first bytes of what a keeper says, and the version of how it goes on.
const GREETING: [u8; 8] = *b"doula k1";

/// In the set of the keeper: the supervisor has ended.
const SUPERVISOR: u64 = 0;
/// Somebody wants to take over.
const LISTENER: u64 = 1;
/// Something happened to the file of our socket. What follows are the handles of children.
const PLACE: u64 = 2;

/// Our keeper.
pub struct Keeper {
    pub(crate) ledger: Ledger,
    /// What wakes it.
    wakes: Epoll,
    /// `None`: there is none, and nothing outlives us.
    process: Option<Born>,
    /// Our own handle, by which the keeper sees our end.
    us: Option<OwnedFd>,
    listener: Option<UnixListener>,
}

impl Keeper {
    /// Makes a keeper for this process, which must have one thread. The earlier, the less memory it is a copy of.
    ///
    /// # Errors
    /// EBUSY with several threads; those of clone(2).
    pub fn start() -> Result<Keeper> {
        let ledger = Ledger::new()?;
        let mut keeper = Keeper { ledger, wakes: Epoll::new()?, process: None, us: None, listener: None };
        if copy::count_threads()? > 1 {
            return Err(Errno::EBUSY);
        }
        keeper.bear()?;
        Ok(keeper)
    }

    /// The keeper was killed: another one takes its place, and holds what we hold.
    ///
    /// # Errors
    /// Those of clone(2).
    pub(crate) fn renew(&mut self) -> Result<()> {
        self.process = None;
        self.bear()
    }

    fn bear(&mut self) -> Result<()> {
        let us = pidfd::open(group::pid())?;
        self.wakes.add(&us, Interest::READ, SUPERVISOR)?;
        let us = self.us.insert(us).as_raw_fd();
        let life = serve::Life { ledger: self.ledger, wakes: self.wakes.as_fd().as_raw_fd(), supervisor: us };
        let born = sharing_files(move || serve::live(life));
        self.process = Some(born?);
        Ok(())
    }

    /// Its number, to be told from strangers.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|born| born.pid)
    }

    /// From now on the next supervisor finds the keeper by this socket of ours at this path; its file is `new` until then.
    ///
    /// The renaming is the one moment in which our keeper takes the place of an earlier one. It comes last: a supervisor that
    /// is killed before leaves all to that one, and one that is killed after it leaves all to ours.
    ///
    /// # Errors
    /// It cannot be watched, the path is too long, and those of rename(2); then nothing has changed hands.
    pub(crate) fn answer_at(&mut self, listener: UnixListener, [new, path]: [&Path; 2]) -> Result<()> {
        self.wakes.add(&listener, Interest::READ, LISTENER)?;
        if !self.ledger.set_listener(listener.as_raw_fd(), new, path) {
            return Err(Errno::EINVAL);
        }
        self.listener = Some(listener);
        steps::reached("keeper-bound");
        std::fs::rename(new, path).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno))?;
        steps::reached("keeper-found");
        Ok(())
    }

    /// Whether it lives, and can be found.
    pub(crate) fn answers(&self) -> bool {
        let lives = |born: &Born| poll::readable(&born.pidfd, Some(Duration::ZERO)) == Ok(false);
        self.listener.is_some() && self.process.as_ref().is_some_and(lives)
    }

    /// The family is over: nobody will take over.
    pub(crate) fn end(&mut self) {
        let Some(born) = self.process.take() else { return };
        // A keeper that is dead already is as good.
        let _ = pidfd::send(&born.pidfd, Signal::KILL);
        let _ = wait::end(Who::Pidfd(born.pidfd.as_fd()));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end();
    }
}
