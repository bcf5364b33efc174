//! X: death, in Linux's order and in that of textbooks.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::Value;
use doula_sim::kernel::call::{Call, Clone, Wait, Waited};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::version::{Config, Order};
use doula_sim::kernel::{ExitStep, Kernel, Outcome, TaskId};

fn steps(world: &mut World, task: TaskId) -> Vec<ExitStep> {
    let mut done = Vec::new();
    while world.exit_step(task).is_some() {
        done.push(world.die_one_step(task));
    }
    done
}

fn textbook() -> World {
    World(Kernel::with(Config { order: Order::Textbook, ..Config::default() }))
}

#[test]
fn x0_the_status_has_the_low_eight_bits_or_the_signal() {
    for (end, status) in [
        (Call::ExitGroup(300), 44 << 8),
        (Call::ExitGroup(-1), 255 << 8),
        (Call::Kill(2, Signal::TERM.number()), 15),
        (Call::Kill(2, Signal::SEGV.number()), 11),
    ] {
        let (mut world, init) = World::new();
        let child = world.fork(init);
        assert_eq!(world.call(child, end), Outcome::Gone);
        assert_eq!(world.wait(init, Wait::any()), (2, status));
    }
}

#[test]
fn x1_x3_the_code_is_set_after_signals_and_timers_and_not_first() {
    let place = |order, step| ExitStep::order(order).iter().position(|found| *found == step);
    assert!(place(Order::Linux, ExitStep::Code) > place(Order::Linux, ExitStep::Timers));
    assert_eq!(place(Order::Textbook, ExitStep::Code), Some(0));
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.enter(child, Call::ExitGroup(0));
    assert_eq!(steps(&mut world, child), ExitStep::order(Order::Linux));
}

#[test]
fn x2_timers_are_stopped_by_the_last_thread_only() {
    let (mut world, init) = World::new();
    let main = world.fork(init);
    let thread = world.clone_task(main, Clone::THREAD);
    world.done(main, Call::Alarm(60));
    world.call(thread, Call::Exit(0));
    assert_eq!(world.number(main, Call::Alarm(60)), 60);
}

#[test]
fn x4_x5_linux_gives_orphans_away_dies_and_tells_in_one_step() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    let orphan = world.fork(parent);
    world.sleeps(init, Call::Wait4(Wait::any()));
    world.enter(parent, Call::ExitGroup(1));
    while world.exit_step(parent) != Some(ExitStep::Notify) {
        world.die_one_step(parent);
    }
    assert_eq!((world.ppid(orphan), world.state(init)), (2, 'S'));
    world.step(parent);
    assert_eq!((world.ppid(orphan), world.state(parent), world.state(init)), (1, 'Z', 'R'));
    world.settle();
    let expected = Waited { pid: 2, status: 1 << 8 };
    assert_eq!(world.woke_with(init), Some(Ok(Value::Waited(expected))));
}

#[test]
fn x5_in_the_textbooks_order_the_parent_wakes_up_finds_nobody_and_sleeps_for_ever() {
    let mut world = textbook();
    let init = world.init();
    let child = world.fork(init);
    world.sleeps(init, Call::Wait4(Wait::any()));
    let ends = world.ends(child, Call::ExitGroup(0));
    let lost = ends.iter().filter(|end| end.state(init) == 'S' && end.state(child) == 'Z').count();
    assert!(lost > 0, "told before there is a zombie");

    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.sleeps(init, Call::Wait4(Wait::any()));
    let ends = world.ends(child, Call::ExitGroup(0));
    assert!(ends.iter().all(|end| end.state(child) == '-'), "Linux has no such order");
}

#[test]
fn x6_nobody_becomes_a_zombie_whose_parent_wants_none() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::IGNORE);
    let child = world.fork(init);
    let states = [ExitStep::Signals, ExitStep::Notify].map(|last| {
        let mut world = world.clone();
        world.enter(child, Call::ExitGroup(0));
        while world.die_one_step(child) != last {}
        world.state(child)
    });
    assert_eq!(states, ['R', 'X'], "dead at once");
    world.exit(child, 0);
    assert_eq!(world.state(child), '-');
}

