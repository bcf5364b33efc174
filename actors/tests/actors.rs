//! Each actor does the one odd thing that its head comment says. Every process started here is ended by its
//! handle and reaped.

use doula_model::signal::Signal;
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

/// A running actor, killed and reaped when the test is over.
struct Actor {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    fn start(path: &str, args: &[&str]) -> Actor {
        let mut command = Command::new(path);
        // Standard input is a pipe of ours: where it is /dev/null, who lives until it ends would end at once.
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the actor starts");
        let lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        Actor { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("one more line").expect("a line of text")
    }

    fn send(&self, name: &str) {
        let signal: Signal = name.parse().expect("a signal");
        let pid = doula_model::id::Pid::new(self.child.id() as i32).expect("a pid");
        let handle = doula_sys::pidfd::open(pid).expect("our own child, not reaped yet");
        doula_sys::pidfd::send(&handle, signal).expect("a signal sent");
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().expect("its end")
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn polite_ends_with_0_on_sigterm_and_reloads_on_sighup() {
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_polite"), &[]);
    assert_eq!(actor.line(), "polite: ready");
    actor.send("HUP");
    assert_eq!(actor.line(), "polite: reloaded");
    actor.send("TERM");
    assert_eq!(actor.line(), "polite: bye");
    assert_eq!(actor.end().code(), Some(0));
}

#[test]
fn ignore_term_ends_by_sigkill_only() {
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_ignore_term"), &[]);
    assert_eq!(actor.line(), "ignore_term: ready");
    actor.send("TERM");
    actor.send("KILL");
    assert_eq!(actor.end().signal(), Some(9));
}

#[test]
fn slow_stop_tidies_up_before_it_ends() {
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_slow_stop"), &["1"]);
    assert_eq!(actor.line(), "slow_stop: ready");
    actor.send("TERM");
    assert_eq!([actor.line(), actor.line()], ["slow_stop: tidying up", "slow_stop: bye"]);
    assert_eq!(actor.end().code(), Some(0));
}

#[test]
fn crasher_ends_as_it_is_told() {
    for (how, code, signal) in
        [("7", Some(7), None), ("abort", None, Some(6)), ("SEGV", None, Some(11)), ("KILL", None, Some(9))]
    {
        let end = Actor::start(env!("CARGO_BIN_EXE_crasher"), &[how]).end();
        assert_eq!((end.code(), end.signal()), (code, signal), "{how}");
    }
}

#[test]
fn exit_with_and_ready_then_die_end_with_their_code() {
    assert_eq!(Actor::start(env!("CARGO_BIN_EXE_exit_with"), &["42"]).end().code(), Some(42));
    assert_eq!(Actor::start(env!("CARGO_BIN_EXE_ready_then_die"), &["0", "3"]).end().code(), Some(3));
}

#[test]
fn double_fork_leaves_a_daemon_in_a_session_of_its_own() {
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_double_fork"), &[]);
    let line = actor.line();
    let pid: i32 = line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("its pid");
    let pid = doula_model::id::Pid::new(pid).expect("a pid");
    let handle = doula_sys::pidfd::open(pid).expect("the daemon lives");
    assert_eq!(actor.end().code(), Some(0));
    assert_ne!(doula_sys::group::getsid(Some(pid)), doula_sys::group::getsid(None));
    doula_sys::pidfd::send(&handle, "KILL".parse().expect("a signal")).expect("the daemon is ours");
    assert!(actor.lines.next().is_none(), "nobody holds the pipe when the daemon is gone");
}

#[test]
fn leak_zombie_and_orphan_maker_say_what_they_made() {
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_leak_zombie"), &["2"]);
    assert_eq!(actor.line(), "leak_zombie: 2 forgotten");
    actor.send("TERM");
    assert_eq!(actor.end().code(), Some(0));
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_orphan_maker"), &["1", "1", "2"]);
    assert_eq!([actor.line(), actor.line()], ["orphan_maker: orphan 1", "orphan_maker: orphan 2"]);
    actor.send("TERM");
    assert_eq!(actor.end().code(), Some(0));
}

#[test]
fn holds_pipe_is_gone_while_its_child_keeps_stdout_open() {
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_holds_pipe"), &["20"]);
    assert_eq!(actor.end().code(), Some(0));
    assert_eq!([actor.line(), actor.line()], ["holds_pipe: bye", "holds_pipe: last word"]);
    assert!(actor.lines.next().is_none());
}

#[test]
fn log_flood_and_torn_lines_write_what_they_promise() {
    let flood = Command::new(env!("CARGO_BIN_EXE_log_flood")).args(["3", "5"]).output().expect("a flood");
    assert_eq!(flood.stdout, b"    1\n    2\n    3\n");
    let torn = Command::new(env!("CARGO_BIN_EXE_torn_lines")).arg("0").output().expect("torn lines");
    assert_eq!(torn.stdout, b"torn on stdout\nno newline at the end");
    assert_eq!(torn.stderr, b"torn on stderr\n");
}

#[test]
fn env_dump_tells_what_it_was_born_with() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_env_dump"));
    command.arg("one two").env_clear().env("GREETING", "hello").current_dir("/");
    let text = String::from_utf8(command.output().expect("a dump").stdout).expect("text");
    for line in ["arg.1 one two", "env.GREETING hello", "cwd /", "SigBlk 0000000000000000"] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    for key in ["fd.0 ", "pgid ", "sid ", "Umask ", "NoNewPrivs ", "limit Max open files"] {
        assert!(text.lines().any(|found| found.starts_with(key)), "{key} is not in\n{text}");
    }
}

#[test]
fn web_worker_answers_and_drains_on_sigterm() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("its address").port();
    drop(free);
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_web_worker"), &[&port.to_string()]);
    assert_eq!(actor.line(), format!("web_worker: listening on 127.0.0.1:{port}"));
    let mut answer = String::new();
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    client.write_all(b"GET /health HTTP/1.0\r\n\r\n").expect("a request");
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("ok\n"), "{answer}");
    actor.send("TERM");
    assert_eq!(actor.line(), "web_worker: drained, bye");
    assert_eq!(actor.end().code(), Some(0));
}

