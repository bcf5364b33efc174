//! Two supervisors of one family: the lock of its directory, as in `crates/host/src/control/place.rs`, and who comes while the first
//! lives or is being killed. What becomes of them is the production code, [`doula_core::claim`].
//!
//! The lock is held by whoever has its file open: a supervisor, and its keeper, which has the table of descriptors together with it
//! and closes the lock a while after the supervisor's death.
//!
//! | check | what it holds |
//! |---|---|
//! | `lock` | one supervisor at a time has the place; another one is refused, and nobody is when none lives |

use super::breakage::Breakage;
use super::faults::Fault;
use super::{Happening, World};
use crate::kernel::TaskId;
use crate::kernel::call::Call;
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::claim::{self, Holder, Verdict};
use doula_model::time::Time;

/// So long a keeper may take to close the lock of a dead supervisor, in milliseconds.
const CLOSES_WITHIN: u64 = 200;
/// What a supervisor ends with that was refused.
const REFUSED: i32 = 1;

/// A task, and which of its lives.
type Who = (TaskId, u64);

/// The file that is locked.
#[derive(Debug, Default)]
pub(super) struct Lock {
    /// Who has it open.
    holders: Vec<Who>,
    /// Who has written its name into it last.
    signed: Option<Who>,
    /// Nobody has it yet, and so there is nobody whom people could ask.
    pub(super) is_wanted: bool,
}

impl Lock {
    /// Somebody else has the table of descriptors too.
    pub(super) fn share(&mut self, who: Who) {
        if !self.holders.is_empty() {
            self.holders.push(who);
        }
    }
}

/// A supervisor that has not got the place yet.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    who: Who,
    begun: Time,
}

/// What a look at the lock came to.
enum Looked {
    Ours,
    Refused,
    Waits,
}

impl World<'_> {
    /// Whether there may be a second supervisor, and so a lock.
    pub(super) fn has_second(&self) -> bool {
        self.scenario.sites.has(Fault::SecondSupervisor)
    }

    fn lives(&self, (task, birth): Who) -> bool {
        self.kernel.lives(task, birth)
    }

    fn is_locked(&self) -> bool {
        self.lock.holders.iter().any(|holder| self.lives(*holder))
    }

    fn look_at_lock(&mut self, candidate: &Candidate) -> Looked {
        if !self.is_locked() || self.is_broken(Breakage::IgnoresLock) {
            self.lock.holders = Vec::from([candidate.who]);
            return Looked::Ours;
        }
        let signed = self.lock.signed.filter(|signed| self.lives(*signed));
        let holder = if signed.is_some() { Holder::Alive } else { Holder::Dead };
        match claim::judge(holder, self.now.since(candidate.begun)) {
            Verdict::LookAgain => Looked::Waits,
            Verdict::Taken | Verdict::Kept => Looked::Refused,
        }
    }

    fn candidate(&mut self) -> Option<Candidate> {
        let task = self.fork_supervisor()?;
        Some(Candidate { who: (task, self.kernel.birth(task)), begun: self.now })
    }

    /// The supervisor that begins takes the place, and others may want it at the same time: one of them has it, and is our
    /// supervisor from now on.
    pub(super) fn claim_place(&mut self) {
        let begun = self.now;
        self.lock.is_wanted = true;
        self.compete();
        self.lock.is_wanted = false;
        self.checks.excuse(self.now.since(begun));
    }

    fn compete(&mut self) {
        let first = Candidate { who: (self.supervisor, self.kernel.birth(self.supervisor)), begun: self.now };
        let mut candidates = Vec::from([first]);
        while !self.killed {
            if candidates.len() < 3 && self.faults.fires(Fault::SecondSupervisor) {
                candidates.extend(self.candidate());
                let count = candidates.len();
                self.log.say(self.now, "people", format_args!("{count} supervisors want the place"));
            }
            let at = self.faults.below(Fault::SecondSupervisor, candidates.len() as u64) as usize;
            match self.look_at_lock(&candidates[at]) {
                Looked::Ours => {
                    let winner = candidates.swap_remove(at);
                    return self.begins_with(winner, candidates);
                }
                Looked::Refused => {
                    return self.checks.fail("lock", "a supervisor is refused, and none lives".into());
                }
                Looked::Waits => {
                    let soon = self.now.after(claim::LOOK_AGAIN);
                    self.let_time_pass(Some(soon));
                }
            }
            self.step();
        }
        candidates.into_iter().for_each(|candidate| self.refuse(candidate));
    }

    /// It has the lock and writes its name into it; the others look before and after that.
    fn begins_with(&mut self, winner: Candidate, others: Vec<Candidate>) {
        self.supervisor = winner.who.0;
        self.log.note(self.now, ("locks", others.len()));
        self.turn_away(&others);
        self.step();
        if !self.killed {
            self.lock.signed = Some(winner.who);
            let waiting: Vec<_> = others.into_iter().filter(|other| self.lives(other.who)).collect();
            self.turn_away(&waiting);
            if waiting.iter().any(|other| self.lives(other.who)) {
                self.checks.fail("lock", "another supervisor waits beside one that lives".into());
            }
            return;
        }
        others.into_iter().for_each(|other| self.refuse(other));
    }

    fn turn_away(&mut self, candidates: &[Candidate]) {
        for candidate in candidates {
            match self.look_at_lock(candidate) {
                Looked::Ours => self.checks.fail("lock", "two supervisors have the place".into()),
                Looked::Refused => self.refuse(*candidate),
                Looked::Waits => {}
            }
        }
    }

    /// A second one comes while ours lives. It is refused at once, and has touched nothing.
    pub(super) fn meet_second(&mut self) {
        if self.killed || self.lock.signed.is_none() {
            return;
        }
        let Some(candidate) = self.candidate() else { return };
        self.log.note(self.now, "second");
        self.log.say(self.now, "people", format_args!("start another supervisor of the family"));
        match self.look_at_lock(&candidate) {
            Looked::Refused => self.refuse(candidate),
            Looked::Ours => self.checks.fail("lock", "two supervisors have the place".into()),
            Looked::Waits => {
                self.checks.fail("lock", "another supervisor waits beside one that lives".into());
            }
        }
    }

    /// It says so and ends.
    fn refuse(&mut self, candidate: Candidate) {
        if self.lives(candidate.who) && self.kernel.is_in_program(candidate.who.0) {
            self.kernel.call(candidate.who.0, Call::ExitGroup(REFUSED));
        }
        self.bury_by_init();
    }

    /// The supervisor is dead: its keeper closes the lock, some time.
    pub(super) fn lets_go_soon(&mut self, keeper: u64) {
        let wait = Duration::from_millis(self.faults.below(Fault::SecondSupervisor, CLOSES_WITHIN));
        self.later(wait, Happening::LetsGo(keeper));
    }

    pub(super) fn lets_go(&mut self, keeper: u64) {
        self.lock.holders.retain(|(_, birth)| *birth != keeper);
    }
}
