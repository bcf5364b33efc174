//! Going on where another engine was ended in the middle: services out of records, and what was under way once more.
//!
//! A record is written before the actions that it led to, so that an action of the last record may have been done, half done
//! or not at all. Births are looked up: the world says who was born, and only who was not is asked for once more. A look for
//! what is left finds what is left. Only a stop signal may so come twice.
//!
//! Time goes on while nobody looks after a family: pauses and graces end when they would have ended. But nobody is blamed for
//! what nobody could see: the patience with those who start stands still meanwhile, and probes and watchdogs begin anew.

use crate::begin::is_step;
use crate::child::{Child, Children};
use crate::context::{Context, is_live};
use crate::crew::Crew;
use crate::deps::Graph;
use crate::engine::{Engine, Seats, seat};
use crate::ready::SHORTEST_PROBE_PAUSE;
use crate::restart::{Ending, History};
use crate::service::{Fact, Service, Wish};
use crate::timers::Alarm;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::action::{Action, Cause, State};
use doula_model::id::{ChildKey, Pid, PoolId, Role, ServiceId};
use doula_model::record::{Life, Record};
use doula_model::service::ServiceSpec;
use doula_model::signal::Signal;
use doula_model::time::Time;

/// So long is listened at least: what was said meanwhile waits to be heard.
const SHORTEST_LISTENING: Duration = Duration::from_secs(1);

/// The children that are written down.
const RECORDED: [Role; 4] = [Role::Main, Role::PreStart, Role::PostStop, Role::Reload];

impl Engine {
    /// A family as it was written down. `family` is what the configuration says now: what is different is treated as
    /// by a reload ([`doula_model::event::Command::Apply`]). A shutdown in progress is not gone on with: who was to end
    /// for it alone starts again.
    ///
    /// `born` are the children of whom no record says that they live, and who were born all the same. Whose record says
    /// that it lives must be told of ([`doula_model::event::Event::Exited`]) if it does not. `died`: since when nobody looked
    /// after them, if that is known.
    pub fn resume(
        records: Vec<Record>,
        born: &BTreeMap<ChildKey, Pid>,
        family: Vec<ServiceSpec>,
        (seed, now): (u64, Time),
        died: Option<Time>,
    ) -> Engine {
        let mut engine = Engine {
            services: Seats::default(),
            names: BTreeMap::new(),
            graph: Graph::default(),
            crews: Vec::new(),
            cx: Context::new(seed, now),
            code: 0,
            keep_alive: false,
            quit: false,
        };
        for record in records {
            engine.seat_again(record);
        }
        engine.rebuild_graph();
        engine.refresh_crews();
        for number in 0..engine.crews.len() {
            engine.with_crew(PoolId(number as u32), Crew::go_on);
        }
        for id in engine.ids().collect::<Vec<_>>() {
            engine.pick_up(id, born, died);
        }
        engine.apply(family);
        engine.settle_crews();
        engine
    }

    /// One service as it is to be written down.
    pub fn record(&self, id: ServiceId) -> Option<Record> {
        let service = self.service(id)?;
        let crew = service.pool.and_then(|pool| self.crews.get(pool.0 as usize)?.as_ref());
        let mut record = service.record();
        record.life.slot = crew.and_then(|crew| crew.slot_of(id));
        record.life.roll = crew.and_then(|crew| crew.roll_of(id));
        record.life.pool_wanted = crew.and_then(|crew| crew.wish_in(id));
        Some(record)
    }

    /// Those whose records may differ from what they were at the last call, each once. All of them at first.
    pub fn take_touched(&mut self) -> Vec<ServiceId> {
        self.services.take_touched()
    }

    /// Whether [`Engine::take_touched`] would name it.
    pub fn is_touched(&self, id: ServiceId) -> bool {
        self.service(id).is_some_and(|service| service.touched)
    }

    /// The number that the next new service gets. Those of services that were forgotten before a [`Engine::resume`] may
    /// come again.
    pub fn next_number(&self) -> u32 {
        u32::try_from(self.services.len()).unwrap_or(u32::MAX)
    }

