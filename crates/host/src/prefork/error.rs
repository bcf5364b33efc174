//! Why a server of several processes does not serve.

use crate::command::CommandError;
use crate::zygote::ZygoteError;
use doula_model::exit::ExitStatus;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a server of several processes does not serve.
///
/// ```
/// use doula_host::prefork::{Prefork, PreforkError};
/// let error = Prefork::new(|_| 3)?.start().unwrap_err();      // says nothing, and ends
/// assert_eq!(error.to_string(), "worker 1 was not ready: it exited with code 3");
/// # Ok::<(), PreforkError>(())
/// ```
#[derive(Debug)]
pub enum PreforkError {
    /// No worker could be born.
    Zygote(ZygoteError),
    /// The program of the workers could not be executed.
    Program(CommandError),
    /// The worker in this slot ended before it was ready, and so.
    Ended(u32, ExitStatus),
    /// The worker in this slot was not ready after this time.
    Late(u32, Duration),
    /// The kernel refused a descriptor.
    Os(io::Error),
}

impl From<ZygoteError> for PreforkError {
    fn from(error: ZygoteError) -> PreforkError {
        PreforkError::Zygote(error)
    }
}

impl From<io::Error> for PreforkError {
    fn from(error: io::Error) -> PreforkError {
        PreforkError::Os(error)
    }
}

impl fmt::Display for PreforkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PreforkError::Zygote(error) => write!(f, "no worker could be born: {error}"),
            PreforkError::Program(error) => write!(f, "no worker could be born: {error}"),
            PreforkError::Ended(slot, status) => write!(f, "worker {slot} was not ready: it {status}"),
            PreforkError::Late(slot, time) => write!(f, "worker {slot} was not ready after {time:?}"),
            PreforkError::Os(error) => write!(f, "no worker could be started: {error}"),
        }
    }
}

impl std::error::Error for PreforkError {}
