//! C1 to C4: copy-on-write.

use crate::world::World;
use doula_model::plan::Errno;
use doula_sim::kernel::call::{Advice, Call, Clone};
use doula_sim::kernel::version::Config;
use doula_sim::kernel::{Kernel, PAGE_BYTES, TaskId};

/// 64 MiB.
const MANY: u32 = 16_384;

/// A parent that has written so many pages, and its child.
fn family(pages: u32, shared: bool) -> (World, TaskId, TaskId) {
    let (mut world, parent) = World::new();
    world.number(parent, Call::Mmap(pages, shared));
    world.number(parent, Call::Touch(0, pages));
    let child = world.fork(parent);
    (world, parent, child)
}

#[test]
fn c1_after_fork_both_have_all_pages_resident_and_half_of_each() {
    let (world, parent, child) = family(MANY, false);
    for task in [parent, child] {
        let usage = world.usage(task);
        assert_eq!((usage.resident, usage.shared, usage.private), (16_384, 16_384, 0));
        assert_eq!(usage.proportional, 16_384 * PAGE_BYTES / 2);
    }
    assert_eq!((world.usage(parent).faults, world.usage(child).faults), (16_384, 0));
    assert_eq!(world.frames_in_use(), 16_384);
}

#[test]
fn c2_each_page_that_is_written_costs_one_fault_and_one_copy() {
    let (mut world, parent, child) = family(MANY, false);
    world.number(child, Call::Touch(0, 4096));
    world.number(child, Call::Touch(0, 4096));
    let usage = world.usage(child);
    assert_eq!((usage.faults, usage.copies, usage.private), (4096, 4096, 4096));
    assert_eq!(world.usage(parent).private, 4096, "whose partner has a page of its own has its own alone");
    assert_eq!(world.frames_in_use(), 16_384 + 4096);
}

#[test]
fn c3_the_last_who_has_a_page_faults_once_and_keeps_it() {
    let (mut world, parent, child) = family(MANY, false);
    world.exit(child, 0);
    world.number(parent, Call::Touch(0, MANY));
    let usage = world.usage(parent);
    assert_eq!((usage.faults - 16_384, usage.copies), (16_384, 0));
    assert_eq!(world.frames_in_use(), 16_384);
}

#[test]
fn c4_shared_memory_is_never_copied_and_advice_keeps_it_from_children() {
    let (mut world, parent, child) = family(10, true);
    world.number(child, Call::Touch(0, 10));
    assert_eq!((world.usage(child).copies, world.usage(parent).shared), (0, 10));
    for (advice, resident, reply) in [
        (Advice::DontFork, 0, Err(Errno::EFAULT)),
        (Advice::WipeOnFork, 0, Ok(10)),
        (Advice::Normal, 10, Ok(10)),
    ] {
        let (mut world, parent) = World::new();
        world.number(parent, Call::Mmap(10, false));
        world.number(parent, Call::Touch(0, 10));
        world.done(parent, Call::Madvise(0, advice));
        let child = world.fork(parent);
        assert_eq!(world.usage(child).resident, resident);
        let touched = world.reply(child, Call::Touch(0, 10)).map(|_| world.usage(child).private);
        assert_eq!(touched, reply, "{advice:?}");
    }
}

#[test]
fn c4_the_child_of_vfork_writes_to_its_parents_memory() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.number(parent, Call::Mmap(5, false));
    world.sleeps(parent, Call::Clone(Clone::VFORK));
    let child = world.find(3).expect("a child");
    world.number(child, Call::Touch(0, 5));
    assert_eq!((world.usage(parent).resident, world.usage(parent).copies), (5, 0));
    world.exit(child, 0);
    assert_eq!((world.usage(parent).resident, world.frames_in_use()), (5, 5));
}

#[test]
fn c5_an_address_space_has_a_limit_and_a_dead_process_holds_no_page() {
    let mut world = World(Kernel::with(Config { pages: 100, ..Config::default() }));
    let init = world.init();
    let child = world.fork(init);
    world.number(child, Call::Mmap(60, false));
    assert_eq!(world.error(child, Call::Mmap(41, false)), Errno::ENOMEM);
    world.number(child, Call::Touch(0, 60));
    world.exit(child, 0);
    assert_eq!((world.state(child), world.frames_in_use()), ('Z', 0), "a zombie has no memory");
}
