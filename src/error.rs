//! What went wrong, and the exit code it means.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | all is well |
//! | 1 | something ended badly: a service failed, a wait timed out, a check found errors in what was run |
//! | 2 | the command line or the configuration is wrong |
//! | 125 | doula itself failed |
//! | 126, 127, 128+n | a command's own result passed on, as shells do |

use std::fmt;
use std::process::ExitCode;

/// The code that a verb ends with when it did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(pub u8);

impl Exit {
    /// All is well.
    pub(crate) const OK: Exit = Exit(0);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.0)
    }
}

/// Whose fault it is; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something that was asked for ended badly.
    Ended,
    /// The command line or the configuration is wrong.
    Usage,
    /// doula itself failed, or the system refused it something.
    Doula,
    /// Nobody reads our output any more (`doula … | head`): not worth a word.
    Unread,
}

impl Kind {
    /// The exit code.
    pub(crate) const fn exit(self) -> Exit {
        match self {
            Kind::Ended => Exit(1),
            Kind::Usage => Exit(2),
            Kind::Doula => Exit(125),
            Kind::Unread => Exit(0),
        }
    }
}

/// Why a verb could not do its work: one sentence, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Whose fault.
    pub kind: Kind,
    /// The sentence, without a final full stop. Control bytes in it are escaped when it is shown.
    pub text: String,
    /// What people can do about it.
    pub hint: Option<String>,
}

/// How the standard library words EMFILE.
const NO_FDS: &str = "(os error 24)";
const MORE_FDS: &str = "our own limit of open files was reached: raise `ulimit -n`";

/// What a verb returns.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure of this kind.
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Failure {
        Failure { kind, text: text.into(), hint: None }
    }

    /// Wrong command line or configuration: exit code 2.
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure::new(Kind::Usage, text)
    }

    /// doula itself failed: exit code 125.
    pub(crate) fn doula(text: impl Into<String>) -> Failure {
        let failure = Failure::new(Kind::Doula, text);
        if failure.text.ends_with(NO_FDS) { failure.hint(MORE_FDS) } else { failure }
    }

    /// The same with advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
