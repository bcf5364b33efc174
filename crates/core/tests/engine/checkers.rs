//! What must hold for a family at every step, whatever happened before: small checkers, each with the name of its
//! promise. They look only at what goes into an engine and what comes out of it.

use doula_core::engine::Engine;
use doula_core::view::ServiceView;
use doula_model::action::{Action, Cause, News, Report, State};
use doula_model::event::{Command, Event};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::service::Kind;
use doula_model::signal::Signal;
use doula_model::time::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What was seen of one service.
#[derive(Default)]
struct Life {
    generation: Generation,
    /// Somebody was born in this generation, and it was not proven empty since.
    open: bool,
    /// Children whose birth was asked for and not answered.
    asked: BTreeSet<Role>,
    /// Children that were told to be alive.
    alive: BTreeSet<Role>,
    /// Children whose birth was reported and whose end was not.
    reported: BTreeSet<Role>,
    /// SIGKILL was asked for in this step.
    killed: bool,
    /// How the main process of this generation ended, or the pre-start command that failed.
    exit: Option<ExitStatus>,
    up_since: Option<Time>,
    /// The number of the last automatic restart of the row.
    attempt: u32,
    /// Something happened that may end the row of restarts.
    row_may_be_over: bool,
    /// This run of a task ended well: the next one begins a new row too.
    succeeded: bool,
    /// It was up long enough: the row is over.
    stable: bool,
    last: Option<(State, Cause)>,
}

/// The memory of all checkers.
#[derive(Default)]
pub(crate) struct Checkers {
    lives: BTreeMap<ServiceId, Life>,
    now: Time,
    reported_at: Time,
    shutting_down: bool,
    /// The exit code that the family must end with, once its end has begun.
    code: Option<u8>,
}

impl Checkers {
    /// The family has begun to end.
    pub(crate) fn shuts_down(&self) -> bool {
        self.shutting_down
    }

    /// Another engine goes on. What was reported of the last moments of the one before may be lost.
    pub(crate) fn taken_over(&mut self, engine: &Engine, now: Time, unseen: &BTreeMap<ChildKey, Pid>) {
        (self.shutting_down, self.code, self.now) = (false, None, now);
        self.lives.retain(|id, _| engine.status(*id).is_some());
        for view in engine.ids().filter_map(|id| engine.status(id)) {
            let life = self.lives.entry(view.id).or_default();
            life.asked.clear();
            life.alive = view.children.iter().map(|(role, _)| *role).collect();
            life.reported.clone_from(&life.alive);
            life.reported.retain(|role| {
                !unseen.contains_key(&ChildKey { service: view.id, generation: view.generation, role: *role })
            });
            (life.row_may_be_over, life.killed, life.stable) = (true, false, false);
            (life.up_since, life.last) = (view.ready_since, Some((view.state, view.cause)));
        }
    }

    /// An event that the engine is about to hear.
    pub(crate) fn told(&mut self, engine: &Engine, now: Time, event: &Event) {
        self.now = now;
        match event {
            Event::Born { key, .. } => {
                let life = self.lives.entry(key.service).or_default();
                if life.generation == key.generation && life.asked.remove(&key.role) {
                    life.alive.insert(key.role);
                    life.open = true;
                }
            }
            Event::Stillborn { key, .. } => {
                let life = self.lives.entry(key.service).or_default();
                if life.generation == key.generation {
                    life.asked.remove(&key.role);
                }
            }
            Event::Exited { key, status } => self.child_ended(engine, *key, *status),
            Event::Emptied { service, generation, .. } => {
                let life = self.lives.entry(*service).or_default();
                life.open &= life.generation != *generation;
            }
            Event::Command(command) => self.by_hand(command),
            Event::Paused { .. }
            | Event::Resumed { .. }
            | Event::Noticed { .. }
            | Event::Due { .. }
            | Event::Measured { .. }
            | Event::CheckedUp { .. }
            | Event::Knocked { .. }
            | Event::Tick => {}
        }
    }

    fn child_ended(&mut self, engine: &Engine, key: ChildKey, status: ExitStatus) {
        let life = self.lives.entry(key.service).or_default();
        if life.generation != key.generation || !life.alive.remove(&key.role) {
            return;
        }
        let prepares = engine.status(key.service).is_some_and(|view| view.state == State::Preparing);
        if key.role == Role::PreStart && prepares && !status.success() {
            life.exit = Some(status);
        }
        if key.role != Role::Main {
            return;
        }
        life.exit = Some(status);
        let Some(spec) = engine.spec(key.service) else { return };
        if let Some(since) = life.up_since.take() {
            life.stable |= self.now.since(since) >= spec.restart.reset_after;
        }
        life.succeeded = spec.kind != Kind::Daemon && spec.restart.is_success(status);
        life.row_may_be_over |= life.succeeded;
    }

