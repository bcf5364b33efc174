//! Where the fds of a child come from.

use super::error::Trouble;
use doula_model::plan::{Errno, FdMapping};
use doula_sys::fd::{self, Access, AsRawFd as _, OwnedFd, RawFd};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where one fd of a child comes from. Can be given to several commands, and to one command that is started
/// several times.
///
/// ```
/// use doula_host::{Command, Stdio};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let log = std::env::temp_dir().join(format!("doula-stdio-{}", std::process::id()));
/// // As `sh -c 'echo out; echo err >&2' </dev/null >>log 2>&1`.
/// Command::new("sh")
///     .args(["-c", "echo out; echo err >&2"])
///     .stdin(Stdio::null())
///     .stdout(Stdio::append(&log))
///     .stderr(Stdio::same_as(1))
///     .status()?;
/// assert_eq!(std::fs::read_to_string(&log)?, "out\nerr\n");
/// std::fs::remove_file(&log)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Stdio(Source);

#[derive(Clone, Debug)]
enum Source {
    Inherit,
    Null,
    PipeIn,
    PipeOut,
    Fd(Arc<OwnedFd>),
    File(PathBuf, Mode),
    Same(RawFd),
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Read,
    Write,
    Append,
}

impl Stdio {
    /// Ours, under the same number.
    ///
    /// ```
    /// # use doula_host::{Command, Stdio};
    /// let status = Command::new("true").stdout(Stdio::inherit()).status()?;
    /// assert!(status.success());
    /// # Ok::<(), doula_host::CommandError>(())
    /// ```
    #[must_use]
    pub fn inherit() -> Stdio {
        Stdio(Source::Inherit)
    }

    /// `/dev/null`.
    ///
    /// ```
    /// # use doula_host::{Command, Stdio};
    /// let output = Command::new("wc").arg("-c").stdin(Stdio::null()).output()?;
    /// assert_eq!(output.stdout_text().trim(), "0");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn null() -> Stdio {
        Stdio(Source::Null)
    }

    /// A pipe from which the child reads; we hold the end to write to.
    ///
    /// ```
    /// # use doula_host::{Command, Stdio};
    /// # use std::io::Write as _;
    /// let mut child = Command::new("sh").args(["-c", "read word; test $word = hello"])
    ///     .stdin(Stdio::pipe_in()).spawn()?;
    /// child.stdin.take().expect("a pipe").write_all(b"hello\n")?;
    /// assert!(child.wait().success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pipe_in() -> Stdio {
        Stdio(Source::PipeIn)
    }

    /// A pipe into which the child writes; we hold the end to read from.
    ///
    /// ```
    /// # use doula_host::{Command, Stdio};
    /// # use std::io::Read as _;
    /// let mut child = Command::new("echo").arg("hello").stdout(Stdio::pipe_out()).spawn()?;
    /// let mut text = String::new();
    /// child.stdout.take().expect("a pipe").read_to_string(&mut text)?;
    /// assert_eq!(text, "hello\n");
    /// child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pipe_out() -> Stdio {
        Stdio(Source::PipeOut)
    }

    /// A file to read from, opened when the child is born.
    ///
    /// ```
    /// # use doula_host::{Command, Stdio};
    /// let error = Command::new("cat").stdin(Stdio::read("/no/such/file")).spawn().unwrap_err();
    /// assert!(error.to_string().starts_with("`/no/such/file` cannot be opened as fd 0 of `cat`"));
    /// ```
    #[must_use]
    pub fn read(path: impl AsRef<Path>) -> Stdio {
        Stdio(Source::File(path.as_ref().to_owned(), Mode::Read))
    }

    /// A file to write to, made or emptied when the child is born.
    ///
    /// ```
    /// # use doula_host::{Command, Stdio};
    /// let file = std::env::temp_dir().join(format!("doula-write-{}", std::process::id()));
    /// Command::new("echo").arg("new").stdout(Stdio::write(&file)).status()?;
    /// assert_eq!(std::fs::read_to_string(&file)?, "new\n");
    /// # std::fs::remove_file(&file)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn write(path: impl AsRef<Path>) -> Stdio {
        Stdio(Source::File(path.as_ref().to_owned(), Mode::Write))
    }

    /// A file to write to at its end, made if it is missing.
    ///
    /// ```
    /// # use doula_host::{Command, Stdio};
    /// let file = std::env::temp_dir().join(format!("doula-append-{}", std::process::id()));
    /// let mut echo = Command::new("echo");
    /// echo.arg("line").stdout(Stdio::append(&file));
    /// echo.status()?;
    /// echo.status()?;
    /// assert_eq!(std::fs::read_to_string(&file)?, "line\nline\n");
    /// # std::fs::remove_file(&file)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn append(path: impl AsRef<Path>) -> Stdio {
        Stdio(Source::File(path.as_ref().to_owned(), Mode::Append))
    }

    /// What another fd of the child is: `2>&1` is `stderr(Stdio::same_as(1))`.
    ///
    /// ```
    /// # use doula_host::{Command, Stdio};
    /// let output = Command::new("sh").args(["-c", "echo a; echo b >&2"]).stderr(Stdio::same_as(1)).output()?;
    /// assert_eq!(output.stdout_text(), "a\nb\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn same_as(number: RawFd) -> Stdio {
        Stdio(Source::Same(number))
    }
}

