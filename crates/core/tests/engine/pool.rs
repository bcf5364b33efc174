//! Scenes with a pool: how many workers serve, and how they are replaced.

use crate::stage::{Stage, requiring, service};
use crate::takeover::{taken_over, taken_over_as};
use doula_core::view::{Doing, Rolling, WorkerView};
use doula_model::action::{News, State};
use doula_model::event::{Command, Event, Haste, Notice};
use doula_model::id::PoolId;
use doula_model::plan::Errno;
use doula_model::pool::{
    Board, Bounds, Checkup, Leak, Measure, Policy, PoolNews, PoolSpec, Reason, Roll, Spare, StartFailure,
};
use doula_model::service::{ReadyBy, RestartWhen, ServiceSpec};
use std::sync::Arc;
use std::time::Duration;

const WEB: PoolId = PoolId(0);

/// The workers of a pool `web`, which say when they are ready.
fn workers(pool: &PoolSpec, edit: impl Fn(&mut ServiceSpec)) -> Vec<ServiceSpec> {
    let pool = Arc::new(pool.clone());
    let worker = |number| {
        service(&format!("{}@{number}", pool.name), |spec| {
            spec.ready.by = ReadyBy::Notice;
            spec.restart.when = RestartWhen::Always;
            spec.pool = Some(Arc::clone(&pool));
            edit(spec);
        })
    };
    (1..=pool.places()).map(worker).collect()
}

fn fixed(count: u32) -> PoolSpec {
    PoolSpec { policy: Policy::Fixed, ..PoolSpec::new("web", Bounds { start: count, max: count }) }
}

fn backlog(start: u32, max: u32) -> PoolSpec {
    PoolSpec::new("web", Bounds { start, max })
}

/// All are ready, the pool is rolled, and the first new worker is born.
fn in_a_roll(family: Vec<ServiceSpec>, new: &str) -> Stage {
    let mut stage = Stage::new(family);
    stage.all_ready();
    stage.whole(Command::Restart);
    stage.did();
    stage.born(new);
    stage
}

impl Stage {
    /// Whatever starts is born and ready.
    fn all_ready(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let did = self.did();
            let born: Vec<String> =
                did.iter().filter_map(|line| Some(line.strip_suffix(": spawn main")?.to_owned())).collect();
            done.extend(did);
            if born.is_empty() {
                return done;
            }
            for name in born {
                self.born(&name);
                self.says(&name, Notice::Ready);
            }
        }
    }

    /// What the pool's workers do, by slot.
    fn doing(&self) -> Vec<(u32, Doing)> {
        let pool = self.engine.pool(WEB).expect("a pool");
        pool.workers.iter().map(|worker| (worker.slot, worker.doing)).collect()
    }

    fn serving(&self) -> usize {
        self.doing().iter().filter(|(_, doing)| *doing == Doing::Serving).count()
    }

    fn whole(&mut self, command: impl FnOnce(Vec<doula_model::id::ServiceId>) -> Command) {
        let ids = self.engine.find("web");
        self.tell(Event::Command(command(ids)));
    }

    /// The answer to a look: so many connections wait, and these have work.
    fn sees(&mut self, queue: u32, busy: impl Fn(u32) -> bool) {
        let workers = self.engine.pool(WEB).expect("a pool").workers;
        let busy = workers.iter().map(|it| (it.service, it.life, busy(it.slot))).collect();
        self.tell(Event::Measured { pool: WEB, measure: Measure { queue, busy, ..Measure::default() } });
    }

    /// The answer to a check-up: memory and scoreboard of each by its slot.
    fn checked_up(&mut self, look: impl Fn(u32) -> (Option<u64>, Option<Board>)) {
        let workers = self.engine.pool(WEB).expect("a pool").workers;
        let seen = workers.iter().map(|it| {
            let (memory, board) = look(it.slot);
            Checkup { worker: it.service, life: it.life, memory, board }
        });
        let seen = seen.collect();
        self.tell(Event::CheckedUp { pool: WEB, seen });
    }

    fn pool_news(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.reports);
        let told = told.into_iter().filter_map(|report| {
            let News::Pool { change, .. } = report.news else { return None };
            Some(change.to_string())
        });
        told.collect()
    }
}

