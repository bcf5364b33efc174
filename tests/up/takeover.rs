//! The supervisor is killed, and another one takes over.

use crate::bounded::PATIENCE;
use crate::contain::{get, skipped};
use crate::family::{Family, Home, count, count_ends, expect_end, free_port, web_service, with_actors};
use crate::hidden::{Hierarchies, without};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const WEB: &str = "[service.web]\ncommand = \"ACTORS/polite\"\n";

#[test]
fn a_service_goes_on_under_the_next_supervisor_with_the_same_process_and_is_stopped_by_it() {
    let mut family = Family::up(WEB);
    family.expect("web | polite: ready");
    let before = family.status("web");
    family.kill();
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on, 0 ended meanwhile"), "{told}");
    let after = family.status("web");
    for field in ["pid", "state", "since", "generation", "restarts"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0));
    assert_eq!(count(&lines, "web | polite: ready"), 1, "{lines:?}");
    assert_eq!(count_ends(&lines, "web", "exited cleanly"), 1, "{lines:?}");
}

#[test]
fn who_ended_while_nobody_looked_is_told_with_its_exit_status() {
    let text = "[service.short]\ncommand = [\"sh\", \"-c\", \"trap 'echo farewell; exit 42' TERM; echo waits; sleep 1000 & wait\"]\nrestart = \"never\"\n";
    let mut family = Family::up(&format!("{text}{WEB}"));
    family.expect("short | waits");
    let short = family.main_of("short");
    family.kill();
    pidfd_send_signal(&short, Signal::TERM).expect("it lives");
    expect_end(&short);
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on, 1 ended meanwhile"), "{told}");
    family.expect("short | farewell");
    family.expect_end_of("short", "exited with code 42");
    family.expect("(1 had outlived the main process)");
    family.shut_down();
}

#[test]
fn a_second_supervisor_is_refused_while_the_first_one_lives() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let said = family.home.doula(&["up"]);
    assert!(said.code == Some(2) && said.err.contains("already running"), "{said:?}");
    family.shut_down();
}

#[test]
fn a_keeper_that_is_killed_is_replaced_and_the_next_one_holds_as_much() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web");
    let keeper = family.keeper().expect("it has one");
    pidfd_send_signal(&keeper, Signal::KILL).expect("it lives");
    family.expect("the keeper was killed; another one has taken its place");
    family.kill();
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on") && !told.contains("no keeper"), "{told}");
    assert_eq!(family.status("web")["pid"], before["pid"]);
    family.shut_down();
}

#[test]
fn connections_wait_while_neither_the_supervisor_nor_the_service_lives() {
    let port = free_port();
    let mut family = Family::up(&format!("{}restart = \"always\"\n", web_service("web", port)));
    family.expect("web is ready");
    let web = family.main_of("web");
    family.kill();
    assert!(get(port).starts_with("HTTP/1."), "the worker goes on");
    pidfd_send_signal(&web, Signal::KILL).expect("it lives");
    expect_end(&web);
    let client = std::thread::spawn(move || get(port));
    family.up_again(&[]);
    family.expect_end_of("web", "was killed by SIGKILL");
    assert!(client.join().expect("no connection was refused").starts_with("HTTP/1."));
    family.shut_down();
}

