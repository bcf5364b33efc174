//! A worker as the run has it: its pipes, its handle, its control group, and its desk.

use super::case::Trouble;
use super::paper::{Going, Life, PROGRAM, Paper};
use super::play::Breakage;
use crate::kernel::call::{Call, Clone as How, Reply, Value, Wait};
use crate::kernel::sigset::Action;
use crate::kernel::{CgroupId, Fault, ForkStep, Program, TaskId};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::again::Again;
use doula_core::queue::{Answers, Desk, Has, SlotId};
use doula_model::exit::{Evidence, ExitStatus};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::time::Time;

/// Who closed a pipe is about to end by itself; so long it is waited for.
const PATIENCE: Duration = Duration::from_millis(100);
const LONGEST: usize = 1 << 20;
const PIECE: usize = 64 << 10;

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Some,
    Nothing,
    End,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) slot: SlotId,
    /// No other worker of this run has the same.
    pub(super) number: u32,
    pub(super) born: Time,
    pub(super) life: Life,
    pub(super) leaf: CgroupId,
    handle: i32,
    input: Option<i32>,
    pub(super) output: i32,
    /// Its end would be told for ever.
    pub(super) deaf: bool,
    /// It is told when there is room again.
    pub(super) awaits_room: bool,
    /// Its end was told.
    pub(super) ended_told: bool,
    line: Vec<u8>,
    written: usize,
    /// So many tasks are not answered, and so much was written since there were none.
    open: u64,
    sent: usize,
    pub(super) answers: Answers,
    /// It closed its end: it is given nothing more.
    broken: bool,
    pub(super) desk: Desk,
    pub(super) fault: Option<String>,
    pub(super) until: Option<Time>,
    pub(super) gone_by: Option<Time>,
    /// A kill can miss one.
    again: Again,
    status: Option<ExitStatus>,
}

impl Seat {
    /// Has a worker born.
    pub(super) fn start(paper: &mut Paper<'_>, slot: SlotId, number: u32) -> Going<Result<Seat, Errno>> {
        let cloexec = paper.options.broken != Some(Breakage::PipesInherited);
        let (their_input, input) = pair(paper, cloexec)?;
        let (output, their_output) = pair(paper, cloexec)?;
        let parent = paper.kernel.cgroup_of(paper.run);
        let Ok(leaf) = paper.kernel.make_cgroup(parent) else { return Ok(Err(Errno::ENOSPC)) };
        let default = Call::Sigaction(Signal::PIPE, Action::DEFAULT);
        let plan = [Call::Setsid, default, Call::Dup2(their_input, 0), Call::Dup2(their_output, 1)];
        let born = bear(paper, leaf, plan)?;
        for fd in [their_input, their_output] {
            let _ = paper.call(Call::Close(fd))?;
        }
        let (pid, life) = match born {
            Ok(born) => born,
            Err(errno) => {
                for fd in [input, output] {
                    let _ = paper.call(Call::Close(fd))?;
                }
                let _ = paper.kernel.remove_cgroup(leaf);
                return Ok(Err(errno));
            }
        };
        let handle = paper.call(Call::PidfdOpen(pid))?;
        let Ok(Value::Number(handle)) = handle else { return Ok(Err(Errno::ESRCH)) };
        for fd in [input, output] {
            let _ = paper.call(Call::SetNonblocking(fd, true))?;
        }
        if paper.kernel.lives(life.0, life.1) {
            paper.enter(slot, life);
        }
        Ok(Ok(Seat {
            slot,
            number,
            born: paper.now,
            life,
            leaf,
            handle,
            input: Some(input),
            output,
            deaf: false,
            awaits_room: false,
            ended_told: false,
            line: Vec::new(),
            written: 0,
            open: 0,
            sent: 0,
            answers: Answers::new(LONGEST, false),
            broken: false,
            desk: Desk::default(),
            fault: None,
            until: None,
            gone_by: None,
            again: Again::default(),
            status: None,
        }))
    }

    /// Takes tasks to be asked for.
    pub(super) fn ask(&mut self, has: Has) {
        self.line.drain(..self.written);
        self.written = 0;
        if self.open == 0 {
            self.sent = 0;
        }
        for task in has.tasks() {
            self.line.extend_from_slice(alloc::format!("{task} {}\n", has.attempt).as_bytes());
        }
        self.open += u64::from(has.count);
        self.desk.hands.add(has);
    }

