//! Births from many threads at once, beside forks of others and programs that were just written; and trees that run away
//! while they are ended. Alone in its program, because it counts what is left. `STRESS=60 cargo test --release --test
//! stress` does 60 times as much.

#[path = "../../../../tests/common/actors.rs"]
mod actors;

use doula_host::reaper::{Reaper, Unknown};
use doula_host::{Command, Errno, Pipeline, Proof, Stdio, Step};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const THREADS: usize = 8;

/// How often everything is done.
fn times(ordinarily: usize) -> usize {
    let factor = std::env::var("STRESS").ok().map_or(1, |text| text.parse().expect("STRESS is a number"));
    ordinarily * factor
}

/// What is open, by number.
fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

/// Dead children that nobody buried.
fn zombies() -> usize {
    let us = process::id().to_string();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    stats
        .filter(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(&format!("Z {us} "))))
        .count()
}

/// Writes a program and runs it at once, again and again.
fn write_and_run(folder: &Path, thread: usize) {
    let program = std::fs::read("/bin/true").expect("a program");
    for birth in 0..times(200) {
        let file = folder.join(format!("{thread}-{}", birth % 4));
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, &program).expect("a file");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        let status = Command::exact(&file).status();
        assert!(status.as_ref().is_ok_and(|status| status.success()), "{birth}: {status:?}");
    }
}

/// What another library does meanwhile: the standard library forks when it is to set a user.
fn fork_and_exec(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let ours = doula_sys::group::users().0;
        let mut command = process::Command::new("/bin/true");
        let done = command.uid(ours).status();
        assert!(done.is_ok_and(|status| status.success()));
    }
}

fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("doula-stress-{}", process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn births_from_many_threads_leave_no_fd_no_zombie_and_meet_no_busy_program() {
    let folder = folder();
    let before = open_fds();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let other = scope.spawn(|| fork_and_exec(&stop));
        let writers: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn({
                    let folder = &folder;
                    move || write_and_run(folder, thread)
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        stop.store(true, Ordering::Relaxed);
        other.join().expect("no panic");
    });
    std::fs::remove_dir_all(&folder).expect("our own folder");
    assert_eq!((open_fds(), zombies()), (before, 0));
    a_program_that_we_hold_open_ourselves_is_told_at_once();
    a_subreaper_buries_the_orphans_of_a_tree_and_hears_how_its_child_ended();
    runaways_are_ended_to_the_last();
    chains_are_ended_to_the_last();
    pipelines_leave_no_fd_and_no_zombie();
}

/// Whose lines have this in their environment, and live.
fn alive(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let environments = processes.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|text| text.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())).count()
}

/// Descendants that are born, leave for sessions of their own and die faster than anybody can look.
fn runaways_are_ended_to_the_last() {
    let mut reaper = Reaper::new().expect("a subreaper");
    reaper.unknown(Unknown::Bury);
    let before = open_fds();
    let cgroups = doula_host::cgroup::Cgroups::discover("test-runaway");
    let leaf = cgroups.as_ref().and_then(|cgroups| cgroups.leaf("one").ok());
    let mark = format!("{}-runaway", process::id());
    for round in 0..times(20) {
        let mut command = Command::exact(actors::actor("runaway"));
        command.contained().env("DOULA_TEST", &mark).stdout(Stdio::pipe_out());
        if let Some(directory) = leaf.as_ref().filter(|_| round % 2 == 0).and_then(|leaf| leaf.open().ok()) {
            // Who brings a cgroup of their own is held by marks.
            command.cgroup(directory);
        }
        let mut child = command.spawn().expect("a birth");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, "runaway: 8 lines\n");
        let end = child.kill_tree(std::time::Duration::from_secs(60)).expect("nobody is left");
        assert!(end.proof == Proof::Mark || round % 2 == 1, "{:?}", end.proof);
        // A dead process has no mark: who died unseen is known to the reaper alone.
        reaper.bury().expect("waits");
        assert_eq!(
            (alive(&format!("DOULA_TEST={mark}")), zombies()),
            (0, 0),
            "round {round}, {:?}",
            end.proof
        );
    }
    drop(leaf);
    drop(cgroups);
    assert_eq!(open_fds(), before);
    doula_sys::adopt::set_subreaper(false).expect("prctl");
}

