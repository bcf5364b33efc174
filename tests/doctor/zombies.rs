//! Each cause of zombies, made on purpose.

use super::blocked::Group;
use super::{DOULA, Made, as_another, doctor, doula, is_root, object, skipped, soon};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

/// What is found about the zombies of a process, once it is of this cause.
fn finding(pid: &str, cause: &str) -> Value {
    soon(|| {
        let (said, found) = doctor(pid);
        let finding = found["zombies"].as_array()?.iter().find(|one| one["cause"] == cause)?.clone();
        assert_eq!(said.code, Some(1), "{said:?}");
        Some(finding)
    })
}

#[test]
fn each_cause_of_zombies_is_told_with_how_they_ended_and_a_cure() {
    for (how, cause) in [
        ("never", "never-waits"),
        ("handler", "handler-does-not-wait"),
        ("pending", "blocked-and-pending"),
        ("taken", "blocked"),
        ("late", "ignored-too-late"),
        ("other", "waits-for-another"),
        ("stopped", "parent-stopped"),
        ("vfork", "parent-blocked"),
    ] {
        let made = Made::actor("bad_parent", &[how, "2", "3"]);
        let finding = finding(&made.pid(), cause);
        assert_eq!(
            (&finding["count"], &finding["parent"]["pid"]),
            (&json!(2), &json!(made.child.id())),
            "{how}"
        );
        assert_eq!(finding["zombies"][0]["exit"], json!("exited with code 3"), "{how}: {finding}");
        assert!(finding["zombies"][0]["age"].as_f64().is_some_and(|age| age >= 0.0), "{how}");
        assert!(finding["cures"].as_array().is_some_and(|cures| !cures.is_empty()), "{how}: {finding}");
        // On a machine that is very slow, a minute may have passed.
        let early = finding["too_early"].as_f64().is_some_and(|since| since < 60.0);
        assert!(
            early == finding["growth"].is_null() && early == finding["full"].is_null(),
            "{how}: {finding}"
        );
    }
}

#[test]
fn the_sentences_name_the_parent_the_cause_the_end_and_the_cure() {
    let made = Made::actor("bad_parent", &["handler", "1", "3"]);
    let said = doula(&["doctor", &made.pid()]);
    let first = format!(
        "1 zombie of {} (bad_parent) stays, because the parent has a handler for SIGCHLD",
        made.pid()
    );
    assert!(said.code == Some(1) && said.out.contains(&first), "{said:?}");
    for part in
        ["(bad_parent) exited with code 3; it was born", "    cure: send SIGCHLD to", "    or: wait inside"]
    {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let all = doula(&["doctor"]);
    assert!(all.code == Some(1) && all.out.contains(&first), "{all:?}");
}

#[test]
fn a_zombie_itself_can_be_asked_about() {
    let made = Made::actor("bad_parent", &["never"]);
    let zombie = finding(&made.pid(), "never-waits")["zombies"][0]["pid"].to_string();
    let (_, found) = doctor(&zombie);
    assert_eq!(found["state"], json!("Z"));
    assert_eq!(found["zombies"][0]["parent"]["pid"], json!(made.child.id()), "{found}");
}

#[test]
fn a_first_thread_that_ended_before_others_is_told_from_a_zombie() {
    let made = Made::actor("bad_parent", &["headless"]);
    let finding = finding(&made.pid(), "leader-dead");
    assert_eq!((&finding["zombies"][0]["living"], &finding["count"]), (&json!(1), &json!(1)), "{finding}");
    assert!(finding["cures"][0].as_str().is_some_and(|cure| cure.contains("doula kill")), "{finding}");
}

#[test]
fn a_tracer_that_has_not_taken_the_end_of_a_child_is_named() {
    let parent = Made::shell("sleep 1000 & echo $!; wait; read x");
    let tracer = Made::actor("bad_tracer", &[&parent.first]);
    if tracer.first != "held" {
        return skipped("we may not trace others here");
    }
    let finding = finding(&parent.pid(), "held-by-tracer");
    assert_eq!(finding["zombies"][0]["tracer"]["pid"], json!(tracer.child.id()), "{finding}");
    drop(tracer);
    soon(|| doctor(&parent.pid()).1["zombies"].as_array().filter(|all| all.is_empty()).map(|_| ()));
}

#[test]
fn pid_1_of_a_namespace_is_told_as_such() {
    let mut command = Command::new("unshare");
    command.args(["-pf", "--"]).arg(super::actors::actor("bad_parent")).args(["never", "1"]);
    let made = Made::new(&mut command);
    if made.first != "bad" {
        return skipped("no PID namespace of our own here");
    }
    let said = doula(&["ps", "--json", "-o", "pid", "-w", &format!("ppid={}", made.pid())]);
    let init = object(&said)["pid"].to_string();
    let finding = finding(&init, "init-buries-late");
    assert!(finding["cures"].as_array().is_some_and(|cures| {
        cures.iter().any(|cure| cure.as_str().is_some_and(|cure| cure.contains("doula init")))
    }));
}

#[test]
fn growth_is_measured_over_an_interval_where_that_is_asked_for() {
    let made = Made::actor("bad_parent", &["never", "2"]);
    let said = doula(&["doctor", "--interval", "100ms", "--json"]);
    let value = object(&said);
    let all = value["zombies"].as_array().expect("findings");
    let ours = all.iter().find(|one| one["parent"]["pid"] == json!(made.child.id())).expect("ours");
    assert_eq!(
        (&ours["growth"]["how"], &ours["growth"]["per_hour"]),
        (&json!("measured"), &json!(0.0)),
        "{ours}"
    );
}

/// Has `bad_parent more` have zombies until this one has ended, at most so many; gives what this one said.
fn while_zombies_come(made: &mut Made, most: usize, doctor: &mut Command) -> Value {
    let doctor = doctor.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("doula");
    let pid = Pid::from_child(&doctor);
    let handle = pidfd_open(pid, PidfdFlags::empty()).expect("our child");
    let looks = || poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&Timespec::default())) == Ok(0);
    let mut line = [0; 4];
    for _ in 0..most {
        if !looks() {
            break;
        }
        made.child.stdin.as_mut().expect("a pipe").write_all(b"x").expect("it reads");
        made.child.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("a line");
        assert_eq!(&line, b"bad\n");
    }
    let said = doctor.wait_with_output().expect("our child");
    serde_json::from_slice(&said.stdout).expect("an object")
}

