//! A zygote: a process that was warmed once and bears children by fork(2) while it is small and of one thread. They are *our*
//! children, not the zygote's: we wait for them by the same [`Child`] as for every other.
//!
//! For pools of Rust functions, where each call gets a process of its own. [`crate::fork`] costs time in proportion to our
//! memory and refuses a process of several threads; a zygote that was started early has little memory and one thread,
//! whatever becomes of us.
//!
//! ```
//! use doula_host::{Task, Zygote};
//!
//! // Early in main(), before there are threads, and before there is much memory.
//! let zygote = Zygote::start(|task: Task| u8::from(task.request != b"work"))?;
//! // Later, from any thread: a child that runs the function.
//! let mut child = zygote.spawn(b"work", &[])?;
//! assert!(child.wait().success());
//! # Ok::<(), doula_host::ZygoteError>(())
//! ```
//!
//! # Two ways to a zygote
//!
//! [`Zygote::start`] copies this process, so that all that was prepared is there: the function may use what it has captured.
//! It must come before other threads.
//!
//! [`Zygote::exec`] executes a program, mostly our own (`/proc/self/exe`), that prepares what it wants and then calls [`serve()`].
//! That can be done at any time, beside any threads and any amount of memory, and again ([`Zygote::renew`]).
//!
//! # What a child is
//!
//! A copy of the zygote with the fds of its [`Task`]; our child (`getppid`), with its handle from birth, also where
//! PID 1 is the one who asks. Its environment, directory, limits, cgroup and open fds are those of the zygote, which has them
//! from the moment of its start: fds that are open then stay open in it. It blocks no signal and catches none; what was
//! ignored is ignored (SIGPIPE in Rust), but SIGCHLD. It does not have the socket by which the zygote is asked.
//!
//! It ends by `_exit` with the answer of the function: no exit handler of ours runs, only what the function itself has
//! registered ([`crate::shutdown::on_exit`]). A panic is told on standard error and ends it with code [`PANICKED`], or by SIGABRT
//! where panics abort. Handlers of pthread_atfork(3) do not run: nobody but fork(3) can call them.
//!
//! # Ends
//!
//! A zygote that is dropped is killed and buried; its children live on. When we die, it sees that and ends by itself; its
//! children are then orphans as any others. Signals do not disturb it (a Ctrl-C reaches its whole group), but for SIGKILL
//! and SIGSTOP. When it is killed, the next question is answered by [`ZygoteError::Gone`], and [`Zygote::renew`] starts another.

mod error;
mod line;
mod message;
mod serve;

pub use error::ZygoteError;
pub use serve::{Task, serve};

use crate::child::{Child, OnDrop, Tree, left};
use crate::command::{Command, Stdio};
use crate::fork::{self, Threads};
use crate::reaper::owners;
use doula_model::id::Pid;
use doula_sys::fd::BorrowedFd;
use doula_sys::fork::mark;
use doula_sys::signal::{SignalSet, set_mask};
use line::Line;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The exit code of a child whose function panicked (where panics do not abort: there it is killed by SIGABRT).
///
/// ```no_run
/// use doula_host::zygote::{PANICKED, Zygote};
/// let zygote = Zygote::start(|_| panic!("told on standard error"))?;
/// assert_eq!(zygote.spawn(b"", &[])?.wait().exit_code(), Some(PANICKED));
/// # Ok::<(), doula_host::ZygoteError>(())
/// ```
pub const PANICKED: u8 = 101;

/// The longest request. A child has its own copy of it; what is larger belongs into a file whose fd is handed over.
///
/// ```
/// use doula_host::zygote::{MAX_REQUEST, Zygote, ZygoteError};
/// let zygote = Zygote::start(|_| 0)?;
/// let error = zygote.spawn(&vec![0; MAX_REQUEST + 1], &[]).unwrap_err();
/// assert!(matches!(error, ZygoteError::TooLarge(_)));
/// # Ok::<(), ZygoteError>(())
/// ```
pub const MAX_REQUEST: usize = 64 << 20;

