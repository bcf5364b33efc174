//! Scenes with one service: start, readiness, restart, stop, in every state.

use crate::stage::{Stage, service};
use doula_model::action::{Cause, News, State};
use doula_model::event::{Event, Haste, Notice};
use doula_model::exit::ExitStatus;
use doula_model::id::Role;
use doula_model::plan::{Errno, SpawnError, Step};
use doula_model::service::{Kind, Overlap, ProbePolicy, ReadyBy, Reload, RestartWhen, Scope, StartLimit};
use doula_model::signal::Signal;
use doula_model::time::Time;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const NOTHING: [&str; 0] = [];
const JOB: Kind = Kind::Scheduled { overlap: Overlap::Skip };

fn probe() -> ProbePolicy {
    ProbePolicy { initial_delay: MS * 50, interval: MS * 100, timeout: MS * 20, failures: 2 }
}

#[test]
fn a_plain_service_is_up_as_soon_as_it_is_born() {
    let mut stage = Stage::new(vec![service("web", |_| {})]);
    assert_eq!(stage.did(), ["web: spawn main"]);
    assert_eq!(stage.state("web"), State::Starting);
    stage.born("web");
    assert_eq!(stage.state("web"), State::Up);
    assert_eq!(stage.next(), None, "nothing to wake up for");
    assert!(stage.view("web").pid.is_some());
}

#[test]
fn a_stop_is_a_signal_then_a_proof_that_nothing_is_left() {
    let mut stage = Stage::up(service("web", |_| {}));
    stage.shut_down(Haste::Orderly);
    assert_eq!(stage.did(), ["web: TERM main"]);
    stage.exits("web", 143);
    assert_eq!(stage.did(), ["web: clear TERM"]);
    assert_eq!(stage.state("web"), State::Clearing);
    stage.emptied("web");
    assert_eq!(stage.did(), ["quit 0"]);
    assert_eq!(stage.engine.deadline(), None);
}

#[test]
fn a_stopped_process_is_continued_so_that_it_hears_its_end() {
    let mut stage = Stage::up(service("web", |_| {}));
    let key = stage.key("web", Role::Main);
    stage.tell(Event::Paused { key });
    stage.stop("web");
    assert_eq!(stage.did(), ["web: TERM main", "web: CONT main"]);
    let mut stage = Stage::up(service("web", |_| {}));
    let key = stage.key("web", Role::Main);
    stage.stop("web");
    assert_eq!(stage.did(), ["web: TERM main"]);
    stage.tell(Event::Paused { key });
    assert_eq!(stage.did(), ["web: CONT main"], "it stopped on its way to the end");
}

#[test]
fn grace_and_leftover_grace_end_in_sigkill_for_the_tree() {
    let mut stage = Stage::up(service("web", |spec| spec.stop.scope = Scope::Group));
    stage.stop("web");
    assert_eq!(stage.did(), ["web: TERM group", "web: CONT group"]);
    assert_eq!(stage.next(), Some(10_000));
    stage.pass(10_000);
    assert_eq!(stage.did(), ["web: KILL tree"]);
    assert!(stage.reported(&News::Escalated));
    stage.exits("web", 137);
    assert_eq!(stage.did(), ["web: clear KILL"], "after SIGKILL for the tree nobody gets another grace time");

    let mut stage = Stage::up(service("web", |_| {}));
    stage.stop("web");
    stage.exits("web", 0);
    stage.did();
    stage.pass(5_000);
    assert_eq!(stage.did(), ["web: clear KILL"]);
    stage.emptied("web");
    assert_eq!(stage.state("web"), State::Stopped);
}

#[test]
fn a_paused_service_is_reported_and_its_stop_does_not_hang() {
    let mut stage = Stage::up(service("web", |_| {}));
    let key = stage.key("web", Role::Main);
    stage.tell(Event::Paused { key });
    assert!(stage.view("web").paused && stage.reported(&News::Paused));
    stage.stop("web");
    assert_eq!(stage.did(), ["web: TERM main", "web: CONT main"]);
    stage.pass(10_000);
    assert_eq!(stage.did(), ["web: KILL tree"]);
}

