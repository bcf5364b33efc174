//! The jobs of one run: what each is, and what became of it.

use super::Args;
use super::bundle::{Case, Death};
use super::desk::{self, Desk, Intake, Manner};
use super::input::Input;
use super::journal::{self, Keeper};
use super::report::{Report, Settled, Subject, attempt_json};
use super::template::{Inputs, Place, Template, quote};
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use doula_core::queue::{Counts, SlotId};
use doula_host::jobs::{Adopted, Attempt, Flow, Known, Next, Stop, Stream, Work};
use doula_host::signals::Arrival;
use doula_host::{Command, CommandError, Signal, Stdio};
use doula_model::task::{self, TaskId, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A job that did not come to its end yet.
#[derive(Debug)]
struct Open {
    inputs: Inputs,
    words: Vec<OsString>,
    attempt: Option<Attempt>,
    not_born: Option<String>,
    /// What was prepared for it.
    command: Option<Command>,
    /// Its attempt, while it is in work: where, which, and since when.
    began: Option<(SlotId, u32, Instant)>,
    /// How its attempts ended of which it died.
    deaths: Vec<Death>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Jobs<'u> {
    intake: Intake,
    template: Template,
    desk: Desk<'u>,
    manner: Manner,
    /// Their standard input.
    nothing: Stdio,
    open: BTreeMap<TaskId, Open>,
}

impl<'u> Jobs<'u> {
    pub(super) fn new(
        input: Input,
        template: Template,
        args: &Args,
        ignored: Vec<Signal>,
        report: Report<'u>,
    ) -> Result<Jobs<'u>, Failure> {
        Ok(Jobs {
            intake: Intake::new(input),
            template,
            desk: Desk::new(args, report)?,
            manner: Manner::new(&args.many, ignored),
            nothing: null(),
            open: BTreeMap::new(),
        })
    }

    /// What happens is written down from now on, and what happened before is taken over.
    pub(super) fn keep(&mut self, keeper: Option<Keeper>) {
        self.desk.keep(keeper);
    }

    /// What comes of it all.
    pub(super) fn finish(self, ended: io::Result<Counts>) -> Outcome {
        self.desk.finish(ended)
    }

    /// The words of a job's command.
    fn fill(&mut self, task: TaskId, slot: SlotId) {
        if let Some(job) = self.open.get_mut(&task) {
            // A line that is no command fails as one that is not found does.
            job.words = match self.template.fill(&job.inputs, Place { number: task.0, slot }) {
                Ok(words) => words,
                Err(_) => vec![OsString::new()],
            };
        }
    }

    /// A job could not be started; whether others should be.
    fn not_started(&mut self, task: TaskId, code: u8, why: String) -> Stop {
        let Some(job) = self.open.get_mut(&task) else { return Stop::No };
        let place = Place { number: task.0, slot: 0 };
        job.not_born = Some(self.template.fill(&job.inputs, place).map_or_else(|wrong| wrong, |_| why));
        // The next one could not be started either: one such message is enough.
        if self.template.has_one_program() && matches!(code, 126 | 127) {
            self.desk.missing = Some(code);
            return Stop::Soon;
        }
        Stop::No
    }
}

impl Open {
    fn new(inputs: Inputs) -> Open {
        Open {
            inputs,
            words: Vec::new(),
            attempt: None,
            not_born: None,
            command: None,
            began: None,
            deaths: Vec::new(),
        }
    }
}

impl desk::Open for Open {
    fn began(&self) -> Option<(SlotId, u32, Instant)> {
        self.began
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }
}

/// How somebody died of a job.
fn death(attempt: &Attempt, failure: task::Failure) -> Death {
    let starved = failure == task::Failure::OutOfMemory;
    let how = if starved { failure.to_string() } else { attempt.status.to_string() };
    Death { pid: attempt.pid, status: Some(attempt.status), how }
}

/// Opened once for all jobs.
pub(super) fn null() -> Stdio {
    match std::fs::File::open("/dev/null") {
        Ok(file) => Stdio::from(Arc::new(file.into())),
        Err(_) => Stdio::null(),
    }
}

