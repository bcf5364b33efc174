//! The engine: events in, actions out, time is an argument.
//!
//! ```text
//! engine.handle(now, event)  →  while let Some(action) = engine.poll_action() { … }  →  sleep until engine.deadline()
//! ```
//!
//! The engine never acts, never sleeps and never asks for the time. The same family, seed and events give the
//! same actions. Deadlines are only looked at in [`Event::Tick`], so a world that has several events at hand
//! hands them in first: a service that ended in time is not killed for being late.
//!
//! Read next: `service` (the table of one service), `settle` (services among each other), `shutdown`.

use crate::context::Context;
use crate::crew::Crew;
use crate::deps::Graph;
use crate::service::{Fact, Input, Service};
use crate::timers::Alarm;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::action::{Action, Cause};
use doula_model::event::{Event, Notice};
use doula_model::id::{ChildKey, Generation, Role, ServiceId};
use doula_model::service::ServiceSpec;
use doula_model::time::Time;

/// Room for so many actions is kept when all are carried out.
const ACTIONS_KEPT: usize = 64;

/// The decisions for one family.
#[derive(Debug)]
pub struct Engine {
    /// By number.
    pub(crate) services: Seats,
    pub(crate) names: BTreeMap<String, ServiceId>,
    pub(crate) graph: Graph,
    /// By number; `None` while a pool is at work.
    pub(crate) crews: Vec<Option<Box<Crew>>>,
    pub(crate) cx: Context,
    /// The exit code of the family, decided when the shutdown begins.
    pub(crate) code: u8,
    pub(crate) keep_alive: bool,
    pub(crate) quit: bool,
}

impl Engine {
    /// A family whose services with `autostart` start now. The place in the list is the [`ServiceId`]. `seed`
    /// decides the random share of pauses.
    ///
    /// The names and dependencies must have been checked with [`crate::deps::check`]: with a duplicate name this
    /// panics, and services in a circle would wait for each other.
    pub fn new(family: Vec<ServiceSpec>, seed: u64, now: Time) -> Engine {
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
        for spec in family {
            engine.add(spec);
        }
        engine.rebuild_graph();
        engine.refresh_crews();
        for number in 0..engine.services.len() {
            let id = ServiceId(number as u32);
            if engine.service(id).is_some_and(Service::starts_with_the_family) {
                engine.start(id, Cause::Autostart, false);
            }
        }
        engine.settle_crews();
        engine
    }

    /// Whether the family goes on when no service is left that could do anything by itself: for a family in the
    /// background that is told by commands what to do. By default it ends, as people expect of a command in the
    /// foreground and of a container: with code 1 if a service has failed, else 0.
    #[must_use]
    pub fn keep_alive(mut self, keep: bool) -> Engine {
        self.keep_alive = keep;
        self
    }

    /// Something happened. `now` never goes back. Events about unknown services or earlier generations do no
    /// harm.
    pub fn handle(&mut self, now: Time, event: Event) {
        debug_assert!(now >= self.cx.now, "time does not go back");
        self.cx.now = self.cx.now.max(now);
        if self.quit {
            return;
        }
        match event {
            Event::Born { key, pid } => self.with(key, |it, cx, role| it.born(cx, role, pid)),
            Event::Stillborn { key, error } => self.with(key, |it, cx, role| it.stillborn(cx, role, error)),
            Event::Exited { key, status } => self.with(key, |it, cx, role| it.exited(cx, role, status)),
            Event::Paused { key } => self.with_main(key, |it, cx| it.paused(cx, true)),
            Event::Resumed { key } => self.with_main(key, |it, cx| it.paused(cx, false)),
            Event::Emptied { service, generation, leftovers } => {
                self.with_life(service, generation, |it, cx| it.fact(cx, Fact::Emptied(leftovers)));
            }
            Event::Noticed { service, generation, notice: notice @ (Notice::Busy(_) | Notice::Tasks(_)) } => {
                self.worker_heard(service, generation, &notice);
            }
            Event::Noticed { service, generation, notice } => {
                self.with_life(service, generation, |it, cx| it.noticed(cx, notice));
            }
            Event::Due { service } => self.due(service),
            Event::Measured { pool, measure } => self.measured(pool, &measure),
            Event::CheckedUp { pool, seen } => self.checked_up(pool, &seen),
            Event::Knocked { pool } => self.knocked(pool),
            Event::Tick => self.tick(),
            Event::Command(command) => self.command(command),
        }
        self.settle_crews();
        self.quit_if_over();
    }

