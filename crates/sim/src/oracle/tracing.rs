//! The family about tracing: who stops for whom, and who hears of it.
//!
//! Absent on purpose: an init that is traced (who stands cannot clear the stage), and threads.

use super::families::execution_of_player;
use super::script::{Maker, name, tell};
use crate::kernel::Trace;
use crate::kernel::call::{Call, Wait};
use crate::kernel::sigset::Action;
use alloc::vec;
use alloc::vec::Vec;
use doula_model::signal::Signal;

fn trace(by: usize, what: Trace) -> (usize, Call) {
    (by, Call::Ptrace(what))
}

fn go_on(by: usize, tracee: usize, signal: i32) -> (usize, Call) {
    trace(by, Trace::Continue(name(tracee), signal))
}

/// What the tracer hears.
fn hear(by: usize) -> (usize, Call) {
    (by, Call::Wait4(Wait::any().no_hang()))
}

/// What the parent hears of stops.
fn hear_of_stops(by: usize) -> (usize, Call) {
    (by, Call::Waitid(Wait { stopped: true, continued: true, exited: false, ..Wait::any() }.no_hang()))
}

impl Maker {
    pub(super) fn about_tracing(&mut self, by: usize) -> Option<Call> {
        let others: Vec<usize> = self.alive.iter().copied().filter(|one| *one != 0).collect();
        if others.is_empty() {
            return None;
        }
        let pid = name(self.pick(&others));
        Some(Call::Ptrace(match self.below(16) {
            0 if by != 0 => Trace::Me,
            1 => Trace::Attach(pid),
            2 => Trace::Seize(pid, self.one_in(2)),
            3 | 4 => Trace::Interrupt(pid),
            5..9 => Trace::Continue(pid, self.word_to_go_on()),
            9 => Trace::Detach(pid, self.word_to_go_on()),
            10..13 => return Some(hear(by).1),
            13 => return Some(hear_of_stops(by).1),
            _ => return None,
        }))
    }

    fn word_to_go_on(&mut self) -> i32 {
        match self.below(8) {
            0..4 => 0,
            4 => self.pick(&[65, -1, Signal::CHLD.number()]),
            _ => self.signal().number(),
        }
    }

    /// Somebody is traced by its parent or by a stranger, and something happens to it.
    pub(super) fn tracing_motif(&mut self, child: usize, parent: usize, place: usize) -> Vec<(usize, Call)> {
        match self.below(8) {
            0 | 1 => return self.end_of_the_tracer(child, parent, place),
            2 | 3 => return self.end_of_the_tracee(child, parent, place),
            _ => {}
        }
        let tracer = self.pick(&[0, parent, parent, place]);
        let mut plan = Vec::new();
        if tracer == place {
            plan.push(self.born_by(parent, tracer));
        }
        let action = self.pick(&[Action::DEFAULT, Action::HANDLER, Action::IGNORE]);
        plan.push((child, Call::Sigaction(Signal::USR1, action)));
        let before = self.pick(&[None, None, Some(Signal::STOP), Some(Signal::TSTP)]);
        plan.extend(before.map(|signal| (parent, tell(child, signal))));
        plan.extend(self.beginning(child, tracer));
        plan.extend(match self.below(7) {
            0 => self.word_of_the_tracer(child, tracer),
            1..4 => self.stop_under_trace(child, parent, tracer),
            4 => self.stop_that_is_undone(child, parent, tracer),
            5 => vec![
                trace(tracer, Trace::Interrupt(name(child))),
                hear(tracer),
                (parent, tell(child, Signal::TERM)),
                go_on(tracer, child, 0),
                hear(tracer),
            ],
            _ => vec![(child, execution_of_player()), hear(tracer), go_on(tracer, child, 0)],
        });
        plan
    }

    fn beginning(&mut self, child: usize, tracer: usize) -> Vec<(usize, Call)> {
        match self.below(3) {
            0 => vec![(child, Call::Ptrace(Trace::Me))],
            1 => vec![
                trace(tracer, Trace::Attach(name(child))),
                hear(tracer),
                go_on(tracer, child, 0),
                hear(tracer),
                go_on(tracer, child, 0),
            ],
            _ => vec![trace(tracer, Trace::Seize(name(child), self.one_in(2)))],
        }
    }

