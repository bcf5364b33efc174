//! What `doula sim load` says of a death, against what Linux then does: families whose PID 1 never buries anybody.

use crate::eyes::{DOULA, Family, LOOKS, namespace, number, own_number, snapshot, terminal};
use rustix::fd::OwnedFd;
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

/// What is compared of a process: its parent, and whether it lives (S), is stopped (T) or dead (Z).
type Table = BTreeMap<i64, (i64, char)>;

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    /// Of SIGKILL.
    Kill,
    /// By itself: SIGUSR1 has it exit with [`CODE`].
    Exit,
}

const DEATHS: [Death; 2] = [Death::Kill, Death::Exit];
const CODE: &str = "3";
/// The line by which a script's process exits when it is asked to; its children would, too.
const ON_REQUEST: &str = "on USR1 { exit 3 }";

impl Death {
    fn signal(self) -> Signal {
        match self {
            Death::Kill => Signal::KILL,
            Death::Exit => Signal::USR1,
        }
    }

    /// The wait status that it leaves.
    fn status(self) -> i64 {
        match self {
            Death::Kill => 9,
            Death::Exit => 3 << 8,
        }
    }

    /// Whether a process of a snapshot can die so: it has set its handler.
    fn is_possible(self, row: &Value) -> bool {
        let caught = row["signals"]["caught"].as_str().and_then(|text| u64::from_str_radix(text, 16).ok());
        self == Death::Kill || caught.is_some_and(|caught| caught & 1 << (Signal::USR1.as_raw() - 1) != 0)
    }
}

/// A family at a terminal of its own.
struct Scene {
    family: Family,
    /// The user's end.
    _terminal: OwnedFd,
}

impl Scene {
    /// A family whose init plays this script and then only sleeps; `None` where no namespace can be made, which is told.
    fn new(script: &str) -> Option<Scene> {
        let mut command = namespace()?;
        command.args([
            DOULA,
            "sim",
            "play",
            "-c",
            &format!("setsid\n{ON_REQUEST}\n{script}\nloop {{ pause }}"),
        ]);
        Some(Scene::at_terminal(command))
    }

    fn at_terminal(mut command: Command) -> Scene {
        let (ours, theirs) = terminal();
        command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
        Scene { family: Family::new(command), _terminal: ours }
    }

    /// Looks until so many sleep, so many are stopped, and nobody else is there.
    fn ready(&self, asleep: usize, stopped: usize) -> Value {
        for _ in 0..LOOKS {
            let snapshot = snapshot();
            let members = self.family.members(&snapshot);
            let count = |state: &str| members.iter().filter(|row| row["state"] == state).count();
            let shells = members.iter().any(|row| row["name"] == "sh" || row["name"] == "setsid");
            if !shells && members.len() == asleep + stopped && (count("S"), count("T")) == (asleep, stopped) {
                return snapshot;
            }
        }
        panic!("the family is not complete: {:?}", self.family.members(&snapshot()));
    }

    fn table(&self, snapshot: &Value) -> Table {
        let rows = self.family.members(snapshot).into_iter().map(|row| {
            let state = match row["state"].as_str() {
                Some("Z" | "X") => 'Z',
                Some("T" | "t") => 'T',
                _ => 'S',
            };
            (number(&row["pid"]), (number(&row["ppid"]), state))
        });
        rows.collect()
    }

    /// Has who was born as the number `inside` die, and compares what follows with what was said of it, which comes back.
    fn dies(&self, death: Death, before: Value, inside: i64) -> Value {
        let (before, victim) = self.armed(death, before, inside);
        let said = load(&before, victim, death);
        assert_eq!(said["fate"]["dies"], death.status(), "{said}");
        // The init's own parent waits for it.
        let expected = if inside == 1 { Table::new() } else { follow(self.table(&before), &said) };
        self.family.send(inside, death.signal());
        let mut seen = Table::new();
        for _ in 0..LOOKS {
            seen = self.table(&snapshot());
            if seen == expected {
                if let Some((_, 'Z')) = seen.get(&victim) {
                    assert_eq!(wait_status(victim), death.status(), "as it was said");
                }
                return said;
            }
        }
        panic!("said: {said}\nexpected: {expected:?}\nseen:     {seen:?}");
    }

    /// Who was born as this number.
    fn member(&self, snapshot: &Value, inside: i64) -> Value {
        let members = self.family.members(snapshot);
        let found = members.into_iter().find(|row| own_number(row) == inside);
        found.expect("it is in the family").clone()
    }

