//! Whether, and after which pause, a service that ended starts again by itself.
//!
//! Pure policy: an ending, a history and a policy go in, a [`Verdict`] comes out. Nothing here knows states.
//!
//! - The pause grows by `factor` with each restart in a row, up to `max_delay`, with a random share.
//! - The row ends when the service was up for `reset_after`, when a one-shot succeeded, or by hand.
//! - The start limit counts automatic *starts* within the interval before the planned one. Restarts by hand
//!   are not counted, nor are those after births that failed; a start by hand forgets the counted ones.
//! - A birth that fails by a mistake (no such program) is tried a few times, for the program may just be
//!   replaced; one that fails for a shortage (processes, memory) is tried for ever: shortages end.
//! - A scheduled service does not start again after a success before its schedule says so, even with `always`.

use crate::random::Random;
use alloc::collections::VecDeque;
use core::time::Duration;
use doula_model::action::Cause;
use doula_model::record::Restarts;
use doula_model::service::{Kind, RestartPolicy, RestartWhen};
use doula_model::time::Time;

/// The shortest pause after a child could not even be born. Without it a missing program or a full process
/// table would make a family without pauses spin.
pub(crate) const STILLBORN_PAUSE: Duration = Duration::from_millis(100);

/// So many restarts in a row follow births that fail by a mistake, unless the policy has no limit at all.
pub(crate) const STILLBORN_TRIES: u32 = 5;

/// How a generation came to its end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    /// Why.
    pub(crate) cause: Cause,
    /// Whether it counts as a failure.
    pub(crate) bad: bool,
}

/// What comes after the end of a generation that nobody asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Once more, after this pause.
    Again {
        /// The pause; zero is "at once".
        delay: Duration,
        /// The n-th restart in a row.
        attempt: u32,
    },
    /// It ended well, for good.
    Done,
    /// It ended badly, for good, for this reason.
    Failed(Cause),
}

/// The automatic restarts of a service up to now.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// All of them.
    pub(crate) total: u64,
    /// Those in a row, without a stable time between them.
    pub(crate) row: u32,
    /// When the last counted ones happened; only kept within the interval of the start limit.
    starts: VecDeque<Time>,
    /// The next one follows a birth that failed: it is not counted.
    after_stillbirth: bool,
}

impl History {
    /// As it is written down.
    pub(crate) fn record(&self) -> Restarts {
        let History { total, row, after_stillbirth, .. } = *self;
        Restarts { total, row, starts: self.starts.iter().copied().collect(), after_stillbirth }
    }

    /// As it was written down.
    pub(crate) fn resume(record: Restarts) -> History {
        let Restarts { total, row, starts, after_stillbirth } = record;
        History { total, row, starts: starts.into(), after_stillbirth }
    }

    /// Somebody took over by hand: nothing of before counts any more.
    pub(crate) fn forget(&mut self) {
        self.row = 0;
        self.starts.clear();
    }

    /// An automatic start happens now.
    pub(crate) fn started(&mut self, policy: &RestartPolicy, now: Time) {
        self.total += 1;
        let Some(limit) = policy.limit.filter(|_| !self.after_stillbirth) else { return };
        self.starts.push_back(now);
        while self.starts.front().is_some_and(|start| start.after(limit.interval) <= now) {
            self.starts.pop_front();
        }
        assert!(
            !self.starts.is_empty() || limit.interval.is_zero(),
            "the start of now is within the interval"
        );
    }

    /// Decides what comes after `ending`.
    pub(crate) fn judge(
        &mut self,
        policy: &RestartPolicy,
        kind: Kind,
        ending: &Ending,
        (now, random): (Time, &mut Random),
    ) -> Verdict {
        if !wants_restart(policy.when, kind, ending.bad) {
            return if ending.bad { Verdict::Failed(ending.cause.clone()) } else { Verdict::Done };
        }
        self.row = self.row.saturating_add(1);
        let delay = pause(policy, self.row, random);
        self.after_stillbirth = matches!(ending.cause, Cause::SpawnFailed { .. });
        if let Cause::SpawnFailed { error } = ending.cause {
            let hopeless = !error.errno.is_shortage() && policy.limit.is_some() && self.row > STILLBORN_TRIES;
            let again = Verdict::Again { delay: delay.max(STILLBORN_PAUSE), attempt: self.row };
            return if hopeless { Verdict::Failed(ending.cause.clone()) } else { again };
        }
        if self.would_pass_limit(policy, now.after(delay)) {
            return Verdict::Failed(Cause::StartLimit);
        }
        Verdict::Again { delay, attempt: self.row }
    }

    /// Whether a start at `planned` would be one too many.
    fn would_pass_limit(&self, policy: &RestartPolicy, planned: Time) -> bool {
        let Some(limit) = policy.limit else { return false };
        let counted = self.starts.iter().filter(|start| start.after(limit.interval) > planned).count();
        counted >= limit.burst as usize
    }
}

