//! Where all jobs of a run are answered for, whoever does them: their turn, the signals, the room, and what comes of it all.

use super::bundle::{Bundle, Case, Death};
use super::input::Input;
use super::journal::{self, Keeper};
use super::report::{self, Report, Settled};
use super::room::Room;
use super::template::Inputs;
use super::{Args, Many, code};
use crate::error::{Exit, Failure, Outcome};
use crate::running::{self, Board, Failed, Job};
use doula_core::queue::{Counts, SlotId};
use doula_host::jobs::{Next, Stop, journal::Entry};
use doula_host::room::allowed_cpus;
use doula_host::{Command, Rlimit, Signal};
use doula_model::task::{self, TaskId, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// So much output may wait for its turn: beyond it nothing is begun until the turn comes.
const MOST_WAITING: usize = 10_000;

#[derive(Debug)]
pub(super) struct Desk<'u> {
    pub(super) report: Report<'u>,
    /// Where others see how far it is.
    board: Board,
    bundle: Option<Bundle>,
    keep_order: bool,
    /// Who writes down what happens.
    pub(super) keeper: Option<Keeper>,
    /// Ended before their turn; those without anything were shown by another run.
    waiting: BTreeMap<TaskId, Option<Settled>>,
    /// Whose turn it is to be shown.
    turn: TaskId,
    room: Option<Room>,
    throttled: bool,
    asked: Option<Signal>,
    /// That there is too little room was told.
    cramped: bool,
    /// The code of a program that cannot be started, which all jobs have.
    pub(super) missing: Option<u8>,
    /// Why nothing more can be done.
    pub(super) hopeless: Option<Failure>,
}

impl<'u> Desk<'u> {
    pub(super) fn new(args: &Args, report: Report<'u>) -> Result<Desk<'u>, Failure> {
        let bundle = args.failures.bundle.as_deref().map(Bundle::open).transpose()?;
        let slots = (!args.far.submit).then(|| args.slots());
        let queue = if args.far.submit { Some(args.far.login()?.queue) } else { None };
        let board = Board::new(&args.title(), slots, report.total)
            .of(args.journal.journal.as_deref(), queue.as_deref());
        Ok(Desk {
            report,
            board,
            bundle,
            keep_order: args.output.keep_order,
            keeper: None,
            waiting: BTreeMap::new(),
            turn: TaskId(1),
            room: Room::new(&args.many),
            throttled: false,
            asked: None,
            cramped: false,
            missing: None,
            hopeless: None,
        })
    }

    /// Whether what became of a job is to be kept, to do it again.
    pub(super) fn bundles(&self, verdict: Verdict) -> bool {
        self.bundle.is_some() && matches!(verdict, Verdict::Quarantined(_))
    }

    /// How those ended who worked at a job in runs before, if somebody died of it.
    pub(super) fn deaths(&self, task: TaskId) -> Vec<Death> {
        self.keeper.as_ref().map(|keeper| keeper.deaths(task).to_vec()).unwrap_or_default()
    }

    /// Keeps it, and tells where.
    pub(super) fn bundle(&mut self, case: &Case<'_>) -> io::Result<()> {
        let Some(bundle) = &self.bundle else { return Ok(()) };
        let folder = bundle.keep(case)?;
        self.report.note(&format!("job {} can be done again: {}", case.task, folder.join("run").display()));
        Ok(())
    }

    /// What happens is written down from now on, and what happened before is taken over.
    pub(super) fn keep(&mut self, keeper: Option<Keeper>) {
        for words in keeper.iter().flat_map(|keeper| &keeper.words) {
            self.report.note(words);
        }
        self.keeper = keeper;
    }

    /// What comes of it all.
    pub(super) fn finish(mut self, ended: io::Result<Counts>) -> Outcome {
        let ended = ended.and_then(|counts| self.report.write_put_off().map(|()| counts));
        self.report.clear();
        let before = self.keeper.as_ref().map_or(0, |keeper| keeper.before.1);
        let in_order = ended.as_ref().is_ok_and(|counts| counts.dropped == 0);
        let kept = self.keeper.take().map_or(Ok(()), |keeper| keeper.close(in_order));
        let ended =
            ended.and_then(|counts| kept.map(|()| Counts { failed: counts.failed + before, ..counts }));
        let counts = ended.map_err(|error| broken(&error))?;
        if let Some(failure) = self.hopeless {
            return Err(failure);
        }
        if counts.dropped > 0 {
            let jobs =
                if counts.dropped == 1 { "1 job was" } else { &format!("{} jobs were", counts.dropped) };
            self.report.note(&format!("{jobs} given up"));
        }
        Ok(self.missing.map_or_else(|| code(&counts, self.asked), Exit))
    }

    /// Whether so much waits for its turn that nothing more should be begun.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING
    }

