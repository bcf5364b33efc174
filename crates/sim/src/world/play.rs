//! A scenario from the first birth to the last burial: the production driver on this world, and if it is killed
//! another one on the same machine.

use super::World;
use super::breakage::Breakage;
use super::checks::Violation;
use super::faults::{Fault, SITES};
use super::log::Line;
use super::scenario::Scenario;
use crate::kernel::call::{Call, Wait};
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::drive::Driver;
use doula_core::engine::Engine;
use doula_model::service::ServiceSpec;
use doula_model::signal::Signal;

/// After this time nothing goes wrong any more and nobody asks for anything.
pub(super) const BUSY: Duration = Duration::from_secs(90);
/// The time between that and the look whether all is as it should be.
pub(super) const QUIET: Duration = Duration::from_secs(20);
/// How long an end may take, before it is asked for with less patience, and before it is one too many.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// So many steps of the supervisor more than wanted events are as good as no end. Those of processes do not count: what a dead
/// supervisor left behind may fork on beside the next one.
const ENDLESS: u64 = 200_000;

/// How a scenario is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// After so many events nothing goes wrong any more, and the family is brought to its end.
    pub most_events: u64,
    /// Whether the events are kept as lines.
    pub keep_lines: bool,
    /// The step of the supervisor before which it gets SIGKILL.
    pub kill_at: Option<u64>,
    /// So many steps later the next one gets it too.
    pub kill_again: Option<u64>,
    /// How the supervisor is broken on purpose.
    pub broken: Option<Breakage>,
}

impl Default for Options {
    fn default() -> Options {
        Options { most_events: 1_000, keep_lines: false, kill_at: None, kill_again: None, broken: None }
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many events there were: calls of simulated processes and of the supervisor, waits, and news.
    pub events: u64,
    /// A hash over all of them: the same in every run of the same scenario.
    pub hash: u64,
    /// How many steps the supervisor took; before each it can be killed.
    pub steps: u64,
    /// The exit code of the supervisor, if it came to that.
    pub code: Option<u8>,
    /// What must not be, and was.
    pub violation: Option<Violation>,
    /// How often each site fired.
    pub fired: Vec<(Fault, u32)>,
    /// The events, if they were to be kept.
    pub lines: Vec<Line>,
}

/// Plays a scenario.
#[must_use]
pub fn run(scenario: &Scenario, options: &Options) -> Report {
    let mut world = World::new(scenario, options);
    let mut code = None;
    while code.is_none() && !world.checks.has_failed() {
        if world.upgraded {
            world.begin_again();
        } else {
            world.boot();
        }
        code = live(&mut world);
        if code.is_none() && world.killed && !world.upgraded {
            world.go_on_without_supervisor();
        }
    }
    if let Some(code) = code {
        world.end(code);
    }
    world.into_report(code)
}

/// One life of a supervisor; the exit code unless it was killed.
fn live(world: &mut World<'_>) -> Option<u8> {
    let specs: Vec<ServiceSpec> = world.file.iter().map(|of| spec(world, of)).collect();
    let keeps = world.options.kill_at.is_some() || world.scenario.machine.keep_alive;
    let before = world.take_over(&specs);
    let takes_over = before.is_some();
    if !takes_over {
        world.open_socket();
    }
    let engine = before.unwrap_or_else(|| Engine::new(specs, world.scenario.seed, world.now));
    let mut engine = engine.keep_alive(keeps);
    world.begin_life(&engine, takes_over);
    world.prepare_end(&mut engine);
    let mut driver = Driver::new(engine);
    if !world.killed && takes_over {
        driver.take_over(world);
    }
    if world.killed {
        return None;
    }
    loop {
        let code = driver.turn(world);
        if world.checks.has_failed() {
            return None;
        }
        if world.killed {
            return None;
        }
        if world.steps > world.options.most_events + ENDLESS {
            world.checks.fail("end", "the family does not come to an end".into());
            return None;
        }
        if code.is_some() {
            world.end_keeper();
            return code.filter(|_| !world.killed);
        }
    }
}

/// What the engine is told of a service.
fn spec(world: &World<'_>, spec: &ServiceSpec) -> ServiceSpec {
    let mut spec = spec.clone();
    if world.options.broken == Some(Breakage::NoBackOff) {
        spec.restart.delay = Duration::ZERO;
        spec.restart.max_delay = Duration::ZERO;
    }
    spec
}

impl World<'_> {
    /// The supervisor ends, then the machine: nobody may be left but init.
    fn end(&mut self, code: u8) {
        self.close_the_doors();
        self.last_words();
        self.nothing_is_unheard();
        self.checks.over(&self.kernel, self.supervisor, self.families);
        self.log.note(self.now, ("over", code));
        self.log.say(self.now, "supervisor", format_args!("ends with code {code}"));
        if self.kernel.is_in_program(self.supervisor) {
            self.kernel.call(self.supervisor, Call::ExitGroup(i32::from(code)));
        }
        self.bury_by_init();
        let init = self.kernel.init();
        self.kernel.call(init, Call::Kill(-1, Signal::CONT.number()));
        self.kernel.call(init, Call::Kill(-1, Signal::KILL.number()));
        while self.kernel.dead_child(init).is_some() {
            self.kernel.call(init, Call::Wait4(Wait::any().no_hang()));
        }
        let left = self.kernel.tasks().count();
        if left != 1 {
            self.checks.fail("last", alloc::format!("{left} processes are left on the machine"));
        }
    }

    fn into_report(self, code: Option<u8>) -> Report {
        let fired = Fault::ALL.iter().map(|fault| (*fault, self.faults.fired[*fault as usize]));
        let fired = fired.filter(|(_, times)| *times > 0).collect();
        debug_assert_eq!(SITES.len(), Fault::ALL.len());
        Report {
            events: self.log.events(),
            hash: self.log.hash(),
            steps: self.steps,
            code,
            violation: self.checks.into_violation(),
            fired,
            lines: self.log.into_lines(),
        }
    }
}
