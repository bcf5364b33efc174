//! Programs about sockets. Those that listen: clients are gone at once ([`Call::Connect`]): what they leave is a place in the queue.

use super::families::execution_of_player;
use super::script::{Maker, name};
use crate::kernel::call::Call;
use crate::kernel::sigset::Action;
use alloc::vec;
use alloc::vec::Vec;
use doula_model::signal::Signal;

impl Maker {
    pub(super) fn about_sockets(&mut self, by: usize) -> Option<Call> {
        let fd = self.fd();
        Some(match self.below(24) {
            0..2 => Call::Listen(self.pick(&[0, 1, 2, 4])),
            2 => Call::Socketpair,
            3..9 => Call::Connect(fd),
            // A sleeping init can do little else.
            9..13 if by != 0 => Call::Accept(fd),
            13 | 14 => Call::Write(fd, vec![b'a'; self.pick(&[0, 1, 100])]),
            15 if by != 0 => Call::Read(fd, self.pick(&[0, 10])),
            16 | 17 => Call::SetNonblocking(fd, !self.one_in(3)),
            18 => Call::Close(fd),
            19 => Call::Dup(fd),
            20 => Call::Dup2(fd, self.fd()),
            21 => Call::SetCloexec(fd, self.one_in(3)),
            22 if by != 0 => self.execution("player"),
            23 => Call::Sigaction(Signal::PIPE, self.pick(&[Action::IGNORE, Action::HANDLER])),
            _ => return None,
        })
    }

    pub(super) fn socket_motif(&mut self, child: usize, place: usize) -> Vec<(usize, Call)> {
        // Whatever it had open is out of the way.
        let mut plan: Vec<_> = (0..3).map(|fd| (child, Call::Close(fd))).collect();
        let backlog = self.below(3) as u32;
        plan.push((child, Call::Listen(backlog)));
        let rest = match self.below(6) {
            0 => full_queue(child, backlog),
            1 => self.writes_to_the_gone(child),
            2 => self.disturbed(child),
            3 => self.across_execve(child),
            4 => self.closed_unread(child, place + plan.len()),
            _ => self.two_at_one_socket(child, place + plan.len()),
        };
        plan.extend(rest);
        plan
    }

    /// SIGPIPE ends who does not expect it.
    fn writes_to_the_gone(&mut self, child: usize) -> Vec<(usize, Call)> {
        let expected = (child, Call::Sigaction(Signal::PIPE, self.pick(&[Action::IGNORE, Action::HANDLER])));
        let write = (child, Call::Write(1, vec![b'x'; self.pick(&[0, 1])]));
        let mut plan = vec![(child, Call::Connect(0)), (child, Call::Accept(0)), (child, Call::Read(1, 10))];
        plan.extend(self.one_in(2).then_some(expected));
        plan.extend([
            write.clone(),
            (child, Call::Connect(1)),
            (child, Call::Close(0)),
            (child, Call::Connect(1)),
            write,
        ]);
        plan
    }

    /// A handler disturbs accept(2), and then somebody comes.
    fn disturbed(&mut self, child: usize) -> Vec<(usize, Call)> {
        let action = Action { restart: self.one_in(2), ..Action::HANDLER };
        let tell = Call::Kill(name(child), Signal::USR1.number());
        vec![
            (child, Call::Sigaction(Signal::USR1, action)),
            (child, Call::Accept(0)),
            (0, tell),
            (child, Call::SetNonblocking(0, true)),
            (child, Call::Accept(0)),
        ]
    }

    /// What the next program has of it.
    fn across_execve(&mut self, child: usize) -> Vec<(usize, Call)> {
        let keep = self.pick(&[0, 1]);
        vec![
            (child, Call::Connect(0)),
            (child, Call::Connect(0)),
            (child, Call::Accept(0)),
            (child, Call::SetCloexec(keep, !self.one_in(2))),
            (child, execution_of_player()),
            (child, Call::Connect(0)),
            (child, Call::Read(1, 1)),
        ]
    }

    /// One end of a connection is closed, by a death or not, with or without something in it that nobody read.
    fn closed_unread(&mut self, child: usize, place: usize) -> Vec<(usize, Call)> {
        let read = (child, Call::Read(1, self.pick(&[1, 10])));
        let sent = self.pick(&[0, 1, 4]);
        let mut plan = vec![(child, Call::Socketpair), (child, Call::Write(1, vec![b'a'; sent]))];
        if self.one_in(2) {
            plan.push((child, Call::Write(2, vec![b'b'; 2])));
        }
        if self.one_in(3) {
            plan.push((child, Call::Read(2, 1)));
        }
        // Somebody sleeps at the other end when it happens, or comes later.
        let sleeper = self.one_in(2);
        if sleeper {
            plan.push(self.born_by(child, place + plan.len()));
            let last = plan.len() - 1 + place;
            plan.extend([(last, Call::Close(2)), (last, Call::Read(1, 10)), (last, Call::Read(1, 10))]);
        }
        plan.extend([(child, Call::Close(2)), read.clone(), read.clone(), read]);
        plan.extend([(child, Call::Write(1, vec![b'c'])), (child, Call::Socketpair)]);
        plan
    }

    /// Parent and child have one queue; one of them closes its descriptor.
    fn two_at_one_socket(&mut self, child: usize, place: usize) -> Vec<(usize, Call)> {
        let other = place;
        let born = self.born_by(child, other);
        vec![
            born,
            (other, Call::Accept(0)),
            (child, Call::Connect(0)),
            (child, Call::Close(0)),
            (other, Call::Connect(0)),
            (other, Call::Accept(0)),
            (other, Call::SetNonblocking(0, true)),
            (other, Call::Accept(0)),
        ]
    }
}

fn full_queue(child: usize, backlog: u32) -> Vec<(usize, Call)> {
    let mut plan: Vec<_> = (0..backlog + 2).map(|_| (child, Call::Connect(0))).collect();
    plan.extend([(child, Call::Accept(0)), (child, Call::Connect(0)), (child, Call::Connect(0))]);
    plan
}