#[test]
fn a_crash_is_followed_by_a_growing_pause_and_another_life() {
    let mut stage = Stage::up(service("web", |_| {}));
    for pause in [100, 200, 400] {
        stage.gone("web", 1);
        assert_eq!(stage.state("web"), State::BackingOff);
        assert_eq!(stage.next(), Some(pause));
        stage.did();
        stage.pass(pause as u64);
        assert_eq!(stage.did(), ["web: spawn main"]);
        stage.born("web");
    }
    stage.pass(10_000);
    stage.gone("web", 1);
    assert_eq!(stage.next(), Some(100), "it was stable");
    assert_eq!(stage.view("web").restarts, 3);
}

#[test]
fn without_a_pause_the_next_life_begins_in_the_same_moment() {
    let mut stage = Stage::up(service("web", |spec| spec.restart.delay = Duration::ZERO));
    stage.exits("web", 1);
    stage.did();
    stage.emptied("web");
    assert_eq!(stage.did(), ["web: spawn main"]);
}

#[test]
fn each_policy_follows_each_end_as_written() {
    use RestartWhen::{Always, Never, OnFailure};
    for (when, code, state) in [
        (Always, 0, State::BackingOff),
        (Always, 1, State::BackingOff),
        (OnFailure, 0, State::Done),
        (OnFailure, 1, State::BackingOff),
        (Never, 0, State::Done),
        (Never, 1, State::Failed),
    ] {
        for kind in [Kind::Daemon, Kind::Oneshot] {
            let mut stage = Stage::up(service("it", |spec| {
                spec.kind = kind;
                spec.restart.when = when;
            }));
            stage.gone("it", code);
            assert_eq!(stage.state("it"), state, "{when:?} {kind:?} {code}");
        }
    }
}

#[test]
fn the_start_limit_fails_a_service_and_a_start_by_hand_forgets_it() {
    let limit = StartLimit { burst: 1, interval: Duration::from_secs(60) };
    let mut stage = Stage::kept(vec![service("web", |spec| spec.restart.limit = Some(limit))]);
    stage.born("web");
    stage.gone("web", 1);
    stage.pass(100);
    stage.born("web");
    stage.gone("web", 1);
    assert_eq!(stage.state("web"), State::Failed);
    assert_eq!(stage.view("web").cause, Cause::StartLimit);
    stage.start("web");
    stage.born("web");
    for _ in 0..3 {
        stage.restart("web");
        stage.gone("web", 0);
        stage.born("web");
    }
    assert_eq!(stage.state("web"), State::Up, "restarts by hand are not counted");
    stage.gone("web", 1);
    assert_eq!(stage.state("web"), State::BackingOff);
}

#[test]
fn a_oneshot_that_always_starts_again_does_so_after_its_pause() {
    let mut stage = Stage::up(service("loop", |spec| {
        spec.kind = Kind::Oneshot;
        spec.restart.when = RestartWhen::Always;
    }));
    for _ in 0..5 {
        stage.gone("loop", 0);
        assert_eq!(stage.next(), Some(100), "a good end begins a new row");
        stage.pass(100);
        stage.born("loop");
    }
    stage.gone("loop", 1);
    assert_eq!(stage.next(), Some(100));
    stage.pass(100);
    stage.born("loop");
    stage.gone("loop", 1);
    assert_eq!(stage.next(), Some(200));
}

#[test]
fn a_notice_makes_ready_and_a_silent_service_fails_in_time() {
    let spec = service("db", |spec| {
        spec.ready.by = ReadyBy::Notice;
        spec.ready.timeout = Some(MS * 500);
        spec.restart.when = RestartWhen::Never;
    });
    let mut stage = Stage::up(spec.clone());
    assert_eq!(stage.state("db"), State::Starting);
    stage.pass(120);
    stage.says("db", Notice::Ready);
    assert_eq!(stage.state("db"), State::Up);
    assert!(stage.reported(&News::Ready { after: MS * 120 }));
    assert_eq!(stage.next(), None);

    let mut stage = Stage::up(spec);
    stage.pass(500);
    assert_eq!(stage.did(), ["db: TERM main"]);
    assert_eq!(stage.view("db").cause, Cause::ReadyTimeout);
    stage.exits("db", 0);
    stage.did();
    stage.emptied("db");
    assert_eq!(stage.did(), ["quit 1"]);
}

#[test]
fn a_daemon_that_ends_before_it_is_ready_has_failed_even_with_code_0() {
    let mut stage = Stage::up(service("db", |spec| spec.ready.by = ReadyBy::Notice));
    stage.gone("db", 0);
    assert_eq!(stage.state("db"), State::BackingOff);
}

