//! Scenes with several services: order, loss, commands, a new configuration, the end.

use crate::stage::{Stage, needs, requiring, service};
use doula_core::engine::Engine;
use doula_model::action::{Action, Cause, News, State};
use doula_model::event::{Command, Event, Haste};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Pid, Role, ServiceId};
use doula_model::service::{DependencyKind, Kind, Overlap, ReadyBy, RestartWhen, ServiceSpec};
use doula_model::signal::Signal;
use doula_model::time::Time;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

const NOTHING: [&str; 0] = [];

fn failing(name: &str) -> ServiceSpec {
    service(name, |spec| spec.restart.when = RestartWhen::Never)
}

fn with(name: &str, kind: DependencyKind, on: &str) -> ServiceSpec {
    service(name, |spec| spec.deps = vec![needs(kind, on)])
}

/// `web` requires `db`; both are up.
fn pair() -> Stage {
    let mut stage = Stage::kept(vec![requiring("web", &["db"]), service("db", |_| {})]);
    stage.born("db");
    stage.born("web");
    stage.did();
    stage
}

#[test]
fn a_dependant_starts_when_the_other_is_ready() {
    let db = service("db", |spec| spec.ready.by = ReadyBy::Notice);
    let mut stage = Stage::new(vec![requiring("web", &["db"]), db]);
    stage.born("db");
    assert_eq!(stage.did(), ["db: spawn main"]);
    assert_eq!(stage.view("web").cause, Cause::WaitsFor { service: "db".into() });
    stage.says("db", doula_model::event::Notice::Ready);
    assert_eq!(stage.did(), ["web: spawn main"]);
}

#[test]
fn a_oneshot_is_ready_by_its_good_end() {
    let migrate = service("migrate", |spec| spec.kind = Kind::Oneshot);
    let mut stage = Stage::new(vec![requiring("web", &["migrate"]), migrate]);
    stage.born("migrate");
    assert_eq!(stage.states(&["migrate", "web"]), [State::Starting, State::Waiting]);
    stage.did();
    stage.gone("migrate", 0);
    assert_eq!(stage.did(), ["migrate: clear TERM", "web: spawn main"]);
}

#[test]
fn a_failure_reaches_whoever_requires_it_but_not_whoever_only_wants_it() {
    use DependencyKind::{After, Wants};
    let mut stage = Stage::new(vec![
        failing("db"),
        requiring("web", &["db"]),
        requiring("edge", &["web"]),
        with("stats", Wants, "db"),
        with("late", After, "db"),
    ]);
    stage.did();
    stage.born("db");
    stage.gone("db", 1);
    let states = stage.states(&["db", "web", "edge", "stats", "late"]);
    use State::{Failed, Starting, Stopping};
    assert_eq!(states, [Failed, Stopping, Failed, Starting, Starting]);
    stage.born("web");
    stage.gone("web", 143);
    assert_eq!(stage.state("web"), Failed);
}

#[test]
fn whoever_waits_for_a_service_that_fails_fails_too() {
    let db = service("db", |spec| {
        spec.ready.by = ReadyBy::Notice;
        spec.restart.when = RestartWhen::Never;
    });
    let mut stage = Stage::new(vec![requiring("edge", &["web"]), requiring("web", &["db"]), db]);
    stage.born("db");
    stage.did();
    stage.gone("db", 3);
    assert_eq!(stage.states(&["edge", "web", "db"]), [State::Failed; 3]);
    let why: Vec<String> = stage
        .engine
        .why(stage.id("edge"))
        .iter()
        .map(|reason| format!("{} is {}, because {}", reason.service, reason.state, reason.cause))
        .collect();
    assert_eq!(
        why,
        [
            "edge is failed, because web, which it requires, is not there",
            "web is failed, because db, which it requires, is not there",
            "db is failed, because it exited with code 3"
        ]
    );
    assert_eq!(stage.did(), ["db: clear TERM", "quit 1"]);
}

