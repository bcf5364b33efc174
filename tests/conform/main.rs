//! Linux on paper against Linux itself, as users do it: `doula sim verify` plays random programs on both, and what Linux does must be
//! among what the model allows.
//!
//! `DOULA_CONFORM_SEED`, `DOULA_CONFORM_CASES` and `DOULA_CONFORM_CALLS` search on. Whether the comparison would find an error is
//! tested in `crates/sim/tests/oracle`.

mod killed;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// How many random programs a run of the tests plays.
const CASES: &str = "900";
/// How many calls each has.
const CALLS: &str = "40";

fn setting(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

/// One comparison at a time: each keeps two CPUs busy, and whoever waits for a CPU is looked at as if it waited in the kernel.
static STAGE: Mutex<()> = Mutex::new(());

fn verify(args: &[&str]) -> Output {
    let _alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_doula"));
    command.args(["sim", "verify"]).args(args);
    command.output().expect("doula starts")
}

#[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// What it printed; `None`, and a word about it, where nothing can be compared.
#[expect(clippy::print_stdout, reason = "the counts are read in the test's output")]
fn compared(output: &Output) -> Option<String> {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(125) && errors.contains("no PID namespace can be made here") {
        skipped(&errors);
        return None;
    }
    println!("{text}");
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    Some(text.into_owned())
}

#[test]
fn what_linux_does_is_among_what_the_model_allows() {
    let seed = setting("DOULA_CONFORM_SEED", "1");
    let (cases, calls) = (setting("DOULA_CONFORM_CASES", CASES), setting("DOULA_CONFORM_CALLS", CALLS));
    let output = verify(&["--seed", &seed, "--cases", &cases, "--calls", &calls]);
    if let Some(text) = compared(&output) {
        assert!(text.contains(", 0 mismatches, "), "{text}");
    }
}

#[test]
fn the_result_can_be_read_by_programs() {
    let output = verify(&["--cases", "9", "--calls", "10", "--json"]);
    if let Some(text) = compared(&output) {
        let report: serde_json::Value = serde_json::from_str(&text).expect("JSON on one line");
        let programs = report["programs"].as_u64().zip(report["not_for_us"].as_u64());
        assert_eq!(programs.map(|(played, left_out)| played + left_out), Some(9), "{text}");
        assert_eq!(report["mismatches"].as_array().map(Vec::len), Some(0), "{text}");
    }
}

#[test]
fn of_all_small_programs_one_of_each_class_ends_on_linux_as_on_paper() {
    let output = verify(&["--exhaustive", "4", "--cases", "400"]);
    if let Some(text) = compared(&output) {
        assert!(text.contains(" classes of final states, 0 not followed"), "{text}");
    }
}

#[test]
fn what_must_hold_in_every_order_holds_when_all_run_at_once() {
    if let Some(text) = compared(&verify(&["--free", "--cases", "60", "--calls", "60"])) {
        assert!(text.contains(" calls all at once, 0 breaches of what must always hold\n"), "{text}");
    }
}

/// In a user namespace that allows no other one.
#[test]
fn where_no_namespace_can_be_made_it_is_said_in_a_sentence_with_its_cure() {
    let forbid = "echo 0 >/proc/sys/user/max_pid_namespaces && echo 0 >/proc/sys/user/max_user_namespaces";
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("verify-none-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory");
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script, "sh"]);
        command.args([env!("CARGO_BIN_EXE_doula"), "sim", "verify", "--cases", "1"]);
        command.env("TMPDIR", &directory).output()
    };
    if !unshare(forbid).is_ok_and(|output| output.status.success()) {
        return skipped("namespaces cannot be forbidden here");
    }
    let output = unshare(&format!("{forbid} && exec \"$@\"")).expect("unshare starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(125), 0), "{errors}");
    assert!(errors.contains("no PID namespace can be made here, nor a user namespace for it"), "{errors}");
    assert!(errors.contains("run it as root, or allow user namespaces (user_namespaces(7))"), "{errors}");
    fs::remove_dir(&directory).expect("nothing is left in it");
}

#[test]
fn each_rule_that_linux_can_show_is_shown_by_a_directed_program() {
    compared(&verify(&["--directed"]));
}
