//! What follows the end of a generation: rest, another start, or the end of a hope.

use crate::context::Context;
use crate::restart::{Ending, Verdict};
use crate::service::{Service, Wish};
use crate::timers::Alarm;
use core::time::Duration;
use doula_model::action::{Cause, News, State};

impl Service {
    /// The generation is over (or never began): what now?
    pub(crate) fn conclude(&mut self, cx: &mut Context) {
        assert!(self.children.is_empty() && !self.clearing, "nothing of the generation is left");
        self.silence(cx);
        let ending = self.ending.take();
        if let Some(next) = self.next.take() {
            self.spec = next;
        }
        match (self.wish, self.again.take(), ending) {
            (Wish::Down, _, _) => self.lie_down(cx),
            (Wish::Up, Some(cause), _) => self.start_again(cx, cause),
            (Wish::Up, None, Some(ending)) => self.follow_policy(cx, ending),
            (Wish::Up, None, None) => unreachable!("who is wanted ends for a reason"),
        }
    }

    /// Nobody wants it.
    fn lie_down(&mut self, cx: &mut Context) {
        self.again = None;
        if self.lost {
            self.rest(cx, State::Failed, self.reason.clone());
            cx.ended.push(self.id);
        } else {
            self.rest(cx, State::Stopped, self.reason.clone());
        }
    }

    /// Restarted by hand or for its new configuration.
    fn start_again(&mut self, cx: &mut Context, cause: Cause) {
        self.automatic = false;
        self.fulfilled = false;
        let taken_along = matches!(cause, Cause::LostDependency { .. });
        let cause = if taken_along { Cause::Asked } else { cause };
        if self.is_scheduled() && cause == Cause::Reconfigured {
            // The run belonged to the old configuration; the new one says when the next is due.
            self.turn(cx, State::Scheduled, cause);
        } else {
            self.wait(cx, cause);
        }
    }

    /// It ended by itself.
    fn follow_policy(&mut self, cx: &mut Context, ending: Ending) {
        if self.is_task() {
            self.fulfilled = !ending.bad;
        }
        let chance = (cx.now, &mut cx.random);
        let verdict = self.history.judge(&self.spec.restart, self.spec.kind, &ending, chance);
        if self.is_task() && !ending.bad {
            // A success is as good as a long life: the next failure is the first of its row.
            self.history.row = 0;
        }
        match verdict {
            Verdict::Again { delay, attempt } => self.back_off(cx, ending.cause, (delay, attempt)),
            Verdict::Done => self.finish(cx, State::Done, ending.cause),
            Verdict::Failed(cause) => self.finish(cx, State::Failed, cause),
        }
    }

    fn back_off(&mut self, cx: &mut Context, cause: Cause, (delay, attempt): (Duration, u32)) {
        self.automatic = true;
        self.fell = Some((cause.clone(), cx.now));
        self.report(cx, News::RestartIn { delay, attempt });
        if delay.is_zero() {
            self.wait(cx, Cause::BackOffOver);
        } else {
            self.turn(cx, State::BackingOff, cause);
            self.alarm(cx, Alarm::Step, Some(cx.now.after(delay)));
        }
    }

    /// The end of this run, and for whom no schedule is set, of all.
    fn finish(&mut self, cx: &mut Context, to: State, cause: Cause) {
        self.history.row = 0;
        if !self.is_scheduled() {
            self.rest(cx, to, cause);
            cx.ended.push(self.id);
        } else if core::mem::take(&mut self.queued) {
            self.wait(cx, Cause::Schedule);
        } else {
            self.turn(cx, State::Scheduled, cause);
        }
    }

    /// Something it requires will not come.
    pub(crate) fn give_up(&mut self, cx: &mut Context, cause: Cause) {
        self.silence(cx);
        self.automatic = false;
        self.lost = !self.is_scheduled();
        self.finish(cx, State::Failed, cause);
    }

    /// Comes to rest.
    pub(crate) fn rest(&mut self, cx: &mut Context, to: State, cause: Cause) {
        assert!(self.children.is_empty(), "who rests has no children");
        self.automatic = false;
        self.queued = false;
        if to == State::Stopped {
            self.fulfilled = false;
        }
        self.turn(cx, to, cause);
    }

    /// The exit code with which its end ends the family.
    pub(crate) fn family_code(&self) -> u8 {
        let bad = self.state == State::Failed;
        match (&self.cause, self.exit) {
            (Cause::SpawnFailed { error }, _) => error.shell_code(),
            (Cause::LostDependency { .. }, _) => 1,
            (_, Some(status)) if bad => status.shell_code().max(1),
            (_, Some(status)) => status.shell_code(),
            (_, None) => u8::from(bad),
        }
    }
}
