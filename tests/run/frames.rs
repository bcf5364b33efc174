//! Workers that are asked by frames: real ones in Python, which answer byte by byte as the protocol says, and not as it says.

use super::{Said, Scratch, run, run_of};
use std::process::Command;

/// The worker of the examples; its last lines are replaced by those of a test.
const EXAMPLE: &str = include_str!("../../examples/workers/frames.py");

/// How jobs go to workers.
const MANNERS: [&[&str]; 3] = [
    &["--workers", "frames"],
    &["--workers", "frames", "--window", "8"],
    &["--workers", "frames", "--window", "16", "--batch", "4"],
];

/// At job 7 the worker does what its argument says; it echoes all others.
const CRASHES: &str = r#"
import signal, sys, time
line.sendall(HEAD.pack(0, HELLO, 0, 0, 1))
how = sys.argv[1]
for number, text in tasks():
    answer = b"ok " + bytes(text) + b"\n"
    if bytes(text) == b"7":
        if how == "KILL":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "SEGV":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "exit":
            raise SystemExit
        if how == "close":
            line.close()
            time.sleep(1000)
        if how == "shares":
            if os.fork():
                line.close()
            time.sleep(1000)
        if how == "half":
            line.sendall(HEAD.pack(len(answer), DONE, 0, 0, number) + answer[:2])
            raise SystemExit
        if how == "silent":
            time.sleep(1000)
        if how == "garbage":
            line.sendall(b"Traceback (most recent call last):")
        if how == "wrong":
            number = 1000
        if how == "error":
            line.sendall(HEAD.pack(13, FAILED, 0, 0, number) + b"no such thing")
            continue
    line.sendall(HEAD.pack(len(answer), DONE, 0, 0, number) + answer)
"#;

/// What job 7 does, and what is said of that.
const CASES: [(&str, &str); 10] = [
    ("KILL", " ended 2 workers, and is not tried again: the last one was killed by SIGKILL"),
    ("SEGV", " ended 2 workers, and is not tried again: the last one was killed by SIGSEGV"),
    ("exit", " ended 2 workers, and is not tried again: the last one exited cleanly (code 0)"),
    ("close", " ended 2 workers, and is not tried again: the last one was ended: it closed its socket"),
    (
        "shares",
        " ended 2 workers, and is not tried again: the last one was ended: it closed its socket, which another process has open still",
    ),
    (
        "half",
        " ended 2 workers, and is not tried again: the last one exited cleanly (code 0) in the middle of an answer",
    ),
    ("silent", " took too long"),
    ("garbage", " was not answered as agreed: it sent a frame of the unknown kind 101"),
    ("wrong", " was not answered as agreed: it answered task 1000, which it does not have"),
    ("error", ": no such thing"),
];

/// Whether this can be run here; says aloud when not.
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
pub(super) fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|said| said.status.success());
    if !found {
        println!("skipped: there is no python3 here");
    }
    found
}

/// The example up to its own work, and then this.
pub(super) fn program(rest: &str) -> String {
    let tools = EXAMPLE.split("def square").next().expect("there are tools before");
    format!("{tools}\n{rest}")
}

#[test]
fn in_every_manner_and_whatever_a_job_does_it_is_the_only_one_that_fails() {
    if !has_python() {
        return;
    }
    let worker = program(CRASHES);
    let numbers: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
    let mut wanted: Vec<String> = (1..=20).filter(|n| *n != 7).map(|number| format!("ok {number}")).collect();
    wanted.sort_unstable();
    for manner in MANNERS {
        for (how, told) in CASES {
            let mut args = manner.to_vec();
            if how == "silent" {
                args.extend(["--timeout", "1s", "--grace", "50ms"]);
            }
            args.extend(["-j2", "python3", "-c", &worker, how, ":::"]);
            args.extend(numbers.iter().map(String::as_str));
            let said = run(&args);
            assert_eq!(said.code, Some(1), "{manner:?} {how} {said:?}");
            assert_eq!(said.sorted(), wanted, "{manner:?} {how} {said:?}");
            let failed: Vec<_> = said.err.lines().filter(|line| line.starts_with("job ")).collect();
            let [failed] = failed.as_slice() else { panic!("{manner:?} {how} {said:?}") };
            assert!(failed.starts_with(&format!("job 7 (7){told}")), "{manner:?} {how} {said:?}");
        }
    }
}

