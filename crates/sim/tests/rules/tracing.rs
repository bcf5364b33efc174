//! R15: tracing, and its letter `t`.

use crate::world::{STOPPED, World};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Value, Wait, Waited};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::{TaskId, Trace};

/// The status of a stop at this signal.
fn stop(signal: Signal) -> i32 {
    signal.number() << 8 | 0x7f
}

/// What wait4(2) of a number finds without sleeping, and without WUNTRACED.
fn wait4(world: &mut World, by: TaskId, pid: i32) -> Option<i32> {
    match world.reply(by, Call::Wait4(Wait::pid(pid).no_hang())).expect("a child or a tracee") {
        Value::Waited(Waited { status, .. }) => Some(status),
        Value::Number(_) | Value::Signals(_) | Value::Pair(..) | Value::Bytes(_) | Value::Pages(_) => None,
    }
}

/// Init, a parent, its child (PID 3), and a tracer that is a stranger to it and has attached to it; the child is in `t`.
fn traced() -> (World, TaskId, TaskId, TaskId) {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    let child = world.fork(parent);
    let tracer = world.fork(init);
    world.ptrace(tracer, Trace::Attach(3)).expect("to attach");
    assert_eq!((world.state(child), wait4(&mut world, tracer, 3)), ('t', Some(stop(Signal::STOP))));
    (world, parent, child, tracer)
}

#[test]
fn r15_who_is_traced_by_its_parent_stops_in_t_at_each_signal_and_wait_tells_without_wuntraced() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.ptrace(child, Trace::Me).expect("to be traced");
    assert_eq!(world.ptrace(child, Trace::Me), Err(Errno::EPERM), "once");
    // Also what it would ignore.
    for signal in [Signal::TERM, Signal::CHLD, Signal::USR1] {
        world.kill(init, child, signal);
        assert_eq!((world.state(child), wait4(&mut world, init, 2)), ('t', Some(stop(signal))));
        assert_eq!(wait4(&mut world, init, 2), None, "once");
        world.ptrace(init, Trace::Continue(2, 0)).expect("to go on");
        assert_eq!(
            (world.state(child), world.caught(child)),
            ('R', vec![]),
            "the tracer has kept the signal"
        );
    }
    assert_eq!(world.ptrace(init, Trace::Continue(2, 0)), Err(Errno::ESRCH), "it does not stand");
}

#[test]
fn r15_the_tracer_says_which_signal_is_delivered() {
    let (mut world, _, child, tracer) = traced();
    assert_eq!(world.ptrace(tracer, Trace::Continue(3, 65)), Err(Errno::EIO));
    world.ptrace(tracer, Trace::Continue(3, 0)).expect("to go on");
    world.act(child, Signal::USR2, Action::HANDLER);
    world.kill(tracer, child, Signal::USR1);
    world.ptrace(tracer, Trace::Continue(3, Signal::USR2.number())).expect("to go on");
    assert_eq!((world.state(child), world.caught(child)), ('R', vec![Signal::USR2.number()]));
    world.kill(tracer, child, Signal::TERM);
    world.ptrace(tracer, Trace::Continue(3, Signal::TERM.number())).expect("to go on");
    assert_eq!((world.state(child), wait4(&mut world, tracer, 3)), ('Z', Some(Signal::TERM.number())));
}

#[test]
fn r15_sigkill_needs_no_tracer_and_sigcont_does_not_continue_who_is_traced() {
    let (mut world, parent, child, tracer) = traced();
    world.kill(parent, child, Signal::CONT);
    assert_eq!(world.state(child), 't');
    world.kill(parent, child, Signal::KILL);
    assert_eq!((world.state(child), wait4(&mut world, tracer, 3)), ('Z', Some(9)));
}

#[test]
fn r15_the_end_is_told_to_the_tracer_first_and_then_to_the_parent() {
    let (mut world, parent, child, tracer) = traced();
    for task in [parent, tracer] {
        world.act(task, Signal::CHLD, Action::HANDLER);
    }
    world.kill(parent, child, Signal::KILL);
    assert_eq!((world.caught(parent).len(), world.caught(tracer).len()), (0, 1));
    assert_eq!(wait4(&mut world, parent, 3), None, "it is there, and not the parent's yet");
    assert_eq!(wait4(&mut world, tracer, 3), Some(9));
    assert_eq!((world.state(child), world.caught(parent).len()), ('Z', 1));
    assert_eq!((wait4(&mut world, parent, 3), world.state(child)), (Some(9), '-'));
    assert_eq!(world.error(tracer, Call::Wait4(Wait::any().no_hang())), Errno::ECHILD);
}

