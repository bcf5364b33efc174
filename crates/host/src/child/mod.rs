//! A living child: waiting for it, speaking to it, ending it, and what it was.
//!
//! ```
//! use doula_host::{Command, Signal};
//! use std::time::Duration;
//!
//! let mut child = Command::new("sleep").arg("1000").spawn()?;
//! assert_eq!(child.try_wait(), None);                             // lives
//! assert_eq!(child.wait_timeout(Duration::from_millis(10)), None); // lives still
//! child.signal(Signal::TERM)?;
//! let status = child.wait();
//! assert_eq!(status.to_string(), "was killed by SIGTERM");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The handle is a pidfd, made by the very call that made the child: a signal through it can reach no stranger, also
//! when somebody else reaped the child and its number was given away. It is readable when the child has ended
//! ([`std::os::fd::AsFd`]), so that a child stands in a poll loop beside sockets and timers; with the feature `tokio` a task
//! waits by `wait_async`.
//!
//! # Dropping
//!
//! A [`Child`] that is dropped leaves no zombie behind: see [`OnDrop`].

mod capture;
mod counts;
mod holders;
pub(crate) mod left;
pub(crate) mod relay;
pub(crate) mod talk;
#[cfg(feature = "tokio")]
mod tokio;
mod tree;

pub use crate::holder::Holder;
pub use capture::{Capture, CaptureError, Output};
pub use counts::{Io, shared_rss_kb};
pub(crate) use holders::of as holders_of;
#[cfg(feature = "supervisor")]
pub(crate) use tree::MARK;
pub use tree::{NotEmpty, Proof, Survivor, TreeEnd};
pub(crate) use tree::{Row, Tree, end_leaf, end_marked, end_together};

use crate::reaper::owners;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use doula_sys::fork::Born;
use doula_sys::wait::{self, Change, For, News, Usage, Who};
use doula_sys::{pidfd, poll};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter};
use std::time::{Duration, Instant};

/// What becomes of a child when its [`Child`] is dropped before its end was seen.
///
/// ```
/// use doula_host::{Command, OnDrop};
/// let child = Command::new("sleep").arg("0.01").on_drop(OnDrop::Leave).spawn()?;
/// drop(child);  // lives on, and is buried by a later birth or by `reap_left`
/// # Ok::<(), doula_host::CommandError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDrop {
    /// It is killed (with its whole tree if it is contained) and buried.
    #[default]
    Kill,
    /// It is waited for, however long that takes.
    Wait,
    /// It lives on. When it has ended, a [`crate::reaper::Reaper`] buries it, or the next birth of this process, or
    /// [`reap_left`].
    Leave,
}

/// How long a dropped child that was killed is waited for: it dies at once unless the kernel is busy with it. Then it is left
/// to be buried later.
pub(crate) const DEATH: Duration = Duration::from_secs(1);

/// A child that was born by [`crate::Command::spawn`]. See the [module](self) for the whole picture.
///
/// ```
/// use doula_host::Command;
/// let mut child = Command::new("true").spawn()?;
/// println!("{} was born", child.pid());
/// assert!(child.wait().success());
/// # Ok::<(), doula_host::CommandError>(())
/// ```
#[derive(Debug)]
#[must_use = "a child that is dropped is killed, unless its command says otherwise"]
pub struct Child {
    /// Our end of its standard input, if that is a pipe.
    pub stdin: Option<PipeWriter>,
    /// Our end of its standard output, if that is a pipe.
    pub stdout: Option<PipeReader>,
    /// Our end of its standard error, if that is a pipe.
    pub stderr: Option<PipeReader>,
    pid: Pid,
    handle: OwnedFd,
    pipes: BTreeMap<RawFd, OwnedFd>,
    end: Option<(ExitStatus, Usage)>,
    /// The kernel's counts of what it reads and writes, if they are asked for.
    counts: Option<File>,
    tree: Tree,
    on_drop: OnDrop,
}