/// Whether the policy asks for a restart after this end.
fn wants_restart(when: RestartWhen, kind: Kind, bad: bool) -> bool {
    match (when, kind) {
        (RestartWhen::Never, Kind::Daemon | Kind::Oneshot | Kind::Scheduled { .. }) => false,
        (RestartWhen::OnFailure, Kind::Daemon | Kind::Oneshot | Kind::Scheduled { .. }) => bad,
        (RestartWhen::Always, Kind::Daemon | Kind::Oneshot) => true,
        (RestartWhen::Always, Kind::Scheduled { .. }) => bad,
    }
}

/// The pause before the `attempt`-th restart in a row (1 is the first).
fn pause(policy: &RestartPolicy, attempt: u32, random: &mut Random) -> Duration {
    let longest = policy.max_delay.max(policy.delay).as_secs_f64();
    let factor = if policy.factor >= 1.0 { f64::from(policy.factor) } else { 1.0 };
    let mut seconds = policy.delay.as_secs_f64();
    for _ in 1..attempt {
        // The test also ends the loop early: no pause is ever computed in more than a few dozen steps, unless
        // the factor is 1, where there is nothing to compute.
        if seconds >= longest || factor <= 1.0 || seconds <= 0.0 {
            break;
        }
        seconds *= factor;
    }
    let share = f64::from(policy.jitter.clamp(0.0, 1.0));
    let share = if share.is_nan() { 0.0 } else { share };
    let spread = 1.0 + share * (2.0 * random.unit() - 1.0);
    let seconds = (seconds.min(longest) * spread).min(longest);
    Duration::try_from_secs_f64(seconds).unwrap_or(policy.max_delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::exit::ExitStatus;
    use doula_model::service::{Overlap, StartLimit};

    const DAEMON: Kind = Kind::Daemon;
    const JOB: Kind = Kind::Scheduled { overlap: Overlap::Skip };

    fn ending(bad: bool) -> Ending {
        Ending { cause: Cause::Exit { status: ExitStatus::code(u8::from(bad)) }, bad }
    }

    fn steady() -> RestartPolicy {
        RestartPolicy { jitter: 0.0, ..RestartPolicy::default() }
    }

    fn judge(history: &mut History, policy: &RestartPolicy, millis: u64) -> Verdict {
        let now = Time::ZERO.after(Duration::from_millis(millis));
        history.judge(policy, DAEMON, &ending(true), (now, &mut Random::new(1)))
    }

    #[test]
    fn the_policy_says_after_which_ends_a_service_starts_again() {
        use RestartWhen::{Always, Never, OnFailure};
        for (when, kind, bad, again) in [
            (Always, DAEMON, false, true),
            (Always, DAEMON, true, true),
            (Always, Kind::Oneshot, false, true),
            (Always, JOB, false, false),
            (Always, JOB, true, true),
            (OnFailure, DAEMON, false, false),
            (OnFailure, DAEMON, true, true),
            (OnFailure, JOB, true, true),
            (Never, DAEMON, true, false),
            (Never, Kind::Oneshot, false, false),
        ] {
            assert_eq!(wants_restart(when, kind, bad), again, "{when:?} {kind:?} bad: {bad}");
        }
    }

    #[test]
    fn the_pause_doubles_up_to_its_longest_and_starts_anew_by_hand() {
        let (mut history, policy) = (History::default(), RestartPolicy { limit: None, ..steady() });
        let mut pauses = alloc::vec::Vec::new();
        for _ in 0..11 {
            match judge(&mut history, &policy, 0) {
                Verdict::Again { delay, .. } => pauses.push(delay.as_millis()),
                other @ (Verdict::Done | Verdict::Failed(_)) => unreachable!("{other:?}"),
            }
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]);
        history.forget();
        let first = Verdict::Again { delay: Duration::from_millis(100), attempt: 1 };
        assert_eq!(judge(&mut history, &policy, 0), first);
    }

    #[test]
    fn jitter_moves_a_pause_by_its_share_at_most_and_never_beyond_the_longest() {
        let policy = RestartPolicy { jitter: 0.25, max_delay: Duration::from_millis(110), ..steady() };
        let mut random = Random::new(3);
        for _ in 0..1_000 {
            let millis = pause(&policy, 1, &mut random).as_millis();
            assert!((75..=110).contains(&millis), "{millis}");
        }
    }

    #[test]
    fn senseless_numbers_make_no_senseless_pause() {
        for (factor, jitter) in [(f32::NAN, f32::NAN), (-1.0, -5.0), (f32::INFINITY, f32::INFINITY)] {
            let policy = RestartPolicy { factor, jitter, ..RestartPolicy::default() };
            for attempt in [1, 2, u32::MAX] {
                assert!(pause(&policy, attempt, &mut Random::new(9)) <= policy.max_delay);
            }
        }
    }

    #[test]
    fn the_start_limit_counts_the_automatic_starts_within_its_interval() {
        let limit = StartLimit { burst: 2, interval: Duration::from_secs(10) };
        let policy = RestartPolicy { delay: Duration::ZERO, limit: Some(limit), ..steady() };
        let mut history = History::default();
        for millis in [0, 1_000] {
            assert!(matches!(judge(&mut history, &policy, millis), Verdict::Again { .. }), "{millis}");
            history.started(&policy, Time::ZERO.after(Duration::from_millis(millis)));
        }
        assert_eq!(judge(&mut history, &policy, 2_000), Verdict::Failed(Cause::StartLimit));
        assert!(matches!(judge(&mut history, &policy, 10_000), Verdict::Again { .. }));
        history.forget();
        assert!(matches!(judge(&mut history, &policy, 2_000), Verdict::Again { .. }));
    }

    #[test]
    fn a_limit_of_zero_means_no_automatic_restart_at_all() {
        let limit = StartLimit { burst: 0, interval: Duration::from_secs(1) };
        let policy = RestartPolicy { limit: Some(limit), ..steady() };
        assert_eq!(judge(&mut History::default(), &policy, 0), Verdict::Failed(Cause::StartLimit));
    }

    #[test]
    fn a_child_that_could_not_be_born_is_not_tried_again_at_once() {
        use doula_model::plan::{Errno, SpawnError, Step};
        let policy = RestartPolicy { delay: Duration::ZERO, ..steady() };
        let error = SpawnError { step: Step::Clone, errno: Errno::EAGAIN };
        let ending = Ending { cause: Cause::SpawnFailed { error }, bad: true };
        let verdict = History::default().judge(&policy, DAEMON, &ending, (Time::ZERO, &mut Random::new(1)));
        assert_eq!(verdict, Verdict::Again { delay: STILLBORN_PAUSE, attempt: 1 });
    }

    #[test]
    fn a_mistake_ends_the_tries_of_a_birth_and_a_shortage_does_not() {
        use doula_model::plan::{Errno, SpawnError, Step};
        let endless = RestartPolicy { limit: None, ..steady() };
        for (errno, policy, ends) in [
            (Errno::ENOENT, steady(), true),
            (Errno::EACCES, steady(), true),
            (Errno::ENOENT, endless, false),
            (Errno::EAGAIN, steady(), false),
            (Errno::EMFILE, steady(), false),
        ] {
            let error = SpawnError { step: Step::Exec, errno };
            let ending = Ending { cause: Cause::SpawnFailed { error }, bad: true };
            let (mut history, mut random, mut now) = (History::default(), Random::new(1), Time::ZERO);
            let mut tries = 0;
            let verdict = loop {
                match history.judge(&policy, DAEMON, &ending, (now, &mut random)) {
                    Verdict::Again { delay, .. } if tries < 100 => now = now.after(delay),
                    verdict @ (Verdict::Again { .. } | Verdict::Done | Verdict::Failed(_)) => break verdict,
                }
                history.started(&policy, now);
                tries += 1;
            };
            assert_eq!(tries == STILLBORN_TRIES, ends, "{errno}");
            assert_eq!(verdict == Verdict::Failed(ending.cause), ends, "{errno}");
        }
    }

    #[test]
    fn a_shortage_does_not_use_up_the_start_limit() {
        use doula_model::plan::{Errno, SpawnError, Step};
        let limit = StartLimit { burst: 1, interval: Duration::from_secs(60) };
        let policy = RestartPolicy { limit: Some(limit), ..steady() };
        let error = SpawnError { step: Step::Exec, errno: Errno::EAGAIN };
        let shortage = Ending { cause: Cause::SpawnFailed { error }, bad: true };
        let mut history = History::default();
        for second in 0..3 {
            let now = Time::ZERO.after(Duration::from_secs(second));
            let verdict = history.judge(&policy, DAEMON, &shortage, (now, &mut Random::new(1)));
            assert!(matches!(verdict, Verdict::Again { .. }), "{verdict:?}");
            history.started(&policy, now);
        }
        assert!(matches!(judge(&mut history, &policy, 4_000), Verdict::Again { .. }), "its first crash");
        history.started(&policy, Time::ZERO.after(Duration::from_secs(5)));
        assert_eq!(judge(&mut history, &policy, 6_000), Verdict::Failed(Cause::StartLimit), "its second");
    }

    #[test]
    fn without_a_word_about_it_who_ends_at_once_has_failed_soon_and_who_lives_a_little_never() {
        for (lives, fails) in [(0, true), (1_000, true), (2_000, false), (12_000, false)] {
            let policy = RestartPolicy { reset_after: Duration::from_secs(10), ..steady() };
            let (mut history, mut now) = (History::default(), 0);
            let failed = (0..500).any(|_| {
                now += lives;
                if lives >= 10_000 {
                    history.row = 0;
                }
                let Verdict::Again { delay, .. } = judge(&mut history, &policy, now) else { return true };
                now += delay.as_millis() as u64;
                history.started(&policy, Time::ZERO.after(Duration::from_millis(now)));
                false
            });
            assert_eq!(failed, fails, "{lives} ms");
        }
    }
}
