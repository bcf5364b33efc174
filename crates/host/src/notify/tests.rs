//! The channel with real datagrams.
#![expect(clippy::print_stdout, reason = "a test that is skipped says why")]

use super::*;
use crate::logs::test_directory::Scratch;
use core::time::Duration;
use doula_model::event::Notice;
use doula_model::time::Time;
use doula_sys::fd::AsRawFd as _;
use doula_sys::poll;
use proptest::prelude::*;
use std::os::unix::net::UnixDatagram;

/// A channel, and a client that is connected to it.
fn channel(scratch: &Scratch) -> (Channel, UnixDatagram) {
    let channel = Channel::open(scratch.dir(), "notify").expect("channel");
    let client = UnixDatagram::unbound().expect("socket");
    client.connect(channel.address()).expect("connect");
    (channel, client)
}

fn one(channel: &mut Channel) -> Heard {
    let mut heard = channel.hear();
    assert_eq!(heard.len(), 1);
    heard.remove(0)
}

#[test]
fn every_word_of_sd_notify_is_understood() {
    let scratch = Scratch::new();
    let (mut channel, client) = channel(&scratch);
    let second = Duration::from_secs(1);
    let cases = [
        ("READY=1", vec![Notice::Ready]),
        ("READY=1\n", vec![Notice::Ready]),
        ("READY=0", vec![]),
        ("RELOADING=1\nMONOTONIC_USEC=5", vec![Notice::Reloading]),
        (
            "STOPPING=1\nSTATUS=good bye = soon",
            vec![Notice::Stopping, Notice::Status("good bye = soon".into())],
        ),
        ("WATCHDOG=1", vec![Notice::Watchdog]),
        ("WATCHDOG=trigger", vec![Notice::WatchdogTrigger]),
        ("WATCHDOG_USEC=1000000", vec![Notice::WatchdogInterval(second)]),
        ("WATCHDOG_USEC=0", vec![Notice::WatchdogInterval(Duration::MAX)]),
        ("EXTEND_TIMEOUT_USEC=1000000", vec![Notice::ExtendTimeout(second)]),
        ("X_DOULA_ANYTHING=1\nNOTIFYACCESS=all\nBUSERROR=x", vec![]),
    ];
    for (text, notices) in cases {
        client.send(text.as_bytes()).expect("send");
        let heard = one(&mut channel);
        assert_eq!((heard.notices, heard.complaint), (notices, None), "{text}");
        assert_eq!(heard.sender.and_then(|peer| peer.pid), Some(doula_sys::group::pid()));
    }
    client.send(b"MAINPID=42\nERRNO=13").expect("send");
    let heard = one(&mut channel);
    assert_eq!((heard.main_pid.map(|pid| pid.get()), heard.errno), (Some(42), Some(Errno::EACCES)));
}

#[test]
fn wrong_messages_are_told_and_do_no_harm() {
    let scratch = Scratch::new();
    let (mut channel, client) = channel(&scratch);
    let long = vec![b'x'; LONGEST_MESSAGE + 1];
    let cases: [&[u8]; 9] = [
        b"nonsense",
        b"MAINPID=-4",
        b"MAINPID=99999999999999",
        b"WATCHDOG_USEC=soon",
        b"ERRNO=\xff",
        b"BARRIER=1",
        b"FDSTOREREMOVE=1",
        b"FDSTORE=1\nFDNAME=a:b",
        &long,
    ];
    for bytes in cases {
        client.send(bytes).expect("send");
        let heard = one(&mut channel);
        assert!(heard.complaint.is_some(), "{:?}", String::from_utf8_lossy(bytes));
        assert!(heard.notices.is_empty() && heard.main_pid.is_none());
    }
    client.send(b"STATUS=\xff\xfe\nREADY=1").expect("send");
    assert_eq!(one(&mut channel).notices, [Notice::Status("\u{fffd}\u{fffd}".into()), Notice::Ready]);
    client.send(b"").expect("send");
    assert!(one(&mut channel).complaint.is_none());
}