    fn by_hand(&mut self, command: &Command) {
        match command {
            Command::Start(_)
            | Command::Stop(_)
            | Command::Restart(_)
            | Command::Reload(_)
            | Command::Apply(_) => {
                self.lives.values_mut().for_each(|life| life.row_may_be_over = true);
            }
            Command::Shutdown(_) => {}
        }
    }

    /// An action that the engine asks for.
    pub(crate) fn asked(&mut self, engine: &Engine, action: &Action) {
        match action {
            Action::Spawn { key } => {
                self.nothing_starts_in_a_shutdown(*key);
                self.no_two_lives_overlap(*key);
            }
            Action::Signal { service, signal: Signal::KILL, .. }
            | Action::Clear { service, signal: Some(Signal::KILL), .. } => {
                self.lives.entry(*service).or_default().killed = true;
            }
            Action::Kill { key } => self.lives.entry(key.service).or_default().killed = true,
            Action::Report(report) => self.reported(engine, report),
            Action::Quit { code } => {
                self.the_family_ends_with_the_right_code(*code);
                self.nobody_is_left();
            }
            Action::Signal { .. }
            | Action::Clear { .. }
            | Action::ArmSchedule { .. }
            | Action::Seat { .. }
            | Action::Revert { .. }
            | Action::Measure { .. }
            | Action::CheckUp { .. }
            | Action::AwaitConnection { .. }
            | Action::Forget { .. } => {}
        }
    }

    fn reported(&mut self, engine: &Engine, report: &Report) {
        self.reports_come_in_order_and_with_their_time(report);
        if let News::ShuttingDown { because, .. } = &report.news {
            self.remember_the_code(engine, because);
        }
        let Some(id) = report.service else { return };
        self.every_birth_has_one_end(id, report);
        self.pauses_grow_and_begin_anew_after_a_stable_time(engine, id, &report.news);
        if let News::Turned { to, because, .. } = &report.news {
            let life = self.lives.entry(id).or_default();
            life.last = Some((*to, because.clone()));
            life.killed &= !matches!(to, State::Preparing | State::Starting | State::Cleaning);
            let rests = matches!(to, State::Stopped | State::Done | State::Failed | State::Scheduled);
            life.row_may_be_over |= rests || *because == Cause::Schedule;
            if *to == State::Up {
                life.up_since = Some(report.at);
            }
        }
    }

    /// The engine has nothing more to ask for now.
    pub(crate) fn settled(&self, engine: &Engine) {
        let views: Vec<ServiceView> = engine.ids().filter_map(|id| engine.status(id)).collect();
        let rests = |view: &&ServiceView| matches!(view.state, State::Stopped | State::Done | State::Failed);
        assert_eq!(engine.live(), views.len() - views.iter().filter(rests).count(), "who is live is counted");
        for view in &views {
            self.views_are_true(view);
            self.whoever_waits_for_others_has_a_deadline(view);
        }
    }

    fn nothing_starts_in_a_shutdown(&self, key: ChildKey) {
        let starts = matches!(key.role, Role::PreStart | Role::Main | Role::Reload);
        assert!(!starts || !self.shutting_down, "{key:?} is born into a family that ends");
    }

    fn no_two_lives_overlap(&mut self, key: ChildKey) {
        let life = self.lives.entry(key.service).or_default();
        if key.generation != life.generation {
            assert!(key.generation > life.generation, "generations only grow");
            assert!(!life.open, "{key:?} begins before the last life was proven empty");
            assert!(life.alive.is_empty(), "{key:?} begins beside {:?}", life.alive);
            (life.generation, life.exit, life.up_since, life.killed) = (key.generation, None, None, false);
        }
        // The post-stop command begins in an empty life; if it is not born, that stays empty.
        life.open |= key.role != Role::PostStop;
        assert!(!life.alive.contains(&key.role) && life.asked.insert(key.role), "two births for {key:?}");
    }

    fn every_birth_has_one_end(&mut self, id: ServiceId, report: &Report) {
        let life = self.lives.entry(id).or_default();
        if let News::Born { role, .. } = &report.news {
            assert!(life.reported.insert(*role), "born twice without an end: {report:?}");
        }
        if let News::Exited { role, lived, .. } = &report.news {
            assert!(life.reported.remove(role), "ended without a birth: {report:?}");
            assert!(*lived <= self.now.since(Time::ZERO), "nobody is older than the world");
        }
    }

    fn reports_come_in_order_and_with_their_time(&mut self, report: &Report) {
        assert!(report.at <= self.now && report.at >= self.reported_at, "told at a wrong time: {report:?}");
        self.reported_at = report.at;
    }

