//! G: control groups of version 2, and signals that are taken without a handler.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Mask, Value, Wait};
use doula_sim::kernel::sigset::SigSet;
use doula_sim::kernel::version::{Config, KernelVersion};
use doula_sim::kernel::{CgroupId, Kernel};

fn group(world: &mut World) -> CgroupId {
    world.make_cgroup(CgroupId::ROOT).expect("the root is there")
}

#[test]
fn g1_who_is_born_in_a_group_stays_in_it_with_all_descendants_whatever_sessions_they_make() {
    let (mut world, init) = World::new();
    let leaf = group(&mut world);
    let main = world.clone_task(init, Clone { cgroup: Some(leaf), ..Clone::FORK });
    let child = world.fork(main);
    world.number(child, Call::Setsid);
    let grandchild = world.fork(child);
    world.exit(child, 0);
    world.exit(main, 0);
    assert_eq!(world.cgroup_members(leaf), [grandchild]);
    assert!(world.cgroup_is_within(world.cgroup_of(grandchild), CgroupId::ROOT));
    assert_eq!(world.cgroup_of(init), CgroupId::ROOT);
}

#[test]
fn g2_zombies_do_not_populate_a_group_and_it_can_be_removed_before_they_are_buried() {
    let (mut world, init) = World::new();
    let leaf = group(&mut world);
    let main = world.clone_task(init, Clone { cgroup: Some(leaf), ..Clone::FORK });
    assert_eq!(world.remove_cgroup(leaf), Err(Errno::EBUSY));
    world.exit(main, 0);
    assert!(!world.cgroup_is_populated(leaf));
    assert_eq!(world.remove_cgroup(leaf), Ok(()));
    assert_eq!(world.remove_cgroup(leaf), Err(Errno::ENOENT));
    assert!(matches!(world.reply(init, Call::Wait4(Wait::any())), Ok(Value::Waited(_))));
    assert_eq!(world.remove_cgroup(CgroupId::ROOT), Err(Errno::EBUSY));
}

#[test]
fn g3_a_kill_of_a_group_reaches_everybody_below_and_nobody_beside() {
    let (mut world, init) = World::new();
    let (above, beside) = (group(&mut world), group(&mut world));
    let leaf = world.make_cgroup(above).expect("a group below");
    let inside = world.clone_task(init, Clone { cgroup: Some(leaf), ..Clone::FORK });
    let stopped = world.fork(inside);
    world.kill(init, stopped, Signal::STOP);
    let other = world.clone_task(init, Clone { cgroup: Some(beside), ..Clone::FORK });
    world.kill_cgroup(above);
    assert!(!world.cgroup_is_populated(above));
    assert_eq!((world.end_of(inside), world.end_of(other)), (Some(9), None));
}

#[test]
fn g4_the_limit_of_a_group_counts_all_below_and_zombies_too() {
    let (mut world, init) = World::new();
    let above = group(&mut world);
    let leaf = world.make_cgroup(above).expect("a group below");
    world.limit_cgroup(above, 2);
    let how = Clone { cgroup: Some(leaf), ..Clone::FORK };
    let one = world.clone_task(init, how);
    let two = world.fork(one);
    assert_eq!(world.error(one, Call::Clone(Clone::FORK)), Errno::EAGAIN);
    assert_eq!(world.error(init, Call::Clone(how)), Errno::EAGAIN);
    world.exit(two, 0);
    assert_eq!(world.error(one, Call::Clone(Clone::FORK)), Errno::EAGAIN);
    world.reply(one, Call::Wait4(Wait::any())).expect("the zombie");
    world.fork(one);
    world.fork(init);
}

#[test]
fn g5_a_kill_of_a_group_can_miss_the_last_birth_if_the_last_before_it_is_its_parent() {
    for (version, is_missed) in [(KernelVersion::V6_18, true), (KernelVersion { major: 6, minor: 13 }, false)]
    {
        let mut world = World(Kernel::with(Config { version, ..Config::default() }));
        let init = world.init();
        let leaf = group(&mut world);
        let main = world.clone_task(init, Clone { cgroup: Some(leaf), ..Clone::FORK });
        let child = world.fork(main);
        let missed = world.kill_cgroup_but_last_born(leaf);
        assert_eq!(missed, Some(child).filter(|_| is_missed));
        assert_eq!((world.end_of(main), world.cgroup_is_populated(leaf)), (Some(9), is_missed));
        if is_missed {
            // It lives on as if nothing had been, and the next kill is for it too.
            let grandchild = world.fork(child);
            assert_eq!(world.cgroup_members(leaf), [child, grandchild]);
            world.kill_cgroup(leaf);
            assert!(!world.cgroup_is_populated(leaf));
        }
    }
}

#[test]
fn g5_a_kill_of_a_group_misses_nobody_whose_parent_is_not_the_last_before_it() {
    let (mut world, init) = World::new();
    let leaf = group(&mut world);
    let main = world.clone_task(init, Clone { cgroup: Some(leaf), ..Clone::FORK });
    let (first, second) = (world.fork(main), world.fork(main));
    assert_eq!(world.kill_cgroup_but_last_born(leaf), None);
    assert!(!world.cgroup_is_populated(leaf));
    assert_eq!([main, first, second].map(|task| world.end_of(task)), [Some(9); 3]);
    // Nor anybody who is alone: its parent is outside.
    let alone = group(&mut world);
    world.clone_task(init, Clone { cgroup: Some(alone), ..Clone::FORK });
    assert_eq!(world.kill_cgroup_but_last_born(alone), None);
    assert!(!world.cgroup_is_populated(alone));
}

#[test]
fn r14_a_blocked_signal_is_taken_without_a_handler_and_once() {
    let (mut world, init) = World::new();
    let task = world.fork(init);
    let set = SigSet::of(&[Signal::CHLD, Signal::TERM]);
    world.reply(task, Call::Sigprocmask(Mask::Block, set)).expect("a mask");
    assert_eq!(world.error(task, Call::Sigtake(set)), Errno::EAGAIN);
    for _ in 0..3 {
        world.kill(init, task, Signal::TERM);
    }
    let child = world.fork(task);
    world.exit(child, 0);
    assert_eq!(world.number(task, Call::Sigtake(set)), Signal::TERM.number());
    assert_eq!(world.number(task, Call::Sigtake(set)), Signal::CHLD.number());
    assert_eq!(world.error(task, Call::Sigtake(set)), Errno::EAGAIN);
}
