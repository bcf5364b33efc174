//! When those are killed again who were killed together and are not gone yet.
//!
//! A kill of a whole group can miss one who is being born at that moment (`cgroup.kill` of Linux does). Nothing tells of it: the
//! group only stays populated. So whoever waits for it to become empty kills again, at doubling pauses: who was missed is
//! gone soon, and who sleeps in the kernel's hands for hours costs next to nothing.

use core::time::Duration;
use doula_model::time::Time;

/// Whoever can end has most often ended by then.
const FIRST: Duration = Duration::from_millis(50);
/// The pause between two kills doubles up to this.
const LONGEST: Duration = Duration::from_secs(10);

/// When they are killed again.
///
/// ```
/// use core::time::Duration;
/// use doula_core::again::Again;
/// use doula_model::time::Time;
/// let at = |millis| Time::ZERO.after(Duration::from_millis(millis));
/// let mut again = Again::default();
/// assert!(!again.is_due(at(0)), "nobody was killed");
/// again.killed(at(0));
/// assert!(!again.is_due(at(49)) && again.is_due(at(50)));
/// again.killed(at(50));
/// assert_eq!(again.deadline(), Some(at(150)));
/// again.gone();
/// assert_eq!(again.deadline(), None);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Again {
    next: Option<Time>,
    pause: Duration,
}

impl Again {
    /// They were killed now. The pause grows only when that was due: for another reason they may be killed at any time.
    pub fn killed(&mut self, now: Time) {
        if self.next.is_none() {
            self.pause = FIRST;
        } else if self.is_due(now) {
            self.pause = LONGEST.min(self.pause * 2);
        }
        self.next = Some(now.after(self.pause));
    }

    /// Nobody of them is left.
    pub fn gone(&mut self) {
        *self = Again::default();
    }

    /// When they are killed again; `None` when nobody was killed, or all are gone.
    #[must_use]
    pub const fn deadline(&self) -> Option<Time> {
        self.next
    }

    /// Whether they are to be killed again.
    #[must_use]
    pub fn is_due(&self, now: Time) -> bool {
        self.next.is_some_and(|next| next <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn at(millis: u64) -> Time {
        Time::ZERO.after(Duration::from_millis(millis))
    }

    #[test]
    fn whoever_stays_is_killed_again_at_doubling_pauses_up_to_ten_seconds() {
        let mut again = Again::default();
        again.killed(Time::ZERO);
        let mut kills = Vec::new();
        while let Some(now) = again.deadline().filter(|_| kills.len() < 10) {
            assert!(again.is_due(now));
            again.killed(now);
            assert!(!again.is_due(now));
            kills.push(now.since(Time::ZERO).as_millis());
        }
        assert_eq!(kills, [50, 150, 350, 750, 1_550, 3_150, 6_350, 12_750, 22_750, 32_750]);
    }

    #[test]
    fn a_kill_before_its_time_puts_the_next_one_off_and_no_further() {
        let mut again = Again::default();
        (0..10).for_each(|millis| again.killed(at(millis)));
        assert_eq!(again.deadline(), Some(at(59)));
    }

    #[test]
    fn those_who_come_after_all_were_gone_are_killed_as_soon_as_the_first() {
        let mut again = Again::default();
        [0, 50, 150].into_iter().for_each(|millis| again.killed(at(millis)));
        again.gone();
        assert!(!again.is_due(at(1_000_000)));
        again.killed(at(2_000_000));
        assert_eq!(again.deadline(), Some(at(2_000_050)));
    }
}
