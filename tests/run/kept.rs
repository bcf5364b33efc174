//! Jobs of workers that live on, with a journal: no result is lost at whatever moment the run is killed, and each job has one.

use super::actors::actor;
use super::bounded::{await_end, end_of, line, lines, wait};
use super::ending::signal;
use super::frames::{has_python, program};
use super::journal::ends_within;
use super::{DOULA, Scratch, run, start};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

/// So many jobs; each worker of a run may have that many in its hands.
const JOBS: usize = 300;
const WORKERS: usize = 3;
/// The killing ends when a run was quicker, or after so many.
const KILLS: usize = 30;

/// A worker by lines that writes down each job that it does, and takes some time for it.
const BY_LINES: &str = r#"
import json, sys, time
with open(sys.argv[1], "a", buffering=1) as ran:
    for line in sys.stdin:
        task = json.loads(line)
        ran.write(task["input"] + "\n")
        time.sleep(int(task["input"]) % 4 * 0.002)
        print(json.dumps({"id": task["id"], "output": "answer " + task["input"]}), flush=True)
"#;

/// The end of a worker by frames that does the same.
const BY_FRAMES: &str = r#"
import sys, time
line.sendall(HEAD.pack(0, HELLO, 0, 0, 1))
with open(sys.argv[1], "a", buffering=1) as ran:
    for number, text in tasks():
        ran.write(bytes(text).decode() + "\n")
        time.sleep(int(bytes(text)) % 4 * 0.002)
        answer = b"answer " + bytes(text) + b"\n"
        line.sendall(HEAD.pack(len(answer), DONE, 0, 0, number) + answer)
"#;

/// Kills a run again and again and lets it go on: what was said in all, and how often that was.
fn killed_again_and_again(scratch: &Scratch, manner: &[&str], program: &str) -> (String, usize) {
    let (journal, ran, worker) = (scratch.path("journal"), scratch.path("ran"), scratch.path("worker.py"));
    std::fs::write(&worker, program).expect("a program");
    let numbers: Vec<String> = (1..=JOBS).map(|number| number.to_string()).collect();
    let mut args = vec!["--journal", &journal, "--resume"];
    args.extend(manner);
    let slots = format!("-j{WORKERS}");
    args.extend([slots.as_str(), "python3", &worker, &ran, ":::"]);
    args.extend(numbers.iter().map(String::as_str));
    // No two runs of this test kill at the same moments.
    let mut random = u64::from(std::process::id());
    let (mut out, mut kills) = (String::new(), 0);
    loop {
        let doula = start(&args);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Python alone takes some of that to begin.
        let moment = Duration::from_millis(random >> 33 & 0xff);
        if kills == KILLS || ends_within(&doula, moment) {
            let last = end_of(doula);
            assert_eq!(last.code, Some(0), "{last:?}");
            out.push_str(&last.out);
            return (out, kills);
        }
        signal(&doula, Signal::KILL);
        out.push_str(&end_of(doula).out);
        kills += 1;
    }
}

/// How often each line is there.
fn counted(text: &str) -> BTreeMap<&str, usize> {
    text.lines().fold(BTreeMap::new(), |mut counts, line| {
        *counts.entry(line).or_default() += 1;
        counts
    })
}

fn assert_that_each_job_has_one_result(name: &str, manner: &[&str], in_hands: usize, program: &str) {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new(name);
    let (out, kills) = killed_again_and_again(&scratch, manner, program);
    let answers = counted(&out);
    for number in 1..=JOBS {
        assert!(
            answers.contains_key(format!("answer {number}").as_str()),
            "{number} is lost after {kills} kills"
        );
    }
    assert_eq!(answers.len(), JOBS, "nothing else was said: {answers:?}");
    // What was being shown at the very moment of a kill may come twice.
    assert!(answers.values().sum::<usize>() <= JOBS + kills, "after {kills} kills: {answers:?}");
    let journal = scratch.read("journal");
    let settled =
        journal.lines().filter_map(|line| line.split_once("{\"settled\":{\"task\":")?.1.split_once(','));
    let settled: Vec<&str> = settled.map(|(task, _)| task).collect();
    let settled = settled.join("\n");
    assert_eq!(counted(&settled).len(), JOBS, "after {kills} kills");
    assert!(counted(&settled).values().all(|count| *count == 1), "one result each: {settled}");
    // No more is done again than what was in hands when a run was killed.
    let ran = scratch.read("ran");
    assert!(ran.lines().count() <= JOBS + kills * in_hands, "after {kills} kills: {}", ran.lines().count());
}

