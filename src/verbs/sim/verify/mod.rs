//! `doula sim verify`: Linux on paper against the kernel that runs here.
//!
//! Programs are played by [`linux`], whose processes are this program again ([`play`]); what is compared, and how, is
//! `doula_sim::oracle`. Here programs are handed out to namespaces in parallel, and the result is told.

mod linux;
pub(super) mod play;

pub(crate) use play::at_once;

use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use doula_host::conform;
use doula_sim::oracle::{
    Comparison, Exploration, Family, Script, Tally, compare, directed, explore, generate, run_freely, shrink,
};
use linux::Linux;
use serde::Serialize;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often people hear how far it is.
const TELL: Duration = Duration::from_secs(5);

/// Compares Linux on paper with the kernel that runs here
///
/// Random programs (births, deaths, waits, signals, groups, pipes, handles, programs, threads, memory, namespaces, terminals, tracing) are played on the
/// model and on this machine's kernel, one call at a time, in PID namespaces of their own. After each call what came back and
/// how everybody is must be among what the model allows.
///
/// The first program that differs is shrunk and shown: its calls, what Linux did, what the model allows, and the command that plays
/// it again.
///
/// Exit codes: 0 no difference; 1 a difference; 2 the command line is wrong; 125 no PID namespace can be made here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula sim verify
  doula sim verify --cases 10000 --calls 60 --jobs 4
  doula sim verify --exhaustive 4 --cases 1000
  doula sim verify --free --cases 100 --calls 400
  doula sim verify --seed 4711 --cases 1")]
pub(crate) struct Args {
    /// How many programs
    #[arg(long, default_value_t = 500, value_name = "N")]
    cases: u64,

    /// How many calls each has
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    calls: u16,

    /// The number of the first program; the same number is the same program
    #[arg(long, default_value_t = 1, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    seed: u64,

    /// How many namespaces play at a time; as many as there are CPUs if nothing is said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,

    /// All programs of so many calls by at most three processes instead: one of each class of final states is played, evenly
    /// spread if there are more than --cases
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u8).range(1..=6), conflicts_with = "free")]
    exhaustive: Option<u8>,

    /// Programs that show one rule each, by the number of the rule, instead of random ones
    #[arg(long, conflicts_with_all = ["free", "exhaustive"])]
    directed: bool,

    /// Let all processes run at the same time, and look only whether what must always hold does: all descend from init, and
    /// each child is buried once, with the status that it ended with
    #[arg(long)]
    free: bool,

    /// The result as JSON on one line
    #[arg(long)]
    json: bool,
}

/// Where programs come from.
enum Programs {
    /// Of a seed each.
    Random,
    /// Of a seed each, without turns.
    Free,
    /// One of each class; every so many of them is played.
    Classes { classes: Vec<Script>, stride: u64 },
}

impl Programs {
    fn new(args: &Args, ui: &mut Ui) -> Result<Programs, Failure> {
        if args.directed {
            let all = directed().into_iter();
            let ours =
                all.map(|one| one.script).filter(|script| is_for_us(script.family(), &script.to_string()));
            return Ok(Programs::Classes { classes: ours.collect(), stride: 1 });
        }
        let Some(calls) = args.exhaustive else {
            return Ok(if args.free { Programs::Free } else { Programs::Random });
        };
        let Exploration { programs, cut_short, classes } = explore(usize::from(calls));
        let many = classes.len() as u64;
        if !args.json {
            ui.line(&format!("{programs} programs of {calls} calls, {many} classes of final states, {cut_short} not followed"))?;
        }
        let stride = (many.saturating_sub(args.seed - 1) / args.cases.max(1)).max(1);
        Ok(Programs::Classes { classes, stride })
    }

    /// The next number after the last program.
    fn end(&self, args: &Args) -> u64 {
        let end = args.seed.saturating_add(args.cases);
        match self {
            Programs::Random | Programs::Free => end,
            Programs::Classes { classes, stride } => {
                let rest = (classes.len() as u64).saturating_sub(args.seed - 1);
                args.seed + rest.div_ceil(*stride).min(args.cases)
            }
        }
    }

    fn script(&self, number: u64, args: &Args) -> Script {
        match self {
            Programs::Random | Programs::Free => generate(number, usize::from(args.calls)),
            Programs::Classes { classes, .. } => classes[self.seed(number, args) as usize - 1].clone(),
        }
    }

    /// By what a program of this run is called again.
    fn seed(&self, number: u64, args: &Args) -> u64 {
        match self {
            Programs::Random | Programs::Free => number,
            Programs::Classes { stride, .. } => args.seed + (number - args.seed) * stride,
        }
    }