    fn pauses_grow_and_begin_anew_after_a_stable_time(
        &mut self,
        engine: &Engine,
        id: ServiceId,
        news: &News,
    ) {
        let &News::RestartIn { delay, attempt } = news else { return };
        let life = self.lives.entry(id).or_default();
        if life.stable {
            assert_eq!(attempt, 1, "the row is over after a stable time");
        } else if !life.row_may_be_over {
            assert_eq!(attempt, life.attempt + 1, "the row goes on");
        }
        let succeeded = std::mem::take(&mut life.succeeded);
        (life.attempt, life.row_may_be_over, life.stable) = (attempt, succeeded, false);
        let Some(policy) = engine.spec(id).map(|spec| &spec.restart) else { return };
        let longest = policy.max_delay.max(policy.delay).as_secs_f64();
        let grown = policy.delay.as_secs_f64() * f64::from(policy.factor).powi(attempt as i32 - 1);
        let (base, share) = (grown.min(longest), f64::from(policy.jitter));
        let stillborn = Duration::from_millis(100);
        assert!(
            delay.as_secs_f64() <= (base * (1.0 + share) + 1e-6).min(longest + 1e-6) || delay == stillborn,
            "the {attempt}. pause is too long: {delay:?}"
        );
        assert!(
            delay.as_secs_f64() >= base * (1.0 - share) - 1e-6,
            "the {attempt}. pause is too short: {delay:?}"
        );
    }

    fn remember_the_code(&mut self, engine: &Engine, because: &Cause) {
        if std::mem::replace(&mut self.shutting_down, true) {
            return;
        }
        self.code = Some(if let Cause::EssentialEnded { service } = because {
            let id = engine.find(service).first().copied().expect("known");
            self.code_of(id)
        } else if *because == Cause::NothingLeft {
            let failed = |id| engine.status(id).is_some_and(|view: ServiceView| view.state == State::Failed);
            u8::from(engine.ids().any(failed))
        } else {
            0
        });
    }

    /// As which exit code the shells would tell the end of this service.
    fn code_of(&self, id: ServiceId) -> u8 {
        let life = &self.lives[&id];
        let (state, cause) = life.last.as_ref().expect("it came to its end");
        let failed = *state == State::Failed;
        assert!(failed || *state == State::Done, "an essential service that goes on ends nothing: {state}");
        match (cause, life.exit) {
            (Cause::SpawnFailed { error }, _) => error.shell_code(),
            (Cause::LostDependency { .. }, _) => 1,
            (_, Some(status)) if failed => status.shell_code().max(1),
            (_, Some(status)) => status.shell_code(),
            (_, None) => u8::from(failed),
        }
    }

    fn the_family_ends_with_the_right_code(&self, code: u8) {
        assert_eq!(Some(code), self.code, "the exit code of the family is that of its cause");
    }

    fn nobody_is_left(&self) {
        for (id, life) in &self.lives {
            assert!(life.reported.is_empty(), "{id:?}: the end of {:?} was not told", life.reported);
            assert!(!life.open, "{id:?} was not proven empty");
        }
    }

    fn views_are_true(&self, view: &ServiceView) {
        let children: BTreeSet<Role> = view.children.iter().map(|(role, _)| *role).collect();
        let alive = self.lives.get(&view.id).map(|life| life.alive.clone()).unwrap_or_default();
        assert_eq!(children, alive, "{} at {:?}", view.name, view.state);
        assert_eq!(view.pid.is_some(), alive.contains(&Role::Main));
        assert!(view.since <= self.now && view.ready_since.is_none_or(|at| at <= self.now));
        assert!(view.next.is_none_or(|(at, _)| at >= view.since), "a deadline of another life");
    }

    /// Whatever waits for an answer of a process has a deadline, or SIGKILL was sent: no state lasts for ever by
    /// somebody else's silence.
    fn whoever_waits_for_others_has_a_deadline(&self, view: &ServiceView) {
        // A birth is answered, and SIGKILL is obeyed; nothing else is sure.
        let sure = self.lives.get(&view.id).is_some_and(|life| life.killed || !life.asked.is_empty());
        let bounded = match view.state {
            State::BackingOff => view.next.is_some(),
            State::Preparing | State::Stopping | State::Clearing | State::Cleaning => {
                view.next.is_some() || sure
            }
            State::Stopped
            | State::Scheduled
            | State::Waiting
            | State::Starting
            | State::Up
            | State::Done
            | State::Failed => true,
        };
        assert!(bounded, "{} waits in {:?} without a limit", view.name, view.state);
    }
}
