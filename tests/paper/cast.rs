//! Each behaviour of the cast, played by the kernel on paper and by Linux: at agreed points both look the same.
//!
//! PID 1 bears it as 2, buries whoever ends, and tells of each end.

use crate::eyes::{DOULA, Family, LOOKS, namespace, number, own_number, snapshot};
use doula_model::signal::Signal;
use doula_sim::kernel::call::Look;
use doula_sim::program::{Stage, cast};
use rustix::process::Signal as Real;
use std::collections::BTreeMap;
use std::io::PipeReader;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;
use std::time::Duration;

const INIT: &str = "
    setsid
    fork as it { exec IT }
    loop {
        wait4 any as dead status
        if failed ECHILD { loop { pause } }
        notify ended $dead $status
    }";

const MOMENT: Duration = Duration::from_millis(10);
/// Longer than anything that a behaviour does by itself, but for the child of `stuck-in-d`.
const WHILE: Duration = Duration::from_secs(4);

/// What is done to the behaviour, and how long one waits on paper before both are compared.
type Point = (Option<Signal>, Duration);

/// Parent, the first of the group, the first of the session, and the letter; by the number inside.
type Table = BTreeMap<i64, (i64, i64, i64, char)>;

/// A process as it is seen: its number, its parent, its group, its session, and the letter.
type Row = (i64, i64, i64, i64, char);

/// Groups and sessions are named by their lowest number that is there: the leader may be gone.
fn table(rows: &[Row]) -> Table {
    let first = |numbers: &mut dyn Iterator<Item = i64>| numbers.min().unwrap_or(0);
    let named = rows.iter().map(|&(pid, parent, group, session, state)| {
        // Who is at work, or listens, is not told from who sleeps.
        let state = if matches!(state, 'R' | 'S') { 'S' } else { state };
        let in_group = first(&mut rows.iter().filter(|row| row.2 == group).map(|row| row.0));
        let in_session = first(&mut rows.iter().filter(|row| row.3 == session).map(|row| row.0));
        (pid, (parent, in_group, in_session, state))
    });
    named.collect()
}

/// How many children each has: what is the same however numbers were given.
fn shape(table: &Table) -> Vec<(usize, char)> {
    let children = |pid: i64| table.values().filter(|row| row.0 == pid).count();
    let mut shape: Vec<(usize, char)> = table.iter().map(|(pid, row)| (children(*pid), row.3)).collect();
    shape.sort_unstable();
    shape
}

/// The behaviour on Linux.
struct OnLinux {
    family: Family,
    notices: UnixDatagram,
    told: Vec<String>,
    /// Nobody reads what it writes.
    _output: PipeReader,
}

impl OnLinux {
    fn new(name: &str, init: &str) -> Option<OnLinux> {
        let mut command = namespace()?;
        let address = format!("doula-paper-{}-{name}", std::process::id());
        let notices = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&address).expect("a name"));
        let notices = notices.expect("a socket");
        notices.set_nonblocking(true).expect("a socket that does not wait");
        let (output, theirs) = std::io::pipe().expect("a pipe");
        command.args([DOULA, "sim", "play", "-c", init]).env("NOTIFY_SOCKET", format!("@{address}"));
        command.stdin(Stdio::null()).stdout(theirs).stderr(Stdio::inherit());
        Some(OnLinux { family: Family::new(command), notices, told: Vec::new(), _output: output })
    }

    fn look(&mut self) -> Table {
        let all = snapshot();
        let members = self.family.members(&all);
        let inside = |outside: i64| {
            members.iter().find(|row| number(&row["pid"]) == outside).map_or(0, |row| own_number(row))
        };
        let rows = members.iter().map(|row| {
            let state = row["state"].as_str().and_then(|text| text.chars().next()).unwrap_or('?');
            // A dead leader's number stands for its group all the same: as it is outside.
            (own_number(row), inside(number(&row["ppid"])), number(&row["pgid"]), number(&row["sid"]), state)
        });
        let table = table(&rows.collect::<Vec<Row>>());
        let mut text = [0; 256];
        while let Ok(length) = self.notices.recv(&mut text) {
            self.told.push(String::from_utf8_lossy(&text[..length]).into_owned());
        }
        table
    }
}

fn on_paper(stage: &Stage) -> Table {
    let wide = i64::from;
    let row = |look: Look| (wide(look.pid), wide(look.ppid), wide(look.pgid), wide(look.sid), look.state);
    table(&stage.everybody().into_iter().map(row).collect::<Vec<Row>>())
}

/// Plays a behaviour on both, and compares them at each point by `same`.
fn compare(name: &str, points: &[Point], same: impl Fn(&Table, &Table) -> bool) {
    let init = INIT.replace("IT", name);
    let mut scripts = vec![("init", init.as_str())];
    scripts.extend(cast::ALL);
    let mut stage = Stage::new(&scripts).expect("scripts");
    let Some(mut linux) = OnLinux::new(name, &init) else { return };
    let mut told: Vec<String> = Vec::new();
    for (at, (signal, time)) in points.iter().enumerate() {
        if let Some(signal) = signal {
            stage.kill(2, *signal).expect("it is there on paper");
            linux.family.send(2, Real::from_named_raw(signal.number()).expect("a signal"));
        }
        stage.pass(*time);
        told.extend(stage.take_told().iter().map(|(_, text)| text.to_string()));
        let expected = on_paper(&stage);
        let agrees = (0..LOOKS).any(|_| {
            let seen = linux.look();
            same(&seen, &expected) && linux.told == told
        });
        assert!(
            agrees,
            "{name} at point {at}\non paper: {expected:?} {told:?}\non Linux: {:?} {:?}",
            linux.look(),
            linux.told
        );
    }
}

fn looks_the_same(name: &str, points: &[Point]) {
    compare(name, points, |one, other| one == other);
}

const BORN: Point = (None, MOMENT);
const TERM: Point = (Some(Signal::TERM), MOMENT);

#[test]
fn those_that_are_asked_to_end_look_the_same_on_paper_and_on_linux() {
    looks_the_same("polite", &[BORN, TERM]);
    looks_the_same("ignores-term", &[BORN, TERM, (Some(Signal::KILL), MOMENT)]);
    looks_the_same("slow-stop", &[BORN, (Some(Signal::TERM), WHILE)]);
    looks_the_same("exits-while-being-stopped", &[BORN, (Some(Signal::TERM), WHILE)]);
    looks_the_same("stops-itself", &[BORN, TERM, (Some(Signal::CONT), MOMENT)]);
}

#[test]
fn those_that_end_by_themselves_look_the_same_on_paper_and_on_linux() {
    looks_the_same("crash-loop", &[(None, WHILE)]);
    looks_the_same("ready-then-dies", &[(None, WHILE)]);
}

#[test]
fn families_look_the_same_on_paper_and_on_linux() {
    looks_the_same("double-forker", &[BORN]);
    looks_the_same("zombie-maker", &[BORN, TERM]);
    looks_the_same("holds-the-pipe-open", &[BORN]);
    looks_the_same("stuck-in-d", &[BORN, TERM, (Some(Signal::KILL), MOMENT)]);
    compare("fork-bomb", &[BORN], |one, other| shape(one) == shape(other));
}

#[test]
fn who_writes_into_a_full_pipe_sleeps_on_paper_and_on_linux() {
    looks_the_same("log-flooder", &[BORN, TERM]);
}
