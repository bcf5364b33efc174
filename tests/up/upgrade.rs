//! The supervisor becomes another program, and no service notices.

use crate::bounded::PATIENCE;
use crate::contain::{get, skipped};
use crate::family::{Family, Home, count, free_port, pass_on, web_service};
use crate::terminal::Terminal;
use rustix::process::{Signal, pidfd_send_signal};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

const WEB: &str = "[service.web]\ncommand = \"ACTORS/polite\"\n";
const OURS: &str = env!("CARGO_BIN_EXE_doula");

fn open_files(pid: &serde_json::Value) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count()
}

#[test]
fn upgrades_under_load_fail_no_request_and_restart_nobody() {
    let port = free_port();
    let mut family = Family::up(&format!("{WEB}{}", web_service("server", port)));
    family.expect("web started");
    family.ask(&["wait", "--until", "ready"]);
    let before = ["web", "server"].map(|name| family.status(name));
    let over = Arc::new(AtomicBool::new(false));
    let clients = [0; 3].map(|_| {
        let over = Arc::clone(&over);
        std::thread::spawn(move || {
            let mut asked = 0_u32;
            while !over.load(Ordering::Relaxed) {
                assert!(get(port).starts_with("HTTP/1."));
                asked += 1;
            }
            asked
        })
    });
    let us = family.ask(&["status"])["pid"].clone();
    let mut open = Vec::new();
    for _ in 0..5 {
        let told = family.ask(&["upgrade"]);
        assert_eq!((&told["pid"], &told["from"]), (&us, &told["to"]), "{told}");
        assert_eq!(family.ask(&["status"])["pid"], us);
        open.push(open_files(&us));
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.join().expect("no request failed") > 0, "it asked");
    }
    // A client of the moment may be among them.
    assert!(open[4] < open[0] + 4, "files are left open: {open:?}");
    for before in before {
        let after = family.status(before["name"].as_str().expect("a name"));
        for field in ["pid", "state", "since", "generation", "restarts"] {
            assert_eq!(after[field], before[field], "{field}");
        }
    }
    let events = family.home.ctl(&["events"]);
    assert!(events.out.contains("the family goes on under doula"), "{events:?}");
    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0));
    assert_eq!(count(&lines, "web started"), 1, "{lines:?}");
    assert_eq!(count(&lines, "goes on under doula"), 5, "{lines:?}");
}

/// Asks for an upgrade that is refused with these words; nobody is touched.
fn expect_refused(family: &Family, binary: Option<&Path>, expected: &str) {
    let before = (family.ask(&["status"])["pid"].clone(), family.status("web"));
    let path = binary.map(|path| path.display().to_string());
    let said =
        family.home.ctl(&[&["upgrade"][..], &path.as_deref().into_iter().collect::<Vec<_>>()].concat());
    assert!(said.code == Some(2) && said.err.contains(expected), "`{expected}` of {binary:?}: {said:?}");
    assert_eq!(said.err.lines().count(), 1, "{said:?}");
    let after = (family.ask(&["status"])["pid"].clone(), family.status("web"));
    assert_eq!((&after.0, &after.1["pid"]), (&before.0, &before.1["pid"]), "{binary:?}");
}

fn script(family: &Family, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = family.home.dir.join(name);
    fs::write(&path, text).expect("to write a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
    path
}

#[test]
fn a_program_that_cannot_go_on_is_not_taken_and_nobody_is_touched() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    expect_refused(&family, Some(Path::new("/nonexistent/doula")), "No such file");
    expect_refused(&family, Some(Path::new("/")), "is not taken");
    expect_refused(&family, Some(Path::new("/bin/true")), "no doula that can upgrade");
    for (name, text, mode, expected) in [
        ("plain", "#!/bin/sh\n", 0o644, "permission denied"),
        ("garbage", "\u{7f}garbage", 0o755, "is not taken"),
        ("ends-badly", "#!/bin/sh\nexit 3\n", 0o755, "does not start"),
        ("says-why", "#!/bin/sh\necho 'error: the state has version 9' >&2; exit 125\n", 0o755, "version 9"),
        ("hangs", "#!/bin/sh\nexec sleep 1000\n", 0o755, "does not answer"),
    ] {
        let path = script(&family, name, text, mode);
        expect_refused(&family, Some(&path), expected);
    }
    // One that is replaced between the question and the execve.
    let path = family.home.dir.join("changes");
    let text = format!("#!/bin/sh\necho >> {}\nexec {OURS} \"$@\"\n", path.display());
    script(&family, "changes", &text, 0o755);
    expect_refused(&family, Some(&path), "replaced while it was asked");
    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0));
    assert_eq!(count(&lines, "web started"), 1, "{lines:?}");
}

