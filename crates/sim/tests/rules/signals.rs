//! R12 to R15: signals.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Mask, Wait};
use doula_sim::kernel::sigset::{Action, Code, SigSet};

const RT: i32 = 40;

#[test]
fn r12_whom_kill_means() {
    let (mut world, init) = World::new();
    let (one, two) = (world.fork(init), world.fork(init));
    world.done(two, Call::Setpgid(0, 0));
    for task in [init, one, two] {
        world.act(task, Signal::USR1, Action::HANDLER);
    }
    let mut reached = |to: i32| {
        world.done(one, Call::Kill(to, Signal::USR1.number()));
        [init, one, two].map(|task| world.caught(task).len())
    };
    assert_eq!(reached(3), [0, 0, 1], "one process");
    assert_eq!(reached(0), [1, 1, 0], "the own group");
    assert_eq!(reached(-3), [0, 0, 1], "a group");
    assert_eq!(reached(-1), [0, 0, 1], "all but init and oneself");
}

#[test]
fn r12_how_kill_fails() {
    let (mut world, init) = World::new();
    assert_eq!(world.error(init, Call::Kill(-1, 15)), Errno::ESRCH, "nobody else is there");
    let child = world.fork(init);
    assert_eq!(world.error(init, Call::Kill(99, 0)), Errno::ESRCH);
    assert_eq!(world.error(init, Call::Kill(-99, 0)), Errno::ESRCH);
    assert_eq!(world.error(init, Call::Kill(2, 65)), Errno::EINVAL);
    world.done(init, Call::Kill(2, 0));
    let (stranger, other) = (world.fork(init), world.fork(init));
    world.done(stranger, Call::Setuid(1));
    world.done(child, Call::Setuid(2));
    assert_eq!(world.error(stranger, Call::Kill(2, 0)), Errno::EPERM);
    world.done(stranger, Call::Kill(2, Signal::CONT.number()));
    world.number(child, Call::Setsid);
    assert_eq!(world.error(stranger, Call::Kill(2, Signal::CONT.number())), Errno::EPERM);
    world.done(other, Call::Setuid(1));
    world.done(stranger, Call::Kill(0, 0));
    assert_eq!(world.error(stranger, Call::Kill(-2, 0)), Errno::EPERM, "it reached nobody");
}

#[test]
fn r13_a_stop_and_a_continue_undo_each_other_wherever_they_wait() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    let both = SigSet::of(&[Signal::CONT, Signal::TSTP, Signal::TTIN]);
    world.reply(child, Call::Sigprocmask(Mask::Block, both)).expect("a mask");
    let pending = |world: &mut World| world.reply(child, Call::Sigpending);
    world.kill(init, child, Signal::TSTP);
    world.kill(init, child, Signal::CONT);
    let continued = SigSet::of(&[Signal::CONT]);
    assert_eq!(pending(&mut world), Ok(doula_sim::kernel::call::Value::Signals(continued)));
    world.kill(init, child, Signal::TTIN);
    let stopped = SigSet::of(&[Signal::TTIN]);
    assert_eq!(pending(&mut world), Ok(doula_sim::kernel::call::Value::Signals(stopped)));
}

#[test]
fn r13_a_continue_works_also_when_it_is_blocked_or_ignored() {
    for action in [Action::DEFAULT, Action::IGNORE, Action::HANDLER] {
        let (mut world, init) = World::new();
        let child = world.fork(init);
        world.act(child, Signal::CONT, action);
        let mask = SigSet::of(&[Signal::CONT]);
        world.reply(child, Call::Sigprocmask(Mask::Block, mask)).expect("a mask");
        world.kill(init, child, Signal::STOP);
        assert_eq!(world.state(child), 'T');
        world.kill(init, child, Signal::CONT);
        assert_eq!(world.state(child), 'R');
    }
}

#[test]
fn r13_who_is_stopped_dies_of_sigkill_at_once_and_of_others_when_it_goes_on() {
    let (mut world, init) = World::new();
    let (one, two) = (world.fork(init), world.fork(init));
    for task in [one, two] {
        world.kill(init, task, Signal::STOP);
    }
    world.kill(init, one, Signal::KILL);
    world.kill(init, two, Signal::TERM);
    assert_eq!((world.state(one), world.state(two)), ('Z', 'T'));
    world.kill(init, two, Signal::CONT);
    assert_eq!(world.state(two), 'Z');
}

