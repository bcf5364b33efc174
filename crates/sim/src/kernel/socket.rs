//! Sockets that listen: who waits to be served, how many there is room for, and who takes the next one.
//!
//! net/core/sock.c, net/ipv4/inet_connection_sock.c, net/unix/af_unix.c, as far as several processes that have one socket can
//! tell. Who connects is no process here, and the bytes of a conversation are not kept: whoever plays the clients asks for a
//! connection ([`Kernel::connect`]) and is told what became of it ([`Kernel::take_closed`]).

use super::call::{Reply, Value};
use super::fd::What;
use super::mutant::Mutant;
use super::signal::From;
use super::sigset::Code;
use super::slab::{OpenId, SocketId, TaskId};
use super::task::{Place, Restart, Sleep};
use super::{Kernel, Part};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// A socket that listens (`struct sock` in `TCP_LISTEN`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Socket {
    backlog: u32,
    /// Those that nobody has taken, by their numbers, the oldest first.
    queue: VecDeque<u64>,
}

/// How a connection was closed, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HungUp {
    /// Something was written to it before.
    Answered,
    /// Somebody had taken it, and nobody wrote anything.
    Silent,
    /// Nobody had taken it: the socket was closed.
    Reset,
}

impl Kernel {
    pub(crate) fn sys_listen(&mut self, task: TaskId, backlog: u32) -> Reply {
        let socket = self.sockets.insert(Socket { backlog, queue: VecDeque::new() });
        let cloexec = !self.bent(Mutant::ListenerKeptByExec);
        let fd = self.add_open(task, What::Listener(socket), cloexec);
        fd.inspect_err(|_| drop(self.sockets.remove(socket))).map(Value::Number)
    }

    /// The socket that a descriptor means.
    pub fn socket_of(&self, task: TaskId, fd: i32) -> Option<SocketId> {
        match self.open[self.open_of(task, fd).ok()?].what {
            What::Listener(socket) => Some(socket),
            What::ReadEnd(_) | What::WriteEnd(_) | What::File(..) | What::Pidfd(_) => None,
            What::Master(_) | What::Slave(_) | What::Connection(_) | What::End(_) => None,
        }
    }

    /// Somebody connects to this socket; the number is that of the connection.
    ///
    /// # Errors
    /// `ECONNREFUSED` when nobody has the socket open any more; `EAGAIN` when it is full: a queue takes one more than the backlog
    /// says (`sk_acceptq_is_full`). A client of TCP does not see that, and tries again by itself after a second.
    pub fn connect(&mut self, socket: SocketId) -> Result<u64, Errno> {
        let joined = self.join(socket);
        self.settle();
        joined
    }

    fn join(&mut self, socket: SocketId) -> Result<u64, Errno> {
        let row = self.sockets.get_mut(socket).ok_or(Errno::ECONNREFUSED)?;
        let waiting = row.queue.len() + usize::from(self.config.mutant == Some(Mutant::BacklogExact));
        if waiting > row.backlog as usize && self.config.mutant != Some(Mutant::BacklogIgnored) {
            return Err(Errno::EAGAIN);
        }
        self.connections += 1;
        row.queue.push_back(self.connections);
        self.wake_accepting(socket);
        Ok(self.connections)
    }

    /// Whether anybody has this socket open.
    pub fn is_open(&self, socket: SocketId) -> bool {
        self.sockets.get(socket).is_some()
    }

    /// How many wait at this socket.
    pub fn waiting_at(&self, socket: SocketId) -> usize {
        self.sockets.get(socket).map_or(0, |row| row.queue.len())
    }

    /// Whether the task sleeps in accept(2).
    pub fn is_accepting(&self, task: TaskId) -> bool {
        let place = self.tasks.get(task).map(|row| row.place);
        matches!(place, Some(Place::Asleep { what: Sleep::Accept(_), .. }))
    }

    /// The connections that were closed since this was asked last, with what became of them.
    pub fn take_closed(&mut self) -> Vec<(u64, HungUp)> {
        core::mem::take(&mut self.closed)
    }

