//! What must hold, whatever happens to workers.

use super::actor::result;
use super::case::{Case, Deed};
use crate::world::Violation;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use doula_core::queue::{Has, Hiring, Leave, Parting};
use doula_model::task::{Failure, TaskId, Verdict};

/// What is known of a task.
#[derive(Clone, Debug, Default)]
struct Known {
    came: bool,
    attempts: u32,
    settled: Option<Verdict>,
    /// In whose hands it is.
    with: Option<u64>,
    /// Whose lines are answers to it.
    said: BTreeSet<u64>,
    /// Of those, who has said them to the end.
    said_whole: BTreeSet<u64>,
    /// Those lines were taken for it.
    taken: u32,
    /// Who died while it was all they had.
    killed: BTreeSet<u64>,
    /// It is to be tried alone.
    suspect: bool,
    /// So often it was cut off by a death in company.
    excused: u32,
    /// So often the run itself was killed while it was in work.
    cut_off: u32,
    timed_out: bool,
    /// Who had it lied.
    lied: bool,
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub(super) struct Checks {
    violation: Option<Violation>,
    tasks: BTreeMap<u64, Known>,
    retries: u32,
    deaths: u32,
    window: u32,
    seed: Case,
    /// Somebody from outside killed a worker.
    struck: bool,
    /// The queue was told to stop.
    stopped: bool,
    /// So often in a row a worker ended, or could not be born, before it took a task.
    vain: u32,
}

impl Checks {
    pub(super) fn new(case: &Case) -> Checks {
        let tasks = (1..=case.deeds.len() as u64).map(|task| (task, Known::default())).collect();
        let policy = &case.policy;
        Checks {
            violation: None,
            tasks,
            retries: policy.retries,
            deaths: policy.deaths,
            window: policy.window,
            seed: case.clone(),
            struck: false,
            stopped: false,
            vain: 0,
        }
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.violation.is_some()
    }

    pub(super) fn into_violation(self) -> Option<Violation> {
        self.violation
    }

    pub(super) fn fail(&mut self, check: &'static str, text: String) {
        self.violation.get_or_insert(Violation { check, text });
    }

    pub(super) const fn struck(&mut self) {
        self.struck = true;
    }

    pub(super) const fn stops(&mut self) {
        self.stopped = true;
    }

    pub(super) const fn serves(&mut self) {
        self.vain = 0;
    }

    /// A worker ended, or could not be born, before it took a task.
    pub(super) fn in_vain(&mut self, hopeless: bool) {
        self.vain += 1;
        if hopeless && self.vain < Hiring::ROUNDS {
            self.fail("hope", alloc::format!("the run is given up after {} vain births in a row", self.vain));
        }
    }

    /// These are handed in.
    pub(super) fn comes(&mut self, first: TaskId, count: u32) {
        for task in first.0..first.0 + u64::from(count) {
            self.known(task, |known| known.came = true);
        }
    }

    /// A worker begins to say an answer to this task.
    pub(super) fn answers(&mut self, task: u64, birth: u64) {
        self.known(task, |known| _ = known.said.insert(birth));
    }

    /// It has said all of it.
    pub(super) fn has_answered(&mut self, task: u64, birth: u64) {
        self.known(task, |known| _ = known.said_whole.insert(birth));
    }

    fn known(&mut self, task: u64, with: impl FnOnce(&mut Known)) {
        match self.tasks.get_mut(&task) {
            Some(known) => with(known),
            None => self.fail("unknown", alloc::format!("nobody handed in task {task}")),
        }
    }

    /// A worker that has `before` in its hands already gets these.
    pub(super) fn leases(&mut self, has: Has, birth: u64, before: u64) {
        for TaskId(task) in has.tasks() {
            let mut wrong = None;
            let deaths = self.deaths;
            let most = self.retries + self.deaths + 1;
            self.known(task, |known| {
                // A journal knows how an attempt failed, and not that a worker ended with it: an exit code is no death there.
                let bound = most + known.excused + known.cut_off * (1 + deaths);
                wrong = if known.settled.is_some() {
                    Some(("settled", "is given out again after its end"))
                } else if known.with.is_some() {
                    Some(("twice", "is given out while somebody has it"))
                } else if known.suspect && (before > 0 || has.count > 1) {
                    Some(("alone", "somebody died of it, perhaps, and it is not tried alone"))
                } else if has.attempt > bound {
                    Some(("attempts", "is tried too often"))
                } else if deaths > 0 && known.cut_off == 0 && known.killed.len() as u64 >= u64::from(deaths) {
                    Some(("quarantine", "killed enough workers, and gets another one"))
                } else {
                    None
                };
                (known.with, known.attempts) = (Some(birth), has.attempt);
            });
            if let Some((check, text)) = wrong {
                self.fail(check, alloc::format!("task {task} (attempt {}): {text}", has.attempt));
            }
        }
    }

    /// A worker has tasks; one more is a suspect who shall be alone.
    pub(super) fn company(&mut self, others: impl Iterator<Item = TaskId>) {
        for TaskId(task) in others {
            if self.tasks.get(&task).is_some_and(|known| known.suspect && known.with.is_some()) {
                self.fail("alone", alloc::format!("task {task} is tried alone, and gets company"));
            }
        }
    }

    /// The run takes a line of this worker for the answer to this task.
    pub(super) fn takes(&mut self, task: TaskId, birth: u64, said: Option<u64>) {
        let right = result(&self.seed, task.0);
        let mut wrong = None;
        self.known(task.0, |known| {
            known.taken += 1;
            known.said_whole.remove(&birth);
            if said != Some(right) || !known.said.contains(&birth) {
                wrong = Some("the answer to another one is taken for its own");
            } else if known.with != Some(birth) {
                wrong = Some("an answer is taken of a worker that does not have it");
            }
            known.with = None;
        });
        if let Some(text) = wrong {
            self.fail("attribution", alloc::format!("task {task}: {text}"));
        }
    }

