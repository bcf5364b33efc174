//! `doula daemonize` as people run it.

#![expect(clippy::print_stdout, reason = "a test that cannot run says so")]

#[path = "../common/actors.rs"]
mod actors;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of the test's own.
struct Stage(PathBuf);

impl Stage {
    fn new() -> Stage {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("doula-daemonize-{}-{number}", std::process::id()));
        fs::create_dir(&dir).expect("a new directory");
        Stage(dir)
    }

    /// Both streams, and the exit code. The pipes end with the launcher: the daemon does not hold them.
    fn daemonize(&self, args: &[&str]) -> (String, String, Option<i32>) {
        let mut launcher = Command::new(env!("CARGO_BIN_EXE_doula"));
        let output = launcher
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .arg("daemonize")
            .args(args)
            .current_dir(&self.0)
            .output()
            .expect("runs");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (text(output.stdout), text(output.stderr), output.status.code())
    }

    /// It is ready; returns its number.
    fn starts(&self, args: &[&str]) -> String {
        let (out, err, code) = self.daemonize(args);
        assert_eq!((err.as_str(), code), ("", Some(0)));
        out.trim().to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Ends it by its handle, and waits for that.
fn end(pid: &str) {
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a number");
    let handle = pidfd_open(pid, PidfdFlags::empty()).expect("it lives");
    pidfd_send_signal(&handle, Signal::KILL).expect("it is ours");
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], None).expect("poll");
}

#[test]
fn a_daemon_is_ready_by_a_line_and_a_second_one_is_told_who_holds_the_file() {
    let stage = Stage::new();
    let script = "umask; pwd; echo >&3; exec sleep 1000";
    let args = [
        "--ready",
        "fd",
        "--pid-file",
        "it.pid",
        "--log",
        "it.log",
        "--umask",
        "027",
        "--",
        "sh",
        "-c",
        script,
    ];
    let pid = stage.starts(&args);
    assert_eq!(fs::read_to_string(stage.0.join("it.pid")).expect("a file"), format!("{pid}\n"));
    assert_eq!(fs::read_to_string(stage.0.join("it.log")).expect("a file"), "0027\n/\n");
    let (out, err, code) = stage.daemonize(&args);
    assert_eq!((out.as_str(), code), ("", Some(1)));
    assert!(err.starts_with(&format!("error: it.pid is held by {pid} (")), "{err}");
    end(&pid);
}

#[test]
fn a_daemon_is_ready_by_a_notice_or_when_something_listens() {
    let stage = Stage::new();
    let actor = actors::actor("notify_ready");
    let pid = stage.starts(&["--ready", "notify", "--", actor.to_str().expect("UTF-8"), "1"]);
    end(&pid);
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let server = format!(
        "import socket,time\ns=socket.create_server((\"127.0.0.1\",{}))\nwhile 1: s.accept()",
        free.port()
    );
    let pid = stage.starts(&["--ready", &format!("tcp:{free}"), "--", "python3", "-c", &server]);
    end(&pid);
}

#[test]
fn a_daemon_that_fails_is_told_with_its_words_and_its_code() {
    let stage = Stage::new();
    let fails = |more: &[&str]| {
        let args =
            [more, &["--ready", "fd", "--pid-file", "it.pid", "--", "sh", "-c", "echo no port >&2; exit 3"]]
                .concat();
        stage.daemonize(&args)
    };
    let (_, err, code) = fails(&["--log", "it.log"]);
    assert_eq!(err, "error: `sh` is no daemon: it exited with code 3 before it was ready: no port\n");
    assert_eq!((code, stage.0.join("it.pid").exists()), (Some(3), false));
    let (_, err, _) = fails(&[]);
    assert!(err.ends_with("before it was ready\nhint: --log FILE keeps its words\n"), "{err}");
    let (_, err, code) = stage.daemonize(&["--ready", "fd", "--timeout", "100ms", "--", "sleep", "1000"]);
    assert_eq!((err.contains("it was not ready after 0.1 s, and was ended"), code), (true, Some(1)), "{err}");
}

#[test]
fn what_cannot_be_executed_or_is_not_understood_ends_as_shells_do() {
    let stage = Stage::new();
    fs::write(stage.0.join("plain"), "").expect("a file");
    for (args, expected, words) in [
        (&["--", "no-such-program"][..], 127, "`no-such-program` was not found"),
        (&["--", "./no-such-program"], 127, "does not exist"),
        (&["--", "./plain"], 126, "is not executable"),
        (&["--chdir", "/no/such/dir", "--", "true"], 125, "cannot be entered"),
        (&["--user", "no such user", "--", "true"], 2, "there is no user"),
        (&["--umask", "9", "--", "true"], 2, "an octal number"),
        (&["--ready", "later", "--", "true"], 2, "write exec, notify, fd or tcp:HOST:PORT"),
        (&["--ready", "tcp:nowhere", "--", "true"], 2, "`nowhere` is no HOST:PORT"),
        (&["--pid-file", "/no/such/dir/it.pid", "--", "true"], 1, "/no/such/dir/it.pid: No such file"),
        (&[], 2, "CMD"),
    ] {
        let (_, err, code) = stage.daemonize(args);
        assert_eq!(code, Some(expected), "{err}");
        assert!(err.contains(words), "{err}");
    }
}

#[test]
fn a_daemon_runs_as_the_user_that_was_asked_for() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can become somebody else");
    }
    let stage = Stage::new();
    let pid = stage.starts(&[
        "--user",
        "65534",
        "--log",
        "it.log",
        "--ready",
        "fd",
        "--",
        "sh",
        "-c",
        "id -u; echo >&3; exec sleep 1000",
    ]);
    assert_eq!(fs::read_to_string(stage.0.join("it.log")).expect("a file"), "65534\n");
    end(&pid);
}
