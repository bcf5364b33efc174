//! What must hold whatever happens. Each check knows the truth from the kernel, not from the supervisor.
//!
//! | check | what it holds |
//! |---|---|
//! | `aim` | a signal by number meets nobody but processes of the family |
//! | `stranger` | nobody outside of the family dies of a signal |
//! | `birth` | no key has two children at a time |
//! | `twice` | no service has two main processes, also if one of them is of a supervisor that is dead |
//! | `end` | each birth has one end, with the status that the kernel gave it, and at last the family ends |
//! | `zombie` | whoever ended is buried within a few turns |
//! | `inherited` | a program starts with what its plan says: mask, ignored signals, descriptors, session, group |
//! | `budget` | automatic restarts keep their pause and their limit |
//! | `stop` | a stop ends within its grace, and what is left within that of leftovers |
//! | `leftover` | who is said to be at rest has no process |
//! | `release` | only an empty tree is released |
//! | `once` | who does not end by itself is started once, however often its supervisor dies or is another program |
//! | `up` | who is said to be up lives; who was stopped last does not; after a kill -9 all who can be are up again |
//! | `last` | the supervisor ends after all its children and all processes of the family |
//! | `tree` | every process has a living parent, up to init |
//! | `stuck`, `hang` | the supervisor never waits for what cannot happen |

use super::scenario::{Deed, Member, Scenario};
use crate::kernel::call::Call;
use crate::kernel::{CgroupId, Kernel, TaskId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::engine::Engine;
use doula_model::action::{News, Report, State};
use doula_model::event::Command;
use doula_model::exit::{Evidence, ExitStatus};
use doula_model::id::{ChildKey, Role, ServiceId};
use doula_model::service::{Kind, ReadyBy, ServiceSpec};
use doula_model::time::Time;

/// Deadlines are met within this time.
const SLACK: Duration = Duration::from_secs(1);
/// A zombie may be one for so many turns …
const TURNS: u32 = 4;
/// … if it is younger than this.
const BURIED_WITHIN: Duration = Duration::from_millis(10);
/// The same where only SIGCHLD tells, whose look others may put off several times in a row.
const TOLD_WITHIN: Duration = Duration::from_millis(300);
/// So often the whole tree is looked at: in every so many turns.
const TREE_EVERY: u32 = 16;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which check found it.
    pub check: &'static str,
    /// What it found.
    pub text: String,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    task: TaskId,
    birth: u64,
    /// The wait status that the kernel gave it, and whether somebody else took it.
    end: Option<(i32, bool)>,
    /// In which life of the supervisor its end was told.
    told: Option<u32>,
    /// It was born under a supervisor that is dead.
    inherited: bool,
    /// No handle of it was left, or nobody had a use for it. Who is found in its place may be a descendant, and nobody knows how it
    /// ended.
    lost: bool,
}

impl Child {
    const fn new((task, birth): (TaskId, u64)) -> Child {
        Child { task, birth, end: None, told: None, inherited: false, lost: false }
    }
}

/// What is remembered of a service.
#[derive(Clone, Debug)]
struct Past {
    spec: ServiceSpec,
    /// So many births need no pause before them.
    free: u32,
    ended: Option<Time>,
    /// Automatic births since somebody asked.
    births: Vec<Time>,
    /// The state in which time runs out, since when, and what was excused until then.
    timed: Option<(State, Time)>,
}

/// See the head of this file.
pub(crate) struct Checks {
    violation: Option<Violation>,
    children: BTreeMap<ChildKey, Child>,
    /// Those whose place in `children` another one has taken since this supervisor began, the last of each.
    before: BTreeMap<ChildKey, Child>,
    /// How many supervisors there have been.
    life: u32,
    /// The last supervisor could not write everything down.
    no_room: bool,
    /// The places of services in the scenario, if they are not their numbers.
    places: BTreeMap<ServiceId, usize>,
    pasts: Vec<Past>,
    watched: Vec<u64>,
    dead: Vec<(u64, u32, Time)>,
    /// Time in which the supervisor could not do its work.
    excused: Duration,
    /// The last wait told nothing on purpose.
    late: bool,
    turns: u32,
    /// For a reaper that forgets to loop.
    pub(crate) told_once: bool,
}

