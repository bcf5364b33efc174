//! Random families, random tempers, random commands: whatever happens, no promise is broken.

use crate::world::{Temper, World};
use doula_core::engine::Engine;
use doula_model::action::State;
use doula_model::event::{Command, Event, Haste, Notice};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, Role, ServiceId};
use doula_model::service::{
    Dependency, DependencyKind, Kind, Overlap, ProbePolicy, ReadyBy, Reload, RestartWhen, ServiceSpec,
    StartLimit,
};
use doula_model::signal::Signal;
use doula_model::time::Time;
use proptest::prelude::*;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// The largest family.
const MOST: u32 = 9;

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        6 => Just(Kind::Daemon),
        3 => Just(Kind::Oneshot),
        1 => Just(Kind::Scheduled { overlap: Overlap::Skip }),
        1 => Just(Kind::Scheduled { overlap: Overlap::Queue }),
    ]
}

fn probe() -> impl Strategy<Value = ProbePolicy> {
    (0_u32..20, 0_u32..20, 0_u32..40, 0_u32..3).prop_map(|(first, pause, limit, failures)| ProbePolicy {
        initial_delay: MS * first,
        interval: MS * pause,
        timeout: MS * limit,
        failures,
    })
}

fn ready_by() -> impl Strategy<Value = ReadyBy> {
    prop_oneof![Just(ReadyBy::Exec), Just(ReadyBy::Notice), probe().prop_map(ReadyBy::Probe)]
}

fn when() -> impl Strategy<Value = RestartWhen> {
    prop_oneof![Just(RestartWhen::Always), Just(RestartWhen::OnFailure), Just(RestartWhen::Never)]
}

fn reload() -> impl Strategy<Value = Reload> {
    prop_oneof![Just(Reload::Restart), Just(Reload::Signal(Signal::HUP)), Just(Reload::Command(MS * 10))]
}

prop_compose! {
    fn spec(place: usize)(
        kind in kind(), ready in ready_by(), when in when(), reload in reload(),
        (autostart, essential) in (prop::bool::weighted(0.8), prop::bool::weighted(0.1)),
        (ready_timeout, watchdog, pre, post) in (
            prop::option::of(0_u32..60), prop::option::weighted(0.2, 0_u32..60),
            prop::option::weighted(0.3, 0_u32..60), prop::option::weighted(0.3, 0_u32..60)),
        liveness in prop::option::weighted(0.2, probe()),
        (delay, burst, factor, jitter) in
            (0_u32..100, prop::option::of(0_u32..5), 0_u8..4, prop_oneof![Just(0.0), Just(0.1), Just(1.0)]),
        reset_after in 0_u32..150,
        (grace, leftover_grace) in (0_u32..30, 0_u32..30),
        deps in prop::collection::vec((0..place.max(1), 0..3_u8), 0..3),
    ) -> ServiceSpec {
        let mut spec = ServiceSpec::new(format!("s{place}"));
        (spec.kind, spec.autostart, spec.essential, spec.reload) = (kind, autostart, essential, reload);
        (spec.ready.by, spec.ready.timeout) = (ready, ready_timeout.map(|n| MS * n));
        spec.watchdog = watchdog.map(|n| MS * n);
        (spec.pre_start, spec.post_stop) = (pre.map(|n| MS * n), post.map(|n| MS * n));
        spec.liveness = liveness;
        (spec.restart.when, spec.restart.delay, spec.restart.max_delay) = (when, MS * delay, MS * 200);
        (spec.restart.factor, spec.restart.jitter) = (1.0 + f32::from(factor), jitter);
        spec.restart.reset_after = MS * reset_after;
        spec.restart.limit = burst.map(|burst| StartLimit { burst, interval: MS * 300 });
        (spec.stop.grace, spec.stop.leftover_grace) = (MS * grace, MS * leftover_grace);
        if place > 0 {
            // Only backwards: no circles.
            let kinds = [DependencyKind::Requires, DependencyKind::Wants, DependencyKind::After];
            let dep = |(on, kind): (usize, u8)| Dependency { on: format!("s{on}"), kind: kinds[usize::from(kind)] };
            spec.deps = deps.into_iter().map(dep).collect();
        }
        spec
    }
}

prop_compose! {
    fn temper()(
        stillborn in prop_oneof![3 => Just(0_u64), 1 => 0..60_u64], mortal in 0..100_u64, lifespan in 1..100_u64,
        (bad, deaf, speaks, leftovers) in (0..100_u64, 0..100_u64, 0..101_u64, 0..60_u64),
        stolen in prop_oneof![4 => Just(0_u64), 1 => 0..100_u64],
    ) -> Temper {
        Temper { stillborn, mortal, lifespan, bad, deaf, speaks, leftovers, stolen }
    }
}

