//! One worker: its process, its three pipes, and the task that it has.

use super::super::fence::Fence;
use super::super::lines::Lines;
use super::super::{SlotId, Stream, TaskId};
use super::Rules;
use super::answers::Answers;
use crate::child::{Child, os_error};
use crate::{Command, CommandError, OnDrop, Signal, Stdio};
use doula_model::time::Time;
use doula_sys::{fd, poll, time};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::time::{Duration, Instant};

/// Who closed a pipe is about to end by itself; so long it is waited for, so that its end can be told.
const PATIENCE: Duration = Duration::from_millis(100);
/// Where no cgroup tells that all are gone, so long is looked at once (some looks prove it, each takes a millisecond or two), and so
/// often.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A task that a worker has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Has {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Some,
    Nothing,
    /// Nobody can say anything any more.
    End,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) slot: SlotId,
    /// No other worker ever has the same.
    pub(super) number: u32,
    pub(super) born: Time,
    pub(super) child: Child,
    pub(super) input: Option<PipeWriter>,
    pub(super) output: PipeReader,
    pub(super) error: Lines,
    pub(super) fence: Option<Fence>,
    contain: bool,
    /// The line that asks for the task, and how much of it is in the pipe.
    line: Vec<u8>,
    written: usize,
    /// It closed its end of a pipe: it is given nothing more.
    broken: bool,
    pub(super) answers: Answers,
    pub(super) has: Option<Has>,
    /// Whose task it answered last, and how many it answered.
    pub(super) last: Option<TaskId>,
    pub(super) answered: u64,
    /// What it did wrong.
    pub(super) fault: Option<String>,
    /// When it is killed, unless it ends by itself before.
    pub(super) until: Option<Instant>,
    /// It was asked to end its work.
    pub(super) interrupted: bool,
    /// It was told that there is no more work for it.
    pub(super) dismissed: bool,
    pub(super) killed: bool,
    /// When all of it must be gone, once it has left.
    pub(super) gone_by: Option<Instant>,
}

impl Worker {
    pub(super) fn start(
        slot: SlotId,
        number: u32,
        mut command: Command,
        rules: &Rules,
    ) -> Result<Worker, WorkerError> {
        command.stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out()).stderr(Stdio::pipe_out());
        let contain = rules.settings.contain;
        let fence = if contain { Fence::new() } else { None };
        match &fence {
            Some(fence) => command.contain(Some(fence.row())),
            None if contain => drop(command.contained()),
            None => {}
        }
        command.on_drop(OnDrop::Kill);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("the pipes of a worker are missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let error = Lines::new(child.stderr.take().ok_or_else(missing)?, Stream::Err);
        fd::set_nonblocking(&input, true).map_err(os_error)?;
        fd::set_nonblocking(&output, true).map_err(os_error)?;
        Ok(Worker {
            slot,
            number,
            born: time::monotonic(),
            child,
            input: Some(input),
            output,
            error,
            fence,
            contain,
            line: Vec::new(),
            written: 0,
            broken: false,
            answers: Answers::new(rules.skips_blank),
            has: None,
            last: None,
            answered: 0,
            fault: None,
            until: None,
            interrupted: false,
            dismissed: false,
            killed: false,
            gone_by: None,
        })
    }

    /// The place for the line that asks for its next task.
    pub(super) fn line(&mut self) -> &mut Vec<u8> {
        self.line.clear();
        self.written = 0;
        &mut self.line
    }

    /// Writes what the pipe has room for; whether that was all.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        while let (Some(input), false, Some(rest)) =
            (&mut self.input, self.broken, self.line.get(self.written..).filter(|rest| !rest.is_empty()))
        {
            match input.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.broken = true;
                    self.blame("it closed its standard input");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether it has a task of which it has not read a byte: whatever it dies of, it is not that.
    pub(super) fn never_took_it(&self) -> bool {
        let unread = self.input.as_ref().and_then(|input| fd::unread(input).ok()).unwrap_or(0);
        self.has.is_some() && unread >= self.written as u64
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        match self.output.read(buffer) {
            Ok(0) => {
                self.blame("it closed its standard output");
                Ok(Heard::End)
            }
            Ok(count) => {
                self.answers.add(buffer.get(..count).unwrap_or_default());
                Ok(Heard::Some)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
                Ok(Heard::Nothing)
            }
            Err(error) => Err(error),
        }
    }

    /// It answered its task.
    pub(super) fn has_answered(&mut self) {
        self.last = self.has.take().map(|has| has.task);
        self.answered += 1;
    }

    /// Hears what it says on standard error, without waiting; `false` at the end.
    pub(super) fn hear(&mut self, tell: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        if !poll::readable(&self.error, Some(Duration::ZERO)).unwrap_or(false) {
            return Ok(true);
        }
        self.error.read(&mut |_, line| tell(line))
    }

    /// It will be killed for this, unless it ends by itself soon.
    fn blame(&mut self, why: &str) {
        if !self.dismissed {
            self.fault.get_or_insert_with(|| why.to_owned());
            self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        }
    }

    /// Tells it by the end of its standard input that there is no more work; it has this long.
    pub(super) fn dismiss(&mut self, grace: Duration) {
        self.dismissed = true;
        self.input = None;
        self.until = Some(Instant::now() + grace);
    }

    /// Asks it, and all its descendants, to end.
    pub(super) fn interrupt(&mut self) {
        self.interrupted = true;
        // Who is gone by now has ended.
        let _ = match &self.fence {
            Some(fence) => fence.signal(Signal::TERM),
            None => self.child.signal(Signal::TERM),
        };
    }

    /// Kills it with all its descendants, without waiting.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.killed = true;
        self.until = None;
        match &self.fence {
            Some(fence) => fence.kill(),
            // The others are found when it has ended.
            None => self.child.kill(),
        }
    }

    /// Whether it and all its descendants are gone. Who is not is killed; without a cgroup it is to be asked again soon.
    pub(super) fn is_gone(&mut self) -> io::Result<bool> {
        if self.child.try_wait().is_none() {
            return Ok(false);
        }
        let gone = match &self.fence {
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
        if self.killed {
            return;
        }
        let _ = match self.fence.is_none() && self.contain {
            true => self.child.kill_tree(LOOK).map(drop).map_err(io::Error::from),
            false => self.kill(),
        };
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
