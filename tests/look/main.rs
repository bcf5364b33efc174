//! `doula ps` and `doula tree` as people run them, on processes that the tests made.

mod aimed;
mod list;
mod odd;
mod others;
mod states;
mod top;
mod tree;

#[path = "../common/actors.rs"]
mod actors;
#[path = "../common/bounded.rs"]
mod bounded;
#[path = "../common/made.rs"]
mod made;
#[path = "../common/terminal.rs"]
mod terminal;

use bounded::{Said, run};
use made::{DOULA, Made, doula, soon};
use serde_json::Value;

/// The objects of `--json`, one a line.
fn objects(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}
