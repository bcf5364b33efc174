//! Controlling terminals: R11.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, TtyCall, Value, Wait};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::{ExitStep, TaskId};

const MASTER: i32 = 0;
const SLAVE: i32 = 1;

fn slave(call: TtyCall) -> Call {
    Call::Terminal(SLAVE, call)
}

const TAKE: TtyCall = TtyCall::Take { steal: false };

/// A session's leader with a terminal, and a job of one in the background that has handlers.
fn session() -> (World, TaskId, TaskId) {
    let (mut world, init) = World::new();
    let leader = world.fork(init);
    world.number(leader, Call::Setsid);
    assert_eq!(world.reply(leader, Call::Pty), Ok(Value::Pair(MASTER, SLAVE)));
    world.done(leader, slave(TAKE));
    let job = world.fork(leader);
    world.done(job, Call::Setpgid(0, 0));
    for signal in [Signal::HUP, Signal::CONT] {
        world.act(job, signal, Action::HANDLER);
    }
    (world, leader, job)
}

#[test]
fn r11_who_cannot_be_stopped_and_begins_again_never_rests_and_keeps_nobody_else_from_it() {
    let (mut world, leader, job) = session();
    world.act(job, Signal::TTIN, Action { restart: true, ..Action::HANDLER });
    world.sleeps(job, Call::Read(SLAVE, 9));
    assert_eq!(world.state(job), 'R', "it reads, is disturbed, and reads again");
    let other = world.fork(leader);
    world.number(other, Call::Getpid);
    world.kill(leader, job, Signal::KILL);
    assert_eq!(world.state(job), 'Z');
}

fn bring_forward(world: &mut World, leader: TaskId, job: TaskId) {
    let number = world.pid(job);
    world.done(leader, slave(TtyCall::SetForeground(number)));
}

#[test]
fn r11_a_terminal_is_got_by_a_leader_that_has_none_and_is_left_by_setsid() {
    let (mut world, leader, job) = session();
    assert_eq!(world.look(job).map(|look| look.foreground), Some(world.pid(leader)));
    assert_eq!(world.number(job, slave(TtyCall::Session)), world.pid(leader));
    let other = world.fork(leader);
    assert_eq!(world.error(other, slave(TAKE)), Errno::EPERM, "it leads no session");
    world.number(other, Call::Setsid);
    assert_eq!(world.error(other, Call::OpenTty), Errno::ENXIO);
    assert_eq!(world.error(other, slave(TAKE)), Errno::EPERM, "it is another session's");
    world.done(other, slave(TtyCall::Take { steal: true }));
    assert_eq!(world.error(leader, Call::OpenTty), Errno::ENXIO);
    assert_eq!(world.look(job).map(|look| look.foreground), Some(-1));
}

#[test]
fn r11_who_reads_from_the_background_is_stopped_until_it_is_in_the_foreground() {
    let (mut world, leader, job) = session();
    world.sleeps(job, Call::Read(SLAVE, 9));
    assert_eq!(world.state(job), 'T');
    bring_forward(&mut world, leader, job);
    world.kill(leader, job, Signal::CONT);
    assert_eq!(world.woke_with(job), Some(Err(Errno::EINTR)), "SIGCONT has a handler");
    world.sleeps(job, Call::Read(SLAVE, 9));
    assert_eq!(world.state(job), 'S');
    world.number(leader, Call::Write(MASTER, b"key".to_vec()));
    assert_eq!(world.woke_with(job), Some(Ok(Value::Bytes(b"key".to_vec()))));
}

#[test]
fn r11_a_reader_that_cannot_be_stopped_is_refused() {
    let (mut world, leader, job) = session();
    world.act(job, Signal::TTIN, Action::IGNORE);
    assert_eq!(world.error(job, Call::Read(SLAVE, 9)), Errno::EIO);
    bring_forward(&mut world, leader, job);
    // The leader's own group is orphaned: its parent is in another session.
    assert_eq!(world.error(leader, Call::Read(SLAVE, 9)), Errno::EIO);
    assert_eq!(world.error(leader, slave(TtyCall::SetForeground(2))), Errno::ENOTTY);
}

#[test]
fn r11_a_writer_is_stopped_by_tostop_only_and_goes_on_when_it_ignores_sigttou() {
    let (mut world, leader, job) = session();
    assert_eq!(world.number(job, Call::Write(SLAVE, b"x".to_vec())), 1);
    world.done(leader, slave(TtyCall::StopWriters(true)));
    world.act(job, Signal::TTOU, Action::IGNORE);
    assert_eq!(world.number(job, Call::Write(SLAVE, b"y".to_vec())), 1);
    world.act(job, Signal::TTOU, Action::DEFAULT);
    world.sleeps(job, Call::Write(SLAVE, b"z".to_vec()));
    assert_eq!(world.state(job), 'T');
    assert_eq!(world.reply(leader, Call::Read(MASTER, 9)), Ok(Value::Bytes(b"xy".to_vec())));
}

