//! The life of the family: the main process runs, ends, what it left behind is asked to end, then made to.
//!
//! | phase | main process | what ends it |
//! |---|---|---|
//! | running | runs | its end; with a grace time, a request to stop |
//! | asked | runs, was asked to stop | its end; the end of the grace time |
//! | ended | gone; what is left is being counted | nobody is left; somebody is |
//! | leftovers | gone; the rest was asked to stop | nobody is left; the end of their time |
//! | killing | SIGKILL for everybody | nobody is left; the end of all patience |
//! | over | - | - |
//!
//! That nobody is left is a fact and no guess: every orphan becomes our child, so when the kernel says that we
//! have no child there is no descendant.

use super::{Face, Line, Options, Routes};
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::exit::{ExitStatus, Outcome};
use doula_model::id::Pid;
use doula_model::service::Scope;
use doula_model::signal::Signal;
use doula_model::time::Time;

/// How long is waited before SIGKILL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// For the main process after a request to stop; `None`: for ever.
    pub grace: Option<Duration>,
    /// For what is left after its end; `None`: nobody looks.
    pub leftovers: Option<Duration>,
}

/// When we stop ourselves, so that a shell above us sees its job stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspend {
    /// Never: as PID 1, or when no terminal is near.
    Never,
    /// When the main process was stopped.
    WithMain,
    /// When a stop signal of a terminal arrived.
    OnSignal,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A signal reached us (never SIGCHLD).
    Signal(Signal),
    /// The main process ended and was buried.
    MainEnded(ExitStatus),
    /// The main process was stopped.
    MainStopped,
    /// The main process was stopped because it wanted the terminal, which a shell had given to us meanwhile; now it
    /// has the terminal.
    MainGotTerminal,
    /// Another child ended and was buried.
    OrphanEnded(Pid),
    /// All that could be buried was.
    Drained {
        /// Whether nobody is left: we have no child any more.
        empty: bool,
        /// How long the last look took, which found nobody to bury.
        look: Duration,
    },
    /// Time passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send a signal.
    Send(super::Delivery),
    /// Give the terminal to the main process again, if it is ours to give.
    LendTerminal,
    /// Stop ourselves (SIGSTOP).
    StopSelf,
    /// Tell.
    Tell(Line),
    /// All is over.
    End(Ending),
}

/// How we end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// With this code …
    pub code: u8,
    /// … or by this signal, where that is possible.
    pub signal: Option<Signal>,
}

/// How often SIGKILL is repeated: a sweep may miss a child that is born while it goes through the tree.
const KILL_AGAIN: Duration = Duration::from_millis(10);

/// How long SIGKILL may take. Only a process in an uninterruptible call survives it longer, and waiting for
/// such a one would hang us for as long.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A look that finds nobody walks over all children, under the lock that each death needs. One over a small family is short, and
/// costs nobody anything; after one that took longer than this (a thousand children or so), deaths are not listened to for a while.
const LONG_LOOK: Duration = Duration::from_micros(4);

/// So many times as long as the look itself: where many die at once, they are buried by dozens and do not wake us one by one.
const REST: u32 = 100;

/// And no longer, because the end of the main process may be among the deaths.
const LONGEST_REST: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    Asked { until: Time },
    Ended,
    Leftovers { until: Time },
    Killing { again: Time, until: Time },
    Over,
}

/// The family.
#[derive(Debug)]
pub struct Init {
    face: Face,
    routes: Routes,
    patience: Patience,
    suspend: Suspend,
    tell_orphans: bool,
    remap: Vec<(u8, u8)>,
    die_by_signal: bool,
    phase: Phase,
    status: Option<ExitStatus>,
    /// Until when no death is listened to.
    rest: Option<Time>,
}

impl Init {
    /// A family whose main process has just been born.
    pub fn new(options: &Options, suspend: Suspend) -> Init {
        Init {
            face: options.face,
            routes: options.routes.clone(),
            patience: options.patience,
            suspend,
            tell_orphans: options.tell_orphans,
            remap: options.remap.clone(),
            die_by_signal: options.die_by_signal,
            phase: Phase::Running,
            status: None,
            rest: None,
        }
    }

    /// When [`Happened::Tick`] is wanted; `None`: not at all.
    pub fn deadline(&self) -> Option<Time> {
        let phase = match self.phase {
            Phase::Running | Phase::Ended | Phase::Over => None,
            Phase::Asked { until } | Phase::Leftovers { until } => Some(until),
            Phase::Killing { again, until } => Some(again.min(until)),
        };
        phase.into_iter().chain(self.rest).min()
    }

    /// Whether SIGCHLD is wanted now. While it is not, it stays pending.
    pub const fn listens_to_deaths(&self) -> bool {
        self.rest.is_none()
    }

    /// Takes what happened, and appends what is to be done about it.
    pub fn handle(&mut self, now: Time, what: Happened, acts: &mut Vec<Act>) {
        match what {
            Happened::Signal(signal) => self.signalled(now, signal, acts),
            Happened::MainEnded(status) => self.main_ended(status, acts),
            Happened::MainStopped => {
                if self.suspend == Suspend::WithMain {
                    acts.push(Act::StopSelf);
                }
            }
            Happened::MainGotTerminal => {
                if self.suspend == Suspend::WithMain {
                    acts.push(send(Signal::CONT, Scope::Group));
                }
            }
            Happened::OrphanEnded(pid) => {
                if self.tell_orphans {
                    acts.push(Act::Tell(Line::OrphanBuried(pid)));
                }
            }
            Happened::Drained { empty, look } => {
                self.pace(now, look);
                self.drained(now, empty, acts);
            }
            Happened::Tick => self.tick(now, acts),
        }
    }

