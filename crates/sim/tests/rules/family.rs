//! R1 to R10: adoption, sessions and groups.

use crate::world::{STOPPED, World};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::TaskId;
use doula_sim::kernel::call::{Call, Clone, Wait};
use doula_sim::kernel::sigset::Action;

#[test]
fn r1_orphans_go_to_another_thread_then_to_the_nearest_living_subreaper_then_to_init() {
    let (mut world, init) = World::new();
    let far = world.fork(init);
    world.done(far, Call::SetSubreaper(true));
    let near = world.fork(far);
    world.done(near, Call::SetSubreaper(true));
    let parent = world.fork(near);
    let thread = world.clone_task(parent, Clone::THREAD);
    let orphan = world.fork(thread);
    world.call(thread, Call::Exit(0));
    assert_eq!(world.ppid(orphan), world.pid(parent));
    world.exit(parent, 0);
    assert_eq!(world.ppid(orphan), world.pid(near));
    world.exit(near, 0);
    assert_eq!(world.ppid(orphan), world.pid(far));
    world.done(far, Call::SetSubreaper(false));
    world.exit(far, 0);
    assert_eq!(world.ppid(orphan), 1);
}

#[test]
fn r1_no_subreaper_adopts_across_the_border_of_a_namespace() {
    let (mut world, host) = World::new();
    let outer = world.fork(host);
    world.done(outer, Call::SetSubreaper(true));
    let init = world.clone_task(outer, Clone::INIT);
    let parent = world.fork(init);
    let orphan = world.fork(parent);
    world.exit(parent, 0);
    assert_eq!(world.ppid(orphan), world.pid(init));
    world.exit(init, 0);
    assert_eq!(world.state(orphan), '-');
}

#[test]
fn r2_the_death_signal_comes_with_the_parents_thread_and_at_every_adoption_again() {
    let (mut world, init) = World::new();
    let subreaper = world.fork(init);
    world.done(subreaper, Call::SetSubreaper(true));
    let parent = world.fork(subreaper);
    let thread = world.clone_task(parent, Clone::THREAD);
    let child = world.fork(thread);
    world.act(child, Signal::USR1, Action::HANDLER);
    world.done(child, Call::SetParentDeathSignal(Some(Signal::USR1)));
    world.call(thread, Call::Exit(0));
    assert_eq!(world.caught(child).len(), 1, "the thread was the parent");
    world.exit(parent, 0);
    assert_eq!(world.caught(child).len(), 1);
    world.exit(subreaper, 0);
    assert_eq!(world.caught(child).len(), 1);
    world.done(child, Call::Setuid(5));
    assert_eq!(world.number(child, Call::GetParentDeathSignal), 0, "other credentials end it");
}

#[test]
fn r3_who_adopts_a_zombie_is_told_and_buries_it_unseen_if_it_ignores_sigchld() {
    for (action, told, state) in [(Action::HANDLER, 1, 'Z'), (Action::IGNORE, 0, '-')] {
        let (mut world, init) = World::new();
        let subreaper = world.fork(init);
        world.done(subreaper, Call::SetSubreaper(true));
        let parent = world.fork(subreaper);
        let zombie = world.fork(parent);
        world.exit(zombie, 0);
        world.act(subreaper, Signal::CHLD, action);
        world.exit(parent, 0);
        assert_eq!(world.state(zombie), state);
        let caught = world.caught(subreaper).len();
        assert!((told..=2 * told).contains(&caught), "{caught}");
    }
}

#[test]
fn r4_with_its_init_a_namespace_dies_and_its_init_is_the_last() {
    let (mut world, host) = World::new();
    let init = world.clone_task(host, Clone::INIT);
    let child = world.fork(init);
    let grandchild = world.fork(child);
    let zombie = world.fork(init);
    world.exit(zombie, 0);
    world.number(grandchild, Call::Setsid);
    world.sleeps(host, Call::Wait4(Wait::any()));
    for end in world.ends(init, Call::ExitGroup(9)) {
        let left: String = end.tasks().map(|task| end.state(task)).collect();
        assert_eq!(left, "R", "the parent outside has buried init after all others were gone");
    }
    world.call(init, Call::ExitGroup(9));
    assert_eq!(world.tasks().count(), 1);
}

