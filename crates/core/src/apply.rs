//! A new configuration for a running family: only what changed is touched.
//!
//! Where only our own rules differ (restart and stop policy, dependencies, limits of steps), they are exchanged and
//! the processes go on. Any other changed service that runs is ended with what it was (its stop signal, its grace) and started with what it
//! is now. Those who require it are not touched: they did not change. A changed service that had failed gets
//! another chance. One that is done, or was stopped by hand, stays so; but a task that is done and becomes a daemon
//! starts as that.

use crate::context::{has_processes, is_live};
use crate::engine::{Engine, seat};
use crate::service::{Input, Service, Wish};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::action::{Action, Cause, State};
use doula_model::id::{PoolId, ServiceId};
use doula_model::pool::Roll;
use doula_model::service::{Kind, ServiceSpec};

/// What applying a configuration would do, by name, each list in the order of the new configuration (removed: in
/// that of the old one).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// New services.
    pub added: Vec<String>,
    /// Services that are stopped and forgotten.
    pub removed: Vec<String>,
    /// Services that differ; they are restarted if they run.
    pub changed: Vec<String>,
    /// Services for which only our own rules differ (restart policy, stop policy, dependencies …). The new rules
    /// count from now on, and the processes are not touched.
    pub adjusted: Vec<String>,
    /// Services that are not touched.
    pub same: Vec<String>,
}

impl Engine {
    /// What [`doula_model::event::Command::Apply`] with this family would do.
    ///
    /// The workers of a pool are told of together, by the name of the pool.
    pub fn diff(&self, family: &[ServiceSpec]) -> Diff {
        let Diff { added, removed, changed, adjusted, same } = self.compare(family);
        let pools: BTreeMap<&str, &str> = family
            .iter()
            .chain(self.services.iter().flatten().map(|service| &*service.spec))
            .filter_map(|spec| Some((spec.name.as_str(), spec.pool.as_ref()?.name.as_str())))
            .collect();
        let mut told = BTreeSet::new();
        let mut fold = |names: Vec<String>| -> Vec<String> {
            let fold = |name: String| pools.get(name.as_str()).map_or(name, |pool| (*pool).to_owned());
            names.into_iter().map(fold).filter(|name| told.insert(name.clone())).collect()
        };
        // A pool of another size has new workers or loses some, and is the same pool all the same.
        let (changed, adjusted, same) = (fold(changed), fold(adjusted), fold(same));
        Diff { added: fold(added), removed: fold(removed), changed, adjusted, same }
    }

    /// The same, each worker of a pool by its own name.
    fn compare(&self, family: &[ServiceSpec]) -> Diff {
        let mut diff = Diff::default();
        for spec in family {
            let list = match self.names.get(&spec.name).and_then(|id| self.service(*id)) {
                None => &mut diff.added,
                Some(service) if service.leaving => &mut diff.added,
                Some(service) if service.effective() == spec => &mut diff.same,
                Some(service) if only_rules_differ(service.effective(), spec) => &mut diff.adjusted,
                Some(_) => &mut diff.changed,
            };
            list.push(spec.name.clone());
        }
        let kept: BTreeMap<&str, ()> = family.iter().map(|spec| (spec.name.as_str(), ())).collect();
        let gone = |service: &&Service| !service.leaving && !kept.contains_key(service.spec.name.as_str());
        diff.removed = self
            .services
            .iter()
            .flatten()
            .map(Box::as_ref)
            .filter(gone)
            .map(|it| it.spec.name.clone())
            .collect();
        diff
    }

    /// This is the family from now on.
    pub(crate) fn apply(&mut self, family: Vec<ServiceSpec>) {
        let diff = self.compare(&family);
        let mut fresh = Vec::new();
        for spec in family {
            match self.names.get(&spec.name).copied() {
                None => fresh.push((self.add(spec), Cause::Reconfigured)),
                Some(id) => fresh.extend(self.change(id, spec).map(|cause| (id, cause))),
            }
        }
        // The old edges still hold those who leave; they stay in the graph until they are forgotten.
        for name in diff.removed {
            self.dismiss(&name);
        }
        self.rebuild_graph();
        self.refresh_crews();
        self.roll_the_changed(&diff.changed);
        for name in diff.changed.iter().chain(&diff.adjusted) {
            let Some(&id) = self.names.get(name) else { continue };
            if self.service(id).is_some_and(|service| service.wish == Wish::Up && is_live(service.state)) {
                self.start_needs(id);
            }
        }
        for (id, cause) in fresh {
            let wanted = |it: &Service| it.starts_with_the_family() || it.wish == Wish::Up;
            if self.service(id).is_some_and(wanted) {
                self.start(id, cause, false);
            }
        }
    }

    /// The pools of which workers changed replace them.
    fn roll_the_changed(&mut self, changed: &[String]) {
        let pools = changed.iter().filter_map(|name| self.service(*self.names.get(name)?)?.pool);
        for pool in pools.collect::<BTreeSet<PoolId>>() {
            self.with_crew(pool, |crew, engine| crew.begin_roll(engine, None, Roll::Reconfigured));
            self.cx.tend.insert(pool);
        }
    }

    /// It is no longer part of the family.
    fn dismiss(&mut self, name: &str) {
        let Some(&id) = self.names.get(name) else { return };
        let Some(service) = seat(&mut self.services, id) else { return };
        (service.leaving, service.wish, service.reason) = (true, Wish::Down, Cause::Reconfigured);
        (service.again, service.queued) = (None, false);
        self.cx.changed.push_back(id);
    }

