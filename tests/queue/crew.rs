//! Workers that live on at the jobs of a queue.

use super::actors::actor;
use super::*;

/// One that does what its name says at job 7.
fn odd(how: &str) -> Vec<String> {
    vec![actor("line_worker").display().to_string(), how.to_owned()]
}

fn crew(server: &Server, manner: &[&str], command: &[String]) -> Beside {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    server.worker(&[manner, &command].concat())
}

fn hand_in(server: &Server, more: &[&str], inputs: &[String]) -> Said {
    server.submit(&with(&[&["--for-workers"], more].concat(), inputs))
}

#[test]
fn whatever_a_job_does_to_a_worker_that_lives_on_it_is_the_only_one_that_fails() {
    let Some(server) = Server::new("crew", &[]) else { return };
    let inputs = numbers(20);
    let wanted: Vec<String> = inputs.iter().filter(|n| *n != "7").map(|n| format!("ok {n}")).collect();
    for (how, window, told) in [
        ("KILL", "1", "job 7 (7): its worker was killed by SIGKILL\n"),
        ("KILL", "4", "job 7 (7): its worker was killed by SIGKILL\n"),
        ("garbage", "1", "job 7 (7): its worker was ended: it answered `"),
        ("error", "1", "job 7 (7): "),
        ("silent", "1", "job 7 (7): it took too long\n"),
    ] {
        let (_one, _two) = (
            crew(
                &server,
                &["-j", "2", "--workers", "lines", "--window", window, "--grace", "50ms"],
                &odd(how),
            ),
            crew(&server, &["-j", "1", "--workers", "lines", "--grace", "50ms"], &odd(how)),
        );
        let more: &[&str] = if how == "silent" { &["-k", "--timeout", "1s"] } else { &["-k"] };
        let said = hand_in(&server, more, &inputs);
        assert_eq!(said.code, Some(1), "{how} {said:?}");
        assert!(said.out.lines().eq(wanted.iter()), "{how} {said:?}");
        assert!(said.err.starts_with(told) && said.err.lines().count() == 1, "{how} {said:?}");
    }
}

#[test]
fn workers_by_frames_take_jobs_of_the_queue_too() {
    let Some(server) = Server::new("frames", &[]) else { return };
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/workers/frames.py");
    let command = ["python3", example].map(str::to_owned);
    let _worker = crew(&server, &["-j", "2", "--workers", "frames", "--window", "4"], &command);
    let said = hand_in(&server, &["-k"], &["3".to_owned(), "four".to_owned(), "5".to_owned()]);
    let here = doula()
        .args(["run", "--workers", "frames", "-k"])
        .args(&command)
        .args([":::", "3", "four", "5"])
        .output();
    let here = here.expect("doula starts");
    assert_eq!((said.code, said.out.as_bytes()), (here.status.code(), here.stdout.as_slice()), "{said:?}");
    assert_eq!(said.err.as_bytes(), here.stderr.as_slice());
}

#[test]
fn what_a_worker_had_when_its_doula_was_killed_is_done_elsewhere_at_once_and_has_one_result() {
    let Some(server) = Server::new("crew-killed", &[]) else { return };
    let scratch = Scratch::new("crew-gates");
    let (mut began, gate) = (scratch.fifo("began"), scratch.fifo("gate"));
    let loops = "while read l; do id=${l#*:}; id=${id%%,*}; echo begun >$BEGAN; read line <$GATE; echo \"{\\\"id\\\":$id,\\\"output\\\":\\\"$line\\\"}\"; done";
    let start = |gate: &Fifo, began: &Fifo| {
        let mut command = server.worker_command(&["-j", "1", "--workers", "lines", "sh", "-c", loops]);
        let worker = Beside::start(command.env("BEGAN", &began.path).env("GATE", &gate.path));
        worker.says("works at the queue");
        worker
    };
    let first = start(&gate, &began);
    let submit = server.submit_beside(&["--for-workers", ":::", "a"]);
    assert_eq!(began.says(), "begun");
    drop(first);
    let mut other = scratch.fifo("other");
    // The lease is 30 s: it is not waited for.
    let _second = start(&other, &began);
    assert_eq!(began.says(), "begun");
    other.open("second");
    let said = submit.join().expect("no panic");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "second\n", ""));
}

#[test]
fn jobs_with_and_without_a_command_are_not_taken_for_one_another() {
    let Some(server) = Server::new("kinds", &[]) else { return };
    let scratch = Scratch::new("kinds-made");
    let made = scratch.path("made");
    {
        let plain = server.worker(&["-j", "1"]);
        let said = hand_in(&server, &[], &[format!("touch {made}")]);
        assert_eq!(said.code, Some(1), "{said:?}");
        plain.says("it has no command, and is for `doula worker --workers`");
    }
    let living = crew(&server, &["-j", "1", "--workers", "lines"], &odd("none"));
    assert_eq!(server.submit(&["touch", &made, ":::", "x"]).code, Some(1));
    living.says("it has a command, and is for `doula worker` without --workers");
    assert!(!std::path::Path::new(&made).exists(), "no input became a command");
    assert_eq!(server.submit(&["--for-workers", "echo", ":::", "x"]).code, Some(2));
}

#[test]
fn a_worker_that_cannot_be_started_or_ends_at_once_is_told_and_its_jobs_are_given_back() {
    let Some(server) = Server::new("crew-none", &[]) else { return };
    let submit = server.submit_beside(&["--for-workers", ":::", "1"]);
    let none = crew(&server, &["-j", "1", "--workers", "lines"], &["no-such-program".to_owned()]);
    none.says("no worker can be started: ");
    assert_eq!(none.end(), Some(125));
    let gone = crew(&server, &["-j", "1", "--workers", "lines"], &["true".to_owned()]);
    gone.says("workers end before they take a job, again and again");
    assert_eq!(gone.end(), Some(1));
    let _good = crew(&server, &["-j", "1", "--workers", "lines"], &odd("none"));
    let said = submit.join().expect("no panic");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "ok 1\n"), "{said:?}");
}