    /// Writes what it is asked, as far as there is room; whether that was all.
    pub(super) fn write(&mut self, paper: &mut Paper<'_>) -> Going<bool> {
        while let (false, Some(input)) = (self.broken, self.input) {
            let rest = self.line.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(true);
            }
            match interruptible(paper, Call::Write(input, rest.to_vec()))? {
                Ok(Value::Number(count)) => {
                    self.written += count as usize;
                    self.sent += count as usize;
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(_) => {
                    self.broken = true;
                    self.blame(paper, "it closed its standard input");
                }
            }
        }
        Ok(true)
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, paper: &mut Paper<'_>) -> Going<Heard> {
        let mut reply = interruptible(paper, Call::Read(self.output, PIECE))?;
        while reply == Err(Errno::EINTR) {
            reply = interruptible(paper, Call::Read(self.output, PIECE))?;
        }
        Ok(match reply {
            Ok(Value::Bytes(bytes)) if bytes.is_empty() => {
                self.blame(paper, "it closed its standard output");
                Heard::End
            }
            Ok(Value::Bytes(bytes)) => {
                self.answers.add(&bytes);
                Heard::Some
            }
            Ok(_) | Err(_) => Heard::Nothing,
        })
    }

    /// The next line that it said. `Err`: that is no answer.
    pub(super) fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let line = self.answers.line()?.map(ToOwned::to_owned);
        self.open = self.open.saturating_sub(u64::from(line.is_some()));
        Ok(line)
    }

    /// Whether it has read nothing of what it was asked.
    pub(super) fn took_nothing(&self, paper: &Paper<'_>) -> bool {
        self.input.map_or(0, |input| paper.kernel.unread(paper.run, input)) >= self.sent
    }

    /// It will be killed for this, unless it ends by itself soon.
    fn blame(&mut self, paper: &Paper<'_>, why: &str) {
        if self.desk.dismissed {
            return;
        }
        self.fault.get_or_insert_with(|| why.to_owned());
        if paper.options.broken != Some(Breakage::EndlessPatience) {
            self.until.get_or_insert_with(|| paper.now.after(PATIENCE));
        }
    }

    /// Tells it by the end of what it is asked that there is no more work; it has this long.
    pub(super) fn dismiss(&mut self, paper: &mut Paper<'_>, grace: Duration) -> Going<()> {
        self.desk.dismissed = true;
        if let Some(input) = self.input.take() {
            let _ = paper.call(Call::Close(input))?;
        }
        self.until = Some(paper.now.after(grace));
        Ok(())
    }

    /// Asks all of it to end.
    pub(super) fn interrupt(&mut self, paper: &mut Paper<'_>) -> Going<()> {
        self.desk.interrupted = true;
        for member in paper.kernel.cgroup_members(self.leaf) {
            let number = paper.kernel.look(member).map_or(0, |look| look.pid);
            // Who is gone by now has ended.
            let _ = paper.call(Call::Kill(number, Signal::TERM.number()))?;
        }
        Ok(())
    }

    /// Kills all of it, without waiting.
    pub(super) fn kill(&mut self, paper: &mut Paper<'_>) -> Going<()> {
        self.desk.killed = true;
        self.until = None;
        paper.step()?;
        paper.say(self.life.0, "is killed by the run, with all of its group");
        if paper.options.broken == Some(Breakage::LeavesTree) {
            if !paper.kernel.lives(self.life.0, self.life.1) {
                return Ok(());
            }
            paper.kernel.signal_from_kernel(self.life.0, Signal::KILL);
            return Ok(());
        }
        self.kill_group(paper);
        Ok(())
    }

    fn kill_group(&mut self, paper: &mut Paper<'_>) {
        paper.kill_group(self.leaf);
        self.again.killed(paper.now);
    }

    /// When those are killed again who were killed and are not gone.
    pub(super) fn kills_again_at(&self) -> Option<Time> {
        self.again.deadline()
    }

    /// Kills them again, if it is time to; whether it was.
    pub(super) fn kill_again(&mut self, paper: &mut Paper<'_>) -> Going<bool> {
        let due = self.again.is_due(paper.now);
        if due {
            paper.step()?;
            self.kill_group(paper);
        }
        Ok(due)
    }

    /// Buries it if it has ended; how it ended.
    pub(super) fn try_wait(&mut self, paper: &mut Paper<'_>) -> Going<Option<ExitStatus>> {
        if self.status.is_none() && paper.options.broken != Some(Breakage::NeverBuries) {
            let wait = Call::WaitidPidfd(self.handle, Wait::any().no_hang());
            if let Ok(Value::Waited(end)) = paper.call(wait)? {
                self.status = ExitStatus::from_wait(end.status, Evidence::Waited);
            }
        } else if self.status.is_none() && self.has_ended(paper) {
            self.status = Some(ExitStatus::signal(Signal::KILL));
        }
        Ok(self.status)
    }

    /// Whether it and all its descendants are gone.
    pub(super) fn is_gone(&mut self, paper: &mut Paper<'_>) -> Going<bool> {
        if self.try_wait(paper)?.is_none() {
            return Ok(false);
        }
        let gone = paper.options.broken == Some(Breakage::LeavesTree) || !paper.is_populated(self.leaf);
        if gone {
            self.again.gone();
        }
        Ok(gone)
    }

    /// Closes all that was for it.
    pub(super) fn forget(self, paper: &mut Paper<'_>) -> Going<()> {
        for fd in self.input.into_iter().chain([self.output, self.handle]) {
            let _ = paper.call(Call::Close(fd))?;
        }
        let _ = paper.kernel.remove_cgroup(self.leaf);
        Ok(())
    }

    pub(super) fn has_ended(&self, paper: &Paper<'_>) -> bool {
        paper.kernel.pidfd_is_readable(paper.run, self.handle)
    }

    pub(super) fn can_be_heard(&self, paper: &Paper<'_>) -> bool {
        !self.deaf && paper.kernel.pipe_is_ready(paper.run, self.output)
    }

    pub(super) fn has_room(&self, paper: &Paper<'_>) -> bool {
        self.awaits_room && self.input.is_some_and(|input| paper.kernel.pipe_is_ready(paper.run, input))
    }
}

