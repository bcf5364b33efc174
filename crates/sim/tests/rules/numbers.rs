//! P1 to P4: numbers.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Wait};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::version::{Config, KernelVersion};
use doula_sim::kernel::{Kernel, TaskId};

fn wait_for(world: &mut World, parent: TaskId, child: TaskId) {
    world.exit(child, 0);
    world.wait(parent, Wait::any());
}

#[test]
fn p1_numbers_are_cyclic_and_held_by_groups() {
    let (mut world, init) = World::new();
    let leader = world.fork(init);
    let number = world.pid(leader);
    world.done(leader, Call::Setpgid(0, 0));
    let member = world.fork(leader);
    wait_for(&mut world, init, leader);
    world.set_next_pid(init, number);
    let other = world.fork(init);
    assert_ne!(world.pid(other), number, "the dead leader's number is still that of a group");
    assert_eq!(world.look(member).expect("a member").pgid, number);
    wait_for(&mut world, init, member);
    world.set_next_pid(init, number);
    let heir = world.fork(init);
    assert_eq!(world.pid(heir), number, "the last member was buried");
}

#[test]
fn p1_a_number_is_not_given_again_before_all_others_were_and_wraps_to_300() {
    let (mut world, init) = World::new();
    world.set_pid_max(init, 303);
    let mut last = 1;
    for expected in (2..303).chain(300..303).chain([300]) {
        let child = world.fork(init);
        last = world.pid(child);
        assert_eq!(last, expected);
        wait_for(&mut world, init, child);
    }
    assert_eq!(last, 300, "numbers below 300 are given once");
}

#[test]
fn p1_a_session_holds_its_number_too() {
    let (mut world, init) = World::new();
    let leader = world.fork(init);
    let number = world.number(leader, Call::Setsid);
    let member = world.fork(leader);
    world.done(member, Call::Setpgid(0, 0));
    wait_for(&mut world, init, leader);
    world.set_next_pid(init, number);
    let other = world.fork(init);
    assert_ne!(world.pid(other), number);
}

#[test]
fn p1_the_number_of_a_session_is_free_when_its_last_member_makes_another() {
    let (mut world, init) = World::new();
    let leader = world.fork(init);
    let number = world.number(leader, Call::Setsid);
    let member = world.fork(leader);
    wait_for(&mut world, init, leader);
    world.number(member, Call::Setsid);
    world.set_next_pid(init, number);
    let heir = world.fork(init);
    assert_eq!(world.pid(heir), number);
}

#[test]
fn p2_a_full_table_is_eagain() {
    let (mut world, host) = World::new();
    let init = world.clone_task(host, Clone::INIT);
    world.set_pid_max(init, 310);
    world.set_next_pid(init, 301);
    let numbers: Vec<i32> = (0..10).map(|_| world.number(init, Call::Clone(Clone::FORK))).collect();
    assert_eq!(numbers, [301, 302, 303, 304, 305, 306, 307, 308, 309, 300]);
    assert_eq!(world.error(init, Call::Clone(Clone::FORK)), Errno::EAGAIN);
}

#[test]
fn p2_a_namespace_whose_init_died_is_enomem() {
    let (mut world, host) = World::new();
    world.done(host, Call::UnsharePid);
    let init = world.fork(host);
    assert_eq!(world.number(init, Call::Getpid), 1);
    wait_for(&mut world, host, init);
    assert_eq!(world.error(host, Call::Clone(Clone::FORK)), Errno::ENOMEM);
}

#[test]
fn p3_a_new_namespace_has_its_own_largest_number() {
    for (minor, expected) in [(18, 4_194_303), (12, 999)] {
        let version = KernelVersion { major: 6, minor };
        let mut world = World(Kernel::with(Config { version, pid_max: 1_000, ..Config::default() }));
        let host = world.init();
        let init = world.clone_task(host, Clone::INIT);
        world.set_next_pid(init, expected);
        assert_eq!(world.number(init, Call::Clone(Clone::FORK)), expected, "6.{minor}");
        let next = world.number(init, Call::Clone(Clone::FORK));
        assert_eq!(next, 300, "6.{minor}");
    }
}

#[test]
fn p3_a_number_can_be_chosen_by_who_may() {
    let (mut world, init) = World::new();
    let wish = |number| Call::Clone(Clone { set_tid: Some(number), ..Clone::FORK });
    assert_eq!(world.number(init, wish(77)), 77);
    assert_eq!(world.error(init, wish(77)), Errno::EEXIST);
    assert_eq!(world.error(init, wish(0)), Errno::EINVAL);
    let child = world.fork(init);
    assert_eq!(world.pid(child), 2, "a chosen number does not move the cursor");
    world.done(child, Call::Setuid(1000));
    assert_eq!(world.error(child, wish(78)), Errno::EPERM);
}

#[test]
fn p4_a_number_may_be_taken_still_after_wait_has_said_that_nobody_is_left() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::IGNORE);
    let child = world.fork(init);
    let number = world.pid(child);
    world.sleeps(init, Call::Wait4(Wait::any()));
    world.enter(child, Call::ExitGroup(0));
    while world.ready().any(|task| task == child) && world.state(child) != 'X' {
        world.step(child);
    }
    while world.ready().any(|task| task == init) {
        world.step(init);
    }
    assert_eq!(world.woke_with(init), Some(Err(Errno::ECHILD)));
    assert_eq!(world.state(child), 'X', "its own last step is to come");
    assert_eq!(world.find(number), Some(child));
    world.settle();
    assert_eq!(world.find(number), None);
}