#[test]
fn a_crash_that_is_followed_by_a_restart_leaves_the_dependants_alone() {
    let mut stage = pair();
    stage.gone("db", 1);
    assert_eq!(stage.states(&["web", "db"]), [State::Up, State::BackingOff]);
    assert_eq!(stage.did(), ["db: clear TERM"]);
}

#[test]
fn a_final_failure_ends_those_who_run_and_require_it() {
    let mut stage = Stage::new(vec![failing("db"), requiring("web", &["db"])]);
    stage.born("db");
    stage.born("web");
    stage.did();
    stage.gone("db", 1);
    assert_eq!(stage.did(), ["db: clear TERM", "web: TERM main"]);
    stage.gone("web", 0);
    assert_eq!(stage.state("web"), State::Failed);
    assert_eq!(stage.did(), ["web: clear TERM", "quit 1"]);
}

#[test]
fn a_stop_empties_the_dependants_first() {
    let mut stage = pair();
    stage.stop("db");
    assert_eq!(stage.did(), ["web: TERM main"]);
    assert!(!stage.view("db").wanted, "it waits for its end");
    stage.exits("web", 0);
    assert_eq!(stage.did(), ["web: clear TERM"], "what web left may still use db");
    stage.emptied("web");
    assert_eq!(stage.did(), ["db: TERM main"]);
    stage.gone("db", 0);
    assert_eq!(stage.states(&["web", "db"]), [State::Stopped; 2]);
    assert_eq!(stage.view("web").cause, Cause::LostDependency { service: "db".into() });
}

#[test]
fn a_start_takes_along_whom_it_requires_and_wants_and_not_whom_it_only_follows() {
    use DependencyKind::{After, Requires, Wants};
    let off = |name: &str| service(name, |spec| spec.autostart = false);
    let web = service("web", |spec| {
        spec.autostart = false;
        spec.deps = vec![needs(Requires, "db"), needs(Wants, "cache"), needs(After, "log")];
    });
    let mut stage = Stage::kept(vec![web, off("db"), off("cache"), off("log")]);
    stage.start("web");
    let mut did = stage.did();
    did.sort();
    assert_eq!(did, ["cache: spawn main", "db: spawn main"]);
    assert_eq!(stage.state("log"), State::Stopped);
    assert_eq!(stage.view("db").cause, Cause::NeededBy { service: "web".into() });
    stage.born("db");
    stage.stillborn("cache", Role::Main, doula_model::plan::Errno::ENOENT);
    assert_eq!(stage.state("web"), State::Waiting, "the cache has not ended yet");
    stage.emptied("cache");
    assert_eq!(stage.states(&["cache", "web"]), [State::BackingOff, State::Starting], "it has failed once");
}

#[test]
fn a_restart_takes_along_whoever_runs_and_requires_it() {
    let mut stage = pair();
    stage.restart("db");
    assert_eq!(stage.did(), ["web: TERM main"]);
    stage.gone("web", 0);
    assert_eq!(stage.did(), ["web: clear TERM", "db: TERM main"]);
    assert_eq!(stage.state("web"), State::Waiting);
    stage.gone("db", 0);
    assert_eq!(stage.did(), ["db: clear TERM", "db: spawn main"]);
    stage.born("db");
    assert_eq!(stage.did(), ["web: spawn main"]);
    stage.born("web");
    stage.restart("web");
    assert_eq!(stage.did(), ["web: TERM main"], "db is left alone");
}

#[test]
fn a_start_takes_a_stop_back_that_was_not_carried_out_yet() {
    let mut stage = pair();
    stage.stop("db");
    stage.did();
    stage.start("web");
    assert!(stage.view("db").wanted);
    stage.gone("web", 0);
    assert_eq!(stage.did(), ["web: clear TERM", "web: spawn main"]);
    assert_eq!(stage.state("db"), State::Up);
}

