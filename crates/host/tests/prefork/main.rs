//! Servers of several processes. They are born of a process of one thread: so this program is its own harness.
#![expect(clippy::print_stdout, reason = "it is its own harness, and what is printed is looked at")]

#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "what other tests need is there too")]
mod harness;
#[path = "../../examples/prefork_server.rs"]
mod server;

use doula_host::prefork::{Attended, Crew, Prefork, PreforkError};
use doula_host::worker::Worker;
use doula_host::{Command, ExitStatus, Pid, Signal};
use doula_sys::{pidfd, poll};
use harness::{Actor, role, say, tests};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(40);

fn main() -> ExitCode {
    let tests = tests![
        a_server_answers_from_all_its_slots_and_a_roll_under_load_loses_no_request,
        a_worker_that_crashes_costs_its_own_request_alone_and_has_a_successor_in_its_slot,
        a_worker_that_does_not_become_ready_is_told_and_nobody_is_left,
        a_failed_roll_leaves_the_old_workers_serving,
        each_worker_has_a_cpu_of_its_own,
        workers_end_with_their_parent,
        a_program_serves_from_all_its_slots_and_a_roll_under_load_loses_no_request,
        a_program_that_ends_or_says_nothing_is_told_and_nobody_is_left,
        what_a_program_says_of_its_work_is_seen_and_what_others_say_is_not,
    ];
    harness::run(tests, play)
}

fn play(role: &str) -> io::Result<u8> {
    match role {
        "server" => play_server(),
        "parent" => play_parent(),
        "worker" => Ok(server::serve(&Worker::of_pool()?)),
        unknown => panic!("{unknown} is no role"),
    }
}

/// The example, with three workers, until SIGTERM.
fn play_server() -> io::Result<u8> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    say(&listener.local_addr()?.to_string())?;
    let prefork = Prefork::new(|worker| server::serve(&worker)).map_err(io::Error::other)?;
    prefork.socket(listener).workers(3).run().map_err(io::Error::other)
}

fn start() -> (Actor, SocketAddr) {
    let mut actor = Actor::of(&role("server"));
    let address = actor.line().parse().expect("an address");
    (actor, address)
}

/// Asks for this on one connection until the server closes it, or `over`; how many answers there were.
fn ask(address: SocketAddr, path: &str, over: &AtomicBool) -> io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut count = 0;
    loop {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        while !text.contains("pid") || !text.ends_with('\n') {
            let mut piece = [0; 512];
            match stream.read(&mut piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => text.push_str(&String::from_utf8_lossy(&piece[..length])),
            }
        }
        count += 1;
        if text.contains("Connection: close") || over.load(Ordering::Acquire) {
            return Ok(count);
        }
    }
}

fn a_server_answers_from_all_its_slots_and_a_roll_under_load_loses_no_request() {
    let (actor, address) = start();
    let (over, good, bad) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    match ask(address, "/", &over) {
                        Ok(count) => good.fetch_add(count, Ordering::AcqRel),
                        Err(_) => bad.fetch_add(1, Ordering::AcqRel),
                    };
                }
            });
        }
        // Who answers holds the signal back already.
        await_answers(&good, 1);
        for _ in 0..3 {
            let before = good.load(Ordering::Acquire);
            actor.child.signal(Signal::HUP).expect("it lives");
            // It is in the middle of it, or over it.
            await_answers(&good, before + 500);
        }
        over.store(true, Ordering::Release);
    });
    actor.child.signal(Signal::TERM).expect("it lives");
    let (_, end) = actor.end();
    let good = good.into_inner();
    assert_eq!((end, bad.into_inner()), (ExitStatus::code(0), 0), "{good} answered");
    assert!(good > 1500, "{good} answered");
}

/// Waits until there were so many answers.
fn await_answers(good: &AtomicU64, count: u64) {
    let end = Instant::now() + PATIENCE;
    while good.load(Ordering::Acquire) < count && Instant::now() < end {
        thread::yield_now();
    }
}

/// A server in this process, whose workers serve as the example does.
fn crew(count: u32) -> (Crew, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let prefork = Prefork::new(|worker| server::serve(&worker)).expect("one thread");
    (prefork.socket(listener).workers(count).start().expect("it serves"), address)
}

