//! Trees: whoever is born of a child is ended with it, and that is proven.

use crate::freezer::{Freezer, Newcomer};
use crate::{LONG, actors::actor, handle, is_dead};
use doula_host::cgroup::Cgroups;
use doula_host::{Child, Command, ExitStatus, Pid, Proof, Signal, Stdio};
use doula_sys::poll;
use std::io::{BufRead as _, BufReader, Write as _};
use std::time::Duration;

/// Its first line.
fn line(child: &mut Child) -> String {
    let mut text = String::new();
    let out = child.stdout.as_mut().expect("a pipe");
    BufReader::new(out).read_line(&mut text).expect("a line");
    text.trim().to_owned()
}

fn last_number(line: &str) -> Pid {
    let number = line.rsplit(' ').next().and_then(|word| word.parse().ok()).expect("a number");
    Pid::new(number).expect("a number")
}

/// Those who have this mark in their environment, dead or alive.
pub(crate) fn marked(mark: &str) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = processes.filter_map(|entry| Pid::new(entry.file_name().to_str()?.parse().ok()?));
    let has = |pid: &Pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
    };
    pids.filter(has).collect()
}

/// Ends a storm of children, half of them in sessions of their own; `cgroup` is given to have the tree held by marks.
fn storm(name: &str, cgroup: Option<std::os::fd::OwnedFd>) -> Proof {
    let mut command = Command::exact(actor("fork_storm"));
    command.arg("40").contained().env("DOULA_TEST", name).stdout(Stdio::pipe_out());
    if let Some(cgroup) = cgroup {
        command.cgroup(cgroup);
    }
    let mut child = command.spawn().expect("a birth");
    assert_eq!(line(&mut child), "fork_storm: 40 children");
    let mark = format!("DOULA_TEST={name}");
    assert!(marked(&mark).len() > 1);
    let end = child.kill_tree(LONG).expect("nobody is left");
    assert_eq!(end.status, ExitStatus::signal(Signal::KILL));
    assert!(marked(&mark).iter().all(|&pid| is_dead(pid)));
    end.proof
}

#[test]
fn a_storm_of_children_is_ended_by_what_this_machine_has() {
    let proof = storm(&format!("storm-{}", std::process::id()), None);
    assert!(matches!(proof, Proof::Cgroup | Proof::Mark));
    if proof == Proof::Mark {
        println!("skipped: no cgroup may be made here, so that only marks were tried");
    }
}

#[test]
fn a_storm_of_children_is_ended_by_its_marks_where_no_cgroup_can_be_made() {
    let cgroups = Cgroups::discover("test-marks");
    let leaf = cgroups.as_ref().and_then(|cgroups| cgroups.leaf("one").ok());
    let directory = leaf.as_ref().and_then(|leaf| leaf.open().ok());
    let proof = storm(&format!("marks-{}", std::process::id()), directory);
    assert_eq!(proof, Proof::Mark);
}

#[test]
fn who_is_missed_by_the_kill_of_a_cgroup_is_killed_again() {
    let Some(freezer) = Freezer::new(&format!("doula-missed-{}", std::process::id())) else { return };
    let mut child = Command::new("sleep").arg("1000").contained().spawn().expect("a birth");
    let pid = child.pid().get().unsigned_abs();
    freezer.freeze(pid);
    let (missed, end) = std::thread::scope(|scope| {
        let ends = scope.spawn(|| child.kill_tree(LONG));
        let missed = freezer.one_is_missed(pid);
        (missed.map(Newcomer::end), ends.join().expect("no panic"))
    });
    let end = end.expect("nobody is left");
    assert_eq!(end.status, ExitStatus::signal(Signal::KILL));
    if let Some(missed) = missed {
        assert_eq!((missed, end.proof), (Some(9), Proof::Cgroup));
    }
}

#[test]
fn a_daemon_that_forked_twice_is_found_by_its_mark() {
    let cgroups = Cgroups::discover("test-daemon");
    let leaf = cgroups.as_ref().and_then(|cgroups| cgroups.leaf("one").ok());
    let mut command = Command::exact(actor("double_fork"));
    command.arg("stay").contained().stdout(Stdio::pipe_out());
    if let Some(directory) = leaf.as_ref().and_then(|leaf| leaf.open().ok()) {
        command.cgroup(directory);
    }
    let mut child = command.spawn().expect("a birth");
    let daemon = last_number(&line(&mut child));
    assert!(!is_dead(daemon));
    assert_eq!(child.kill_tree(LONG).map(|end| end.proof), Ok(Proof::Mark));
    assert!(is_dead(daemon));
}

/// The server of a program whose execve(2) stands still in the middle; `None` where that cannot be made, and says why.
fn slow_program() -> Option<Child> {
    let mut server = Command::exact(actor("execs_slowly"));
    server.stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out());
    let mut server = server.spawn().expect("a birth");
    if line(&mut server) != "ready" {
        server.wait();
        println!("skipped: a file system of our own (/dev/fuse) is not to be had here");
        return None;
    }
    Some(server)
}