fn pair(paper: &mut Paper<'_>, cloexec: bool) -> Going<(i32, i32)> {
    match paper.call(Call::Pipe(cloexec))? {
        Ok(Value::Pair(read, write)) => Ok((read, write)),
        other => {
            paper.checks.fail("pipes", alloc::format!("a pipe of the run: {other:?}"));
            Err(super::paper::Over)
        }
    }
}

/// A read or a write, which a signal may interrupt.
fn interruptible(paper: &mut Paper<'_>, call: Call) -> Going<Reply> {
    if paper.fires(Trouble::Interrupted) {
        paper.step()?;
        return Ok(Err(Errno::EINTR));
    }
    paper.call(call)
}

/// clone3(2) with `CLONE_VFORK` into the group, the child's calls, and execve(2).
fn bear(paper: &mut Paper<'_>, leaf: CgroupId, plan: [Call; 4]) -> Going<Result<(i32, Life), Errno>> {
    paper.step()?;
    if paper.fires(Trouble::ForkAgain) {
        paper.kernel.inject(Fault::Fork(ForkStep::Limits, Errno::EAGAIN));
    } else if paper.fires(Trouble::ForkMemory) {
        paper.kernel.inject(Fault::Fork(ForkStep::Memory, Errno::ENOMEM));
    }
    let how = How { vm: true, vfork: true, cgroup: Some(leaf), ..How::FORK };
    paper.kernel.enter(paper.run, Call::Clone(how));
    paper.kernel.settle();
    if let Some(child) = paper.kernel.child_of_vfork(paper.run) {
        through_plan(paper, child, plan)?;
    }
    match paper.kernel.take_reply(paper.run) {
        Some(Ok(Value::Number(number))) => {
            let Some(task) = paper.kernel.find(number) else { return Ok(Err(Errno::ESRCH)) };
            paper.say(task, "is born as a worker");
            Ok(Ok((number, (task, paper.kernel.birth(task)))))
        }
        Some(Err(errno)) => Ok(Err(errno)),
        _ => Err(super::paper::Over),
    }
}

fn through_plan(paper: &mut Paper<'_>, child: TaskId, plan: [Call; 4]) -> Going<()> {
    let life = (child, paper.kernel.birth(child));
    for call in plan {
        paper.child_call(life, call)?;
    }
    paper.child_call(life, Call::Execve(Box::new(Program::new(PROGRAM))))?;
    Ok(())
}