#[test]
fn r11_the_foreground_is_a_group_of_the_session_and_is_not_changed_from_behind() {
    let (mut world, leader, job) = session();
    let own = world.pid(job);
    world.sleeps(job, slave(TtyCall::SetForeground(own)));
    assert_eq!(
        (world.state(job), world.number(leader, slave(TtyCall::Foreground))),
        ('T', world.pid(leader))
    );
    for (group, errno) in [(1, Errno::EPERM), (-1, Errno::EINVAL), (30_000, Errno::ESRCH)] {
        assert_eq!(world.error(leader, slave(TtyCall::SetForeground(group))), errno);
    }
}

#[test]
fn r11_at_the_leaders_end_the_foreground_hears_sighup_alone_before_open_files_are_closed() {
    let (mut world, leader, job) = session();
    bring_forward(&mut world, leader, job);
    world.enter(leader, Call::ExitGroup(0));
    while world.exit_step(leader) != Some(ExitStep::TaskWork) {
        world.die_one_step(leader);
    }
    world.settle();
    assert_eq!(world.caught(job), [Signal::HUP.number()]);
    assert_eq!(world.error(job, Call::OpenTty), Errno::ENXIO);
    // The terminal is free for another session.
    let next = world.fork(job);
    world.number(next, Call::Setsid);
    world.done(next, slave(TAKE));
}

#[test]
fn r11_a_leader_that_gives_up_tells_the_foreground_and_who_is_no_leader_leaves_alone() {
    let (mut world, leader, job) = session();
    world.done(job, slave(TtyCall::GiveUp));
    assert_eq!(world.error(job, slave(TtyCall::GiveUp)), Errno::ENOTTY);
    assert_eq!(world.caught(job), []);
    bring_forward(&mut world, leader, job);
    world.done(leader, slave(TtyCall::GiveUp));
    assert_eq!(world.caught(job), [Signal::HUP.number(), Signal::CONT.number()]);
}

#[test]
fn r11_a_terminal_whose_master_is_closed_is_at_its_end_and_its_leader_is_told() {
    let (mut world, leader, job) = session();
    for signal in [Signal::HUP, Signal::CONT] {
        world.act(leader, signal, Action::HANDLER);
    }
    bring_forward(&mut world, leader, job);
    world.done(job, Call::Close(MASTER));
    world.sleeps(job, Call::Read(SLAVE, 9));
    world.done(leader, Call::Close(MASTER));
    assert_eq!(world.caught(leader), [Signal::HUP.number(), Signal::CONT.number()]);
    assert_eq!(world.woke_with(job), Some(Err(Errno::EIO)), "it slept in the call");
    assert_eq!(world.reply(job, Call::Read(SLAVE, 9)), Ok(Value::Bytes(Vec::new())));
    assert_eq!(world.error(job, Call::Write(SLAVE, b"x".to_vec())), Errno::EIO);
    assert_eq!(world.caught(job), []);
    // The leader that has lost its terminal so tells who was in the foreground when it ends.
    world.exit(leader, 0);
    assert_eq!(world.caught(job), [Signal::HUP.number(), Signal::CONT.number()]);
}

#[test]
fn r11_a_key_is_a_signal_to_the_foreground_group() {
    let (mut world, leader, job) = session();
    world.act(job, Signal::INT, Action::HANDLER);
    bring_forward(&mut world, leader, job);
    let key = |signal: Signal| Call::Terminal(MASTER, TtyCall::Key(signal.number()));
    world.done(leader, key(Signal::INT));
    assert_eq!(world.caught(job), [Signal::INT.number()]);
    assert_eq!(world.error(leader, key(Signal::TERM)), Errno::EINVAL);
}

#[test]
fn r11_a_foreground_group_that_is_gone_keeps_its_number_there() {
    let (mut world, leader, job) = session();
    bring_forward(&mut world, leader, job);
    let number = world.pid(job);
    world.kill(leader, job, Signal::KILL);
    assert_eq!(world.wait(leader, Wait::any()).0, number);
    assert_eq!(world.number(leader, slave(TtyCall::Foreground)), number);
    assert_eq!(world.error(leader, Call::Getpgid(number)), Errno::ESRCH);
}
