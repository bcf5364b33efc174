//! `doula doctor`, `reap` and `assert` as people run them, on processes that the tests made sick on purpose.

mod asserted;
mod blocked;
mod circle;
mod frozen;
mod load;
mod nfs;
mod reaped;
mod zombies;

#[path = "../common/actors.rs"]
mod actors;
#[path = "../common/bounded.rs"]
mod bounded;
#[path = "../common/made.rs"]
mod made;

use bounded::{Said, run};
use made::{DOULA, Made, doula, soon};
use serde_json::Value;
use std::process::Command;

#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// The object of `--json`.
fn object(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// What the doctor says of a process.
fn doctor(pid: &str) -> (Said, Value) {
    let said = doula(&["doctor", pid, "--json"]);
    let value = object(&said);
    (said, value)
}

/// The same question of an ordinary user to whom nothing here belongs; nothing where that cannot be, which is said.
fn as_another(args: &[&str]) -> Option<Said> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", DOULA]);
    let said = run(command.args(args)).ok().filter(|said| !said.err.contains("setpriv:"));
    if said.is_none() {
        skipped("we cannot become another user here");
    }
    let may_run = |said: &Said| !said.err.contains("Permission denied");
    if !said.as_ref().is_none_or(may_run) {
        skipped("another user cannot run the program of this test");
        return None;
    }
    said
}

/// Whether we are root, whom the kernel shows all.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
