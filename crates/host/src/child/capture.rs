//! Talking with a child through its standard streams: writing, reading and waiting at once, within limits.

use super::{Child, Holder, OnDrop, holders, os_error};
use crate::command::CommandError;
use doula_model::exit::ExitStatus;
use doula_model::plan::{Errno, Step};
use doula_model::signal::Signal;
use doula_sys::fd::{self, AsFd};
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::signal::{self, Disposition, SignalSet};
use doula_sys::wait::Usage;
use std::fmt;
use std::io::{self, PipeReader};
use std::time::{Duration, Instant};

/// What a capture keeps of each stream unless told otherwise: more than a program says in words, less than what a
/// machine misses.
const KEPT: usize = 64 << 20;
/// How long a stream that somebody else holds open is read on after the child's end, unless told otherwise: what was
/// written before is there at once, and nobody should feel the wait.
const GRACE: Duration = Duration::from_millis(100);

/// The limits of a capture.
///
/// ```
/// use doula_host::{Capture, Command};
/// let output = Command::new("yes").capture(None, &Capture::new().limit(4).timeout(std::time::Duration::from_millis(50)))?;
/// assert_eq!(output.stdout, b"y\ny\n");
/// assert!(output.lost > 0 && output.timed_out);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    limit: usize,
    timeout: Option<Duration>,
    grace: Duration,
}

impl Default for Capture {
    fn default() -> Capture {
        Capture::new()
    }
}

impl Capture {
    /// 64 MiB of each stream, no time limit, a tenth of a second for who holds a stream open after the child's end.
    ///
    /// ```
    /// assert_eq!(doula_host::Capture::new(), doula_host::Capture::default());
    /// ```
    #[must_use]
    pub const fn new() -> Capture {
        Capture { limit: KEPT, timeout: None, grace: GRACE }
    }

    /// So many bytes of each stream are kept; what comes after is read, counted and dropped, so that the child does not
    /// wait for a reader.
    ///
    /// ```
    /// use doula_host::{Capture, Command};
    /// let output = Command::new("echo").arg("hello").capture(None, &Capture::new().limit(2))?;
    /// assert_eq!((output.stdout_text().as_str(), output.lost), ("he", 4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn limit(self, bytes: usize) -> Capture {
        Capture { limit: bytes, ..self }
    }

    /// A child that lives longer is killed, with its whole tree if it is contained.
    ///
    /// ```
    /// use doula_host::{Capture, Command};
    /// use std::time::Duration;
    /// let limits = Capture::new().timeout(Duration::from_millis(10));
    /// let output = Command::new("sleep").arg("1000").capture(None, &limits)?;
    /// assert_eq!(output.status.to_string(), "was killed by SIGKILL");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn timeout(self, time: Duration) -> Capture {
        Capture { timeout: Some(time), ..self }
    }

    /// How long streams are read on after the child's end while somebody else holds them open.
    ///
    /// ```
    /// use doula_host::{Capture, Command};
    /// use std::time::Duration;
    /// let limits = Capture::new().grace(Duration::from_secs(20));
    /// let output = Command::new("sh").args(["-c", "(sleep 0.2; echo late) &"]).capture(None, &limits)?;
    /// assert_eq!(output.stdout_text(), "late\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub const fn grace(self, time: Duration) -> Capture {
        Capture { grace: time, ..self }
    }
}

/// What a child said, and how it ended.
///
/// ```
/// use doula_host::Command;
/// let output = Command::new("sh").args(["-c", "echo hello; exit 2"]).output()?;
/// assert_eq!(output.stdout_text(), "hello\n");
/// assert_eq!(output.status.to_string(), "exited with code 2");
/// assert!(output.lost == 0 && !output.timed_out && output.holders.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it used.
    pub usage: Usage,
    /// What it wrote to standard output, if that was a pipe of ours.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, if that was a pipe of ours.
    pub stderr: Vec<u8>,
    /// How many bytes were above the limit, of both streams.
    pub lost: u64,
    /// Whether it was killed because its time was over.
    pub timed_out: bool,
    /// Who held a stream open after the child's end, so that we stopped reading; as far as we may see them.
    pub holders: Vec<Holder>,
    /// Whether a stream was left before its end, also when its holder cannot be named.
    pub cut: bool,
}