#[test]
fn a_readiness_probe_is_asked_until_it_succeeds() {
    let mut stage = Stage::up(service("db", |spec| spec.ready.by = ReadyBy::Probe(probe())));
    assert_eq!(stage.next(), Some(50));
    stage.pass(50);
    assert_eq!(stage.did(), ["db: spawn ready-probe"]);
    stage.born_as("db", Role::ReadyProbe);
    stage.pass(20);
    assert_eq!(stage.did(), ["db: kill ready-probe"], "the attempt takes too long");
    stage.exits_as("db", Role::ReadyProbe, 137);
    assert!(stage.reported(&News::ProbeFailed { role: Role::ReadyProbe, failures: 1 }));
    stage.pass(100);
    stage.born_as("db", Role::ReadyProbe);
    assert_eq!(stage.did(), ["db: spawn ready-probe"]);
    stage.says("db", Notice::Ready);
    assert_eq!(stage.state("db"), State::Starting, "its word does not count here");
    stage.exits_as("db", Role::ReadyProbe, 0);
    assert_eq!(stage.state("db"), State::Up);
    assert_eq!(stage.next(), None);
}

#[test]
fn a_probe_for_which_we_have_no_means_says_nothing_about_the_service() {
    let mut stage = Stage::up(service("web", |spec| spec.liveness = Some(probe())));
    let error = SpawnError { step: Step::Clone, errno: Errno::EAGAIN };
    for late in [false, false, false, true] {
        stage.pass(100);
        assert_eq!(stage.did(), ["web: spawn live-probe"]);
        if late {
            stage.pass(20);
        }
        stage.tell(Event::Stillborn { key: stage.key("web", Role::LiveProbe), error });
    }
    assert_eq!(stage.state("web"), State::Up);
    for _ in 0..2 {
        stage.pass(100);
        stage.stillborn("web", Role::LiveProbe, Errno::ENOENT);
    }
    assert_eq!(stage.view("web").cause, Cause::NotAlive, "a missing probe has failed");
}

#[test]
fn failures_of_the_liveness_probe_count_only_in_a_row() {
    let mut stage = Stage::up(service("web", |spec| spec.liveness = Some(probe())));
    let mut attempt = |code: u8, pause: u64| {
        stage.pass(pause);
        stage.born_as("web", Role::LiveProbe);
        stage.exits_as("web", Role::LiveProbe, code);
        stage.state("web")
    };
    assert_eq!(attempt(1, 50), State::Up);
    assert_eq!(attempt(0, 100), State::Up);
    assert_eq!(attempt(1, 100), State::Up);
    assert_eq!(attempt(1, 100), State::Stopping);
    assert_eq!(stage.view("web").cause, Cause::NotAlive);
    stage.gone("web", 0);
    assert_eq!(stage.state("web"), State::BackingOff, "it failed, whatever its code");
}

#[test]
fn the_watchdog_counts_from_readiness_and_kills_the_silent() {
    let mut stage = Stage::up(service("web", |spec| {
        spec.ready.by = ReadyBy::Notice;
        spec.watchdog = Some(MS * 300);
    }));
    assert_eq!(stage.next(), None, "not during the start");
    stage.says("web", Notice::Watchdog);
    assert_eq!(stage.next(), None);
    stage.says("web", Notice::Ready);
    assert_eq!(stage.next(), Some(300));
    stage.pass(200);
    stage.says("web", Notice::Watchdog);
    assert_eq!(stage.next(), Some(300));
    stage.says("web", Notice::WatchdogInterval(MS * 50));
    stage.pass(50);
    assert_eq!(stage.did(), ["web: KILL tree"]);
    assert_eq!(stage.view("web").cause, Cause::WatchdogExpired);
    stage.gone("web", 0);
    assert_eq!(stage.state("web"), State::BackingOff);
}

#[test]
fn a_watchdog_trigger_is_an_expired_watchdog_even_during_the_start() {
    let mut stage = Stage::up(service("web", |spec| spec.ready.by = ReadyBy::Notice));
    stage.says("web", Notice::WatchdogTrigger);
    assert_eq!(stage.did(), ["web: KILL tree"]);
}

