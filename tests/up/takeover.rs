//! The supervisor is killed, and another one takes over.

use crate::family::{Family, count};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const WEB: &str = "[service.web]\ncommand = \"ACTORS/polite\"\n";

#[test]
fn a_service_goes_on_under_the_next_supervisor_with_the_same_process_and_is_stopped_by_it() {
    let mut family = Family::up(WEB);
    family.expect("web | polite: ready");
    let before = family.status("web");
    family.kill();
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on, 0 ended meanwhile"), "{told}");
    let after = family.status("web");
    for field in ["pid", "state", "since", "generation", "restarts"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0));
    assert_eq!(count(&lines, "web | polite: ready"), 1, "{lines:?}");
    assert_eq!(count(&lines, "web exited cleanly"), 1, "{lines:?}");
}

#[test]
fn who_ended_while_nobody_looked_is_told_with_its_exit_status() {
    let text = "[service.short]\ncommand = [\"sh\", \"-c\", \"trap 'echo farewell; exit 42' TERM; echo waits; sleep 1000 & wait\"]\nrestart = \"never\"\n";
    let mut family = Family::up(&format!("{text}{WEB}"));
    family.expect("short | waits");
    let short = family.main_of("short");
    family.kill();
    pidfd_send_signal(&short, Signal::TERM).expect("it lives");
    poll(&mut [PollFd::new(&short, PollFlags::IN)], None).expect("its end");
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on, 1 ended meanwhile"), "{told}");
    family.expect("short | farewell");
    family.expect("short exited with code 42");
    family.expect("(1 had outlived the main process)");
    family.shut_down();
}

#[test]
fn a_second_supervisor_is_refused_while_the_first_one_lives() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let said = family.home.doula(&["up"]);
    assert!(said.code == Some(2) && said.err.contains("already running"), "{said:?}");
    family.shut_down();
}

/// What `/proc` calls the command of a process.
fn keeper_of(family: &Family) -> Pid {
    let us = family.ask(&["status"])["pid"].as_i64().expect("its number");
    let text = std::fs::read_to_string(format!("/proc/{us}/task/{us}/children")).expect("/proc");
    let is_keeper = |pid: &&str| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it == "doula-keeper\n")
    };
    let pid = text.split_whitespace().find(is_keeper).and_then(|pid| pid.parse().ok());
    pid.and_then(Pid::from_raw).expect("it has a keeper")
}

#[test]
fn a_keeper_that_is_killed_is_replaced_and_the_next_one_holds_as_much() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web");
    let keeper = pidfd_open(keeper_of(&family), PidfdFlags::empty()).expect("it lives");
    pidfd_send_signal(&keeper, Signal::KILL).expect("it lives");
    family.expect("the keeper was killed; another one has taken its place");
    family.kill();
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on") && !told.contains("no keeper"), "{told}");
    assert_eq!(family.status("web")["pid"], before["pid"]);
    family.shut_down();
}
