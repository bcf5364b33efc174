//! Whether the memory of a worker grows without end: the usual slope of what was seen over one span of time.
//!
//! A worker that has just started grows because it warms up, so its first span is not counted; one large request, or
//! the collector of its language, makes a jump and no slope ([`slope::usual`]). Deliberately absent: a limit of the size itself; that is `limits = { memory = … }`.

use crate::slope;
use alloc::collections::VecDeque;
use core::time::Duration;
use doula_model::pool::Leak;
use doula_model::time::Time;

/// So many looks in one span.
const LOOKS: u32 = 8;

/// The longest and shortest time between two looks.
const LONGEST: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_millis(100);

/// How long to wait between two looks.
pub(super) fn pause(leak: Leak) -> Duration {
    (leak.within / LOOKS).clamp(SHORTEST, LONGEST)
}

/// What was seen of the memory of one life.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth {
    /// When it was looked at first.
    began: Option<Time>,
    /// Looks of the last span, the oldest first.
    seen: VecDeque<(Time, u64)>,
}

impl Growth {
    /// It takes so many bytes now.
    pub(super) fn note(&mut self, leak: Leak, now: Time, bytes: u64) {
        let began = *self.began.get_or_insert(now);
        if now.since(began) < leak.within {
            return;
        }
        // Other things are looked for as well, and more often.
        if self.seen.back().is_some_and(|(last, _)| now.since(*last) < leak.within / LOOKS) {
            return;
        }
        self.seen.push_back((now, bytes));
        if self.seen.len() > LOOKS as usize + 1 {
            self.seen.pop_front();
        }
    }

    /// Whether it grows so fast, as far as can be said.
    pub(super) fn is_as_fast_as(&self, leak: Leak) -> bool {
        self.seen.len() > LOOKS as usize && self.slope(leak.within) >= i128::from(leak.memory)
    }

    /// By how many bytes it grows in this time.
    fn slope(&self, within: Duration) -> i128 {
        let span = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
        slope::usual(
            self.seen.iter().map(|(time, bytes)| (time.since(Time::ZERO).as_nanos() as u64, *bytes)),
            span,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAK: Leak = Leak { memory: 800, within: Duration::from_secs(80) };

    /// Whether a worker is found to leak that takes so many bytes at each look.
    fn found(bytes: impl IntoIterator<Item = u64>) -> Option<u32> {
        let mut growth = Growth::default();
        (0..).zip(bytes).find_map(|(look, bytes)| {
            growth.note(LEAK, Time::ZERO.after(pause(LEAK) * look), bytes);
            growth.is_as_fast_as(LEAK).then_some(look)
        })
    }

    #[test]
    fn a_steady_growth_is_found_after_two_spans_and_a_slower_one_never() {
        assert_eq!(found((0..100).map(|look| 5_000 + look * 100)), Some(16));
        assert_eq!(found((0..100).map(|look| 5_000 + look * 99)), None);
    }

    #[test]
    fn neither_warming_up_nor_a_jump_nor_a_saw_is_a_leak() {
        assert_eq!(found((0..100).map(|look| 10_000 * look.min(8))), None, "it is warm after a span");
        assert_eq!(found((0..100).map(|look| if look < 50 { 1_000 } else { 90_000 })), None);
        assert_eq!(found((0..100).map(|look| 1_000 + look % 4 * 500)), None, "a collector gives back");
    }

    #[test]
    fn one_look_in_which_it_was_large_hides_no_leak() {
        let bytes = |look: u64| if look == 12 { 1 << 40 } else { look * 150 };
        assert_eq!(found((0..100).map(bytes)), Some(16));
    }

    #[test]
    fn looks_that_come_too_often_are_one() {
        let mut growth = Growth::default();
        for tenth in 0..200_u32 {
            growth.note(LEAK, Time::ZERO.after(Duration::from_secs(u64::from(tenth))), u64::from(tenth) * 10);
        }
        assert_eq!((growth.seen.len(), growth.is_as_fast_as(LEAK)), (9, true));
        assert!(pause(Leak { within: Duration::from_secs(86_400), ..LEAK }) == LONGEST);
    }
}
