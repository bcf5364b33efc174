//! `--workers`: jobs that are done by workers that live on, each asked and answered by lines ([`protocol`]) or by frames.

use super::Args;
use super::bundle::{self, Case};
use super::desk::{self, Desk, Intake, Manner};
use super::input::Input;
use super::journal::{self, Keeper};
use super::limits;
use super::protocol::{self, Reply};
use super::report::{Report, Settled, Subject, attempt_json};
use super::template::{Inputs, Place, Template};
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use doula_core::queue::{Counts, SlotId};
use doula_host::jobs::workers::{Answer, Death, NoAnswer, Protocol, Tasks};
use doula_host::jobs::{Attempt, Flow, Identity, Next, Stop, Stream};
use doula_host::signals::Arrival;
use doula_host::{Command, CommandError, ExitStatus, Signal, Usage};
use doula_model::task::{self, TaskId, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::time::{Duration, Instant, SystemTime};

/// A job that did not come to its end yet.
#[derive(Debug)]
struct Open {
    inputs: Inputs,
    /// Its last attempt: where, which, and since when.
    began: Option<(SlotId, u32, Instant, SystemTime)>,
    reply: Option<Reply>,
    /// What its worker wrote to standard error, if that is kept.
    error: Vec<u8>,
    /// How the workers ended that had it, and the one that had it last.
    deaths: Vec<Death>,
    death: Option<Death>,
}

impl Open {
    fn new(inputs: Inputs) -> Open {
        Open { inputs, began: None, reply: None, error: Vec::new(), death: None, deaths: Vec::new() }
    }
}

impl desk::Open for Open {
    fn began(&self) -> Option<(SlotId, u32, Instant)> {
        self.began.map(|(slot, attempt, began, _)| (slot, attempt, began))
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}

/// All of them, and who does them.
#[derive(Debug)]
pub(super) struct Crew<'u> {
    intake: Intake,
    template: Template,
    desk: Desk<'u>,
    manner: Manner,
    /// Inputs are lists.
    many: bool,
    /// They are asked by lines.
    lines: bool,
    /// Their protocol, as it is called.
    called: &'static str,
    keeps_errors: bool,
    open: BTreeMap<TaskId, Open>,
}

impl<'u> Crew<'u> {
    pub(super) fn new(
        input: Input,
        template: Template,
        args: &Args,
        ignored: Vec<Signal>,
        mut report: Report<'u>,
    ) -> Result<Crew<'u>, Failure> {
        // With a journal a result is shown before that is written down.
        if args.journal.journal.is_none() {
            report.put_off();
        }
        Ok(Crew {
            many: input.is_many(),
            lines: args.workers.is_lines(),
            called: if args.workers.protocol() == Protocol::Ring { "ring" } else { "frames" },
            intake: Intake::new(input),
            template,
            desk: Desk::new(args, report)?,
            manner: Manner::new(&args.many, ignored),
            keeps_errors: args.output.results.is_some(),
            open: BTreeMap::new(),
        })
    }

    /// What happens is written down from now on, and what happened before is taken over.
    pub(super) fn keep(&mut self, keeper: Option<Keeper>) {
        self.desk.keep(keeper);
    }

    /// The words of the worker of a slot.
    fn words(&self, slot: SlotId) -> Vec<OsString> {
        // A command without words fails as one that is not found does.
        self.template.fill(&Vec::new(), Place { number: 0, slot }).unwrap_or_default()
    }

    /// Keeps a job that ended its workers, to do it again.
    fn bundle(&mut self, task: TaskId, job: &Open) -> io::Result<()> {
        let mut input = Vec::new();
        self.say(task, &job.inputs, &mut input);
        let slot = job.deaths.last().map(|death| death.slot);
        let mut argv = self.words(slot.unwrap_or(1));
        if !self.lines {
            argv = by_frames(argv, self.called, job.inputs.len())?;
        }
        let mut ends = self.desk.deaths(task);
        ends.extend(job.deaths.iter().map(|death| bundle::Death {
            pid: Some(death.pid),
            status: death.status,
            how: death.to_string(),
        }));
        self.desk.bundle(&Case { task, argv: &argv, slot, input: &input, ends: &ends })
    }

    /// Appends what a worker is asked.
    fn say(&self, task: TaskId, inputs: &Inputs, to: &mut Vec<u8>) {
        match self.lines {
            true => protocol::ask(task.0, inputs, self.many, to),
            false => to.extend_from_slice(&inputs.join(&0)),
        }
    }

    fn replied(&mut self, task: TaskId, reply: Reply) {
        if let Some(job) = self.open.get_mut(&task) {
            job.reply = Some(reply);
        }
    }

    pub(super) fn finish(self, ended: io::Result<Counts>) -> Outcome {
        self.desk.finish(ended)
    }
}