    /// It may differ now. Returns the cause for a start, if it is to be started from rest.
    fn change(&mut self, id: ServiceId, spec: ServiceSpec) -> Option<Cause> {
        let service = seat(&mut self.services, id)?;
        let returns = core::mem::take(&mut service.leaving);
        if !returns && *service.effective() == spec {
            return None;
        }
        self.cx.changed.push_back(id);
        let failed = service.state == State::Failed;
        if let Some(pool) = service.pool.filter(|_| spec.pool.is_some()) {
            return self.change_worker((pool, id), spec, returns);
        }
        if !returns && only_rules_differ(service.effective(), &spec) {
            *service.next.as_mut().unwrap_or(&mut service.spec) = spec.into();
            return failed.then_some(Cause::Reconfigured);
        }
        if has_processes(service.state) {
            let scheduled = matches!(spec.kind, Kind::Scheduled { .. });
            service.next = Some(spec.into());
            if service.wish == Wish::Up || returns {
                service.again = Some(Cause::Reconfigured);
            }
            if scheduled && service.wish == Wish::Up {
                service.armed = true;
                self.cx.act(Action::ArmSchedule { service: id });
            }
            return returns.then_some(Cause::Reconfigured);
        }
        let other_kind = service.spec.kind != spec.kind;
        service.spec = spec.into();
        if is_live(service.state) {
            self.change_idle(id);
            return None;
        }
        // A task that is done says nothing about the daemon that it has become.
        service.fulfilled &= !other_kind;
        let new_job = other_kind && service.state == State::Done;
        (returns || failed || new_job).then_some(Cause::Reconfigured)
    }

    /// A worker of a pool is exchanged by its pool, if it runs.
    fn change_worker(
        &mut self,
        (pool, id): (PoolId, ServiceId),
        spec: ServiceSpec,
        returns: bool,
    ) -> Option<Cause> {
        let service = seat(&mut self.services, id)?;
        let rules = only_rules_differ(service.effective(), &spec);
        let before = ServiceSpec::clone(service.effective());
        if rules {
            *service.next.as_mut().unwrap_or(&mut service.spec) = spec.into();
        } else if has_processes(service.state) {
            service.next = Some(spec.into());
        } else {
            service.spec = spec.into();
            if is_live(service.state) {
                self.change_idle(id);
            }
        }
        if !rules {
            self.with_crew(pool, |crew, _| crew.rolls.keep(&before));
        }
        // Who left and comes back is free for what its pool wants of it.
        self.cx.tend.insert(pool);
        returns.then_some(Cause::Reconfigured)
    }

    /// It changed while it waited for something.
    fn change_idle(&mut self, id: ServiceId) {
        let Some(service) = seat(&mut self.services, id) else { return };
        service.history.forget();
        (service.automatic, service.fulfilled) = (false, false);
        service.reason = Cause::Reconfigured;
        match (service.is_scheduled(), service.state) {
            (true, _) => {
                service.silence(&mut self.cx);
                if service.state != State::Scheduled {
                    service.turn(&mut self.cx, State::Scheduled, Cause::Reconfigured);
                }
                service.armed = true;
                self.cx.act(Action::ArmSchedule { service: id });
            }
            (false, State::Scheduled | State::BackingOff) => {
                service.input(&mut self.cx, Input::Start { run: true });
            }
            (false, _) => {}
        }
    }

    /// A new service, at rest.
    pub(crate) fn add(&mut self, spec: ServiceSpec) -> ServiceId {
        let number = u32::try_from(self.services.len()).unwrap_or(u32::MAX);
        assert!(number < u32::MAX, "there is a number for every service");
        let id = ServiceId(number);
        let twice = self.names.insert(spec.name.clone(), id);
        assert!(twice.is_none(), "names were checked to be unique");
        self.services.put(id, Box::new(Service::new(id, spec, self.cx.now)));
        id
    }

    /// Reads the dependencies anew.
    pub(crate) fn rebuild_graph(&mut self) {
        let family = self.services.iter().flatten().map(|service| (service.id, service.effective()));
        self.graph = crate::deps::Graph::new(self.services.len(), &self.names, family);
    }
}

impl Service {
    /// What it is, or will be after this generation.
    pub(crate) fn effective(&self) -> &ServiceSpec {
        self.next.as_deref().unwrap_or(&self.spec)
    }
}

/// Whether two configurations differ at most in what the engine alone looks at, and can take over at any time.
fn only_rules_differ(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    let mut ruled = old.clone();
    (ruled.autostart, ruled.essential, ruled.reload) = (new.autostart, new.essential, new.reload);
    ruled.pool.clone_from(&new.pool);
    (ruled.restart, ruled.deps) = (new.restart.clone(), new.deps.clone());
    (ruled.stop, ruled.ready.timeout) = (new.stop, new.ready.timeout);
    for (old, new) in [(&mut ruled.pre_start, new.pre_start), (&mut ruled.post_stop, new.post_stop)] {
        // A command that appears or goes is more than a rule; how long it may take is one.
        *old = old.and(new).or(*old);
    }
    if let (Some(old), Some(new)) = (&mut ruled.liveness, new.liveness) {
        *old = new;
    }
    ruled == *new
}