impl Checks {
    pub(crate) fn new(scenario: &Scenario) -> Checks {
        let past = |spec: &ServiceSpec| Past {
            spec: spec.clone(),
            free: 1,
            ended: None,
            births: Vec::new(),
            timed: None,
        };
        Checks {
            violation: None,
            children: BTreeMap::new(),
            before: BTreeMap::new(),
            life: 0,
            no_room: false,
            places: BTreeMap::new(),
            pasts: scenario.members.iter().map(|member| past(&member.spec)).collect(),
            watched: Vec::new(),
            dead: Vec::new(),
            excused: Duration::ZERO,
            late: false,
            turns: 0,
            told_once: false,
        }
    }

    /// The first violation counts.
    pub(crate) fn fail(&mut self, check: &'static str, text: String) {
        self.violation.get_or_insert(Violation { check, text });
    }

    pub(crate) const fn has_failed(&self) -> bool {
        self.violation.is_some()
    }

    pub(crate) fn into_violation(self) -> Option<Violation> {
        self.violation
    }

    /// Another supervisor begins. It goes on with the children of the one before, or knows nothing of them.
    pub(crate) fn begin_life(&mut self, takes_over: bool, (left, no_room): (&[u64], bool)) {
        (self.life, self.no_room) = (self.life + 1, no_room);
        self.watched.clear();
        self.dead.clear();
        if takes_over {
            self.find_those_before(left);
            for child in self.children.values_mut() {
                child.inherited = true;
                child.lost |= !left.contains(&child.birth);
            }
            for past in &mut self.pasts {
                // A birth that was asked for and did not happen is asked for once more.
                (past.free, past.timed) = (past.free.max(1), None);
                if no_room {
                    // What was to be written down may be missing.
                    past.free = 2;
                    past.births.clear();
                }
            }
            return;
        }
        self.children.clear();
        for past in &mut self.pasts {
            (past.free, past.ended, past.timed) = (1, None, None);
            past.births.clear();
        }
    }

    /// Whoever was killed while he bore a child had not let go of the one before it in the same role: his successor is told of that one.
    fn find_those_before(&mut self, left: &[u64]) {
        for (key, before) in core::mem::take(&mut self.before) {
            let is_lost = self.children.get(&key).is_some_and(|child| !left.contains(&child.birth));
            if is_lost && left.contains(&before.birth) {
                self.children.insert(key, before);
            }
        }
    }

    /// The services have these places in the scenario, if any is named; else their numbers.
    pub(crate) fn number_members(&mut self, places: BTreeMap<ServiceId, usize>) {
        self.places = places;
    }

    /// The place of a service in the scenario.
    pub(crate) fn place(&self, service: ServiceId) -> usize {
        self.places.get(&service).copied().unwrap_or(service.0 as usize)
    }

    /// The number of the service that has this place in the scenario.
    pub(crate) fn service(&self, place: usize) -> ServiceId {
        let found = self.places.iter().find(|(_, other)| **other == place);
        found.map_or(ServiceId(place as u32), |(service, _)| *service)
    }

    /// For so long the supervisor could not do its work.
    pub(crate) fn excuse(&mut self, time: Duration) {
        self.excused += time;
    }

    /// The last wait kept its news to itself.
    pub(crate) fn was_late(&mut self) {
        self.late = true;
    }

    /// The clock as far as the supervisor could see it go.
    fn fair(&self, now: Time) -> Time {
        let excused = u64::try_from(self.excused.as_nanos()).unwrap_or(u64::MAX);
        Time::from_nanos(now.as_nanos().saturating_sub(excused))
    }

    /// People ask for something: the next births may come at once.
    pub(crate) fn asked(&mut self) {
        for past in &mut self.pasts {
            past.free = 2;
            past.births.clear();
        }
    }

    /// A call that signals by number.
    pub(crate) fn aim(&mut self, kernel: &Kernel, supervisor: TaskId, family: CgroupId, call: &Call) {
        let Call::Kill(number, _) = *call else { return };
        for task in kernel.tasks() {
            let Some(look) = kernel.look_as(supervisor, task) else { continue };
            let meant = if number > 0 { look.pid == number } else { look.pgid == -number };
            if meant && !kernel.cgroup_is_within(kernel.cgroup_of(task), family) {
                self.fail("aim", alloc::format!("`{call}` meets process {}, a stranger", look.pid));
            }
        }
    }