    /// Which signal arrives is the tracer's choice.
    fn word_of_the_tracer(&mut self, child: usize, tracer: usize) -> Vec<(usize, Call)> {
        let signals = [0, Signal::USR1.number(), Signal::USR1.number(), Signal::HUP.number()];
        let sent = self.pick(&[Signal::USR1, Signal::USR1, Signal::CHLD, Signal::TERM]);
        vec![
            (tracer, tell(child, sent)),
            hear(tracer),
            go_on(tracer, child, self.pick(&signals)),
            (child, Call::Getpid),
            hear(tracer),
        ]
    }

    /// A stop of the whole process is told to both, and outlives the tracing.
    fn stop_under_trace(&mut self, child: usize, parent: usize, tracer: usize) -> Vec<(usize, Call)> {
        let stop = self.pick(&[Signal::STOP, Signal::STOP, Signal::TTIN]);
        let let_go = trace(tracer, Trace::Detach(name(child), 0));
        let further = if self.one_in(2) { let_go } else { go_on(tracer, child, 0) };
        vec![
            (parent, tell(child, stop)),
            hear(tracer),
            go_on(tracer, child, stop.number()),
            hear_of_stops(parent),
            hear(tracer),
            further,
            (parent, tell(child, Signal::CONT)),
            hear(tracer),
            go_on(tracer, child, 0),
            hear_of_stops(parent),
            hear(tracer),
        ]
    }

    /// SIGCONT comes between a stop and its delivery.
    fn stop_that_is_undone(&mut self, child: usize, parent: usize, tracer: usize) -> Vec<(usize, Call)> {
        vec![
            (parent, tell(child, Signal::STOP)),
            hear(tracer),
            (parent, tell(child, Signal::CONT)),
            go_on(tracer, child, Signal::STOP.number()),
            hear(tracer),
            go_on(tracer, child, 0),
            hear(tracer),
        ]
    }

    /// Told to the tracer first.
    fn end_of_the_tracee(&mut self, child: usize, parent: usize, tracer: usize) -> Vec<(usize, Call)> {
        let action = self.pick(&[Action::HANDLER, Action::HANDLER, Action::IGNORE]);
        let end =
            if self.one_in(2) { (parent, tell(child, Signal::KILL)) } else { (child, Call::ExitGroup(3)) };
        let parents_wait = (parent, Call::Wait4(Wait { stopped: self.one_in(2), ..Wait::any() }.no_hang()));
        let mut plan = vec![
            self.born_by(parent, tracer),
            trace(tracer, Trace::Seize(name(child), false)),
            (parent, Call::Sigaction(Signal::CHLD, action)),
            end,
            parents_wait.clone(),
        ];
        self.alive.retain(|alive| ![child, tracer].contains(alive));
        let last = if self.one_in(2) { (tracer, Call::ExitGroup(0)) } else { hear(tracer) };
        plan.extend([last, (parent, Call::Getpid), parents_wait]);
        plan
    }

    /// Whom it leaves standing at a signal has it, if nobody was told; or it dies too.
    fn end_of_the_tracer(&mut self, child: usize, parent: usize, tracer: usize) -> Vec<(usize, Call)> {
        let signal = self.pick(&[Signal::USR1, Signal::TERM, Signal::STOP]);
        let mut plan = vec![
            self.born_by(parent, tracer),
            (child, Call::Sigaction(Signal::USR1, Action::HANDLER)),
            trace(tracer, Trace::Seize(name(child), self.one_in(3))),
            (parent, tell(child, signal)),
        ];
        plan.extend(self.one_in(3).then(|| hear(tracer)));
        self.alive.retain(|alive| *alive != tracer);
        plan.extend([
            (tracer, Call::ExitGroup(0)),
            (child, Call::Getpid),
            hear_of_stops(parent),
            hear(parent),
        ]);
        plan
    }
}