#[test]
fn r4_a_child_that_is_stopped_or_ignores_everything_dies_with_its_namespace() {
    let (mut world, host) = World::new();
    let init = world.clone_task(host, Clone::INIT);
    let child = world.fork(init);
    world.kill(init, child, Signal::STOP);
    world.exit(init, 0);
    assert_eq!((world.state(child), world.state(init)), ('-', 'Z'));
}

#[test]
fn r5_what_an_init_has_no_handler_for_does_not_reach_it_from_inside() {
    let (mut world, host) = World::new();
    let init = world.clone_task(host, Clone::INIT);
    let child = world.fork(init);
    for signal in Signal::all() {
        world.done(child, Call::Kill(1, signal.number()));
        assert_eq!(world.state(init), 'R', "{signal}");
    }
    world.act(init, Signal::TERM, Action::HANDLER);
    world.done(child, Call::Kill(1, Signal::TERM.number()));
    assert_eq!(world.caught(init), [Signal::TERM.number()]);
    let mut stopped = world.clone();
    stopped.kill(host, init, Signal::USR1);
    assert_eq!(stopped.state(init), 'R', "not even from outside");
    stopped.kill(host, init, Signal::STOP);
    assert_eq!(stopped.state(init), 'T');
    world.kill(host, init, Signal::KILL);
    assert_eq!((world.state(init), world.state(child)), ('Z', '-'));
}

#[test]
fn r5_the_init_of_the_machine_cannot_be_killed_or_stopped_by_anybody() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    for signal in [Signal::KILL, Signal::STOP] {
        world.done(child, Call::Kill(1, signal.number()));
        assert_eq!(world.state(init), 'R');
    }
}

/// A shell with a job in a group of its own that is stopped: the shell, the job's leader and a member.
fn stopped_job(world: &mut World, parent: TaskId) -> [TaskId; 3] {
    let shell = world.fork(parent);
    world.number(shell, Call::Setsid);
    let leader = world.fork(shell);
    let number = world.seen(shell, leader);
    world.done(shell, Call::Setpgid(number, number));
    let member = world.fork(leader);
    for task in [leader, member] {
        world.act(task, Signal::HUP, Action::HANDLER);
    }
    world.kill(shell, member, Signal::STOP);
    [shell, leader, member]
}

#[test]
fn r6_r7_a_stopped_group_that_an_exit_orphans_gets_sighup_and_sigcont() {
    let (mut world, init) = World::new();
    let [shell, leader, member] = stopped_job(&mut world, init);
    world.exit(shell, 0);
    assert_eq!((world.caught(leader), world.caught(member)), (vec![1], vec![1]));
    assert_eq!(world.state(member), 'R');
}

#[test]
fn r7_a_group_without_a_stopped_member_is_not_told() {
    let (mut world, init) = World::new();
    let [shell, leader, member] = stopped_job(&mut world, init);
    world.kill(shell, member, Signal::CONT);
    world.exit(shell, 0);
    assert_eq!((world.caught(leader), world.caught(member)), (vec![], vec![]));
}

#[test]
fn r7_the_exit_of_the_only_link_orphans_the_groups_of_its_own_children() {
    let (mut world, init) = World::new();
    let [shell, leader, member] = stopped_job(&mut world, init);
    world.exit(leader, 0);
    assert_eq!(world.caught(member), [1], "its link to the shell is gone");
    assert_eq!(world.state(shell), 'R');
}

#[test]
fn r7_who_was_stopped_and_is_killed_is_no_stopped_member() {
    let (mut world, init) = World::new();
    let [shell, leader, member] = stopped_job(&mut world, init);
    world.kill(shell, member, Signal::CONT);
    world.kill(shell, leader, Signal::STOP);
    world.kill(shell, leader, Signal::KILL);
    assert_eq!(world.caught(member), [], "its link died, and nobody else of the group was stopped");
}

