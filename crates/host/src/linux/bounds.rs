//! The limits in force for each service, by which means they hold, and what people should know about that.
//!
//! The means are in this order: a controller of cgroup v2, one of v1, an rlimit. The last counts otherwise than
//! the first two, so it is said aloud; so is a limit that nothing here can hold.

use super::token::Token;
use crate::cgroup::memory::{self, Alarm};
use crate::cgroup::{Cgroups, Leaf, Limited, Limiters, instead};
use doula_model::id::ServiceId;
use doula_model::plan::{ChildPlan, Resource, Rlimit};
use doula_model::recipe::Limits;
use doula_model::time::Time;
use doula_model::words::Size;
use doula_sys::poll::Epoll;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// See the head of this file.
pub(super) struct Bounds {
    limiters: Limiters,
    table: BTreeMap<ServiceId, Bound>,
    /// Who was killed for want of memory, by service.
    killed: BTreeMap<ServiceId, Killed>,
    /// Whose count is to be looked at: when, and after which pause again.
    looks: BTreeMap<ServiceId, (Time, Duration)>,
}

/// A v1 group warns before somebody is killed; the death itself takes microseconds, or longer on a busy machine.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// After such a pause nobody was killed: whoever was short of memory had some back in time.
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// How many processes of a service were killed for want of memory.
#[derive(Clone, Copy, Default)]
struct Killed {
    /// What the kernel counted when we looked last.
    seen: u64,
    /// Since the family began, also in cgroups that are gone.
    total: u64,
}

/// What holds for one service.
#[derive(Default)]
struct Bound {
    limits: Limits,
    limited: Limited,
    rlimits: Vec<Rlimit>,
    notes: Vec<String>,
    /// The notes were not told yet.
    fresh: bool,
    /// They hold no more: the leaf where they were set is gone.
    stale: bool,
    /// Tells of want of memory.
    alarm: Option<Alarm>,
}

impl Bound {
    fn told(&self) -> (Limits, bool) {
        (self.limits, self.stale)
    }
}

impl Bounds {
    /// Finds out what this machine offers to a family of this name.
    pub(super) fn new(name: &str) -> Bounds {
        Bounds {
            limiters: Limiters::discover(name),
            table: BTreeMap::new(),
            killed: BTreeMap::new(),
            looks: BTreeMap::new(),
        }
    }

    /// Lays the limits of a service into the plan of a child; sets them first where they are new or changed.
    ///
    /// # Errors
    /// What the kernel says to a value.
    pub(super) fn lay(
        &mut self,
        (service, name): (ServiceId, &str),
        place: (Option<&mut Cgroups>, Option<&Leaf>),
        limits: Limits,
        plan: &mut ChildPlan,
    ) -> io::Result<()> {
        let (before, stale) = self.table.get(&service).map_or((Limits::default(), false), Bound::told);
        if before != limits || stale {
            // The old groups are removed before the new ones are made: they have the same names.
            self.table.remove(&service);
            self.forget_counts(service, place.1);
            if !before.is_empty() {
                place.1.into_iter().for_each(Limiters::lift);
            }
            if !limits.is_empty() {
                let mut bound = self.bind(name, place, limits, is_root(plan))?;
                bound.fresh &= before != limits;
                self.table.insert(service, bound);
            }
        }
        if let Some(bound) = self.table.get(&service) {
            plan.cgroup_procs = bound.limited.cgroup_procs();
            let own: Vec<Resource> = plan.rlimits.iter().map(|limit| limit.resource).collect();
            plan.rlimits.extend(bound.rlimits.iter().filter(|limit| !own.contains(&limit.resource)));
        }
        Ok(())
    }

    fn bind(
        &self,
        name: &str,
        (cgroups, leaf): (Option<&mut Cgroups>, Option<&Leaf>),
        limits: Limits,
        root: bool,
    ) -> io::Result<Bound> {
        let limited = self.limiters.apply(cgroups, leaf, name, limits)?;
        let (mut rlimits, mut notes) = (Vec::new(), Vec::new());
        for controller in &limited.missing {
            let (rlimit, note) = instead("its", controller, limits, root);
            rlimits.extend(rlimit);
            notes.push(note);
        }
        let fresh = !notes.is_empty();
        Ok(Bound { limits, limited, rlimits, notes, fresh, stale: false, alarm: None })
    }

    /// What people should know about the limits of a service, once.
    pub(super) fn take_fresh_notes(&mut self, service: ServiceId) -> Vec<String> {
        let Some(bound) = self.table.get_mut(&service) else { return Vec::new() };
        if std::mem::take(&mut bound.fresh) { bound.notes.clone() } else { Vec::new() }
    }