#[test]
fn an_orderly_shutdown_goes_in_reverse_and_a_hurried_one_all_at_once() {
    let mut stage = pair();
    stage.shut_down(Haste::Orderly);
    assert_eq!(stage.did(), ["web: TERM main"]);
    stage.shut_down(Haste::Hurried);
    assert_eq!(stage.did(), ["db: TERM main"]);
    stage.shut_down(Haste::Orderly);
    assert_eq!(stage.did(), NOTHING, "never less hasty");
    stage.shut_down(Haste::Kill);
    assert_eq!(stage.did(), ["web: KILL tree", "db: KILL tree"]);
    stage.exits("web", 137);
    stage.exits("db", 137);
    assert_eq!(stage.did(), ["web: clear KILL", "db: clear KILL"]);
    stage.emptied("web");
    stage.emptied("db");
    assert_eq!(stage.did(), ["quit 0"]);
    assert!(stage.reported(&News::FamilyEmpty));
}

#[test]
fn nothing_starts_any_more_during_a_shutdown() {
    let mut stage = pair();
    stage.shut_down(Haste::Orderly);
    stage.start("web");
    stage.restart("db");
    stage.reload("db");
    stage.apply(Vec::new());
    stage.gone("web", 1);
    stage.gone("db", 1);
    assert_eq!(stage.did().last().map(String::as_str), Some("quit 0"));
}

#[test]
fn the_end_of_an_essential_service_ends_the_family_with_its_code() {
    for (code, quit) in [(0, "quit 0"), (3, "quit 3")] {
        let tests = service("tests", |spec| {
            (spec.kind, spec.essential) = (Kind::Oneshot, true);
            spec.restart.when = RestartWhen::Never;
        });
        let mut stage = Stage::new(vec![tests, service("db", |_| {})]);
        stage.born("tests");
        stage.born("db");
        stage.did();
        stage.gone("tests", code);
        assert_eq!(stage.did(), ["tests: clear TERM", "db: TERM main"]);
        stage.gone("db", 143);
        assert_eq!(stage.did(), ["db: clear TERM", quit]);
        let because = Cause::EssentialEnded { service: "tests".into() };
        assert!(stage.reported(&News::ShuttingDown { haste: Haste::Orderly, because }));
    }
}

#[test]
fn a_crash_of_an_essential_service_that_is_restarted_is_not_its_end() {
    let mut stage = Stage::new(vec![service("web", |spec| spec.essential = true)]);
    stage.born("web");
    stage.gone("web", 1);
    assert_eq!(stage.state("web"), State::BackingOff);
    stage.pass(100);
    stage.born("web");
    stage.stop("web");
    stage.did();
    stage.gone("web", 143);
    assert_eq!(stage.did(), ["web: clear TERM", "quit 0"], "a stop that was asked for is no failure");
}

#[test]
fn of_several_essential_services_the_first_to_end_gives_the_code() {
    let essential = |name: &str| {
        service(name, |spec| {
            spec.essential = true;
            spec.restart.when = RestartWhen::Never;
        })
    };
    let mut stage = Stage::new(vec![essential("a"), essential("b")]);
    stage.born("a");
    stage.born("b");
    stage.exits("b", 5);
    stage.exits("a", 4);
    stage.emptied("b");
    stage.emptied("a");
    assert_eq!(stage.did().last().map(String::as_str), Some("quit 5"));
}

#[test]
fn a_family_with_nothing_left_ends_unless_it_is_kept_alive() {
    for (code, quit) in [(0, "quit 0"), (1, "quit 1")] {
        let mut stage = Stage::new(vec![failing("a"), service("off", |spec| spec.autostart = false)]);
        stage.born("a");
        stage.did();
        stage.gone("a", code);
        assert_eq!(stage.did(), ["a: clear TERM", quit]);
    }
    let mut stage = Stage::new(vec![service("off", |spec| spec.autostart = false)]);
    stage.pass(0);
    assert_eq!(stage.did(), ["quit 0"], "nothing was ever to start");
    let mut stage = Stage::kept(vec![failing("a")]);
    stage.born("a");
    stage.gone("a", 1);
    assert_eq!(stage.next(), None);
    stage.start("a");
    stage.born("a");
    assert_eq!(stage.state("a"), State::Up);
}

