//! A family lives as well where the kernel is older, or a container engine's sandbox refuses what is newer.

use crate::actors::actor;
use crate::contain::skipped;
use crate::family::{Family, Home, count, place};

const FAMILY: &str = "[service.web]\ncommand = \"ACTORS/env_dump\"\nkind = \"oneshot\"\n\
    [service.confined]\nshell = true\nrequires = [\"web\"]\nready = { log-line = \"Seccomp\" }\nstop = { signal = \"TERM\", scope = \"group\" }\n\
    command = \"grep Seccomp: /proc/self/status; sleep 1000 & exec sleep 1000\"\n\
    [service.runaway]\nshell = true\nrequires = [\"web\"]\nready = { log-line = \"away\" }\n\
    command = \"(setsid sh -c 'trap '' TERM; echo away; exec sleep 1000' &); exec sleep 1000\"\n\
    stop = { grace = \"100ms\", leftover-grace = \"100ms\" }\n\
    [service.crash]\ncommand = \"ACTORS/crasher SEGV\"\nrequires = [\"runaway\"]\n\
    restart = { when = \"always\", delay = \"10ms\", limit = { burst = 2, interval = \"1m\" } }\n";

#[test]
fn a_family_lives_and_ends_the_same_where_newer_calls_are_refused() {
    let mut contained = None;
    for sandbox in ["", "linux-5.10", "container", "container-2020"] {
        let home = Home::new(FAMILY);
        let mut command = home.command(env!("CARGO_BIN_EXE_doula"));
        if !sandbox.is_empty() {
            command = home.command(actor("sandboxed"));
            if command.args([sandbox, "true"]).status().is_ok_and(|status| status.code() == Some(77)) {
                return skipped("no seccomp filter can be set here");
            }
            command = home.command(actor("sandboxed"));
            command.args([sandbox, env!("CARGO_BIN_EXE_doula")]);
        }
        command.arg("up");
        let lines = live(Family::with(home, command), sandbox);
        let own = lines.iter().any(|line| line.starts_with("web | 0::") && line.ends_with("/web"));
        // Without a sandbox it depends on the machine whether there are cgroups.
        assert_eq!(
            own,
            *contained.get_or_insert(own),
            "{sandbox}: in a cgroup of its own: {}",
            lines.join("\n")
        );
    }
}

/// Lives it through, and gives all that was said.
fn live(mut family: Family, sandbox: &str) -> Vec<String> {
    family.expect("crash is failed, because it was restarted too often");
    family.ask(&["restart", "confined"]);
    let said = family.home.ctl(&["wait", "confined", "--until", "ready"]);
    assert_eq!(said.code, Some(0), "{sandbox}: {said:?}");
    assert_eq!(family.status("runaway")["state"], "up");
    let (code, lines) = family.shut_down();
    let text = lines.join("\n");
    assert_eq!(code, Some(0), "{sandbox}: {text}");
    let in_force = if sandbox.is_empty() { 0 } else { 2 };
    assert!(count(&lines, "confined | Seccomp:\t2") >= in_force, "{sandbox} is in force: {text}");
    assert_eq!(count(&lines, "crash was killed by SIGSEGV"), 3, "{sandbox}: {text}");
    assert!(place(&lines, "web exited cleanly") < place(&lines, "confined started"), "{text}");
    lines
}
