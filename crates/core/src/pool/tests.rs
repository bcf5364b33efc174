//! Each policy by hand, and all of them under random loads.

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

/// Between the two looks of our own policy that must agree.
const PAUSE: Duration = Duration::from_millis(5);
const BOUNDS: Bounds = Bounds { start: 5, max: 100 };
const SPARE: Spare = Spare { min: 5, max: 10 };

fn at(millis: u64) -> Time {
    Time::ZERO.after(Duration::from_millis(millis))
}

/// What is seen when all who are ready are busy and connections wait.
fn flooded(now: Time, ready: u32, queue: u32) -> Seen {
    Seen { now, ready, busy: ready, queue, ..Seen::default() }
}

#[test]
fn apache_doubles_each_second_up_to_its_maximum_and_begins_anew_there() {
    let mut sizer = Sizer::new(Policy::Apache(SPARE), BOUNDS);
    let mut count = sizer.start();
    let mut curve = Vec::new();
    for second in 0..9 {
        count += sizer.look(&flooded(at(second * 1_000), count, 64)).start;
        curve.push(count);
    }
    assert_eq!(curve, [6, 8, 12, 20, 36, 68, 100, 100, 100]);
    assert_eq!(sizer.look(&flooded(at(9_000), 99, 64)).start, 1, "the row begins with one");
}

#[test]
fn apache_takes_who_starts_for_idle_and_drains_one_at_a_time() {
    let mut sizer = Sizer::new(Policy::Apache(SPARE), BOUNDS);
    let starting = Seen { starting: 5, ..flooded(at(0), 20, 9) };
    assert_eq!(sizer.look(&starting), Move::none(Reason::Steady, Some(SECOND)));
    let idle = Seen { now: at(1_000), ready: 60, busy: 0, ..Seen::default() };
    assert_eq!(sizer.look(&idle), Move::drain(1, Victim::AnyIdle, Some(SECOND)));
}

#[test]
fn php_fpm_starts_no_more_than_are_missing() {
    let mut sizer = Sizer::new(Policy::FpmDynamic(SPARE), BOUNDS);
    let mut count = sizer.start();
    let mut curve = Vec::new();
    for second in 0..7 {
        count += sizer.look(&flooded(at(second * 1_000), count, 64)).start;
        curve.push(count);
    }
    assert_eq!(curve, [6, 8, 12, 17, 22, 27, 32]);
}

#[test]
fn php_fpm_on_demand_starts_one_for_each_connection_that_meets_nobody_idle() {
    let mut sizer = Sizer::new(Policy::FpmOndemand { idle: Duration::from_secs(10) }, BOUNDS);
    assert_eq!(sizer.start(), 0);
    assert_eq!(sizer.look(&Seen { queue: 9, ..Seen::default() }).start, 1);
    assert_eq!(sizer.look(&Seen { queue: 9, starting: 1, ..Seen::default() }).start, 1);
    assert_eq!(sizer.look(&Seen { queue: 1, ready: 1, ..Seen::default() }).start, 0);
    let tired = Seen { now: at(1_000), ready: 3, idle_for: Duration::from_secs(11), ..Seen::default() };
    assert_eq!(sizer.look(&tired), Move::drain(1, Victim::LongestIdle, Some(SECOND)));
}

#[test]
fn uwsgi_starts_a_step_after_its_overload_and_drains_the_oldest_down_to_its_start() {
    let mut sizer = Sizer::new(Policy::UwsgiSpare { step: 4, overload: 1 }, Bounds { start: 2, max: 8 });
    assert_eq!(sizer.look(&flooded(at(0), 2, 9)).start, 0);
    assert_eq!(sizer.look(&flooded(at(1_000), 2, 9)).start, 4);
    let one_idle = Seen { now: at(2_000), ready: 6, busy: 5, ..Seen::default() };
    assert_eq!(sizer.look(&one_idle).drain, 0, "one idle worker is what it wants");
    let all_idle = Seen { now: at(3_000), ready: 6, ..Seen::default() };
    assert_eq!(sizer.look(&all_idle), Move::drain(1, Victim::Oldest, Some(SECOND)));
    assert_eq!(sizer.look(&Seen { now: at(4_000), ready: 2, ..Seen::default() }).drain, 0);
}

#[test]
fn who_looks_once_a_second_is_not_hurried_by_an_end() {
    for policy in [
        Policy::Apache(SPARE),
        Policy::FpmDynamic(SPARE),
        Policy::FpmOndemand { idle: Duration::from_secs(1) },
        Policy::UwsgiSpare { step: 1, overload: 1 },
    ] {
        let mut sizer = Sizer::new(policy.clone(), BOUNDS);
        let idle_for = Duration::from_secs(9);
        let idle = |millis, ready| Seen { now: at(millis), ready, idle_for, ..Seen::default() };
        assert_eq!(sizer.look(&idle(0, 60)).drain, 1, "{policy:?}");
        // The one that was drained has ended.
        let early = Move::none(Reason::Steady, Some(Duration::from_millis(700)));
        assert_eq!(sizer.look(&idle(300, 59)), early, "{policy:?}");
        assert_eq!(sizer.look(&idle(1_000, 59)).drain, 1, "{policy:?}");
    }
    let mut ondemand = Sizer::new(Policy::FpmOndemand { idle: SECOND }, BOUNDS);
    ondemand.look(&flooded(at(0), 1, 9));
    assert_eq!(ondemand.look(&flooded(at(5), 1, 8)).start, 1, "connections are answered at once");
}