#[test]
fn a_barrier_hangs_up_when_everything_before_it_was_done() {
    let scratch = Scratch::new();
    let (mut channel, client) = channel(&scratch);
    let (reader, writer) = fd::pipe().expect("pipe");
    client.send(b"READY=1").expect("send");
    socket::send(&client, b"BARRIER=1", &[writer.as_fd()]).expect("send");
    drop(writer);
    assert_eq!(one(&mut channel).notices, [Notice::Ready]);
    let heard = one(&mut channel);
    assert_eq!(poll::readable(&reader, Some(Duration::ZERO)), Ok(false));
    drop(heard);
    assert_eq!(poll::readable(&reader, None), Ok(true));
}

#[test]
fn stored_fds_come_back_under_their_names_and_within_the_limit() {
    let scratch = Scratch::new();
    let (mut channel, client) = channel(&scratch);
    let mut store = FdStore::new(3);
    let pipes: Vec<_> = (0..2).map(|_| fd::pipe().expect("pipe")).collect();
    let fds: Vec<_> = pipes.iter().flat_map(|(reader, writer)| [reader.as_fd(), writer.as_fd()]).collect();
    socket::send(&client, b"FDSTORE=1\nFDNAME=conn\nFDPOLL=0", &fds[..2]).expect("send");
    socket::send(&client, b"FDSTORE=1", &fds[2..]).expect("send");
    let mut keep = || store.store(one(&mut channel).offered.expect("an offer"));
    assert_eq!([keep(), keep()], [0, 1]);
    let names: Vec<_> = store.fds().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["conn", "conn", "stored"]);
    let (_, back) = store.fds().nth(1).expect("three");
    fd::write(back, b"x").expect("write");
    assert_eq!(fd::read(&pipes[0].0, &mut [0; 4]), Ok(1), "it is the same pipe");

    socket::send(&client, b"FDSTORE=1\nFDNAME=again", &fds[..1]).expect("send");
    let again = one(&mut channel).offered.expect("offered");
    if fd::same_open_file(&again.fds[0], fds[0]) == Err(Errno::ENOSYS) {
        println!("skipped: the kernel has no kcmp(2)");
    } else {
        assert_eq!((store.store(again), store.len()), (0, 3), "kept already");
    }
    client.send(b"FDSTOREREMOVE=1\nFDNAME=conn").expect("send");
    let removed = one(&mut channel).removed.expect("removed");
    assert_eq!((store.remove(&removed), store.len()), (2, 1));
}

#[test]
fn a_stored_fd_that_hangs_up_is_given_up_unless_it_is_not_watched() {
    let mut store = FdStore::new(10);
    assert!(store.watch().is_none() && store.is_empty());
    let (watched, end_of_watched) = fd::pipe().expect("pipe");
    let (kept, end_of_kept) = fd::pipe().expect("pipe");
    let _elsewhere = fd::duplicate(&watched, 3).expect("dup");
    let file = fd::memory(c"test").expect("memfd");
    store.store(Offered { name: "watched".into(), watch: true, fds: vec![watched, file] });
    store.store(Offered { name: "kept".into(), watch: false, fds: vec![kept] });
    assert_eq!(store.sweep(), 0);
    drop((end_of_watched, end_of_kept));
    let watch = store.watch().expect("something is watched");
    assert_eq!(poll::readable(watch, None), Ok(true));
    assert_eq!((store.sweep(), store.len()), (1, 2));
    let watch = store.watch().expect("it stays");
    assert_eq!(poll::readable(watch, Some(Duration::ZERO)), Ok(false));
}

#[test]
fn fds_that_nobody_asked_for_are_closed() {
    let scratch = Scratch::new();
    let (mut channel, client) = channel(&scratch);
    let (reader, writer) = fd::pipe().expect("pipe");
    let many: Vec<_> = (0..socket::MAX_FDS).map(|_| writer.as_fd()).collect();
    for text in ["READY=1", "BARRIER=1", "nonsense", "FDSTORE=1\nBARRIER=1", "FDSTORE=1"] {
        socket::send(&client, text.as_bytes(), &many).expect("send");
        let heard = one(&mut channel);
        drop(heard);
    }
    socket::send(&client, &vec![b'x'; 2 * LONGEST_MESSAGE], &many).expect("send");
    assert!(one(&mut channel).complaint.is_some());
    drop(writer);
    assert_eq!(poll::readable(&reader, Some(Duration::ZERO)), Ok(true), "no writer is left anywhere");
}

