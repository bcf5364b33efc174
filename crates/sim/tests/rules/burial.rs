//! W1 to W11: zombies, SIGCHLD and wait.

use crate::world::{CONTINUED, STOPPED, World};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Value, Wait, Waited, Who};
use doula_sim::kernel::sigset::{Action, Code};

#[test]
fn w1_a_zombie_can_be_signalled_without_effect_and_keeps_its_group_and_session() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    let zombie = world.fork(init);
    world.exit(zombie, 0);
    let number = world.pid(zombie);
    world.done(init, Call::Kill(number, Signal::KILL.number()));
    world.done(init, Call::Setpgid(number, number));
    assert_eq!(world.number(init, Call::Getpgid(number)), number);
    assert_eq!(world.number(init, Call::Getsid(number)), 1);
    let other = world.pid(child);
    world.done(init, Call::Setpgid(other, number));
    assert_eq!(world.wait(init, Wait::any()), (number, 0), "and its status is as it was");
}

#[test]
fn w2_who_ignores_sigchld_has_no_zombies_and_no_signal() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::IGNORE);
    let child = world.fork(init);
    world.exit(child, 0);
    assert_eq!(world.state(child), '-');
    assert_eq!(world.error(init, Call::Wait4(Wait::any())), Errno::ECHILD);
}

#[test]
fn w2_who_wants_no_zombies_by_flag_is_still_told() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action { no_wait: true, ..Action::HANDLER });
    let child = world.fork(init);
    world.exit(child, 0);
    assert_eq!((world.state(child), world.caught(init)), ('-', vec![Signal::CHLD.number()]));
}

#[test]
fn w2_a_handler_that_runs_once_leaves_its_flags_behind() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action { once: true, no_wait: true, ..Action::HANDLER });
    for told in [1, 0] {
        let child = world.fork(init);
        world.exit(child, 0);
        assert_eq!((world.state(child), world.caught(init).len()), ('-', told));
    }
}

#[test]
fn w3_many_deaths_make_one_sigchld_that_tells_of_the_first() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::HANDLER);
    let children = [world.fork(init), world.fork(init), world.fork(init)];
    for (code, child) in children.into_iter().enumerate() {
        world.enter(child, Call::ExitGroup(code as i32 + 1));
        while world.state(child) != 'Z' {
            world.step(child);
        }
    }
    world.settle();
    let caught = world.take_caught(init);
    assert_eq!(caught.len(), 1);
    assert_eq!((caught[0].pid, caught[0].code), (2, Code::Exited(1)));
    for number in 2..5 {
        assert_eq!(world.wait(init, Wait::any()), (number, (number - 1) << 8));
    }
}

#[test]
fn w4_stops_and_continues_are_told_unless_unwanted() {
    for (no_stop, told) in [(false, 1), (true, 0)] {
        let (mut world, init) = World::new();
        world.act(init, Signal::CHLD, Action { no_stop, ..Action::HANDLER });
        let child = world.fork(init);
        world.kill(init, child, Signal::STOP);
        assert_eq!(world.caught(init).len(), told);
        assert_eq!(world.wait(init, STOPPED), (2, Signal::STOP.number() << 8 | 0x7f));
        world.kill(init, child, Signal::CONT);
        assert_eq!(world.caught(init).len(), told);
        assert_eq!(world.wait(init, CONTINUED), (2, 0xffff));
    }
}

#[test]
fn w4_a_continue_is_told_by_the_child_when_it_runs_again() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::HANDLER);
    let child = world.fork(init);
    world.kill(init, child, Signal::STOP);
    world.take_caught(init);
    world.enter(init, Call::Kill(2, Signal::CONT.number()));
    world.step(init);
    assert_eq!(world.caught(init), [], "the sender is back, and the child has not run");
    world.step(child);
    world.settle();
    assert_eq!(world.caught(init), [Signal::CHLD.number()]);
}

#[test]
fn w4_a_half_finished_stop_that_is_continued_is_told_as_a_stop() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::HANDLER);
    let child = world.fork(init);
    let thread = world.clone_task(child, Clone::THREAD);
    world.enter(init, Call::Kill(2, Signal::STOP.number()));
    world.step(child);
    assert_eq!((world.state(child), world.state(thread)), ('T', 'R'), "the other has yet to stop");
    world.step(init);
    world.enter(init, Call::Kill(2, Signal::CONT.number()));
    world.settle();
    let told = world.take_caught(init);
    assert_eq!(told.iter().map(|info| info.code).collect::<Vec<_>>(), [Code::Stopped(0)]);
    assert_eq!(world.wait(init, CONTINUED), (2, 0xffff));
}

