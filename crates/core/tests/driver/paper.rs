//! A world on paper for the driver: processes that die, ignore SIGTERM, leave orphans, fork while they are killed, and
//! a kernel that coalesces SIGCHLD, refuses watches, wakes late and gives a number again as soon as it is free.
//!
//! Time is virtual: `poll` jumps to the next thing that happens. Chance comes from a seed. What must hold whatever
//! happens is in [`Ledger`].

use crate::ledger::Ledger;
use doula_core::engine::Engine;
use doula_core::kernel::{Change, Kernel, Tree, Wake};
use doula_model::action::{News, Report};
use doula_model::event::Event;
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::plan::{Errno, SpawnError, Step};
use doula_model::signal::Signal;
use doula_model::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What the main process of a service does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habit {
    /// It ends by itself after this time.
    pub(crate) lives: Option<Duration>,
    /// With this status.
    pub(crate) status: ExitStatus,
    /// How long it takes to obey SIGTERM; `None`: it ignores it.
    pub(crate) obeys_after: Option<Duration>,
    /// So many orphans that ignore SIGTERM are born with it.
    pub(crate) orphans: u32,
    /// No child can be made.
    pub(crate) stillborn: Option<SpawnError>,
}

impl Habit {
    /// Runs until SIGTERM, and then ends at once.
    pub(crate) const POLITE: Habit = Habit {
        lives: None,
        status: ExitStatus::code(0),
        obeys_after: Some(Duration::ZERO),
        orphans: 0,
        stillborn: None,
    };
}

/// What the kernel of this world does to a driver, how often, in percent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mischief {
    /// A handle cannot be watched: only SIGCHLD tells.
    pub(crate) no_watch: u64,
    /// Somebody else buries a child of ours before we do.
    pub(crate) stolen_waits: u64,
    /// Before a birth somebody else buries whoever of ours is dead, so that its number is given again at once.
    pub(crate) thieves: u64,
    /// A poll also returns wakes for which nothing happened.
    pub(crate) spurious: u64,
    /// A birth fails.
    pub(crate) stillborn: u64,
    /// A wake comes with a later poll.
    pub(crate) late: u64,
    /// Whoever is killed has forked just before.
    pub(crate) forks: u64,
    /// The machine sleeps for hours when nothing happens.
    pub(crate) sleeps: u64,
    /// Decides when.
    pub(crate) seed: u64,
}

/// A process, whoever gets its number later (on Linux: a pidfd).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    pid: Pid,
    serial: u64,
}

struct Proc {
    serial: u64,
    tree: (ServiceId, Generation),
    role: Option<Role>,
    dies: Option<(Time, ExitStatus)>,
    zombie: Option<ExitStatus>,
    obeys_after: Option<Duration>,
}

/// See the head of this file.
pub(crate) struct Paper {
    pub(crate) habits: BTreeMap<ServiceId, Habit>,
    pub(crate) mischief: Mischief,
    /// How long each birth takes.
    pub(crate) labour: Duration,
    pub(crate) births: Vec<(Time, ServiceId)>,
    /// What was told, with the time at which it happened.
    pub(crate) news: Vec<(Time, Option<ServiceId>, News)>,
    /// Events that people (or schedules) bring, by time.
    pub(crate) agenda: VecDeque<(Time, Event)>,
    pub(crate) released: Vec<(ServiceId, Generation)>,
    now: Time,
    ledger: Ledger,
    procs: BTreeMap<Pid, Proc>,
    /// Handles stay ready after a burial, whoever made it, until they are closed.
    watched: BTreeSet<(Pid, u64)>,
    /// So many more processes may fork while they are killed.
    forks_left: u32,
    dice: u64,
    child_signal: bool,
    looked: BTreeSet<(ServiceId, Generation)>,
}

impl Paper {
    pub(crate) fn new(mischief: Mischief) -> Paper {
        Paper {
            habits: BTreeMap::new(),
            mischief,
            labour: Duration::ZERO,
            births: Vec::new(),
            news: Vec::new(),
            agenda: VecDeque::new(),
            released: Vec::new(),
            now: Time::from_nanos(1_000_000_000),
            ledger: Ledger::default(),
            forks_left: 100,
            dice: mischief.seed,
            procs: BTreeMap::new(),
            watched: BTreeSet::new(),
            child_signal: false,
            looked: BTreeSet::new(),
        }
    }

    /// Fails unless every process that there ever was is buried.
    pub(crate) fn expect_all_buried(&self) {
        assert_eq!(self.procs.len(), 0, "nothing is left behind");
        self.ledger.all_are_buried();
    }

    /// Brings an event after this time.
    pub(crate) fn later(&mut self, wait: Duration, event: Event) {
        let at = self.now.after(wait);
        let place = self.agenda.partition_point(|(other, _)| *other <= at);
        self.agenda.insert(place, (at, event));
    }

