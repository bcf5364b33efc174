//! `crasher [HOW [MS]]`: fails after so many milliseconds (at once unless told). HOW is an exit code, `abort`, or
//! the name of a signal that it sends itself; 1 unless told.

use actors::{argument, millis, named, pass, say};
use std::process::ExitCode;

fn main() -> ExitCode {
    let how = argument(1).unwrap_or_else(|| "1".to_owned());
    say("crasher: ready");
    pass(millis(2, 0));
    say("crasher: oh no");
    if let Ok(code) = how.parse::<u8>() {
        return ExitCode::from(code);
    }
    if how != "abort" {
        let signal = named(&how);
        // Rust's own handler of SEGV and BUS, which tells of stack overflows, would swallow the first one.
        let _unless_kill = doula_sys::signal::reset(signal);
        doula_sys::signal::raise(signal).expect("a signal sent to myself");
    }
    std::process::abort()
}
