//! Families of a PID namespace, and what is seen of them from outside: by `doula sim snapshot`.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;
use std::process::{Child, Command, Stdio};

pub(crate) const DOULA: &str = env!("CARGO_BIN_EXE_doula");
/// So many looks are made before a family is taken to stay as it is.
pub(crate) const LOOKS: u32 = 2000;

#[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
pub(crate) fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// `unshare`, whose further words are a command that becomes PID 1; `None` where no namespace can be made, which is told.
pub(crate) fn namespace() -> Option<Command> {
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]);
        unshare
    };
    let can = unshare().arg("true").stderr(Stdio::null()).stdin(Stdio::null()).status();
    if can.is_ok_and(|status| status.success()) {
        return Some(unshare());
    }
    skipped("no PID namespace can be made here");
    None
}

/// A family in a namespace that ends with unshare(1), which bore its init.
pub(crate) struct Family {
    unshare: Child,
    /// How many namespaces deep it is.
    depth: usize,
}

impl Drop for Family {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

impl Family {
    /// The family of this `unshare` with a command.
    pub(crate) fn new(mut unshare: Command) -> Family {
        let unshare = unshare.spawn().expect("unshare starts");
        let us = find(&snapshot(), i64::from(std::process::id()));
        let depth = us["numbers"].as_array().expect("numbers").len() + 1;
        Family { unshare, depth }
    }

    /// Those who are in the namespace.
    pub(crate) fn members<'a>(&self, snapshot: &'a Value) -> Vec<&'a Value> {
        // There may be thousands of others: only who is as deep as the family can be one of it.
        let level = |row: &Value| row["numbers"].as_array().map_or(0, Vec::len);
        let deep: Vec<&Value> = processes(snapshot).iter().filter(|row| level(row) >= self.depth).collect();
        let unshare = i64::from(self.unshare.id());
        let init = deep.iter().find(|row| row["ppid"] == unshare && level(row) == self.depth);
        let Some(init) = init.map(|row| row["pid"].clone()) else { return Vec::new() };
        let below = |row: &&Value| {
            let mut above = Some(*row);
            while let Some(found) = above {
                if found["pid"] == init {
                    return true;
                }
                above = deep.iter().find(|row| row["pid"] == found["ppid"]).copied();
            }
            false
        };
        deep.iter().copied().filter(below).collect()
    }

    /// Sends a signal to who was born as the number `inside`; its number here. Who sends must know that it was not buried.
    pub(crate) fn send(&self, inside: i64, signal: Signal) {
        let number = |snapshot: &Value| {
            let members = self.members(snapshot);
            let found = members.iter().find(|row| own_number(row) == inside);
            number(&found.expect("it is in the family")["pid"])
        };
        let here = number(&snapshot());
        let handle = pidfd_open(Pid::from_raw(here as i32).expect("a number"), PidfdFlags::empty());
        // The handle was taken of a number: whose it is now, it is still when the signal is sent.
        assert_eq!(number(&snapshot()), here, "it was not buried meanwhile");
        pidfd_send_signal(handle.expect("it is there"), signal).expect("a signal sent");
    }
}

/// The number in its own namespace.
pub(crate) fn own_number(row: &Value) -> i64 {
    row["numbers"].as_array().and_then(|all| all.last()).map_or(0, number)
}

pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}

pub(crate) fn processes(snapshot: &Value) -> &[Value] {
    snapshot["processes"].as_array().expect("a list")
}

pub(crate) fn find(snapshot: &Value, pid: i64) -> Value {
    processes(snapshot).iter().find(|row| row["pid"] == pid).cloned().unwrap_or(Value::Null)
}

pub(crate) fn snapshot() -> Value {
    let output = Command::new(DOULA).args(["sim", "snapshot"]).output().expect("doula starts");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Both ends of a terminal that is nobody's yet.
pub(crate) fn terminal() -> (OwnedFd, OwnedFd) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("to open its other end");
    let name = ptsname(&ours, Vec::new()).expect("a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    (ours, open(name, flags, Mode::empty()).expect("its other end"))
}