    /// A number from chance (splitmix64).
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Whether it happens this time.
    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.roll() % 100 < percent
    }

    /// The lowest free number: given again as soon as it is free.
    fn free_pid(&self) -> Pid {
        let raw = (2..).find(|raw| Pid::new(*raw).is_some_and(|pid| !self.procs.contains_key(&pid)));
        raw.and_then(Pid::new).expect("a free number")
    }

    fn add(&mut self, tree: (ServiceId, Generation), role: Option<Role>, habit: &Habit) -> Pid {
        let dies = habit.lives.map(|lives| (self.now.after(lives), habit.status));
        let (pid, serial) = (self.free_pid(), self.ledger.born());
        let obeys_after = habit.obeys_after;
        self.procs.insert(pid, Proc { serial, tree, role, dies, zombie: None, obeys_after });
        pid
    }

    /// The number of this process, if it was not buried yet.
    fn number(&self, handle: &Handle) -> Option<Pid> {
        self.procs.get(&handle.pid).filter(|proc| proc.serial == handle.serial).map(|_| handle.pid)
    }

    /// Takes it out of the world.
    fn remove(&mut self, pid: Pid) -> Option<Proc> {
        let proc = self.procs.remove(&pid)?;
        self.ledger.each_birth_is_buried_once(proc.serial);
        Some(proc)
    }

    fn kill(&mut self, pid: Pid, signal: Signal) {
        let now = self.now;
        let Some(proc) = self.procs.get_mut(&pid).filter(|proc| proc.zombie.is_none()) else { return };
        let end = match (signal, proc.obeys_after) {
            (Signal::KILL, _) => Some((now, ExitStatus::signal(Signal::KILL))),
            (Signal::CONT, _) | (_, None) => None,
            (_, Some(wait)) => Some((now.after(wait), ExitStatus::signal(signal))),
        };
        if let Some(end) = end {
            proc.dies = Some(proc.dies.map_or(end, |dies| if dies.0 <= end.0 { dies } else { end }));
        }
        self.die();
    }

    /// Whoever's time has come becomes a zombie; one SIGCHLD tells of all.
    fn die(&mut self) {
        for proc in self.procs.values_mut().filter(|proc| proc.zombie.is_none()) {
            if let Some((_, status)) = proc.dies.filter(|(at, _)| *at <= self.now) {
                proc.zombie = Some(status);
                self.child_signal = true;
            }
        }
    }

    fn members(&self, tree: (ServiceId, Generation)) -> Vec<Pid> {
        let live = |proc: &Proc| proc.tree == tree && proc.zombie.is_none();
        self.procs.iter().filter(|(_, proc)| live(proc)).map(|(pid, _)| *pid).collect()
    }

    /// The next moment at which something happens by itself.
    fn next(&self) -> Option<Time> {
        let deaths = self.procs.values().filter(|proc| proc.zombie.is_none()).filter_map(|proc| proc.dies);
        deaths.map(|(at, _)| at).chain(self.agenda.front().map(|(at, _)| *at)).min()
    }

    fn collect(&mut self, wakes: &mut Vec<Wake>) {
        let lives = |(pid, serial): &(Pid, u64)| {
            self.procs.get(pid).is_some_and(|proc| proc.serial == *serial && proc.zombie.is_none())
        };
        wakes.extend(self.watched.iter().filter(|who| !lives(who)).map(|(pid, _)| Wake::Child(*pid)));
        if self.child_signal {
            wakes.push(Wake::Signals);
        }
        let empty: Vec<_> =
            self.looked.iter().copied().filter(|tree| self.members(*tree).is_empty()).collect();
        wakes.extend(empty.into_iter().map(|(service, generation)| Wake::Tree(service, generation)));
    }
}

impl Kernel for Paper {
    type Handle = Handle;

    fn now(&mut self) -> Time {
        self.now
    }

    fn spawn(&mut self, key: ChildKey) -> Result<(Pid, Handle), SpawnError> {
        let habit = self.habits.get(&key.service).copied().unwrap_or(Habit::POLITE);
        if let Some(error) = habit.stillborn {
            return Err(error);
        }
        if self.chance(self.mischief.stillborn) {
            let errno = if self.chance(50) { Errno::ENOENT } else { Errno::EAGAIN };
            return Err(SpawnError { step: Step::Exec, errno });
        }
        if self.chance(self.mischief.thieves) {
            let dead = |proc: &Proc| proc.zombie.is_some() && proc.role.is_some();
            let dead: Vec<Pid> =
                self.procs.iter().filter(|(_, proc)| dead(proc)).map(|(pid, _)| *pid).collect();
            for pid in dead {
                self.remove(pid);
            }
        }
        self.now = self.now.after(self.labour);
        self.births.push((self.now, key.service));
        let tree = (key.service, key.generation);
        let pid = self.add(tree, Some(key.role), &habit);
        for _ in 0..habit.orphans {
            self.add(tree, None, &Habit { lives: None, obeys_after: None, ..habit });
        }
        self.die();
        Ok((pid, Handle { pid, serial: self.procs[&pid].serial }))
    }