#[test]
fn a_program_that_cannot_be_executed_at_last_leaves_everything_as_it_was() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = (family.ask(&["status"])["pid"].clone(), family.status("web")["pid"].clone());
    let open = open_files(&before.0);
    // It answers well, and cannot be executed a second time.
    let path = family.home.dir.join("once");
    let text = format!("#!/bin/sh\nchmod 644 {}\nexec {OURS} \"$@\"\n", path.display());
    script(&family, "once", &text, 0o755);
    let said = family.home.ctl(&["upgrade", &path.display().to_string()]);
    assert!(said.code == Some(125) && said.err.contains("cannot be executed"), "{said:?}");
    assert_eq!(family.ask(&["status"])["pid"], before.0);
    assert!(open_files(&before.0) < open + 3, "files are left open");
    family.ask(&["upgrade"]);
    assert_eq!((family.ask(&["status"])["pid"].clone(), family.status("web")["pid"].clone()), before);
    family.kill();
    family.up_again(&[]);
    family.expect("1 processes go on, 0 ended meanwhile");
    family.shut_down();
}

#[test]
fn a_configuration_that_the_new_program_cannot_have_refuses_the_upgrade() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    family.home.write(&format!("{WEB}sockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n"));
    expect_refused(&family, None, &port.to_string());
    fs::write(family.home.dir.join("doula.toml"), "name = \"another\"\n[service.web]\ncommand = \"true\"\n")
        .expect("to write");
    expect_refused(&family, None, "another family");
    family.home.write("[service.web]\ncommand = 7\n");
    let said = family.home.ctl(&["upgrade"]);
    assert!(said.code == Some(2) && said.err.contains("command"), "{said:?}");
    // A configuration that can be had takes effect.
    family.home.write(&format!("{WEB}[service.new]\ncommand = \"ACTORS/polite\"\n"));
    family.ask(&["upgrade"]);
    family.expect("new started");
    let (_, lines) = family.shut_down();
    assert_eq!(count(&lines, "web started"), 1, "{lines:?}");
}

#[test]
fn who_crashed_before_an_upgrade_is_told_of_and_started_once_after_its_pause() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/polite\"\nrestart = { when = \"always\", delay = \"2s\" }\n",
    );
    family.expect("polite: ready");
    let crash = |family: &Family| {
        pidfd_send_signal(family.main_of("web"), Signal::KILL).expect("it lives");
    };
    crash(&family);
    family.expect("web was killed by SIGKILL");
    // In the middle of the pause.
    family.ask(&["upgrade"]);
    family.expect("web started");
    family.expect("polite: ready");
    assert_eq!(family.status("web")["restarts"], 1);
    // At the very moment of it.
    crash(&family);
    family.ask(&["upgrade"]);
    family.expect("polite: ready");
    let (code, lines) = family.shut_down();
    assert_eq!((code, count(&lines, "web was killed by SIGKILL")), (Some(0), 2), "{lines:?}");
    assert_eq!((count(&lines, "web started"), count(&lines, "nobody saw how")), (3, 0), "{lines:?}");
}

/// A `doula ctl` that goes on, and its lines.
struct Asking {
    child: std::process::Child,
    lines: Receiver<String>,
}

impl Asking {
    fn begin(family: &Family, words: &[&str]) -> Asking {
        let mut command = family.home.command(OURS);
        command.args(["ctl", "--name", &family.home.name]).args(words).stdout(Stdio::piped());
        let mut child = command.spawn().expect("doula starts");
        let (sender, lines) = channel();
        pass_on(child.stdout.take().expect("a pipe"), sender);
        Asking { child, lines }
    }

    /// The next line.
    fn next(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// All lines up to the one that contains this.
    fn until(&self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains(part)) {
            lines.push(self.next());
        }
        lines
    }

    /// Its exit code; its output is at its end.
    fn end(mut self) -> Option<i32> {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().expect("to wait for our own child").code()
    }
}

#[test]
fn who_follows_or_waits_goes_on_over_upgrades_and_misses_nothing_and_the_past_is_remembered() {
    let mut family = Family::up(
        "[service.talker]\nshell = true\nready = { log-line = \"^waits$\" }\n\
         command = \"trap 'echo spoke' USR1; echo waits; while :; do sleep 1000 & wait $!; done\"\n\
         [service.late]\ncommand = \"ACTORS/notify_ready\"\nready = \"notify\"\n",
    );
    family.expect("talker is ready");
    let raw = Asking::begin(&family, &["logs", "--raw", "-f", "talker"]);
    let events = Asking::begin(&family, &["events", "-f"]);
    let waiting = Asking::begin(&family, &["wait", "late", "--until", "ready"]);
    assert_eq!(raw.next(), "waits");
    events.until("talker is ready");
    for _ in 0..3 {
        family.ask(&["upgrade"]);
        family.ask(&["signal", "USR1", "talker"]);
        assert_eq!(raw.next(), "spoke");
        let seen = events.until("goes on under doula");
        assert_eq!(count(&seen, "talker"), 0, "nothing is told twice: {seen:?}");
    }
    let late = family.main_of("late");
    pidfd_send_signal(&late, Signal::USR1).expect("it lives");
    assert_eq!(waiting.end(), Some(0));
    let logs = family.home.ctl(&["logs", "--raw", "talker"]);
    assert_eq!(logs.out, "waits\nspoke\nspoke\nspoke\n");
    let why = family.home.ctl(&["why", "talker"]);
    assert!(why.out.contains("started as pid"), "{why:?}");
    let (code, _) = family.shut_down();
    assert_eq!((code, raw.end(), events.end()), (Some(0), Some(0), Some(0)));
}

