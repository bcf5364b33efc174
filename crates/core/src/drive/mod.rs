//! The driver: carries out what the engine decided, and tells it what happened.
//!
//! One turn is: do what was decided → wait → tell what happened. The driver owns the handles of all living
//! children. It decides nothing but what a signal to the supervisor means (module `signals`).
//!
//! Invariant: a child is in `children` from its birth until it was buried, so every `Born` is followed by
//! exactly one `Exited`.

mod signals;

use crate::engine::Engine;
use crate::kernel::{Change, Kernel, Tree, Wake};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::action::Action;
use doula_model::event::Event;
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::service::Scope;
use doula_model::signal::Signal;

/// So often those are looked at of whose end nothing tells.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The loop over a world.
pub struct Driver<K: Kernel> {
    engine: Engine,
    children: BTreeMap<Pid, Child<K::Handle>>,
    pids: BTreeMap<ChildKey, Pid>,
    clearing: BTreeMap<(ServiceId, Generation), Clearing>,
    signals: signals::Signals,
    wakes: Vec<Wake>,
    quit: Option<u8>,
}

struct Child<H> {
    key: ChildKey,
    handle: H,
    /// Its end wakes us by itself.
    watched: bool,
    /// A supervisor before us gave birth to it: it is no child of ours, and no SIGCHLD tells of it.
    inherited: bool,
}

/// A generation that is being proven empty.
struct Clearing {
    /// How many processes had outlived the main process.
    leftovers: u32,
    /// Whether SIGKILL was ordered: then whatever appears is killed too.
    killing: bool,
}

impl<K: Kernel> Driver<K> {
    /// A driver for this engine; nothing happens before the first [`Driver::turn`].
    pub fn new(engine: Engine) -> Driver<K> {
        Driver {
            engine,
            children: BTreeMap::new(),
            pids: BTreeMap::new(),
            clearing: BTreeMap::new(),
            signals: signals::Signals::default(),
            wakes: Vec::new(),
            quit: None,
        }
    }

    /// Goes on with the children of a supervisor before us. To be called once, before the first turn.
    pub fn take_over(&mut self, world: &mut K) {
        for (key, pid) in self.engine.living() {
            match world.inherit(key, pid) {
                Some(handle) => self.look_after(world, (key, pid), (handle, true)),
                None => {
                    let now = world.now();
                    self.engine.handle(now, Event::Exited { key, status: ExitStatus::UNKNOWN });
                }
            }
        }
        world.end_the_rest();
    }

