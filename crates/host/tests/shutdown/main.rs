//! Graceful ends, each in a process of its own: this program is started again in a role, and plays it. So it is its own
//! harness, and has one thread.
#![expect(clippy::print_stdout, reason = "it is its own harness, and what is printed is looked at")]

mod copies;
#[path = "../harness/mod.rs"]
mod harness;
mod load;
mod roles;
#[path = "../../examples/graceful_server.rs"]
mod server;

use doula_host::{Command, ExitStatus, Signal, Stdio};
use harness::{Actor, role, tests};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = tests![
        a_read_that_never_sees_a_flag_is_woken,
        a_flag_is_not_seen_before_the_read_returns,
        hooks_run_by_phase_in_reverse_and_one_that_panics_stops_nobody,
        a_second_signal_hurries_and_who_is_cut_is_named,
        a_third_signal_kills,
        a_third_signal_kills_also_a_program_that_looks_at_nothing,
        a_poll_loop_answers_what_is_pending_and_ends,
        a_signal_that_was_ignored_at_the_start_stays_ignored,
        children_have_no_mask_and_no_handler,
        copies::a_copy_that_exits_runs_no_handler_of_its_parent_where_atexit_does,
        copies::a_copy_that_somebody_else_made_ends_though_a_thread_was_registering_meanwhile,
        copies::a_worker_does_at_its_end_what_it_registered_itself,
        load::no_request_is_lost_when_a_server_ends_and_the_next_one_begins,
    ];
    harness::run(tests, roles::play)
}

impl Actor {
    fn signal(&self, signal: Signal) {
        self.child.signal(signal).expect("alive");
    }
}

fn a_read_that_never_sees_a_flag_is_woken() {
    let (theirs, _silent) = UnixStream::pair().expect("sockets");
    let mut command = role("blocked-read");
    command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)));
    let mut actor = Actor::of(&command);
    actor.expect("reads");
    actor.signal(Signal::TERM);
    let (lines, end) = actor.end();
    assert_eq!((lines, end), (vec!["the end of the stream".to_owned()], ExitStatus::code(0)));
}

/// The chapter's program: `signal()` gives SA_RESTART.
const FLAG: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

volatile sig_atomic_t shutdown_requested = 0;
void shutdown_handler(int sig) { shutdown_requested = 1; write(1, "handled\n", 8); }

int main(void) {
    char request;
    signal(SIGTERM, shutdown_handler);
    write(1, "ready\n", 6);
    while (!shutdown_requested)
        if (read(0, &request, 1) == 1) write(1, "one more request\n", 17);
    write(1, "shutdown complete\n", 18);
    return 0;
}
"#;

fn a_flag_is_not_seen_before_the_read_returns() {
    let Some(folder) = harness::compile("flag", FLAG) else { return };
    let mut command = Command::exact(folder.path().join("flag"));
    let mut actor = Actor::of(command.stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out()));
    actor.expect("ready");
    // No event tells that it waits in its read.
    while state(actor.child.pid()) != Some('S') {
        std::thread::yield_now();
    }
    actor.signal(Signal::TERM);
    actor.expect("handled");
    // It would wait here for ever. Only a request after the signal lets it look at its flag.
    let input = actor.child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut &input, b"!").expect("it reads");
    let (lines, end) = actor.end();
    assert_eq!(
        (lines.join(", ").as_str(), end),
        ("one more request, shutdown complete", ExitStatus::code(0))
    );
    drop(input);
}

fn state(pid: doula_host::Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn hooks_run_by_phase_in_reverse_and_one_that_panics_stops_nobody() {
    let mut actor = Actor::of(&role("hooks"));
    actor.expect("ready");
    actor.signal(Signal::INT);
    let (lines, end) = actor.end();
    let expected = [
        "listener",
        "second",
        "first",
        "connections",
        "journal",
        "later entry",
        "earlier entry",
        "ended because of SIGINT: 5 of 8 hooks done",
        "finish pending: `second` failed: no room",
        "flush: `broken` panicked: out of paper",
        "remove files: `later entry` failed: not there",
    ];
    assert_eq!((lines, end), (expected.map(str::to_owned).to_vec(), ExitStatus::code(1)));
}

fn a_second_signal_hurries_and_who_is_cut_is_named() {
    let mut actor = Actor::of(&role("slow"));
    actor.expect("ready");
    actor.signal(Signal::TERM);
    actor.expect("a hook that takes hours");
    actor.signal(Signal::TERM);
    let (lines, end) = actor.end();
    let expected = [
        "flushed",
        "ended because of SIGTERM: 1 of 2 hooks done, in a hurry",
        "stop accepting: `hours` was cut",
        "finish pending: `a request` was not waited for any longer",
    ];
    assert_eq!((lines, end), (expected.map(str::to_owned).to_vec(), ExitStatus::code(1)));
}

fn a_third_signal_kills() {
    let mut actor = Actor::of(&role("immortal"));
    actor.expect("ready");
    actor.signal(Signal::TERM);
    actor.expect("a hook that takes hours");
    actor.signal(Signal::HUP);
    actor.expect("hurried");
    actor.signal(Signal::INT);
    assert_eq!(actor.end(), (vec![], ExitStatus::code(128 + 2)));
}

fn a_third_signal_kills_also_a_program_that_looks_at_nothing() {
    let mut actor = Actor::of(&role("stuck"));
    actor.expect("ready");
    // Three different ones, for two of a kind may become one on the way.
    let signals = [Signal::TERM, Signal::INT, Signal::HUP];
    signals.iter().for_each(|signal| actor.signal(*signal));
    let (lines, end) = actor.end();
    let codes = signals.map(|signal| Some(128 + signal.number() as u8));
    assert!(lines.is_empty() && codes.contains(&end.exit_code()), "{end}");
}

fn a_poll_loop_answers_what_is_pending_and_ends() {
    let mut actor = Actor::of(role("poll-loop").stdin(Stdio::pipe_in()));
    actor.expect("ready");
    let input = actor.child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut &input, b"begun").expect("it reads");
    actor.expect("request begun");
    actor.signal(Signal::TERM);
    actor.expect("stop accepting");
    actor.expect("finish pending");
    // The rest of the request comes after the signal.
    std::io::Write::write_all(&mut &input, b"rest\n").expect("it reads");
    let (lines, end) = actor.end();
    assert_eq!(
        (lines.join(", ").as_str(), end),
        ("answered, close connections, flush, remove files, over", ExitStatus::code(0))
    );
    drop(input);
}

fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let mut actor = Actor::of(role("signals").ignore([Signal::HUP]));
    let caught = bits(&actor.line());
    assert_eq!(caught & 0b100_0000_0000_0011, 0b100_0000_0000_0010, "TERM and INT, not HUP");
    actor.signal(Signal::TERM);
    assert_eq!(actor.end().1, ExitStatus::code(0));
}

fn children_have_no_mask_and_no_handler() {
    let mut actor = Actor::of(&role("children"));
    for who in ["doula", "std"] {
        for mask in ["SigBlk", "SigIgn", "SigCgt"] {
            actor.expect(&format!("{who} {mask}: 0"));
        }
    }
    actor.signal(Signal::TERM);
    assert_eq!(actor.end().1, ExitStatus::code(0));
}

fn bits(line: &str) -> u64 {
    u64::from_str_radix(line, 16).expect("a mask in hexadecimal")
}