impl From<OwnedFd> for Stdio {
    fn from(fd: OwnedFd) -> Stdio {
        Stdio(Source::Fd(Arc::new(fd)))
    }
}

impl From<Arc<OwnedFd>> for Stdio {
    fn from(fd: Arc<OwnedFd>) -> Stdio {
        Stdio(Source::Fd(fd))
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        OwnedFd::from(file).into()
    }
}

impl From<PipeReader> for Stdio {
    fn from(end: PipeReader) -> Stdio {
        OwnedFd::from(end).into()
    }
}

impl From<PipeWriter> for Stdio {
    fn from(end: PipeWriter) -> Stdio {
        OwnedFd::from(end).into()
    }
}

/// The fds of one birth: what is mapped, what is open for it only, and our ends of its pipes.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    pub(super) mappings: Vec<FdMapping>,
    held: Vec<OwnedFd>,
    pub(super) ours: BTreeMap<RawFd, OwnedFd>,
}

/// A file that could not be had.
type Result<T> = std::result::Result<T, Trouble>;

impl Wiring {
    /// Opens what is to be opened.
    pub(super) fn lay(fds: &BTreeMap<RawFd, Stdio>) -> Result<Wiring> {
        let mut wiring = Wiring::default();
        for (&to, stdio) in fds {
            if let Some(from) = wiring.open(to, &stdio.0)? {
                wiring.mappings.push(FdMapping { from, to });
            }
        }
        for (&to, stdio) in fds {
            if let Source::Same(other) = stdio.0 {
                let from = wiring.number_of(to, other, fds)?;
                wiring.mappings.push(FdMapping { from, to });
            }
        }
        wiring.mappings.sort_unstable_by_key(|mapping| mapping.to);
        Ok(wiring)
    }

    /// Our number of what the child gets as `to`; `None` if that needs no mapping, or is another one of its own.
    fn open(&mut self, to: RawFd, source: &Source) -> Result<Option<RawFd>> {
        let opened = match source {
            Source::Inherit => return Ok((to > HIGHEST_STANDARD).then_some(to)),
            Source::Same(_) => return Ok(None),
            Source::Fd(fd) => return Ok(Some(fd.as_raw_fd())),
            Source::Null => fd::open(c"/dev/null", Access::ReadWrite)
                .map_err(|errno| Trouble::Open(to, "/dev/null".into(), errno))?,
            Source::File(path, mode) => {
                open(path, *mode).map_err(|errno| Trouble::Open(to, path.clone(), errno))?
            }
            Source::PipeIn | Source::PipeOut => {
                let (reader, writer) = fd::pipe().map_err(|errno| Trouble::Pipe(to, errno))?;
                let inward = matches!(source, Source::PipeIn);
                let (theirs, ours) = if inward { (reader, writer) } else { (writer, reader) };
                self.ours.insert(to, ours);
                theirs
            }
        };
        let number = opened.as_raw_fd();
        self.held.push(opened);
        Ok(Some(number))
    }

