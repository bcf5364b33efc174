//! What a seed stands for: a family, what its processes do, what people ask for, and what goes wrong.
//!
//! A scenario is data: parts of it can be left out ([`Cut`]), which is how a failing one is made small.

use super::faults::{Fault, Sites};
use super::habit::{Habit, helper, known};
use super::sockets::Clients;
use crate::program::Script;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;
use doula_core::random::Random;
use doula_model::event::{Command, Haste};
use doula_model::id::ServiceId;
use doula_model::service::{
    Dependency, DependencyKind, Kind, Overlap, ProbePolicy, ReadyBy, Reload, RestartWhen, Scope, ServiceSpec,
};
use doula_model::signal::Signal;

/// People come and go in this time.
const BUSY: Duration = Duration::from_secs(60);
const MOST_SERVICES: u64 = 5;
const MOST_DEEDS: u64 = 8;

/// A service: what was promised of it, and what it does.
#[derive(Clone, Debug)]
pub struct Member {
    /// What was promised.
    pub spec: ServiceSpec,
    /// The way of its main process.
    pub habit: Habit,
    pub(crate) main: Arc<Script>,
    /// For probes and the commands before, after and beside.
    pub(crate) helper: Arc<Script>,
    /// `pids.max` of its control group.
    pub(crate) most: u32,
}

/// What people do.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// They ask for something.
    Command(Command),
    /// They signal the supervisor.
    Signal(Signal),
    /// They have it go on as another program.
    Upgrade,
}

/// The machine and where the supervisor stands on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// PID 1 of a namespace of its own; else a child of init, and a subreaper.
    pub pid_one: bool,
    /// Linux 5.10 instead of 6.18: the end of a child that somebody else buried is not known.
    pub old: bool,
    /// Whoever started the supervisor had SIGHUP ignored (nohup(1)).
    pub nohup: bool,
    /// The family goes on when no service is left that could do anything.
    pub keep_alive: bool,
    /// The order in which those who can run do so.
    pub newest_first: bool,
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it was made from.
    pub seed: u64,
    /// The family, in the order of the numbers.
    pub members: Vec<Member>,
    /// What people do, and when.
    pub deeds: Vec<(Duration, Deed)>,
    /// What goes wrong.
    pub sites: Sites,
    /// Where.
    pub machine: Machine,
    /// Who connects, if it is a pool.
    pub clients: Option<Clients>,
}

impl Scenario {
    /// The scenario of this seed.
    #[must_use]
    pub fn of(seed: u64) -> Scenario {
        let mut random = Random::new(seed);
        let random = &mut random;
        let count = random.below(MOST_SERVICES) + 1;
        let members = (0..count).map(|place| member(random, place)).collect();
        let mut deeds: Vec<_> = (0..random.below(MOST_DEEDS)).map(|_| deed(random, count)).collect();
        deeds.sort_by_key(|(at, _)| *at);
        let machine = Machine {
            pid_one: random.below(4) == 0,
            old: random.below(4) == 0,
            nohup: random.below(4) == 0,
            keep_alive: random.below(2) == 0,
            newest_first: random.below(2) == 0,
        };
        Scenario { seed, members, deeds, sites: Sites::chosen(random, seed), machine, clients: None }
    }

    /// One service that leaves `times * times` orphans and kills them in one moment. The supervisor is PID 1, and nothing goes wrong.
    #[must_use]
    pub fn of_orphans(times: u32) -> Scenario {
        let text = alloc::format!(
            "fork as middle {{ repeat {times} {{ fork {{ setsid
                repeat {times} {{ fork {{ loop {{ pause }} }} }} }} }} }}
            wait4 pid $middle
            sleep 30s
            kill -1 KILL
            loop {{ pause }}"
        );
        let plain = Scenario::of(0).undisturbed();
        let spec = ServiceSpec::new("s0");
        let (main, helper) = (Arc::new(known(&text)), helper(&mut Random::new(0)));
        let member = Member { spec, habit: Habit::Orphans, main, helper, most: u32::MAX };
        let machine = Machine { pid_one: true, old: false, keep_alive: true, ..plain.machine };
        Scenario { members: Vec::from([member]), machine, ..plain }
    }

    /// Whether its family is the workers of a pool.
    #[must_use]
    pub fn is_pool(&self) -> bool {
        self.members.iter().any(|member| member.spec.pool.is_some())
    }

    /// A quiet world with the same family: nothing goes wrong and nobody asks for anything.
    #[must_use]
    pub fn undisturbed(mut self) -> Scenario {
        self.sites = Sites::NONE;
        self.deeds.clear();
        self
    }

    /// The scenario with parts left out.
    #[must_use]
    pub fn without(&self, cut: &Cut) -> Scenario {
        let mut left = self.clone();
        left.sites = cut.faults.iter().fold(left.sites, |sites, fault| sites.without(*fault));
        left.deeds = keep(&self.deeds, &cut.deeds);
        left.clients = left.clients.filter(|_| !cut.clients);
        let kept = |id: &ServiceId| !cut.services.contains(&(id.0 as usize));
        let gone: Vec<String> = cut
            .services
            .iter()
            .filter_map(|at| self.members.get(*at))
            .map(|it| it.spec.name.clone())
            .collect();
        left.members = keep(&self.members, &cut.services);
        for member in &mut left.members {
            member.spec.deps.retain(|dep| !gone.contains(&dep.on));
        }
        let renumber =
            |id: ServiceId| ServiceId((0..id.0).filter(|before| kept(&ServiceId(*before))).count() as u32);
        left.deeds.retain_mut(|(_, deed)| match deed {
            Deed::Command(
                Command::Start(ids) | Command::Stop(ids) | Command::Restart(ids) | Command::Reload(ids),
            ) => {
                ids.retain(|id| kept(id));
                ids.iter_mut().for_each(|id| *id = renumber(*id));
                !ids.is_empty()
            }
            Deed::Command(Command::Apply(family)) => {
                family.retain(|spec| !gone.contains(&spec.name));
                true
            }
            Deed::Command(Command::Shutdown(_)) | Deed::Signal(_) | Deed::Upgrade => true,
        });
        left
    }
}

