//! What a queue may do: how often it tries, how long it waits, when it gives up as a whole.

use crate::random::Random;
use core::time::Duration;
use doula_model::task::Failure;

/// The rules of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// So many tasks may be with one worker at once; at least 1.
    pub window: u32,
    /// So many of them, one behind the other, are given to it together where so many wait; at least 1, at most the window.
    pub batch: u32,
    /// So many more attempts after the first one.
    pub retries: u32,
    /// After which failures there is another attempt.
    pub retry_on: RetryOn,
    /// The pauses between attempts.
    pub pause: Pause,
    /// A task that so many different workers died of is not tried again, whatever `retries` says; until then it is (if
    /// `retry_on` has the kind), also without retries: one death proves nothing. 0: deaths are failures as others are.
    pub deaths: u32,
    /// How long an attempt may take.
    pub timeout: Option<Timeout>,
    /// So long after it was asked to end an attempt is killed.
    pub grace: Duration,
    /// When the whole queue is given up.
    pub halt: Option<Halt>,
    /// The shortest time between two beginnings.
    pub delay: Duration,
}

impl Policy {
    /// One attempt, no limit, and a second to end when asked to.
    pub const PLAIN: Policy = Policy {
        window: 1,
        batch: 1,
        retries: 0,
        retry_on: RetryOn::ALL,
        pause: Pause { first: Duration::ZERO, most: Duration::ZERO },
        deaths: 0,
        timeout: None,
        grace: Duration::from_secs(1),
        halt: None,
        delay: Duration::ZERO,
    };

    /// Whether it must be known how long attempts take.
    pub(super) const fn needs_times(&self) -> bool {
        matches!(self.timeout, Some(Timeout::OfMedian(_)))
    }
}

/// How long an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// So long.
    After(Duration),
    /// So many per cent of the median of those that succeeded, as soon as there are [`Timeout::SAMPLES`] of them.
    OfMedian(u32),
}

impl Timeout {
    /// Of fewer, a median says nothing.
    pub const SAMPLES: usize = 3;
}

/// Pauses that double with each attempt, up to a longest one, and of which a random share is taken, so that those who failed
/// together do not come back together ("full jitter").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Before the second attempt, at most.
    pub first: Duration,
    /// Before any, at most.
    pub most: Duration,
}

impl Pause {
    /// The pause after the attempt of this number, from 1.
    pub(super) fn after(self, attempt: u32, random: &mut Random) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let bound = self.first.saturating_mul(1 << doublings).min(self.most);
        let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(random.below(nanos.saturating_add(1)))
    }
}

/// After which failures there is another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    /// Exit codes, a bit for each.
    codes: [u64; 4],
    /// A signal.
    pub signal: bool,
    /// Want of memory.
    pub out_of_memory: bool,
    /// It took too long.
    pub timeout: bool,
    /// It could not be started.
    pub not_started: bool,
    /// The worker was lost, or did not answer as agreed.
    pub lost: bool,
    /// The worker answered that it failed.
    pub answered: bool,
}

impl RetryOn {
    /// After each.
    pub const ALL: RetryOn = RetryOn {
        codes: [u64::MAX; 4],
        signal: true,
        out_of_memory: true,
        timeout: true,
        not_started: true,
        lost: true,
        answered: true,
    };
    /// After none.
    pub const NONE: RetryOn = RetryOn {
        codes: [0; 4],
        signal: false,
        out_of_memory: false,
        timeout: false,
        not_started: false,
        lost: false,
        answered: false,
    };

    /// Also after this exit code.
    #[must_use]
    pub fn code(mut self, code: u8) -> RetryOn {
        if let Some(part) = self.codes.get_mut(usize::from(code / 64)) {
            *part |= 1 << (code % 64);
        }
        self
    }

    /// Also after every exit code.
    #[must_use]
    pub const fn any_code(mut self) -> RetryOn {
        self.codes = [u64::MAX; 4];
        self
    }

    /// Whether there is another attempt after this.
    pub fn has(self, failure: Failure) -> bool {
        match failure {
            Failure::Code(code) => {
                self.codes.get(usize::from(code / 64)).is_some_and(|part| part >> (code % 64) & 1 == 1)
            }
            Failure::Signal(_) => self.signal,
            Failure::OutOfMemory => self.out_of_memory,
            Failure::TimedOut => self.timeout,
            Failure::NotStarted(_) => self.not_started,
            Failure::Lost | Failure::Protocol => self.lost,
            Failure::Answered => self.answered,
        }
    }
}

/// When the whole queue is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halt {
    /// What is counted.
    pub on: HaltOn,
    /// How much of it is enough.
    pub limit: HaltLimit,
    /// Those that are being worked at are ended too.
    pub now: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltOn {
    /// Tasks that failed for good.
    Fail,
    /// Tasks that succeeded.
    Success,
    /// Both.
    Done,
}

/// How much of it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltLimit {
    /// So many.
    Count(u64),
    /// So many per cent of those that came to their end, as soon as there are [`HaltLimit::SAMPLES`] of them.
    Percent(u8),
}

impl HaltLimit {
    /// Of fewer, a share says nothing.
    pub const SAMPLES: u64 = 3;
}

/// What came to its end so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks that succeeded.
    pub done: u64,
    /// Tasks that failed for good, also those in quarantine.
    pub failed: u64,
    /// Of the failed, those in quarantine.
    pub quarantined: u64,
    /// Tasks that were ended, or never begun, because the queue was given up.
    pub dropped: u64,
    /// Attempts after the first.
    pub retried: u64,
}

impl Halt {
    /// Whether it is time.
    pub fn reached(self, counts: &Counts) -> bool {
        let ended = counts.done.saturating_add(counts.failed);
        let counted = match self.on {
            HaltOn::Fail => counts.failed,
            HaltOn::Success => counts.done,
            HaltOn::Done => ended,
        };
        match self.limit {
            HaltLimit::Count(enough) => counted >= enough,
            HaltLimit::Percent(percent) => {
                ended >= HaltLimit::SAMPLES
                    && u128::from(counted) * 100 >= u128::from(ended) * u128::from(percent)
            }
        }
    }
}