#[test]
fn a_long_directory_gets_an_abstract_name_and_a_left_over_file_is_replaced() {
    let scratch = Scratch::new();
    let long = scratch.path(&"x".repeat(120));
    let mut channel = Channel::open(&long, "web").expect("abstract");
    let name = channel.address().strip_prefix('@').expect("abstract").to_owned();
    let client = UnixDatagram::unbound().expect("socket");
    let address = SocketAddr::from_abstract_name(&name).expect("address");
    client.send_to_addr(b"READY=1", &address).expect("send");
    assert_eq!(one(&mut channel).notices, [Notice::Ready]);

    let left_over = UnixDatagram::bind(scratch.path("web")).expect("bind");
    drop(left_over);
    let channel = Channel::open(scratch.dir(), "web").expect("replaced");
    assert_eq!(scratch.names(), ["web"]);
    drop(channel);
    assert!(scratch.names().is_empty(), "the file goes with the channel");
    let error = Channel::open(Path::new("/nonexistent"), "web").expect_err("no directory");
    assert!(error.to_string().starts_with("failed to open the notify socket /nonexistent/web: "));
}

#[test]
fn what_a_service_says_of_itself_is_heard_again_by_whoever_comes_before_it_was_written_down() {
    let scratch = Scratch::new();
    let (mut channel, client) = channel(&scratch);
    for word in [&b"WATCHDOG=1"[..], b"READY=1", b"STATUS=well", b"STOPPING=1"] {
        client.send(word).expect("send");
    }
    let said = |channel: &mut Channel| {
        channel.hear().into_iter().flat_map(|heard| heard.notices).collect::<Vec<_>>()
    };
    assert_eq!(said(&mut channel), [Notice::Watchdog, Notice::Ready]);
    // The supervisor is killed now, and the next one has the same socket.
    let socket = channel.as_fd().try_clone_to_owned().expect("a duplicate");
    let mut next = Channel::inherit(socket).expect("it is one");
    assert_eq!(said(&mut next), [Notice::Ready]);
    assert_eq!(said(&mut next), [Notice::Status("well".into()), Notice::Stopping]);
    assert_eq!(said(&mut next), []);
    assert_eq!(poll::readable(&next, Some(Duration::ZERO)), Ok(false), "nothing waits");
}

#[test]
fn a_chatty_service_does_not_keep_us() {
    let scratch = Scratch::new();
    let (mut channel, client) = channel(&scratch);
    client.set_nonblocking(true).expect("fcntl");
    let mut sent = 0;
    let mut heard = 0;
    while sent < 1000 {
        while client.send(b"WATCHDOG=1").is_ok() {
            sent += 1;
        }
        let now = channel.hear().len();
        assert!(now <= HEARD_PER_TURN);
        heard += now;
    }
    while let now @ 1.. = channel.hear().len() {
        heard += now;
    }
    assert_eq!(heard, sent);
}

#[test]
fn who_is_above_us_hears_us_by_path_and_by_abstract_name() {
    let scratch = Scratch::new();
    for abstract_name in [false, true] {
        let channel = match abstract_name {
            true => Channel::open_abstract("above"),
            false => Channel::open(scratch.dir(), "above"),
        };
        let mut channel = channel.expect("channel");
        let socket = channel.address().to_owned();
        let us = std::process::id().to_string();
        let variable = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(socket.clone().into()),
            "WATCHDOG_USEC" => Some("3000000".into()),
            "WATCHDOG_PID" => Some(us.clone().into()),
            _ => None,
        };
        let above = Above::find(variable).expect("an address").expect("somebody");
        assert_eq!(above.watchdog(), Some(Duration::from_millis(1500)));
        above.send("READY=1\nSTATUS=all is well").expect("send");
        assert_eq!(one(&mut channel).notices, [Notice::Ready, Notice::Status("all is well".into())]);
        drop(channel);
        assert!(above.send("READY=1").is_err());
    }
    assert!(Above::find(|_| None).expect("nobody").is_none());
    assert!(Above::find(|_| Some("relative".into())).is_err());
    let not_us = |name: &str| match name {
        "WATCHDOG_PID" => Some("1".into()),
        "WATCHDOG_USEC" => Some("5".into()),
        _ => Some("@x".into()),
    };
    assert_eq!(Above::find(not_us).expect("an address").expect("somebody").watchdog(), None);
}