    pub(crate) fn born(&mut self, kernel: &Kernel, key: ChildKey, child: (TaskId, u64), now: Time) {
        let before = self.children.insert(key, Child::new(child));
        // Of one of which no handle was left nobody is told the end; a probe even goes on until its service ends, and one that a new
        // supervisor has no use for is killed: nobody waits for it.
        let forgotten = |before: &Child| {
            let probe = matches!(key.role, Role::ReadyProbe | Role::LiveProbe);
            before.lost && (probe || !kernel.lives(before.task, before.birth))
        };
        if before.as_ref().is_some_and(|before| before.end.is_none() && !forgotten(before)) {
            self.fail("birth", alloc::format!("{key:?} is born again before its end"));
        }
        self.before.extend(before.map(|before| (key, before)));
        if key.role == Role::Main {
            self.keeps_budget(key.service, now);
        }
    }

    fn keeps_budget(&mut self, service: ServiceId, now: Time) {
        let place = self.place(service);
        let past = &mut self.pasts[place];
        let spec = &past.spec;
        // A worker is also started by its pool, which has pauses of its own.
        let alone = spec.deps.is_empty() && spec.kind == Kind::Daemon && spec.pool.is_none();
        if past.free > 0 || !alone {
            past.free = past.free.saturating_sub(1);
            return;
        }
        let least = spec.restart.delay.mul_f32(1.0 - spec.restart.jitter);
        let least = least.saturating_sub(Duration::from_millis(1));
        past.births.push(now);
        let early = past.ended.is_some_and(|ended| now.since(ended) < least);
        let many = spec.restart.limit.is_some_and(|limit| {
            let since = past.births.iter().filter(|at| now.since(**at) < limit.interval).count();
            since > limit.burst as usize + 1
        });
        if early || many {
            let what = if early { "before its pause is over" } else { "more often than its limit says" };
            self.fail("budget", alloc::format!("s{} is restarted {what}", service.0));
        }
    }

    /// A program is about to run its first instruction.
    pub(crate) fn executed(&mut self, kernel: &Kernel, child: TaskId, (leaf, socket): (CgroupId, bool)) {
        let Some(look) = kernel.look(child) else { return };
        let (blocked, ignored) = (kernel.blocked(child), kernel.ignored(child));
        let descriptors = kernel.descriptors(child);
        if !blocked.is_empty() || !ignored.is_empty() {
            let text = alloc::format!("process {} starts with signals blocked or ignored", look.pid);
            self.fail("inherited", text);
        }
        if descriptors != [0, 1, 2, 3][..if socket { 4 } else { 3 }] {
            self.fail(
                "inherited",
                alloc::format!("process {} starts with descriptors {descriptors:?}", look.pid),
            );
        }
        if look.pgid != look.pid || look.sid != look.pid || kernel.cgroup_of(child) != leaf {
            let text = alloc::format!("process {} leads no session or is in another group", look.pid);
            self.fail("inherited", text);
        }
    }

    /// A new supervisor has no use for this one, and kills it.
    pub(crate) fn is_of_no_use(&mut self, birth: u64) {
        for child in self.children.values_mut().filter(|child| child.birth == birth) {
            child.lost = true;
        }
    }

    /// A handle tells of the end of this one.
    pub(crate) fn watched(&mut self, birth: u64) {
        self.watched.push(birth);
    }

    /// The supervisor is about to bury somebody, or a thief is.
    pub(crate) fn will_bury(&mut self, kernel: &Kernel, task: Option<TaskId>, stolen: bool) {
        let Some((task, status)) = task.and_then(|task| Some((task, kernel.end_of(task)?))) else { return };
        let birth = kernel.birth(task);
        if let Some(child) = self.children.values_mut().find(|child| child.birth == birth) {
            child.end = Some((status, stolen));
        }
        self.watched.retain(|watched| *watched != birth);
    }

    pub(crate) fn buried_by_init(&mut self, kernel: &Kernel, task: TaskId, stranger: bool) {
        self.will_bury(kernel, Some(task), true);
        let status = kernel.end_of(task).unwrap_or_default();
        if stranger && status != 0 {
            self.fail("stranger", alloc::format!("a stranger ended with the wait status {status:#x}"));
        }
    }

