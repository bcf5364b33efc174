//! The supervisor is killed at each step of a take-over and of an upgrade, and its keeper in the middle of giving.

use crate::contain::skipped;
use crate::family::{Family, Home, count, count_ends, exit_statuses_are_kept, expect_end};
use rustix::process::{Signal, pidfd_send_signal};

/// The steps of a take-over, in their order.
const TAKE_OVER: [&str; 10] = [
    "place-claimed",
    "keeper-greeted",
    "all-claimed",
    "open",
    "seated",
    "journal-begun",
    "keeper-bound",
    "keeper-found",
    "settled",
    "under-way",
];

/// The steps of an upgrade before the execve. After it come those of a take-over.
const UPGRADE: [&str; 4] = ["upgrade-asked", "upgrade-due", "all-written-down", "baton-written"];

/// A service that goes on, and one for each of these steps that ends with code 42 when it is asked to.
fn family(steps: usize) -> String {
    let mortal = |number: usize| {
        format!(
            "[service.mortal{number}]\nshell = true\nrestart = \"never\"\nready = {{ log-line = \"waits\" }}\n\
             command = \"trap 'exit 42' TERM; echo waits; sleep 1000 & wait\"\n"
        )
    };
    let mortals: String = (0..steps).map(mortal).collect();
    format!("[service.web]\ncommand = \"ACTORS/polite\"\n{mortals}")
}

fn die_at(home: &Home, step: &str) -> std::process::Command {
    let mut command = home.command(env!("CARGO_BIN_EXE_doula"));
    command.arg("up").env("DOULA_DIE_AT", step);
    command
}

/// Ends this one while nobody looks after it.
fn end_mortal(family: &mut Family, number: usize, mortals: &[std::os::fd::OwnedFd]) {
    assert!(family.is_dead(), "nobody is to see it");
    pidfd_send_signal(&mortals[number], Signal::TERM).expect("it lives");
    expect_end(&mortals[number]);
}

/// Nobody was started twice, every end was told as it was, and nothing is left.
fn conclude(mut family: Family, steps: usize, web: &serde_json::Value) {
    let kept = exit_statuses_are_kept();
    assert_eq!(family.status("web")["pid"], *web);
    for number in 0..steps {
        // What is left of it may be looked for still.
        family.home.ctl(&["wait", &format!("mortal{number}"), "--until", "stopped"]);
        // The exit code says that it has failed, as it is to.
        let said = family.home.ctl(&["status", &format!("mortal{number}"), "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said.out).expect("an answer in JSON");
        let status = &status["services"][0];
        assert_eq!((&status["restarts"], &status["state"]), (&0.into(), &"failed".into()), "{status}");
        let end = &status["last_exit"];
        let unseen = !kept && end["evidence"] == "none";
        assert!(unseen || end.to_string().contains("42"), "its end is told as it was: {status}");
    }
    assert_eq!(family.dead_children(), Vec::<String>::new(), "zombies");
    // Another one finds all that was left to this one.
    family.kill();
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on, 0 ended meanwhile") && !told.contains("keeper"), "{told}");
    assert_eq!(family.status("web")["pid"], *web);
    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0));
    assert_eq!(count(&lines, "web started"), 1, "{lines:?}");
    assert_eq!(count_ends(&lines, "web", "exited cleanly"), 1, "{lines:?}");
    assert!(!kept || count(&lines, "nobody saw how") == 0, "{lines:?}");
    // Their first lives were told to one who did not listen to the end.
    for number in 0..steps {
        assert!(count(&lines, &format!("mortal{number} started")) <= 1, "{lines:?}");
    }
}

fn begin(text: &str) -> (Family, serde_json::Value) {
    let mut family = Family::up(text);
    family.expect("web started");
    family.ask(&["wait", "--until", "ready"]);
    let web = family.status("web")["pid"].clone();
    (family, web)
}