impl Child {
    /// What it and its descendants are found by, when we are not there any more: their cgroup, and their mark.
    pub(crate) fn found_by(&self) -> (Option<std::path::PathBuf>, Option<String>) {
        self.tree.found_by()
    }

    pub(crate) fn new(born: Born, mut pipes: BTreeMap<RawFd, OwnedFd>, tree: Tree, on_drop: OnDrop) -> Child {
        owners::claim(born.pid);
        Child {
            stdin: pipes.remove(&0).map(PipeWriter::from),
            stdout: pipes.remove(&1).map(PipeReader::from),
            stderr: pipes.remove(&2).map(PipeReader::from),
            pid: born.pid,
            handle: born.pidfd,
            pipes,
            end: None,
            counts: None,
            tree,
            on_drop,
        }
    }

    /// Its number: for display and `/proc`. After its end was seen it may name a stranger.
    ///
    /// ```
    /// use doula_host::Command;
    /// let mut child = Command::new("cat").spawn()?;
    /// assert!(std::path::Path::new(&format!("/proc/{}", child.pid())).exists());
    /// # child.kill()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Our end to read from of the pipe that the child has as this fd ([`crate::Stdio::pipe_out`]); once.
    ///
    /// ```
    /// use doula_host::{Command, Stdio};
    /// let mut child = Command::new("sh").args(["-c", "echo hi >&5"]).fd(5, Stdio::pipe_out()).spawn()?;
    /// assert_eq!(std::io::read_to_string(child.take_reader(5).expect("a pipe"))?, "hi\n");
    /// assert!(child.take_reader(5).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_reader(&mut self, number: RawFd) -> Option<PipeReader> {
        self.pipes.remove(&number).map(PipeReader::from)
    }

    /// Our end to write to of the pipe that the child has as this fd ([`crate::Stdio::pipe_in`]); once.
    ///
    /// ```
    /// use doula_host::{Command, Stdio};
    /// use std::io::Write as _;
    /// let mut child = Command::new("sh").args(["-c", "read word <&5; test $word = hi"]).fd(5, Stdio::pipe_in()).spawn()?;
    /// child.take_writer(5).expect("a pipe").write_all(b"hi\n")?;
    /// assert!(child.wait().success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_writer(&mut self, number: RawFd) -> Option<PipeWriter> {
        self.pipes.remove(&number).map(PipeWriter::from)
    }

    /// Waits for its end and buries it. Its standard input is closed first if we hold it, so that we do not wait for each
    /// other. The answer stays: it can be asked for again.
    ///
    /// If somebody else reaped it, the pidfd tells how it ended (Linux 6.15); before that the end is
    /// [`ExitStatus::UNKNOWN`].
    ///
    /// ```
    /// use doula_host::{Command, Stdio};
    /// let mut child = Command::new("cat").stdin(Stdio::pipe_in()).spawn()?;
    /// assert_eq!(child.wait().to_string(), "exited cleanly (code 0)");
    /// assert_eq!(child.wait().exit_code(), Some(0));
    /// # Ok::<(), doula_host::CommandError>(())
    /// ```
    pub fn wait(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.look(For::END.blocking()) {
                return status;
            }
        }
    }

    /// Its end, if that was; nobody waits.
    ///
    /// ```
    /// use doula_host::Command;
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// assert_eq!(child.try_wait(), None);
    /// # Ok::<(), doula_host::CommandError>(())
    /// ```
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.look(For::END)
    }

    /// Its end, if that comes in time.
    ///
    /// ```
    /// use doula_host::Command;
    /// use std::time::Duration;
    /// let mut child = Command::new("true").spawn()?;
    /// assert!(child.wait_timeout(Duration::from_secs(60)).is_some_and(|status| status.success()));
    /// # Ok::<(), doula_host::CommandError>(())
    /// ```
    pub fn wait_timeout(&mut self, time: Duration) -> Option<ExitStatus> {
        self.wait_until(Instant::now().checked_add(time))
    }

    /// As [`Child::wait_timeout`], until an instant; `None` is for ever.
    fn wait_until(&mut self, deadline: Option<Instant>) -> Option<ExitStatus> {
        while self.end.is_none() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let ended = poll::readable(&self.handle, left);
            if let Some(status) = self.try_wait() {
                return Some(status);
            }
            if ended != Err(Errno::EINTR) && left.is_some_and(|left| left.is_zero()) {
                return None;
            }
        }
        self.end.map(|(status, _)| status)
    }

    /// Its end was seen.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Its end was not seen, and when it is dropped it is killed with a row of others.
    pub(crate) fn falls_with_its_row(&self) -> bool {
        self.end.is_none() && self.on_drop == OnDrop::Kill && self.tree.row().is_some()
    }

    /// It lives on.
    pub(crate) fn leave(mut self) {
        self.on_drop = OnDrop::Leave;
    }

    /// `None` when there is nothing to tell yet.
    fn look(&mut self, what: For) -> Option<ExitStatus> {
        if let Some((status, _)) = self.end {
            return Some(status);
        }
        let end = match wait::waitid_usage(Who::Pidfd(self.handle.as_fd()), what) {
            Ok(Some((News { change: Change::Exited(status), .. }, usage))) => (status, usage),
            Ok(_) | Err(Errno::EINTR) => return None,
            // Reaped by somebody else, or by the kernel because SIGCHLD is ignored.
            Err(_) => (pidfd::exit_status(&self.handle).unwrap_or(ExitStatus::UNKNOWN), Usage::default()),
        };
        self.end = Some(end);
        owners::release(self.pid);
        Some(end.0)
    }

    /// What it and its own reaped children have used, once its end was seen. Nothing is known (zero) of a child that
    /// somebody else reaped.
    ///
    /// ```
    /// use doula_host::Command;
    /// let mut child = Command::new("true").spawn()?;
    /// assert!(child.usage().is_none());
    /// child.wait();
    /// assert!(child.usage().expect("it ended").max_rss_kb > 0);
    /// # Ok::<(), doula_host::CommandError>(())
    /// ```
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.end.map(|(_, usage)| usage)
    }

    /// Sends a signal to exactly this process. A child that has ended takes it without effect.
    ///
    /// # Errors
    /// EPERM when it runs as somebody else by now.
    ///
    /// ```
    /// use doula_host::{Command, Signal};
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// child.signal(Signal::INT)?;
    /// assert_eq!(child.wait().killed_by(), Some(Signal::INT));
    /// child.signal(Signal::INT)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        gone_is_fine(pidfd::send(&self.handle, signal))
    }

    /// Sends a signal to every process of the group that this child leads ([`crate::Command::new_group`],
    /// [`crate::Command::new_session`]).
    ///
    /// # Errors
    /// EPERM when none of them may be signalled.
    ///
    /// ```
    /// use doula_host::{Command, Signal};
    /// let mut child = Command::new("sh").args(["-c", "sleep 1000 & wait"]).new_group().spawn()?;
    /// child.signal_group(Signal::KILL)?;
    /// assert_eq!(child.wait().killed_by(), Some(Signal::KILL));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        match pidfd::send_to_group(&self.handle, signal) {
            // Before Linux 6.9: the number is the group's own as long as its leader is not reaped.
            Err(Errno::EINVAL) if self.end.is_none() => gone_is_fine(pidfd::send_group(self.pid, signal)),
            answer => gone_is_fine(answer),
        }
    }

    /// Ends this process with SIGKILL; its descendants live on ([`Child::kill_tree`]). It is not buried by this.
    ///
    /// # Errors
    /// EPERM when it runs as somebody else by now.
    ///
    /// ```
    /// use doula_host::Command;
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// child.kill()?;
    /// assert_eq!(child.wait().to_string(), "was killed by SIGKILL");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Ends this process and all its descendants, buries it, and proves that nobody is left. Best with
    /// [`crate::Command::contained`]; without, descendants are found by their session and their parents, so that one
    /// that has left both before this call is not seen ([`Proof::Parents`]).
    ///
    /// # Errors
    /// Somebody lives still when the time is over: who, and in which state.
    ///
    /// ```
    /// use doula_host::{Command, Proof};
    /// use std::time::Duration;
    /// let mut child = Command::new("sh").args(["-c", "setsid sleep 1000 & wait"]).contained().spawn()?;
    /// let end = child.kill_tree(Duration::from_secs(20))?;
    /// assert!(end.proof != Proof::Parents);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_tree(&mut self, within: Duration) -> Result<TreeEnd, NotEmpty> {
        tree::kill(self, within)
    }

    /// Ends it: with its whole tree if it is contained, and then the answer is that of [`Child::kill_tree`].
    pub(crate) fn kill_all(&mut self, within: Duration) -> Option<Result<TreeEnd, NotEmpty>> {
        if self.tree.is_open() {
            // Who may not be killed lives on: the caller sees that.
            let _ = self.kill();
            return None;
        }
        Some(self.kill_tree(within))
    }

    /// What becomes of it when this is dropped. For a child that was born by a command,
    /// [`crate::Command::on_drop`] says it before.
    ///
    /// ```
    /// use doula_host::{OnDrop, fork::{Threads, fork}};
    /// let mut child = fork(Threads::Refuse, || 0)?;
    /// child.set_on_drop(OnDrop::Leave);
    /// drop(child);    // lives on
    /// # while doula_host::reap_left() > 0 { std::thread::yield_now(); }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_on_drop(&mut self, policy: OnDrop) {
        self.on_drop = policy;
    }

    /// Writes `input` to its standard input, captures what it writes to standard output and error, and waits for its
    /// end: all at once, so that nobody waits for the other for ever. Streams that are no pipes of ours are left alone.
    ///
    /// # Errors
    /// Those of reading and polling; a child that does not read its input is none.
    ///
    /// ```
    /// use doula_host::{Capture, Command, Stdio};
    /// let child = Command::new("tr").args(["a-z", "A-Z"])
    ///     .stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out()).spawn()?;
    /// assert_eq!(child.communicate(b"hello", &Capture::new())?.stdout_text(), "HELLO");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn communicate(self, input: &[u8], limits: &Capture) -> io::Result<Output> {
        capture::communicate(self, input, limits)
    }
}