    /// A snapshot in which this one can die so, and its number there.
    fn armed(&self, death: Death, mut before: Value, inside: i64) -> (Value, i64) {
        for _ in 0..LOOKS {
            let victim = self.member(&before, inside);
            if death.is_possible(&victim) {
                return (before, number(&victim["pid"]));
            }
            before = snapshot();
        }
        panic!("{inside} has no handler of SIGUSR1");
    }
}

/// The wait status of a zombie that stays one: the last field of proc(5)'s stat.
fn wait_status(pid: i64) -> i64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    text.split_whitespace().last().and_then(|word| word.parse().ok()).expect("a number")
}

/// What a table becomes by what was said.
fn follow(mut table: Table, said: &Value) -> Table {
    let list = |name: &str| said[name].as_array().expect("a list").clone();
    for adoption in list("adopted") {
        if let Some(row) = table.get_mut(&number(&adoption["pid"])) {
            row.0 = number(&adoption["by"]);
        }
    }
    for pid in list("continued") {
        table.entry(number(&pid)).and_modify(|row| row.1 = 'S');
    }
    for zombie in list("zombies") {
        let pid = number(&zombie["pid"]);
        table.entry(pid).and_modify(|row| row.1 = 'Z');
    }
    let vanished: Vec<i64> = list("vanished").iter().map(number).collect();
    table.retain(|pid, _| !vanished.contains(pid));
    table
}

