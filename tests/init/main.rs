//! `doula init` as a real PID 1: each test starts it in a PID namespace of its own (by `unshare` of util-linux),
//! whose death ends everybody in it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const DOULA: &str = env!("CARGO_BIN_EXE_doula");

#[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// Starts this command line as PID 1 of a new namespace and waits for its end. `None` where that is not
/// allowed, which is told.
fn as_pid_1(words: &[&str]) -> Option<Output> {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        unshare
    };
    if unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Some(unshare().args(words).stdin(Stdio::null()).output().expect("unshare starts"));
    }
    skipped("no PID namespace can be made here");
    None
}

/// The same for `doula init OPTIONS -- sh -c SCRIPT`.
fn init(options: &[&str], script: &str) -> Option<Output> {
    let words = [&[DOULA, "init"], options, &["--", "sh", "-c", script]].concat();
    as_pid_1(&words)
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("unshare passes the code on")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A fresh directory for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("doula-init-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Folder(path)
    }

    fn fifo(&self, name: &str) -> String {
        let path = self.0.join(name);
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo starts");
        assert!(made.success());
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the directory is ours");
    }
}

#[test]
fn the_commands_end_is_ours() {
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let Some(output) = init(&[], script) else { return };
        assert_eq!(code(&output), expected, "{script}");
    }
}