impl Flow for Crew<'_> {
    fn next(&mut self) -> io::Result<Next> {
        self.intake.next(&mut self.desk, &mut self.open, Open::new)
    }

    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.intake.waits_for(&self.desk)
    }

    fn began(&mut self, task: TaskId, attempt: u32, slot: SlotId) {
        self.desk.began(task, attempt, slot);
        let in_work = self.open.len();
        if let Some(job) = self.open.get_mut(&task) {
            if let Some(keeper) = &mut self.desk.keeper {
                keeper.given(journal::begin(task, attempt, slot, (&[], &job.inputs)), in_work);
            }
            job.began = Some((slot, attempt, Instant::now(), SystemTime::now()));
            job.reply = None;
            job.death = None;
            job.error.clear();
        }
    }

    fn note(&mut self, text: &str) {
        self.desk.report.note(text);
    }

    fn cramped(&mut self, why: &str) {
        self.desk.cramped(why);
    }

    fn retries(&mut self, task: TaskId, attempt: u32, failure: task::Failure, pause: Duration) {
        self.desk.retries(task, attempt, failure, pause);
    }

    fn settled(&mut self, task: TaskId, verdict: Verdict, attempts: u32) -> io::Result<()> {
        let Some(job) = self.open.remove(&task) else { return Ok(()) };
        if self.desk.bundles(verdict) {
            self.bundle(task, &job)?;
        }
        let told = told(&job, verdict, attempts, self.desk.deaths(task).len());
        let tag = job.inputs.join(&b' ');
        let Open { inputs, began, reply, error, death, .. } = job;
        // What was answered wrongly is not shown.
        let reply = reply.filter(|_| !matches!(verdict, Verdict::Failed(task::Failure::Protocol)));
        let died = death.as_ref().and_then(|death| death.status);
        let status = died.unwrap_or(ExitStatus::code(u8::from(verdict != Verdict::Done)));
        let attempt = began.map(|(slot, number, since, began)| Attempt {
            task,
            number,
            slot,
            pid: death.as_ref().map(|death| death.pid),
            status: if verdict == Verdict::Done { ExitStatus::code(0) } else { status },
            began,
            took: since.elapsed(),
            usage: Usage::default(),
            output: reply.map(|reply| reply.output).unwrap_or_default().into(),
            error: error.into(),
            left: false,
            oom_kills: death.as_ref().and_then(|death| death.oom_kills),
        });
        if let Some(attempt) = attempt.as_ref().filter(|_| self.desk.report.has_events()) {
            let event = json!({ "event": "ended", "task": task.0, "attempt": attempt_json(attempt) });
            self.desk.report.event(&event)?;
        }
        let words = inputs.into_iter().map(OsString::from_vec).collect();
        let subject = Subject::Inputs { told };
        self.desk.settled(Settled { task, verdict, attempts, tag, words, attempt, not_born: None, subject })
    }

    fn halted(&mut self) {
        self.desk.halted();
    }

    fn throttle(&mut self) -> bool {
        self.desk.throttle()
    }

    fn before_sleep(&mut self) -> io::Result<Option<Duration>> {
        self.desk.before_sleep(&self.open, &self.intake)
    }

    fn progress(&mut self, counts: &Counts, in_work: usize) {
        self.desk.progress(counts, in_work);
    }

    fn signal(&mut self, arrival: Arrival) -> Stop {
        self.desk.signal(arrival.signal)
    }
}

