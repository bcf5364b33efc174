//! `doula worker --workers`: jobs of the queue are inputs, which workers that live on are asked for one after the other.
//!
//! A job that ends its worker is given to another one here; if that one dies of it too, it is not tried again.

use super::super::super::template::{Place, Template};
use super::super::super::{Workers, protocol};
use super::super::job::Job;
use super::{Labour, Open};
use crate::error::{Failure, Kind};
use doula_core::queue::{Policy, SlotId};
use doula_host::jobs::workers::{Answer, Death, NoAnswer, Rules, Tasks};
use doula_host::jobs::{Attempt, Flow as _, Kept, Settings};
use doula_host::{Command, CommandError, ExitStatus, Signal, Usage};
use doula_model::task::{self, TaskId, Verdict};
use protocol::Reply;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::time::SystemTime;

/// A job that ended so many workers is not tried again.
const DEATHS: u32 = 2;

/// Who does the jobs.
#[derive(Debug)]
pub(super) struct Crew {
    template: Template,
    lines: bool,
}

/// What was made of a job.
#[derive(Debug, Default)]
pub(super) struct Made {
    reply: Option<Reply>,
    death: Option<Death>,
}

impl Crew {
    /// `None`: each job has its own command.
    pub(super) fn new(workers: &Workers, command: &[OsString]) -> Result<Option<Crew>, Failure> {
        workers.check()?;
        if workers.workers.is_none() {
            return Ok(None);
        }
        if workers.batch > 1 {
            return Err(Failure::usage(
                "--batch is not for the jobs of a queue: each has a time limit of its own",
            ));
        }
        if command.is_empty() {
            return Err(Failure::usage("--workers needs the command of a worker"));
        }
        let template = Template::new(command, "{}", false);
        Ok(Some(Crew { template, lines: workers.is_lines() }))
    }

    pub(super) fn rules(&self, settings: Settings, workers: &Workers) -> Rules {
        // Each has a time limit of its own: it is given by itself.
        let policy = Policy { window: workers.window, deaths: DEATHS, ..settings.policy.clone() };
        Rules {
            max_tasks: workers.max_tasks,
            max_growth: workers.max_growth,
            skips_blank: true,
            protocol: workers.protocol(),
            ..Rules::new(Settings { policy, ..settings })
        }
    }

    fn words(&self, slot: SlotId) -> Vec<OsString> {
        self.template.fill(&Vec::new(), Place { number: 0, slot }).unwrap_or_default()
    }
}

/// Whether a job is one for such a worker as we are; else why not.
pub(super) fn fits(lives_on: bool, job: &Job) -> Result<(), String> {
    match (lives_on, job.is_for_workers()) {
        (true, true) | (false, false) => Ok(()),
        (true, false) => Err("it has a command, and is for `doula worker` without --workers".to_owned()),
        (false, true) => Err("it has no command, and is for `doula worker --workers`".to_owned()),
    }
}

impl Open {
    /// Puts together what was made of it: the attempt that its result tells of, and why it failed.
    pub(super) fn answered(&mut self, task: TaskId, verdict: Verdict) {
        self.words = self.job.inputs().into_iter().map(OsString::from_vec).collect();
        let Made { reply, death } = std::mem::take(&mut self.reply);
        let Some((slot, began)) = self.began.take() else { return };
        let error = reply.as_ref().and_then(|reply| reply.error.clone());
        let died = death.as_ref().map(|death| format!("its worker {death}"));
        self.not_born = match verdict {
            Verdict::Failed(task::Failure::Answered) => error,
            Verdict::Failed(failure @ task::Failure::TimedOut) => Some(format!("it {failure}")),
            Verdict::Failed(failure) | Verdict::Quarantined(failure) => {
                Some(died.unwrap_or_else(|| format!("it {failure}")))
            }
            Verdict::Done | Verdict::Cancelled | Verdict::Skipped => None,
        };
        let good = matches!(verdict, Verdict::Done | Verdict::Failed(task::Failure::Answered));
        let output = reply.filter(|_| good).map(|reply| reply.output).unwrap_or_default();
        let status = death.as_ref().and_then(|death| death.status);
        let took = began.elapsed();
        self.attempt = Some(Attempt {
            task,
            number: self.delivery.attempt(),
            slot,
            pid: death.as_ref().map(|death| death.pid),
            status: status.unwrap_or(ExitStatus::code(u8::from(verdict != Verdict::Done))),
            began: SystemTime::now() - took,
            took,
            usage: Usage::default(),
            output: output.into(),
            error: Kept::default(),
            left: false,
            oom_kills: death.and_then(|death| death.oom_kills),
        });
    }
}

impl Labour<'_> {
    fn is_by_lines(&self) -> bool {
        self.crew.as_ref().is_some_and(|crew| crew.lines)
    }

    fn made(&mut self, task: TaskId, reply: Reply) {
        if let Some(open) = self.open.get_mut(&task) {
            open.reply = Made { reply: Some(reply), death: None };
        }
    }
}

impl Tasks for Labour<'_> {
    fn worker(&mut self, slot: SlotId) -> Command {
        let words = self.crew.as_ref().map(|crew| crew.words(slot)).unwrap_or_default();
        let mut command = Command::new(words.first().map_or(OsStr::new(""), OsString::as_os_str));
        command.args(words.iter().skip(1)).env("DOULA_SLOT", slot.to_string());
        // Nobody waits for them any more when we are killed: other machines do what they have.
        command.parent_death_signal(Signal::KILL);
        self.manner.give(&mut command, slot);
        command
    }

    fn ask(&mut self, task: TaskId, line: &mut Vec<u8>) {
        let by_lines = self.is_by_lines();
        let Some(open) = self.open.get(&task) else { return };
        match by_lines {
            true => protocol::ask(task.0, &open.job.inputs(), open.job.is_list(), line),
            false => line.extend_from_slice(&open.job.inputs().join(&0)),
        }
    }

    fn answer(&mut self, task: TaskId, line: &[u8]) -> Result<Answer, NoAnswer> {
        let (answer, reply) = protocol::answer(task, line, self.is_by_lines())?;
        self.made(task, reply);
        Ok(answer)
    }

    fn whose(&self, line: &[u8]) -> Option<TaskId> {
        protocol::whose(line)
    }

    fn failed(&mut self, task: TaskId, why: &[u8]) {
        self.made(task, protocol::failed(task, why));
    }

    fn said(&mut self, _slot: SlotId, _task: Option<TaskId>, line: &[u8]) -> io::Result<()> {
        // Its last line may have no end.
        let end: &[u8] = if line.ends_with(b"\n") { b"" } else { b"\n" };
        self.ui.err().write_all(&[line, end].concat())
    }

    fn died(&mut self, death: &Death) {
        let Death { slot, task, status, why, .. } = death;
        match task.and_then(|(task, _)| self.open.get_mut(&task)) {
            Some(open) => open.reply = Made { reply: None, death: Some(death.clone()) },
            // Whoever has had enough may go.
            None if why.is_none() && status.is_some_and(|status| status.killed_by().is_none()) => {}
            None => self.note(&format!("worker {slot} {death}: another takes its place")),
        }
    }

    fn hopeless(&mut self, death: &Death) {
        let text = format!("workers end before they take a job, again and again: the last one {death}");
        self.failed = Some(Failure::new(Kind::Ended, text).hint("what they have is given back to the queue"));
    }

    fn not_born(&mut self, _slot: SlotId, error: &CommandError) {
        self.failed = Some(Failure::doula(format!("no worker can be started: {error}")));
    }
}