#[test]
fn a_missing_command_is_127_and_one_that_cannot_be_executed_126() {
    for (command, expected) in [("/nonexistent/program", 127), ("/etc/passwd", 126)] {
        let Some(output) = as_pid_1(&[DOULA, "init", "--", command]) else { return };
        assert_eq!(code(&output), expected, "{command}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(command), "the error names the command");
    }
}

#[test]
fn exit_codes_can_be_expected_and_mapped() {
    let Some(output) = init(&["-e", "143"], "kill -TERM $$") else { return };
    assert_eq!(code(&output), 0);
    let Some(output) = init(&["--remap", "3:9"], "exit 3") else { return };
    assert_eq!(code(&output), 9);
}

#[test]
fn every_signal_that_can_be_caught_reaches_the_command() {
    let names = "HUP INT QUIT USR1 USR2 TERM WINCH CONT PWR 34 40 64";
    // A signal to PID 1 arrives only because init waits for it; each is answered before the next is sent.
    let script = format!(
        "for s in {names}; do trap \"got=$s\" $s; done
         for s in {names}; do got=; kill -$s 1; while [ -z \"$got\" ]; do :; done; echo $got; done"
    );
    let Some(output) = init(&[], &script) else { return };
    assert_eq!(text(&output).split('\n').collect::<Vec<_>>().join(" "), names);
    assert_eq!(code(&output), 0);
}

#[test]
fn a_second_sigterm_gets_through() {
    let script = "n=0; trap 'n=$((n+1))' TERM
        kill -TERM 1; while [ $n -lt 1 ]; do :; done
        kill -TERM 1; while [ $n -lt 2 ]; do :; done; echo $n";
    let Some(output) = init(&["--to", "main"], script) else { return };
    assert_eq!(text(&output), "2");
}

#[test]
fn signals_can_be_rewritten_and_dropped() {
    let script =
        "trap 'echo term' TERM; trap 'echo int; exit 0' INT; kill -USR1 1; kill -TERM 1; while :; do :; done";
    let Some(output) = init(&["-r", "USR1:0", "-r", "TERM:INT"], script) else { return };
    assert_eq!(text(&output), "int");
}

#[test]
fn orphans_are_buried() {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do (true & true); done
        while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo buried";
    let Some(output) = init(&[], script) else { return };
    assert_eq!(text(&output), "buried");
}

#[test]
fn who_ran_into_a_session_of_its_own_gets_sigterm_too() {
    let folder = Folder::new("escapee");
    let fifo = folder.fifo("ready");
    let script = format!(
        "trap 'wait; exit 0' TERM
         setsid sh -c 'trap \"echo escapee heard; exit\" TERM; echo > {fifo}; while :; do :; done' &
         read x < {fifo}; kill -TERM 1; while :; do :; done"
    );
    let Some(output) = init(&[], &script) else { return };
    assert_eq!(text(&output), "escapee heard");
}

#[test]
fn what_the_command_leaves_behind_may_clean_up_and_its_code_still_counts() {
    let folder = Folder::new("leftover");
    let fifo = folder.fifo("ready");
    let script = format!(
        "setsid sh -c 'trap \"echo cleaning; echo cleaned; exit\" TERM; echo > {fifo}; while :; do :; done' &
         read x < {fifo}; exit 5"
    );
    let Some(output) = init(&[], &script) else { return };
    assert_eq!(text(&output), "cleaning\ncleaned");
    assert_eq!(code(&output), 5);
}

#[test]
fn who_does_not_listen_to_sigterm_is_killed_in_the_end() {
    let folder = Folder::new("deaf");
    let fifo = folder.fifo("ready");
    let script = format!(
        "setsid sh -c 'trap \"\" TERM; echo > {fifo}; while :; do :; done' & read x < {fifo}; exit 6"
    );
    let Some(output) = init(&["--leftovers", "200ms"], &script) else { return };
    assert_eq!(code(&output), 6);
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_when_a_grace_was_asked_for() {
    let Some(output) = init(&["--grace", "200ms"], "trap '' TERM; kill -TERM 1; while :; do :; done") else {
        return;
    };
    assert_eq!(code(&output), 137);
}

#[test]
fn the_command_starts_clean_in_a_session_of_its_own() {
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; cut -d' ' -f6 /proc/$$/stat; echo $$";
    let Some(output) = init(&[], script) else { return };
    let text = text(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().last(), Some("0000000000000000"));
    assert_eq!(lines[1].split_whitespace().last(), Some("0000000000000000"));
    assert_eq!(lines[2], lines[3], "it leads its session");
}

#[test]
fn listen_pid_is_the_commands_own() {
    let words =
        ["env", "LISTEN_FDS=1", "LISTEN_PID=1", DOULA, "init", "--", "sh", "-c", "echo $$ $LISTEN_PID"];
    let Some(output) = as_pid_1(&words) else { return };
    let text = text(&output);
    let (pid, listen_pid) = text.split_once(' ').expect("two numbers");
    assert_eq!(pid, listen_pid);
}

#[test]
fn users_of_tini_and_dumb_init_find_their_options() {
    let folder = Folder::new("faces");
    let link = |name: &str| {
        let path = folder.0.join(name);
        symlink(Path::new(DOULA), &path).expect("a symbolic link");
        path.display().to_string()
    };
    let (tini, dumb_init) = (link("tini"), link("dumb-init"));
    let Some(output) = as_pid_1(&[&tini, "-g", "-e", "3", "--", "sh", "-c", "exit 3"]) else { return };
    assert_eq!(code(&output), 0);
    let script = "trap 'echo quit; exit 4' QUIT; kill -TERM 1; while :; do :; done";
    let Some(output) = as_pid_1(&[&dumb_init, "-r", "15:3", "sh", "-c", script]) else { return };
    assert_eq!((text(&output), code(&output)), ("quit".to_owned(), 4));
}

#[test]
fn the_static_binary_needs_nothing_but_itself() {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tiny/doula-init");
    if !binary.exists() {
        skipped("target/tiny/doula-init is not built (cargo build --profile tiny -p doula-init)");
        return;
    }
    let folder = Folder::new("empty-root");
    fs::copy(&binary, folder.0.join("init")).expect("a copy of the binary");
    let root = folder.0.display().to_string();
    let script = format!("exec chroot {root} /init -- /init --version");
    let Some(output) = as_pid_1(&["sh", "-c", &script]) else { return };
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text(&output).contains("doula-init"), "{}", text(&output));
}
