//! Signals as something to wait for beside other things, instead of an interruption.

use crate::child::os_error;
use doula_model::signal::Signal;
use doula_sys::fd::{AsFd, BorrowedFd, OwnedFd};
use doula_sys::signal::{self, Disposition, SignalSet};
use std::io;

/// Signals that are held back from this thread, to be taken one by one; readable when there is one. They have their old
/// effect again when it is dropped.
#[derive(Debug)]
pub struct Held {
    arrivals: OwnedFd,
    before: SignalSet,
}

/// Whether this process ignores it: perhaps since its birth, as under nohup(1), and then its children should too.
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    signal::disposition(signal) == Disposition::Ignored
}

/// One that came.
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
