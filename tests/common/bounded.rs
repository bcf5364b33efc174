//! Runs of programs that must end in time.

#[path = "ended.rs"]
mod ended;

pub(crate) use ended::{PATIENCE, Said};
use std::io;
use std::process::{Command, Stdio};

/// Runs it to its end, without input; whoever hangs is killed, and the test fails. An error when it cannot be started.
pub(crate) fn run(command: &mut Command) -> io::Result<Said> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().map(ended::end_of)
}
