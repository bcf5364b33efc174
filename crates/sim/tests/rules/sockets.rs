//! K: queues of sockets that listen, and who takes from them.

use crate::world::World;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Value};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::{HungUp, Outcome, SocketId, TaskId};

/// A socket with room for so many, and its descriptor.
fn listen(world: &mut World, task: TaskId, backlog: u32) -> (SocketId, i32) {
    let fd = world.number(task, Call::Listen(backlog));
    (world.socket_of(task, fd).expect("a socket"), fd)
}

#[test]
fn k1_a_queue_takes_one_more_than_its_backlog_says() {
    let (mut world, init) = World::new();
    let (socket, fd) = listen(&mut world, init, 2);
    let taken = (0..5).filter(|_| world.connect(socket).is_ok()).count();
    assert_eq!((taken, world.waiting_at(socket), world.connect(socket)), (3, 3, Err(Errno::EAGAIN)));
    world.number(init, Call::Accept(fd));
    assert!(world.connect(socket).is_ok(), "there is room again");
}

#[test]
fn k2_each_connection_is_taken_by_one_the_oldest_first_and_the_others_sleep_on() {
    let (mut world, init) = World::new();
    let (socket, fd) = listen(&mut world, init, 8);
    let workers = [world.fork(init), world.fork(init)];
    workers.iter().for_each(|worker| world.sleeps(*worker, Call::Accept(fd)));
    assert!(workers.iter().all(|worker| world.is_accepting(*worker)));
    world.connect(socket).expect("room");
    let woken = workers.iter().filter(|worker| world.woke_with(**worker).is_some()).count();
    assert_eq!((woken, world.waiting_at(socket)), (1, 0));
    world.done(init, Call::SetNonblocking(fd, true));
    assert_eq!(world.error(init, Call::Accept(fd)), Errno::EAGAIN);
    assert_eq!(world.error(init, Call::Accept(77)), Errno::EBADF);
}

#[test]
fn k2_a_sleeper_in_accept_is_interrupted_by_a_handler_and_dies_of_what_has_none() {
    let (mut world, init) = World::new();
    let (_, fd) = listen(&mut world, init, 8);
    let (one, other) = (world.fork(init), world.fork(init));
    world.act(one, Signal::TERM, Action::HANDLER);
    for worker in [one, other] {
        world.sleeps(worker, Call::Accept(fd));
        world.kill(init, worker, Signal::TERM);
    }
    assert_eq!(world.woke_with(one), Some(Err(Errno::EINTR)));
    assert_eq!(world.state(other), 'Z');
}

#[test]
fn k3_a_socket_lives_as_long_as_anybody_has_it_and_its_queue_with_it() {
    let (mut world, init) = World::new();
    let (socket, fd) = listen(&mut world, init, 8);
    let child = world.fork(init);
    let waiting = world.connect(socket).expect("room");
    world.done(init, Call::Close(fd));
    assert_eq!((world.waiting_at(socket), world.take_closed()), (1, vec![]), "the child has it");
    world.exit(child, 0);
    assert_eq!(world.take_closed(), [(waiting, HungUp::Reset)]);
    assert_eq!(world.connect(socket), Err(Errno::ECONNREFUSED));
}

#[test]
fn k4_a_connection_ends_with_its_last_descriptor_answered_or_not() {
    let (mut world, init) = World::new();
    let (socket, fd) = listen(&mut world, init, 8);
    let connections: Vec<u64> = (0..2).map(|_| world.connect(socket).expect("room")).collect();
    let first = world.number(init, Call::Accept(fd));
    let child = world.fork(init);
    world.done(init, Call::Close(first));
    assert_eq!(world.reply(child, Call::Write(first, b"it".to_vec())), Ok(Value::Number(2)));
    assert_eq!(world.take_closed(), [], "the child has it still");
    world.exit(child, 0);
    assert_eq!(world.take_closed(), [(connections[0], HungUp::Answered)]);
    let worker = world.fork(init);
    world.number(worker, Call::Accept(fd));
    world.kill(init, worker, Signal::KILL);
    assert_eq!(world.take_closed(), [(connections[1], HungUp::Silent)]);
}

