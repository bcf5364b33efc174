//! The world on paper: the production engine and the production driver look after simulated processes on the
//! simulated kernel, while things go wrong.
//!
//! ```
//! use doula_sim::world::{Options, Scenario, run};
//! let report = run(&Scenario::of(7), &Options::default());
//! assert_eq!(report.violation, None);
//! assert_eq!(report.hash, run(&Scenario::of(7), &Options::default()).hash);
//! ```
//!
//! The supervisor is a task of the kernel: what [`doula_core::kernel::Kernel`] asks for it does by system calls
//! (`calls`, `birth`), as `doula-host` does. Its children play scripts ([`crate::program`], `habit`, `stage`) in
//! virtual time. What goes wrong is in `faults`, what must hold whatever happens in `checks`, and what a seed stands for
//! in `scenario`. [`run`] plays a scenario, [`shrink()`] makes a failing one small.
//!
//! What they write goes into a pipe that the supervisor reads now and then. People ask over a control socket (`people`), and another
//! supervisor may want the place of the first (`place`). What they said is in log files (`logs`), where a line is a number; lines that come in pieces are in `begun`. Absent on purpose: text, and the words of the real
//! protocol. The driver never sees those.

mod begun;
mod birth;
mod breakage;
mod calls;
mod checks;
mod clock;
mod disk;
mod dumps;
mod faults;
mod habit;
mod kills;
mod log;
mod logs;
mod people;
mod place;
mod play;
mod pool;
mod scenario;
mod shrink;
mod sockets;
mod stage;
mod takeover;
mod upgrade;

pub(crate) use birth::executable;
pub use breakage::Breakage;
pub use checks::Violation;
pub use faults::{Fault, SITES, Site, Sites};
pub use habit::Habit;
pub use log::Line;
pub(crate) use log::Log;
pub use play::{Options, Report, run};
pub use scenario::{Cut, Deed, Machine, Member, Scenario};
pub use shrink::{Smallest, shrink};
pub use sockets::Clients;

use crate::kernel::call::{Call, Clone as How, Reply, Value, Wait};
use crate::kernel::version::{Config, KernelVersion};
use crate::kernel::{CgroupId, Kernel, Outcome, TaskId};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use calls::Handle;
use checks::Checks;
use core::time::Duration;
use disk::{Disk, Journal, Lines, Place};
use doula_core::engine::Engine;
use doula_core::random::Random;
use doula_model::event::{Command, Event, Haste};
use doula_model::id::{ChildKey, Generation, Pid, PoolId, ServiceId};
use doula_model::plan::Errno;
use doula_model::service::ServiceSpec;
use doula_model::signal::Signal;
use doula_model::time::Time;
use faults::Faults;
use stage::Stage;
use takeover::Keeper;

/// When the machine was switched on.
const BEGINNING: Time = Time::from_nanos(1_000_000_000);
/// What a call of the supervisor costs.
const CALL: Duration = Duration::from_micros(1);

/// How soon people ask for something again.
const PAUSE: Duration = Duration::from_millis(100);

/// What happens at a time, whoever brings it.
#[derive(Clone, Debug)]
enum Happening {
    /// People do something.
    Deed(usize),
    /// A schedule comes due that this life of the supervisor has armed.
    Due(ServiceId, u32),
    /// A connection waits for a pool.
    Knock(PoolId, u32),
    /// Clients come to the socket of a pool.
    Drove,
    /// One that met a full queue tries again, so often.
    Client(u32),
    /// Who was stopped from outside goes on.
    Continue(TaskId, u64),
    /// The timer of the schedules rings, if it was not set again meanwhile.
    Ring(u64),
    /// The keeper of a dead supervisor closes its lock.
    LetsGo(u64),
    /// People at the control socket do something.
    Asks,
    /// A core is written.
    Dumped(TaskId, u64),
    /// Nothing goes wrong any more.
    Quiet,
    /// By now everything has come to rest.
    Settled,
    /// The family is to end, the second time with less patience.
    End(Haste),
    /// The family should have ended long ago.
    Overdue,
}

