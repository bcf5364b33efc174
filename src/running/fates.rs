//! What a run shows of jobs that are not in work: who waits, who rests after a failure, and who failed for good.

use super::{MOST, Running};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// A job that failed and is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resting {
    pub(crate) number: u64,
    /// The attempt that failed.
    pub(crate) attempt: u32,
    /// How: the rest of a sentence.
    pub(crate) how: String,
    /// Until when, in seconds since the start of the machine.
    pub(crate) until: f64,
}

/// A job that came to its end without success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Failed {
    pub(crate) number: u64,
    /// What people were told of it.
    pub(crate) how: String,
    /// What is known of its last attempt.
    pub(crate) last: Option<String>,
}

/// What was told of jobs.
#[derive(Debug, Default)]
pub(crate) struct Fates {
    resting: BTreeMap<u64, (Resting, Instant)>,
    failed: VecDeque<Failed>,
    forgotten: u64,
}

impl Fates {
    /// It is in work.
    pub(crate) fn began(&mut self, number: u64) {
        self.resting.remove(&number);
    }

    /// This attempt failed so, and after a pause there is another one.
    pub(crate) fn rests(&mut self, (number, attempt): (u64, u32), how: String, pause: Duration) {
        let until = Instant::now() + pause;
        let resting = Resting { number, attempt, how, until: 0.0 };
        self.resting.insert(number, (resting, until));
    }

    /// It came to its end; if it did not succeed, so.
    pub(crate) fn ended(&mut self, number: u64, failed: Option<Failed>) {
        self.resting.remove(&number);
        let Some(failed) = failed else { return };
        if self.failed.len() == MOST {
            self.failed.pop_front();
            self.forgotten += 1;
        }
        self.failed.push_back(failed);
    }

    /// Writes them to what is shown at this moment, in seconds since the start of the machine. `open` are all that did not come to
    /// their end.
    pub(super) fn show(&self, now: f64, open: impl Iterator<Item = u64>, to: &mut Running) {
        let in_work: BTreeSet<u64> = to.jobs.iter().map(|job| job.number).collect();
        let waits = |number: &u64| !in_work.contains(number) && !self.resting.contains_key(number);
        to.waiting = open.filter(waits).take(MOST).collect();
        let resting = self.resting.values().take(MOST).map(|(resting, until)| {
            let left = until.saturating_duration_since(Instant::now());
            Resting { until: now + left.as_secs_f64(), ..resting.clone() }
        });
        to.resting = resting.collect();
        to.failures = self.failed.iter().cloned().collect();
        to.forgotten = self.forgotten;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fates: &Fates, open: &[u64]) -> Running {
        let mut running = Running::default();
        fates.show(100.0, open.iter().copied(), &mut running);
        running
    }

    #[test]
    fn who_rests_does_not_wait_and_who_has_begun_again_does_not_rest() {
        let mut fates = Fates::default();
        fates.rests((2, 1), "exited with code 3".to_owned(), Duration::from_secs(60));
        let running = shown(&fates, &[1, 2, 3]);
        assert_eq!(running.waiting, [1, 3]);
        assert!(running.resting[0].number == 2 && running.resting[0].until > 100.0, "{running:?}");
        fates.began(2);
        assert_eq!(shown(&fates, &[2]).resting, []);
    }

    #[test]
    fn the_last_that_failed_are_kept() {
        let mut fates = Fates::default();
        let most = MOST as u64;
        for number in 1..=most + 1 {
            fates.ended(number, Some(Failed { number, ..Failed::default() }));
        }
        fates.ended(most + 2, None);
        let Running { failures, forgotten, .. } = shown(&fates, &[]);
        assert_eq!((failures.len(), failures[0].number, forgotten), (MOST, 2, 1));
    }
}
