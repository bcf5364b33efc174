//! `doula pool plan` as people run it.

use serde_json::Value;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn plan(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_doula"))
        .args(["pool", "plan"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("doula starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    // Who refuses its command line reads nothing.
    drop(pipe.write_all(input.as_bytes()));
    drop(pipe);
    child.wait_with_output().expect("it ends")
}

fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn of<'a>(rows: &'a [Value], policy: &str) -> &'a Value {
    rows.iter().find(|row| row["policy"] == policy).expect("the policy")
}

#[test]
fn a_plan_has_every_policy_beside_the_ideal_and_ours_serves_nearly_all_of_it() {
    let rows = rows(&plan(&["64 clients for 12s, quiet for 60s", "--json"], ""));
    let names: Vec<&str> = rows.iter().filter_map(|row| row["policy"].as_str()).collect();
    assert_eq!(names, ["backlog", "apache", "fpm-dynamic", "fpm-ondemand", "uwsgi-spare", "fixed"]);
    let ours = of(&rows, "backlog");
    assert_eq!(ours["ideal"], 3_840);
    assert!(ours["served"].as_u64() >= Some(3_725), "{ours}");
    assert_eq!(ours["workers_each_second"].as_array().and_then(|all| all.last()), Some(&Value::from(5)));
    let apache = &of(&rows, "apache")["workers_each_second"];
    let first: Vec<u64> = (0..8).filter_map(|second| apache[second].as_u64()).collect();
    assert_eq!(first, [5, 6, 8, 12, 20, 36, 68, 100]);
}

#[test]
fn a_table_for_people_has_a_chart_and_says_when_a_queue_was_full() {
    let args =
        ["50 clients for 5s", "--policy", "fixed", "--max", "2", "--backlog", "8", "--worker-memory", "20M"];
    let output = plan(&args, "");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.starts_with("POLICY"), "{text}");
    assert!(text.contains("40 MiB") && text.contains('█'), "{text}");
    assert!(text.contains("tries found the queue full"), "{text}");
}

#[test]
fn what_came_once_is_played_from_a_record() {
    let record = "# second, seconds\n100.0 0.5\n100.1,0.5\n\n101 0.25\n";
    let rows = rows(&plan(&["--recorded", "-", "--policy", "backlog", "--json"], record));
    assert_eq!((&rows[0]["served"], &rows[0]["ideal"]), (&Value::from(3), &Value::from(3)));
}

#[test]
fn a_wrong_load_or_record_is_one_error_with_its_place_and_the_cure() {
    let refused = |args: &[&str], input: &str, words: &[&str]| {
        let output = plan(args, input);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    refused(&["64 clients"], "", &["`64 clients` is no phase", "64 clients for 12s"]);
    refused(&["quiet for 10"], "", &["seconds are written \"10s\""]);
    refused(&[], "", &["LOAD"]);
    refused(&["--recorded", "-"], "1 2\nx y\n", &["-:2: `x y` are not two numbers of seconds", "12.5 0.2"]);
    refused(&["--recorded", "-"], "", &["no connection in it"]);
    refused(&["--recorded", "/nowhere"], "", &["cannot read /nowhere"]);
    refused(&["quiet for 1s", "--memory", "1G"], "", &["--worker-memory"]);
}