#[test]
fn r15_a_tracer_that_ends_lets_go_or_kills() {
    for kills in [false, true] {
        let (mut world, init) = World::new();
        let (child, tracer) = (world.fork(init), world.fork(init));
        world.ptrace(tracer, Trace::Seize(2, kills)).expect("to seize");
        assert_eq!(world.state(child), 'R', "who is seized is not stopped");
        world.ptrace(tracer, Trace::Interrupt(2)).expect("to interrupt");
        let event = Some(0x80 << 16 | 5 << 8 | 0x7f);
        assert_eq!((world.state(child), wait4(&mut world, tracer, 2)), ('t', event));
        world.exit(tracer, 0);
        assert_eq!(world.state(child), if kills { 'Z' } else { 'R' });
    }
}

#[test]
fn r15_the_parent_sees_a_stop_of_the_process_and_a_detached_one_stays_in_it() {
    let (mut world, parent, child, tracer) = traced();
    assert_eq!(
        world.reply(parent, Call::Waitid(STOPPED.no_hang())),
        Ok(Value::ZERO),
        "that was the tracer's"
    );
    world.ptrace(tracer, Trace::Continue(3, Signal::STOP.number())).expect("to go on");
    assert_eq!((world.state(child), wait4(&mut world, tracer, 3)), ('t', Some(stop(Signal::STOP))));
    assert_eq!(world.wait(parent, STOPPED), (3, stop(Signal::STOP)));
    world.ptrace(tracer, Trace::Detach(3, 0)).expect("to let go");
    assert_eq!(world.state(child), 'T');
    world.kill(parent, child, Signal::CONT);
    assert_eq!(world.state(child), 'R');
}

#[test]
fn r15_whom_nobody_may_trace() {
    let (mut world, _, child, tracer) = traced();
    let third = world.fork(tracer);
    assert_eq!(world.ptrace(third, Trace::Attach(3)), Err(Errno::EPERM), "one tracer");
    assert_eq!(world.ptrace(third, Trace::Continue(3, 0)), Err(Errno::ESRCH), "it is not ours");
    assert_eq!(world.ptrace(third, Trace::Attach(5)), Err(Errno::EPERM), "oneself");
    assert_eq!(world.ptrace(third, Trace::Attach(99)), Err(Errno::ESRCH));
    world.done(third, Call::Setuid(1));
    assert_eq!(world.ptrace(third, Trace::Attach(4)), Err(Errno::EPERM), "a stranger's");
    assert_eq!(world.ptrace(tracer, Trace::Interrupt(3)), Err(Errno::EIO), "it was not seized");
    assert_eq!(world.state(child), 't');
    let kernel = doula_sim::kernel::Kernel::new().with_kernel_threads(1);
    let mut world = World(kernel);
    let init = world.init();
    assert_eq!(world.ptrace(init, Trace::Attach(3)), Err(Errno::EPERM), "a thread of the kernel");
}

#[test]
fn r15_who_was_seized_stops_once_more_when_its_process_goes_on() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.ptrace(init, Trace::Seize(2, false)).expect("to seize");
    world.kill(init, child, Signal::STOP);
    world.ptrace(init, Trace::Continue(2, Signal::STOP.number())).expect("to go on");
    let event = |signal: i32| Some(0x80 << 16 | signal << 8 | 0x7f);
    assert_eq!(wait4(&mut world, init, 2), event(Signal::STOP.number()));
    world.ptrace(init, Trace::Continue(2, 0)).expect("to go on");
    assert_eq!(world.state(child), 'R', "out of a stop that goes on");
    world.ptrace(init, Trace::Interrupt(2)).expect("to interrupt");
    assert_eq!(wait4(&mut world, init, 2), event(Signal::STOP.number()), "the stop is still there");
    world.kill(init, child, Signal::CONT);
    world.ptrace(init, Trace::Continue(2, 0)).expect("to go on");
    assert_eq!(wait4(&mut world, init, 2), event(5), "it is over");
    world.ptrace(init, Trace::Continue(2, 0)).expect("to go on");
    assert_eq!(wait4(&mut world, init, 2), Some(stop(Signal::CONT)), "and the signal comes after that");
}

