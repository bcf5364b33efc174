//! `doula doctor`: what is wrong with processes, why, and what helps, in sentences.
//!
//! The facts and the verdicts come from the library (`doula::diagnosis`); here they are told: to people ([`text`]) or to programs
//! ([`json`]). What this machine offers doula is in [`own`].

pub(super) mod json;
mod load;
mod own;
pub(super) mod text;

use crate::config;
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::{Ui, escape};
use doula_host::Pid;
use doula_host::diagnosis::{Diagnosis, Doctor, Report};
use std::time::Duration;

/// Tells what is wrong with processes, why, and what helps
///
/// Zombies: whose they are, why nobody buries them, how they ended, how fast they become more, and the least harmful cure.
/// Blocked processes: on what and on whom they wait, and whether SIGKILL would help. Who waits for whom: the end of
/// the chain, and circles that nobody leaves.
///
/// Without a number all processes are looked at twice, and only what lasted is told. With one, all that this process waits for.
///
/// Exit code 1 when something was found.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula doctor                    what is wrong on this machine
  doula doctor 1234               why this process does not go on, or has zombies
  doula doctor --interval 1min    how fast zombies become more, measured
  doula doctor 1234 -i 1min       the same of this one's
  doula doctor --load             the load average, taken apart
  doula doctor --self             what this machine offers doula")]
pub(crate) struct Args {
    /// Only this process, and whom it waits for
    #[arg(value_name = "PID")]
    pid: Option<i32>,

    /// The load average, taken apart: who runs, who is blocked, where and in which cgroup
    #[arg(long, conflicts_with_all = ["pid", "own", "interval"])]
    load: bool,

    /// What this kernel, its cgroups and our permissions offer doula
    #[arg(long = "self", conflicts_with_all = ["pid", "interval"])]
    own: bool,

    /// Measure over this time how fast zombies become more
    #[arg(short, long, value_name = "DURATION", value_parser = config::duration)]
    interval: Option<Duration>,

    /// How long something must last to be told
    #[arg(long, value_name = "DURATION", value_parser = config::duration, default_value = "300ms")]
    lasting: Duration,

    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    if args.own {
        return own::run(args.json, ui);
    }
    let mut doctor = Doctor::new().map_err(failed)?;
    if args.load {
        return load::run(&mut doctor, args.json, ui);
    }
    match args.pid {
        Some(number) => one(&mut doctor, number, &args, ui),
        None => all(&mut doctor, &args, ui),
    }
}

pub(super) fn failed(error: std::io::Error) -> Failure {
    Failure::doula(format!("failed to look at the processes: {error}"))
}

/// The number of a process that is there, or why it is not.
pub(super) fn found(doctor: &mut Doctor, number: i32) -> Result<(Pid, Diagnosis), Failure> {
    let pid =
        Pid::new(number).ok_or_else(|| Failure::usage(format!("{number} is no number of a process")))?;
    let diagnosis = doctor.diagnose(pid).map_err(failed)?;
    let diagnosis =
        diagnosis.ok_or_else(|| Failure::new(Kind::Ended, format!("there is no process {pid}")))?;
    Ok((pid, diagnosis))
}

fn one(doctor: &mut Doctor, number: i32, args: &Args, ui: &mut Ui) -> Outcome {
    let (_, mut diagnosis) = found(doctor, number)?;
    if let Some(interval) = args.interval {
        // Of a zombie, those of its parent are counted.
        let whose = diagnosis.zombies.first().map_or(diagnosis.stat.pid, |finding| finding.parent.who.pid);
        diagnosis.zombies = doctor.measure(interval).map_err(failed)?;
        diagnosis.zombies.retain(|finding| finding.parent.who.pid == whose);
    }
    let is_sick = !diagnosis.zombies.is_empty()
        || diagnosis.waits.iter().any(doula_host::diagnosis::Wait::is_trouble)
        || diagnosis.circles.iter().any(|circle| circle.closed);
    if args.json {
        ui.json(&json::diagnosis(&diagnosis))?;
    } else {
        tell(&text::diagnosis(&diagnosis), ui)?;
    }
    Ok(if is_sick { Exit(1) } else { Exit::OK })
}

fn all(doctor: &mut Doctor, args: &Args, ui: &mut Ui) -> Outcome {
    let mut report = doctor.examine(args.lasting).map_err(failed)?;
    if let Some(interval) = args.interval {
        report.zombies = doctor.measure(interval).map_err(failed)?;
    }
    if args.json {
        ui.json(&json::report(&report))?;
    } else {
        tell(&lines(&report), ui)?;
    }
    Ok(if report.is_healthy() { Exit::OK } else { Exit(1) })
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = text::report(report);
    if report.is_healthy() {
        lines.push(
            "nothing is wrong: no zombie stays, nobody is blocked, nobody waits in a circle".to_owned(),
        );
    }
    if report.passing > 0 {
        lines.push(format!("({} zombies were buried while we looked, as it should be)", report.passing));
    }
    lines
}

fn tell(lines: &[String], ui: &mut Ui) -> Result<(), Failure> {
    lines.iter().try_for_each(|line| ui.line(&escape(line)))
}
