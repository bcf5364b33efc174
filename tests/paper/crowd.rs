//! Two rules that programs of one call at a time cannot show: a signal to a group that bears children meanwhile, and how little a
//! zombie has left.

use crate::eyes::{DOULA, Family, LOOKS, namespace, own_number, snapshot};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;
use std::process::Command;

/// How many groups are signalled while they grow: some before their first child, some in between, some when all are there.
const GROUPS: usize = 30;

#[test]
fn p6_nobody_escapes_a_signal_to_a_group_that_bears_meanwhile() {
    // Both make the group, as shells do: whoever comes first.
    let group = |pause: &str| {
        format!(
            "fork as bearer {{ setpgid 0 0\n repeat 6 {{ fork {{ loop {{ pause }} }} }}\n loop {{ pause }} }}\n\
             setpgid $bearer $bearer\n {pause}\n kill -$bearer TERM\n"
        )
    };
    let groups: String = ["", "sleep 1ms", "sleep 3ms"].iter().map(|pause| group(pause)).collect();
    let script = format!("repeat {} {{ {groups} }}\n loop {{ pause }}", GROUPS / 3);
    let Some(mut command) = namespace() else { return };
    command.args([DOULA, "sim", "play", "-c", &script]);
    let family = Family::new(command);
    // PID 1 buries nobody, so that all who were ever born are still there.
    let mut last = String::new();
    for _ in 0..LOOKS {
        let seen = snapshot();
        let (members, is_dead) = (family.members(&seen), |state: &str| matches!(state, "Z" | "X"));
        let leaders = members.iter().filter(|row| row["pgid"] == row["pid"]).count();
        let mut born = members.iter().filter(|row| own_number(row) != 1);
        if leaders >= GROUPS && born.all(|row| row["state"].as_str().is_some_and(is_dead)) {
            return;
        }
        let row = |row: &&Value| format!("{} of group {}: {}", row["pid"], row["pgid"], row["state"]);
        last = members.iter().map(row).collect::<Vec<_>>().join("\n");
    }
    panic!("somebody lives on: {last}");
}

#[test]
fn c5_a_zombie_holds_no_page() {
    let mut child = Command::new("true").spawn().expect("true starts");
    let pid = Pid::from_child(&child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("it ends");
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", child.id())).expect("a zombie");
    assert!(read("stat").contains(") Z "), "{}", read("stat"));
    assert_eq!(read("statm"), "0 0 0 0 0 0 0\n");
    child.wait().expect("its burial");
}
