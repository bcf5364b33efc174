//! `doula ctl attach`: the input and the terminal of a service.

use crate::contain::skipped;
use crate::family::{Family, Home};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Stdio};

/// A terminal of the user's, and `doula ctl attach` at it.
struct User {
    terminal: File,
    child: Child,
    seen: String,
}

impl User {
    fn attach(home: &Home, service: &str) -> Option<User> {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("to open its other end");
        let name = ptsname(&ours, Vec::new()).expect("a name");
        let theirs = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().expect("a path"))
            .expect("its other end");
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).expect("a size");
        let copy = || Stdio::from(theirs.try_clone().expect("a copy"));
        // In a session of its own, whose terminal this is, so that it hears of a new size.
        let mut command = home.command("setsid");
        command.args([
            "--ctty",
            "--wait",
            env!("CARGO_BIN_EXE_doula"),
            "ctl",
            "--name",
            &home.name,
            "attach",
            service,
        ]);
        match command.stdin(copy()).stdout(copy()).stderr(copy()).spawn() {
            Ok(child) => Some(User { terminal: File::from(ours), child, seen: String::new() }),
            Err(error) => {
                skipped(&format!("no setsid(1): {error}"));
                None
            }
        }
    }

    /// Reads on until this was shown.
    fn expect(&mut self, part: &str) {
        let mut buffer = [0; 1024];
        while !self.seen.contains(part) {
            let count = self.terminal.read(&mut buffer).unwrap_or(0);
            assert!(count > 0, "no `{part}` in {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        let end = self.seen.find(part).expect("it is there") + part.len();
        self.seen.drain(..end);
    }

    fn types(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).expect("to type");
    }
}

impl Drop for User {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_new_size_of_the_users_terminal_reaches_the_service_at_once() {
    let mut family = Family::up(
        "[service.shell]\nshell = true\nstdin = \"terminal\"\n\
         command = \"trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done\"\n",
    );
    family.expect("shell | ready");
    let Some(mut user) = User::attach(&family.home, "shell") else { return };
    user.expect("attached; Ctrl-] detaches");
    user.expect("24 80");
    let size = Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&user.terminal, size).expect("a size");
    user.expect("33 101");
    user.types("\x1d");
    let code = user.child.wait().expect("our own child").code();
    assert_eq!(code, Some(0));
    assert_eq!(family.status("shell")["state"], "up", "the service goes on");
    family.shut_down();
}

#[test]
fn what_is_typed_reaches_the_terminal_or_the_pipe_of_a_service_and_its_answer_the_user() {
    for kind in ["terminal", "pipe"] {
        let mut family = Family::up(&format!(
            "[service.echo]\nshell = true\nstdin = \"{kind}\"\n\
             command = \"echo ready; while read -r line; do echo \\\"heard $line\\\"; done\"\n"
        ));
        family.expect("echo | ready");
        let Some(mut user) = User::attach(&family.home, "echo") else { return };
        user.expect("attached; Ctrl-] detaches");
        user.types("good day\n");
        user.expect("heard good day");
        family.expect("echo | heard good day");
        user.types("\x1d");
        assert_eq!(user.child.wait().expect("our own child").code(), Some(0), "{kind}");
        family.shut_down();
    }
}

#[test]
fn a_service_without_an_input_cannot_be_attached_to() {
    let mut family = Family::up("[service.web]\ncommand = \"ACTORS/polite\"\n");
    family.expect("polite: ready");
    let said = family.home.ctl(&["attach", "web"]);
    assert!(said.code == Some(2) && said.err.contains("stdin = \"pipe\""), "{said:?}");
    family.shut_down();
}
