//! `doula sim verify`: Linux on paper against the kernel that runs here.
//!
//! Programs are played by [`linux`], whose processes are this program again ([`play`]); what is compared, and how, is
//! `doula_sim::oracle`. Here programs are handed out to namespaces in parallel, and the result is told.

mod linux;
mod play;

pub(crate) use play::at_once;

use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use doula_sim::oracle::{Comparison, Family, Script, Tally, compare, generate, shrink};
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
/// Random programs (births, deaths, waits, signals, groups, pipes, handles, programs, threads, memory, namespaces) are played on the
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
  doula sim verify --seed 4711 --cases 1")]
pub(crate) struct Args {
    /// How many programs
    #[arg(long, default_value_t = 500, value_name = "N")]
    cases: u64,

    /// How many calls each has
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    calls: u16,

    /// The number of the first program; the same number is the same program
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,

    /// How many namespaces play at a time; as many as there are CPUs if nothing is said
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,

    /// The result as JSON on one line
    #[arg(long)]
    json: bool,
}

/// What came of one program.
enum Played {
    /// It was compared.
    Compared(Comparison),
    /// It differs: the smallest program that does, and how.
    Different(Script, String),
    /// Only root can play it.
    NotForUs,
    /// Linux can no longer be played on.
    Broken(Failure),
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
    let report = play_all(&args, jobs, ui)?;
    let told = if args.json { ui.json(&report) } else { show(&report, ui) };
    told?;
    Ok(if report.mismatches.is_empty() { Exit::OK } else { Exit(1) })
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn play_all(args: &Args, jobs: usize, ui: &mut Ui) -> Result<Report, Failure> {
    let (next, end) = (AtomicU64::new(args.seed), args.seed.saturating_add(args.cases));
    let (send, receive) = mpsc::channel();
    let root = doula_host::conform::is_root();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(usize::try_from(args.cases).unwrap_or(usize::MAX)) {
            let (next, send) = (&next, send.clone());
            scope.spawn(move || play_some(args, root, next, end, &send));
        }
        drop(send);
        let report = gather(args, &receive, ui);
        // Nobody begins another one.
        next.store(end, Ordering::Relaxed);
        report
    })
}

/// What one namespace does.
fn play_some(args: &Args, root: bool, next: &AtomicU64, end: u64, send: &Sender<(u64, Played)>) {
    let mut linux = match Linux::new(usize::from(args.calls)) {
        Ok(linux) => linux,
        Err(failure) => return drop(send.send((0, Played::Broken(failure)))),
    };
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let script = generate(seed, usize::from(args.calls));
        let played = if script.family() == Family::Users && !root {
            Played::NotForUs
        } else {
            play(&mut linux, script)
        };
        let broken = matches!(played, Played::Broken(_));
        if send.send((seed, played)).is_err() || broken {
            return;
        }
    }
}

fn play(linux: &mut Linux, script: Script) -> Played {
    let compared = compare(linux, &script);
    if let Some(error) = linux.broken.take() {
        return Played::Broken(Failure::doula(format!("the comparison cannot go on: {error}")));
    }
    match compared {
        Comparison::Different(report) => {
            let (script, report) = shrink(linux, script, report);
            Played::Different(script, report)
        }
        other @ (Comparison::Same(_) | Comparison::TooWide(_)) => Played::Compared(other),
    }
}

/// Adds up what was played, until the first difference.
fn gather(args: &Args, receive: &Receiver<(u64, Played)>, ui: &mut Ui) -> Result<Report, Failure> {
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
            Ok((_, Played::Compared(Comparison::TooWide(tally)))) => {
                report.cut_short += 1;
                report.add(&tally);
            }
            Ok((_, Played::Compared(Comparison::Same(tally)))) => report.add(&tally),
            Ok((_, Played::Compared(Comparison::Different(_)))) => {}
            Ok((seed, Played::Different(script, difference))) => {
                report.programs += 1;
                report.mismatches.push(Mismatch {
                    seed,
                    family: script.family().to_string(),
                    program: script.to_string().lines().map(str::to_owned).collect(),
                    difference,
                    replay: format!("doula sim verify --seed {seed} --cases 1 --calls {}", args.calls),
                });
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

fn show(report: &Report, ui: &mut Ui) -> Result<(), Failure> {
    let open = 100.0 * report.open as f64 / report.calls.max(1) as f64;
    ui.line(&format!(
        "{} programs, {} calls, {} mismatches, {open:.1} % with more than one legal outcome (at most {})",
        report.programs,
        report.calls,
        report.mismatches.len(),
        report.most_outcomes
    ))?;
    let rate = report.programs as f64 / report.seconds.max(1e-3);
    ui.line(&format!("{rate:.0} programs a second; {} not followed to their end", report.cut_short))?;
    if report.not_for_us > 0 {
        ui.line(&format!(
            "{} programs about users were left out: only root can play them",
            report.not_for_us
        ))?;
    }
    for mismatch in &report.mismatches {
        ui.line(&format!("\nprogram {} ({}) differs:", mismatch.seed, mismatch.family))?;
        mismatch.program.iter().try_for_each(|line| ui.line(&format!("  {}", crate::ui::escape(line))))?;
        mismatch.difference.lines().try_for_each(|line| ui.line(&crate::ui::escape(line)))?;
        ui.line(&format!("again: {}", mismatch.replay))?;
    }
    Ok(())
}
