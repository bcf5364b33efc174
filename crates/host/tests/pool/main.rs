//! Pools whose workers are this program once more, or say by frames what a shell says: so this program is its own harness.
#![expect(clippy::print_stdout, reason = "it is its own harness, and what is printed is looked at")]

mod chapter;
#[path = "../harness/mod.rs"]
#[expect(dead_code, reason = "what other tests need is there too")]
mod harness;
mod shells;

use doula_host::Command;
use doula_host::jobs::{Failure, Policy, Timeout};
use doula_host::pool::{AHEAD, Pool, PoolError, Protocol, functions};
use doula_sys::fd::OwnedFd;
use harness::tests;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// How workers are asked: the protocol, how many tasks each may have, and how many of them it gets together.
const MANNERS: [(Protocol, u32, u32); 6] = [
    (Protocol::Frames, 1, 1),
    (Protocol::Frames, 64, 1),
    (Protocol::Frames, 512, 64),
    (Protocol::Ring, 1, 1),
    (Protocol::Ring, 64, 1),
    (Protocol::Ring, 512, 64),
];

fn main() -> ExitCode {
    if let Some(code) = functions(&[("square", square), ("touchy", touchy), ("echo", echo)]) {
        return code;
    }
    let tests = tests![
        every_answer_is_that_of_its_input_in_every_manner,
        answers_come_as_they_are_ready_and_none_is_lost,
        a_task_that_kills_its_worker_is_the_only_one_that_fails_in_every_manner,
        a_task_that_never_ends_costs_its_worker_and_nobody_else,
        a_failure_has_the_reason_of_its_function_and_costs_no_worker,
        payloads_of_any_length_go_through,
        a_pool_beside_threads_takes_no_more_than_it_can_work_at_and_leaves_nobody,
        a_pool_that_is_cancelled_begins_nothing_more,
        a_function_that_nobody_knows_is_told,
        chapter::the_textbook_hangs_when_both_pipes_are_full_and_ours_does_not,
        chapter::the_textbook_mixes_records_that_are_longer_than_a_pipe_keeps_whole_and_ours_does_not,
        chapter::the_textbook_loses_the_task_of_a_dead_worker_and_waits_for_it_for_ever,
        chapter::the_textbook_makes_up_results_when_all_workers_are_dead,
        chapter::the_textbook_dies_with_its_last_worker_and_loses_one_to_any_signal,
        chapter::the_textbook_prints_once_for_each_worker_what_it_printed_once,
        chapter::the_textbook_leaves_its_workers_behind_when_somebody_else_has_its_pipe,
        shells::a_shell_that_says_the_bytes_of_frames_is_a_worker,
        shells::whoever_says_what_is_no_frame_fails_its_task_and_is_replaced,
        shells::a_worker_that_leaves_gives_back_what_it_has_not_done,
        shells::a_worker_that_is_killed_between_two_tasks_costs_none_and_nobody_is_blamed,
        shells::an_answer_to_a_task_that_the_worker_does_not_have_is_given_to_nobody,
    ];
    harness::run(tests, |role| Err(io::Error::other(role.to_owned())))
}

fn number(input: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
    text.trim_end().parse().map_err(|_| format!("`{text}` is no number"))
}

fn square(input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    output.extend_from_slice(number(input)?.pow(2).to_string().as_bytes());
    Ok(())
}

fn echo(input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    output.extend_from_slice(input);
    Ok(())
}

/// Ends at `7 HOW` in this way, and echoes everything else.
fn touchy(input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
    output.extend_from_slice(input);
    let text = std::str::from_utf8(input).map_err(|error| error.to_string())?;
    match text.strip_prefix("7 ") {
        None => return Ok(()),
        Some("abort") => std::process::abort(),
        Some("stay") => {}
        Some(signal) => {
            let own = std::process::id().to_string();
            std::process::Command::new("kill")
                .args([signal, &own])
                .status()
                .map_err(|error| error.to_string())?;
        }
    }
    loop {
        std::thread::park();
    }
}

fn pool(
    function: &str,
    (protocol, window, batch): (Protocol, u32, u32),
) -> Pool<Box<dyn FnMut() -> Command>> {
    let mut pool = Pool::function(2, function);
    pool.rules().protocol = protocol;
    pool.at_once(window, batch);
    pool
}

fn every_answer_is_that_of_its_input_in_every_manner() {
    for manner in MANNERS {
        let mut pool = pool("square", manner);
        let inputs = (0..10_000_u64).map(|number| number.to_string().into_bytes());
        let answers = pool.map(inputs).expect("a pool");
        let mut count = 0;
        for (answer, expected) in answers.zip(0..) {
            assert_eq!(number(&answer.expect("an answer")), Ok(u64::pow(expected, 2)), "{manner:?}");
            count += 1;
        }
        assert_eq!(count, 10_000, "{manner:?}");
    }
}

fn answers_come_as_they_are_ready_and_none_is_lost() {
    for manner in MANNERS {
        let mut pool = pool("square", manner);
        let inputs = (0..20_000_u64).map(|number| number.to_string().into_bytes());
        let mut numbers = BTreeSet::new();
        for (at, answer) in pool.map_unordered(inputs).expect("a pool") {
            assert_eq!(number(&answer.expect("an answer")), Ok(at * at), "{manner:?}");
            assert!(numbers.insert(at));
        }
        assert_eq!(numbers.len(), 20_000);
    }
}