#[test]
fn a_scheduled_run_is_lost_with_whom_it_requires_but_not_its_schedule() {
    let job = service("backup", |spec| {
        spec.kind = Kind::Scheduled { overlap: Overlap::Skip };
        spec.restart.when = RestartWhen::Never;
        spec.deps = vec![needs(DependencyKind::Requires, "db")];
    });
    let mut stage = Stage::kept(vec![job, service("db", |_| {})]);
    stage.born("db");
    stage.due("backup");
    stage.born("backup");
    stage.did();
    stage.stop("db");
    assert_eq!(stage.did(), ["backup: TERM main"]);
    stage.gone("backup", 0);
    stage.gone("db", 0);
    assert_eq!(stage.states(&["backup", "db"]), [State::Scheduled, State::Stopped]);
    stage.due("backup");
    assert_eq!(stage.state("backup"), State::Scheduled);
    assert_eq!(stage.view("backup").cause, Cause::LostDependency { service: "db".into() });
    stage.start("db");
    stage.born("db");
    stage.due("backup");
    assert_eq!(stage.state("backup"), State::Starting);
}

#[test]
fn a_new_configuration_touches_only_what_changed() {
    let family = || {
        vec![
            service("same", |_| {}),
            service("changed", |_| {}),
            service("gone", |_| {}),
            service("off", |_| {}),
        ]
    };
    let mut stage = Stage::kept(family());
    for name in ["same", "changed", "gone", "off"] {
        stage.born(name);
    }
    stage.stop("off");
    stage.gone("off", 0);
    stage.did();
    let mut next = family();
    next.remove(2);
    (next[1].fingerprint, next[1].stop.signal) = (5, Signal::INT);
    next[2].fingerprint = 7;
    next.push(service("new", |_| {}));
    let diff = stage.engine.diff(&next);
    assert_eq!((diff.added, diff.removed), (vec!["new".to_owned()], vec!["gone".to_owned()]));
    assert_eq!(
        (diff.changed, diff.same),
        (vec!["changed".to_owned(), "off".into()], vec!["same".to_owned()])
    );
    stage.apply(next.clone());
    let mut did = stage.did();
    did.sort();
    let ends = ["changed: TERM main", "gone: TERM main"];
    assert_eq!(did[..2], ends, "the changed one ends as it was");
    assert_eq!(did[2..], ["new: spawn main"]);
    assert_eq!(stage.state("off"), State::Stopped);
    stage.gone("changed", 0);
    assert_eq!(stage.did(), ["changed: clear TERM", "changed: spawn main"]);
    stage.exits("gone", 0);
    stage.did();
    stage.emptied("gone");
    assert_eq!(stage.did(), ["#2: forget"]);
    assert_eq!(stage.engine.status(ServiceId(2)), None);
    assert_eq!(stage.id("new"), ServiceId(4), "numbers are not reused");
    stage.born("changed");
    stage.stop("changed");
    assert_eq!(stage.did(), ["changed: INT main"]);
    assert_eq!(stage.engine.diff(&next).changed, [""; 0]);
}

#[test]
fn a_service_that_returns_before_it_is_gone_starts_again_as_it_is_now() {
    let mut stage = Stage::kept(vec![service("web", |_| {})]);
    stage.born("web");
    stage.apply(Vec::new());
    stage.did();
    stage.apply(vec![service("web", |spec| spec.fingerprint = 1)]);
    stage.gone("web", 0);
    assert_eq!(stage.did(), ["web: clear TERM", "web: spawn main"]);
    assert_eq!(stage.id("web"), ServiceId(0));
}

#[test]
fn new_rules_count_at_once_and_touch_no_process() {
    let mut stage = pair();
    let mut next = vec![requiring("web", &["db"]), service("db", |_| {})];
    next[1].stop.signal = Signal::INT;
    next[1].restart.when = RestartWhen::Never;
    next[0].deps.push(needs(DependencyKind::Wants, "cache"));
    next.push(service("cache", |spec| spec.autostart = false));
    assert_eq!(stage.engine.diff(&next).adjusted, ["web", "db"]);
    stage.apply(next);
    assert_eq!(stage.did(), ["cache: spawn main"], "only whom somebody needs now");
    stage.gone("db", 1);
    assert_eq!(stage.state("db"), State::Failed);
}

