//! A graceful end: what was taken is finished, what is buffered is written, what is temporary is removed, in a time that is
//! known before.
//!
//! ```
//! use doula_host::shutdown::{Phase, Shutdown};
//! use doula_host::Signal;
//!
//! let shutdown = Shutdown::new()?;                 // TERM, INT and HUP ask for the end from here on
//! shutdown.on(Phase::FinishPending, "requests", || Ok(()))?;
//! shutdown.on(Phase::Flush, "journal", || Err(std::io::Error::other("disk full")))?;
//! shutdown.ask()?;                                 // as a signal would
//! let report = shutdown.wait()?;                   // the main thread waits here, and runs the end
//! assert_eq!(report.ran.len(), 2);
//! assert_eq!(report.ran[1].to_string().split(" after").next(), Some("flush: `journal` failed: disk full"));
//! assert_eq!(report.exit_code(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The phases
//!
//! [`Phase`] by phase, and within a phase the hooks in reverse order of their registration, one after the other, each on a
//! thread of its own. One that panics, fails, or does not end in time does not keep the others from being run, and is named in
//! the [`Report`]. A phase is also held by those who work ([`Stop::hold`]): it is over when they are done, or its time is.
//! The times are [`Limits`]; their sum, and the least time for each hook beyond, is the longest that the end can take.
//!
//! A second signal hurries: hooks get the least time from then on. A third one ends the process at once with 128+n, by the
//! handler itself, so that it works also when the program hangs.
//!
//! # Signals
//!
//! They are caught by a handler that writes their number into a pipe, and never does anything else. No thread has signals
//! blocked, so that children inherit no mask; one that was ignored when the program began (`nohup`) stays ignored. System
//! calls go on after the handler (`SA_RESTART`): a thread that waits in read(2) or accept(2) does not notice it, and that is
//! where a mere flag fails. So waiting is done beside the [`Stop`]: [`Stop::ready`], [`Stop::accept`]; or the socket is shut
//! down ([`Shutdown::hang_up`]).
//!
//! # Three kinds of programs
//!
//! - **Threads**: the main thread calls [`Shutdown::wait`]; workers have a [`Stop`] and hold a phase while they work.
//! - **A poll loop**: a [`Shutdown`] is an fd ([`std::os::fd::AsFd`]) that is readable when [`Shutdown::take_events`] has something
//!   to do; the loop holds [`Phase::FinishPending`] until it has answered the last request.
//! - **Tokio** (feature `tokio`): `Shutdown::wait_async` in one task, `Stop::reached` in the others.
//!
//! # Copies of this process
//!
//! [`on_exit`] and [`TempFile`] need no [`Shutdown`]: they are done at exit(3) too, and before it in the last phase of one that
//! runs. All of it belongs to this process. A copy (fork(2), by whomever) does nothing of it when it ends, and a signal ends it
//! as if it had no handler; it can have a registry and a [`Shutdown`] of its own.
//!
//! What cannot be done: SIGKILL and a panic in a program with `panic = "abort"` end a process without any of this.

mod drive;
mod registry;
mod report;
mod stop;
mod temp;
#[cfg(feature = "tokio")]
mod tokio;

pub use doula_core::graceful::{Limits, Phase};
pub use registry::{OnExit, on_exit};
pub(crate) use registry::{finish, still};
pub use report::{End, Held, Ran, Report};
pub use stop::{Hold, Ready, Stop};
pub use temp::TempFile;

use crate::child::os_error;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{self, AsFd, BorrowedFd};
use doula_sys::signal::{Disposition, disposition};
use doula_sys::{poll, socket};
use drive::Inner;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The graceful end of this process. See the [module](self). Clones are the same.
///
/// ```
/// use doula_host::shutdown::Shutdown;
/// let shutdown = Shutdown::new()?;
/// let asking = shutdown.clone();
/// std::thread::spawn(move || asking.ask());
/// assert_eq!(shutdown.wait()?.exit_code(), 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

/// How a [`Shutdown`] shall be.
///
/// ```
/// use doula_host::Signal;
/// use doula_host::shutdown::{Phase, Shutdown};
/// use std::time::Duration;
/// let shutdown = Shutdown::settings()
///     .signals([Signal::TERM])                                    // HUP means something else here
///     .limit(Phase::FinishPending, Duration::from_secs(25))
///     .install()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Settings {
    signals: Vec<Signal>,
    limits: Limits,
}

impl Settings {
    /// The signals that ask for the end, instead of TERM, INT and HUP. With none, only [`Shutdown::ask`] does.
    ///
    /// ```
    /// use doula_host::shutdown::Shutdown;
    /// let [_one, _other] = [(); 2].map(|()| Shutdown::settings().signals([]).install().expect("takes no signal"));
    /// ```
    #[must_use]
    pub fn signals(mut self, signals: impl IntoIterator<Item = Signal>) -> Settings {
        self.signals = signals.into_iter().collect();
        self
    }

