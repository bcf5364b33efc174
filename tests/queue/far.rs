//! What works as on one machine.

use super::*;

#[test]
fn two_workers_do_each_of_two_hundred_jobs_once() {
    let Some(server) = Server::new("many", &[]) else { return };
    let (_one, _two) = (server.worker(&["-j", "2"]), server.worker(&["-j", "2"]));
    let scratch = Scratch::new("many-log");
    let script = format!("echo $0 >>{}; echo $0", scratch.path("log"));
    let numbers = numbers(200);
    let said = server.submit(&with(&["-k", "sh", "-c", &script], &numbers));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out.lines().eq(numbers.iter()), "in order: {}", said.out);
    let log = std::fs::read_to_string(scratch.path("log")).expect("a log");
    assert_eq!(log.lines().count(), 200, "nothing was lost on the way, so none was run twice");
}

#[test]
fn output_failures_and_exit_codes_are_those_of_a_local_run() {
    let Some(server) = Server::new("codes", &[]) else { return };
    let _worker = server.worker(&["-j", "2"]);
    let script = "echo out $0; echo err $0 >&2; exit $0";
    let args = ["-k", "--tag", "sh", "-c", script, ":::", "0", "3"];
    let far = server.submit(&args);
    let here = run(doula().arg("run").args(args)).expect("doula starts");
    assert_eq!((far.code, &far.out, &far.err), (here.code, &here.out, &here.err));
    assert_eq!(far.code, Some(1));
    let args = ["no-such-program", ":::", "a", "b"];
    let (far, here) = (server.submit(&args), run(doula().arg("run").args(args)).expect("doula starts"));
    assert_eq!((far.code, here.code), (Some(127), Some(127)));
    assert!(far.err.contains("no-such-program") && far.err.contains("was not found"), "{}", far.err);
}

#[test]
fn several_inputs_of_a_job_come_with_what_stands_around_their_place() {
    let Some(server) = Server::new("context", &[]) else { return };
    let _worker = server.worker(&["-j", "2"]);
    assert_eq!(server.submit(&["-X", "echo", "a{}.x", ":::", "1", "2", "3"]).out, "a1.x a2.x a3.x\n");
}

#[test]
fn an_input_is_the_same_bytes_on_the_other_side() {
    let Some(server) = Server::new("bytes", &[]) else { return };
    let _worker = server.worker(&["-j", "1"]);
    let said = server.submit(&["-k", "printf", "%s|%s\n", "{#}", "a{}", ":::", "it's; $(x)", "two words"]);
    assert_eq!(said.out, "1|ait's; $(x)\n2|atwo words\n");
}

#[test]
fn a_result_that_is_longer_than_a_message_comes_whole() {
    let Some(server) = Server::new("long", &[]) else { return };
    let _worker = server.worker(&["-j", "1"]);
    let said = server.submit(&["sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x", ":::", "1"]);
    assert_eq!((said.code, said.out.len()), (Some(0), 3_000_000));
    assert!(said.out.bytes().all(|byte| byte == b'x'));
}

#[test]
fn a_job_that_failed_is_tried_again_as_often_as_its_submitter_said() {
    let Some(server) = Server::new("retries", &[]) else { return };
    let _worker = server.worker(&["-j", "1"]);
    let scratch = Scratch::new("retries-log");
    let script = format!("echo x >>{0}; test $(wc -l <{0}) -ge 3 || exit 75", scratch.path("log"));
    let said = server.submit(&["--retries", "5", "--retry-on", "75", "sh", "-c", &script, ":::", "1"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let said = server.submit(&["--retries", "1", "sh", "-c", "exit 4", ":::", "1"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("exited with code 4, 2 times"), "{}", said.err);
}

#[test]
fn a_time_limit_of_the_submitter_is_held_by_the_worker() {
    let Some(server) = Server::new("limit", &[]) else { return };
    let _worker = server.worker(&["-j", "2"]);
    let said = server.submit(&["--timeout", "200ms", "sleep", ":::", "0", "3600"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("job 2 (sleep 3600) took too long"), "{}", said.err);
}

#[test]
fn a_run_of_a_name_is_done_once_however_often_it_is_handed_in() {
    let Some(server) = Server::new("named", &[]) else { return };
    let scratch = Scratch::new("named-log");
    let script = format!("echo $0 >>{}; echo $0", scratch.path("log"));
    let numbers = numbers(9);
    let detached = server.submit(&with(&["--run", "nine", "--detach", "sh", "-c", &script], &numbers[..5]));
    assert_eq!((detached.code, detached.out.as_str()), (Some(0), "nine\n"));
    let _worker = server.worker(&["-j", "2"]);
    for _ in 0..2 {
        let said = server.submit(&with(&["--run", "nine", "-k", "sh", "-c", &script], &numbers));
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.out.lines().eq(numbers.iter()), "{}", said.out);
    }
    let log = std::fs::read_to_string(scratch.path("log")).expect("a log");
    assert_eq!(log.lines().count(), 9);
    let other = server.submit(&["--run", "nine", "echo", ":::", "else"]);
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("job 1 of this run was another one before"), "{}", other.err);
}

#[test]
fn a_full_queue_makes_the_submitter_wait_and_loses_nothing() {
    let Some(server) = Server::new("full", &[]) else { return };
    let numbers = numbers(40);
    let mut submit = doula();
    submit.args(["run", "--submit", "--queue", &server.url(), "--queue-max", "5", "--results"]);
    let scratch = Scratch::new("full-results");
    let submit = Beside::start(submit.arg(scratch.path("r")).args(with(&["echo"], &numbers)));
    submit.says("the queue is full");
    let _worker = server.worker(&["-j", "2"]);
    assert_eq!(submit.end(), Some(0));
    let kept = |number: &String| std::fs::read_to_string(scratch.path(&format!("r/{number}/stdout")));
    assert!(numbers.iter().all(|number| kept(number).is_ok_and(|out| out.trim_end() == number)));
}

#[test]
fn why_tells_of_a_job_that_it_is_in_the_queue_and_of_one_where_it_is_in_work() {
    let Some(server) = Server::new("why", &[]) else { return };
    // Nobody else's runs are seen there.
    let place = Scratch::new("why-place");
    let mut gate = place.fifo("gate");
    let at = |args: &[&str]| {
        let mut command = doula();
        command.env("XDG_RUNTIME_DIR", &place.0).args(args);
        command
    };
    let script = format!("read line <{}", gate.path);
    let submit =
        ["run", "--submit", "--queue", &server.url(), "--run", "slow", "sh", "-c", &script, ":::", "a"];
    let submit = Beside::start(&mut at(&submit));
    let why = |of: &Beside, wanted: &str| {
        let (since, pid) = (std::time::Instant::now(), of.child.id().to_string());
        loop {
            let said = run(&mut at(&["why", "1", "--run", &pid])).expect("doula starts");
            if said.out.starts_with(wanted) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{said:?}");
        }
    };
    why(&submit, "job 1 waits: it is in the queue q, and no result of it has come\n");
    let worker = Beside::start(server.worker_command(&["-j", "1"]).env("XDG_RUNTIME_DIR", &place.0));
    why(&worker, "job 1 (slow: sh -c ");
    gate.open("go");
    assert_eq!(submit.end(), Some(0));
}
