//! The supervisor is killed, and another one takes over.

use crate::contain::get;
use crate::family::{Family, Home, count};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

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

#[test]
fn connections_wait_while_neither_the_supervisor_nor_the_service_lives() {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|some| some.local_addr()).expect("a free port").port();
    let mut family = Family::up(&format!(
        "[service.web]\ncommand = \"ACTORS/web_worker\"\nready = \"notify\"\nrestart = \"always\"\n\
         sockets = [{{ name = \"http\", tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    family.expect("web is ready");
    let web = family.main_of("web");
    family.kill();
    assert!(get(port).starts_with("HTTP/1."), "the worker goes on");
    pidfd_send_signal(&web, Signal::KILL).expect("it lives");
    poll(&mut [PollFd::new(&web, PollFlags::IN)], None).expect("its end");
    let client = std::thread::spawn(move || get(port));
    family.up_again(&[]);
    family.expect("web was killed by SIGKILL");
    assert!(client.join().expect("no connection was refused").starts_with("HTTP/1."));
    family.shut_down();
}

#[test]
fn who_cannot_take_over_leaves_all_to_the_next_one() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let web = format!("{WEB}sockets = [{{ unix = \"web.sock\" }}]\n");
    let mut family = Family::up(&web);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.kill();
    family.home.write(&format!(
        "{web}[service.other]\ncommand = \"ACTORS/polite\"\nsockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    let said = family.home.doula(&["up"]);
    assert!(said.code != Some(0) && said.err.contains(&port.to_string()), "{said:?}");
    family.home.write(&web);
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on, 0 ended meanwhile") && !told.contains("no keeper"), "{told}");
    assert_eq!(family.status("web")["pid"], before);
    UnixStream::connect(family.home.dir.join("web.sock")).expect("the socket and its file are there");
    family.shut_down();
}

#[test]
fn what_a_service_says_and_what_it_left_outlive_the_supervisor() {
    let mut family = Family::up(
        "[service.store]\ncommand = \"ACTORS/fdstore\"\nready = \"notify\"\nfd-store = 4\n\
         [service.late]\ncommand = \"ACTORS/notify_ready\"\nready = \"notify\"\n",
    );
    family.expect("store is ready");
    let late = family.main_of("late");
    let first = family.status("store")["pid"].clone();
    family.kill();
    // Heard by the one who comes.
    pidfd_send_signal(&late, Signal::USR1).expect("it lives");
    family.up_again(&[]);
    family.expect("late is ready");
    family.ask(&["restart", "store"]);
    family.expect(&format!("fdstore: given memory: kept by {first}"));
    family.shut_down();
}

#[test]
fn every_line_is_written_though_the_supervisor_is_killed_again_and_again_while_a_service_floods() {
    const LINES: u32 = 400_000;
    let text = format!(
        "[service.talker]\ncommand = \"ACTORS/log_flood {LINES}\"\nlog = {{ flood = 4000000000 }}\nrestart = \"never\"\n{WEB}"
    );
    let mut family = Family::start(Home::new(&text), &["--logs", "logs", "--log-size", "1000"]);
    family.expect("talker |");
    for _ in 0..5 {
        family.kill();
        family.up_again(&["--logs", "logs", "--log-size", "1000"]);
        family.expect("took over from pid");
    }
    family.expect_within(&format!("talker | {LINES:>80}"), Duration::from_secs(120));
    family.shut_down_keeping(|home| {
        let text = std::fs::read_to_string(home.dir.join("logs/talker.log")).expect("its log");
        let seen: BTreeSet<u32> =
            text.lines().filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect();
        let missing: Vec<u32> = (1..=LINES).filter(|number| !seen.contains(number)).take(5).collect();
        assert_eq!(missing, Vec::<u32>::new(), "{} lines in all", seen.len());
    });
}

#[test]
fn a_torn_journal_is_cut_and_whoever_runs_is_found_by_its_mark() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.kill();
    let state = family.home.dir.join("doula").join(&family.home.name).join("state");
    let mut text = std::fs::read(&state).expect("the journal");
    let middle = text.len() / 3;
    text[middle] ^= 1;
    std::fs::write(&state, text).expect("to write it");
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("torn") && told.contains("1 processes go on"), "{told}");
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

#[test]
fn without_a_keeper_processes_are_found_and_what_is_lost_is_said() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    let keeper = pidfd_open(keeper_of(&family), PidfdFlags::empty()).expect("it lives");
    family.signal(Signal::STOP);
    pidfd_send_signal(&keeper, Signal::KILL).expect("it lives");
    family.kill();
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("no keeper was left") && told.contains("1 processes go on"), "{told}");
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}
