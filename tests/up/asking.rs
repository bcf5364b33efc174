//! What `doula ctl` answers about a real family: each verb, in several situations.

use crate::family::{Family, Home};
use crate::people::{greeting, pids};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

/// A `doula ctl` that goes on, and its lines.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Follower {
    fn ctl(home: &Home, words: &[&str]) -> Follower {
        let mut command = home.command(env!("CARGO_BIN_EXE_doula"));
        command.args(["ctl", "--name", &home.name]).args(words);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("doula ctl");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Follower { child, lines }
    }

    /// Reads on until a line has this.
    fn expect(&mut self, part: &str) -> String {
        let found = self.lines.find_map(|line| line.ok().filter(|line| line.contains(part)));
        found.unwrap_or_else(|| panic!("no line has `{part}`"))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_status_has_processes_memory_and_cpu_time_of_each_service_as_a_table_and_as_json() {
    let mut family = Family::up(
        "[service.many]\ncommand = \"ACTORS/fork_storm 6\"\nstop = { leftover-grace = \"100ms\" }\n\
         [service.big]\ncommand = \"ACTORS/memory_eater 40\"\n\
         [service.gone]\ncommand = \"true\"\nkind = \"oneshot\"\n",
    );
    family.expect("started as pid");
    let said = family.home.ctl(&["wait", "gone", "--until", "done"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    // Until both have said that they are complete; their order is not ours.
    let mut logs = Follower::ctl(&family.home, &["logs", "-f", "big"]);
    logs.expect("memory_eater: 40 MiB");
    let mut logs = Follower::ctl(&family.home, &["logs", "-f", "many"]);
    logs.expect("fork_storm: 6 children");
    let many = family.status("many");
    assert_eq!(many["processes"], 7, "{many}");
    let big = family.status("big");
    assert!(big["memory"].as_u64() > Some(40 << 20) && big["memory"].as_u64() < Some(200 << 20), "{big}");
    assert!(big["cpu"].as_f64() > Some(0.0), "{big}");
    assert_eq!(family.status("gone")["processes"], 0);
    let table = family.home.ctl(&["status"]).out;
    for part in ["PROCS", "MEMORY", "CPU", "MiB"] {
        assert!(table.contains(part), "no `{part}` in {table}");
    }
    let why = family.home.ctl(&["why", "many"]).out;
    assert!(why.contains("with 7 processes in all"), "{why}");
    family.shut_down();
}

#[test]
fn a_watched_status_is_told_again_with_each_change() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/polite\"\n[service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("polite: ready");
    let mut watch = Follower::ctl(&family.home, &["status", "--watch", "--json", "web"]);
    watch.expect("\"state\":\"up\"");
    family.ask(&["stop", "web"]);
    let line = watch.expect("\"state\":\"stopped\"");
    let status: Value = serde_json::from_str(&line).expect("each line is JSON");
    assert_eq!(status["services"][0]["name"], "web");
    family.shut_down();
}

#[test]
fn why_names_the_reason_of_every_kind_of_state() {
    let mut family = Family::up(
        "[service.late]\ncommand = \"ACTORS/polite\"\nready = \"notify\"\n\
         [service.waits]\ncommand = \"ACTORS/polite\"\nrequires = [\"late\"]\n\
         [service.pauses]\ncommand = \"ACTORS/exit_with 3\"\nrestart = { when = \"always\", delay = \"1h\", jitter = 0.0 }\n\
         [service.often]\ncommand = \"ACTORS/exit_with 4\"\nrestart = { when = \"always\", delay = \"1ms\", limit = { burst = 2, interval = \"1m\" } }\n\
         [service.ends]\ncommand = \"ACTORS/exit_with 7\"\nrestart = \"never\"\n\
         [service.silent]\ncommand = \"ACTORS/watchdog_silent 1\"\nready = \"notify\"\nwatchdog = \"100ms\"\nrestart = \"never\"\n\
         [service.missing]\ncommand = \"/nowhere/at-all\"\nrestart = \"never\"\n\
         [service.again]\nshell = true\nready = { log-line = \"ready\" }\nrestart = { delay = \"1ms\" }\n\
         command = \"[ -e marker ] && exec ACTORS/polite; touch marker; exit 5\"\n",
    );
    family.expect("started as pid");
    let mut events = Follower::ctl(&family.home, &["events", "-f", "--since", "1h", "silent"]);
    events.expect("silent is failed");
    let mut events = Follower::ctl(&family.home, &["events", "-f", "--since", "1h", "often"]);
    events.expect("often is failed");
    assert_eq!(family.home.ctl(&["wait", "again"]).code, Some(0));
    for (service, parts) in [
        (
            "waits",
            &[
                "waits is waiting since 20",
                "because late is not ready yet",
                "  late is starting",
                "It needs late.",
            ][..],
        ),
        ("late", &["late is starting", "It is needed by waits."]),
        ("pauses", &["pauses is backing off", "because it exited with code 3", "It starts again in 59 min"]),
        ("often", &["often is failed", "because it was restarted too often", "last exited with code 4"]),
        (
            "again",
            &[
                "again is up",
                "because it was started again by itself after it exited with code 5",
                "restarted once by itself, the last time",
            ],
        ),
        ("ends", &["ends is failed", "because it exited with code 7"]),
        ("silent", &["silent is failed", "because its watchdog heard nothing in time"]),
        (
            "missing",
            &["missing is failed", "because it could not be started", "`/nowhere/at-all` does not exist"],
        ),
    ] {
        let why = family.home.ctl(&["why", service]);
        for part in parts {
            assert!(why.out.contains(part), "{service}: no `{part}` in {}", why.out);
        }
        assert_eq!(why.code, Some(0));
    }
    family.shut_down();
}

#[test]
fn events_are_json_lines_that_tell_a_whole_life() {
    let mut family = Family::up(
        "[service.task]\ncommand = \"ACTORS/exit_with 0\"\nkind = \"oneshot\"\n[service.web]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("polite: ready");
    // What happened before is shown too: the last ten.
    let mut events = Follower::ctl(&family.home, &["events", "-f", "--json", "task"]);
    for news in ["born", "exited", "empty"] {
        let line = events.expect(&format!("\"news\":\"{news}\""));
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["service"], "task", "{line}");
        assert!(event["at"].as_str().is_some_and(|at| at.ends_with("+00:00")), "{line}");
    }
    let last = family.home.ctl(&["events", "--lines", "1", "task"]).out;
    assert!(last.lines().count() == 1 && last.contains("task is done"), "{last}");
    assert_eq!(family.home.ctl(&["shutdown"]).code, Some(0));
    family.end();
    // What is followed ends with the family, and well.
    assert_eq!(events.child.wait().expect("our own child").code(), Some(0));
}

#[test]
fn lines_are_followed_as_they_come_and_old_ones_are_left_out_by_their_time() {
    let mut family = Family::up(
        "[service.talker]\nshell = true\n\
         command = \"trap 'echo second' USR1; echo first; while :; do sleep 0.05; done\"\n",
    );
    family.expect("talker | first");
    let mut logs = Follower::ctl(&family.home, &["logs", "-f", "talker"]);
    logs.expect("talker | first");
    assert_eq!(family.home.ctl(&["signal", "USR1", "talker"]).code, Some(0));
    let line = logs.expect("talker | second");
    let time = line.split(' ').next().expect("a time").to_owned();
    let since = family.home.ctl(&["logs", "--since", &time, "talker"]).out;
    assert!(since.contains("second") && !since.contains("first"), "{since}");
    let last = family.home.ctl(&["logs", "--lines", "1", "--raw", "talker"]).out;
    assert_eq!(last, "second\n");
    family.shut_down();
}

#[test]
fn a_wait_ends_with_the_state_or_with_its_time() {
    let mut family = Family::up(
        "[service.late]\ncommand = \"ACTORS/polite\"\nready = \"notify\"\n[service.web]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("web | polite: ready");
    let said = family.home.ctl(&["wait", "web"]);
    assert!(said.code == Some(0) && said.out.contains("web: up"), "{said:?}");
    let said = family.home.ctl(&["wait", "late", "--timeout", "50ms"]);
    assert!(said.code == Some(1) && said.err.contains("the time is over"), "{said:?}");
    assert!(said.out.contains("late: starting"), "{said:?}");
    let mut waiting = Follower::ctl(&family.home, &["wait", "web", "--until", "stopped"]);
    family.ask(&["stop", "web"]);
    waiting.expect("web: stopped");
    family.shut_down();
}

#[test]
fn a_service_reloads_by_its_signal_or_by_its_command_and_keeps_its_process() {
    let mut family = Family::up(
        "[service.signalled]\nshell = true\nreload = { signal = \"USR2\" }\n\
         command = \"trap 'echo read again' USR2; echo listening; while :; do sleep 0.05; done\"\n\
         [service.commanded]\ncommand = \"ACTORS/polite\"\nreload = { command = [\"echo\", \"command ran\"] }\n\
         [service.broken]\ncommand = \"ACTORS/polite\"\nreload = { command = \"ACTORS/exit_with 3\" }\n\
         [service.missing]\ncommand = \"ACTORS/polite\"\nreload = { command = \"/nowhere/at-all\" }\n\
         [service.restarted]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("signalled | listening");
    let said = family.home.ctl(&["wait"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let pid = |family: &Family, name: &str| family.status(name)["pid"].clone();
    let before = ["signalled", "commanded", "restarted"].map(|name| pid(&family, name));
    for name in ["signalled", "commanded", "restarted"] {
        let said = family.home.ctl(&["reload", name]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    for (name, line) in [("signalled", "read again"), ("commanded", "command ran")] {
        Follower::ctl(&family.home, &["logs", "-f", name]).expect(line);
    }
    let after = ["signalled", "commanded", "restarted"].map(|name| pid(&family, name));
    for (name, what) in
        [("broken", "its reload command exited with code 3"), ("missing", "it could not be started")]
    {
        let said = family.home.ctl(&["reload", name]);
        assert!(
            said.code == Some(1) && said.out.contains(&format!("{name}: up, because {what}")),
            "{said:?}"
        );
        assert_eq!(family.home.ctl(&["reload", name, "--no-wait"]).code, Some(0));
    }
    assert_eq!(before[..2], after[..2]);
    assert_ne!(before[2], after[2]);
    family.shut_down();
}

#[test]
fn sighup_reads_the_file_again_and_a_wrong_one_changes_nothing() {
    let (mut family, before) = Family::greeting();
    family.home.write(&greeting("[]"));
    family.signal(rustix::process::Signal::HUP);
    family.expect("SIGHUP: the configuration is not taken");
    assert_eq!(pids(&family), before);
    family.home.write(&greeting("\"good day\""));
    let dry = family.home.ctl(&["reload", "--dry-run"]).out;
    assert!(
        dry.contains("~ new: changed") && dry.contains("env.GREETING: \"hello\" → \"good day\""),
        "{dry}"
    );
    assert!(!dry.contains("same"), "{dry}");
    assert_eq!(pids(&family), before);
    family.signal(rustix::process::Signal::HUP);
    family.expect("SIGHUP: the configuration is read again, changed: new");
    family.expect("new | polite: ready");
    let after = pids(&family);
    assert!(after[0] == before[0] && after[1] != before[1], "{before:?} {after:?}");
    family.shut_down();
}

#[test]
fn a_file_that_became_a_fifo_is_not_read_again_and_holds_nobody_up() {
    let (mut family, before) = Family::greeting();
    let file = family.home.dir.join("doula.toml");
    std::fs::remove_file(&file).expect("to remove it");
    let made = family.home.command("mkfifo").arg(&file).status().expect("mkfifo");
    assert!(made.success());
    family.signal(rustix::process::Signal::HUP);
    family.expect("is no regular file, and cannot be read again");
    assert_eq!(pids(&family), before);
    family.shut_down();
}
