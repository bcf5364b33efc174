//! One service: its data, and the table of what it does in each state at each input.
//!
//! The table ([`Service::input`] and [`Service::fact`]) has no catch-all: a new state or a new input is an error
//! of the compiler in each place where it must be thought of. The cells live by subject: births in `begin`, readiness in `ready`,
//! signs of life in `watch`, ends in `stop`, what follows an end in `conclude`.
//!
//! Deliberately absent: other services. When a service may start or stop because of others is decided by the
//! family (`settle`), which then says [`Input::Go`], [`Input::Lost`] or [`Input::Stop`].

use crate::child::{Child, Children};
use crate::context::Context;
use crate::restart::{Ending, History};
use crate::settle::Standing;
use crate::timers::{Alarm, Alarms};
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use doula_model::action::{Action, Cause, News, State};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, PoolId, Role, ServiceId};
use doula_model::plan::SpawnError;
use doula_model::pool::Roll;
use doula_model::service::{Kind, ServiceSpec};
use doula_model::time::Time;

/// Whether somebody wants it to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It shall run (or wait for its schedule).
    Up,
    /// It shall not.
    Down,
}

/// What the family, or its own promise, asks of one service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// It is wanted; `run`: also a scheduled service shall run now.
    Start {
        /// Not only at its next time.
        run: bool,
    },
    /// Everything it needs is there.
    Go,
    /// Something it needs will not come.
    Lost(Cause),
    /// It shall end, and nobody who needs it is in the way.
    Stop,
    /// It shall be gone at once.
    Kill,
    /// It does not do what it promised: not ready, silent, not alive.
    Fault(Cause),
    /// It says that it ends.
    Farewell,
}

/// What the world, or the time, tells about one service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    /// The child of this step was born.
    Born,
    /// The child of this step could not be born.
    Stillborn(SpawnError),
    /// The birth for this step was called off: the family shuts down.
    CalledOff,
    /// The child of this step ended.
    Exited(ExitStatus),
    /// A probe or another helper ended.
    HelperGone,
    /// It is ready, by its own word or by a probe.
    Ready,
    /// No process of the generation is left; so many had been.
    Emptied(u32),
    /// The time of the step is over.
    Timeout,
}

/// A service and everything about it that changes.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) id: ServiceId,
    pub(crate) spec: Arc<ServiceSpec>,
    /// What it will be after this generation.
    pub(crate) next: Option<Arc<ServiceSpec>>,
    /// It is no longer part of the family, only its end is awaited.
    pub(crate) leaving: bool,

    pub(crate) state: State,
    /// The state that was reported last: a state that is left at once is not worth a word.
    pub(crate) reported: State,
    pub(crate) since: Time,
    pub(crate) cause: Cause,

    pub(crate) wish: Wish,
    /// Why it is wanted, or not.
    pub(crate) reason: Cause,
    /// After this generation it starts again at once, for this reason.
    pub(crate) again: Option<Cause>,
    /// It goes, or went, down because a service it requires failed: so it has failed too.
    pub(crate) lost: bool,

    pub(crate) generation: Generation,
    pub(crate) children: Children,
    /// Why this generation ends; the first reason counts.
    pub(crate) ending: Option<Ending>,
    /// How the main process of this generation ended, or the pre-start command that failed.
    pub(crate) exit: Option<ExitStatus>,
    /// The stop signal was sent.
    pub(crate) asked: bool,
    /// SIGKILL is the only answer from now on.
    pub(crate) escalated: bool,
    /// `Clear` was asked for and not answered yet.
    pub(crate) clearing: bool,
    pub(crate) paused: bool,
    pub(crate) ready_since: Option<Time>,
    /// How often in a row the probe of this state failed.
    pub(crate) probe_failures: u32,
    /// The watchdog interval that the service chose itself.
    pub(crate) own_watchdog: Option<Duration>,
    /// The service may not extend the time of the step beyond this point.
    pub(crate) extend_until: Time,
    /// A reload waits until the service is up, or the reload before is over.
    pub(crate) reload_later: bool,
    /// Why the last reload command failed, if it did.
    pub(crate) reload_failure: Option<Cause>,

    /// A one-shot that ended well and was not started again by hand since.
    pub(crate) fulfilled: bool,
    /// The next start is an automatic restart, and counts.
    pub(crate) automatic: bool,
    pub(crate) history: History,
    /// Why, and when, it was started again by itself the last time.
    pub(crate) fell: Option<(Cause, Time)>,
    pub(crate) last_exit: Option<ExitStatus>,
    pub(crate) status_text: String,
    /// The world was asked for the next time of the schedule.
    pub(crate) armed: bool,
    /// The schedule came due during a run: another run follows.
    pub(crate) queued: bool,
    pub(crate) alarms: Alarms,
    /// The pool that it is a worker of.
    pub(crate) pool: Option<PoolId>,
    /// The slot that it had under a supervisor before us.
    pub(crate) slot: Option<u32>,
    /// Why it was to be replaced under that one.
    pub(crate) roll: Option<Roll>,
    /// Whether its pool was wanted under that one, if that is known.
    pub(crate) pool_wanted: Option<bool>,
    /// How the pool stands to those who need it.
    pub(crate) stands: Standing,
    /// It may have changed since somebody wrote it down.
    pub(crate) touched: bool,
}

