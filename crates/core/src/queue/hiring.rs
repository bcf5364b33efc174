//! When a worker may be started: those that end before they took a task are followed by a pause, and at last by none.
//!
//! Workers that are started together and end together prove no more than one of them: they are one round.

use core::time::Duration;
use doula_model::time::Time;

/// What is known of workers that ended before they took a task.
///
/// ```
/// use doula_core::queue::Hiring;
/// use doula_model::time::Time;
/// let mut hiring = Hiring::default();
/// for _ in 1..Hiring::ROUNDS {
///     let born = hiring.not_before();
///     assert!(!hiring.in_vain(born, born));
/// }
/// let born = hiring.not_before();
/// assert!(born > Time::ZERO && hiring.in_vain(born, born));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Hiring {
    rounds: u32,
    /// When the last round ended.
    ended: Time,
}

impl Hiring {
    /// So many rounds in a row are enough.
    pub const ROUNDS: u32 = 5;
    /// The pause after the first round; it doubles.
    pub const PAUSE: Duration = Duration::from_millis(50);

    /// A worker took a task: what was before proves nothing any more.
    pub fn served(&mut self) {
        self.rounds = 0;
    }

    /// A worker ended, and took no task. Whether there is no hope any more; said once in a round.
    pub fn in_vain(&mut self, now: Time, born: Time) -> bool {
        if self.rounds > 0 && born < self.ended {
            return false;
        }
        self.rounds += 1;
        self.ended = now;
        self.rounds >= Hiring::ROUNDS
    }

    /// Of so many slots at most this many are without a worker that works, because theirs are replaced.
    pub const fn absent(slots: u32) -> u32 {
        if slots < 16 { 1 } else { slots / 8 }
    }

    /// The next worker is started no earlier than this.
    pub fn not_before(&self) -> Time {
        match self.rounds {
            0 => Time::ZERO,
            rounds => self.ended.after(Hiring::PAUSE.saturating_mul(1 << (rounds - 1).min(16))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_were_started_together_are_one_round_and_one_that_served_ends_the_row() {
        let at = |millis| Time::ZERO.after(Duration::from_millis(millis));
        let mut hiring = Hiring::default();
        for ended in 1..20 {
            assert!(!hiring.in_vain(at(ended), at(0)));
        }
        assert_eq!(hiring.not_before(), at(51));
        assert!(!hiring.in_vain(at(60), at(51)));
        assert_eq!(hiring.not_before(), at(160));
        hiring.served();
        assert_eq!(hiring.not_before(), Time::ZERO);
        assert!(!hiring.in_vain(at(170), at(161)));
        assert_eq!(hiring.not_before(), at(220));
    }
}
