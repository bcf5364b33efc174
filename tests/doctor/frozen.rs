//! A frozen file system (fsfreeze(8)), made of a loop device in a mount namespace of its own.

use super::{Made, doctor, doula, skipped, soon};
use crate::bounded::PATIENCE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

/// Who makes the file system, freezes it and has three others change it: by a path, by one that begins where it is, and by an
/// open file. It thaws it when its input ends, whatever becomes of the test.
const SCRIPT: &str = r#"
image=$1/image place=$1/place
no() { echo "no $*"; exit; }
mkdir "$place" && truncate -s 8M "$image" || no "room for a file system"
mkfs.ext4 -q -F "$image" >/dev/null 2>&1 || no "mkfs.ext4(8)"
mount -o loop "$image" "$place" 2>/dev/null || no "loop device, or no ext4 in this kernel"
exec 5>"$place/open"
fsfreeze --freeze "$place" || no "fsfreeze(8)"
sh -c 'echo more >"$1/made"' sh "$place" & path=$!
(cd "$place" && exec mkdir here) & here=$!
sh -c 'echo more >&5' & open=$!
echo $path $here $open
read end
fsfreeze --unfreeze "$place"
"#;

/// The file system with those who want to change it. Thawed when dropped, and gone with the last process in its namespace.
struct Frozen {
    made: Made,
    folder: PathBuf,
}

impl Frozen {
    fn new() -> Option<Frozen> {
        let folder = std::env::temp_dir().join(format!("doula-frozen-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]).arg(&folder);
        let frozen = Frozen { made: Made::new(&mut command), folder };
        if frozen.waiting().len() == 3 {
            return Some(frozen);
        }
        skipped(&format!("no frozen file system here: {:?}", frozen.made.first));
        None
    }

    /// Those who want to change it.
    fn waiting(&self) -> Vec<String> {
        let numbers = self.made.first.split(' ').map(str::to_owned);
        numbers.filter(|word| word.parse::<u32>().is_ok()).collect()
    }

    fn place(&self) -> String {
        self.folder.join("place").display().to_string()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let mut thaw = Command::new("nsenter");
        thaw.args(["-t", &self.made.pid(), "-m", "fsfreeze", "--unfreeze", &self.place()]);
        let _thawed_already = super::run(&mut thaw);
        let _kept = fs::remove_dir_all(&self.folder);
    }
}

/// A handle of a process, and the wait for its end.
fn handle(pid: &str) -> OwnedFd {
    let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a number");
    pidfd_open(pid, PidfdFlags::empty()).expect("it lives")
}

fn ends(handle: &OwnedFd) {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    assert_eq!(poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&patience)), Ok(1), "it does not end");
}

/// The wait of who is blocked.
fn wait(pid: &str) -> Value {
    soon(|| {
        doctor(pid).1["waits"].as_array()?.iter().find(|wait| wait["on"] == "frozen-file-system").cloned()
    })
}

#[test]
fn who_changes_a_frozen_file_system_is_told_which_one_and_sigkill_does_not_end_it_before_it_is_thawed() {
    let Some(frozen) = Frozen::new() else { return };
    let place = frozen.place();
    let mut cures = Vec::new();
    for (pid, call) in frozen.waiting().iter().zip(["openat", "mkdir", "write"]) {
        let wait = wait(pid);
        let told = format!("waits until the frozen file system {place} (ext4) is thawed, in {call}(2)");
        // Other architectures have no mkdir(2), but mkdirat(2).
        let told = if cfg!(target_arch = "x86_64") { told } else { told.replace("mkdir(", "mkdirat(") };
        assert!(wait["told"].as_str().is_some_and(|text| text.starts_with(&told)), "{wait}");
        assert_eq!((&wait["state"], &wait["kill"]), (&json!("D"), &json!("not-until")), "{wait}");
        assert_eq!(wait["until"], json!(format!("{place} is thawed (fsfreeze --unfreeze)")), "{wait}");
        cures.push(wait["cures"][0].as_str().expect("a cure").to_owned());
    }
    let all = doula(&["doctor", "--lasting", "10ms"]);
    assert!(
        all.code == Some(1) && all.out.contains(&format!("the frozen file system {place} (ext4)")),
        "{all:?}"
    );
    let load = super::object(&doula(&["doctor", "--load", "--json"]));
    let counted =
        |wait: &&Value| wait["wchan"].as_str().is_some_and(|wchan| wchan.starts_with("percpu_rwsem"));
    let counted =
        load["blocked"].as_array().and_then(|all| all.iter().find(counted)).map(|one| &one["counted"]);
    assert_eq!(counted, Some(&json!(true)), "{load}");

    let [killed, _, _] = &frozen.waiting()[..] else { panic!("three") };
    let said = doula(&["kill", "--now", killed]);
    assert!(
        said.code == Some(1) && said.err.contains(&format!("never works until {place} is thawed")),
        "{said:?}"
    );
    assert_eq!(wait(killed)["state"], json!("D"));

    let handles: Vec<OwnedFd> = frozen.waiting().iter().map(|pid| handle(pid)).collect();
    // The cure, as it is told: in the namespace of the one that waits.
    let (_, cure) = cures[2].split_once('`').expect("a command");
    let said = super::run(Command::new("sh").args(["-c", cure.trim_end_matches('`')])).expect("a shell");
    assert_eq!(said.code, Some(0), "{cure}: {said:?}");
    handles.iter().for_each(ends);
}