impl Service {
    /// A service that nobody has asked for anything yet.
    pub(crate) fn new(id: ServiceId, spec: impl Into<Arc<ServiceSpec>>, now: Time) -> Service {
        Service {
            id,
            spec: spec.into(),
            next: None,
            leaving: false,
            state: State::Stopped,
            reported: State::Stopped,
            since: now,
            cause: Cause::Autostart,
            wish: Wish::Down,
            reason: Cause::Asked,
            again: None,
            lost: false,
            generation: Generation::default(),
            children: Children::default(),
            ending: None,
            exit: None,
            asked: false,
            escalated: false,
            clearing: false,
            paused: false,
            ready_since: None,
            probe_failures: 0,
            own_watchdog: None,
            extend_until: now,
            reload_later: false,
            reload_failure: None,
            fulfilled: false,
            automatic: false,
            history: History::default(),
            fell: None,
            last_exit: None,
            status_text: String::new(),
            armed: false,
            queued: false,
            alarms: Alarms::default(),
            pool: None,
            slot: None,
            roll: None,
            pool_wanted: None,
            stands: Standing::Gone,
            touched: false,
        }
    }

    /// Whether it starts by itself at the beginning; a worker does so with its pool.
    pub(crate) fn starts_with_the_family(&self) -> bool {
        let spec = self.effective();
        spec.pool.as_ref().map_or(spec.autostart, |pool| pool.autostart)
    }

