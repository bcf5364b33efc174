//! What people do with a running family by `doula ctl`.

use crate::family::Family;

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
fn a_reload_touches_only_what_changed_and_a_wrong_file_touches_nothing() {
    let text = |greeting: &str| {
        format!(
            "[service.same]\ncommand = \"ACTORS/polite\"\n\
             [service.new]\ncommand = \"ACTORS/polite\"\nenv = {{ GREETING = {greeting} }}\n"
        )
    };
    let mut family = Family::up(&text("\"hello\""));
    family.expect("polite: ready");
    family.expect("polite: ready");
    let pids = |family: &Family| ["same", "new"].map(|name| family.status(name)["pid"].clone());
    let before = pids(&family);
    family.home.write(&text("[]"));
    let said = family.home.ctl(&["reload"]);
    assert!(said.code == Some(2) && said.err.contains('^'), "{said:?}");
    assert_eq!(pids(&family), before);
    family.home.write(&text("\"good day\""));
    let said = family.home.ctl(&["reload"]);
    assert!(said.code == Some(0) && said.out.contains("new"), "{said:?}");
    family.expect("new | polite: ready");
    let after = pids(&family);
    assert!(after[0] == before[0] && after[1] != before[1], "{before:?} {after:?}");
    family.shut_down();
}
