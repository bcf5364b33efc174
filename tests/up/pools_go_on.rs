//! Pools whose supervisor is killed, or becomes another program: nobody notices, and what was under way goes on.

use crate::bounded::PATIENCE;
use crate::family::{Family, count, free_port};
use crate::pools::{begin, deaf_pool, pids, under_load, up, wait_at};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Instant;

/// A pool of three at a TCP socket, or one for each of them.
fn pool(port: u16, more: &str) -> String {
    format!(
        "[pool.web]\nshell = true\ncommand = \"exec ACTORS/web_worker\"\nworkers = 3\nready = \"notify\"\n\
         sockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n{more}"
    )
}

fn killed(family: &mut Family) {
    family.kill();
    family.up_again(&[]);
    family.expect("took over from pid");
}

/// Waits until three workers are there, each in a slot of its own, and this holds for their numbers.
fn settled(family: &Family, holds: impl Fn(&BTreeSet<i64>) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pool = family.ask(&["status", "web"])["pools"][0].clone();
        let workers = pool["workers"].as_array().cloned().unwrap_or_default();
        let slots: Vec<_> = workers.iter().filter_map(|worker| worker["slot"].as_u64()).collect();
        if slots == [1, 2, 3] && up(family).len() == 3 && holds(&pids(family)) {
            return;
        }
        assert!(Instant::now() < deadline, "{pool}");
    }
}

#[test]
fn a_pool_under_load_goes_on_through_kills_and_upgrades_with_the_same_workers_and_no_lost_request() {
    for more in ["", "reuseport = true\n"] {
        let port = free_port();
        let mut family = begin(&pool(port, more));
        let before = pids(&family);
        let (good, bad) = under_load(port, "/", || {
            for _ in 0..3 {
                killed(&mut family);
                family.ask(&["upgrade"]);
                family.expect("goes on under doula");
            }
        });
        assert!(good > 0 && bad == 0, "{more}: {good} answered, {bad} not");
        settled(&family, |pids| *pids == before);
        // They are replaced as ever.
        let (_, bad) = under_load(port, "/", || drop(family.ask(&["restart", "web"])));
        assert_eq!(bad, 0, "{more}");
        settled(&family, |pids| pids.is_disjoint(&before));
        let (code, lines) = family.shut_down();
        assert_eq!(code, Some(0));
        // What the killed one said last may be missing.
        assert!(count(&lines, " started as pid") <= 6, "{more}: {lines:?}");
    }
}

#[test]
fn a_restart_that_was_under_way_is_gone_on_with_and_no_slot_has_two() {
    for more in ["", "reuseport = true\n"] {
        let port = free_port();
        let mut family = begin(&pool(port, &format!("{more}min-ready = \"1s\"\n")));
        let before = pids(&family);
        let mut asker = family.home.command(env!("CARGO_BIN_EXE_doula"));
        asker.args(["ctl", "--name", &family.home.name, "restart", "web"]);
        asker.stdout(Stdio::null()).stderr(Stdio::null());
        let (good, bad) = under_load(port, "/", || {
            let mut asker = asker.spawn().expect("doula starts");
            // The first of them is proved, and the old one is there.
            family.expect("web@4 is ready");
            killed(&mut family);
            assert!(!asker.wait().expect("it ends").success(), "it is told that it does not know");
            settled(&family, |pids| pids.is_disjoint(&before));
        });
        assert!(good > 0 && bad == 0, "{more}: {good} answered, {bad} not");
        let (code, lines) = family.shut_down();
        assert_eq!(code, Some(0));
        // What the killed one said last may be missing.
        assert!(count(&lines, " started as pid") <= 6, "{more}: {lines:?}");
    }
}

#[test]
fn a_changed_configuration_that_was_being_rolled_out_is_rolled_out_by_the_next_supervisor_too() {
    for upgrades in [false, true] {
        let port = free_port();
        let mut family = begin(&pool(port, ""));
        let before = pids(&family);
        let (good, bad) = under_load(port, "/", || {
            family.home.write(&pool(port, "env = { COLOUR = \"green\" }\n"));
            family.ask(&["reload"]);
            family.expect("has replaced web@1 by ");
            if upgrades {
                family.ask(&["upgrade"]);
            } else {
                killed(&mut family);
            }
            settled(&family, |pids| pids.is_disjoint(&before));
        });
        assert!(good > 0 && bad == 0, "{good} answered, {bad} not");
        let (code, lines) = family.shut_down();
        assert_eq!(code, Some(0));
        // What the killed one said last may be missing.
        assert!(count(&lines, " started as pid") <= 6, "{lines:?}");
    }
}

#[test]
fn what_waits_when_nobody_looks_after_a_pool_brings_more_workers_when_somebody_does_again() {
    let (mut family, path) = deaf_pool();
    family.kill();
    let waiting = wait_at(&path);
    family.up_again(&[]);
    family.expect(" to 4 workers, because connections wait");
    drop(waiting);
    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0));
    assert!(count(&lines, " started as pid") <= 4, "{lines:?}");
}
