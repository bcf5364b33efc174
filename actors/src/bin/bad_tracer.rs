//! `bad_tracer PID`: traces this process, kills it, and does not take its end, so that its parent is not told. Says `held`, and lives
//! until standard input ends. Says why when it may not trace it.

use actors::{number, say};
use doula_model::id::Pid;
use doula_model::signal::Signal;
use doula_sys::{pidfd, poll, ptrace};
use std::io::Read as _;

fn main() {
    let pid = Pid::new(number(1, 0) as i32).expect("a number");
    let handle = pidfd::open(pid).expect("it lives");
    if let Err(errno) = ptrace::seize(pid) {
        return say(&errno.to_string());
    }
    pidfd::send(&handle, Signal::KILL).expect("ours to kill");
    poll::readable(&handle, None).expect("its end");
    say("held");
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
}
