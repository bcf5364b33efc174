//! Pipes: read(2) and write(2), capacity, atomic writes, the end of the file and SIGPIPE.
//!
//! fs/pipe.c. A pipe is a ring of pages: a small write joins the last page if it fits there whole, else it takes
//! the next; so how many bytes fit depends on how they came.

use super::call::{Call, Reply, Value};
use super::fd::What;
use super::mutant::Mutant;
use super::signal::From;
use super::sigset::Code;
use super::slab::{OpenId, PipeId, TaskId};
use super::task::{Place, Restart, Sleep};
use super::{Kernel, Part};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// The size of a page, and of the largest write that is never torn (PIPE_BUF).
const PAGE: usize = 4096;
/// How many pages a pipe has by default (PIPE_DEF_BUFFERS): 64 KiB.
const PAGES: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Pipe {
    readers: u32,
    writers: u32,
    pages: VecDeque<Page>,
    bytes: VecDeque<u8>,
}

/// Where the bytes of a page begin, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Page {
    from: usize,
    length: usize,
}

impl Pipe {
    fn is_full(&self) -> bool {
        self.pages.len() >= PAGES
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let bytes: Vec<u8> = self.bytes.drain(..most.min(self.bytes.len())).collect();
        let mut left = bytes.len();
        while let Some(page) = self.pages.front_mut().filter(|_| left > 0) {
            let part = left.min(page.length);
            (page.from, page.length, left) = (page.from + part, page.length - part, left - part);
            if page.length == 0 {
                self.pages.pop_front();
            }
        }
        bytes
    }

    /// As many as fit.
    fn put(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        let rest = bytes.len() % PAGE;
        if let Some(last) =
            self.pages.back_mut().filter(|last| rest > 0 && last.from + last.length + rest <= PAGE)
        {
            last.length += rest;
            done = rest;
        }
        while done < bytes.len() && self.pages.len() < PAGES {
            let length = (bytes.len() - done).min(PAGE);
            self.pages.push_back(Page { from: 0, length });
            done += length;
        }
        self.bytes.extend(&bytes[..done]);
        done
    }
}

impl Kernel {
    pub(crate) fn sys_pipe(&mut self, task: TaskId, cloexec: bool) -> Reply {
        let pipe = self.pipes.insert(Pipe { readers: 1, writers: 1, ..Pipe::default() });
        let read = self.add_open(task, What::ReadEnd(pipe), cloexec);
        let read = read.inspect_err(|_| drop(self.pipes.remove(pipe)))?;
        match self.add_open(task, What::WriteEnd(pipe), cloexec) {
            Ok(write) => Ok(Value::Pair(read, write)),
            Err(errno) => {
                self.pipes[pipe].writers -= 1;
                self.sys_close(task, read)?;
                Err(errno)
            }
        }
    }

    pub(crate) fn sys_read(&mut self, task: TaskId, fd: i32, most: usize) -> Part {
        let open = match self.open_of(task, fd) {
            Ok(open) => open,
            Err(errno) => return errno.into(),
        };
        match self.open[open].what {
            What::ReadEnd(_) => {
                self.hold_open(open);
                self.read_again(task, open, most)
            }
            What::File(node, super::call::Access::Read) => Part::Done(self.read_file(open, node, most)),
            What::Master(_) | What::Slave(_) => self.read_terminal(task, open, most),
            What::Pidfd(_) => Errno::EINVAL.into(),
            // Nothing is read of anything that can be read.
            What::Listener(_) if most == 0 => Part::Done(Ok(Value::Bytes(Vec::new()))),
            What::Listener(_) => Errno::EINVAL.into(),
            // A client asks once, and what it asks is not kept.
            What::Connection(_) => Part::Done(Ok(Value::Bytes(Vec::new()))),
            What::End(side) => {
                self.hold_open(open);
                self.read_end(task, (open, side), most)
            }
            What::WriteEnd(_) | What::File(..) => Errno::EBADF.into(),
        }
    }

    /// Also after a sleep: what is there, the end of the file, or more sleep.
    fn read_again(&mut self, task: TaskId, open: OpenId, most: usize) -> Part {
        let What::ReadEnd(key) = self.open[open].what else { unreachable!("only pipes are slept on") };
        let pipe = &mut self.pipes[key];
        let part = if most == 0 || !pipe.bytes.is_empty() {
            let was_full = pipe.is_full();
            let bytes = pipe.take(most);
            if was_full && !self.pipes[key].is_full() {
                self.wake_pipe(key, false);
            }
            Part::Done(Ok(Value::Bytes(bytes)))
        } else if pipe.writers == 0 || self.config.mutant == Some(Mutant::EmptyPipeIsEnd) {
            Part::Done(Ok(Value::Bytes(Vec::new())))
        } else if self.open[open].nonblocking && !self.bent(Mutant::NonblockingIgnored) {
            Errno::EAGAIN.into()
        } else if self.tasks[task].kicked {
            Part::Interrupted(Restart::IfAsked)
        } else {
            return Part::Sleep(Sleep::Pipe { open, done: 0 });
        };
        self.put_open(open);
        part
    }