#[test]
fn r15_sigcont_undoes_a_stop_that_was_not_delivered_yet() {
    for undone in [false, true] {
        let (mut world, parent, child, tracer) = traced();
        if undone {
            world.kill(parent, child, Signal::CONT);
        }
        world.ptrace(tracer, Trace::Continue(3, Signal::STOP.number())).expect("to go on");
        let next = if undone { Signal::CONT } else { Signal::STOP };
        assert_eq!(wait4(&mut world, tracer, 3), Some(stop(next)));
        let stopped = world.reply(parent, Call::Waitid(STOPPED.no_hang()));
        assert_eq!(stopped == Ok(Value::ZERO), undone);
    }
}

#[test]
fn r15_of_a_tracer_that_ends_a_signal_remains_that_it_was_not_told_of() {
    for told in [false, true] {
        let (mut world, init) = World::new();
        let (child, tracer) = (world.fork(init), world.fork(init));
        world.act(child, Signal::USR1, Action::HANDLER);
        world.ptrace(tracer, Trace::Seize(2, false)).expect("to seize");
        world.kill(init, child, Signal::USR1);
        if told {
            wait4(&mut world, tracer, 2);
        }
        world.exit(tracer, 0);
        let caught = if told { vec![] } else { vec![Signal::USR1.number()] };
        assert_eq!((world.state(child), world.caught(child)), ('R', caught));
    }
}

#[test]
fn r15_of_a_tracer_that_ends_the_signal_comes_before_what_its_end_sends() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    let how = Clone { exit_signal: Some(Signal::USR1), ..Clone::FORK };
    let tracer = world.clone_task(parent, how);
    world.ptrace(tracer, Trace::Attach(2)).expect("to attach to the parent");
    world.exit(tracer, 0);
    assert_eq!(world.state(parent), 'T', "of SIGSTOP; SIGUSR1 would end it");
}

#[test]
fn r15_who_is_stopped_already_stands_at_its_own_stop_first() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.number(parent, Call::Setsid);
    let child = world.fork(parent);
    world.done(child, Call::Setpgid(0, 0));
    world.kill(parent, child, Signal::TTIN);
    world.ptrace(init, Trace::Attach(3)).expect("to attach");
    assert_eq!((world.state(child), wait4(&mut world, init, 3)), ('t', Some(stop(Signal::TTIN))));
    world.ptrace(init, Trace::Continue(3, 0)).expect("to go on");
    assert_eq!(wait4(&mut world, init, 3), Some(stop(Signal::STOP)), "then at that of its tracer");
    world.ptrace(init, Trace::Detach(3, 0)).expect("to let go");
    assert_eq!(world.state(child), 'T');
    world.kill(parent, child, Signal::CONT);
    assert_eq!(world.state(child), 'R');
}

#[test]
fn r15_a_handler_blocks_its_signal_until_nothing_is_left_to_stop_for() {
    let (mut world, _, child, tracer) = traced();
    world.ptrace(tracer, Trace::Continue(3, 0)).expect("to go on");
    world.act(child, Signal::USR1, Action::HANDLER);
    world.kill(tracer, child, Signal::USR1);
    for signal in [Signal::USR1, Signal::USR2] {
        world.kill(tracer, child, signal);
    }
    world.ptrace(tracer, Trace::Continue(3, Signal::USR1.number())).expect("to go on");
    assert_eq!(wait4(&mut world, tracer, 3), Some(stop(Signal::USR2)), "the handler of the other runs");
    world.ptrace(tracer, Trace::Continue(3, 0)).expect("to go on");
    assert_eq!(world.caught(child), [Signal::USR1.number()]);
    assert_eq!(wait4(&mut world, tracer, 3), Some(stop(Signal::USR1)), "it has run");
}

#[test]
fn r15_root_traces_anybody_and_others_those_of_their_own_programs() {
    let (mut world, init) = World::new();
    let (one, other) = (world.fork(init), world.fork(init));
    world.done(one, Call::Setuid(1));
    let child = world.fork(one);
    world.done(other, Call::Setuid(1));
    assert_eq!(world.ptrace(one, Trace::Attach(1)), Err(Errno::EPERM), "root's");
    assert_eq!(world.ptrace(one, Trace::Attach(3)), Err(Errno::EPERM), "it has what it had as root");
    assert_eq!(world.ptrace(one, Trace::Attach(4)), Err(Errno::EPERM), "so has a child of such a one");
    world.ptrace(child, Trace::Me).expect("that is its own wish");
    world.ptrace(init, Trace::Attach(3)).expect("root may");
    let root = world.fork(init);
    world.done(init, Call::Setuid(1));
    assert_eq!(world.ptrace(root, Trace::Me), Err(Errno::EPERM), "the parent has fewer rights");
}