#[test]
fn zombies_that_become_more_in_a_cgroup_are_told_with_when_its_pids_max_is_used_up() {
    const MOST: u64 = 4000;
    let undo = ("pids.max", "max");
    let roots = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let Some(group) = roots.into_iter().find_map(|root| Group::new(root, "pids.max", undo)) else {
        return skipped("no cgroup of our own that limits how many processes there are");
    };
    let mut made = Made::actor("bad_parent", &["more", "2"]);
    let pid = made.pid();
    assert!(group.write("pids.max", &MOST.to_string()) && group.write("cgroup.procs", &pid));
    let (growth, full, count) = (0..5)
        .find_map(|_| {
            let mut doctor = Command::new(DOULA);
            doctor.args(["doctor", &pid, "--interval", "300ms", "--json"]);
            let finding = while_zombies_come(&mut made, 500, &mut doctor)["zombies"][0].clone();
            let grows = finding["growth"]["per_hour"].as_f64().is_some_and(|rate| rate > 0.0);
            grows.then(|| (finding["growth"].clone(), finding["full"].clone(), finding["count"].clone()))
        })
        .expect("zombies came between both looks of one of five");
    let number = |value: &Value| value.as_f64().expect("a number");
    assert_eq!(growth["how"], json!("measured"));
    assert!(number(&growth["over"]) >= 0.3, "{growth}");
    // So many came: a whole number, and no more than there are.
    let came = number(&growth["per_hour"]) * number(&growth["over"]) / 3600.0;
    assert!((came - came.round()).abs() < 1e-6 && came >= 1.0 && came <= number(&count), "{growth}: {came}");
    let name = format!("pids.max of {}", group.path.display());
    assert_eq!((&full["name"], &full["most"]), (&json!(name), &json!(MOST)), "{full}");
    // Zombies are numbers that are used, and so is whoever has them.
    assert!(number(&full["used"]) > came && number(&full["used"]) < MOST as f64, "{full}");
    let hours = (MOST as f64 - number(&full["used"])) / number(&growth["per_hour"]);
    assert!((number(&full["hours"]) - hours).abs() < 1e-9, "{full}: {hours}");
    drop(made);
    drop(group);
}

#[test]
fn who_is_not_there_is_an_error_and_so_is_what_is_no_number() {
    let gone = Made::shell("echo here");
    let pid = gone.pid();
    drop(gone);
    assert_eq!(doula(&["doctor", &pid]).code, Some(1));
    assert_eq!(doula(&["doctor", "0"]).code, Some(2));
    assert_eq!(doula(&["doctor", "x"]).code, Some(2));
    // Root sees all of us.
    assert!(!is_root() || doctor("1").1["pid"] == json!(1));
}

#[test]
fn another_user_is_told_whose_zombies_stay_and_what_he_may_not_see() {
    let made = Made::actor("bad_parent", &["stopped", "1", "3"]);
    let Some(said) = as_another(&["doctor", "--json", &made.pid()]) else { return };
    let value = object(&said);
    let finding = &value["zombies"][0];
    assert_eq!((said.code, &finding["count"]), (Some(1), &json!(1)), "{said:?}");
    // Everybody may see the states and the signals of the parent; how a zombie ended, only its own user.
    assert_eq!(finding["cause"], json!("parent-stopped"), "{said:?}");
    assert_eq!(finding["zombies"][0]["exit"], json!(null), "{said:?}");
}
