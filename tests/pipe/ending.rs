//! How it ends: codes, time limits, Ctrl-C, signals. Nobody is left.

use crate::actors::actor;
use crate::{DOULA, pipe, skipped};
use doula_host::{Child, Command, Pid, Signal, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::time::Duration;

/// So long that only a hang can be longer.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn the_code_is_that_of_the_last_stage_that_failed() {
    for (args, code) in [
        (vec!["true|true"], 0),
        (vec!["sh -c 'exit 3' | true"], 3),
        (vec!["sh -c 'exit 3' | sh -c 'exit 4' | true"], 4),
        (vec!["--no-pipefail", "sh -c 'exit 3' | true"], 0),
        (vec!["yes | head -1"], 0),
        (vec!["true | sh -c 'kill -PIPE $$'"], 141),
        (vec!["--kill-on-failure", "sleep 1000 | sh -c 'exit 7' | sleep 1000"], 7),
        (vec!["--timeout", "100ms", "sleep 1000 | cat"], 124),
        (vec!["--no-pipefail", "--timeout", "100ms", "sleep 1000 | cat"], 124),
        (vec!["--pipe-size", "1T", "true | true"], 125),
    ] {
        let said = pipe(&args);
        assert_eq!(said.code, Some(code), "{args:?} {said:?}");
    }
}

#[test]
fn a_stage_that_cannot_be_executed_is_named_with_the_shells_code() {
    let said = pipe(&["sleep 1000 | /no/such/program -x | cat"]);
    assert_eq!(said.code, Some(127), "{said:?}");
    assert!(
        said.err.contains("stage 2 of 3 (`/no/such/program -x`): `/no/such/program` does not exist"),
        "{said:?}"
    );
    let said = pipe(&["/etc/passwd | cat"]);
    assert!(said.code == Some(126) && said.err.contains("hint: chmod +x /etc/passwd"), "{said:?}");
    let said = pipe(&["--json", "cat | /no/such/program"]);
    let answer: serde_json::Value = serde_json::from_str(&said.err).expect("one object");
    assert_eq!((&answer["code"], &answer["failed"], said.code), (&127.into(), &2.into(), Some(127)));
}

#[test]
fn a_time_limit_ends_everybody_and_says_how_that_is_known() {
    let line = format!("{} stay | cat", actor("double_fork").display());
    let said = pipe(&["--timeout", "500ms", &line]);
    assert_eq!(said.code, Some(124), "{said:?}");
    for part in ["time was over after 500 ms", "nobody is left, proven by "] {
        assert!(said.err.contains(part), "{part}: {said:?}");
    }
    let Some(daemon) = said.out.trim().rsplit(' ').next().and_then(|word| word.parse().ok()) else {
        return skipped("too slow a machine to see the daemon before the time was over");
    };
    assert!(is_dead(Pid::new(daemon).expect("a number")));
}

/// Whether this process is gone, or dead and waiting for who buries it.
fn is_dead(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    stat.is_empty() || state == Some('Z')
}

/// Both ends of a terminal of the user's.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("to open its other end");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let theirs = OpenOptions::new().read(true).write(true).open(name.to_str().expect("a path"));
    (File::from(ours), theirs.expect("its other end"))
}

/// The number at the end of the next line.
fn number(lines: &mut impl BufRead) -> Pid {
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    let number = line.trim().rsplit(' ').next().and_then(|word| word.parse().ok());
    Pid::new(number.unwrap_or_else(|| panic!("no number in {line:?}"))).expect("a number")
}

/// A stage that says the number of its child, which ran into a session of its own, and waits for it.
const ESCAPES: &str = "sh -c 'setsid sleep 1000 & echo $!; wait' | cat";

#[test]
fn ctrl_c_reaches_every_stage_and_nobody_is_left() {
    let (mut ours, theirs) = terminal();
    let copy = || theirs.try_clone().expect("a copy");
    let mut command = Command::exact(DOULA);
    command.args(["pipe", ESCAPES]).new_session_on(copy());
    command.stdin(copy()).stdout(Stdio::pipe_out()).stderr(Stdio::pipe_out());
    let mut child = command.spawn().expect("doula starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let escaped = number(&mut lines);
    ours.write_all(b"\x03").expect("a key");
    let status = child.wait_timeout(LONG).expect("it ends");
    let mut told = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut told).expect("text");
    assert_eq!(status.exit_code(), Some(130), "{told}");
    assert!(told.contains("was killed by SIGINT"), "{told}");
    assert!(is_dead(escaped));
}

fn start(line: &str) -> Child {
    let mut command = Command::exact(DOULA);
    command.args(["pipe", "-q", line]).stdin(Stdio::null()).stdout(Stdio::pipe_out());
    command.spawn().expect("doula starts")
}

#[test]
fn a_sigterm_is_passed_on_and_nobody_is_left() {
    let mut child = start(ESCAPES);
    let escaped = number(&mut BufReader::new(child.stdout.take().expect("a pipe")));
    child.signal(Signal::TERM).expect("alive");
    let status = child.wait_timeout(LONG).expect("it ends");
    assert_eq!(status.exit_code(), Some(143));
    assert!(is_dead(escaped));
}

#[test]
fn a_second_sigterm_kills_who_ignores_the_first() {
    let line = format!(
        "sh -c 'trap \"echo heard $$\" TERM; echo ready $$; while :; do {} & wait; done'",
        actor("sleeper").display()
    );
    let mut child = start(&line);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let stubborn = number(&mut lines);
    child.signal(Signal::TERM).expect("alive");
    assert_eq!(number(&mut lines), stubborn, "it heard the first one");
    child.signal(Signal::TERM).expect("alive");
    let status = child.wait_timeout(LONG).expect("it ends");
    assert_eq!(status.exit_code(), Some(137));
    assert!(is_dead(stubborn));
}

#[test]
fn a_signal_that_was_ignored_from_the_start_stays_so_for_every_stage() {
    let mut command = Command::exact(DOULA);
    command.args(["pipe", "-q"]).arg(format!("true | {}", actor("env_dump").display())).ignore([Signal::HUP]);
    let text = command.output().expect("a capture").stdout_text();
    let ignored = text.lines().find_map(|line| line.strip_prefix("SigIgn ")).expect("a line");
    let ignored = u64::from_str_radix(ignored, 16).expect("a mask");
    assert!(ignored & 1 == 1, "SIGHUP is signal 1: {text}");
}

#[test]
fn when_doula_is_killed_its_stages_are_killed_too() {
    use std::process::{Command, Stdio};
    let mut doula = Command::new(DOULA);
    doula
        .args(["pipe", "sh -c 'echo $$; exec sleep 1000' | sh -c 'read pid; echo $pid $$; exec sleep 1000'"]);
    doula.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut doula = doula.spawn().expect("doula starts");
    let mut line = String::new();
    BufReader::new(doula.stdout.take().expect("a pipe")).read_line(&mut line).expect("two numbers");
    let pids = line.split_whitespace().map(|pid| pid.parse().ok().and_then(rustix::process::Pid::from_raw));
    let handles: Vec<_> =
        pids.map(|pid| pidfd_open(pid.expect("a number"), PidfdFlags::empty()).expect("it lives")).collect();
    assert_eq!(handles.len(), 2, "{line}");
    doula.kill().expect("our own child");
    for handle in &handles {
        let patience = Timespec { tv_sec: LONG.as_secs() as i64, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&patience)).expect("poll");
        assert_eq!(ended, 1, "a stage lives on");
    }
    doula.wait().expect("its end");
}