#[test]
fn who_cannot_take_over_leaves_all_to_the_next_one() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let web = format!("{WEB}sockets = [{{ unix = \"web.sock\" }}]\n");
    let mut family = Family::up(&web);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.kill();
    family.home.write(&format!(
        "{web}[service.other]\ncommand = \"ACTORS/polite\"\nsockets = [{{ tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    let said = family.home.doula(&["up"]);
    assert!(said.code != Some(0) && said.err.contains(&port.to_string()), "{said:?}");
    family.home.write(&web);
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on, 0 ended meanwhile") && !told.contains("no keeper"), "{told}");
    assert_eq!(family.status("web")["pid"], before);
    UnixStream::connect(family.home.dir.join("web.sock")).expect("the socket and its file are there");
    family.shut_down();
}

#[test]
fn what_a_service_says_and_what_it_left_outlive_the_supervisor() {
    let mut family = Family::up(
        "[service.store]\ncommand = \"ACTORS/fdstore\"\nready = \"notify\"\nfd-store = 4\n\
         [service.late]\ncommand = \"ACTORS/notify_ready\"\nready = \"notify\"\n",
    );
    // It takes signals from here on.
    family.expect("late | notify_ready: started");
    family.ask(&["wait", "store", "--until", "ready"]);
    let late = family.main_of("late");
    let first = family.status("store")["pid"].clone();
    family.kill();
    // Heard by the one who comes.
    pidfd_send_signal(&late, Signal::USR1).expect("it lives");
    family.up_again(&[]);
    family.expect("late is ready");
    family.ask(&["restart", "store"]);
    family.expect(&format!("fdstore: given memory: kept by {first}"));
    family.shut_down();
}

#[test]
fn every_line_is_written_though_the_supervisor_is_killed_again_and_again_while_a_service_floods() {
    const LINES: u32 = 400_000;
    let text = format!(
        "[service.talker]\ncommand = \"ACTORS/log_flood {LINES}\"\nlog = {{ flood = 4000000000 }}\nrestart = \"never\"\n{WEB}"
    );
    let mut family = Family::start(Home::new(&text), &["--logs", "logs", "--log-size", "1000"]);
    family.expect("talker |");
    for _ in 0..5 {
        family.kill();
        family.up_again(&["--logs", "logs", "--log-size", "1000"]);
        family.expect("took over from pid");
    }
    family.expect_within(&format!("talker | {LINES:>80}"), Duration::from_secs(120));
    family.shut_down_keeping(|home| {
        let text = std::fs::read_to_string(home.dir.join("logs/talker.log")).expect("its log");
        let seen: BTreeSet<u32> =
            text.lines().filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect();
        let missing: Vec<u32> = (1..=LINES).filter(|number| !seen.contains(number)).take(5).collect();
        assert_eq!(missing, Vec::<u32>::new(), "{} lines in all", seen.len());
    });
}

#[test]
fn a_line_of_which_half_was_written_when_the_supervisor_was_killed_is_whole_and_there_once() {
    for stdin in ["null", "terminal"] {
        // The half is in one write(2) with a whole line, so that it was read when that is shown.
        let mut family = Family::up(&format!(
            "[service.talker]\nshell = true\nstdin = \"{stdin}\"\n\
             command = \"trap 'echo of it' USR1; printf 'begin\\\\nhalf '; while :; do sleep 1000 & wait $!; done\"\n"
        ));
        family.expect("talker | begin");
        let talker = family.main_of("talker");
        for _ in 0..2 {
            family.kill();
            family.up_again(&[]);
            family.expect("took over from pid");
        }
        family.kill();
        pidfd_send_signal(&talker, Signal::USR1).expect("it lives");
        family.up_again(&[]);
        family.expect("talker | half of it");
        let (_, lines) = family.shut_down();
        assert_eq!(count(&lines, "half"), 1, "{stdin}: {lines:?}");
    }
}

#[test]
fn a_torn_journal_is_cut_and_whoever_runs_is_found_by_its_mark() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.kill();
    let state = family.home.dir.join("doula").join(&family.home.name).join("state");
    let mut text = std::fs::read(&state).expect("the journal");
    let middle = text.len() / 3;
    text[middle] ^= 1;
    std::fs::write(&state, text).expect("to write it");
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("torn") && told.contains("1 processes go on"), "{told}");
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

#[test]
fn without_a_keeper_processes_are_found_and_what_is_lost_is_said() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    let keeper = family.keeper().expect("it has one");
    family.signal(Signal::STOP);
    pidfd_send_signal(&keeper, Signal::KILL).expect("it lives");
    family.kill();
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("no keeper was left") && told.contains("1 processes go on"), "{told}");
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

/// Whether a process may be asked for its fds that is no descendant (ptrace(2)).
fn may_trace() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    rustix::process::geteuid().is_root() || scope.map_or(true, |scope| scope.trim() == "0")
}

#[test]
fn without_a_keeper_listening_sockets_are_taken_from_those_who_have_them() {
    let port = free_port();
    let mut family = Family::up(&format!("{}restart = \"always\"\n", web_service("web", port)));
    family.expect("web is ready");
    let (web, keeper) = (family.main_of("web"), family.keeper().expect("it has one"));
    family.signal(Signal::STOP);
    pidfd_send_signal(&keeper, Signal::KILL).expect("it lives");
    family.kill();
    if !may_trace() {
        let said = family.home.doula(&["up"]);
        return assert!(said.code != Some(0) && said.err.contains("ptrace(2)"), "{said:?}");
    }
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on") && told.contains("1 sockets were taken"), "{told}");
    pidfd_send_signal(&web, Signal::STOP).expect("it lives");
    let client = std::thread::spawn(move || get(port));
    pidfd_send_signal(&web, Signal::KILL).expect("it lives");
    assert!(client.join().expect("no connection was refused").starts_with("HTTP/1."));
    family.shut_down();
}