#[test]
fn a_pool_of_fixed_size_starts_all_in_their_slots_and_never_looks() {
    let mut stage = Stage::new(workers(&fixed(3), |_| {}));
    let did = stage.all_ready();
    assert_eq!(
        did,
        [
            "web@1: slot 1",
            "web@2: slot 2",
            "web@3: slot 3",
            "web@1: spawn main",
            "web@2: spawn main",
            "web@3: spawn main"
        ]
    );
    assert_eq!(stage.doing(), [(1, Doing::Serving), (2, Doing::Serving), (3, Doing::Serving)]);
    assert_eq!(stage.state("web@4"), State::Stopped);
    assert_eq!(stage.next(), None, "nothing is due by the clock");
}

#[test]
fn a_worker_that_crashes_starts_again_in_its_slot() {
    let mut stage = Stage::new(workers(&fixed(2), |_| {}));
    stage.all_ready();
    stage.gone("web@1", 1);
    stage.pass(200);
    stage.all_ready();
    assert_eq!(stage.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
    assert_eq!(stage.state("web@3"), State::Stopped, "nobody took its place");
}

#[test]
fn a_roll_starts_the_new_one_first_and_drains_the_old_one_when_it_is_ready() {
    let mut stage = Stage::new(workers(&fixed(2), |_| {}));
    stage.all_ready();
    stage.reports.clear();
    stage.whole(Command::Restart);
    assert_eq!(stage.did(), ["web@3: slot 1", "web@3: spawn main"]);
    stage.born("web@3");
    assert_eq!(stage.did(), [""; 0], "it is not ready yet");
    assert_eq!(stage.serving(), 2);
    stage.says("web@3", Notice::Ready);
    assert_eq!(stage.did(), ["web@1: TERM main"]);
    stage.exits("web@1", 0);
    assert_eq!(stage.did(), ["web@1: clear TERM"], "it is gone only when it is proven");
    stage.emptied("web@1");
    assert_eq!(stage.did(), ["web@1: slot 2", "web@1: spawn main"]);
    assert_eq!(stage.engine.pool(WEB).expect("a pool").rolling, Some((1, 2)));
    stage.born("web@1");
    stage.says("web@1", Notice::Ready);
    stage.gone("web@2", 0);
    assert_eq!(stage.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
    assert_eq!(
        stage.pool_news(),
        [
            "replaces its 2 workers one after the other, because somebody asked for it",
            "has replaced web@1 by web@3 (1 of 2)",
            "has replaced web@2 by web@1 (2 of 2)",
            "has replaced 2 in 0 µs"
        ]
    );
}

#[test]
fn the_next_supervisor_goes_on_with_a_roll_that_was_under_way() {
    let pool = PoolSpec { min_ready: Duration::from_secs(1), ..fixed(2) };
    let family = workers(&pool, |_| {});
    for ready_before in [true, false] {
        let mut stage = Stage::new(family.clone());
        stage.all_ready();
        stage.whole(Command::Restart);
        stage.did();
        stage.born("web@3");
        if ready_before {
            stage.says("web@3", Notice::Ready);
        }
        let mut after = taken_over(stage, family.clone(), 10);
        if !ready_before {
            after.says("web@3", Notice::Ready);
        }
        after.did();
        after.pass(1_000);
        assert_eq!(after.did(), ["web@1: TERM main"], "ready before: {ready_before}");
        after.gone("web@1", 0);
        // The other one has its turn.
        after.all_ready();
        after.pass(1_000);
        assert_eq!(after.did(), ["web@2: TERM main"]);
        after.gone("web@2", 0);
        assert_eq!(after.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
        assert_eq!(after.states(&["web@1", "web@2", "web@3"]), [State::Up, State::Stopped, State::Up]);
        assert!(after.pool_news().contains(&"has replaced web@2 by web@1 (2 of 2)".to_owned()));
    }
}

/// The new one was to be replaced in its turn before it was proved, and the supervisor was killed when the third one was born.
#[test]
fn of_three_in_one_slot_the_last_stays_under_the_next_supervisor() {
    let pool = PoolSpec { surge: 2, min_ready: Duration::from_secs(1), ..fixed(1) };
    let family = workers(&pool, |_| {});
    let mut stage = Stage::new(family.clone());
    stage.all_ready();
    for new in ["web@2", "web@3"] {
        stage.pass(100);
        stage.whole(Command::Restart);
        assert_eq!(stage.did(), [format!("{new}: slot 1"), format!("{new}: spawn main")]);
        stage.born(new);
        if new == "web@2" {
            stage.says(new, Notice::Ready);
        }
    }
    let mut after = taken_over(stage, family, 10);
    after.says("web@3", Notice::Ready);
    after.did();
    after.pass(1_000);
    assert_eq!(after.did(), ["web@1: TERM main", "web@2: TERM main"]);
    after.gone("web@1", 0);
    after.gone("web@2", 0);
    assert_eq!(after.doing(), [(1, Doing::Serving)]);
    assert_eq!(after.states(&["web@1", "web@2", "web@3"]), [State::Stopped, State::Stopped, State::Up]);
}

#[test]
fn a_configuration_that_changed_meanwhile_reaches_all_workers_though_a_roll_is_under_way() {
    let mut stage = in_a_roll(workers(&fixed(2), |_| {}), "web@3");
    stage.says("web@3", Notice::Ready);
    let mut after = taken_over(stage, workers(&fixed(2), |spec| spec.fingerprint = 2), 10);
    for _ in 0..3 {
        for old in ["web@1", "web@2", "web@3"] {
            if after.state(old) == State::Stopping {
                after.gone(old, 0);
            }
        }
        after.all_ready();
    }
    let pool = after.engine.pool(WEB).expect("a pool");
    let print = |it: &WorkerView| after.engine.record(it.service).expect("known").spec.fingerprint;
    let prints: Vec<u64> = pool.workers.iter().map(print).collect();
    assert_eq!((after.doing(), prints), (vec![(1, Doing::Serving), (2, Doing::Serving)], vec![2, 2]));
}

#[test]
fn a_new_worker_that_fails_under_the_next_supervisor_is_taken_back() {
    let family = workers(&fixed(2), |_| {});
    let stage = in_a_roll(family.clone(), "web@3");
    let mut after = taken_over(stage, family, 10);
    after.gone("web@3", 1);
    after.pass(1_000);
    assert_eq!(after.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
    assert_eq!(after.states(&["web@1", "web@2", "web@3"]), [State::Up, State::Up, State::Stopped]);
}

#[test]
fn new_workers_that_fail_in_the_same_moment_are_all_taken_back() {
    let pool = PoolSpec { surge: 2, ..fixed(3) };
    let mut stage = Stage::new(workers(&pool, |spec| spec.ready.timeout = Some(Duration::from_secs(1))));
    stage.all_ready();
    stage.whole(Command::Restart);
    stage.did();
    stage.born("web@4");
    stage.born("web@5");
    stage.pass(1_000);
    stage.gone("web@4", 0);
    stage.gone("web@5", 0);
    stage.pass(60_000);
    stage.all_ready();
    assert_eq!(stage.doing(), [(1, Doing::Serving), (2, Doing::Serving), (3, Doing::Serving)]);
    assert_eq!(stage.states(&["web@4", "web@5"]), [State::Stopped, State::Stopped]);
}

/// The supervisor is killed between two lines: that the new one is to be born is written down, that the old one's turn has come is not.
#[test]
fn the_next_supervisor_replaces_nobody_twice_whose_turn_had_come() {
    let family = workers(&fixed(2), |_| {});
    let stage = in_a_roll(family.clone(), "web@3");
    let mut after = taken_over_as(stage, family, 10, |record| {
        if record.spec.name == "web@1" {
            record.life.roll = Some(Roll::Asked);
        }
    });
    after.says("web@3", Notice::Ready);
    after.gone("web@1", 0);
    after.all_ready();
    after.gone("web@2", 0);
    after.all_ready();
    assert_eq!(after.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
    assert_eq!(after.pool_news().last().map(String::as_str), Some("has replaced 2 in 0 µs"));
}

#[test]
fn a_pool_that_was_stopped_stays_so_under_the_next_supervisor_and_one_that_waits_for_work_goes_on_waiting() {
    let idle = Policy::FpmOndemand { idle: Duration::from_secs(1) };
    let pool = PoolSpec { policy: idle, autostart: false, ..backlog(1, 2) };
    let family = workers(&pool, |_| {});
    let wanted = |stage: &Stage| stage.engine.pool(WEB).expect("a pool").wanted;
    for starts in [true, false] {
        let mut stage = Stage::new(family.clone());
        stage.whole(Command::Start);
        if !starts {
            stage.whole(Command::Stop);
        }
        let after = taken_over(stage, family.clone(), 10);
        assert_eq!(wanted(&after), starts);
        let again = taken_over(after, family.clone(), 10);
        assert_eq!(wanted(&again), starts, "and under the one after that");
    }
}

#[test]
fn a_pool_that_ended_for_a_shutdown_only_starts_again_under_the_next_supervisor() {
    let family = workers(&fixed(2), |_| {});
    let mut stage = Stage::new(family.clone());
    stage.all_ready();
    stage.shut_down(Haste::Orderly);
    stage.gone("web@1", 0);
    stage.gone("web@2", 0);
    let mut after = taken_over(stage, family, 10);
    after.all_ready();
    assert_eq!(after.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
}

#[test]
fn a_worker_that_does_not_listen_is_killed_in_a_roll_after_its_grace() {
    let mut stage = Stage::new(workers(&fixed(1), |_| {}));
    stage.all_ready();
    stage.whole(Command::Restart);
    stage.all_ready();
    stage.pass(10_000);
    assert_eq!(stage.did(), ["web@1: KILL tree"]);
}

#[test]
fn a_new_worker_must_stay_ready_before_the_old_one_goes() {
    let pool = PoolSpec { min_ready: Duration::from_secs(1), ..fixed(1) };
    let mut stage = Stage::new(workers(&pool, |_| {}));
    stage.all_ready();
    stage.whole(Command::Restart);
    stage.all_ready();
    stage.pass(999);
    assert_eq!(stage.did(), [""; 0]);
    stage.pass(1);
    assert_eq!(stage.did(), ["web@1: TERM main"]);
}

#[test]
fn an_old_worker_that_starts_again_by_itself_while_it_is_replaced_leaves_all_the_same() {
    let mut stage = in_a_roll(workers(&fixed(1), |_| {}), "web@2");
    stage.gone("web@1", 1);
    stage.pass(200);
    stage.did();
    stage.born("web@1");
    stage.says("web@1", Notice::Ready);
    stage.says("web@2", Notice::Ready);
    assert_eq!(stage.did(), ["web@1: TERM main"], "one slot, one worker");
}

#[test]
fn a_roll_stops_and_the_old_ones_stay_when_the_new_one_fails() {
    let mut stage = Stage::new(workers(&fixed(2), |_| {}));
    stage.all_ready();
    stage.reports.clear();
    stage.whole(Command::Restart);
    stage.did();
    stage.born("web@3");
    stage.gone("web@3", 1);
    assert_eq!(stage.did(), ["web@3: clear TERM"]);
    stage.pass(60_000);
    assert_eq!(stage.did(), [""; 0], "it is not tried again");
    assert_eq!(stage.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
    let failed = PoolNews::RollFailed { worker: "web@3".into(), replaced: 0, reverts: false };
    assert_eq!(stage.pool_news().last(), Some(&failed.to_string()));
    assert_eq!(stage.engine.roll_of(WEB), Some(Rolling::Failed));
}

#[test]
fn a_changed_configuration_is_rolled_out_and_goes_back_when_it_does_not_work() {
    let changed = |count| workers(&fixed(count), |spec| spec.fingerprint = 2);
    let mut stage = Stage::new(workers(&fixed(2), |_| {}));
    stage.all_ready();
    stage.apply(changed(2));
    assert_eq!(stage.did(), ["web@3: slot 1", "web@3: spawn main"]);
    stage.born("web@3");
    stage.says("web@3", Notice::Ready);
    stage.gone("web@1", 0);
    assert_eq!(stage.did(), ["web@1: TERM main", "web@1: clear TERM", "web@1: slot 2", "web@1: spawn main"]);
    stage.born("web@1");
    stage.exits("web@1", 1);
    // The failed one is taken back, and the one that was replaced goes back to what it was.
    stage.emptied("web@1");
    let did = stage.did();
    assert!(did.contains(&"web@3: revert".to_owned()), "{did:?}");
    assert_eq!(stage.serving(), 2);
    let spawned: Vec<_> = did.iter().filter(|line| line.ends_with("spawn main")).collect();
    assert_eq!(spawned, ["web@1: spawn main"]);
    assert_eq!(stage.engine.spec(stage.id("web@1")).map(|spec| spec.fingerprint), Some(0));
    stage.born("web@1");
    stage.says("web@1", Notice::Ready);
    stage.gone("web@3", 0);
    assert_eq!(stage.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
    for worker in ["web@1", "web@2", "web@3"] {
        assert_eq!(stage.engine.spec(stage.id(worker)).map(|spec| spec.fingerprint), Some(0), "{worker}");
    }
    let diff = stage.engine.diff(&changed(2));
    assert_eq!(diff.changed, ["web"], "the file still says something else");
}

#[test]
fn a_pool_of_another_size_changes_no_worker_that_stays() {
    let mut stage = Stage::new(workers(&fixed(2), |_| {}));
    stage.all_ready();
    let diff = stage.engine.diff(&workers(&fixed(3), |_| {}));
    assert_eq!((diff.adjusted, diff.added, diff.changed), (vec!["web".into()], vec![], vec![]));
    stage.apply(workers(&fixed(3), |_| {}));
    assert_eq!(stage.all_ready(), ["web@3: slot 3", "web@3: spawn main"]);
    stage.apply(workers(&fixed(1), |_| {}));
    assert_eq!(stage.did()[0], "web@3: TERM main", "two places are for one worker and its replacement");
    stage.gone("web@3", 0);
    assert_eq!(stage.serving(), 2);
}

#[test]
fn a_backlog_starts_as_many_as_are_missing_within_milliseconds() {
    let mut stage = Stage::new(workers(&backlog(2, 10), |_| {}));
    stage.sees(0, |_| false);
    assert!(stage.all_ready().contains(&"look closely".to_owned()));
    stage.reports.clear();
    stage.tell(Event::Knocked { pool: WEB });
    assert_eq!(stage.did(), ["look"]);
    stage.sees(6, |_| true);
    assert_eq!(stage.did(), [""; 0], "one look is not enough");
    stage.pass(5);
    assert_eq!(stage.did(), ["look closely"]);
    stage.sees(6, |_| true);
    let started = stage.did().iter().filter(|line| line.ends_with("spawn main")).count();
    assert_eq!(started, 6);
    assert_eq!(stage.pool_news(), ["grows from 2 to 8 workers, because connections wait"]);
}

/// Its first worker failed when the last ones of before ended: nobody else would look again.
#[test]
fn a_pool_with_fewer_than_it_begins_with_looks_again_when_who_has_failed_comes_again() {
    let mut stage = Stage::kept(workers(&backlog(2, 2), |_| {}));
    stage.sees(0, |_| false);
    stage.all_ready();
    stage.whole(Command::Stop);
    stage.whole(Command::Start);
    stage.sees(0, |_| false);
    stage.did();
    stage.gone("web@1", 0);
    stage.sees(0, |_| false);
    stage.stillborn("web@1", doula_model::id::Role::Main, Errno::EAGAIN);
    stage.emptied("web@1");
    stage.gone("web@2", 0);
    stage.did();
    stage.sees(0, |_| false);
    assert_eq!(stage.did(), ["listen"], "nobody is started while half of them fail");
    stage.pass(1_000);
    assert_eq!(stage.did(), ["web@1: spawn main", "look closely"]);
    stage.sees(0, |_| false);
    stage.born("web@1");
    stage.says("web@1", Notice::Ready);
    stage.all_ready();
    assert_eq!(stage.doing(), [(1, Doing::Serving), (2, Doing::Serving)]);
}

#[test]
fn a_connection_that_is_taken_at_once_is_no_reason_to_look_closer() {
    let mut stage = Stage::new(workers(&backlog(1, 10), |_| {}));
    stage.sees(0, |_| false);
    stage.all_ready();
    stage.tell(Event::Knocked { pool: WEB });
    stage.did();
    stage.tell(Event::Measured { pool: WEB, measure: Measure::default() });
    assert_eq!((stage.did(), stage.next()), (vec![], Some(5)), "it listens again a little later");
    stage.pass(5);
    assert_eq!((stage.did(), stage.next()), (vec!["listen".into()], None), "and sleeps");
}

#[test]
fn a_connection_that_waits_for_one_who_starts_wakes_us_less_and_less_often() {
    let mut stage = Stage::new(workers(&backlog(1, 10), |spec| spec.ready.by = ReadyBy::Notice));
    stage.sees(0, |_| false);
    stage.born("web@1");
    let mut looks = 0;
    for _ in 0..10_000 {
        let did = stage.did();
        if did.iter().any(|line| line.starts_with("look")) {
            stage.sees(1, |_| false);
            looks += 1;
        }
        if stage.did().iter().chain(&did).any(|line| line == "listen") {
            stage.tell(Event::Knocked { pool: WEB });
        }
        stage.pass(1);
    }
    assert!((100..130).contains(&looks), "{looks} looks in 10 s");
}

#[test]
fn a_pool_shrinks_by_those_that_are_idle_for_longest_and_sleeps_at_its_start() {
    let mut stage = Stage::new(workers(&backlog(1, 4), |_| {}));
    stage.sees(0, |_| false);
    stage.all_ready();
    for _ in 0..2 {
        stage.sees(3, |_| true);
        stage.pass(5);
    }
    stage.all_ready();
    assert_eq!(stage.serving(), 4);
    stage.sees(0, |_| false);
    let mut left = Vec::new();
    for _ in 0..40 {
        let Some(next) = stage.next() else { break };
        stage.pass(u64::try_from(next).expect("soon"));
        if stage.did().contains(&"look closely".to_owned()) {
            stage.sees(0, |_| false);
        }
        for line in stage.did() {
            if let Some(name) = line.strip_suffix(": TERM main") {
                left.push(name.to_owned());
                stage.gone(name, 0);
            }
        }
    }
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(stage.serving(), 1);
    assert_eq!(stage.next(), None, "nothing is due by the clock");
}

#[test]
fn a_worker_that_ends_brings_the_look_of_a_policy_by_the_clock_no_sooner() {
    let policy = Policy::Apache(Spare { min: 1, max: 2 });
    let pool = PoolSpec { policy, ..PoolSpec::new("web", Bounds { start: 8, max: 8 }) };
    let mut stage = Stage::new(workers(&pool, |_| {}));
    stage.sees(0, |_| false);
    stage.all_ready();
    let mut curve = Vec::new();
    for _ in 0..3 {
        stage.pass(1_000);
        stage.sees(0, |_| false);
        // Whoever is drained ends at once, and the pool may look as often as it likes.
        while let Some(name) =
            stage.did().iter().find_map(|line| line.strip_suffix(": TERM main").map(str::to_owned))
        {
            stage.gone(&name, 0);
            stage.sees(0, |_| false);
        }
        curve.push(stage.serving());
    }
    assert_eq!(curve, [7, 6, 5]);
}

#[test]
fn nobody_with_work_is_drained() {
    let mut stage = Stage::new(workers(&backlog(1, 3), |_| {}));
    stage.sees(0, |_| false);
    stage.all_ready();
    for _ in 0..2 {
        stage.sees(2, |_| true);
        stage.pass(5);
    }
    stage.all_ready();
    for _ in 0..30 {
        stage.pass(1_000);
        stage.sees(0, |slot| slot != 2);
    }
    let drained: Vec<_> = stage.did().into_iter().filter(|line| line.contains("TERM")).collect();
    assert_eq!(drained, [""; 0], "all three were busy in the last ten seconds, or are needed");
}

#[test]
fn the_k_th_worker_that_fails_is_reported_and_the_others_serve() {
    let mut stage = Stage::new(workers(&fixed(3), |_| {}));
    stage.did();
    stage.born("web@1");
    stage.born("web@2");
    stage.stillborn("web@3", doula_model::id::Role::Main, Errno::EAGAIN);
    stage.emptied("web@3");
    stage.says("web@1", Notice::Ready);
    stage.says("web@2", Notice::Ready);
    assert_eq!(stage.serving(), 2);
    let news = PoolNews::StartFailed { worker: "web@3".into(), then: StartFailure::Keep };
    assert_eq!(stage.pool_news(), [news.to_string()]);
    stage.pass(1_000);
    stage.all_ready();
    assert_eq!(stage.serving(), 3);
}

#[test]
fn a_pool_that_must_be_whole_is_taken_back_when_one_fails() {
    let pool = PoolSpec { on_start_failure: StartFailure::RollBack, ..fixed(3) };
    let mut stage = Stage::kept(workers(&pool, |_| {}));
    stage.did();
    stage.born("web@1");
    stage.born("web@2");
    stage.born("web@3");
    stage.gone("web@3", 1);
    let did = stage.did();
    assert!(did.contains(&"web@1: TERM main".into()) && did.contains(&"web@2: TERM main".into()), "{did:?}");
    stage.gone("web@1", 0);
    stage.gone("web@2", 0);
    stage.pass(60_000);
    assert_eq!(stage.did()[2..], [""; 0], "nothing starts again");
    assert_eq!(stage.doing(), []);
}

#[test]
fn who_needs_a_pool_starts_when_it_is_complete_and_does_not_hear_of_a_roll() {
    let mut family = workers(&fixed(2), |_| {});
    family.push(requiring("proxy", &["web@1", "web@2", "web@3"]));
    let mut stage = Stage::new(family);
    assert_eq!(stage.state("proxy"), State::Waiting);
    stage.did();
    stage.born("web@1");
    stage.says("web@1", Notice::Ready);
    assert_eq!(stage.state("proxy"), State::Waiting);
    stage.born("web@2");
    stage.says("web@2", Notice::Ready);
    assert_eq!(stage.did(), ["proxy: spawn main"]);
    stage.born("proxy");
    stage.whole(Command::Restart);
    stage.all_ready();
    stage.gone("web@1", 0);
    stage.all_ready();
    stage.gone("web@2", 0);
    assert_eq!(stage.state("proxy"), State::Up);
    stage.did();
    stage.whole(Command::Stop);
    assert_eq!(stage.did(), ["proxy: TERM main"], "who needs it goes first");
    stage.gone("proxy", 0);
    assert_eq!(stage.did(), ["proxy: clear TERM", "web@1: TERM main", "web@3: TERM main"]);
}

#[test]
fn a_pool_that_has_lost_what_it_requires_comes_back_with_it() {
    let mut family = workers(&fixed(2), |spec| {
        spec.deps = requiring("x", &["db"]).deps;
    });
    family.push(service("db", |_| {}));
    let mut stage = Stage::kept(family);
    stage.all_ready();
    assert_eq!(stage.serving(), 2);
    stage.stop("db");
    stage.gone("web@1", 0);
    stage.gone("web@2", 0);
    assert_eq!(stage.doing(), [(1, Doing::Held), (2, Doing::Held)]);
    stage.gone("db", 0);
    stage.did();
    stage.pass(60_000);
    assert_eq!(stage.did(), [""; 0], "a pool does not start what somebody stopped");
    stage.whole(Command::Start);
    stage.born("db");
    stage.all_ready();
    assert_eq!(stage.serving(), 2);
}

#[test]
fn a_worker_that_has_answered_enough_is_replaced_one_at_a_time() {
    let mut pool = fixed(3);
    pool.recycle.requests = Some(100);
    let mut stage = Stage::new(workers(&pool, |_| {}));
    stage.all_ready();
    stage.reports.clear();
    for worker in ["web@1", "web@2", "web@3"] {
        stage.says(worker, Notice::Tasks(100));
    }
    assert_eq!(stage.did(), ["web@4: slot 1", "web@4: spawn main"], "all are due, one is replaced");
    assert_eq!(stage.serving(), 3);
    let because = Roll::Requests;
    let begins = PoolNews::RollBegins { workers: 1, because }.to_string();
    assert_eq!(stage.pool_news(), [begins.clone(), begins.clone(), begins]);
}

#[test]
fn workers_that_start_together_are_replaced_for_their_age_at_different_times() {
    let mut pool = fixed(3);
    pool.recycle.age = Some(Duration::from_secs(1_000));
    let mut stage = Stage::new(workers(&pool, |_| {}));
    stage.all_ready();
    stage.pass(899_000);
    assert_eq!(stage.did(), [""; 0]);
    let mut replaced = 0;
    while stage.now.as_nanos() < 1_000_000_000_000 {
        stage.pass(100);
        let did = stage.all_ready();
        assert!(did.iter().filter(|line| line.ends_with("spawn main")).count() <= 1, "{did:?}");
        for line in did {
            if let Some(old) = line.strip_suffix(": TERM main") {
                stage.gone(old, 0);
                replaced += 1;
            }
        }
        assert_eq!(stage.serving(), 3, "no capacity is away");
    }
    assert_eq!(replaced, 3);
}

#[test]
fn who_is_due_stays_for_a_while_when_its_successor_fails() {
    let mut pool = fixed(1);
    pool.recycle.requests = Some(1);
    let mut stage = Stage::new(workers(&pool, |_| {}));
    stage.all_ready();
    stage.says("web@1", Notice::Tasks(1));
    stage.did();
    stage.born("web@2");
    stage.gone("web@2", 1);
    stage.did();
    stage.says("web@1", Notice::Tasks(2));
    assert_eq!((stage.did(), stage.serving()), (vec![], 1), "not at once again");
    stage.pass(30_000);
    stage.says("web@1", Notice::Tasks(3));
    assert_eq!(stage.did(), ["web@2: slot 1", "web@2: spawn main"]);
}

#[test]
fn a_pool_that_is_at_its_maximum_says_so_once() {
    let mut stage = Stage::new(workers(&backlog(1, 1), |_| {}));
    stage.sees(0, |_| false);
    stage.all_ready();
    stage.reports.clear();
    for _ in 0..5 {
        stage.sees(9, |_| true);
        stage.pass(200);
    }
    assert_eq!(stage.pool_news(), [PoolNews::Held { at: 1, reason: Reason::AtMaximum }.to_string()]);
}

#[test]
fn a_family_of_one_idle_pool_does_not_end_and_shuts_down_when_it_is_asked() {
    let pool = PoolSpec {
        policy: Policy::FpmOndemand { idle: Duration::from_secs(1) },
        ..PoolSpec::new("web", Bounds { start: 0, max: 4 })
    };
    let mut stage = Stage::new(workers(&pool, |_| {}));
    assert_eq!(stage.did(), ["look closely"]);
    stage.sees(0, |_| false);
    assert_eq!(stage.did(), ["listen"]);
    stage.tell(Event::Knocked { pool: WEB });
    stage.sees(1, |_| true);
    assert_eq!(stage.did(), ["look", "web@1: slot 1", "web@1: spawn main"]);
    stage.born("web@1");
    stage.shut_down(Haste::Orderly);
    stage.gone("web@1", 0);
    assert_eq!(stage.did().last().map(String::as_str), Some("quit 0"));
}

#[test]
fn what_workers_write_on_their_scoreboards_is_read_by_the_clock_and_who_has_answered_enough_is_replaced() {
    let mut pool = PoolSpec { scoreboard: true, ..fixed(2) };
    pool.recycle.requests = Some(100);
    let mut stage = Stage::new(workers(&pool, |_| {}));
    stage.all_ready();
    stage.pass(5_000);
    assert_eq!(stage.did(), ["check up 2"]);
    let board = |requests| Some(Board { busy: Some(true), requests });
    stage.checked_up(|slot| (None, board(if slot == 1 { 99 } else { 100 })));
    assert_eq!(stage.did(), ["web@3: slot 2", "web@3: spawn main"]);
    let tasks: Vec<u64> =
        stage.engine.pool(WEB).expect("a pool").workers.iter().map(|worker| worker.tasks).collect();
    assert_eq!(tasks, [99, 100, 0]);
}

#[test]
fn workers_that_all_leak_are_replaced_one_after_the_other_and_one_that_is_new_is_left_alone() {
    let mut pool = fixed(3);
    pool.recycle.leak = Some(Leak { memory: 800, within: Duration::from_secs(8) });
    let mut stage = Stage::new(workers(&pool, |_| {}));
    stage.all_ready();
    stage.reports.clear();
    let (mut replaced, mut second) = (Vec::new(), 0);
    while replaced.len() < 3 && second < 60 {
        second += 1;
        stage.pass(1_000);
        stage.checked_up(|_| (Some(second * 200), None));
        for line in stage.all_ready() {
            if let Some(old) = line.strip_suffix(": TERM main") {
                assert_eq!(stage.serving(), 3, "its successor serves");
                replaced.push((second, old.to_owned()));
                stage.gone(old, 0);
            }
        }
        assert!(stage.doing().len() <= 4, "at most one more than may be");
    }
    assert_eq!(replaced.len(), 3, "{replaced:?}");
    assert!(replaced.iter().all(|(second, _)| *second >= 16), "two spans: {replaced:?}");
    let told = stage.pool_news();
    assert!(told.iter().any(|line| line.contains("the memory of a worker grows too fast")), "{told:?}");
}

#[test]
fn a_pool_that_is_stopped_looks_at_nobody() {
    let mut pool = fixed(1);
    pool.recycle.leak = Some(Leak { memory: 1, within: Duration::from_secs(8) });
    let mut stage = Stage::kept(workers(&pool, |_| {}));
    stage.all_ready();
    stage.whole(Command::Stop);
    stage.did();
    stage.gone("web@1", 0);
    stage.did();
    assert_eq!(stage.next(), None, "nothing is due by the clock");
}
