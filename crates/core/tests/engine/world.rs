//! A family on paper: it carries out the actions of an engine, late and in random order, and checks after each
//! step that nothing impossible was asked or forgotten. One seed decides everything.
//!
//! What its processes do is a [`Temper`] for each service. Time jumps to whatever comes first.

use crate::checkers::Checkers;
use doula_core::engine::Engine;
use doula_core::random::Random;
use doula_model::action::{Action, Cause, News, Report, State};
use doula_model::event::{Command, Event, Haste, Notice};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::plan::{Errno, SpawnError, Step};
use doula_model::service::{DependencyKind, Kind, ServiceSpec};
use doula_model::signal::Signal;
use doula_model::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// How the processes of a service behave.
#[derive(Clone, Debug)]
pub(crate) struct Temper {
    /// How often a birth fails, in percent.
    pub(crate) stillborn: u64,
    /// How often a process ends by itself, in percent, and after how many milliseconds at most.
    pub(crate) mortal: u64,
    /// The longest life of a mortal process, in milliseconds.
    pub(crate) lifespan: u64,
    /// How often an end is bad, in percent.
    pub(crate) bad: u64,
    /// How often it does not hear the stop signal, in percent.
    pub(crate) deaf: u64,
    /// How often it says that it is ready, in percent.
    pub(crate) speaks: u64,
    /// How often processes outlive the main process, in percent, deaf to SIGTERM.
    pub(crate) leftovers: u64,
    /// How often somebody else buries a process that ended by itself, in percent.
    pub(crate) stolen: u64,
}

impl Temper {
    /// Everything works.
    pub(crate) const GOOD: Temper = Temper {
        stillborn: 0,
        mortal: 0,
        lifespan: 50,
        bad: 0,
        deaf: 0,
        speaks: 100,
        leftovers: 0,
        stolen: 0,
    };
}

/// One step of a story.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    /// An event.
    Told(Time, Event),
    /// An action.
    Asked(Time, Action),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Told(at, event) => write!(f, "{} < {event:?}", at.as_nanos()),
            Line::Asked(at, action) => write!(f, "{} > {action:?}", at.as_nanos()),
        }
    }
}

/// Something that will happen.
type Pending = (Time, u64, Event);

/// A family on paper.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) now: Time,
    pub(crate) tempers: Vec<Temper>,
    pub(crate) specs: BTreeMap<ServiceId, ServiceSpec>,
    pub(crate) random: Random,
    /// What happened, in order, for people and for comparisons.
    pub(crate) trace: Vec<Line>,
    pub(crate) quit: Option<u8>,
    /// The longest time the world takes to answer, in milliseconds; 0: at once.
    pub(crate) latency: u64,
    pub(crate) reports: Vec<Report>,
    pub(crate) checkers: Checkers,
    pub(crate) pending: Vec<Pending>,
    serial: u64,
    /// Children that were asked for.
    pub(crate) asked: BTreeSet<ChildKey>,
    pub(crate) alive: BTreeMap<ChildKey, Pid>,
    /// Clears that were not answered, and whether SIGKILL was asked.
    pub(crate) clearing: BTreeMap<(ServiceId, Generation), bool>,
    stubborn: BTreeSet<(ServiceId, Generation)>,
    /// Main processes that were stopped by SIGSTOP, and the ends that wait until they go on.
    pub(crate) frozen: BTreeMap<ChildKey, Vec<Event>>,
    pub(crate) states: BTreeMap<ServiceId, State>,
    /// The starts that followed `RestartIn`.
    pub(crate) automatic: BTreeMap<ServiceId, Vec<Time>>,
    pub(crate) announced: BTreeSet<ServiceId>,
    pub(crate) armed: BTreeSet<ServiceId>,
    /// So many actions the supervisor carries out before it is killed.
    pub(crate) doomed: Option<usize>,
    /// Who ended while there was no supervisor.
    pub(crate) gone: BTreeSet<ChildKey>,
    /// Births that were decided on before the supervisor was killed.
    pub(crate) decided: BTreeSet<ChildKey>,
    /// Who was born and the supervisor was killed before it knew.
    pub(crate) unseen: BTreeMap<ChildKey, Pid>,
    pids: i32,
    pub(crate) shutting_down: bool,
    pub(crate) hurried: bool,
}

