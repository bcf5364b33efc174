//! Blocked states, made on purpose: on what, on whom, and whether SIGKILL would help.

use super::{Made, as_another, doctor, doula, object, skipped, soon};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A wait of a process, once there is one on this.
fn wait(pid: &str, on: &str) -> Value {
    soon(|| doctor(pid).1["waits"].as_array()?.iter().find(|wait| wait["on"] == on).cloned())
}

fn named(wait: &Value, pid: u32) -> bool {
    wait["parties"].as_array().is_some_and(|parties| parties.iter().any(|party| party["pid"] == json!(pid)))
}

#[test]
fn the_parent_of_a_vfork_child_is_blocked_and_sigkill_works() {
    let mut made = Made::actor("bad_parent", &["vfork"]);
    let wait = wait(&made.pid(), "vfork");
    assert_eq!((&wait["state"], &wait["kill"]), (&json!("D"), &json!("works")), "{wait}");
    assert_eq!(wait["parties"][0]["name"], json!("bad_parent"), "{wait}");
    made.child.kill().expect("our child");
    made.child.wait().expect("our child");
}

/// A cgroup of our own. Thawed, emptied and removed when dropped.
pub(super) struct Group {
    pub(super) path: PathBuf,
    thaw: (&'static str, &'static str),
}

impl Group {
    /// With this file, and what undoes what a test writes.
    pub(super) fn new(root: &str, file: &str, thaw: (&'static str, &'static str)) -> Option<Group> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(root).join(format!("doula-doctor-{}-{number}", std::process::id()));
        fs::create_dir(&path).ok()?;
        let group = Group { path, thaw };
        group.path.join(file).exists().then_some(group)
    }

    pub(super) fn write(&self, file: &str, text: &str) -> bool {
        fs::write(self.path.join(file), text).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.write(self.thaw.0, self.thaw.1);
        let up = self.path.parent().map(|parent| parent.join("cgroup.procs"));
        for pid in fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default().lines() {
            let _gone = up.as_ref().map(|up| fs::write(up, pid));
        }
        let _kept = fs::remove_dir(&self.path);
    }
}

#[test]
fn a_process_in_a_frozen_cgroup_of_v1_dies_only_when_that_is_thawed() {
    let thaw = ("freezer.state", "THAWED");
    let Some(group) = Group::new("/sys/fs/cgroup/freezer", "freezer.state", thaw) else {
        return skipped("no freezer of cgroup v1 of our own");
    };
    let made = Made::shell("echo here; read x");
    assert!(group.write("cgroup.procs", &made.pid()) && group.write("freezer.state", "FROZEN"));
    let wait = wait(&made.pid(), "freezer");
    assert_eq!((&wait["state"], &wait["kill"]), (&json!("D"), &json!("when")), "{wait}");
    assert!(wait["cures"][0].as_str().is_some_and(|cure| cure.contains("THAWED")), "{wait}");
    let load = object(&doula(&["doctor", "--load", "--json"]));
    let blocked = load["blocked"].as_array().expect("who is blocked");
    let ours = |one: &&Value| {
        one["threads"].as_array().is_some_and(|all| all.iter().any(|pair| pair[1] == json!(made.child.id())))
    };
    assert_eq!(blocked.iter().find(ours).map(|one| &one["counted"]), Some(&json!(false)), "{load}");
    drop(group);
}

#[test]
fn a_process_in_a_frozen_cgroup_of_v2_looks_asleep_and_sigkill_works() {
    let thaw = ("cgroup.freeze", "0");
    let found = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find_map(|root| Group::new(root, "cgroup.freeze", thaw));
    let Some(group) = found else { return skipped("no cgroup v2 of our own") };
    let made = Made::shell("echo here; read x");
    assert!(group.write("cgroup.procs", &made.pid()) && group.write("cgroup.freeze", "1"));
    let wait = wait(&made.pid(), "freezer");
    assert_eq!((&wait["state"], &wait["kill"]), (&json!("S"), &json!("works")), "{wait}");
    drop(group);
}

