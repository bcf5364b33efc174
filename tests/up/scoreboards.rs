//! What workers of pools write on their scoreboards, in several languages, and what follows from that and from their memory.

use crate::bounded::PATIENCE;
use crate::contain::skipped;
use crate::family::free_port;
use crate::family::{Family, count};
use crate::pools::{begin, get, under_load};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The folder of the examples.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pool/scoreboard")
}

/// Whether this program can be started; said aloud if not.
fn is_installed(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        skipped(&format!("{program} is not installed"));
    }
    there
}

/// A pool of two of these workers.
fn pool(command: &str, more: &str) -> (Family, u16) {
    let port = free_port();
    let family = begin(&format!(
        "[pool.web]\ncommand = {command}\nworkers = 2\nscoreboard = true\nsockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n{more}"
    ));
    (family, port)
}

/// What each worker does, and how many requests all have answered.
fn seen(family: &Family) -> (Vec<String>, u64) {
    let pool = family.ask(&["status", "web"])["pools"][0].clone();
    let workers = pool["workers"].as_array().cloned().unwrap_or_default();
    let doing = workers.iter().filter_map(|worker| worker["doing"].as_str().map(String::from));
    (doing.collect(), workers.iter().filter_map(|worker| worker["requests"].as_u64()).sum())
}

/// Looks until it is so.
fn until(family: &Family, doing: &[&str], requests: u64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = seen(family);
        if (seen.0.iter().map(String::as_str).eq(doing.iter().copied())) && seen.1 == requests {
            return;
        }
        assert!(Instant::now() < end, "{seen:?} instead of {doing:?} and {requests}");
    }
}

/// Its requests are on its scoreboard, and a roll under load loses none.
fn writes_and_drains(command: &str, more: &str) {
    let (mut family, port) = pool(command, more);
    for _ in 0..7 {
        assert!(get(port, "/").is_some());
    }
    until(&family, &["idle", "idle"], 7);
    let (good, bad) = under_load(port, "/", || {
        let said = family.home.ctl(&["restart", "web"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    });
    assert!(good > 0 && bad == 0, "{good} answered, {bad} not");
    family.expect("web has replaced 2 in ");
    let (code, lines) = family.shut_down();
    assert_eq!((code, count(&lines, "did not end in its grace time")), (Some(0), 0), "{lines:?}");
}

#[test]
fn a_worker_in_python_writes_on_its_scoreboard() {
    if is_installed("python3") {
        writes_and_drains(&format!("[\"python3\", \"{}\"]", examples().join("server.py").display()), "");
    }
}

#[test]
fn a_worker_in_javascript_writes_on_its_scoreboard() {
    if is_installed("node") {
        let command = format!("[\"node\", \"{}\"]", examples().join("server.mjs").display());
        writes_and_drains(&command, "ready = { log-line = \"^ready\" }\n");
    }
}

#[test]
fn a_worker_in_c_writes_on_its_scoreboard() {
    if !is_installed("gcc") {
        return;
    }
    let program = std::env::temp_dir().join(format!("doula-scoreboard-{}", std::process::id()));
    let built = Command::new("gcc").arg("-o").arg(&program).arg(examples().join("server.c")).status();
    assert!(built.is_ok_and(|status| status.success()), "the example can be built");
    writes_and_drains(&format!("[\"{}\"]", program.display()), "");
    std::fs::remove_file(program).expect("it was built");
}

#[test]
fn a_worker_in_rust_writes_on_its_scoreboard() {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.parent().and_then(Path::parent).expect("it is in deps").join("examples");
    let program = folder.join("scoreboard_server");
    if program.is_file() {
        writes_and_drains(&format!("[\"{}\"]", program.display()), "");
    } else {
        skipped("the example scoreboard_server was not built (a test of the whole package builds it)");
    }
}

#[test]
fn a_worker_with_a_request_in_its_hands_is_busy_and_its_scoreboard_outlives_the_supervisor() {
    if !is_installed("python3") {
        return;
    }
    let (mut family, port) =
        pool(&format!("[\"python3\", \"{}\"]", examples().join("server.py").display()), "");
    assert!(get(port, "/").is_some());
    until(&family, &["idle", "idle"], 1);
    let open = std::net::TcpStream::connect(("127.0.0.1", port)).expect("somebody accepts");
    let end = Instant::now() + PATIENCE;
    while !seen(&family).0.contains(&"busy".to_owned()) {
        assert!(Instant::now() < end, "nobody is busy");
    }
    family.kill();
    family.up_again(&[]);
    family.expect("took over from pid");
    let (doing, requests) = seen(&family);
    assert!(doing.contains(&"busy".to_owned()) && requests == 1, "{doing:?}, {requests}");
    drop(open);
    until(&family, &["idle", "idle"], 2);
    family.shut_down();
}

#[test]
fn requests_on_a_scoreboard_count_for_the_most_that_a_worker_may_answer() {
    if !is_installed("python3") {
        return;
    }
    let command = format!("[\"python3\", \"{}\"]", examples().join("server.py").display());
    let (mut family, port) = pool(&command, "max-requests = 5\nnotify = false\n");
    let (good, bad) = under_load(port, "/", || {
        family.expect("because a worker has answered as many requests as it may");
        family.expect("web has replaced ");
    });
    assert!(good >= 5 && bad == 0, "{good} answered, {bad} not");
    family.shut_down();
}

#[test]
fn a_worker_whose_memory_grows_is_replaced_and_its_neighbour_stays() {
    if !is_installed("python3") {
        return;
    }
    let worker = "import os, time\nkept = []\nwhile True:\n    time.sleep(0.02)\n    \
                  if os.environ['DOULA_SLOT'] == '1': kept.append(bytearray(65536))\n";
    let command = Value::from(vec!["python3", "-c", worker]);
    let (mut family, _) = pool(&command.to_string(), "max-leak = { memory = \"1M\", within = \"1s\" }\n");
    let neighbour = family.status("web@2")["pid"].clone();
    family.expect("because the memory of a worker grows too fast");
    family.expect("web has replaced web@1 by ");
    assert_eq!(family.status("web@2")["pid"], neighbour);
    family.shut_down();
}
