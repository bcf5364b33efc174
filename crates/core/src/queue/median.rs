//! The median of a growing number of durations: two heaps that meet in the middle.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;
use core::time::Duration;

#[derive(Clone, Debug, Default)]
pub(super) struct Median {
    /// The smaller half, and the middle one.
    low: BinaryHeap<Duration>,
    high: BinaryHeap<Reverse<Duration>>,
}

impl Median {
    pub(super) fn add(&mut self, sample: Duration) {
        if self.low.peek().is_none_or(|middle| sample <= *middle) {
            self.low.push(sample);
        } else {
            self.high.push(Reverse(sample));
        }
        if self.low.len() > self.high.len() + 1 {
            self.high.extend(self.low.pop().map(Reverse));
        } else if self.high.len() > self.low.len() {
            self.low.extend(self.high.pop().map(|Reverse(sample)| sample));
        }
    }

    pub(super) fn count(&self) -> usize {
        self.low.len() + self.high.len()
    }

    /// The middle one; of two, the smaller.
    pub(super) fn get(&self) -> Option<Duration> {
        self.low.peek().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use alloc::vec::Vec;

    #[test]
    fn it_is_the_middle_of_all_that_came_in_whatever_order() {
        let mut random = Random::new(3);
        let (mut median, mut all) = (Median::default(), Vec::new());
        assert_eq!(median.get(), None);
        for _ in 0..200 {
            let sample = Duration::from_nanos(random.below(50));
            median.add(sample);
            all.push(sample);
            all.sort_unstable();
            assert_eq!(median.get(), all.get((all.len() - 1) / 2).copied());
            assert_eq!(median.count(), all.len());
        }
    }
}
