//! Signals as something to wait for beside other things, instead of an interruption.

use crate::child::os_error;
use doula_model::signal::Signal;
use doula_sys::fd::{AsFd, BorrowedFd, OwnedFd};
use doula_sys::signal::{self, Disposition, SignalSet};
use std::io;

/// Signals that are held back from this thread, to be taken one by one; readable when there is one. They have their old
/// effect again when it is dropped.
///
/// ```
/// use doula_host::{Command, Signal, ready::readable, signals::Held};
/// use std::os::fd::AsFd as _;
/// let held = Held::back(&[Signal::USR1])?;
/// Command::new("kill").args(["-USR1", &std::process::id().to_string()]).status()?;
/// // It stands in a poll loop beside other things.
/// assert_eq!(readable([Some(held.as_fd())], None)?, [true]);
/// assert_eq!(held.take()?.map(|arrival| arrival.signal), Some(Signal::USR1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Held {
    arrivals: OwnedFd,
    before: SignalSet,
}

/// Whether this process ignores it: perhaps since its birth, as under nohup(1), and then its children should too.
///
/// ```
/// use doula_host::{Signal, signals::is_ignored};
/// assert!(is_ignored(Signal::PIPE), "so begins every Rust program");
/// assert!(!is_ignored(Signal::TERM));
/// ```
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    signal::disposition(signal) == Disposition::Ignored
}

/// One that came.
///
/// ```
/// use doula_host::{Signal, signals::Arrival};
/// let ctrl_c = Arrival { signal: Signal::INT, from_kernel: true };     // our children in the foreground have it too
/// assert!(ctrl_c.from_kernel);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which.
    pub signal: Signal,
    /// From the kernel, which sends Ctrl-C to everybody in the foreground; else from a process, to us.
    pub from_kernel: bool,
}

impl Held {
    /// Holds these back from now on.
    ///
    /// # Errors
    /// EMFILE.
    ///
    /// ```
    /// use doula_host::{Signal, signals::Held};
    /// let held = Held::back(&[Signal::TERM, Signal::HUP])?;
    /// drop(held);                                     // SIGTERM ends us again
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn back(signals: &[Signal]) -> io::Result<Held> {
        let set = signals.iter().copied().collect();
        let arrivals = signal::signalfd(set).map_err(os_error)?;
        let before = signal::set_mask(SignalSet::FULL);
        signal::set_mask(signals.iter().copied().fold(before, SignalSet::with));
        Ok(Held { arrivals, before })
    }

    /// The next one, if there is one.
    ///
    /// # Errors
    /// Those of read(2).
    ///
    /// ```
    /// use doula_host::{Signal, signals::Held};
    /// assert_eq!(Held::back(&[Signal::TERM])?.take()?, None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn take(&self) -> io::Result<Option<Arrival>> {
        let arrived = signal::next(&self.arrivals).map_err(os_error)?;
        Ok(arrived.map(|arrived| Arrival { signal: arrived.signal, from_kernel: arrived.code > 0 }))
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arrivals.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        signal::set_mask(self.before);
    }
}
