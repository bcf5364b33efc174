//! Looking at processes: `/proc` in one pass, without ever waiting for a process that hangs.
//!
//! [`Reader::scan`] gives [`Process`]es with what was asked for. Files whose answer waits for the
//! process that they tell about are read by a disposable copy of us with a time limit (`aside.rs`), so that one
//! hanging process costs a fraction of a second and is marked [`Answer::Locked`].
//!
//! Absent on purpose: verdicts. What is seen is told as it is; what could not be seen is told as that.

mod accounts;
mod aside;
mod detail;
mod iterator;
mod live;
mod locker;
mod machine;
mod reader;
mod stat;
mod status;
mod together;

pub(crate) use accounts::Accounts;
pub use detail::Text;
pub use doula_model::process::{
    Answer, Identity, Namespaces, ProcState, Process, Share, Signals, Stat, Status, Traffic,
};
pub use iterator::NoIterator;
pub use live::Live;
pub use locker::{Locker, locker};
pub use machine::Machine;
pub use reader::{Reader, Source, Spare, Want};
pub use stat::parse_stat;
pub use status::parse_status;

use doula_model::plan::Errno;
use std::io;

pub(crate) fn system_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;
