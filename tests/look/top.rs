//! `doula top` at a terminal, and in pipes.

use super::terminal::Terminal;
use super::{DOULA, Made, doula, objects};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

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
fn at_a_terminal_it_shows_processes_takes_keys_and_sizes_and_gives_the_terminal_back() {
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
    // The last line of the new size.
    terminal.expect("\x1b[40;1H");
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
fn why_a_process_waits_is_asked_of_the_doctor_and_comes_while_the_screen_goes_on() {
    // A shell that waits for a child which waits for us.
    let made = Made::shell("echo here; (read x; true); true");
    let mut terminal = top(&["-f", &format!("pid={}", made.pid()), "-o", "pid,ppid,args"]);
    terminal.resize(50, 200);
    terminal.expect("read");
    terminal.types("\r");
    terminal.expect("environment");
    // Blanks that stay blanks are not sent: of "waits for the end of a child" single words are.
    terminal.expect("child");
    terminal.types("q");
    terminal.types("q");
    assert!(terminal.end().1.success());
}

#[test]
fn a_mistake_of_ours_gives_the_terminal_back_as_it_was_and_says_what_it_is() {
    if !cfg!(debug_assertions) {
        return super::skipped("only a program with debug assertions can be asked to fail");
    }
    let script = "before=$(stty -g); DOULA_TOP_FAILS=1 \"$0\" top -f pid=1; \
                  test \"$before\" = \"$(stty -g)\" && echo as-before";
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait", "sh", "-c", script, DOULA]);
    command.env("XDG_CONFIG_HOME", "/nonexistent").env("TERM", "xterm");
    let mut terminal = Terminal::run(command);
    terminal.expect("\x1b[?1049h");
    terminal.expect(LEFT);
    terminal.expect("it was asked to fail");
    terminal.expect("as-before");
    assert!(terminal.end().1.success());
}

#[test]
fn who_is_born_and_has_ended_between_two_looks_is_told_with_its_end() {
    let mut command = Command::new("timeout");
    command.args(["60", DOULA, "top", "--batch", "-i", "100ms", "-n", "300", "-f", "pid=1", "--json"]);
    let mut top = command.stdout(Stdio::piped()).spawn().expect("top");
    let mut lines = BufReader::new(top.stdout.take().expect("a pipe")).lines();
    let mut ended = || -> Value {
        let line = lines.next().expect("one more look within a minute").expect("text");
        serde_json::from_str::<Value>(&line).expect("JSON")["ended"].clone()
    };
    if ended().is_null() {
        super::skipped("the kernel does not tell us of births and ends");
    } else {
        let mut short = Command::new("sh").args(["-c", "exit 7"]).spawn().expect("sh");
        short.wait().expect("ours");
        let is_it = |life: &Value| life["pid"] == json!(short.id());
        let life = loop {
            let ended = ended();
            let lives = ended["lives"].as_array().expect("lives");
            if let Some(life) = lives.iter().find(|life| is_it(life)) {
                break Some(life.clone());
            }
            if ended["missing"] != json!(0) {
                break None;
            }
        };
        match life {
            None => super::skipped("others are born faster than top hears"),
            Some(life) => {
                assert_eq!(life["ppid"], json!(std::process::id()), "{life}");
                assert_eq!(life["end"], json!("exited with code 7"), "{life}");
            }
        }
    }
    top.kill().expect("ours");
    top.wait().expect("ours");
}

#[test]
fn what_is_no_terminal_is_told_with_the_cure() {
    let said = doula(&["top"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.contains("no terminal") && said.err.contains("--once"), "{said:?}");
}

#[test]
fn one_look_and_a_count_of_looks_exclude_each_other() {
    let said = doula(&["top", "--once", "-n", "3"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.contains("--once") && said.err.contains("--count"), "{said:?}");
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
