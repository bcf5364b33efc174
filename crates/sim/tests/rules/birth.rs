//! P5 to P11: birth.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Mask, Value, Wait};
use doula_sim::kernel::sigset::{Action, SigSet};
use doula_sim::kernel::version::{Config, Order};
use doula_sim::kernel::{Fault, ForkStep, Kernel};

#[test]
fn p5_the_limit_of_a_user_does_not_bind_root_and_that_of_the_machine_does() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.done(child, Call::LimitProcesses(1));
    world.fork(child);
    world.done(child, Call::Setuid(65_534));
    assert_eq!(world.error(child, Call::Clone(Clone::FORK)), Errno::EAGAIN);

    let mut world = World(Kernel::with(Config { max_threads: 2, ..Config::default() }));
    let init = world.init();
    world.fork(init);
    assert_eq!(world.error(init, Call::Clone(Clone::FORK)), Errno::EAGAIN);
}

#[test]
fn p5_the_limit_counts_all_threads_of_the_user() {
    let (mut world, init) = World::new();
    let one = world.fork(init);
    world.done(one, Call::Setuid(7));
    world.fork(one);
    world.done(one, Call::LimitProcesses(2));
    assert_eq!(world.error(one, Call::Clone(Clone::THREAD)), Errno::EAGAIN);
    world.done(one, Call::LimitProcesses(3));
    world.clone_task(one, Clone::THREAD);
}

#[test]
fn p6_a_signal_that_was_sent_before_is_taken_before_and_the_child_has_no_part_in_it() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.act(parent, Signal::USR1, Action::HANDLER);
    let number = world.pid(parent);
    world.enter(init, Call::Kill(number, Signal::USR1.number()));
    world.enter(parent, Call::Clone(Clone::FORK));
    world.step(parent);
    assert_eq!(world.caught(parent), [Signal::USR1.number()], "before the child is born");
    assert_eq!(world.tasks().count(), 2);
    world.settle();
    let Some(Ok(Value::Number(child))) = world.woke_with(parent) else { panic!("a child") };
    let child = world.find(child).expect("a child");
    assert_eq!(world.caught(child), [], "the child was born after it");
}

#[test]
fn p6_a_signal_to_the_group_reaches_the_parent_alone_or_both() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.done(parent, Call::Setpgid(0, 0));
    let group = world.pid(parent);
    let (fork, kill) = (Call::Clone(Clone::FORK), Call::Kill(-group, Signal::TERM.number()));
    let mut late = world.clone();
    late.enter(parent, fork.clone());
    late.enter(init, kill.clone());
    late.settle();
    assert_eq!(late.tasks().map(|task| late.state(task)).collect::<String>(), "RZZ", "both died");
    world.enter(init, kill);
    world.enter(parent, fork);
    world.settle();
    assert_eq!(world.tasks().map(|task| world.state(task)).collect::<String>(), "RZ", "nobody was born");
}

#[test]
fn p7_what_a_child_has_from_its_parent() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.number(parent, Call::Setsid);
    let mask = SigSet::of(&[Signal::USR2]);
    world.reply(parent, Call::Sigprocmask(Mask::Set, mask)).expect("a mask");
    world.act(parent, Signal::USR1, Action::IGNORE);
    world.done(parent, Call::SetSubreaper(true));
    let child = world.fork(parent);
    let (one, other) = (world.look(parent).expect("a parent"), world.look(child).expect("a child"));
    assert_eq!((other.pgid, other.sid, other.ppid), (one.pgid, one.sid, one.pid));
    let old = world.reply(child, Call::Sigprocmask(Mask::Block, SigSet::EMPTY));
    assert_eq!(old, Ok(Value::Signals(mask)));
    world.kill(init, child, Signal::USR1);
    assert_eq!(world.state(child), 'R', "what was ignored is ignored");
    let grandchild = world.fork(child);
    world.exit(child, 0);
    assert_eq!(world.ppid(grandchild), one.pid, "it knows of the subreaper above");
}

#[test]
fn p8_what_a_child_has_not_from_its_parent() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    let blocked = SigSet::of(&[Signal::USR1]);
    world.reply(parent, Call::Sigprocmask(Mask::Block, blocked)).expect("a mask");
    world.kill(init, parent, Signal::USR1);
    world.done(parent, Call::Alarm(9));
    world.done(parent, Call::SetParentDeathSignal(Some(Signal::USR1)));
    world.done(parent, Call::SetSubreaper(true));
    let child = world.fork(parent);
    assert_eq!(world.reply(child, Call::Sigpending), Ok(Value::Signals(SigSet::EMPTY)));
    assert_eq!(world.reply(parent, Call::Sigpending), Ok(Value::Signals(blocked)));
    assert_eq!(world.number(child, Call::Alarm(0)), 0);
    assert_eq!(world.number(parent, Call::Alarm(0)), 9);
    assert_eq!(world.number(child, Call::GetParentDeathSignal), 0);
    let middle = world.fork(child);
    let orphan = world.fork(middle);
    world.exit(middle, 0);
    assert_eq!(world.ppid(orphan), world.pid(parent), "the parent is the subreaper, the child is none");
}

