//! What is shown and kept of jobs.

use super::{Scratch, run};
use std::io::Read as _;

#[test]
fn output_in_the_order_of_inputs_waits_for_the_first() {
    let scratch = Scratch::new("order");
    let (fifo, _both) = scratch.fifo("fifo");
    // The first ends only when the second has.
    let line = format!("if [ {{}} = 1 ]; then read x <{fifo}; echo $x; else echo two; echo go >{fifo}; fi");
    let said = run(&["-k", "-j2", "--shell", &line, ":::", "1", "2"]);
    assert_eq!(said.out, "go\ntwo\n");
}

#[test]
fn jobs_that_speak_at_once_do_not_mix() {
    let line = "i=0; while [ $i -lt 300 ]; do echo {} $i; echo e{} >&2; i=$((i+1)); done";
    let said = run(&["-j3", "--shell", line, ":::", "a", "b", "c"]);
    let mut jobs: Vec<&str> = said.out.lines().map(|line| &line[..1]).collect();
    assert_eq!(jobs.len(), 900);
    jobs.dedup();
    assert_eq!(jobs.len(), 3, "{jobs:?}");
    assert_eq!(said.err.lines().count(), 900);
}

#[test]
fn lines_that_come_at_once_stay_whole() {
    let line = "i=0; while [ $i -lt 200 ]; do printf {}; printf {}; echo; i=$((i+1)); done; printf end{}";
    let said = run(&["-j3", "--line-buffer", "--tag", "--shell", line, ":::", "aa", "bb"]);
    let mut lines = said.sorted();
    lines.dedup();
    assert_eq!(lines, ["aa\taaaa", "aa\tendaa", "bb\tbbbb", "bb\tendbb"]);
    assert_eq!(said.out.lines().count(), 402);
}

#[test]
fn a_large_output_is_shown_whole() {
    let said = run(&["-k", "-j2", "sh", "-c", "yes $0 | head -c 3000000", ":::", "a", "b"]);
    assert_eq!(said.out.len(), 6_000_000);
    assert!(said.out[..3_000_000].bytes().step_by(2).all(|byte| byte == b'a'));
}

#[test]
fn ungrouped_jobs_have_our_streams() {
    let said = run(&["-u", "sh", "-c", "echo out; echo err >&2", ":::", "1"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
}

#[test]
fn results_the_job_log_and_events_tell_what_became_of_each_job() {
    let scratch = Scratch::new("results");
    let (results, log, events) = (scratch.path("results"), scratch.path("log"), scratch.path("events"));
    let files = ["--results", &results, "--joblog", &log, "--events", &events];
    let job = ["-k", "sh", "-c", "echo out $0; echo err >&2; exit $0", ":::", "0", "3"];
    assert_eq!(run(&[&files[..], &job[..]].concat()).code, Some(1));
    assert_eq!(scratch.read("results/2/stdout"), "out 3\n");
    assert_eq!(scratch.read("results/1/stderr"), "err\n");
    let kept: serde_json::Value = serde_json::from_str(&scratch.read("results/2/job.json")).expect("JSON");
    assert_eq!(kept["verdict"]["failed"]["code"], 3);
    assert_eq!(kept["attempt"]["code"], 3);
    let log = scratch.read("log");
    let mut lines = log.lines();
    assert_eq!(
        lines.next(),
        Some("Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand")
    );
    let fields: Vec<Vec<&str>> = lines.map(|line| line.split('\t').collect()).collect();
    assert_eq!(fields.len(), 2);
    let second = fields.iter().find(|fields| fields[0] == "2").expect("job 2");
    assert_eq!((second[5], second[6], second[7]), ("6", "3", "0"));
    let events = scratch.read("events");
    let kinds = |kind: &str| {
        let events =
            events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        events.filter(|event| event["event"] == kind).count()
    };
    assert_eq!((kinds("began"), kinds("ended"), kinds("settled")), (2, 2, 2));
}

#[test]
fn who_does_not_read_on_gets_no_more_and_nobody_is_left() {
    let scratch = Scratch::new("unread");
    let (fifo, mut both) = scratch.fifo("fifo");
    let doula = super::DOULA;
    let line =
        format!("'{doula}' run -j2 --shell 'yes | head -c 200000; read x <{fifo}' ::: 1 2 3 4 | head -c 1");
    let mut shell = std::process::Command::new("sh").args(["-c", &line]).spawn().expect("sh");
    std::io::Write::write_all(&mut both, b"a\nb\n").expect("written");
    assert!(super::bounded::wait(&mut shell).expect("it ends").success());
    // Whoever still wanted to read would hold the FIFO open: it is ours alone.
    std::io::Write::write_all(&mut both, b"c").expect("written");
    let mut rest = [0; 1];
    super::bounded::Bounded(both).read_exact(&mut rest).expect("what nobody took");
}
