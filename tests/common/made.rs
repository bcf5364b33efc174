//! Runs of doula, and processes that a test makes and that are gone with it.

use crate::actors;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

pub(crate) const DOULA: &str = env!("CARGO_BIN_EXE_doula");

/// What a run left.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn doula(args: &[&str]) -> Said {
    said(Command::new(DOULA).args(args).stdin(Stdio::null()).output().expect("doula starts"))
}

pub(crate) fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Looks until something is so that soon will be.
pub(crate) fn soon<T>(mut look: impl FnMut() -> Option<T>) -> T {
    /// More looks, of which each is a run of doula, than anything here takes.
    const LOOKS: usize = 1000;
    (0..LOOKS).find_map(|_| look()).expect("it is so soon")
}

/// A process that a test made. It is killed and buried at the end, and so is whoever is in its group.
pub(crate) struct Made {
    pub(crate) child: Child,
    /// The first line that it said.
    pub(crate) first: String,
}

impl Made {
    /// Starts it in a group of its own and reads its first line.
    pub(crate) fn new(command: &mut Command) -> Made {
        use std::os::unix::process::CommandExt as _;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().expect("it starts");
        let mut first = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut first).expect("a line");
        Made { child, first: first.trim_end().to_owned() }
    }

    /// A shell script that says a line when all is as it shall be.
    pub(crate) fn shell(script: &str) -> Made {
        Made::new(Command::new("sh").args(["-c", script]))
    }

    pub(crate) fn actor(name: &str, args: &[&str]) -> Made {
        Made::new(Command::new(actors::actor(name)).args(args))
    }

    pub(crate) fn pid(&self) -> String {
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
