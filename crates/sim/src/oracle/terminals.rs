//! The family about controlling terminals. Whoever makes a pair has its master at 0, which does not block, and its slave at 1; so
//! have all who are born after it.
//!
//! Absent on purpose: an init that reads or writes, and handlers of SIGTTIN and SIGTTOU with SA_RESTART. In the background these
//! make their call again for ever, on Linux too.

use super::script::{Maker, name, tell};
use crate::kernel::call::{Call, TtyCall, Wait};
use crate::kernel::sigset::Action;
use alloc::vec;
use alloc::vec::Vec;
use doula_model::signal::Signal;

const MASTER: i32 = 0;
const SLAVE: i32 = 1;

fn of_slave(call: TtyCall) -> Call {
    Call::Terminal(SLAVE, call)
}

fn take() -> Call {
    of_slave(TtyCall::Take { steal: false })
}

fn foreground(place: usize) -> Call {
    of_slave(TtyCall::SetForeground(name(place)))
}

impl Maker {
    pub(super) fn about_terminals(&mut self, by: usize) -> Option<Call> {
        let end = self.pick(&[SLAVE, SLAVE, SLAVE, MASTER, 2]);
        Some(match self.below(18) {
            0..3 if by != 0 => Call::Terminal(end, TtyCall::SetForeground(self.process())),
            3 => Call::Terminal(end, TtyCall::Foreground),
            4 => Call::Terminal(end, TtyCall::Session),
            5 | 6 => Call::Terminal(end, TtyCall::Take { steal: false }),
            7 if self.one_in(2) => Call::Terminal(end, TtyCall::GiveUp),
            8 => Call::Terminal(MASTER, TtyCall::Key(self.pick(&[Signal::INT, Signal::TSTP]).number())),
            9 | 10 if by != 0 => Call::Read(end, 3),
            11 => Call::Write(MASTER, vec![b'k'; 1 + self.below(4)]),
            12 if by != 0 => Call::Write(SLAVE, vec![b'o'; 1 + self.below(4)]),
            13 if by != 0 => Call::Terminal(end, TtyCall::StopWriters(!self.one_in(3))),
            14 => Call::OpenTty,
            15 => Call::Terminal(end, TtyCall::OpenSlave),
            16 => Call::Close(end),
            17 => Call::Sigaction(self.pick(&[Signal::TTIN, Signal::TTOU, Signal::HUP]), self.job_action()),
            _ => return None,
        })
    }

    fn job_action(&mut self) -> Action {
        self.pick(&[Action::DEFAULT, Action::HANDLER, Action::IGNORE])
    }

    /// A session with a terminal and a job of one, in the background at first, and what happens to it.
    pub(super) fn terminal_motif(&mut self, child: usize, parent: usize, place: usize) -> Vec<(usize, Call)> {
        let job = place + 6;
        let mut plan = vec![
            (child, Call::Setsid),
            (child, Call::Close(MASTER)),
            (child, Call::Close(SLAVE)),
            (child, Call::Pty),
            (child, Call::SetNonblocking(MASTER, true)),
            (child, take()),
            self.born_by(child, job),
            (job, Call::Setpgid(0, 0)),
        ];
        plan.extend(match self.below(9) {
            0 => self.read_from_behind(child, job),
            1 | 8 => self.write_from_behind(child, job),
            2 | 6 | 7 => self.end_of_a_leader(child, job),
            3 => self.hang_up(child, job),
            4 => strangers(child, parent, job),
            _ => keys_and_orphans(child, job),
        });
        plan
    }

    fn read_from_behind(&mut self, child: usize, job: usize) -> Vec<(usize, Call)> {
        let stopped = Wait { exited: false, stopped: true, no_hang: true, ..Wait::any() };
        vec![
            (
                job,
                Call::Sigaction(
                    Signal::TTIN,
                    self.pick(&[Action::DEFAULT, Action::HANDLER, Action::IGNORE, Action::IGNORE]),
                ),
            ),
            (job, Call::Read(SLAVE, 3)),
            (child, Call::Waitid(stopped)),
            (child, foreground(job)),
            (child, tell(job, Signal::CONT)),
            (child, Call::Write(MASTER, vec![b'a'; 2])),
            (job, Call::Getpid),
            (job, Call::Read(SLAVE, 1)),
        ]
    }

    fn write_from_behind(&mut self, child: usize, job: usize) -> Vec<(usize, Call)> {
        vec![
            (job, Call::Write(SLAVE, vec![b'o'])),
            (child, of_slave(TtyCall::StopWriters(true))),
            (job, Call::Sigaction(Signal::TTOU, self.job_action())),
            (job, if self.one_in(3) { foreground(job) } else { Call::Write(SLAVE, vec![b'o']) }),
            (child, Call::Read(MASTER, 9)),
            (child, of_slave(TtyCall::Foreground)),
            (child, tell(job, Signal::CONT)),
        ]
    }

    fn end_of_a_leader(&mut self, child: usize, job: usize) -> Vec<(usize, Call)> {
        let mut plan = vec![
            (job, Call::Sigaction(Signal::HUP, Action::HANDLER)),
            (job, Call::Sigaction(Signal::CONT, Action::HANDLER)),
        ];
        if !self.one_in(3) {
            plan.push((child, foreground(job)));
        }
        let ended = !self.one_in(3);
        plan.push((child, if ended { Call::ExitGroup(0) } else { of_slave(TtyCall::GiveUp) }));
        plan.extend([(job, Call::Getpid), (job, of_slave(TtyCall::Foreground)), (job, take())]);
        if ended {
            self.alive.retain(|alive| *alive != child);
        }
        plan
    }

    fn hang_up(&mut self, child: usize, job: usize) -> Vec<(usize, Call)> {
        let mut plan = vec![(child, Call::Sigaction(Signal::HUP, Action::HANDLER))];
        if self.one_in(2) {
            plan.push((child, foreground(job)));
        }
        plan.extend([
            (job, Call::Close(MASTER)),
            (job, if self.one_in(2) { Call::Read(SLAVE, 1) } else { Call::Getpid }),
            (child, Call::Close(MASTER)),
            (child, Call::Getpid),
            (child, Call::Read(SLAVE, 1)),
            (child, Call::Write(SLAVE, vec![b'x'])),
            (child, Call::OpenTty),
            (child, Call::ExitGroup(0)),
        ]);
        self.alive.retain(|alive| *alive != child);
        plan
    }
}

/// Who has nothing to do with the session, and who leaves it.
fn strangers(child: usize, parent: usize, job: usize) -> Vec<(usize, Call)> {
    vec![
        (child, foreground(parent)),
        (child, of_slave(TtyCall::Foreground)),
        (job, Call::Setpgid(0, name(child))),
        (job, Call::Setsid),
        (job, Call::OpenTty),
        (job, take()),
        (child, of_slave(TtyCall::GiveUp)),
        (job, take()),
        (job, of_slave(TtyCall::Session)),
    ]
}

/// The leader itself in the background: its group is orphaned, for its parent is in another session.
fn keys_and_orphans(child: usize, job: usize) -> Vec<(usize, Call)> {
    let key = |signal: Signal| (child, Call::Terminal(MASTER, TtyCall::Key(signal.number())));
    vec![
        (child, foreground(job)),
        (child, Call::Read(SLAVE, 1)),
        (child, foreground(child)),
        (job, of_slave(TtyCall::GiveUp)),
        (job, take()),
        (child, of_slave(TtyCall::StopWriters(true))),
        key(Signal::TSTP),
        (child, tell(job, Signal::CONT)),
        key(Signal::INT),
        (child, of_slave(TtyCall::Foreground)),
    ]
}
