//! The end of a generation: signal, grace, SIGKILL of the tree; then proof that nothing is left; then the
//! post-stop command. No step waits without a limit, except for the kernel itself (a process that cannot be
//! killed now because it sleeps in the kernel).
//!
//! A stopped process (SIGSTOP) would hear the stop signal only when somebody continues it, so SIGCONT follows: to
//! a main process that is stopped, or that stops while it is to end; to a group or a tree always, as systemd does.

use crate::context::Context;
use crate::service::{Service, Wish};
use crate::timers::Alarm;
use core::time::Duration;
use doula_model::action::{Action, Cause, News, State};
use doula_model::event::Haste;
use doula_model::exit::ExitStatus;
use doula_model::id::Role;
use doula_model::service::Scope;
use doula_model::signal::Signal;

/// A stop can be extended by the service itself (`EXTEND_TIMEOUT_USEC`) up to this long after its begin.
pub(crate) const LONGEST_STOP: Duration = Duration::from_secs(3_600);

impl Service {
    /// Asks the main process to end.
    pub(crate) fn ask_to_end(&mut self, cx: &mut Context) {
        self.leave(cx);
        self.ask_now(cx);
    }

    /// It ends by its own decision: it is left in peace for its grace time.
    pub(crate) fn let_end(&mut self, cx: &mut Context) {
        self.kill_helpers(cx);
        self.turn(cx, State::Stopping, Cause::OwnWish);
        self.grace(cx);
    }

    /// SIGKILL, now, for all of it.
    pub(crate) fn kill_main(&mut self, cx: &mut Context) {
        if self.state != State::Stopping {
            self.leave(cx);
        }
        self.kill_tree(cx);
    }

    /// From the running states to `Stopping`.
    fn leave(&mut self, cx: &mut Context) {
        assert!(matches!(self.state, State::Starting | State::Up), "only what runs is asked to end");
        let because = self.why_ending();
        self.kill_helpers(cx);
        self.turn(cx, State::Stopping, because);
        self.grace(cx);
    }

    /// Why this generation ends: somebody's wish, or a fault.
    fn why_ending(&mut self) -> Cause {
        if let Some(ending) = &self.ending {
            return ending.cause.clone();
        }
        let cause = match (self.wish, &self.again) {
            (Wish::Up, Some(cause)) => cause.clone(),
            (Wish::Up | Wish::Down, _) => self.reason.clone(),
        };
        self.end_by(cause.clone(), false);
        cause
    }

    fn grace(&mut self, cx: &mut Context) {
        self.alarm(cx, Alarm::Step, Some(cx.now.after(self.spec.stop.grace)));
        self.extend_until = cx.now.after(LONGEST_STOP);
    }

    /// Sends the stop signal, once, when there is somebody to hear it.
    pub(crate) fn ask_now(&mut self, cx: &mut Context) {
        if self.asked || self.escalated || self.children.pid(Role::Main).is_none() {
            return;
        }
        self.asked = true;
        let policy = self.spec.stop;
        self.signal(cx, policy.signal, policy.scope);
        if self.paused || policy.scope != Scope::Main {
            self.go_on_to_end(cx);
        }
    }

    /// Continues whoever was asked to end and cannot hear it.
    pub(crate) fn go_on_to_end(&mut self, cx: &mut Context) {
        if self.asked && self.spec.stop.signal != Signal::KILL {
            self.signal(cx, Signal::CONT, self.spec.stop.scope);
        }
    }

    fn signal(&self, cx: &mut Context, signal: Signal, scope: Scope) {
        cx.act(Action::Signal { service: self.id, generation: self.generation, signal, scope });
    }

    /// It was to end before it was born.
    pub(crate) fn born_too_late(&mut self, cx: &mut Context) {
        if self.escalated {
            self.kill_tree(cx);
        } else {
            self.grace(cx);
            self.ask_now(cx);
        }
    }

    /// The grace time is over.
    pub(crate) fn escalate(&mut self, cx: &mut Context) {
        self.report(cx, News::Escalated);
        self.kill_tree(cx);
    }

    fn kill_tree(&mut self, cx: &mut Context) {
        self.escalated = true;
        self.alarm(cx, Alarm::Step, None);
        if self.children.pid(Role::Main).is_some() {
            self.signal(cx, Signal::KILL, Scope::Tree);
        }
    }