impl Drop for World {
    /// A broken promise shows how it came to it.
    #[expect(clippy::print_stderr, reason = "shown only by a failing test")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the last events (<) and actions (>):\n{}", self.last(60));
        }
    }
}

impl World {
    /// A family that starts at time zero.
    pub(crate) fn new(family: Vec<ServiceSpec>, tempers: Vec<Temper>, seed: u64) -> World {
        let engine = Engine::new(family.clone(), seed, Time::ZERO);
        World::around(engine, family, tempers, seed)
    }

    /// A family that was just made.
    pub(crate) fn around(engine: Engine, family: Vec<ServiceSpec>, tempers: Vec<Temper>, seed: u64) -> World {
        assert_eq!(family.len(), tempers.len());
        let specs = (0..).map(ServiceId).zip(family).collect();
        let mut world = World {
            engine,
            now: Time::ZERO,
            tempers,
            specs,
            random: Random::new(seed ^ 0x5eed),
            trace: Vec::new(),
            quit: None,
            latency: 3,
            reports: Vec::new(),
            checkers: Checkers::default(),
            pending: Vec::new(),
            serial: 0,
            asked: BTreeSet::new(),
            alive: BTreeMap::new(),
            clearing: BTreeMap::new(),
            stubborn: BTreeSet::new(),
            frozen: BTreeMap::new(),
            states: BTreeMap::new(),
            automatic: BTreeMap::new(),
            announced: BTreeSet::new(),
            armed: BTreeSet::new(),
            doomed: None,
            gone: BTreeSet::new(),
            decided: BTreeSet::new(),
            unseen: BTreeMap::new(),
            pids: 1,
            shutting_down: false,
            hurried: false,
        };
        world.obey();
        world
    }

    /// The last lines of the story.
    pub(crate) fn last(&self, lines: usize) -> String {
        let from = self.trace.len().saturating_sub(lines);
        self.trace[from..].iter().map(|line| format!("{line}\n")).collect()
    }

    /// Hands an event to the engine and does what it answers.
    pub(crate) fn tell(&mut self, event: Event) {
        if self.doomed == Some(0) {
            // It is dead, and hears nothing.
            return;
        }
        self.trace.push(Line::Told(self.now, event.clone()));
        self.checkers.told(&self.engine, self.now, &event);
        let tick = event == Event::Tick;
        self.engine.handle(self.now, event);
        self.obey();
        if self.doomed == Some(0) {
            return;
        }
        self.checkers.settled(&self.engine);
        if tick && self.quit.is_none() {
            assert!(self.engine.deadline().is_none_or(|at| at > self.now), "the deadline lies in the past");
        }
    }

    /// Asks for something.
    pub(crate) fn ask(&mut self, command: Command) {
        if self.doomed == Some(0) {
            return;
        }
        if let Command::Shutdown(haste) = command {
            let hurried = self.hurried || haste != Haste::Orderly;
            (self.shutting_down, self.hurried) = (true, hurried);
        }
        if let Command::Apply(family) = &command
            && !self.checkers.shuts_down()
        {
            self.adopt(family);
        }
        self.tell(Event::Command(command));
    }

    /// The numbers that the engine will give to the services of a new configuration.
    fn adopt(&mut self, family: &[ServiceSpec]) {
        let mut next = self.tempers.len() as u32;
        for spec in family {
            match self.engine.find(&spec.name).first() {
                Some(id) => {
                    self.specs.insert(*id, spec.clone());
                }
                None => {
                    self.specs.insert(ServiceId(next), spec.clone());
                    self.tempers.push(Temper::GOOD);
                    next += 1;
                }
            }
        }
    }

    /// Lets the next thing happen: something pending, or a deadline. `false` when nothing will ever happen.
    pub(crate) fn step(&mut self) -> bool {
        if self.doomed == Some(0) {
            return false;
        }
        let first = self.pending.iter().enumerate().min_by_key(|(_, (at, serial, _))| (*at, *serial));
        let first = first.map(|(place, (at, ..))| (place, *at));
        let deadline = self.engine.deadline();
        match (first, deadline) {
            (None, None) => return false,
            (Some((place, at)), deadline) if deadline.is_none_or(|deadline| at <= deadline) => {
                let (_, _, event) = self.pending.swap_remove(place);
                self.now = self.now.max(at);
                self.happen(event);
            }
            (_, Some(deadline)) => {
                self.now = self.now.max(deadline);
                self.tell(Event::Tick);
            }
            (Some(_), None) => unreachable!("no deadline is no hindrance"),
        }
        true
    }