/// The most fds that can be handed over at once: what the kernel takes with one message, but for one of ours.
///
/// ```
/// use doula_host::zygote::{MAX_FDS, Zygote, ZygoteError};
/// use std::os::fd::AsFd as _;
/// let zygote = Zygote::start(|_| 0)?;
/// let file = std::fs::File::open("/dev/null")?;
/// let error = zygote.spawn(b"", &vec![file.as_fd(); MAX_FDS + 1]).unwrap_err();
/// assert!(matches!(error, ZygoteError::TooManyFds(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_FDS: usize = doula_sys::socket::MAX_FDS - 1;

type Work = dyn Fn(Task) -> u8 + Send + Sync;

/// A process that bears children for us. See the [module](self) for the whole picture.
///
/// Several threads may ask it at once: one after the other is served.
///
/// ```
/// use doula_host::{Task, Zygote};
/// let zygote = Zygote::start(|task: Task| task.request[0])?;
/// let codes = std::thread::scope(|scope| {
///     let ask = |request: u8| zygote.spawn(&[request], &[]).map(|mut child| child.wait().exit_code());
///     let asked = [1, 2, 3].map(|request| scope.spawn(move || ask(request)));
///     asked.map(|thread| thread.join().expect("no panic").expect("a child"))
/// });
/// assert_eq!(codes, [Some(1), Some(2), Some(3)]);
/// # Ok::<(), doula_host::ZygoteError>(())
/// ```
pub struct Zygote {
    origin: Origin,
    line: Mutex<Line>,
    /// The process whose children are born; a copy of it has no claim to them.
    owner: u64,
}

/// How it was started, to do it again.
enum Origin {
    Copy(Arc<Work>),
    Program(Box<Command>),
}

impl Zygote {
    /// Starts a zygote as a copy of this process: its children run `work`, and end with the answer as exit code.
    ///
    /// # Errors
    /// [`ZygoteError::Threads`] when this process has more than one thread.
    ///
    /// ```
    /// use doula_host::{Zygote, ZygoteError};
    /// use std::sync::mpsc::channel;
    /// let (stop, wait) = channel::<()>();
    /// let other = std::thread::spawn(move || wait.recv());
    /// assert!(matches!(Zygote::start(|_| 0), Err(ZygoteError::Threads(_))));
    /// drop(stop);
    /// # let _ = other.join();
    /// ```
    pub fn start(work: impl Fn(Task) -> u8 + Send + Sync + 'static) -> Result<Zygote, ZygoteError> {
        Zygote::of(Origin::Copy(Arc::new(work)))
    }

    /// Starts a zygote as a program, which is to call [`serve()`] when it is prepared; this waits until then. It gets its socket
    /// as fd 3.
    ///
    /// Whatever the command says of its context (limits, directory, cgroup …) also holds for the children.
    /// If it is [contained](Command::contained), its end is that of its children too.
    ///
    /// # Errors
    /// [`ZygoteError::Start`] when the program cannot be executed, [`ZygoteError::Gone`] when it ended without having served,
    /// [`ZygoteError::Threads`] when it had several threads by then.
    ///
    /// ```
    /// use doula_host::{Command, Zygote, ZygoteError};
    /// let error = Zygote::exec(&Command::new("true")).unwrap_err();   // does not serve
    /// assert_eq!(error.to_string(), "the zygote is gone: it exited cleanly (code 0)");
    /// ```
    pub fn exec(command: &Command) -> Result<Zygote, ZygoteError> {
        Zygote::of(Origin::Program(Box::new(command.clone())))
    }

    fn of(origin: Origin) -> Result<Zygote, ZygoteError> {
        let line = origin.start()?;
        Ok(Zygote { origin, line: Mutex::new(line), owner: mark::identity() })
    }

