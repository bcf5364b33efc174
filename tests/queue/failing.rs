//! Workers and servers that die, and what cannot be.

use super::*;
use rustix::process::Signal;

/// A job that says that it began and waits for a line; its worker's environment has both FIFOs.
const GATED: &str = "echo $0 >$BEGAN; read line <$GATE; echo $0 $line";

fn gated(server: &Server, began: &Fifo, gate: &Fifo, args: &[&str]) -> Beside {
    let mut command = server.worker_command(args);
    let worker = Beside::start(command.env("BEGAN", &began.path).env("GATE", &gate.path));
    worker.says("works at the queue");
    worker
}

#[test]
fn the_job_of_a_worker_that_is_killed_is_done_by_another_one_at_once() {
    let Some(server) = Server::new("killed", &[]) else { return };
    let scratch = Scratch::new("killed-gates");
    let (mut began, gate, mut other) = (scratch.fifo("began"), scratch.fifo("gate"), scratch.fifo("other"));
    let first = gated(&server, &began, &gate, &["-j", "1"]);
    let submit = server.submit_beside(&["sh", "-c", GATED, ":::", "a"]);
    assert_eq!(began.says(), "a");
    drop(first);
    // The lease is 30 s: it is not waited for.
    let _second = gated(&server, &began, &other, &["-j", "1"]);
    assert_eq!(began.says(), "a");
    other.open("second");
    let said = submit.join().expect("no panic");
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "a second\n", ""));
}

#[test]
fn a_job_that_kills_its_workers_is_buried_after_two_of_them_and_the_others_are_done() {
    let Some(server) = Server::new("poison", &[]) else { return };
    let workers: Vec<Beside> = (0..3).map(|_| server.worker(&["-j", "1"])).collect();
    let numbers = numbers(20);
    let script = "test $0 != 7 || kill -KILL $PPID; echo $0";
    let said = server.submit(&with(&["sh", "-c", script], &numbers));
    assert_eq!(said.code, Some(1));
    let others: Vec<&String> = numbers.iter().filter(|number| *number != "7").collect();
    let mut shown: Vec<u32> = said.out.lines().map(|line| line.parse().expect("a number")).collect();
    shown.sort_unstable();
    assert!(shown.iter().map(u32::to_string).eq(others.into_iter().cloned()), "{}", said.out);
    let told: Vec<&str> = said.err.lines().collect();
    assert_eq!(told.len(), 1, "{}", said.err);
    assert!(
        told[0].starts_with("job 7 (")
            && told[0].ends_with("was lost with its worker, 2 times, and is not tried again")
    );
    let mut dead = 0;
    for mut worker in workers {
        dead += usize::from(worker.child.try_wait().expect("our child").is_some());
    }
    assert_eq!(dead, 2);
    // It is not in the queue any more: a new worker has nothing to do with it.
    let _worker = server.worker(&["-j", "1"]);
    assert_eq!(sorted(&server.submit(&["echo", ":::", "x"])), ["x"]);
}

#[test]
fn a_worker_that_is_asked_to_end_ends_what_it_began_and_begins_no_more() {
    let Some(server) = Server::new("drain", &[]) else { return };
    let scratch = Scratch::new("drain-gates");
    let (mut began, mut gate) = (scratch.fifo("began"), scratch.fifo("gate"));
    let first = gated(&server, &began, &gate, &["-j", "1"]);
    let submit = server.submit_beside(&["-k", "sh", "-c", GATED, ":::", "a", "b"]);
    assert_eq!(began.says(), "a");
    first.signal(Signal::TERM);
    first.says("no more jobs are begun");
    gate.open("first");
    assert_eq!(first.end(), Some(0));
    let _second = gated(&server, &began, &gate, &["-j", "1"]);
    assert_eq!(began.says(), "b");
    gate.open("second");
    let said = submit.join().expect("no panic");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "a first\nb second\n"));
}

#[test]
fn a_worker_that_is_interrupted_gives_its_job_back() {
    let Some(server) = Server::new("interrupt", &[]) else { return };
    let scratch = Scratch::new("interrupt-gates");
    let (mut began, gate, mut other) = (scratch.fifo("began"), scratch.fifo("gate"), scratch.fifo("other"));
    let first = gated(&server, &began, &gate, &["-j", "1"]);
    let submit = server.submit_beside(&["sh", "-c", GATED, ":::", "a"]);
    assert_eq!(began.says(), "a");
    first.signal(Signal::INT);
    assert_eq!(first.end(), Some(130));
    let _second = gated(&server, &began, &other, &["-j", "1"]);
    assert_eq!(began.says(), "a");
    other.open("second");
    assert_eq!(submit.join().expect("no panic").out, "a second\n");
}