fn keep<T: Clone>(all: &[T], without: &[usize]) -> Vec<T> {
    all.iter().enumerate().filter(|(at, _)| !without.contains(at)).map(|(_, one)| one.clone()).collect()
}

pub(super) fn millis(random: &mut Random, most: u64) -> Duration {
    Duration::from_millis(random.below(most) + 1)
}

pub(super) fn one_of<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}

fn member(random: &mut Random, place: u64) -> Member {
    let habits: Vec<Habit> = Habit::ALL.iter().copied().filter(|habit| !habit.serves()).collect();
    let mut habit = one_of(random, &habits);
    let mut spec = ServiceSpec::new(alloc::format!("s{place}"));
    spec.kind = match random.below(6) {
        0 => Kind::Oneshot,
        1 => Kind::Scheduled { overlap: Overlap::Queue },
        _ => Kind::Daemon,
    };
    if spec.kind != Kind::Daemon && habit.is_steady() {
        habit = Habit::Task;
    }
    spec.essential = random.below(12) == 0;
    spec.autostart = random.below(8) != 0;
    spec.restart.when = one_of(random, &[RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never]);
    spec.restart.delay = millis(random, 1_000);
    spec.stop.grace = millis(random, 2_000);
    spec.stop.leftover_grace = millis(random, 500);
    spec.stop.scope = one_of(random, &[Scope::Main, Scope::Main, Scope::Group, Scope::Tree]);
    spec.ready.by = match random.below(4) {
        0 => ReadyBy::Notice,
        1 => ReadyBy::Probe(probe(random)),
        _ => ReadyBy::Exec,
    };
    spec.ready.timeout = (random.below(2) == 0).then(|| millis(random, 5_000));
    spec.liveness = (random.below(6) == 0).then(|| probe(random));
    spec.pre_start = (random.below(5) == 0).then(|| millis(random, 1_000));
    spec.post_stop = (random.below(5) == 0).then(|| millis(random, 1_000));
    spec.reload = match random.below(3) {
        0 => Reload::Command(millis(random, 500)),
        1 => Reload::Signal(Signal::HUP),
        _ => Reload::Restart,
    };
    if place > 0 && random.below(3) == 0 {
        let kind = one_of(random, &[DependencyKind::Requires, DependencyKind::Wants, DependencyKind::After]);
        spec.deps = Vec::from([Dependency { on: alloc::format!("s{}", random.below(place)), kind }]);
    }
    let (main, helper) = (habit.script(random), helper(random));
    Member { spec, habit, main, helper, most: 8 + random.below(16) as u32 }
}

fn probe(random: &mut Random) -> ProbePolicy {
    ProbePolicy {
        initial_delay: millis(random, 500),
        interval: millis(random, 3_000),
        timeout: millis(random, 1_000),
        failures: random.below(3) as u32 + 1,
    }
}

fn deed(random: &mut Random, services: u64) -> (Duration, Deed) {
    let at = millis(random, BUSY.as_millis() as u64);
    let who = Vec::from([ServiceId(random.below(services) as u32)]);
    let deed = match random.below(24) {
        0..5 => Deed::Command(Command::Start(who)),
        5..10 => Deed::Command(Command::Stop(who)),
        10..15 => Deed::Command(Command::Restart(who)),
        15..20 => Deed::Command(Command::Reload(who)),
        20 => {
            Deed::Command(Command::Shutdown(one_of(random, &[Haste::Orderly, Haste::Hurried, Haste::Kill])))
        }
        21 => Deed::Signal(one_of(random, &[Signal::TERM, Signal::HUP])),
        22 => Deed::Upgrade,
        _ => Deed::Signal(Signal::CHLD),
    };
    (at, deed)
}

/// The word for those who connect to a pool.
const CLIENTS: &str = "clients";

/// What is left out of a scenario, as `--without` takes it: `s1,d0,fork-again`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Services, by their place.
    pub services: Vec<usize>,
    /// Deeds, by their place.
    pub deeds: Vec<usize>,
    /// Sites.
    pub faults: Vec<Fault>,
    /// Whoever connects to a pool.
    pub clients: bool,
}

impl Cut {
    /// Whether nothing is left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Cut::default()
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.services.iter().map(|at| alloc::format!("s{at}"));
        let deeds = self.deeds.iter().map(|at| alloc::format!("d{at}"));
        let faults = self.faults.iter().map(|fault| fault.site().name.to_string());
        let clients = self.clients.then(|| CLIENTS.to_string());
        f.write_str(&services.chain(deeds).chain(clients).chain(faults).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Cut, String> {
        let mut cut = Cut::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let place = |letter| word.strip_prefix(letter).and_then(|at| at.parse::<usize>().ok());
            if let Some(at) = place('s') {
                cut.services.push(at);
            } else if let Some(at) = place('d') {
                cut.deeds.push(at);
            } else if word == CLIENTS {
                cut.clients = true;
            } else if let Some(fault) = Fault::ALL.iter().find(|fault| fault.site().name == word) {
                cut.faults.push(*fault);
            } else {
                return Err(alloc::format!(
                    "`{word}` is no service (s0), no deed (d0), not `clients` and no fault of this world"
                ));
            }
        }
        Ok(cut)
    }
}
