//! `doula ps` and `doula tree` as people run them, on processes that the tests made.

mod aimed;
mod list;
mod odd;
mod tree;

#[path = "../common/actors.rs"]
mod actors;

use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

const DOULA: &str = env!("CARGO_BIN_EXE_doula");

/// What a run left.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn doula(args: &[&str]) -> Said {
    said(Command::new(DOULA).args(args).stdin(Stdio::null()).output().expect("doula starts"))
}

fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The objects of `--json`, one a line.
fn objects(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Looks until something is so that soon will be.
fn soon<T>(mut look: impl FnMut() -> Option<T>) -> T {
    /// More looks, of which each is a run of doula, than anything here takes.
    const LOOKS: usize = 1000;
    (0..LOOKS).find_map(|_| look()).expect("it is so soon")
}

#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// A process that a test made. It is killed and buried at the end, and so is whoever is in its group.
struct Made {
    child: Child,
    /// The first line that it said.
    first: String,
}

impl Made {
    /// Starts it in a group of its own and reads its first line.
    fn new(command: &mut Command) -> Made {
        use std::os::unix::process::CommandExt as _;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("it starts");
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut first).expect("a line");
        Made { child, first: first.trim_end().to_owned() }
    }

    /// A shell script that says a line when all is as it shall be.
    fn shell(script: &str) -> Made {
        Made::new(Command::new("sh").args(["-c", script]))
    }

    fn actor(name: &str, args: &[&str]) -> Made {
        Made::new(Command::new(actors::actor(name)).args(args))
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Some end with their standard input; the others are killed, with their group, which is theirs until we wait.
        drop(self.child.stdin.take());
        let group = rustix::process::Pid::from_child(&self.child);
        let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ended = self.child.wait();
    }
}