fn a_worker_that_crashes_costs_its_own_request_alone_and_has_a_successor_in_its_slot() {
    let (mut crew, address) = crew(1);
    let (never, _writer) = io::pipe().expect("a pipe");
    let over = AtomicBool::new(true);
    assert_eq!(ask(address, "/", &over).expect("an answer"), 1);
    // It is counted when it is answered.
    let end = Instant::now() + PATIENCE;
    while crew.seats()[0].requests == 0 && Instant::now() < end {
        thread::yield_now();
    }
    let before = crew.seats()[0];
    assert_eq!((before.requests, before.restarts), (1, 0));
    assert!(ask(address, "/crash", &over).is_err(), "nobody answers that");
    // This waits in the queue until the next one is there.
    let mut stream = TcpStream::connect(address).expect("the socket is open");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("room");
    assert_eq!(crew.attend(&never, Some(PATIENCE)).expect("fds"), Attended::Replaced(1));
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    assert!(stream.read(&mut [0; 512]).expect("an answer") > 0);
    let after = crew.seats()[0];
    assert_eq!((after.slot, after.restarts), (1, 1));
    assert_ne!(after.pid, before.pid);
    drop(stream);
    assert_eq!(crew.stop(), 0, "nobody had to be killed");
}

fn a_worker_that_does_not_become_ready_is_told_and_nobody_is_left() {
    let ends = Prefork::new(|worker| if worker.slot() == Some(2) { 7 } else { server::serve(&worker) });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let error = ends.expect("one thread").socket(listener).workers(2).start().expect_err("one fails");
    assert!(matches!(error, PreforkError::Ended(2, status) if status == ExitStatus::code(7)), "{error}");
    let silent = Prefork::new(|_worker| {
        thread::park();
        0
    });
    let silent = silent.expect("one thread").patience(Duration::from_millis(1));
    let error = silent.start().expect_err("it is late");
    assert!(matches!(error, PreforkError::Late(1, _)), "{error}");
    assert_eq!(children(), 0);
}

/// How many children this process has.
fn children() -> usize {
    let us = std::process::id();
    let text = std::fs::read_to_string(format!("/proc/{us}/task/{us}/children")).expect("our own");
    text.split_whitespace().count()
}

fn a_failed_roll_leaves_the_old_workers_serving() {
    let flag = std::env::temp_dir().join(format!("doula-prefork-{}", std::process::id()));
    let seen = flag.clone();
    let prefork = Prefork::new(move |worker: Worker| if seen.exists() { 9 } else { server::serve(&worker) });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let mut crew = prefork.expect("one thread").socket(listener).workers(2).start().expect("it serves");
    let pids = |crew: &Crew| crew.seats().iter().map(|seat| seat.pid).collect::<Vec<_>>();
    let before = pids(&crew);
    std::fs::write(&flag, "").expect("a file");
    assert!(matches!(crew.roll(), Err(PreforkError::Ended(1, status)) if status == ExitStatus::code(9)));
    assert_eq!(pids(&crew), before);
    assert_eq!(ask(address, "/", &AtomicBool::new(true)).expect("an answer"), 1);
    std::fs::remove_file(&flag).expect("it was made");
    crew.roll().expect("now they are ready");
    assert!(pids(&crew).iter().all(|pid| !before.contains(pid)));
    assert_eq!(crew.stop(), 0);
}

fn each_worker_has_a_cpu_of_its_own() {
    let prefork = Prefork::new(|worker: Worker| {
        let ready = worker.ready();
        thread::park();
        u8::from(ready.is_err())
    });
    let crew = prefork.expect("one thread").workers(2).pin(true).start().expect("they are ready");
    for seat in crew.seats() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", seat.pid.expect("it lives")));
        let status = status.expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        assert!(line.is_some_and(|line| line.trim().parse::<u16>().is_ok()), "one CPU: {line:?}");
    }
}

/// Says who its worker is, and is killed then.
fn play_parent() -> io::Result<u8> {
    let (crew, _) = crew(1);
    say(&crew.seats()[0].pid.map(|pid| pid.to_string()).unwrap_or_default())?;
    thread::park();
    Ok(1)
}

fn workers_end_with_their_parent() {
    let mut parent = Actor::of(&role("parent"));
    let pid = parent.line().parse().ok().and_then(Pid::new).expect("a number");
    // While its parent lives, nobody else has its number.
    let worker = pidfd::open(pid).expect("it lives");
    parent.child.signal(Signal::KILL).expect("it lives");
    parent.child.wait();
    assert_eq!(poll::readable(&worker, Some(PATIENCE)), Ok(true), "the worker ended");
}

