//! `doula run --submit`: jobs are handed to a queue, and what comes of them is told as of jobs of our own.
//!
//! The results of a run are looked at before any of its jobs is handed in: so a run that has a name can be asked for again, and
//! only what is not done goes to the queue.

use super::super::desk::Desk;
use super::super::input::Input;
use super::super::journal::bare;
use super::super::report::{Report, Settled, Subject};
use super::super::template::{Inputs, Place, Template};
use super::super::{Args, HEARD};
use super::job::{Job, Outcome as Result_, mark};
use super::place::{QueueArgs, check_name};
use super::{Gateway, random_name};
use crate::error::{Failure, Outcome};
use doula_core::queue::far::Rules;
use doula_core::queue::{Counts, Pause, RetryOn, Timeout};
use doula_gateway::words::{Ask, Login, Tell};
use doula_host::Signal;
use doula_host::jobs::{Attempt, Next, Stop};
use doula_host::ready::readable;
use doula_host::signals::{self, Held};
use doula_model::task::{self, TaskId, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, UNIX_EPOCH};

/// Jobs on many machines.
#[derive(Debug, clap::Args)]
pub(in crate::verbs::run) struct SubmitArgs {
    /// Hand the jobs to a queue, for `doula worker` on other machines, and wait for their results
    #[arg(long, conflicts_with_all = ["jobs", "delay", "memfree", "load", "pressure", "nice", "rlimit", "pin", "workers",
        "ungroup", "line_buffer", "bundle", "leave", "journal"])]
    pub(in crate::verbs::run) submit: bool,

    #[command(flatten)]
    place: QueueArgs,

    /// Hand in inputs without a command, for those who have a worker that lives on (`doula worker --workers lines COMMAND`)
    #[arg(long, requires = "submit", conflicts_with_all = ["shell", "context"])]
    pub(in crate::verbs::run) for_workers: bool,

    /// The name of this run: handed in again under this name, only what has no result yet is done
    #[arg(long, requires = "submit", value_name = "NAME")]
    run: Option<String>,

    /// Do not wait for results: print the name of the run, by which they can be had later
    #[arg(long, requires = "submit")]
    detach: bool,

    /// A new queue takes so many jobs at once; the others wait here
    #[arg(long, requires = "submit", default_value_t = 100_000, value_name = "N")]
    queue_max: u64,
}

impl SubmitArgs {
    /// Where the queue is, and how we get in.
    pub(in crate::verbs::run) fn login(&self) -> Result<Login, Failure> {
        self.place.login()
    }

    /// Whether options of a queue were given without --submit.
    pub(in crate::verbs::run) fn is_lost(&self) -> bool {
        !self.submit && self.place.is_given()
    }
}

/// So many jobs are on their way to the queue at once.
const WINDOW: usize = 256;
/// After an interruption, so long is waited for what is taken back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hands all jobs in and waits for their ends.
pub(in crate::verbs::run) fn run(
    args: &Args,
    command: &[std::ffi::OsString],
    template: Template,
    input: Input,
    report: Report<'_>,
) -> Outcome {
    let far = &args.far;
    let run = match &far.run {
        Some(name) => check_name("run", name).map(|()| name.clone())?,
        None => random_name()?,
    };
    let manner = (args.inputs.shell, args.inputs.context);
    let mut job = Job::new(command, &args.inputs.replace, manner).tried(&rules(args), timeout(args)?);
    if far.for_workers {
        job = job.for_workers(input.is_many());
    }
    let login = far.login()?;
    let gateway = Gateway::open(&Ask::Submit { login, run: run.clone(), most: far.queue_max })?;
    let heard: Vec<Signal> = HEARD.into_iter().filter(|signal| !signals::is_ignored(*signal)).collect();
    let held = Held::back(&heard)
        .map_err(|error| Failure::doula(format!("failed to hold signals back: {error}")))?;
    let mut submitter = Submitter {
        gateway,
        input,
        template,
        job,
        desk: Desk::new(args, report)?,
        halt: args.failures.halt,
        detach: far.detach,
        open: BTreeMap::new(),
        early: BTreeMap::new(),
        submitted: 0,
        on_the_way: 0,
        source: Source::Asked,
        counts: Counts::default(),
        given_up: false,
    };
    let ended = submitter.work(&held);
    submitter.finish(ended, &run, far.run.is_some())
}

