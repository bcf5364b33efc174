//! Workers that live on: what they are asked, what is shown of their answers, and which of twenty jobs fails when one ends its
//! worker.

use super::actors::actor;
use super::bounded::{await_end, end_of, line, lines};
use super::{Said, Scratch, run, run_of, start};
use std::fs::File;
use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A worker that answers with what it was asked.
const ECHO: &str = "import json, sys
for line in sys.stdin:
    task = json.loads(line)
    print(json.dumps({'id': task['id'], 'output': task}), flush=True)";

/// Whether this can be run here; says aloud when not.
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|said| said.status.success());
    if !found {
        println!("skipped: there is no {program} here");
    }
    found
}

/// Twenty jobs for workers that this line of a shell starts.
fn twenty(options: &[&str], shell: &str) -> Said {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let scratch = Scratch::new(&format!("twenty-{}", COUNT.fetch_add(1, Relaxed)));
    let (fifo, both) = scratch.fifo("fifo");
    let numbers: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
    // Whoever lives on holds the FIFO open.
    let shell = format!("ulimit -c 0; exec 9<>{fifo}; {shell}");
    let mut args = vec!["--workers", "lines", "-j2"];
    args.extend(options);
    args.extend(["sh", "-c", &shell, ":::"]);
    args.extend(numbers.iter().map(String::as_str));
    let said = run(&args);
    let reader = File::open(&fifo).expect("a FIFO");
    drop(both);
    await_end(reader);
    said
}

/// Nineteen succeed, and the seventh is told so.
fn assert_only_the_seventh_fails(said: &Said, told: &str) {
    let mut wanted: Vec<String> = (1..=20).filter(|n| *n != 7).map(|number| format!("ok {number}")).collect();
    wanted.sort_unstable();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_eq!(said.sorted(), wanted, "{said:?}");
    let told = format!("job 7 (7){told}");
    assert_eq!(
        said.err.lines().filter(|line| line.starts_with("job ")).collect::<Vec<_>>(),
        [told],
        "{said:?}"
    );
}

#[test]
fn a_worker_whose_memory_grows_with_each_job_is_replaced_and_another_is_not() {
    if !has("python3") {
        return;
    }
    // Each job takes longer than a hundredth of the time between two looks, and keeps so much memory.
    let worker = |kept: &str| {
        format!(
            "import json, os, sys, time
kept = []
for line in sys.stdin:
    task = json.loads(line)
    kept.append(bytearray(os.urandom(1024) * {kept}))
    time.sleep(0.01)
    print(json.dumps({{'id': task['id'], 'output': os.getpid()}}), flush=True)"
        )
    };
    let pids = |kept: &str| {
        let numbers: Vec<String> = (1..=400).map(|number| number.to_string()).collect();
        let worker = worker(kept);
        let mut args =
            vec!["--workers", "lines", "-j2", "--max-growth", "100K", "python3", "-c", &worker, ":::"];
        args.extend(numbers.iter().map(String::as_str));
        let said = run(&args);
        assert_eq!((said.code, said.out.lines().count()), (Some(0), 400), "{said:?}");
        let mut pids = said.sorted();
        pids.dedup();
        pids.len()
    };
    assert!(pids("256") > 2, "a quarter of a MiB with each job");
    assert_eq!(pids("0"), 2);
    assert_eq!(run(&["--max-growth", "1M", "true", ":::", "1"]).code, Some(2), "without workers");
}