    pub(crate) fn sys_write(&mut self, task: TaskId, fd: i32, bytes: &[u8]) -> Part {
        let open = match self.open_of(task, fd) {
            Ok(open) => open,
            Err(errno) => return errno.into(),
        };
        match self.open[open].what {
            What::WriteEnd(_) => {
                self.hold_open(open);
                self.write_again(task, open, bytes, 0)
            }
            What::File(node, super::call::Access::Write) => Part::Done(self.write_file(open, node, bytes)),
            what @ (What::Master(_) | What::Slave(_)) => self.write_terminal(task, what, bytes),
            What::Pidfd(_) => Errno::EINVAL.into(),
            What::Listener(_) => Errno::ENOTCONN.into(),
            What::Connection(connection) => {
                Part::Done(self.write_connection(task, (open, connection), bytes))
            }
            What::End(side) => Part::Done(self.write_end(task, side, bytes)),
            What::ReadEnd(_) | What::File(..) => Errno::EBADF.into(),
        }
    }

    fn write_again(&mut self, task: TaskId, open: OpenId, bytes: &[u8], mut done: usize) -> Part {
        let What::WriteEnd(key) = self.open[open].what else { unreachable!("only pipes are slept on") };
        let some = |done: usize, otherwise: Part| match done {
            0 => otherwise,
            _ => Part::Done(Ok(Value::Number(done as i32))),
        };
        let part = if self.pipes[key].readers == 0 && !bytes.is_empty() {
            if !self.bent(Mutant::NoSigpipe) {
                self.send(From::Task(task, Code::User), task, Signal::PIPE, true);
            }
            some(done, Errno::EPIPE.into())
        } else {
            let was_empty = self.pipes[key].bytes.is_empty();
            done += self.pipes[key].put(&bytes[done..]);
            if was_empty && done > 0 {
                self.wake_pipe(key, true);
            }
            if done == bytes.len() {
                Part::Done(Ok(Value::Number(done as i32)))
            } else if self.open[open].nonblocking {
                some(done, Errno::EAGAIN.into())
            } else if self.tasks[task].kicked {
                some(done, Part::Interrupted(Restart::IfAsked))
            } else {
                return Part::Sleep(Sleep::Pipe { open, done });
            }
        };
        self.put_open(open);
        part
    }

    /// A sleeper on a pipe, or on a connected socket, looks again.
    pub(crate) fn pipe_again(&mut self, task: TaskId, open: OpenId, done: usize) -> Part {
        let call = self.tasks[task].call.take();
        let part = match (&call, self.open[open].what) {
            (Some(Call::Read(_, most)), What::End(side)) => self.read_end(task, (open, side), *most),
            (Some(Call::Read(_, most)), _) => self.read_again(task, open, *most),
            (Some(Call::Write(_, bytes)), _) => self.write_again(task, open, bytes, done),
            _ => unreachable!("who sleeps on a pipe reads or writes"),
        };
        self.tasks[task].call = call;
        part
    }

    /// Readers or writers look again. All of them: Linux wakes one after the other, in an order of its own.
    fn wake_pipe(&mut self, pipe: PipeId, readers: bool) {
        let end = if readers { What::ReadEnd(pipe) } else { What::WriteEnd(pipe) };
        for task in self.tasks.numbers() {
            let place = self.tasks.get(task).map(|row| row.place);
            if let Some(Place::Asleep { what: Sleep::Pipe { open, .. }, .. }) = place
                && self.open[open].what == end
            {
                self.wake(task);
            }
        }
    }

    /// How much is in the pipe of a descriptor and was not read: ioctl(2) `FIONREAD`, which either end answers. 0 where there is none.
    pub fn unread(&self, task: TaskId, fd: i32) -> usize {
        self.pipe_of(task, fd).map_or(0, |(pipe, _)| pipe.bytes.len())
    }

    /// Whether poll(2) would find the end of a pipe ready: the one for reading when there is something to read or nobody is left who
    /// writes, the one for writing when a page is free or nobody is left who reads.
    pub fn pipe_is_ready(&self, task: TaskId, fd: i32) -> bool {
        self.pipe_of(task, fd).is_some_and(|(pipe, reads)| match reads {
            true => !pipe.bytes.is_empty() || pipe.writers == 0,
            false => !pipe.is_full() || pipe.readers == 0,
        })
    }

    /// The pipe of a descriptor, and whether that is the end for reading.
    fn pipe_of(&self, task: TaskId, fd: i32) -> Option<(&Pipe, bool)> {
        match self.open[self.open_of(task, fd).ok()?].what {
            What::ReadEnd(pipe) => Some((&self.pipes[pipe], true)),
            What::WriteEnd(pipe) => Some((&self.pipes[pipe], false)),
            What::File(..) | What::Pidfd(_) | What::Listener(_) | What::Connection(_) => None,
            What::Master(_) | What::Slave(_) | What::End(_) => None,
        }
    }

    /// The last open file of an end is closed: the other end learns of it.
    pub(crate) fn close_end(&mut self, pipe: PipeId, readers: bool) {
        let row = &mut self.pipes[pipe];
        let count = if readers { &mut row.readers } else { &mut row.writers };
        *count -= 1;
        if row.readers == 0 && row.writers == 0 {
            self.pipes.remove(pipe);
        } else {
            self.wake_pipe(pipe, !readers);
        }
    }
}
