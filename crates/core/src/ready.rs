//! When a service counts as ready, and what it says about itself.
//!
//! A task (one-shot, scheduled) is ready by its good end, whatever `ready.by` says; its `ready.timeout` limits
//! the run.

use crate::child::Child;
use crate::context::Context;
use crate::service::{Fact, Input, Service};
use crate::timers::Alarm;
use core::time::Duration;
use doula_model::action::{Cause, News, State};
use doula_model::event::{Haste, Notice};
use doula_model::id::Role;
use doula_model::service::{ProbePolicy, ReadyBy};

/// The shortest pause between two attempts of a probe: a probe that fails at once must not spin.
pub(crate) const SHORTEST_PROBE_PAUSE: Duration = Duration::from_millis(10);

impl Service {
    /// The program is being executed.
    pub(crate) fn main_born(&mut self, cx: &mut Context) {
        assert!(self.children.pid(Role::Main).is_some(), "the main process lives");
        if self.is_task() {
            return;
        }
        match self.spec.ready.by {
            ReadyBy::Exec => self.up(cx),
            ReadyBy::Notice => {}
            ReadyBy::Probe(policy) => self.probe_after(cx, policy.initial_delay, Role::ReadyProbe),
        }
    }

    /// It is ready: those who need it may start.
    pub(crate) fn up(&mut self, cx: &mut Context) {
        assert!(!self.is_task(), "a task is ready by its end");
        self.alarm(cx, Alarm::Step, None);
        self.turn(cx, State::Up, Cause::NextStep);
        self.ready_since = Some(cx.now);
        let after = self.children.born(Role::Main).map_or(Duration::ZERO, |born| cx.now.since(born));
        self.report(cx, News::Ready { after });
        self.feed_watchdog(cx);
        if let Some(policy) = self.spec.liveness {
            self.probe_failures = 0;
            self.probe_after(cx, policy.initial_delay, Role::LiveProbe);
        }
        if core::mem::take(&mut self.reload_later) {
            self.reload(cx);
        }
    }

    /// The next attempt of the probe comes after this pause.
    pub(crate) fn probe_after(&mut self, cx: &mut Context, pause: Duration, role: Role) {
        if pause.is_zero() && self.children.get(role).is_none() {
            self.probe_now(cx);
        } else {
            self.alarm(cx, Alarm::Probe, Some(cx.now.after(pause)));
        }
    }

    /// The deadline of the probe passed: it is time for an attempt, or the attempt takes too long.
    pub(crate) fn probe_alarm(&mut self, cx: &mut Context) {
        match self.probe() {
            None => {}
            Some((role, _)) if self.children.get(role).is_some() => self.kill_child(cx, role),
            Some(_) => self.probe_now(cx),
        }
    }

    fn probe_now(&mut self, cx: &mut Context) {
        let Some((role, policy)) = self.probe() else { return };
        self.spawn(cx, role);
        self.alarm(cx, Alarm::Probe, Some(cx.now.after(policy.timeout)));
    }

    /// The probe of this state, if there is one.
    pub(crate) fn probe(&self) -> Option<(Role, ProbePolicy)> {
        match self.state {
            State::Starting => match self.spec.ready.by {
                ReadyBy::Probe(policy) => Some((Role::ReadyProbe, policy)),
                ReadyBy::Exec | ReadyBy::Notice => None,
            },
            State::Up => self.spec.liveness.map(|policy| (Role::LiveProbe, policy)),
            State::Stopped
            | State::Scheduled
            | State::Waiting
            | State::Preparing
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::BackingOff
            | State::Done
            | State::Failed => None,
        }
    }

    /// One attempt of the probe of this state ended.
    pub(crate) fn probed(&mut self, cx: &mut Context, role: Role, good: bool) {
        let Some((expected, policy)) = self.probe() else { return };
        if expected != role {
            return;
        }
        self.alarm(cx, Alarm::Probe, None);
        if good {
            self.probe_failures = 0;
            if role == Role::ReadyProbe {
                return self.fact(cx, Fact::Ready);
            }
        } else {
            self.probe_failures = self.probe_failures.saturating_add(1);
            self.report(cx, News::ProbeFailed { role, failures: self.probe_failures });
            if role == Role::LiveProbe && self.probe_failures >= policy.failures.max(1) {
                return self.input(cx, Input::Fault(Cause::NotAlive));
            }
        }
        self.probe_after(cx, policy.interval.max(SHORTEST_PROBE_PAUSE), role);
    }

    /// The service spoke about itself. Before its birth was told nobody can have spoken, so it is not believed.
    pub(crate) fn noticed(&mut self, cx: &mut Context, notice: Notice) {
        if self.children.pid(Role::Main).is_none() {
            return;
        }
        match notice {
            Notice::Ready if self.is_task() || self.spec.ready.by != ReadyBy::Notice => {}
            Notice::Ready => self.fact(cx, Fact::Ready),
            Notice::Reloading => {}
            Notice::Stopping => self.input(cx, Input::Farewell),
            Notice::Status(text) => {
                self.status_text.clone_from(&text);
                self.report(cx, News::Status { text });
            }
            Notice::Watchdog => self.feed_watchdog(cx),
            Notice::WatchdogTrigger => self.input(cx, Input::Fault(Cause::WatchdogExpired)),
            Notice::WatchdogInterval(interval) => {
                self.own_watchdog = Some(interval);
                self.feed_watchdog(cx);
            }
            Notice::ExtendTimeout(more) => self.extend(cx, more),
            Notice::Busy(_) | Notice::Tasks(_) => unreachable!("pools hear what work there is"),
        }
    }

    /// The service needs more time for its start or stop. It gets it, from now, but never less than it has, never
    /// beyond the longest start or stop, and not when the family is in a hurry.
    fn extend(&mut self, cx: &mut Context, more: Duration) {
        let stretchable = match self.state {
            State::Starting => true,
            State::Stopping => !self.escalated && cx.haste.is_none_or(|haste| haste == Haste::Orderly),
            State::Stopped
            | State::Scheduled
            | State::Waiting
            | State::Preparing
            | State::Up
            | State::Clearing
            | State::Cleaning
            | State::BackingOff
            | State::Done
            | State::Failed => false,
        };
        let Some(limit) = self.alarms[Alarm::Step as usize].filter(|_| stretchable) else { return };
        let wanted = cx.now.after(more).min(self.extend_until);
        self.alarm(cx, Alarm::Step, Some(wanted.max(limit)));
    }

    /// The family is in a hurry: a stop in progress has its grace time from now, at most.
    pub(crate) fn take_extension_back(&mut self, cx: &mut Context) {
        if self.state == State::Stopping && !self.escalated {
            let limit = cx.now.after(self.spec.stop.grace);
            let earlier = self.alarms[Alarm::Step as usize].map_or(limit, |at| at.min(limit));
            self.alarm(cx, Alarm::Step, Some(earlier));
        }
    }

    /// The main process was stopped by somebody, or goes on.
    pub(crate) fn paused(&mut self, cx: &mut Context, paused: bool) {
        let Some(Child::Alive { .. }) = self.children.get(Role::Main) else { return };
        if self.paused != paused {
            self.paused = paused;
            self.report(cx, if paused { News::Paused } else { News::Resumed });
            if paused {
                self.go_on_to_end(cx);
            }
        }
    }
}
