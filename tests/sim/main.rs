//! `doula sim` as people run it.

use std::process::{Command, Output};

fn doula(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_doula")).arg("sim").args(words).output().expect("doula runs")
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("what is printed is text")
}

#[test]
fn a_seed_has_the_same_events_in_two_processes_and_their_lines_are_aligned() {
    let (one, other) = (doula(&["run", "--seed", "7", "--trace"]), doula(&["run", "--seed", "7", "--trace"]));
    assert_eq!(one.status.code(), Some(0));
    assert_eq!(text(&one), text(&other));
    let events: Vec<String> =
        text(&one).lines().filter(|line| line.starts_with("      ")).map(str::to_owned).collect();
    assert!(events.len() > 20, "{} lines", events.len());
    let aligned = |line: &String| line.find('.') == Some(7) && line[14..16] == *"  ";
    assert!(events.iter().all(aligned), "{}", text(&one));
    assert!(text(&one).contains("execve /bin/service"), "a child executes its program");
}

#[test]
fn events_and_the_result_are_json_lines() {
    let output = doula(&["run", "--seed", "3", "--trace", "--json"]);
    let lines: Vec<serde_json::Value> =
        text(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (result, events) = lines.split_last().expect("a result");
    assert!(events.iter().all(|event| event["at"].is_u64() && event["who"].is_string()));
    assert_eq!((&result["seed"], &result["violation"]), (&3.into(), &serde_json::Value::Null));
    assert!(result["events"].as_u64() >= Some(events.len() as u64 / 2), "{result}");
}

#[test]
fn a_broken_supervisor_is_found_and_its_smallest_scenario_fails_again() {
    let soak = doula(&["soak", "--seeds", "100", "--jobs", "1", "--broken", "mask-inherited"]);
    assert_eq!(soak.status.code(), Some(1), "{}", text(&soak));
    let replay = text(&soak);
    let replay =
        replay.lines().find_map(|line| line.strip_prefix("smallest: doula sim ")).expect("a command");
    let words: Vec<&str> = replay.split(' ').collect();
    let again = doula(&words);
    assert_eq!(again.status.code(), Some(1), "{replay}");
    assert!(text(&again).contains("starts with signals blocked or ignored"), "{}", text(&again));
}

#[test]
fn a_soak_finds_nothing_wrong_with_and_without_the_death_of_the_supervisor() {
    for more in [&["--first", "100000"][..], &["--first", "200000", "--kill"][..]] {
        let words: Vec<&str> = ["soak", "--seeds", "300"].iter().chain(more).copied().collect();
        let soak = doula(&words);
        assert_eq!(soak.status.code(), Some(0), "{}", text(&soak));
        assert!(text(&soak).contains("300 seeds"), "{}", text(&soak));
    }
}

#[test]
fn a_word_that_is_no_part_of_a_scenario_is_told() {
    let output = doula(&["run", "--seed", "1", "--without", "s0,gremlins"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`gremlins` is no service"), "{output:?}");
}
