//! A slot: where one job runs at a time, and how its end is seen.

use super::adopted::{Adopted, Body};
use super::bounds::{Bound, Bounds};
use super::fence::Fence;
use super::lines::Lines;
use super::spool::Spool;
use super::{Attempt, Capture, Settings, Stream};
use crate::child::DEATH;
use crate::{Command, CommandError, OnDrop, Signal, cgroup};
use doula_core::queue::SlotId;
use doula_model::exit::ExitStatus;
use doula_model::task::TaskId;
use doula_model::time::Time;
use doula_sys::fd::{BorrowedFd, OwnedFd};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How long those may take to be gone who were killed where no cgroup tells it.
pub(super) const GONE_WITHIN: Duration = Duration::from_secs(10);

/// What is seen of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Its process lives.
    Lives,
    /// It has ended, and descendants of it are about to.
    Left,
    /// All have ended.
    Over,
}

/// A job that runs.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) task: TaskId,
    pub(super) number: u32,
    body: Body,
    began: (Instant, SystemTime),
    pub(super) lines: Vec<Lines>,
    status: Option<ExitStatus>,
    /// It was asked to end.
    interrupted: bool,
    /// Somebody outlived its process.
    left: bool,
    /// Its cgroup was killed.
    razed: bool,
}

impl Job {
    fn new(task: TaskId, number: u32, body: Body) -> Job {
        Job {
            task,
            number,
            body,
            began: (Instant::now(), SystemTime::now()),
            lines: Vec::new(),
            status: None,
            interrupted: false,
            left: false,
            razed: false,
        }
    }

    /// What is readable when its process has ended; one that had ended before has none.
    pub(super) fn handle(&self) -> Option<BorrowedFd<'_>> {
        self.body.handle()
    }
}

/// Who is told a line of a job.
pub(super) type Tell<'t> = dyn FnMut(TaskId, Stream, &[u8]) -> io::Result<()> + 't;

/// One slot.
#[derive(Debug)]
pub(super) struct Place {
    id: SlotId,
    capture: Capture,
    contain: bool,
    ask: Signal,
    bounds: Arc<Bounds>,
    fence: Option<Fence>,
    bound: Bound,
    out: Option<Spool>,
    error: Option<Spool>,
    pub(super) job: Option<Job>,
}

impl Place {
    pub(super) fn new(id: SlotId, settings: &Settings, bounds: &Arc<Bounds>) -> io::Result<Place> {
        let Settings { capture, contain, ask, .. } = *settings;
        let spool = || (capture == Capture::Whole).then(Spool::new).transpose();
        let (out, error) = (spool()?, spool()?);
        let (fence, bound) = bounds.place()?;
        let bounds = Arc::clone(bounds);
        Ok(Place { id, capture, contain, ask, bounds, fence, bound, out, error, job: None })
    }

    /// What tells that everybody of the job is gone.
    pub(super) fn events(&self) -> Option<&OwnedFd> {
        self.fence.as_ref().map(|fence| &fence.events)
    }

    /// Starts a job.
    pub(super) fn begin(
        &mut self,
        task: TaskId,
        number: u32,
        mut command: Command,
    ) -> Result<&Job, CommandError> {
        match (&self.out, &self.error) {
            (Some(out), Some(error)) => {
                command.stdout(out.fd()).stderr(error.fd());
            }
            _ if self.capture == Capture::Lines => {
                command.stdout(crate::Stdio::pipe_out()).stderr(crate::Stdio::pipe_out());
            }
            _ => {}
        }
        match &self.fence {
            Some(fence) => command.contain(Some(fence.row())),
            None if self.contain => drop(command.contained()),
            None => {}
        }
        self.bound.hold(&mut command);
        command.on_drop(OnDrop::Kill);
        let began = (Instant::now(), SystemTime::now());
        let mut child = command.spawn()?;
        let streams = [(child.stdout.take(), Stream::Out), (child.stderr.take(), Stream::Err)];
        let lines = streams.into_iter().filter_map(|(pipe, stream)| Some(Lines::new(pipe?, stream)));
        let lines = lines.collect();
        Ok(self.job.insert(Job { began, lines, ..Job::new(task, number, Body::Born(child)) }))
    }