#[test]
fn whoever_had_failed_with_another_comes_back_with_it() {
    let mut stage = Stage::kept(vec![failing("db"), requiring("web", &["db"]), requiring("edge", &["web"])]);
    stage.born("db");
    stage.born("web");
    stage.born("edge");
    stage.did();
    stage.gone("db", 1);
    assert_eq!(stage.did(), ["db: clear TERM", "edge: TERM main"]);
    stage.gone("edge", 0);
    stage.gone("web", 0);
    assert_eq!(stage.states(&["db", "web", "edge"]), [State::Failed; 3]);
    stage.did();
    stage.start("db");
    assert_eq!(stage.states(&["db", "web", "edge"]), [State::Starting, State::Waiting, State::Waiting]);
    stage.stop("db");
    stage.born("db");
    stage.gone("db", 0);
    stage.start("db");
    assert_eq!(stage.state("web"), State::Stopped, "it was not lost this time, but stopped by somebody");
}

#[test]
fn a_failed_service_gets_another_chance_when_its_configuration_changes() {
    let mut stage = Stage::kept(vec![failing("web")]);
    stage.born("web");
    stage.gone("web", 1);
    stage.did();
    stage.apply(vec![failing("web")]);
    assert_eq!(stage.did(), NOTHING, "it did not change");
    stage.apply(vec![service("web", |_| {})]);
    assert_eq!(stage.did(), ["web: spawn main"]);
}

#[test]
fn a_name_means_the_service_or_all_its_instances() {
    let names = ["web@1", "web@2", "web@10", "webber", "web@x", "db"];
    let stage = Stage::new(names.map(|name| service(name, |_| {})).to_vec());
    let find = |name: &str| stage.engine.find(name).iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(find("web"), [0, 1, 2]);
    assert_eq!(find("web@2"), [1]);
    assert_eq!(find("we"), [0; 0]);
}

#[test]
fn a_thousand_services_start_and_stop_without_a_deadline_or_a_word_too_much() {
    let mut family: Vec<ServiceSpec> = (0..1_000).map(|n| service(&format!("s{n}"), |_| {})).collect();
    for spec in &mut family[1..] {
        spec.deps = vec![needs(DependencyKind::Requires, "s0")];
    }
    let mut stage = Stage::new(family);
    for n in 0..1_000 {
        stage.born(&format!("s{n}"));
    }
    assert_eq!((stage.did().len(), stage.next()), (1_000, None));
    stage.shut_down(Haste::Orderly);
    assert_eq!(stage.did().len(), 999);
    for n in (0..1_000).rev() {
        stage.gone(&format!("s{n}"), 0);
    }
    assert_eq!(stage.did().last().map(String::as_str), Some("quit 0"));
}

#[test]
fn a_loss_that_ends_the_family_comes_before_a_start_that_it_would_allow() {
    let edge = service("edge", |spec| {
        spec.deps = vec![needs(DependencyKind::Wants, "db"), needs(DependencyKind::Requires, "job")];
    });
    let job = service("job", |spec| spec.kind = Kind::Scheduled { overlap: Overlap::Skip });
    let mut web = requiring("web", &["db"]);
    web.essential = true;
    // `edge` waits only until `db` has failed; `web`, which is looked at after it, takes the family down with `db`.
    let mut stage = Stage::new(vec![failing("db"), job, edge, web]);
    stage.stillborn("db", Role::Main, doula_model::plan::Errno::ENOENT);
    stage.did();
    stage.emptied("db");
    assert_eq!(stage.did(), ["quit 1"], "`edge` is not started into a family that ends");
}

#[test]
fn a_task_that_is_done_and_becomes_a_daemon_is_started_before_anybody_counts_on_it() {
    let db = |kind| {
        service("db", |spec| (spec.kind, spec.autostart, spec.ready.by) = (kind, false, ReadyBy::Notice))
    };
    let mut stage = Stage::kept(vec![requiring("web", &["db"]), db(Kind::Oneshot)]);
    stage.born("db");
    stage.gone("db", 0);
    stage.born("web");
    stage.did();
    stage.apply(vec![requiring("web", &["db"]), db(Kind::Daemon)]);
    assert_eq!(stage.did(), ["db: spawn main"]);
    stage.gone("web", 1);
    stage.pass(200);
    assert_eq!(stage.state("web"), State::Waiting, "the task of before is no daemon");
}

