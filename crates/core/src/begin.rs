//! From the wish to the birth: waiting, the pre-start command, the main process.

use crate::child::Child;
use crate::context::Context;
use crate::restart::Ending;
use crate::service::{Fact, Service};
use crate::timers::Alarm;
use alloc::string::String;
use core::time::Duration;
use doula_model::action::{Action, Cause, News, State};
use doula_model::exit::ExitStatus;
use doula_model::id::{Generation, Pid, Role};
use doula_model::plan::SpawnError;

/// A start can be extended by the service itself (`EXTEND_TIMEOUT_USEC`) up to this long after its begin: time
/// for a database to replay a long log, but not for ever.
pub(crate) const LONGEST_START: Duration = Duration::from_secs(24 * 3_600);

impl Service {
    /// Somebody wants it, from rest: it waits for its turn, or for its schedule.
    pub(crate) fn enter(&mut self, cx: &mut Context, run: bool) {
        assert!(self.children.is_empty() && self.ending.is_none(), "nothing is left of the last generation");
        self.fulfilled = false;
        if self.is_scheduled() && !run {
            self.turn(cx, State::Scheduled, self.reason.clone());
        } else {
            self.wait(cx, self.reason.clone());
        }
    }

    /// Waits for those it needs. Not reported before it is clear that there is something to wait for.
    pub(crate) fn wait(&mut self, cx: &mut Context, because: Cause) {
        assert!(self.children.is_empty(), "who waits has no children");
        self.silence(cx);
        self.turn_quietly(cx, State::Waiting, because);
    }

    /// Says for whom it waits.
    pub(crate) fn wait_for(&mut self, cx: &mut Context, other: &str) {
        let known = matches!(&self.cause, Cause::WaitsFor { service } if service == other);
        if !known {
            self.cause = Cause::WaitsFor { service: other.into() };
        }
        self.tell_state(cx);
    }

    /// A new life begins.
    pub(crate) fn begin(&mut self, cx: &mut Context) {
        assert!(self.children.is_empty() && !self.clearing, "the last generation is over");
        self.generation = Generation(self.generation.0 + 1);
        (self.ending, self.exit, self.ready_since, self.own_watchdog) = (None, None, None, None);
        (self.asked, self.escalated, self.paused, self.reload_later) = (false, false, false, false);
        self.reload_failure = None;
        self.status_text = String::new();
        if core::mem::take(&mut self.automatic) {
            self.history.started(&self.spec.restart, cx.now);
        }
        let waited = matches!(self.cause, Cause::WaitsFor { .. });
        let because = if waited { Cause::NextStep } else { self.cause.clone() };
        match self.spec.pre_start {
            None => self.launch(cx, because),
            Some(limit) => {
                self.turn(cx, State::Preparing, because);
                self.alarm(cx, Alarm::Step, Some(cx.now.after(limit)));
                self.spawn(cx, Role::PreStart);
            }
        }
    }

    /// The pre-start command ended.
    pub(crate) fn prepared(&mut self, cx: &mut Context, status: ExitStatus) {
        if status.success() {
            self.launch(cx, Cause::NextStep);
        } else {
            self.exit = Some(status);
            self.end_by(Cause::Exit { status }, true);
            self.clear(cx);
        }
    }

    /// The main process is to be born.
    fn launch(&mut self, cx: &mut Context, because: Cause) {
        self.turn(cx, State::Starting, because);
        let limit = self.spec.ready.timeout.map(|limit| cx.now.after(limit));
        self.alarm(cx, Alarm::Step, limit);
        self.extend_until = cx.now.after(LONGEST_START);
        self.spawn(cx, Role::Main);
    }

    /// No child could be made for this step.
    pub(crate) fn not_born(&mut self, cx: &mut Context, error: SpawnError) {
        self.end_by(Cause::SpawnFailed { error }, true);
        self.clear(cx);
    }

    /// Remembers why this generation ends. The first reason counts.
    pub(crate) fn end_by(&mut self, cause: Cause, bad: bool) {
        self.ending.get_or_insert(Ending { cause, bad });
    }

    /// A child of this generation was born.
    pub(crate) fn born(&mut self, cx: &mut Context, role: Role, pid: Pid) {
        let Some(Child::Asked { doomed }) = self.children.get(role) else { return };
        *self.children.slot(role) = Some(Child::Alive { pid, born: cx.now });
        if !is_probe(role) {
            self.report(cx, News::Born { role, pid });
        }
        if doomed {
            cx.act(Action::Kill { key: self.key(role) });
        }
        if is_step(role) {
            self.fact(cx, Fact::Born);
        }
    }

    /// A child of this generation could not be born.
    pub(crate) fn stillborn(&mut self, cx: &mut Context, role: Role, error: SpawnError) {
        let Some(Child::Asked { .. }) = self.children.get(role) else { return };
        *self.children.slot(role) = None;
        if is_step(role) {
            self.fact(cx, Fact::Stillborn(error));
        } else {
            self.helper_stillborn(cx, role, error);
            self.fact(cx, Fact::HelperGone);
        }
    }

    /// A birth of this generation is not to be tried any more.
    pub(crate) fn called_off(&mut self, cx: &mut Context, role: Role) {
        assert!(matches!(self.children.get(role), Some(Child::Asked { .. })), "it was asked for");
        *self.children.slot(role) = None;
        self.fact(cx, Fact::CalledOff);
    }

    /// A child of this generation ended.
    pub(crate) fn exited(&mut self, cx: &mut Context, role: Role, status: ExitStatus) {
        let Some(child) = self.children.slot(role).take() else { return };
        if !is_probe(role) {
            let lived = match child {
                Child::Asked { .. } => Duration::ZERO,
                Child::Alive { born, .. } => cx.now.since(born),
            };
            self.report(cx, News::Exited { role, status, lived });
        }
        if is_step(role) {
            self.fact(cx, Fact::Exited(status));
        } else {
            self.helper_exited(cx, role, status);
            self.fact(cx, Fact::HelperGone);
        }
    }
}

/// The children that a state is about, in contrast to helpers beside it.
pub(crate) const fn is_step(role: Role) -> bool {
    match role {
        Role::Main | Role::PreStart | Role::PostStop => true,
        Role::Reload | Role::ReadyProbe | Role::LiveProbe => false,
    }
}

/// Probes come and go every second; only their failures are news.
const fn is_probe(role: Role) -> bool {
    match role {
        Role::ReadyProbe | Role::LiveProbe => true,
        Role::Main | Role::PreStart | Role::PostStop | Role::Reload => false,
    }
}