/// The pidfd: readable when the child has ended, buried or not. For poll(2) and epoll(7); closing it is the child's business.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if self.try_wait().is_none() {
            match self.on_drop {
                OnDrop::Kill => {
                    // Whoever cannot be killed is left to be buried later.
                    let _ = self.kill_all(DEATH);
                    self.wait_timeout(DEATH);
                }
                OnDrop::Wait => drop(self.wait()),
                OnDrop::Leave => {}
            }
        }
        if self.end.is_none() {
            left::keep(self.pid, &self.handle);
        }
    }
}

/// Buries children that were left ([`OnDrop::Leave`]) and have ended meanwhile; returns how many of them live still.
/// Every birth does this too.
///
/// ```
/// use doula_host::{Command, OnDrop, reap_left};
/// drop(Command::new("true").on_drop(OnDrop::Leave).spawn()?);
/// while reap_left() > 0 { std::thread::yield_now(); }
/// # Ok::<(), doula_host::CommandError>(())
/// ```
pub fn reap_left() -> usize {
    left::bury()
}

/// A signal to who has ended is no failure.
fn gone_is_fine(sent: doula_sys::Result<()>) -> io::Result<()> {
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(os_error(errno)),
    }
}

pub(crate) fn os_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

/// Lets this much time pass where no event tells of what is waited for.
pub(crate) fn pause(time: Duration) {
    let end = Instant::now() + time;
    let Ok(silent) = poll::eventfd() else { return std::thread::yield_now() };
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        // EINTR: the rest is waited for.
        let _ = poll::readable(&silent, Some(left));
    }
}
