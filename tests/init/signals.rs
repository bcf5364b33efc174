//! What reaches the command, and how it is born.

use crate::harness::{DOULA, Folder, as_pid_1, code, init, namespace, terminate_child_of, text};
use std::process::Stdio;

#[test]
fn every_signal_that_can_be_caught_reaches_the_command() {
    let standard = "HUP INT QUIT TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM 16 CONT URG XCPU XFSZ VTALRM \
                    PROF WINCH IO PWR SYS";
    let real_time: Vec<_> = (34..=64).map(|number| number.to_string()).collect();
    let names = format!("{standard} {}", real_time.join(" "));
    // A signal to PID 1 arrives only because init waits for it; each is answered before the next is sent.
    let script = format!(
        "for s in {names}; do trap \"got=$s\" $s; done
         for s in {names}; do got=; kill -$s 1; while [ -z \"$got\" ]; do :; done; echo $got; done"
    );
    let Some(output) = init(&[], &script) else { return };
    assert_eq!(text(&output).split('\n').collect::<Vec<_>>().join(" "), names);
    assert_eq!(code(&output), 0);
}

#[test]
fn a_second_sigterm_gets_through() {
    let script = "n=0; trap 'n=$((n+1))' TERM
        kill -TERM 1; while [ $n -lt 1 ]; do :; done
        kill -TERM 1; while [ $n -lt 2 ]; do :; done; echo $n";
    let Some(output) = init(&["--to", "main"], script) else { return };
    assert_eq!(text(&output), "2");
}

#[test]
fn signals_can_be_rewritten_and_dropped() {
    let script =
        "trap 'echo term' TERM; trap 'echo int; exit 0' INT; kill -USR1 1; kill -TERM 1; while :; do :; done";
    let Some(output) = init(&["-r", "USR1:0", "-r", "TERM:INT"], script) else { return };
    assert_eq!(text(&output), "int");
}

#[test]
fn the_command_starts_clean_in_a_session_of_its_own() {
    let script = "grep -E '^Sig(Blk|Ign)' /proc/self/status; cut -d' ' -f6 /proc/$$/stat; echo $$";
    let Some(output) = init(&[], script) else { return };
    let text = text(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0].split_whitespace().last(), Some("0000000000000000"));
    assert_eq!(lines[1].split_whitespace().last(), Some("0000000000000000"));
    assert_eq!(lines[2], lines[3], "it leads its session");
}

#[test]
fn listen_pid_is_the_commands_own() {
    let words =
        ["env", "LISTEN_FDS=1", "LISTEN_PID=1", DOULA, "init", "--", "sh", "-c", "echo $$ $LISTEN_PID"];
    let Some(output) = as_pid_1(&words) else { return };
    let text = text(&output);
    let (pid, listen_pid) = text.split_once(' ').expect("two numbers");
    assert_eq!(pid, listen_pid);
}

/// A script that counts the SIGTERMs that it hears, tells `$2` when it listens, and its number on SIGPWR (which
/// a shell looks at after SIGTERM when both are there).
const COUNT: &str = "n=0; trap 'n=$((n+1))' TERM; trap 'echo $1 $n; exit' PWR; echo > $2
    while :; do :; done";

#[test]
fn everybody_hears_sigterm_once_whatever_proc_is_there() {
    let folder = Folder::new("once");
    let (count, one, two) = (folder.script("count", COUNT), folder.fifo("one"), folder.fifo("two"));
    // SIGWINCH comes behind SIGTERM, so whoever was to hear it has heard it by then.
    let script = format!(
        "n=0; w=0; trap 'n=$((n+1))' TERM; trap 'w=1' WINCH
         sh {count} member {one} & one=$!; read x < {one}
         setsid sh {count} escapee {two} & two=$!; read x < {two}
         kill -TERM 1; while [ $n = 0 ]; do :; done
         kill -WINCH 1; while [ $w = 0 ]; do :; done
         kill -PWR $one; wait $one; kill -PWR $two; wait $two; echo main $n"
    );
    // Without our own /proc there is the one of the outer namespace, which says nothing about ours.
    for proc in ["true", "umount -l /proc", "mount -t tmpfs none /proc"] {
        let words = ["sh", "-c", "$0; exec $1 init -- sh -c \"$2\"", proc, DOULA, &script];
        let Some(output) = as_pid_1(&words) else { return };
        assert_eq!(text(&output), "member 1\nescapee 1\nmain 1", "{proc}");
    }
}

#[test]
fn a_stop_and_a_continuation_get_through() {
    let script = "main=$$
        setsid sh -c \"kill -TSTP 1; while [ \\$(cut -d' ' -f3 /proc/$main/stat) != T ]; do :; done
            echo stopped; kill -CONT 1\" &
        wait; echo on";
    let Some(output) = init(&[], script) else { return };
    assert_eq!(text(&output), "stopped\non");
}

#[test]
fn signals_go_to_whom_they_are_said_to_go() {
    let folder = Folder::new("to");
    let (one, two) = (folder.fifo("one"), folder.fifo("two"));
    let member = folder.script("member", &echo_of_hup("member"));
    let escapee = folder.script("escapee", &echo_of_hup("escapee"));
    let script = format!(
        "trap 'h=1; echo main' HUP; trap 'w=1' WINCH; h=; w=
         sh {member} {one} & one=$!; read x < {one}
         setsid sh {escapee} {two} & two=$!; read x < {two}
         kill -HUP 1; while [ -z $h ]; do :; done
         kill -WINCH 1; while [ -z $w ]; do :; done
         kill -USR1 $one $two; wait $one $two"
    );
    for (to, expected) in [
        (&["--to", "auto"][..], "main"),
        (&["-c"], "main"),
        (&["-g"], "main member"),
        (&["--to", "group"], "main member"),
        (&["--to", "all"], "escapee main member"),
    ] {
        let Some(output) = init(to, &script) else { return };
        let text = text(&output);
        let mut heard: Vec<_> = text.lines().collect();
        heard.sort_unstable();
        assert_eq!(heard.join(" "), expected, "{to:?}");
    }
}

fn echo_of_hup(name: &str) -> String {
    format!("trap 'echo {name}' HUP; trap exit USR1; echo > $1; while :; do :; done")
}

#[test]
fn fds_that_were_opened_for_the_command_reach_it_whatever_their_number() {
    let script = "exec 200>&1; exec \"$0\" init -- bash -c 'echo here >&200'";
    let Some(output) = as_pid_1(&["bash", "-c", script, DOULA]) else { return };
    assert_eq!(text(&output), "here");
}

#[test]
fn a_signal_from_outside_of_the_namespace_gets_in() {
    let folder = Folder::new("outside");
    let fifo = folder.fifo("ready");
    let Some(mut unshare) = namespace() else { return };
    let script = format!("trap 'echo asked; exit 9' TERM; echo > {fifo}; while :; do :; done");
    unshare.args([DOULA, "init", "--", "sh", "-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped());
    let child = unshare.spawn().expect("unshare starts");
    std::fs::read(&fifo).expect("the command is ready");
    terminate_child_of(child.id());
    let output = child.wait_with_output().expect("unshare ends");
    assert_eq!((text(&output), output.status.code()), ("asked".to_owned(), Some(9)));
}