#[test]
fn a_submitter_that_is_interrupted_takes_back_what_nobody_began() {
    let Some(server) = Server::new("taken-back", &[]) else { return };
    let scratch = Scratch::new("taken-back-gates");
    let (mut began, mut gate) = (scratch.fifo("began"), scratch.fifo("gate"));
    let _worker = gated(&server, &began, &gate, &["-j", "1"]);
    let mut submit = doula();
    submit.args(["run", "--submit", "--queue", &server.url(), "sh", "-c", GATED, ":::", "a", "b", "c"]);
    let submit = Beside::start(&mut submit);
    assert_eq!(began.says(), "a");
    submit.signal(Signal::INT);
    submit.says("3 jobs were given up");
    assert_eq!(submit.end(), Some(130));
    gate.open("unheard");
    // The worker has nothing else to do any more.
    let said = server.submit(&["sh", "-c", "echo $0 next", ":::", "d"]);
    assert_eq!(said.out, "d next\n");
}

#[test]
fn a_server_that_is_killed_and_started_again_loses_nothing() {
    let Some(mut server) = Server::new("restart", &[]) else { return };
    let scratch = Scratch::new("restart-gates");
    let (mut began, mut gate) = (scratch.fifo("began"), scratch.fifo("gate"));
    let worker = gated(&server, &began, &gate, &["-j", "1", "--lease", "2s"]);
    let script = format!("test $0 != 1 || {{ {GATED}; }}; echo $0");
    let numbers = numbers(20);
    let submit = server.submit_beside(&with(&["sh", "-c", &script], &numbers));
    assert_eq!(began.says(), "1");
    server.kill();
    worker.says("is lost");
    // It ends while there is no server: its result is kept until there is one.
    gate.open("alone");
    server.start();
    worker.says("is back");
    let said = submit.join().expect("no panic");
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<&str> = numbers.iter().map(String::as_str).chain(["1 alone"]).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn what_cannot_be_is_one_clear_error() {
    let wrong = |url: &str| run(doula().args(["worker", "--queue", url])).expect("doula starts");
    let said = wrong("http://127.0.0.1");
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("http") && said.err.lines().count() <= 2, "{}", said.err);
    let said = run(doula().arg("worker")).expect("doula starts");
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("no queue was named") && said.err.contains("NATS_URL"), "{}", said.err);
    // A port that nobody has: it was ours just now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let said = wrong(&format!("nats://me:secret@127.0.0.1:{}/q", port.expect("a port").port()));
    assert_eq!(said.code, Some(125));
    assert!(
        said.err.contains("no NATS server at nats://127.0.0.1") && !said.err.contains("secret"),
        "{}",
        said.err
    );
    let said =
        run(doula().args(["run", "--queue", "nats://127.0.0.1", "true", ":::", "1"])).expect("doula starts");
    assert_eq!(said.code, Some(2), "--queue without --submit");
    let refused = [
        (&["--limit", "pids=9", "--leave"][..], "--limit and --leave do not go together: who is left behind"),
        (
            &["--workers", "lines", "--window", "4", "--batch", "4", "cat"],
            "--batch is not for the jobs of a queue: each has a time limit of its own",
        ),
    ];
    for (args, why) in refused {
        let said = run(doula().args(["worker", "--queue", "nats://127.0.0.1:1"]).args(args));
        let said = said.expect("doula starts");
        assert!(said.code == Some(2) && said.err.contains(why), "{}", said.err);
    }
}

#[test]
fn a_login_is_refused_or_taken_as_the_server_says() {
    let Some(server) = Server::new("login", &["--user", "me", "--pass", "secret"]) else { return };
    let said = server.submit(&["true", ":::", "1"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("refused the login"), "{}", said.err);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    let url = server.url().replace("nats://", "nats://me:secret@");
    let worker = Beside::start(doula().args(["worker", "--queue", &url, "-j", "1"]));
    worker.says("works at the queue");
    // The variables of `nats` do, too.
    let mut submit = Command::new(DOULA);
    submit.env("NATS_URL", server.url()).env("NATS_USER", "me").env("NATS_PASSWORD", "secret");
    let said = run(submit.args(["run", "--submit", "echo", ":::", "in"])).expect("doula starts");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "in\n"), "{}", said.err);
}

#[test]
fn a_server_without_jetstream_is_named_as_such() {
    if !has_server() {
        return;
    }
    let server = Beside::start(Command::new("nats-server").args(["-a", "127.0.0.1", "-p", "-1"]));
    let line = server.says("Listening for client connections on");
    let port = line.rsplit(':').next().expect("a port").trim();
    let said = run(doula().args(["worker", "--queue", &format!("nats://127.0.0.1:{port}/q")]));
    let said = said.expect("doula starts");
    assert_eq!(said.code, Some(125));
    assert!(said.err.contains("has no JetStream"), "{}", said.err);
}