/// The failed ones of twenty, by their numbers, with what is said of them.
fn failed(pool: &mut Pool<impl FnMut() -> Command>, how: &str) -> Vec<(u64, Failure, String)> {
    let input = |number: u64| if number == 7 { format!("7 {how}") } else { number.to_string() };
    let answers = pool.map((0..20).map(|number| input(number).into_bytes())).expect("a pool");
    let mut failed = Vec::new();
    for (answer, expected) in answers.zip(0..) {
        match answer {
            Ok(answer) => assert_eq!(answer, input(expected).into_bytes()),
            Err(error) => {
                let told = error.to_string();
                let PoolError::Failed { task, failure, .. } = error else { panic!("{error:?}") };
                assert_eq!(task, expected);
                failed.push((task, failure, told));
            }
        }
    }
    failed
}

fn a_task_that_kills_its_worker_is_the_only_one_that_fails_in_every_manner() {
    for manner in MANNERS {
        for (how, told) in
            [("-KILL", "SIGKILL"), ("-FPE", "SIGFPE"), ("-TERM", "SIGTERM"), ("abort", "SIGABRT")]
        {
            let failed = failed(&mut pool("touchy", manner), how);
            let [(7, Failure::Signal(_), text)] = failed.as_slice() else {
                panic!("{manner:?} {how}: {failed:?}")
            };
            assert!(text.contains("ended 2 workers") && text.contains(told), "{text}");
        }
    }
}

fn a_task_that_never_ends_costs_its_worker_and_nobody_else() {
    for manner in MANNERS {
        let mut pool = pool("touchy", manner);
        let policy = &mut pool.rules().settings.policy;
        policy.timeout = Some(Timeout::After(Duration::from_millis(300)));
        policy.grace = Duration::from_millis(50);
        let failed = failed(&mut pool, "stay");
        let [(7, Failure::TimedOut, _)] = failed.as_slice() else { panic!("{manner:?}: {failed:?}") };
    }
}

fn a_failure_has_the_reason_of_its_function_and_costs_no_worker() {
    for manner in MANNERS {
        let mut pool = pool("square", manner);
        let inputs = ["1", "two", "3", "four", "five", "6"].map(|text| text.as_bytes().to_vec());
        let answers: Vec<_> = pool.map(inputs).expect("a pool").collect();
        let told: Vec<_> = answers
            .iter()
            .map(|answer| match answer {
                Ok(answer) => String::from_utf8_lossy(answer).into_owned(),
                Err(error) => error.to_string(),
            })
            .collect();
        let expected = [
            "1",
            "task 1 failed: `two` is no number",
            "9",
            "task 3 failed: `four` is no number",
            "task 4 failed: `five` is no number",
            "36",
        ];
        assert_eq!(told, expected, "{manner:?}");
    }
}

fn payloads_of_any_length_go_through() {
    for manner in MANNERS {
        let lengths = [0, 1, 100_000, 200_000, 3_000_000, 5, 700_000];
        let inputs: Vec<Vec<u8>> = lengths.iter().map(|length| vec![(length % 251) as u8; *length]).collect();
        let mut pool = pool("echo", manner);
        let answers =
            pool.map(inputs.clone()).expect("a pool").collect::<Result<Vec<_>, _>>().expect("answers");
        assert!(answers == inputs, "{manner:?}");
    }
}

fn a_pool_beside_threads_takes_no_more_than_it_can_work_at_and_leaves_nobody() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || wait.recv());
    for (protocol, window, batch) in MANNERS {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let writer = Arc::new(OwnedFd::from(writer));
        let mut pool = Pool::new(2, move || {
            let mut command = Command::new("/proc/self/exe");
            command.env("DOULA_FUNCTION", "echo").fd(9, Arc::clone(&writer));
            command
        });
        pool.rules().protocol = protocol;
        pool.at_once(window, batch);
        let taken = Cell::new(0_u64);
        let endless = std::iter::repeat_with(|| {
            taken.set(taken.get() + 1);
            taken.get().to_string().into_bytes()
        });
        let mut answers = pool.map(endless).expect("a pool");
        for at in 1..=5_000_u64 {
            let answer = answers.next().expect("there is one more").expect("an answer");
            assert_eq!(answer, at.to_string().into_bytes());
            // Beside the answers that wait: what the workers have, and as much again that comes to them next.
            let most = at + AHEAD as u64 + 2 * u64::from(2 * window + 2 * batch);
            assert!(taken.get() <= most, "{} after {at}", taken.get());
        }
        drop(answers);
        drop(pool);
        assert_eq!(reader.read(&mut [0]).expect("its end"), 0, "nobody has it open");
    }
    drop(stop);
    let _ = other.join();
}

fn a_pool_that_is_cancelled_begins_nothing_more() {
    // The answers of those that came together come together.
    for manner in MANNERS.into_iter().filter(|(_, _, batch)| *batch == 1) {
        let mut pool = pool("touchy", manner);
        pool.rules().settings.policy =
            Policy { grace: Duration::from_millis(50), ..pool.rules().settings.policy };
        let inputs = ["1", "7 stay", "2", "7 stay", "3"].map(|text| text.as_bytes().to_vec());
        let mut answers = pool.map(inputs).expect("a pool");
        assert!(answers.next().is_some_and(|answer| answer.is_ok()));
        answers.cancel();
        let rest: Vec<_> = answers.collect();
        assert!(
            rest.iter().any(|answer| matches!(answer, Err(PoolError::Cancelled { .. }))),
            "{manner:?} {rest:?}"
        );
        assert!(rest.iter().all(|answer| matches!(answer, Ok(_) | Err(PoolError::Cancelled { .. }))));
    }
}

fn a_function_that_nobody_knows_is_told() {
    let mut pool = Pool::function(2, "nowhere");
    let answers: Vec<_> = pool.map([b"1".to_vec()]).expect("a pool").collect();
    let Some(Err(PoolError::Broken(error))) = answers.last() else { panic!("{answers:?}") };
    assert!(error.to_string().contains("exited with code 127"), "{error}");
}
