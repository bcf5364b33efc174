//! `doula top` at a terminal, and in pipes.

use super::terminal::Terminal;
use super::{DOULA, Made, doula, objects};
use serde_json::json;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

/// The sequence that gives the terminal back.
const LEFT: &str = "\x1b[?1049l";

/// `top` in a session of its own, without a configuration file, after its first frame.
fn top(args: &[&str]) -> Terminal {
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", DOULA, "top"]).args(args);
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("TERM", "xterm");
    let mut terminal = Terminal::run(command);
    terminal.expect("\x1b[?1049h");
    terminal.expect("processes");
    terminal
}

#[test]
fn at_a_terminal_it_shows_processes_takes_keys_and_gives_the_terminal_back() {
    let made = Made::shell("echo here; read x");
    let mut terminal = top(&["-f", &format!("pid={}", made.pid()), "-o", "pid,ppid,args"]);
    terminal.expect("read");
    terminal.types("h");
    // Cells that stay as they are, blanks among them, are not sent: single words are.
    terminal.expect("while");
    terminal.types("x");
    terminal.types("\r");
    terminal.expect("environment");
    terminal.types("q");
    terminal.resize(40, 120);
    terminal.types("q");
    let (seen, status) = terminal.end();
    assert!(seen.contains(LEFT) && status.success(), "{status:?} {seen:?}");
}

#[test]
fn a_signal_from_its_menu_reaches_the_process_that_is_shown() {
    let mut made = Made::shell("echo here; read x");
    let mut terminal = top(&["-f", &format!("pid={}", made.pid()), "-o", "pid,ppid,args"]);
    terminal.expect("read");
    terminal.types("k");
    terminal.expect("SIGUSR2");
    terminal.types("\r");
    // Waiting would close it, and the shell would end by itself.
    let input = made.child.stdin.take();
    assert_eq!(made.child.wait().expect("ours").signal(), Some(15));
    drop(input);
    terminal.types("\x03");
    assert!(terminal.end().0.contains(LEFT));
}

#[test]
fn a_signal_that_ends_it_gives_the_terminal_back() {
    for (signal, code) in [("TERM", 143), ("HUP", 129), ("INT", 130)] {
        let script = "echo number $$.; exec \"$0\" top -f pid=1";
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait", "sh", "-c", script, DOULA]);
        command.env("XDG_CONFIG_HOME", "/nonexistent").env("TERM", "xterm");
        let mut terminal = Terminal::run(command);
        terminal.expect("number ");
        let number = terminal.expect(".");
        terminal.expect("processes");
        let said = doula(&["signal", signal, number.trim_end_matches('.')]);
        assert_eq!(said.code, Some(0), "{said:?}");
        let (seen, status) = terminal.end();
        assert!(seen.contains(LEFT), "{signal}: {seen:?}");
        assert_eq!(status.code(), Some(code), "{signal}");
    }
}

#[test]
fn who_stops_it_has_the_terminal_and_in_the_foreground_it_is_drawn_again() {
    let script = "set -m; \"$0\" top -f pid=1; echo shell-goes-on; fg >/dev/null; echo \"ended with $?\"";
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "sh", "-c", script, DOULA]);
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("TERM", "xterm");
    let mut terminal = Terminal::run(command);
    terminal.expect("processes");
    terminal.types("\x1a");
    let seen = terminal.expect("shell-goes-on");
    assert!(seen.contains(LEFT), "{seen:?}");
    terminal.expect("\x1b[?1049h");
    terminal.expect("processes");
    terminal.types("q");
    let seen = terminal.expect("ended with 0");
    assert!(seen.contains(LEFT), "{seen:?}");
    assert!(terminal.end().1.success());
}

#[test]
fn what_is_no_terminal_is_told_with_the_cure() {
    let said = doula(&["top"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.contains("no terminal") && said.err.contains("--once"), "{said:?}");
}

#[test]
fn one_look_is_printed_for_programs_with_cpu_use_over_its_interval() {
    let made = Made::shell("echo here; read x");
    let filter = format!("pid={}", made.pid());
    let said = doula(&["top", "--once", "-i", "100ms", "-f", &filter, "-o", "pid,cpu,name", "--json"]);
    let looks = objects(&said);
    assert_eq!((said.code, looks.len()), (Some(0), 1), "{said:?}");
    assert_eq!(looks[0]["processes"], json!([{ "pid": made.child.id(), "cpu": 0.0, "name": "sh" }]));
    assert!(looks[0]["interval"].as_f64().is_some_and(|interval| interval >= 0.1), "{said:?}");
}

#[test]
fn a_record_is_played_and_one_without_its_end_is_played_as_far_as_it_is_whole() {
    let made = Made::shell("echo here; read x");
    let path = std::env::temp_dir().join(format!("doula-top-{}.top", made.pid()));
    let name = path.to_str().expect("a path");
    let filter = format!("pid={}", made.pid());
    let said = doula(&["top", "--batch", "-n", "2", "-i", "100ms", "-f", &filter, "--record", name]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let play = ["top", "--batch", "--replay", name, "-f", &filter, "-o", "pid,name", "--json"];
    let looks = objects(&doula(&play));
    assert_eq!(looks.len(), 2, "{looks:?}");
    assert!(looks.iter().all(|look| look["processes"] == json!([{ "pid": made.child.id(), "name": "sh" }])));
    let whole = std::fs::read(&path).expect("the record");
    std::fs::write(&path, &whole[..whole.len() - 9]).expect("to cut it");
    let said = doula(&play);
    assert_eq!((said.code, objects(&said).len()), (Some(0), 1), "{said:?}");
    assert!(said.err.contains("line 3 is not whole"), "{said:?}");
    std::fs::remove_file(&path).expect("ours");
}