    /// A client in a process: it is gone at once, so that nobody reads what it is answered. The address of a connection is that of
    /// the socket that it came to.
    pub(crate) fn sys_connect(&mut self, task: TaskId, fd: i32) -> Reply {
        let socket = match self.open[self.open_of(task, fd)?].what {
            What::Listener(socket) => socket,
            What::Connection(connection) => {
                self.gone.get(&connection).copied().flatten().ok_or(Errno::ECONNREFUSED)?
            }
            What::ReadEnd(_) | What::WriteEnd(_) | What::File(..) | What::Pidfd(_) => {
                return Err(Errno::ENOTSOCK);
            }
            What::Master(_) | What::Slave(_) => return Err(Errno::ENOTSOCK),
            // It has no address.
            What::End(_) => return Err(Errno::EINVAL),
        };
        let connection = self.join(socket)?;
        self.gone.insert(connection, Some(socket));
        Ok(Value::ZERO)
    }

    /// Where the client is gone nobody will read it: SIGPIPE, and EPIPE also for nothing at all.
    pub(crate) fn write_connection(
        &mut self,
        task: TaskId,
        (open, connection): (OpenId, u64),
        bytes: &[u8],
    ) -> Reply {
        if self.gone.contains_key(&connection) && !self.bent(Mutant::GoneClientReads) {
            if !self.bent(Mutant::NoSigpipeOfSockets) {
                self.send(From::Task(task, Code::User), task, Signal::PIPE, true);
            }
            return Err(Errno::EPIPE);
        }
        self.open[open].offset += bytes.len();
        Ok(Value::Number(bytes.len() as i32))
    }

    pub(crate) fn sys_accept(&mut self, task: TaskId, fd: i32) -> Part {
        let open = match self.open_of(task, fd) {
            Ok(open) => open,
            Err(errno) => return errno.into(),
        };
        match self.open[open].what {
            What::Listener(_) => {}
            What::Connection(_) | What::End(_) => return Errno::EINVAL.into(),
            What::ReadEnd(_) | What::WriteEnd(_) | What::File(..) | What::Pidfd(_) => {
                return Errno::ENOTSOCK.into();
            }
            What::Master(_) | What::Slave(_) => return Errno::ENOTSOCK.into(),
        }
        self.hold_open(open);
        self.accept_again(task, open)
    }

    /// Also after a sleep: others may have been faster.
    pub(crate) fn accept_again(&mut self, task: TaskId, open: OpenId) -> Part {
        let What::Listener(socket) = self.open[open].what else {
            unreachable!("only listeners are slept on")
        };
        let part = if self.sockets[socket].queue.is_empty() {
            if self.open[open].nonblocking && !self.bent(Mutant::AcceptWaitsAlways) {
                Errno::EAGAIN.into()
            } else if self.tasks[task].kicked {
                let always = self.bent(Mutant::AcceptGoesOn);
                Part::Interrupted(if always { Restart::Always } else { Restart::IfAsked })
            } else {
                return Part::Sleep(Sleep::Accept(open));
            }
        } else {
            Part::Done(self.take_next(task, socket))
        };
        self.put_open(open);
        part
    }

    fn take_next(&mut self, task: TaskId, socket: SocketId) -> Reply {
        let Some(next) = self.sockets[socket].queue.front().copied() else { return Err(Errno::EAGAIN) };
        // Without a free descriptor it goes on waiting.
        let cloexec = !self.bent(Mutant::ConnectionKeptByExec);
        let fd = self.add_open(task, What::Connection(next), cloexec)?;
        if !self.bent(Mutant::AcceptLeavesIt) {
            self.sockets[socket].queue.pop_front();
        }
        Ok(Value::Number(fd))
    }

    /// All of them look again, and one finds it: Linux wakes one at a time, in an order of its own.
    fn wake_accepting(&mut self, socket: SocketId) {
        for task in self.tasks.numbers() {
            let place = self.tasks.get(task).map(|row| row.place);
            if let Some(Place::Asleep { what: Sleep::Accept(open), .. }) = place
                && self.open[open].what == What::Listener(socket)
            {
                self.wake(task);
            }
        }
    }

    /// The last descriptor of a listener in any process is closed: whoever waits there is sent away.
    pub(crate) fn close_listener(&mut self, socket: SocketId) {
        let queue = self.sockets.remove(socket).queue;
        self.gone.retain(|connection, _| !queue.contains(connection));
        self.gone.values_mut().filter(|came| **came == Some(socket)).for_each(|came| *came = None);
        self.closed.extend(queue.into_iter().map(|connection| (connection, HungUp::Reset)));
    }

    /// The last descriptor of a connection is closed.
    pub(crate) fn close_connection(&mut self, connection: u64, answered: bool) {
        self.gone.remove(&connection);
        let how = if answered { HungUp::Answered } else { HungUp::Silent };
        self.closed.push((connection, how));
    }
}
