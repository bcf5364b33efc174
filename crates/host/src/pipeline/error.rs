//! Why a pipeline did not come to its end.

use crate::command::CommandError;
use std::fmt;
use std::io;

/// Why a pipeline could not be started, or not be waited for.
///
/// ```
/// use doula_host::{Command, Pipeline, PipelineError, Step};
/// let error = Pipeline::new(Command::new("true")).pipe(Command::exact("/no/such/program")).run().unwrap_err();
/// assert_eq!(error.to_string(), "stage 2: `/no/such/program` does not exist");
/// assert!(matches!(error, PipelineError::Birth { stage: 1, error } if error.step() == Step::Exec && error.shell_code() == 127));
/// ```
#[derive(Debug)]
pub enum PipelineError {
    /// A stage could not be born. The stages before it were killed and buried.
    Birth {
        /// Its place, counted from 0.
        stage: usize,
        /// The step that failed, and why.
        error: CommandError,
    },
    /// A stream could not be read or waited for.
    Io(io::Error),
}

impl fmt::Display for PipelineError {
    /// Stages are counted from 1 for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PipelineError::Birth { stage, error } => write!(f, "stage {}: {error}", stage + 1),
            PipelineError::Io(error) => write!(f, "the pipeline could not be waited for: {error}"),
        }
    }
}

impl std::error::Error for PipelineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PipelineError::Birth { error, .. } => Some(error),
            PipelineError::Io(error) => Some(error),
        }
    }
}

impl From<PipelineError> for io::Error {
    fn from(error: PipelineError) -> io::Error {
        match error {
            PipelineError::Birth { ref error, .. } => {
                io::Error::new(io::Error::from_raw_os_error(error.errno().0).kind(), error.to_string())
            }
            PipelineError::Io(error) => error,
        }
    }
}
