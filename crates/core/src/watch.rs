//! The life beside the steps: watchdog, helpers that end, reload.
//!
//! The watchdog counts from readiness on: during the start the ready timeout watches. A silent service is killed
//! at once with all its descendants: it does not listen any more. One whose liveness probe fails is asked first.

use crate::context::Context;
use crate::restart::STILLBORN_PAUSE;
use crate::service::Service;
use crate::timers::Alarm;
use core::time::Duration;
use doula_model::action::{Action, Cause, News, State};
use doula_model::exit::ExitStatus;
use doula_model::id::Role;
use doula_model::plan::{SpawnError, Step};
use doula_model::service::{Reload, Scope};

impl Service {
    /// A sign of life, or a new interval: the patience starts anew.
    pub(crate) fn feed_watchdog(&mut self, cx: &mut Context) {
        if self.state != State::Up {
            return;
        }
        let interval = self.own_watchdog.or(self.spec.watchdog).filter(|interval| !interval.is_zero());
        self.alarm(cx, Alarm::Watchdog, interval.map(|interval| cx.now.after(interval)));
    }

    /// A helper ended.
    pub(crate) fn helper_exited(&mut self, cx: &mut Context, role: Role, status: ExitStatus) {
        match role {
            Role::ReadyProbe | Role::LiveProbe => self.probed(cx, role, status.success()),
            Role::Reload => {
                self.reload_failure = (!status.success()).then_some(Cause::ReloadFailed { status });
                self.reloaded(cx);
            }
            Role::Main | Role::PreStart | Role::PostStop => unreachable!("no helpers"),
        }
    }

    /// A helper could not be born. A probe whose program cannot be executed has failed; one for which *we* had no
    /// means (no fds, no process numbers) says nothing about the service, and is only tried again.
    pub(crate) fn helper_stillborn(&mut self, cx: &mut Context, role: Role, error: SpawnError) {
        match role {
            Role::ReadyProbe | Role::LiveProbe if error.step == Step::Exec => self.probed(cx, role, false),
            Role::ReadyProbe | Role::LiveProbe => {
                if self.probe().is_some_and(|(expected, _)| expected == role) {
                    self.report(cx, News::ProbeFailed { role, failures: self.probe_failures });
                    self.alarm(cx, Alarm::Probe, Some(cx.now.after(STILLBORN_PAUSE)));
                }
            }
            Role::Reload => {
                self.reload_failure = Some(Cause::SpawnFailed { error });
                self.reloaded(cx);
            }
            Role::Main | Role::PreStart | Role::PostStop => unreachable!("no helpers"),
        }
    }

    /// Asks the service to read its configuration again, if it can be asked. One that is not up yet is asked when
    /// it is; one that does not run reads it when it starts.
    pub(crate) fn reload(&mut self, cx: &mut Context) {
        if cx.haste.is_some() {
            // It may have been asked for before the family began to end.
            return;
        }
        match self.state {
            State::Up => {}
            State::Starting => {
                self.reload_later = !self.is_task();
                return;
            }
            State::Stopped
            | State::Scheduled
            | State::Waiting
            | State::Preparing
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::BackingOff
            | State::Done
            | State::Failed => return,
        }
        self.reload_failure = None;
        match self.spec.reload {
            Reload::Restart => {
                // It was to be reloaded later, and has got this rule meanwhile.
                self.again = Some(Cause::Asked);
                cx.changed.push_back(self.id);
            }
            Reload::Signal(signal) => {
                let (service, generation) = (self.id, self.generation);
                cx.act(Action::Signal { service, generation, signal, scope: Scope::Main });
            }
            Reload::Command(_) if self.children.get(Role::Reload).is_some() => self.reload_later = true,
            Reload::Command(limit) => self.run_reload(cx, limit),
        }
    }

    fn run_reload(&mut self, cx: &mut Context, limit: Duration) {
        self.spawn(cx, Role::Reload);
        self.alarm(cx, Alarm::Reload, Some(cx.now.after(limit)));
    }

    /// The reload command ended: the next one, if somebody asked meanwhile.
    fn reloaded(&mut self, cx: &mut Context) {
        self.alarm(cx, Alarm::Reload, None);
        if self.state == State::Up && core::mem::take(&mut self.reload_later) {
            self.reload(cx);
        }
    }

    /// It does not do what it promised, before its main process was born.
    pub(crate) fn fault_early(&mut self, cx: &mut Context, cause: Cause) {
        self.end_by(cause, true);
        self.abort_step(cx);
    }

    /// It does not do what it promised.
    pub(crate) fn fault(&mut self, cx: &mut Context, cause: Cause) {
        let silent = cause == Cause::WatchdogExpired;
        self.end_by(cause, true);
        if silent { self.kill_main(cx) } else { self.ask_to_end(cx) }
    }
}