#[test]
fn a_supervisor_that_is_killed_at_any_step_of_a_take_over_loses_nothing_and_starts_nobody_twice() {
    let steps = TAKE_OVER.len();
    let (mut family, web) = begin(&family(steps));
    let mortals: Vec<_> = (0..steps).map(|number| family.main_of(&format!("mortal{number}"))).collect();
    family.kill();
    for (number, step) in TAKE_OVER.into_iter().enumerate() {
        end_mortal(&mut family, number, &mortals);
        let command = die_at(&family.home, step);
        family.again_with(command);
        family.expect_killed(step);
    }
    family.up_again(&[]);
    family.expect("took over from pid");
    conclude(family, steps, &web);
}

#[test]
fn a_supervisor_that_is_killed_at_any_step_of_an_upgrade_loses_nothing_and_starts_nobody_twice() {
    let after = TAKE_OVER.into_iter().skip(1).map(|step| format!("successor:{step}"));
    let steps: Vec<String> = UPGRADE.into_iter().map(str::to_owned).chain(after).collect();
    let (mut family, web) = begin(&family(steps.len()));
    let mortals: Vec<_> = (0..steps.len()).map(|number| family.main_of(&format!("mortal{number}"))).collect();
    family.kill();
    for (number, step) in steps.iter().enumerate() {
        end_mortal(&mut family, number, &mortals);
        let command = die_at(&family.home, step);
        family.again_with(command);
        family.expect("took over from pid");
        let said = family.home.ctl(&["upgrade"]);
        // At the last step the upgrade is done, and was answered.
        let code = if step == "successor:under-way" { 0 } else { 125 };
        assert_eq!(said.code, Some(code), "{step}: {said:?}");
        family.expect_killed(step);
    }
    family.up_again(&[]);
    family.expect("took over from pid");
    conclude(family, steps.len(), &web);
}

#[test]
fn an_end_that_was_seen_and_not_written_down_yet_is_told_by_the_next_supervisor() {
    if !exit_statuses_are_kept() {
        return skipped("this kernel keeps no exit status of a process that was buried");
    }
    let home = Home::new(
        "[service.web]\ncommand = \"ACTORS/polite\"\n[service.short]\nshell = true\nrestart = \"never\"\ncommand = \"exit 42\"\n",
    );
    let command = die_at(&home, "buried");
    let mut family = Family::with(home, command);
    family.expect_killed("buried");
    family.up_again(&[]);
    family.expect("took over from pid");
    family.expect("short exited with code 42");
    let (_, lines) = family.shut_down();
    assert_eq!(count(&lines, "nobody saw how"), 0, "{lines:?}");
}

#[test]
fn a_sign_of_readiness_that_was_seen_and_not_written_down_yet_is_seen_by_the_next_supervisor() {
    let by_line = "ready = { log-line = \"open\" }\ncommand = \"echo open; sleep 1000 & wait\"\n";
    let by_fd = "ready = { fd = 3 }\ncommand = \"echo >&3; sleep 1000 & wait\"\n";
    for ready in [by_line, by_fd] {
        let home = Home::new(&format!("[service.web]\nshell = true\n{ready}"));
        let command = die_at(&home, "ready-seen");
        let mut family = Family::with(home, command);
        family.expect_killed("ready-seen");
        family.up_again(&[]);
        family.expect("took over from pid");
        family.ask(&["wait", "--until", "ready"]);
        let (_, lines) = family.shut_down();
        assert_eq!(count(&lines, "web started"), 1, "{ready}: {lines:?}");
    }
}

#[test]
fn a_keeper_that_is_killed_while_it_gives_is_no_reason_to_start_anybody_twice() {
    for step in ["keeper-gives", "keeper-has-given"] {
        let home = Home::new("[service.web]\ncommand = \"ACTORS/polite\"\n");
        let command = die_at(&home, step);
        let mut family = Family::with(home, command);
        family.expect("polite: ready");
        let web = family.status("web")["pid"].clone();
        family.kill();
        family.up_again(&[]);
        let told = family.expect("took over from pid");
        assert!(told.contains("1 processes go on, 0 ended meanwhile"), "{step}: {told}");
        assert_eq!(family.status("web")["pid"], web, "{step}");
        let (_, lines) = family.shut_down();
        assert_eq!(count(&lines, "web started"), 1, "{step}: {lines:?}");
    }
}