    /// The children that live as far as is known, but for probes, oldest first: of two with the same number the later has it, and
    /// the earlier has ended.
    pub fn living(&self) -> Vec<(ChildKey, Pid)> {
        let living = self.services.iter().flatten().flat_map(|service| {
            RECORDED.into_iter().filter_map(|role| match service.children.get(role)? {
                Child::Alive { pid, born } => Some((born, service.key(role), pid)),
                Child::Asked { .. } => None,
            })
        });
        let mut living: Vec<_> = living.collect();
        living.sort_by_key(|(born, ..)| *born);
        living.into_iter().map(|(_, key, pid)| (key, pid)).collect()
    }

    fn seat_again(&mut self, record: Record) {
        let (id, step, reload) = (record.id, record.life.step_until, record.life.reload_until);
        let mut service = Box::new(Service::resume(record));
        if is_live(service.state) {
            self.cx.live += 1;
        }
        self.names.insert(service.spec.name.clone(), id);
        service.alarm(&mut self.cx, Alarm::Step, step);
        service.alarm(&mut self.cx, Alarm::Reload, reload);
        self.services.put(id, service);
        self.cx.changed.push_back(id);
    }

    /// Goes on with what a service was at.
    fn pick_up(&mut self, id: ServiceId, born: &BTreeMap<ChildKey, Pid>, died: Option<Time>) {
        let Some(service) = seat(&mut self.services, id) else { return };
        service.settle_births(&mut self.cx, born);
        service.pick_up(&mut self.cx, died);
        let for_the_shutdown = service.wish == Wish::Down && service.reason == Cause::Shutdown;
        if for_the_shutdown && !service.leaving && service.pool.is_none() {
            self.start(id, Cause::Autostart, false);
        }
    }
}

impl Service {
    /// As it is to be written down.
    pub(crate) fn record(&self) -> Record {
        let children =
            RECORDED.into_iter().filter_map(|role| Some((role, self.children.get(role)?))).collect();
        let life = Life {
            state: self.state,
            since: self.since,
            cause: self.cause.clone(),
            reason: self.reason.clone(),
            generation: self.generation,
            extend_until: self.extend_until,
            wanted: self.wish == Wish::Up,
            leaving: self.leaving,
            again: self.again.clone(),
            lost: self.lost,
            children,
            ending: self.ending.as_ref().map(|ending| (ending.cause.clone(), ending.bad)),
            exit: self.exit,
            asked: self.asked,
            escalated: self.escalated,
            clearing: self.clearing,
            paused: self.paused,
            ready_since: self.ready_since,
            probe_failures: self.probe_failures,
            own_watchdog: self.own_watchdog,
            reload_later: self.reload_later,
            reload_failure: self.reload_failure.clone(),
            fulfilled: self.fulfilled,
            automatic: self.automatic,
            restarts: self.history.record(),
            fell: self.fell.clone(),
            last_exit: self.last_exit,
            status_text: self.status_text.clone(),
            armed: self.armed,
            queued: self.queued,
            step_until: self.alarms[Alarm::Step as usize],
            reload_until: self.alarms[Alarm::Reload as usize],
            slot: None,
            roll: None,
            pool_wanted: None,
        };
        Record { id: self.id, spec: self.spec.clone(), next: self.next.clone(), life }
    }

    /// As it was written down, but for its deadlines.
    fn resume(record: Record) -> Service {
        let Record { id, spec, next, life } = record;
        let mut children = Children::default();
        for (role, child) in life.children {
            *children.slot(role) = Some(child);
        }
        Service {
            next,
            leaving: life.leaving,
            state: life.state,
            reported: life.state,
            since: life.since,
            cause: life.cause,
            wish: if life.wanted { Wish::Up } else { Wish::Down },
            reason: life.reason,
            again: life.again,
            lost: life.lost,
            generation: life.generation,
            children,
            ending: life.ending.map(|(cause, bad)| Ending { cause, bad }),
            exit: life.exit,
            asked: life.asked,
            escalated: life.escalated,
            clearing: life.clearing,
            paused: life.paused,
            ready_since: life.ready_since,
            probe_failures: life.probe_failures,
            own_watchdog: life.own_watchdog,
            extend_until: life.extend_until,
            reload_later: life.reload_later,
            reload_failure: life.reload_failure,
            fulfilled: life.fulfilled,
            automatic: life.automatic,
            history: History::resume(life.restarts),
            fell: life.fell,
            last_exit: life.last_exit,
            status_text: life.status_text,
            armed: life.armed,
            queued: life.queued,
            slot: life.slot,
            roll: life.roll,
            pool_wanted: life.pool_wanted,
            ..Service::new(id, spec, life.since)
        }
    }

