//! Runs as others see them while they are at work: `doula top --runs`.

use super::bounded::{PATIENCE, Said, end_of};
use super::{DOULA, Scratch};
use serde_json::Value;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// `doula` with these arguments, whose runs nobody else sees.
pub(super) fn doula(scratch: &Scratch, args: &[&str]) -> Child {
    // Whoever runs the tests may ignore what they send.
    let mut doula = Command::new("env");
    doula.args(["--default-signal=HUP,INT,QUIT,TERM", DOULA]);
    doula.args(args).env("XDG_RUNTIME_DIR", scratch.path("")).stdin(Stdio::null());
    doula.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("doula starts")
}

fn top(scratch: &Scratch, args: &[&str]) -> Said {
    end_of(doula(scratch, &[&["top", "--runs", "--once"], args].concat()))
}

/// The run of this process, as programs see it.
fn shown(scratch: &Scratch, pid: u32) -> Option<Value> {
    let said = top(scratch, &["--json"]);
    let runs: Value = serde_json::from_str(&said.out).expect("JSON");
    let runs = runs["runs"].as_array().expect("a list");
    runs.iter().find(|run| run["pid"] == pid).cloned()
}

/// Looks until it is so.
pub(super) fn wait_for(scratch: &Scratch, pid: u32, is_so: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
    let since = Instant::now();
    loop {
        let run = shown(scratch, pid);
        if is_so(run.as_ref()) {
            return run;
        }
        assert!(since.elapsed() < PATIENCE, "it is never so: {run:?}");
    }
}

#[test]
fn a_run_is_seen_at_work_with_its_jobs_and_no_longer_when_it_has_ended() {
    let scratch = Scratch::new("seen");
    let (path, mut gate) = scratch.fifo("gate");
    let script = format!("test $0 = 1 || read line <{path}");
    let run = doula(&scratch, &["run", "-j", "2", "sh", "-c", &script, ":::", "1", "b\nc", "3"]);
    let ended = |run: Option<&Value>| run.is_some_and(|run| run["done"] == 1 && run["in_work"] == 2);
    let seen = wait_for(&scratch, run.id(), ended).expect("it is there");
    assert_eq!((&seen["total"], &seen["slots"], &seen["failed"]), (&3.into(), &2.into(), &0.into()));
    let jobs = seen["jobs"].as_array().expect("a list");
    let inputs: Vec<_> = jobs.iter().map(|job| (&job["number"], &job["input"])).collect();
    assert_eq!(inputs, [(&2.into(), &"b\nc".into()), (&3.into(), &"3".into())]);
    let said = top(&scratch, &[]);
    let words = ["doula run sh -c", "1 of 3 jobs ended", "2 in work of 2 at a time", r"b\nc"];
    assert!(words.iter().all(|word| said.out.contains(word)), "{said:?}");
    writeln!(gate, "go\ngo").expect("room in a pipe");
    drop(gate);
    let pid = run.id();
    assert_eq!(end_of(run).code, Some(0));
    assert_eq!(shown(&scratch, pid), None);
    assert_eq!(std::fs::read_dir(scratch.path("doula/.runs")).expect("a folder").count(), 0);
}

#[test]
fn workers_are_seen_too_and_a_run_that_was_killed_is_not() {
    let scratch = Scratch::new("killed");
    let worker = "read line; exec sleep 1000";
    let mut run =
        doula(&scratch, &["run", "--workers", "lines", "-j", "1", "sh", "-c", worker, ":::", "a", "b"]);
    let seen = wait_for(&scratch, run.id(), |run| run.is_some_and(|run| run["in_work"] == 1)).expect("there");
    assert_eq!((&seen["jobs"][0]["input"], &seen["jobs"][0]["slot"]), (&"a".into(), &1.into()));
    assert!(seen["title"].as_str().is_some_and(|title| title.contains("--workers")), "{seen}");
    run.kill().expect("ours");
    run.wait().expect("ours");
    assert_eq!(shown(&scratch, run.id()), None);
}