#[test]
fn a_reader_of_a_fuse_server_that_never_answers_is_s_and_a_d_for_ever_once_it_is_killed() {
    let mut made = Made::actor("locks_memory", &["reads"]);
    if made.first != "locked" {
        return skipped("a file system of our own (/dev/fuse) is not to be had here");
    }
    let before = wait(&made.pid(), "fuse");
    assert_eq!((&before["state"], &before["kill"]), (&json!("S"), &json!("not-until")), "{before}");
    assert_eq!(
        (&before["call"], &before["parties"][0]["name"]),
        (&json!("read"), &json!("locks_memory")),
        "{before}"
    );
    assert!(!named(&before, made.child.id()), "{before}");
    made.child.kill().expect("our child");
    let after = soon(|| {
        let (said, found) = doctor(&made.pid());
        let waits = found["waits"].as_array()?;
        assert_eq!(said.code, Some(1), "{said:?}");
        waits.iter().find(|wait| wait["state"] == "D").cloned()
    });
    assert_eq!((&after["on"], &after["kill"]), (&json!("fuse"), &json!("not-until")), "{after}");
    // The server ends with our end of its input, and then SIGKILL works.
    drop(made.child.stdin.take());
    assert!(!made.child.wait().expect("our child").success());
}

/// The children of a process with this name.
fn children(pid: &str, name: &str) -> Vec<u32> {
    let said =
        doula(&["ps", "--json", "-o", "pid", "-w", &format!("ppid={pid}"), "-w", &format!("name={name}")]);
    let rows = said.out.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    rows.filter_map(|row| row["pid"].as_u64()).map(|pid| pid as u32).collect()
}

#[test]
fn of_two_readers_of_one_page_the_one_that_waits_for_it_is_told_who_has_asked_for_it_and_who_serves_it() {
    let mut made = Made::actor("locks_memory", &["shares"]);
    if made.first != "locked" {
        return skipped("a file system of our own (/dev/fuse) is not to be had here");
    }
    let us = made.child.id();
    let cat = soon(|| children(&made.pid(), "cat").first().copied());
    // Whoever came first waits for the answer, the other one for the page.
    let (first, second) = soon(|| {
        let on = |pid: u32| doctor(&pid.to_string()).1["waits"][0]["on"].clone();
        match (on(us), on(cat)) {
            (ours, theirs) if ours == "fuse" && theirs == "page" => Some((us, cat)),
            (ours, theirs) if ours == "page" && theirs == "fuse" => Some((cat, us)),
            _ => None,
        }
    });
    let page = wait(&second.to_string(), "page");
    assert_eq!((&page["state"], &page["call"]), (&json!("D"), &json!("read")), "{page}");
    assert_eq!(page["holders"].as_array().map(Vec::len), Some(1), "{page}");
    assert_eq!(page["holders"][0]["pid"], json!(first), "{page}");
    let server = children(&made.pid(), "locks_memory")[0];
    assert!(named(&page, server), "{page}");
    let told = page["told"].as_str().expect("a sentence");
    assert!(
        // Where the kernel does not tell whose connection it is, others who have the device are named too.
        told.contains(&format!("which {first} ("))
            && told.contains("served by")
            && told.contains(&format!("{server} (")),
        "{told}"
    );
    // Whoever reads waits for a page so that SIGKILL ends it; whoever has asked for it does not end.
    assert_eq!(page["kill"], json!("works"), "{page}");
    assert_eq!(wait(&first.to_string(), "fuse")["kill"], json!("not-until"));
    let killed = doula(&["kill", "--now", &second.to_string()]);
    assert!(killed.code == Some(0) && killed.out.contains("SIGKILL"), "{killed:?}");
    drop(made.child.stdin.take());
    made.child.wait().expect("our child");
}