    /// The births whose answers were not heard. One that happened may lead to others, which are not of these.
    fn settle_births(&mut self, cx: &mut Context, born: &BTreeMap<ChildKey, Pid>) {
        let before = self.children.clone();
        for role in RECORDED {
            if let Some(Child::Asked { doomed }) = before.get(role) {
                self.settle_birth(cx, (role, doomed), born);
            }
        }
    }

    /// It happened, or is asked for once more, or is not wanted any more.
    fn settle_birth(
        &mut self,
        cx: &mut Context,
        (role, doomed): (Role, bool),
        born: &BTreeMap<ChildKey, Pid>,
    ) {
        let ends = matches!(self.state, State::Stopping | State::Clearing);
        match born.get(&self.key(role)) {
            Some(pid) => self.born(cx, role, *pid),
            // A post-stop command is part of the end, and killed if it comes late.
            None if !ends && (!doomed || role == Role::PostStop) => {
                cx.act(Action::Spawn { key: self.key(role) });
            }
            None if is_step(role) => self.called_off(cx, role),
            None => {
                *self.children.slot(role) = None;
                self.fact(cx, Fact::HelperGone);
            }
        }
    }

    /// Has done what may not have been done, and listens again.
    fn pick_up(&mut self, cx: &mut Context, died: Option<Time>) {
        if self.armed {
            cx.act(Action::ArmSchedule { service: self.id });
        }
        match self.state {
            State::Starting => self.listen_for_readiness(cx, died),
            State::Up => {
                self.feed_watchdog(cx);
                self.probe_again(cx);
                if self.alarms[Alarm::Reload as usize].is_none() {
                    self.kill_child(cx, Role::Reload);
                }
            }
            State::Stopping => self.end_again(cx),
            State::Clearing | State::Cleaning => self.clear_again(cx),
            State::Stopped
            | State::Scheduled
            | State::Waiting
            | State::Preparing
            | State::BackingOff
            | State::Done
            | State::Failed => {}
        }
    }

    /// The patience goes on where it was when somebody listened last; where nobody knows when that was, it begins anew.
    fn listen_for_readiness(&mut self, cx: &mut Context, died: Option<Time>) {
        let left = died
            .and_then(|died| Some(self.alarms[Alarm::Step as usize]?.since(died).max(SHORTEST_LISTENING)));
        let limit =
            self.spec.ready.timeout.map(|whole| cx.now.after(left.map_or(whole, |left| left.min(whole))));
        self.alarm(cx, Alarm::Step, limit);
        if self.children.pid(Role::Main).is_some() {
            self.probe_again(cx);
        }
    }

    /// The probe of this state has its next attempt after its usual pause.
    fn probe_again(&mut self, cx: &mut Context) {
        if let Some((_, policy)) = self.probe().filter(|_| !self.is_task()) {
            self.alarm(cx, Alarm::Probe, Some(cx.now.after(policy.interval.max(SHORTEST_PROBE_PAUSE))));
        }
    }

    fn end_again(&mut self, cx: &mut Context) {
        self.kill_child(cx, Role::Reload);
        if self.escalated {
            self.kill_main(cx);
        } else if core::mem::take(&mut self.asked) {
            self.ask_now(cx);
        }
    }

    /// Without a limit of this step, its time is over.
    fn clear_again(&mut self, cx: &mut Context) {
        let over = self.alarms[Alarm::Step as usize].is_none();
        if self.clearing {
            let signal = Some(if self.escalated || over { Signal::KILL } else { Signal::TERM });
            return cx.act(Action::Clear { service: self.id, generation: self.generation, signal });
        }
        let helpers = [Role::PreStart, Role::Reload, Role::PostStop];
        let kept = |role: &Role| *role == Role::PostStop && !over;
        for role in helpers.into_iter().filter(|role| !kept(role)) {
            self.kill_child(cx, role);
        }
        if self.state == State::Clearing {
            // It may have waited for the end of a probe alone.
            self.clear_when_alone(cx);
        }
    }
}
