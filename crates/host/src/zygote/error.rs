//! Why a zygote could not be started, or bore no child.

use crate::command::CommandError;
use doula_model::exit::ExitStatus;
use doula_model::plan::Errno;
use doula_sys::fork::copy;
use std::fmt;
use std::io;

/// Why a zygote could not be started, or bore no child.
///
/// ```
/// use doula_host::{Command, Zygote, ZygoteError};
/// let error = Zygote::exec(&Command::exact("/no/such/program")).unwrap_err();
/// assert!(matches!(&error, ZygoteError::Start(error) if error.shell_code() == 127));
/// assert_eq!(error.to_string(), "the zygote could not be started: `/no/such/program` does not exist");
/// ```
#[derive(Debug)]
pub enum ZygoteError {
    /// There are so many threads where there must be one: a copy of one of them could wait for ever for a lock of another.
    Threads(usize),
    /// The program could not be executed.
    Start(CommandError),
    /// The zygote has ended, and so.
    Gone(ExitStatus),
    /// This process was not started as a zygote.
    NotAsked,
    /// This process is a copy (fork(2)) of the one that started the zygote, whose children would not be ours.
    Copied,
    /// The request has so many bytes, which is more than [`super::MAX_REQUEST`].
    TooLarge(usize),
    /// There are so many fds, which is more than [`super::MAX_FDS`].
    TooManyFds(usize),
    /// The kernel refused: EAGAIN no process, EMFILE no descriptor (here, or in the zygote), ENOMEM …
    Os(Errno),
}

impl ZygoteError {
    /// Why this process could not be copied.
    pub(super) fn of_a_fork(error: io::Error) -> ZygoteError {
        match error.raw_os_error() {
            Some(number) => ZygoteError::Os(Errno(number)),
            None => ZygoteError::Threads(copy::count_threads().unwrap_or_default()),
        }
    }
}

impl From<Errno> for ZygoteError {
    fn from(errno: Errno) -> ZygoteError {
        ZygoteError::Os(errno)
    }
}

impl fmt::Display for ZygoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZygoteError::Threads(count) => {
                write!(f, "a zygote needs a process of one thread, and this one has {count}")
            }
            ZygoteError::Start(error) => write!(f, "the zygote could not be started: {error}"),
            ZygoteError::Gone(status) => write!(f, "the zygote is gone: it {status}"),
            ZygoteError::NotAsked => {
                f.write_str("this process was not started as a zygote: fd 3 is no socket")
            }
            ZygoteError::Copied => f.write_str(
                "the zygote belongs to the process that this one is a copy of, and so would the child",
            ),
            ZygoteError::TooLarge(bytes) => {
                write!(f, "a request of {bytes} bytes is too large (hint: hand over the fd of a file)")
            }
            ZygoteError::TooManyFds(count) => write!(f, "{count} fds are too many for one request"),
            ZygoteError::Os(errno) => write!(f, "no child was born: {errno}"),
        }
    }
}

impl std::error::Error for ZygoteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ZygoteError::Start(error) => Some(error),
            ZygoteError::Threads(_)
            | ZygoteError::Gone(_)
            | ZygoteError::NotAsked
            | ZygoteError::Copied
            | ZygoteError::TooLarge(_)
            | ZygoteError::TooManyFds(_)
            | ZygoteError::Os(_) => None,
        }
    }
}

impl From<ZygoteError> for io::Error {
    fn from(error: ZygoteError) -> io::Error {
        let kind = match &error {
            ZygoteError::Threads(_) => io::ErrorKind::ResourceBusy,
            ZygoteError::Start(error) => io::Error::from_raw_os_error(error.errno().0).kind(),
            ZygoteError::Gone(_) => io::ErrorKind::BrokenPipe,
            ZygoteError::NotAsked | ZygoteError::Copied => io::ErrorKind::Unsupported,
            ZygoteError::TooLarge(_) | ZygoteError::TooManyFds(_) => io::ErrorKind::InvalidInput,
            ZygoteError::Os(errno) => io::Error::from_raw_os_error(errno.0).kind(),
        };
        io::Error::new(kind, error)
    }
}