#[test]
fn r14_faults_come_first_then_the_lowest_number() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    let all = SigSet::of(&[Signal::HUP, Signal::SEGV, Signal::USR1]);
    for signal in all.iter() {
        world.act(child, signal, Action::HANDLER);
    }
    world.reply(child, Call::Sigprocmask(Mask::Block, all)).expect("a mask");
    for signal in [Signal::USR1, Signal::SEGV, Signal::HUP] {
        world.done(init, Call::Tgkill(2, 2, signal.number()));
    }
    world.reply(child, Call::Sigprocmask(Mask::Unblock, all)).expect("a mask");
    assert_eq!(world.caught(child), [Signal::SEGV, Signal::HUP, Signal::USR1].map(Signal::number));
}

#[test]
fn r14_standard_signals_collapse_and_real_time_signals_queue() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    let real_time = Signal::new(RT).expect("a signal");
    let both = SigSet::of(&[Signal::USR1, real_time]);
    for signal in both.iter() {
        world.act(child, signal, Action::HANDLER);
    }
    world.reply(child, Call::Sigprocmask(Mask::Block, both)).expect("a mask");
    for number in 0..3 {
        world.done(init, Call::Sigqueue(2, RT, number));
        world.done(init, Call::Sigqueue(2, Signal::USR1.number(), number));
    }
    world.reply(child, Call::Sigprocmask(Mask::Set, SigSet::EMPTY)).expect("a mask");
    let codes: Vec<Code> = world.take_caught(child).iter().map(|info| info.code).collect();
    assert_eq!(codes, [0, 0, 1, 2].map(Code::Queue));
}

#[test]
fn r14_a_process_that_is_marked_for_death_takes_no_other_signal() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.act(child, Signal::USR1, Action::HANDLER);
    world.enter(init, Call::Kill(2, Signal::TERM.number()));
    world.step(init);
    world.enter(init, Call::Kill(2, Signal::HUP.number()));
    world.settle();
    assert_eq!(world.wait(init, Wait::any()), (2, Signal::TERM.number()));
}

#[test]
fn r14_a_signal_to_the_process_is_taken_by_a_thread_that_does_not_block_it() {
    let (mut world, init) = World::new();
    let main = world.fork(init);
    world.act(main, Signal::USR1, Action::HANDLER);
    let thread = world.clone_task(main, Clone::THREAD);
    let mask = SigSet::of(&[Signal::USR1]);
    world.reply(main, Call::Sigprocmask(Mask::Block, mask)).expect("a mask");
    world.kill(init, main, Signal::USR1);
    assert_eq!((world.caught(main).len(), world.caught(thread).len()), (0, 1));
    world.done(init, Call::Tgkill(2, 2, Signal::USR1.number()));
    assert_eq!((world.caught(main).len(), world.caught(thread).len()), (0, 0), "one's own is not passed on");
}

#[test]
fn r14_pause_ends_with_a_handler_and_with_nothing_else() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.act(child, Signal::USR1, Action { restart: true, once: true, ..Action::HANDLER });
    world.sleeps(child, Call::Pause);
    world.kill(init, child, Signal::STOP);
    world.kill(init, child, Signal::CONT);
    assert_eq!((world.woke_with(child), world.state(child)), (None, 'S'));
    world.kill(init, child, Signal::USR1);
    assert_eq!(world.woke_with(child), Some(Err(Errno::EINTR)), "SA_RESTART does not hold for it");
    world.kill(init, child, Signal::USR1);
    assert_eq!(world.state(child), 'Z', "SA_RESETHAND: the second kills");
}

#[test]
fn r15_the_letters_of_proc() {
    let (mut world, init) = World::new();
    let children: Vec<_> = (0..4).map(|_| world.fork(init)).collect();
    world.kill(init, children[0], Signal::STOP);
    world.exit(children[1], 0);
    world.sleeps(children[2], Call::Pause);
    world.sleeps(children[3], Call::Clone(Clone::VFORK));
    let letters: String = children.iter().map(|child| world.state(*child)).collect();
    assert_eq!((letters.as_str(), world.state(init)), ("TZSD", 'R'));
}
