//! Runs of doula, and processes that a test makes and that are gone with it.

use crate::actors;
use crate::bounded::{PATIENCE, Said, run};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

pub(crate) const DOULA: &str = env!("CARGO_BIN_EXE_doula");

pub(crate) fn doula(args: &[&str]) -> Said {
    run(Command::new(DOULA).args(args)).expect("doula starts")
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
        let child = command.spawn().expect("it starts");
        let mut made = Made { child, first: String::new() };
        let said = made.child.stdout.as_mut().expect("a pipe");
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let told = retry_on_intr(|| poll(&mut [PollFd::new(said, PollFlags::IN)], Some(&patience)));
        assert_eq!(told, Ok(1), "{command:?} says nothing");
        BufReader::new(said).read_line(&mut made.first).expect("a line");
        made.first.truncate(made.first.trim_end().len());
        made
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
