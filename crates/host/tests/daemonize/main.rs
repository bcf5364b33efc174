//! Daemons: of a command, and of this program itself, each looked at from outside.
#![expect(clippy::print_stdout, reason = "it is its own harness, and what is printed is looked at")]

#[path = "../harness/mod.rs"]
mod harness;

use doula_host::daemonize::{Daemon, DaemonError, Own, Readiness, run};
use doula_host::{Command, ExitStatus, Pid, Signal, Stdio};
use doula_sys::fd::{self, OwnedFd};
use doula_sys::{pidfd, poll};
use harness::{Actor, Folder, compile, os_error, role, say, tests};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let tests = tests![
        who_opens_a_terminal_in_a_session_without_leader_does_not_get_it,
        a_birth_in_a_session_without_leader_that_fails_leaves_nothing,
        a_daemon_stands_apart_with_its_number_in_a_locked_file,
        two_daemons_that_start_at_once_with_one_file_are_one_in_the_end,
        a_daemon_that_closes_every_fd_keeps_its_file,
        a_daemon_that_fails_leaves_nothing_and_tells_why,
        a_daemon_that_is_not_ready_in_time_is_ended_with_its_children,
        the_notice_of_a_stranger_makes_no_daemon_ready,
        the_port_of_a_stranger_makes_no_daemon_ready_and_he_is_named,
        a_daemon_is_ready_at_any_of_its_addresses_and_by_a_socket_that_it_was_given,
        what_the_command_has_given_itself_is_not_taken_away,
        a_daemon_of_this_program_announces_itself_and_removes_its_file_at_its_end,
        a_daemon_of_this_program_that_fails_tells_why_with_its_code,
    ];
    harness::run(tests, play)
}

/// So long that only a hang can be longer.
const LONG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).dir("/");
    command
}

/// The fields of `/proc/PID/stat` from the state on.
fn stat(pid: &str) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    text.rsplit(") ").next().expect("a name").split(' ').map(str::to_owned).collect()
}

/// Ends it by its handle.
fn end(pid: Pid) {
    let handle = pidfd::open(pid).expect("a process");
    pidfd::send(&handle, Signal::KILL).expect("a process of ours");
    assert_eq!(poll::readable(&handle, Some(LONG)), Ok(true));
}

const TERMINAL: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) return 2;
    if (open(ptsname(master), O_RDWR) < 0) return 2;
    return open("/dev/tty", O_RDWR) >= 0;
}
"#;

fn who_opens_a_terminal_in_a_session_without_leader_does_not_get_it() {
    let Some(folder) = compile("terminal", TERMINAL) else { return };
    let mut program = Command::exact(folder.path().join("terminal"));
    assert_eq!(program.new_session().status().expect("a birth"), ExitStatus::code(1), "a leader gets it");
    assert_eq!(program.new_session_unled().status().expect("a birth"), ExitStatus::code(0));
}

fn a_birth_in_a_session_without_leader_that_fails_leaves_nothing() {
    let error = Command::exact("/no/such/program").new_session_unled().spawn().expect_err("it is missing");
    assert_eq!(error.shell_code(), 127);
    assert_eq!(
        doula_sys::wait::waitid(doula_sys::wait::Who::Any, doula_sys::wait::For::END),
        Err(doula_host::Errno::ECHILD),
        "neither the leader nor who was to go on"
    );
}

fn a_daemon_stands_apart_with_its_number_in_a_locked_file() {
    let folder = Folder::new("daemon");
    let pid_file = folder.path().join("it.pid");
    let daemon = Daemon::new(shell("umask; umask >&3; exec sleep 1000").umask(0o027)).pid_file(&pid_file);
    let log = folder.path().join("it.log");
    let started = daemon.clone().ready(Readiness::Fd).log(&log).start().expect("it is ready");
    let pid = started.pid.to_string();
    assert_eq!(std::fs::read_to_string(&pid_file).expect("a file"), format!("{pid}\n"));
    assert_eq!(std::fs::read_to_string(&log).expect("a file"), "0027\n");
    let stat = stat(&pid);
    assert!(stat[3] != pid && stat[3] != "0" && stat[4] == "0", "a session without leader and terminal");
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).expect("it is ours");
    assert_eq!((link("cwd").as_path(), link("fd/0").as_path()), (Path::new("/"), Path::new("/dev/null")));
    assert_eq!(link("fd/2"), log);
    let error = daemon.start().expect_err("it is held");
    assert!(error.to_string().starts_with(&format!("{} is held by {pid} (", pid_file.display())), "{error}");
    end(started.pid);
    // Its file is left behind, and nobody holds it.
    let next = daemon.start().expect("it is free");
    assert_eq!(std::fs::read_to_string(&pid_file).expect("a file"), format!("{}\n", next.pid));
    end(next.pid);
}