#[test]
fn x8_a_textbook_gives_orphans_to_init_and_linux_to_the_nearest_subreaper() {
    for (order, adopter) in [(Order::Linux, 2), (Order::Textbook, 1)] {
        let mut world = World(Kernel::with(Config { order, ..Config::default() }));
        let init = world.init();
        let subreaper = world.fork(init);
        world.done(subreaper, Call::SetSubreaper(true));
        let parent = world.fork(subreaper);
        let orphan = world.fork(parent);
        world.exit(parent, 0);
        assert_eq!(world.ppid(orphan), adopter, "{order:?}");
    }
}

#[test]
fn x9_an_orphan_is_told_and_a_zombie_among_them_is_told_of() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::HANDLER);
    let parent = world.fork(init);
    let (living, dead) = (world.fork(parent), world.fork(parent));
    world.act(living, Signal::USR2, Action::HANDLER);
    world.done(living, Call::SetParentDeathSignal(Some(Signal::USR2)));
    world.exit(dead, 0);
    assert_eq!(world.caught(init), []);
    world.enter(parent, Call::ExitGroup(0));
    while world.state(parent) != 'Z' {
        world.step(parent);
    }
    world.settle();
    assert_eq!(world.caught(living), [Signal::USR2.number()]);
    assert_eq!(world.take_caught(init)[0].pid, 4, "the zombie was told of first");
}

#[test]
fn x14_nobody_makes_itself_immortal_by_ignoring_sigkill() {
    let (mut world, init) = World::new();
    for signal in [Signal::KILL, Signal::STOP] {
        assert_eq!(world.error(init, Call::Sigaction(signal, Action::IGNORE)), Errno::EINVAL);
    }
}

#[test]
fn x15_the_first_code_of_a_process_wins_and_every_thread_dies_with_it() {
    let (mut world, init) = World::new();
    let main = world.fork(init);
    let thread = world.clone_task(main, Clone::THREAD);
    world.enter(thread, Call::ExitGroup(3));
    world.enter(main, Call::ExitGroup(4));
    world.settle();
    assert_eq!((world.state(main), world.state(thread)), ('Z', '-'));
    assert_eq!(world.wait(init, Wait::any()), (2, 3 << 8));
}

#[test]
fn x16_a_leader_that_ends_early_is_a_zombie_that_nobody_can_bury_yet() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::HANDLER);
    let main = world.fork(init);
    let thread = world.clone_task(main, Clone::THREAD);
    world.call(main, Call::Exit(1));
    assert_eq!(world.state(main), 'Z');
    assert_eq!(world.number(init, Call::Wait4(Wait::any().no_hang())), 0);
    assert_eq!(world.caught(init), []);
    world.call(thread, Call::Exit(2));
    assert_eq!(world.caught(init), [Signal::CHLD.number()]);
    assert_eq!(world.wait(init, Wait::any()), (2, 2 << 8), "the code of who was last");
}

#[test]
fn x18_who_writes_a_core_is_alive_and_only_sigkill_hastens_it() {
    let (mut world, init) = World::new();
    world.dump_slowly();
    let [one, other] = [(); 2].map(|()| world.fork(init));
    for (child, number) in [(one, 2), (other, 3)] {
        let birth = world.birth(child);
        world.done(init, Call::Kill(number, Signal::SEGV.number()));
        world.done(init, Call::Kill(number, Signal::TERM.number()));
        assert!(world.is_dumping(child) && world.lives(child, birth));
        assert_eq!(world.look(child).map(|look| look.state), Some('D'));
        assert_eq!(world.number(init, Call::Wait4(Wait::any().no_hang())), 0, "nobody has ended");
        if child == one {
            world.finish_dump(child, birth + 1);
            assert!(world.is_dumping(child), "that was the core of somebody else");
            world.finish_dump(child, birth);
            assert_eq!(world.wait(init, Wait::any()), (2, 11 | 0x80));
        } else {
            world.done(init, Call::Kill(number, Signal::KILL.number()));
            assert_eq!(world.wait(init, Wait::any()), (3, 11));
        }
    }
}
