//! A supervisor that cannot use cgroups: their hierarchies are covered in a mount namespace of its own.

use crate::contain::skipped;
use crate::family::Home;
use std::process::{Command, Stdio};

/// What is hidden from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hierarchies {
    /// That of cgroup v2: descendants have to be looked for in `/proc`.
    V2,
    /// All of them: limits have to hold without controllers, too.
    All,
    /// None, but nothing can be changed in them.
    ReadOnly,
}

impl Hierarchies {
    /// Covers them, then runs its arguments.
    fn script(self) -> &'static str {
        match self {
            Hierarchies::V2 => {
                "for at in $(sed -n 's/^[^ ]* \\([^ ]*\\) cgroup2 .*/\\1/p' /proc/mounts); do
                mount -t tmpfs none $at || exit 77; done; exec \"$@\""
            }
            Hierarchies::All => "mount -t tmpfs none /sys/fs/cgroup || exit 77; exec \"$@\"",
            Hierarchies::ReadOnly => {
                "for at in $(sed -n 's/^[^ ]* \\([^ ]*\\) cgroup2* .*/\\1/p' /proc/mounts); do
                mount -o remount,ro,bind $at || exit 77; done; exec \"$@\""
            }
        }
    }
}

/// `doula up` in this folder without them; `None`, and a word about it, where that cannot be arranged.
pub(crate) fn without(what: Hierarchies, home: &Home) -> Option<Command> {
    let covered = |words: &[&str]| {
        let mut command = home.command("unshare");
        command.args(["--mount", "sh", "-c", what.script(), "sh"]).args(words);
        command
    };
    let possible = covered(&["true"]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        skipped("no mount namespace can be made here");
        return None;
    }
    Some(covered(&[env!("CARGO_BIN_EXE_doula"), "up"]))
}