fn two_daemons_that_start_at_once_with_one_file_are_one_in_the_end() {
    let folder = Folder::new("race");
    let pid_file = folder.path().join("it.pid");
    let daemon = Daemon::new(&shell("exec sleep 1000")).pid_file(&pid_file);
    let start = || {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| daemon.start())).collect();
            all.into_iter().map(|one| one.join().expect("no panic")).collect::<Vec<_>>()
        })
    };
    // Without a file, and with one that a dead daemon has left.
    for _ in 0..2 {
        let all = start();
        let started: Vec<_> = all.iter().flatten().collect();
        assert_eq!(started.len(), 1, "{all:?}");
        let pid = started[0].pid;
        assert_eq!(std::fs::read_to_string(&pid_file).expect("a file"), format!("{pid}\n"));
        for error in all.iter().filter_map(|one| one.as_ref().err()) {
            assert!(matches!(error, DaemonError::Held { .. }), "{error}");
        }
        end(pid);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 1, "no draft is left: {left:?}");
}

fn a_daemon_that_closes_every_fd_keeps_its_file() {
    let folder = Folder::new("closes");
    let pid_file = folder.path().join("it.pid");
    let daemon = |script| Daemon::new(&shell(script)).ready(Readiness::Fd).pid_file(&pid_file);
    let started = daemon("exec 4>&-; echo >&3; exec sleep 1000").start().expect("it is ready");
    let error = daemon("echo >&3; exec sleep 1000").start().expect_err("it is held");
    let expected = format!("{} is held by {} (", pid_file.display(), started.pid);
    assert!(error.to_string().starts_with(&expected), "{error}");
    end(started.pid);
}

fn a_daemon_that_fails_leaves_nothing_and_tells_why() {
    let folder = Folder::new("fails");
    let (pid_file, log) = (folder.path().join("it.pid"), folder.path().join("it.log"));
    std::fs::write(&log, "of an earlier life\n").expect("a file");
    let script = "echo starting; echo 'port 80 is taken' >&2; exit 3";
    let daemon = Daemon::new(&shell(script)).ready(Readiness::Fd).pid_file(&pid_file).log(&log);
    let error = daemon.start().expect_err("it fails");
    assert_eq!(error.to_string(), "it exited with code 3 before it was ready: starting / port 80 is taken");
    assert_eq!((error.exit_code(), pid_file.exists()), (3, false));
}

fn the_notice_of_a_stranger_makes_no_daemon_ready() {
    let (name, tells) = fd::pipe().expect("a pipe");
    let (release, held) = fd::pipe().expect("a pipe");
    let mut program = shell("echo $NOTIFY_SOCKET >&5; read line <&6; exit 3");
    program.fd(5, tells).fd(6, release);
    let daemon = Daemon::new(&program).ready(Readiness::Notify);
    let stranger = std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(File::from(name)).read_line(&mut line).expect("a name");
        let place = SocketAddr::from_abstract_name(line.trim().trim_start_matches('@')).expect("a name");
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.send_to_addr(b"STATUS=I am another\nREADY=1", &place).expect("somebody listens");
        drop(held);
    });
    let error = daemon.start().expect_err("it never said so");
    stranger.join().expect("it has spoken");
    assert_eq!(error.to_string(), "it exited with code 3 before it was ready");
}

fn the_port_of_a_stranger_makes_no_daemon_ready_and_he_is_named() {
    let stranger = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = stranger.local_addr().expect("an address");
    let daemon = |script| Daemon::new(&shell(script)).ready(Readiness::Tcp(vec![address]));
    let held = format!("{address} is held by {} (", std::process::id());
    // One that ends because of it, and one that does not.
    let error = daemon("exit 3").start().expect_err("it fails");
    assert!(error.to_string().starts_with("it exited with code 3 before it was ready"), "{error}");
    assert!(error.to_string().contains(&held), "{error}");
    let error = daemon("exec sleep 1000").timeout(Duration::from_millis(200)).start();
    let error = error.expect_err("it never listens");
    assert!(matches!(&error, DaemonError::Silent { words, .. } if words.starts_with(&held)), "{error}");
}

fn a_daemon_is_ready_at_any_of_its_addresses_and_by_a_socket_that_it_was_given() {
    let silent = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let given = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = given.local_addr().expect("an address");
    let mut program = shell("exec sleep 1000");
    program.fd(5, OwnedFd::from(given));
    let started = Daemon::new(&program).ready(Readiness::Tcp(vec![silent, address])).start();
    end(started.expect("it has the socket").pid);
}

