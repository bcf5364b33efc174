//! Looking at processes where one hangs so that whoever asks for its arguments hangs with it.

#[path = "../../../tests/common/actors.rs"]
mod actors;

use doula_host::Pid;
use doula_host::procfs::{Reader, Want, locker};
use doula_model::process::{Answer, Process};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// More looks than a thread needs to come to the lock that it will wait for.
const LOOKS: usize = 1000;

/// A process whose memory map is locked, until this is dropped.
struct Locked(Child);

impl Locked {
    /// `None` where that cannot be made, and says why.
    #[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
    fn new() -> Option<Locked> {
        let mut command = Command::new(actors::actor("locks_memory"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the actor");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let locked = Locked(child);
        if line != "locked\n" {
            println!("skipped: no file system of our own (/dev/fuse, Linux 6.16) can lock a memory map here");
            return None;
        }
        Some(locked)
    }

    fn pid(&self) -> Pid {
        Pid::new(self.0.id() as i32).expect("a number")
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Its server ends with this pipe, and then it can end.
        drop(self.0.stdin.take());
        let _ended = self.0.wait();
    }
}

#[test]
fn a_process_whose_memory_map_is_locked_is_marked_and_all_others_are_told() {
    let Some(locked) = Locked::new() else { return };
    let mut reader = Reader::open().expect("/proc");
    let want = Want { args: true, share: true, ..Want::default() };
    let us = Pid::new(std::process::id() as i32).expect("a number");
    let mut look = || reader.some(&[locked.pid(), us], &want).expect("to ask");
    let found: Vec<Process> =
        (0..LOOKS).map(|_| look()).find(|found| found[0].args == Answer::Locked).expect("it is locked soon");
    assert!(found[0].is_locked() && found[0].share == Answer::Locked, "{found:?}");
    assert!(found[1].args.known().is_some() && found[1].share.known().is_some(), "{found:?}");
    let locker = locker(&mut reader, locked.pid()).expect("a thread that waits");
    assert_ne!(locker.thread, locked.pid(), "the first thread waits for the lock of the other one");
    assert!(locker.wchan.is_some_and(|wchan| wchan != b"vm_mmap_pgoff"), "it waits for its page");
}
