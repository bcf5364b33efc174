//! Limits of whole services, from the configuration to what a program feels, and what is said where they do not hold.

use crate::contain::skipped;
use crate::family::{Family, Home, place};
use crate::hidden::{Hierarchies, without};
use std::fs;

/// Whether some hierarchy here takes limits by this controller, so far as can be seen from outside.
fn holds(family: &Family, service: &str) -> bool {
    let why = family.ask(&["why", service]);
    let notes = why["services"][0]["notes"].as_array().expect("a list").clone();
    if notes.is_empty() {
        return true;
    }
    skipped(&notes[0].to_string());
    false
}

/// Whether some line contains this.
fn told(lines: &[String], part: &str) -> bool {
    lines.iter().any(|line| line.contains(part))
}

#[test]
fn a_service_cannot_have_more_processes_than_its_limit() {
    let mut family = Family::up(
        "[service.eater]\ncommand = \"ACTORS/pid_eater 60\"\nstop = { leftover-grace = \"100ms\" }\nlimits = { pids = 8 }\n\
         [service.other]\ncommand = \"ACTORS/pid_eater 20\"\nstop = { leftover-grace = \"100ms\" }\n",
    );
    let said = family.expect("eater | pid_eater:");
    if holds(&family, "eater") {
        assert!(said.contains("7 children"), "{said}");
    }
    let (_, lines) = family.shut_down();
    assert!(told(&lines, "other | pid_eater: 20 children: as asked"), "{}", lines.join("\n"));
}

#[test]
fn who_eats_more_memory_than_its_limit_is_killed_and_that_is_told_as_the_reason() {
    let mut family = Family::up(
        "[service.eater]\ncommand = \"ACTORS/memory_eater 256\"\nlimits = { memory = \"24MiB\" }\nrestart = \"never\"\n\
         [service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("eater is failed");
    if holds_no_memory(&family) {
        return;
    }
    let why = family.home.ctl(&["why", "eater"]);
    assert!(why.out.contains("because it was killed by SIGKILL"), "{}", why.out);
    assert!(why.out.contains("killed for want of memory: 1 (its limit is 24 MiB)"), "{}", why.out);
    let events = family.home.ctl(&["events", "eater", "--json"]);
    let told = events.out.lines().find(|line| line.contains("out-of-memory")).expect("an event").to_owned();
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((&told["killed"], &told["limit"]), (&1.into(), &(24 << 20).into()));
    assert_eq!(family.status("other")["state"], "up");
    let (_, lines) = family.shut_down();
    place(&lines, "eater ran out of memory: the kernel killed 1 process of it (its limit is 24 MiB)");
}

/// Where no memory controller can be used, the program fails by itself, and `why` says what holds instead.
fn holds_no_memory(family: &Family) -> bool {
    let why = family.home.ctl(&["why", "eater"]).out;
    let missing = why.contains("RLIMIT_DATA");
    if missing {
        skipped("no memory controller can be used here");
    }
    missing
}

#[test]
fn a_service_gets_no_more_cpu_time_than_its_limit() {
    let spin = "trap 'exit 0' TERM; n=0; while [ $n -lt 150000 ]; do n=$((n+1)); done; echo spun; while :; do sleep 1; done";
    let mut family = Family::up(&format!(
        "[service.spinner]\nshell = true\ncommand = \"{spin}\"\nlimits = {{ cpu = 0.2 }}\n"
    ));
    family.expect("spinner started");
    if !holds(&family, "spinner") {
        family.shut_down();
        return;
    }
    family.expect("spinner | spun");
    // Whoever was held back was so by the controller: it counts the periods.
    let status = family.status("spinner");
    let groups = status["cgroups"].as_array().expect("a list").clone();
    let throttled = groups.iter().filter_map(|group| group.as_str()).find_map(|group| {
        let text = fs::read_to_string(format!("{group}/cpu.stat")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.parse::<u64>().ok())
    });
    assert!(throttled.expect("the controller's count") > 0, "{groups:?}");
    family.shut_down();
}

#[test]
fn a_limit_that_changes_holds_from_the_next_life_on() {
    let text = |pids: &str| {
        format!(
            "[service.eater]\ncommand = \"ACTORS/pid_eater 30\"\nstop = {{ leftover-grace = \"100ms\" }}\n{pids}\n"
        )
    };
    let mut family = Family::up(&text("limits = { pids = 8 }"));
    family.expect("eater | pid_eater:");
    if !holds(&family, "eater") {
        family.shut_down();
        return;
    }
    for (limit, children) in [("limits = { pids = 5 }", "4 children"), ("", "30 children: as asked")] {
        family.home.write(&text(limit));
        let said = family.home.ctl(&["reload"]);
        assert!(said.code == Some(0) && said.out.contains("limits"), "{said:?}");
        let said = family.expect("eater | pid_eater:");
        assert!(said.contains(children), "{limit}: {said}");
    }
    family.shut_down();
}

#[test]
fn without_controllers_rlimits_hold_what_they_can_and_the_rest_is_said_aloud() {
    for hidden in [Hierarchies::All, Hierarchies::ReadOnly] {
        let home = Home::new(
            "[service.memory]\ncommand = \"ACTORS/memory_eater 256\"\nlimits = { memory = \"64MiB\" }\nrestart = \"never\"\n\
             [service.pids]\ncommand = \"ACTORS/pid_eater 5\"\nstop = { leftover-grace = \"100ms\" }\nlimits = { pids = 8, cpu = 0.5 }\n",
        );
        let Some(command) = without(hidden, &home) else { return };
        let mut family = Family::with(home, command);
        family.expect("memory is failed");
        let why = family.home.ctl(&["why", "pids"]).out;
        for part in
            ["its limit of 8 processes does not hold", "no rlimit holds for root", "CPU time does not hold"]
        {
            assert!(why.contains(part), "no `{part}` in {why}");
        }
        let (_, lines) = family.shut_down();
        assert!(!told(&lines, "memory_eater: 256 MiB"), "{}", lines.join("\n"));
        place(&lines, "its limit of 64 MiB of memory holds by RLIMIT_DATA, for each of its processes alone");
        place(&lines, "its limit of CPU time does not hold: no cgroup controller `cpu` can be used here");
    }
}

#[test]
fn limits_by_v1_controllers_hold_where_v2_is_hidden() {
    let home = Home::new(
        "[service.eater]\ncommand = \"ACTORS/pid_eater 30\"\nstop = { leftover-grace = \"100ms\" }\nlimits = { pids = 8 }\n",
    );
    let Some(command) = without(Hierarchies::V2, &home) else { return };
    let mut family = Family::with(home, command);
    let said = family.expect("eater | pid_eater:");
    if holds(&family, "eater") {
        assert!(said.contains("7 children"), "{said}");
    }
    family.shut_down();
}
