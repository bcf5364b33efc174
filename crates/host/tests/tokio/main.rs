//! Children in tasks of tokio.

use doula_host::{Command, ExitStatus, Signal};
use std::future::Future;
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
