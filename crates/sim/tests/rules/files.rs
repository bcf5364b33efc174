//! R16, W12 and what of P7 is about descriptors: pipes, shared open files, handles of processes.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Access, Call, Clone, Value, Wait, Waited};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::version::{Config, KernelVersion};
use doula_sim::kernel::{Kernel, Outcome, TaskId};

fn pipe(world: &mut World, task: TaskId) -> (i32, i32) {
    match world.reply(task, Call::Pipe(false)) {
        Ok(Value::Pair(read, write)) => (read, write),
        other => panic!("a pipe: {other:?}"),
    }
}

fn bytes(world: &mut World, task: TaskId, fd: i32, most: usize) -> usize {
    match world.reply(task, Call::Read(fd, most)) {
        Ok(Value::Bytes(bytes)) => bytes.len(),
        other => panic!("bytes: {other:?}"),
    }
}

#[test]
fn p7_parent_and_child_have_the_same_open_file_with_one_offset_and_descriptors_of_their_own() {
    let (mut world, init) = World::new();
    world.install("/file", false, b"abcdef");
    let fd = world.number(init, Call::Open("/file".into(), Access::Read));
    let child = world.fork(init);
    assert_eq!(world.reply(init, Call::Read(fd, 3)), Ok(Value::Bytes(b"abc".to_vec())));
    assert_eq!(world.reply(child, Call::Read(fd, 9)), Ok(Value::Bytes(b"def".to_vec())));
    world.done(init, Call::SetNonblocking(fd, true));
    world.done(child, Call::Close(fd));
    assert_eq!(world.error(child, Call::Read(fd, 1)), Errno::EBADF);
    assert_eq!(bytes(&mut world, init, fd, 1), 0, "the end of the file, for the parent too");
}

#[test]
fn r16_the_end_of_a_pipe_is_read_when_its_last_writer_in_any_process_is_gone() {
    let (mut world, init) = World::new();
    let (read, write) = pipe(&mut world, init);
    let child = world.fork(init);
    world.done(child, Call::Close(read));
    world.number(child, Call::Write(write, b"last words".to_vec()));
    assert_eq!(bytes(&mut world, init, read, 100), 10);
    world.sleeps(init, Call::Read(read, 100));
    world.exit(child, 0);
    assert_eq!(world.woke_with(init), None, "the classic mistake: the reader itself can still write");
    assert_eq!(world.state(init), 'S');
    let (mut world, init) = World::new();
    let (read, write) = pipe(&mut world, init);
    let child = world.fork(init);
    world.done(init, Call::Close(write));
    world.sleeps(init, Call::Read(read, 100));
    world.exit(child, 0);
    assert_eq!(world.woke_with(init), Some(Ok(Value::Bytes(vec![]))));
}

#[test]
fn r16_a_write_that_nobody_will_read_is_sigpipe_and_epipe() {
    for (action, ends) in [(Action::DEFAULT, true), (Action::IGNORE, false)] {
        let (mut world, init) = World::new();
        let child = world.fork(init);
        let (read, write) = pipe(&mut world, child);
        world.done(child, Call::Close(read));
        world.act(child, Signal::PIPE, action);
        let outcome = world.call(child, Call::Write(write, b"x".to_vec()));
        if ends {
            assert_eq!(outcome, Outcome::Gone);
            assert_eq!(world.wait(init, Wait::any()), (2, Signal::PIPE.number()));
        } else {
            assert_eq!(outcome, Outcome::Done(Err(Errno::EPIPE)));
        }
    }
}

#[test]
fn r16_a_pipe_has_sixteen_pages_and_a_write_of_one_page_is_never_torn() {
    let (mut world, init) = World::new();
    let (read, write) = pipe(&mut world, init);
    world.done(init, Call::SetNonblocking(write, true));
    assert_eq!(world.number(init, Call::Write(write, vec![1; 100_000])), 65_536);
    assert_eq!(world.error(init, Call::Write(write, vec![2])), Errno::EAGAIN);
    assert_eq!(bytes(&mut world, init, read, 4095), 4095);
    assert_eq!(world.error(init, Call::Write(write, vec![2])), Errno::EAGAIN, "no page is free yet");
    assert_eq!(bytes(&mut world, init, read, 1), 1);
    assert_eq!(world.number(init, Call::Write(write, vec![2; 4096])), 4096, "whole, or not at all");
    assert_eq!(bytes(&mut world, init, read, 100_000), 65_536);
}

#[test]
fn r16_small_writes_join_the_last_page_as_long_as_they_fit_whole() {
    let (mut world, init) = World::new();
    let (_, write) = pipe(&mut world, init);
    world.done(init, Call::SetNonblocking(write, true));
    let mut fitted = 0;
    while world.call(init, Call::Write(write, vec![0; 3000])) == Outcome::Done(Ok(Value::Number(3000))) {
        fitted += 1;
    }
    assert_eq!(fitted, 16, "two of them fit into no page");
    let (mut world, init) = World::new();
    let (_, write) = pipe(&mut world, init);
    world.done(init, Call::SetNonblocking(write, true));
    let mut fitted = 0;
    while world.call(init, Call::Write(write, vec![0; 1024])) == Outcome::Done(Ok(Value::Number(1024))) {
        fitted += 1;
    }
    assert_eq!(fitted, 64);
}

