//! The supervisor is killed, and another one goes on with what was written down.

use crate::stage::{Stage, service};
use crate::world::World;
use doula_core::engine::Engine;
use doula_model::action::{Action, Cause, State};
use doula_model::event::{Event, Haste};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Pid, Role};
use doula_model::record::{Child, Record};
use doula_model::service::{ReadyBy, ServiceSpec};
use doula_model::time::Time;
use std::collections::BTreeMap;
use std::time::Duration;

fn records(engine: &Engine) -> Vec<Record> {
    engine.ids().filter_map(|id| engine.record(id)).collect()
}

/// The births of which nobody has said whether they happened.
fn asked(record: &Record) -> impl Iterator<Item = ChildKey> {
    let key = |role| ChildKey { service: record.id, generation: record.life.generation, role };
    let asked = record.life.children.iter().filter(|(_, child)| matches!(child, Child::Asked { .. }));
    asked.map(move |(role, _)| key(*role))
}

impl World {
    /// The next event is the last one that the supervisor hears: it carries out so many actions of what follows.
    pub(crate) fn doom(&mut self, actions: usize) {
        self.doomed = Some(actions);
    }

    /// The supervisor was killed (it is if it was not), and after a while another one goes on.
    pub(crate) fn killed(&mut self, away: Duration) {
        self.doomed = None;
        if self.quit.is_some() {
            return;
        }
        let written = records(&self.engine);
        self.states = written.iter().map(|record| (record.id, record.life.state)).collect();
        self.decided.extend(written.iter().flat_map(asked));
        self.die();
        self.now = self.now.after(away);
        self.nobody_looks();
        let specs: Vec<ServiceSpec> = written
            .iter()
            .filter(|it| !it.life.leaving)
            .map(|it| it.next.as_ref().unwrap_or(&it.spec).as_ref().clone())
            .collect();
        self.tempers.truncate(written.iter().map(|it| it.id.0 as usize + 1).max().unwrap_or(0));
        self.engine = Engine::resume(written, &self.unseen, specs, (1, self.now), None).keep_alive(true);
        self.checkers.taken_over(&self.engine, self.now, &std::mem::take(&mut self.unseen));
        let gone: Vec<_> =
            self.engine.living().into_iter().filter(|(key, _)| !self.alive.contains_key(key)).collect();
        self.gone.extend(gone.iter().map(|(key, _)| *key));
        for (key, _) in gone {
            self.tell(Event::Exited { key, status: ExitStatus::UNKNOWN });
        }
        self.obey();
    }

    /// What goes with a supervisor: births under way happened or not, and nobody waits for anything any more.
    fn die(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for (at, serial, event) in pending {
            match event {
                Event::Born { key, pid } if self.chance(50) => {
                    self.alive.insert(key, pid);
                    self.unseen.insert(key, pid);
                    self.live_on(key);
                }
                Event::Born { .. } | Event::Stillborn { .. } | Event::Emptied { .. } | Event::Due { .. } => {}
                Event::Measured { .. } | Event::CheckedUp { .. } | Event::Knocked { .. } => {}
                Event::Exited { .. }
                | Event::Paused { .. }
                | Event::Resumed { .. }
                | Event::Noticed { .. } => {
                    self.pending.push((at, serial, event));
                }
                Event::Tick | Event::Command(_) => {}
            }
        }
        (self.shutting_down, self.hurried) = (false, false);
        self.asked.clear();
        self.clearing.clear();
        self.armed.clear();
        self.by_hand();
        let probe = |role| matches!(role, Role::ReadyProbe | Role::LiveProbe);
        self.alive.retain(|key, _| !probe(key.role));
        self.unseen.retain(|key, _| !probe(key.role));
    }

    /// Who ends meanwhile ends unseen.
    fn nobody_looks(&mut self) {
        let now = self.now;
        let (past, future): (Vec<_>, _) =
            std::mem::take(&mut self.pending).into_iter().partition(|(at, ..)| *at <= now);
        self.pending = future;
        for (at, serial, event) in past {
            if let Event::Exited { key, .. } = &event
                && !self.frozen.contains_key(key)
            {
                self.alive.remove(key);
                self.unseen.remove(key);
            } else {
                self.pending.push((at, serial, event));
            }
        }
    }
}

/// The same family under another supervisor, so many milliseconds later.
pub(crate) fn taken_over(stage: Stage, family: Vec<ServiceSpec>, away: u64) -> Stage {
    taken_over_as(stage, family, away, |_| {})
}

/// The same, where something else was written down.
pub(crate) fn taken_over_as(
    stage: Stage,
    family: Vec<ServiceSpec>,
    away: u64,
    edit: impl FnMut(&mut Record),
) -> Stage {
    let now = stage.now.after(Duration::from_millis(away));
    let died = Some(stage.now);
    let mut written = records(&stage.engine);
    written.iter_mut().for_each(edit);
    let engine = Engine::resume(written, &BTreeMap::new(), family, (1, now), died);
    stage.go_on(engine, now)
}

#[test]
fn what_is_up_stays_as_it_is_with_its_age_and_nothing_is_asked_for() {
    let web = service("web", |_| {});
    let mut stage = Stage::up(web.clone());
    stage.pass(1_000);
    let before = stage.view("web");
    let mut after = taken_over(stage, vec![web], 500);
    assert_eq!((after.did(), after.view("web")), (vec![], before));
}