#[test]
fn a_timeout_can_be_extended_again_and_again_but_not_for_ever() {
    let mut stage = Stage::up(service("db", |spec| {
        spec.ready.by = ReadyBy::Notice;
        spec.ready.timeout = Some(MS * 1_000);
        spec.restart.when = RestartWhen::Never;
    }));
    stage.pass(900);
    stage.says("db", Notice::ExtendTimeout(MS * 50));
    assert_eq!(stage.next(), Some(100), "never less than it has");
    stage.says("db", Notice::ExtendTimeout(MS * 5_000));
    assert_eq!(stage.next(), Some(5_000));
    stage.says("db", Notice::ExtendTimeout(Duration::MAX));
    assert_eq!(stage.next(), Some(24 * 3_600_000 - 900), "a day in all for a start");
    stage.stop("db");
    stage.says("db", Notice::ExtendTimeout(Duration::MAX));
    assert_eq!(stage.next(), Some(3_600_000), "an hour in all for a stop");
    stage.shut_down(Haste::Hurried);
    stage.says("db", Notice::ExtendTimeout(Duration::MAX));
    assert_eq!(stage.next(), Some(10_000), "who is in a hurry takes the extension back");
}

#[test]
fn a_service_that_says_it_ends_is_left_in_peace_for_its_grace_time() {
    let mut stage = Stage::up(service("web", |_| {}));
    stage.says("web", Notice::Stopping);
    assert_eq!((stage.state("web"), stage.view("web").cause), (State::Stopping, Cause::OwnWish));
    assert_eq!(stage.did(), NOTHING);
    stage.stop("web");
    assert_eq!(stage.did(), ["web: TERM main"]);
    stage.gone("web", 0);
    assert_eq!(stage.state("web"), State::Stopped);
}

#[test]
fn pre_start_main_and_post_stop_follow_each_other() {
    let mut stage = Stage::new(vec![service("db", |spec| {
        spec.pre_start = Some(MS * 100);
        spec.post_stop = Some(MS * 100);
    })]);
    assert_eq!((stage.did(), stage.state("db")), (vec!["db: spawn pre-start".into()], State::Preparing));
    stage.born_as("db", Role::PreStart);
    stage.exits_as("db", Role::PreStart, 0);
    assert_eq!(stage.did(), ["db: spawn main"]);
    stage.born("db");
    stage.stop("db");
    stage.did();
    stage.exits("db", 0);
    assert_eq!(stage.did(), ["db: clear TERM"]);
    stage.emptied("db");
    assert_eq!((stage.did(), stage.state("db")), (vec!["db: spawn post-stop".into()], State::Cleaning));
    stage.born_as("db", Role::PostStop);
    stage.pass(100);
    assert_eq!(stage.did(), ["db: kill post-stop"]);
    stage.exits_as("db", Role::PostStop, 137);
    assert_eq!(stage.did(), ["db: clear KILL"], "what the post-stop command left is ended too");
    stage.emptied("db");
    assert_eq!(stage.did(), ["quit 0"]);
}

#[test]
fn a_failing_or_hanging_pre_start_is_a_failed_start() {
    let spec = service("db", |spec| {
        spec.pre_start = Some(MS * 100);
        spec.restart.when = RestartWhen::Never;
    });
    let mut stage = Stage::new(vec![spec.clone()]);
    stage.born_as("db", Role::PreStart);
    stage.exits_as("db", Role::PreStart, 7);
    stage.emptied("db");
    assert_eq!(stage.state("db"), State::Failed);
    assert_eq!(stage.view("db").cause, Cause::Exit { status: ExitStatus::code(7) });

    let mut stage = Stage::new(vec![spec]);
    stage.did();
    stage.born_as("db", Role::PreStart);
    stage.pass(100);
    assert_eq!(stage.did(), ["db: kill pre-start"], "its end is awaited before the rest is cleared");
    stage.exits_as("db", Role::PreStart, 137);
    assert_eq!(stage.did(), ["db: clear TERM"]);
    stage.emptied("db");
    assert_eq!(stage.view("db").cause, Cause::StepTimeout);
}

#[test]
fn a_shutdown_does_not_wait_for_a_hanging_pre_start() {
    for haste in [Haste::Orderly, Haste::Hurried, Haste::Kill] {
        let mut stage = Stage::new(vec![service("db", |spec| spec.pre_start = Some(MS * 60_000))]);
        stage.did();
        stage.shut_down(haste);
        assert_eq!(stage.did(), NOTHING, "it is not born yet");
        stage.born_as("db", Role::PreStart);
        assert_eq!(stage.did(), ["db: kill pre-start"]);
        stage.exits_as("db", Role::PreStart, 137);
        stage.did();
        stage.emptied("db");
        assert_eq!(stage.did(), ["quit 0"]);
    }
}

