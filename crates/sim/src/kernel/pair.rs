//! Connected sockets: both ends in processes, what is on its way between them, and how one end learns that the other is closed.
//!
//! net/unix/af_unix.c. What was sent before is read first. Then comes the end of the file; but once `ECONNRESET` when the other end was
//! closed with something in its own queue that nobody had read (`unix_release_sock`). Queues take any number of bytes: Linux makes
//! writers wait at 208 KiB, with what it needs beside them.

use super::call::{Reply, Value};
use super::fd::What;
use super::mutant::Mutant;
use super::signal::From;
use super::sigset::Code;
use super::slab::{OpenId, PairId, TaskId};
use super::task::{Place, Restart, Sleep};
use super::{Kernel, Part};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// Two ends, each with what it has to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair([End; 2]);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct End {
    closed: bool,
    queue: VecDeque<u8>,
    /// What the next read is told when nothing is in the queue any more (`sk_err`).
    reset: bool,
}

/// One end: the pair, and which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Side(PairId, bool);

impl Side {
    const fn other(self) -> Side {
        Side(self.0, !self.1)
    }
}

impl Kernel {
    pub(crate) fn sys_socketpair(&mut self, task: TaskId) -> Reply {
        let pair = self.pairs.insert(Pair([End::default(), End::default()]));
        let (first, second) = (Side(pair, false), Side(pair, true));
        let one = self.add_open(task, What::End(first), true);
        let one = one.inspect_err(|_| drop(self.pairs.remove(pair)))?;
        match self.add_open(task, What::End(second), true) {
            Ok(other) => Ok(Value::Pair(one, other)),
            Err(errno) => {
                self.end_mut(second).closed = true;
                self.sys_close(task, one)?;
                Err(errno)
            }
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.pairs[side.0].0[usize::from(side.1)]
    }

    /// Also after a sleep: what was sent, how the other end was closed, or more sleep.
    pub(crate) fn read_end(&mut self, task: TaskId, (open, side): (OpenId, Side), most: usize) -> Part {
        let other_is_closed = self.end_mut(side.other()).closed;
        let stays = self.bent(Mutant::ResetStays);
        let end = self.end_mut(side);
        let part = if most == 0 || !end.queue.is_empty() {
            let most = most.min(end.queue.len());
            Part::Done(Ok(Value::Bytes(end.queue.drain(..most).collect())))
        } else if end.reset {
            end.reset = stays;
            Errno::ECONNRESET.into()
        } else if other_is_closed {
            Part::Done(Ok(Value::Bytes(Vec::new())))
        } else if self.open[open].nonblocking {
            Errno::EAGAIN.into()
        } else if self.tasks[task].kicked {
            Part::Interrupted(Restart::IfAsked)
        } else {
            return Part::Sleep(Sleep::Pipe { open, done: 0 });
        };
        self.put_open(open);
        part
    }

    /// Where the other end is closed: SIGPIPE, and EPIPE also for nothing at all, whatever a read would be told.
    pub(crate) fn write_end(&mut self, task: TaskId, side: Side, bytes: &[u8]) -> Reply {
        if self.end_mut(side.other()).closed {
            self.send(From::Task(task, Code::User), task, Signal::PIPE, true);
            return Err(Errno::EPIPE);
        }
        self.end_mut(side.other()).queue.extend(bytes);
        self.wake_end(side.other());
        Ok(Value::Number(bytes.len() as i32))
    }

    /// The last descriptor of an end is closed.
    pub(crate) fn close_side(&mut self, side: Side) {
        let unread = !self.end_mut(side).queue.is_empty();
        let resets = unread && !self.bent(Mutant::NoReset) || self.bent(Mutant::AlwaysReset);
        self.end_mut(side).closed = true;
        let other = self.end_mut(side.other());
        if other.closed {
            drop(self.pairs.remove(side.0));
            return;
        }
        other.reset |= resets;
        self.wake_end(side.other());
    }

    fn wake_end(&mut self, side: Side) {
        for task in self.tasks.numbers() {
            let place = self.tasks.get(task).map(|row| row.place);
            if let Some(Place::Asleep { what: Sleep::Pipe { open, .. }, .. }) = place
                && self.open[open].what == What::End(side)
            {
                self.wake(task);
            }
        }
    }
}
