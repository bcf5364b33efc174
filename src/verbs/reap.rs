//! `doula reap`: has zombies buried, by what harms least first.
//!
//! Three beats: what the doctor found becomes steps, each step is taken by checked handles, and after each it is looked who is
//! buried. Nothing is done without `--yes`, and nothing inside of another process unless that is asked for by name.

use super::doctor::{failed, found, text};
use crate::error::{Exit, Failure, Outcome};
use crate::ui::{Ui, escape};
use doula_host::aim::{self, Target};
use doula_host::diagnosis::{Cause, Doctor, Finding, Party, Zombie};
use doula_host::procfs::{ProcState, Reader};
use doula_host::{Pid, Signal, inject};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long a parent may take to bury after it was told.
const BURIED_WITHIN: Duration = Duration::from_secs(1);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Has the zombies of a process buried, by what harms least first
///
/// PID is a zombie, or the parent of some. What would be done is told, and done with `--yes`: a stopped tracer or parent
/// goes on (SIGCONT), then the parent is sent SIGCHLD, which makes those bury that missed one. With `--inject`, wait4(2) is called
/// inside of the parent, by ptrace(2), for exactly the zombie's number; all its registers are restored afterwards. The parent
/// never learns how that child ended, and a later wait for it fails (ECHILD). Where a tracer holds the zombie, that is done inside of the
/// tracer first, and then the kernel tells the parent.
///
/// Exit code 1 when a zombie is left.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula reap 1234                   what would be done
  doula reap 1234 --yes             do it: signals only
  doula reap 1234 --yes --inject    and where those do not help, wait inside of the parent")]
pub(crate) struct Args {
    /// A zombie, or the parent of some
    #[arg(value_name = "PID")]
    pid: i32,

    /// Do it
    #[arg(short, long)]
    yes: bool,

    /// Where signals do not help: wait inside of the parent, by ptrace(2)
    #[arg(long)]
    inject: bool,

    /// One JSON object for each zombie
    #[arg(long)]
    json: bool,
}

/// One thing that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Signal(Signal, Party),
    Inject(Party),
}

impl Step {
    /// `send SIGCONT to 1234 (name)`.
    fn told(&self) -> String {
        match self {
            Step::Signal(signal, party) => format!("send {signal} to {party}"),
            Step::Inject(party) => format!("call wait4(2) inside of {party}"),
        }
    }
}

/// Runs it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let mut doctor = Doctor::new().map_err(failed)?;
    let (pid, diagnosis) = found(&mut doctor, args.pid)?;
    if diagnosis.zombies.is_empty() {
        ui.note(&format!("{pid} is no zombie and has none"));
        return Ok(Exit::OK);
    }
    let mut left = false;
    for finding in &diagnosis.zombies {
        let steps = steps(finding, args.inject);
        if !args.yes {
            plan(finding, &steps, ui)?;
            left = true;
            continue;
        }
        left |= !carry_out(doctor.reader(), finding, &steps, (args.json, ui))?;
    }
    Ok(if left { Exit(1) } else { Exit::OK })
}

/// From what harms least to what was asked for by name.
fn steps(finding: &Finding, inject: bool) -> Vec<Step> {
    let parent = &finding.parent.who;
    let goes_on = |party: &Party| {
        (party.state == ProcState::Stopped).then(|| Step::Signal(Signal::CONT, party.clone()))
    };
    let mut steps = Vec::new();
    if let Cause::LeaderDead { .. } = finding.cause {
        return steps;
    }
    if let Cause::HeldByTracer(tracer) | Cause::ParentTraced(Some(tracer)) = &finding.cause {
        steps.extend(goes_on(tracer));
    }
    if let Cause::HeldByTracer(tracer) = &finding.cause
        && inject
    {
        steps.push(Step::Inject(tracer.clone()));
    }
    steps.extend(goes_on(parent));
    steps.push(Step::Signal(Signal::CHLD, parent.clone()));
    if inject {
        steps.push(Step::Inject(parent.clone()));
    }
    steps
}

fn plan(finding: &Finding, steps: &[Step], ui: &mut Ui) -> Result<(), Failure> {
    for line in text::finding(finding) {
        ui.line(&escape(&line))?;
    }
    for step in steps {
        ui.line(&escape(&format!("    would {}", step.told())))?;
    }
    if steps.is_empty() {
        return ui.line("    nothing that could be done here would bury it");
    }
    ui.hint("add --yes to do it");
    Ok(())
}

/// Takes the steps until all are buried; `true` if they are.
fn carry_out(
    reader: &mut Reader,
    finding: &Finding,
    steps: &[Step],
    (as_json, ui): (bool, &mut Ui),
) -> Result<bool, Failure> {
    let mut left: Vec<&Zombie> = finding.zombies.iter().collect();
    for step in steps {
        if let Err(why) = take(reader, step, &left) {
            ui.note(&format!("could not {}: {why}", step.told()));
            continue;
        }
        let parent = finding.parent.who.pid;
        let buried = await_burials(reader, parent, &mut left)?;
        for zombie in buried {
            tell(zombie, &format!("was buried after we did this: {}", step.told()), (as_json, ui))?;
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
    for zombie in &left {
        tell(zombie, &format!("is left, because {}", finding.cause), (as_json, ui))?;
    }
    Ok(false)
}

fn tell(zombie: &Zombie, told: &str, (as_json, ui): (bool, &mut Ui)) -> Result<(), Failure> {
    let name = String::from_utf8_lossy(&zombie.name);
    if as_json {
        return ui.json(&json!({ "pid": zombie.who.pid.get(), "name": name, "told": told }));
    }
    ui.line(&escape(&format!("{} ({name}) {told}", zombie.who.pid)))
}

fn take(reader: &mut Reader, step: &Step, left: &[&Zombie]) -> Result<(), String> {
    match step {
        Step::Signal(signal, party) => {
            handle(reader, party.pid)?.signal(*signal).map_err(|missed| missed.to_string())
        }
        Step::Inject(party) => {
            let zombies: Vec<_> = left.iter().map(|zombie| zombie.who).collect();
            inject::bury(reader, party.pid, &zombies).map(drop).map_err(|error| error.to_string())
        }
    }
}

fn handle(reader: &mut Reader, pid: Pid) -> Result<Target, String> {
    let stat = reader.stat(pid).ok_or("it is gone")?;
    Target::take(reader, &stat).map_err(|missed| missed.to_string())
}

/// Looks until all are buried, or the time is over; those who are buried are taken out and returned.
fn await_burials<'a>(
    reader: &mut Reader,
    parent: Pid,
    left: &mut Vec<&'a Zombie>,
) -> Result<Vec<&'a Zombie>, Failure> {
    let end = Instant::now() + BURIED_WITHIN;
    let parent = handle(reader, parent).ok();
    let mut buried = Vec::new();
    loop {
        let there = |reader: &mut Reader, zombie: &Zombie| {
            reader.stat(zombie.who.pid).is_some_and(|stat| stat.identity() == zombie.who)
        };
        let (stay, gone): (Vec<_>, Vec<_>) = left.drain(..).partition(|zombie| there(reader, zombie));
        (*left, buried) = (stay, [buried, gone].concat());
        // Whoever adopts the children of a parent that has ended is somebody else's business.
        let over = parent.as_ref().is_none_or(Target::has_ended) || Instant::now() >= end;
        if left.is_empty() || over {
            return Ok(buried);
        }
        aim::wait(parent.as_slice(), LOOK_EVERY).map_err(failed)?;
    }
}
