//! One worker: its process, its three pipes, and the task that it has.

use super::super::lines::Lines;
use super::super::{SlotId, Stream, TaskId};
use super::{Death, LONGEST_ANSWER};
use crate::child::{Child, os_error};
use crate::{Command, CommandError, OnDrop, Signal, Stdio};
use doula_model::exit::ExitStatus;
use doula_sys::{fd, poll};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::time::{Duration, Instant};

/// How long those may take to be gone who were killed.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// Who closed a pipe is about to end by itself; so long it is waited for, so that its end can be told.
const PATIENCE: Duration = Duration::from_millis(100);
/// So much is read at once.
const PIECE: usize = 64 << 10;

/// A task that a worker has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Has {
    pub(super) task: TaskId,
    pub(super) attempt: u32,
}

/// Why a worker will be killed, and when.
#[derive(Debug)]
struct Fault {
    why: String,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Worker {
    slot: SlotId,
    pub(super) child: Child,
    pub(super) input: Option<PipeWriter>,
    pub(super) output: PipeReader,
    pub(super) error: Lines,
    /// What the pipe had no room for.
    unwritten: Vec<u8>,
    /// The beginning of an answer.
    part: Vec<u8>,
    pub(super) has: Option<Has>,
    fault: Option<Fault>,
    /// It was told to end.
    pub(super) dismissed: bool,
}

impl Worker {
    pub(super) fn start(slot: SlotId, mut command: Command, contain: bool) -> Result<Worker, WorkerError> {
        command.stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out()).stderr(Stdio::pipe_out());
        if contain {
            command.contained();
        }
        command.on_drop(OnDrop::Kill);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("the pipes of a worker are missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        let output = child.stdout.take().ok_or_else(missing)?;
        let error = Lines::new(child.stderr.take().ok_or_else(missing)?, Stream::Err);
        fd::set_nonblocking(&input, true).map_err(os_error)?;
        fd::set_nonblocking(&output, true).map_err(os_error)?;
        let (unwritten, part) = (Vec::new(), Vec::new());
        let input = Some(input);
        Ok(Worker {
            slot,
            child,
            input,
            output,
            error,
            unwritten,
            part,
            has: None,
            fault: None,
            dismissed: false,
        })
    }

    /// Gives it a task; whether all of it went into the pipe.
    pub(super) fn give(&mut self, has: Has, line: Vec<u8>) -> io::Result<bool> {
        self.has = Some(has);
        self.unwritten = line;
        self.write()
    }

    /// Writes what the pipe has room for; whether that was all.
    pub(super) fn write(&mut self) -> io::Result<bool> {
        while let Some(input) = self.input.as_mut().filter(|_| !self.unwritten.is_empty()) {
            match input.write(&self.unwritten) {
                Ok(count) => drop(self.unwritten.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    self.unwritten.clear();
                    self.input = None;
                    self.blame("it closed its standard input".to_owned());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads what is there; `false` at the end of it all.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; PIECE];
        match self.output.read(&mut buffer) {
            Ok(0) => {
                let half = !self.part.is_empty();
                let why = if half { "it closed its standard output in the middle of a line" } else { CLOSED };
                self.blame(why.to_owned());
                return Ok(false);
            }
            Ok(count) => self.part.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// The next line that it answered, without its end; `Err` if that will be too long.
    pub(super) fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self.part.iter().position(|byte| *byte == b'\n') {
            Some(at) if at <= LONGEST_ANSWER => {
                let mut line: Vec<u8> = self.part.drain(..=at).collect();
                line.pop();
                Ok(Some(line))
            }
            None if self.part.len() <= LONGEST_ANSWER => Ok(None),
            Some(_) | None => Err(format!("it answered a line of more than {LONGEST_ANSWER} bytes")),
        }
    }

    /// Hears what it says on standard error, without waiting; `false` at the end.
    pub(super) fn hear(&mut self, tell: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        if !poll::readable(&self.error, Some(Duration::ZERO)).unwrap_or(false) {
            return Ok(true);
        }
        self.error.read(&mut |_, line| tell(line))
    }

    /// It will be killed for this, unless it ends by itself soon.
    fn blame(&mut self, why: String) {
        if !self.dismissed {
            self.fault.get_or_insert(Fault { why, until: Instant::now() + PATIENCE });
        }
    }

    /// When it is to be killed.
    pub(super) fn patience(&self) -> Option<Instant> {
        self.fault.as_ref().map(|fault| fault.until)
    }

    /// Asks it to end.
    pub(super) fn interrupt(&self) {
        // Who is gone by now has ended.
        let _ = self.child.signal(Signal::TERM);
    }

    /// Ends it with all its descendants, for this reason if any.
    pub(super) fn kill(&mut self, why: Option<String>) -> io::Result<()> {
        if let Some(why) = why {
            self.fault = Some(Fault { why, until: Instant::now() });
        }
        self.child.kill_tree(GONE_WITHIN).map(drop).map_err(io::Error::from)
    }

    /// All is over: ends who is left, hears the rest, and tells how it ended.
    pub(super) fn bury(mut self, tell: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Death> {
        self.kill(None)?;
        let status = self.child.try_wait().unwrap_or(ExitStatus::UNKNOWN);
        self.error.finish(&mut |_, line| tell(line))?;
        let task = self.has.map(|has| (has.task, has.attempt));
        Ok(Death { slot: self.slot, task, status, why: self.fault.map(|fault| fault.why) })
    }
}

const CLOSED: &str = "it closed its standard output";

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
