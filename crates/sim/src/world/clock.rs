//! The wall clock, which people set, and the schedules that follow it: the production calendar, [`doula_core::calendar`], with a
//! timer as in `crates/host/src/schedule.rs` (CLOCK_REALTIME, TFD_TIMER_CANCEL_ON_SET).
//!
//! | check | what it holds |
//! |---|---|
//! | `schedule` | nobody is due before his time, twice for one, or not at once when it has come, however the clock is set |
//!
//! That nothing else follows this clock is seen by all other checks: they know the monotonic one alone.

use super::breakage::Breakage;
use super::faults::Fault;
use super::{Happening, World};
use alloc::collections::BTreeMap;
use core::convert::Infallible;
use core::time::Duration;
use doula_core::calendar::{Calendar, Line};
use doula_model::event::Event;
use doula_model::id::ServiceId;

/// The wall clock when the machine is switched on, and how far from the time it is set at the most.
const NEW_YEAR: Duration = Duration::from_secs(1_767_225_600);
const HOUR: Duration = Duration::from_secs(3_600);
/// The longest time between two runs.
const MOST_SECONDS: u64 = 20;

/// A schedule: all so many seconds.
#[derive(Clone, Copy, Debug)]
struct Every(Duration);

impl Line for Every {
    type Error = Infallible;

    fn after(&self, wall: Duration) -> Result<Duration, Infallible> {
        let every = self.0.as_secs().max(1);
        Ok(Duration::from_secs((wall.as_secs() / every + 1) * every))
    }
}

/// What the clock shows beyond the time since the machine was switched on, and what follows it.
#[derive(Debug)]
pub(super) struct Wall {
    ahead: Duration,
    /// The same when the timer was set last.
    ahead_then: Duration,
    calendar: Calendar<Every>,
    /// The last time for which each was due.
    ran: BTreeMap<ServiceId, Duration>,
    /// How often the timer was set.
    settings: u64,
}

impl Default for Wall {
    fn default() -> Wall {
        Wall {
            ahead: NEW_YEAR,
            ahead_then: NEW_YEAR,
            calendar: Calendar::default(),
            ran: BTreeMap::new(),
            settings: 0,
        }
    }
}

impl Wall {
    /// What a supervisor knew is gone with it.
    pub(super) fn forget_all(&mut self) {
        (self.calendar, self.ran) = (Calendar::default(), BTreeMap::new());
        self.settings += 1;
    }

    pub(super) fn forget(&mut self, service: ServiceId) {
        self.calendar.forget(service);
        self.ran.remove(&service);
    }
}

impl World<'_> {
    fn wall(&self) -> Duration {
        self.wall.ahead + Duration::from_nanos(self.now.as_nanos())
    }

    /// The schedule of a service, on the wall clock.
    pub(super) fn arm_on_the_wall(&mut self, service: ServiceId) {
        let every = Duration::from_secs(self.faults.below(Fault::WallJumps, MOST_SECONDS) + 1);
        let wall = self.wall();
        let Ok(_) = self.wall.calendar.arm(service, Every(every), wall);
        self.set_timer();
    }

    fn set_timer(&mut self) {
        self.wall.settings += 1;
        self.wall.ahead_then = self.wall.ahead;
        if let Some(at) = self.wall.calendar.earliest() {
            self.later(at.saturating_sub(self.wall()), Happening::Ring(self.wall.settings));
        }
    }

    /// Somebody sets the clock, which rings the timer.
    pub(super) fn set_wall_clock(&mut self) {
        if self.faults.fires(Fault::WallJumps) {
            let away = Duration::from_secs(self.faults.below(Fault::WallJumps, 2 * HOUR.as_secs()));
            self.wall.ahead = NEW_YEAR.saturating_sub(HOUR) + away;
            self.log.note(self.now, ("wall", self.wall.ahead.as_secs()));
            self.log.say(
                self.now,
                "people",
                format_args!("set the wall clock to {:?} since 1970", self.wall()),
            );
            if !self.is_broken(Breakage::MissesSetClock) && !self.is_broken(Breakage::SchedulesByTicks) {
                self.later(Duration::ZERO, Happening::Ring(self.wall.settings));
            }
        }
    }

    /// The timer rings.
    pub(super) fn ring(&mut self, setting: u64) {
        if setting != self.wall.settings || self.killed {
            return;
        }
        let wall = self.wall();
        let times: BTreeMap<ServiceId, Duration> = (0..self.scenario.members.len())
            .map(|place| self.checks.service(place))
            .filter_map(|service| Some((service, self.wall.calendar.next(service)?)))
            .collect();
        let thought = if self.is_broken(Breakage::SchedulesByTicks) {
            wall.saturating_sub(self.wall.ahead) + self.wall.ahead_then
        } else {
            wall
        };
        for service in self.wall.calendar.due(thought) {
            let at = times.get(&service).copied().unwrap_or(Duration::MAX);
            let before = self.wall.ran.insert(service, at);
            if at > wall || before.is_some_and(|before| at <= before) {
                let text =
                    alloc::format!("s{} is due for {at:?}, after {before:?}, and it is {wall:?}", service.0);
                self.checks.fail("schedule", text);
            }
            self.pending.push_back(Event::Due { service });
        }
        self.set_timer();
    }

    /// All that was to happen by now has happened: whoever is due has been told so.
    pub(super) fn all_due_are_told(&mut self) {
        let looks = !self.killed && !self.lock.is_wanted;
        let wall = self.wall();
        if let Some(at) = self.wall.calendar.earliest().filter(|at| looks && *at <= wall) {
            let text = alloc::format!("somebody is due for {at:?} and is not told so, and it is {wall:?}");
            self.checks.fail("schedule", text);
        }
    }
}
