//! The load taken apart, and what this machine offers.

use super::{Made, doula, object, soon};
use serde_json::{Value, json};

#[test]
fn a_blocked_process_is_counted_with_where_it_waits_and_in_which_cgroup() {
    let made = Made::actor("bad_parent", &["vfork"]);
    let one = soon(|| {
        let load = object(&doula(&["doctor", "--load", "--json"]));
        let ours = |one: &&Value| {
            one["threads"]
                .as_array()
                .is_some_and(|all| all.iter().any(|pair| pair[1] == json!(made.child.id())))
        };
        load["blocked"].as_array()?.iter().find(ours).cloned()
    });
    assert_eq!(one["counted"], json!(true), "{one}");
    assert!(one["cgroup"].as_str().is_some_and(|cgroup| cgroup.starts_with('/')), "{one}");
    let said = doula(&["doctor", "--load"]);
    assert!(said.code == Some(0) && said.out.contains("blocked and counted"), "{said:?}");
    assert!(said.out.contains("WAITS IN") && said.out.contains(&made.pid()), "{said:?}");
}

#[test]
fn what_this_machine_offers_is_a_line_each_with_what_is_lost_without() {
    let said = doula(&["doctor", "--self", "--json"]);
    let offers = object(&said);
    let offers = offers.as_array().expect("offers");
    let pidfd = offers.iter().find(|offer| offer["name"] == "pidfd").expect("handles");
    assert!(said.code == Some(0) && pidfd["has"] == json!(true), "{said:?}");
    assert!(
        offers.iter().all(|offer| offer["without"].as_str().is_some_and(|text| !text.is_empty())),
        "{offers:?}"
    );
    let text = doula(&["doctor", "--self"]).out;
    assert_eq!(text.lines().count(), offers.len() + 1, "{text}");
}
