//! The jobs of one run: what each is, and what became of it.

use super::Args;
use super::desk::{Desk, Manner};
use super::input::Input;
use super::report::{Report, Settled, Subject, attempt_json};
use super::template::{Inputs, Place, Template, quote};
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use doula_core::queue::{Counts, SlotId};
use doula_host::jobs::{Attempt, Next, Stop, Stream, Work};
use doula_host::signals::Arrival;
use doula_host::{Command, CommandError, Signal, Stdio};
use doula_model::task::{self, TaskId, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// A job that did not come to its end yet.
#[derive(Debug)]
struct Open {
    inputs: Inputs,
    words: Vec<OsString>,
    attempt: Option<Attempt>,
    not_born: Option<String>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Jobs<'u> {
    input: Input,
    template: Template,
    desk: Desk<'u>,
    manner: Manner,
    /// Their standard input.
    nothing: Stdio,
    open: BTreeMap<TaskId, Open>,
    submitted: u64,
}

impl<'u> Jobs<'u> {
    pub(super) fn new(
        input: Input,
        template: Template,
        args: &Args,
        ignored: Vec<Signal>,
        report: Report<'u>,
    ) -> Jobs<'u> {
        Jobs {
            input,
            template,
            desk: Desk::new(args, report),
            manner: Manner::new(args, ignored),
            nothing: null(),
            open: BTreeMap::new(),
            submitted: 0,
        }
    }

    /// What comes of it all.
    pub(super) fn finish(self, ended: io::Result<Counts>) -> Outcome {
        self.desk.finish(ended)
    }
}

/// Opened once for all jobs.
fn null() -> Stdio {
    match std::fs::File::open("/dev/null") {
        Ok(file) => Stdio::from(Arc::new(file.into())),
        Err(_) => Stdio::null(),
    }
}

impl Work for Jobs<'_> {
    fn next(&mut self) -> io::Result<Next> {
        if self.desk.is_full() {
            return Ok(Next::Wait);
        }
        let (next, inputs) = self.input.next()?;
        if next == Next::Task {
            self.submitted += 1;
            let job = Open { inputs, words: Vec::new(), attempt: None, not_born: None };
            self.open.insert(TaskId(self.submitted), job);
        }
        Ok(next)
    }

    fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        self.input.waits_for().filter(|_| !self.desk.is_full())
    }

    fn command(&mut self, task: TaskId, slot: SlotId) -> Command {
        let Some(job) = self.open.get_mut(&task) else { return Command::new("") };
        // A line that is no command fails as one that is not found does.
        job.words = match self.template.fill(&job.inputs, Place { number: task.0, slot }) {
            Ok(words) => words,
            Err(_) => vec![OsString::new()],
        };
        let mut command = Command::new(job.words.first().map_or(OsStr::new(""), OsString::as_os_str));
        command.args(job.words.iter().skip(1)).stdin(self.nothing.clone());
        self.manner.give(&mut command, slot);
        command
    }

    fn began(&mut self, task: TaskId, attempt: u32, slot: SlotId) {
        self.desk.began(task, attempt, slot);
    }

    fn not_born(&mut self, task: TaskId, _attempt: u32, error: &CommandError) -> Stop {
        let Some(job) = self.open.get_mut(&task) else { return Stop::No };
        let place = Place { number: task.0, slot: 0 };
        job.not_born = Some(match self.template.fill(&job.inputs, place) {
            Ok(_) => error.to_string(),
            Err(why) => why,
        });
        // The next one could not be started either: one such message is enough.
        if self.template.has_one_program() && matches!(error.shell_code(), 126 | 127) {
            self.desk.missing = Some(error.shell_code());
            return Stop::Soon;
        }
        Stop::No
    }

    fn cramped(&mut self, why: &str) {
        self.desk.cramped(why);
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
            job.attempt = Some(attempt);
        }
        Ok(())
    }

    fn retries(&mut self, task: TaskId, attempt: u32, failure: task::Failure, pause: Duration) {
        self.desk.retries(task, attempt, failure, pause);
    }

    fn settled(&mut self, task: TaskId, verdict: Verdict, attempts: u32) -> io::Result<()> {
        let Some(job) = self.open.remove(&task) else { return Ok(()) };
        let Open { inputs, words, attempt, not_born } = job;
        let (tag, subject) = (inputs.join(&b' '), Subject::Command);
        self.desk.settled(Settled { task, verdict, attempts, tag, words, attempt, not_born, subject })
    }

    fn halted(&mut self) {
        self.desk.report.note("halted by the rule of --halt");
    }

    fn throttle(&mut self) -> bool {
        self.desk.throttle()
    }

    fn progress(&mut self, counts: &Counts, in_work: usize) {
        self.desk.report.progress(counts, in_work);
    }

    fn signal(&mut self, arrival: Arrival) -> Stop {
        self.desk.signal(arrival.signal)
    }
}

/// Shows the commands.
pub(super) fn dry_run(mut input: Input, template: &Template, ui: &mut Ui) -> Outcome {
    let mut number = 0;
    loop {
        let (next, inputs) = input.next().map_err(|error| Failure::doula(error.to_string()))?;
        match next {
            // It is waited for by reading.
            Next::Wait => continue,
            Next::End => return Ok(Exit::OK),
            Next::Task => {}
        }
        number += 1;
        let words = template.fill(&inputs, Place { number, slot: 1 });
        let words = words.map_err(|why| Failure::usage(format!("job {number}: {why}")))?;
        let quoted: Vec<_> = words.iter().map(|word| quote(word).to_string_lossy().into_owned()).collect();
        ui.line(&crate::ui::escape(&quoted.join(" ")))?;
    }
}
