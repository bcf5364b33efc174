//! Who starts when: readiness of every kind, and the order that follows from it.

use crate::family::{Family, free_port, place};

#[test]
fn a_dependant_starts_when_its_dependency_is_ready_by_each_kind_of_readiness() {
    let port = free_port();
    let probes = free_port();
    for (command, ready) in [
        ("ACTORS/notify_ready 50", r#""notify""#.to_owned()),
        ("ACTORS/notify_fd 5 50", "{ fd = 5 }".to_owned()),
        (
            &*format!("ACTORS/web_worker {port}"),
            format!(r#"{{ tcp = "127.0.0.1:{port}", interval = "20ms" }}"#),
        ),
        (
            &*format!("ACTORS/web_worker {probes}"),
            format!(r#"{{ http = "http://127.0.0.1:{probes}/health", interval = "20ms" }}"#),
        ),
        ("ACTORS/polite", r#"{ exec = "true", interval = "20ms" }"#.to_owned()),
        ("ACTORS/polite", r#"{ log-line = "polite: ready" }"#.to_owned()),
        ("ACTORS/polite", r#""started""#.to_owned()),
    ] {
        let mut family = Family::up(&format!(
            "[service.later]\ncommand = \"ACTORS/polite\"\nrequires = [\"first\"]\n\
             [service.first]\ncommand = \"{command}\"\nready = {ready}\n"
        ));
        family.expect("later | polite: ready");
        let (code, lines) = family.shut_down();
        // Ready at birth needs no line of its own.
        let shown = if ready.contains("started") { "first started" } else { "first is ready" };
        let (ready_at, later) = (place(&lines, shown), place(&lines, "later started"));
        assert!(ready_at < later, "{ready}:\n{}", lines.join("\n"));
        assert!(place(&lines, "later exited") < place(&lines, "first is stopping"), "{}", lines.join("\n"));
        assert_eq!(code, Some(0), "{}", lines.join("\n"));
    }
}

#[test]
fn a_one_shot_is_ready_when_it_has_ended_well() {
    let mut family = Family::up(
        "[service.later]\ncommand = \"ACTORS/polite\"\nrequires = [\"first\"]\n\
         [service.first]\ncommand = \"ACTORS/exit_with 0\"\nkind = \"oneshot\"\n",
    );
    family.expect("later | polite: ready");
    let (code, lines) = family.shut_down();
    assert!(place(&lines, "first exited cleanly") < place(&lines, "later started"));
    assert_eq!(code, Some(0));
}

#[test]
fn the_family_ends_when_nothing_is_left_and_tells_by_its_code_whether_all_went_well() {
    for (exit, code) in [(0, 0), (3, 1)] {
        let task = format!(
            "[service.task]\ncommand = \"ACTORS/exit_with {exit}\"\nkind = \"oneshot\"\nrestart = \"never\"\n"
        );
        let (ended, lines) = Family::up(&task).end();
        assert_eq!(ended, Some(code), "{}", lines.join("\n"));
    }
}

#[test]
fn a_service_that_is_not_ready_in_time_has_failed_to_start() {
    let mut family = Family::up(
        "[service.late]\ncommand = \"ACTORS/notify_ready\"\nready = { notify = true, timeout = \"100ms\" }\n\
         restart = \"never\"\n",
    );
    family.expect("late is failed");
    assert_eq!(family.end().0, Some(1));
}

#[test]
fn a_pre_start_command_that_fails_or_hangs_fails_the_start() {
    for pre in ["\"false\"", "{ command = \"ACTORS/ignore_term\", timeout = \"100ms\" }"] {
        let (code, lines) = Family::up(&format!(
            "[service.web]\ncommand = \"ACTORS/polite\"\npre-start = {pre}\nrestart = \"never\"\n"
        ))
        .end();
        assert!(!lines.iter().any(|line| line.contains("polite: ready")), "{}", lines.join("\n"));
        place(&lines, "web is failed");
        assert_eq!(code, Some(1));
    }
}