impl Output {
    /// Standard output as text; what is no UTF-8 is replaced.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::new("printf").arg(r"a\377").output()?.stdout_text(), "a\u{fffd}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text; what is no UTF-8 is replaced.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::new("sh").args(["-c", "echo no >&2"]).output()?.stderr_text(), "no\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Why nothing could be captured.
///
/// ```
/// use doula_host::{CaptureError, Command};
/// let error = Command::exact("/no/such/program").output().unwrap_err();
/// assert!(matches!(&error, CaptureError::Birth(birth) if birth.shell_code() == 127));
/// assert_eq!(error.to_string(), "`/no/such/program` does not exist");
/// ```
#[derive(Debug)]
pub enum CaptureError {
    /// No child was born.
    Birth(CommandError),
    /// A stream could not be read or waited for; the child was killed and buried.
    Io(io::Error),
}

impl CaptureError {
    /// The step of the birth that failed.
    ///
    /// ```
    /// use doula_host::{Command, Step};
    /// assert_eq!(Command::new("true").dir("/no/such").output().unwrap_err().step(), Some(Step::Directory));
    /// ```
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        match self {
            CaptureError::Birth(error) => Some(error.step()),
            CaptureError::Io(_) => None,
        }
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::Birth(error) => error.fmt(f),
            CaptureError::Io(error) => write!(f, "the output could not be captured: {error}"),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CaptureError::Birth(error) => Some(error),
            CaptureError::Io(error) => Some(error),
        }
    }
}

impl From<CaptureError> for io::Error {
    fn from(error: CaptureError) -> io::Error {
        match error {
            CaptureError::Birth(error) => error.into(),
            CaptureError::Io(error) => error,
        }
    }
}

/// What happened on which stream.
const INPUT: u64 = 0;
const OUTPUT: u64 = 1;
const ERROR: u64 = 2;
const DEATH: u64 = 3;

/// As much as a pipe holds.
const PIECE: usize = 64 << 10;

pub(super) fn communicate(mut child: Child, input: &[u8], limits: &Capture) -> io::Result<Output> {
    let _quiet = NoSigpipe::new();
    let on_drop = std::mem::replace(&mut child.on_drop, OnDrop::Kill);
    let mut talk = Talk::new(&child, input, limits)?;
    talk.run(&mut child)?;
    child.on_drop = on_drop;
    let cut = talk.cut(&child);
    Ok(Output {
        status: child.wait(),
        usage: child.usage().unwrap_or_default(),
        lost: talk.stdout.lost + talk.stderr.lost,
        stdout: talk.stdout.kept,
        stderr: talk.stderr.kept,
        timed_out: talk.timed_out,
        holders: if cut { holders::of(&child) } else { Vec::new() },
        cut,
    })
}

/// One conversation.
struct Talk<'a> {
    epoll: Epoll,
    input: &'a [u8],
    stdout: Stream,
    stderr: Stream,
    /// When the child's time is over; after its end, when that of the holders is.
    deadline: Option<Instant>,
    grace: Duration,
    dead: bool,
    timed_out: bool,
}

impl<'a> Talk<'a> {
    fn new(child: &Child, input: &'a [u8], limits: &Capture) -> io::Result<Talk<'a>> {
        let epoll = Epoll::new().map_err(os_error)?;
        watch(&epoll, &child.stdin, Interest::WRITE, INPUT)?;
        watch(&epoll, &child.stdout, Interest::READ, OUTPUT)?;
        watch(&epoll, &child.stderr, Interest::READ, ERROR)?;
        epoll.add(child, Interest::READ, DEATH).map_err(os_error)?;
        Ok(Talk {
            epoll,
            input,
            stdout: Stream::new(limits.limit),
            stderr: Stream::new(limits.limit),
            deadline: limits.timeout.and_then(|time| Instant::now().checked_add(time)),
            grace: limits.grace,
            dead: false,
            timed_out: false,
        })
    }

    fn run(&mut self, child: &mut Child) -> io::Result<()> {
        if self.input.is_empty() {
            child.stdin = None;
        }
        while !self.is_over(child) {
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                if self.dead {
                    return self.read_what_is_there(child);
                }
                self.end(child);
            }
            let left = self.deadline.and(left);
            let mut room = [Happening::EMPTY; 4];
            let happened = match self.epoll.wait(&mut room, left) {
                Ok(happened) => happened,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(os_error(errno)),
            };
            for happening in happened {
                self.take(child, happening.token())?;
            }
        }
        Ok(())
    }