    /// What is to be done next, in order; `None` when nothing is to be done before the next event.
    ///
    /// Births that were decided on before the family began to end are called off.
    pub fn poll_action(&mut self) -> Option<Action> {
        let mut next = self.cx.actions.pop_front();
        while let Some(Action::Spawn { key }) = next
            && self.cx.haste.is_some()
            && matches!(key.role, Role::Main | Role::PreStart)
        {
            self.with(key, |it, cx, role| it.called_off(cx, role));
            self.settle_crews();
            self.quit_if_over();
            next = self.cx.actions.pop_front();
        }
        if next.is_none() {
            // A family that starts or stops as a whole has thousands at once, and none for weeks afterwards.
            self.cx.actions.shrink_to(ACTIONS_KEPT);
        }
        next
    }

    /// When [`Event::Tick`] is needed next; `None`: not before something else happens.
    pub fn deadline(&self) -> Option<Time> {
        if self.is_over() {
            return Some(self.cx.now);
        }
        self.cx.timers.next().into_iter().chain(self.crew_deadline()).min()
    }

    /// Fires every deadline that has passed, and then those that this has set to now. Who starts does so after all
    /// of a round: when nobody looked for hours, what it needs may have failed in the same round.
    fn tick(&mut self) {
        while self.cx.timers.next().is_some_and(|at| at <= self.cx.now) {
            self.fire();
            self.settle();
        }
        self.tick_crews();
    }

    fn fire(&mut self) {
        while let Some((id, alarm)) = self.cx.timers.pop_due(self.cx.now) {
            let Some(service) = seat(&mut self.services, id) else {
                unreachable!("who is forgotten has no deadlines")
            };
            service.alarms[alarm as usize] = None;
            match alarm {
                Alarm::Step => service.fact(&mut self.cx, Fact::Timeout),
                Alarm::Probe => service.probe_alarm(&mut self.cx),
                Alarm::Watchdog => service.input(&mut self.cx, Input::Fault(Cause::WatchdogExpired)),
                Alarm::Reload => service.kill_child(&mut self.cx, Role::Reload),
            }
            self.settle_ends();
        }
    }

    /// The service with this number.
    pub(crate) fn service(&self, id: ServiceId) -> Option<&Service> {
        known(&self.services, id)
    }

    /// Gives an input to a service.
    pub(crate) fn input(&mut self, id: ServiceId, input: Input) {
        if let Some(service) = seat(&mut self.services, id) {
            service.input(&mut self.cx, input);
        }
    }

    /// Speaks to a service, if it is still in this life.
    fn with_life(
        &mut self,
        id: ServiceId,
        generation: Generation,
        speak: impl FnOnce(&mut Service, &mut Context),
    ) {
        let Some(service) = seat(&mut self.services, id) else { return };
        if service.generation == generation {
            speak(service, &mut self.cx);
        }
    }

    fn with(&mut self, key: ChildKey, speak: impl FnOnce(&mut Service, &mut Context, Role)) {
        self.with_life(key.service, key.generation, |service, cx| speak(service, cx, key.role));
    }

    fn with_main(&mut self, key: ChildKey, speak: impl FnOnce(&mut Service, &mut Context)) {
        if key.role == Role::Main {
            self.with_life(key.service, key.generation, speak);
        }
    }
}

/// All services, by number; nothing in the places of those who were forgotten.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    table: Vec<Option<Box<Service>>>,
    /// Those who may have changed since somebody wrote them down.
    touched: Vec<ServiceId>,
}

impl core::ops::Deref for Seats {
    type Target = [Option<Box<Service>>];

    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl Seats {
    /// Gives a service its place.
    pub(crate) fn put(&mut self, id: ServiceId, mut service: Box<Service>) {
        let place = id.0 as usize;
        if self.table.len() <= place {
            self.table.resize_with(place + 1, || None);
        }
        service.touched = true;
        self.touched.push(id);
        self.table[place] = Some(service);
    }

    /// Takes a service away; its place stays empty.
    pub(crate) fn take(&mut self, id: ServiceId) -> Option<Box<Service>> {
        self.table.get_mut(id.0 as usize)?.take()
    }

    /// Those who may have changed since the last call, each once.
    pub(crate) fn take_touched(&mut self) -> Vec<ServiceId> {
        for id in &self.touched {
            if let Some(service) = self.table.get_mut(id.0 as usize).and_then(Option::as_mut) {
                service.touched = false;
            }
        }
        core::mem::take(&mut self.touched)
    }
}

/// The service with this number, to be looked at while other parts of the engine are in use.
pub(crate) fn known(services: &Seats, id: ServiceId) -> Option<&Service> {
    services.get(id.0 as usize)?.as_deref()
}

/// The service with this number, to be changed while other parts of the engine are in use.
pub(crate) fn seat(services: &mut Seats, id: ServiceId) -> Option<&mut Service> {
    let Seats { table, touched } = services;
    let service = table.get_mut(id.0 as usize)?.as_deref_mut()?;
    if !core::mem::replace(&mut service.touched, true) {
        touched.push(id);
    }
    Some(service)
}
