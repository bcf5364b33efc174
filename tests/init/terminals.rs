//! The terminal is handed over to the command, and back.

use crate::harness::{DOULA, Folder, namespace};
use crate::terminal::Terminal;
use std::os::unix::fs::symlink;
use std::process::Command;

/// A script's function: which group it is in, and which has the foreground of its terminal.
const WHERE: &str = "where() { read -r p c s a group session t front rest < /proc/$1/stat
    [ $group = $front ] && echo $2 in front, session $session group $group || echo $2 behind; }";

/// A shell with job control, as people have it at a terminal. Whoever started this test may have ignored SIGINT (a
/// command in the background of a script does), and nobody could be interrupted then.
fn shell(folder: &Folder) -> Terminal {
    let mut command = Command::new("env");
    command.env("PS1", "prompt> ").env("DOULA", DOULA).current_dir(folder.path());
    command.args([
        "--default-signal",
        "setsid",
        "--ctty",
        "--wait",
        "bash",
        "--norc",
        "--noprofile",
        "--noediting",
        "-i",
    ]);
    let mut shell = Terminal::run(command);
    shell.expect("prompt> ");
    shell
}

/// A command that says where it is when it is ready, and again when it is continued, until SIGINT.
fn teller(folder: &Folder) -> String {
    let text = format!(
        "{WHERE}
         trap 'echo int; exit 3' INT; trap 'back=1' CONT; back=; where $$ ready
         while :; do [ -n \"$back\" ] && back= && where $$ again; done"
    );
    folder.script("teller", &text)
}

#[test]
fn the_command_has_the_foreground_and_hears_ctrl_c_and_we_do_not() {
    let folder = Folder::new("tty-int");
    let teller = teller(&folder);
    symlink(DOULA, folder.path().join("tini")).expect("the folder is ours");
    for program in ["$DOULA init -vv", "./tini -vvv", "./tini -g -vvv"] {
        let mut shell = shell(&folder);
        shell.types(&format!("{program} -- sh {teller}; echo code $?\n"));
        shell.expect("ready in front");
        shell.types("\x03");
        let said = shell.expect("code 3");
        assert!(said.contains("int\r\n"), "{said}");
        assert!(!said.contains("SIGINT"), "{program} is in another group: {said}");
        shell.types("exit\n");
        shell.end();
    }
}

#[test]
fn a_job_is_stopped_and_continued_with_its_terminal() {
    let folder = Folder::new("tty-stop");
    let teller = teller(&folder);
    let mut shell = shell(&folder);
    shell.types(&format!("$DOULA init -- sh {teller}; echo code $?\n"));
    shell.expect("ready in front");
    for _ in 0..2 {
        shell.types("\x1a");
        shell.expect("Stopped");
        shell.expect("prompt> ");
        shell.types("fg\n");
        shell.expect("again in front");
    }
    shell.types("\x03");
    shell.expect("int\r\n");
    shell.types("exit\n");
    shell.end();
}

#[test]
fn a_job_in_the_background_does_not_take_the_terminal_and_gets_it_when_it_reads_in_front() {
    let folder = Folder::new("tty-bg");
    let reader = folder.script("reader", &format!("{WHERE}\nwhere $$ ready; read line; echo got $line"));
    let mut shell = shell(&folder);
    shell.types(&format!("$DOULA init -- sh {reader} &\n"));
    shell.expect("ready behind");
    // It reads, and is stopped for it; the shell sees its job stopped.
    shell.types("while ! jobs | grep Stopped; do :; done\n");
    shell.expect("Stopped");
    shell.types("fg\n");
    shell.types("words\n");
    shell.expect("got words");
    shell.types("exit\n");
    shell.end();
}

#[test]
fn a_job_that_is_brought_to_the_front_while_it_runs_gets_the_terminal_when_it_reads() {
    let folder = Folder::new("tty-fg");
    let fifo = folder.fifo("go");
    let text = format!("{WHERE}\nwhere $$ ready; read x < {fifo}; read line; echo got $line");
    let reader = folder.script("reader", &text);
    let mut shell = shell(&folder);
    shell.types(&format!("$DOULA init -- sh {reader} &\n"));
    shell.expect("ready behind");
    shell.types("fg\n");
    shell.expect("init -- sh");
    std::fs::write(&fifo, "go\n").expect("it reads");
    shell.types("words\n");
    shell.expect("got words");
    shell.types("exit\n");
    shell.end();
}

#[test]
fn a_new_size_of_the_terminal_reaches_the_command() {
    let folder = Folder::new("tty-size");
    let text = "trap 'stty size; exit' WINCH; echo ready; while :; do :; done";
    let sizer = folder.script("sizer", text);
    let mut shell = shell(&folder);
    shell.types(&format!("$DOULA init -- sh {sizer}\n"));
    shell.expect("ready");
    shell.resize(33, 101);
    shell.expect("33 101");
    shell.types("exit\n");
    shell.end();
}

#[test]
fn a_script_without_job_control_finds_its_terminal_as_it_was() {
    let folder = Folder::new("tty-back");
    let script = folder.script("script", "\"$1\" init -- sh -c 'echo inside'; read line; echo got $line");
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "sh", &script, DOULA]);
    let mut terminal = Terminal::run(command);
    terminal.expect("inside");
    terminal.types("words\n");
    let (said, status) = terminal.end();
    assert!(said.contains("got words"), "{said}");
    assert!(status.success());
}

#[test]
fn as_pid_1_that_leads_the_terminals_session_it_gives_the_terminal_up_to_the_command() {
    let folder = Folder::new("tty-pid1");
    let teller = teller(&folder);
    let Some(mut command) = namespace() else { return };
    // Who leads no group becomes the leader of a session in its own place: PID 1 leads it then.
    command.args(["setsid", "--ctty", DOULA, "init", "-vv", "--", "sh", &teller]);
    let mut terminal = Terminal::run(command);
    let said = terminal.expect("ready in front");
    assert!(!said.contains("SIGHUP arrived"), "leaving the terminal is no news: {said}");
    terminal.types("\x03");
    let (said, status) = terminal.end();
    assert!(said.contains("int\r\n") && !said.contains("SIGINT arrived"), "{said}");
    assert_eq!(status.code(), Some(3), "{said}");
}