    /// The table, first half: what is asked. In each row every state has its cell.
    pub(crate) fn input(&mut self, cx: &mut Context, input: Input) {
        use State::{
            BackingOff, Cleaning, Clearing, Done, Failed, Preparing, Scheduled, Starting, Stopped, Stopping,
            Up, Waiting,
        };
        match (input, self.state) {
            (Input::Start { run }, Stopped | Done | Failed) => self.enter(cx, run),
            (Input::Start { run: true }, Scheduled | BackingOff) => self.wait(cx, self.reason.clone()),
            (Input::Start { run: false }, Scheduled | BackingOff) => {}
            (Input::Start { .. }, Waiting | Preparing | Starting | Up) => {}
            (Input::Start { .. }, Stopping | Clearing | Cleaning) => self.again = Some(self.reason.clone()),

            (Input::Go, Waiting) => self.begin(cx),
            (Input::Lost(cause), Waiting | BackingOff) => self.give_up(cx, cause),
            (
                Input::Go | Input::Lost(_),
                Stopped | Scheduled | Preparing | Starting | Up | Stopping | Clearing | Cleaning | Done
                | Failed,
            )
            | (Input::Go, BackingOff) => unreachable!("only who waits is told about those it waits for"),

            (Input::Stop | Input::Kill, Stopped) => {}
            (Input::Stop | Input::Kill, Scheduled | Waiting | BackingOff) => self.conclude(cx),
            (Input::Stop, Done | Failed) => self.rest(cx, Stopped, self.reason.clone()),
            (Input::Kill, Done | Failed) => {}
            (Input::Stop, Preparing) => self.abort_step(cx),
            (Input::Stop, Starting | Up) => self.ask_to_end(cx),
            (Input::Stop, Stopping) => self.ask_now(cx),
            (Input::Stop, Clearing | Cleaning) => {}
            (Input::Kill, Preparing) => self.kill_step(cx),
            (Input::Kill, Starting | Up | Stopping) => self.kill_main(cx),
            (Input::Kill, Clearing) => self.kill_leftovers(cx),
            (Input::Kill, Cleaning) => self.kill_child(cx, Role::PostStop),

            (Input::Fault(cause), Starting | Up) => self.fault(cx, cause),
            (Input::Fault(cause), Preparing) => self.fault_early(cx, cause),
            (
                Input::Fault(_),
                Stopped | Scheduled | Waiting | Stopping | Clearing | Cleaning | BackingOff | Done | Failed,
            ) => {}

            (Input::Farewell, Starting | Up) => self.let_end(cx),
            (
                Input::Farewell,
                Stopped | Scheduled | Waiting | Preparing | Stopping | Clearing | Cleaning | BackingOff
                | Done | Failed,
            ) => {}
        }
    }

    /// The table, second half: what the world and the time tell.
    pub(crate) fn fact(&mut self, cx: &mut Context, fact: Fact) {
        use State::{
            BackingOff, Cleaning, Clearing, Done, Failed, Preparing, Scheduled, Starting, Stopped, Stopping,
            Up, Waiting,
        };
        match (fact, self.state) {
            (Fact::Born, Starting) => self.main_born(cx),
            (Fact::Born, Stopping) => self.born_too_late(cx),
            (Fact::Born, Preparing | Up | Clearing | Cleaning) => {}
            (Fact::Stillborn(error), Preparing | Starting | Up | Stopping) => self.not_born(cx, error),
            (Fact::Stillborn(_), Clearing) => self.clear_when_alone(cx),
            (Fact::Stillborn(_), Cleaning) => self.conclude(cx),
            (Fact::CalledOff, Preparing | Starting | Up | Stopping) => self.call_off(cx),
            (Fact::CalledOff, Clearing) => self.clear_when_alone(cx),
            (Fact::Exited(status), Preparing) => self.prepared(cx, status),
            (Fact::Exited(status), Starting | Up | Stopping) => self.main_gone(cx, status),
            (Fact::Exited(_), Clearing) => self.clear_when_alone(cx),
            (Fact::Exited(_), Cleaning) => self.clear_after_post_stop(cx),
            (
                Fact::Born | Fact::Stillborn(_) | Fact::CalledOff | Fact::Exited(_),
                Stopped | Scheduled | Waiting | BackingOff | Done | Failed,
            ) => unreachable!("no child in a state without children"),
            (Fact::CalledOff, Cleaning) => unreachable!("a post-stop command is part of the end"),

            (Fact::HelperGone, Clearing) => self.clear_when_alone(cx),
            (
                Fact::HelperGone,
                Stopped | Scheduled | Waiting | Preparing | Starting | Up | Stopping | Cleaning | BackingOff
                | Done | Failed,
            ) => {}

            (Fact::Ready, Starting) => self.up(cx),
            (
                Fact::Ready,
                Stopped | Scheduled | Waiting | Preparing | Up | Stopping | Clearing | Cleaning | BackingOff
                | Done | Failed,
            ) => {}

            (Fact::Emptied(leftovers), Clearing) => self.emptied(cx, leftovers),
            (Fact::Emptied(_), Cleaning) => self.emptied_at_last(cx),
            (
                Fact::Emptied(_),
                Stopped | Scheduled | Waiting | Preparing | Starting | Up | Stopping | BackingOff | Done
                | Failed,
            ) => {}

            (Fact::Timeout, Preparing) => self.fault_early(cx, Cause::StepTimeout),
            (Fact::Timeout, Starting) => self.fault(cx, Cause::ReadyTimeout),
            (Fact::Timeout, Stopping) => self.escalate(cx),
            (Fact::Timeout, Clearing) => self.escalate_leftovers(cx),
            (Fact::Timeout, Cleaning) => self.kill_child(cx, Role::PostStop),
            (Fact::Timeout, BackingOff) => self.wait(cx, Cause::BackOffOver),
            (Fact::Timeout, Stopped | Scheduled | Waiting | Up | Done | Failed) => {
                unreachable!("no step has a limit in this state")
            }
        }
    }

