//! How a process ended, in one type.

use crate::signal::Signal;
use core::fmt;

/// What ended the process.
///
/// ```
/// use doula_model::{exit::{ExitStatus, Outcome}, signal::Signal};
/// assert_eq!(ExitStatus::code(3).outcome, Outcome::Code(3));
/// assert_eq!(ExitStatus::signal(Signal::KILL).outcome, Outcome::Signal { signal: Signal::KILL, core: false });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Outcome {
    /// `exit(code)`: only the low 8 bits arrive, so `exit(256)` is code 0 and `exit(-1)` is 255.
    Code(u8),
    /// A signal with a deadly disposition.
    Signal {
        /// Which.
        signal: Signal,
        /// Whether a core was really dumped (not only "would be": see `RLIMIT_CORE`).
        core: bool,
    },
    /// Nobody can tell any more: reaped by somebody else on a kernel without pidfd exit information.
    Unknown,
}

/// How we know.
///
/// ```
/// use doula_model::exit::{Evidence, ExitStatus};
/// assert_eq!(ExitStatus::code(0).evidence, Evidence::Waited);
/// assert_eq!(ExitStatus::UNKNOWN.evidence, Evidence::None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Evidence {
    /// We were the parent and waited.
    Waited,
    /// The pidfd told us after somebody else had reaped (`PIDFD_INFO_EXIT`, Linux 6.15).
    Pidfd,
    /// Its line in `/proc`, where it waits for its burial (field 52 of proc_pid_stat(5)).
    Procfs,
    /// The kernel told everybody who listened (the proc connector).
    Connector,
    /// There is none.
    None,
}

/// The end of a process: what ended it, and how we know.
///
/// Prints as the rest of a sentence that begins with the process.
///
/// ```
/// use doula_model::exit::{Evidence, ExitStatus};
/// // exit(256): only the low eight bits arrive.
/// let status = ExitStatus::from_wait((256 & 0xff) << 8, Evidence::Waited).expect("an end");
/// assert_eq!(status.exit_code(), Some(0));
/// // SIGSEGV with a core dump.
/// let status = ExitStatus::from_wait(11 | 0x80, Evidence::Waited).expect("an end");
/// assert_eq!(format!("the server {status}"), "the server was killed by SIGSEGV and dumped core");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExitStatus {
    /// What ended it.
    pub outcome: Outcome,
    /// How we know.
    pub evidence: Evidence,
}

impl ExitStatus {
    /// An end that nobody saw.
    ///
    /// ```
    /// use doula_model::exit::ExitStatus;
    /// assert_eq!(format!("the worker {}", ExitStatus::UNKNOWN), "the worker ended, nobody saw how");
    /// assert!(!ExitStatus::UNKNOWN.success());
    /// ```
    pub const UNKNOWN: ExitStatus = ExitStatus { outcome: Outcome::Unknown, evidence: Evidence::None };

    /// A normal end that was waited for.
    ///
    /// ```
    /// use doula_model::exit::ExitStatus;
    /// assert_eq!(ExitStatus::code(3).to_string(), "exited with code 3");
    /// ```
    pub const fn code(code: u8) -> ExitStatus {
        ExitStatus { outcome: Outcome::Code(code), evidence: Evidence::Waited }
    }

    /// A death by signal, without a core, that was waited for.
    ///
    /// ```
    /// use doula_model::{exit::ExitStatus, signal::Signal};
    /// assert_eq!(ExitStatus::signal(Signal::TERM).to_string(), "was killed by SIGTERM");
    /// ```
    pub const fn signal(signal: Signal) -> ExitStatus {
        ExitStatus { outcome: Outcome::Signal { signal, core: false }, evidence: Evidence::Waited }
    }

    /// Decodes the status word of wait4(2), or of `PIDFD_GET_INFO`. `None` for a stop or a continue, which
    /// are no ends.
    ///
    /// ```
    /// use doula_model::{exit::{Evidence, ExitStatus}, signal::Signal};
    /// let decoded = |status| ExitStatus::from_wait(status, Evidence::Waited);
    /// assert_eq!(decoded(42 << 8), Some(ExitStatus::code(42)));
    /// assert_eq!(decoded(9), Some(ExitStatus::signal(Signal::KILL)));
    /// assert_eq!(decoded(0x137f), None);  // stopped by SIGSTOP
    /// ```
    pub const fn from_wait(status: i32, evidence: Evidence) -> Option<ExitStatus> {
        let low = status & 0x7f;
        if status & 0xffff == 0xffff || low == 0x7f {
            return None;
        }
        let outcome = match Signal::new(low) {
            None => Outcome::Code(((status >> 8) & 0xff) as u8),
            Some(signal) => Outcome::Signal { signal, core: status & 0x80 != 0 },
        };
        Some(ExitStatus { outcome, evidence })
    }

