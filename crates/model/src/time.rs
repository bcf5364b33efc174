//! Time as the decisions see it: a monotonic number of nanoseconds, never the wall clock.

use core::time::Duration;

/// A point on the monotonic clock (`CLOCK_MONOTONIC`, or the simulated one), in nanoseconds.
///
/// Only differences mean something. Wall-clock time is for display and never reaches a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub const ZERO: Time = Time(0);

    /// The point `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time that passed since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This point moved into the future, stopping at the end of the clock (584 years).
    pub fn after(self, wait: Duration) -> Time {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_never_go_below_zero_and_sums_never_overflow() {
        let later = Time::from_nanos(50);
        assert_eq!(Time::ZERO.since(later), Duration::ZERO);
        assert_eq!(later.since(Time::ZERO), Duration::from_nanos(50));
        assert_eq!(later.after(Duration::MAX), Time::from_nanos(u64::MAX));
    }
}
