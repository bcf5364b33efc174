//! fork() of this process itself, which must have one thread for it: so this program is no ordinary test, whose harness
//! has several. It says `ok` for each fact, as a harness does.
#![expect(clippy::print_stdout, reason = "it is its own harness, and what is printed is looked at")]

use doula_host::fork::{Threads, fork};
use doula_host::{Command, Errno, Resource, Rlimit};
use doula_sys::limits;
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;

/// The argument with which this program is started again to print and fork.
const PRINT: &str = "--print-and-fork";

fn main() {
    if std::env::args().any(|arg| arg == PRINT) {
        return print_and_fork();
    }
    the_answer_of_a_copy_is_its_exit_code();
    a_copy_changes_nothing_of_ours();
    what_was_printed_before_a_fork_is_printed_once();
    a_process_with_threads_is_refused_unless_that_is_accepted();
    a_copy_of_which_we_get_no_handle_has_not_run_and_is_buried();
    println!("\ntest result: ok. 5 passed; 0 failed; 0 ignored");
}

fn ok(name: &str) {
    println!("test {name} ... ok");
}

fn the_answer_of_a_copy_is_its_exit_code() {
    let mut child = fork(Threads::Refuse, || 42).expect("one thread");
    assert_eq!(child.wait().exit_code(), Some(42));
    ok("the_answer_of_a_copy_is_its_exit_code");
}

fn a_copy_changes_nothing_of_ours() {
    static CHANGED: AtomicU32 = AtomicU32::new(1);
    let run = || {
        CHANGED.store(2, Ordering::Relaxed);
        CHANGED.load(Ordering::Relaxed) as u8
    };
    let mut child = fork(Threads::Refuse, run).expect("one thread");
    assert_eq!((child.wait().exit_code(), CHANGED.load(Ordering::Relaxed)), (Some(2), 1));
    ok("a_copy_changes_nothing_of_ours");
}

/// Standard output is a pipe here, so that what is printed stays in a buffer.
fn print_and_fork() {
    print!("before ");
    let mut out = std::io::stdout().lock();
    write!(out, "held ").expect("a pipe");
    drop(out);
    let run = || {
        print!("child ");
        0
    };
    assert!(fork(Threads::Refuse, run).expect("one thread").wait().success());
    print!("after");
}

fn what_was_printed_before_a_fork_is_printed_once() {
    let ourselves = std::env::current_exe().expect("the path of this program");
    let output = Command::exact(ourselves).arg(PRINT).output().expect("a birth");
    assert_eq!(output.stdout_text(), "before held child after", "{}", output.stderr_text());
    ok("what_was_printed_before_a_fork_is_printed_once");
}

fn a_process_with_threads_is_refused_unless_that_is_accepted() {
    let (stop, wait) = channel::<()>();
    let other = std::thread::spawn(move || wait.recv());
    let error = fork(Threads::Refuse, || 0).expect_err("two threads");
    assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    assert!(error.to_string().starts_with("this process has 2 threads"), "{error}");
    let mut child = fork(Threads::Accept, || 7).expect("accepted");
    assert_eq!(child.wait().exit_code(), Some(7));
    drop(stop);
    assert!(other.join().is_ok());
    ok("a_process_with_threads_is_refused_unless_that_is_accepted");
}

/// There is no free number for the pipe that the copy waits at, one for half of it, or none for its handle.
fn a_copy_of_which_we_get_no_handle_has_not_run_and_is_buried() {
    let trace = std::env::temp_dir().join(format!("doula-fork-{}", std::process::id()));
    let before = limits::get(Resource::Nofile).expect("getrlimit");
    for free in 0..=2 {
        let next = File::open("/").expect("a free number").as_raw_fd();
        let soft = u64::try_from(next).expect("a number") + free;
        limits::set(Rlimit { soft, ..before }).expect("setrlimit");
        let forked = fork(Threads::Accept, || u8::from(std::fs::write(&trace, "").is_err()));
        limits::set(before).expect("setrlimit");
        assert_eq!(forked.err().and_then(|error| error.raw_os_error()), Some(Errno::EMFILE.0), "{free}");
        let children = std::fs::read_to_string("/proc/thread-self/children").expect("/proc");
        assert_eq!(children, "", "{free}: a child is left");
        assert!(!trace.exists(), "{free}: it has run");
    }
    ok("a_copy_of_which_we_get_no_handle_has_not_run_and_is_buried");
}