    /// A wait goes on though SIGCHLD has come and is not looked at: nobody who is watched may have ended.
    pub(crate) fn waits(&mut self, kernel: &Kernel, supervisor: TaskId) {
        let missed = kernel
            .children_of(supervisor)
            .find(|task| kernel.end_of(*task).is_some() && self.watched.contains(&kernel.birth(*task)));
        if let Some(task) = missed {
            let number = kernel.look(task).map_or(0, |look| look.pid);
            self.fail(
                "zombie",
                alloc::format!("process {number} was watched, has ended, and the wait goes on"),
            );
        }
    }

    /// At the beginning of each wait: whoever has ended should be buried by now.
    pub(crate) fn turn(&mut self, kernel: &Kernel, supervisor: TaskId, now: Time) {
        self.turns += 1;
        let (fair, counts) = (self.fair(now), u32::from(!core::mem::take(&mut self.late)));
        let before = core::mem::take(&mut self.dead);
        for task in kernel.children_of(supervisor).filter(|task| kernel.end_of(*task).is_some()) {
            let birth = kernel.birth(task);
            let known = before.iter().find(|(dead, ..)| *dead == birth);
            let (turns, since) = known.map_or((0, fair), |(_, turns, since)| (turns + counts, *since));
            self.dead.push((birth, turns, since));
            let within = if self.watched.contains(&birth) { BURIED_WITHIN } else { TOLD_WITHIN };
            if turns > TURNS && fair.since(since) > within {
                let number = kernel.look(task).map_or(0, |look| look.pid);
                self.fail("zombie", alloc::format!("process {number} is not buried after {turns} turns"));
            }
        }
        if self.turns.is_multiple_of(TREE_EVERY) {
            self.is_a_tree(kernel);
        }
    }

    fn is_a_tree(&mut self, kernel: &Kernel) {
        for task in kernel.tasks() {
            if !kernel.has_living_parent(task) && task != kernel.init() {
                let number = kernel.look(task).map_or(0, |look| look.pid);
                self.fail("tree", alloc::format!("process {number} has no living parent"));
            }
        }
    }

    /// What people are told.
    pub(crate) fn told(&mut self, report: &Report, now: Time, populated: bool, old: bool) {
        let Some(service) = report.service else { return };
        if let News::Exited { role, status, .. } = &report.news {
            let key = ChildKey { service, generation: report.generation, role: *role };
            if *role == Role::Main {
                let place = self.place(service);
                self.pasts[place].ended = Some(now);
            }
            self.end_is_true(key, *status, old);
        }
        if let News::Turned { from, to, .. } = &report.news {
            self.keeps_time(service, *from, *to, now);
            let rest = [State::Stopped, State::Done, State::Failed, State::BackingOff, State::Scheduled];
            if rest.contains(to) && populated {
                self.fail("leftover", alloc::format!("s{} is {to:?} and somebody lives in it", service.0));
            }
        }
    }

    fn end_is_true(&mut self, key: ChildKey, told: ExitStatus, old: bool) {
        let life = self.life;
        let Some(child) = self.children.get_mut(&key) else {
            return self.fail("end", alloc::format!("{key:?}: told that it {told}, and it was never born"));
        };
        // Once in each life of a supervisor: the one before may have been killed before it wrote the end down.
        let twice = child.told.replace(life) == Some(life);
        let Child { end, inherited, lost, .. } = *child;
        let Some((status, stolen)) = end.filter(|_| !twice) else {
            let what = if twice { "that was told before" } else { "it was not ended" };
            return self.fail("end", alloc::format!("{key:?}: told that it {told}, and {what}"));
        };
        let by = |evidence| ExitStatus::from_wait(status, evidence);
        let unseen = stolen || inherited;
        let is_true = lost
            || (!stolen && by(Evidence::Waited) == Some(told))
            || (unseen && !old && by(Evidence::Pidfd) == Some(told))
            || (unseen && by(Evidence::Procfs) == Some(told))
            || (unseen && old && told == ExitStatus::UNKNOWN);
        if !is_true {
            let truth = by(Evidence::Waited)
                .map_or_else(|| "was not ended".into(), |truth| alloc::format!("{truth}"));
            self.fail("end", alloc::format!("{key:?}: told that it {told}, and it {truth}"));
        }
    }