#[test]
fn a_worker_may_have_several_jobs_and_answer_them_in_an_order_of_its_own() {
    if !has("python3") {
        return;
    }
    // It waits for three before it answers any, the last one first.
    let worker = "import json, sys
held = []
for line in sys.stdin:
    held.append(json.loads(line))
    if len(held) == 3:
        for task in reversed(held):
            print(json.dumps({'id': task['id'], 'output': task['input']}), flush=True)
        held.clear()";
    let inputs: Vec<String> = (1..=30).map(|number| number.to_string()).collect();
    for options in [&["--window", "3"][..], &["--window", "3", "--batch", "3"]] {
        let mut args = vec!["--workers", "lines", "-j1", "-k"];
        args.extend(options);
        args.extend(["python3", "-c", worker, ":::"]);
        args.extend(inputs.iter().map(String::as_str));
        let said = run(&args);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        assert_eq!(said.out.lines().collect::<Vec<_>>(), inputs);
    }
    let other = "import json, sys
line = sys.stdin.readline()
print(json.dumps({'id': 99}), flush=True)
sys.stdin.read()";
    let said = run(&["--workers", "lines", "-j1", "--window", "2", "python3", "-c", other, ":::", "1", "2"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("it answered task 99, which it does not have"), "{said:?}");
}

/// How a worker is ended by a job, and what is said of it.
const DEATHS: [(&str, &str); 6] = [
    ("KILL", "was killed by SIGKILL"),
    ("SEGV", "was killed by SIGSEGV"),
    ("exit", "exited cleanly (code 0)"),
    ("close", "was ended: it closed its standard output"),
    ("shares", "was ended: it closed its standard output, which another process has open still"),
    ("half", "exited cleanly (code 0) in the middle of an answer"),
];

#[test]
fn a_job_that_ends_two_workers_is_named_and_the_other_nineteen_succeed() {
    for (how, told) in DEATHS {
        // Alone, or with others in flight.
        for window in ["1", "4"] {
            let said =
                twenty(&["--window", window], &format!("exec {} {how}", actor("line_worker").display()));
            let told = format!(" ended 2 workers, and is not tried again: the last one {told}");
            assert_only_the_seventh_fails(&said, &told);
        }
    }
}

#[test]
fn a_job_that_is_answered_wrongly_is_named_and_the_other_nineteen_succeed() {
    let answers = [
        ("wrong", "it answered job 1000 instead"),
        ("twice", "it answered more than once"),
        ("garbage", "it answered `Traceback (most recent call last):`"),
    ];
    for (how, told) in answers {
        let said = twenty(&[], &format!("exec {} {how}", actor("line_worker").display()));
        assert_only_the_seventh_fails(&said, &format!(" was not answered as agreed: {told}"));
    }
    let said = twenty(&[], &format!("exec {} error", actor("line_worker").display()));
    assert_only_the_seventh_fails(&said, ": no such thing");
}

#[test]
fn a_job_that_is_never_answered_costs_its_worker_when_its_time_is_over() {
    let limits = ["--timeout", "300ms", "--grace", "50ms"];
    let said = twenty(&limits, &format!("exec {} silent", actor("line_worker").display()));
    assert_only_the_seventh_fails(&said, " took too long");
    // Also who does not hear, with its descendants.
    let line = format!("trap '' TERM; setsid sleep 1000 & exec {} silent", actor("line_worker").display());
    assert_only_the_seventh_fails(&twenty(&limits, &line), " took too long");
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn a_job_that_needs_too_much_memory_is_named() {
    let eats = format!("exec {} eats", actor("line_worker").display());
    let said = twenty(&[], &format!("ulimit -v 400000; {eats}"));
    let told = " ended 2 workers, and is not tried again: the last one";
    assert_only_the_seventh_fails(&said, &format!("{told} was killed by SIGABRT"));
    let group =
        std::path::PathBuf::from(format!("/sys/fs/cgroup/memory/doula-workers-{}", std::process::id()));
    if std::fs::create_dir(&group).is_err() {
        return println!("skipped: no v1 memory group may be made here");
    }
    let _removed = super::failing::Group(group.clone());
    std::fs::write(group.join("memory.limit_in_bytes"), "64M").expect("a limit");
    let said = twenty(&[], &format!("echo $$ >{}/cgroup.procs; {eats}", group.display()));
    assert_only_the_seventh_fails(&said, &format!("{told} was killed for want of memory"));
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn where_no_cgroup_may_be_made_descendants_of_workers_end_with_them_too() {
    let scratch = Scratch::new("user");
    let (fifo, both) = scratch.fifo("fifo");
    std::fs::set_permissions(&fifo, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("our own");
    let loops = "while read l; do id=${l#*:}; id=${id%%,*}; [ $id = 3 ] && kill -KILL $$";
    let shell = format!("exec 9<>{fifo}; {loops}; setsid sleep 1000 & echo \"{{\\\"id\\\":$id}}\"; done");
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", super::DOULA];
    let mut doula = Command::new("setpriv");
    doula.args(user).args([
        "run",
        "--workers",
        "lines",
        "-j2",
        "sh",
        "-c",
        &shell,
        ":::",
        "1",
        "2",
        "3",
        "4",
    ]);
    let pipes = std::process::Stdio::piped;
    let said = end_of(doula.stdin(pipes()).stdout(pipes()).stderr(pipes()).spawn().expect("setpriv"));
    if said.err.contains("setpriv:") || said.err.contains("Permission denied") {
        return println!("skipped: another user cannot run the program of this test");
    }
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.starts_with("job 3 (3) ended 2 workers"), "{said:?}");
    let reader = File::open(&fifo).expect("a FIFO");
    drop(both);
    await_end(reader);
}

#[test]
fn no_zombie_stays_of_a_worker_that_was_replaced() {
    let worker = actor("line_worker");
    let worker = worker.to_str().expect("UTF-8");
    let said = run(&["--workers", "lines", "-j1", worker, "KILL", ":::", "1", "7", "zombies"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), "ok 1\n0\n"), "{said:?}");
}

#[test]
fn real_python_workers_are_ended_by_a_job_in_every_way_and_nineteen_are_done() {
    if !has("python3") {
        return;
    }
    let ends = [
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("ctypes.string_at(0)", "was killed by SIGSEGV"),
        ("os._exit(0)", "exited cleanly (code 0)"),
        ("raise RuntimeError('no')", "exited with code 1"),
        ("os.close(1); time.sleep(1000)", "was ended: it closed its standard output"),
        ("os.write(1, b'{\"id\":7'); os._exit(0)", "exited cleanly (code 0) in the middle of an answer"),
    ];
    for (end, told) in ends {
        let scratch = Scratch::new("python");
        let program = format!(
            "import ctypes, json, os, sys, time\nfor line in sys.stdin:\n    task = json.loads(line)\n    \
             if task['input'] == '7':\n        {end}\n    print(json.dumps({{'id': task['id'], 'output': 'ok ' + task['input']}}), flush=True)\n"
        );
        std::fs::write(scratch.path("worker.py"), program).expect("written");
        let said = twenty(&[], &format!("exec python3 {}", scratch.path("worker.py")));
        let told = format!(" ended 2 workers, and is not tried again: the last one {told}");
        assert_only_the_seventh_fails(&said, &told);
    }
}

#[test]
fn inputs_of_any_bytes_and_number_arrive_and_answers_are_shown_as_they_are_meant() {
    if !has("python3") {
        return;
    }
    let said = run_of(b"a \"b\"\n\xff\n", &["--workers", "lines", "-k", "-j2", "python3", "-c", ECHO]);
    assert_eq!(
        said.out, "{\"id\":1,\"input\":\"a \\\"b\\\"\"}\n{\"id\":2,\"input_base64\":\"/w==\"}\n",
        "{said:?}"
    );
    let said = run(&["--workers", "lines", "-k", "python3", "-c", ECHO, ":::", "a", "b", ":::", "1"]);
    assert_eq!(said.out, "{\"id\":1,\"inputs\":[\"a\",\"1\"]}\n{\"id\":2,\"inputs\":[\"b\",\"1\"]}\n");
    let said = run(&["--workers", "lines", "-k", "-n2", "python3", "-c", ECHO, ":::", "a", "b", "c"]);
    assert_eq!(said.out, "{\"id\":1,\"inputs\":[\"a\",\"b\"]}\n{\"id\":2,\"inputs\":[\"c\"]}\n");
    let shell = "read l; printf '{\"id\":1,\"output_base64\":\"AP8K\"}\\n'";
    let said = run(&["--workers", "lines", "--", "sh", "-c", shell, ":::", "x"]);
    assert_eq!(said.out, "\0\u{fffd}\n");
    let said = run(&["--workers", "lines", "--dry-run", "cat", ":::", "a", "b"]);
    assert_eq!(said.out, "{\"id\":1,\"input\":\"a\"}\n{\"id\":2,\"input\":\"b\"}\n");
}

#[test]
fn a_job_is_done_while_others_are_not_even_known() {
    let worker = actor("line_worker");
    let mut doula = start(&["--workers", "lines", "-j2", worker.to_str().expect("UTF-8")]);
    let mut input = doula.stdin.take().expect("a pipe");
    let mut output = lines(doula.stdout.take().expect("a pipe"));
    for word in ["one", "two", "three"] {
        input.write_all(format!("{word}\n").as_bytes()).expect("it reads");
        assert_eq!(line(&mut output), format!("ok {word}\n"));
    }
    drop(input);
    assert_eq!(end_of(doula).code, Some(0));
}

#[test]
fn what_workers_say_on_standard_error_comes_with_the_job_that_they_had() {
    let shell =
        "echo begins >&2; while read l; do echo works >&2; id=${l#*:}; echo \"{\\\"id\\\":${id%%,*}}\"; done";
    let said = run(&["--workers", "lines", "-j1", "--tag", "sh", "-c", shell, ":::", "a", "b"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.ends_with("a\tworks\nb\tworks\n"), "{said:?}");
    assert!(said.err.contains("begins\n"));
}

#[test]
fn results_the_job_log_and_events_tell_of_workers_too() {
    let scratch = Scratch::new("workers-results");
    let (results, log, events) = (scratch.path("results"), scratch.path("log"), scratch.path("events"));
    let files = ["--results", &results, "--joblog", &log, "--events", &events];
    let worker = actor("line_worker");
    let job = ["--workers", "lines", "-j1", worker.to_str().expect("UTF-8"), "KILL", ":::", "1", "7"];
    assert_eq!(run(&[&files[..], &job[..]].concat()).code, Some(1));
    assert_eq!(scratch.read("results/1/stdout"), "ok 1\n");
    let kept: serde_json::Value = serde_json::from_str(&scratch.read("results/2/job.json")).expect("JSON");
    assert_eq!((&kept["inputs"][0], &kept["attempts"]), (&"7".into(), &2.into()));
    assert_eq!(kept["attempt"]["signal"], "SIGKILL");
    assert!(kept["why"].as_str().is_some_and(|why| why.contains("2 workers")), "{kept}");
    let fields: Vec<String> =
        scratch.read("log").lines().nth(2).expect("job 2").split('\t').map(str::to_owned).collect();
    assert_eq!((fields[7].as_str(), fields[8].as_str()), ("9", "7"));
    let events = scratch.read("events");
    let kinds =
        |kind: &str| events.lines().filter(|line| line.contains(&format!("\"event\":\"{kind}\""))).count();
    assert_eq!((kinds("began"), kinds("died"), kinds("settled")), (3, 2, 2));
}

#[test]
fn a_job_in_quarantine_can_be_done_again_from_its_bundle() {
    let scratch = Scratch::new("bundle");
    let bundle = scratch.path("kept");
    let worker = actor("line_worker");
    let job =
        ["--workers", "lines", "--bundle", &bundle, worker.to_str().expect("UTF-8"), "KILL", ":::", "1", "7"];
    let said = run(&job);
    let script = scratch.path("kept/job-2/run");
    assert!(said.err.contains(&format!("job 2 can be done again: {script}\n")), "{said:?}");
    let kept: serde_json::Value = serde_json::from_str(&scratch.read("kept/job-2/job.json")).expect("JSON");
    assert_eq!(
        (kept["ends"].as_array().map(Vec::len), &kept["ends"][1]["signal"]),
        (Some(2), &"SIGKILL".into())
    );
    assert_eq!(scratch.read("kept/job-2/input"), "{\"id\":2,\"input\":\"7\"}\n");
    let mut again = Command::new(script).stdin(std::process::Stdio::null()).spawn().expect("it runs");
    let status = super::bounded::wait(&mut again).expect("it ends");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    // The same of a command; and nobody else may read what has our environment.
    let line = "echo $0 {}; kill -KILL $$";
    let said = run(&["--retries", "3", "--bundle", &bundle, "--shell", line, ":::", "a b"]);
    assert!(said.err.contains("job 1 can be done again"), "{said:?}");
    let output = Command::new(scratch.path("kept/job-1/run")).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "sh a b\n");
    let mode = |name: &str| {
        std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(scratch.path(name)).expect("a file").permissions(),
        )
    };
    assert_eq!((mode("kept/job-1") & 0o777, mode("kept/job-1/run") & 0o777), (0o700, 0o700));
}

#[test]
fn workers_that_cannot_work_end_the_run_with_one_error() {
    let said = run(&["--workers", "lines", "-j2", "sh", "-c", "exit 3", ":::", "1", "2", "3"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert_eq!(said.err.lines().filter(|line| line.starts_with("error: ")).count(), 1, "{said:?}");
    assert!(said.err.contains("the last one exited with code 3"), "{said:?}");
    let said = run(&["--workers", "lines", "/nowhere/at-all", ":::", "1", "2"]);
    assert_eq!(said.code, Some(127));
    assert!(said.err.starts_with("no worker can be started: `/nowhere/at-all` does not exist\n"), "{said:?}");
    assert_eq!(run(&["--workers", "lines", ":::", "1"]).code, Some(2));
}

#[test]
fn a_signal_ends_workers_with_the_run() {
    let scratch = Scratch::new("workers-signal");
    let (fifo, both) = scratch.fifo("fifo");
    let shell = format!("exec 9<>{fifo}; exec {} silent", actor("line_worker").display());
    let events = scratch.path("events");
    let (_fifo, held) = scratch.fifo("events");
    let doula =
        start(&["--workers", "lines", "-j1", "--events", &events, "sh", "-c", &shell, ":::", "7", "8"]);
    let mut told = lines(held);
    assert!(line(&mut told).contains("began"));
    let pid = rustix::process::Pid::from_child(&doula);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it lives");
    assert_eq!(end_of(doula).code, Some(130));
    let reader = File::open(&fifo).expect("a FIFO");
    drop(both);
    await_end(reader);
}

#[test]
fn the_examples_of_workers_in_four_languages_square() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workers");
    for (program, file) in
        [("python3", "square.py"), ("node", "square.js"), ("ruby", "square.rb"), ("sh", "square.sh")]
    {
        if program != "sh" && !has(program) {
            continue;
        }
        let file = folder.join(file);
        let worker = [program, file.to_str().expect("UTF-8")];
        let said =
            run(&[&["--workers", "lines", "-k", "-j2"], &worker[..], &[":::", "1", "2", "x", "4"]].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(1), "1\n4\n16\n"), "{said:?}");
        assert!(said.err.starts_with("job 3 (x): "), "{said:?}");
    }
}
