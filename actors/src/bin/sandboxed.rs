//! `sandboxed SANDBOX PROGRAM [ARG…]`: becomes the program in a sandbox that refuses what a kernel or a container
//! engine does not know: `linux-5.10`, `container` or `container-2020`. Ends with 77 where no filter can be set.

use doula_sys::sandbox::{self, CONTAINER, CONTAINER_OF_2020, LINUX_5_10};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// What test suites take for "skipped".
const SKIPPED: u8 = 77;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let rules = match words.next().as_ref().and_then(|word| word.to_str()) {
        Some("linux-5.10") => LINUX_5_10,
        Some("container") => CONTAINER,
        Some("container-2020") => CONTAINER_OF_2020,
        other => panic!("no sandbox is called {other:?}"),
    };
    let program = words.next().expect("a program");
    if sandbox::refuse(rules).is_err() {
        let refused = sandbox::renounce_privileges().and_then(|()| sandbox::refuse(rules));
        if refused.is_err() {
            return ExitCode::from(SKIPPED);
        }
    }
    let error = Command::new(program).args(words).exec();
    panic!("the program cannot be executed: {error}");
}
