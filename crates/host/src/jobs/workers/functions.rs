//! Rust functions as tasks: the same program, executed again, which is then a worker for one of its functions.
//!
//! Nothing is copied by fork(2): a program of several threads can have such workers at any time.

use super::serve;
use crate::Command;
use std::process::ExitCode;

/// Which function a worker is for.
const NAME: &str = "DOULA_FUNCTION";
/// Code of a worker for a function that nobody knows, as for a program that is not found.
const UNKNOWN: u8 = 127;
/// And of one whose doula is gone in the middle.
const BROKEN: u8 = 125;

/// Takes an input, and appends the output. The error is the failure of this one task.
pub type Function = fn(&[u8], &mut Vec<u8>) -> Result<(), String>;

/// Makes functions known to [`Pool::function`](super::pool::Pool::function). To be the first in `main`: a worker is this program
/// once more, and here it does its work; then `main` returns this code. `None` for everybody else.
///
/// ```standalone_crate
/// use doula_host::pool::{Pool, functions};
/// use std::process::ExitCode;
///
/// fn square(input: &[u8], output: &mut Vec<u8>) -> Result<(), String> {
///     let number: u64 = str::from_utf8(input).ok().and_then(|text| text.parse().ok()).ok_or("no number")?;
///     output.extend(number.pow(2).to_string().bytes());
///     Ok(())
/// }
///
/// fn main() -> ExitCode {
///     if let Some(code) = functions(&[("square", square)]) {
///         return code;
///     }
///     let mut pool = Pool::function(2, "square");
///     let inputs = ["3", "four", "5"].map(|text| text.as_bytes().to_vec());
///     let answers: Vec<_> = pool.map(inputs).expect("a pool").collect();
///     assert_eq!(answers[0].as_ref().expect("9"), b"9");
///     assert_eq!(answers[1].as_ref().expect_err("no number").to_string(), "task 1 failed: no number");
///     assert_eq!(answers[2].as_ref().expect("25"), b"25");
///     ExitCode::SUCCESS
/// }
/// ```
#[must_use = "a worker must return this code from main"]
pub fn functions(known: &[(&str, Function)]) -> Option<ExitCode> {
    let wanted = std::env::var(NAME).ok()?;
    let Some((_, function)) = known.iter().find(|(name, _)| *name == wanted) else {
        return Some(UNKNOWN.into());
    };
    Some(match serve(function) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => BROKEN.into(),
    })
}

/// This program as a worker for this function.
pub(super) fn command(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env(NAME, name);
    command
}
