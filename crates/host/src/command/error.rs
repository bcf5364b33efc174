//! Why a command could not be started.

use crate::spawn::{self, Explained};
use doula_model::plan::{ChildPlan, Errno, SpawnError, Step};
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

/// Why no child was born: the step that failed, the kernel's reason, and a sentence for people. Nothing is left of
/// the child.
///
/// ```
/// use doula_host::{Command, Errno, Step};
/// let error = Command::new("no-such-program").env("PATH", "/usr/bin:/bin").spawn().unwrap_err();
/// assert_eq!((error.step(), error.errno()), (Step::Exec, Errno::ENOENT));
/// assert_eq!(error.shell_code(), 127);
/// assert_eq!(
///     error.to_string(),
///     "`no-such-program` was not found in PATH=/usr/bin:/bin (hint: write its whole path, or set PATH for it)"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    error: SpawnError,
    explained: Explained,
}

impl CommandError {
    /// A birth that failed.
    pub(crate) fn born(plan: &ChildPlan, error: SpawnError) -> CommandError {
        CommandError { error, explained: spawn::explain(plan, error) }
    }

    /// A failure that has its own sentence.
    pub(crate) fn saying(step: Step, errno: Errno, what: String) -> CommandError {
        CommandError { error: SpawnError { step, errno }, explained: Explained { what, hint: None } }
    }

    /// The step that failed.
    ///
    /// ```
    /// use doula_host::{Command, Step};
    /// let error = Command::new("true").dir("/no/such/dir").spawn().unwrap_err();
    /// assert_eq!(error.step(), Step::Directory);
    /// ```
    #[must_use]
    pub fn step(&self) -> Step {
        self.error.step
    }

    /// The kernel's reason.
    ///
    /// ```
    /// use doula_host::{Command, Errno};
    /// let error = Command::exact("/etc/passwd").spawn().unwrap_err();
    /// assert_eq!(error.errno(), Errno::EACCES);
    /// ```
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.error.errno
    }

    /// The sentence without the hint.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::exact("/etc/passwd").spawn().unwrap_err().what(), "`/etc/passwd` is not executable");
    /// ```
    #[must_use]
    pub fn what(&self) -> &str {
        &self.explained.what
    }

    /// What can be done about it, if we know.
    ///
    /// ```
    /// use doula_host::Command;
    /// let error = Command::exact("/etc/passwd").spawn().unwrap_err();
    /// assert_eq!(error.hint(), Some("chmod +x /etc/passwd"));
    /// ```
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.explained.hint.as_deref()
    }

    /// The exit code a shell gives for it: 127 when the program is missing, 126 when it cannot be executed, 125 when
    /// something before failed.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::exact("/etc/passwd").spawn().unwrap_err().shell_code(), 126);
    /// ```
    #[must_use]
    pub fn shell_code(&self) -> u8 {
        self.error.shell_code()
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explained.fmt(f)
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// With the kind that belongs to the errno, and the sentence as its text.
impl From<CommandError> for io::Error {
    fn from(error: CommandError) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(error.errno().0).kind(), error)
    }
}

/// What is wrong before a plan can be made.
#[derive(Debug)]
pub(super) enum Trouble {
    /// This file cannot be opened as this fd.
    Open(RawFd, PathBuf, Errno),
    /// There is no pipe for this fd.
    Pipe(RawFd, Errno),
    /// The first fd is to be the same as the second, which is nothing by itself.
    Circle(RawFd, RawFd),
    /// The argument list is empty.
    Nameless,
    /// A variable cannot have this name.
    Name(String),
}

impl Trouble {
    /// As an error of this program.
    pub(super) fn of(self, program: &str) -> CommandError {
        let (errno, what) = match self {
            Trouble::Open(to, path, errno) => {
                let path = path.to_string_lossy();
                let path = spawn::printable(path.as_bytes());
                (errno, format!("`{path}` cannot be opened as fd {to} of `{program}`: {errno}"))
            }
            Trouble::Pipe(to, errno) => (errno, format!("no pipe for fd {to} of `{program}`: {errno}")),
            Trouble::Circle(to, other) => {
                let what =
                    format!("fd {to} of `{program}` cannot be the same as fd {other}, which is not given");
                (Errno::EINVAL, what)
            }
            Trouble::Nameless => {
                (Errno::EINVAL, format!("the argument list of `{program}` is empty: it begins with a name"))
            }
            Trouble::Name(name) => {
                let name = spawn::printable(name.as_bytes());
                (Errno::EINVAL, format!("a variable of `{program}` cannot have the name `{name}`"))
            }
        };
        CommandError::saying(Step::Prepare, errno, what)
    }
}
