//! When scheduled services are due: cron lines on the wall clock.
//!
//! One timer for all of them, a timerfd on CLOCK_REALTIME with TFD_TIMER_CANCEL_ON_SET: it rings at the
//! earliest time, also if the machine was suspended meanwhile, and when somebody sets the clock; otherwise
//! nothing wakes us. What happens when the clock is set is decided in [`doula_core::calendar`].
//!
//! Whether a run starts then (the last one may still go on) is for the core to decide.

use core::time::Duration;
use cronexpr::{Crontab, MakeTimestamp};
use doula_core::calendar::{Calendar, Line};
use doula_model::id::ServiceId;
use doula_model::plan::Errno;
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::time;

/// Why a schedule is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// It cannot be read.
    #[error("failed to read the schedule `{line}`: {reason}")]
    Syntax {
        /// The cron line.
        line: String,
        /// What the reader says.
        reason: String,
    },
    /// It names no time within four years (30 February).
    #[error("failed to find a time for the schedule `{line}`: {reason}")]
    Never {
        /// The cron line.
        line: String,
        /// What the reader says.
        reason: String,
    },
    /// The timer could not be set.
    #[error("failed to set the timer of schedules: {0}")]
    Timer(#[source] Errno),
}

/// The schedules of the family.
#[derive(Debug)]
pub struct Schedules {
    timer: OwnedFd,
    calendar: Calendar<CronLine>,
}

#[derive(Debug)]
struct CronLine {
    text: String,
    crontab: Crontab,
}

impl AsFd for Schedules {
    /// What the loop watches for reading; then [`Schedules::due`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Schedules {
    /// No schedules yet.
    ///
    /// # Errors
    /// For lack of fds.
    pub fn new() -> Result<Schedules, ScheduleError> {
        let timer = time::wall_timer().map_err(ScheduleError::Timer)?;
        Ok(Schedules { timer, calendar: Calendar::default() })
    }

    /// Arms the schedule of a service: it will be due once, at its next time after `wall` (the wall clock since
    /// 1970, [`time::realtime`]). A schedule of the service that was armed before is replaced. Returns how long
    /// that is from now.
    ///
    /// # Errors
    /// When the line cannot be read or names no time; then the service is not armed.
    pub fn arm(&mut self, service: ServiceId, line: &str, wall: Duration) -> Result<Duration, ScheduleError> {
        let line = match parse(line) {
            Ok(crontab) => CronLine { text: line.to_owned(), crontab },
            Err(error) => {
                self.forget(service)?;
                return Err(error);
            }
        };
        let due = self.calendar.arm(service, line, wall);
        self.set_timer()?;
        Ok(due?.saturating_sub(wall))
    }

    /// The service is scheduled no more.
    ///
    /// # Errors
    /// When the timer cannot be set (which does not happen to a valid fd).
    pub fn forget(&mut self, service: ServiceId) -> Result<(), ScheduleError> {
        self.calendar.forget(service);
        self.set_timer()
    }

    /// When a service is due next (since 1970), for people.
    pub fn next(&self, service: ServiceId) -> Option<Duration> {
        self.calendar.next(service)
    }

    /// The timer rang: who is due at this wall clock? Each of them once; then it must be armed again.
    ///
    /// # Errors
    /// When the timer cannot be set (which does not happen to a valid fd).
    pub fn due(&mut self, wall: Duration) -> Result<Vec<ServiceId>, ScheduleError> {
        // Empties the timer. ECANCELED says that the clock was set: all the more reason to look at each.
        fd::read(&self.timer, &mut [0; 8]).map_or_else(|_| (), |_| ());
        let due = self.calendar.due(wall);
        self.set_timer()?;
        Ok(due)
    }

    fn set_timer(&self) -> Result<(), ScheduleError> {
        time::set_wall_timer(&self.timer, self.calendar.earliest()).map_err(ScheduleError::Timer)
    }
}

impl Line for CronLine {
    type Error = ScheduleError;

    fn after(&self, wall: Duration) -> Result<Duration, ScheduleError> {
        let never = |reason: String| ScheduleError::Never { line: self.text.clone(), reason };
        let millis = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        let from = MakeTimestamp::from_millisecond(millis).map_err(|error| never(error.to_string()))?;
        let next = self.crontab.find_next(from).map_err(|error| never(error.to_string()))?;
        let millis = u64::try_from(next.timestamp().as_millisecond()).unwrap_or(0);
        Ok(Duration::from_millis(millis))
    }
}

