//! `doula signal`, `stop`, `cont` and `kill`.

use super::{DOULA, Made, doula, objects, run, skipped};
use serde_json::json;
use std::process::Command;

/// The letter of each of these, `-` for whoever is gone.
fn states(pids: &[String]) -> String {
    let letter = |pid: &String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    };
    pids.iter().map(|pid| letter(pid).unwrap_or('-')).collect()
}

/// A shell with a child, and one that ran into a session of its own, both of which ignore SIGTERM if told.
fn tree(trap: &str) -> (Made, Vec<String>) {
    let script = format!(
        "{trap} sleep 1000 & one=$!; setsid sh -c 'sleep 1000 & echo $$ $!; wait' | {{ read two three; echo $one $two $three; cat; }} & wait"
    );
    let made = Made::shell(&script);
    let below: Vec<String> = made.first.split(' ').map(str::to_owned).collect();
    assert_eq!(below.len(), 3, "{}", made.first);
    (made, below)
}

#[test]
fn a_process_that_is_killed_is_told_with_its_end() {
    let made = Made::shell("echo here; read x");
    let said = doula(&["kill", &made.pid()]);
    assert_eq!((said.code, said.out), (Some(0), format!("{} sh: was killed by SIGTERM\n", made.pid())));
}

#[test]
fn whoever_ignores_sigterm_is_killed_after_its_grace_and_the_stopped_hear_it_too() {
    let made = Made::shell("trap '' TERM; echo here; read x");
    let said = doula(&["kill", &made.pid(), "--grace", "50ms", "--json"]);
    assert_eq!(objects(&said)[0]["told"], json!("was killed by SIGKILL"), "{said:?}");
    let made = Made::shell("trap 'exit 7' TERM; echo here; kill -STOP $$; read x");
    let said = doula(&["kill", &made.pid(), "--grace", "1min"]);
    assert!(said.out.contains("exited with code 7"), "{said:?}");
}

#[test]
fn a_tree_is_ended_with_whoever_ran_into_a_session_of_its_own() {
    for args in [["--now"].as_slice(), &["--grace", "50ms"]] {
        let (made, below) = tree("trap '' TERM;");
        let said = doula(&[&["kill", "--tree", &made.pid()], args].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.lines().count() >= 4, "{said:?}");
        assert!(states(&below).chars().all(|state| "-ZX".contains(state)), "{said:?} {}", states(&below));
    }
}

#[test]
fn a_tree_is_stopped_as_a_whole_and_goes_on() {
    let (made, below) = tree("");
    assert_eq!(doula(&["stop", "--tree", &made.pid()]).code, Some(0));
    assert_eq!(states(&below), "TTT");
    let said = doula(&["cont", "--tree", &made.pid()]);
    assert!(said.code == Some(0) && said.out.contains("sleep: got SIGCONT\n"), "{said:?}");
    assert!(!states(&below).contains('T'), "{}", states(&below));
    // The one in a session of its own is in nobody's group but that.
    assert_eq!(doula(&["kill", "--tree", "--now", &made.pid()]).code, Some(0));
}

#[test]
fn a_group_is_signalled_and_a_dry_run_touches_nobody() {
    let made = Made::shell("sleep 1000 & echo $!; wait");
    let both = [made.pid(), made.first.clone()];
    let said = doula(&["kill", "--group", &made.pid(), "--dry-run"]);
    assert_eq!((said.code, said.out.matches("would be signalled").count()), (Some(0), 2), "{said:?}");
    assert_eq!(states(&both), "SS");
    let said = doula(&["signal", "STOP", "--group", &made.pid()]);
    assert_eq!((said.code, said.out.matches("got SIGSTOP").count()), (Some(0), 2), "{said:?}");
}

#[test]
fn a_session_is_ended_with_all_of_its_groups_and_nobody_else() {
    // The shell with job control makes a group for each of its two children, and all are in the session that setsid(1) made.
    let script = "set -m; sleep 1000 & sleep 1000 & echo $$; wait";
    let made = Made::new(Command::new("setsid").args(["--wait", "sh", "-c", script]));
    let said = doula(&["kill", "--session", &made.first]);
    // Before Linux 6.15 the kernel keeps no exit status of who was buried by others.
    let ended =
        said.out.matches("was killed by SIGTERM").count() + said.out.matches("ended, nobody saw how").count();
    assert_eq!((said.code, ended), (Some(0), 3), "{said:?}");
    let said = doula(&["kill", "--session", &made.first]);
    assert_eq!(said.code, Some(1), "nobody is left in it: {said:?}");
}

#[test]
fn a_pattern_finds_names_and_nobody_above_us() {
    let folder = std::env::temp_dir().join(format!("doula-aimed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let name = format!("aim{}", std::process::id());
    std::os::unix::fs::symlink("/bin/sh", folder.join(&name)).expect("another name for the shell");
    let made = Made::new(Command::new(folder.join(&name)).args(["-c", "echo here; read x"]));
    let said = doula(&["kill", &format!("^{name}$")]);
    assert_eq!((said.code, said.out.lines().count()), (Some(0), 1), "{said:?}");
    assert!(said.out.starts_with(&made.pid()), "{said:?}");
    let said = doula(&["signal", "TERM", "look-", "--dry-run"]);
    assert!(!said.out.contains(&std::process::id().to_string()), "we are above it: {said:?}");
    std::fs::remove_dir_all(&folder).expect("our folder");
}

#[test]
fn what_is_wrong_is_one_error_and_nobody_is_touched() {
    for (args, part) in [
        (["signal", "NONE", "1"].as_slice(), "unknown signal `NONE`: write it as TERM"),
        (&["signal", "HUP", "--", "-5"], "a group is meant by `--group 5`"),
        (&["kill", "--group", "name"], "`name` is no number of a group or session"),
        (&["kill", "("], "`(` is no number and no regular expression: unclosed group\n"),
        (&["kill", "0"], "0 is no number of a process"),
    ] {
        let said = doula(args);
        assert!(said.code == Some(2) && said.err.contains(part), "{said:?}");
    }
    let us = std::process::id().to_string();
    let said = doula(&["kill", "--tree", "--dry-run", &us]);
    assert!(
        said.code == Some(1) && said.err.contains("this doula runs below it, so its tree is left"),
        "{said:?}"
    );
    assert!(said.out.is_empty(), "{said:?}");
    let said = doula(&["kill", "no-such-name-of-a-process"]);
    assert!(said.code == Some(1) && said.err.contains("no process was found"), "{said:?}");
}

#[test]
fn whoever_we_may_not_signal_is_told() {
    let made = Made::shell("echo here; read x");
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", DOULA, "kill", &made.pid()]);
    let said = run(&mut command);
    let Some(said) = said.ok().filter(|said| !said.err.contains("setpriv:")) else {
        return skipped("we cannot become another user here");
    };
    if said.err.contains("Permission denied") {
        return skipped("another user cannot run the program of this test");
    }
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("sh: SIGTERM was not sent: only root or its own user may do that"), "{said:?}");
    assert_eq!(states(&[made.pid()]), "S");
}