    /// A worker leaves. For each task that it has, whether it had read of it, if that is known.
    pub(super) fn parts(
        &mut self,
        (leave, birth): (Leave, u64),
        (parting, interrupted): (&Parting, bool),
        hands: &[(TaskId, Option<bool>)],
    ) {
        if let (1, Leave::Ended, [(task, Some(read))]) = (self.window, leave, hands) {
            match (parting.suspects, read) {
                (1, false) if !interrupted => {
                    self.fail(
                        "blame",
                        alloc::format!("task {task} is blamed by a worker that never read it"),
                    );
                }
                (0, true) => {
                    let text = alloc::format!("task {task} was read, and is given back as if it was not");
                    self.fail("blame", text);
                }
                _ => {}
            }
        }
        let several = hands.len() > 1 && parting.suspects > 0;
        let deadly = leave == Leave::Ended && !interrupted && self.deaths > 0 && parting.suspects == 1;
        for (task, _) in hands {
            self.known(task.0, |known| {
                known.with = None;
                known.suspect |= several || deadly;
                known.excused += u32::from(several);
                known.lied |= leave == Leave::Lied;
                if deadly {
                    known.killed.insert(birth);
                }
            });
        }
    }

    /// The last attempt at a task.
    pub(super) fn last(&self, task: TaskId) -> (u64, u32) {
        (task.0, self.tasks.get(&task.0).map_or(0, |known| known.attempts))
    }

    /// An answer was there when its worker ended by itself, and was not heard.
    pub(super) fn unheard(&mut self, task: TaskId, birth: u64) {
        if self.tasks.get(&task.0).is_some_and(|known| known.said_whole.contains(&birth)) {
            self.fail(
                "unheard",
                alloc::format!("task {task} was answered, and its worker is said to have died of it"),
            );
        }
    }

    pub(super) fn times_out(&mut self, task: TaskId) {
        self.known(task.0, |known| known.timed_out = true);
    }

    pub(super) fn settles(&mut self, task: TaskId, verdict: Verdict, attempts: u32) {
        let (stopped, deaths) = (self.stopped, self.deaths);
        let told = self.seed.troubles.is_empty() && self.seed.deed(task.0, attempts) == Deed::ClosesOutput;
        let told =
            told && self.window == 1 && !self.seed.deeds.iter().any(|(deed, _)| *deed == Deed::LeavesChild);
        let mut wrong = None;
        self.known(task.0, |known| {
            let killed = known.killed.len() as u64;
            wrong = match verdict {
                _ if known.settled.is_some() => Some("comes to its end twice"),
                Verdict::Done if known.taken == 0 => Some("is done, and nobody answered it"),
                Verdict::Failed(Failure::Answered) if known.taken == 0 => {
                    Some("failed by an answer that nobody gave")
                }
                Verdict::Failed(Failure::TimedOut) if !known.timed_out => Some("took too long, says nobody"),
                Verdict::Failed(Failure::TimedOut) if told => {
                    Some("took too long, and its worker had closed its output at once")
                }
                Verdict::Failed(Failure::Protocol) if !known.lied => Some("failed by a lie that nobody told"),
                Verdict::Quarantined(_)
                    if killed < u64::from(deaths) && !known.timed_out && known.cut_off == 0 =>
                {
                    Some("is in quarantine, and has not killed as many workers")
                }
                Verdict::Skipped | Verdict::Cancelled if !stopped => {
                    Some("is given up, and nobody stopped the run")
                }
                Verdict::Skipped => None,
                Verdict::Done | Verdict::Failed(_) | Verdict::Quarantined(_) | Verdict::Cancelled => {
                    (attempts != known.attempts).then_some("was tried more or less often than is said")
                }
            };
            known.settled = Some(verdict);
        });
        if let Some(text) = wrong {
            self.fail("settled", alloc::format!("task {task} ({verdict:?}): {text}"));
        }
    }

    /// The run was killed: what it knew is gone.
    pub(super) fn begins_again(&mut self) {
        for known in self.tasks.values_mut().filter(|known| known.settled.is_none()) {
            known.cut_off += 1;
            known.with = None;
            known.came = false;
            known.taken = 0;
            known.suspect = false;
        }
    }

    /// The end of all.
    pub(super) fn ends(&mut self) {
        let calm = self.seed.troubles.is_empty() && !self.struck;
        for (task, known) in self.tasks.clone() {
            match known.settled {
                // Of a run that is given up some are never taken in.
                None if self.stopped && !known.came => {}
                None => self.fail("lost", alloc::format!("task {task} has no end")),
                Some(Verdict::Failed(_) | Verdict::Quarantined(_))
                    if calm
                        && known.cut_off == 0
                        && self.window == 1
                        && self.is_well(task)
                        && !(known.timed_out && self.held_by_a_child()) =>
                {
                    self.fail("innocent", alloc::format!("task {task} is well, and failed: {known:?}"));
                }
                Some(_) => {}
            }
        }
    }

    /// A worker may have closed what it is asked on, and a child of its own has it still: nobody reads, and nobody can know.
    fn held_by_a_child(&self) -> bool {
        let has = |deed| self.seed.deeds.iter().any(|(other, _)| *other == deed);
        has(Deed::LeavesChild) && has(Deed::ClosesInput)
    }

    fn is_well(&self, task: u64) -> bool {
        matches!(self.seed.deed(task, 1), Deed::Well)
    }

    /// What became of a task.
    pub(super) fn verdict(&self, task: u64) -> Option<Verdict> {
        self.tasks.get(&task)?.settled
    }
}
