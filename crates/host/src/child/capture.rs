//! Talking with a child through its standard streams: writing, reading and waiting at once, within limits.

use super::talk::{Rules, Talk};
use super::{Child, Holder, OnDrop};
use crate::command::CommandError;
use doula_model::exit::ExitStatus;
use doula_model::plan::Step;
use doula_sys::wait::Usage;
use std::fmt;
use std::io;
use std::slice;
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
    pub(super) limit: usize,
    pub(super) timeout: Option<Duration>,
    pub(super) grace: Duration,
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

pub(super) fn communicate(mut child: Child, input: &[u8], limits: &Capture) -> io::Result<Output> {
    child.on_drop = OnDrop::Kill;
    let rules = Rules { limits: *limits, ..Rules::default() };
    let children = slice::from_mut(&mut child);
    let mut talk = Talk::new(children, input, rules, Instant::now(), Vec::new())?;
    talk.run(children, None)?;
    let cut = talk.cut(children);
    let (timed_out, holders) = (talk.timed_out(), talk.take_holders(children));
    let heard = talk.finish().remove(0);
    Ok(Output {
        status: child.wait(),
        usage: child.usage().unwrap_or_default(),
        lost: heard.lost,
        stdout: heard.stdout,
        stderr: heard.stderr,
        timed_out,
        holders,
        cut,
    })
}