#[test]
fn a_missing_program_fails_the_start_and_gives_the_shells_code() {
    for (errno, code) in [(Errno::ENOENT, "quit 127"), (Errno::EACCES, "quit 126")] {
        let mut stage = Stage::new(vec![service("web", |spec| {
            spec.essential = true;
            spec.restart.when = RestartWhen::Never;
        })]);
        stage.stillborn("web", Role::Main, errno);
        stage.did();
        stage.emptied("web");
        assert_eq!(stage.did(), [code]);
    }
}

#[test]
fn a_stop_before_the_birth_is_carried_out_after_it() {
    let mut stage = Stage::new(vec![service("web", |_| {})]);
    stage.did();
    stage.stop("web");
    assert_eq!(stage.did(), NOTHING);
    stage.pass(4_000);
    stage.born("web");
    assert_eq!(stage.did(), ["web: TERM main"]);
    assert_eq!(stage.next(), Some(10_000), "its grace time begins when it can hear");
}

#[test]
fn a_start_while_it_ends_is_carried_out_when_it_is_empty() {
    let mut stage = Stage::up(service("web", |_| {}));
    stage.stop("web");
    stage.did();
    stage.start("web");
    assert_eq!(stage.did(), NOTHING);
    stage.exits("web", 0);
    stage.start("web");
    assert_eq!(stage.did(), ["web: clear TERM"]);
    stage.emptied("web");
    assert_eq!(stage.did(), ["web: spawn main"]);
    assert_eq!(stage.view("web").restarts, 0, "by hand");
}

#[test]
fn a_stop_ends_a_pause_and_a_start_cuts_it_short() {
    let mut stage = Stage::kept(vec![service("web", |_| {})]);
    stage.born("web");
    stage.gone("web", 1);
    stage.did();
    stage.start("web");
    assert_eq!(stage.did(), ["web: spawn main"]);
    stage.born("web");
    stage.gone("web", 1);
    stage.stop("web");
    assert_eq!((stage.state("web"), stage.next()), (State::Stopped, None));
}