    fn watch(&mut self, pid: Pid, handle: &Handle) -> Result<(), Errno> {
        if self.chance(self.mischief.no_watch) {
            return Err(Errno::ENOSPC);
        }
        self.watched.insert((pid, handle.serial));
        Ok(())
    }

    fn part(&mut self, handle: Handle) {
        self.watched.remove(&(handle.pid, handle.serial));
    }

    fn wait(&mut self, handle: &Handle) -> Result<Option<ExitStatus>, Errno> {
        let Some(pid) = self.number(handle) else { return Err(Errno::ECHILD) };
        let Some(status) = self.procs[&pid].zombie else { return Ok(None) };
        self.remove(pid);
        if self.chance(self.mischief.stolen_waits) { Err(Errno::ECHILD) } else { Ok(Some(status)) }
    }

    fn obituary(&mut self, _: &Handle) -> ExitStatus {
        ExitStatus::UNKNOWN
    }

    fn next_change(&mut self) -> Option<(Pid, Change)> {
        let dead = self.procs.iter().find_map(|(pid, proc)| proc.zombie.map(|status| (*pid, status)));
        dead.map(|(pid, status)| (pid, Change::Exited(status)))
    }

    fn bury(&mut self, pid: Pid) -> Option<ExitStatus> {
        let proc = self.remove(pid)?;
        assert_eq!(proc.role, None, "a child of our own is buried by its handle");
        proc.zombie
    }

    fn signal(&mut self, handle: &Handle, signal: Signal) -> Result<(), Errno> {
        if let Some(pid) = self.number(handle) {
            self.kill(pid, signal);
        }
        Ok(())
    }

    fn signal_group(&mut self, pid: Pid, handle: &Handle, signal: Signal) -> Result<(), Errno> {
        assert_eq!(self.number(handle), Some(pid), "{signal} for a number that may be somebody else's");
        self.kill(pid, signal);
        Ok(())
    }

    fn next_signal(&mut self) -> Option<Signal> {
        std::mem::take(&mut self.child_signal).then_some(Signal::CHLD)
    }

    fn signalled(&mut self, _: Signal) {}

    fn poll(&mut self, deadline: Option<Time>, wakes: &mut Vec<Wake>) {
        self.collect(wakes);
        let all = wakes.len();
        wakes.retain(|_| !self.chance(self.mischief.late));
        if wakes.is_empty() {
            let until = self.next().into_iter().chain(deadline).min();
            assert!(until.is_some() || all > 0, "a driver that waits for nothing hangs");
            self.now = self.now.max(until.unwrap_or(self.now));
            if self.chance(self.mischief.sleeps) {
                self.now = self.now.after(Duration::from_secs(3_600) * (self.roll() % 50) as u32);
            }
            self.die();
            self.collect(wakes);
        }
        if self.chance(self.mischief.spurious) {
            wakes.push(Wake::Signals);
            wakes.push(Wake::Tree(ServiceId(0), Generation(1)));
            wakes.extend(self.procs.keys().map(|pid| Wake::Child(*pid)));
        }
    }

    fn look(&mut self, service: ServiceId, generation: Generation) -> Tree {
        let members = self.members((service, generation));
        if members.is_empty() {
            return Tree::Empty;
        }
        self.looked.insert((service, generation));
        Tree::Populated(members.len() as u32)
    }

    fn signal_tree(&mut self, service: ServiceId, generation: Generation, signal: Signal) {
        for pid in self.members((service, generation)) {
            if signal == Signal::KILL && self.forks_left > 0 && self.chance(self.mischief.forks) {
                self.forks_left -= 1;
                self.add((service, generation), None, &Habit { obeys_after: None, ..Habit::POLITE });
            }
            self.kill(pid, signal);
        }
    }

    fn release(&mut self, service: ServiceId, generation: Generation) {
        let tree = (service, generation);
        assert!(self.members(tree).is_empty(), "only an empty generation is released");
        self.looked.remove(&tree);
        self.released.push(tree);
    }

    fn arm_schedule(&mut self, service: ServiceId) {
        self.later(Duration::from_secs(60), Event::Due { service });
    }

    fn forget(&mut self, _: ServiceId) {}

    fn buried(&mut self, _: Pid, _: ExitStatus) {}

    fn report(&mut self, report: &Report) {
        self.ledger.every_end_follows_its_birth(report);
        if report.news == News::FamilyEmpty {
            self.ledger.nobody_lives_when_the_family_is_empty(
                self.procs.values().filter(|proc| proc.zombie.is_none()).count(),
            );
        }
        self.news.push((report.at, report.service, report.news.clone()));
    }

    fn attend(&mut self, _: &Engine) -> Option<Event> {
        let due = self.agenda.front().is_some_and(|(at, _)| *at <= self.now);
        due.then(|| self.agenda.pop_front()).flatten().map(|(_, event)| event)
    }
}

/// A birth that fails as it does when there is no such program.
pub(crate) const MISSING: SpawnError = SpawnError { step: Step::Exec, errno: Errno::ENOENT };
