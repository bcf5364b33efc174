//! What is in NATS, as `nats` would show it: asked by the plain protocol, without any client.

use super::*;
use serde_json::Value;
use std::net::TcpStream;

/// Asks the server over a connection of its own, and gives the answer.
fn ask(server: &Server, subject: &str, question: &str) -> Value {
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("a server");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut lines = BufReader::new(socket.try_clone().expect("a copy"));
    let asked = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {}\r\n{question}\r\n",
        question.len()
    );
    socket.write_all(asked.as_bytes()).expect("a server that reads");
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).expect("an answer");
        if line.starts_with("PING") {
            socket.write_all(b"PONG\r\n").expect("a server that reads");
        }
        let Some(rest) = line.strip_prefix("MSG answer 1 ") else { continue };
        let mut bytes = vec![0; rest.trim().parse().expect("a length")];
        lines.read_exact(&mut bytes).expect("all of it");
        return serde_json::from_slice(&bytes).expect("JSON");
    }
}

/// The last message of this subject: its text, and its headers as they are.
fn last(server: &Server, stream: &str, subject: &str) -> Option<(String, String)> {
    let question = format!("{{\"last_by_subj\":\"{subject}\"}}");
    let answer = ask(server, &format!("$JS.API.STREAM.MSG.GET.{stream}"), &question);
    let text = |field: &str| {
        let bytes =
            base64::Engine::decode(&base64::prelude::BASE64_STANDARD, answer["message"][field].as_str()?);
        String::from_utf8(bytes.ok()?).ok()
    };
    answer["message"]
        .is_object()
        .then(|| (text("data").unwrap_or_default(), text("hdrs").unwrap_or_default()))
}

fn messages(server: &Server, stream: &str) -> Option<u64> {
    ask(server, &format!("$JS.API.STREAM.INFO.{stream}"), "")["state"]["messages"].as_u64()
}

#[test]
fn a_job_that_is_buried_is_copied_to_the_dead_and_leaves_the_queue() {
    let Some(server) = Server::new("dead", &[]) else { return };
    let _workers: Vec<Beside> = (0..3).map(|_| server.worker(&["-j", "1"])).collect();
    let said =
        server.submit(&["--run", "r", "sh", "-c", "test $0 != 2 || kill -KILL $PPID", ":::", "1", "2", "3"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(messages(&server, "DOULA-q"), Some(0), "nothing waits in the queue");
    assert_eq!(messages(&server, "DOULA-q-dead"), Some(1));
    let (job, headers) = last(&server, "DOULA-q-dead", "doula.q.dead.r.2").expect("a copy");
    let job: Value = serde_json::from_str(&job).expect("as it was handed in");
    assert_eq!(job["inputs"], serde_json::json!(["2"]));
    assert!(headers.contains("Doula-Why: ") && headers.contains("2 workers were lost with it"), "{headers}");
    // Every job has its one result.
    let result = |number: u32| last(&server, "DOULA-q-results", &format!("doula.q.result.r.{number}"));
    assert!((1..=3).all(|number| result(number).is_some()));
}

/// Has the stream of results take so many and no more; -1: any number.
fn take_results(server: &Server, most: i64) {
    let mut config = ask(server, "$JS.API.STREAM.INFO.DOULA-q-results", "")["config"].clone();
    config["max_msgs"] = most.into();
    config["discard"] = "new".into();
    let answer = ask(server, "$JS.API.STREAM.UPDATE.DOULA-q-results", &config.to_string());
    assert!(answer["error"].is_null(), "{answer}");
}

#[test]
fn a_result_that_the_server_does_not_store_is_kept_until_it_does() {
    let Some(server) = Server::new("refused", &[]) else { return };
    let worker = server.worker(&["-j", "2"]);
    assert_eq!(server.submit(&["--run", "before", "echo", "{}", ":::", "1"]).out, "1\n");
    take_results(&server, 1);
    let submit = server.submit_beside(&["--run", "after", "-k", "echo", "{}", ":::", "2", "3"]);
    worker.says("results are not stored, and tried again and again: maximum messages exceeded");
    take_results(&server, -1);
    let said = submit.join().expect("no panic");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "2\n3\n"), "{}", said.err);
}

#[test]
fn who_works_is_in_the_bucket_of_workers_until_it_leaves() {
    let Some(server) = Server::new("members", &[]) else { return };
    let scratch = Scratch::new("members-gates");
    let (mut began, mut gate) = (scratch.fifo("began"), scratch.fifo("gate"));
    let mut command = server.worker_command(&["-j", "3"]);
    let worker = Beside::start(command.env("BEGAN", &began.path).env("GATE", &gate.path));
    worker.says("works at the queue");
    let submit = server.submit_beside(&["sh", "-c", "echo $0 >$BEGAN; read line <$GATE", ":::", "a"]);
    assert_eq!(began.says(), "a");
    let (state, _) = last(&server, "KV_DOULA-q-workers", "$KV.DOULA-q-workers.>").expect("a member");
    let state: Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!((&state["slots"], &state["drains"]), (&3.into(), &false.into()), "{state}");
    gate.open("go");
    assert_eq!(submit.join().expect("no panic").code, Some(0));
    worker.signal(rustix::process::Signal::TERM);
    assert_eq!(worker.end(), Some(0));
    let (state, headers) = last(&server, "KV_DOULA-q-workers", "$KV.DOULA-q-workers.>").expect("its end");
    assert!(state.is_empty() && headers.contains("PURGE"), "{state} {headers}");
}
