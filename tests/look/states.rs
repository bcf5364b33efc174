//! States that are made on purpose, and what others say of the same processes.

use super::{DOULA, Made, doula, objects, run, skipped, soon};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// The letter of a process, as soon as it is this one.
fn becomes(pid: &str, state: &str) {
    soon(|| {
        let said = doula(&["ps", pid, "-o", "state", "--no-heads"]);
        (said.out.trim() == state).then_some(())
    });
}

/// A process made by Python, which says a line when all is as it shall be; `None` without Python.
fn python(script: &str) -> Option<Made> {
    let made = Made::new(Command::new("python3").args(["-c", script]));
    if made.first != "here" {
        skipped("there is no python3 here, or it may not do this");
        return None;
    }
    Some(made)
}

#[test]
fn who_waits_for_a_child_of_vfork_is_blocked() {
    let script = "import ctypes, threading, sys
libc = ctypes.CDLL(None)
print('here', flush=True)
if libc.vfork() == 0:
    libc.pause()
    libc._exit(0)
";
    let Some(made) = python(script) else { return };
    becomes(&made.pid(), "D");
    let said = doula(&["ps", &made.pid(), "-w", "state=D", "-o", "pid"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn who_is_stopped_by_its_tracer_is_told_from_who_is_stopped() {
    let script = "import ctypes, os, sys
libc = ctypes.CDLL(None)
child = os.fork()
if child == 0:
    libc.ptrace(0, 0, 0, 0)
    os.kill(os.getpid(), 19)
os.waitpid(child, 0x2)
print('here', flush=True)
sys.stdin.read()
";
    let Some(made) = python(script) else { return };
    let rows = objects(&doula(&["ps", "--under", &made.pid(), "-o", "pid,state,tracer", "--json"]));
    let traced: Vec<_> = rows.iter().filter(|row| row["state"] == "t").collect();
    assert_eq!(traced.len(), 1, "{rows:?}");
    assert_eq!(traced[0]["tracer"], json!(made.child.id()), "{rows:?}");
}

/// A group of its own in one of these hierarchies, removed at the end.
struct Group(std::path::PathBuf);

impl Group {
    fn new(roots: &[&str], file: &str) -> Option<Group> {
        let made = roots.iter().find_map(|root| {
            let path = Path::new(root).join(format!("doula-look-{}", std::process::id()));
            std::fs::create_dir(&path).ok()?;
            let group = Group(path);
            group.0.join(file).exists().then_some(group)
        });
        if made.is_none() {
            skipped("no such cgroup can be made here");
        }
        made
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).expect("our group");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was in it has been killed, and may leave it a moment later.
        soon(|| std::fs::remove_dir(&self.0).ok());
    }
}

#[test]
fn who_is_frozen_by_the_first_freezer_is_blocked_and_by_the_second_asleep() {
    for (roots, file, frozen, thawed, state) in [
        (["/sys/fs/cgroup/freezer"].as_slice(), "freezer.state", "FROZEN", "THAWED", "D"),
        (&["/sys/fs/cgroup", "/sys/fs/cgroup/unified"], "cgroup.freeze", "1", "0", "S"),
    ] {
        let Some(group) = Group::new(roots, file) else { continue };
        let made = Made::shell("echo here; while :; do :; done");
        group.write("cgroup.procs", &made.pid());
        becomes(&made.pid(), "R");
        group.write(file, frozen);
        becomes(&made.pid(), state);
        group.write(file, thawed);
        becomes(&made.pid(), "R");
        drop(made);
    }
}

#[test]
fn a_number_that_was_given_on_while_an_action_was_pending_hits_nobody_else() {
    // The first dies while the second has its grace; its number is then somebody else's, when SIGKILL is sent to both.
    let script = r#"
[ -w /proc/sys/kernel/ns_last_pid ] || { echo cannot; exit; }
mkfifo "$2/got"
sh -c 'trap "echo got >&3" TERM; echo ready >&3; sleep 1000 & wait; kill $!; sleep 1000 & wait' 3<>"$2/got" & one=$!
sh -c 'trap "" TERM; echo ready >&3; sleep 1000' 3<>"$2/got" & two=$!
exec 4<>"$2/got"
read ready <&4; read ready <&4
"$1" kill $one $two --grace 1s >"$2/told" 2>&1 & doula=$!
read got <&4
kill -KILL $one; wait $one
for try in 1 2 3 4 5 6 7 8 9; do
    echo $((one - 1)) >/proc/sys/kernel/ns_last_pid
    sleep 1000 & new=$!
    [ $new = $one ] && break
done
[ $new = $one ] || { echo cannot; exit; }
wait $doula; code=$?
kill -0 $new && echo "alive $code"
cat "$2/told"
"#;
    let folder = std::env::temp_dir().join(format!("doula-reuse-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
    ]);
    command.args([script, "sh", DOULA]).arg(&folder);
    let said = run(&mut command);
    std::fs::remove_dir_all(&folder).expect("our folder");
    let Some(said) = said.ok().filter(|said| !said.out.contains("cannot") && !said.err.contains("unshare:"))
    else {
        return skipped("no PID namespace in which numbers can be chosen");
    };
    assert!(said.out.starts_with("alive 0\n"), "{said:?}");
    assert_eq!(
        said.out.matches("was killed by SIGKILL").count() + said.out.matches("ended, nobody saw how").count(),
        2,
        "{said:?}"
    );
}

#[test]
fn whom_proc_hides_is_missing_and_nothing_is_wrong_of_the_others() {
    let made = Made::shell("echo here; read x");
    for options in ["hidepid=1", "hidepid=2"] {
        let script = format!(
            "mount -t proc -o {options} proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups \
             \"$1\" ps --json --kernel -o pid,ppid,uid,state,name,args"
        );
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script, "sh", DOULA]);
        let said = run(&mut command);
        let wrong = ["mount:", "unshare:", "setpriv:", "Permission denied"];
        let Some(said) = said.ok().filter(|said| !wrong.iter().any(|word| said.err.contains(word))) else {
            return skipped("no mount of procfs of our own, or no other user");
        };
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{options}: {said:?}");
        let rows = objects(&said);
        assert!(rows.iter().any(|row| row["name"] == "doula" && row["uid"] == 65534), "{options}: {rows:?}");
        assert!(rows.iter().all(|row| row["uid"] == 65534), "{options}: {rows:?}");
        assert!(rows.iter().all(|row| row["pid"] != json!(made.child.id())), "{options}: {rows:?}");
    }
}

#[test]
fn pstree_finds_the_same_below_a_process() {
    let made = Made::shell("sleep 1000 & sh -c 'sleep 1000 & sleep 1000 & wait' & echo here; wait");
    let numbers = |text: &str| {
        let mut all: Vec<u64> =
            text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        all.sort_unstable();
        all
    };
    let theirs = || Command::new("pstree").args(["-p", "-A", &made.pid()]).output().ok();
    if theirs().is_none() {
        return skipped("there is no pstree here");
    }
    let same = soon(|| {
        let rows = objects(&doula(&["tree", &made.pid(), "--json"]));
        let mut ours: Vec<u64> = rows.iter().filter_map(|row| row["pid"].as_u64()).collect();
        ours.sort_unstable();
        let theirs = numbers(&String::from_utf8_lossy(&theirs()?.stdout));
        (ours.len() == 5 && ours == theirs).then_some(ours)
    });
    assert!(same.contains(&u64::from(made.child.id())), "{same:?}");
}