#[test]
fn r6_the_init_of_the_machine_is_no_link_and_that_of_a_container_is() {
    for (contained, letter) in [(false, 'R'), (true, 'T')] {
        let (mut world, host) = World::new();
        let init = if contained { world.clone_task(host, Clone::INIT) } else { host };
        let parent = world.fork(init);
        let child = world.fork(parent);
        world.done(child, Call::Setpgid(0, 0));
        world.act(child, Signal::HUP, Action::HANDLER);
        world.kill(init, child, Signal::STOP);
        world.exit(parent, 0);
        assert_eq!(world.ppid(child), world.pid(init));
        assert_eq!(world.state(child), letter, "contained: {contained}");
    }
}

#[test]
fn r6_zombies_do_not_count_as_members() {
    let (mut world, init) = World::new();
    let [shell, leader, member] = stopped_job(&mut world, init);
    let outside = world.fork(shell);
    let number = world.seen(shell, leader);
    let zombie = world.fork(outside);
    world.done(zombie, Call::Setpgid(0, number));
    world.exit(zombie, 0);
    world.exit(leader, 0);
    assert_eq!(world.caught(member), [1], "the zombie's parent is a link no more");
    world.exit(outside, 0);
}

#[test]
fn r8_in_an_orphaned_group_only_sigstop_stops() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    world.number(child, Call::Setsid);
    for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
        world.kill(init, child, signal);
        assert_eq!(world.state(child), 'R', "{signal}");
    }
    world.kill(init, child, Signal::STOP);
    assert_eq!(world.state(child), 'T');
    let (mut world, init) = World::new();
    let shell = world.fork(init);
    let job = world.fork(shell);
    world.done(job, Call::Setpgid(0, 0));
    world.kill(shell, job, Signal::TSTP);
    assert_eq!(world.state(job), 'T', "its parent could continue it");
    assert_eq!(world.wait(shell, STOPPED), (3, Signal::TSTP.number() << 8 | 0x7f));
}

#[test]
fn r9_who_may_be_moved_to_which_group() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    let child = world.fork(parent);
    let (two, three) = (world.pid(parent), world.pid(child));
    assert_eq!(world.error(parent, Call::Setpgid(0, -1)), Errno::EINVAL);
    assert_eq!(world.error(parent, Call::Setpgid(99, 0)), Errno::ESRCH);
    assert_eq!(world.error(child, Call::Setpgid(two, 0)), Errno::ESRCH, "neither oneself nor a child");
    assert_eq!(world.error(parent, Call::Setpgid(three, 99)), Errno::EPERM, "no such group");
    let thread = world.clone_task(parent, Clone::THREAD);
    let tid = world.pid(thread);
    assert_eq!(world.error(parent, Call::Setpgid(tid, 0)), Errno::EINVAL, "a thread that does not lead");
    world.done(parent, Call::Setpgid(three, 0));
    world.done(parent, Call::Setpgid(0, three));
    assert_eq!(world.number(parent, Call::Getpgid(0)), three);
    let elsewhere = world.fork(parent);
    let number = world.number(elsewhere, Call::Setsid);
    assert_eq!(world.error(parent, Call::Setpgid(number, 0)), Errno::EPERM, "in another session");
    assert_eq!(world.error(elsewhere, Call::Setpgid(0, 0)), Errno::EPERM, "a session's leader");
    let its = world.fork(elsewhere);
    assert_eq!(world.error(its, Call::Setpgid(0, three)), Errno::EPERM, "a group of another session");
}

#[test]
fn r10_a_leader_of_a_session_or_group_makes_no_session() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    let child = world.fork(parent);
    world.done(parent, Call::Setpgid(0, 0));
    assert_eq!(world.error(parent, Call::Setsid), Errno::EPERM);
    let number = world.pid(parent);
    let heir = world.fork(parent);
    world.exit(heir, 0);
    world.done(parent, Call::Setpgid(0, 1));
    assert_eq!(world.number(parent, Call::Getpgid(0)), 1);
    assert_eq!(world.error(parent, Call::Setsid), Errno::EPERM, "a zombie is still in its group {number}");
    world.wait(parent, Wait::any());
    assert_eq!(world.number(parent, Call::Setsid), number);
    assert_eq!(world.error(parent, Call::Setsid), Errno::EPERM);
    assert_eq!(world.number(child, Call::Getsid(0)), 1);
}