fn parse(line: &str) -> Result<Crontab, ScheduleError> {
    cronexpr::parse_crontab(line)
        .map_err(|error| ScheduleError::Syntax { line: line.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_sys::poll;

    const JOB: ServiceId = ServiceId(1);
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_service_is_due_once_for_each_time_that_it_was_armed() {
        let mut schedules = Schedules::new().expect("timer");
        assert_eq!(schedules.arm(JOB, "30 * * * * UTC", at(60)).expect("arm"), at(29 * 60));
        assert_eq!(schedules.next(JOB), Some(at(HOUR / 2)));
        assert_eq!(schedules.due(at(HOUR / 2 - 1)).expect("due"), []);
        assert_eq!(schedules.due(at(HOUR / 2)).expect("due"), [JOB]);
        assert_eq!(schedules.due(at(10 * HOUR)).expect("due"), [], "not armed");
        schedules.arm(JOB, "30 * * * * UTC", at(HOUR / 2)).expect("arm");
        assert_eq!(schedules.next(JOB), Some(at(HOUR + HOUR / 2)));
        schedules.forget(JOB).expect("forget");
        assert_eq!((schedules.next(JOB), schedules.due(at(10 * DAY)).expect("due")), (None, vec![]));
    }

    #[test]
    fn a_time_zone_and_its_summer_time_are_respected() {
        let mut schedules = Schedules::new().expect("timer");
        // 2024-03-30T12:00Z; the clocks went forward in the night after.
        let noon = at(1_711_800_000);
        let wait = schedules.arm(JOB, "0 8 * * * Europe/Berlin", noon).expect("arm");
        assert_eq!(wait, at(18 * HOUR), "8:00 is 6:00Z in summer");
    }

    #[test]
    fn a_clock_that_jumps_forward_makes_it_due_once_and_back_repeats_nothing() {
        let mut schedules = Schedules::new().expect("timer");
        let arm = |schedules: &mut Schedules, now| schedules.arm(JOB, "0 * * * * UTC", now).expect("arm");
        arm(&mut schedules, at(10 * DAY));
        assert_eq!(schedules.due(at(12 * DAY)).expect("due"), [JOB]);
        arm(&mut schedules, at(12 * DAY));
        let noon = at(12 * DAY + HOUR);
        assert_eq!(schedules.due(noon).expect("due"), [JOB]);
        // A minute back: this hour's run has been.
        arm(&mut schedules, noon - at(60));
        assert_eq!(schedules.next(JOB), Some(noon + at(HOUR)));
        // A day back while it is armed: earlier times come first.
        assert_eq!(schedules.due(noon - at(DAY)).expect("due"), []);
        assert_eq!(schedules.next(JOB), Some(noon - at(DAY) + at(HOUR)));
    }

    #[test]
    fn the_timer_rings_for_what_is_due_and_is_silent_otherwise() {
        let mut schedules = Schedules::new().expect("timer");
        let now = time::realtime();
        schedules.arm(JOB, "0 0 1 1 * UTC", now - at(5 * 366 * DAY)).expect("arm");
        assert_eq!(poll::readable(&schedules, Some(Duration::from_secs(5))), Ok(true), "it is long past");
        assert_eq!(schedules.due(now).expect("due"), [JOB]);
        schedules.arm(JOB, "0 0 1 1 * UTC", now + at(60)).expect("arm");
        assert_eq!(poll::readable(&schedules, Some(Duration::ZERO)), Ok(false));
    }

    #[test]
    fn a_line_that_is_no_schedule_is_an_error_that_shows_it() {
        let mut schedules = Schedules::new().expect("timer");
        for line in ["", "* * * *", "61 * * * * UTC", "* * * * * Nowhere/Town", "0 0 30 2 * UTC"] {
            let error = schedules.arm(JOB, line, at(0)).expect_err(line).to_string();
            assert!(error.starts_with("failed to ") && error.contains(&format!("`{line}`")), "{error}");
        }
        assert_eq!(schedules.next(JOB), None);
    }
}