#[test]
fn notify_fd_writes_a_newline_and_closes() {
    let output = Command::new("sh")
        .args(["-c", "exec 3>&1 >/dev/null; exec \"$1\" 3 0", "sh", env!("CARGO_BIN_EXE_notify_fd")])
        .stdout(Stdio::piped())
        .spawn();
    let mut shell = output.expect("a shell");
    let mut pipe = shell.stdout.take().expect("its stdout");
    let mut byte = [0];
    pipe.read_exact(&mut byte).expect("one byte");
    assert_eq!(&byte, b"\n");
    let _gone = shell.kill();
    let _reaped = shell.wait();
}

#[test]
fn the_eaters_take_what_they_are_told_and_no_more() {
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_memory_eater"), &["2"]);
    assert_eq!(actor.line(), "memory_eater: 2 MiB");
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_pid_eater"), &["0"]);
    assert_eq!(actor.line(), "pid_eater: 0 children: as asked");
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_fork_storm"), &["0"]);
    assert_eq!(actor.line(), "fork_storm: 0 children");
}

#[test]
fn stop_self_stops_and_says_when_it_is_continued() {
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_stop_self"), &[]);
    assert_eq!(actor.line(), "stop_self: stopping");
    let change = doula_sys::wait::For::CHANGE.blocking();
    let pid = doula_model::id::Pid::new(actor.child.id() as i32).expect("a pid");
    let handle = doula_sys::pidfd::open(pid).expect("our child");
    let news = doula_sys::wait::waitid(doula_sys::wait::Who::Pidfd(handle.as_fd()), change);
    assert!(matches!(news, Ok(Some(_))), "{news:?}");
    actor.send("CONT");
    assert_eq!(actor.line(), "stop_self: continued");
}

#[test]
fn bad_parent_says_when_its_children_have_ended_and_buries_none() {
    for how in ["never", "handler", "pending", "taken", "late"] {
        let mut actor = Actor::start(env!("CARGO_BIN_EXE_bad_parent"), &[how, "2"]);
        assert_eq!(actor.line(), "bad", "{how}");
        actor.send("KILL");
        assert_eq!(actor.end().signal(), Some(9));
    }
}

#[test]
fn wants_lock_has_one_and_waits_for_the_other() {
    let file = |name: &str| {
        let name = format!("doula-wants-lock-{}-{name}", std::process::id());
        std::env::temp_dir().join(name)
    };
    let (own, next) = (file("own"), file("next"));
    let held = std::fs::File::create(&next).expect("a file");
    held.lock().expect("its lock");
    let args = [own.to_str().expect("text"), next.to_str().expect("text")];
    let mut actor = Actor::start(env!("CARGO_BIN_EXE_wants_lock"), &args);
    assert_eq!(actor.line(), "taken");
    let other = std::fs::File::open(&own).expect("a file");
    assert!(other.try_lock().is_err(), "it has its own");
    actor.child.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("it reads");
    drop(held);
    assert!(actor.end().success());
    for file in [own, next] {
        std::fs::remove_file(file).expect("ours");
    }
}