#[test]
fn p9_each_has_its_own_answer_and_who_runs_first_is_open() {
    let (mut world, init) = World::new();
    world.enter(init, Call::Clone(Clone::FORK));
    let child = world.tasks().find(|task| *task != init).expect("a child");
    assert_eq!(world.ready().collect::<Vec<_>>(), [init, child]);
    world.settle();
    assert_eq!(world.woke_with(child), Some(Ok(Value::Number(0))));
    assert_eq!(world.woke_with(init), Some(Ok(Value::Number(2))));
}

#[test]
fn p9_the_parents_answer_is_in_its_own_namespace() {
    let (mut world, host) = World::new();
    world.fork(host);
    let init = world.clone_task(host, Clone::INIT);
    assert_eq!((world.pid(init), world.number(init, Call::Getpid)), (3, 1));
    assert_eq!(world.number(init, Call::Getppid), 0, "the parent is not to be seen from inside");
    assert_eq!(world.number(init, Call::Clone(Clone::FORK)), 2);
}

#[test]
fn p10_the_parent_of_vfork_waits_in_d_until_the_childs_end() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.sleeps(parent, Call::Clone(Clone::VFORK));
    let child = world.find(3).expect("a child");
    assert_eq!(world.state(parent), 'D');
    world.act(init, Signal::CHLD, Action::HANDLER);
    world.kill(init, parent, Signal::STOP);
    assert_eq!(world.state(parent), 'D', "a stop has to wait");
    world.kill(init, parent, Signal::CONT);
    world.exit(child, 0);
    assert_eq!(world.woke_with(parent), Some(Ok(Value::Number(3))));
}

#[test]
fn p10_a_deadly_signal_ends_the_wait_of_vfork_and_the_child_lives_on() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.sleeps(parent, Call::Clone(Clone::VFORK));
    let child = world.find(3).expect("a child");
    world.kill(init, parent, Signal::TERM);
    assert_eq!((world.state(parent), world.state(child)), ('Z', 'R'));
    assert_eq!(world.wait(init, Wait::any()), (2, Signal::TERM.number()));
    world.exit(child, 0);
}

#[test]
fn p11_wishes_that_exclude_each_other_are_einval() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    let bad = [
        Clone { sighand: false, ..Clone::THREAD },
        Clone { vm: false, ..Clone::THREAD },
        Clone { exit_signal: Some(Signal::CHLD), ..Clone::THREAD },
        Clone { new_pid: true, ..Clone::THREAD },
    ];
    for how in bad {
        assert_eq!(world.error(child, Call::Clone(how)), Errno::EINVAL, "{how:?}");
    }
    let sibling = Clone { parent: true, exit_signal: None, ..Clone::FORK };
    assert_eq!(world.error(init, Call::Clone(sibling)), Errno::EINVAL, "init has no siblings");
    let born = world.clone_task(child, sibling);
    assert_eq!(world.ppid(born), 1);
    world.exit(born, 3);
    assert_eq!(world.wait(init, Wait::any()), (3, 3 << 8));
}

#[test]
fn p12_a_birth_that_fails_at_any_step_leaves_nothing_behind() {
    for order in [Order::Linux, Order::Textbook] {
        for step in ForkStep::order(order) {
            let mut world = World(Kernel::with(Config { order, ..Config::default() }));
            let init = world.init();
            world.reply(init, Call::Pipe(false)).expect("a pipe");
            world.number(init, Call::Mmap(3, true));
            world.number(init, Call::Touch(0, 3));
            world.set_next_pid(init, 50);
            let before = world.state_hash();
            for how in [Clone::FORK, Clone::THREAD, Clone::INIT, Clone::VFORK] {
                world.inject(Fault::Fork(*step, Errno::ENOMEM));
                assert_eq!(world.error(init, Call::Clone(how)), Errno::ENOMEM, "{step:?}");
                world.set_next_pid(init, 50);
                assert_eq!(world.state_hash(), before, "{order:?} {step:?} {how:?}");
            }
        }
    }
}

#[test]
fn p12_a_birth_that_fails_uses_up_the_number_that_it_had() {
    let (mut world, init) = World::new();
    world.inject(Fault::Fork(ForkStep::Link, Errno::EINTR));
    assert_eq!(world.error(init, Call::Clone(Clone::FORK)), Errno::EINTR);
    assert_eq!(world.number(init, Call::Clone(Clone::FORK)), 3);
}
