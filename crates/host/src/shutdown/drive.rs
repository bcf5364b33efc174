//! The machine of the shutdown ([`Graceful`]) in this process: its signals, its clock, the threads of its hooks.

use super::registry::{self, Work};
use super::report::{End, Held, Ran, Report};
use super::{Event, Phase};
use crate::child::os_error;
use doula_core::graceful::{self, Graceful, Id, Limits, Order};
use doula_model::event::Haste;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sys::catch::{Caught, Purpose};
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::fork::mark;
use doula_sys::poll::{self, Epoll, Interest};
use doula_sys::{start, time};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub(super) struct Inner {
    /// The process that this belongs to.
    owner: u64,
    /// What is to be looked at: the three below.
    watch: Epoll,
    signals: Option<Caught>,
    bell: OwnedFd,
    timer: OwnedFd,
    /// One for each phase: readable once that is reached.
    reached: [OwnedFd; 5],
    state: Mutex<State>,
}

struct State {
    machine: Graceful,
    names: BTreeMap<Id, String>,
    work: BTreeMap<Id, Work>,
    ends: BTreeMap<Id, End>,
    signal: Option<Signal>,
    since: Option<Time>,
    events: Vec<Event>,
    report: Option<Report>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Shutdown")
            .field("signals", &self.signals)
            .field("phase", &state.machine.phase())
            .finish()
    }
}

impl AsFd for Inner {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl Inner {
    pub(super) fn new(signals: &[Signal], limits: Limits) -> Result<Inner, Errno> {
        let (watch, bell, timer) = (Epoll::new()?, poll::eventfd()?, time::timer()?);
        let reached =
            [poll::eventfd()?, poll::eventfd()?, poll::eventfd()?, poll::eventfd()?, poll::eventfd()?];
        watch.add(&bell, Interest::READ, 0)?;
        watch.add(&timer, Interest::READ, 0)?;
        let signals = match signals {
            [] => None,
            signals => Some(Caught::new(Purpose::End, signals)?),
        };
        signals.as_ref().map_or(Ok(()), |signals| watch.add(signals, Interest::READ, 0))?;
        let state = State {
            machine: Graceful::new(limits),
            names: BTreeMap::new(),
            work: BTreeMap::new(),
            ends: BTreeMap::new(),
            signal: None,
            since: None,
            events: Vec::new(),
            report: None,
        };
        let owner = mark::identity();
        Ok(Inner { owner, watch, signals, bell, timer, reached, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it: hooks run without.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ours(&self) -> bool {
        self.owner == mark::identity()
    }

    fn check(&self) -> io::Result<()> {
        let what = "this shutdown belongs to the process that we are a copy of; a copy makes its own";
        if self.is_ours() { Ok(()) } else { Err(io::Error::new(io::ErrorKind::Unsupported, what)) }
    }

    pub(super) fn add(&self, phase: Phase, name: &str, limit: Option<Duration>, work: Work) -> Option<()> {
        let mut state = self.lock();
        let id = state.machine.add(phase, limit)?;
        state.names.insert(id, name.to_owned());
        state.work.insert(id, work);
        Some(())
    }

    pub(super) fn hold(&self, phase: Phase, name: &str) -> Option<Id> {
        let mut state = self.lock();
        let id = state.machine.hold(phase)?;
        state.names.insert(id, name.to_owned());
        Some(id)
    }

    pub(super) fn release(&self, id: Id) {
        // What a copy of this process has done or not is nothing to its original.
        if self.is_ours() {
            let mut state = self.lock();
            state.machine.release(id);
            if !state.machine.held().iter().any(|(held, _)| *held == id) {
                state.names.remove(&id);
            }
            if state.machine.phase().is_some() {
                self.ring();
            }
        }
    }

    pub(super) fn ask(&self) -> io::Result<()> {
        self.check()?;
        self.lock().asked(None);
        self.ring();
        Ok(())
    }

    pub(super) fn report(&self) -> Option<Report> {
        self.lock().report.clone()
    }

    pub(super) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().events)
    }

    pub(super) fn reached(&self, phase: Phase) -> BorrowedFd<'_> {
        self.reached[phase as usize].as_fd()
    }