#[test]
fn a_pause_ends_when_it_would_have_ended_and_the_count_goes_on() {
    let web = service("web", |spec| spec.restart.delay = Duration::from_millis(1_000));
    let mut stage = Stage::up(web.clone());
    stage.gone("web", 3);
    assert_eq!(stage.state("web"), State::BackingOff);
    stage.pass(400);
    let mut after = taken_over(stage, vec![web], 100);
    assert_eq!(after.next(), Some(500));
    after.pass(500);
    after.born("web");
    assert_eq!((after.state("web"), after.view("web").restarts), (State::Up, 1));
}

#[test]
fn the_patience_with_one_who_starts_stands_still_while_nobody_listens_and_then_goes_on() {
    let slow = service("slow", |spec| {
        spec.ready.by = ReadyBy::Notice;
        spec.ready.timeout = Some(Duration::from_secs(10));
    });
    let mut stage = Stage::new(vec![slow.clone()]);
    stage.born("slow");
    stage.pass(4_000);
    let mut after = taken_over(stage, vec![slow.clone()], 30_000);
    assert_eq!(after.next(), Some(6_000));
    after.pass(5_900);
    assert_eq!(after.state("slow"), State::Starting);
    // However late it is, what was said while nobody listened is heard first.
    let mut last = taken_over(after, vec![slow], 30_000);
    assert_eq!(last.next(), Some(1_000));
    last.pass(1_000);
    assert_eq!(last.state("slow"), State::Stopping);
}

#[test]
fn of_two_with_the_same_number_the_one_who_has_it_comes_last() {
    let family = vec![service("new", |_| {}), service("old", |_| {})];
    let mut stage = Stage::new(family.clone());
    stage.born("old");
    stage.pass(1_000);
    stage.born("new");
    let (old, new) = (stage.key("old", Role::Main), stage.key("new", Role::Main));
    let number = Pid::new(7).expect("a number");
    let after = taken_over_as(stage, family, 0, |record| {
        for (_, child) in &mut record.life.children {
            if let Child::Alive { pid, .. } = child {
                *pid = number;
            }
        }
    });
    assert_eq!(after.engine.living(), [(old, number), (new, number)]);
}

#[test]
fn a_birth_that_was_asked_for_is_asked_for_once_more_in_the_same_life() {
    let web = service("web", |_| {});
    let mut stage = Stage::new(vec![web.clone()]);
    let before = stage.key("web", Role::Main);
    stage.did();
    let mut after = taken_over(stage, vec![web], 0);
    assert_eq!(after.did(), ["web: spawn main"]);
    assert_eq!(after.key("web", Role::Main), before);
}

#[test]
fn a_changed_service_is_restarted_and_a_new_one_starts_and_a_missing_one_ends() {
    let [old, same, gone] = ["old", "same", "gone"].map(|name| service(name, |_| {}));
    let mut stage = Stage::new(vec![old, same.clone(), gone]);
    for name in ["old", "same", "gone"] {
        stage.born(name);
    }
    stage.did();
    let family = vec![service("old", |spec| spec.fingerprint = 7), same, service("new", |_| {})];
    let mut after = taken_over(stage, family, 0);
    let mut did = after.did();
    did.sort();
    assert_eq!(did, ["gone: TERM main", "new: spawn main", "old: TERM main"]);
    after.gone("old", 0);
    assert_eq!(after.did(), ["old: clear TERM", "old: spawn main"]);
}

#[test]
fn a_shutdown_is_not_gone_on_with_and_a_stop_by_hand_is() {
    let [web, db] = ["web", "db"].map(|name| service(name, |_| {}));
    let mut stage = Stage::kept(vec![web.clone(), db.clone()]);
    for name in ["web", "db"] {
        stage.born(name);
    }
    stage.stop("db");
    stage.gone("db", 0);
    stage.shut_down(Haste::Orderly);
    stage.did();
    let mut after = taken_over(stage, vec![web, db], 0);
    assert_eq!(after.did(), ["web: TERM main"], "it may not have been sent");
    after.gone("web", 0);
    assert_eq!((after.state("web"), after.state("db")), (State::Starting, State::Stopped));
}

#[test]
fn a_grace_that_is_over_meanwhile_ends_by_sigkill_at_once() {
    let web = service("web", |spec| spec.stop.grace = Duration::from_millis(100));
    let mut stage = Stage::up(web.clone());
    stage.stop("web");
    let mut after = taken_over(stage, vec![web], 5_000);
    after.did();
    after.tell(Event::Tick);
    assert_eq!(after.did(), ["web: KILL tree"]);
}

#[test]
fn everybody_is_touched_at_first_and_then_only_who_changed() {
    let mut stage = Stage::new(vec![service("web", |_| {}), service("db", |_| {})]);
    assert_eq!(stage.engine.take_touched().len(), 2);
    assert_eq!(stage.engine.take_touched(), []);
    stage.born("db");
    assert_eq!(stage.engine.take_touched(), [stage.id("db")]);
    let (key, pid) = (stage.key("web", Role::Main), Pid::new(7).expect("positive"));
    stage.engine.handle(Time::ZERO, Event::Born { key, pid });
    let action = stage.engine.poll_action();
    assert!(matches!(action, Some(Action::Report(_))), "{action:?}");
    let touched = stage.engine.take_touched();
    assert_eq!(touched, [stage.id("web")]);
    let record = stage.engine.record(touched[0]).expect("known");
    assert_eq!((record.life.state, record.life.cause), (State::Up, Cause::NextStep));
}