#[test]
fn without_a_keeper_a_socket_is_taken_from_a_child_of_a_main_process_that_is_dead() {
    if !may_trace() {
        return skipped("ptrace(2) of processes that are no descendants is forbidden here");
    }
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|some| some.local_addr()).expect("a free port").port();
    let mut family = Family::up(&format!(
        "[service.web]\nshell = true\ncommand = \"sleep 1000 & echo serves; wait\"\nrestart = \"always\"\n\
         sockets = [{{ name = \"http\", tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    family.expect("web | serves");
    let (web, keeper) = (family.main_of("web"), family.keeper().expect("it has one"));
    family.signal(Signal::STOP);
    for process in [&keeper, &web] {
        pidfd_send_signal(process, Signal::KILL).expect("it lives");
    }
    family.kill();
    expect_end(&web);
    family.up_again(&[]);
    let told = family.expect("took over from pid");
    assert!(told.contains("no keeper was left") && told.contains("1 sockets were taken"), "{told}");
    family.expect("web | serves");
    family.shut_down();
}

/// Lets pidfd_getfd(2), which has one number everywhere, fail with EPERM, as the filters of containers do, and executes the rest.
const WITHOUT_GETFD: &str = "\
import ctypes, os, struct, sys
rows = [(0x20, 0, 0, 0), (0x15, 0, 1, 438), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *row) for row in rows))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(rows), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0):
    sys.exit(99)
os.execv(sys.argv[1], sys.argv[1:])
";

/// Root as containers have it: it may not look into the processes of other users (since Linux 6.14 it may with CAP_PERFMON).
const LESS: [&str; 2] = ["setpriv", "--bounding-set=-sys_ptrace,-perfmon,-sys_admin"];
const ANOTHER: &str = "user = \"nobody\"\n";

fn can_do_without() -> bool {
    let works = Command::new(LESS[0]).args(&LESS[1..]).arg("true").status();
    let can = rustix::process::geteuid().is_root() && works.is_ok_and(|status| status.success());
    if !can {
        skipped("only root with setpriv can do without a capability");
    }
    can
}

