//! What people do with a running family by `doula ctl`.

use crate::family::{Family, Home};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

/// Two services, of which one says what it is configured to.
pub(crate) fn greeting(words: &str) -> String {
    format!(
        "[service.same]\ncommand = \"ACTORS/polite\"\n\
         [service.new]\ncommand = \"ACTORS/polite\"\nenv = {{ GREETING = {words} }}\n"
    )
}

/// The processes of both.
pub(crate) fn pids(family: &Family) -> [Value; 2] {
    ["same", "new"].map(|name| family.status(name)["pid"].clone())
}

impl Family {
    /// Both of them, and their processes.
    pub(crate) fn greeting() -> (Family, [Value; 2]) {
        let mut family = Family::up(&greeting("\"hello\""));
        family.expect("polite: ready");
        family.expect("polite: ready");
        let pids = pids(&family);
        (family, pids)
    }
}

#[test]
fn services_are_stopped_started_and_restarted_by_name_and_an_unknown_one_is_refused() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/polite\"\n[service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("web | polite: ready");
    assert_eq!(family.ask(&["stop", "web"])[0]["state"], "stopped");
    assert_eq!(family.ask(&["start", "web"])[0]["state"], "up");
    let before = family.status("web")["pid"].clone();
    assert_eq!(family.ask(&["restart", "web"])[0]["state"], "up");
    assert_ne!(family.status("web")["pid"], before);
    let said = family.home.ctl(&["stop", "nobody"]);
    assert!(said.code == Some(2) && said.err.contains("nobody"), "{said:?}");
    let said = family.home.ctl(&["shutdown"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(family.end().0, Some(0));
}

#[test]
fn who_asks_for_a_restart_waits_for_the_new_life_also_while_others_have_to_end_before() {
    let mut family = Family::up(
        "[service.base]\ncommand = \"ACTORS/polite\"\n\
         [service.slow]\ncommand = \"ACTORS/slow_stop 300\"\nrequires = [\"base\"]\n",
    );
    family.expect("slow | slow_stop: ready");
    let before = family.status("base")["pid"].clone();
    let restarted = family.ask(&["restart", "base"])[0].clone();
    assert_eq!((&restarted["state"], restarted["pid"] == before), (&"up".into(), false), "{restarted}");
    family.shut_down();
}

#[test]
fn a_reload_touches_only_what_changed_and_a_wrong_file_touches_nothing() {
    let (mut family, before) = Family::greeting();
    family.home.write(&greeting("[]"));
    let said = family.home.ctl(&["reload"]);
    assert!(said.code == Some(2) && said.err.contains('^'), "{said:?}");
    assert_eq!(pids(&family), before);
    family.home.write(&greeting("\"good day\""));
    let said = family.home.ctl(&["reload"]);
    assert!(said.code == Some(0) && said.out.contains("new"), "{said:?}");
    family.expect("new | polite: ready");
    let after = pids(&family);
    assert!(after[0] == before[0] && after[1] != before[1], "{before:?} {after:?}");
    family.shut_down();
}

#[test]
fn changed_rules_take_effect_without_a_restart() {
    let text = |grace: &str| {
        format!("[service.web]\ncommand = \"ACTORS/polite\"\nstop = {{ grace = \"{grace}\" }}\n")
    };
    let mut family = Family::up(&text("10s"));
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.home.write(&text("11s"));
    let said = family.home.ctl(&["reload"]);
    assert!(said.code == Some(0) && said.out.contains("not restarted"), "{said:?}");
    assert_eq!(family.status("web")["pid"], before);
    let said = family.home.ctl(&["reload"]);
    assert!(!said.out.contains("web"), "the second time nothing is different: {said:?}");
    family.shut_down();
}

#[test]
fn a_signal_reaches_the_service_and_its_lines_can_be_read_again() {
    let mut family = Family::up(
        "[service.web]\nshell = true\nrestart = \"never\"\n\
         command = \"trap 'echo heard; exit 0' USR1; echo listening; while :; do sleep 0.01; done\"\n",
    );
    family.expect("web | listening");
    let said = family.home.ctl(&["signal", "USR1", "web"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    family.expect("web | heard");
    assert_eq!(family.end().0, Some(0));
}

#[test]
fn a_family_in_the_background_is_under_way_when_the_launcher_returns() {
    let home = Home::new("[service.web]\ncommand = \"ACTORS/polite\"\n");
    let said = home.doula(&["up", "--detach"]);
    assert!(said.code == Some(0) && said.out.contains(&home.name), "{said:?}");
    let said = home.ctl(&["wait", "web", "--until", "ready"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = home.ctl(&["logs", "web"]);
    assert!(said.out.contains("polite: ready"), "{said:?}");
    let said = home.ctl(&["shutdown"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    home.expect_nothing_left();
    let said = home.doula(&["up", "--detach", "nowhere.toml"]);
    assert!(said.code == Some(2) && said.err.contains("nowhere.toml"), "{said:?}");
}

/// `doula ctl` with these words, and its output, of which the caller decides when it is read.
fn unread(home: &Home, words: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = home.command(env!("CARGO_BIN_EXE_doula"));
    command.args(["ctl", "--name", &home.name]).args(words).stdout(Stdio::piped());
    let mut ctl = command.spawn().expect("doula ctl");
    let lines = BufReader::new(ctl.stdout.take().expect("a pipe")).lines();
    (ctl, lines)
}

#[test]
fn a_follower_who_falls_behind_gets_every_event_up_to_the_last_of_a_family_that_ends() {
    const SERVICES: usize = 300;
    let mut family = Family::up(&format!(
        "[service.web]\ncommand = \"ACTORS/sleeper\"\ninstances = {SERVICES}\nstop = {{ grace = \"30s\" }}\n"
    ));
    family.expect(&format!("web@{SERVICES} started"));
    // It follows when its first event is there, and then its output fills up while nobody reads it.
    let (mut ctl, mut events) = unread(&family.home, &["events", "--follow", "--since", "1h", "--json"]);
    let first = events.next().expect("an event").expect("UTF-8");
    family.signal(Signal::TERM);
    family.expect("the family is empty");
    let rest = events.map(|line| line.expect("UTF-8"));
    let all: Vec<Value> = std::iter::once(first)
        .chain(rest)
        .map(|line| serde_json::from_str(&line).expect("each line is JSON"))
        .collect();
    assert!(ctl.wait().expect("our own child").success(), "it hears the end");
    let of = |field: &str, value: &str| all.iter().filter(|event| event[field] == value).count();
    assert!(all.iter().all(|event| event.get("missed").is_none()), "none is missed");
    assert_eq!(
        (of("news", "born"), of("news", "exited"), of("to", "stopped")),
        (SERVICES, SERVICES, SERVICES)
    );
    assert_eq!(all.last().expect("events")["news"], "family-empty");
    assert_eq!(family.end().0, Some(0));
}

#[test]
fn all_that_is_kept_is_shown_however_much_it_is() {
    const LINES: usize = 9_000;
    let mut family =
        Family::up(&format!("[service.talker]\nshell = true\ncommand = \"seq {LINES}; exec sleep 1000\"\n"));
    family.expect(&format!("talker | {LINES}"));
    let (mut ctl, mut lines) = unread(&family.home, &["logs", "talker", "--json"]);
    let first = lines.next().expect("a line").expect("UTF-8");
    // Others are served meanwhile.
    assert_eq!(family.status("talker")["state"], "up");
    let all: Vec<_> = std::iter::once(first).chain(lines.map(|line| line.expect("UTF-8"))).collect();
    assert!(ctl.wait().expect("our own child").success());
    assert!(all.iter().all(|line| !line.contains("missed")), "none is missed");
    assert_eq!(all.len(), LINES);
    let last = family.home.ctl(&["logs", "talker", "--raw", "--lines", "2"]);
    assert_eq!(last.out, format!("{}\n{LINES}\n", LINES - 1));
    assert_eq!(family.shut_down().0, Some(0));
}