    /// The longest time for a phase.
    ///
    /// ```
    /// # use doula_host::shutdown::{Phase, Shutdown};
    /// let settings = Shutdown::settings().limit(Phase::Flush, std::time::Duration::from_secs(30));
    /// ```
    #[must_use]
    pub fn limit(mut self, phase: Phase, time: Duration) -> Settings {
        self.limits.phases[phase as usize] = time;
        self
    }

    /// What a hook gets at least though its phase is over, and in a hurry at most.
    ///
    /// ```
    /// # use doula_host::shutdown::{Phase, Shutdown};
    /// let settings = Shutdown::settings().least(std::time::Duration::from_millis(50));
    /// ```
    #[must_use]
    pub fn least(mut self, time: Duration) -> Settings {
        self.limits.least = time;
        self
    }

    /// Catches the signals from now on.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when this process has a shutdown that catches signals already; EMFILE.
    ///
    /// ```
    /// use doula_host::shutdown::Shutdown;
    /// let _shutdown = Shutdown::settings().install()?;
    /// assert_eq!(Shutdown::new().unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn install(self) -> io::Result<Shutdown> {
        let not_ignored = |signal: &Signal| disposition(*signal) != Disposition::Ignored;
        let signals: Vec<Signal> = self.signals.into_iter().filter(not_ignored).collect();
        let inner = Inner::new(&signals, self.limits).map_err(os_error)?;
        Ok(Shutdown { inner: Arc::new(inner) })
    }
}

/// What happened, for a program with a loop of its own.
///
/// ```
/// use doula_host::shutdown::{Event, Phase, Shutdown};
/// let shutdown = Shutdown::settings().signals([]).install()?;
/// shutdown.ask()?;
/// let events = shutdown.take_events()?;
/// assert!(matches!(events[0], Event::Began(Phase::StopAccepting)));
/// assert!(matches!(events.last(), Some(Event::Over(_))), "nobody holds any phase");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A phase begins.
    Began(Phase),
    /// Somebody asked again.
    Hurried,
    /// All is over.
    Over(Report),
}

/// The phase is over: what was to be done in it would not be done any more.
///
/// ```
/// use doula_host::shutdown::{Phase, Shutdown};
/// let shutdown = Shutdown::settings().signals([]).install()?;
/// shutdown.ask()?;
/// shutdown.wait()?;
/// let error = shutdown.on(Phase::Flush, "late", || Ok(())).unwrap_err();
/// assert_eq!(error.to_string(), "the phase `flush` of the shutdown is over");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLate(
    /// Which.
    pub Phase,
);

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the phase `{}` of the shutdown is over", self.0)
    }
}

impl std::error::Error for TooLate {}