    /// Bears a child that runs the function with this request, and with duplicates of these fds.
    ///
    /// # Errors
    /// [`ZygoteError::Gone`] when the zygote has ended, and how; [`ZygoteError::Os`] when the kernel refuses a process or a descriptor;
    /// [`ZygoteError::TooLarge`] and [`ZygoteError::TooManyFds`]; [`ZygoteError::Copied`] in a copy of the process that
    /// started it. Then there is no child.
    ///
    /// ```
    /// use doula_host::{Task, Zygote};
    /// use std::{fs::File, io::Write as _, os::fd::AsFd as _};
    ///
    /// let zygote = Zygote::start(|task: Task| {
    ///     let mut files = task.fds.into_iter().map(File::from);
    ///     let told = files.next().is_some_and(|mut file| file.write_all(&task.request.to_ascii_uppercase()).is_ok());
    ///     u8::from(!told)
    /// })?;
    /// let (reader, writer) = std::io::pipe()?;
    /// let mut child = zygote.spawn(b"hello", &[writer.as_fd()])?;
    /// drop(writer);
    /// assert_eq!(std::io::read_to_string(reader)?, "HELLO");
    /// assert!(child.wait().success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn(&self, request: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Child, ZygoteError> {
        if self.owner != mark::identity() {
            return Err(ZygoteError::Copied);
        }
        left::bury();
        // No reaper of ours takes the child before it is known to be ours.
        let _birth = owners::birth();
        let born = self.line().ask(request, fds)?;
        Ok(Child::new(born, BTreeMap::new(), Tree::Open, OnDrop::default()))
    }

    /// Starts a new zygote by the same way, and ends this one when the other is ready: after a death, or to warm it again. A copy
    /// is one of this process as it is now, so that it must have one thread; a program is executed afresh.
    ///
    /// # Errors
    /// As [`Zygote::start`] and [`Zygote::exec`]; then the zygote is the same as before.
    ///
    /// ```
    /// use doula_host::{Zygote, ZygoteError};
    /// let zygote = Zygote::start(|_| 0)?;
    /// let child = match zygote.spawn(b"work", &[]) {
    ///     Err(ZygoteError::Gone(_)) => zygote.renew().and_then(|()| zygote.spawn(b"work", &[])),
    ///     answer => answer,
    /// };
    /// assert!(child?.wait().success());
    /// # Ok::<(), ZygoteError>(())
    /// ```
    pub fn renew(&self) -> Result<(), ZygoteError> {
        if self.owner != mark::identity() {
            return Err(ZygoteError::Copied);
        }
        let new = self.origin.start()?;
        let old = std::mem::replace(&mut *self.line(), new);
        drop(old);
        Ok(())
    }

    /// The number of the zygote itself, for display.
    ///
    /// ```
    /// let zygote = doula_host::Zygote::start(|_| 0)?;
    /// assert!(std::path::Path::new(&format!("/proc/{}", zygote.pid())).exists());
    /// # Ok::<(), doula_host::ZygoteError>(())
    /// ```
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.line().pid()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Whoever panics in a conversation leaves it at a place where the other side ends it.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Zygote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zygote").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Origin {
    /// A zygote that is ready.
    fn start(&self) -> Result<Line, ZygoteError> {
        let (ours, theirs) = message::pair()?;
        match self {
            Origin::Copy(work) => {
                let (ours, work) = (Cell::new(Some(ours)), Arc::clone(work));
                // The handlers of this process must not run in the copy, and no signal may be lost on us.
                let before = set_mask(SignalSet::FULL);
                let copy = fork::fork(Threads::Refuse, || {
                    drop(ours.take());
                    serve::run(theirs, &*work)
                });
                set_mask(before);
                let process = copy.map_err(ZygoteError::of_a_fork)?;
                Line::open(ours.take(), process)
            }
            Origin::Program(command) => {
                let mut command = Command::clone(command);
                command.fd(serve::SOCKET, Stdio::from(theirs)).on_drop(OnDrop::Kill);
                let process = command.spawn().map_err(ZygoteError::Start)?;
                drop(command);
                Line::open(Some(ours), process)
            }
        }
    }
}
