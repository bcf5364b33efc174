//! `doula ctl` as people run it, against a supervisor that gives prepared answers.
//!
//! What is tested is this side: finding the family, the words on the screen, the exit codes. The real
//! supervisor is tested elsewhere.

use doula_host::control::place::{Bases, Place};
use doula_host::control::{Identity, Server};
use doula_model::action::{Cause, State};
use doula_model::control::{
    Bytes, FamilyStatus, LogRecord, RefusalKind, Reply, Request, ServiceStatus, Settled, Stream, Verdict,
    Wall,
};
use doula_model::exit::ExitStatus;
use doula_model::id::{Generation, Pid};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A directory of the test's own: runtime directory, home and working directory of what it runs.
struct Stage {
    dir: PathBuf,
}

impl Stage {
    fn new() -> Stage {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("doula-ctl-{}-{number}", std::process::id()));
        fs::create_dir(&dir).expect("a new directory");
        Stage { dir }
    }

    fn place(&self, name: &str) -> Place {
        let uid = fs::metadata(&self.dir).expect("is there").uid();
        Bases::new(Some(self.dir.clone()), uid).claim(name).expect("free")
    }

    /// What `doula ctl --name FAMILY …` prints on both streams, and its exit code.
    fn ctl(&self, family: &str, args: &[&str]) -> (String, String, Option<i32>) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_doula"))
            .args(["ctl", "--name", family])
            .args(args)
            .env_clear()
            .env("HOME", &self.dir)
            .env("XDG_RUNTIME_DIR", &self.dir)
            .current_dir(&self.dir)
            .output()
            .expect("runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (text(stdout), text(stderr), status.code())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Serves one client with these answers, each to the next request, and gives the requests.
fn serve(place: &Place, family: &str, answers: Vec<Vec<Reply>>) -> JoinHandle<Vec<Request>> {
    let listener = place.listen().expect("listens");
    // The app's tests have no epoll; this thread looks again and again, for the moment that a test lasts.
    listener.set_nonblocking(true).expect("non-blocking");
    let uid = fs::metadata(place.dir()).expect("is there").uid();
    let identity = Identity { family: family.to_owned(), pid: Pid::INIT, version: "0".into() };
    let mut server = Server::new(listener, uid, identity);
    thread::spawn(move || {
        let mut asked = Vec::new();
        let mut answers = answers.into_iter();
        let (mut clients, mut connected) = (std::collections::BTreeSet::new(), false);
        while !(connected && clients.is_empty()) {
            server.accept();
            clients.extend(server.take_changes().into_iter().map(|(id, _)| id));
            for id in clients.clone() {
                for (number, request) in server.ready(id) {
                    connected = true;
                    asked.push(request);
                    for reply in answers.next().unwrap_or_default() {
                        server.answer(id, number, &reply);
                    }
                }
            }
            for id in server.take_gone() {
                clients.remove(&id);
            }
            thread::yield_now();
        }
        asked
    })
}

fn service(name: &str, state: State, because: Cause) -> ServiceStatus {
    ServiceStatus {
        name: name.into(),
        state,
        since: Wall(1_769_860_800_000_000),
        age: Duration::from_secs(192),
        because,
        pid: None,
        paused: false,
        generation: Generation(1),
        restarts: 0,
        last_exit: None,
        fell: None,
        next_start: None,
        status: None,
        processes: None,
        memory: None,
        cpu: None,
        unkillable: None,
        cgroups: Vec::new(),
        notes: Vec::new(),
    }
}

fn failed() -> Cause {
    Cause::Exit { status: ExitStatus::code(3) }
}

fn settled(name: &str, verdict: Verdict, state: State, because: Cause) -> Settled {
    Settled { name: name.into(), verdict, state, because, pid: None }
}

#[test]
fn without_a_family_one_is_told_where_was_looked_and_who_is_running() {
    let stage = Stage::new();
    let (out, err, code) = stage.ctl("x", &["status"]);
    assert_eq!((out.as_str(), code), ("", Some(2)));
    let dir = stage.dir.display();
    assert!(err.starts_with(&format!("error: no family `x` is running (looked in {dir}/doula, ")), "{err}");
    let place = stage.place("web");
    let _listener = place.listen().expect("listens");
    let (_, err, _) = stage.ctl("x", &["status"]);
    assert!(err.contains("\nhint: running: ") && err.contains("web"), "{err}");
}

#[test]
fn status_is_a_table_or_json_and_a_failed_service_is_exit_code_1() {
    let stage = Stage::new();
    let status = FamilyStatus {
        name: "demo".into(),
        pid: Pid::INIT,
        version: "0".into(),
        since: Wall(1_769_860_800_000_000),
        uptime: Duration::from_secs(7_200),
        shutting_down: None,
        warnings: Vec::new(),
        services: vec![service("db\x1b[2J", State::Failed, failed())],
        pools: Vec::new(),
    };
    let place = stage.place("demo");
    let supervisor = serve(&place, "demo", vec![vec![Reply::Status(status.clone())]]);
    let (out, err, code) = stage.ctl("demo", &["status"]);
    let wanted = "\
demo: 1 service, 1 failed, running for 2 h 0 min, pid 1

SERVICE    STATE   SINCE  PID  RESTARTS  WHY
db\\x1b[2J  failed  3m12s              0  it exited with code 3
";
    assert_eq!((out.as_str(), err.as_str(), code), (wanted, "", Some(1)));
    assert_eq!(supervisor.join().expect("no panic"), [Request::Status { names: Vec::new() }]);
    let supervisor = serve(&place, "demo", vec![vec![Reply::Status(status)]]);
    let (out, _, _) = stage.ctl("demo", &["status", "--json", "db"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&json["uptime"], &json["services"][0]["state"]), (&7_200.0.into(), &"failed".into()));
    assert_eq!(json["since"], "2026-01-31T12:00:00.000+00:00");
    assert_eq!(supervisor.join().expect("no panic"), [Request::Status { names: vec!["db".into()] }]);
}

#[test]
fn start_waits_and_tells_what_became_of_each() {
    let stage = Stage::new();
    let place = stage.place("demo");
    let services = vec![
        settled("web", Verdict::Reached, State::Up, Cause::NextStep),
        settled("db", Verdict::Lost, State::Failed, failed()),
    ];
    let answer = Reply::Settled { services, timed_out: false };
    let supervisor = serve(&place, "demo", vec![vec![answer]]);
    let (out, err, code) = stage.ctl("demo", &["start", "web", "db"]);
    assert_eq!(out, "web: up\ndb: failed, because it exited with code 3\n");
    assert_eq!(err, "hint: see `doula ctl why db` and `doula ctl logs db`\n");
    assert_eq!(code, Some(1));
    let names = vec!["web".to_owned(), "db".to_owned()];
    assert_eq!(supervisor.join().expect("no panic"), [Request::Start { names, wait: true }]);
}

#[test]
fn a_broken_file_here_does_not_hide_a_family_that_is_named() {
    let stage = Stage::new();
    fs::write(stage.dir.join("doula.toml"), "[nonsense").expect("writes");
    let place = stage.place("demo");
    let answer = Reply::Settled { services: Vec::new(), timed_out: false };
    let supervisor = serve(&place, "demo", vec![vec![answer]]);
    let (_, err, code) = stage.ctl("demo", &["wait"]);
    assert_eq!((err.as_str(), code), ("", Some(0)));
    drop(supervisor.join().expect("no panic"));
}

#[test]
fn a_refusal_is_one_sentence_and_a_hint() {
    let stage = Stage::new();
    let place = stage.place("demo");
    let refusal = Reply::refuse(RefusalKind::NoSuchService, "no service `wbe`");
    let supervisor = serve(&place, "demo", vec![vec![refusal]]);
    let (out, err, code) = stage.ctl("demo", &["stop", "wbe", "--no-wait"]);
    assert_eq!((out.as_str(), err.as_str(), code), ("", "error: no service `wbe`\n", Some(2)));
    drop(supervisor.join().expect("no panic"));
}

#[test]
fn raw_logs_are_the_bytes_that_were_written() {
    let stage = Stage::new();
    let place = stage.place("demo");
    let record = |line: &str| {
        Reply::Log(LogRecord {
            at: Wall(0),
            service: "web".into(),
            stream: Stream::Stdout,
            line: Bytes(line.as_bytes().to_vec()),
        })
    };
    let supervisor = serve(&place, "demo", vec![vec![record("a\x1b[31m"), record(""), Reply::End]]);
    let (out, err, code) = stage.ctl("demo", &["logs", "--raw", "--lines", "2"]);
    assert_eq!((out.as_str(), err.as_str(), code), ("a\x1b[31m\n\n", "", Some(0)));
    let asked = supervisor.join().expect("no panic");
    let wanted = Request::Logs { names: Vec::new(), follow: false, since: None, lines: Some(2) };
    assert_eq!(asked, [wanted]);
}

#[test]
fn a_supervisor_that_vanishes_without_an_answer_is_exit_code_125() {
    let stage = Stage::new();
    let place = stage.place("demo");
    let listener = place.listen().expect("listens");
    listener.set_nonblocking(false).expect("blocking");
    // The first connection only looks whether somebody is there.
    let supervisor = thread::spawn(move || drop((listener.accept(), listener.accept())));
    let (_, err, code) = stage.ctl("demo", &["shutdown"]);
    assert_eq!((err.as_str(), code), ("error: the supervisor closed the connection\n", Some(125)));
    supervisor.join().expect("no panic");
}

#[test]
fn wrong_command_lines_are_exit_code_2() {
    let stage = Stage::new();
    for args in [&["dance"][..], &["start"], &["signal", "NOPE", "web"], &["wait", "--timeout", "5"]] {
        let (out, err, code) = stage.ctl("demo", args);
        assert_eq!((out.as_str(), code), ("", Some(2)), "{args:?}: {err}");
        assert!(err.starts_with("error: "), "{err}");
    }
    let (_, err, _) = stage.ctl("demo", &["signal", "web", "KILL"]);
    assert!(err.contains("unknown signal `web` (the signal comes first, then the services)"), "{err}");
}

/// A supervisor that greets one client, hears one request, and is gone. One that ends well takes its socket along
/// before it hangs up.
fn vanish(place: Place, well: bool) -> JoinHandle<()> {
    let listener = place.listen().expect("listens");
    listener.set_nonblocking(false).expect("blocking");
    thread::spawn(move || {
        // The first to come only looks whether somebody is there.
        for stream in listener.incoming().take(3) {
            let mut stream = stream.expect("a client");
            if hear(&mut stream).is_none() {
                continue;
            }
            let hello = br#"{"id":1,"reply":"hello","protocol":1,"family":"demo","pid":1,"version":"0"}"#;
            stream.write_all(&(hello.len() as u32).to_le_bytes()).expect("writes");
            stream.write_all(hello).expect("writes");
            hear(&mut stream).expect("a request");
            if well {
                place.close_door();
            }
            return;
        }
    })
}

/// One frame.
fn hear(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

#[test]
fn the_end_of_the_family_answers_who_waits_for_an_end_and_its_death_does_not() {
    for (words, well, expected) in [
        (&["wait", "web", "--until", "stopped"][..], true, 0),
        (&["stop", "web"], true, 0),
        (&["shutdown"], true, 0),
        (&["wait", "web"], true, 125),
        (&["wait", "web", "--until", "stopped"], false, 125),
        (&["shutdown"], false, 125),
    ] {
        let stage = Stage::new();
        let supervisor = vanish(stage.place("demo"), well);
        let (out, err, code) = stage.ctl("demo", words);
        assert_eq!(code, Some(expected), "{words:?} {well}: {out}{err}");
        supervisor.join().expect("no panic");
    }
}