#[test]
fn w5_the_oldest_child_comes_first_whoever_died_first() {
    let (mut world, init) = World::new();
    let (one, two) = (world.fork(init), world.fork(init));
    let orphan = world.fork(one);
    let three = world.fork(init);
    for task in [three, two] {
        world.exit(task, 0);
    }
    world.exit(orphan, 0);
    world.exit(one, 0);
    let order: Vec<i32> = (0..4).map(|_| world.wait(init, Wait::any()).0).collect();
    assert_eq!(order, [2, 3, 5, 4], "by birth, and who was adopted after them");
}

#[test]
fn w6_a_stop_is_told_once_and_a_look_without_taking_leaves_it() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.kill(init, child, Signal::STOP);
    let look = Wait { no_wait: true, ..STOPPED };
    let stopped = (2, Signal::STOP.number() << 8 | 0x7f);
    assert_eq!(world.wait(init, look), stopped);
    assert_eq!(world.wait(init, look), stopped);
    assert_eq!(world.wait(init, STOPPED), stopped);
    assert_eq!(world.number(init, Call::Waitid(STOPPED.no_hang())), 0);
    world.kill(init, child, Signal::CONT);
    let both = Wait { continued: true, ..STOPPED };
    assert_eq!(world.wait(init, both), (2, 0xffff), "the continue has cleared the stop");
    assert_eq!(world.number(init, Call::Waitid(both.no_hang())), 0);
}

#[test]
fn w6_a_zombie_tells_its_end_and_nothing_else() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.kill(init, child, Signal::STOP);
    world.kill(init, child, Signal::KILL);
    let all = Wait { stopped: true, continued: true, ..Wait::any() };
    let keep = Wait { no_wait: true, ..all };
    assert_eq!(world.wait(init, keep), (2, Signal::KILL.number()));
    assert_eq!(world.error(init, Call::Waitid(STOPPED)), Errno::ECHILD, "it will never stop again");
    assert_eq!(world.wait(init, all), (2, Signal::KILL.number()));
    assert_eq!(world.error(init, Call::Waitid(all)), Errno::ECHILD);
}

#[test]
fn w7_whom_a_wait_means() {
    let (mut world, init) = World::new();
    let (one, two) = (world.fork(init), world.fork(init));
    world.done(two, Call::Setpgid(0, 0));
    world.exit(one, 1);
    world.exit(two, 2);
    for who in [Who::Pid(0), Who::Group(-1)] {
        assert_eq!(world.error(init, Call::Waitid(Wait { who, ..Wait::any() })), Errno::EINVAL);
    }
    let nothing = Wait { exited: false, ..Wait::any() };
    assert_eq!(world.error(init, Call::Waitid(nothing)), Errno::EINVAL);
    let keep = |number| Wait { no_wait: true, ..Wait::pid(number) };
    assert_eq!(world.wait(init, keep(3)).0, 3);
    assert_eq!(world.wait(init, keep(0)).0, 2, "the group of the caller");
    assert_eq!(world.wait(init, keep(-3)).0, 3, "a group by its number");
    assert_eq!(world.error(init, Call::Wait4(Wait::pid(9))), Errno::ECHILD);
    assert_eq!(world.error(init, Call::Wait4(Wait::pid(i32::MIN))), Errno::ESRCH);
}

#[test]
fn w7_the_own_group_is_looked_up_when_the_call_begins_and_when_it_begins_again() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    let child = world.fork(parent);
    world.sleeps(parent, Call::Wait4(Wait::pid(0)));
    world.done(init, Call::Setpgid(2, 0));
    world.exit(child, 5);
    let expected = Waited { pid: 3, status: 5 << 8 };
    assert_eq!(world.woke_with(parent), Some(Ok(Value::Waited(expected))), "the old group is awaited");

    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.fork(parent);
    world.sleeps(parent, Call::Wait4(Wait::pid(0)));
    world.done(init, Call::Setpgid(2, 0));
    world.kill(init, parent, Signal::STOP);
    world.kill(init, parent, Signal::CONT);
    assert_eq!(world.woke_with(parent), Some(Err(Errno::ECHILD)), "begun again, it means the new group");
}