#[test]
fn a_server_of_fuse_that_waits_to_be_asked_is_not_in_trouble() {
    let made = Made::actor("locks_memory", &["reads"]);
    if made.first != "locked" {
        return skipped("a file system of our own (/dev/fuse) is not to be had here");
    }
    let server = children(&made.pid(), "locks_memory")[0];
    let idle = soon(|| {
        let (said, found) = doctor(&server.to_string());
        let waits = found["waits"].as_array()?;
        let idle = waits.iter().find(|wait| wait["wchan"] == "fuse_dev_do_read").cloned();
        idle.map(|idle| (said.code, idle))
    });
    assert_eq!(
        (idle.0, &idle.1["on"], &idle.1["kill"]),
        (Some(0), &json!("file"), &json!("works")),
        "{idle:?}"
    );
}

#[test]
fn a_thread_that_holds_the_lock_of_its_memory_map_is_explained_by_the_server_and_nobody_hangs() {
    let made = Made::actor("locks_memory", &[]);
    if made.first != "locked" {
        return skipped("no file system of our own (/dev/fuse, Linux 6.16) can lock a memory map here");
    }
    let page = wait(&made.pid(), "page");
    assert_eq!((&page["state"], &page["kill"]), (&json!("D"), &json!("not-until")), "{page}");
    assert_eq!(page["parties"][0]["name"], json!("locks_memory"), "{page}");
    let said = doula(&["doctor", "--lasting", "10ms"]);
    assert!(said.code == Some(1) && said.out.contains("SIGKILL never works until"), "{said:?}");
    let plan = doula(&["reap", &made.pid(), "--yes", "--inject"]);
    assert!(plan.code.is_some(), "{plan:?}");
}

#[test]
fn who_waits_for_a_pipe_a_socket_or_a_child_is_told_with_the_other_end() {
    let us = std::process::id();
    let made = Made::shell("echo here; read x");
    let pipe = wait(&made.pid(), "pipe-data");
    assert!(named(&pipe, us) && pipe["kill"] == "works", "{pipe}");

    let waits = Made::shell("echo here; sleep 1000; :");
    let child = wait(&waits.pid(), "child");
    assert_eq!(child["kill"], json!("works"), "{child}");
    // Until it executes sleep, the child is a shell.
    let roots = soon(|| {
        let (said, found) = doctor(&waits.pid());
        (found["roots"][0]["name"] == json!("sleep")).then_some(said.code)
    });
    assert_eq!(roots, Some(0));

    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut cat =
        Command::new("cat").stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs))).spawn().expect("cat");
    let socket = soon(|| {
        let wait = wait(&cat.id().to_string(), "socket");
        // Until it executes cat, a child of ours has the other end as well.
        named(&wait, us).then_some(wait)
    });
    assert!(named(&socket, us), "{socket}");
    drop(ours);
    assert!(cat.wait().expect("our child").success());
}

#[test]
fn who_has_a_file_lock_is_named_also_when_whoever_took_it_has_ended() {
    let file = std::env::temp_dir().join(format!("doula-doctor-lock-{}", std::process::id()));
    let path = file.display();
    // flock(1) takes the lock for the shell, and ends.
    let owner = Made::shell(&format!("exec 9>{path}; flock 9 && echo taken; read x"));
    if owner.first != "taken" {
        return skipped("there is no flock(1) here");
    }
    let inode = fs::metadata(&file).expect("our file").ino();
    if !fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.contains(&format!(":{inode} "))) {
        return skipped("a PID namespace is not told of locks whose takers have ended");
    }
    let waits = Made::shell(&format!("echo here; exec flock {path} true"));
    let lock = wait(&waits.pid(), "lock");
    assert!(
        named(&lock, owner.child.id()) && lock["told"].as_str().is_some_and(|told| told.contains("FLOCK")),
        "{lock}"
    );
    drop(owner);
    fs::remove_file(&file).expect("our file");
}

#[test]
fn another_user_is_told_that_what_somebody_waits_for_is_hidden() {
    let made = Made::shell("echo here; read x");
    soon(|| (doctor(&made.pid()).1["state"] == json!("S")).then_some(()));
    let Some(said) = as_another(&["doctor", &made.pid()]) else { return };
    assert!(said.code == Some(0) && said.out.contains("waits for what only root sees"), "{said:?}");
}