    /// The last look at streams that others hold open: what the child itself wrote may still be in them, but not more
    /// than a pipe can hold.
    fn read_what_is_there(&mut self, child: &mut Child) -> io::Result<()> {
        const LARGEST_PIPE: usize = 1 << 20;
        for _ in 0..LARGEST_PIPE / PIECE {
            self.take(child, OUTPUT)?;
            self.take(child, ERROR)?;
        }
        Ok(())
    }

    /// All is read and the child is dead.
    fn is_over(&self, child: &Child) -> bool {
        self.dead && child.stdout.is_none() && child.stderr.is_none()
    }

    /// Whether a stream was left before its end.
    fn cut(&self, child: &Child) -> bool {
        child.stdout.is_some() || child.stderr.is_some()
    }

    fn take(&mut self, child: &mut Child, token: u64) -> io::Result<()> {
        match token {
            INPUT => self.write(child),
            OUTPUT => self.stdout.read(&mut child.stdout, &self.epoll),
            ERROR => self.stderr.read(&mut child.stderr, &self.epoll),
            _ => {
                self.dead = true;
                // It stays readable: looked at once.
                self.epoll.delete(&*child).map_err(os_error)?;
                child.stdin = None;
                self.deadline = Instant::now().checked_add(self.grace);
                Ok(())
            }
        }
    }

    /// Who does not read, or reads no more, is free to do so.
    fn write(&mut self, child: &mut Child) -> io::Result<()> {
        let Some(pipe) = &child.stdin else { return Ok(()) };
        match fd::write(pipe, self.input) {
            Ok(written) => self.input = &self.input[written..],
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::EPIPE) => self.input = &[],
            Err(errno) => return Err(os_error(errno)),
        }
        if self.input.is_empty() {
            child.stdin = None;
        }
        Ok(())
    }

    /// The child's time is over.
    fn end(&mut self, child: &mut Child) {
        self.timed_out = true;
        self.deadline = None;
        // Whoever may not be killed is waited for.
        if child.tree.is_open() {
            let _ = child.kill();
        } else {
            let _ = child.kill_tree(self.grace);
        }
    }
}

/// Watches an end that may be there. Our end alone does not wait: the child's is another open file.
fn watch(epoll: &Epoll, end: &Option<impl AsFd>, interest: Interest, token: u64) -> io::Result<()> {
    let Some(end) = end else { return Ok(()) };
    fd::set_nonblocking(end, true).map_err(os_error)?;
    epoll.add(end, interest, token).map_err(os_error)
}

/// What came out of one stream.
struct Stream {
    kept: Vec<u8>,
    lost: u64,
    limit: usize,
}

impl Stream {
    fn new(limit: usize) -> Stream {
        Stream { kept: Vec::new(), lost: 0, limit }
    }

    /// One piece, so that every stream gets its turn. At its end the stream is closed.
    fn read(&mut self, stream: &mut Option<PipeReader>, epoll: &Epoll) -> io::Result<()> {
        let Some(reader) = stream else { return Ok(()) };
        let mut piece = [0; PIECE];
        match fd::read(&*reader, &mut piece) {
            Ok(0) => {
                // A copy that somebody made of our end would keep it in the set.
                epoll.delete(&*reader).map_err(os_error)?;
                *stream = None;
            }
            Ok(length) => {
                let room = self.limit - self.kept.len();
                let (kept, lost) = piece[..length].split_at(room.min(length));
                self.kept.extend_from_slice(kept);
                self.lost += lost.len() as u64;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(os_error(errno)),
        }
        Ok(())
    }
}

/// Keeps SIGPIPE from ending this thread's process while it writes to a pipe that nobody may read. A Rust program
/// ignores it, but who uses this library may have it otherwise.
struct NoSigpipe(Option<SignalSet>);

impl NoSigpipe {
    fn new() -> NoSigpipe {
        let harmless = signal::disposition(Signal::PIPE) == Disposition::Ignored;
        NoSigpipe((!harmless).then(|| {
            let before = signal::set_mask(SignalSet::FULL);
            signal::set_mask(before.with(Signal::PIPE));
            before
        }))
    }
}

impl Drop for NoSigpipe {
    fn drop(&mut self) {
        let Some(before) = self.0 else { return };
        if !before.contains(Signal::PIPE) {
            // What our own write raised must not be delivered now.
            let _ = signal::wait(SignalSet::EMPTY.with(Signal::PIPE), Some(Duration::ZERO));
        }
        signal::set_mask(before);
    }
}
