//! Random faults of the kernel, random processes, random commands: whatever happens, everybody is buried once and the
//! family ends empty (see [`crate::ledger`]).

use crate::paper::{Habit, Mischief, Paper};
use crate::run;
use doula_model::event::{Command, Event, Haste, Notice};
use doula_model::exit::ExitStatus;
use doula_model::id::{Generation, ServiceId};
use doula_model::service::{Dependency, DependencyKind, Kind, Overlap, Reload, RestartWhen, ServiceSpec};
use proptest::prelude::*;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);
const MOST: u32 = 5;

fn percent() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0_u64), 3 => 1..60_u64, 1 => Just(100_u64)]
}

prop_compose! {
    fn mischief()(
        (no_watch, stolen_waits, spurious, thieves) in (percent(), percent(), percent(), percent()),
        stillborn in prop_oneof![2 => Just(0_u64), 1 => 1..40_u64], late in prop_oneof![Just(0_u64), 1..90_u64],
        forks in percent(), sleeps in prop_oneof![2 => Just(0_u64), 1 => 1..10_u64], seed: u64,
    ) -> Mischief {
        Mischief { no_watch, stolen_waits, thieves, spurious, stillborn, late, forks, sleeps, seed }
    }
}

prop_compose! {
    fn habit()(
        lives in prop::option::of(0..3_000_u32), code in 0..3_u8, obeys in prop::option::weighted(0.7, 0..200_u32),
        orphans in prop_oneof![2 => Just(0_u32), 1 => 1..4_u32],
    ) -> Habit {
        let (lives, obeys_after) = (lives.map(|n| MS * n), obeys.map(|n| MS * n));
        Habit { lives, obeys_after, status: ExitStatus::code(code), orphans, stillborn: None }
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Daemon),
        2 => Just(Kind::Oneshot),
        1 => Just(Kind::Scheduled { overlap: Overlap::Queue }),
    ]
}

prop_compose! {
    fn spec(place: u32)(
        kind in kind(), when in prop::sample::select(vec![RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never]),
        (pre, post, reload) in (prop::option::weighted(0.3, 0..500_u32), prop::option::weighted(0.3, 0..500_u32), any::<bool>()),
        (delay, grace, essential) in (1..1_000_u32, 0..500_u32, prop::bool::weighted(0.1)),
        on in prop::option::of(0..place.max(1)),
    ) -> ServiceSpec {
        let mut spec = ServiceSpec::new(format!("s{place}"));
        (spec.kind, spec.essential, spec.restart.when, spec.restart.delay) = (kind, essential, when, MS * delay);
        (spec.pre_start, spec.post_stop) = (pre.map(|n| MS * n), post.map(|n| MS * n));
        spec.reload = if reload { Reload::Command(MS * 300) } else { Reload::Restart };
        (spec.stop.grace, spec.stop.leftover_grace) = (MS * grace, MS * grace);
        if let Some(on) = on.filter(|_| place > 0) {
            spec.deps = vec![Dependency { on: format!("s{on}"), kind: DependencyKind::Requires }];
        }
        spec
    }
}

fn family() -> impl Strategy<Value = Vec<(ServiceSpec, Habit)>> {
    (1..=MOST).prop_flat_map(|count| (0..count).map(|place| (spec(place), habit())).collect::<Vec<_>>())
}

fn deed() -> impl Strategy<Value = Event> {
    let who = || (0..MOST).prop_map(|number| vec![ServiceId(number)]);
    let life = |(service, generation): (u32, u32)| (ServiceId(service), Generation(generation));
    prop_oneof![
        2 => who().prop_map(|ids| Event::Command(Command::Start(ids))),
        2 => who().prop_map(|ids| Event::Command(Command::Stop(ids))),
        2 => who().prop_map(|ids| Event::Command(Command::Restart(ids))),
        2 => who().prop_map(|ids| Event::Command(Command::Reload(ids))),
        1 => (0..MOST).prop_map(|number| Event::Due { service: ServiceId(number) }),
        1 => (0..MOST, 1..4_u32).prop_map(life).prop_map(|(service, generation)| {
            Event::Noticed { service, generation, notice: Notice::Stopping }
        }),
        1 => prop::sample::select(vec![Haste::Orderly, Haste::Hurried, Haste::Kill])
            .prop_map(|haste| Event::Command(Command::Shutdown(haste))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_wrong_everybody_is_buried_once_and_the_family_ends_empty(
        family in family(), mischief in mischief(), deeds in prop::collection::vec((0..10_000_u32, deed()), 0..20),
    ) {
        let mut world = Paper::new(mischief);
        let (specs, habits): (Vec<_>, Vec<_>) = family.into_iter().unzip();
        world.habits = (0..).map(ServiceId).zip(habits).collect();
        for (wait, deed) in deeds {
            world.later(MS * wait, deed);
        }
        world.later(MS * 20_000, Event::Command(Command::Shutdown(Haste::Orderly)));
        world.later(MS * 40_000, Event::Command(Command::Shutdown(Haste::Kill)));
        run(&mut world, specs);
    }
}
