//! Namespaces to be PID 1 in, and what a test needs there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub(crate) const DOULA: &str = env!("CARGO_BIN_EXE_doula");

#[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
pub(crate) fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// Starts this command line as PID 1 of a new namespace and waits for its end. `None` where that is not
/// allowed, which is told.
pub(crate) fn as_pid_1(words: &[&str]) -> Option<Output> {
    Some(namespace()?.args(words).stdin(Stdio::null()).output().expect("unshare starts"))
}

/// `unshare`, whose further words are a command that becomes PID 1 of a new namespace with a `/proc` of its own.
/// When `unshare` is killed, everybody in there is. `None` where that is not allowed, which is told.
pub(crate) fn namespace() -> Option<Command> {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        unshare
    };
    if unshare().arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return Some(unshare());
    }
    skipped("no PID namespace can be made here");
    None
}

/// The same for `doula init OPTIONS -- sh -c SCRIPT`.
pub(crate) fn init(options: &[&str], script: &str) -> Option<Output> {
    let words = [&[DOULA, "init"], options, &["--", "sh", "-c", script]].concat();
    as_pid_1(&words)
}

/// Sends SIGTERM to the PID 1 that this `unshare` started.
pub(crate) fn terminate_child_of(unshare: u32) {
    signal_child_of(unshare, "-TERM");
}

/// Sends a signal to the PID 1 that this `unshare` started.
pub(crate) fn signal_child_of(unshare: u32, signal: &str) {
    let path = format!("/proc/{unshare}/task/{unshare}/children");
    let child = fs::read_to_string(path).expect("the kernel lists children");
    let sent = Command::new("kill").args([signal, child.trim()]).status().expect("kill starts");
    assert!(sent.success());
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("unshare passes the code on")
}

pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A script that tells `$1` when it listens, and ends on SIGUSR1 with its name if it has heard SIGHUP before. Its traps
/// only note what came: dash begins a second trap before the first one's first command, so that one which ends the
/// script can swallow what an earlier one was about to say.
pub(crate) fn echo_of_hup(name: &str) -> String {
    format!(
        "h=; u=; trap 'h=1' HUP; trap 'u=1' USR1; echo > $1
         while [ -z $u ]; do :; done; [ -z $h ] || echo {name}"
    )
}

/// A fresh directory for one test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("doula-init-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file for `sh`.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the directory is ours");
        path.display().to_string()
    }

    pub(crate) fn fifo(&self, name: &str) -> String {
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
