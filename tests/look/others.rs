//! Our rows beside those of psutil and ps, of all processes that stay as they are meanwhile.

use super::{Made, doula, objects, skipped};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// Looks until others agree: who ran between two looks and rests again is told otherwise in between, but not each time.
const LOOKS: usize = 50;

/// Rows by the number of the process.
type Rows = BTreeMap<i64, Value>;

/// What a program prints; nothing when there is no such program.
fn printed(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn ours(columns: &str) -> Rows {
    let rows = objects(&doula(&["ps", "-k", "--json", "-o", columns]));
    rows.into_iter().map(|row| (row["pid"].as_i64().expect("a number"), row)).collect()
}

/// Compares with what others say, until all who stayed as they were have the same row; those whom `made` names are among them.
fn agree(
    columns: &str,
    made: &[i64],
    mut others: impl FnMut() -> Rows,
    same: impl Fn(&Value, &Value) -> bool,
) {
    let mut told = String::new();
    let agreed = (0..LOOKS).find(|_| {
        let (before, other, after) = (ours(columns), others(), ours(columns));
        let stays = before.iter().filter(|(pid, row)| after.get(pid) == Some(row));
        let stays: Rows = stays.map(|(pid, row)| (*pid, row.clone())).collect();
        let differs = |pid: &i64, row: &Value| !other.get(pid).is_some_and(|other| same(row, other));
        let differing = stays.iter().filter(|(pid, row)| differs(pid, row));
        told = differing.map(|(pid, row)| format!("{row}\n  {:?}\n", other.get(pid))).collect();
        told.is_empty() && made.iter().all(|pid| stays.contains_key(pid))
    });
    assert!(agreed.is_some(), "they differ:\n{told}");
}

/// Whether it may be the same memory: the kernel counts in passing, on each CPU for itself, and `stat` has what it has put together so
/// far of three counters (proc_pid_stat(5): "inaccurate"); others read the sum of all.
fn same_memory(ours: u64, other: u64) -> bool {
    const PAGE: u64 = 4096;
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    ours.abs_diff(other) <= 3 * cpus * (2 * cpus).max(32) * PAGE
}

/// One of each kind that stays as it is: sleeping, stopped, with threads, a zombie, odd names.
fn made(of: &str) -> Vec<Made> {
    let folder = std::env::temp_dir().join(format!("doula-others-{of}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut all = vec![
        Made::shell("sleep 1000 & sleep 1000 & kill -STOP $!; echo here; read x"),
        Made::actor("leak_zombie", &["2", "9"]),
    ];
    let names = [b") R 1 (".as_slice(), b"a b\nc", b"((((", b"\xff\xfe"];
    all.extend(names.map(|name| super::odd::called(&folder, name)));
    std::fs::remove_dir_all(&folder).expect("our folder");
    all
}

fn pids(made: &[Made]) -> Vec<i64> {
    made.iter().map(|made| i64::from(made.child.id())).collect()
}

const PSUTIL: &str = r#"
import json, os, psutil
letters = {"running": "R", "sleeping": "S", "disk-sleep": "D", "stopped": "T", "tracing-stop": "t", "zombie": "Z", "dead": "X", "idle": "I",
           "parked": "P"}
for process in psutil.process_iter():
    try:
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            print(json.dumps({"pid": process.pid, "ppid": process.ppid(), "state": letters.get(process.status(), process.status()),
                "name": os.fsencode(process.name()).hex(), "threads": process.num_threads(), "nice": process.nice(),
                "uid": process.uids().effective, "gid": process.gids().effective, "rss": memory.rss, "vsz": memory.vms,
                "utime": times.user, "stime": times.system}))
    except psutil.NoSuchProcess:
        pass
"#;

/// The name as psutil gives it: it makes names that were cut longer by the arguments.
fn same_name(ours: &Value, other: &Value) -> bool {
    let hex = match ours.as_str() {
        Some(name) => name.bytes().map(|byte| format!("{byte:02x}")).collect(),
        None => ours["hex"].as_str().unwrap_or_default().to_owned(),
    };
    let cut = hex.len() >= 2 * 15;
    other.as_str().is_some_and(|other| if cut { other.starts_with(&hex) } else { other == hex })
}

#[test]
fn psutil_says_the_same_of_all_who_stay_as_they_are() {
    if printed(Command::new("python3").args(["-c", "import psutil"])).is_none() {
        return skipped("no python3 with psutil");
    }
    let rows = || {
        let text = printed(Command::new("python3").args(["-c", PSUTIL])).unwrap_or_default();
        let rows = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        rows.map(|row: Value| (row["pid"].as_i64().unwrap_or(0), row)).collect()
    };
    let made = made("psutil");
    let bytes = |value: &Value| value.as_u64().unwrap_or(0);
    let seconds = |ours: &Value, other: &Value| {
        ours.as_f64().zip(other.as_f64()).is_some_and(|(ours, other)| (ours - other).abs() < 0.001)
    };
    agree(
        "pid,ppid,state,name,threads,nice,uid,gid,rss,vsz,utime,stime",
        &pids(&made),
        rows,
        |ours, other| {
            ["ppid", "state", "threads", "nice", "uid", "gid"].iter().all(|name| ours[name] == other[name])
                && bytes(&ours["vsz"]) == bytes(&other["vsz"])
                && same_memory(bytes(&ours["rss"]), bytes(&other["rss"]))
                && ["utime", "stime"].iter().all(|name| seconds(&ours[name], &other[name]))
                && same_name(&ours["name"], &other["name"])
        },
    );
}

#[test]
fn ps_says_the_same_of_all_who_stay_as_they_are() {
    const COLUMNS: &str = "pid=,ppid=,pgid=,sess=,s=,nlwp=,ni=,uid=,gid=,rss=,vsz=";
    if printed(Command::new("ps").args(["-o", COLUMNS])).is_none() {
        return skipped("no ps of procps");
    }
    let rows = || {
        let text = printed(Command::new("ps").args(["-eo", COLUMNS])).unwrap_or_default();
        let row = |line: &str| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            Some((cells.first()?.parse().ok()?, json!(cells)))
        };
        text.lines().filter_map(row).collect()
    };
    let made = made("ps");
    agree("pid,ppid,pgid,sid,state,threads,nice,uid,gid,rss,vsz", &pids(&made), rows, |ours, other| {
        let names = ["pid", "ppid", "pgid", "sid", "state", "threads", "nice", "uid", "gid", "rss", "vsz"];
        names.iter().zip(other.as_array().into_iter().flatten()).all(|(name, cell)| {
            let (value, cell) = (&ours[name], cell.as_str().unwrap_or_default());
            match (*name, value.as_u64()) {
                ("vsz", bytes) => cell.parse() == Ok(bytes.unwrap_or(0) / 1024),
                ("rss", bytes) => {
                    cell.parse().is_ok_and(|other: u64| same_memory(bytes.unwrap_or(0), other * 1024))
                }
                // Real-time threads have no nice value for ps.
                ("nice", _) if cell == "-" => true,
                _ => value.as_str().map_or_else(|| value.to_string(), str::to_owned) == cell,
            }
        })
    });
}
