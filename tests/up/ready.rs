//! What services say and show, and what comes of it: readiness that never comes, descriptors that survive, signs of
//! life that stop, commands around a life that fail.

use crate::family::{Family, count, expect_end, place};
use rustix::process::{Signal, pidfd_send_signal};

#[test]
fn who_is_never_ready_fails_in_time_for_each_kind_of_readiness_and_its_dependants_do_not_start() {
    for ready in [
        "notify = true",
        "fd = 5",
        "tcp = \"127.0.0.1:1\"",
        "http = \"http://127.0.0.1:1/health\"",
        "exec = \"false\"",
        "log-line = \"never said\"",
    ] {
        let (code, lines) = Family::up(&format!(
            "[service.first]\ncommand = \"ACTORS/polite\"\nrestart = \"never\"\n\
             ready = {{ {ready}, timeout = \"200ms\" }}\n\
             [service.later]\ncommand = \"ACTORS/polite\"\nrequires = [\"first\"]\n"
        ))
        .end();
        place(&lines, "first is failed, because it was not ready in time");
        place(&lines, "later is failed, because first, which it requires, is not there");
        assert_eq!(count(&lines, "later started"), 0, "{ready}:\n{}", lines.join("\n"));
        assert_eq!(code, Some(1), "{ready}");
    }
}

#[test]
fn a_stop_by_name_ends_the_dependants_first_and_a_start_brings_the_needed_along() {
    let mut family = Family::up(
        "[service.first]\ncommand = \"ACTORS/notify_ready 0\"\nready = \"notify\"\n\
         [service.later]\ncommand = \"ACTORS/notify_ready 0\"\nready = \"notify\"\nrequires = [\"first\"]\n\
         [service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("later is ready");
    family.ask(&["stop", "first"]);
    assert_eq!(family.status("later")["state"], "stopped");
    family.ask(&["start", "later"]);
    family.expect("first is ready");
    family.expect("later is ready");
    let (code, lines) = family.shut_down();
    assert!(place(&lines, "later exited") < place(&lines, "first is stopping"), "{}", lines.join("\n"));
    assert_eq!(code, Some(0));
}

#[test]
fn descriptors_left_with_doula_survive_a_restart_and_a_sigkill() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/fdstore\"\nready = \"notify\"\nfd-store = 4\n\
         restart = { when = \"always\", delay = \"10ms\" }\n",
    );
    family.expect("fdstore: stored");
    let first = family.status("web")["pid"].to_string();
    family.ask(&["restart", "web"]);
    family.expect(&format!("web | fdstore: given memory: kept by {first}"));
    family.expect("fdstore: stored");
    pidfd_send_signal(family.main_of("web"), Signal::KILL).expect("a process of ours");
    family.expect(&format!("web | fdstore: given memory: kept by {first}"));
    family.expect("fdstore: stored");
    assert_eq!(family.shut_down().0, Some(0));
}

#[test]
fn behind_a_barrier_everything_that_was_said_before_has_been_heard() {
    let mut family = Family::up("[service.web]\ncommand = \"ACTORS/notify_barrier\"\nready = \"notify\"\n");
    family.expect("notify_barrier: passed");
    assert_eq!(family.status("web")["status"], "before the barrier");
    assert_eq!(family.status("web")["state"], "up");
    assert_eq!(family.shut_down().0, Some(0));
}

#[test]
fn who_falls_silent_is_killed_and_starts_again() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/watchdog_silent 2\"\nready = \"notify\"\nwatchdog = \"500ms\"\n\
         restart = { when = \"on-failure\", delay = \"10ms\" }\n\
         [service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("watchdog_silent: hanging");
    family.expect("web is stopping, because its watchdog heard nothing in time");
    family.expect("web starts again");
    family.expect("web is ready");
    let (code, lines) = family.shut_down();
    assert_eq!((count(&lines, "other started"), code), (1, Some(0)), "{}", lines.join("\n"));
}

#[test]
fn who_was_killed_as_a_whole_cleans_up_and_lives_again() {
    let mut family = Family::up(
        "[service.web]\ncommand = [\"ACTORS/ignore_term\"]\nstop = { grace = \"100ms\" }\nshell = true\n\
         post-stop = \"echo cleaned\"\nlimits = { pids = 50 }\n",
    );
    family.expect("ignore_term: ready");
    for _ in 0..2 {
        let answer = family.ask(&["restart", "web"]);
        assert_eq!(answer[0]["state"], "up");
        family.expect("web did not end in its grace time: SIGKILL for all of it");
        family.expect("web | cleaned");
        family.expect("ignore_term: ready");
    }
    let (code, lines) = family.shut_down();
    assert_eq!(count(&lines, "web was killed by SIGKILL"), 3, "{}", lines.join("\n"));
    assert_eq!(code, Some(0));
}