/// How a state is reached, from `Starting`.
type Way = (&'static str, fn(&mut Stage));

#[test]
fn a_restart_in_each_state_leads_to_one_new_life() {
    let steps: [Way; 7] = [
        ("starting", |_| {}),
        ("up", |stage| stage.born("web")),
        ("stopping", |stage| {
            stage.born("web");
            stage.stop("web");
        }),
        ("clearing", |stage| {
            stage.born("web");
            stage.exits("web", 1);
        }),
        ("backing off", |stage| {
            stage.born("web");
            stage.gone("web", 1);
        }),
        ("done", |stage| {
            stage.born("web");
            stage.gone("web", 0);
        }),
        ("stopped", |stage| {
            stage.born("web");
            stage.stop("web");
            stage.gone("web", 0);
        }),
    ];
    for (state, prepare) in steps {
        let mut stage = Stage::kept(vec![service("web", |_| {})]);
        prepare(&mut stage);
        assert_eq!(stage.state("web").to_string(), state);
        stage.restart("web");
        for _ in 0..3 {
            if stage.view("web").generation.0 == 1 {
                stage.born("web");
                stage.gone("web", 143);
            }
        }
        stage.born("web");
        assert_eq!((stage.state("web"), stage.view("web").generation.0), (State::Up, 2), "from {state}");
        assert_eq!(stage.view("web").restarts, 0, "from {state}");
    }
}

#[test]
fn late_events_of_an_earlier_life_do_nothing() {
    let mut stage = Stage::up(service("web", |spec| spec.restart.delay = Duration::ZERO));
    let old = stage.key("web", Role::Main);
    stage.gone("web", 1);
    stage.born("web");
    stage.did();
    let before = stage.view("web");
    let (service, generation) = (old.service, old.generation);
    for event in [
        Event::Exited { key: old, status: ExitStatus::code(9) },
        Event::Emptied { service, generation, leftovers: 3 },
        Event::Noticed { service, generation, notice: Notice::Stopping },
        Event::Paused { key: old },
        Event::Due { service: doula_model::id::ServiceId(99) },
        Event::Tick,
    ] {
        stage.tell(event);
    }
    assert_eq!(stage.did(), NOTHING);
    assert_eq!(stage.view("web"), before);
}

#[test]
fn helpers_are_killed_and_awaited_before_the_generation_is_cleared() {
    let mut stage = Stage::up(service("web", |spec| {
        spec.liveness = Some(probe());
        spec.reload = Reload::Command(MS * 1_000);
    }));
    stage.pass(50);
    stage.born_as("web", Role::LiveProbe);
    stage.reload("web");
    stage.did();
    stage.exits("web", 1);
    assert_eq!(stage.did(), ["web: kill live-probe"], "the reload command is not born yet");
    stage.born_as("web", Role::Reload);
    assert_eq!(stage.did(), ["web: kill reload"]);
    stage.exits_as("web", Role::LiveProbe, 137);
    assert_eq!(stage.did(), NOTHING);
    stage.exits_as("web", Role::Reload, 137);
    assert_eq!(stage.did(), ["web: clear TERM"]);
}

#[test]
fn a_reload_is_a_signal_a_command_or_a_restart() {
    let mut stage = Stage::new(vec![service("web", |spec| {
        spec.reload = Reload::Signal(Signal::HUP);
        spec.ready.by = ReadyBy::Notice;
    })]);
    stage.born("web");
    stage.did();
    stage.reload("web");
    assert_eq!(stage.did(), NOTHING, "one that is not ready may not have its handler yet");
    stage.says("web", Notice::Ready);
    assert_eq!(stage.did(), ["web: HUP main"]);

    let mut stage = Stage::up(service("web", |spec| spec.reload = Reload::Command(MS * 300)));
    stage.reload("web");
    stage.reload("web");
    assert_eq!(stage.did(), ["web: spawn reload"], "one at a time");
    stage.born_as("web", Role::Reload);
    stage.pass(300);
    assert_eq!(stage.did(), ["web: kill reload"]);
    stage.exits_as("web", Role::Reload, 137);
    assert_eq!(stage.did(), ["web: spawn reload"], "the second request");
    assert_eq!(stage.state("web"), State::Up);

    let mut stage = Stage::up(service("web", |_| {}));
    stage.reload("web");
    assert_eq!(stage.did(), ["web: TERM main"]);
}

#[test]
fn a_scheduled_service_runs_when_it_is_due_and_waits_again() {
    let mut stage = Stage::new(vec![service("backup", |spec| spec.kind = JOB)]);
    assert_eq!((stage.did(), stage.state("backup")), (vec!["backup: arm".into()], State::Scheduled));
    assert_eq!(stage.next(), None, "a family with a schedule does not end by itself");
    stage.due("backup");
    assert_eq!(stage.did(), ["backup: arm", "backup: spawn main"]);
    stage.born("backup");
    stage.due("backup");
    assert!(stage.reported(&News::RunSkipped));
    stage.gone("backup", 0);
    assert_eq!(stage.state("backup"), State::Scheduled);
}

#[test]
fn a_queued_run_follows_directly_and_only_once() {
    let kind = Kind::Scheduled { overlap: Overlap::Queue };
    let mut stage = Stage::new(vec![service("backup", |spec| spec.kind = kind)]);
    stage.due("backup");
    stage.born("backup");
    stage.due("backup");
    stage.due("backup");
    stage.did();
    stage.gone("backup", 0);
    assert_eq!(stage.did(), ["backup: clear TERM", "backup: spawn main"]);
    stage.born("backup");
    stage.gone("backup", 0);
    assert_eq!(stage.state("backup"), State::Scheduled);
}

#[test]
fn a_failing_scheduled_run_is_repeated_by_policy_and_its_last_failure_leaves_the_schedule() {
    let limit = StartLimit { burst: 1, interval: Duration::from_secs(60) };
    let mut stage = Stage::new(vec![service("backup", |spec| {
        spec.kind = JOB;
        spec.essential = true;
        spec.restart.limit = Some(limit);
    })]);
    stage.due("backup");
    stage.born("backup");
    stage.gone("backup", 1);
    assert_eq!(stage.state("backup"), State::BackingOff);
    stage.pass(100);
    stage.born("backup");
    stage.gone("backup", 1);
    assert_eq!(stage.state("backup"), State::Scheduled);
    assert_eq!(stage.view("backup").cause, Cause::StartLimit);
}

#[test]
fn a_scheduled_service_can_be_run_by_hand_and_taken_off_its_schedule() {
    let mut stage = Stage::kept(vec![service("backup", |spec| spec.kind = JOB)]);
    stage.did();
    stage.start("backup");
    assert_eq!(stage.did(), ["backup: spawn main"]);
    stage.born("backup");
    stage.gone("backup", 0);
    stage.stop("backup");
    assert_eq!(stage.state("backup"), State::Stopped);
    stage.did();
    stage.due("backup");
    assert_eq!(stage.did(), NOTHING);
}

#[test]
fn nobody_has_spoken_before_its_birth_was_told() {
    let web = service("web", |spec| {
        (spec.ready.by, spec.reload) = (ReadyBy::Notice, Reload::Signal(Signal::HUP));
    });
    let mut stage = Stage::new(vec![web]);
    stage.did();
    stage.says("web", Notice::Ready);
    stage.reload("web");
    assert_eq!((stage.state("web"), stage.did()), (State::Starting, vec![]), "no signal goes to nobody");
    stage.born("web");
    stage.says("web", Notice::Ready);
    assert_eq!(stage.did(), ["web: HUP main"]);
}

#[test]
fn a_reload_that_waits_becomes_a_restart_when_the_configuration_says_so_meanwhile() {
    let web = |reload| {
        let edit = |spec: &mut doula_model::service::ServiceSpec| {
            (spec.ready.by, spec.reload) = (ReadyBy::Notice, reload);
        };
        service("web", edit)
    };
    let mut stage = Stage::new(vec![web(Reload::Signal(Signal::HUP))]);
    stage.born("web");
    stage.reload("web");
    stage.apply(vec![web(Reload::Restart)]);
    stage.did();
    stage.says("web", Notice::Ready);
    assert_eq!(stage.did(), ["web: TERM main"]);
    stage.gone("web", 0);
    assert_eq!(stage.did(), ["web: clear TERM", "web: spawn main"]);
}

#[test]
fn a_reload_that_waits_is_forgotten_when_the_family_ends() {
    let db = service("db", |spec| {
        (spec.ready.by, spec.reload) = (ReadyBy::Notice, Reload::Command(MS * 100));
    });
    let web = service("web", |spec| {
        spec.deps = vec![crate::stage::needs(doula_model::service::DependencyKind::After, "db")];
    });
    let mut stage = Stage::new(vec![db, web]);
    stage.born("db");
    stage.says("db", Notice::Ready);
    stage.born("web");
    stage.exits_as("db", Role::Main, 1);
    stage.emptied("db");
    stage.pass(200);
    stage.born("db");
    stage.reload("db");
    stage.shut_down(Haste::Orderly);
    stage.did();
    stage.says("db", Notice::Ready);
    assert_eq!((stage.state("db"), stage.did()), (State::Up, vec![]), "it waits for the end of web");
}

#[test]
fn a_reload_command_that_fails_is_remembered_until_the_next_one() {
    let mut stage = Stage::up(service("web", |spec| spec.reload = Reload::Command(MS * 100)));
    let failed = Cause::ReloadFailed { status: ExitStatus::code(3) };
    let missing = SpawnError { step: Step::Exec, errno: Errno::ENOENT };
    for (code, expected) in [(3, Some(failed)), (0, None)] {
        stage.reload("web");
        assert!(stage.view("web").reloading);
        stage.born_as("web", Role::Reload);
        stage.exits_as("web", Role::Reload, code);
        assert_eq!((stage.view("web").reloading, stage.view("web").reload_failure), (false, expected));
    }
    stage.reload("web");
    stage.stillborn("web", Role::Reload, Errno::ENOENT);
    assert_eq!(stage.view("web").reload_failure, Some(Cause::SpawnFailed { error: missing }));
    assert_eq!(stage.state("web"), State::Up, "the service goes on");
}

#[test]
fn who_was_started_again_by_itself_remembers_why_until_people_start_it() {
    let mut stage = Stage::up(service("web", |_| {}));
    assert_eq!(stage.view("web").fell, None);
    stage.pass(50);
    stage.gone("web", 3);
    let at = Time::ZERO.after(MS * 50);
    stage.pass(1_000);
    stage.born("web");
    let exit = Cause::Exit { status: ExitStatus::code(3) };
    assert_eq!((stage.state("web"), stage.view("web").fell), (State::Up, Some((exit, at))));
    stage.restart("web");
    stage.gone("web", 143);
    stage.born("web");
    assert_eq!((stage.state("web"), stage.view("web").fell), (State::Up, None));
}
