//! Burials: who looks at the wrong child, at too few, too early, or never.

use crate::{after, after_a_second, has_ended, told, zombies};
use std::time::Duration;

/// Two children: `main`, which ends with 3, and another one that ends a little before. Who bears them is busy
/// meanwhile, as one is who reads a signalfd only now and then: both deaths make one SIGCHLD, which tells of the other.
const TWO_DEATHS: &str = "
    sigprocmask block CHLD
    fork as main { sleep 10ms
                   exit 3 }
    fork { sleep 5ms
           exit 0 }
    HANDLER
    sleep 50ms
    sigprocmask unblock CHLD
    loop { pause }";

/// Three children that end while their parent is busy.
const THREE_DEATHS: &str = "
    sigprocmask block CHLD
    repeat 3 { fork { exit 0 } }
    sleep 50ms
    sigprocmask unblock CHLD
    loop { pause }";

/// Orphans that end: five times a child that bears one and goes.
const ORPHANS: &str = "
    repeat 5 {
        fork as middle {
            fork { sleep 20ms }
        }
        wait4 pid $middle
    }";

/// Buries all who are dead, and tells of each.
const BURY_ALL: &str = "loop {
        wait4 any nohang as dead status
        if failed { break }
        if none { break }
        notify buried $dead
    }";

#[test]
fn catatonit_4_the_end_of_main_is_missed_when_sigchld_names_another() {
    let flawed = format!("on CHLD as who {{ if $who is $main {{ exit 3 }}\n {BURY_ALL} }}");
    let mut stage = after_a_second(&TWO_DEATHS.replace("HANDLER", &flawed));
    let buried = vec!["buried 2".to_owned(), "buried 3".to_owned()];
    assert_eq!((told(&mut stage), has_ended(&stage)), (buried, false), "it hangs");
    let by_whom_it_buried = "on CHLD { loop {
            wait4 any nohang as dead status
            if failed { break }
            if none { break }
            if $dead is $main { exit 3 }
        } }";
    assert!(has_ended(&after_a_second(&TWO_DEATHS.replace("HANDLER", by_whom_it_buried))));
}

#[test]
fn containerd_13539_of_several_exits_one_is_published() {
    let flawed = "on CHLD { wait4 any nohang as dead status\n notify exit of $dead }";
    let mut stage = after_a_second(&format!("{flawed}\n{THREE_DEATHS}"));
    assert_eq!(told(&mut stage), ["exit of 2"], "two events are lost");
    let mut stage = after_a_second(&format!("on CHLD {{ {BURY_ALL} }}\n{THREE_DEATHS}"));
    assert_eq!(told(&mut stage), ["buried 2", "buried 3", "buried 4"]);
}

#[test]
fn dumb_init_44_one_wait_for_each_sigchld_leaves_zombies() {
    let flawed = format!("on CHLD {{ wait4 any nohang }}\n{THREE_DEATHS}");
    assert_eq!(zombies(&after_a_second(&flawed)), 2);
    assert_eq!(zombies(&after_a_second(&format!("on CHLD {{ {BURY_ALL} }}\n{THREE_DEATHS}"))), 0);
}

#[test]
fn start9_3713_an_init_that_does_nothing_about_sigchld_keeps_every_orphan() {
    assert_eq!(zombies(&after_a_second(&format!("{ORPHANS}\nloop {{ pause }}"))), 5);
    let waits = "loop { wait4 any\n if failed { pause } }";
    assert_eq!(zombies(&after_a_second(&format!("{ORPHANS}\n{waits}"))), 0);
}

#[test]
fn gitpod_2211_a_supervisor_that_adopts_and_waits_for_its_own_only_keeps_what_it_adopted() {
    let supervisor = |rest: &str| format!("fork {{ subreaper on\n{ORPHANS}\n{rest} }}\nloop {{ wait4 any }}");
    let flawed = "fork as own { loop { pause } }\n wait4 pid $own";
    assert_eq!(zombies(&after_a_second(&supervisor(flawed))), 5);
    assert_eq!(zombies(&after_a_second(&supervisor("loop { wait4 any\n if failed { pause } }"))), 0);
}

#[test]
fn kernel_images_351_either_the_orphans_stay_or_a_wait_for_any_steals_the_status_of_a_command() {
    // A program that is PID 1, runs a command, and asks how it ended when it has done something else.
    let program = |reaper: &str| {
        format!("{reaper}\n{ORPHANS}\nfork as command {{ exit 7 }}\nsleep 100ms\nwait4 pid $command as dead status
            if failed ECHILD {{ notify stolen }}
            notify status $status\nloop {{ pause }}")
    };
    let mut without = after_a_second(&program(""));
    assert_eq!((zombies(&without), told(&mut without)), (5, vec!["status 1792".into()]));
    let thief = "on CHLD { loop { wait4 any nohang\n if failed { break }\n if none { break } } }";
    let mut stolen = after_a_second(&program(thief));
    assert_eq!((zombies(&stolen), told(&mut stolen)[0].as_str()), (0, "stolen"));
    // Two programs: PID 1 buries whoever comes, and the program has none but its own children.
    let apart = program("");
    let scripts =
        [("init", "fork { exec program }\nloop { wait4 any\n if failed { pause } }"), ("program", &apart)];
    let mut apart = after(Duration::from_secs(1), &scripts);
    assert_eq!((zombies(&apart), told(&mut apart)), (0, vec!["status 1792".into()]));
}

#[test]
fn conmon_291_who_buries_once_and_then_delays_its_exit_keeps_those_who_end_later() {
    // The main process leaves two children, which end a moment after it.
    let monitor = |rest: &str| {
        format!(
            "fork {{ subreaper on
                fork as main {{ repeat 2 {{ fork {{ sleep 20ms }} }}\n exit 0 }}
                wait4 pid $main
                {rest}
                notify buried all
                sleep 300s }}
            loop {{ wait4 any }}"
        )
    };
    let mut flawed =
        after_a_second(&monitor("loop { wait4 any nohang\n if failed { break }\n if none { break } }"));
    assert_eq!(
        (zombies(&flawed), told(&mut flawed)),
        (2, vec!["buried all".into()]),
        "as long as the delay lasts"
    );
    assert_eq!(zombies(&after_a_second(&monitor("loop { wait4 any\n if failed ECHILD { break } }"))), 0);
}

#[test]
fn waku_54_a_mask_that_is_inherited_makes_the_childs_own_reaper_blind() {
    // A child that bears workers and buries them whenever SIGCHLD says so.
    let child = "on CHLD { loop { wait4 any nohang\n if failed { break }\n if none { break } } }
        repeat 3 { fork { exit 0 } }
        loop { pause }";
    let run = |init: &str| after(Duration::from_secs(1), &[("init", init), ("child", child)]);
    let flawed = run("sigprocmask block CHLD\nfork { exec child }\nloop { wait4 any }");
    assert_eq!(zombies(&flawed), 3);
    let right = run("sigprocmask block CHLD\nfork { sigprocmask set\n exec child }\nloop { wait4 any }");
    assert_eq!(zombies(&right), 0);
}
