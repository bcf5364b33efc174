//! Who starts again, when, and how often.

use crate::family::{Family, count, place};
use rustix::process::Signal;

#[test]
fn a_crash_is_followed_by_restarts_with_growing_pauses_until_there_were_too_many() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/crasher SEGV\"\n\
         restart = { when = \"always\", delay = \"20ms\", limit = { burst = 3, interval = \"1m\" } }\n",
    );
    family.expect("web is failed, because it was restarted too often");
    let (code, lines) = family.end();
    assert_eq!(count(&lines, "web was killed by SIGSEGV"), 4, "{}", lines.join("\n"));
    assert_eq!(count(&lines, "web starts again in"), 3, "{}", lines.join("\n"));
    assert_eq!(code, Some(1));
}

#[test]
fn never_always_and_on_failure_mean_what_they_say() {
    for (when, exit, again) in [
        ("never", 1, false),
        ("never", 0, false),
        ("on-failure", 0, false),
        ("on-failure", 1, true),
        ("always", 0, true),
        ("always", 1, true),
    ] {
        let mut family = Family::up(&format!(
            "[service.web]\ncommand = \"ACTORS/exit_with {exit}\"\nrestart = {{ when = \"{when}\", delay = \"10ms\" }}\n"
        ));
        if again {
            family.expect("web starts again");
            family.shut_down();
        } else {
            let (code, lines) = family.end();
            assert_eq!(count(&lines, "starts again"), 0, "{when} {exit}: {}", lines.join("\n"));
            assert_eq!(code, Some(exit), "{when} {exit}");
        }
    }
}

#[test]
fn the_code_of_an_essential_service_becomes_that_of_the_family() {
    let (code, lines) = Family::up(
        "[service.other]\ncommand = \"ACTORS/polite\"\n\
         [service.main]\ncommand = \"ACTORS/crasher 7 100\"\nessential = true\nrestart = \"never\"\n",
    )
    .end();
    assert_eq!(code, Some(7), "{}", lines.join("\n"));
    place(&lines, "other exited cleanly");
}

#[test]
fn a_service_that_falls_silent_is_ended_by_its_watchdog() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/watchdog_silent 2\"\nready = \"notify\"\nwatchdog = \"200ms\"\n\
         restart = \"never\"\n",
    );
    family.expect("web is failed");
    let (code, lines) = family.end();
    assert!(count(&lines, "watchdog") > 1, "{}", lines.join("\n"));
    assert_eq!(code, Some(1));
}

#[test]
fn a_service_whose_liveness_probe_fails_too_often_is_restarted() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/polite\"\nrestart = { when = \"on-failure\", delay = \"10ms\" }\n\
         liveness = { exec = \"false\", interval = \"20ms\", failures = 2 }\n",
    );
    family.expect("web starts again");
    family.shut_down();
}

#[test]
fn a_service_that_somebody_stopped_is_told_to_be_paused_and_can_be_ended() {
    let mut family =
        Family::up("[service.web]\ncommand = \"ACTORS/stop_self\"\nstop = { grace = \"200ms\" }\n");
    family.expect("web was stopped by a signal");
    assert_eq!(family.status("web")["paused"], true);
    family.signal(Signal::INT);
    assert_eq!(family.end().0, Some(0));
}