#[test]
fn k5_a_write_to_a_client_that_is_gone_is_sigpipe_and_its_address_lives_as_long_as_the_socket() {
    let (mut world, init) = World::new();
    let child = world.fork(init);
    let (_, fd) = listen(&mut world, child, 8);
    world.done(child, Call::Sigaction(Signal::PIPE, Action::IGNORE));
    world.done(child, Call::Connect(fd));
    let connection = world.number(child, Call::Accept(fd));
    assert_eq!(world.reply(child, Call::Read(connection, 9)), Ok(Value::Bytes(vec![])));
    for bytes in [&b"x"[..], b""] {
        assert_eq!(world.reply(child, Call::Write(connection, bytes.to_vec())), Err(Errno::EPIPE));
    }
    world.done(child, Call::Connect(connection));
    world.done(child, Call::Close(fd));
    assert_eq!(world.reply(child, Call::Connect(connection)), Err(Errno::ECONNREFUSED));
    world.done(child, Call::Sigaction(Signal::PIPE, Action::DEFAULT));
    assert_eq!(world.call(child, Call::Write(connection, b"x".to_vec())), Outcome::Gone);
    assert_eq!(world.end_of(child), Some(Signal::PIPE.number()));
}

/// Two ends that parent and child have one of each, after the parent has sent two bytes.
fn parted() -> (World, TaskId, TaskId) {
    let (mut world, init) = World::new();
    assert_eq!(world.reply(init, Call::Socketpair), Ok(Value::Pair(0, 1)));
    let child = world.fork(init);
    world.done(init, Call::Close(1));
    world.done(child, Call::Close(0));
    assert_eq!(world.reply(init, Call::Write(0, b"it".to_vec())), Ok(Value::Number(2)));
    (world, init, child)
}

#[test]
fn k6_an_end_that_is_closed_with_something_unread_resets_the_other_once() {
    let (mut world, init, child) = parted();
    assert_eq!(world.reply(child, Call::Read(1, 1)), Ok(Value::Bytes(b"i".to_vec())));
    assert_eq!(world.reply(child, Call::Write(1, b"so".to_vec())), Ok(Value::Number(2)));
    world.exit(child, 0);
    assert_eq!(world.reply(init, Call::Read(0, 9)), Ok(Value::Bytes(b"so".to_vec())), "what was sent before");
    assert_eq!(world.error(init, Call::Read(0, 9)), Errno::ECONNRESET);
    assert_eq!(world.reply(init, Call::Read(0, 9)), Ok(Value::Bytes(vec![])));
    world.done(init, Call::Sigaction(Signal::PIPE, Action::IGNORE));
    assert_eq!(world.error(init, Call::Write(0, b"x".to_vec())), Errno::EPIPE);
}

#[test]
fn k6_an_end_that_is_closed_with_nothing_unread_is_the_end_of_the_file() {
    let (mut world, init, child) = parted();
    assert_eq!(world.reply(child, Call::Read(1, 9)), Ok(Value::Bytes(b"it".to_vec())));
    world.sleeps(child, Call::Read(1, 9));
    world.done(init, Call::Close(0));
    assert_eq!(world.woke_with(child), Some(Ok(Value::Bytes(vec![]))));
}

#[test]
fn k6_who_sleeps_in_a_read_is_woken_by_a_reset() {
    let (mut world, init, child) = parted();
    assert_eq!(world.reply(child, Call::Read(1, 9)), Ok(Value::Bytes(b"it".to_vec())));
    assert_eq!(world.reply(child, Call::Write(1, b"so".to_vec())), Ok(Value::Number(2)));
    world.sleeps(child, Call::Read(1, 9));
    world.done(init, Call::Close(0));
    assert_eq!(world.woke_with(child), Some(Err(Errno::ECONNRESET)));
}