/// Services that need only earlier ones.
fn family() -> impl Strategy<Value = Vec<(ServiceSpec, Temper)>> {
    (1..=MOST as usize)
        .prop_flat_map(|count| (0..count).map(|place| (spec(place), temper())).collect::<Vec<_>>())
}

/// What people and processes do to a family, from outside.
#[derive(Clone, Debug)]
enum Deed {
    Pass(u64),
    Start(u32),
    Stop(u32),
    Restart(u32),
    Reload(u32),
    Notice(u32, Notice),
    Pause(u32),
    Resume(u32),
    Change(u32, u64),
    /// Another service under this name, or a new one.
    Replace(u32, Box<ServiceSpec>),
    Remove(u32),
    Shutdown(Haste),
    /// The end of a child of so many lives ago.
    Stale(u32, u32, Role),
    /// What was told so many events ago is told again.
    Echo(usize),
    /// So many hours pass without anybody's looking.
    Jump(u32),
    /// The supervisor is killed in the middle of this (`None`: while nothing happens), after so many actions, and another
    /// one goes on after so many milliseconds.
    Kill(Option<Box<Deed>>, usize, u64),
}

fn role() -> impl Strategy<Value = Role> {
    use Role::{LiveProbe, Main, PostStop, PreStart, ReadyProbe, Reload};
    prop::sample::select(vec![Main, PreStart, PostStop, Reload, ReadyProbe, LiveProbe])
}

fn replacement() -> impl Strategy<Value = Deed> {
    (0..MOST).prop_flat_map(|n| spec(n as usize).prop_map(move |spec| Deed::Replace(n, Box::new(spec))))
}