fn what_the_command_has_given_itself_is_not_taken_away() {
    let folder = Folder::new("given");
    let (pid_file, log) = (folder.path().join("it.pid"), folder.path().join("it.log"));
    let mut program = shell("cat <&4; ls -l /proc/$$/fd/5; echo >&3; exec sleep 1000");
    program.fd(4, Stdio::read("/proc/sys/kernel/ostype"));
    let started = Daemon::new(&program).ready(Readiness::Fd).pid_file(&pid_file).log(&log).start();
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(text.starts_with("Linux\n") && text.trim_end().ends_with("it.pid"), "{text}");
    end(started.expect("it is ready").pid);
    program.fd(3, Stdio::null());
    let error = Daemon::new(&program).ready(Readiness::Fd).start().expect_err("two uses of one fd");
    assert_eq!(error.to_string(), "its fd 3 is given already: it is to tell by it when it is ready");
}

fn a_daemon_that_is_not_ready_in_time_is_ended_with_its_children() {
    let folder = Folder::new("silent");
    let log = folder.path().join("it.log");
    // It closes its fd 3 without a word, and has a child.
    let script = "exec 3>&-; sleep 1000 & echo $!; wait";
    let daemon = Daemon::new(&shell(script)).ready(Readiness::Fd).log(&log);
    let error = daemon.timeout(Duration::from_millis(300)).start().expect_err("it is silent");
    assert_eq!(error.exit_code(), 1);
    let child = std::fs::read_to_string(&log).expect("a file");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{error}: {stat}");
}

fn play(role: &str) -> io::Result<u8> {
    let folder = std::env::var("FOLDER").map_err(io::Error::other)?;
    let own = Own::new().umask(0o077).pid_file(Path::new(&folder).join("own.pid"));
    let started = match role {
        "own" => run(&own, |announce| {
            let done = announce.ready().and_then(|()| wait_for_the_end());
            u8::from(done.is_err())
        }),
        "own-fails" => run(&own, |announce| announce.failed("the port is taken", 3)),
        unknown => panic!("{unknown} is no role"),
    };
    match started {
        Ok(started) => say(&started.pid.to_string()).map(|()| 0),
        Err(error) => say(&error.to_string()).map(|()| error.exit_code()),
    }
}

/// The number of the pipe by which the test lets the daemon go.
const LEASH: i32 = 7;

fn wait_for_the_end() -> io::Result<()> {
    let leash = fd::inherited(LEASH).map_err(os_error)?;
    poll::readable(&leash, None).map(drop).map_err(os_error)
}

fn a_daemon_of_this_program_announces_itself_and_removes_its_file_at_its_end() {
    let folder = Folder::new("own");
    let mut command = role("own");
    command.env("FOLDER", folder.path()).fd(LEASH, Stdio::pipe_in());
    let mut actor = Actor::of(&command);
    let leash = actor.child.take_writer(LEASH).expect("a pipe");
    let pid = actor.line();
    assert_eq!(actor.end(), (vec![], ExitStatus::code(0)), "its output is no longer that of the launcher");
    let number = Pid::new(pid.parse().expect("a number")).expect("a number");
    let handle: OwnedFd = pidfd::open(number).expect("it lives");
    let fields = stat(&pid);
    assert!(fields[3] != pid && fields[4] == "0", "a session that it does not lead, without a terminal");
    let pid_file = folder.path().join("own.pid");
    assert_eq!(std::fs::read_to_string(&pid_file).expect("a file"), format!("{pid}\n"));
    let mut second = role("own").env("FOLDER", folder.path()).spawn().expect("a birth");
    let mut said = String::new();
    second.stdout.take().expect("a pipe").read_to_string(&mut said).expect("a pipe");
    assert!(said.contains(&format!("is held by {pid} ")), "{said}");
    assert_eq!(second.wait(), ExitStatus::code(1));
    drop(leash);
    assert_eq!(poll::readable(&handle, Some(LONG)), Ok(true));
    assert!(!pid_file.exists());
}

fn a_daemon_of_this_program_that_fails_tells_why_with_its_code() {
    let folder = Folder::new("own-fails");
    let mut actor = Actor::of(role("own-fails").env("FOLDER", folder.path()));
    actor.expect("it exited with code 3 before it was ready: the port is taken");
    assert_eq!(actor.end(), (vec![], ExitStatus::code(3)));
    assert!(!folder.path().join("own.pid").exists());
}
