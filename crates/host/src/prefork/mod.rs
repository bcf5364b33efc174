//! A server of several processes: workers that are born of a [`crate::Zygote`], accept from the same sockets, and are
//! replaced when they end. What Apache's prefork does, for a Rust function.
//!
//! ```no_run
//! use doula_host::{prefork::Prefork, shutdown::Shutdown, worker::Worker};
//! use std::net::TcpListener;
//!
//! fn serve(worker: &Worker) -> std::io::Result<()> {
//!     let (listener, shutdown) = (worker.listeners()?.remove(0), Shutdown::new()?);
//!     let stop = shutdown.stop();
//!     std::thread::spawn(move || shutdown.wait());
//!     worker.ready()?;
//!     while let Some((_client, _)) = stop.accept(&listener)? {
//!         let _work = worker.work();          // … and the answer
//!     }
//!     Ok(())
//! }
//!
//! let code = Prefork::new(|worker| u8::from(serve(&worker).is_err()))?
//!     .socket(TcpListener::bind("127.0.0.1:8080")?)
//!     .workers(4)
//!     .run()?;                                // until SIGTERM or SIGINT; SIGHUP replaces all workers
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Or of a program in any language, which gets the sockets as `LISTEN_FDS` ([`Prefork::exec`]):
//!
//! ```no_run
//! use doula_host::{Command, prefork::Prefork};
//! use std::net::TcpListener;
//!
//! let mut worker = Command::new("python3");
//! worker.arg("worker.py");
//! Prefork::exec(worker).socket(TcpListener::bind("127.0.0.1:8080")?).workers(4).run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The sockets stay open in the process that starts it, so that a worker that crashes costs the requests in its hands, and no
//! connection that waits. A worker gets SIGTERM when its parent dies. For a number of workers that follows the load, logs,
//! limits and changed programs there is `[pool.NAME]` of `doula up`, under which the same function serves.

mod crew;
mod error;
mod program;

pub use crew::{Attended, Crew, Seat};
pub use error::PreforkError;

use crate::Command;
use crate::signals::Held;
use crate::worker::Worker;
use crate::zygote::{Task, Zygote};
use doula_model::id::Pid;
use doula_model::signal::Signal;
use doula_sys::fd::OwnedFd;
use doula_sys::{adopt, group, sched};
use program::Program;
use std::fs::File;
use std::time::Duration;

/// What a worker gets to end in, unless it is said.
const GRACE: Duration = Duration::from_secs(10);
/// How long a worker may take to be ready, unless it is said.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server of several processes that is not started yet. See the [module](self).
///
/// ```
/// use doula_host::prefork::Prefork;
/// use std::time::Duration;
/// let prefork = Prefork::new(|worker| u8::from(worker.ready().is_err()))?.workers(2).pin(true);
/// let mut crew = prefork.grace(Duration::from_secs(5)).start()?;
/// assert_eq!(crew.seats().iter().map(|seat| seat.slot).collect::<Vec<_>>(), [1, 2]);
/// crew.stop();
/// # Ok::<(), doula_host::prefork::PreforkError>(())
/// ```
#[derive(Debug)]
pub struct Prefork {
    workers: Workers,
    sockets: Vec<OwnedFd>,
    count: u32,
    pin: bool,
    grace: Duration,
    patience: Duration,
}

/// What the workers are.
#[derive(Debug)]
enum Workers {
    /// Copies of us, which run a function.
    Function(Zygote),
    /// A program.
    Program(Box<Program>),
}

impl Prefork {
    /// A server whose workers run this function, and end with the code that it returns. It says [`Worker::ready`] when it
    /// accepts, and returns when it is asked to end (SIGTERM, as [`crate::shutdown`] sees it).
    ///
    /// To be called early, while this process has one thread: the workers begin as copies of what it is now.
    ///
    /// # Errors
    /// [`PreforkError::Zygote`].
    ///
    /// ```
    /// use doula_host::prefork::Prefork;
    /// let prefork = Prefork::new(|worker| u8::from(worker.ready().is_err()))?;
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    pub fn new(serve: impl Fn(Worker) -> u8 + Send + Sync + 'static) -> Result<Prefork, PreforkError> {
        let zygote = Zygote::start(move |task| begin(task).map_or(FAILED, &serve))?;
        Ok(Prefork::of(Workers::Function(zygote)))
    }