#[test]
fn a_scheduled_service_that_becomes_a_task_has_not_done_it_yet() {
    let job = |kind| service("job", |spec| spec.kind = kind);
    let mut stage =
        Stage::kept(vec![job(Kind::Scheduled { overlap: Overlap::Skip }), requiring("web", &["job"])]);
    stage.born("web");
    stage.due("job");
    stage.born("job");
    stage.gone("job", 0);
    stage.gone("web", 1);
    stage.apply(vec![job(Kind::Oneshot), requiring("web", &["job"])]);
    stage.pass(200);
    assert_eq!(stage.states(&["job", "web"]), [State::Starting, State::Waiting]);
}

#[test]
fn when_nobody_looked_for_hours_a_loss_still_comes_before_a_start() {
    let db = service("db", |spec| spec.watchdog = Some(Duration::from_secs(10)));
    let mut stage = Stage::new(vec![requiring("web", &["db"]), db]);
    stage.born("db");
    stage.born("web");
    stage.gone("web", 1);
    stage.did();
    // The pause of `web` was over long before the silence of `db` was too long; now both have passed.
    stage.now = stage.now.after(Duration::from_secs(3_600));
    stage.tell(Event::Tick);
    assert_eq!(stage.did(), ["db: KILL tree"]);
    assert_eq!(stage.state("web"), State::Waiting);
}

#[test]
fn a_failing_pre_start_of_an_essential_service_ends_the_family_with_its_code() {
    let tests = service("tests", |spec| {
        (spec.kind, spec.essential, spec.pre_start) = (Kind::Oneshot, true, Some(MS * 100));
        spec.restart.when = RestartWhen::Never;
    });
    let mut stage = Stage::new(vec![tests]);
    stage.born_as("tests", Role::PreStart);
    stage.did();
    stage.exits_as("tests", Role::PreStart, 7);
    stage.emptied("tests");
    assert_eq!(stage.did(), ["tests: clear TERM", "quit 7"]);
}

/// The next birth that is asked for; whatever is to be emptied is.
fn next_birth(engine: &mut Engine) -> Option<ChildKey> {
    while let Some(action) = engine.poll_action() {
        match action {
            Action::Spawn { key } => return Some(key),
            Action::Clear { service, generation, .. } => {
                engine.handle(Time::ZERO, Event::Emptied { service, generation, leftovers: 0 });
            }
            Action::Signal { .. }
            | Action::Kill { .. }
            | Action::ArmSchedule { .. }
            | Action::Seat { .. }
            | Action::Revert { .. }
            | Action::Measure { .. }
            | Action::CheckUp { .. }
            | Action::AwaitConnection { .. }
            | Action::Forget { .. }
            | Action::Report(_)
            | Action::Quit { .. } => {}
        }
    }
    None
}

#[test]
fn births_that_were_decided_on_before_a_shutdown_are_called_off() {
    let prepared = service("prepared", |spec| spec.pre_start = Some(MS * 100));
    let family = vec![service("web", |_| {}), service("db", |_| {}), prepared];
    let mut engine = Engine::new(family, 7, Time::ZERO);
    let first = next_birth(&mut engine).expect("a birth");
    engine.handle(Time::ZERO, Event::Command(Command::Shutdown(Haste::Orderly)));
    engine.handle(Time::ZERO, Event::Born { key: first, pid: Pid::new(42).expect("positive") });
    assert_eq!(next_birth(&mut engine), None, "nobody else is born");
    engine.handle(Time::ZERO, Event::Exited { key: first, status: ExitStatus::signal(Signal::TERM) });
    assert_eq!(next_birth(&mut engine), None);
    assert_eq!(engine.live(), 0, "and the family ends");
}
