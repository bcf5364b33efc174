//! The deadlines of the whole family in one ordered set: the next one is what the world sleeps for.
//!
//! A service has at most one deadline of each [`Alarm`]; setting it again moves it. The set never sleeps and
//! knows no clock: it only sorts.

use alloc::collections::BTreeSet;
use doula_model::id::ServiceId;
use doula_model::time::Time;

/// What a deadline of a service is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// The limit of the step in progress: pre-start, readiness, grace, leftovers, post-stop, back-off.
    Step,
    /// The next attempt of a probe, or the end of the patience with the one that runs.
    Probe,
    /// The end of the patience with a silent service.
    Watchdog,
    /// The limit of the reload command.
    Reload,
}

impl Alarm {
    /// Every alarm, in the order of their places in [`Alarms`].
    pub(crate) const ALL: [Alarm; 4] = [Alarm::Step, Alarm::Probe, Alarm::Watchdog, Alarm::Reload];
}

/// The deadlines of one service.
pub(crate) type Alarms = [Option<Time>; 4];

/// The deadlines of all services.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    set: BTreeSet<(Time, ServiceId, Alarm)>,
}

impl Timers {
    /// Moves the deadline `alarm` of `service` from where `slot` says to `to`; `None` takes it away.
    pub(crate) fn set(&mut self, service: ServiceId, alarm: Alarm, slot: &mut Alarms, to: Option<Time>) {
        let slot = &mut slot[alarm as usize];
        if let Some(old) = slot.take() {
            let known = self.set.remove(&(old, service, alarm));
            assert!(known, "a deadline is in the set as long as its service knows it");
        }
        if let Some(time) = to {
            self.set.insert((time, service, alarm));
        }
        *slot = to;
    }

    /// Takes the earliest deadline that is not later than `now` out of the set. The slot of the service must be
    /// emptied by the caller.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<(ServiceId, Alarm)> {
        let &(time, service, alarm) = self.set.first()?;
        if time > now {
            return None;
        }
        self.set.pop_first();
        Some((service, alarm))
    }

    /// The earliest deadline of all.
    pub(crate) fn next(&self) -> Option<Time> {
        self.set.first().map(|(time, ..)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ServiceId = ServiceId(1);
    const B: ServiceId = ServiceId(2);

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    #[test]
    fn deadlines_come_in_order_of_time_and_a_moved_one_comes_once() {
        let (mut timers, mut a, mut b) = (Timers::default(), Alarms::default(), Alarms::default());
        timers.set(A, Alarm::Step, &mut a, Some(at(30)));
        timers.set(B, Alarm::Probe, &mut b, Some(at(20)));
        timers.set(A, Alarm::Step, &mut a, Some(at(10)));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(30)), Some((A, Alarm::Step)));
        assert_eq!(timers.pop_due(at(30)), Some((B, Alarm::Probe)));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_that_was_taken_away_never_comes() {
        let (mut timers, mut a) = (Timers::default(), Alarms::default());
        for alarm in Alarm::ALL {
            timers.set(A, alarm, &mut a, Some(at(5)));
            timers.set(A, alarm, &mut a, None);
        }
        assert_eq!((timers.next(), a), (None, Alarms::default()));
    }
}