    /// What the child's `other` is made of, so that `to` can be the same.
    fn number_of(&self, to: RawFd, other: RawFd, fds: &BTreeMap<RawFd, Stdio>) -> Result<RawFd> {
        match fds.get(&other).map(|stdio| &stdio.0) {
            Some(Source::Same(_)) => Err(Trouble::Circle(to, other)),
            Some(Source::Inherit) => Ok(other),
            None if other <= HIGHEST_STANDARD => Ok(other),
            None => Err(Trouble::Circle(to, other)),
            Some(_) => {
                let found = self.mappings.iter().find(|mapping| mapping.to == other);
                found.map(|mapping| mapping.from).ok_or(Trouble::Circle(to, other))
            }
        }
    }

    /// The same on paper: nothing is opened; what would be gets a number from `first` on. Returns the calls that
    /// would be made.
    pub(super) fn on_paper(fds: &BTreeMap<RawFd, Stdio>) -> (Vec<FdMapping>, Vec<String>) {
        let (mut calls, mut numbers) = (Vec::new(), BTreeMap::new());
        let named = fds.values().filter_map(|stdio| match &stdio.0 {
            Source::Fd(fd) => Some(fd.as_raw_fd()),
            Source::Inherit
            | Source::Null
            | Source::PipeIn
            | Source::PipeOut
            | Source::File(..)
            | Source::Same(_) => None,
        });
        let mut next = named.chain(fds.keys().copied()).max().unwrap_or(0).max(HIGHEST_STANDARD) + 1;
        for (&to, stdio) in fds {
            let number = match &stdio.0 {
                Source::Inherit if to > HIGHEST_STANDARD => to,
                Source::Inherit | Source::Same(_) => continue,
                Source::Fd(fd) => fd.as_raw_fd(),
                opened @ (Source::Null | Source::PipeIn | Source::PipeOut | Source::File(..)) => {
                    let (call, used, theirs) = paper_call(opened, next);
                    calls.push(call);
                    next += used;
                    theirs
                }
            };
            numbers.insert(to, number);
        }
        for (&to, stdio) in fds {
            if let Source::Same(other) = stdio.0 {
                let from = numbers.get(&other).copied().unwrap_or(other);
                numbers.insert(to, from);
            }
        }
        (numbers.into_iter().map(|(to, from)| FdMapping { from, to }).collect(), calls)
    }
}

/// The call that opens a source from this number on, how many numbers it takes, and which of them the child gets.
fn paper_call(source: &Source, number: RawFd) -> (String, RawFd, RawFd) {
    let open = |path: &Path, flags: &str| {
        (format!("openat(AT_FDCWD, {path:?}, {flags}|O_CLOEXEC) = {number}"), 1, number)
    };
    match source {
        Source::PipeIn | Source::PipeOut => {
            let theirs = if matches!(source, Source::PipeIn) { number } else { number + 1 };
            (format!("pipe2([{number}, {}], O_CLOEXEC)", number + 1), 2, theirs)
        }
        Source::File(path, Mode::Read) => open(path, "O_RDONLY"),
        Source::File(path, Mode::Write) => open(path, "O_WRONLY|O_CREAT|O_TRUNC"),
        Source::File(path, Mode::Append) => open(path, "O_WRONLY|O_CREAT|O_APPEND"),
        Source::Null | Source::Inherit | Source::Fd(_) | Source::Same(_) => {
            open(Path::new("/dev/null"), "O_RDWR")
        }
    }
}

/// Standard error: up to here a child inherits what is not mentioned.
const HIGHEST_STANDARD: RawFd = 2;

/// `O_NOCTTY` on every machine that doula runs on: opening a terminal does not make it ours.
const NO_CONTROLLING_TERMINAL: i32 = 0o400;

fn open(path: &Path, mode: Mode) -> std::result::Result<OwnedFd, Errno> {
    let mut options = File::options();
    options.custom_flags(NO_CONTROLLING_TERMINAL);
    match mode {
        Mode::Read => options.read(true),
        Mode::Write => options.write(true).create(true).truncate(true),
        Mode::Append => options.append(true).create(true),
    };
    let opened = options.open(path);
    opened.map(OwnedFd::from).map_err(|error| Errno(error.raw_os_error().unwrap_or(Errno::EINVAL.0)))
}
