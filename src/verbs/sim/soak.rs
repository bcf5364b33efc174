//! `doula sim soak`: seed after seed.

use super::cases::Played;
use super::run::{breakage, scenario};
use super::tell::{Finding, replay};
use crate::error::{Exit, Kind, Outcome};
use crate::ui::{Color, Ui};
use doula_sim::world::{Breakage, Cut, Options, Report, Scenario, run as play};
use serde::Serialize;
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Plays seed after seed until the time is over or something is wrong
///
/// A seed that fails is shown with its smallest scenario and the command that plays it; the exit code is then 1.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For so many minutes
    #[arg(long, value_name = "M", conflicts_with_all = ["seconds", "seeds"])]
    minutes: Option<u64>,

    /// For so many seconds [default: 60]
    #[arg(long, value_name = "S", conflicts_with = "seeds")]
    seconds: Option<u64>,

    /// So many seeds, however long it takes
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,

    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    first: u64,

    /// How many events each has, before it is brought to its end
    #[arg(long, value_name = "N", default_value_t = Options::default().most_events)]
    steps: u64,

    /// How many seeds are played at a time [default: one for each CPU]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Each family is the workers of a pool, and clients connect to it
    #[arg(long)]
    pool: bool,

    /// Each case is jobs that workers lease; with --kill a worker is killed, or the run itself
    #[arg(long, conflicts_with_all = ["pool", "broken"])]
    leases: bool,

    /// Kill the supervisor of each seed before a step that the seed chooses
    #[arg(long)]
    kill: bool,

    /// Break the supervisor on purpose, to see that it is found
    #[arg(long, value_name = "HOW", value_parser = breakage)]
    broken: Option<Breakage>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// The result, for programs.
#[derive(Debug, Serialize)]
struct Answer {
    seeds: u64,
    events: u64,
    seconds: f64,
    events_per_second: f64,
    failed_seed: Option<u64>,
    violation: Option<Finding>,
}

/// What all jobs share.
struct Shared<'a> {
    args: &'a Args,
    until: Option<Instant>,
    next: AtomicU64,
    events: AtomicU64,
    played: AtomicU64,
    over: AtomicBool,
    failed: Mutex<Option<Failed>>,
}

/// A seed that failed, and how it was played.
#[derive(Clone, Debug)]
enum Failed {
    Family(u64, Options),
    Leases(Played),
}

impl Failed {
    const fn seed(&self) -> u64 {
        match self {
            Failed::Family(seed, _) => *seed,
            Failed::Leases(played) => played.seed,
        }
    }

    fn finding(&self, pool: bool) -> Option<Finding> {
        match self {
            Failed::Family(seed, options) => Finding::of(&scenario(*seed, pool), options, false),
            Failed::Leases(played) => played.finding(),
        }
    }
}

thread_local! {
    /// The seed that this thread plays, and how, for who reads of a panic.
    static PLAYED: Cell<Option<(u64, bool, Options)>> = const { Cell::new(None) };
    /// The command of the case that this thread plays.
    static CASE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Plays.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    tell_the_seed_of_a_panic();
    let began = Instant::now();
    let seconds = args.minutes.map(|minutes| minutes * 60).or(args.seconds).unwrap_or(60);
    let shared = Shared {
        args: &args,
        until: args.seeds.is_none().then(|| began + Duration::from_secs(seconds)),
        next: AtomicU64::new(0),
        events: AtomicU64::new(0),
        played: AtomicU64::new(0),
        over: AtomicBool::new(false),
        failed: Mutex::new(None),
    };
    let jobs = args.jobs.map_or_else(cpus, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| shared.work());
        }
    });
    let failed = shared.failed.lock().map_or(None, |failed| failed.clone());
    let violation = failed.as_ref().and_then(|failed| failed.finding(args.pool));
    let (seeds, events) = (shared.played.into_inner(), shared.events.into_inner());
    let seconds = began.elapsed().as_secs_f64();
    let rate = events as f64 / seconds;
    let exit = if failed.is_some() { Kind::Ended.exit() } else { Exit::OK };
    let failed_seed = failed.as_ref().map(Failed::seed);
    if args.json {
        let events_per_second = rate;
        ui.json(&Answer { seeds, events, seconds, events_per_second, failed_seed, violation })?;
        return Ok(exit);
    }
    let found =
        failed_seed.map_or_else(|| "nothing wrong".to_owned(), |seed| format!("seed {seed} is wrong"));
    ui.line(&format!(
        "{seeds} seeds, {events} events in {seconds:.1} s ({:.0} k events/s with {jobs} jobs): {found}",
        rate / 1e3
    ))?;
    violation.iter().try_for_each(|finding| finding.show(ui))?;
    Ok(exit)
}

impl Shared<'_> {
    /// One job.
    fn work(&self) {
        while !self.over.load(Ordering::Relaxed) {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let late = self.until.is_some_and(|until| Instant::now() >= until);
            if late || self.args.seeds.is_some_and(|seeds| place >= seeds) {
                return;
            }
            self.play(self.args.first.wrapping_add(place));
        }
    }

    fn play(&self, seed: u64) {
        let failed = if self.args.leases { self.leases(seed) } else { self.family(seed) };
        self.played.fetch_add(1, Ordering::Relaxed);
        if let Some(failed) = failed {
            self.over.store(true, Ordering::Relaxed);
            if let Ok(mut first) = self.failed.lock() {
                first.get_or_insert(failed);
            }
        }
    }

    fn leases(&self, seed: u64) -> Option<Failed> {
        let mut played = Played::of(seed);
        let mut report = play_case(&played);
        if self.args.kill && report.violation.is_none() {
            self.events.fetch_add(report.steps, Ordering::Relaxed);
            let at = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % report.steps.max(1) + 1;
            match seed % 3 {
                0 => played.options.kill_run_at = Some(at),
                slot => played.options.kill_at = Some((at, slot as u32)),
            }
            report = play_case(&played);
        }
        self.events.fetch_add(report.steps, Ordering::Relaxed);
        report.violation.map(|_| Failed::Leases(played))
    }

    fn family(&self, seed: u64) -> Option<Failed> {
        let scenario = scenario(seed, self.args.pool);
        let mut options =
            Options { most_events: self.args.steps, broken: self.args.broken, ..Options::default() };
        let mut report = play_named(&scenario, &options);
        if self.args.kill && report.violation.is_none() {
            self.events.fetch_add(report.events, Ordering::Relaxed);
            options.kill_at = Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % report.steps.max(1) + 1);
            report = play_named(&scenario, &options);
        }
        self.events.fetch_add(report.events, Ordering::Relaxed);
        report.violation.map(|_| Failed::Family(seed, options))
    }
}

/// Plays a case so that a panic can be told by its command.
fn play_case(played: &Played) -> doula_sim::leases::Report {
    CASE.set(Some(played.command()));
    let report = played.play();
    CASE.set(None);
    report
}

/// Plays so that a panic can be told by its command.
fn play_named(scenario: &Scenario, options: &Options) -> Report {
    PLAYED.set(Some((scenario.seed, scenario.is_pool(), *options)));
    let report = play(scenario, options);
    PLAYED.set(None);
    report
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// An assertion of production is a violation too; without its seed nobody could look at it.
fn tell_the_seed_of_a_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        if let Some(command) = CASE.take() {
            Ui::new(Color::Never).note(&format!("while playing: {command}"));
        }
        if let Some((seed, pool, options)) = PLAYED.get() {
            let command = replay(&scenario(seed, pool), &options, false, &Cut::default());
            Ui::new(Color::Never).note(&format!("while playing: {command}"));
        }
    }));
}
