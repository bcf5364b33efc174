//! A worker that does not answer: when it is looked at whether it has its ends still, and what is made of that.
//!
//! Whoever closes its end of a pipe is heard of when the last one that has it closed it too. A worker whose own child has
//! inherited that end can close it, and nothing tells: its task would be waited for until its time is over, or for ever.

use core::time::Duration;
use doula_model::time::Time;

/// So long nobody is looked at.
const FIRST: Duration = Duration::from_millis(100);
/// The pause between two looks doubles up to this.
const LONGEST: Duration = Duration::from_secs(1);

/// When a worker is looked at.
///
/// ```
/// use core::time::Duration;
/// use doula_core::queue::Quiet;
/// use doula_model::time::Time;
/// let at = |millis| Time::ZERO.after(Duration::from_millis(millis));
/// let mut quiet = Quiet::default();
/// quiet.begins(at(0), 5);
/// assert!(!quiet.is_due(at(99), 5) && quiet.is_due(at(100), 5));
/// // Who answers meanwhile is not.
/// assert!(!quiet.is_due(at(300), 6));
/// assert!(quiet.is_due(at(400), 6));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    next: Time,
    pause: Duration,
    answered: u64,
}

impl Quiet {
    /// It has tasks from now on; so many it answered before.
    pub fn begins(&mut self, now: Time, answered: u64) {
        *self = Quiet { next: now.after(FIRST), pause: FIRST, answered };
    }

    /// When it is asked next whether a look [is due](Self::is_due), as long as it has tasks.
    #[must_use]
    pub const fn deadline(&self) -> Time {
        self.next
    }

    /// Whether it is looked at now: it has answered nothing for a while.
    pub fn is_due(&mut self, now: Time, answered: u64) -> bool {
        if now < self.next {
            return false;
        }
        if answered != self.answered {
            self.begins(now, answered);
            return false;
        }
        self.pause = LONGEST.min(self.pause * 2);
        self.next = now.after(self.pause);
        true
    }
}

/// Which of its ends a worker has itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// By which it is asked.
    pub input: bool,
    /// By which it answers.
    pub output: bool,
}

/// An end that a worker closed, so that nothing more is expected of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// By which it is asked.
    Input,
    /// By which it answers.
    Output,
}

impl Ends {
    /// Both.
    pub const BOTH: Ends = Ends { input: true, output: true };

    /// What it closed, if nothing more can come of it: it may answer what it has read, also when it wants no more. `unread`: it has
    /// read of none of its tasks.
    ///
    /// ```
    /// use doula_core::queue::{Closed, Ends};
    /// let wants_no_more = Ends { input: false, output: true };
    /// assert_eq!((wants_no_more.closed(false), wants_no_more.closed(true)), (None, Some(Closed::Input)));
    /// ```
    #[must_use]
    pub const fn closed(self, unread: bool) -> Option<Closed> {
        match self {
            Ends { output: false, .. } => Some(Closed::Output),
            Ends { input: false, .. } if unread => Some(Closed::Input),
            Ends { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn who_is_silent_is_looked_at_after_a_tenth_of_a_second_and_then_at_most_each_second() {
        let mut quiet = Quiet::default();
        quiet.begins(Time::ZERO, 0);
        let mut looks = Vec::new();
        while looks.len() < 8 {
            let now = quiet.deadline();
            assert!(quiet.is_due(now, 0) && !quiet.is_due(now, 0));
            looks.push(now.since(Time::ZERO).as_millis());
        }
        assert_eq!(looks, [100, 300, 700, 1500, 2500, 3500, 4500, 5500]);
    }

    #[test]
    fn who_closed_its_output_answers_nothing_whatever_it_has_read() {
        let all = [(true, true), (true, false), (false, true), (false, false)];
        let closed = all.map(|(input, output)| {
            let ends = Ends { input, output };
            (ends.closed(false), ends.closed(true))
        });
        let out = Some(Closed::Output);
        assert_eq!(closed, [(None, None), (out, out), (None, Some(Closed::Input)), (out, out)]);
    }
}
