//! Processes that wait for each other.

use super::{Made, doula, object, soon};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;

#[test]
fn three_who_want_each_others_locks_are_a_circle_that_nobody_else_can_end() {
    let file =
        |number: usize| std::env::temp_dir().join(format!("doula-circle-{}-{number}", std::process::id()));
    let mut all: Vec<Made> = (0..3)
        .map(|number| {
            let (own, next) = (file(number), file((number + 1) % 3));
            Made::actor("wants_lock", &[&own.display().to_string(), &next.display().to_string()])
        })
        .collect();
    for made in &mut all {
        made.child.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("it reads");
    }
    let pids: Vec<Value> = all.iter().map(|made| json!(made.child.id())).collect();
    let circle = soon(|| {
        let said = doula(&["doctor", "--json", "--lasting", "10ms"]);
        let circles = object(&said)["circles"].as_array()?.clone();
        circles.into_iter().find(|circle| {
            pids.iter().all(|pid| circle["members"].as_array().is_some_and(|all| all.contains(pid)))
        })
    });
    assert_eq!(circle["closed"], json!(true), "{circle}");
    let said = doula(&["doctor", &pids[0].to_string()]);
    assert!(
        said.code == Some(1) && said.out.contains("wait for each other: nobody else can end that"),
        "{said:?}"
    );
    drop(all);
    (0..3).for_each(|number| fs::remove_file(file(number)).expect("our file"));
}

#[test]
fn a_thousand_who_read_one_pipe_of_which_each_has_both_ends_are_told_of_one_by_one_and_all_together() {
    // Each waits for all others: a million pairs, of which nobody reads a list.
    let made = Made::shell(
        "exec 5>&1; : | { exec 3<&0 4>/proc/self/fd/0; i=0; \
         while [ $i -lt 1000 ]; do read x <&3 & i=$((i+1)); done; echo $! >&5; wait; }",
    );
    let said = soon(|| Some(doula(&["doctor", &made.first])).filter(|said| said.out.contains("written by")));
    assert!(said.out.contains("more, in read(2)"), "{said:?}");
    let said = doula(&["doctor", "--json", "--lasting", "10ms"]);
    let report = object(&said);
    let circles = report["circles"].as_array().expect("circles");
    let reader: Value = made.first.parse().expect("a number");
    let has_it = |circle: &Value| circle["members"].as_array().is_some_and(|all| all.contains(&reader));
    assert!(!circles.iter().any(has_it), "others could end it: {circles:?}");
}
