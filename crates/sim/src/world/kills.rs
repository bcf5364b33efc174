//! SIGKILL for a group as a whole, until nobody is left in it: one write to `cgroup.kill` may miss the child that the last of the
//! group bears meanwhile. So the supervisor is woken for a group that it has killed as long as somebody lives there, at the pauses of
//! [`Again`]; the driver then kills once more.

use super::World;
use super::breakage::Breakage;
use super::faults::Fault;
use crate::kernel::CgroupId;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use doula_core::again::Again;
use doula_core::kernel::Wake;
use doula_model::id::{Generation, ServiceId};
use doula_model::signal::Signal;
use doula_model::time::Time;

/// A life of a service.
type Life = (ServiceId, Generation);

/// Those who were killed together and live still.
#[derive(Clone, Debug, Default)]
pub(super) struct Kills {
    lives: BTreeMap<Life, Again>,
    /// A wait that ended late kept to itself that it is time to look at these.
    unheard: BTreeSet<Life>,
}

impl Kills {
    /// When somebody is looked at next.
    pub(super) fn next(&self) -> Option<Time> {
        self.lives.values().filter_map(Again::deadline).min()
    }

    /// Nobody looks for this life any more.
    pub(super) fn forget(&mut self, life: Life) {
        self.lives.remove(&life);
        self.unheard.remove(&life);
    }

    /// These were told, and nobody heard it: a later wait tells it.
    pub(super) fn were_unheard(&mut self, wakes: &[Wake]) {
        for wake in wakes {
            if let Wake::Tree(service, generation) = wake
                && self.lives.contains_key(&(*service, *generation))
            {
                self.unheard.insert((*service, *generation));
            }
        }
    }

    /// Those to look at now.
    pub(super) fn due(&mut self, now: Time) -> Vec<Wake> {
        let unheard = core::mem::take(&mut self.unheard);
        let mut wakes: Vec<Wake> = unheard.into_iter().map(|(id, life)| Wake::Tree(id, life)).collect();
        for ((service, generation), again) in self.lives.iter_mut().filter(|(_, again)| again.is_due(now)) {
            again.killed(now);
            wakes.push(Wake::Tree(*service, *generation));
        }
        wakes
    }
}

impl World<'_> {
    /// SIGKILL for everybody of a life.
    pub(super) fn kill_life(&mut self, life: Life) {
        let at = self.place(life.0);
        if self.faults.fires(Fault::NoGroupKill) {
            self.signal_all(life.0, Signal::KILL);
        } else {
            let seat = &mut self.seats[at];
            let Some(leaf) = seat.leaf else { return };
            seat.killed = true;
            self.log.note(self.now, ("cgroup.kill", life.0.0));
            self.log.say(self.now, "supervisor", format_args!("cgroup.kill of s{}", life.0.0));
            self.kill_group(leaf);
        }
        if self.is_populated(life.0) && !self.is_broken(Breakage::KillsOnce) {
            self.kills.lives.entry(life).or_default().killed(self.now);
        }
    }

    /// Writes `cgroup.kill`; whether somebody was born meanwhile and lives.
    pub(super) fn kill_group(&mut self, leaf: CgroupId) -> bool {
        let missed = if self.faults.fires(Fault::KillMisses) {
            self.stage.bear_at_the_end(&mut self.kernel, leaf);
            self.kernel.kill_cgroup_but_last_born(leaf)
        } else {
            self.kernel.kill_cgroup(leaf);
            None
        };
        if let Some(missed) = missed {
            let number = self.kernel.look(missed).map_or(0, |look| look.pid);
            self.log.note(self.now, ("missed", number));
            self.log.say(self.now, Fault::KillMisses.site().name, format_args!("{number} is not reached"));
        }
        missed.is_some()
    }
}