    /// Lets things happen until nothing does, the family has quit, or `time` has passed.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now.after(time);
        for _ in 0..200_000 {
            let next = self.pending.iter().map(|(at, ..)| *at).chain(self.engine.deadline()).min();
            if self.quit.is_some() || next.is_none_or(|at| at > end) || !self.step() {
                self.now = self.now.max(end.min(next.unwrap_or(end)));
                return;
            }
        }
        panic!("busy without end:\n{}", self.last(60));
    }

    /// The state of a service, as it was reported.
    pub(crate) fn state(&self, id: ServiceId) -> State {
        self.engine.status(id).map_or(State::Stopped, |view| view.state)
    }

    /// A main process is stopped by somebody, as by SIGSTOP: it does nothing until SIGCONT or SIGKILL.
    pub(crate) fn freeze(&mut self, id: ServiceId) {
        let Some(generation) = self.engine.status(id).map(|view| view.generation) else { return };
        let key = ChildKey { service: id, generation, role: Role::Main };
        if self.alive.contains_key(&key) {
            self.frozen.entry(key).or_default();
        }
        self.tell(Event::Paused { key });
    }

    /// It goes on, if it was stopped.
    pub(crate) fn thaw(&mut self, key: ChildKey) {
        if let Some(late) = self.frozen.remove(&key) {
            self.later(1, Event::Resumed { key });
            late.into_iter().for_each(|event| self.later(3, event));
        }
    }

    /// Time passes without anybody's looking: the supervisor was stopped, or the machine was.
    pub(crate) fn jump(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    /// Tells once more what was told before, so many events ago: the world is late, or stutters. What is told about
    /// those who are there must be true, so only what is over is told again.
    pub(crate) fn echo(&mut self, back: usize) {
        let told = self.trace.iter().rev().filter_map(|line| match line {
            Line::Told(_, Event::Command(_) | Event::Tick) | Line::Asked(..) => None,
            Line::Told(_, event) => Some(event),
        });
        let Some(event) = told.skip(back).map(Event::clone).next() else { return };
        let harmless = match &event {
            Event::Born { key, .. } | Event::Stillborn { key, .. } | Event::Exited { key, .. } => {
                !self.alive.contains_key(key) && !self.asked.contains(key)
            }
            Event::Emptied { service, generation, .. } => {
                !self.clearing.contains_key(&(*service, *generation))
            }
            Event::Paused { .. } | Event::Resumed { .. } | Event::Noticed { .. } | Event::Due { .. } => true,
            Event::Tick
            | Event::Measured { .. }
            | Event::CheckedUp { .. }
            | Event::Knocked { .. }
            | Event::Command(_) => false,
        };
        if harmless {
            self.tell(event);
        }
    }

    /// Something comes to pass, unless it became impossible meanwhile.
    fn happen(&mut self, event: Event) {
        if let Event::Exited { key, status } = &event
            && *status != ExitStatus::signal(Signal::KILL)
            && let Some(late) = self.frozen.get_mut(key)
        {
            late.push(event);
            return;
        }
        match &event {
            Event::Born { key, pid } => {
                assert!(self.asked.remove(key));
                let twin = self.alive.insert(*key, *pid);
                assert!(twin.is_none(), "at most one process of a role: {key:?}");
                self.live_on(*key);
            }
            Event::Stillborn { key, .. } => assert!(self.asked.remove(key)),
            Event::Exited { key, .. } => {
                if self.alive.remove(key).is_none() {
                    return;
                }
                self.frozen.remove(key);
                if key.role == Role::Main && self.chance(self.temper(key.service).leftovers) {
                    self.stubborn.insert((key.service, key.generation));
                }
            }
            Event::Emptied { service, generation, .. } => {
                if self.clearing.remove(&(*service, *generation)).is_none() {
                    return;
                }
                let left =
                    self.alive.keys().any(|key| (key.service, key.generation) == (*service, *generation));
                assert!(!left, "nothing is emptied while a child of it lives");
            }
            Event::Due { service } => assert!(self.armed.remove(service)),
            Event::Noticed { .. } | Event::Paused { .. } | Event::Resumed { .. } => {}
            Event::Tick
            | Event::Measured { .. }
            | Event::CheckedUp { .. }
            | Event::Knocked { .. }
            | Event::Command(_) => {}
        }
        self.tell(event);
    }

    /// What a newborn child will do.
    pub(crate) fn live_on(&mut self, key: ChildKey) {
        let temper = self.temper(key.service);
        let task = !matches!(self.specs[&key.service].kind, Kind::Daemon);
        let ends = key.role != Role::Main || task || self.chance(temper.mortal);
        if key.role == Role::Main && self.chance(temper.speaks) {
            let notice = Notice::Ready;
            self.later(5, Event::Noticed { service: key.service, generation: key.generation, notice });
        }
        if ends && !self.chance(temper.deaf / 4) {
            let bad = self.chance(temper.bad);
            // Somebody else buried it: nobody knows how it ended.
            let stolen = self.chance(temper.stolen);
            let status = if stolen { ExitStatus::UNKNOWN } else { ExitStatus::code(u8::from(bad) * 3) };
            self.later(temper.lifespan, Event::Exited { key, status });
        }
    }

    pub(crate) fn obey(&mut self) {
        while self.doomed != Some(0)
            && let Some(action) = self.engine.poll_action()
        {
            self.doomed = self.doomed.map(|left| left - 1);
            self.trace.push(Line::Asked(self.now, action.clone()));
            self.checkers.asked(&self.engine, &action);
            assert!(self.quit.is_none(), "nothing is asked after the end");
            self.carry_out(action);
        }
    }

    pub(crate) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn { key } => self.give_birth(key),
            Action::Signal { service, generation, signal, .. } => {
                let key = ChildKey { service, generation, role: Role::Main };
                if self.gone.contains(&key) {
                    return;
                }
                assert!(self.alive.contains_key(&key), "a signal for nobody: {key:?}");
                self.check_order(service, signal);
                self.hear(key, signal);
            }
            Action::Kill { key } => {
                assert!(key.role != Role::Main);
                if self.alive.contains_key(&key) {
                    self.later(2, Event::Exited { key, status: ExitStatus::signal(Signal::KILL) });
                }
            }
            Action::Clear { service, generation, signal } => self.clear(service, generation, signal),
            Action::ArmSchedule { service } => {
                assert!(self.specs.contains_key(&service));
                if self.armed.insert(service) {
                    self.later(400, Event::Due { service });
                }
            }
            Action::Seat { .. }
            | Action::Revert { .. }
            | Action::Measure { .. }
            | Action::CheckUp { .. }
            | Action::AwaitConnection { .. } => unreachable!("this family has no pools"),
            Action::Forget { service } => {
                assert!(self.alive.keys().all(|key| key.service != service), "forgotten with children");
                assert!(self.engine.status(service).is_none());
            }
            Action::Report(report) => self.hear_report(report),
            Action::Quit { code } => {
                assert!(self.alive.is_empty() && self.asked.is_empty(), "somebody is left behind");
                assert!(self.clearing.is_empty(), "an emptiness that nobody waited for");
                assert_eq!(self.engine.deadline(), None);
                self.quit = Some(code);
            }
        }
    }

    fn give_birth(&mut self, key: ChildKey) {
        assert!(self.specs.contains_key(&key.service), "unknown service");
        assert!(!self.alive.contains_key(&key) && self.asked.insert(key), "two births for {key:?}");
        let others = self.alive.keys().any(|it| it.service == key.service && it.generation != key.generation);
        assert!(!others, "two generations at the same time");
        // A start begins with its first step. What crashes after that does not stop it, as it would not later.
        let spec_begins_with_main = self.engine.spec(key.service).expect("known").pre_start.is_none();
        let begins = key.role == Role::PreStart || spec_begins_with_main && key.role == Role::Main;
        if begins && !self.decided.contains(&key) {
            self.check_requirements(key.service);
        }
        let first_step = key.role == Role::PreStart || spec_begins_with_main && key.role == Role::Main;
        if first_step && self.announced.remove(&key.service) {
            self.automatic.entry(key.service).or_default().push(self.now);
        }
        if self.chance(self.temper(key.service).stillborn) {
            let error = SpawnError { step: Step::Exec, errno: Errno::ENOENT };
            self.later(1, Event::Stillborn { key, error });
        } else {
            self.pids += 1;
            let pid = Pid::new(self.pids).expect("positive");
            self.later(1, Event::Born { key, pid });
        }
    }

    /// Whom a service requires must be ready when it starts.
    fn check_requirements(&self, id: ServiceId) {
        for dep in self.specs[&id].deps.iter().filter(|dep| dep.kind == DependencyKind::Requires) {
            let Some(other) = self.engine.find(&dep.on).first().and_then(|id| self.engine.status(*id)) else {
                continue;
            };
            let kind = self.engine.spec(other.id).expect("known").kind;
            let ready = match kind {
                Kind::Daemon => other.state == State::Up,
                Kind::Oneshot => other.last_exit.is_some(),
                Kind::Scheduled { .. } => other.wanted,
            };
            assert!(ready, "{} starts before {} is ready", self.specs[&id].name, dep.on);
        }
    }

    /// In an orderly shutdown nobody is asked to end while somebody who needs it lives.
    fn check_order(&self, id: ServiceId, signal: Signal) {
        let view = self.engine.status(id).expect("known");
        if !self.shutting_down || self.hurried || signal == Signal::KILL || view.cause != Cause::Shutdown {
            return;
        }
        for key in self.alive.keys().filter(|key| key.role == Role::Main) {
            let needs = self.specs[&key.service].deps.iter().any(|dep| dep.on == view.name);
            assert!(!needs || key.service == id, "{} ends before those who need it", view.name);
        }
    }

    /// A process hears a signal, or does not.
    fn hear(&mut self, key: ChildKey, signal: Signal) {
        let status = ExitStatus::signal(signal);
        if signal == Signal::KILL {
            self.later(2, Event::Exited { key, status });
        } else if signal == Signal::CONT {
            self.thaw(key);
        } else if !self.chance(self.temper(key.service).deaf) {
            self.later(20, Event::Exited { key, status });
        }
    }

    fn clear(&mut self, service: ServiceId, generation: Generation, signal: Option<Signal>) {
        let left = self.alive.keys().any(|key| (key.service, key.generation) == (service, generation));
        assert!(!left, "our own children end before the rest is cleared");
        let kill = signal == Some(Signal::KILL);
        self.clearing.insert((service, generation), kill);
        let stubborn = self.stubborn.contains(&(service, generation));
        if kill || !stubborn {
            self.stubborn.remove(&(service, generation));
            self.later(3, Event::Emptied { service, generation, leftovers: u32::from(stubborn) });
        }
    }

    fn hear_report(&mut self, report: Report) {
        if let (Some(id), News::Turned { from, to, .. }) = (report.service, &report.news) {
            let before = self.states.insert(id, *to).unwrap_or(State::Stopped);
            assert_eq!(before, *from, "a report left a state out");
            assert_ne!(from, to);
        }
        match (report.service, &report.news) {
            (Some(id), News::RestartIn { .. }) => drop(self.announced.insert(id)),
            // Another way on than the announced one, or a start that the limit does not count.
            (Some(id), News::Turned { to: State::Stopped | State::Scheduled | State::Failed, .. })
            | (Some(id), News::Turned { because: Cause::SpawnFailed { .. }, .. }) => {
                self.announced.remove(&id);
            }
            _ => {}
        }
        self.reports.push(report);
    }

    /// A start by hand is not automatic.
    pub(crate) fn by_hand(&mut self) {
        self.announced.clear();
        self.automatic.clear();
    }

    fn temper(&self, id: ServiceId) -> Temper {
        self.tempers[id.0 as usize].clone()
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    /// It happens within so many milliseconds.
    pub(crate) fn later(&mut self, millis: u64, event: Event) {
        let micros = if self.latency == 0 { 0 } else { self.random.below(millis * 1_000) };
        self.serial += 1;
        self.pending.push((self.now.after(Duration::from_micros(micros)), self.serial, event));
    }
}