#[test]
fn workers_by_lines_lose_no_result_when_their_run_is_killed_again_and_again() {
    assert_that_each_job_has_one_result("lines", &["--workers", "lines"], WORKERS, BY_LINES);
}

#[test]
fn workers_by_frames_with_several_jobs_in_flight_lose_none_either() {
    let manner = ["--workers", "frames", "--window", "8", "--batch", "2"];
    assert_that_each_job_has_one_result("frames", &manner, 8 * WORKERS, &program(BY_FRAMES));
}

#[test]
fn what_a_killed_run_had_done_is_shown_by_the_next_in_order_with_its_failures_and_nothing_of_it_is_done_again()
 {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("rest");
    let ((told, both), (go, mut hold)) = (scratch.fifo("told"), scratch.fifo("go"));
    // The first job waits until the others have their results, which wait for their turn; one is long, one fails.
    let worker = format!(
        r#"
import json, sys
for line in sys.stdin:
    task = json.loads(line)
    if task["input"] == "1":
        with open("{told}", "w") as told: told.write("begun\n")
        with open("{go}") as go: go.readline()
    answer = {{"id": task["id"], "output": task["input"]}}
    if task["input"] == "2": answer["output"] = "x" * 200000
    if task["input"] == "3": answer = {{"id": task["id"], "error": "three is no good"}}
    if task["input"] == "5":
        with open("{told}", "w") as told: told.write("last\n")
    print(json.dumps(answer), flush=True)
"#
    );
    let (program, journal, events) =
        (scratch.path("worker.py"), scratch.path("journal"), scratch.path("events"));
    std::fs::write(&program, worker).expect("a program");
    let of = |inputs: &[&'static str]| -> Vec<String> {
        let args = ["-k", "-j2", "--journal", &journal, "--resume", "--events", &events];
        let args = args.into_iter().chain(["--workers", "lines", "python3", &program, ":::"]);
        args.chain(inputs.iter().copied()).map(str::to_owned).collect()
    };
    let args = of(&["1", "2", "3", "4", "5"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut doula = start(&args);
    let mut heard = lines(both);
    let mut said = [line(&mut heard), line(&mut heard)];
    said.sort();
    assert_eq!(said, ["begun\n", "last\n"]);
    // The fifth has said it before its answer; the fourth is written down by then.
    doula.kill().expect("it lives");
    assert!(wait(&mut doula).is_some(), "it was killed");
    let began = || scratch.read("events").matches("\"event\":\"began\"").count();
    let before = began();
    let other = of(&["1", "2", "3", "four", "5"]);
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    let refused = run(&other);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let next = start(&args);
    writeln!(hold, "on").expect("written");
    let said = end_of(next);
    let out = format!("1\n{}\n4\n5\n", "x".repeat(200_000));
    assert_eq!((said.code, said.out == out), (Some(1), true), "{}", said.err);
    assert!(said.err.contains("job 3 (3): three is no good\n"), "{}", said.err);
    assert!(began() - before <= 2, "only what was in hands: {}", scratch.read("events"));
    let why = Command::new(DOULA).args(["why", "3", "--journal", &journal]).output().expect("doula");
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("it: three is no good, after "), "{why}");
    assert!(!scratch.0.join("journal.d").exists(), "nothing is left of what was shown");
}

#[test]
fn a_worker_that_lives_on_after_its_run_was_killed_is_ended_with_its_descendants_before_its_job_is_done_again()
 {
    let scratch = Scratch::new("ended");
    let ((fifo, both), (held, holders)) = (scratch.fifo("fifo"), scratch.fifo("held"));
    // The worker dies with its run; a descendant of it does not, and would write into what the next one makes.
    let worker = format!(
        "exec 8<>{held}; while read l; do setsid sleep 1000 & echo begun >{fifo}; test -e {0} || wait; \
         id=${{l#*:}}; echo \"{{\\\"id\\\":${{id%%,*}}}}\"; done",
        scratch.path("again")
    );
    let journal = scratch.path("journal");
    let args = ["--journal", &journal, "--resume", "--workers", "lines", "sh", "-c", &worker, ":::", "1"];
    let mut doula = start(&args);
    let mut heard = lines(both);
    assert_eq!(line(&mut heard), "begun\n");
    doula.kill().expect("it lives");
    assert!(wait(&mut doula).is_some(), "it was killed");
    std::fs::write(scratch.path("again"), "").expect("written");
    let said = run(&args);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(said.err, "the journal goes on: 0 jobs done before, 1 were with workers and are done again\n");
    // Nobody is left who has it open.
    let reader = File::open(&held).expect("we have it open for writing still");
    drop(holders);
    await_end(reader);
}

#[test]
fn a_job_that_ended_a_worker_before_its_run_was_killed_ends_only_one_more_by_an_exit_code_too() {
    for (end, signal, code) in [("exit 3", None, Some(3)), ("kill -SEGV $$", Some("SIGSEGV"), None)] {
        let scratch = Scratch::new("counted");
        let (fifo, both) = scratch.fifo("fifo");
        // The second worker that has it waits until its run is killed.
        let worker = format!(
            "ulimit -c 0; read l; echo begun >>{0}; echo begun >{fifo}; test -e {1} && sleep 1000; echo >{1}; {end}",
            scratch.path("begun"),
            scratch.path("once")
        );
        let (journal, bundle) = (scratch.path("journal"), scratch.path("bundle"));
        let args = ["--journal", &journal, "--resume", "--bundle", &bundle, "--workers", "lines", "sh", "-c"];
        let args = [&args[..], &[&worker, ":::", "x"]].concat();
        let mut doula = start(&args);
        let mut heard = lines(both);
        assert_eq!([line(&mut heard), line(&mut heard)], ["begun\n", "begun\n"]);
        doula.kill().expect("it lives");
        assert!(wait(&mut doula).is_some(), "it was killed");
        std::fs::remove_file(scratch.path("once")).expect("it was there");
        let said = run(&args);
        assert_eq!((said.code, scratch.read("begun").lines().count()), (Some(1), 3), "{said:?}");
        assert!(said.err.contains("job 1 (x) ended 2 workers, and is not tried again: "), "{said:?}");
        let kept = scratch.read("bundle/job-1/job.json");
        let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
        let ends = kept["ends"].as_array().expect("a list");
        assert_eq!((ends.len(), ends[1]["signal"].as_str(), ends[1]["code"].as_i64()), (2, signal, code));
        assert!(ends[0]["how"].as_str() == ends[1]["how"].as_str(), "{kept}");
    }
}

#[test]
fn a_journal_of_workers_is_not_one_of_commands() {
    let scratch = Scratch::new("kinds");
    let (journal, worker) = (scratch.path("journal"), actor("line_worker").display().to_string());
    let args = ["--journal", &journal, "--resume", "--workers", "lines", &worker, ":::", "1"];
    assert_eq!(run(&args).code, Some(0));
    let said = run(&["--journal", &journal, "--resume", &worker, ":::", "1"]);
    assert!(said.code == Some(2) && said.err.contains("--workers lines"), "{said:?}");
    assert_eq!(run(&args).out, "", "all was shown");
}
