//! The same decisions where the queue is elsewhere, and shared by many machines: what to do with a task that was delivered,
//! and after an attempt at it.
//!
//! Such a queue knows how often it delivered a task ([`Delivery::number`]), and no more: whoever comes to an end of a delivery
//! without a result writes it into the [`History`] of the task. A delivery that is in neither was *lost*: its worker died, or
//! its machine was cut off for longer than a lease. A task that was lost too often is buried, not delivered for ever.

use super::{Pause, RetryOn};
use crate::random::Random;
use core::time::Duration;
use doula_model::task::Failure;

/// What was written down about a task between its deliveries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// So many attempts failed.
    pub failed: u32,
    /// Of them, those that were deaths.
    pub deaths: u32,
    /// So many deliveries were given back, unbegun or ended together with their worker by its people.
    pub returned: u32,
}

/// One delivery of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The n-th, from 1.
    pub number: u32,
    /// What was written down before it.
    pub history: History,
}

/// The rules of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// So many more attempts after one that failed.
    pub retries: u32,
    /// After which failures.
    pub retry_on: RetryOn,
    /// The pauses between attempts.
    pub pause: Pause,
    /// After so many losses, or with `retries` after so many deaths, it is not tried again. 0: no such rule.
    pub deaths: u32,
}

/// What to do with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Work at it: the n-th attempt, from 1.
    Run(u32),
    /// Do not; so many attempts were made.
    Bury(u32),
}

/// What to do after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// That is its result.
    Failed,
    /// It is to be delivered again after this pause, and this written down.
    Again(Duration, History),
    /// It is not tried again, and kept for people.
    Bury,
}

impl Delivery {
    /// So many deliveries before this one had no end that anybody knows.
    pub const fn lost(&self) -> u32 {
        self.number
            .saturating_sub(1)
            .saturating_sub(self.history.failed.saturating_add(self.history.returned))
    }

    /// Which attempt it is, from 1.
    pub const fn attempt(&self) -> u32 {
        self.lost().saturating_add(self.history.failed).saturating_add(1)
    }

    /// Whether it is worked at.
    ///
    /// ```
    /// use doula_core::queue::{Pause, RetryOn, far::{Delivery, Given, History, Rules}};
    /// let pause = Pause { first: core::time::Duration::ZERO, most: core::time::Duration::ZERO };
    /// let rules = Rules { retries: 0, retry_on: RetryOn::ALL, pause, deaths: 2 };
    /// let delivery = |number| Delivery { number, history: History::default() };
    /// assert_eq!(delivery(2).given(&rules), Given::Run(2));
    /// // Two workers were lost with it.
    /// assert_eq!(delivery(3).given(&rules), Given::Bury(2));
    /// ```
    pub const fn given(&self, rules: &Rules) -> Given {
        let died = self.lost().saturating_add(self.history.deaths);
        if rules.deaths > 0 && self.lost() > 0 && died >= rules.deaths {
            return Given::Bury(self.attempt() - 1);
        }
        Given::Run(self.attempt())
    }

    /// What comes after an attempt that failed so. The seed decides the random share of the pause.
    pub fn after(&self, rules: &Rules, failure: Failure, seed: u64) -> After {
        let died = self.lost().saturating_add(self.history.deaths).saturating_add(1);
        let deadly = failure.is_death() && rules.deaths > 0 && rules.retries > 0;
        if deadly && died >= rules.deaths {
            return After::Bury;
        }
        let granted = self.history.failed < rules.retries || deadly;
        if !granted || !rules.retry_on.has(failure) {
            return After::Failed;
        }
        let History { failed, deaths, returned } = self.history;
        let deaths = deaths.saturating_add(u32::from(failure.is_death()));
        let history = History { failed: failed.saturating_add(1), deaths, returned };
        After::Again(rules.pause.after(self.attempt(), &mut Random::new(seed)), history)
    }

    /// What is written down when it is given back, neither succeeded nor failed.
    #[must_use]
    pub const fn returned(&self) -> History {
        let History { failed, deaths, returned } = self.history;
        History { failed, deaths, returned: returned.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::signal::Signal;
    use proptest::prelude::*;

    const NO_PAUSE: Pause = Pause { first: Duration::ZERO, most: Duration::ZERO };

    fn rules(retries: u32, deaths: u32) -> Rules {
        Rules { retries, retry_on: RetryOn::ALL, pause: NO_PAUSE, deaths }
    }

    fn delivery(number: u32, failed: u32, deaths: u32, returned: u32) -> Delivery {
        Delivery { number, history: History { failed, deaths, returned } }
    }

    #[test]
    fn what_was_given_back_is_no_attempt_and_no_loss() {
        let delivery = delivery(4, 1, 0, 2);
        assert_eq!((delivery.lost(), delivery.attempt()), (0, 2));
        assert_eq!(delivery.given(&rules(1, 1)), Given::Run(2));
    }

    #[test]
    fn a_failure_is_tried_again_as_often_as_is_granted_and_losses_do_not_count_as_retries() {
        let code = Failure::Code(3);
        assert_eq!(delivery(1, 0, 0, 0).after(&rules(0, 2), code, 0), After::Failed);
        let again = After::Again(Duration::ZERO, History { failed: 1, deaths: 0, returned: 0 });
        assert_eq!(delivery(2, 0, 0, 0).after(&rules(1, 2), code, 0), again);
        assert_eq!(delivery(2, 1, 0, 0).after(&rules(1, 2), code, 0), After::Failed);
        let only = Rules { retry_on: RetryOn::NONE.code(75), ..rules(5, 2) };
        assert_eq!(delivery(1, 0, 0, 0).after(&only, code, 0), After::Failed);
    }

    #[test]
    fn a_task_that_kills_is_buried_after_the_deaths_that_are_borne() {
        let killed = Failure::Signal(Signal::SEGV);
        assert_eq!(delivery(1, 0, 0, 0).after(&rules(0, 2), killed, 0), After::Failed);
        let again = After::Again(Duration::ZERO, History { failed: 1, deaths: 1, returned: 0 });
        assert_eq!(delivery(1, 0, 0, 0).after(&rules(9, 2), killed, 0), again);
        assert_eq!(delivery(2, 1, 1, 0).after(&rules(9, 2), killed, 0), After::Bury);
        // A death here and a lost worker.
        assert_eq!(delivery(3, 1, 1, 0).given(&rules(9, 2)), Given::Bury(2));
        assert_eq!(delivery(9, 0, 0, 0).given(&rules(0, 0)), Given::Run(9));
    }

    proptest! {
        /// Whatever happens to each delivery, there is a last one.
        #[test]
        fn no_task_is_delivered_for_ever(ends in prop::collection::vec(0..3_u8, 64), retries in 0..5_u32, deaths in 1..4_u32) {
            let rules = rules(retries, deaths);
            let mut history = History::default();
            let mut worked = 0;
            for (number, end) in (1..).zip(ends) {
                let delivery = Delivery { number, history };
                let Given::Run(_) = delivery.given(&rules) else { break };
                worked += 1;
                let failure = match end {
                    0 => continue,
                    1 => Failure::Code(1),
                    _ => Failure::Signal(Signal::KILL),
                };
                match delivery.after(&rules, failure, 7) {
                    After::Again(_, next) => history = next,
                    After::Failed | After::Bury => break,
                }
            }
            prop_assert!(worked <= retries + deaths + 1);
        }
    }
}