    fn replay(&self, number: u64, args: &Args) -> String {
        let seed = self.seed(number, args);
        let kind = match (args.exhaustive, args.free) {
            _ if args.directed => "--directed".to_owned(),
            (Some(calls), _) => format!("--exhaustive {calls}"),
            (None, true) => format!("--free --calls {}", args.calls),
            (None, false) => format!("--calls {}", args.calls),
        };
        format!("doula sim verify {kind} --seed {seed} --cases 1")
    }
}

/// What came of one program.
enum Played {
    /// It was compared.
    Compared(Comparison),
    /// It differs: the smallest program that does, and how.
    Different(Difference),
    /// Only root can play it.
    NotForUs,
    /// Nobody came to rest: it is played again in a new namespace.
    Again,
    /// Linux can no longer be played on.
    Broken(Failure),
}

/// A program that differs: its calls, and how.
struct Difference {
    family: String,
    program: Vec<String>,
    how: String,
}

/// The result.
#[derive(Debug, Default, Serialize)]
struct Report {
    programs: u64,
    calls: usize,
    /// Calls that may end in more than one way.
    open: usize,
    /// The most ways that one may end in.
    most_outcomes: usize,
    /// Programs that were not followed to their end, because too much may happen in them.
    cut_short: u64,
    /// Programs that only root can play.
    not_for_us: u64,
    /// Programs in which nobody came to rest in time, so that they were played again.
    played_again: u64,
    seconds: f64,
    mismatches: Vec<Mismatch>,
}

/// A program on which Linux and the model differ.
#[derive(Debug, Serialize)]
struct Mismatch {
    seed: u64,
    family: String,
    program: Vec<String>,
    difference: String,
    replay: String,
}

/// Compares.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let jobs = args.jobs.map_or_else(cpus, usize::from);
    let programs = Programs::new(&args, ui)?;
    let report = play_all(&args, &programs, jobs, ui)?;
    let told = if args.json { ui.json(&report) } else { show(&report, args.free, ui) };
    told?;
    Ok(if report.mismatches.is_empty() { Exit::OK } else { Exit(1) })
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn play_all(args: &Args, programs: &Programs, jobs: usize, ui: &mut Ui) -> Result<Report, Failure> {
    let (next, end) = (AtomicU64::new(args.seed), programs.end(args));
    let (send, receive) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(usize::try_from(args.cases).unwrap_or(usize::MAX)) {
            let (next, send) = (&next, send.clone());
            scope.spawn(move || {
                play_some(args, programs, &|| next.fetch_add(1, Ordering::Relaxed), end, &send);
            });
        }
        drop(send);
        let report = gather(args, programs, &receive, ui);
        // Nobody begins another one.
        next.store(end, Ordering::Relaxed);
        report
    })
}

/// What one namespace does.
fn play_some(
    args: &Args,
    programs: &Programs,
    next: &impl Fn() -> u64,
    end: u64,
    send: &Sender<(u64, Played)>,
) {
    let mut linux = match Linux::new(usize::from(args.calls)) {
        Ok(linux) => linux,
        Err(failure) => return drop(send.send((0, Played::Broken(failure)))),
    };
    loop {
        let number = next();
        if number >= end {
            return;
        }
        let mut played = play_one(&mut linux, args, programs, number);
        // A process that does not come to rest on a busy machine is no difference; one that never does is no comparison.
        if linux.broken.is_some() {
            let again = send.send((number, Played::Again)).map(|()| Linux::new(usize::from(args.calls)));
            linux = match again {
                Ok(Ok(linux)) => linux,
                Ok(Err(failure)) => return drop(send.send((number, Played::Broken(failure)))),
                Err(_) => return,
            };
            played = play_one(&mut linux, args, programs, number);
        }
        if let Some(error) = linux.broken.take() {
            played = Played::Broken(Failure::doula(format!("the comparison cannot go on: {error}")));
        }
        let broken = matches!(played, Played::Broken(_));
        if send.send((number, played)).is_err() || broken {
            return;
        }
    }
}

fn play_one(linux: &mut Linux, args: &Args, programs: &Programs, number: u64) -> Played {
    let script = programs.script(number, args);
    let not_for_us = !is_for_us(script.family(), "");
    match programs {
        Programs::Free => play_freely(linux, number, usize::from(args.calls)),
        Programs::Random if not_for_us => Played::NotForUs,
        Programs::Random | Programs::Classes { .. } => play(linux, script),
    }
}