fn rules(args: &Args) -> Rules {
    let failures = &args.failures;
    let pause =
        Pause { first: failures.retry_delay, most: Duration::from_secs(60).max(failures.retry_delay) };
    let retry_on = failures.retry_on.unwrap_or(RetryOn::ALL);
    Rules { retries: failures.retries, retry_on, pause, deaths: failures.quarantine }
}

fn timeout(args: &Args) -> Result<Option<Duration>, Failure> {
    match args.failures.timeout {
        None => Ok(None),
        Some(Timeout::After(time)) => Ok(Some(time)),
        Some(Timeout::OfMedian(_)) => Err(Failure::usage(
            "--submit needs a time limit that is a time: no worker sees the median of all jobs",
        )),
    }
}

/// What is known of the source of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// There may be one.
    Asked,
    /// When it can be read.
    Waits,
    Over,
}

/// Everything about one run.
struct Submitter<'u> {
    gateway: Gateway,
    input: Input,
    template: Template,
    job: Job,
    desk: Desk<'u>,
    halt: Option<doula_core::queue::Halt>,
    detach: bool,
    /// Handed in, without a result: the inputs, and the mark of the job.
    open: BTreeMap<TaskId, (Inputs, String)>,
    /// Results of jobs that were not handed in by us yet.
    early: BTreeMap<TaskId, Vec<u8>>,
    submitted: u64,
    on_the_way: usize,
    source: Source,
    counts: Counts,
    /// Nobody waits for results any more.
    given_up: bool,
}

