//! Who is buried, who is killed, and with what code all ends.

use crate::harness::{DOULA, Folder, as_pid_1, code, complaint, init, skipped, text};
use std::fs;
use std::path::Path;

#[test]
fn the_commands_end_is_ours() {
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let Some(output) = init(&[], script) else { return };
        assert_eq!(code(&output), expected, "{script}");
    }
}

#[test]
fn a_missing_command_is_127_and_one_that_cannot_be_executed_126() {
    for (command, expected) in [("/nonexistent/program", 127), ("/etc/passwd", 126)] {
        let Some(output) = as_pid_1(&[DOULA, "init", "--", command]) else { return };
        assert_eq!(code(&output), expected, "{command}");
        assert!(complaint(&output).contains(command), "the error names the command");
        assert!(complaint(&output).contains("hint: "), "and what to do about it");
    }
}

#[test]
fn exit_codes_can_be_expected_and_mapped() {
    let Some(output) = init(&["-e", "143"], "kill -TERM $$") else { return };
    assert_eq!(code(&output), 0);
    let Some(output) = init(&["--remap", "3:9"], "exit 3") else { return };
    assert_eq!(code(&output), 9);
}

#[test]
fn orphans_are_buried() {
    let script = "for i in 1 2 3 4 5 6 7 8 9; do (true & true); done
        while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo buried";
    let Some(output) = init(&[], script) else { return };
    assert_eq!(text(&output), "buried");
}

#[test]
fn a_stream_of_orphans_is_buried_to_the_last() {
    let script = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); (true & true); done
        while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo buried";
    let Some(output) = init(&[], script) else { return };
    assert_eq!((text(&output), code(&output)), ("buried".to_owned(), 0));
}

/// A command that makes an orphan, has it end, and ends after its burial.
pub(crate) fn orphan(folder: &Folder) -> String {
    let fifo = folder.fifo("orphan");
    format!(
        "p=$( (cat {fifo} > /dev/null & echo $!) ); echo > {fifo}; while kill -0 $p 2>/dev/null; do :; done"
    )
}

#[test]
fn orphans_are_told_on_request() {
    let folder = Folder::new("told");
    let Some(output) = init(&["-w"], &orphan(&folder)) else { return };
    assert!(complaint(&output).contains("its parent had ended before it"), "{}", complaint(&output));
}

#[test]
fn who_ran_into_a_session_of_its_own_gets_sigterm_too() {
    let folder = Folder::new("escapee");
    let fifo = folder.fifo("ready");
    let script = format!(
        "trap 'wait; exit 0' TERM
         setsid sh -c 'trap \"echo escapee heard; exit\" TERM; echo > {fifo}; while :; do :; done' &
         read x < {fifo}; kill -TERM 1; while :; do :; done"
    );
    let Some(output) = init(&[], &script) else { return };
    assert_eq!(text(&output), "escapee heard");
}

#[test]
fn what_the_command_leaves_behind_may_clean_up_and_its_code_still_counts() {
    let folder = Folder::new("leftover");
    let fifo = folder.fifo("ready");
    let script = format!(
        "setsid sh -c 'trap \"echo cleaning; echo cleaned; exit\" TERM; echo > {fifo}; while :; do :; done' &
         read x < {fifo}; exit 5"
    );
    let Some(output) = init(&[], &script) else { return };
    assert_eq!(text(&output), "cleaning\ncleaned");
    assert_eq!(code(&output), 5);
}

#[test]
fn who_does_not_listen_to_sigterm_is_killed_in_the_end() {
    let folder = Folder::new("deaf");
    let fifo = folder.fifo("ready");
    let script = format!(
        "setsid sh -c 'trap \"\" TERM; echo > {fifo}; while :; do :; done' & read x < {fifo}; exit 6"
    );
    let Some(output) = init(&["--leftovers", "200ms"], &script) else { return };
    assert_eq!(code(&output), 6);
}

#[test]
fn a_command_that_ignores_sigterm_is_killed_when_a_grace_was_asked_for() {
    let Some(output) = init(&["--grace", "200ms"], "trap '' TERM; kill -TERM 1; while :; do :; done") else {
        return;
    };
    assert_eq!(code(&output), 137);
}

#[test]
fn the_static_binary_needs_nothing_but_itself() {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tiny/doula-init");
    if !binary.exists() {
        skipped("target/tiny/doula-init is not built (cargo build --profile tiny -p doula-init)");
        return;
    }
    let folder = Folder::new("empty-root");
    fs::copy(&binary, folder.path().join("init")).expect("a copy of the binary");
    let root = folder.path().display().to_string();
    let script = format!("exec chroot {root} /init -- /init --version");
    let Some(output) = as_pid_1(&["sh", "-c", &script]) else { return };
    assert_eq!(code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text(&output).contains("doula-init"), "{}", text(&output));
}
