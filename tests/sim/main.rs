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
    for more in
        [&["--first", "100000"][..], &["--first", "200000", "--kill"][..], &["--leases", "--kill"][..]]
    {
        let words: Vec<&str> = ["soak", "--seeds", "300"].iter().chain(more).copied().collect();
        let soak = doula(&words);
        assert_eq!(soak.status.code(), Some(0), "{}", text(&soak));
        assert!(text(&soak).contains("300 seeds"), "{}", text(&soak));
    }
}

#[test]
fn leases_are_played_by_seed_with_any_death_and_cut_as_the_command_says() {
    let words = "run --leases --seed 900 --kill-worker 40:2 --kill-at 200 --without t3,late --trace";
    let words: Vec<&str> = words.split(' ').collect();
    let (first, second) = (doula(&words), doula(&words));
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    assert_eq!(text(&first), text(&second));
    assert!(text(&first).contains("t4: twice:") && !text(&first).contains("t3: "), "{}", text(&first));
    assert!(text(&first).contains("run          is killed"), "{}", text(&first));
    let family = doula(&["run", "--seed", "1", "--without", "t3"]);
    assert_eq!(family.status.code(), Some(2), "{}", text(&family));
}

#[test]
fn a_word_that_is_no_part_of_a_scenario_is_told() {
    let output = doula(&["run", "--seed", "1", "--without", "s0,gremlins"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`gremlins` is no service"), "{output:?}");
}