#[test]
fn r16_a_long_write_sleeps_goes_on_as_there_is_room_and_tells_what_it_did_when_it_is_disturbed() {
    let (mut world, init) = World::new();
    let (read, write) = pipe(&mut world, init);
    let child = world.fork(init);
    world.act(child, Signal::USR1, Action::HANDLER);
    world.sleeps(child, Call::Write(write, vec![7; 80_000]));
    assert_eq!(bytes(&mut world, init, read, 4096), 4096);
    assert_eq!(world.woke_with(child), None, "80,000 bytes are not in yet");
    world.kill(init, child, Signal::USR1);
    assert_eq!(world.woke_with(child), Some(Ok(Value::Number(65_536 + 4096))));
    world.sleeps(child, Call::Write(write, vec![7]));
    world.kill(init, child, Signal::USR1);
    assert_eq!(world.woke_with(child), Some(Err(Errno::EINTR)), "nothing was written");
}

#[test]
fn r16_a_descriptor_is_the_lowest_that_is_free_and_there_are_1024() {
    let (mut world, init) = World::new();
    assert_eq!(pipe(&mut world, init), (0, 1));
    world.done(init, Call::Close(0));
    assert_eq!(world.number(init, Call::Dup(1)), 0);
    assert_eq!(world.number(init, Call::Dup2(0, 1023)), 1023);
    assert_eq!(world.error(init, Call::Dup2(0, 1024)), Errno::EBADF);
    for _ in 2..1023 {
        world.number(init, Call::Dup(0));
    }
    assert_eq!(world.error(init, Call::Dup(0)), Errno::EMFILE);
    assert_eq!(world.error(init, Call::Pipe(false)), Errno::EMFILE);
}

#[test]
fn w12_a_handle_is_readable_when_the_whole_process_has_ended() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    let thread = world.clone_task(child, Clone::THREAD);
    let handle = world.number(init, Call::PidfdOpen(2));
    world.sleeps(init, Call::PollPidfd(handle));
    world.call(child, Call::Exit(1));
    assert_eq!((world.state(child), world.woke_with(init)), ('Z', None), "a thread lives");
    world.exit(thread, 2);
    assert_eq!(world.woke_with(init), Some(Ok(Value::Number(1))));
}

#[test]
fn w12_a_handle_never_means_a_stranger_and_tells_an_end_that_somebody_else_took_since_6_15() {
    for (minor, expected) in [(18, Ok(Value::Number(3 << 8))), (12, Err(Errno::ENOTTY))] {
        let version = KernelVersion { major: 6, minor };
        let mut world = World(Kernel::with(Config { version, ..Config::default() }));
        let init = world.init();
        let child = world.fork(init);
        let handle = world.number(init, Call::PidfdOpen(2));
        world.exit(child, 3);
        assert_eq!(
            world.error(init, Call::PidfdEnd(handle)),
            if minor == 18 { Errno::ESRCH } else { Errno::ENOTTY }
        );
        world.wait(init, Wait::any());
        world.set_next_pid(init, 2);
        let stranger = world.fork(init);
        assert_eq!(world.pid(stranger), 2);
        assert_eq!(world.error(init, Call::PidfdSend(handle, Signal::KILL.number())), Errno::ESRCH);
        assert_eq!(world.number(init, Call::PollPidfd(handle)), 1);
        assert_eq!(world.reply(init, Call::PidfdEnd(handle)), expected);
    }
}

#[test]
fn w12_a_child_is_waited_for_by_its_handle() {
    let (mut world, init) = World::new();
    let (one, two) = (world.fork(init), world.fork(init));
    let handle = world.number(init, Call::PidfdOpen(3));
    world.exit(one, 1);
    let nothing = Wait { exited: false, ..Wait::any() };
    assert_eq!(world.error(init, Call::WaitidPidfd(handle, nothing)), Errno::EINVAL);
    assert_eq!(world.error(init, Call::WaitidPidfd(99, Wait::any())), Errno::EBADF);
    world.done(init, Call::SetNonblocking(handle, true));
    assert_eq!(world.error(init, Call::WaitidPidfd(handle, Wait::any())), Errno::EAGAIN);
    world.done(init, Call::SetNonblocking(handle, false));
    world.sleeps(init, Call::WaitidPidfd(handle, Wait::any()));
    world.exit(two, 2);
    let expected = Waited { pid: 3, status: 2 << 8 };
    assert_eq!(world.woke_with(init), Some(Ok(Value::Waited(expected))));
    assert_eq!(world.error(init, Call::WaitidPidfd(handle, Wait::any())), Errno::ECHILD);
    assert_eq!(world.error(init, Call::PidfdOpen(3)), Errno::ESRCH);
    let thread = world.clone_task(init, Clone::THREAD);
    let number = world.pid(thread);
    assert_eq!(world.error(init, Call::PidfdOpen(number)), Errno::ENOENT, "a thread is no process");
}

#[test]
fn x17_pipes_are_closed_after_memory_and_before_anybody_is_told_of_the_end() {
    let (mut world, init) = World::new();
    let (read, write) = pipe(&mut world, init);
    let child = world.fork(init);
    world.done(init, Call::Close(write));
    world.sleeps(init, Call::Read(read, 1));
    world.enter(child, Call::ExitGroup(0));
    while !world.ready().any(|task| task == init) {
        world.step(child);
    }
    world.step(init);
    world.step(init);
    assert_eq!(world.woke_with(init), Some(Ok(Value::Bytes(vec![]))));
    assert_eq!(world.state(child), 'R', "the end of the pipe does not mean that the process has ended");
    assert_eq!(world.number(init, Call::Wait4(Wait::any().no_hang())), 0);
}
