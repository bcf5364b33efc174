//! R15: the kernel's own threads, and their letter `I`.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Wait};
use doula_sim::kernel::{Kernel, TaskId};

/// A machine with kthreadd and one idle thread of the kernel.
fn machine() -> (World, TaskId, [TaskId; 2]) {
    let world = World(Kernel::new().with_kernel_threads(1));
    let (init, threads) =
        (world.init(), [2, 3].map(|number| world.find(number).expect("a thread of the kernel")));
    (world, init, threads)
}

#[test]
fn r15_kthreadd_sleeps_and_idle_threads_of_the_kernel_are_i() {
    let (mut world, init, [kthreadd, idle]) = machine();
    assert_eq!((world.state(kthreadd), world.state(idle)), ('S', 'I'));
    for (thread, parent) in [(kthreadd, 0), (idle, 2)] {
        let look = world.look(thread).expect("it is there");
        assert_eq!((look.ppid, look.pgid, look.sid, look.foreground), (parent, 0, 0, -1));
    }
    let child = world.fork(init);
    assert_eq!(world.pid(child), 4, "they have the numbers after init's");
}

#[test]
fn r15_threads_of_the_kernel_ignore_all_signals_and_kill_says_that_all_is_well() {
    let (mut world, init, threads) = machine();
    let before = threads.map(|thread| (world.birth(thread), world.state(thread)));
    for signal in Signal::all() {
        for pid in [2, 3, -1] {
            world.done(init, Call::Kill(pid, signal.number()));
        }
        world.done(init, Call::Tgkill(3, 3, signal.number()));
    }
    assert_eq!(threads.map(|thread| (world.birth(thread), world.state(thread))), before);
    let stranger = world.fork(init);
    world.done(stranger, Call::Setuid(1));
    assert_eq!(world.error(stranger, Call::Kill(2, 9)), Errno::EPERM, "they are root's");
}

#[test]
fn r15_threads_of_the_kernel_are_nobodys_to_wait_for_or_to_move() {
    let (mut world, init, _) = machine();
    assert_eq!(world.error(init, Call::Wait4(Wait::any())), Errno::ECHILD);
    assert_eq!(world.error(init, Call::Wait4(Wait { all: true, ..Wait::pid(2) })), Errno::ECHILD);
    assert_eq!(world.error(init, Call::Setpgid(3, 1)), Errno::ESRCH);
    assert_eq!(world.number(init, Call::Getpgid(3)), 0);
    assert_eq!(world.number(init, Call::Getsid(2)), 0);
}

#[test]
fn r15_threads_of_the_kernel_are_not_seen_in_other_namespaces() {
    let (mut world, init, threads) = machine();
    let inner = world.clone_task(init, Clone::INIT);
    assert_eq!(threads.map(|thread| world.seen(inner, thread)), [0, 0]);
    assert_eq!(world.error(inner, Call::Kill(2, 0)), Errno::ESRCH);
    assert_eq!(world.error(inner, Call::Kill(-1, 9)), Errno::ESRCH);
    world.exit(inner, 0);
    assert_eq!((world.state(inner), world.state(threads[1])), ('Z', 'I'), "a namespace ends without them");
}
