//! How a shutdown went.

use super::Phase;
use doula_model::signal::Signal;
use std::fmt;
use std::time::Duration;

/// How a shutdown went, as a sentence for people and as data.
///
/// ```
/// use doula_host::shutdown::{Phase, Shutdown};
/// let shutdown = Shutdown::settings().signals([]).install()?;
/// shutdown.on(Phase::Flush, "journal", || panic!("no disk"))?;
/// shutdown.ask()?;
/// let report = shutdown.wait()?;
/// assert!(report.to_string().contains("flush: `journal` panicked: no disk"), "{report}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The signal that asked for it; `None` for the program itself.
    pub signal: Option<Signal>,
    /// Somebody asked again.
    pub hurried: bool,
    /// From the first request to the end.
    pub took: Duration,
    /// The hooks, in the order in which they were run.
    pub ran: Vec<Ran>,
    /// Who still worked when the time of a phase was over.
    pub held: Vec<Held>,
}

/// A hook that was run.
///
/// ```
/// use doula_host::shutdown::{End, Phase, Ran};
/// let ran = Ran { phase: Phase::Flush, name: "journal".into(), took: std::time::Duration::from_millis(12), end: End::Done };
/// assert_eq!(ran.to_string(), "flush: `journal` was done after 0.012 s");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// When.
    pub phase: Phase,
    /// Its name.
    pub name: String,
    /// For how long.
    pub took: Duration,
    /// And with what end.
    pub end: End,
}

/// How a hook ended.
///
/// ```
/// use doula_host::shutdown::End;
/// assert_eq!(End::Cut.to_string(), "was cut");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It did its work.
    Done,
    /// It said why it could not.
    Failed(String),
    /// It panicked, with these words.
    Panicked(String),
    /// It was still running when its time was over, and was left alone.
    Cut,
}

/// Somebody who still worked when the time of a phase was over.
///
/// ```
/// use doula_host::shutdown::{Held, Phase};
/// let held = Held { phase: Phase::FinishPending, name: "request".into() };
/// assert_eq!(held.to_string(), "finish pending: `request` was not waited for any longer");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// When.
    pub phase: Phase,
    /// Its name.
    pub name: String,
}

impl Report {
    /// Whether every hook was done and nobody had to be cut.
    ///
    /// ```
    /// # use doula_host::shutdown::Shutdown;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// shutdown.ask()?;
    /// assert!(shutdown.wait()?.is_clean());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.held.is_empty() && self.ran.iter().all(|ran| ran.end == End::Done)
    }

    /// The code for `main`: 0 when it is clean, else 1.
    ///
    /// ```
    /// # use doula_host::shutdown::Shutdown;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// shutdown.ask()?;
    /// assert_eq!(shutdown.wait()?.exit_code(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_clean())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.signal {
            Some(signal) => write!(f, "ended because of {signal}")?,
            None => f.write_str("ended by itself")?,
        }
        let done = self.ran.iter().filter(|ran| ran.end == End::Done).count();
        write!(f, ": {done} of {} hooks done in {:.3} s", self.ran.len(), self.took.as_secs_f64())?;
        if self.hurried {
            f.write_str(", in a hurry")?;
        }
        self.ran.iter().filter(|ran| ran.end != End::Done).try_for_each(|ran| write!(f, "\n{ran}"))?;
        self.held.iter().try_for_each(|held| write!(f, "\n{held}"))
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ran { phase, name, took, end } = self;
        write!(f, "{phase}: `{name}` {end} after {:.3} s", took.as_secs_f64())
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` was not waited for any longer", self.phase, self.name)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Done => f.write_str("was done"),
            End::Failed(why) => write!(f, "failed: {why}"),
            End::Panicked(words) => write!(f, "panicked: {words}"),
            End::Cut => f.write_str("was cut"),
        }
    }
}