#[test]
fn a_liveness_probe_of_each_kind_finds_the_dead_and_brings_them_back() {
    for probe in ["tcp = \"127.0.0.1:1\"", "http = \"http://127.0.0.1:1/\"", "exec = \"false\""] {
        let mut family = Family::up(&format!(
            "[service.web]\ncommand = \"ACTORS/polite\"\nrestart = {{ when = \"on-failure\", delay = \"10ms\" }}\n\
             liveness = {{ {probe}, interval = \"20ms\", failures = 2 }}\n"
        ));
        family.expect("web liveness probe failed (2 in a row)");
        family.expect("web is stopping, because its liveness probe failed too often");
        family.expect("web started");
        assert_eq!(family.shut_down().0, Some(0), "{probe}");
    }
}

#[test]
fn commands_before_and_after_a_life_run_in_their_order_with_its_environment() {
    let mut family = Family::up(
        "[service.web]\ncommand = [\"ACTORS/polite\"]\nshell = true\nenv = { WHO = \"web\" }\n\
         pre-start = \"echo before $WHO\"\npost-stop = \"echo after $WHO\"\n\
         reload = { command = \"echo again $WHO\" }\n",
    );
    family.expect("web | before web");
    family.expect("web | polite: ready");
    assert_eq!(family.home.ctl(&["reload", "web"]).code, Some(0));
    family.expect("web | again web");
    let (code, lines) = family.shut_down();
    assert!(place(&lines, "web exited cleanly") < place(&lines, "web | after web"), "{}", lines.join("\n"));
    assert_eq!(code, Some(0));
}

#[test]
fn commands_around_a_life_that_fail_are_told() {
    let mut family = Family::up(
        "[service.web]\ncommand = [\"ACTORS/polite\"]\nshell = true\n\
         post-stop = \"exit 5\"\nreload = { command = \"exit 4\" }\n\
         [service.early]\ncommand = \"ACTORS/polite\"\nrestart = \"never\"\npre-start = \"ACTORS/exit_with 3\"\n\
         [service.missing]\ncommand = \"ACTORS/polite\"\nrestart = \"never\"\npre-start = \"/nowhere/at-all\"\n",
    );
    family.expect("web | polite: ready");
    family.home.ctl(&["reload", "web"]);
    family.expect("web reload command exited with code 4");
    assert_eq!(family.status("web")["state"], "up", "it goes on as it was");
    let (code, lines) = family.shut_down();
    for told in [
        "web post-stop command exited with code 5",
        "early pre-start command exited with code 3",
        "missing: `/nowhere/at-all` does not exist",
    ] {
        place(&lines, told);
    }
    assert_eq!(code, Some(0), "{}", lines.join("\n"));
}

/// Says that it is ready, and on SIGTERM twice that it ends.
const ENDS_TWICE: &str = "\
import os, signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
address = os.environ['NOTIFY_SOCKET']
speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
speaker.connect('\\\\0' + address[1:] if address[0] == '@' else address)
speaker.send(b'READY=1')
signal.sigwait([signal.SIGTERM])
speaker.send(b'STOPPING=1')
speaker.send(b'STOPPING=1')
";

#[test]
fn what_a_life_said_at_its_end_is_not_taken_for_words_of_the_next_one() {
    let mut family = Family::up(&format!(
        "[service.web]\ncommand = [\"python3\", \"-c\", '''\n{ENDS_TWICE}''']\nready = \"notify\"\n\
         restart = {{ when = \"always\", delay = \"0s\" }}\n"
    ));
    family.expect("web is ready");
    let first = family.main_of("web");
    // It says all and ends while nobody hears it.
    family.signal(Signal::STOP);
    pidfd_send_signal(&first, Signal::TERM).expect("it lives");
    expect_end(&first);
    family.signal(Signal::CONT);
    family.expect("web is ready");
    assert_eq!(family.home.ctl(&["wait", "web", "--until", "ready"]).code, Some(0));
    let (code, lines) = family.shut_down();
    assert_eq!((code, count(&lines, "web started as pid")), (Some(0), 2), "{lines:?}");
}