    /// A server whose workers are this program, born with all that the command says and in any state of this process. It gets what a worker of
    /// `[pool.NAME]` gets: the sockets from fd 3 on with `LISTEN_FDS` and `LISTEN_PID` (sd_listen_fds(3)), `DOULA_SLOT`, a scoreboard
    /// (`DOULA_SCOREBOARD`) on the fd behind them, and `NOTIFY_SOCKET`, where its main process says `READY=1` (sd_notify(3)) unless
    /// [`Prefork::silent`] is said. It ends on SIGTERM; a roll executes the program anew.
    ///
    /// ```
    /// use doula_host::{Command, prefork::Prefork};
    /// let mut worker = Command::new("sh");
    /// worker.args(["-c", "echo $DOULA_SLOT of $LISTEN_FDS; exec sleep 1000"]);
    /// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let mut crew = Prefork::exec(worker).silent().socket(socket).workers(2).start()?;
    /// assert_eq!(crew.stop(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exec(worker: Command) -> Prefork {
        Prefork::of(Workers::Program(Box::new(Program { command: worker, speaks: true })))
    }

    fn of(workers: Workers) -> Prefork {
        let (count, pin) = (1, false);
        Prefork { workers, sockets: Vec::new(), count, pin, grace: GRACE, patience: PATIENCE }
    }

    /// The program does not say when it is ready: it counts as ready when it is executed, and connections wait until it accepts.
    /// A function always says so.
    ///
    /// ```
    /// use doula_host::{Command, prefork::Prefork};
    /// let mut sleeper = Command::new("sleep");
    /// sleeper.arg("1000");
    /// let mut crew = Prefork::exec(sleeper).silent().start()?;        // else it would wait for READY=1
    /// assert_eq!(crew.stop(), 0);
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    #[must_use]
    pub fn silent(mut self) -> Prefork {
        if let Workers::Program(program) = &mut self.workers {
            program.speaks = false;
        }
        self
    }

    /// One more socket that all workers get, in the order of these calls.
    ///
    /// ```
    /// # use doula_host::prefork::Prefork;
    /// use std::net::TcpListener;
    /// let web = TcpListener::bind("127.0.0.1:0")?;
    /// let prefork = Prefork::new(|worker| u8::from(worker.listeners().is_err()))?.socket(web);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn socket(mut self, socket: impl Into<OwnedFd>) -> Prefork {
        self.sockets.push(socket.into());
        self
    }

    /// So many workers; one unless it is said.
    ///
    /// ```
    /// # use doula_host::prefork::Prefork;
    /// let mut crew = Prefork::new(|worker| u8::from(worker.ready().is_err()))?.workers(3).start()?;
    /// assert_eq!(crew.seats().len(), 3);
    /// # crew.stop();
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    #[must_use]
    pub fn workers(mut self, count: u32) -> Prefork {
        self.count = count.max(1);
        self
    }

    /// Whether each worker has a CPU of its own, in turn, and the nodes of memory in turn too.
    ///
    /// ```
    /// # use doula_host::prefork::Prefork;
    /// let prefork = Prefork::new(|worker| u8::from(worker.ready().is_err()))?.workers(4).pin(true);
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    #[must_use]
    pub fn pin(mut self, pin: bool) -> Prefork {
        self.pin = pin;
        self
    }

    /// What a worker gets to end in after SIGTERM, before SIGKILL; 10 s unless it is said.
    ///
    /// ```
    /// # use doula_host::prefork::Prefork;
    /// use std::time::Duration;
    /// let prefork = Prefork::new(|worker| u8::from(worker.ready().is_err()))?.grace(Duration::from_secs(60));
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Prefork {
        self.grace = grace;
        self
    }

    /// How long a worker may take to be ready; 30 s unless it is said.
    ///
    /// ```
    /// # use doula_host::prefork::Prefork;
    /// use std::time::Duration;
    /// let never = Prefork::new(|_| loop { std::thread::park() })?.patience(Duration::from_millis(50));
    /// assert!(never.start().is_err());
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Prefork {
        self.patience = patience;
        self
    }

    /// Starts all workers, and waits until they are ready.
    ///
    /// # Errors
    /// When one of them does not become ready; then the others are ended too.
    ///
    /// ```
    /// # use doula_host::prefork::Prefork;
    /// let error = Prefork::new(|_| 3)?.start().unwrap_err();      // ends, and never was ready
    /// assert!(error.to_string().contains("exited with code 3"), "{error}");
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    pub fn start(self) -> Result<Crew, PreforkError> {
        Crew::start(self)
    }

    /// Serves until SIGTERM or SIGINT, replaces all workers at SIGHUP, and whoever ends at any time. The code is 1 if a worker had
    /// to be killed at the end.
    ///
    /// # Errors
    /// As [`Prefork::start`]; EMFILE.
    ///
    /// ```no_run
    /// # use doula_host::prefork::Prefork;
    /// let code = Prefork::new(|worker| u8::from(worker.ready().is_err()))?.workers(2).run()?;
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    pub fn run(self) -> Result<u8, PreforkError> {
        // Held before anybody is born. Workers hold no signal back.
        let signals = Held::back(&[Signal::TERM, Signal::INT, Signal::HUP])?;
        let mut crew = self.start()?;
        loop {
            if crew.attend(&signals, None)? != Attended::Fd {
                continue;
            }
            match signals.take()?.map(|arrival| arrival.signal) {
                // Those that are not replaced stay, and the next SIGHUP tries again.
                Some(Signal::HUP) => drop(crew.roll()),
                Some(_) => return Ok(u8::from(crew.stop() > 0)),
                None => {}
            }
        }
    }
}