/// A supervisor that is refused the socket of the one who has it, by this program before its name, says so and changes nothing; one that
/// is not refused takes all over.
fn expect_refusal(before: &[&str], user: &str) {
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|some| some.local_addr()).expect("a free port").port();
    let home = Home::new("");
    // Another user may not come to where it was built.
    let program = home.dir.join("web_worker");
    std::fs::copy(with_actors("ACTORS/web_worker"), &program).expect("a copy");
    home.write(&format!(
        "[service.web]\ncommand = [{program:?}]\n{user}ready = \"notify\"\nrestart = \"always\"\n\
         sockets = [{{ name = \"http\", tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    let mut family = Family::start(home, &[]);
    family.expect("web is ready");
    let (web, keeper) = (family.status("web")["pid"].clone(), family.keeper().expect("it has one"));
    family.signal(Signal::STOP);
    pidfd_send_signal(&keeper, Signal::KILL).expect("it lives");
    family.kill();
    let mut refused = family.home.command(before[0]);
    let said =
        refused.args(&before[1..]).args([env!("CARGO_BIN_EXE_doula"), "up"]).output().expect("it starts");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    let told = format!("does not let us have the socket of pid {web} (pidfd_getfd(2), ptrace(2))");
    assert!(said.status.code() == Some(2) && text.contains(&told), "{said:?}");
    assert!(get(port).starts_with("HTTP/1."), "the service runs on");
    if may_trace() {
        family.up_again(&[]);
        let told = family.expect("took over from pid");
        assert!(told.contains("1 processes go on") && told.contains("1 sockets were taken"), "{told}");
        assert_eq!(family.status("web")["pid"], web);
        family.shut_down();
    }
}

#[test]
fn where_the_kernel_does_not_give_a_socket_away_it_is_said_and_the_service_runs_on() {
    if Command::new("python3").arg("-V").output().is_err() {
        return skipped("python3 is not installed");
    }
    expect_refusal(&["python3", "-I", "-S", "-c", WITHOUT_GETFD], "");
}

#[test]
fn where_the_descriptors_of_who_has_a_socket_cannot_be_seen_it_is_said_and_the_service_runs_on() {
    if can_do_without() {
        expect_refusal(&LESS, ANOTHER);
    }
}

#[test]
fn who_hides_its_mark_is_known_by_its_number_and_its_start_and_not_started_twice() {
    if !can_do_without() {
        return;
    }
    let home = Home::new(&format!("[service.web]\ncommand = [\"sleep\", \"1000\"]\n{ANOTHER}"));
    let (Some(first), Some(second)) = (without(Hierarchies::V2, &home), without(Hierarchies::V2, &home))
    else {
        return;
    };
    let mut family = Family::with(home, first);
    family.expect("web started");
    assert_eq!(family.home.ctl(&["wait", "web", "--until", "ready"]).code, Some(0));
    let before = family.status("web")["pid"].clone();
    let keeper = family.keeper().expect("it has one");
    family.signal(Signal::STOP);
    pidfd_send_signal(&keeper, Signal::KILL).expect("it lives");
    family.kill();
    let mut again = family.home.command(second.get_program());
    let words: Vec<_> = second.get_args().collect();
    let (covered, doula) = words.split_at(words.len() - 2);
    again.args(covered).args(LESS).args(doula);
    family.again_with(again);
    let told = family.expect("took over from pid");
    assert!(told.contains("1 processes go on"), "{told}");
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

/// Everything was taken over by the one who has come after this, and the service goes on.
fn expect_all_taken_over(family: &mut Family, services: usize) {
    let told = family.expect("took over from pid");
    let expected = format!("{services} processes go on, 0 ended meanwhile");
    assert!(told.contains(&expected) && !told.contains("keeper"), "{told}");
}

/// The folder of the family, where its journal and its sockets are.
fn folder(family: &Family) -> PathBuf {
    family.home.dir.join("doula").join(&family.home.name)
}

#[test]
fn a_supervisor_whom_nobody_could_follow_leaves_the_earlier_keeper_what_it_holds() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.kill();
    // Our keeper's socket cannot be made.
    let hindrance = folder(&family).join("keeper.new");
    std::fs::create_dir(&hindrance).expect("a folder in its place");
    family.up_again(&[]);
    family.expect("nobody could take over");
    expect_all_taken_over(&mut family, 1);
    assert_eq!(family.status("web")["pid"], before);
    family.kill();
    std::fs::remove_dir(&hindrance).expect("an empty folder");
    family.up_again(&[]);
    expect_all_taken_over(&mut family, 1);
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

#[test]
fn a_supervisor_that_fails_after_it_was_given_everything_leaves_it_to_the_next_one() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.kill();
    // The control socket cannot be made.
    let control = folder(&family).join("control");
    std::fs::remove_file(&control).expect("the one of the killed supervisor");
    std::fs::create_dir(&control).expect("a folder in its place");
    let said = family.home.doula(&["up"]);
    assert!(said.code == Some(125) && said.err.contains("control"), "{said:?}");
    std::fs::remove_dir(&control).expect("an empty folder");
    family.up_again(&[]);
    expect_all_taken_over(&mut family, 1);
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

#[test]
fn more_is_taken_over_than_the_soft_limit_of_open_files_allows() {
    const SERVICES: usize = 30;
    let text: String = (0..SERVICES)
        .map(|number| format!("[service.s{number}]\ncommand = [\"sleep\", \"1000\"]\n"))
        .collect();
    let home = Home::new(&text);
    let limited = |home: &Home| {
        let mut command = home.command("sh");
        command.args(["-c", "ulimit -Sn 40; exec \"$0\" up", env!("CARGO_BIN_EXE_doula")]);
        command
    };
    let command = limited(&home);
    let mut family = Family::with(home, command);
    family.expect("s0 ");
    for number in 0..SERVICES {
        family.ask(&["wait", &format!("s{number}"), "--until", "ready"]);
    }
    family.kill();
    let command = limited(&family.home);
    family.again_with(command);
    expect_all_taken_over(&mut family, SERVICES);
    family.shut_down();
}

/// The keeper is stopped before or after it has closed what was the supervisor's own; what `doula up` says then.
fn nothing_is_started_beside_a_stopped_keeper(before_the_kill: bool, expected: &str) {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    let keeper = family.keeper().expect("it has one");
    let stop = || pidfd_send_signal(&keeper, Signal::STOP).expect("it lives");
    if before_the_kill {
        stop();
    }
    family.kill();
    if !before_the_kill {
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(folder(&family).join("control")).is_ok() {
            assert!(Instant::now() < deadline, "the keeper does not close the control socket");
        }
        stop();
    }
    let said = family.home.doula(&["up"]);
    assert!(said.code == Some(125) && said.err.contains(expected), "{said:?}");
    assert!(!said.out.contains("web"), "{said:?}");
    pidfd_send_signal(&keeper, Signal::CONT).expect("it lives");
    family.up_again(&[]);
    expect_all_taken_over(&mut family, 1);
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

#[test]
fn nothing_is_started_as_long_as_a_keeper_lives_that_does_not_answer() {
    nothing_is_started_beside_a_stopped_keeper(false, "does not answer");
}

#[test]
fn nothing_is_started_as_long_as_a_keeper_holds_the_lock_of_its_dead_supervisor() {
    nothing_is_started_beside_a_stopped_keeper(true, "holds on to its lock");
}

#[test]
fn a_client_of_the_keeper_that_says_nothing_keeps_nobody_from_taking_over() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let before = family.status("web")["pid"].clone();
    family.kill();
    let mut silent = UnixStream::connect(folder(&family).join("keeper")).expect("the keeper listens");
    // It is its turn.
    silent.read_exact(&mut [0; 8]).expect("a greeting");
    family.up_again(&[]);
    expect_all_taken_over(&mut family, 1);
    assert_eq!(family.status("web")["pid"], before);
    family.shut_down();
}

/// What is written next into this pipe.
fn next_written(fifo: &Path) -> String {
    let (sender, receiver) = channel();
    let fifo = fifo.to_owned();
    std::thread::spawn(move || sender.send(std::fs::read_to_string(fifo)));
    receiver.recv_timeout(PATIENCE).expect("somebody writes").expect("a text")
}

#[test]
fn a_probe_that_was_under_way_does_not_outlive_a_take_over_and_leaves_no_fd() {
    let home = Home::new(
        "[service.web]\ncommand = \"ACTORS/polite\"\n\
         liveness = { exec = [\"sh\", \"-c\", \"echo $$$$ > probe; exec sleep 1000\"], interval = \"20ms\", timeout = \"100s\" }\n",
    );
    let fifo = home.dir.join("probe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).expect("a FIFO");
    let mut family = Family::start(home, &[]);
    let mut counts = Vec::new();
    for turn in 0..3 {
        let text = next_written(&fifo);
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.unwrap_or_else(|| panic!("turn {turn}: {text:?}"));
        let probe = pidfd_open(pid, PidfdFlags::empty()).expect("it lives");
        let us = family.ask(&["status"])["pid"].clone();
        counts.push(std::fs::read_dir(format!("/proc/{us}/fd")).expect("it lives").count());
        if turn == 1 {
            family.ask(&["upgrade"]);
        } else {
            family.kill();
            family.up_again(&[]);
        }
        expect_end(&probe);
    }
    next_written(&fifo);
    assert!(counts.iter().all(|count| count.abs_diff(counts[0]) < 3), "fds: {counts:?}");
    family.shut_down();
}

#[test]
fn a_keeper_that_nobody_can_find_any_more_ends_with_the_last_process_it_holds() {
    for folder_first in [true, false] {
        let mut family = Family::up(WEB);
        family.expect("polite: ready");
        let (web, keeper) = (family.main_of("web"), family.keeper().expect("it has one"));
        family.kill();
        let remove = || std::fs::remove_dir_all(folder(&family)).expect("to remove the folder");
        let end = || {
            pidfd_send_signal(&web, Signal::KILL).expect("it lives");
            expect_end(&web);
        };
        if folder_first {
            remove();
            end();
        } else {
            end();
            remove();
        }
        expect_end(&keeper);
    }
}

#[test]
fn a_keeper_takes_sigterm_when_nobody_lives_whom_it_holds() {
    let mut family = Family::up(WEB);
    family.expect("polite: ready");
    let (web, keeper) = (family.main_of("web"), family.keeper().expect("it has one"));
    family.kill();
    pidfd_send_signal(&keeper, Signal::TERM).expect("it lives");
    let held = std::fs::read_to_string("/proc/self/fdinfo/".to_owned() + &keeper.as_raw_fd().to_string());
    assert!(held.is_ok_and(|text| !text.contains("Pid:\t-1")), "it holds somebody who lives");
    pidfd_send_signal(&web, Signal::KILL).expect("it lives");
    expect_end(&keeper);
}
