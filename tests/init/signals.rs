//! What reaches the command, and how it is born.

use crate::harness::{
    DOULA, Folder, as_pid_1, code, complaint, echo_of_hup, init, namespace, signal_child_of,
    terminate_child_of, text,
};
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

/// A script that counts the SIGTERMs that it hears, tells `$2` when it listens, and its number on SIGPWR. It tells it
/// outside of the trap: dash begins a second trap before the first one's first command.
const COUNT: &str = "n=0; p=; trap 'n=$((n+1))' TERM; trap 'p=1' PWR; echo > $2
    while [ -z $p ]; do :; done; echo $1 $n";

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
fn signals_that_follow_each_other_at_once_reach_everybody() {
    let folder = Folder::new("row");
    let ready = folder.fifo("ready");
    let all = "trap a=1 USR1; trap b=1 USR2; trap c=1 HUP; trap d=1 URG";
    let script = format!(
        "{all}
         setsid sh -c '{all}; echo > {ready}; until [ \"$a$b$c$d\" = 1111 ]; do :; done; echo escapee' & escapee=$!
         read x < {ready}
         kill -USR1 1; kill -USR2 1; kill -HUP 1; kill -URG 1
         until [ \"$a$b$c$d\" = 1111 ]; do :; done
         until wait $escapee; do :; done; echo main"
    );
    let Some(output) = init(&["--to", "all"], &script) else { return };
    assert_eq!(text(&output), "escapee\nmain");
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

#[test]
fn a_signal_does_not_wait_until_a_long_row_of_dead_is_buried() {
    const DEAD: usize = 300;
    let folder = Folder::new("row");
    let (go, ready, dead) = (folder.fifo("go"), folder.fifo("ready"), folder.fifo("dead"));
    let zombies = "cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.Z'";
    let script = format!(
        "trap 'exit 0' WINCH
         exec 3< {go}; i=0; while [ $i -lt {DEAD} ]; do i=$((i+1)); (read x <&3 &); done
         echo > {ready}; while [ $({zombies}) -lt {DEAD} ]; do :; done; echo > {dead}; while :; do :; done"
    );
    let Some(mut unshare) = namespace() else { return };
    unshare.args([DOULA, "init", "-vv", "--", "sh", "-c", &script]).stdin(Stdio::null());
    let child = unshare.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("unshare starts");
    // They end when the fifo has no writer any more.
    let writer = std::fs::OpenOptions::new().read(true).write(true).open(&go).expect("a fifo");
    std::fs::read(&ready).expect("all are born");
    signal_child_of(child.id(), "-STOP");
    drop(writer);
    std::fs::read(&dead).expect("all are dead");
    signal_child_of(child.id(), "-WINCH");
    signal_child_of(child.id(), "-CONT");
    let output = child.wait_with_output().expect("unshare ends");
    let said = complaint(&output);
    let before = said.split("SIGWINCH arrived").next().unwrap_or_default();
    assert!(before.len() < said.len(), "{said}");
    // Those between whom and the dead the shells stand, and some who died before they were stopped.
    let buried = before.split("SIGCHLD arrived").last().unwrap_or_default().matches(" exited ").count();
    assert!(buried < DEAD / 2, "{buried} were buried first: {said}");
    assert_eq!(output.status.code(), Some(0));
}
