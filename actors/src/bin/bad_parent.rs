//! `bad_parent HOW [N] [CODE]`: has so many children (1 unless told) that end at once with this code (3 unless told), and does not
//! bury them, for a reason of its own. Says `bad` when all of them have ended, and lives until standard input ends.
//!
//! HOW is one of: `never`; `handler` (which does not wait); `pending` (SIGCHLD is held back and not taken); `taken` (held back,
//! and taken without a wait); `late` (ignores SIGCHLD, but too late); `other` (waits for another child that lives); `stopped`;
//! `vfork` (blocked until a child of vfork(2) ends, which reads standard input); `busy` (computes); `sleeps` (becomes sleep(1)); `threads` (has another
//! thread that sleeps); `more` (has one more for each byte of standard input, and says `bad` each time); `once` (has a handler that waits for one at each SIGCHLD); `headless` (its own first thread ends, another
//! lives on).

use actors::{again, argument, number};
use doula_model::id::Pid;
use doula_model::signal::Signal;
use doula_sys::classic::{self, Flags, Handler};
use doula_sys::signal::{self, SignalSet};
use doula_sys::stuck;
use doula_sys::wait::{For, Who, waitid};
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let how = argument(1).expect("how to be bad");
    match how.as_str() {
        "end" => return ExitCode::from(u8::try_from(number(2, 0)).expect("a code")),
        "live" => read_on(),
        "headless" => headless(),
        _ => bad(&how),
    }
    ExitCode::SUCCESS
}

/// Until standard input ends.
fn read_on() {
    let mut rest = Vec::new();
    let _end = std::io::stdin().read_to_end(&mut rest);
}

/// Has the children, and waits until all have ended, without burying them.
fn children() -> Vec<Child> {
    let code = number(3, 3).to_string();
    let born: Vec<Child> =
        (0..number(2, 1)).map(|_| again("end").arg(&code).spawn().expect("a child")).collect();
    for child in &born {
        let pid = Pid::new(child.id() as i32).expect("a number");
        waitid(Who::Pid(pid), For::END.blocking().peeking()).expect("our child");
    }
    born
}

fn chld() -> SignalSet {
    [Signal::CHLD].into_iter().collect()
}

fn act(handler: Handler) {
    classic::set_action(Signal::CHLD, handler, Flags { restart: true, ..Flags::default() })
        .expect("an action");
}

fn bad(how: &str) {
    match how {
        "handler" | "once" => act(Handler::Note),
        "pending" | "taken" => drop(signal::set_mask(chld())),
        _ => {}
    }
    let _forgotten = children();
    match how {
        "taken" => drop(signal::wait(chld(), None).expect("it is pending")),
        "late" => signal::ignore(Signal::CHLD).expect("an action"),
        _ => {}
    }
    actors::say("bad");
    match how {
        "other" => {
            // It reads the standard input that we share, to its end.
            let mut other = again("live").spawn().expect("a child");
            other.wait().expect("our child");
        }
        "stopped" => signal::raise(Signal::STOP).expect("to stop"),
        "vfork" => stuck::wait_in_vfork().expect("a child"),
        "busy" => compute(),
        "sleeps" => drop(Command::new("sleep").arg("1000").exec()),
        "threads" => drop(std::thread::spawn(|| actors::forever())),
        "once" => bury_one_at_each_signal(),
        "more" => one_for_each_byte(),
        _ => {}
    }
    read_on();
}

/// Adds until standard input ends, and says `wrong` if a sum is.
fn compute() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let reader = std::thread::spawn(|| {
        read_on();
        OVER.store(true, Ordering::Relaxed);
    });
    while !OVER.load(Ordering::Relaxed) {
        let sum = (1..=1000_u64).fold(0.0, |sum, number| sum + number as f64 * 0.5);
        if sum != 250_250.0 {
            actors::say("wrong");
        }
    }
    reader.join().expect("a reader");
}

/// After the first signals were missed, each further one buries one.
fn bury_one_at_each_signal() {
    let _before = classic::take_caught();
    let mut wait = true;
    while wait {
        let _interrupted = classic::pause();
        for _ in classic::take_caught() {
            wait = waitid(Who::Any, For::END).is_ok();
        }
    }
}

/// One more child for each byte, all of them never buried.
#[expect(clippy::zombie_processes, reason = "that is what it is for")]
fn one_for_each_byte() {
    let code = number(3, 3).to_string();
    while std::io::stdin().read_exact(&mut [0]).is_ok() {
        let child = again("end").arg(&code).stdin(Stdio::null()).spawn().expect("a child");
        let pid = Pid::new(child.id() as i32).expect("a number");
        waitid(Who::Pid(pid), For::END.blocking().peeking()).expect("our child");
        actors::say("bad");
    }
}

/// The first thread ends; another lives on until standard input ends.
fn headless() {
    std::thread::spawn(|| {
        // The first thread needs its place in the C library no more.
        actors::say("bad");
        read_on();
        doula_sys::classic::exit(0);
    });
    stuck::end_thread();
}
