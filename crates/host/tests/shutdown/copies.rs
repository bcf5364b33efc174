//! Copies of a process end: nothing of their original is done twice, and nothing of theirs is left undone.

use crate::harness::{Actor, compile, os_error, role, say};
use doula_host::fork::{Threads, fork};
use doula_host::shutdown::{OnExit, Shutdown, TempFile, on_exit};
use doula_host::{Command, ExitStatus, Signal};
use doula_sys::fd::AsFd as _;
use doula_sys::fork::copy;
use doula_sys::wait::{self, Who};
use doula_sys::{pidfd, poll};
use std::io;
use std::time::Duration;

/// The chapter's worker ends by `exit(0)`.
const ORIGINAL: &str = r#"
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void cleanup_handler1(void) { write(1, "removed\n", 8); }

int main(void) {
    atexit(cleanup_handler1);
    if (fork() == 0) exit(0);
    wait(0);
    exit(0);
}
"#;

pub(crate) fn a_copy_that_exits_runs_no_handler_of_its_parent_where_atexit_does() {
    if let Some(folder) = compile("twice", ORIGINAL) {
        let output = Command::exact(folder.path().join("twice")).output().expect("a capture");
        assert_eq!(output.stdout_text(), "removed\nremoved\n", "the chapter's program cleans up twice");
    }
    let (lines, end) = Actor::of(&role("copies")).end();
    let expected = [
        "the copy ends",
        "exited cleanly (code 0)",
        "the file is there",
        "was killed by SIGTERM",
        "cleaned up once",
    ];
    assert_eq!((lines, end), (expected.map(str::to_owned).to_vec(), ExitStatus::code(0)));
}

pub(crate) fn play() -> io::Result<u8> {
    on_exit("once", || say("cleaned up once"))?;
    let file = TempFile::new_in(std::env::temp_dir(), "doula-copies")?;
    let path = file.path().to_owned();
    // The copy has the value too, and drops it, and then ends by exit(3) with all handlers of the C library.
    let mut copy = fork(Threads::Refuse, || {
        let told = say("the copy ends");
        end_as_the_chapter(u8::from(told.is_err()))
    })?;
    say(&copy.wait().to_string())?;
    say(if path.exists() { "the file is there" } else { "the file is gone" })?;
    // A signal to a copy is no request to end its original.
    let shutdown = Shutdown::new()?;
    let copy = fork(Threads::Refuse, || {
        loop {
            std::thread::park();
        }
    });
    let mut copy = copy?;
    copy.signal(Signal::TERM)?;
    say(&copy.wait().to_string())?;
    assert!(shutdown.take_events()?.is_empty());
    drop(file);
    assert!(!path.exists());
    end_as_the_chapter(0)
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "that exit(3) is harmless here is what is shown")]
fn end_as_the_chapter(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

pub(crate) fn a_worker_does_at_its_end_what_it_registered_itself() {
    let output = role("worker").output().expect("a capture");
    let expected = "of the worker\nof the worker that panics\nof its parent\n";
    assert_eq!((output.stdout_text().as_ref(), output.status), (expected, ExitStatus::code(0)));
}

pub(crate) fn play_worker() -> io::Result<u8> {
    std::panic::set_hook(Box::new(|_| {}));
    let file = TempFile::new_in(std::env::temp_dir(), "doula-parent")?;
    on_exit("parent", || say("of its parent"))?;
    let worker = |words: &'static str, panics: bool| {
        move || {
            let registered = on_exit("worker", move || say(words));
            assert!(!panics, "{words}");
            let own = TempFile::new_in(std::env::temp_dir(), "doula-worker");
            // Ends without having dropped it.
            let left = own.map(std::mem::ManuallyDrop::new);
            u8::from(registered.is_err() || left.is_err())
        }
    };
    let mut first = fork(Threads::Refuse, worker("of the worker", false))?;
    let name = format!("doula-worker.{}.", first.pid());
    assert_eq!(first.wait(), ExitStatus::code(0));
    let left = std::fs::read_dir(std::env::temp_dir())?.flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name));
    assert_eq!(left.count(), 0, "the file of the worker is gone");
    let mut second = fork(Threads::Refuse, worker("of the worker that panics", true))?;
    assert!(!second.wait().success());
    assert!(file.path().exists());
    Ok(0)
}

pub(crate) fn a_copy_that_somebody_else_made_ends_though_a_thread_was_registering_meanwhile() {
    assert_eq!(role("busy").output().expect("a capture").status, ExitStatus::code(0));
}

pub(crate) fn play_busy() -> io::Result<u8> {
    /// So many that one of them is made in the middle of a registration.
    const COPIES: u32 = 100;
    std::thread::spawn(|| {
        loop {
            let entries: Vec<_> = (0..100).map(|_| on_exit("entry", || Ok(())).expect("memory")).collect();
            entries.into_iter().map(OnExit::cancel).for_each(drop);
        }
    });
    for _ in 0..COPIES {
        let copy = copy::fork(Threads::Accept, || end_as_the_chapter(0)).map_err(os_error)?;
        let ended = poll::readable(&copy.pidfd, Some(Duration::from_secs(20))).map_err(os_error)?;
        if !ended {
            pidfd::send(&copy.pidfd, Signal::KILL).map_err(os_error)?;
        }
        assert_eq!(wait::end(Who::Pidfd(copy.pidfd.as_fd())), Ok(ExitStatus::code(0)));
    }
    Ok(0)
}