#[test]
fn who_is_in_the_middle_of_execve_and_lost_its_parent_and_its_session_is_not_left_behind() {
    let Some(mut server) = slow_program() else { return };
    let mut open = Command::new("sleep").arg("1000").spawn().expect("a birth");
    let cgroups = Cgroups::discover("test-exec");
    let leaf = cgroups.as_ref().and_then(|cgroups| cgroups.leaf("one").ok());
    let escape = "setsid sh -c 'echo $$; exec /proc/$1/root/dev/fuse' sh $1 & exit 0";
    let mut command = Command::new("sh");
    command.args(["-c", escape, "sh", &server.pid().to_string()]).contained().stdout(Stdio::pipe_out());
    if let Some(directory) = leaf.as_ref().and_then(|leaf| leaf.open().ok()) {
        command.cgroup(directory);
    }
    let mut child = command.spawn().expect("a birth");
    let escaped = last_number(&line(&mut child));
    assert_eq!(child.wait(), ExitStatus::code(0));
    assert_eq!(line(&mut server), "held");
    let environment = std::fs::read(format!("/proc/{escaped}/environ")).expect("we are root");
    assert!(environment.is_empty(), "its environment is not laid out yet");
    // However often it is looked: nobody knows whose it is.
    let error = child.kill_tree(Duration::from_millis(50)).expect_err("not proven");
    assert!(error.survivors.is_empty() && !is_dead(escaped), "{error}");
    // A tree without a mark has nothing to learn from any environment.
    assert_eq!(open.kill_tree(LONG).map(|end| end.proof), Ok(Proof::Parents));
    server.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("the server lives");
    assert_eq!(child.kill_tree(LONG).map(|end| end.proof), Ok(Proof::Mark));
    assert!(is_dead(escaped));
    server.kill().expect("it is ours");
    server.wait();
}

#[test]
fn who_goes_on_without_its_first_thread_is_found_by_the_mark_of_the_others() {
    let cgroups = Cgroups::discover("test-headless");
    let leaf = cgroups.as_ref().and_then(|cgroups| cgroups.leaf("one").ok());
    let mut command = Command::new("sh");
    let escape = "exec 3<&0; setsid sh -c 'echo $$; exec $1 headless' sh $1 <&3 & exit 0";
    command.args(["-c", escape, "sh"]).arg(actor("bad_parent"));
    command.contained().stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out());
    if let Some(directory) = leaf.as_ref().and_then(|leaf| leaf.open().ok()) {
        command.cgroup(directory);
    }
    let mut child = command.spawn().expect("a birth");
    let escaped = last_number(&line(&mut child));
    // The wait would close it, and with its end that one ends too.
    let input = child.stdin.take();
    assert_eq!(child.wait(), ExitStatus::code(0));
    let held = handle(escaped);
    while !is_dead(escaped) {
        // Its first thread ends at once.
        std::thread::yield_now();
    }
    assert_eq!(poll::readable(&held, Some(Duration::ZERO)), Ok(false), "it only looks dead");
    assert_eq!(child.kill_tree(LONG).map(|end| end.proof), Ok(Proof::Mark));
    assert_eq!(poll::readable(&held, Some(Duration::ZERO)), Ok(true), "it lives on");
    drop(input);
}

#[test]
fn marks_of_a_tree_within_a_tree_are_both_kept() {
    let mut command = Command::exact(actor("env_dump"));
    command.env("DOULA_TREE", "outer").contained();
    let cgroups = Cgroups::discover("test-nested");
    let leaf = cgroups.as_ref().and_then(|cgroups| cgroups.leaf("one").ok());
    if let Some(directory) = leaf.as_ref().and_then(|leaf| leaf.open().ok()) {
        command.cgroup(directory);
    }
    let text = command.output().expect("a capture").stdout_text();
    let mark = text.lines().find_map(|line| line.strip_prefix("env.DOULA_TREE ")).expect("a mark");
    assert!(mark.starts_with("outer,"), "{mark}");
}

#[test]
fn without_a_mark_descendants_are_found_by_their_parents() {
    let mut command = Command::new("sh");
    command.args(["-c", "setsid sleep 1000 & echo $!; wait"]).stdout(Stdio::pipe_out());
    let mut child = command.spawn().expect("a birth");
    let grandchild = last_number(&line(&mut child));
    let end = child.kill_tree(LONG).expect("nobody is left");
    assert_eq!(end.proof, Proof::Parents);
    assert!(is_dead(grandchild));
}

#[test]
fn the_tree_of_a_child_that_has_ended_is_ended_too() {
    let mut command = Command::exact(actor("double_fork"));
    command.contained().stdout(Stdio::pipe_out());
    let mut child = command.spawn().expect("a birth");
    let daemon = last_number(&line(&mut child));
    assert_eq!(child.wait(), ExitStatus::code(0));
    assert!(!is_dead(daemon));
    let end = child.kill_tree(LONG).expect("nobody is left");
    assert_eq!(end.status, ExitStatus::code(0));
    assert!(is_dead(daemon));
}

#[test]
fn a_dropped_tree_is_ended_as_a_whole() {
    let mut command = Command::exact(actor("double_fork"));
    command.arg("stay").contained().stdout(Stdio::pipe_out());
    let mut child = command.spawn().expect("a birth");
    let daemon = last_number(&line(&mut child));
    drop(child);
    assert!(is_dead(daemon));
}
