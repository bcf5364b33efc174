//! The output of all services: no line lost, none torn, in little memory.
//!
//! ```text
//! pipes of the services ─▶ collector ─▶ lines ─▶ flood gate ─┬▶ screen (standard output)
//!                                                             ├▶ files  (--logs DIR)
//!                            the supervisor's own words ──────┴▶ ring   (ctl logs, -f)
//! ```
//!
//! [`Collector`] is the whole of it: it watches the pipes itself, in an epoll set of its own, so that the loop
//! has one fd to watch ([`Collector::as_fd`](Collector)) and calls [`Collector::turn`] when it is readable or
//! when [`Collector::deadline`] has come. Nothing here waits, starts threads or processes; compressing rotated
//! files is a job that the loop gives to a child process ([`News::Compress`]).
//!
//! When standard output does not keep up, the pipes are not read until it does: services that go on writing
//! wait in write(2), as they would without us. When the disk is full, services do not wait: lines are kept in
//! a bounded piece of memory, then counted, and the count is told where they are missing.

mod begun;
mod collector;
mod files;
mod lines;
mod ring;
mod rotate;
mod screen;
mod sinks;
#[cfg(test)]
pub(crate) use files::tests as test_directory;
#[cfg(test)]
mod tests;
mod text;

pub use collector::{Collector, Lost, News, Source, SourceId};
pub use files::Rotation;
pub use lines::MAX_LINE;
pub(crate) use ring::Past;
pub use ring::{Filter, Followed, FollowerId, Record};
pub use rotate::{CompressError, compress_file};
pub use screen::Style;
pub use sinks::Options;
pub use text::{Clock, colour, escape};

use core::time::Duration;
use doula_model::plan::Errno;
use doula_model::time::Time;

/// One point in time on both clocks: the one for decisions and the one for display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The monotonic clock.
    pub now: Time,
    /// The wall clock, as time since 1970.
    pub wall: Duration,
}

impl Stamp {
    /// Reads both clocks.
    pub fn read() -> Stamp {
        Stamp { now: doula_sys::time::monotonic(), wall: doula_sys::time::realtime() }
    }

    /// An earlier moment on both clocks, as this one sees it.
    #[must_use]
    pub fn back_at(self, at: Time) -> Stamp {
        Stamp { now: at, wall: self.wall.saturating_sub(self.now.since(at)) }
    }
}

/// What kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// A line, or the first piece of one that is too long.
    Line,
    /// A further piece of the line before.
    Continued,
    /// Not from the service: a word of the supervisor about this place in its output.
    Note,
}

impl Mark {
    /// Every mark, in the order of their numbers.
    pub(crate) const ALL: [Mark; 3] = [Mark::Line, Mark::Continued, Mark::Note];

    /// The character that stands for it between the time and the text of a log file.
    pub const fn in_file(self) -> u8 {
        match self {
            Mark::Line => b' ',
            Mark::Continued => b'+',
            Mark::Note => b'!',
        }
    }

    /// The character that stands for it between the tag and the text on standard output.
    pub const fn on_screen(self) -> u8 {
        match self {
            Mark::Line => b'|',
            Mark::Continued => b'+',
            Mark::Note => b'!',
        }
    }
}

/// The kernel's reason out of the standard library's error.
fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno)
}