/// A socket as a service manager has it, and what we are to it. Signs of life are wanted each three seconds.
fn above(scratch: &Scratch, watchdog: bool) -> (UnixDatagram, Above) {
    let path = scratch.path("above");
    let manager = UnixDatagram::bind(&path).expect("bind");
    manager.set_nonblocking(true).expect("fcntl");
    let variable = |name: &str| match name {
        "NOTIFY_SOCKET" => Some(path.clone().into()),
        "WATCHDOG_USEC" if watchdog => Some("3000000".into()),
        _ => None,
    };
    (manager, Above::find(variable).expect("an address").expect("somebody"))
}

fn all_of(manager: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    let next =
        || manager.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into());
    std::iter::from_fn(next).collect()
}

const fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

#[test]
fn who_is_above_us_hears_each_stage_once_and_signs_of_life_in_time() {
    let scratch = Scratch::new();
    let (manager, mut above) = above(&scratch, true);
    above.turn(at(0));
    assert_eq!(above.deadline(), Some(at(1500)));
    above.turn(at(1499));
    above.reloading(at(1499));
    assert_eq!(all_of(&manager), Vec::<String>::new(), "too early for all of it");
    above.status("1 of 1 services are up");
    above.status("1 of 1 services are up");
    above.ready();
    above.ready();
    assert_eq!(all_of(&manager), ["STATUS=1 of 1 services are up", "READY=1"]);
    above.turn(at(1600));
    assert_eq!(
        (all_of(&manager).as_slice(), above.deadline()),
        (&["WATCHDOG=1".to_owned()][..], Some(at(3100)))
    );
    above.reloading(at(2000));
    above.reloaded();
    above.stopping();
    above.stopping();
    above.reloading(at(2001));
    assert_eq!(all_of(&manager), ["RELOADING=1\nMONOTONIC_USEC=2000000", "READY=1", "STOPPING=1"]);
}

#[test]
fn who_wants_no_signs_of_life_costs_no_wake_up() {
    let scratch = Scratch::new();
    let (manager, mut above) = above(&scratch, false);
    above.turn(at(0));
    above.ready();
    above.turn(at(1));
    assert_eq!((above.deadline(), all_of(&manager).len()), (None, 1));
}

#[test]
fn what_a_full_queue_did_not_take_is_said_again() {
    let scratch = Scratch::new();
    let (manager, mut above) = above(&scratch, false);
    while above.send("STATUS=a flood").is_ok() {}
    above.ready();
    above.turn(at(0));
    assert_eq!(above.deadline(), Some(at(100)));
    assert!(!all_of(&manager).contains(&"READY=1".to_owned()));
    above.turn(at(100));
    assert_eq!((all_of(&manager).as_slice(), above.deadline()), (&["READY=1".to_owned()][..], None));
}

#[test]
fn a_newline_on_the_readiness_fd_means_ready_and_nothing_else_does() {
    let (pipe, writer) = ReadyPipe::new().expect("pipe");
    assert_eq!(pipe.look(), ReadySign::Silent);
    fd::write(&writer, b"almost").expect("write");
    assert_eq!(pipe.look(), ReadySign::Silent);
    fd::write(&writer, b" there\n").expect("write");
    assert_eq!(pipe.look(), ReadySign::Ready);
    drop(writer);
    assert_eq!(pipe.look(), ReadySign::Closed);
    assert!(pipe.as_fd().as_raw_fd() > 2);
}

proptest! {
    #[test]
    fn no_datagram_makes_us_panic(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "([A-Z_]{1,20}=[0-9a-z:]{0,8}\n){0,8}".prop_map(String::into_bytes),
    ]) {
        let message = socket::Message { length: bytes.len(), sender: None, fds: Vec::new(), truncated: false };
        drop(Heard::from_message(&bytes, message));
    }
}
