//! Children and shutdowns in tasks of tokio.
#![expect(clippy::print_stdout, reason = "a part of a test speaks to the test by it")]

use doula_host::shutdown::{Phase, Shutdown};
use doula_host::{Command, ExitStatus, Signal, Stdio};
use std::future::Future;
use std::io::{BufRead as _, BufReader};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_io().build().expect("a runtime")
}

#[test]
fn many_children_are_waited_for_by_one_thread() {
    runtime().block_on(async {
        let wait = |code: u8| async move {
            let mut child =
                Command::new("sh").args(["-c", &format!("exit {code}")]).spawn().expect("a birth");
            child.wait_async().await.expect("a runtime that watches")
        };
        let tasks: Vec<_> = (0..20).map(|code| (code, tokio::spawn(wait(code)))).collect();
        for (code, task) in tasks {
            assert_eq!(task.await.expect("no panic"), ExitStatus::code(code));
        }
    });
}

#[test]
fn a_wait_that_was_given_up_can_be_begun_again() {
    let mut child = Command::new("sleep").arg("1000").spawn().expect("a birth");
    runtime().block_on(async {
        {
            let wait = pin!(child.wait_async());
            assert!(matches!(wait.poll(&mut Context::from_waker(Waker::noop())), Poll::Pending));
        }
        child.signal(Signal::TERM).expect("alive");
        assert_eq!(child.wait_async().await.expect("a runtime"), ExitStatus::signal(Signal::TERM));
        // And again: the answer stays.
        assert_eq!(child.wait_async().await.expect("a runtime"), ExitStatus::signal(Signal::TERM));
    });
}

#[test]
fn a_shutdown_waits_for_the_tasks_that_hold_it() {
    let report = runtime().block_on(async {
        let shutdown = Shutdown::settings().signals([]).install().expect("fds");
        let (stop, flush) = (shutdown.stop(), shutdown.at(Phase::Flush));
        let (pending, last) = (shutdown.at(Phase::FinishPending).hold("a request"), flush.hold("a journal"));
        let request = tokio::spawn(async move {
            stop.reached().await.expect("a runtime that watches");
            tokio::task::yield_now().await;
            drop(pending);
        });
        let journal = tokio::spawn(async move {
            flush.reached().await.expect("a runtime that watches");
            drop(last);
        });
        shutdown.ask().expect("ours");
        let report = shutdown.wait_async().await.expect("a runtime that watches");
        request.await.expect("no panic");
        journal.await.expect("no panic");
        report
    });
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_signal_ends_a_program_of_tasks() {
    let mut child = Command::exact(std::env::current_exe().expect("this program"));
    child
        .args(["--exact", "plays_a_program_of_tasks", "--nocapture"])
        .env(PLAYS, "1")
        .stdout(Stdio::pipe_out());
    let mut child = child.spawn().expect("a birth");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.by_ref().any(|line| line.expect("a pipe").ends_with("it waits")));
    child.signal(Signal::TERM).expect("alive");
    assert!(lines.any(|line| line.expect("a pipe").contains("ended because of SIGTERM: 1 of 1 hooks done")));
    assert!(child.wait().success());
}

/// Says that the test below is to play its part.
const PLAYS: &str = "PLAYS_A_PROGRAM_OF_TASKS";

#[test]
fn plays_a_program_of_tasks() {
    if std::env::var_os(PLAYS).is_none() {
        return println!("skipped: it is a part of another test");
    }
    let report = runtime().block_on(async {
        let shutdown = Shutdown::new().expect("the signals are free");
        shutdown.on(Phase::Flush, "journal", || Ok(())).expect("nobody asked yet");
        println!("it waits");
        shutdown.wait_async().await.expect("a runtime that watches")
    });
    println!("{report}");
}