    /// The main process ended.
    pub(crate) fn main_gone(&mut self, cx: &mut Context, status: ExitStatus) {
        assert!(self.children.get(Role::Main).is_none(), "it ended");
        (self.exit, self.last_exit, self.paused) = (Some(status), Some(status), false);
        let stable = self.ready_since.is_some_and(|up| cx.now.since(up) >= self.spec.restart.reset_after);
        if stable {
            self.history.row = 0;
        }
        // A daemon that ends before it is ready has not started, even with code 0.
        let too_early = self.state == State::Starting && !self.is_task();
        self.end_by(Cause::Exit { status }, too_early || !self.spec.restart.is_success(status));
        self.clear(cx);
    }

    /// The command of this step is not wanted any more: it is killed and its end awaited.
    pub(crate) fn abort_step(&mut self, cx: &mut Context) {
        self.why_ending();
        self.kill_child(cx, Role::PreStart);
        self.clear(cx);
    }

    /// The family shuts down before the child of this step was born.
    pub(crate) fn call_off(&mut self, cx: &mut Context) {
        self.why_ending();
        self.clear(cx);
    }

    /// SIGKILL for the pre-start command and all it left.
    pub(crate) fn kill_step(&mut self, cx: &mut Context) {
        self.escalated = true;
        self.abort_step(cx);
    }

    /// The generation is to be emptied: first the helpers that we started, then whatever the service left.
    pub(crate) fn clear(&mut self, cx: &mut Context) {
        assert!(self.children.get(Role::Main).is_none(), "the main process is gone");
        let because = match (self.exit, &self.ending) {
            (Some(status), _) => Cause::Exit { status },
            (None, Some(ending)) => ending.cause.clone(),
            (None, None) => unreachable!("a generation ends for a reason"),
        };
        self.kill_helpers(cx);
        self.reload_failure = None;
        self.alarm(cx, Alarm::Step, None);
        self.turn(cx, State::Clearing, because);
        self.clear_when_alone(cx);
    }

    /// Asks the world to empty the generation, as soon as none of our own helpers is left.
    pub(crate) fn clear_when_alone(&mut self, cx: &mut Context) {
        if self.clearing || !self.children.is_empty() {
            return;
        }
        self.clearing = true;
        if self.escalated || cx.haste == Some(Haste::Kill) {
            self.ask_clear(cx, Signal::KILL);
        } else {
            self.ask_clear(cx, Signal::TERM);
            self.alarm(cx, Alarm::Step, Some(cx.now.after(self.spec.stop.leftover_grace)));
        }
    }

    fn ask_clear(&self, cx: &mut Context, signal: Signal) {
        let (service, generation) = (self.id, self.generation);
        cx.act(Action::Clear { service, generation, signal: Some(signal) });
    }

    /// What is left did not end in its time.
    pub(crate) fn escalate_leftovers(&mut self, cx: &mut Context) {
        self.report(cx, News::Escalated);
        self.kill_leftovers(cx);
    }

    /// SIGKILL for whatever is left.
    pub(crate) fn kill_leftovers(&mut self, cx: &mut Context) {
        self.escalated = true;
        self.alarm(cx, Alarm::Step, None);
        if self.clearing {
            self.ask_clear(cx, Signal::KILL);
        }
    }

    /// Nothing is left, and this is proven.
    pub(crate) fn emptied(&mut self, cx: &mut Context, leftovers: u32) {
        if !core::mem::take(&mut self.clearing) {
            return;
        }
        assert!(self.children.is_empty(), "who is empty has no children");
        self.alarm(cx, Alarm::Step, None);
        self.report(cx, News::Empty { leftovers });
        match self.spec.post_stop {
            Some(limit) if cx.haste != Some(Haste::Kill) => {
                self.turn(cx, State::Cleaning, Cause::Empty);
                self.alarm(cx, Alarm::Step, Some(cx.now.after(limit)));
                self.spawn(cx, Role::PostStop);
            }
            Some(_) | None => self.conclude(cx),
        }
    }

    /// The post-stop command ended; what it left behind gets no grace.
    pub(crate) fn clear_after_post_stop(&mut self, cx: &mut Context) {
        assert!(!self.clearing, "asked once");
        self.alarm(cx, Alarm::Step, None);
        self.clearing = true;
        self.ask_clear(cx, Signal::KILL);
    }

    /// Nothing is left of the post-stop command either.
    pub(crate) fn emptied_at_last(&mut self, cx: &mut Context) {
        if core::mem::take(&mut self.clearing) {
            self.conclude(cx);
        }
    }
}
