//! Whether the memory of a worker grows with each of its tasks.

use crate::slope;
use alloc::collections::VecDeque;
use core::time::Duration;
use doula_model::time::Time;

/// So many looks say nothing: it warms up.
const WARM: u32 = 4;
/// So many steps between looks say something.
const STEPS: usize = 8;

/// What was seen of the memory of one worker.
///
/// ```
/// use doula_core::queue::Growth;
/// use doula_model::time::Time;
/// let mut growth = Growth::default();
/// let (mut now, mut tasks) = (Time::ZERO, 0);
/// while !growth.is_as_fast_as(1000) {
///     now = now.after(Growth::PAUSE);
///     tasks += 10;
///     assert!(growth.is_due(now, tasks));
///     growth.note(now, tasks, 5_000_000 + 1000 * tasks);
/// }
/// assert_eq!(tasks, 130);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Growth {
    looks: u32,
    last: Option<(Time, u64)>,
    /// How many tasks it had answered, and how much memory it took.
    seen: VecDeque<(u64, u64)>,
}

impl Growth {
    /// Looking takes some time: not more often than this.
    pub const PAUSE: Duration = Duration::from_millis(100);

    /// Whether it should be looked at: it has answered so many tasks.
    pub fn is_due(&self, now: Time, answered: u64) -> bool {
        self.last.is_none_or(|(then, tasks)| answered > tasks && now.since(then) >= Growth::PAUSE)
    }

    /// It takes so many bytes now.
    pub fn note(&mut self, now: Time, answered: u64, bytes: u64) {
        self.last = Some((now, answered));
        self.looks += 1;
        if self.looks <= WARM {
            return;
        }
        self.seen.push_back((answered, bytes));
        if self.seen.len() > STEPS + 1 {
            self.seen.pop_front();
        }
    }

    /// Whether it grows by so many bytes with each task, as far as can be said.
    pub fn is_as_fast_as(&self, bytes: u64) -> bool {
        self.seen.len() > STEPS && slope::usual(self.seen.iter().copied(), 1) >= i128::from(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which look a worker is found to grow that takes so many bytes at each, with ten tasks between them.
    fn found(bytes: impl Fn(u64) -> u64) -> Option<u64> {
        let mut growth = Growth::default();
        (1..100).find(|look| {
            let now = Time::ZERO.after(Growth::PAUSE * *look as u32);
            growth.note(now, look * 10, bytes(*look));
            growth.is_as_fast_as(100)
        })
    }

    #[test]
    fn a_steady_growth_is_found_and_a_slower_one_or_a_jump_never() {
        assert_eq!(found(|look| 1_000_000 + look * 1000), Some(13));
        assert_eq!(found(|look| 1_000_000 + look * 990), None);
        assert_eq!(found(|look| if look < 50 { 1 } else { 1 << 40 }), None);
        assert_eq!(found(|look| look.min(4) << 20), None, "it warms up");
        assert_eq!(found(|look| 1_000_000 + look % 4 * 5000), None, "a collector gives back");
    }

    #[test]
    fn it_is_looked_at_now_and_then_and_only_after_more_work() {
        let mut growth = Growth::default();
        assert!(growth.is_due(Time::ZERO, 1));
        growth.note(Time::ZERO, 1, 1);
        assert!(!growth.is_due(Time::ZERO.after(Growth::PAUSE / 2), 2));
        assert!(!growth.is_due(Time::ZERO.after(Growth::PAUSE), 1));
        assert!(growth.is_due(Time::ZERO.after(Growth::PAUSE), 2));
    }
}
