//! `doula reap`: by signals where they help, and inside of the parent where that is asked for by name.

use super::{Made, as_another, doctor, doula, skipped, soon};
use serde_json::json;
use std::io::Read as _;

/// How many zombies a process has.
fn zombies(pid: &str) -> usize {
    doctor(pid).1["zombies"]
        .as_array()
        .map_or(0, |all| all.iter().filter_map(|one| one["count"].as_u64()).sum::<u64>() as usize)
}

#[test]
fn without_yes_nothing_is_done_and_with_it_sigchld_makes_those_bury_who_missed_one() {
    let made = Made::actor("bad_parent", &["once"]);
    let plan = doula(&["reap", &made.pid()]);
    assert!(plan.code == Some(1) && plan.out.contains("    would send SIGCHLD to"), "{plan:?}");
    assert_eq!(zombies(&made.pid()), 1);
    let said = doula(&["reap", &made.pid(), "--yes"]);
    assert!(
        said.code == Some(0) && said.out.contains("was buried after we did this: send SIGCHLD to"),
        "{said:?}"
    );
    assert_eq!(zombies(&made.pid()), 0);
    let none = doula(&["reap", &made.pid(), "--yes"]);
    assert!(none.code == Some(0) && none.err.contains("is no zombie and has none"), "{none:?}");
}

#[test]
fn a_stopped_parent_goes_on_and_buries() {
    let made = Made::shell("sleep 1000 & echo $!; kill -STOP $$; wait; read x");
    soon(|| (doctor(&made.pid()).1["state"] == json!("T")).then_some(()));
    assert_eq!(doula(&["kill", &made.first]).code, Some(0));
    soon(|| (zombies(&made.pid()) == 1).then_some(()));
    let said = doula(&["reap", &made.pid(), "--yes", "--json"]);
    assert!(said.code == Some(0) && said.out.contains("send SIGCONT to"), "{said:?}");
}

#[test]
fn signals_alone_do_not_help_against_who_never_waits_and_that_is_told() {
    let made = Made::actor("bad_parent", &["never"]);
    let said = doula(&["reap", &made.pid(), "--yes"]);
    assert!(said.code == Some(1) && said.out.contains("is left, because SIGCHLD does nothing"), "{said:?}");
}

#[test]
fn who_may_not_signal_the_parent_is_told_and_the_zombie_stays() {
    let made = Made::actor("bad_parent", &["once"]);
    let Some(said) = as_another(&["reap", &made.pid(), "--yes"]) else { return };
    let told = said.err.contains("could not send SIGCHLD") && said.err.contains("only root or its own user");
    assert!(said.code == Some(1) && told, "{said:?}");
    assert_eq!(zombies(&made.pid()), 1);
}

/// Buries inside of such a parent; then the parent must end well by itself, having said nothing more.
fn inject(how: &str) {
    let mut made = Made::actor("bad_parent", &[how, "3"]);
    let said = doula(&["reap", &made.pid(), "--yes", "--inject"]);
    if said.err.contains("we may not trace it") {
        return skipped("we may not trace others here");
    }
    assert_eq!(
        (said.code, said.out.matches("call wait4(2) inside of").count()),
        (Some(0), 3),
        "{how}: {said:?}"
    );
    assert_eq!(zombies(&made.pid()), 0);
    drop(made.child.stdin.take());
    assert!(made.child.wait().expect("our child").success(), "{how}");
    let mut rest = String::new();
    made.child.stdout.as_mut().expect("a pipe").read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "", "{how}");
}

#[test]
fn zombies_are_buried_inside_of_a_parent_that_sleeps_in_a_call_and_it_goes_on() {
    inject("never");
    inject("pending");
}

#[test]
fn zombies_are_buried_inside_of_a_parent_that_computes_and_it_computes_right() {
    inject("busy");
}

#[test]
fn zombies_are_buried_inside_of_a_parent_with_several_threads() {
    inject("threads");
}

#[test]
fn a_parent_that_sleeps_for_a_time_goes_on_sleeping() {
    let made = Made::actor("bad_parent", &["sleeps"]);
    let sleeps = |pid: &str| {
        doctor(pid).1["waits"].as_array().is_some_and(|waits| waits.iter().any(|wait| wait["on"] == "time"))
    };
    soon(|| (zombies(&made.pid()) == 1 && sleeps(&made.pid())).then_some(()));
    let said = doula(&["reap", &made.pid(), "--yes", "--inject"]);
    if said.err.contains("we may not trace it") {
        return skipped("we may not trace others here");
    }
    assert_eq!((said.code, zombies(&made.pid())), (Some(0), 0), "{said:?}");
    soon(|| sleeps(&made.pid()).then_some(()));
}

#[test]
fn the_hold_of_a_tracer_is_undone_inside_of_it_and_the_parent_learns_how_its_child_ended() {
    let mut parent = Made::shell("sleep 1000 & echo $!; wait $!; echo $?; read x");
    let tracer = Made::actor("bad_tracer", &[&parent.first]);
    if tracer.first != "held" {
        return skipped("we may not trace others here");
    }
    soon(|| (zombies(&parent.pid()) == 1).then_some(()));
    let plan = doula(&["reap", &parent.pid()]);
    assert!(plan.out.contains("or: take its end inside of") && !plan.out.contains("would call"), "{plan:?}");
    let signals = doula(&["reap", &parent.pid(), "--yes"]);
    assert!(signals.code == Some(1) && signals.out.contains("is left, because its tracer"), "{signals:?}");
    let said = doula(&["reap", &parent.pid(), "--yes", "--inject"]);
    let inside = format!("call wait4(2) inside of {} (bad_tracer)", tracer.pid());
    assert!(said.code == Some(0) && said.out.contains(&inside), "{said:?}");
    let mut status = [0; 4];
    parent.child.stdout.as_mut().expect("a pipe").read_exact(&mut status).expect("a line");
    assert_eq!(&status, b"137\n");
    assert_ne!(doctor(&tracer.pid()).1["state"], json!("Z"), "it lives on");
}

#[test]
fn a_parent_that_is_blocked_is_refused_and_so_is_one_that_has_ended_its_first_thread_only() {
    let made = Made::actor("bad_parent", &["vfork"]);
    soon(|| (doctor(&made.pid()).1["state"] == json!("D")).then_some(()));
    let said = doula(&["reap", &made.pid(), "--yes", "--inject"]);
    assert!(said.code == Some(1) && said.err.contains("it is blocked or frozen"), "{said:?}");
    let made = Made::actor("bad_parent", &["headless"]);
    soon(|| (zombies(&made.pid()) == 1).then_some(()));
    let said = doula(&["reap", &made.pid()]);
    assert!(said.out.contains("nothing that could be done here would bury it"), "{said:?}");
}