/// What is kept for a service.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    leaf: Option<CgroupId>,
    /// Everybody in it was killed at once: the next life gets another.
    killed: bool,
    /// The life of its last main process.
    life: Generation,
}

/// A child that wakes the supervisor when it ends.
#[derive(Clone, Copy, Debug)]
struct Watched {
    pid: Pid,
    fd: i32,
    birth: u64,
}

/// See the head of this module.
struct World<'a> {
    scenario: &'a Scenario,
    options: Options,
    kernel: Kernel,
    now: Time,
    wall: clock::Wall,
    dice: Random,
    faults: Faults,
    log: Log,
    checks: Checks,
    stage: Stage,
    agenda: BTreeMap<(Time, u64), Happening>,
    agenda_count: u64,
    supervisor: TaskId,
    /// Which life of the supervisor this is, and the PID namespace, by the life that made it.
    life: u32,
    namespace: u32,
    /// The control groups of all families that supervisors have made, and of the last one.
    families: CgroupId,
    family: CgroupId,
    old_families: Vec<CgroupId>,
    /// The directories in them: which family, and whose.
    leaves: BTreeMap<(CgroupId, usize), CgroupId>,
    /// By the place of a service in the scenario.
    seats: Vec<Seat>,
    /// The last main process of each, and how many there have been.
    mains: BTreeMap<usize, (TaskId, u64)>,
    births: Vec<u32>,
    disk: Disk,
    /// There is none before the supervisor begins one.
    journal: Option<Journal>,
    lines: Lines,
    /// Where lives are that an earlier supervisor began.
    held: BTreeMap<ServiceId, Place>,
    desk: sockets::Desk,
    lock: place::Lock,
    counter: people::Counter,
    logs: logs::Logs,
    speeches: begun::Speeches,
    keeper: Option<Keeper>,
    /// Whether who looks for a keeper finds ours.
    keeper_is_found: bool,
    /// The keeper of a supervisor that is dead.
    left: Option<Keeper>,
    /// Whose notice was read last and may not be written down yet.
    heard: Option<usize>,
    /// Whose notices were lost so with a supervisor.
    unheard: Vec<usize>,
    /// Nobody kept the sockets open to which services speak.
    sockets_are_lost: bool,
    /// When the last supervisor died.
    died: Time,
    /// The births of those of whom the last supervisor has left handles.
    handles_left: Vec<u64>,
    /// The handles that were taken over, until they are asked for.
    inherited: BTreeMap<ChildKey, Handle>,
    /// Where output comes in.
    outputs: Vec<i32>,
    /// What the configuration says now.
    file: Vec<ServiceSpec>,
    /// What is known of a pool.
    known: pool::Known,
    watched: Vec<Watched>,
    /// Lives that are to become empty.
    looked: Vec<(ServiceId, Generation)>,
    kills: kills::Kills,
    pending: VecDeque<Event>,
    /// Since when a SIGCHLD waits to be looked at.
    signal_since: Option<Time>,
    stops_told: bool,
    /// When output is read next.
    reads: Time,
    /// Calls of the supervisor, and steps of its children before their programs.
    steps: u64,
    killed: bool,
    /// People want it to go on as another program, and now it is one.
    upgrade_is_asked: bool,
    upgraded: bool,
    quiet: bool,
    /// Who writes a core, and for how long is known.
    dumping: Vec<u64>,
    /// Whom the next call is to bury.
    burying: Option<TaskId>,
    /// What people asked for last, and when.
    last_deed: Option<(Time, &'a Deed)>,
    /// The states of the services are to be looked at.
    inspect: bool,
}

