//! The clocks.

use crate::fd::{AsFd, OwnedFd};
use crate::{Result, errno};
use core::time::Duration;
use doula_model::time::Time;
use rustix::time as rx;

/// `clock_gettime(CLOCK_MONOTONIC)`—the clock of every decision. Stands still while the machine sleeps.
///
/// <https://man7.org/linux/man-pages/man2/clock_gettime.2.html>
#[doc(alias = "clock_gettime")]
pub fn monotonic() -> Time {
    nanos(rx::clock_gettime(rx::ClockId::Monotonic))
}

/// `clock_gettime(CLOCK_MONOTONIC_COARSE)`—the same as it was at the last tick of the kernel, some milliseconds ago: cheaper.
#[doc(alias = "clock_gettime")]
pub fn roughly() -> Time {
    nanos(rx::clock_gettime(rx::ClockId::MonotonicCoarse))
}

/// `clock_gettime(CLOCK_BOOTTIME)`—like [`monotonic`], but goes on while the machine sleeps. The start ticks
/// in `/proc/PID/stat` are on this clock.
#[doc(alias = "clock_gettime")]
pub fn boottime() -> Time {
    nanos(rx::clock_gettime(rx::ClockId::Boottime))
}

/// `clock_gettime(CLOCK_REALTIME)`—the wall clock, as time since 1970. For display only.
#[doc(alias = "clock_gettime")]
pub fn realtime() -> Duration {
    Duration::from_nanos(nanos(rx::clock_gettime(rx::ClockId::Realtime)).as_nanos())
}

/// `sysconf(_SC_CLK_TCK)`—so many ticks in a second have the times in `/proc/PID/stat`.
///
/// <https://man7.org/linux/man-pages/man3/sysconf.3.html>
pub fn clock_ticks() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

fn nanos(spec: rx::Timespec) -> Time {
    let seconds = u64::try_from(spec.tv_sec).unwrap_or(0);
    Time::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(spec.tv_nsec as u64))
}

/// `timerfd_create(CLOCK_MONOTONIC)`—a timer as an fd: readable once it rang. Non-blocking, close-on-exec.
///
/// <https://man7.org/linux/man-pages/man2/timerfd_create.2.html>
#[doc(alias = "timerfd_create")]
pub fn timer() -> Result<OwnedFd> {
    let flags = rx::TimerfdFlags::NONBLOCK | rx::TimerfdFlags::CLOEXEC;
    rx::timerfd_create(rx::TimerfdClockId::Monotonic, flags).map_err(errno)
}

/// `timerfd_settime(TFD_TIMER_ABSTIME)`—lets a timer of [`timer`] ring once at this point of [`monotonic`]
/// (at once if it has passed); `None` stops it. Also takes back a ring that nobody has read.
#[doc(alias = "timerfd_settime")]
pub fn set_timer(timer: impl AsFd, at: Option<Time>) -> Result<()> {
    // A value of zero would stop the timer instead of letting it ring at once.
    let nanos = at.map_or(0, |at| at.as_nanos().clamp(1, i64::MAX as u64));
    let value =
        rx::Timespec { tv_sec: (nanos / 1_000_000_000) as i64, tv_nsec: (nanos % 1_000_000_000) as i64 };
    let new = rx::Itimerspec { it_interval: rx::Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
    rx::timerfd_settime(timer, rx::TimerfdTimerFlags::ABSTIME, &new).map(drop).map_err(errno)
}

/// `timerfd_create(CLOCK_REALTIME)`—a timer on the wall clock. Non-blocking, close-on-exec.
///
/// <https://man7.org/linux/man-pages/man2/timerfd_create.2.html>
#[doc(alias = "timerfd_create")]
pub fn wall_timer() -> Result<OwnedFd> {
    let flags = rx::TimerfdFlags::NONBLOCK | rx::TimerfdFlags::CLOEXEC;
    rx::timerfd_create(rx::TimerfdClockId::Realtime, flags).map_err(errno)
}

/// `timerfd_settime(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)`—lets a timer of [`wall_timer`] ring once at
/// this time since 1970 (at once if it has passed), and also when somebody sets the wall clock; `None` stops
/// it.
#[doc(alias = "timerfd_settime")]
pub fn set_wall_timer(timer: impl AsFd, at: Option<Duration>) -> Result<()> {
    let at = at.map_or(Duration::ZERO, |at| at.max(Duration::from_nanos(1)));
    let tv_sec = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let value = rx::Timespec { tv_sec, tv_nsec: i64::from(at.subsec_nanos()) };
    let new = rx::Itimerspec { it_interval: rx::Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
    let flags = rx::TimerfdTimerFlags::ABSTIME | rx::TimerfdTimerFlags::CANCEL_ON_SET;
    rx::timerfd_settime(timer, flags, &new).map(drop).map_err(errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll;

    #[test]
    fn a_timer_in_the_past_rings_at_once_and_a_stopped_one_never() {
        let timer = timer().expect("timerfd");
        set_timer(&timer, Some(Time::ZERO)).expect("set");
        assert_eq!(poll::readable(&timer, Some(Duration::from_secs(5))), Ok(true));
        set_timer(&timer, None).expect("stop");
        assert_eq!(poll::readable(&timer, Some(Duration::ZERO)), Ok(false));
    }

    #[test]
    fn a_timer_on_the_wall_clock_rings_when_its_time_has_passed() {
        let timer = wall_timer().expect("timerfd");
        set_wall_timer(&timer, Some(realtime() + Duration::from_secs(3600))).expect("set");
        assert_eq!(poll::readable(&timer, Some(Duration::ZERO)), Ok(false));
        set_wall_timer(&timer, Some(Duration::ZERO)).expect("set");
        assert_eq!(poll::readable(&timer, Some(Duration::from_secs(5))), Ok(true));
    }

    #[test]
    fn the_boot_clock_is_never_behind_the_monotonic_one() {
        let monotonic = monotonic();
        assert!(boottime() >= monotonic);
    }
}
