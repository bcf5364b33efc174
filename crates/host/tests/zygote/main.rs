//! A zygote is started by a process of one thread: so this program is its own harness.
#![expect(clippy::print_stdout, reason = "it is its own harness, and what is printed is looked at")]

mod ends;
#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "what other tests need is there too")]
mod harness;
mod program;

use doula_host::fork::{Threads, fork};
use doula_host::shutdown::on_exit;
use doula_host::zygote::{MAX_FDS, MAX_REQUEST, PANICKED};
use doula_host::{Capture, ExitStatus, OnDrop, Signal, Stdio, Task, Zygote, ZygoteError, reap_left};
use doula_sys::fd::{AsFd as _, BorrowedFd, OwnedFd};
use doula_sys::signal::{SignalSet, set_mask};
use doula_sys::{group, pidfd, poll};
use harness::{role, say, tests};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::channel;

fn main() -> ExitCode {
    let tests = tests![
        a_child_of_a_zygote_is_ours_and_has_a_handle,
        five_hundred_children_leave_no_zombie_and_no_descriptor,
        many_threads_may_ask_at_once,
        a_request_may_be_larger_than_any_message,
        what_is_too_much_is_refused_and_the_zygote_serves_on,
        descriptors_arrive_in_their_order_and_no_others_are_added,
        a_child_that_is_left_is_buried_later,
        a_child_blocks_and_catches_no_signal_whatever_we_do,
        signals_to_the_whole_group_do_not_end_a_zygote,
        nothing_of_ours_is_done_at_the_end_of_a_child_and_what_it_registered_is,
        a_panic_is_told_and_has_a_code_of_its_own,
        beside_other_threads_no_zygote_is_started_and_none_is_renewed,
        a_copy_of_us_gets_no_children_of_our_zygote,
        ends::a_killed_zygote_is_told_and_renewed,
        ends::a_dropped_zygote_is_buried_and_its_children_live_on,
        ends::a_zygote_ends_with_its_caller_also_where_a_copy_of_that_lives_on,
        ends::a_child_whose_handle_finds_no_number_is_not_left_behind,
        program::a_program_serves_beside_any_threads_and_is_executed_again_when_it_is_renewed,
        program::a_program_that_does_not_serve_is_told,
        program::who_was_not_started_as_a_zygote_cannot_serve,
        program::the_first_process_of_a_namespace_may_ask,
    ];
    harness::run(tests, play)
}

fn play(role: &str) -> io::Result<u8> {
    match role {
        "panic" => play_panic(),
        "exits" => play_exits(),
        "caller" => ends::play_caller(),
        "crowded" => ends::play_crowded(),
        "program" => program::play(),
        "threads" => program::play_threads(),
        "first" => program::play_first(),
        unknown => panic!("{unknown} is no role"),
    }
}

/// A zygote whose children end with the first byte of their request.
fn echo() -> Zygote {
    Zygote::start(|task: Task| task.request.first().copied().unwrap_or(0)).expect("one thread")
}

/// Our children by their states.
fn children() -> Vec<char> {
    let us = std::process::id().to_string();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let ours = stats.filter_map(|stat| {
        let mut fields = stat.rsplit(") ").next()?.split(' ');
        let (state, parent) = (fields.next()?, fields.next()?);
        state.chars().next().filter(|_| parent == us)
    });
    ours.collect()
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

fn a_child_of_a_zygote_is_ours_and_has_a_handle() {
    let us = group::pid();
    let zygote =
        Zygote::start(move |_| if group::parent() == Some(us) { 42 } else { 1 }).expect("one thread");
    let mut child = zygote.spawn(b"", &[]).expect("a child");
    assert_ne!(child.pid(), zygote.pid());
    assert_eq!(poll::readable(&child, None), Ok(true), "readable at its end");
    assert_eq!(child.wait(), ExitStatus::code(42));
    assert!(child.usage().is_some_and(|usage| usage.max_rss_kb > 0));

    let zygote = Zygote::start(|_| {
        loop {
            std::thread::park();
        }
    })
    .expect("one thread");
    let mut child = zygote.spawn(b"", &[]).expect("a child");
    child.kill().expect("ours");
    assert_eq!(child.wait().killed_by(), Some(Signal::KILL));
}

fn five_hundred_children_leave_no_zombie_and_no_descriptor() {
    let (zygote, before) = (echo(), open_fds());
    let theirs =
        |zygote: &Zygote| std::fs::read_dir(format!("/proc/{}/fd", zygote.pid())).expect("/proc").count();
    assert_eq!(zygote.spawn(&[0], &[]).expect("a child").wait(), ExitStatus::code(0));
    let at_first = theirs(&zygote);
    for number in 0..500u32 {
        let code = (number % 256) as u8;
        assert_eq!(zygote.spawn(&[code], &[]).expect("a child").wait(), ExitStatus::code(code));
    }
    assert_eq!((open_fds(), theirs(&zygote)), (before, at_first));
    assert_eq!(children().len(), 1, "the zygote alone: {:?}", children());
}

fn many_threads_may_ask_at_once() {
    let zygote = echo();
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let zygote = &zygote;
            scope.spawn(move || {
                for round in 0..50u8 {
                    let code = (thread * 31) ^ round;
                    let mut child = zygote.spawn(&[code], &[]).expect("a child");
                    assert_eq!(child.wait(), ExitStatus::code(code));
                }
            });
        }
    });
    assert_eq!(children().len(), 1, "the zygote alone: {:?}", children());
}

