//! When scheduled services are due on a wall clock that people set.
//!
//! What a line of a schedule means is the world's business ([`Line`]), and so is the clock. Here is what happens when the clock
//! is set:
//!
//! - forward over a due time: the service is due once, at once, however many times were skipped;
//! - back by less than [`REPEAT_GUARD`]: a run that has been is not repeated;
//! - back by more: the times are taken as new ones.
//!
//! Nothing else of the engine takes the wall clock: every deadline is on the monotonic one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::id::ServiceId;

/// A clock that is set back by less (daylight saving, a correction) does not repeat runs.
pub const REPEAT_GUARD: Duration = Duration::from_secs(3 * 3600);

/// The times of a schedule. Like all times here they are since 1970.
pub trait Line {
    /// Why it has no time.
    type Error;

    /// Its first time after this one.
    ///
    /// # Errors
    /// It has none.
    fn after(&self, wall: Duration) -> Result<Duration, Self::Error>;
}

/// The schedules of a family.
#[derive(Clone, Debug)]
pub struct Calendar<L> {
    entries: BTreeMap<ServiceId, Entry<L>>,
}

#[derive(Clone, Debug)]
struct Entry<L> {
    line: L,
    /// When it is due next, if somebody asked.
    due: Option<Duration>,
    /// When it was due last.
    last: Option<Duration>,
}

impl<L> Default for Calendar<L> {
    fn default() -> Calendar<L> {
        Calendar { entries: BTreeMap::new() }
    }
}

impl<L: Line> Calendar<L> {
    /// Arms the schedule of a service: it will be due once, at its next time after `wall`, which is returned. A schedule of the
    /// service that was armed before is replaced.
    ///
    /// # Errors
    /// The line names no time; then the service is not armed.
    pub fn arm(&mut self, service: ServiceId, line: L, wall: Duration) -> Result<Duration, L::Error> {
        let last = self.entries.remove(&service).and_then(|old| old.last);
        let mut entry = Entry { line, due: None, last };
        let due = entry.next(wall)?;
        entry.due = Some(due);
        self.entries.insert(service, entry);
        Ok(due)
    }

    /// The service is scheduled no more.
    pub fn forget(&mut self, service: ServiceId) {
        self.entries.remove(&service);
    }

    /// When a service is due next.
    pub fn next(&self, service: ServiceId) -> Option<Duration> {
        self.entries.get(&service)?.due
    }

    /// When somebody is due next: then [`Calendar::due`] is to be asked, and whenever the clock was set.
    pub fn earliest(&self) -> Option<Duration> {
        self.entries.values().filter_map(|entry| entry.due).min()
    }

    /// Who is due at this wall clock? Each of them once; then it must be armed again.
    pub fn due(&mut self, wall: Duration) -> Vec<ServiceId> {
        let mut due = Vec::new();
        for (service, entry) in &mut self.entries {
            match entry.due {
                None => {}
                Some(at) if at <= wall => {
                    entry.due = None;
                    entry.last = Some(at);
                    due.push(*service);
                }
                // The clock may have been set back: there may be an earlier time now. One that finds no time
                // any more keeps the one that it has.
                Some(at) => entry.due = Some(entry.next(wall).unwrap_or(at)),
            }
        }
        due
    }
}

impl<L: Line> Entry<L> {
    /// The next time after `wall`, and after the last run unless the clock was set back a long way.
    fn next(&self, wall: Duration) -> Result<Duration, L::Error> {
        let from = match self.last {
            Some(last) if last > wall && last - wall < REPEAT_GUARD => last,
            Some(_) | None => wall,
        };
        self.line.after(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: ServiceId = ServiceId(1);
    const HOUR: u64 = 3600;

    /// Every so many seconds.
    struct Every(u64);

    impl Line for Every {
        type Error = ();

        fn after(&self, wall: Duration) -> Result<Duration, ()> {
            let next = wall.as_secs().checked_div(self.0).ok_or(())? + 1;
            Ok(at(next * self.0))
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_that_is_set_forward_and_back_again_skips_and_repeats_as_little_as_can_be() {
        let mut calendar = Calendar::default();
        assert_eq!(calendar.arm(JOB, Every(HOUR), at(100 * HOUR + 1)), Ok(at(101 * HOUR)));
        assert_eq!(calendar.due(at(101 * HOUR - 1)), []);
        assert_eq!(calendar.due(at(150 * HOUR)), [JOB], "forward: once");
        assert_eq!((calendar.due(at(150 * HOUR)), calendar.earliest()), (Vec::new(), None));
        // The run was that of hour 101: the clock is right again, and the next one is that of hour 102.
        assert_eq!(calendar.arm(JOB, Every(HOUR), at(101 * HOUR)), Ok(at(102 * HOUR)));
        assert_eq!(calendar.due(at(102 * HOUR)), [JOB]);
        assert_eq!(calendar.arm(JOB, Every(HOUR), at(101 * HOUR + 5)), Ok(at(103 * HOUR)), "back: not again");
        // A long way back while it is armed: earlier times come first.
        assert_eq!(calendar.due(at(50 * HOUR)), []);
        assert_eq!(calendar.next(JOB), Some(at(51 * HOUR)));
    }

    #[test]
    fn a_line_without_a_time_is_not_armed() {
        let mut calendar = Calendar::default();
        assert_eq!(calendar.arm(JOB, Every(HOUR), at(1)), Ok(at(HOUR)));
        assert_eq!(calendar.arm(JOB, Every(0), at(1)), Err(()));
        assert_eq!(calendar.next(JOB), None);
        assert_eq!(calendar.arm(JOB, Every(HOUR), at(1)), Ok(at(HOUR)));
        calendar.forget(JOB);
        assert_eq!(calendar.earliest(), None);
    }
}