    /// Stops end in time. Time in which the supervisor could do nothing does not count.
    fn keeps_time(&mut self, service: ServiceId, from: State, to: State, now: Time) {
        let (fair, place) = (self.fair(now), self.place(service));
        let past = &mut self.pasts[place];
        let policy = past.spec.stop;
        let grace = [(State::Stopping, policy.grace), (State::Clearing, policy.leftover_grace)];
        let grace = grace.iter().find(|(state, _)| *state == from).map(|(_, grace)| *grace);
        let since = past.timed.take().filter(|(state, _)| *state == from).map(|(_, since)| since);
        if matches!(to, State::Stopping | State::Clearing) {
            past.timed = Some((to, fair));
        }
        if let (Some(grace), Some(since)) = (grace, since)
            && fair.since(since) > grace + SLACK
        {
            let took = fair.since(since);
            self.fail(
                "stop",
                alloc::format!("s{} was {from:?} for {took:?}, with a grace of {grace:?}", service.0),
            );
        }
    }

    /// Nothing has gone wrong for a while: everything should be as it was asked for.
    pub(crate) fn settled(&mut self, engine: &Engine, kernel: &Kernel, supervisor: TaskId, of: &Settled<'_>) {
        for (at, member) in of.members.iter().enumerate() {
            let id = self.service(at);
            let Some(view) = engine.status(id) else { continue };
            let lives = view.pid.is_some_and(|pid| kernel.find_as(supervisor, pid.get()).is_some());
            if view.state == State::Up && member.spec.kind == Kind::Daemon && !lives {
                self.fail("up", alloc::format!("s{at} is said to be up and does not live"));
            }
            let scheduled = matches!(member.spec.kind, Kind::Scheduled { .. });
            if view.state == State::Up && of.stopped_last(ServiceId(at as u32)) && !scheduled {
                self.fail("up", alloc::format!("s{at} was stopped and is up"));
            }
            let spec = &member.spec;
            let sure = spec.autostart
                && spec.deps.is_empty()
                && spec.kind == Kind::Daemon
                && member.habit.is_steady()
                && (spec.ready.by != ReadyBy::Notice || member.habit.says_ready())
                && !matches!(spec.ready.by, ReadyBy::Probe(_))
                && spec.pre_start.is_none()
                && spec.liveness.is_none()
                && !of.unheard.contains(&at);
            if of.calm && sure && view.state != State::Up {
                self.fail("up", alloc::format!("s{at} should be up and is {:?}", view.state));
            }
            if of.calm && sure && !of.all_die && of.births[at] != 1 {
                self.fail(
                    "once",
                    alloc::format!("s{at} was started {} times, and never ended", of.births[at]),
                );
            }
        }
    }

    /// The supervisor has ended.
    pub(crate) fn over(&mut self, kernel: &Kernel, supervisor: TaskId, family: CgroupId) {
        let children = kernel.children_of(supervisor).count();
        if children > 0 {
            self.fail("last", alloc::format!("the supervisor ends before {children} of its children"));
        }
        if kernel.cgroup_is_populated(family) {
            self.fail("last", "the supervisor ends before all processes of the family".into());
        }
        // Of one of which no handle was left nobody is told the end, and init may not have buried it yet.
        let forgotten = |child: &Child| child.lost && !kernel.lives(child.task, child.birth);
        let endless = |child: &Child| child.end.is_none() && !forgotten(child);
        if let Some((key, _)) = self.children.iter().find(|(_, child)| endless(child)) {
            self.fail("end", alloc::format!("{key:?} was born and never ended"));
        }
    }
}

/// What is known at rest.
pub(crate) struct Settled<'a> {
    pub(crate) members: &'a [Member],
    /// Nothing went wrong and nobody asked for anything but the death of the supervisor.
    pub(crate) calm: bool,
    /// What people asked for last.
    pub(crate) last_deed: Option<&'a (Time, &'a Deed)>,
    pub(crate) now: Time,
    /// Whose readiness a supervisor heard that was killed before it wrote that down.
    pub(crate) unheard: &'a [usize],
    /// How many main processes each has had.
    pub(crate) births: &'a [u32],
    /// With a supervisor all of its family die.
    pub(crate) all_die: bool,
}

impl Settled<'_> {
    /// Whether the last thing that people asked of anybody was to stop this service, a while ago.
    fn stopped_last(&self, id: ServiceId) -> bool {
        const WHILE: Duration = Duration::from_secs(8);
        self.last_deed.is_some_and(|(at, deed)| {
            let stop = matches!(deed, Deed::Command(Command::Stop(ids)) if ids.contains(&id));
            stop && self.now.since(*at) > WHILE
        })
    }
}
