//! One worker: its process, how it is asked and answers, and the tasks that it has.

use super::super::bounds::{Bound, Bounds};
use super::super::fence::Fence;
use super::super::lines::Lines;
use super::super::{SlotId, Stream};
use super::Rules;
use super::wire::{Ends, Heard, Sent, Wire};
use crate::child::{Child, DEATH};
use crate::room;
use crate::{Command, CommandError, OnDrop, Signal};
use doula_core::queue::{Desk, Growth, Quiet};
use doula_model::time::Time;
use doula_sys::{poll, time};
use std::io;
use std::time::{Duration, Instant};

/// Who closed a pipe is about to end by itself; so long it is waited for, so that its end can be told.
const PATIENCE: Duration = Duration::from_millis(100);
/// Where no cgroup tells that all are gone, so long is looked at once (some looks prove it, each takes a millisecond or two), and so
/// often.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slot: SlotId,
    /// No other worker ever has the same.
    pub(super) number: u32,
    pub(super) born: Time,
    pub(super) child: Child,
    pub(super) wire: Wire,
    pub(super) error: Lines,
    pub(super) fence: Option<Fence>,
    pub(super) bound: Bound,
    contain: bool,
    /// It closed its end: it is given nothing more.
    broken: bool,
    pub(super) desk: Desk,
    pub(super) growth: Growth,
    pub(super) quiet: Quiet,
    /// It wants no more: it closed the end by which it is asked.
    pub(super) wants_no_more: bool,
    /// It closed an end, and had read of none of the tasks that it has.
    pub(super) took_nothing: bool,
    /// What it did wrong.
    pub(super) fault: Option<String>,
    /// When it is killed, unless it ends by itself before.
    pub(super) until: Option<Instant>,
    /// When all of it must be gone, once it has left.
    pub(super) gone_by: Option<Instant>,
}

impl Worker {
    pub(super) fn start(
        slot: SlotId,
        number: u32,
        mut command: Command,
        (rules, bounds): (&Rules, &Bounds),
    ) -> Result<Worker, WorkerError> {
        let ends = Ends::new(rules, &mut command)?;
        let contain = rules.settings.contain;
        let (fence, bound) = bounds.place()?;
        match &fence {
            Some(fence) => command.contain(Some(fence.row())),
            None if contain => drop(command.contained()),
            None => {}
        }
        bound.hold(&mut command);
        command.on_drop(OnDrop::Kill);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("the standard error of a worker is missing");
        let error = Lines::new(child.stderr.take().ok_or_else(missing)?, Stream::Err);
        let wire = ends.joined(&mut child, rules)?;
        Ok(Worker {
            slot,
            number,
            born: time::monotonic(),
            child,
            wire,
            error,
            fence,
            bound,
            contain,
            broken: false,
            desk: Desk::default(),
            growth: Growth::default(),
            quiet: Quiet::default(),
            wants_no_more: false,
            took_nothing: false,
            fault: None,
            until: None,
            gone_by: None,
        })
    }

    /// Writes what it is asked, as far as there is room; whether that was all.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        if self.broken {
            return Ok(true);
        }
        match self.wire.send()? {
            Sent::All => Ok(true),
            Sent::Some => Ok(false),
            Sent::Broken(why) => {
                self.broken = true;
                self.blame(why);
                Ok(true)
            }
        }
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        let heard = self.wire.read(buffer)?;
        if let Heard::End(what) = heard {
            self.blame(what);
        }
        Ok(heard)
    }

    /// Whether its memory grows by so many bytes with each task. It is looked at now and then.
    pub(super) fn grows(&mut self, bytes: u64) -> bool {
        let now = time::monotonic();
        if self.growth.is_due(now, self.desk.answered)
            && let Some(memory) = room::grown_memory(self.child.pid())
        {
            self.growth.note(now, self.desk.answered, memory);
        }
        self.growth.is_as_fast_as(bytes)
    }

    /// Hears what it says on standard error, without waiting; `false` at the end.
    pub(super) fn hear(&mut self, tell: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        if !poll::readable(&self.error, Some(Duration::ZERO)).unwrap_or(false) {
            return Ok(true);
        }
        self.error.read(&mut |_, line| tell(line))
    }

    /// Whether it is one of whom an answer is expected.
    pub(super) fn waits(&self) -> bool {
        let goes = self.broken || self.fault.is_some() || self.desk.killed || self.desk.dismissed;
        !goes && !self.desk.hands.is_empty()
    }

    /// It will be killed for this, unless it ends by itself soon.
    pub(super) fn blame(&mut self, why: &str) {
        if !self.desk.dismissed {
            self.fault.get_or_insert_with(|| why.to_owned());
            self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        }
    }

    /// Tells it by the end of what it is asked that there is no more work; it has this long, unless it wanted no more by itself.
    pub(super) fn dismiss(&mut self, grace: Duration) {
        let grace = if self.wants_no_more { PATIENCE } else { grace };
        self.desk.dismissed = true;
        self.wire.finish();
        self.until = Some(Instant::now() + grace);
    }

    /// Asks it, and all its descendants, to end.
    pub(super) fn interrupt(&mut self) {
        self.desk.interrupted = true;
        // Who is gone by now has ended.
        let _ = match &self.fence {
            Some(fence) => fence.signal(Signal::TERM),
            None => self.child.signal(Signal::TERM),
        };
    }

    /// Kills it with all its descendants, without waiting.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.desk.killed = true;
        self.until = None;
        match &mut self.fence {
            Some(fence) => fence.kill(),
            // The others are found when it has ended.
            None => self.child.kill(),
        }
    }

    /// When those are to be killed again who were killed and are not gone.
    pub(super) fn kills_again_at(&self) -> Option<Time> {
        self.fence.as_ref()?.kills_again_at()
    }

    /// Kills them again, if it is time to; whether it was.
    pub(super) fn kill_again(&mut self, now: Time) -> io::Result<bool> {
        self.fence.as_mut().map_or(Ok(false), |fence| fence.kill_again(now))
    }

    /// Whether it and all its descendants are gone. Who is not is killed; without a cgroup it is to be asked again soon.
    pub(super) fn is_gone(&mut self) -> io::Result<bool> {
        if self.child.try_wait().is_none() {
            return Ok(false);
        }
        let gone = match &mut self.fence {
            Some(fence) => fence.is_empty()?,
            None if self.contain => self.child.kill_tree(LOOK).is_ok(),
            None => true,
        };
        if !gone && self.fence.is_none() {
            self.until = Some(Instant::now() + LOOK_AGAIN);
        }
        Ok(gone)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Given up in the middle: with all that it has.
        if self.desk.killed && self.kills_again_at().is_none() {
            return;
        }
        match &mut self.fence {
            Some(fence) => fence.end(DEATH),
            None if self.contain => drop(self.child.kill_tree(LOOK)),
            None => drop(self.kill()),
        }
    }
}

/// Why there is no worker.
#[derive(Debug)]
pub(super) enum WorkerError {
    Command(CommandError),
    Io(io::Error),
}

impl From<CommandError> for WorkerError {
    fn from(error: CommandError) -> WorkerError {
        WorkerError::Command(error)
    }
}

impl From<io::Error> for WorkerError {
    fn from(error: io::Error) -> WorkerError {
        WorkerError::Io(error)
    }
}