impl Flow for Jobs<'_> {
    fn next(&mut self) -> io::Result<Next> {
        self.intake.next(&mut self.desk, &mut self.open, Open::new)
    }

    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.intake.waits_for(&self.desk)
    }

    fn began(&mut self, task: TaskId, attempt: u32, slot: SlotId) {
        self.desk.began(task, attempt, slot);
        if let Some(job) = self.open.get_mut(&task) {
            job.began = Some((slot, attempt, Instant::now()));
        }
    }

    fn note(&mut self, text: &str) {
        self.desk.report.note(text);
    }

    fn cramped(&mut self, why: &str) {
        self.desk.cramped(why);
    }

    fn retries(&mut self, task: TaskId, attempt: u32, failure: task::Failure, pause: Duration) {
        if let Some(job) = self.open.get_mut(&task).filter(|_| failure.is_death()) {
            job.deaths.extend(job.attempt.as_ref().map(|attempt| death(attempt, failure)));
        }
        self.desk.retries(task, attempt, failure, pause);
    }

    fn settled(&mut self, task: TaskId, verdict: Verdict, attempts: u32) -> io::Result<()> {
        let Some(job) = self.open.remove(&task) else { return Ok(()) };
        let Open { inputs, words, attempt, not_born, deaths, .. } = job;
        if self.desk.bundles(verdict) {
            let mut ends = self.desk.deaths(task);
            ends.extend(deaths);
            if let Verdict::Quarantined(failure) = verdict {
                ends.extend(attempt.as_ref().map(|attempt| death(attempt, failure)));
            }
            self.desk.bundle(&Case { task, argv: &words, slot: None, input: b"", ends: &ends })?;
        }
        let (tag, subject) = (inputs.join(&b' '), Subject::Command);
        self.desk.settled(Settled { task, verdict, attempts, tag, words, attempt, not_born, subject })
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

impl Work for Jobs<'_> {
    fn prepare(&mut self, task: TaskId, attempt: u32, slot: SlotId) -> io::Result<()> {
        self.fill(task, slot);
        let (Some(keeper), Some(job)) = (&mut self.desk.keeper, self.open.get_mut(&task)) else {
            return Ok(());
        };
        keeper.begin(journal::begin(task, attempt, slot, (&job.words, &job.inputs)))?;
        job.command = Some(keeper.command(task, attempt, &job.words)?);
        Ok(())
    }

    fn adopt(&mut self, task: TaskId) -> Option<Adopted> {
        let (adopted, words) = self.desk.keeper.as_mut()?.take_adopted(task)?;
        if let Some(job) = self.open.get_mut(&task) {
            job.words = words;
        }
        if self.desk.report.has_events() {
            drop(self.desk.report.event(&json!({ "event": "adopted", "task": task.0 })));
        }
        Some(adopted)
    }

    fn command(&mut self, task: TaskId, slot: SlotId) -> Command {
        let Some(job) = self.open.get_mut(&task) else { return Command::new("") };
        let mut command = job.command.take().unwrap_or_else(|| {
            let mut command = Command::new(job.words.first().map_or(OsStr::new(""), OsString::as_os_str));
            // Nobody waits for them any more when we are killed.
            command.args(job.words.iter().skip(1)).parent_death_signal(Signal::KILL);
            command
        });
        command.stdin(self.nothing.clone());
        self.manner.give(&mut command, slot);
        command
    }

    fn not_born(&mut self, task: TaskId, _attempt: u32, error: &CommandError) -> Stop {
        self.not_started(task, error.shell_code(), error.to_string())
    }

    fn learn(&mut self, attempt: &mut Attempt) -> io::Result<Known> {
        let Some(keeper) = &mut self.desk.keeper else { return Ok(Known::Seen) };
        Ok(match keeper.learn(attempt)? {
            None => Known::Seen,
            Some((code, why)) => Known::NotStarted(code, self.not_started(attempt.task, code, why)),
        })
    }

    fn line(&mut self, task: TaskId, stream: Stream, line: &[u8]) -> io::Result<()> {
        let tag = self.open.get(&task).map(|job| job.inputs.join(&b' ')).unwrap_or_default();
        self.desk.report.line(&tag, stream, line)
    }

    fn ended(&mut self, attempt: Attempt) -> io::Result<()> {
        if self.desk.report.has_events() {
            let event =
                json!({ "event": "ended", "task": attempt.task.0, "attempt": attempt_json(&attempt) });
            self.desk.report.event(&event)?;
        }
        if attempt.left {
            let text = format!("job {} left processes behind: they were ended", attempt.task);
            self.desk.report.note(&text);
        }
        if let Some(job) = self.open.get_mut(&attempt.task) {
            job.began = None;
            job.attempt = Some(attempt);
        }
        Ok(())
    }
}

/// Shows the commands.
pub(super) fn dry_run(input: Input, template: &Template, ui: &mut Ui) -> Outcome {
    input.each(|number, inputs| {
        let words = template.fill(inputs, Place { number, slot: 1 });
        let words = words.map_err(|why| Failure::usage(format!("job {number}: {why}")))?;
        let quoted: Vec<_> = words.iter().map(|word| quote(word).to_string_lossy().into_owned()).collect();
        ui.line(&crate::ui::escape(&quoted.join(" ")))
    })?;
    Ok(Exit::OK)
}