/// A kernel that has few numbers, so that they come again soon, unless somebody may need more.
fn config(scenario: &Scenario) -> Config {
    let version =
        if scenario.machine.old { KernelVersion { major: 5, minor: 10 } } else { KernelVersion::V6_18 };
    let usual = Config { version, ..Config::default() };
    let unlimited = scenario.members.iter().any(|member| member.most == u32::MAX);
    if unlimited { Config { max_threads: 1 << 18, pid_max: 1 << 18, ..usual } } else { usual }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, options: &Options) -> World<'a> {
        let mut kernel = Kernel::with(config(scenario));
        let init = kernel.init();
        let families = kernel.make_cgroup(CgroupId::ROOT).unwrap_or(CgroupId::ROOT);
        let mut world = World {
            scenario,
            options: *options,
            kernel,
            now: BEGINNING,
            wall: clock::Wall::default(),
            dice: Random::new(!scenario.seed),
            faults: Faults::new(scenario.sites, scenario.seed),
            log: Log::new(options.keep_lines),
            checks: Checks::new(scenario),
            stage: Stage::new(scenario.machine.newest_first),
            agenda: BTreeMap::new(),
            agenda_count: 0,
            supervisor: init,
            life: 0,
            namespace: 0,
            families,
            family: families,
            old_families: Vec::new(),
            leaves: BTreeMap::new(),
            seats: Vec::new(),
            mains: BTreeMap::new(),
            births: alloc::vec![0; scenario.members.len()],
            disk: Disk::default(),
            journal: None,
            lines: Lines::default(),
            held: BTreeMap::new(),
            desk: sockets::Desk::default(),
            lock: place::Lock::default(),
            counter: people::Counter::default(),
            logs: logs::Logs::new(scenario.members.len()),
            speeches: begun::Speeches::new(scenario.members.len()),
            keeper: None,
            keeper_is_found: false,
            left: None,
            heard: None,
            unheard: Vec::new(),
            sockets_are_lost: false,
            died: BEGINNING,
            handles_left: Vec::new(),
            inherited: BTreeMap::new(),
            outputs: Vec::new(),
            file: scenario.members.iter().map(|member| member.spec.clone()).collect(),
            known: pool::Known::default(),
            watched: Vec::new(),
            looked: Vec::new(),
            kills: kills::Kills::default(),
            pending: VecDeque::new(),
            signal_since: None,
            stops_told: false,
            reads: BEGINNING,
            steps: 0,
            killed: false,
            upgrade_is_asked: false,
            upgraded: false,
            quiet: false,
            dumping: Vec::new(),
            burying: None,
            last_deed: None,
            inspect: false,
        };
        world.furnish();
        world
    }

    /// The disk, and what is planned.
    fn furnish(&mut self) {
        self.kernel.install(birth::PROGRAM, true, &executable());
        self.kernel.install(birth::BUSY, true, &executable());
        self.kernel.install(birth::REFUSED, false, b"");
        self.kernel.install(birth::DAMAGED, true, b"\x7fELF");
        self.kernel.install("/dev/null", false, b"");
        let init = self.kernel.init();
        let writes = crate::kernel::call::Access::Write;
        self.kernel.call(init, Call::Open(birth::BUSY.into(), writes));
        for at in 0..self.scenario.deeds.len() {
            self.later(self.scenario.deeds[at].0, Happening::Deed(at));
        }
        self.later(play::BUSY, Happening::Quiet);
        if self.scenario.sites.has(Fault::SlowCore) {
            self.kernel.dump_slowly();
        }
        self.open_the_doors();
        self.open_the_counter();
    }

    /// Whether the supervisor is broken in this way.
    fn is_broken(&self, how: Breakage) -> bool {
        self.options.broken == Some(how)
    }

    fn later(&mut self, wait: Duration, what: Happening) {
        self.agenda_count += 1;
        self.agenda.insert((self.now.after(wait), self.agenda_count), what);
    }

    /// A supervisor begins: the calls of `doula up` before its first birth.
    fn boot(&mut self) {
        let Some(task) = self.fork_supervisor() else {
            return self.checks.fail("world", "init could not fork".into());
        };
        (self.supervisor, self.killed) = (task, false);
        if self.has_second() {
            self.claim_place();
        }
        if self.killed {
            return self.begin_program();
        }
        let task = self.supervisor;
        self.namespace = if self.scenario.machine.pid_one { self.life + 1 } else { 0 };
        self.clear_stale_groups();
        self.family = self.kernel.make_cgroup(self.families).unwrap_or(self.families);
        self.old_families.push(self.family);
        if self.scenario.machine.nohup {
            let ignore = crate::kernel::sigset::Action::IGNORE;
            self.kernel.call(task, Call::Sigaction(Signal::HUP, ignore));
        }
        self.begin_program();
    }

    fn fork_supervisor(&mut self) -> Option<TaskId> {
        let init = self.kernel.init();
        let how = if self.scenario.machine.pid_one { How::INIT } else { How::FORK };
        match self.kernel.call(init, Call::Clone(how)) {
            Outcome::Done(Ok(Value::Number(number))) => self.kernel.find(number),
            Outcome::Done(_) | Outcome::Blocked | Outcome::Gone => None,
        }
    }

    /// What its program does first.
    fn begin_program(&mut self) {
        self.life += 1;
        self.seats = alloc::vec![Seat::default(); self.scenario.members.len()];
        self.forget_last_life();
        self.make_keeper();
        for call in calls::first_calls() {
            let _ = self.call(call);
        }
        self.hold_output(calls::READS);
    }

    /// What a supervisor knew is gone with it.
    fn forget_last_life(&mut self) {
        self.watched.clear();
        self.looked.clear();
        self.kills = kills::Kills::default();
        self.outputs.clear();
        self.inherited.clear();
        self.held.clear();
        self.wall.forget_all();
        self.logs.forget_kept();
        self.speeches.forget_last_life(self.left.is_some());
        (self.journal, self.lines) = (None, Lines::default());
        self.keeper_is_found = false;
        (self.signal_since, self.stops_told, self.last_deed) = (None, false, None);
        // What services have said waits in their sockets, if somebody keeps those open.
        let kept = self.left.is_some();
        self.pending.retain(|event| kept && matches!(event, Event::Noticed { .. }));
    }

    /// The supervisor has looked what there is.
    fn begin_life(&mut self, engine: &Engine, takes_over: bool) {
        let no_room = self.faults.fired[Fault::DiskFull as usize] > 0;
        self.checks.begin_life(takes_over, (&self.handles_left, no_room));
        self.known = if takes_over { pool::Known::of(engine, &self.known) } else { pool::Known::default() };
        if !takes_over {
            self.checks.number_members(BTreeMap::new());
        }
    }

    /// A while goes by before there is another one.
    fn go_on_without_supervisor(&mut self) {
        let pause = Duration::from_millis(self.dice.below(2_000));
        self.checks.excuse(pause);
        let until = self.now.after(pause);
        while self.now < until && self.let_time_pass(Some(until)) {}
        // Who has asked for the end asks again.
        let asked = |what: &Happening| matches!(what, Happening::End(_) | Happening::Overdue);
        let before = self.agenda.len();
        self.agenda.retain(|_, what| !asked(what));
        if self.agenda.len() < before {
            self.later(PAUSE, Happening::End(Haste::Orderly));
        }
    }

    /// A system call of the supervisor; `EINTR` when it is dead, and nobody will look at that.
    fn call(&mut self, call: Call) -> Reply {
        self.step();
        if !self.wait_for_supervisor() {
            return Err(Errno::EINTR);
        }
        // Now, because others may have run since the call was decided on.
        if let Some(task) = self.burying.take() {
            self.checks.will_bury(&self.kernel, Some(task), false);
        }
        self.checks.aim(&self.kernel, self.supervisor, self.families, &call);
        let text = self.log.is_read().then(|| alloc::format!("{call}"));
        let task = self.supervisor;
        self.kernel.enter(task, call);
        self.kernel.settle();
        self.result_of_call(text)
    }

    /// The reply of the call that the supervisor has made, as soon as it is back from it.
    fn result_of_call(&mut self, text: Option<alloc::string::String>) -> Reply {
        if !self.wait_for_supervisor() {
            return Err(Errno::EINTR);
        }
        self.now = self.now.after(CALL);
        let reply = self.kernel.take_reply(self.supervisor).unwrap_or(Err(Errno::EINTR));
        self.log.note(self.now, &reply);
        if let Some(text) = text {
            self.log.say(self.now, "supervisor", format_args!("{text} -> {}", crate::program::Said(&reply)));
        }
        reply
    }

    /// Whether the supervisor lives; while it is stopped the world goes on without it.
    fn wait_for_supervisor(&mut self) -> bool {
        while !self.killed && !self.kernel.is_in_program(self.supervisor) {
            if !self.let_time_pass(None) {
                self.checks.fail("stuck", "the supervisor does not come back from a call".into());
                self.killed = true;
            }
        }
        !self.killed
    }

    /// The supervisor is about to do something: here it can be killed, stopped, or others go first.
    fn step(&mut self) {
        if self.killed {
            return;
        }
        self.steps += 1;
        let at = self.options.kill_at;
        let again = at.zip(self.options.kill_again).map(|(at, more)| at.saturating_add(more));
        if at == Some(self.steps) || again == Some(self.steps) {
            return self.kill_supervisor();
        }
        if self.faults.fires(Fault::Preempted) {
            self.play();
        }
    }

    fn kill_supervisor(&mut self) {
        self.log.note(self.now, "kill -9");
        self.log.say(
            self.now,
            "somebody",
            format_args!("kill -9 of the supervisor at its step {}", self.steps),
        );
        self.kernel.signal_from_kernel(self.supervisor, Signal::KILL);
        self.counter.close();
        (self.killed, self.died) = (true, self.now);
        (self.upgrade_is_asked, self.upgraded) = (false, false);
        self.look_later();
        self.unheard.extend(self.heard.take());
        self.leave_estate();
        self.bury_by_init();
        self.doors_are_gone();
    }

    /// Another supervisor needs time to bring everything to rest.
    fn look_later(&mut self) {
        let before = self.agenda.len();
        self.agenda.retain(|_, what| !matches!(what, Happening::Settled));
        if self.agenda.len() < before || core::mem::take(&mut self.inspect) {
            self.later(play::QUIET, Happening::Settled);
        }
    }

    /// Library code in the supervisor buries a child of ours. Only of those that are watched: nobody could tell
    /// us of the others.
    fn steal_a_wait(&mut self) {
        if self.killed || !self.faults.fires(Fault::WaitStolen) {
            return;
        }
        let dead = |watched: &&Watched| {
            self.child(watched.pid, watched.birth).is_some_and(|task| self.kernel.end_of(task).is_some())
        };
        let Some(victim) = self.watched.iter().find(dead).copied() else { return };
        if !self.kernel.is_in_program(self.supervisor) {
            return;
        }
        self.checks.will_bury(&self.kernel, self.child(victim.pid, victim.birth), true);
        let wait = Call::Wait4(Wait::pid(victim.pid.get()).no_hang());
        let _ = self.kernel.call(self.supervisor, wait);
        self.log.note(self.now, ("stolen", victim.birth));
        self.log.say(self.now, "library", format_args!("buries the supervisor's child {}", victim.pid));
        self.after_burial(victim.pid);
    }

    /// A number is free: a stranger may get it at once.
    fn after_burial(&mut self, pid: Pid) {
        if !self.scenario.machine.pid_one && self.faults.fires(Fault::NumberReused) {
            self.stage.meet_stranger(&mut self.kernel, pid.get());
        }
    }

    /// The task by a number as the supervisor sees it, if it is still this one.
    fn child(&self, pid: Pid, birth: u64) -> Option<TaskId> {
        if self.killed {
            return None;
        }
        let task = self.kernel.find_as(self.supervisor, pid.get())?;
        (self.kernel.birth(task) == birth).then_some(task)
    }

    /// Goes to the next thing that happens by itself, at the latest to `until`; false when nothing will.
    fn let_time_pass(&mut self, until: Option<Time>) -> bool {
        self.look_at_dumps();
        let next = self.agenda.keys().next().map(|(at, _)| *at).into_iter();
        let Some(at) = next.chain(self.stage.next_wake(&self.kernel)).chain(until).min() else {
            return false;
        };
        self.now = self.now.max(at);
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let what = entry.remove();
            self.happen(what);
        }
        self.all_due_are_told();
        self.play();
        true
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Deed(at) => self.deed(at),
            Happening::Knock(pool, life) if life == self.life => {
                self.pending.push_back(Event::Knocked { pool });
            }
            Happening::Due(service, life) if life == self.life => {
                self.pending.push_back(Event::Due { service });
            }
            Happening::Knock(..) | Happening::Due(..) => {}
            Happening::Ring(setting) => self.ring(setting),
            Happening::Asks => self.ask(),
            Happening::LetsGo(keeper) => self.lets_go(keeper),
            Happening::Dumped(task, birth) => self.dumped(task, birth),
            Happening::Drove => self.drove(),
            Happening::Client(tries) => self.connect(tries),
            Happening::Continue(task, birth) => {
                if self.kernel.lives(task, birth) {
                    self.kernel.signal_from_kernel(task, Signal::CONT);
                }
            }
            Happening::Quiet => self.be_quiet(),
            Happening::Settled => {
                self.inspect = true;
            }
            Happening::End(haste) => {
                self.close_the_doors();
                self.pending.push_back(Event::Command(Command::Shutdown(haste)));
                let (wait, next) = match haste {
                    Haste::Kill => (play::PATIENCE, Happening::Overdue),
                    Haste::Orderly | Haste::Hurried => (play::PATIENCE, Happening::End(Haste::Kill)),
                };
                self.later(wait, next);
            }
            Happening::Overdue => self.checks.fail("end", "the family does not end".into()),
        }
    }

    fn be_quiet(&mut self) {
        if !self.quiet {
            self.quiet = true;
            self.faults.cease();
            self.later(play::QUIET, Happening::Settled);
        }
    }

    fn deed(&mut self, at: usize) {
        let deed = &self.scenario.deeds[at].1;
        self.log.note(self.now, ("deed", at));
        self.log.say(self.now, "people", format_args!("{deed:?}"));
        if self.quiet || self.killed || self.lock.is_wanted {
            return;
        }
        if *deed == Deed::Upgrade {
            self.upgrade_is_asked = true;
            return;
        }
        self.last_deed = Some((self.now, deed));
        match deed {
            Deed::Command(command) => {
                if let Command::Apply(family) = command {
                    self.file.clone_from(family);
                }
                self.checks.asked();
                let command = self.numbered(command);
                self.pending.push_back(Event::Command(command));
            }
            Deed::Signal(signal) => {
                self.checks.asked();
                self.kernel.signal_from_kernel(self.supervisor, *signal);
            }
            Deed::Upgrade => {}
        }
    }

    /// A command with the numbers that services have now.
    fn numbered(&self, command: &Command) -> Command {
        let number = |ids: &Vec<ServiceId>| ids.iter().map(|id| self.checks.service(id.0 as usize)).collect();
        match command {
            Command::Start(ids) => Command::Start(number(ids)),
            Command::Stop(ids) => Command::Stop(number(ids)),
            Command::Restart(ids) => Command::Restart(number(ids)),
            Command::Reload(ids) => Command::Reload(number(ids)),
            Command::Apply(_) | Command::Shutdown(_) => command.clone(),
        }
    }

    /// Everybody but the supervisor does what there is to do now.
    fn play(&mut self) {
        let mut said = core::mem::take(&mut self.stage.said);
        self.stage.play(&mut self.kernel, self.now, &mut self.log, &mut said);
        for (life, event) in said.drain(..) {
            // Who was born under an earlier supervisor speaks to a socket that is closed, if nobody kept it open.
            if life == self.life || !self.sockets_are_lost {
                self.pending.push_back(event);
            }
        }
        self.stage.said = said;
        self.look_at_dumps();
        self.bury_by_init();
        self.look_at_clients();
    }

    /// PID 1 of the machine buries whom it has.
    fn bury_by_init(&mut self) {
        let init = self.kernel.init();
        while let Some(dead) = self.kernel.dead_child(init) {
            self.checks.buried_by_init(&self.kernel, dead, self.stage.is_stranger(&self.kernel, dead));
            let _ = self.kernel.call(init, Call::Wait4(Wait::any().no_hang()));
        }
    }
}