#[test]
fn a_job_is_not_blamed_for_a_worker_that_answered_the_one_before_and_gave_its_socket_away() {
    if !has_python() {
        return;
    }
    let worker = program(
        r#"
import time
line.sendall(HEAD.pack(0, HELLO, 0, 0, 1))
for number, text in tasks():
    line.sendall(HEAD.pack(3, DONE, 0, 0, number) + b"ok\n")
    if bytes(text) == b"2":
        if os.fork():
            line.close()
        time.sleep(1000)
"#,
    );
    let said = run(&[
        "--workers",
        "frames",
        "--quarantine=1",
        "-j1",
        "python3",
        "-c",
        &worker,
        ":::",
        "1",
        "2",
        "3",
        "4",
    ]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "ok\nok\nok\nok\n"), "{said:?}");
    let told = "worker 1 was ended: it closed its socket, which another process has open still: another takes its place\n";
    assert_eq!(said.err, told);
}

#[test]
fn the_example_answers_what_is_small_and_what_comes_in_a_file() {
    if !has_python() {
        return;
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/workers/frames.py");
    let path = path.to_str().expect("UTF-8");
    for manner in MANNERS {
        let args = [manner, &["-k", "python3", path, ":::", "3", "four", "5"]].concat();
        let said = run(&args);
        assert_eq!((said.code, said.out.as_str()), (Some(1), "9\n25\n"), "{said:?}");
        assert!(said.err.contains("job 2 (four): invalid literal for int()"), "{said:?}");
    }
    let echo = program(
        "line.sendall(HEAD.pack(0, HELLO, 0, 0, 1))
for number, text in tasks():
    answer = (type(text).__name__ + ' ').encode() + text[:3] + b' %d\\n' % len(text)
    line.sendall(HEAD.pack(len(answer), DONE, 0, 0, number) + answer)",
    );
    let input = [vec![b'x'; 300_000], b"small".to_vec()].join(&0);
    let said = run_of(&input, &["--workers", "frames", "-k", "-0", "python3", "-c", &echo]);
    assert_eq!(said.out, "mmap xxx 300000\nbytes sma 5\n", "{said:?}");
}

#[test]
fn answers_that_come_in_a_file_are_shown_and_only_sealed_ones() {
    if !has_python() {
        return;
    }
    let answers = |seals: &str| {
        let rest = format!(
            "import fcntl
line.sendall(HEAD.pack(0, HELLO, 0, 0, 1))
for number, text in tasks():
    answer = os.memfd_create('answer', os.MFD_ALLOW_SEALING)
    os.write(answer, b'from a file\\n')
    fcntl.fcntl(answer, fcntl.F_ADD_SEALS, {seals})
    socket.send_fds(line, [HEAD.pack(8, DONE, 1, 0, number) + struct.pack('<Q', 12)], [answer])
    os.close(answer)"
        );
        run(&["--workers", "frames", "python3", "-c", &program(&rest), ":::", "1"])
    };
    let said = answers("fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "from a file\n"), "{said:?}");
    let said = answers("fcntl.F_SEAL_SHRINK");
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("not sealed against changes"), "{said:?}");
}

#[test]
fn what_a_worker_by_frames_prints_is_shown_as_its_errors_are() {
    if !has_python() {
        return;
    }
    let rest = "line.sendall(HEAD.pack(0, HELLO, 0, 0, 1))
for number, text in tasks():
    print('hello from', bytes(text).decode(), flush=True)
    line.sendall(HEAD.pack(0, DONE, 0, 0, number))";
    let said = run(&["--workers", "frames", "python3", "-c", &program(rest), ":::", "a b"]);
    assert_eq!(
        (said.code, said.out.as_str(), said.err.as_str()),
        (Some(0), "", "hello from a b\n"),
        "{said:?}"
    );
}

#[test]
fn a_job_by_frames_in_quarantine_can_be_done_again_from_its_bundle() {
    if !has_python() {
        return;
    }
    let scratch = Scratch::new("frames-bundle");
    let (bundle, worker) = (scratch.path("kept"), program(CRASHES));
    let args = [
        "--workers",
        "frames",
        "--window",
        "4",
        "--bundle",
        &bundle,
        "python3",
        "-c",
        &worker,
        "KILL",
        ":::",
    ];
    let said = run(&[&args[..], &["5", "6", "7", "8"]].concat());
    let script = scratch.path("kept/job-3/run");
    assert!(said.err.contains(&format!("job 3 can be done again: {script}\n")), "{said:?}");
    assert_eq!(scratch.read("kept/job-3/input"), "7");
    let again = Command::new(script).stdin(std::process::Stdio::null()).output().expect("it runs");
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(1));
    assert!(
        told.contains("ended 1 worker, and is not tried again: the last one was killed by SIGKILL"),
        "{told}"
    );
}

#[test]
fn several_jobs_at_once_are_for_workers_and_a_batch_is_a_part_of_the_window() {
    let said: Said = run(&["--workers", "frames", "--batch", "2", "cat", ":::", "1"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("--batch is a part of --window"), "{said:?}");
    assert_eq!(run(&["--window", "2", "echo", ":::", "1"]).code, Some(2));
}