fn notice() -> impl Strategy<Value = Notice> {
    prop_oneof![
        Just(Notice::Ready),
        Just(Notice::Reloading),
        Just(Notice::Stopping),
        Just(Notice::Status("hello".into())),
        Just(Notice::Watchdog),
        Just(Notice::WatchdogTrigger),
        (0_u32..50).prop_map(|n| Notice::WatchdogInterval(MS * n)),
        Just(Notice::ExtendTimeout(Duration::MAX)),
        (0_u32..50).prop_map(|n| Notice::ExtendTimeout(MS * n)),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = 0..MOST;
    prop_oneof![
        8 => (0..120_u64).prop_map(Deed::Pass),
        3 => who.clone().prop_map(Deed::Start),
        3 => who.clone().prop_map(Deed::Stop),
        3 => who.clone().prop_map(Deed::Restart),
        2 => who.clone().prop_map(Deed::Reload),
        3 => (who.clone(), notice()).prop_map(|(who, notice)| Deed::Notice(who, notice)),
        1 => who.clone().prop_map(Deed::Pause),
        1 => who.clone().prop_map(Deed::Resume),
        1 => (who.clone(), any::<u64>()).prop_map(|(who, mark)| Deed::Change(who, mark)),
        1 => who.clone().prop_map(Deed::Remove),
        1 => prop_oneof![Just(Haste::Orderly), Just(Haste::Hurried)].prop_map(Deed::Shutdown),
        1 => replacement(),
        1 => (who, 1..3_u32, role()).prop_map(|(who, back, role)| Deed::Stale(who, back, role)),
        2 => (0..30_usize).prop_map(Deed::Echo),
        1 => (1..50_u32).prop_map(Deed::Jump),
    ]
}

/// With deaths of the supervisor in the middle of anything.
fn deed_or_death() -> impl Strategy<Value = Deed> {
    let middle = prop::option::of(deed().prop_map(Box::new));
    prop_oneof![3 => deed(), 1 => (middle, 0..6_usize, 0..80_u64).prop_map(|(deed, done, away)| Deed::Kill(deed, done, away))]
}

fn perform(world: &mut World, deed: Deed) {
    let who = |n: u32| vec![ServiceId(n)];
    let generation = |world: &World, n| world.engine.status(ServiceId(n)).map(|view| view.generation);
    match deed {
        Deed::Pass(millis) => world.run(Duration::from_millis(millis)),
        Deed::Start(n) => {
            world.by_hand();
            world.ask(Command::Start(who(n)));
        }
        Deed::Stop(n) => world.ask(Command::Stop(who(n))),
        Deed::Restart(n) => {
            world.by_hand();
            world.ask(Command::Restart(who(n)));
        }
        Deed::Reload(n) => {
            world.by_hand();
            world.ask(Command::Reload(who(n)));
        }
        Deed::Notice(n, notice) => {
            if let Some(generation) = generation(world, n) {
                world.tell(Event::Noticed { service: ServiceId(n), generation, notice });
            }
        }
        Deed::Pause(n) => world.freeze(ServiceId(n)),
        Deed::Resume(n) => {
            if let Some(generation) = generation(world, n) {
                world.thaw(ChildKey { service: ServiceId(n), generation, role: Role::Main });
            }
        }
        Deed::Change(n, mark) => {
            world.by_hand();
            apply(world, |spec| {
                if spec.name == format!("s{n}") {
                    spec.fingerprint = mark;
                }
                true
            });
        }
        Deed::Replace(n, spec) => {
            world.by_hand();
            replace(world, n, *spec);
        }
        Deed::Remove(n) => {
            world.by_hand();
            apply(world, |spec| {
                spec.deps.retain(|dep| dep.on != format!("s{n}"));
                spec.name != format!("s{n}")
            });
        }
        Deed::Shutdown(haste) => world.ask(Command::Shutdown(haste)),
        Deed::Stale(n, back, role) => {
            let Some(Generation(now)) = generation(world, n) else { return };
            let Some(generation) = now.checked_sub(back).map(Generation) else { return };
            let key = ChildKey { service: ServiceId(n), generation, role };
            world.tell(Event::Exited { key, status: ExitStatus::code(0) });
            world.tell(Event::Emptied { service: key.service, generation, leftovers: 1 });
        }
        Deed::Echo(back) => world.echo(back),
        Deed::Kill(deed, done, away) => kill(world, deed, (done, Duration::from_millis(away))),
        Deed::Jump(hours) => {
            world.jump(Duration::from_secs(3_600) * hours);
            world.tell(Event::Tick);
        }
    }
}

/// The supervisor carries out so many actions of what follows this deed, and is away for so long.
fn kill(world: &mut World, deed: Option<Box<Deed>>, (done, away): (usize, Duration)) {
    world.doom(done);
    if let Some(deed) = deed {
        perform(world, *deed);
    }
    world.killed(away);
}

/// Another service under the name of this one, or a new one of this name. Whom it needs must exist.
fn replace(world: &mut World, n: u32, mut spec: ServiceSpec) {
    let mut found = false;
    let names: Vec<String> = family_of(world).into_iter().map(|spec| spec.name).collect();
    spec.deps.retain(|dep| names.contains(&dep.on));
    let mut family = family_of(world);
    for old in &mut family {
        if old.name == format!("s{n}") {
            (*old, found) = (spec.clone(), true);
        }
    }
    if !found {
        family.push(spec);
    }
    world.ask(Command::Apply(family));
}

/// The services as they are configured, and those who leave as they were.
fn family_of(world: &World) -> Vec<ServiceSpec> {
    world.engine.ids().map(|id| world.specs[&id].clone()).collect()
}

/// The same family, but for what `edit` does to it; `false` removes a service.
fn apply(world: &mut World, mut edit: impl FnMut(&mut ServiceSpec) -> bool) {
    let mut family = family_of(world);
    family.retain_mut(|spec| edit(spec));
    world.ask(Command::Apply(family));
}

/// The same service, but for promises that nobody could keep, and for tasks that begin again for ever.
fn patient(spec: &mut ServiceSpec) {
    let long = Duration::from_secs(1);
    (spec.ready.timeout, spec.watchdog) = (None, None);
    (spec.pre_start, spec.post_stop) = (spec.pre_start.map(|_| long), spec.post_stop.map(|_| long));
    if let ReadyBy::Probe(policy) = &mut spec.ready.by {
        policy.timeout = long;
    }
    if spec.kind == Kind::Oneshot && spec.restart.when == RestartWhen::Always {
        spec.restart.when = RestartWhen::OnFailure;
    }
}

fn world_of(family: Vec<(ServiceSpec, Temper)>, seed: u64) -> World {
    let (specs, tempers) = family.into_iter().unzip();
    World::new(specs, tempers, seed)
}

/// How many starts fall into one interval at most.
fn busiest(starts: &[Time], interval: Duration) -> usize {
    (0..starts.len())
        .map(|from| starts[from..].iter().filter(|at| at.since(starts[from]) < interval).count())
        .max()
        .unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The world itself checks every action (see there); this adds that the limits hold, and that the family can
    /// always be ended.
    #[test]
    fn from_everywhere_a_kill_ends_the_family(family in family(), deeds in prop::collection::vec(deed(), 0..40), seed: u64) {
        let mut world = world_of(family, seed);
        for deed in deeds {
            if world.quit.is_some() {
                break;
            }
            perform(&mut world, deed);
            for (id, starts) in &world.automatic {
                if let Some(limit) = world.specs[id].restart.limit {
                    prop_assert!(busiest(starts, limit.interval) <= limit.burst as usize);
                }
            }
        }
        if world.quit.is_none() {
            world.ask(Command::Shutdown(Haste::Kill));
            world.run(Duration::from_millis(200));
        }
        prop_assert!(world.quit.is_some(), "it does not end:\n{}", world.last(80));
    }

    /// The same with a supervisor that is killed again and again in the middle of anything: nobody is started twice (the
    /// world sees to that), and all ends.
    #[test]
    fn whoever_takes_over_a_killed_family_can_end_it(family in family(), deeds in prop::collection::vec(deed_or_death(), 0..40), seed: u64) {
        let (specs, tempers): (Vec<_>, Vec<_>) = family.into_iter().unzip();
        let engine = Engine::new(specs.clone(), seed, Time::ZERO).keep_alive(true);
        let mut world = World::around(engine, specs, tempers, seed);
        for deed in deeds {
            if world.quit.is_none() {
                perform(&mut world, deed);
            }
        }
        if world.quit.is_none() {
            world.ask(Command::Shutdown(Haste::Kill));
            world.run(Duration::from_millis(200));
        }
        prop_assert!(world.quit.is_some(), "it does not end:\n{}", world.last(80));
    }

    /// Whatever state it is in: asked to stop, it is stopped in the end, unless the family ends first.
    #[test]
    fn from_everywhere_a_stop_ends_in_stopped(family in family(), who in 0..MOST, deeds in prop::collection::vec(deed(), 0..30), seed: u64) {
        let (specs, tempers): (Vec<_>, Vec<_>) = family.into_iter().unzip();
        let engine = Engine::new(specs.clone(), seed, Time::ZERO).keep_alive(true);
        let mut world = World::around(engine, specs, tempers, seed);
        // Whoever has its stop extended may take an hour for it.
        let fits = |deed: &Deed| !matches!(deed, Deed::Shutdown(_) | Deed::Notice(_, Notice::ExtendTimeout(_)));
        for deed in deeds.into_iter().filter(fits) {
            if world.quit.is_none() {
                perform(&mut world, deed);
            }
        }
        let who = ServiceId(who);
        if world.quit.is_none() && world.engine.status(who).is_some() {
            world.ask(Command::Stop(vec![who]));
            let settled = |world: &World| {
                let view = world.engine.status(who);
                world.quit.is_some() || view.is_none_or(|view| view.state == State::Stopped)
            };
            for _ in 0..5_000 {
                if settled(&world) || !world.step() {
                    break;
                }
            }
            prop_assert!(settled(&world), "stuck in {:?}:\n{}", world.state(who), world.last(80));
        }
    }

    #[test]
    fn an_orderly_shutdown_ends_too_and_in_order(family in family(), pause in 0..200_u64, seed: u64) {
        let mut world = world_of(family, seed);
        world.run(Duration::from_millis(pause));
        if world.quit.is_none() {
            world.ask(Command::Shutdown(Haste::Orderly));
            world.run(Duration::from_secs(5));
        }
        prop_assert!(world.quit.is_some(), "it does not end:\n{}", world.last(80));
    }

    #[test]
    fn the_same_seed_and_events_give_the_same_actions(family in family(), deeds in prop::collection::vec(deed(), 0..20), seed: u64) {
        let run = || {
            let mut world = world_of(family.clone(), seed);
            for deed in deeds.clone() {
                if world.quit.is_none() {
                    perform(&mut world, deed);
                }
            }
            std::mem::take(&mut world.trace)
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn whoever_is_started_in_a_good_world_comes_up_or_ends(family in family(), who in 0..MOST, deeds in prop::collection::vec(deed(), 0..10), seed: u64) {
        let (mut specs, tempers): (Vec<_>, Vec<_>) = family.into_iter().unzip();
        specs.iter_mut().for_each(patient);
        let engine = Engine::new(specs.clone(), seed, Time::ZERO).keep_alive(true);
        let mut world = World::around(engine, specs, tempers, seed);
        // Whoever has its stop extended may take an hour for it.
        let fits = |deed: &Deed| !matches!(deed, Deed::Shutdown(_) | Deed::Notice(_, Notice::ExtendTimeout(_)));
        for mut deed in deeds.into_iter().filter(fits) {
            if let Deed::Replace(_, spec) = &mut deed {
                patient(spec);
            }
            if world.quit.is_none() {
                perform(&mut world, deed);
            }
        }
        world.tempers.fill(Temper::GOOD);
        if world.quit.is_none() && world.engine.status(ServiceId(who)).is_some() {
            // Whoever was born in the bad world may keep silent for ever: all begin anew.
            let everybody = world.engine.ids().collect();
            world.ask(Command::Restart(everybody));
            let settled = |world: &World| {
                use State::{Done, Failed, Scheduled, Up};
                let view = world.engine.status(ServiceId(who));
                world.quit.is_some() || view.is_none_or(|it| matches!(it.state, Up | Done | Failed | Scheduled))
            };
            for _ in 0..5_000 {
                if settled(&world) || !world.step() {
                    break;
                }
            }
            prop_assert!(settled(&world), "stuck in {:?}:\n{}", world.state(ServiceId(who)), world.last(80));
        }
    }
}