    fn signalled(&mut self, now: Time, signal: Signal, acts: &mut Vec<Act>) {
        match self.phase {
            Phase::Running => {
                self.pass_on(signal, acts);
                if let Some(grace) = self.patience.grace.filter(|_| asks_to_stop(signal)) {
                    self.phase = Phase::Asked { until: now.after(grace) };
                }
            }
            Phase::Asked { .. } => self.pass_on(signal, acts),
            // Nobody is left to whom another signal could mean something, but an impatient SIGTERM does.
            Phase::Ended | Phase::Leftovers { .. } => {
                if asks_to_stop(signal) {
                    acts.push(send(signal, Scope::Tree));
                }
            }
            Phase::Killing { .. } | Phase::Over => {}
        }
    }

    fn pass_on(&self, signal: Signal, acts: &mut Vec<Act>) {
        let Some(mut delivery) = self.routes.route(signal) else {
            acts.push(Act::Tell(Line::Dropped(signal)));
            return;
        };
        if signal == Signal::CONT && self.suspend == Suspend::WithMain {
            // All of the group was stopped from the terminal, and all of it goes on.
            acts.push(Act::LendTerminal);
            delivery.scope = Scope::Group;
        }
        acts.push(Act::Send(delivery));
        if self.suspend == Suspend::OnSignal && matches!(signal, Signal::TSTP | Signal::TTIN | Signal::TTOU) {
            acts.push(Act::StopSelf);
        }
    }

    fn main_ended(&mut self, status: ExitStatus, acts: &mut Vec<Act>) {
        debug_assert!(self.status.is_none(), "the main process ends once");
        self.status = Some(status);
        acts.push(Act::Tell(Line::MainEnded(status)));
        match self.face {
            // The one burying all that can be buried, the other with a last word to the group.
            Face::Tini => self.phase = Phase::Ended,
            Face::DumbInit => {
                acts.extend(self.routes.route(Signal::TERM).map(Act::Send));
                self.end(acts);
            }
            Face::Native => match self.phase {
                Phase::Killing { .. } | Phase::Over => {}
                Phase::Running | Phase::Asked { .. } | Phase::Ended | Phase::Leftovers { .. } => {
                    self.phase = Phase::Ended;
                }
            },
        }
    }

    fn pace(&mut self, now: Time, look: Duration) {
        if look > LONG_LOOK && matches!(self.phase, Phase::Running | Phase::Asked { .. }) {
            self.rest = Some(now.after(LONGEST_REST.min(look.saturating_mul(REST))));
        }
    }

    fn drained(&mut self, now: Time, empty: bool, acts: &mut Vec<Act>) {
        match self.phase {
            Phase::Running | Phase::Asked { .. } | Phase::Over => {}
            Phase::Ended => match self.patience.leftovers {
                Some(grace) if !empty => {
                    acts.push(Act::Tell(Line::AskingLeftovers(grace)));
                    acts.push(send(Signal::TERM, Scope::Tree));
                    acts.push(send(Signal::CONT, Scope::Tree));
                    self.phase = Phase::Leftovers { until: now.after(grace) };
                }
                Some(_) | None => self.end(acts),
            },
            Phase::Leftovers { .. } | Phase::Killing { .. } => {
                if empty {
                    self.end(acts);
                }
            }
        }
    }

    fn tick(&mut self, now: Time, acts: &mut Vec<Act>) {
        self.rest = self.rest.filter(|until| now < *until);
        match self.phase {
            Phase::Asked { until } | Phase::Leftovers { until } if now >= until => {
                acts.push(Act::Tell(Line::Killing { main: self.status.is_none() }));
                acts.push(send(Signal::KILL, Scope::Tree));
                self.phase = Phase::Killing { again: now.after(KILL_AGAIN), until: now.after(KILL_PATIENCE) };
            }
            Phase::Killing { until, .. } if now >= until => {
                acts.push(Act::Tell(Line::Unkillable));
                self.end(acts);
            }
            Phase::Killing { again, until } if now >= again => {
                acts.push(send(Signal::KILL, Scope::Tree));
                self.phase = Phase::Killing { again: now.after(KILL_AGAIN), until };
            }
            Phase::Running
            | Phase::Asked { .. }
            | Phase::Ended
            | Phase::Leftovers { .. }
            | Phase::Killing { .. }
            | Phase::Over => {}
        }
    }

    fn end(&mut self, acts: &mut Vec<Act>) {
        self.phase = Phase::Over;
        let status = self.status.unwrap_or(ExitStatus::signal(Signal::KILL));
        let code = status.shell_code();
        let remapped = self.remap.iter().rev().find(|(from, _)| *from == code).map(|(_, to)| *to);
        let signal = match status.outcome {
            Outcome::Signal { signal, .. } if self.die_by_signal && remapped.is_none() => Some(signal),
            Outcome::Signal { .. } | Outcome::Code(_) | Outcome::Unknown => None,
        };
        acts.push(Act::End(Ending { code: remapped.unwrap_or(code), signal }));
    }
}

/// The signals by which people and engines ask for the end.
fn asks_to_stop(signal: Signal) -> bool {
    matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT)
}

fn send(signal: Signal, scope: Scope) -> Act {
    Act::Send(super::Delivery { signal, scope, or_stop: false })
}