/// A code that depends on every byte.
fn digest(bytes: &[u8]) -> u8 {
    bytes.iter().fold(7, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte))
}

fn a_request_may_be_larger_than_any_message() {
    let zygote = Zygote::start(|task: Task| {
        // No fd more than was handed over.
        if task.fds.is_empty() { digest(&task.request) } else { 1 }
    });
    let zygote = zygote.expect("one thread");
    for length in [0, 1, 2047, 2048, 2049, 300_000, 5_000_000] {
        let request: Vec<u8> = (0..length).map(|at: usize| (at / 3) as u8).collect();
        let mut child = zygote.spawn(&request, &[]).expect("a child");
        assert_eq!(child.wait(), ExitStatus::code(digest(&request)), "{length} bytes");
    }
}

fn what_is_too_much_is_refused_and_the_zygote_serves_on() {
    let zygote = Zygote::start(|task: Task| task.fds.len() as u8).expect("one thread");
    let bytes = vec![0; MAX_REQUEST + 1];
    let error = zygote.spawn(&bytes, &[]).expect_err("too large");
    assert!(matches!(error, ZygoteError::TooLarge(length) if length == bytes.len()), "{error}");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::InvalidInput);
    let null = File::open("/dev/null").expect("a file");
    let many = vec![null.as_fd(); MAX_FDS + 1];
    assert!(matches!(zygote.spawn(b"", &many), Err(ZygoteError::TooManyFds(count)) if count == many.len()));
    // And just as many as there may be, beside a request that comes in another one.
    let mut child = zygote.spawn(&bytes[..5000], &many[1..]).expect("a child");
    assert_eq!(child.wait(), ExitStatus::code(MAX_FDS as u8));
}

fn descriptors_arrive_in_their_order_and_no_others_are_added() {
    let before = open_fds();
    let zygote = Zygote::start(move |task: Task| {
        let count = open_fds();
        let mut files = task.fds.into_iter().map(File::from);
        let (mut input, mut output) = (files.next().expect("a reader"), files.next().expect("a writer"));
        let mut text = String::new();
        input.read_to_string(&mut text).expect("a pipe");
        writeln!(output, "{text} by {}, {} more", String::from_utf8_lossy(&task.request), count - before)
            .expect("a pipe");
        0
    });
    let zygote = zygote.expect("one thread");
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let (mut answer, theirs) = io::pipe().expect("a pipe");
    let fds: [BorrowedFd<'_>; 2] = [reader.as_fd(), theirs.as_fd()];
    let mut child = zygote.spawn(b"one", &fds).expect("a child");
    drop((reader, theirs));
    writer.write_all(b"read").expect("a pipe");
    drop(writer);
    let mut text = String::new();
    answer.read_to_string(&mut text).expect("nobody but the child holds the other end");
    assert_eq!((text.as_str(), child.wait()), ("read by one, 2 more\n", ExitStatus::code(0)));
}

fn a_child_that_is_left_is_buried_later() {
    let zygote = Zygote::start(|task: Task| {
        u8::from(task.fds.into_iter().map(File::from).any(|input| io::read_to_string(input).is_err()))
    });
    let zygote = zygote.expect("one thread");
    let (reader, writer) = io::pipe().expect("a pipe");
    let mut child = zygote.spawn(b"", &[reader.as_fd()]).expect("a child");
    let process = pidfd::open(child.pid()).expect("it lives");
    child.set_on_drop(OnDrop::Leave);
    drop(child);
    assert_eq!(reap_left(), 1, "it lives on");
    drop(writer);
    assert_eq!(poll::readable(&process, None), Ok(true));
    assert!(children().contains(&'Z'));
    assert_eq!((reap_left(), children().contains(&'Z')), (0, false));
}

/// A line of `/proc/self/status` as bits.
fn signals_of(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a known field");
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("bits")
}

fn a_child_blocks_and_catches_no_signal_whatever_we_do() {
    /// Rust's own handlers, which tell of a stack that was too small: BUS and SEGV; and 32 and 33 of the C library.
    const OF_RUST: u64 = 1 << (7 - 1) | 1 << (11 - 1) | 0b11 << (32 - 1);
    let _shutdown = doula_host::shutdown::Shutdown::new().expect("signals are caught");
    let before = set_mask(SignalSet::EMPTY.with(Signal::USR1));
    let started = Zygote::start(|_| {
        let caught = signals_of("SigCgt") & !OF_RUST;
        u8::from(signals_of("SigBlk") != 0) | u8::from(caught != 0) << 1
    });
    assert_eq!(set_mask(before), SignalSet::EMPTY.with(Signal::USR1), "ours is as it was");
    assert!(signals_of("SigCgt") & !OF_RUST != 0, "we do catch some");
    let zygote = started.expect("one thread");
    assert_eq!(zygote.spawn(b"", &[]).expect("a child").wait(), ExitStatus::code(0));
}

fn handle(zygote: &Zygote) -> OwnedFd {
    pidfd::open(zygote.pid()).expect("a child of ours that is not buried")
}

fn signals_to_the_whole_group_do_not_end_a_zygote() {
    let zygote = echo();
    let process = handle(&zygote);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::TSTP, Signal::USR1] {
        pidfd::send(&process, signal).expect("it lives");
    }
    assert_eq!(zygote.spawn(&[9], &[]).expect("a child").wait(), ExitStatus::code(9));
}

