//! What makes other tools hang, lie, or send commands to a terminal.

use super::{DOULA, Made, doula, objects, run, skipped, soon};
use serde_json::{Value, json};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

#[test]
fn a_process_with_a_locked_memory_map_is_marked_and_explained_and_the_list_comes() {
    let made = Made::actor("locks_memory", &[]);
    if made.first != "locked" {
        return skipped("no file system of our own (/dev/fuse, Linux 6.16) can lock a memory map here");
    }
    let us = std::process::id();
    // Its second thread follows the first into the lock at once.
    let look = || doula(&["ps", &made.pid(), &us.to_string(), "-o", "pid,args", "--json"]);
    let said = soon(|| Some(look()).filter(|said| said.out.contains("\"locked\":")));
    let rows = objects(&said);
    let row = |pid: u32| rows.iter().find(|row| row["pid"] == json!(pid)).expect("a row");
    assert_eq!((said.code, rows.len()), (Some(0), 2), "{said:?}");
    assert!(
        row(made.child.id())["locked"]
            .as_str()
            .is_some_and(|why| why.contains("memory map locked by thread"))
    );
    assert!(row(us)["args"].is_array(), "{said:?}");
    let table = doula(&["ps", &made.pid(), "-o", "pid,args"]).out;
    assert!(table.contains("[locks_memory]") && table.contains("    memory map locked by thread"), "{table}");
    let tree = doula(&["tree", &made.pid(), "--args"]);
    assert!(
        tree.out.contains("(memory map locked)") && tree.err.contains("memory map locked by"),
        "{tree:?}"
    );
}

#[test]
fn names_of_any_bytes_reach_no_terminal_and_come_back_exactly() {
    let folder = std::env::temp_dir().join(format!("doula-look-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    for name in [") R 1 (", "x) Z 1 1 1", "a\nb", "\x1b[2J", "a\rb\t\\", "((((", "안녕🦀", "[kworker:0]"]
    {
        check(&folder, name.as_bytes(), json!(name));
    }
    check(&folder, b"\xff\xfe\x80", json!({ "hex": "fffe80" }));
    std::fs::remove_dir_all(&folder).expect("our folder");
}

/// A program whose file, and so its name, is called like this.
pub(super) fn called(folder: &std::path::Path, name: &[u8]) -> Made {
    let (path, shell) = (folder.join(std::ffi::OsStr::from_bytes(name)), std::fs::canonicalize("/bin/sh"));
    std::os::unix::fs::symlink(shell.expect("a shell"), &path).expect("another name for the shell");
    Made::new(Command::new(&path).args(["-c", "echo here; read x"]))
}

fn check(folder: &std::path::Path, name: &[u8], expected: Value) {
    let made = called(folder, name);
    let said = doula(&["ps", &made.pid(), "-o", "pid,ppid,name,args", "--json"]);
    let row = &objects(&said)[0];
    assert_eq!((&row["name"], &row["ppid"]), (&expected, &json!(std::process::id())), "{said:?}");
    let full = doula(&["ps", "--json", "--full"]);
    let table: Value = serde_json::from_str(&full.out).expect("one object");
    let mut rows = table["processes"].as_array().expect("rows").iter();
    assert!(rows.any(|row| row["pid"] == json!(made.child.id()) && row["name"] == expected), "{full:?}");
    std::fs::write(folder.join("table"), &full.out).expect("a file");
    let table = folder.join("table").into_os_string();
    let told = doula(&["sim", "load", &table.to_string_lossy(), "--exit", &made.pid()]);
    assert_eq!(told.code, Some(0), "{told:?}");
    for said in [
        doula(&["ps", &made.pid(), "-o", "pid,name,args", "--no-heads", "--color", "never"]),
        doula(&["tree", &made.pid(), "--args", "--color", "never"]),
    ] {
        let bad = |c: char| c.is_control() && c != '\n';
        assert!(!said.out.contains(bad) && said.out.lines().count() == 1, "{said:?}");
    }
}

/// Runs doula in a mount namespace in which /proc is mounted with these options.
fn with_proc(options: &str, args: &[&str]) -> Option<super::Said> {
    let script = format!("mount -t proc -o {options} proc /proc && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, "sh", DOULA]).args(args);
    let said = run(&mut command).ok()?;
    let mounted = !said.err.contains("mount:") && !said.err.contains("unshare:");
    mounted.then_some(said)
}

#[test]
fn a_procfs_that_shows_processes_only_is_enough() {
    let made = Made::shell("echo here; read x");
    let Some(said) = with_proc("subset=pid", &["ps", &made.pid(), "-o", "pid,mem,age,state", "--json"])
    else {
        return skipped("no mount of procfs of our own (not root?)");
    };
    let row = &objects(&said)[0];
    assert_eq!((&row["pid"], &row["mem"]), (&json!(made.child.id()), &Value::Null), "{said:?}");
    assert!(row["age"].is_number(), "{said:?}");
    let tree = with_proc("subset=pid", &["tree", &made.pid()]).expect("as before");
    assert_eq!(tree.code, Some(0), "{tree:?}");
}

#[test]
fn the_same_processes_are_seen_as_by_ps() {
    let made = Made::shell("sleep 1000 & sh -c 'sleep 1000; exit 3' & echo here; wait");
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,pgid=,sid=,state=,nlwp=,comm="]).output();
    let Ok(output) = output else { return skipped("there is no ps here") };
    let theirs: Vec<Vec<String>> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .filter(|row: &Vec<String>| row.get(2) == Some(&made.pid()))
        .collect();
    let said = doula(&[
        "ps",
        "--json",
        "-w",
        &format!("pgid={}", made.pid()),
        "-o",
        "pid,ppid,pgid,sid,state,threads,name",
    ]);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let columns = ["pid", "ppid", "pgid", "sid", "state", "threads", "name"];
    let ours: Vec<Vec<String>> =
        objects(&said).iter().map(|row| columns.iter().map(|column| text(&row[*column])).collect()).collect();
    assert_eq!(ours.len(), 4, "{said:?}");
    assert_eq!(ours, theirs);
}