    /// The decisions, for looking at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The living children: number and key, in the order of the numbers.
    pub fn children(&self) -> impl Iterator<Item = (Pid, ChildKey)> + '_ {
        self.children.iter().map(|(pid, child)| (*pid, child.key))
    }

    /// Runs until the engine says to quit; the result is the exit code.
    pub fn run(&mut self, world: &mut K) -> u8 {
        loop {
            if let Some(code) = self.turn(world) {
                return code;
            }
        }
    }

    /// Does what was decided already, without waiting for anything.
    pub fn begin(&mut self, world: &mut K) {
        self.act(world);
    }

    /// Does what was decided, waits until something happens, and tells the engine. The exit code, once the
    /// engine has said to quit.
    pub fn turn(&mut self, world: &mut K) -> Option<u8> {
        self.act(world);
        if self.quit.is_some() {
            assert!(self.children.is_empty(), "a supervisor never leaves a child behind");
            return self.quit;
        }
        let mut wakes = core::mem::take(&mut self.wakes);
        let blind = self.blind();
        let look = (!blind.is_empty()).then(|| world.now().after(LOOK_EVERY));
        world.poll(self.engine.deadline().into_iter().chain(look).min(), &mut wakes);
        for wake in wakes.drain(..) {
            self.wake(world, wake);
        }
        self.wakes = wakes;
        for pid in blind {
            self.reap(world, pid);
        }
        while let Some(event) = world.attend(&self.engine) {
            self.tell(world, event);
        }
        self.tell(world, Event::Tick);
        None
    }

    fn wake(&mut self, world: &mut K, wake: Wake) {
        match wake {
            Wake::Child(pid) => drop(self.reap(world, pid)),
            Wake::Signals => self.read_signals(world),
            Wake::Tree(service, generation) => self.look_again(world, service, generation),
        }
    }

    /// Tells the engine and at once does what it decides.
    fn tell(&mut self, world: &mut K, event: Event) {
        let now = world.now();
        self.engine.handle(now, event);
        self.act(world);
    }

    fn act(&mut self, world: &mut K) {
        while let Some(action) = self.engine.poll_action() {
            if about(&action).is_some_and(|service| self.engine.is_touched(service)) {
                self.write_down(world);
            }
            if let Some(event) = self.perform(world, action) {
                // Read after it was done: a birth takes its time.
                let now = world.now();
                self.engine.handle(now, event);
            }
        }
        self.write_down(world);
    }

    fn write_down(&mut self, world: &mut K) {
        let touched = self.engine.take_touched();
        if !touched.is_empty() {
            world.write_down(&self.engine, touched);
        }
    }

    /// Carries out one action; some are answered at once.
    fn perform(&mut self, world: &mut K, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { key } => return Some(self.spawn(world, key)),
            Action::Signal { service, generation, signal, scope } => {
                self.signal(world, (service, generation), signal, scope);
            }
            Action::Kill { key } => self.kill(world, key),
            Action::Clear { service, generation, signal } => {
                return self.clear(world, (service, generation), signal);
            }
            Action::ArmSchedule { service } => world.arm_schedule(service),
            Action::Seat { service, slot } => world.seat(service, slot),
            Action::Revert { service } => world.revert(service),
            Action::Measure { pool, workers, closely } => {
                return Some(Event::Measured { pool, measure: world.measure(&workers, closely) });
            }
            Action::CheckUp { pool, workers } => {
                return Some(Event::CheckedUp { pool, seen: world.check_up(&workers) });
            }
            Action::AwaitConnection { pool, workers } => world.await_connection(pool, &workers),
            Action::Forget { service } => world.forget(service),
            Action::Report(report) => world.report(&report),
            Action::Quit { code } => {
                // Whoever ended last and was adopted is not left to others.
                self.take_changes(world);
                self.quit = Some(code);
            }
        }
        None
    }

    fn spawn(&mut self, world: &mut K, key: ChildKey) -> Event {
        match world.spawn(key) {
            Err(error) => Event::Stillborn { key, error },
            Ok((pid, handle)) => {
                self.look_after(world, (key, pid), (handle, false));
                Event::Born { key, pid }
            }
        }
    }

    fn look_after(
        &mut self,
        world: &mut K,
        (key, pid): (ChildKey, Pid),
        (handle, inherited): (K::Handle, bool),
    ) {
        // Failing to watch costs speed only: after a SIGCHLD who is not watched is looked at.
        let watched = world.watch(pid, &handle).is_ok();
        let before = self.children.insert(pid, Child { key, handle, watched, inherited });
        if let Some(before) = before {
            self.was_buried(world, before);
        }
        self.pids.insert(key, pid);
    }

    /// The number of this child was given to another one: so it was buried, and by somebody else.
    fn was_buried(&mut self, world: &mut K, child: Child<K::Handle>) {
        let status = world.obituary(&child.handle);
        self.pids.remove(&child.key);
        let now = world.now();
        self.engine.handle(now, Event::Exited { key: child.key, status });
        self.write_down(world);
        world.part(child.handle);
    }

    /// Those of whose end neither a handle nor SIGCHLD tells.
    fn blind(&self) -> Vec<Pid> {
        let blind = self.children.iter().filter(|(_, child)| child.inherited && !child.watched);
        blind.map(|(pid, _)| *pid).collect()
    }

    fn signal(&mut self, world: &mut K, of: (ServiceId, Generation), signal: Signal, scope: Scope) {
        let (service, generation) = of;
        let key = ChildKey { service, generation, role: Role::Main };
        match (scope, self.child(key)) {
            (Scope::Main, Some((_, child))) => drop(world.signal(&child.handle, signal)),
            (Scope::Group, Some((pid, child))) => drop(world.signal_group(pid, &child.handle, signal)),
            (Scope::Main | Scope::Group, None) => {}
            (Scope::Tree, _) => world.signal_tree(service, generation, signal),
        }
    }

    /// Ends a helper with its group; what escapes from the group is ended with the generation.
    fn kill(&mut self, world: &mut K, key: ChildKey) {
        if let Some((pid, child)) = self.child(key) {
            let _ = world.signal_group(pid, &child.handle, Signal::KILL);
            let _ = world.signal(&child.handle, Signal::KILL);
        }
    }

    fn child(&self, key: ChildKey) -> Option<(Pid, &Child<K::Handle>)> {
        let pid = *self.pids.get(&key)?;
        self.children.get(&pid).map(|child| (pid, child))
    }

    fn clear(&mut self, world: &mut K, of: (ServiceId, Generation), signal: Option<Signal>) -> Option<Event> {
        match world.look(of.0, of.1) {
            Tree::Empty => Some(self.emptied(world, of)),
            Tree::Populated(count) => {
                let clearing =
                    self.clearing.entry(of).or_insert(Clearing { leftovers: count, killing: false });
                clearing.killing |= signal == Some(Signal::KILL);
                if let Some(signal) = signal {
                    world.signal_tree(of.0, of.1, signal);
                }
                None
            }
        }
    }

    fn emptied(&mut self, world: &mut K, of: (ServiceId, Generation)) -> Event {
        let leftovers = self.clearing.remove(&of).map_or(0, |clearing| clearing.leftovers);
        world.release(of.0, of.1);
        Event::Emptied { service: of.0, generation: of.1, leftovers }
    }

    /// A generation that is being cleared may be empty now; if not, those are killed too who came late, or whom a kill has missed.
    fn look_again(&mut self, world: &mut K, service: ServiceId, generation: Generation) {
        let of = (service, generation);
        let Some(clearing) = self.clearing.get(&of) else { return };
        let killing = clearing.killing;
        match world.look(service, generation) {
            Tree::Empty => {
                let event = self.emptied(world, of);
                self.tell(world, event);
            }
            Tree::Populated(count) => {
                if let Some(clearing) = self.clearing.get_mut(&of).filter(|clearing| clearing.leftovers == 0)
                {
                    // Some worlds cannot tell at the first look.
                    clearing.leftovers = count;
                }
                if killing {
                    world.signal_tree(service, generation, Signal::KILL);
                }
            }
        }
    }

    fn read_signals(&mut self, world: &mut K) {
        while let Some(signal) = world.next_signal() {
            if signal == Signal::CHLD {
                self.take_changes(world);
                self.look_at_unwatched(world);
            } else {
                match self.signals.meaning(signal) {
                    Some(event) => self.tell(world, event),
                    None => world.signalled(signal),
                }
            }
        }
    }

    /// One SIGCHLD may stand for many changes: all of them are taken. An end that is shown but cannot be
    /// taken (a tracer holds the child) would be shown for ever, so it ends the round; its tracer's release
    /// brings another SIGCHLD.
    fn take_changes(&mut self, world: &mut K) {
        while let Some((pid, change)) = world.next_change() {
            let key = self.children.get(&pid).map(|child| child.key);
            let taken = match (change, key) {
                (Change::Exited(_), Some(_)) => self.reap(world, pid),
                (Change::Exited(_), None) => self.bury(world, pid),
                (Change::Stopped | Change::Continued, None) => true,
                (Change::Stopped, Some(key)) => self.tell_main(world, key, Event::Paused { key }),
                (Change::Continued, Some(key)) => self.tell_main(world, key, Event::Resumed { key }),
            };
            if !taken {
                return;
            }
        }
    }

    /// Of those who are not watched, one whom somebody else of this process buried is among no changes.
    fn look_at_unwatched(&mut self, world: &mut K) {
        let unwatched = self.children.iter().filter(|(_, child)| !child.watched).map(|(pid, _)| *pid);
        for pid in unwatched.collect::<Vec<_>>() {
            self.reap(world, pid);
        }
    }

    fn tell_main(&mut self, world: &mut K, key: ChildKey, event: Event) -> bool {
        if key.role == Role::Main {
            self.tell(world, event);
        }
        true
    }

    /// Buries one of our own children, if it has ended.
    fn reap(&mut self, world: &mut K, pid: Pid) -> bool {
        let Some(child) = self.children.get(&pid) else { return false };
        let status = match world.wait(&child.handle) {
            Ok(None) => return false,
            Ok(Some(status)) => status,
            Err(_) => world.obituary(&child.handle),
        };
        if let Some(child) = self.children.remove(&pid) {
            self.pids.remove(&child.key);
            self.tell(world, Event::Exited { key: child.key, status });
            // Last: if we are killed before the end is written down, the handle tells the next supervisor how it was.
            world.part(child.handle);
        }
        true
    }

    /// Buries an adopted child.
    fn bury(&mut self, world: &mut K, pid: Pid) -> bool {
        let Some(status) = world.bury(pid) else { return false };
        world.buried(pid, status);
        let waiting: Vec<_> = self.clearing.keys().copied().collect();
        for (service, generation) in waiting {
            self.look_again(world, service, generation);
        }
        true
    }
}

/// Whom an action is about that would be lost, or done twice, if we were killed and nobody knew of it.
const fn about(action: &Action) -> Option<ServiceId> {
    match action {
        Action::Spawn { key } | Action::Kill { key } => Some(key.service),
        Action::Signal { service, .. }
        | Action::Clear { service, .. }
        | Action::ArmSchedule { service }
        | Action::Seat { service, .. }
        | Action::Revert { service }
        | Action::Forget { service } => Some(*service),
        Action::Report(_)
        | Action::Quit { .. }
        | Action::Measure { .. }
        | Action::CheckUp { .. }
        | Action::AwaitConnection { .. } => None,
    }
}
