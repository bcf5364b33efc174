//! What doula holds for a service: its sockets over a restart, its descendants without cgroups, its log files.

use crate::family::{Family, Home};
use crate::hidden::{Hierarchies, without};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

pub(crate) fn get(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("doula holds the socket");
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("to ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("to hear");
    answer
}

#[test]
fn instances_share_a_socket_that_stays_open_while_they_restart() {
    let port = {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.local_addr().expect("its address").port()
    };
    let mut family = Family::up(&format!(
        "[service.keeper]\ncommand = \"ACTORS/polite\"\n\
         [service.web]\ncommand = \"ACTORS/web_worker\"\ninstances = 2\nready = \"notify\"\n\
         sockets = [{{ name = \"http\", tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    family.expect("is ready");
    let said = family.home.ctl(&["wait", "web", "--until", "ready"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(get(port).starts_with("HTTP/1."), "somebody answers");
    // While nobody runs, clients wait in the queue of the socket instead of being refused.
    family.ask(&["stop", "web"]);
    let client = std::thread::spawn(move || get(port));
    family.ask(&["start", "web"]);
    assert!(client.join().expect("no connection was refused").starts_with("HTTP/1."));
    family.shut_down();
}

#[test]
fn without_cgroups_descendants_are_found_all_the_same() {
    let home = Home::new(
        "[service.runaway]\ncommand = \"ACTORS/double_fork stay\"\nready = { log-line = \"daemon\" }\n\
         stop = { leftover-grace = \"100ms\" }\n\
         [service.hidden]\nshell = true\nrequires = [\"runaway\"]\n\
         command = \"env -i setsid sh -c 'exec env -i setsid sleep 1000 &' & echo hidden; exec sleep 1000\"\n",
    );
    let Some(command) = without(Hierarchies::V2, &home) else { return };
    let mut family = Family::with(home, command);
    family.expect("hidden | hidden");
    assert_eq!(family.shut_down().0, Some(0));
}

#[test]
fn every_line_of_a_service_is_in_its_log_file() {
    let home = Home::new(
        "[service.talker]\nshell = true\nrestart = \"never\"\n\
         command = \"for i in $(seq 1 2000); do echo line $i; done; printf 'without a newline'\"\n",
    );
    let mut family = Family::start(home, &["--logs", "logs"]);
    family.expect("without a newline");
    let text = std::fs::read_to_string(family.home.dir.join("logs/talker.log")).expect("the log file");
    let (code, _) = family.end();
    assert_eq!(code, Some(0));
    for number in 1..=2000 {
        assert!(
            text.lines().any(|line| line.ends_with(&format!("line {number}"))),
            "line {number} is missing"
        );
    }
    assert!(text.trim_end().ends_with("without a newline"));
}

#[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
pub(crate) fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

#[test]
fn a_service_whose_descendants_had_to_be_killed_starts_again() {
    let mut family = Family::up(
        "[service.deaf]\nshell = true\nstop = { grace = \"100ms\", leftover-grace = \"100ms\" }\n\
         command = \"ACTORS/ignore_term & ACTORS/ignore_term\"\n",
    );
    for _ in 0..2 {
        family.expect("deaf | ignore_term: ready");
        family.expect("deaf | ignore_term: ready");
        let said = family.home.ctl(&["restart", "deaf"]);
        assert!(said.code == Some(0) && said.out.contains("deaf: up"), "{said:?}");
        family.expect("deaf is empty");
    }
    family.expect("deaf | ignore_term: ready");
    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
}