    /// Exit code 0, and known to be.
    ///
    /// ```
    /// use doula_model::exit::ExitStatus;
    /// assert!(ExitStatus::code(0).success() && !ExitStatus::code(1).success());
    /// ```
    pub const fn success(self) -> bool {
        matches!(self.outcome, Outcome::Code(0))
    }

    /// The code of a process that ended by itself.
    ///
    /// ```
    /// use doula_model::{exit::ExitStatus, signal::Signal};
    /// assert_eq!(ExitStatus::code(3).exit_code(), Some(3));
    /// assert_eq!(ExitStatus::signal(Signal::KILL).exit_code(), None);
    /// ```
    pub const fn exit_code(self) -> Option<u8> {
        match self.outcome {
            Outcome::Code(code) => Some(code),
            Outcome::Signal { .. } | Outcome::Unknown => None,
        }
    }

    /// The signal that ended it.
    ///
    /// ```
    /// use doula_model::{exit::ExitStatus, signal::Signal};
    /// assert_eq!(ExitStatus::signal(Signal::KILL).killed_by(), Some(Signal::KILL));
    /// assert_eq!(ExitStatus::code(137).killed_by(), None);
    /// ```
    pub const fn killed_by(self) -> Option<Signal> {
        match self.outcome {
            Outcome::Signal { signal, .. } => Some(signal),
            Outcome::Code(_) | Outcome::Unknown => None,
        }
    }

    /// Whether a core was really dumped.
    ///
    /// ```
    /// use doula_model::exit::{Evidence, ExitStatus};
    /// let status = ExitStatus::from_wait(6 | 0x80, Evidence::Waited).expect("an end");
    /// assert!(status.dumped_core());
    /// ```
    pub const fn dumped_core(self) -> bool {
        matches!(self.outcome, Outcome::Signal { core: true, .. })
    }

    /// The number a shell would show: the code, or 128 plus the signal. An unknown end is 125 (our own
    /// failure to know).
    ///
    /// ```
    /// use doula_model::{exit::ExitStatus, signal::Signal};
    /// assert_eq!(ExitStatus::code(7).shell_code(), 7);
    /// assert_eq!(ExitStatus::signal(Signal::TERM).shell_code(), 143);
    /// ```
    pub const fn shell_code(self) -> u8 {
        match self.outcome {
            Outcome::Code(code) => code,
            Outcome::Signal { signal, .. } => 128 + signal.number() as u8,
            Outcome::Unknown => 125,
        }
    }
}

impl fmt::Display for ExitStatus {
    /// A sentence without its subject: `exited with code 3`, `was killed by SIGSEGV and dumped core`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Code(0) => f.write_str("exited cleanly (code 0)"),
            Outcome::Code(code) => write!(f, "exited with code {code}"),
            Outcome::Signal { signal, core: false } => write!(f, "was killed by {signal}"),
            Outcome::Signal { signal, core: true } => write!(f, "was killed by {signal} and dumped core"),
            Outcome::Unknown => f.write_str("ended, nobody saw how"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn waited(status: i32) -> Option<ExitStatus> {
        ExitStatus::from_wait(status, Evidence::Waited)
    }

    #[test]
    fn the_wait_status_word_is_decoded_as_the_kernel_encodes_it() {
        assert_eq!(waited(0), Some(ExitStatus::code(0)));
        assert_eq!(waited((300 & 0xff) << 8), Some(ExitStatus::code(44)));
        assert_eq!(waited(9), Some(ExitStatus::signal(Signal::KILL)));
        assert_eq!(waited(0x137f), None, "stopped by SIGSTOP");
        assert_eq!(waited(0xffff), None, "continued");
        let core = waited(0x8b).map(|status| status.to_string());
        assert_eq!(core.as_deref(), Some("was killed by SIGSEGV and dumped core"));
    }

    #[test]
    fn shells_see_128_plus_the_signal() {
        assert_eq!(ExitStatus::signal(Signal::TERM).shell_code(), 143);
        assert_eq!(ExitStatus::code(7).shell_code(), 7);
        assert_eq!(ExitStatus::UNKNOWN.shell_code(), 125);
    }
}