impl Submitter<'_> {
    fn work(&mut self, held: &Held) -> io::Result<()> {
        self.hear()?;
        loop {
            self.fill()?;
            self.desk.progress(&self.counts, self.open.len());
            let nobody = self.open.is_empty() || (self.detach && self.on_the_way == 0);
            if self.given_up || (self.source == Source::Over && nobody) {
                return Ok(());
            }
            let source = self.input.waits_for().filter(|_| self.source == Source::Waits);
            let fds = [Some(held.as_fd()), Some(self.gateway.line.as_fd()), source];
            let shown = self.desk.show_others(&self.open, self.submitted);
            let [signal, told, source] = readable(fds, shown)?;
            if source {
                self.source = Source::Asked;
            }
            if told {
                self.hear()?;
            }
            if signal {
                self.signals(held)?;
            }
        }
    }

    /// Hands in what there is, as long as not too much is on its way.
    fn fill(&mut self) -> io::Result<()> {
        while self.source == Source::Asked && self.on_the_way < WINDOW && !self.desk.is_full() {
            let (next, inputs) = self.input.next()?;
            match next {
                Next::Task => self.submit(inputs)?,
                Next::Wait if self.input.waits_for().is_some() => self.source = Source::Waits,
                Next::Wait | Next::Again(_) | Next::Behind(_) => {}
                Next::End => self.source = Source::Over,
            }
        }
        self.gateway.flush()
    }

    fn submit(&mut self, inputs: Inputs) -> io::Result<()> {
        self.submitted += 1;
        let task = TaskId(self.submitted);
        let job = self.job.of(&inputs)?;
        self.open.insert(task, (inputs, mark(&job)));
        if let Some(result) = self.early.remove(&task) {
            return self.settle(task, &result);
        }
        self.on_the_way += 1;
        self.gateway.put(&Ask::Task(task.0), &job)
    }

    fn hear(&mut self) -> io::Result<()> {
        while let Some((tell, body)) = self.gateway.told()? {
            match tell {
                Tell::Stored(_) => self.on_the_way = self.on_the_way.saturating_sub(1),
                Tell::Result(_) if self.given_up => {}
                Tell::Result(task) if self.open.contains_key(&TaskId(task)) => {
                    self.settle(TaskId(task), &body)?;
                }
                Tell::Result(task) if task > self.submitted => drop(self.early.insert(TaskId(task), body)),
                Tell::Result(_) | Tell::Withdrawn(_) | Tell::Ready | Tell::Given { .. } => {}
                Tell::Note(text) => self.desk.report.note(&text),
                Tell::Refused { why, .. } => return Err(io::Error::other(why)),
            }
        }
        Ok(())
    }

    /// A result: told as the end of a job of our own.
    fn settle(&mut self, task: TaskId, result: &[u8]) -> io::Result<()> {
        let Some((inputs, mark)) = self.open.remove(&task) else { return Ok(()) };
        let (outcome, out, err) = Result_::read(result)
            .map_err(|why| io::Error::other(format!("the result of job {task} is none: {why}")))?;
        if outcome.mark != mark {
            let text = format!("job {task} of this run was another one before");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.count(outcome.verdict);
        let attempt = outcome.end.map(|end| Attempt {
            status: end.status,
            began: UNIX_EPOCH + Duration::try_from_secs_f64(end.began).unwrap_or_default(),
            took: Duration::try_from_secs_f64(end.seconds).unwrap_or_default(),
            usage: end.usage(),
            output: out.into(),
            error: err.into(),
            left: end.left_behind,
            oom_kills: end.oom_kills,
            ..bare(task, outcome.attempts)
        });
        if self.desk.report.has_events() {
            self.desk
                .report
                .event(&json!({ "event": "result", "task": task.0, "worker": outcome.worker }))?;
        }
        if attempt.as_ref().is_some_and(|attempt| attempt.left) {
            self.desk.report.note(&format!("job {task} left processes behind: they were ended"));
        }
        if let (Verdict::Failed(task::Failure::NotStarted(code)), true) =
            (outcome.verdict, self.template.has_one_program())
        {
            self.desk.missing = Some(code);
            self.give_up()?;
        }
        let words = self.template.fill(&inputs, Place { number: task.0, slot: 0 });
        let (subject, not_born) = match self.job.is_for_workers() {
            true => (Subject::Inputs { told: outcome.why.map(|why| format!(": {why}")) }, None),
            false => (Subject::Command, outcome.why),
        };
        let settled = Settled {
            task,
            verdict: outcome.verdict,
            attempts: outcome.attempts,
            tag: inputs.join(&b' '),
            words: words.unwrap_or_default(),
            attempt,
            not_born,
            subject,
        };
        self.desk.settled(settled)?;
        match self.halt.filter(|halt| !self.given_up && halt.reached(&self.counts)) {
            Some(_) => {
                self.desk.report.note("halted by the rule of --halt");
                self.give_up()
            }
            None => Ok(()),
        }
    }

    fn count(&mut self, verdict: Verdict) {
        let counts = &mut self.counts;
        match verdict {
            Verdict::Done => counts.done += 1,
            Verdict::Failed(_) => counts.failed += 1,
            Verdict::Quarantined(_) => {
                (counts.failed, counts.quarantined) = (counts.failed + 1, counts.quarantined + 1);
            }
            Verdict::Cancelled | Verdict::Skipped => counts.dropped += 1,
        }
    }

    fn signals(&mut self, held: &Held) -> io::Result<()> {
        while let Some(arrival) = held.take()? {
            match self.desk.signal(arrival.signal) {
                Stop::No => {}
                Stop::Soon => self.source = Source::Over,
                Stop::Now | Stop::Kill => self.give_up()?,
            }
        }
        Ok(())
    }

    /// Takes back what nobody has begun; nobody waits for the rest.
    fn give_up(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.given_up, true) {
            return Ok(());
        }
        self.source = Source::Over;
        self.gateway.ask(&Ask::Withdraw, b"")?;
        while readable([Some(self.gateway.line.as_fd())], Some(PATIENCE))? == [true] {
            while let Some((tell, _)) = self.gateway.told()? {
                match tell {
                    Tell::Withdrawn(_) => return Ok(()),
                    Tell::Note(text) => self.desk.report.note(&text),
                    Tell::Ready
                    | Tell::Refused { .. }
                    | Tell::Given { .. }
                    | Tell::Stored(_)
                    | Tell::Result(_) => {}
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, ended: io::Result<()>, run: &str, named: bool) -> Outcome {
        let done = ended.is_ok() && !self.given_up;
        if done && !named && !self.detach {
            // Its name is known to nobody.
            drop(self.gateway.ask(&Ask::Forget, b""));
        }
        let detached = done && self.detach && !self.open.is_empty();
        if !detached {
            self.counts.dropped += self.open.len() as u64;
        }
        self.gateway.close();
        let told = match detached {
            true => self.desk.report.name(run),
            false => Ok(()),
        };
        self.desk.finish(ended.and(told).map(|()| self.counts))
    }
}