    /// What people should know about the limits of a service.
    pub(super) fn notes(&self, service: ServiceId) -> Vec<String> {
        let bound = self.table.get(&service);
        let mut notes = bound.map(|bound| bound.notes.clone()).unwrap_or_default();
        if let Some(Killed { total, .. }) = self.killed.get(&service).filter(|killed| killed.total > 0) {
            let limit = self.memory_limit(service);
            let limit = limit.map(|limit| format!(" (its limit is {})", Size(limit))).unwrap_or_default();
            notes.push(format!("processes that the kernel killed for want of memory: {total}{limit}"));
        }
        notes
    }

    /// The limit of its memory in bytes.
    pub(super) fn memory_limit(&self, service: ServiceId) -> Option<u64> {
        self.table.get(&service)?.limits.memory
    }

    /// The v1 groups of a service.
    pub(super) fn groups(&self, service: ServiceId) -> impl Iterator<Item = &Path> {
        self.table.get(&service).into_iter().flat_map(|bound| bound.limited.groups())
    }

    /// How many processes of a service the kernel has killed for want of memory since the last call.
    pub(super) fn newly_killed(&mut self, service: ServiceId, leaf: Option<&Leaf>) -> u64 {
        let Some(count) = memory::killed(leaf, self.groups(service)) else { return 0 };
        let killed = self.killed.entry(service).or_default();
        let new = count.saturating_sub(killed.seen);
        *killed = Killed { seen: count, total: killed.total + new };
        new
    }

    /// Has the kernel tell when a service with a limit of memory runs into it.
    pub(super) fn watch_memory(&mut self, service: ServiceId, leaf: Option<&Leaf>, epoll: &Epoll) {
        let wanted = |bound: &&mut Bound| bound.limits.memory.is_some() && bound.alarm.is_none();
        let Some(bound) = self.table.get_mut(&service).filter(wanted) else { return };
        // Without it, deaths of main processes still tell.
        let Ok(alarm) = Alarm::new(leaf, bound.limited.groups()) else { return };
        if epoll.add(&alarm, alarm.interest(), Token::Memory(service).pack()).is_ok() {
            bound.alarm = Some(alarm);
        }
    }

    /// The alarm of a service was raised: its count is to be looked at.
    pub(super) fn alarmed(&mut self, service: ServiceId, now: Time) {
        let Some(alarm) = self.table.get(&service).and_then(|bound| bound.alarm.as_ref()) else { return };
        alarm.hear();
        let pause = if alarm.comes_before_the_count() { FIRST_PAUSE } else { LAST_PAUSE };
        self.looks.insert(service, (now, pause));
    }

    /// When [`Bounds::alarms`] has somebody.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.looks.values().map(|(at, _)| *at).min()
    }

    /// Whose count is to be looked at now.
    pub(super) fn alarms(&mut self, now: Time) -> Vec<ServiceId> {
        let due = |(_, (at, _)): &(&ServiceId, &(Time, Duration))| *at <= now;
        let due: Vec<_> = self.looks.iter().filter(due).map(|(service, _)| *service).collect();
        self.looks.retain(|_, (at, pause)| {
            let last = *at <= now && *pause >= LAST_PAUSE;
            if *at <= now {
                (*at, *pause) = (now.after(*pause), *pause * 2);
            }
            !last
        });
        due
    }

    /// The groups of a service are made anew and count from zero; but not its leaf.
    fn forget_counts(&mut self, service: ServiceId, leaf: Option<&Leaf>) {
        let counted = leaf.is_some_and(|leaf| leaf.path().join("memory.events").exists());
        if let (false, Some(killed)) = (counted, self.killed.get_mut(&service)) {
            killed.seen = 0;
        }
    }

    /// The leaf of a service was made anew: its limits have to be set again, and it has no past.
    pub(super) fn moved(&mut self, service: ServiceId) {
        if let Some(bound) = self.table.get_mut(&service) {
            bound.stale = true;
        }
        if let Some(killed) = self.killed.get_mut(&service) {
            killed.seen = 0;
        }
    }

    /// The service is gone for good.
    pub(super) fn forget(&mut self, service: ServiceId) {
        self.table.remove(&service);
        self.killed.remove(&service);
        self.looks.remove(&service);
    }
}

/// Whether the child will be root, for whom RLIMIT_NPROC does not hold.
fn is_root(plan: &ChildPlan) -> bool {
    let (ours, _) = doula_sys::group::users();
    plan.credentials.as_ref().map_or(ours, |credentials| credentials.uid) == 0
}