fn nothing_of_ours_is_done_at_the_end_of_a_child_and_what_it_registered_is() {
    let output = role("exits").output().expect("a capture");
    let expected = "before, child, of the child\nsecond child, of the caller\n";
    assert_eq!((output.stdout_text().as_ref(), output.status), (expected, ExitStatus::code(0)));
}

/// Standard output is a pipe, so that what is printed stays in a buffer.
fn play_exits() -> io::Result<u8> {
    on_exit("ours", || say("of the caller"))?;
    print!("before, ");
    let zygote = Zygote::start(|task: Task| {
        print!("{}child, ", String::from_utf8_lossy(&task.request));
        let registers = task.request.is_empty();
        u8::from(registers && on_exit("theirs", || say("of the child")).is_err())
    })?;
    for request in ["", "second "] {
        assert_eq!(zygote.spawn(request.as_bytes(), &[])?.wait(), ExitStatus::code(0));
    }
    Ok(0)
}

fn a_panic_is_told_and_has_a_code_of_its_own() {
    let mut command = role("panic");
    command.stderr(Stdio::pipe_out());
    let child = command.spawn().expect("a birth");
    let output = child.communicate(b"", &Capture::new()).expect("a capture");
    assert_eq!(output.status, ExitStatus::code(0), "{}", output.stderr_text());
    assert!(output.stderr_text().contains("this request was too much"), "{}", output.stderr_text());
}

fn play_panic() -> io::Result<u8> {
    let zygote = Zygote::start(|task: Task| {
        assert!(task.request.is_empty(), "this request was too much");
        7
    })?;
    let end = zygote.spawn(b"something", &[])?.wait();
    let aborts = cfg!(panic = "abort") && end.killed_by() == Signal::new(6);
    assert!(aborts || end == ExitStatus::code(PANICKED), "{end}");
    // It disturbed nobody else.
    assert_eq!(zygote.spawn(b"", &[])?.wait(), ExitStatus::code(7));
    Ok(0)
}

fn beside_other_threads_no_zygote_is_started_and_none_is_renewed() {
    let zygote = echo();
    let (stop, wait) = channel::<()>();
    let other = std::thread::spawn(move || wait.recv());
    let error = Zygote::start(|_| 0).expect_err("two threads");
    assert!(matches!(error, ZygoteError::Threads(2)), "{error}");
    assert!(matches!(zygote.renew(), Err(ZygoteError::Threads(2))));
    assert_eq!(zygote.spawn(&[5], &[]).expect("a child").wait(), ExitStatus::code(5), "as it was");
    drop(stop);
    assert!(other.join().is_ok());
}

fn a_copy_of_us_gets_no_children_of_our_zygote() {
    let zygote = echo();
    let mut copy = fork(Threads::Refuse, || {
        let refused = matches!(zygote.spawn(b"", &[]), Err(ZygoteError::Copied));
        u8::from(!refused || !matches!(zygote.renew(), Err(ZygoteError::Copied)))
    });
    assert_eq!(copy.as_mut().expect("one thread").wait(), ExitStatus::code(0));
    assert_eq!(zygote.spawn(&[6], &[]).expect("a child").wait(), ExitStatus::code(6));
}
