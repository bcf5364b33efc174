//! `doula sim run`: one scenario.

use super::cases::{self, Played};
use super::tell::{self, Answer, Finding, events};
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use doula_sim::leases;
use doula_sim::world::{Breakage, Cut, Habit, Options, Scenario, run as play};

/// Plays the scenario of one seed
///
/// The same seed gives the same events, in every run and on every machine: their hash is shown. If something that must
/// hold does not, the smallest scenario with the same failure is shown as the command that plays it, and the exit code
/// is 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the scenario is made from
    #[arg(long, value_name = "S")]
    seed: u64,

    /// After so many events nothing goes wrong any more, and the family is brought to its end
    #[arg(long, value_name = "N", default_value_t = Options::default().most_events)]
    steps: u64,

    /// Show every event, one line each
    #[arg(long)]
    trace: bool,

    /// Nothing goes wrong and nobody asks for anything
    #[arg(long)]
    calm: bool,

    /// The family is the workers of a pool, and clients connect to it
    #[arg(long)]
    pool: bool,

    /// The case is jobs, which the workers of a run lease: whatever workers may do, and die of
    #[arg(long, conflicts_with_all = ["pool", "broken", "kill_again"])]
    leases: bool,

    /// Kill the worker of this slot with SIGKILL before this step of anybody
    #[arg(long, value_name = "STEP:SLOT", requires = "leases", value_parser = step_and_slot)]
    kill_worker: Option<(u64, u32)>,

    /// Kill the supervisor (or the run of jobs) with SIGKILL before this step of it (of anybody)
    #[arg(long, value_name = "STEP")]
    kill_at: Option<u64>,

    /// So many steps later kill the one that takes over, too
    #[arg(long, value_name = "STEPS", requires = "kill_at")]
    kill_again: Option<u64>,

    /// Leave these services (s0), deeds of people (d0), clients (clients), what happens to jobs (t1), and faults out
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true, value_parser = cut)]
    without: Without,

    /// Break the supervisor on purpose: reaps-once, kills-by-number, loses-timers …
    #[arg(long, value_name = "HOW", value_parser = breakage)]
    broken: Option<Breakage>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is left out, by whoever understands it.
#[derive(Clone, Debug)]
struct Without {
    family: Option<Cut>,
    leases: Option<leases::Cut>,
}

fn cut(text: &str) -> Result<Without, String> {
    let (family, leases) = (text.parse::<Cut>(), text.parse().ok());
    match (family, leases) {
        (Err(error), None) => Err(error),
        (family, leases) => Ok(Without { family: family.ok(), leases }),
    }
}

fn step_and_slot(text: &str) -> Result<(u64, u32), String> {
    let parts = text.split_once(':').and_then(|(step, slot)| Some((step.parse().ok()?, slot.parse().ok()?)));
    parts.ok_or_else(|| "it is like 17:2, a step and a slot".to_owned())
}

fn other_kind() -> Failure {
    Failure::usage("--without names what this kind of scenario does not have".to_owned())
}

pub(super) fn breakage(text: &str) -> Result<Breakage, String> {
    let names: Vec<&str> = Breakage::ALL.iter().map(|broken| broken.name()).collect();
    let found = Breakage::ALL.iter().find(|broken| broken.name() == text);
    found.copied().ok_or_else(|| format!("it can be one of {}", names.join(", ")))
}

/// The scenario of a seed.
pub(super) fn scenario(seed: u64, pool: bool) -> Scenario {
    if pool { Scenario::of_pool(seed) } else { Scenario::of(seed) }
}

/// Plays it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    if args.leases {
        let options = leases::Options {
            keep_lines: args.trace,
            kill_at: args.kill_worker,
            kill_run_at: args.kill_at,
            broken: None,
        };
        let cut = args.without.leases.ok_or_else(other_kind)?;
        return cases::run(&Played { seed: args.seed, calm: args.calm, cut, options }, args.json, ui);
    }
    family(args, ui)
}

/// The scenario of a family.
fn family(args: Args, ui: &mut Ui) -> Outcome {
    let scenario = scenario(args.seed, args.pool);
    let scenario = if args.calm { scenario.undisturbed() } else { scenario };
    let small = scenario.without(&args.without.family.ok_or_else(other_kind)?);
    let options = Options {
        most_events: args.steps,
        keep_lines: args.trace,
        kill_at: args.kill_at,
        kill_again: args.kill_again,
        broken: args.broken,
    };
    if args.trace && !args.json {
        introduce(&small, ui)?;
    }
    let report = play(&small, &options);
    events(&report.lines, args.json, ui)?;
    let plain = Options { keep_lines: false, ..options };
    let finding = Finding::of(&scenario.without(&Cut::default()), &plain, args.calm)
        .filter(|_| report.violation.is_some());
    let exit = if report.violation.is_some() { Kind::Ended.exit() } else { Exit::OK };
    if args.json {
        ui.json(&Answer::new(&scenario, &report, finding))?;
        return Ok(exit);
    }
    let code = report.code.map_or_else(|| "no end".to_owned(), |code| format!("exit code {code}"));
    let (events, steps) = (report.events, report.steps);
    ui.line(&format!(
        "seed {}: {events} events, {steps} steps of the supervisor, {code}, hash {:016x}",
        args.seed, report.hash
    ))?;
    tell::violation(report.violation.as_ref(), finding, ui)?;
    Ok(exit)
}

/// Who is in it, and what goes wrong.
fn introduce(scenario: &Scenario, ui: &mut Ui) -> Result<(), Failure> {
    for member in &scenario.members {
        let deps: Vec<&str> = member.spec.deps.iter().map(|dep| dep.on.as_str()).collect();
        let needs = if deps.is_empty() { String::new() } else { format!(", needs {}", deps.join(" ")) };
        let (name, kind) = (&member.spec.name, kind(member.habit));
        ui.line(&format!("{name}: {:?}, {kind}{needs}", member.spec.kind))?;
    }
    for (at, deed) in &scenario.deeds {
        ui.line(&format!("at {at:?}: {deed:?}"))?;
    }
    for fault in scenario.sites.iter() {
        ui.line(&format!("fault {}: {}", fault.site().name, fault.site().what))?;
    }
    if let Some(clients) = &scenario.clients {
        ui.line(&format!("{clients:?}"))?;
    }
    ui.line(&format!("{:?}", scenario.machine))
}

const fn kind(habit: Habit) -> &'static str {
    habit.text()
}