#[test]
fn a_line_that_was_begun_before_an_upgrade_is_whole_after_it() {
    let mut family = Family::up(
        "[service.talker]\nshell = true\nready = { log-line = \"^begin$\" }\n\
         command = \"trap 'echo end' USR1; echo begin; printf 'half and '; while :; do sleep 1000 & wait $!; done\"\n",
    );
    family.expect("talker is ready");
    for _ in 0..2 {
        family.ask(&["upgrade"]);
    }
    family.ask(&["signal", "USR1", "talker"]);
    family.expect("talker | half and end");
    family.shut_down();
}

#[test]
fn a_service_has_the_limits_and_signals_of_the_first_program_after_an_upgrade() {
    let service = "[service.limits]\nshell = true\nkind = \"oneshot\"\n\
         command = \"ulimit -Sn; grep -E '^Sig(Blk|Ign)' /proc/self/status; echo done\"\n";
    let home = Home::new(&format!("{WEB}{service}"));
    let mut command = home.command("sh");
    command.args(["-c", "ulimit -Sn 321; exec \"$0\" up", OURS]);
    let mut family = Family::with(home, command);
    let mut lives = Vec::new();
    for _ in 0..2 {
        let mut life = Vec::new();
        loop {
            let line = family.expect("limits | ");
            life.push(line.clone());
            if line.ends_with("done") {
                break;
            }
        }
        lives.push(life);
        family.ask(&["upgrade"]);
        family.ask(&["start", "limits"]);
    }
    assert_eq!(lives[0], lives[1]);
    assert!(lives[0].contains(&"limits | 321".to_owned()), "{lives:?}");
    family.shut_down();
}

#[test]
fn a_detached_supervisor_upgrades_too() {
    let home = Home::new(WEB);
    let said = home.doula(&["up", "--detach"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let ask = |words: &[&str]| {
        let said = home.ctl(&[words, &["--json"]].concat());
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}");
        serde_json::from_str::<serde_json::Value>(&said.out).expect("an answer in JSON")
    };
    let before = (ask(&["status"])["pid"].clone(), ask(&["status", "web"])["services"][0]["pid"].clone());
    for _ in 0..2 {
        ask(&["upgrade"]);
    }
    let after = (ask(&["status"])["pid"].clone(), ask(&["status", "web"])["services"][0]["pid"].clone());
    assert_eq!(after, before);
    ask(&["shutdown"]);
    home.expect_nothing_left();
}

#[test]
fn a_supervisor_that_is_the_first_process_of_its_namespace_upgrades_too() {
    let home = Home::new(WEB);
    let mut command = home.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "true"]);
    if !command.status().is_ok_and(|status| status.success()) {
        return skipped("no PID namespace can be made here");
    }
    let mut command = home.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", OURS, "up"]);
    let mut family = Family::with(home, command);
    family.expect("polite: ready");
    let before = family.status("web");
    for _ in 0..2 {
        assert_eq!(family.ask(&["upgrade"])["pid"], 1);
    }
    assert_eq!(family.status("web")["pid"], before["pid"]);
    family.ask(&["shutdown"]);
    let (code, lines) = family.end();
    assert_eq!((code, count(&lines, "web started")), (Some(0), 1), "{lines:?}");
}

#[test]
fn ctrl_c_ends_a_family_in_the_foreground_after_an_upgrade() {
    let home = Home::new(WEB);
    let mut command = home.command("setsid");
    command.args(["--ctty", "--wait", OURS, "up"]);
    let mut terminal = Terminal::run(command);
    terminal.expect("polite: ready");
    let said = home.ctl(&["upgrade"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    terminal.expect("goes on under doula");
    terminal.types("\u{3}");
    let (shown, status) = terminal.end();
    assert!(status.success() && shown.contains("web exited cleanly"), "{status}: {shown}");
    home.expect_nothing_left();
}

#[test]
fn an_upgraded_supervisor_that_is_killed_is_followed_by_another_one() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.ask(&["upgrade"]);
    family.kill();
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on, 0 ended meanwhile") && !told.contains("keeper"), "{told}");
    family.ask(&["upgrade"]);
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

#[test]
fn no_zombie_and_no_second_keeper_is_left_by_an_upgrade() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let us = family.ask(&["status"])["pid"].clone();
    let before = children(&us);
    for _ in 0..3 {
        family.ask(&["upgrade"]);
    }
    // The keeper of the program before ends a moment after it has given everything.
    let deadline = Instant::now() + PATIENCE;
    while children(&us).len() != before.len() {
        assert!(Instant::now() < deadline, "{:?} instead of {before:?}", children(&us));
    }
    family.shut_down();
}

/// The names of the children of a process.
fn children(pid: &serde_json::Value) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it lives");
    let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    text.split_whitespace().map(name).collect()
}
