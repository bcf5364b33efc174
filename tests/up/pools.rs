//! Pools of real workers: their number follows the work, they are replaced without a lost request, and what waits in a
//! slot's own socket survives its worker.

use crate::contain::skipped;
use crate::family::{Family, Home, count, free_port};
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// A pool of such workers at this port, with more of its settings.
fn web_pool(port: u16, more: &str) -> String {
    format!(
        "[pool.web]\ncommand = \"ACTORS/web_worker\"\nworkers = 2\nready = \"notify\"\n\
         sockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n{more}"
    )
}

/// A pool `web` of which all workers are ready.
pub(crate) fn begin(text: &str) -> Family {
    let mut family = Family::up(text);
    family.expect("web@1 started");
    assert_eq!(family.home.ctl(&["wait", "web", "--until", "ready"]).code, Some(0));
    family
}

/// A pool of one worker, that may become four, and of whom none accepts; and the place of its socket.
pub(crate) fn deaf_pool() -> (Family, PathBuf) {
    let home = Home::new(
        "[pool.web]\nshell = true\ncommand = \"exec sleep 1000\"\nmin = 1\nmax = 4\nmin-ready = \"0s\"\n\
         sockets = [{ unix = \"web.sock\" }]\n",
    );
    let path = home.dir.join("web.sock");
    let mut family = Family::start(home, &[]);
    family.expect("web@1 started");
    (family, path)
}

/// Three who wait to be accepted.
pub(crate) fn wait_at(path: &Path) -> Vec<UnixStream> {
    (0..3).map(|_| UnixStream::connect(path).expect("room")).collect()
}

/// One request on a connection of its own; `None` if it was not answered.
pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: doula\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// The example's worker, if Python is there.
fn python_worker() -> Option<String> {
    if Command::new("python3").arg("-V").output().is_err() {
        skipped("python3 is not installed");
        return None;
    }
    let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pool/worker.py");
    Some(worker.display().to_string())
}

/// The rows of the workers that are up.
pub(crate) fn up(family: &Family) -> Vec<Value> {
    let all = family.ask(&["status"])["services"].as_array().cloned().unwrap_or_default();
    all.into_iter().filter(|row| row["state"] == "up").collect()
}

pub(crate) fn pids(family: &Family) -> BTreeSet<i64> {
    up(family).iter().filter_map(|row| row["pid"].as_i64()).collect()
}

/// Asks again and again from several sides while something is done; how many were answered, and how many were not.
pub(crate) fn under_load(port: u16, path: &str, act: impl FnOnce()) -> (usize, usize) {
    let (over, good, bad) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let counter = if get(port, path).is_some() { &good } else { &bad };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whatever happens, those who ask come to an end.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    (good.into_inner(), bad.into_inner())
}