/// What a worker is born with: its slot, its parent, and its CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    slot: u32,
    parent: i32,
    cpu: Option<u16>,
}

/// The code of a worker that could not begin.
const FAILED: u8 = 125;

impl Order {
    fn to_bytes(self) -> Vec<u8> {
        let cpu = self.cpu.map_or(-1, i32::from);
        [self.slot.to_ne_bytes(), self.parent.to_ne_bytes(), cpu.to_ne_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Order> {
        let word = |place: usize| <[u8; 4]>::try_from(bytes.get(place * 4..place * 4 + 4)?).ok();
        let (slot, parent) = (u32::from_ne_bytes(word(0)?), i32::from_ne_bytes(word(1)?));
        Some(Order { slot, parent, cpu: u16::try_from(i32::from_ne_bytes(word(2)?)).ok() })
    }
}

/// The first steps of a worker. Its fds are its scoreboard, where it says that it is ready, and the sockets.
fn begin(task: Task) -> Option<Worker> {
    let order = Order::from_bytes(&task.request)?;
    adopt::set_parent_death_signal(Some(Signal::TERM)).ok()?;
    let parent = group::parent().map_or(0, Pid::get);
    if parent != order.parent {
        return None;
    }
    if let Some(cpu) = order.cpu {
        // It may have been taken away from us since; any other will do.
        let _ = sched::set_affinity(group::pid(), &[cpu]);
    }
    let mut fds = task.fds.into_iter();
    let (board, ready) = (File::from(fds.next()?), File::from(fds.next()?));
    Some(Worker::new(Some(order.slot), fds.collect(), Some(board)).tells(ready))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_its_way_and_half_of_one_is_none() {
        for cpu in [None, Some(0), Some(300)] {
            let order = Order { slot: 7, parent: 4711, cpu };
            assert_eq!(Order::from_bytes(&order.to_bytes()), Some(order));
        }
        assert_eq!(Order::from_bytes(&[0; 11]), None);
    }
}