    /// A job came to its end: that is written down, and told when its turn comes.
    pub(super) fn settled(&mut self, job: Settled) -> io::Result<()> {
        if let Some(keeper) = self.keeper.as_mut().filter(|_| job.attempts > 0) {
            keeper.settled(&job);
        }
        let how = match job.verdict {
            Verdict::Done => None,
            Verdict::Failed(_) | Verdict::Quarantined(_) => report::failure(&job),
            Verdict::Cancelled | Verdict::Skipped => {
                Some(format!("job {} was given up with its run", job.task))
            }
        };
        let last = || job.attempt.as_ref().map(report::last_words);
        let failed = how.map(|how| Failed { number: job.task.0, how: running::cut(&how), last: last() });
        self.board.tell(|fates| fates.ended(job.task.0, failed));
        self.tell(job.task, Some(job))
    }

    /// Tells what became of a job, when its turn comes. `None`: that was done by another run.
    pub(super) fn tell(&mut self, task: TaskId, job: Option<Settled>) -> io::Result<()> {
        if !self.keep_order {
            return job.map_or(Ok(()), |job| self.show(&job));
        }
        self.waiting.insert(task, job);
        while let Some(job) = self.waiting.remove(&self.turn) {
            self.turn = TaskId(self.turn.0 + 1);
            job.map_or(Ok(()), |job| self.show(&job))?;
        }
        Ok(())
    }

    fn show(&mut self, job: &Settled) -> io::Result<()> {
        self.report.settled(job)?;
        if let Some(keeper) = &mut self.keeper {
            keeper.shown(job.task, job.attempts);
        }
        Ok(())
    }

    pub(super) fn progress(&mut self, counts: &Counts, in_work: usize) {
        let (done, failed) = self.keeper.as_ref().map_or((0, 0), |keeper| keeper.before);
        let counts = Counts { done: counts.done + done, failed: counts.failed + failed, ..*counts };
        self.board.counts(&counts, done + failed, in_work);
        self.report.progress(&counts, in_work);
    }

    /// All that can be done now is done: lets others see how far it is, and what is in work, and writes what was put off, if it is
    /// time for either; else when it will be.
    pub(super) fn before_sleep<O: Open>(
        &mut self,
        open: &BTreeMap<TaskId, O>,
        intake: &Intake,
    ) -> io::Result<Option<Duration>> {
        let job = |now, (task, job): (&TaskId, &O)| {
            let (slot, attempt, began) = job.began()?;
            Some(Job::new(now, (slot, task.0, attempt), began, &job.inputs().join(&b' ')))
        };
        let jobs = |now| open.iter().filter_map(|it| job(now, it)).take(running::MOST).collect();
        let all = (open.keys().map(|task| task.0), intake.submitted);
        let shown = self.board.show(jobs, all);
        let written = self.report.write_in_time()?;
        Ok([shown, written].into_iter().flatten().min())
    }

    /// The same where nothing is in work here: `open` was handed in, up to this number.
    pub(super) fn show_others<O>(&mut self, open: &BTreeMap<TaskId, O>, submitted: u64) -> Option<Duration> {
        self.board.show(|_| Vec::new(), (open.keys().map(|task| task.0), submitted))
    }

    pub(super) fn halted(&mut self) {
        self.report.note("halted by the rule of --halt");
    }

    pub(super) fn began(&mut self, task: TaskId, attempt: u32, slot: SlotId) {
        self.board.tell(|fates| fates.began(task.0));
        if self.report.has_events() {
            let event = json!({ "event": "began", "task": task.0, "attempt": attempt, "slot": slot });
            // A lost event is no reason to lose the jobs too.
            drop(self.report.event(&event));
        }
    }

    pub(super) fn retries(&mut self, task: TaskId, attempt: u32, failure: task::Failure, pause: Duration) {
        if let Some(keeper) = &mut self.keeper {
            keeper.note(&journal::failed(task, attempt, failure, pause));
            keeper.forget_output(task, attempt);
        }
        self.board.tell(|fates| fates.rests((task.0, attempt), failure.to_string(), pause));
        if self.report.has_events() {
            let seconds = pause.as_secs_f64();
            let event = json!({ "event": "retry", "task": task.0, "after": attempt, "failure": failure, "pause": seconds });
            drop(self.report.event(&event));
        }
    }

    pub(super) fn cramped(&mut self, why: &str) {
        if !std::mem::replace(&mut self.cramped, true) {
            self.report.note(&format!("fewer jobs at once than were asked for: {why}"));
        }
    }