    /// Looks after a job that an earlier run began.
    pub(super) fn adopt(&mut self, task: TaskId, number: u32, adopted: Adopted) -> &Job {
        self.fence = adopted.leaf().and_then(Fence::of);
        self.job.insert(Job::new(task, number, Body::Adopted(adopted)))
    }

    /// Looks whether the job is over: its process has ended, and nobody of it is left. Who is left is killed.
    pub(super) fn look(&mut self) -> io::Result<Look> {
        let Some(job) = &mut self.job else { return Ok(Look::Lives) };
        if job.status.is_none() {
            job.status = job.body.try_wait();
        }
        if job.status.is_none() {
            return Ok(Look::Lives);
        }
        let Some(fence) = &mut self.fence else { return Ok(Look::Over) };
        if fence.is_empty()? {
            return Ok(Look::Over);
        }
        if !job.razed {
            (job.left, job.razed) = (true, true);
            fence.kill()?;
        }
        Ok(Look::Left)
    }

    /// Asks everybody of the job to end.
    pub(super) fn interrupt(&mut self) {
        let Some(job) = &mut self.job else { return };
        job.interrupted = true;
        // Who is gone by now has ended.
        let _ = match &self.fence {
            Some(fence) => fence.signal(Signal::TERM),
            None => job.body.signal(self.ask),
        };
    }

    /// Kills everybody of the job.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        let Some(job) = &mut self.job else { return Ok(()) };
        match &mut self.fence {
            Some(fence) => {
                (job.interrupted, job.razed) = (true, true);
                fence.kill()
            }
            None if self.contain => job.body.kill_tree(GONE_WITHIN),
            None => job.body.signal(Signal::KILL),
        }
    }

    /// When those of the job are to be killed again who were killed and are not gone.
    pub(super) fn kills_again_at(&self) -> Option<Time> {
        self.fence.as_ref().filter(|_| self.job.is_some())?.kills_again_at()
    }

    /// Kills them again, if it is time to; whether it was.
    pub(super) fn kill_again(&mut self, now: Time) -> io::Result<bool> {
        self.fence.as_mut().map_or(Ok(false), |fence| fence.kill_again(now))
    }

    /// What there is to tell of a job that is over, and whether we asked it to end. The slot is empty then.
    pub(super) fn finish(&mut self, tell: &mut Tell<'_>) -> io::Result<Option<(Attempt, bool)>> {
        let Some(job) = self.job.take() else { return Ok(None) };
        let task = job.task;
        for mut lines in job.lines {
            lines.finish(&mut |stream, line| tell(task, stream, line))?;
        }
        let certain = self.fence.is_some();
        let take = |spool: &mut Option<Spool>| match spool {
            Some(spool) => spool.take(certain),
            None => Ok(super::Kept::default()),
        };
        let (output, error) = (take(&mut self.out)?, take(&mut self.error)?);
        // Nobody can be born any more in a cgroup that was killed; and that of an adopted job goes with it.
        let adopted = matches!(job.body, Body::Adopted(_));
        let oom_kills = self.bound.newly_killed().filter(|_| !adopted);
        if job.razed || adopted {
            (self.fence, self.bound) = self.bounds.place()?;
        }
        if let Body::Adopted(adopted) = &job.body {
            // Whoever limited it can remove its groups no more.
            cgroup::sweep(adopted.leaf().as_ref().map(|leaf| leaf.path()));
        }
        let attempt = Attempt {
            task,
            number: job.number,
            slot: self.id,
            pid: job.body.pid(),
            status: job.status.unwrap_or(ExitStatus::UNKNOWN),
            began: job.began.1,
            took: job.began.0.elapsed(),
            usage: job.body.usage().unwrap_or_default(),
            output,
            error,
            left: job.left && !job.interrupted,
            oom_kills,
        };
        Ok(Some((attempt, job.interrupted)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Given up in the middle: with all that it has, and proven as far as that can be in time.
        match &mut self.fence {
            Some(fence) if self.job.is_some() => fence.end(DEATH),
            Some(_) => {}
            None => drop(self.kill()),
        }
    }
}
