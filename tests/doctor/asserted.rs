//! `doula assert`: what is so, what becomes so, and what does not.

use super::{Made, doula, object};
use serde_json::json;

#[test]
fn a_claim_that_holds_is_0_one_that_does_not_is_1_with_evidence_and_a_wrong_one_is_2() {
    let made = Made::actor("bad_parent", &["never", "2"]);
    let claim = |rest: &str| format!("zombies(under={}) {rest}", made.pid());
    let said = doula(&["assert", &claim("== 2")]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "it is so: 2 counted\n"), "{said:?}");
    let said = doula(&["assert", &claim("== 0 within 50ms")]);
    assert!(said.code == Some(1) && said.out.starts_with("it is not so: 2 counted\n"), "{said:?}");
    for part in ["(bad_parent) a zombie, child of", "because SIGCHLD does nothing in the parent"] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let said = doula(&["assert", "ghosts == 0"]);
    assert!(said.code == Some(2) && said.err.contains("`ghosts` cannot be counted"), "{said:?}");
}

#[test]
fn a_claim_may_become_true_in_time_and_must_stay_so_for_as_long_as_is_said() {
    let made = Made::actor("bad_parent", &["once"]);
    let pid = made.pid();
    // It is told of its zombie while we wait for the burial.
    let telling = std::thread::spawn({
        let pid = pid.clone();
        move || doula(&["reap", &pid, "--yes"])
    });
    let said = doula(&["assert", &format!("zombies(under={pid}) == 0 within 1min for 50ms"), "--json"]);
    assert_eq!(telling.join().expect("a run").code, Some(0));
    let value = object(&said);
    assert_eq!((said.code, &value["held"], &value["count"]), (Some(0), &json!(true), &json!(0)), "{said:?}");
    assert!(value["after"].as_f64().is_some_and(|after| after >= 0.05), "{said:?}");
}

#[test]
fn who_is_blocked_for_long_is_told_from_who_is_for_a_moment() {
    let made = Made::actor("bad_parent", &["vfork"]);
    let claim = format!("blocked(under={}, lasting=50ms) == 1 within 1min", made.pid());
    let said = doula(&["assert", &claim]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let never = format!("blocked(under={}, lasting=50ms) == 0", made.pid());
    assert_eq!(doula(&["assert", &never, "--json"]).code, Some(1));
    let threads = format!("threads(under={}, name=bad_parent) >= 2", made.pid());
    assert_eq!(doula(&["assert", &threads]).code, Some(0));
}