    pub(super) fn throttle(&mut self) -> bool {
        let what = self.room.and_then(|room| room.short_of());
        let short = what.is_some();
        if short && !self.throttled && self.report.has_events() {
            drop(self.report.event(&json!({ "event": "throttled" })));
        }
        if let Some(keeper) = &mut self.keeper {
            if short != self.throttled {
                keeper.note(&Entry::Short(what.map(str::to_owned)));
            }
            keeper.sync();
        }
        self.board.waits(what);
        self.throttled = short;
        short
    }

    pub(super) fn signal(&mut self, signal: Signal) -> Stop {
        let before = self.asked.replace(signal);
        self.board.waits(Some("it was asked to end"));
        match (before, signal) {
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

/// A job that did not come to its end yet.
pub(super) trait Open {
    /// Its attempt, while it is in work: where, which, and since when.
    fn began(&self) -> Option<(SlotId, u32, Instant)>;
    fn inputs(&self) -> &Inputs;
}

/// Where inputs become jobs: first those of a run before that are not done, then new ones.
#[derive(Debug)]
pub(super) struct Intake {
    input: Input,
    submitted: u64,
}

impl Intake {
    pub(super) fn new(input: Input) -> Intake {
        Intake { input, submitted: 0 }
    }

    /// The next job, which `new` makes of its inputs.
    pub(super) fn next<O>(
        &mut self,
        desk: &mut Desk<'_>,
        open: &mut BTreeMap<TaskId, O>,
        new: impl Fn(Inputs) -> O,
    ) -> io::Result<Next> {
        if let Some(next) = self.next_of_before(desk, open, &new)? {
            return Ok(next);
        }
        if desk.is_full() {
            return Ok(Next::Wait);
        }
        let (next, inputs) = self.input.next()?;
        if next == Next::Task {
            self.submitted += 1;
            open.insert(TaskId(self.submitted), new(inputs));
        }
        Ok(next)
    }

    /// Compares the inputs of what was begun before, all of them before anything is begun. Then gives out what is not done.
    fn next_of_before<O>(
        &mut self,
        desk: &mut Desk<'_>,
        open: &mut BTreeMap<TaskId, O>,
        new: &impl Fn(Inputs) -> O,
    ) -> io::Result<Option<Next>> {
        let Some(keeper) = &mut desk.keeper else { return Ok(None) };
        keeper.check()?;
        while keeper.compares() {
            let (next, inputs) = self.input.next()?;
            match next {
                Next::Task => {}
                Next::End => return Err(keeper.no_more_inputs()),
                Next::Wait | Next::Again(_) | Next::Behind(_) => return Ok(Some(Next::Wait)),
            }
            let task = keeper.compare(&inputs)?;
            self.submitted = task.0;
            open.insert(task, new(inputs));
            if !keeper.compares() {
                // What came to its end before and was not shown.
                for (task, job) in keeper.over() {
                    open.remove(&task);
                    desk.tell(task, job)?;
                }
                return Ok(Some(Next::Behind(task)));
            }
        }
        Ok(keeper.next().map(Next::Again))
    }

    /// What to wait for after [`Next::Wait`].
    pub(super) fn waits_for(&self, desk: &Desk<'_>) -> Option<BorrowedFd<'_>> {
        self.input.waits_for().filter(|_| !desk.is_full())
    }
}

/// Why a run did not come to its end.
fn broken(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::doula("nobody reads the output any more: the jobs that ran were ended");
    }
    if error.kind() == io::ErrorKind::InvalidInput {
        return Failure::usage(error.to_string())
            .hint("--resume needs the same inputs as before, in the same order");
    }
    Failure::doula(error.to_string())
}

/// What every command gets, of a job or of a worker.
#[derive(Debug)]
pub(super) struct Manner {
    /// What they ignore, as we do.
    ignored: Vec<Signal>,
    nice: Option<i8>,
    rlimits: Vec<Rlimit>,
    /// The CPUs that slots have in turn.
    cpus: Vec<u16>,
}

impl Manner {
    pub(super) fn new(many: &Many, ignored: Vec<Signal>) -> Manner {
        let cpus = if many.pin { allowed_cpus() } else { Vec::new() };
        Manner { ignored, nice: many.nice, rlimits: many.rlimit.clone(), cpus }
    }

    pub(super) fn give(&self, command: &mut Command, slot: SlotId) {
        command.ignore(self.ignored.iter().copied());
        if let Some(nice) = self.nice {
            command.nice(nice);
        }
        for limit in &self.rlimits {
            command.limits(*limit);
        }
        let turn = usize::try_from(slot).unwrap_or_default().checked_rem(self.cpus.len());
        if let Some(cpu) = turn.and_then(|turn| self.cpus.get(turn)) {
            command.cpus([*cpu]);
        }
    }
}
