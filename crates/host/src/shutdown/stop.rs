//! What workers have of a shutdown: being told of it while they wait, and being waited for while they work.

use super::Phase;
use super::drive::Inner;
use crate::child::os_error;
use doula_core::graceful::Id;
use doula_model::plan::Errno;
use doula_sys::fd::{AsFd, BorrowedFd};
use doula_sys::poll::{self, Epoll, Happening, Interest};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Tells when a phase of the shutdown is reached; clones are the same. Its fd ([`AsFd`]) is readable from then on for ever, so
/// that it can stand beside others in poll(2).
///
/// ```
/// use doula_host::shutdown::{Ready, Shutdown};
/// use std::io::Write as _;
/// use std::os::unix::net::UnixStream;
///
/// let shutdown = Shutdown::settings().signals([]).install()?;
/// let stop = shutdown.stop();
/// let (ours, mut theirs) = UnixStream::pair()?;
/// theirs.write_all(b"request")?;
/// assert_eq!(stop.ready(&ours, None)?, Ready::Fd);
/// shutdown.ask()?;
/// shutdown.wait()?;
/// assert_eq!(stop.ready(&ours, None)?, Ready::Stop);   // the request is still there to be read, or not
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Stop {
    inner: Arc<Inner>,
    phase: Phase,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("phase", &self.phase).field("reached", &self.is_reached()).finish()
    }
}

/// What came first.
///
/// ```
/// use doula_host::shutdown::{Ready, Shutdown};
/// use std::time::Duration;
/// let stop = Shutdown::settings().signals([]).install()?.stop();
/// let (silent, _other) = std::os::unix::net::UnixStream::pair()?;
/// assert_eq!(stop.ready(&silent, Some(Duration::ZERO))?, Ready::Timeout);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The fd is readable, or at its end.
    Fd,
    /// The phase is reached; perhaps the fd is readable too.
    Stop,
    /// The time is over.
    Timeout,
}

impl Stop {
    pub(super) fn new(inner: Arc<Inner>, phase: Phase) -> Stop {
        Stop { inner, phase }
    }

    /// Whether the phase is reached.
    ///
    /// ```
    /// # use doula_host::shutdown::Shutdown;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// assert!(!shutdown.stop().is_reached());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_reached(&self) -> bool {
        poll::readable(self, Some(Duration::ZERO)) == Ok(true)
    }

    /// Waits until the phase is reached.
    ///
    /// # Errors
    /// Those of poll(2).
    ///
    /// ```
    /// # use doula_host::shutdown::Shutdown;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// shutdown.ask()?;
    /// shutdown.wait()?;
    /// shutdown.stop().wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait(&self) -> io::Result<()> {
        loop {
            match poll::readable(self, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(os_error(errno)),
            }
        }
    }

    /// Waits until the fd can be read, or the phase is reached, or (`None`: never) the time is over: what read(2) alone cannot
    /// do. An interruption by a signal begins the time anew.
    ///
    /// # Errors
    /// EPERM for a regular file, which is always ready; EMFILE.
    ///
    /// ```
    /// # use doula_host::shutdown::{Ready, Shutdown};
    /// let stop = Shutdown::settings().signals([]).install()?.stop();
    /// let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    /// drop(theirs);
    /// assert_eq!(stop.ready(&ours, None)?, Ready::Fd, "its end can be read");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ready(&self, fd: impl AsFd, time: Option<Duration>) -> io::Result<Ready> {
        let both = Epoll::new().map_err(os_error)?;
        for (at, token) in [(self.as_fd(), STOP), (fd.as_fd(), FD)] {
            both.add(at, Interest::READ, token).map_err(os_error)?;
        }
        let mut buffer = [Happening::EMPTY; 2];
        loop {
            let first = match both.wait(&mut buffer, time) {
                Err(Errno::EINTR) => continue,
                happened => happened.map_err(os_error)?.iter().map(Happening::token).max(),
            };
            return Ok(match first {
                Some(STOP) => Ready::Stop,
                Some(_) => Ready::Fd,
                None => Ready::Timeout,
            });
        }
    }

    /// accept(2) until the phase is reached: then `None`, and who waits in the queue of the socket stays there, for whoever
    /// accepts next. The socket must not block ([`TcpListener::set_nonblocking`]) if others accept from it too: they may be
    /// quicker, and then accept(2) would wait for the next one whatever happens.
    ///
    /// Without anybody to accept next (a supervisor that holds the socket, `sockets` in doula.toml), the kernel resets those
    /// connections when the socket is closed: they were never taken, and their clients try again.
    ///
    /// # Errors
    /// Those of accept(2); EMFILE and others need a pause before the next try.
    ///
    /// ```
    /// use doula_host::shutdown::Shutdown;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// assert!(shutdown.stop().accept(&listener)?.is_some());
    /// shutdown.ask()?;
    /// shutdown.wait()?;
    /// assert!(shutdown.stop().accept(&listener)?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn accept(&self, listener: &TcpListener) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        loop {
            if self.ready(listener, None)? == Ready::Stop {
                return Ok(None);
            }
            match listener.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                accepted => return accepted.map(Some),
            }
        }
    }

    /// Somebody works: the phase is not over before the [`Hold`] is dropped, or before its time is over; then the report names
    /// it. `None` when the phase is over: what would be begun now would not be waited for.
    ///
    /// ```
    /// use doula_host::shutdown::{Phase, Shutdown};
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// let pending = shutdown.at(Phase::FinishPending);
    /// let hold = pending.hold("a request").expect("nobody asked yet");
    /// std::thread::spawn(move || drop(hold));
    /// shutdown.ask()?;
    /// assert!(shutdown.wait()?.is_clean());
    /// assert!(pending.hold("too late").is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn hold(&self, name: &str) -> Option<Hold> {
        let id = self.inner.hold(self.phase, name)?;
        Some(Hold { inner: Arc::clone(&self.inner), id })
    }
}

/// Readable from the moment on when the phase is reached.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.reached(self.phase)
    }
}

const FD: u64 = 0;
/// The greater one counts when both are there.
const STOP: u64 = 1;

/// Work that a phase waits for, until this is dropped. See [`Stop::hold`].
///
/// ```
/// # use doula_host::shutdown::Shutdown;
/// let shutdown = Shutdown::settings().signals([]).install()?;
/// let hold = shutdown.stop().hold("the accepting thread");
/// assert!(hold.is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "work that is not held is not waited for"]
pub struct Hold {
    inner: Arc<Inner>,
    id: Id,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hold").field(&self.id).finish()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inner.release(self.id);
    }
}