#[test]
fn w8_a_wait_whose_last_child_leaves_no_zombie_wakes_up_with_echild() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.act(parent, Signal::CHLD, Action::IGNORE);
    let (one, two) = (world.fork(parent), world.fork(parent));
    world.sleeps(parent, Call::Wait4(Wait::any()));
    world.exit(one, 0);
    assert_eq!(world.woke_with(parent), None, "another may still end");
    assert_eq!(world.state(parent), 'S');
    world.exit(two, 0);
    assert_eq!(world.woke_with(parent), Some(Err(Errno::ECHILD)));
}

#[test]
fn w9_who_waits_for_a_group_does_not_wake_up_for_a_child_that_was_not_in_it() {
    let (mut world, init) = World::new();
    let waiter = world.fork(init);
    world.act(waiter, Signal::USR1, Action::HANDLER);
    world.done(waiter, Call::SetSubreaper(true));
    let middle = world.fork(waiter);
    let (awaited, stopped) = (world.fork(waiter), world.fork(middle));
    world.done(waiter, Call::Setpgid(4, 4));
    world.done(middle, Call::Setpgid(5, 4));
    world.kill(init, stopped, Signal::STOP);
    world.sleeps(waiter, Call::Waitid(Wait { who: Who::Group(4), ..STOPPED }));
    world.exit(middle, 0);
    assert_eq!(world.ppid(stopped), world.pid(waiter), "adopted, stopped, and in the awaited group");
    assert_eq!(world.state(waiter), 'S', "and yet nobody wakes the waiter");
    world.kill(init, waiter, Signal::USR1);
    let expected = Waited { pid: 5, status: Signal::STOP.number() << 8 | 0x7f };
    assert_eq!(world.woke_with(waiter), Some(Ok(Value::Waited(expected))));
    assert_eq!(world.state(awaited), 'R');
}

#[test]
fn w10_a_child_that_can_be_told_of_goes_before_eintr() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.act(parent, Signal::USR1, Action::HANDLER);
    let child = world.fork(parent);
    world.sleeps(parent, Call::Wait4(Wait::any()));
    world.enter(child, Call::ExitGroup(4));
    while world.state(child) != 'Z' {
        world.step(child);
    }
    let number = world.pid(parent);
    world.enter(init, Call::Kill(number, Signal::USR1.number()));
    world.settle();
    let expected = Waited { pid: 3, status: 4 << 8 };
    assert_eq!(world.woke_with(parent), Some(Ok(Value::Waited(expected))));
    assert_eq!(world.caught(parent), [Signal::USR1.number()], "and the handler ran all the same");
}

#[test]
fn w10_without_a_child_to_tell_of_a_handler_ends_the_wait_or_begins_it_again() {
    for (restart, reply) in [(false, Some(Err(Errno::EINTR))), (true, None)] {
        let (mut world, init) = World::new();
        let parent = world.fork(init);
        world.act(parent, Signal::USR1, Action { restart, ..Action::HANDLER });
        world.fork(parent);
        world.sleeps(parent, Call::Wait4(Wait::any()));
        world.kill(init, parent, Signal::WINCH);
        assert_eq!(world.woke_with(parent), None, "what is ignored disturbs nobody");
        world.kill(init, parent, Signal::USR1);
        assert_eq!((world.woke_with(parent), world.caught(parent).len()), (reply, 1));
    }
}

#[test]
fn w11_threads_wait_for_each_others_children_unless_they_ask_not_to() {
    let (mut world, init) = World::new();
    let main = world.fork(init);
    let thread = world.clone_task(main, Clone::THREAD);
    let child = world.fork(thread);
    let own = Wait { no_thread: true, ..Wait::any() };
    assert_eq!(world.error(main, Call::Wait4(own)), Errno::ECHILD);
    world.exit(child, 6);
    assert_eq!(world.wait(main, Wait::any()), (4, 6 << 8));
}

#[test]
fn w11_a_child_with_another_exit_signal_is_seen_by_those_who_ask_for_it() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    world.act(parent, Signal::USR1, Action::HANDLER);
    let child = world.clone_task(parent, Clone { exit_signal: Some(Signal::USR1), ..Clone::FORK });
    world.exit(child, 0);
    assert_eq!(world.caught(parent), [Signal::USR1.number()]);
    assert_eq!(world.error(parent, Call::Wait4(Wait::any())), Errno::ECHILD);
    let keep = Wait { no_wait: true, all: true, ..Wait::any() };
    assert_eq!(world.wait(parent, keep).0, 3);
    assert_eq!(world.wait(parent, Wait { clone: true, ..Wait::any() }).0, 3);
}