    /// Goes into another state, and says so.
    pub(crate) fn turn(&mut self, cx: &mut Context, to: State, because: Cause) {
        self.turn_quietly(cx, to, because);
        self.tell_state(cx);
    }

    /// Goes into another state without a word: it may be left again within the same event.
    pub(crate) fn turn_quietly(&mut self, cx: &mut Context, to: State, because: Cause) {
        let from = self.state;
        (self.state, self.since, self.cause) = (to, cx.now, because);
        cx.turned(self.id, from, to);
        cx.tend.extend(self.pool);
    }

    /// Reports the state, once.
    pub(crate) fn tell_state(&mut self, cx: &mut Context) {
        if self.reported != self.state {
            let news = News::Turned { from: self.reported, to: self.state, because: self.cause.clone() };
            self.reported = self.state;
            self.report(cx, news);
        }
    }

    /// Tells something about this service in this life.
    pub(crate) fn report(&self, cx: &mut Context, news: News) {
        cx.report(self.id, self.generation, news);
    }

    /// Moves one of its deadlines.
    pub(crate) fn alarm(&mut self, cx: &mut Context, alarm: Alarm, at: Option<Time>) {
        cx.timers.set(self.id, alarm, &mut self.alarms, at);
    }

    /// Takes all its deadlines away.
    pub(crate) fn silence(&mut self, cx: &mut Context) {
        for alarm in Alarm::ALL {
            self.alarm(cx, alarm, None);
        }
    }

    /// The key of its child of this role in this life.
    pub(crate) const fn key(&self, role: Role) -> ChildKey {
        ChildKey { service: self.id, generation: self.generation, role }
    }

    /// Asks for a birth.
    pub(crate) fn spawn(&mut self, cx: &mut Context, role: Role) {
        assert!(self.children.get(role).is_none(), "at most one child of a role at a time");
        *self.children.slot(role) = Some(Child::Asked { doomed: false });
        cx.act(Action::Spawn { key: self.key(role) });
    }

    /// Kills one helper; if it is not born yet, as soon as it is.
    pub(crate) fn kill_child(&mut self, cx: &mut Context, role: Role) {
        assert!(role != Role::Main, "the main process is ended by its stop policy");
        match self.children.slot(role) {
            None => {}
            Some(Child::Asked { doomed }) => *doomed = true,
            Some(Child::Alive { .. }) => cx.act(Action::Kill { key: self.key(role) }),
        }
    }

    /// Kills whatever is not the main process or the command of the step: nobody needs its answer any more.
    pub(crate) fn kill_helpers(&mut self, cx: &mut Context) {
        for role in [Role::ReadyProbe, Role::LiveProbe, Role::Reload] {
            self.kill_child(cx, role);
        }
        for alarm in [Alarm::Probe, Alarm::Watchdog, Alarm::Reload] {
            self.alarm(cx, alarm, None);
        }
    }

    /// Whether it runs to its end, instead of until it is stopped.
    pub(crate) fn is_task(&self) -> bool {
        match self.spec.kind {
            Kind::Daemon => false,
            Kind::Oneshot | Kind::Scheduled { .. } => true,
        }
    }

    /// Whether its schedule starts it.
    pub(crate) fn is_scheduled(&self) -> bool {
        match self.spec.kind {
            Kind::Daemon | Kind::Oneshot => false,
            Kind::Scheduled { .. } => true,
        }
    }
}