/// Each of a chain bears the next and ends at once, without execve(2): faster than that nobody can be born while his cgroup is
/// killed. A chain ends by itself, much later, in case that nobody does it.
fn chains_are_ended_to_the_last() {
    const CHAIN: &str =
        "link() { [ $1 -gt 0 ] && link $(($1 - 1)) & }; link 200000; echo chain; exec sleep 1000";
    let mut reaper = Reaper::new().expect("a subreaper");
    reaper.unknown(Unknown::Bury);
    let before = open_fds();
    for round in 0..times(200) {
        let mut command = Command::new("sh");
        command.args(["-c", CHAIN]).contained().stdout(Stdio::pipe_out());
        let mut child = command.spawn().expect("a birth");
        let mut line = String::new();
        // It is there since before its first step.
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, "chain\n");
        child
            .kill_tree(std::time::Duration::from_secs(60))
            .unwrap_or_else(|left| panic!("round {round}: {left}"));
        reaper.bury().expect("waits");
        assert_eq!(zombies(), 0, "round {round}");
    }
    assert_eq!(open_fds(), before);
    doula_sys::adopt::set_subreaper(false).expect("prctl");
}

/// However they end.
fn pipelines_leave_no_fd_and_no_zombie() {
    const PIPELINES: usize = 200;
    let before = open_fds();
    for number in 0..PIPELINES {
        let mut pipeline = Pipeline::new(Command::new("yes"));
        pipeline.pipe(Command::new("cat")).pipe(Command::new("head").arg("-1"));
        if number % 2 == 0 {
            pipeline.count_pipes();
        }
        match number % 5 {
            0 => assert!(pipeline.output().is_ok_and(|end| end.success())),
            1 => assert!(pipeline.pipe(Command::exact("/no/such")).run().is_err()),
            2 => assert!(
                pipeline
                    .pipe(Command::new("false"))
                    .kill_on_failure()
                    .output()
                    .is_ok_and(|end| !end.success())
            ),
            3 => assert!(pipeline.output_of(&[b'x'; 100_000]).is_ok_and(|end| end.success())),
            _ => drop(pipeline.pipe(Command::new("sleep").arg("1000")).spawn().expect("births")),
        }
    }
    assert_eq!((open_fds(), zombies()), (before, 0));
}

/// Orphans of the tree become our own children then, and must be told from the child itself.
fn a_subreaper_buries_the_orphans_of_a_tree_and_hears_how_its_child_ended() {
    doula_sys::adopt::set_subreaper(true).expect("prctl");
    let cgroups = doula_host::cgroup::Cgroups::discover("test-subreaper");
    let leaf = cgroups.as_ref().and_then(|cgroups| cgroups.leaf("one").ok());
    for by_mark in [false, true] {
        let mut command = Command::new("sh");
        command.args(["-c", "(setsid sleep 1000 & setsid sleep 1000 &); sleep 1000"]).contained();
        if let Some(directory) = leaf.as_ref().filter(|_| by_mark).and_then(|leaf| leaf.open().ok()) {
            command.cgroup(directory);
        }
        let mut child = command.spawn().expect("a birth");
        let end = child.kill_tree(std::time::Duration::from_secs(60)).expect("nobody is left");
        assert_eq!(end.status, doula_host::ExitStatus::signal(doula_host::Signal::KILL), "waited for by us");
        assert_eq!(zombies(), 0);
    }
    doula_sys::adopt::set_subreaper(false).expect("prctl");
}

/// No race, and so nothing to wait for; here, because the other test must be alone.
fn a_program_that_we_hold_open_ourselves_is_told_at_once() {
    let folder = folder();
    let file = folder.join("busy");
    std::fs::copy("/bin/true", &file).expect("a file");
    let held = std::fs::File::options().append(true).open(&file).expect("a file");
    let error = Command::exact(&file).spawn().expect_err("it is open for writing");
    assert_eq!((error.step(), error.errno()), (Step::Exec, Errno::ETXTBSY));
    drop(held);
    assert!(Command::exact(&file).status().is_ok_and(|status| status.success()));
    std::fs::remove_dir_all(&folder).expect("our own folder");
}
