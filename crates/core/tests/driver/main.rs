//! The driver loop on a world on paper: every end is taken exactly once and nothing is left behind, whatever
//! the kernel does.

mod ledger;
mod paper;
mod random;

use doula_core::drive::Driver;
use doula_core::engine::Engine;
use doula_model::action::News;
use doula_model::event::{Command, Event, Haste};
use doula_model::exit::ExitStatus;
use doula_model::id::{Role, ServiceId};
use doula_model::service::{RestartWhen, ServiceSpec};
use doula_model::signal::Signal;
use paper::{Habit, MISSING, Mischief, Paper};
use std::time::Duration;

/// More turns than any of these families needs: a driver that goes on longer spins.
const MAX_TURNS: usize = 100_000;

fn service(name: &str) -> ServiceSpec {
    let mut spec = ServiceSpec::new(name);
    spec.restart.when = RestartWhen::Never;
    spec
}

/// Runs a family to its end, and proves that everybody is buried.
fn run(world: &mut Paper, family: Vec<ServiceSpec>) -> u8 {
    use doula_core::kernel::Kernel;
    let engine = Engine::new(family, 7, world.now());
    let mut driver = Driver::new(engine);
    let code = (0..MAX_TURNS).find_map(|_| driver.turn(world));
    let code = code.expect("the driver comes to an end");
    world.expect_all_buried();
    code
}

fn ends(world: &Paper) -> Vec<(u32, ExitStatus)> {
    let main = |news: &News| {
        let News::Exited { role: Role::Main, status, .. } = news else { return None };
        Some(*status)
    };
    let told = world.news.iter().filter_map(|(_, service, news)| Some((service.as_ref()?.0, main(news)?)));
    told.collect()
}

const NONE: Mischief = Mischief {
    no_watch: 0,
    stolen_waits: 0,
    thieves: 0,
    spurious: 0,
    stillborn: 0,
    late: 0,
    forks: 0,
    sleeps: 0,
    seed: 0,
};

const MISCHIEFS: [Mischief; 3] =
    [NONE, Mischief { no_watch: 100, spurious: 100, ..NONE }, Mischief { spurious: 100, ..NONE }];

#[test]
fn many_deaths_behind_one_sigchld_are_all_taken() {
    for mischief in MISCHIEFS {
        let mut world = Paper::new(mischief);
        let names: Vec<_> = (0..50).map(|index| format!("s{index}")).collect();
        for id in 0..50 {
            let habit = Habit {
                lives: Some(Duration::from_secs(1)),
                status: ExitStatus::code(id as u8 + 1),
                ..Habit::POLITE
            };
            world.habits.insert(ServiceId(id), habit);
        }
        let code = run(&mut world, names.iter().map(|name| service(name)).collect());
        let mut seen = ends(&world);
        seen.sort_by_key(|(id, _)| *id);
        let expected: Vec<_> = (0..50).map(|id| (id, ExitStatus::code(id as u8 + 1))).collect();
        assert_eq!(seen, expected, "{mischief:?}");
        assert_eq!(code, 1, "services failed");
    }
}

#[test]
fn orphans_that_ignore_sigterm_are_killed_and_proven_gone() {
    for mischief in MISCHIEFS {
        let mut world = Paper::new(mischief);
        world.habits.insert(ServiceId(0), Habit { orphans: 3, ..Habit::POLITE });
        world.later(Duration::from_secs(1), Event::Command(Command::Shutdown(Haste::Orderly)));
        let code = run(&mut world, vec![service("maker")]);
        assert_eq!(code, 0, "{mischief:?}");
        let leftovers = world.news.iter().find_map(|(_, _, news)| {
            let News::Empty { leftovers } = news else { return None };
            Some(*leftovers)
        });
        assert_eq!(leftovers, Some(3), "{mischief:?}");
        assert_eq!(world.released.len(), 1, "{mischief:?}");
    }
}

#[test]
fn a_service_that_ignores_sigterm_is_killed_after_its_grace() {
    for mischief in MISCHIEFS {
        let mut world = Paper::new(mischief);
        world.habits.insert(ServiceId(0), Habit { obeys_after: None, ..Habit::POLITE });
        world.later(Duration::from_secs(1), Event::Command(Command::Shutdown(Haste::Orderly)));
        run(&mut world, vec![service("deaf")]);
        assert_eq!(ends(&world), [(0, ExitStatus::signal(Signal::KILL))]);
    }
}

#[test]
fn an_end_that_somebody_else_took_is_reported_as_unknown() {
    let mischief = Mischief { stolen_waits: 100, ..NONE };
    let mut world = Paper::new(mischief);
    world.habits.insert(ServiceId(0), Habit { lives: Some(Duration::from_secs(1)), ..Habit::POLITE });
    run(&mut world, vec![service("robbed")]);
    assert_eq!(ends(&world), [(0, ExitStatus::UNKNOWN)]);
}

#[test]
fn a_child_whose_number_is_anothers_was_buried_by_somebody_else() {
    let mut world = Paper::new(Mischief { thieves: 100, ..NONE });
    world.labour = Duration::from_millis(1);
    let end = Habit { lives: Some(Duration::ZERO), ..Habit::POLITE };
    world.habits.extend([(ServiceId(0), end), (ServiceId(1), end)]);
    run(&mut world, vec![service("robbed"), service("heir")]);
    assert_eq!(ends(&world), [(0, ExitStatus::UNKNOWN), (1, ExitStatus::code(0))]);
}

#[test]
fn a_birth_that_fails_leaves_nothing_to_bury() {
    let mut world = Paper::new(NONE);
    world.habits.insert(ServiceId(0), Habit { stillborn: Some(MISSING), ..Habit::POLITE });
    assert_eq!(run(&mut world, vec![service("missing")]), 1);
    assert_eq!(ends(&world), []);
}

#[test]
fn a_birth_is_told_with_the_time_at_which_it_happened_and_not_that_of_the_last_of_its_batch() {
    let mut world = Paper::new(NONE);
    world.labour = Duration::from_millis(1);
    world.later(Duration::from_secs(1), Event::Command(Command::Shutdown(Haste::Orderly)));
    run(&mut world, (0..50).map(|index| service(&format!("s{index}"))).collect());
    let born = |(at, service, news): &(_, Option<ServiceId>, News)| {
        matches!(news, News::Born { .. }).then_some((*at, (*service)?))
    };
    let told: Vec<_> = world.news.iter().filter_map(born).collect();
    assert_eq!(told, world.births);
    assert!(told[49].0.since(told[0].0) >= Duration::from_millis(49), "a batch takes its time");
}
