//! `ready_then_die [MS [CODE]]`: says READY=1, and ends so many milliseconds later (100, with 1, unless told).

use actors::{millis, notify, number, pass, say};
use std::process::ExitCode;

fn main() -> ExitCode {
    notify("READY=1", &[]);
    say("ready_then_die: ready");
    pass(millis(1, 100));
    say("ready_then_die: dying");
    ExitCode::from(u8::try_from(number(2, 1)).expect("an exit code"))
}
