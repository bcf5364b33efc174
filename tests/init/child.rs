//! `doula init` that is not PID 1: what it adopts, how it ends, and what becomes of it when its parent dies.

use crate::harness::{DOULA, Folder, code, complaint, text};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

/// `doula init OPTIONS -- sh -c SCRIPT` as a child of ours.
fn init(options: &[&str], script: &str) -> Output {
    run(Command::new(DOULA).arg("init").args(options), script)
}

fn run(command: &mut Command, script: &str) -> Output {
    command.args(["--", "sh", "-c", script]).stdin(Stdio::null()).output().expect("it starts")
}

/// Makes an orphan that waits for a word at `$fifo`, and says whose child it has become; then lets it end, and says
/// when it was buried, if that is ours to do: whoever else has it may never bury it.
const ADOPTED: &str = "orphan=$( (sh -c 'read x < $0' $fifo > /dev/null & echo $!) )
    read -r pid name state parent rest < /proc/$orphan/stat
    echo go > $fifo
    [ $parent = $PPID ] || { echo lost; exit; }
    echo adopted; while kill -0 $orphan 2>/dev/null; do :; done; echo buried";

#[test]
fn orphans_are_adopted_and_buried_unless_that_is_not_wanted() {
    let folder = Folder::new("adopt");
    let script = format!("fifo={}\n{ADOPTED}", folder.fifo("go"));
    let adopted = |output: Output| text(&output).lines().next().map(str::to_owned);
    let output = init(&["-w"], &script);
    assert_eq!(text(&output), "adopted\nburied", "{}", complaint(&output));
    assert!(complaint(&output).contains("buried the orphan"), "{}", complaint(&output));
    assert_eq!(adopted(init(&["--no-subreaper"], &script)).as_deref(), Some("lost"));
    let tini = folder.path().join("tini");
    symlink(DOULA, &tini).expect("the folder is ours");
    for (options, variable, expected) in [
        (&["-s"][..], "UNRELATED", "adopted"),
        (&[], "TINI_SUBREAPER", "adopted"),
        (&[], "UNRELATED", "lost"),
    ] {
        let output = run(Command::new(&tini).args(options).env(variable, ""), &script);
        assert_eq!(adopted(output).as_deref(), Some(expected), "{options:?} {variable}");
    }
}

#[test]
fn the_end_by_a_signal_is_passed_on_as_one_where_that_was_asked_for() {
    let folder = Folder::new("die");
    // We may dump core, the command may not.
    let begin = ["-c", "ulimit -c unlimited; exec \"$@\"", "sh", DOULA, "init", "--die-by-signal"];
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("USR1", 10), ("RTMIN+3", 37)] {
        let script = format!("ulimit -c 0; kill -{name} $$");
        let output = run(Command::new("sh").args(begin).current_dir(folder.path()), &script);
        assert_eq!(output.status.signal(), Some(number), "{name}");
        assert!(!output.status.core_dumped(), "{name}: what is worth a core file is the command's");
        assert_eq!(output.status.code(), None);
        assert_eq!(code(&init(&[], &script)), 128 + number, "{name}: otherwise by a code");
    }
    assert_eq!(code(&init(&["--die-by-signal"], "exit 7")), 7, "who was not killed has a code");
    // A table that names the code of the signal is more exact than the general wish.
    let output = init(&["--die-by-signal", "--remap", "143:7"], "kill -TERM $$");
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn the_last_word_about_a_code_counts() {
    let codes = ["--remap", "3:9", "--remap", "143:8", "-e", "5", "--remap", "6:1", "--remap", "6:2"];
    for (script, expected) in
        [("exit 3", 9), ("kill -TERM $$", 8), ("exit 5", 0), ("exit 6", 2), ("exit 4", 4), ("exit 0", 0)]
    {
        assert_eq!(code(&init(&codes, script)), expected, "{script}");
    }
}

#[test]
fn the_death_of_our_parent_is_told_by_the_signal_that_was_asked_for() {
    let folder = Folder::new("orphaned");
    let (ready, told) = (folder.fifo("ready"), folder.fifo("told"));
    let tini = folder.path().join("tini");
    symlink(DOULA, &tini).expect("the folder is ours");
    let tini = format!("{} -p SIGUSR1", tini.display());
    let script = format!("trap 'echo usr1 > {told}; exit' USR1; echo > {ready}; while :; do :; done");
    let script = folder.script("command", &script);
    for init in [format!("{DOULA} init -p USR1"), tini] {
        // The parent must not become init by its last command.
        let parent = format!("{init} -- sh {script}; exit 0");
        let mut command = Command::new("sh");
        command.args(["-c", &parent]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut parent = command.spawn().expect("sh");
        std::fs::read(&ready).expect("the command is ready");
        let pid = rustix::process::Pid::from_child(&parent);
        let handle = pidfd_open(pid, PidfdFlags::empty()).expect("our own child");
        pidfd_send_signal(&handle, Signal::KILL).expect("our own child");
        parent.wait().expect("our own child");
        assert_eq!(std::fs::read_to_string(&told).expect("it tells"), "usr1\n", "{init}");
    }
}