    /// Somebody is to look.
    fn ring(&self) {
        // Only a bell that rings already can fail.
        let _ = fd::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Does all that is to be done now; nothing waits.
    pub(super) fn turn(self: &Arc<Self>) -> io::Result<()> {
        self.check()?;
        if self.report().is_none() {
            // Nothing to read is no failure.
            let _ = fd::read(&self.bell, &mut [0; 8]);
        }
        while let Some(signal) = self.signals.as_ref().map_or(Ok(None), Caught::next).map_err(os_error)? {
            self.lock().asked(Some(signal));
        }
        loop {
            let mut state = self.lock();
            let Some(order) = state.machine.next(time::monotonic()) else {
                return time::set_timer(&self.timer, state.machine.deadline()).map_err(os_error);
            };
            let work = state.obey(order);
            drop(state);
            match order {
                Order::Begin(phase) => drop(fd::write(&self.reached[phase as usize], &1u64.to_ne_bytes())),
                // It is never taken off again: all who wait are to see that it is over.
                Order::Over => self.ring(),
                Order::Run(_) | Order::Leave(_) | Order::Hurry | Order::Kill => {}
            }
            if let Some((id, name, work)) = work {
                self.run(id, &name, work);
            }
        }
    }

    /// On a thread of its own; where there can be none, in this one, without a limit of time.
    fn run(self: &Arc<Self>, id: Id, name: &str, work: Work) {
        let work = Arc::new(Mutex::new(Some(work)));
        let (inner, its) = (Arc::clone(self), Arc::clone(&work));
        let there = thread::Builder::new().name(name.replace('\0', "")).spawn(move || {
            let end = perform(&its);
            inner.lock().ended(id, end);
            inner.ring();
        });
        if there.is_err() {
            let end = perform(&work);
            self.lock().ended(id, end);
        }
    }
}

/// Does the work, if nobody did yet.
fn perform(work: &Mutex<Option<Work>>) -> End {
    let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
    match work.map(|work| catch_unwind(AssertUnwindSafe(work))) {
        None | Some(Ok(Ok(()))) => End::Done,
        Some(Ok(Err(error))) => End::Failed(error.to_string()),
        Some(Err(panic)) => End::Panicked(words(&*panic)),
    }
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words").to_owned()
}

impl State {
    fn asked(&mut self, signal: Option<Signal>) {
        let now = time::monotonic();
        if self.since.is_none() {
            (self.since, self.signal) = (Some(now), signal);
        }
        self.machine.ask(now);
    }

    fn ended(&mut self, id: Id, end: End) {
        let kind = match end {
            End::Done => graceful::End::Done,
            End::Failed(_) => graceful::End::Failed,
            End::Panicked(_) => graceful::End::Panicked,
            End::Cut => graceful::End::Cut,
        };
        // One that was cut before stays so.
        self.ends.entry(id).or_insert(end);
        self.machine.ended(id, kind, time::monotonic());
    }

    /// What becomes of an order here; the work of a hook is the caller's, who must not hold the state meanwhile.
    fn obey(&mut self, order: Order) -> Option<(Id, String, Work)> {
        match order {
            Order::Begin(phase) => {
                if phase == Phase::RemoveFiles {
                    self.take_registry();
                }
                self.events.push(Event::Began(phase));
            }
            Order::Run(id) => {
                let name = self.names.get(&id).cloned().unwrap_or_default();
                return self.work.remove(&id).map(|work| (id, name, work));
            }
            Order::Leave(id) => drop(self.ends.insert(id, End::Cut)),
            Order::Hurry => self.events.push(Event::Hurried),
            Order::Over => {
                let report = self.conclude();
                self.events.push(Event::Over(report.clone()));
                self.report = Some(report);
            }
            Order::Kill => start::exit(128 | self.signal.unwrap_or(Signal::TERM).number() as u8),
        }
        None
    }

    /// What is to be done at the end of the process is done in its last phase: the latest first, as at exit(3).
    fn take_registry(&mut self) {
        let mut entries: Vec<_> = std::iter::from_fn(registry::last).collect();
        while let Some(entry) = entries.pop() {
            let Some(id) = self.machine.add(Phase::RemoveFiles, None) else { return };
            self.names.insert(id, entry.name);
            self.work.insert(id, entry.run);
        }
    }

    fn conclude(&mut self) -> Report {
        let name = |names: &BTreeMap<Id, String>, id| names.get(&id).cloned().unwrap_or_default();
        let ran = self.machine.ran().iter().map(|ran| Ran {
            phase: ran.phase,
            name: name(&self.names, ran.id),
            took: ran.took,
            end: self.ends.get(&ran.id).cloned().unwrap_or(End::Cut),
        });
        let held = self.machine.held().iter();
        Report {
            signal: self.signal,
            hurried: self.machine.haste() > Some(Haste::Orderly),
            took: self.since.map_or(Duration::ZERO, |since| time::monotonic().since(since)),
            ran: ran.collect(),
            held: held.map(|(id, phase)| Held { phase: *phase, name: name(&self.names, *id) }).collect(),
        }
    }
}