/// Whether we can play it: what root may do is for root, and terminals have to be there.
fn is_for_us(family: Family, text: &str) -> bool {
    let root = family == Family::Users || [" setuid ", " steal"].iter().any(|word| text.contains(word));
    let terminal = family == Family::Terminals || text.contains(" pty");
    let tracing = family == Family::Tracing || text.contains(" ptrace ");
    let number = family.chooses_numbers() || text.contains(" number ");
    (!root || conform::is_root())
        && (!terminal || conform::has_terminals())
        && (!tracing || conform::can_trace())
        && (!number || conform::can_choose_numbers())
}

fn play(linux: &mut Linux, script: Script) -> Played {
    match compare(linux, &script) {
        Comparison::Different(report) if linux.broken.is_none() => {
            let (script, how) = shrink(linux, script, report);
            let program = script.to_string().lines().map(str::to_owned).collect();
            Played::Different(Difference { family: script.family().to_string(), program, how })
        }
        compared @ (Comparison::Same(_) | Comparison::TooWide(_) | Comparison::Different(_)) => {
            Played::Compared(compared)
        }
    }
}

fn play_freely(linux: &mut Linux, seed: u64, calls: usize) -> Played {
    match run_freely(linux, seed, calls) {
        Ok(calls) => Played::Compared(Comparison::Same(Tally { calls, ..Tally::default() })),
        Err((program, how)) => Played::Different(Difference { family: "free".into(), program, how }),
    }
}

/// Adds up what was played, until the first difference.
fn gather(
    args: &Args,
    programs: &Programs,
    receive: &Receiver<(u64, Played)>,
    ui: &mut Ui,
) -> Result<Report, Failure> {
    let (mut report, began) = (Report::default(), Instant::now());
    let mut told = began;
    loop {
        report.seconds = began.elapsed().as_secs_f64();
        if told.elapsed() >= TELL && ui.notes_are_seen() {
            told = Instant::now();
            ui.note(&format!("{} of {} programs, {} calls", report.programs, args.cases, report.calls));
        }
        match receive.recv_timeout(TELL) {
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(report),
            Ok((_, Played::Broken(failure))) => return Err(failure),
            Ok((_, Played::NotForUs)) => report.not_for_us += 1,
            Ok((_, Played::Again)) => report.played_again += 1,
            Ok((_, Played::Compared(Comparison::TooWide(tally)))) => {
                report.cut_short += 1;
                report.add(&tally);
            }
            Ok((_, Played::Compared(Comparison::Same(tally)))) => report.add(&tally),
            Ok((_, Played::Compared(Comparison::Different(_)))) => {}
            Ok((number, Played::Different(Difference { family, program, how }))) => {
                report.programs += 1;
                let (seed, replay) = (programs.seed(number, args), programs.replay(number, args));
                report.mismatches.push(Mismatch { seed, family, program, difference: how, replay });
                return Ok(report);
            }
        }
    }
}

impl Report {
    fn add(&mut self, tally: &Tally) {
        self.programs += 1;
        self.calls += tally.calls;
        self.open += tally.open;
        self.most_outcomes = self.most_outcomes.max(tally.widest);
    }
}

/// What was found, and how fast. Of programs without turns nothing is foretold, so that there is nothing to differ from.
fn summary(report: &Report, free: bool) -> String {
    let Report { programs, calls, open, most_outcomes, cut_short, .. } = report;
    let (found, rate) = (report.mismatches.len(), *programs as f64 / report.seconds.max(1e-3));
    if free {
        return format!(
            "{programs} programs, {calls} calls all at once, {found} breaches of what must always hold\n{rate:.0} programs a second"
        );
    }
    let open = 100.0 * *open as f64 / (*calls).max(1) as f64;
    format!(
        "{programs} programs, {calls} calls, {found} mismatches, {open:.1} % with more than one legal outcome (at most {most_outcomes})\n\
         {rate:.0} programs a second; {cut_short} not followed to their end"
    )
}

fn show(report: &Report, free: bool, ui: &mut Ui) -> Result<(), Failure> {
    ui.line(&summary(report, free))?;
    if report.not_for_us > 0 {
        ui.line(&format!(
            "{} programs were left out: those about users are for root, those about terminals need /dev/ptmx, those about tracing ptrace(2), those with chosen numbers clone3(2)",
            report.not_for_us
        ))?;
    }
    if report.played_again > 0 {
        ui.line(&format!("{} played again, because nobody came to rest in time", report.played_again))?;
    }
    for mismatch in &report.mismatches {
        ui.line(&format!("\nprogram {} ({}) differs:", mismatch.seed, mismatch.family))?;
        mismatch.program.iter().try_for_each(|line| ui.line(&format!("  {}", crate::ui::escape(line))))?;
        mismatch.difference.lines().try_for_each(|line| ui.line(&crate::ui::escape(line)))?;
        ui.line(&format!("again: {}", mismatch.replay))?;
    }
    Ok(())
}