#[test]
fn a_queue_that_is_seen_twice_brings_as_many_as_are_missing() {
    let mut sizer = Sizer::new(Policy::Backlog, BOUNDS);
    assert_eq!(sizer.look(&flooded(at(0), 5, 59)), Move::none(Reason::Steady, Some(PAUSE)));
    assert_eq!(sizer.look(&flooded(at(2), 5, 59)).start, 0, "too early");
    assert_eq!(sizer.look(&flooded(at(5), 5, 59)).start, 59);
    let they_start = Seen { starting: 59, ..flooded(at(10), 5, 59) };
    assert_eq!(sizer.look(&they_start).start, 0, "who starts is about to take one");
}

#[test]
fn a_queue_that_was_only_a_moment_brings_nobody() {
    let mut sizer = Sizer::new(Policy::Backlog, BOUNDS);
    sizer.look(&flooded(at(0), 5, 3));
    assert_eq!(sizer.look(&flooded(at(5), 5, 0)).start, 0);
    assert_eq!(sizer.look(&flooded(at(9), 5, 3)).start, 0, "the earlier moment does not count");
}

#[test]
fn nobody_is_started_against_the_machine() {
    let second_look = |brakes| {
        let mut sizer = Sizer::new(Policy::Backlog, BOUNDS);
        sizer.look(&Seen { brakes, ..flooded(at(0), 5, 20) });
        sizer.look(&Seen { brakes, ..flooded(at(5), 5, 20) })
    };
    assert_eq!(second_look(Brakes { memory_for: Some(7), ..Brakes::default() }).start, 7);
    assert_eq!(second_look(Brakes { memory_for: Some(0), ..Brakes::default() }).reason, Reason::Memory);
    assert_eq!(second_look(Brakes { pressure: true, ..Brakes::default() }).reason, Reason::Pressure);
    assert_eq!(second_look(Brakes { failing: true, ..Brakes::default() }).reason, Reason::Failing);
}

#[test]
fn those_who_are_busy_at_times_stay_and_others_leave_slowly() {
    let mut sizer = Sizer::new(Policy::Backlog, BOUNDS);
    sizer.look(&Seen { ready: 60, busy: 40, ..Seen::default() });
    let calm = |second: u64, ready| Seen { now: at(second * 1_000), ready, busy: 0, ..Seen::default() };
    assert_eq!(sizer.look(&calm(1, 60)).drain, 6, "a tenth, for 50 are enough");
    assert_eq!(sizer.look(&calm(2, 54)).drain, 4, "down to 50");
    assert_eq!(sizer.look(&calm(9, 50)).drain, 0, "the busy second still counts");
    assert_eq!(sizer.look(&calm(11, 50)).drain, 5);
}

#[test]
fn a_pool_at_rest_asks_for_no_further_look() {
    let mut sizer = Sizer::new(Policy::Backlog, BOUNDS);
    assert_eq!(sizer.look(&Seen { ready: 5, ..Seen::default() }), Move::none(Reason::Steady, None));
    let mut fixed = Sizer::new(Policy::Fixed, BOUNDS);
    assert_eq!(fixed.look(&Seen { ready: 100, ..Seen::default() }), Move::none(Reason::Steady, None));
}

#[test]
fn a_pool_without_room_for_those_that_are_missing_waits_for_an_end_and_not_by_the_clock() {
    let mut sizer = Sizer::new(Policy::Backlog, Bounds { start: 5, max: 5 });
    assert_eq!(
        sizer.look(&Seen { ready: 2, draining: 3, ..Seen::default() }),
        Move::none(Reason::Steady, None)
    );
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![
        Just(Policy::Fixed),
        Just(Policy::Backlog),
        (0_u32..20, 0_u32..20).prop_map(|(min, max)| Policy::Apache(Spare { min, max })),
        (0_u32..20, 0_u32..20).prop_map(|(min, max)| Policy::FpmDynamic(Spare { min, max })),
        (0_u64..9).prop_map(|seconds| Policy::FpmOndemand { idle: Duration::from_secs(seconds) }),
        (0_u32..9, 0_u32..9).prop_map(|(step, overload)| Policy::UwsgiSpare { step, overload }),
    ]
}

proptest! {
    #[test]
    fn no_policy_ever_has_more_than_the_maximum_or_drains_who_is_not_there(
        policy in policies(),
        start in 0_u32..30,
        max in 1_u32..50,
        steps in prop::collection::vec((0_u64..3_000, 0_u32..200, 0_u32..60, 0_u32..5), 1..200),
    ) {
        let mut sizer = Sizer::new(policy, Bounds { start, max });
        let mut seen = Seen { starting: sizer.start(), ..Seen::default() };
        prop_assert!(seen.starting <= max);
        for (millis, queue, busy, gone) in steps {
            seen.now = seen.now.after(Duration::from_millis(millis));
            seen.ready += core::mem::take(&mut seen.starting);
            seen.ready -= gone.min(seen.ready);
            seen.draining -= gone.min(seen.draining);
            seen.busy = busy.min(seen.ready);
            seen.queue = queue;
            let next = sizer.look(&seen);
            prop_assert!(next.start == 0 || next.drain == 0);
            prop_assert!(next.drain <= seen.staying());
            prop_assert!(next.victim == Victim::Oldest || next.drain <= seen.idle() + seen.starting);
            seen.starting = next.start;
            let drained = next.drain.min(seen.ready);
            seen.ready -= drained;
            seen.draining += drained;
            prop_assert!(seen.staying() + seen.draining <= max);
        }
    }
}
