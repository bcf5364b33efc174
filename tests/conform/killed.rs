//! `doula sim verify` is ended from outside in the midst of its programs: nobody of its namespaces is left, whatever they had done to
//! themselves.

use crate::{STAGE, skipped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Nothing here takes longer, on a busy machine neither.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process, as `/proc` shows it.
#[derive(Debug)]
struct Process {
    pid: i32,
    parent: i32,
    /// It has ended, and waits to be buried.
    is_dead: bool,
    /// Its numbers in all namespaces from ours on.
    numbers: Vec<i32>,
}

impl Process {
    fn of(status: &str) -> Option<Process> {
        let numbers = |name: &str| -> Option<Vec<i32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        Some(Process {
            pid: *numbers("Pid:")?.first()?,
            parent: *numbers("PPid:")?.first()?,
            is_dead: status.contains("\nState:\tZ"),
            numbers: numbers("NSpid:")?,
        })
    }

    /// The first process of the namespace in which programs are, or of the one around it: so many namespaces below ours.
    fn is_init(&self, below: usize) -> bool {
        let own = Process::all().find(|process| process.pid == std::process::id() as i32);
        self.numbers.len() == own.expect("ourselves").numbers.len() + below && self.numbers.ends_with(&[1])
    }

    fn all() -> impl Iterator<Item = Process> {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries.filter_map(|entry| Process::of(&fs::read_to_string(entry.path().join("status")).ok()?))
    }

    fn handle(&self) -> Option<OwnedFd> {
        pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()
    }

    fn namespace(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/pid", self.pid)).ok()
    }
}

/// All descendants of a process.
fn family(of: i32) -> Vec<Process> {
    let mut others: Vec<Process> = Process::all().collect();
    let (mut family, mut known): (Vec<Process>, BTreeSet<i32>) = (Vec::new(), [of].into());
    loop {
        let (more, rest): (Vec<Process>, _) =
            others.into_iter().partition(|other| known.contains(&other.parent));
        if more.is_empty() {
            return family;
        }
        known.extend(more.iter().map(|process| process.pid));
        family.extend(more);
        others = rest;
    }
}

/// Whether a process ends in time.
fn ends(handle: &OwnedFd) -> bool {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    retry_on_intr(|| poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&patience))) == Ok(1)
}

/// A comparison that would take for ever, in two namespaces at a time.
struct Verify {
    child: Child,
    directory: PathBuf,
}

impl Drop for Verify {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Some of its descendants. A test that fails leaves nobody either.
struct Held(Vec<(Process, OwnedFd)>);

impl Drop for Held {
    fn drop(&mut self) {
        for (_, handle) in &self.0 {
            let _gone = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

impl Verify {
    fn new(name: &str) -> Verify {
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("verify-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_doula"));
        command.args(["sim", "verify", "--cases", "1000000000", "--jobs", "2"]).env("TMPDIR", &directory);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("doula starts");
        Verify { child, directory }
    }

    /// Its descendants with handles, when both namespaces have an init; `None` when it ended.
    fn at_work(&mut self) -> Option<Held> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && self.child.try_wait().expect("our child").is_none() {
            let pid = self.child.id() as i32;
            let held: Vec<_> =
                family(pid).into_iter().filter_map(|process| Some((process.handle()?, process))).collect();
            // Who has its number still is who was meant.
            let still = family(pid);
            let is_still = |process: &Process| {
                still.iter().any(|other| other.numbers == process.numbers && other.pid == process.pid)
            };
            let held: Vec<_> = held
                .into_iter()
                .filter(|(_, process)| is_still(process))
                .map(|(handle, process)| (process, handle))
                .collect();
            if held.iter().filter(|(process, _)| process.is_init(2)).count() == 2 {
                return Some(Held(held));
            }
            std::thread::yield_now();
        }
        assert!(Instant::now() < end, "no namespaces: {:?}", family(self.child.id() as i32));
        None
    }
}

/// Ends a comparison, also with its nurseries if they are meant: whether that could be tried.
fn end(name: &str, signal: Signal, nurseries: bool) -> bool {
    let mut verify = Verify::new(name);
    let Some(all) = verify.at_work() else { return false };
    let held = &all.0;
    let namespaces: BTreeSet<PathBuf> = held
        .iter()
        .filter(|(process, _)| process.is_init(2) || process.is_init(1))
        .filter_map(|(process, _)| process.namespace())
        .collect();
    assert_eq!(namespaces.len(), 4, "{held:?}");
    // They see nothing any more, and the kernel wakes only whom it kills.
    for (_, init) in held.iter().filter(|(process, _)| process.is_init(2)) {
        pidfd_send_signal(init, Signal::STOP).expect("it lives");
    }
    let own = pidfd_open(Pid::from_child(&verify.child), PidfdFlags::empty()).expect("our child");
    let pid = verify.child.id() as i32;
    pidfd_send_signal(&own, signal).expect("our child");
    for (_, nursery) in held.iter().filter(|(process, _)| nurseries && process.parent == pid) {
        pidfd_send_signal(nursery, Signal::KILL).expect("it lives");
    }
    assert!(ends(&own), "{name}: it does not end");
    for (process, handle) in held {
        assert!(ends(handle), "{name}: left behind: {process:?}");
    }
    let left: Vec<Process> = Process::all()
        .filter(|process| !process.is_dead)
        .filter(|process| process.namespace().is_some_and(|own| namespaces.contains(&own)))
        .collect();
    assert!(left.is_empty(), "{name}: left behind: {left:?}");
    // A stage that was made while the inits were being stopped has a nursery that is not among those held; it goes last as well.
    let files = || fs::read_dir(&verify.directory).expect("our directory").count();
    let patience = Instant::now() + PATIENCE;
    while !nurseries && files() > 0 {
        assert!(Instant::now() < patience, "{name}: files are left behind");
        std::thread::yield_now();
    }
    true
}

#[test]
fn whatever_ends_a_comparison_leaves_nobody_of_its_namespaces_behind() {
    let _alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let ways = [
        ("term", Signal::TERM, false),
        ("int", Signal::INT, false),
        ("kill", Signal::KILL, false),
        ("all", Signal::KILL, true),
    ];
    for (name, signal, nurseries) in ways {
        if !end(name, signal, nurseries) {
            return skipped("no PID namespace can be made here");
        }
    }
}

#[test]
fn without_a_directory_for_files_the_reason_is_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doula"));
    let said = command.args(["sim", "verify", "--cases", "1"]).env("TMPDIR", "/dev/null").output();
    let said = said.expect("doula starts");
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success() && text.lines().count() == 1, "{text}");
    assert!(text.contains("no directory can be made for the files of programs: Not a directory"), "{text}");
}