#[test]
fn every_worker_finds_its_slot_and_a_roll_under_load_loses_no_request() {
    let port = free_port();
    let mut family = Family::up(&format!(
        "[pool.web]\nshell = true\ncommand = \"echo in slot $DOULA_SLOT; exec ACTORS/web_worker\"\nworkers = 3\n\
         ready = \"notify\"\nsockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    let slots: BTreeSet<String> = (0..3).map(|_| family.expect("in slot ")).collect();
    let last = |line: &String| line.chars().last();
    assert_eq!(slots.iter().filter_map(last).collect::<BTreeSet<char>>(), BTreeSet::from(['1', '2', '3']));
    assert_eq!(family.home.ctl(&["wait", "web", "--until", "ready"]).code, Some(0));
    let before = pids(&family);
    let (good, bad) = under_load(port, "/slow/5", || {
        let said = family.home.ctl(&["restart", "web"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    });
    assert!(good > 0 && bad == 0, "{good} answered, {bad} not");
    let after = pids(&family);
    assert_eq!((after.len(), after.intersection(&before).count()), (3, 0), "all are new");
    family.expect("web has replaced 3 in ");
    let (code, said) = family.shut_down();
    assert_eq!((code, count(&said, "did not end in its grace time")), (Some(0), 0));
}

#[test]
fn a_changed_pool_is_rolled_out_under_load_and_goes_back_when_the_new_one_does_not_work() {
    let port = free_port();
    let with = |more: &str| {
        format!(
            "[pool.web]\nshell = true\ncommand = \"{more} exec ACTORS/web_worker\"\nworkers = 2\nready = \"notify\"\n\
             sockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n"
        )
    };
    let mut family = begin(&with(""));
    let (_, bad) = under_load(port, "/", || {
        family.home.write(&with("echo green;"));
        let changes = family.ask(&["reload"]);
        assert_eq!(changes[0]["name"], "web", "{changes}");
        assert!(changes[0]["details"].to_string().contains("echo green"), "{changes}");
        assert_eq!(changes.as_array().map(Vec::len), Some(1), "told of once: {changes}");
        family.expect("web has replaced 2 in ");
    });
    assert_eq!(bad, 0);
    let green = pids(&family);
    let (_, bad) = under_load(port, "/", || {
        family.home.write(&with("exit 3;"));
        family.ask(&["reload"]);
        family.expect("web stops replacing workers");
    });
    assert_eq!(bad, 0);
    assert_eq!(pids(&family), green, "the old ones serve");
    let said = family.home.ctl(&["restart", "web"]);
    assert_eq!(said.code, Some(0), "what is started now is what worked: {said:?}");
    family.shut_down();
}

#[test]
fn a_pool_grows_by_what_waits_and_those_that_are_idle_leave() {
    let Some(worker) = python_worker() else { return };
    let port = free_port();
    let mut family = Family::up(&format!(
        "[service.keeper]\ncommand = \"ACTORS/polite\"\n\
         [pool.web]\ncommand = [\"{worker}\", \"0.3\"]\nmax = 6\nready = \"notify\"\nrestart = \"always\"\n\
         policy = {{ by = \"fpm-ondemand\", idle-timeout = \"1s\" }}\nsockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    family.expect("keeper started");
    let clients: Vec<_> = (0..6).map(|_| thread::spawn(move || get(port, "/"))).collect();
    family.expect("web grows from 0 to 1 workers, because connections wait");
    for client in clients {
        assert!(client.join().expect("a client").is_some(), "everybody is answered");
    }
    family.expect("web shrinks from 1 to 0 workers, because more workers are idle than are needed");
    let (code, said) = family.shut_down();
    assert_eq!(code, Some(0));
    assert!(count(&said, "web grows from ") > 1, "{}", said.join("\n"));
    assert_eq!(count(&said, "was killed by"), 0, "they were drained");
}

#[test]
fn a_backlog_that_nobody_takes_brings_more_workers_at_a_unix_socket_too() {
    let (mut family, path) = deaf_pool();
    let waiting = wait_at(&path);
    // In one step or two: a look may come between the connections.
    family.expect(" to 4 workers, because connections wait");
    family.expect(
        "web stays at 4 workers though more are wanted, because there are as many workers as there may be",
    );
    drop(waiting);
    family.shut_down();
}

#[test]
fn what_waits_in_a_slots_own_socket_is_answered_by_the_next_worker_of_the_slot() {
    let port = free_port();
    let mut family = begin(&web_pool(port, "reuseport = true\nrestart = { delay = \"10ms\" }\n"));
    let sockets = |name: &str| {
        let pid = family.status(name)["pid"].to_string();
        std::fs::read_link(format!("/proc/{pid}/fd/3")).expect("its socket")
    };
    assert_ne!(sockets("web@1"), sockets("web@2"), "each slot has its own");
    // Nobody accepts any more, and connections wait in both queues.
    let workers = ["web@1", "web@2"].map(|name| family.main_of(name));
    workers.iter().for_each(|worker| pidfd_send_signal(worker, Signal::STOP).expect("to stop it"));
    let clients: Vec<_> = (0..12).map(|_| thread::spawn(move || get(port, "/"))).collect();
    workers.iter().for_each(|worker| pidfd_send_signal(worker, Signal::KILL).expect("to kill it"));
    for client in clients {
        assert!(client.join().expect("a client").is_some(), "nobody was hung up on");
    }
    // A roll keeps the queues as well.
    let (_, bad) = under_load(port, "/", || drop(family.ask(&["restart", "web"])));
    assert_eq!(bad, 0);
    family.expect("web has replaced 2 in ");
    family.shut_down();
}

#[test]
fn a_worker_that_has_answered_as_many_requests_as_it_may_is_replaced() {
    let Some(worker) = python_worker() else { return };
    let port = free_port();
    let mut family = Family::up(&format!(
        "[pool.web]\ncommand = [\"{worker}\"]\nworkers = 2\nready = \"notify\"\nmax-requests = 5\n\
         sockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    family.expect("web@1 started");
    let (good, bad) = under_load(port, "/", || {
        family.expect("web has replaced ");
    });
    assert!(good >= 5 && bad == 0, "{good} answered, {bad} not");
    family.shut_down();
}

#[test]
fn each_slot_has_a_cpu_of_its_own() {
    let mut family = Family::up(
        "[pool.web]\nshell = true\ncommand = \"grep Cpus_allowed_list /proc/self/status; exec sleep 1000\"\n\
         workers = 2\npin = true\n",
    );
    let cpus: Vec<String> = (0..2).map(|_| family.expect("Cpus_allowed_list")).collect();
    for line in &cpus {
        let cpu = line.rsplit(':').next().unwrap_or_default().trim();
        assert!(cpu.parse::<u16>().is_ok(), "one CPU: {line}");
    }
    family.shut_down();
}

#[test]
fn the_scoreboard_of_a_pool_shows_what_each_worker_does() {
    let Some(worker) = python_worker() else { return };
    let port = free_port();
    let mut family = Family::up(&format!(
        "[pool.web]\ncommand = [\"{worker}\"]\nworkers = 2\nready = \"notify\"\n\
         sockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    family.expect("web@1 started");
    assert_eq!(family.home.ctl(&["wait", "web", "--until", "ready"]).code, Some(0));
    // It has a connection on which nothing is asked yet.
    let open = TcpStream::connect(("127.0.0.1", port)).expect("somebody accepts");
    let doing = || {
        let pool = family.ask(&["status", "web"])["pools"][0].clone();
        let mut doing: Vec<String> = pool["workers"]
            .as_array()
            .expect("workers")
            .iter()
            .map(|worker| worker["doing"].as_str().unwrap_or_default().to_owned())
            .collect();
        doing.sort();
        doing
    };
    // It accepts when it has its turn.
    while doing() != ["busy", "idle"] {}
    drop(open);
    while doing() != ["idle", "idle"] {}
    let said = family.home.ctl(&["status", "web"]);
    assert!(said.out.contains("web: 2 idle (always 2)"), "{said:?}");
    assert!(said.out.contains("SLOT  WORKER  DOES"), "{said:?}");
    assert!(said.out.contains("\n__\n_ idle\n"), "{said:?}");
    // What `doula top` shows of it is asked of a copy of it.
    let told = family.home.doula(&["top", "--ask-pools"]);
    let told: Value = serde_json::from_str(&told.out).expect("JSON");
    let pool = &told["families"][0]["pools"][0];
    assert_eq!(
        (pool["name"].as_str(), pool["workers"][1]["slot"].as_u64()),
        (Some("web"), Some(2)),
        "{told}"
    );
    assert!(pool["workers"][0]["pss"].as_u64().is_some_and(|bytes| bytes > 0), "{told}");
    family.shut_down();
}

#[test]
fn after_a_take_over_a_pool_sees_who_is_idle() {
    let port = free_port();
    let mut family = begin(&web_pool(port, ""));
    family.kill();
    family.up_again(&[]);
    family.expect("took over from pid");
    let end = std::time::Instant::now() + crate::bounded::PATIENCE;
    while !family.home.ctl(&["status", "web"]).out.contains("web: 2 idle (always 2)") {
        assert!(std::time::Instant::now() < end, "{:?}", family.home.ctl(&["status", "web"]));
    }
    family.shut_down();
}
