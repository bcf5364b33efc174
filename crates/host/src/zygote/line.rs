//! Our side: the zygote, and how it is asked.

use super::message::{self, Answer, KILL};
use super::{MAX_FDS, MAX_REQUEST, ZygoteError};
use crate::child::Child;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::fd::{BorrowedFd, OwnedFd};
use doula_sys::fork::Born;
use doula_sys::wait::{self, Who};

/// A zygote that is ready. Dropped, it is killed and buried.
#[derive(Debug)]
pub(super) struct Line {
    socket: OwnedFd,
    process: Child,
}

impl Line {
    /// Waits until it is ready.
    pub(super) fn open(socket: Option<OwnedFd>, process: Child) -> Result<Line, ZygoteError> {
        let socket = socket.ok_or(Errno::EBADF)?;
        let mut line = Line { socket, process };
        match line.hear()? {
            (Answer::DONE, _) => Ok(line),
            (Answer { errno, number }, _) if errno == Errno::EBUSY.0 => {
                Err(ZygoteError::Threads(usize::try_from(number).unwrap_or_default()))
            }
            (Answer { errno, .. }, _) => Err(ZygoteError::Os(Errno(errno))),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Asks for a child.
    pub(super) fn ask(&mut self, request: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Born, ZygoteError> {
        if request.len() > MAX_REQUEST {
            return Err(ZygoteError::TooLarge(request.len()));
        }
        if fds.len() > MAX_FDS {
            return Err(ZygoteError::TooManyFds(fds.len()));
        }
        self.told(message::ask(&self.socket, request, fds))?;
        let (answer, handle) = self.hear()?;
        match (Pid::new(answer.number), handle) {
            (Some(pid), Some(pidfd)) => Ok(Born { pid, pidfd }),
            (Some(pid), None) => Err(self.refuse(pid, answer)),
            (None, _) => Err(ZygoteError::Os(Errno(answer.errno))),
        }
    }

    /// A child whose handle did not reach us, mostly because we have no number for it: it is ended by the zygote, which has
    /// one too, and buried by us.
    fn refuse(&mut self, pid: Pid, answer: Answer) -> ZygoteError {
        if answer.errno == 0 {
            let killed = self.told(message::send(&self.socket, &[KILL], &[])).and_then(|()| self.hear());
            if let Err(error) = killed {
                return error;
            }
        }
        // ECHILD: somebody else in this process buried it.
        let _ = wait::end(Who::Pid(pid));
        ZygoteError::Os(if answer.errno == 0 { Errno::EMFILE } else { Errno(answer.errno) })
    }

    fn hear(&mut self) -> Result<(Answer, Option<OwnedFd>), ZygoteError> {
        match Answer::receive(&self.socket)? {
            Some(answer) => Ok(answer),
            None => Err(self.gone()),
        }
    }

    fn told(&mut self, sent: doula_sys::Result<()>) -> Result<(), ZygoteError> {
        match sent {
            Err(errno) if message::is_gone(errno) => Err(self.gone()),
            sent => Ok(sent?),
        }
    }

    /// It has closed its end, and so is dead, dying, or no zygote any more.
    fn gone(&mut self) -> ZygoteError {
        // Who has ended takes it without effect, and its end is what it was.
        let _ = self.process.kill();
        ZygoteError::Gone(self.process.wait())
    }
}