impl Tasks for Crew<'_> {
    fn worker(&mut self, slot: SlotId) -> Command {
        let words = self.words(slot);
        let mut command = Command::new(words.first().map_or(OsStr::new(""), OsString::as_os_str));
        command.args(words.iter().skip(1)).env("DOULA_SLOT", slot.to_string());
        // Nobody waits for them any more when we are killed.
        command.parent_death_signal(Signal::KILL);
        self.manner.give(&mut command, slot);
        command
    }

    fn hired(&mut self, slot: SlotId, identity: &Identity) {
        if let Some(keeper) = &mut self.desk.keeper {
            keeper.hired(slot, identity);
        }
    }

    fn ask(&mut self, task: TaskId, line: &mut Vec<u8>) {
        if let Some(job) = self.open.get(&task) {
            self.say(task, &job.inputs, line);
        }
    }

    fn answer(&mut self, task: TaskId, line: &[u8]) -> Result<Answer, NoAnswer> {
        let (answer, reply) = protocol::answer(task, line, self.lines)?;
        self.replied(task, reply);
        Ok(answer)
    }

    fn whose(&self, line: &[u8]) -> Option<TaskId> {
        protocol::whose(line)
    }

    fn failed(&mut self, task: TaskId, why: &[u8]) {
        self.replied(task, protocol::failed(task, why));
    }

    fn said(&mut self, slot: SlotId, task: Option<TaskId>, line: &[u8]) -> io::Result<()> {
        let job = task.and_then(|task| self.open.get_mut(&task));
        if let Some(job) = job.filter(|_| self.keeps_errors) {
            job.error.extend_from_slice(line);
        }
        let job = task.and_then(|task| self.open.get(&task));
        let tag = job.map_or_else(|| format!("worker {slot}").into_bytes(), |job| job.inputs.join(&b' '));
        self.desk.report.line(&tag, Stream::Err, line)
    }

    fn died(&mut self, death: &Death) {
        let Death { slot, pid, task, suspects, status, why, oom_kills } = death;
        if self.desk.report.has_events() {
            let event = json!({
                "event": "died", "slot": slot, "pid": pid.get(), "task": task.map(|(task, _)| task.0), "why": why,
                "suspects": suspects, "oom_kills": oom_kills,
                "code": status.and_then(ExitStatus::exit_code),
                "signal": status.and_then(ExitStatus::killed_by).map(|signal| signal.to_string()),
            });
            drop(self.desk.report.event(&event));
        }
        match task.and_then(|(task, _)| self.open.get_mut(&task)) {
            Some(job) => {
                job.deaths.push(death.clone());
                job.death = Some(death.clone());
            }
            None if *suspects > 0 => {
                self.desk.report.note(&format!(
                    "worker {slot} {death}: each of its {suspects} jobs is tried again by itself"
                ));
            }
            // Whoever has had enough may go.
            None if why.is_none() && status.is_some_and(|status| status.killed_by().is_none()) => {}
            None => self.desk.report.note(&format!("worker {slot} {death}: another takes its place")),
        }
    }

    fn hopeless(&mut self, death: &Death) {
        let text = format!("workers end before they take a job, again and again: the last one {death}");
        let hint =
            "a worker reads lines from its standard input and answers each; what it says elsewhere is above";
        self.desk.hopeless = Some(Failure::new(Kind::Ended, text).hint(hint));
    }

    fn not_born(&mut self, _slot: SlotId, error: &CommandError) {
        self.desk.report.note(&format!("no worker can be started: {error}"));
        self.desk.missing = Some(error.shell_code());
    }
}

/// The words that do a job of a worker by frames again, with its inputs on standard input.
fn by_frames(worker: Vec<OsString>, called: &str, inputs: usize) -> io::Result<Vec<OsString>> {
    let mut words = vec![std::env::current_exe()?.into_os_string()];
    let count = inputs.to_string();
    words.extend(
        ["run", "--workers", called, "-j1", "--quarantine=1", "-0", "-n", &count].map(OsString::from),
    );
    words.extend(worker);
    Ok(words)
}

/// Shows what workers would be asked.
pub(super) fn dry_run(input: Input, lines: bool, ui: &mut Ui) -> Outcome {
    let (many, mut line) = (input.is_many(), Vec::new());
    input.each(|number, inputs| {
        line.clear();
        match lines {
            true => protocol::ask(number, inputs, many, &mut line),
            false => line = [inputs.join(&0), b"\n".to_vec()].concat(),
        }
        ui.bytes(&line)
    })?;
    Ok(Exit::OK)
}

/// How it failed: the rest of a sentence that begins with the job. It ended so many workers in runs `before`.
fn told(job: &Open, verdict: Verdict, attempts: u32, before: usize) -> Option<String> {
    let tries = if attempts > 1 { format!(", {attempts} times") } else { String::new() };
    let why = job.death.as_ref().and_then(|death| death.why.as_deref());
    let last = job.death.as_ref().map_or_else(|| "was lost".to_owned(), Death::to_string);
    let counted = limits::evidence(job.death.as_ref().and_then(|death| death.oom_kills));
    let starved = format!("{}{counted}", task::Failure::OutOfMemory);
    let failure = match verdict {
        Verdict::Done | Verdict::Cancelled | Verdict::Skipped => return None,
        Verdict::Quarantined(failure) => {
            let last = if failure == task::Failure::OutOfMemory { starved } else { last };
            let count = before + job.deaths.len();
            let workers = if count == 1 { "1 worker" } else { &format!("{count} workers") };
            return Some(format!(" ended {workers}, and is not tried again: the last one {last}"));
        }
        Verdict::Failed(failure) => failure,
    };
    Some(match failure {
        task::Failure::Answered => {
            let error = job.reply.as_ref().and_then(|reply| reply.error.as_deref()).unwrap_or_default();
            format!(": {error}{tries}")
        }
        task::Failure::Protocol => format!(" {failure}: {}{tries}", why.unwrap_or_default()),
        task::Failure::TimedOut | task::Failure::NotStarted(_) => format!(" {failure}{tries}"),
        task::Failure::OutOfMemory => format!(": its worker {starved}{tries}"),
        task::Failure::Code(_) | task::Failure::Signal(_) | task::Failure::Lost => {
            format!(": its worker {last}{tries}")
        }
    })
}
