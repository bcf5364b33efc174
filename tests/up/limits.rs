//! Limits of whole services, from the configuration to what a program feels, and what is said where they do not hold.

use crate::actors::actor;
use crate::attributes::{is_root, reachable};
use crate::contain::skipped;
use crate::family::{Family, Home, count, place};
use crate::hidden::{Hierarchies, without};
use crate::scope::Scope;
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

#[test]
fn a_descendant_that_is_killed_for_want_of_memory_is_told_at_once_while_the_service_lives() {
    let mut family = Family::up(
        "[service.eater]\nshell = true\ncommand = \"(ACTORS/memory_eater 256); exec sleep 1000\"\n\
         limits = { memory = \"24MiB\" }\n",
    );
    family.expect("eater started");
    if holds_no_memory(&family) {
        return;
    }
    family.expect("eater ran out of memory: the kernel killed 1 process of it (its limit is 24 MiB)");
    let status = family.status("eater");
    assert_eq!((&status["state"], &status["generation"]), (&"up".into(), &1.into()), "{status}");
    let (_, lines) = family.shut_down();
    assert_eq!(count(&lines, "ran out of memory"), 1, "it is told once: {}", lines.join("\n"));
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
        place(&lines, "its limit of 64 MiB of memory holds by RLIMIT_DATA, for each process alone");
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

#[test]
fn a_limit_holds_by_the_leaf_of_a_service_where_cgroup_v2_has_the_controller() {
    let mut family = Family::up(
        "[service.eater]\ncommand = \"ACTORS/pid_eater 30\"\nstop = { leftover-grace = \"100ms\" }\n\
         limits = { pids = 8, memory = \"64MiB\", cpu = 0.5 }\n",
    );
    let said = family.expect("eater | pid_eater:");
    let status = family.status("eater");
    let leaf = status["cgroups"][0].as_str().unwrap_or_default().to_owned();
    let mut held = 0;
    for (controller, file, expected) in [
        ("pids", "pids.max", "8\n"),
        ("memory", "memory.max", "67108864\n"),
        ("cpu", "cpu.max", "50000 100000\n"),
    ] {
        match fs::read_to_string(format!("{leaf}/{file}")) {
            Ok(value) => {
                assert_eq!(value, expected, "{leaf}/{file}");
                held += 1;
            }
            Err(_) => skipped(&format!("no cgroup v2 controller `{controller}` can be used here")),
        }
    }
    if held == 3 {
        assert!(said.contains("7 children"), "{said}");
        assert_eq!(status["cgroups"].as_array().map(Vec::len), Some(1), "no v1 group beside it: {status}");
    }
    family.shut_down();
}

#[test]
fn without_controllers_an_ordinary_user_has_no_more_processes_than_the_limit() {
    if !is_root() {
        return skipped("only root can give a service a user of its own, who has no other processes");
    }
    // A user of its own, since the limit counts all processes of a user.
    let user = 1_100_000_000 + std::process::id();
    let home = reachable(&format!(
        "[service.eater]\ncommand = \"./pid_eater 60\"\nuser = {user}\ngroup = {user}\n\
         stop = {{ leftover-grace = \"100ms\" }}\nlimits = {{ pids = 8 }}\n",
    ));
    fs::copy(actor("pid_eater"), home.dir.join("pid_eater")).expect("a copy that this user may execute");
    let Some(command) = without(Hierarchies::All, &home) else { return };
    let mut family = Family::with(home, command);
    let said = family.expect("eater | pid_eater:");
    assert!(said.contains("7 children: Resource temporarily unavailable"), "{said}");
    let (_, lines) = family.shut_down();
    place(&lines, "its limit of 8 processes holds by RLIMIT_NPROC, which counts all processes of its user");
}

#[test]
fn a_supervisor_that_is_alone_in_a_cgroup_steps_aside_with_its_keeper_and_leaves_it_as_it_was() {
    let Some(scope) = Scope::new(&["memory", "pids", "cpu"]) else { return };
    let home = Home::new(
        "[service.eater]\ncommand = \"ACTORS/pid_eater 30\"\nstop = { leftover-grace = \"100ms\" }\n\
         limits = { pids = 8, memory = \"64MiB\", cpu = 0.5 }\n",
    );
    let mut command = scope.around(home.command("sh"));
    command.args([env!("CARGO_BIN_EXE_doula"), "up"]);
    let mut family = Family::with(home, command);
    let said = family.expect("eater | pid_eater:");
    assert!(said.contains("7 children"), "{said}");
    assert_eq!(family.ask(&["why", "eater"])["services"][0]["notes"], serde_json::json!([]));
    family.shut_down();
    scope.remove();
}