/// A server in this process, whose workers are a program that serves as the example does.
fn programs(count: u32) -> (Crew, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let prefork = Prefork::exec(role("worker")).socket(listener).workers(count);
    (prefork.start().expect("it serves"), address)
}

fn a_program_serves_from_all_its_slots_and_a_roll_under_load_loses_no_request() {
    let (mut crew, address) = programs(2);
    let before: Vec<_> = crew.seats().iter().map(|seat| seat.pid).collect();
    let (over, good, bad) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    match ask(address, "/", &over) {
                        Ok(count) => good.fetch_add(count, Ordering::AcqRel),
                        Err(_) => bad.fetch_add(1, Ordering::AcqRel),
                    };
                }
            });
        }
        await_answers(&good, 100);
        crew.roll().expect("the new ones are ready");
        let now = good.load(Ordering::Acquire);
        await_answers(&good, now + 100);
        over.store(true, Ordering::Release);
    });
    assert_eq!(bad.into_inner(), 0, "{good:?} answered");
    let after = crew.seats();
    assert!(after.iter().all(|seat| !before.contains(&seat.pid)), "{after:?}");
    assert_eq!(after.iter().map(|seat| seat.slot).collect::<Vec<_>>(), [1, 2]);
    assert!(after.iter().map(|seat| seat.requests).sum::<u64>() > 0, "by the scoreboards: {after:?}");
    // One that crashes has a successor in its slot.
    let (never, _writer) = io::pipe().expect("a pipe");
    assert!(ask(address, "/crash", &AtomicBool::new(true)).is_err(), "nobody answers that");
    assert!(matches!(crew.attend(&never, Some(PATIENCE)), Ok(Attended::Replaced(1 | 2))));
    assert_eq!(ask(address, "/", &AtomicBool::new(true)).expect("an answer"), 1);
    assert_eq!(crew.stop(), 0, "nobody had to be killed");
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn a_program_that_ends_or_says_nothing_is_told_and_nobody_is_left() {
    let error = Prefork::exec(shell("exit 7")).start().expect_err("it ends");
    assert!(matches!(error, PreforkError::Ended(1, status) if status == ExitStatus::code(7)), "{error}");
    let mute = Prefork::exec(shell("exec sleep 1000")).patience(Duration::from_millis(1));
    let error = mute.start().expect_err("it says nothing");
    assert!(matches!(error, PreforkError::Late(1, _)), "{error}");
    let error = Prefork::exec(Command::new("/nonexistent")).start().expect_err("there is none");
    assert!(error.to_string().contains("/nonexistent"), "{error}");
    let mut crew = Prefork::exec(shell("exec sleep 1000")).silent().workers(2).start().expect("they run");
    assert_eq!(crew.seats().iter().filter(|seat| seat.pid.is_some()).count(), 2);
    assert_eq!((crew.stop(), children()), (0, 0));
}

/// It says by itself that it is ready and has answered three, then says by a child that it is busy, and ends when it is asked.
const SPEAKER: &str = "\
import os, signal, socket
def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(text, os.environ['NOTIFY_SOCKET'].replace('@', '\\0', 1))
say(b'READY=1\\nX_DOULA_BUSY=0')
if os.fork() == 0:
    say(b'X_DOULA_BUSY=1\\nX_DOULA_TASKS=99')
    os._exit(0)
os.wait()
say(b'X_DOULA_TASKS=3')
signal.pause()
";

fn what_a_program_says_of_its_work_is_seen_and_what_others_say_is_not() {
    let mut python = Command::new("python3");
    python.args(["-I", "-S", "-c", SPEAKER]);
    if Command::new("python3").arg("-V").output().is_err() {
        println!("skipped: python3 is not installed");
        return;
    }
    let mut crew = Prefork::exec(python).start().expect("it says that it is ready");
    let (never, _writer) = io::pipe().expect("a pipe");
    let end = Instant::now() + PATIENCE;
    while crew.seats()[0].requests == 0 && Instant::now() < end {
        crew.attend(&never, Some(Duration::from_millis(1))).expect("fds");
    }
    let seat = crew.seats()[0];
    assert_eq!((seat.busy, seat.requests), (Some(false), 3));
    assert_eq!(crew.stop(), 0);
}