fn load(snapshot: &Value, victim: i64, death: Death) -> Value {
    let victim = victim.to_string();
    let how: &[&str] = match death {
        Death::Kill => &["--kill", &victim],
        Death::Exit => &["--exit", &victim, "--as", CODE],
    };
    let mut child = Command::new(DOULA)
        .args(["sim", "load", "-", "--json"])
        .args(how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("doula starts");
    child.stdin.take().expect("a pipe").write_all(snapshot.to_string().as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn count(said: &Value, name: &str) -> usize {
    said[name].as_array().expect("a list").len()
}

/// Who only sleeps.
const SLEEPER: &str = "fork { loop { pause } }";

#[test]
fn orphans_go_to_init_and_their_parent_stays_a_zombie() {
    for death in DEATHS {
        let script = format!("fork {{ {SLEEPER}\n {SLEEPER}\n loop {{ pause }} }}");
        let Some(scene) = Scene::new(&script) else { return };
        let said = scene.dies(death, scene.ready(4, 0), 2);
        assert_eq!((count(&said, "adopted"), count(&said, "zombies"), count(&said, "hung_up")), (2, 1, 0));
    }
}

#[test]
fn orphans_go_to_a_subreaper_that_is_known_and_it_is_named_where_it_is_not() {
    for death in DEATHS {
        let family = format!("fork {{ {SLEEPER}\n {SLEEPER}\n loop {{ pause }} }}");
        let Some(scene) = Scene::new(&format!("fork {{ subreaper on\n {family}\n loop {{ pause }} }}"))
        else {
            return;
        };
        let mut before = scene.armed(death, scene.ready(5, 0), 3).0;
        let subreaper = number(&scene.member(&before, 2)["pid"]);
        let unknown = load(&before, number(&scene.member(&before, 3)["pid"]), death);
        assert_eq!(unknown["adopted"][0]["unless"], serde_json::json!([subreaper]), "{unknown}");
        // /proc does not tell; who wrote the script knows.
        let rows = before["processes"].as_array_mut().expect("a list");
        let row = rows.iter_mut().find(|row| row["pid"] == subreaper).expect("it is there");
        row["subreaper"] = true.into();
        let said = scene.dies(death, before, 3);
        assert_eq!((count(&said, "adopted"), &said["adopted"][0]["by"]), (2, &subreaper.into()), "{said}");
    }
}

#[test]
fn who_has_adopted_somebody_of_another_session_is_known_to_be_a_subreaper() {
    for death in DEATHS {
        let adopted = format!("fork {{ setsid\n {SLEEPER}\n exit 0 }}\n wait4 any");
        let family = format!("fork {{ {SLEEPER}\n {SLEEPER}\n loop {{ pause }} }}");
        let script = format!("fork {{ subreaper on\n {adopted}\n {family}\n loop {{ pause }} }}");
        let Some(scene) = Scene::new(&script) else { return };
        let before = scene.ready(6, 0);
        let subreaper = scene.member(&before, 2)["pid"].clone();
        let said = scene.dies(death, before, 5);
        assert_eq!((count(&said, "adopted"), &said["adopted"][0]["by"]), (2, &subreaper), "{said}");
    }
}

/// A shell with a job that has stopped itself.
fn shell(before: &str, job: &str) -> String {
    format!(
        "fork {{ {before}\n fork {{ setpgid 0 0\n {job}\n kill $self STOP\n loop {{ pause }} }}\n loop {{ pause }} }}"
    )
}

#[test]
fn a_stopped_group_is_hung_up_in_a_session_of_its_own_and_not_in_that_of_init() {
    for death in DEATHS {
        let Some(same) = Scene::new(&shell("", "")) else { return };
        assert_eq!(count(&same.dies(death, same.ready(2, 1), 2), "hung_up"), 0);
        let Some(own) = Scene::new(&shell("setsid", "")) else { return };
        let said = own.dies(death, own.ready(2, 1), 2);
        assert_eq!((count(&said, "hung_up"), count(&said, "ended"), count(&said, "zombies")), (1, 1, 2));
    }
}

#[test]
fn who_ignores_sighup_outlives_the_hang_up_and_runs_again() {
    for death in DEATHS {
        let Some(scene) = Scene::new(&shell("setsid", "ignore HUP")) else { return };
        let said = scene.dies(death, scene.ready(2, 1), 2);
        assert_eq!((count(&said, "hung_up"), count(&said, "ended"), count(&said, "continued")), (1, 0, 1));
    }
}

#[test]
fn the_child_of_one_that_ignores_sigchld_leaves_no_zombie() {
    for death in DEATHS {
        let script = format!("fork {{ ignore CHLD\n {SLEEPER}\n loop {{ pause }} }}");
        let Some(scene) = Scene::new(&script) else { return };
        let said = scene.dies(death, scene.ready(3, 0), 3);
        assert_eq!((count(&said, "vanished"), count(&said, "zombies")), (1, 0));
    }
}

#[test]
fn the_leader_of_a_session_takes_the_foreground_of_its_terminal_with_it() {
    for death in DEATHS {
        let Some(mut command) = namespace() else { return };
        let leader =
            format!("{ON_REQUEST}\nfork {{ sigaction USR1 default\n loop {{ pause }} }}\nloop {{ pause }}");
        let family = "exec 3<&0; setsid -c \"$0\" sim play -c \"$1\" <&3 & exec sleep 1000";
        command.args(["sh", "-c", family, DOULA, &leader]);
        let scene = Scene::at_terminal(command);
        let said = scene.dies(death, scene.ready(3, 0), 2);
        assert_eq!((count(&said, "hung_up"), count(&said, "ended"), count(&said, "zombies")), (1, 1, 2));
        assert_eq!(said["hung_up"][0]["signals"].to_string(), "[\"SIGHUP\"]");
    }
}

#[test]
fn with_its_init_the_whole_namespace_is_gone() {
    for death in DEATHS {
        let script = format!("fork {{ setsid\n {SLEEPER}\n loop {{ pause }} }}\n {SLEEPER}");
        let Some(scene) = Scene::new(&script) else { return };
        let said = scene.dies(death, scene.ready(4, 0), 1);
        assert_eq!(count(&said, "ended"), 3);
    }
}

#[test]
fn a_snapshot_is_told_as_sentences_and_a_wrong_one_names_the_cure() {
    let run =
        |args: &[&str]| Command::new(DOULA).args(args).stdin(Stdio::null()).output().expect("doula starts");
    let mut child = Command::new("sleep").arg("1000").spawn().expect("a child");
    let told = run(&["sim", "load", "--live", "--kill", &child.id().to_string()]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(text.starts_with(&format!("If {} (", child.id())) && text.contains("is a zombie"), "{text}");
    child.kill().and_then(|()| child.wait()).expect("our child");
    let nobody = run(&["sim", "load", "--live", "--exit", "4194304"]);
    let complaint = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(nobody.status.code() == Some(2) && complaint.contains("no process 4194304"), "{complaint}");
    let empty = run(&["sim", "load", "-", "--exit", "1"]);
    let complaint = String::from_utf8_lossy(&empty.stderr).into_owned();
    assert!(empty.status.code() == Some(2) && complaint.contains("doula sim snapshot"), "{complaint}");
    let code = run(&["sim", "load", "--live", "--exit", "1", "--as", "TERM"]);
    assert_eq!(code.status.code(), Some(2));
}
