//! `doula doctor`, `reap` and `assert` as people run them, on processes that the tests made sick on purpose.

mod asserted;
mod blocked;
mod circle;
mod load;
mod reaped;
mod zombies;

#[path = "../common/actors.rs"]
mod actors;
#[path = "../common/bounded.rs"]
mod bounded;
#[path = "../common/made.rs"]
mod made;

use bounded::Said;
use made::{Made, doula, soon};
use serde_json::Value;

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

/// Whether we are root, whom the kernel shows all.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
