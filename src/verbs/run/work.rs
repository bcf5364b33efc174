//! The jobs of one run: what each is, and what became of it.

use super::input::Input;
use super::report::{Report, Settled, attempt_json};
use super::room::Room;
use super::template::{Inputs, Place, Template, quote};
use super::{Args, code};
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use doula_core::queue::{Counts, SlotId};
use doula_host::jobs::{Attempt, Next, Stop, Stream, Work};
use doula_host::room::allowed_cpus;
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

/// So much output may wait for its turn: beyond it nothing is begun until the turn comes.
const MOST_WAITING: usize = 10_000;

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
    report: Report<'u>,
    /// What they ignore, as we do.
    ignored: Vec<Signal>,
    /// Their standard input.
    nothing: Stdio,
    nice: Option<i8>,
    keep_order: bool,
    /// The CPUs that slots have in turn.
    cpus: Vec<u16>,
    room: Option<Room>,
    throttled: bool,
    open: BTreeMap<TaskId, Open>,
    submitted: u64,
    /// Ended before their turn.
    waiting: BTreeMap<TaskId, Settled>,
    /// Whose turn it is to be shown.
    turn: TaskId,
    asked: Option<Signal>,
    /// That there is too little room was told.
    cramped: bool,
    /// The code of a program that cannot be started, which all jobs have.
    missing: Option<u8>,
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
            report,
            ignored,
            nothing: null(),
            nice: args.many.nice,
            keep_order: args.output.keep_order,
            cpus: if args.many.pin { allowed_cpus() } else { Vec::new() },
            room: Room::new(&args.many),
            throttled: false,
            open: BTreeMap::new(),
            submitted: 0,
            waiting: BTreeMap::new(),
            turn: TaskId(1),
            asked: None,
            cramped: false,
            missing: None,
        }
    }

    /// What comes of it all.
    pub(super) fn finish(mut self, ended: io::Result<Counts>) -> Outcome {
        self.report.clear();
        let unread = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        let counts = ended.map_err(|error| match unread(&error) {
            true => Failure::doula("nobody reads the output any more: the jobs that ran were ended"),
            false => Failure::doula(error.to_string()),
        })?;
        if counts.dropped > 0 {
            let jobs =
                if counts.dropped == 1 { "1 job was" } else { &format!("{} jobs were", counts.dropped) };
            self.report.note(&format!("{jobs} given up"));
        }
        Ok(self.missing.map_or_else(|| code(&counts, self.asked), Exit))
    }

    fn tell(&mut self, job: Settled) -> io::Result<()> {
        if !self.keep_order {
            return self.report.settled(&job);
        }
        self.waiting.insert(job.task, job);
        while let Some(job) = self.waiting.remove(&self.turn) {
            self.turn = TaskId(self.turn.0 + 1);
            self.report.settled(&job)?;
        }
        Ok(())
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
        if self.waiting.len() >= MOST_WAITING {
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
        self.input.waits_for().filter(|_| self.waiting.len() < MOST_WAITING)
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
        // Nobody waits for them any more when we are killed.
        command.ignore(self.ignored.iter().copied()).parent_death_signal(Signal::KILL);
        if let Some(nice) = self.nice {
            command.nice(nice);
        }
        let turn = usize::try_from(slot).unwrap_or_default().checked_rem(self.cpus.len());
        if let Some(cpu) = turn.and_then(|turn| self.cpus.get(turn)) {
            command.cpus([*cpu]);
        }
        command
    }

    fn began(&mut self, task: TaskId, attempt: u32, slot: SlotId) {
        if self.report.has_events() {
            let event = json!({ "event": "began", "task": task.0, "attempt": attempt, "slot": slot });
            // A lost event is no reason to lose the jobs too.
            drop(self.report.event(&event));
        }
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
            self.missing = Some(error.shell_code());
            return Stop::Soon;
        }
        Stop::No
    }

    fn cramped(&mut self, why: &str) {
        if !std::mem::replace(&mut self.cramped, true) {
            self.report.note(&format!("fewer jobs at once than were asked for: {why}"));
        }
    }

    fn line(&mut self, task: TaskId, stream: Stream, line: &[u8]) -> io::Result<()> {
        let tag = self.open.get(&task).map(|job| job.inputs.join(&b' ')).unwrap_or_default();
        self.report.line(&tag, stream, line)
    }

    fn ended(&mut self, attempt: Attempt) -> io::Result<()> {
        if self.report.has_events() {
            let event =
                json!({ "event": "ended", "task": attempt.task.0, "attempt": attempt_json(&attempt) });
            self.report.event(&event)?;
        }
        if attempt.left {
            let text = format!("job {} left processes behind: they were ended", attempt.task);
            self.report.note(&text);
        }
        if let Some(job) = self.open.get_mut(&attempt.task) {
            job.attempt = Some(attempt);
        }
        Ok(())
    }

    fn retries(&mut self, task: TaskId, attempt: u32, failure: task::Failure, pause: Duration) {
        if self.report.has_events() {
            let seconds = pause.as_secs_f64();
            let event = json!({ "event": "retry", "task": task.0, "after": attempt, "failure": failure, "pause": seconds });
            drop(self.report.event(&event));
        }
    }

    fn settled(&mut self, task: TaskId, verdict: Verdict, attempts: u32) -> io::Result<()> {
        let Some(job) = self.open.remove(&task) else { return Ok(()) };
        let Open { inputs, words, attempt, not_born } = job;
        self.tell(Settled { task, verdict, attempts, tag: inputs.join(&b' '), words, attempt, not_born })
    }

    fn halted(&mut self) {
        self.report.note("halted by the rule of --halt");
    }

    fn throttle(&mut self) -> bool {
        let short = self.room.is_some_and(|room| room.is_short());
        if short && !self.throttled && self.report.has_events() {
            drop(self.report.event(&json!({ "event": "throttled" })));
        }
        self.throttled = short;
        short
    }

    fn progress(&mut self, counts: &Counts, in_work: usize) {
        self.report.progress(counts, in_work);
    }

    fn signal(&mut self, arrival: Arrival) -> Stop {
        let before = self.asked.replace(arrival.signal);
        match (before, arrival.signal) {
            (None, Signal::TERM) => {
                self.report.note("SIGTERM: no more jobs are begun; a second one ends those that run");
                Stop::Soon
            }
            (None, _) => Stop::Now,
            (Some(Signal::TERM), Signal::TERM) => Stop::Now,
            (Some(_), _) => Stop::Kill,
        }
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
