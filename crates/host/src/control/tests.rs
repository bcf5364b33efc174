//! The server against well-behaved, slow and hostile clients, over real sockets.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects; the rest fails")]

use super::*;
use doula_core::talk::{CLIENT_LIMIT, OPEN_LIMIT, STREAM_LIMIT};
use doula_model::action::{Cause, News, State};
use doula_model::control::{
    Answer, Asked, Bytes, Goal, LogRecord, PROTOCOL, REPLY_LIMIT, REQUEST_LIMIT, RefusalKind, Reply, Request,
    RequestId, Settled, Stream, Verdict, Wall,
};
use doula_model::event::Haste;
use doula_model::exit::ExitStatus;
use doula_model::id::{Generation, Pid, Role};
use doula_model::plan::{Errno, Resource, SpawnError, Step};
use doula_model::service::Scope;
use doula_model::signal::Signal;
use doula_sys::group;
use doula_sys::poll::{Epoll, Happening};
use proptest::prelude::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A server in a loop of its own kind: [`Rig::turn`] is one round without waiting.
struct Rig {
    server: Server,
    epoll: Epoll,
    path: PathBuf,
    known: Vec<ClientId>,
    gone: Vec<ClientId>,
}

const LISTENER: u64 = 0;

impl Rig {
    fn new(owner: u32) -> Rig {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("doula-control-{}-{number}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("binds");
        listener.set_nonblocking(true).expect("non-blocking");
        let identity = Identity { family: "web".into(), pid: group::pid(), version: "0".into() };
        let server = Server::new(listener, owner, identity);
        let epoll = Epoll::new().expect("epoll");
        epoll.add(server.listener(), doula_sys::poll::Interest::READ, LISTENER).expect("adds");
        Rig { server, epoll, path, known: Vec::new(), gone: Vec::new() }
    }

    fn ours() -> Rig {
        Rig::new(group::users().1)
    }

    /// One round: everything that can be done now. `false`: nothing happened.
    fn turn(&mut self, requests: &mut Vec<(ClientId, RequestId, Request)>) -> bool {
        let mut room = [Happening::EMPTY; 32];
        let happened = self.epoll.wait(&mut room, Some(Duration::ZERO)).expect("waits").to_vec();
        for happening in &happened {
            match happening.token() {
                LISTENER => self.server.accept(),
                token => {
                    let id = ClientId(token);
                    requests.extend(self.server.ready(id).into_iter().map(|(n, request)| (id, n, request)));
                }
            }
        }
        self.note_changes();
        !happened.is_empty()
    }

    fn note_changes(&mut self) {
        self.gone.extend(self.server.take_gone());
        for (id, interest) in self.server.take_changes() {
            let fd = self.server.fd(id).expect("is there");
            if self.known.contains(&id) {
                self.epoll.modify(fd, interest, id.0).expect("modifies");
            } else {
                self.known.push(id);
                self.epoll.add(fd, interest, id.0).expect("adds");
            }
        }
    }

    /// Rounds until nothing happens any more.
    fn settle(&mut self) -> Vec<(ClientId, RequestId, Request)> {
        let mut requests = Vec::new();
        let mut rounds = 0;
        while self.turn(&mut requests) {
            rounds += 1;
            assert!(rounds < 10_000, "the loop spins");
        }
        requests
    }

    fn raw(&self) -> UnixStream {
        UnixStream::connect(&self.path).expect("connects")
    }

    /// A client that has said hello and read the answer.
    fn greeted(&mut self) -> UnixStream {
        let mut stream = self.raw();
        say(&mut stream, 0, hello());
        assert_eq!(self.settle(), []);
        let answers = hear(&mut stream);
        assert!(matches!(answers[..], [Answer { reply: Reply::Hello { .. }, .. }]), "{answers:?}");
        stream
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

fn hello() -> Request {
    Request::Hello { protocol: PROTOCOL, client: "test".into() }
}

fn status() -> Request {
    Request::Status { names: Vec::new() }
}

fn say(stream: &mut UnixStream, id: u32, request: Request) {
    stream.write_all(&framed(id, request)).expect("writes");
}

fn framed(id: u32, request: Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(&Asked { id: RequestId(id), request }, REQUEST_LIMIT, &mut bytes).expect("fits");
    bytes
}

/// Every whole answer that is there now.
fn hear(stream: &mut UnixStream) -> Vec<Answer> {
    let mut frames = frame::Frames::new(REPLY_LIMIT);
    hear_into(stream, &mut frames)
}

fn hear_into(stream: &mut UnixStream, frames: &mut frame::Frames) -> Vec<Answer> {
    stream.set_nonblocking(true).expect("non-blocking");
    let mut buffer = [0; 64 << 10];
    let mut answers = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        frames.push(&buffer[..count]);
    }
    while let Some(frame) = frames.take().expect("short frames") {
        answers.push(serde_json::from_slice(frame).expect("an answer"));
    }
    stream.set_nonblocking(false).expect("blocking");
    answers
}

/// Whether the server has closed the connection.
fn is_closed(stream: &mut UnixStream) -> bool {
    stream.set_nonblocking(true).expect("non-blocking");
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

fn record(text: &str) -> Reply {
    Reply::Log(LogRecord {
        at: Wall(1),
        service: "web".into(),
        stream: Stream::Stdout,
        line: Bytes(text.as_bytes().to_vec()),
    })
}

fn kinds(answers: &[Answer]) -> Vec<Option<RefusalKind>> {
    let kind = |answer: &Answer| match &answer.reply {
        Reply::Error(refusal) => Some(refusal.kind),
        _ => None,
    };
    answers.iter().map(kind).collect()
}

#[test]
fn a_request_is_answered_to_the_one_who_asked() {
    let mut rig = Rig::ours();
    let (mut one, mut two) = (rig.greeted(), rig.greeted());
    say(&mut one, 7, status());
    let requests = rig.settle();
    let [(client, id, request)] = &requests[..] else { panic!("one request: {requests:?}") };
    assert_eq!((*id, request), (RequestId(7), &status()));
    assert_eq!(rig.server.peer(*client).map(|peer| peer.uid), Some(group::users().1));
    rig.server.answer(*client, *id, &Reply::End);
    rig.server.answer(*client, *id, &Reply::End);
    assert_eq!(hear(&mut one), [Answer { id: RequestId(7), reply: Reply::End }], "answered once");
    assert_eq!(hear(&mut two), []);
}

#[test]
fn bytes_that_come_one_by_one_make_the_same_request() {
    let mut rig = Rig::ours();
    let mut stream = rig.greeted();
    let bytes = framed(3, Request::Why { name: "web".into() });
    for (at, byte) in bytes.iter().enumerate() {
        stream.write_all(&[*byte]).expect("writes");
        assert_eq!(rig.settle().len(), usize::from(at + 1 == bytes.len()), "after byte {at}");
    }
}

#[test]
fn a_client_may_vanish_after_any_byte() {
    let mut rig = Rig::ours();
    let mut bytes = framed(0, hello());
    bytes.extend(framed(1, status()));
    for cut in 0..bytes.len() {
        let mut stream = rig.raw();
        stream.write_all(&bytes[..cut]).expect("writes");
        drop(stream);
        rig.settle();
        assert_eq!(rig.gone.len(), cut + 1, "after byte {cut}");
    }
    rig.greeted();
}

#[test]
fn garbage_is_answered_by_one_error_and_the_end_of_the_connection() {
    let long = (REQUEST_LIMIT + 1).to_le_bytes().to_vec();
    let mut nested = 2_000_u32.to_le_bytes().to_vec();
    nested.extend([b'['; 2_000]);
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0xff; 4096], vec![0; 8], long, nested] {
        let mut rig = Rig::ours();
        let mut stream = rig.raw();
        stream.write_all(&bytes).expect("writes");
        assert_eq!(rig.settle(), []);
        assert_eq!(kinds(&hear(&mut stream)), [Some(RefusalKind::BadRequest)], "{bytes:?}");
        assert!(is_closed(&mut stream));
        assert_eq!(rig.gone.len(), 1);
    }
}

#[test]
fn an_unknown_request_is_refused_and_the_connection_goes_on() {
    let mut rig = Rig::ours();
    let mut stream = rig.greeted();
    let mut bytes = Vec::new();
    let unknown = serde_json::json!({ "id": 5, "request": "dance" });
    frame::encode(&unknown, REQUEST_LIMIT, &mut bytes).expect("fits");
    stream.write_all(&bytes).expect("writes");
    say(&mut stream, 6, status());
    assert_eq!(rig.settle().len(), 1);
    let answers = hear(&mut stream);
    assert_eq!(kinds(&answers), [Some(RefusalKind::BadRequest)]);
    assert_eq!(answers[0].id, RequestId(5));
}

#[test]
fn who_does_not_say_hello_in_our_version_is_dismissed() {
    for (request, kind) in [
        (status(), RefusalKind::BadRequest),
        (Request::Hello { protocol: PROTOCOL + 1, client: "later".into() }, RefusalKind::Version),
    ] {
        let mut rig = Rig::ours();
        let mut stream = rig.raw();
        say(&mut stream, 1, request);
        say(&mut stream, 2, hello());
        assert_eq!(rig.settle(), []);
        assert_eq!(kinds(&hear(&mut stream)), [Some(kind)]);
        assert!(is_closed(&mut stream));
    }
}

#[test]
fn a_number_in_use_and_too_many_unanswered_requests_are_refused() {
    let mut rig = Rig::ours();
    let mut stream = rig.greeted();
    for id in 0..=OPEN_LIMIT as u32 {
        say(&mut stream, id, status());
    }
    assert_eq!(rig.settle().len(), OPEN_LIMIT);
    assert_eq!(kinds(&hear(&mut stream)), [Some(RefusalKind::Busy)]);
    say(&mut stream, 3, status());
    rig.settle();
    assert_eq!(kinds(&hear(&mut stream)), [Some(RefusalKind::BadRequest)]);
    assert!(is_closed(&mut stream));
}

#[test]
fn a_slow_reader_misses_records_is_told_how_many_and_gets_the_end() {
    let mut rig = Rig::ours();
    let (mut slow, mut other) = (rig.greeted(), rig.greeted());
    say(&mut slow, 1, status());
    let requests = rig.settle();
    let (client, id, _) = &requests[0];
    let sent = 20_000_u64;
    for _ in 0..sent {
        rig.server.answer(*client, *id, &record(&"x".repeat(100)));
    }
    rig.note_changes();
    say(&mut other, 1, status());
    assert_eq!(rig.settle().len(), 1, "others are served meanwhile");
    let mut frames = frame::Frames::new(REPLY_LIMIT);
    let (mut seen, mut missed, mut ended) = (0, 0, false);
    while !ended {
        for answer in hear_into(&mut slow, &mut frames) {
            match answer.reply {
                Reply::Log(_) => seen += 1,
                Reply::Missed { records } => missed += records,
                Reply::End => ended = true,
                other => panic!("{other:?}"),
            }
        }
        rig.settle();
        if seen + missed == sent {
            rig.server.answer(*client, *id, &Reply::End);
            rig.note_changes();
        }
    }
    assert!(missed > 0 && seen > 0, "seen {seen}, missed {missed}");
    assert!(seen * 100 < 4 * STREAM_LIMIT as u64, "what waits is limited: {seen}");
}

#[test]
fn who_asks_on_and_on_without_reading_is_not_read_any_more_and_nothing_is_lost() {
    let mut rig = Rig::ours();
    let mut stream = rig.greeted();
    stream.set_nonblocking(true).expect("non-blocking");
    // Each of these is answered by an error of the server itself.
    let mut unknown = Vec::new();
    frame::encode(&serde_json::json!({ "id": 5, "request": "x" }), 100, &mut unknown).expect("fits");
    let (mut asked, mut cut) = (0_usize, 0);
    loop {
        match stream.write(&unknown[cut..]) {
            Ok(count) if cut + count == unknown.len() => (asked, cut) = (asked + 1, 0),
            Ok(count) => cut += count,
            Err(_) if rig.settle().is_empty() && !rig.server.is_busy() => {}
            Err(_) => match stream.write(&unknown[cut..]) {
                Ok(count) if cut + count == unknown.len() => (asked, cut) = (asked + 1, 0),
                Ok(count) => cut += count,
                Err(_) => break,
            },
        }
    }
    let mut frames = frame::Frames::new(REPLY_LIMIT);
    let mut answered = 0;
    loop {
        let heard = hear_into(&mut stream, &mut frames).len();
        answered += heard;
        rig.settle();
        if heard == 0 && !rig.server.is_busy() {
            break;
        }
    }
    assert_eq!(answered, asked, "each whole request is answered");
    assert_eq!(rig.gone, []);
}

#[test]
fn one_client_too_many_takes_the_place_of_one_that_waits_for_nothing() {
    let mut rig = Rig::ours();
    let mut silent = rig.raw();
    let mut clients: Vec<_> = (1..CLIENT_LIMIT).map(|_| rig.greeted()).collect();
    let mut late = rig.greeted();
    assert!(is_closed(&mut silent), "who never said hello goes first");
    for stream in clients.iter_mut().chain([&mut late]) {
        say(stream, 1, status());
    }
    assert_eq!(rig.settle().len(), CLIENT_LIMIT);
    let mut refused = rig.raw();
    rig.settle();
    assert_eq!(kinds(&hear(&mut refused)), [Some(RefusalKind::Busy)]);
    assert!(is_closed(&mut refused));
    assert!(!is_closed(&mut clients[0]));
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that is left out says why")]
fn only_the_owner_and_root_may_ask() {
    for (peer, owner, may) in [(7, 7, true), (0, 7, true), (7, 0, false), (8, 7, false)] {
        assert_eq!(server::may_ask(peer, owner), may, "{peer} asks {owner}");
    }
    let (_, user) = group::users();
    if user == 0 {
        println!("skipped: root may always ask, so that root cannot see a dismissal");
        return;
    }
    let mut rig = Rig::new(user + 1);
    let mut stream = rig.raw();
    rig.settle();
    assert_eq!(kinds(&hear(&mut stream)), [Some(RefusalKind::Unsupported)]);
}

#[test]
fn the_blocking_client_speaks_with_the_server() {
    let mut rig = Rig::ours();
    let path = rig.path.clone();
    let asker = std::thread::spawn(move || {
        let mut connection = Connection::open(&path, "test").expect("opens");
        assert_eq!(connection.family, "web");
        assert!(connection.next(Some(Duration::ZERO)).expect("waits").is_none());
        let id = connection.ask(status()).expect("asks");
        let answer = connection.next(None).expect("hears").expect("an answer");
        assert_eq!(answer, Answer { id, reply: Reply::End });
        assert!(matches!(connection.next(None), Err(ConnectionError::Closed)));
    });
    let client = loop {
        let mut room = [Happening::EMPTY; 8];
        rig.epoll.wait(&mut room, Some(Duration::from_secs(10))).expect("waits");
        if let Some((client, id, _)) = rig.settle().pop() {
            rig.server.answer(client, id, &Reply::End);
            break client;
        }
    };
    rig.server.forget(client);
    asker.join().expect("no panic");
}

fn round_trip(reply: Reply) {
    let answer = Answer { id: RequestId(9), reply };
    let json = serde_json::to_string(&answer).expect("writes");
    assert_eq!(serde_json::from_str::<Answer>(&json).expect(&json), answer, "{json}");
}

#[test]
fn every_kind_of_news_and_cause_survives_the_wire() {
    let error = SpawnError { step: Step::Rlimit(Resource::Nofile), errno: Errno::EPERM };
    let causes = [
        Cause::Asked,
        Cause::WaitsFor { service: "db".into() },
        Cause::Exit { status: ExitStatus::signal(Signal::KILL) },
        Cause::SpawnFailed { error },
    ];
    for because in causes {
        let settled = Settled {
            name: "web".into(),
            verdict: Verdict::Lost,
            state: State::Failed,
            because: because.clone(),
            pid: Pid::new(7),
        };
        round_trip(Reply::Settled { services: vec![settled], timed_out: false });
        for news in [
            News::Turned { from: State::Up, to: State::BackingOff, because: because.clone() },
            News::Exited { role: Role::Main, status: ExitStatus::UNKNOWN, lived: Duration::from_millis(1) },
            News::ShuttingDown { haste: Haste::Hurried, because: because.clone() },
            News::Status { text: "5 users".into() },
            News::FamilyEmpty,
        ] {
            let event = doula_model::control::EventRecord {
                at: Wall(5),
                service: Some("web".into()),
                generation: Generation(3),
                news,
            };
            round_trip(Reply::Event(event));
        }
    }
    for line in [&b"text"[..], b"\xff\x00\x1b[31m", b""] {
        round_trip(Reply::Output { data: Bytes(line.to_vec()) });
    }
}

#[test]
fn requests_on_the_wire_are_what_the_manual_says() {
    for (request, json) in [
        (status(), r#"{"id":1,"request":"status","names":[]}"#),
        (
            Request::Signal { names: vec!["web".into()], signal: Signal::HUP, scope: Scope::Tree },
            r#"{"id":1,"request":"signal","names":["web"],"signal":"SIGHUP","scope":"tree"}"#,
        ),
        (
            Request::Wait { names: Vec::new(), until: Goal::Ready, timeout: None },
            r#"{"id":1,"request":"wait","names":[],"until":"ready","timeout":null}"#,
        ),
    ] {
        let asked = Asked { id: RequestId(1), request };
        assert_eq!(serde_json::to_string(&asked).expect("writes"), json);
        assert_eq!(serde_json::from_str::<Asked>(json).expect(json), asked);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_whatsoever_stop_the_server(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                Just(framed(0, hello())),
                Just(framed(1, status())),
                prop::collection::vec(any::<u8>(), 0..64).prop_map(|junk| {
                    let mut bytes = (junk.len() as u32).to_le_bytes().to_vec();
                    bytes.extend(junk);
                    bytes
                }),
            ],
            0..12,
        )
    ) {
        let mut rig = Rig::ours();
        let mut stream = rig.raw();
        for piece in pieces {
            let written = stream.write_all(&piece);
            rig.settle();
            if written.is_err() {
                break;
            }
        }
        drop(stream);
        rig.settle();
        prop_assert_eq!(rig.gone.len(), 1);
        rig.greeted();
    }
}