impl Shutdown {
    /// Catches TERM, INT and HUP from now on, with the default [`Limits`].
    ///
    /// # Errors
    /// As [`Settings::install`].
    ///
    /// ```
    /// let shutdown = doula_host::shutdown::Shutdown::new()?;
    /// assert!(!shutdown.stop().is_reached());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> io::Result<Shutdown> {
        Shutdown::settings().install()
    }

    /// Other signals or limits.
    ///
    /// ```
    /// let settings = doula_host::shutdown::Shutdown::settings();
    /// ```
    #[must_use]
    pub fn settings() -> Settings {
        Settings { signals: vec![Signal::TERM, Signal::INT, Signal::HUP], limits: Limits::default() }
    }

    /// Something to be done in a phase. It runs on a thread of its own, after those of its phase that were registered later.
    ///
    /// # Errors
    /// The phase is over.
    ///
    /// ```
    /// use doula_host::shutdown::{Phase, Shutdown};
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// for name in ["first", "second"] {
    ///     shutdown.on(Phase::Flush, name, || Ok(()))?;
    /// }
    /// shutdown.ask()?;
    /// let report = shutdown.wait()?;
    /// assert_eq!(report.ran.iter().map(|ran| &*ran.name).collect::<Vec<_>>(), ["second", "first"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on(
        &self,
        phase: Phase,
        name: &str,
        hook: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), TooLate> {
        self.inner.add(phase, name, None, Box::new(hook)).ok_or(TooLate(phase))
    }

    /// As [`Shutdown::on`], with less time than its phase has.
    ///
    /// # Errors
    /// The phase is over.
    ///
    /// ```
    /// use doula_host::shutdown::{End, Phase, Shutdown};
    /// use std::time::Duration;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// let for_ever = || Ok(std::thread::park_timeout(Duration::MAX));
    /// shutdown.on_within(Phase::Flush, "slow", Duration::from_millis(20), for_ever)?;
    /// shutdown.ask()?;
    /// assert_eq!(shutdown.wait()?.ran[0].end, End::Cut);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_within(
        &self,
        phase: Phase,
        name: &str,
        limit: Duration,
        hook: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), TooLate> {
        self.inner.add(phase, name, Some(limit), Box::new(hook)).ok_or(TooLate(phase))
    }

    /// In this phase the socket is shut down (shutdown(2)), so that whoever waits on it in read(2) or accept(2) is woken:
    /// reading gives the end, accepting EINVAL. A listening socket, and a connection, is closed for reading; what is still to
    /// be written can be.
    ///
    /// This concerns the open socket itself, also where another process has it: not for a listening socket that was inherited
    /// and is to live on ([`Stop::accept`] is). Connections that wait to be accepted are reset, as by any end of listening.
    ///
    /// # Errors
    /// The phase is over; EMFILE.
    ///
    /// ```
    /// use doula_host::shutdown::{Phase, Shutdown};
    /// use std::io::Read as _;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// let (mut ours, _theirs) = UnixStream::pair()?;
    /// shutdown.hang_up(Phase::CloseConnections, "client", &ours)?;
    /// let reader = std::thread::spawn(move || ours.read(&mut [0; 16]));   // nobody ever writes
    /// shutdown.ask()?;
    /// shutdown.wait()?;
    /// assert_eq!(reader.join().expect("no panic")?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hang_up(&self, phase: Phase, name: &str, socket: impl AsFd) -> io::Result<()> {
        let socket = fd::duplicate(socket, 0).map_err(os_error)?;
        let hook = move || match socket::shut_down(&socket, socket::Ways::In) {
            // Its other end was quicker.
            Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
            Err(errno) => Err(os_error(errno)),
        };
        self.on(phase, name, hook).map_err(io::Error::other)
    }

    /// The handle for those who work and wait: reached when somebody asks for the end.
    ///
    /// ```
    /// use doula_host::shutdown::Shutdown;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// let stop = shutdown.stop();
    /// let worker = std::thread::spawn(move || stop.wait());
    /// shutdown.ask()?;
    /// shutdown.wait()?;
    /// worker.join().expect("no panic")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.at(Phase::StopAccepting)
    }

    /// The same for a later phase: whoever has something to do in it holds it, waits for it, works and lets go.
    ///
    /// ```
    /// use doula_host::shutdown::{Phase, Shutdown};
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// let flush = shutdown.at(Phase::Flush);
    /// let hold = flush.hold("journal").expect("nobody asked yet");
    /// let writer = std::thread::spawn(move || {
    ///     flush.wait()?;
    ///     drop(hold);              // all is written
    ///     std::io::Result::Ok(())
    /// });
    /// shutdown.ask()?;
    /// assert_eq!(shutdown.wait()?.held, []);
    /// writer.join().expect("no panic")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn at(&self, phase: Phase) -> Stop {
        Stop::new(Arc::clone(&self.inner), phase)
    }

    /// Asks for the end as a signal does. Who asks again hurries; a third time it ends the process with 128+15.
    ///
    /// # Errors
    /// This is a copy of the process that made it.
    ///
    /// ```
    /// use doula_host::shutdown::Shutdown;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// shutdown.ask()?;
    /// assert_eq!(shutdown.wait()?.signal, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ask(&self) -> io::Result<()> {
        self.inner.ask()
    }

    /// Waits until somebody asks for the end, and until that is over. The same answer for all who wait.
    ///
    /// # Errors
    /// This is a copy of the process that made it.
    ///
    /// ```
    /// use doula_host::shutdown::Shutdown;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// shutdown.ask()?;
    /// assert_eq!(shutdown.wait()?, shutdown.wait()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait(&self) -> io::Result<Report> {
        loop {
            self.inner.turn()?;
            if let Some(report) = self.inner.report() {
                return Ok(report);
            }
            match poll::readable(self, None) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(os_error(errno)),
            }
        }
    }

    /// Does what is to be done now, and tells what happened; nothing waits. To be called whenever the fd is readable.
    ///
    /// # Errors
    /// This is a copy of the process that made it.
    ///
    /// ```
    /// use doula_host::shutdown::Shutdown;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// assert_eq!(shutdown.take_events()?, []);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take_events(&self) -> io::Result<Vec<Event>> {
        self.inner.turn()?;
        Ok(self.inner.take_events())
    }
}

/// Readable when [`Shutdown::take_events`] has something to do; for poll(2) and epoll(7).
impl AsFd for Shutdown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}
