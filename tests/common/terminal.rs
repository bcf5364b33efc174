//! A terminal of the user's, at which a program of a test runs in a session of its own.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};

/// No test waits longer for a word. Long, because the machine may be busy.
const PATIENCE: Timespec = Timespec { tv_sec: 40, tv_nsec: 0 };

/// No test shows so many bytes before the word that is waited for.
const FLOOD: usize = 1 << 20;

/// The user's end of a terminal, and who runs at the other one.
pub(crate) struct Terminal {
    ours: File,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Runs this with a terminal, without an echo of what is typed. setsid(1) makes it the program's own. The command
    /// is used up, because it holds the other end of the terminal open.
    pub(crate) fn run(mut command: Command) -> Terminal {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("to open its other end");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let theirs = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a path"))
            .expect("its other end");
        let mut modes = tcgetattr(&theirs).expect("its modes");
        modes.local_modes -= LocalModes::ECHO;
        tcsetattr(&theirs, OptionalActions::Now, &modes).expect("its modes");
        let copy = || Stdio::from(theirs.try_clone().expect("a copy"));
        let child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().expect("it starts");
        let terminal = Terminal { ours: File::from(ours), child, seen: String::new() };
        terminal.resize(24, 80);
        terminal
    }

    /// Reads on until this was shown; gives what was shown until then.
    pub(crate) fn expect(&mut self, part: &str) -> String {
        while !self.seen.contains(part) {
            assert!(self.read(), "no `{part}` in {:?}", self.seen);
            assert!(self.seen.len() < FLOOD, "no `{part}` in a flood that begins {:.200?}", self.seen);
        }
        let end = self.seen.find(part).expect("it is there") + part.len();
        self.seen.drain(..end).collect()
    }

    /// Reads until nobody is at the other end any more; gives what was shown since the last look, and how the program ended.
    pub(crate) fn end(mut self) -> (String, ExitStatus) {
        while self.read() {}
        let status = self.child.wait().expect("our own child");
        (std::mem::take(&mut self.seen), status)
    }

    /// Whether there was more, and not the end.
    fn read(&mut self) -> bool {
        let mut readable = [PollFd::new(&self.ours, PollFlags::IN)];
        let count = poll(&mut readable, Some(&PATIENCE)).expect("poll");
        assert!(count > 0, "waited too long after {:?}", self.seen);
        let mut buffer = [0; 1024];
        // EIO: the other end is closed.
        let count = self.ours.read(&mut buffer).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        count > 0
    }

    /// Presses these keys.
    pub(crate) fn types(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).expect("to type");
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.ours, size).expect("a size");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The session hears SIGHUP when our end of the terminal is closed.
        if let Ok(None) = self.child.try_wait() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}
