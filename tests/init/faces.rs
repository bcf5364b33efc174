//! Started under the name of tini or dumb-init it behaves as they do.

use crate::end::orphan;
use crate::harness::{DOULA, Folder, as_pid_1, code, complaint, echo_of_hup, text};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

/// doula under another name.
struct Face {
    folder: Folder,
    path: String,
}

impl Face {
    fn new(name: &str, test: &str) -> Face {
        let folder = Folder::new(test);
        let path = folder.path().join(name);
        symlink(Path::new(DOULA), &path).expect("a symbolic link");
        let path = path.display().to_string();
        Face { folder, path }
    }

    /// Runs a script as PID 1, with these options and variables.
    fn run(&self, env: &str, options: &[&str], script: &str) -> Option<Output> {
        let words = [&["env", env, self.path.as_str()], options, &["sh", "-c", script]].concat();
        as_pid_1(&words)
    }
}

/// No variable.
const NONE: &str = "UNRELATED=1";

/// Sends SIGHUP to PID 1; the command and a child of its group echo what they hear.
fn who_hears(folder: &Folder) -> String {
    let member = folder.script("member", &echo_of_hup("member"));
    let fifo = folder.fifo("ready");
    format!(
        "trap 'h=1; echo main' HUP; trap 'w=1' WINCH; h=; w=
         sh {member} {fifo} & one=$!; read x < {fifo}
         kill -HUP 1; while [ -z $h ]; do :; done
         kill -WINCH 1; while [ -z $w ]; do :; done
         kill -USR1 $one; wait $one; exit 0"
    )
}

fn sorted(output: &Output) -> String {
    let text = text(output);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines.join(" ")
}

#[test]
fn tini_signals_the_command_alone_or_its_group() {
    let tini = Face::new("tini", "tini-group");
    let script = who_hears(&tini.folder);
    for (env, options, expected) in [
        (NONE, &["--"][..], "main"),
        (NONE, &["-g", "--"], "main member"),
        ("TINI_KILL_PROCESS_GROUP=1", &[], "main member"),
    ] {
        let Some(output) = tini.run(env, options, &script) else { return };
        assert_eq!((sorted(&output).as_str(), code(&output)), (expected, 0), "{env} {options:?}");
    }
}

#[test]
fn tini_tells_what_it_was_asked_to_tell() {
    let tini = Face::new("tini", "tini-words");
    let orphan = orphan(&tini.folder);
    let Some(output) = tini.run(NONE, &["-w", "--"], &orphan) else { return };
    assert!(complaint(&output).starts_with("[WARN  tini (1)] Reaped zombie process with pid="));
    for (env, options) in [(NONE, &["-vv"][..]), ("TINI_VERBOSITY=3", &[])] {
        let Some(output) = tini.run(env, options, "exit 0") else { return };
        assert!(text(&output).contains("[INFO  tini (1)] Spawned child process 'sh' with pid '"), "{env}");
        assert!(text(&output).contains("Main child exited normally (with status '0')"), "{env}");
    }
    let Some(output) = tini.run("TINI_VERBOSITY=0", &["-w"], &orphan) else { return };
    assert_eq!(complaint(&output), "");
}

#[test]
fn tini_ends_with_the_codes_of_tini() {
    let tini = Face::new("tini", "tini-codes");
    for (options, script, expected) in [
        (&["--"][..], "exit 3", 3),
        (&["-e", "3", "--"], "exit 3", 0),
        (&["-e", "143", "-e", "5", "--"], "kill -TERM $$", 0),
        (&["--"], "kill -TERM $$", 143),
        (&["-p", "SIGKILL", "-s", "--"], "exit 4", 4),
        (&["-p", "NONSENSE", "--"], "exit 4", 1),
        (&["-e", "256", "--"], "exit 4", 1),
        (&["-z", "--"], "exit 4", 1),
        (&["-h", "--"], "exit 4", 0),
        (&["-l", "--"], "exit 4", 0),
    ] {
        let Some(output) = tini.run(NONE, options, script) else { return };
        assert_eq!(code(&output), expected, "{options:?} {script}");
    }
    for (words, expected) in [
        (&["--version"][..], 0),
        (&[], 1),
        (&["--", "/nonexistent/program"], 127),
        (&["--", "/etc/passwd"], 126),
    ] {
        let Some(output) = as_pid_1(&[&[tini.path.as_str()], words].concat()) else { return };
        assert_eq!(code(&output), expected, "{words:?}");
    }
}

#[test]
fn dumb_init_signals_the_session_or_a_single_child() {
    let dumb = Face::new("dumb-init", "dumb-group");
    let script = who_hears(&dumb.folder);
    for (env, options, expected) in [
        (NONE, &[][..], "main member"),
        (NONE, &["-c"], "main"),
        (NONE, &["--single-child"], "main"),
        ("DUMB_INIT_SETSID=0", &[], "main"),
        ("DUMB_INIT_SETSID=1", &[], "main member"),
    ] {
        let Some(output) = dumb.run(env, options, &script) else { return };
        assert_eq!((sorted(&output).as_str(), code(&output)), (expected, 0), "{env} {options:?}");
    }
}

#[test]
fn dumb_init_rewrites_tells_and_ends_as_dumb_init() {
    let dumb = Face::new("dumb-init", "dumb-rest");
    let script = "trap 'echo quit; exit 4' QUIT; kill -TERM 1; while :; do :; done";
    for options in [&["-r", "15:3"][..], &["--rewrite", "15:3"]] {
        let Some(output) = dumb.run(NONE, options, script) else { return };
        assert_eq!((text(&output), code(&output)), ("quit".to_owned(), 4));
    }
    let script = "trap 'echo int; exit' INT; kill -TERM 1; kill -INT 1; while :; do :; done";
    let Some(output) = dumb.run(NONE, &["-r", "15:0"], script) else { return };
    assert_eq!(text(&output), "int");
    for (env, options) in [(NONE, &["-v"][..]), (NONE, &["--verbose"]), ("DUMB_INIT_DEBUG=1", &[])] {
        let Some(output) = dumb.run(env, options, "exit 3") else { return };
        assert!(complaint(&output).starts_with("[dumb-init] Child spawned with PID "), "{env} {options:?}");
        assert!(complaint(&output).ends_with("[dumb-init] Child exited with status 3. Goodbye."));
        assert_eq!(code(&output), 3);
    }
    for (words, expected) in [
        (&["--version"][..], 0),
        (&["-V"], 0),
        (&["--help"], 0),
        (&[], 1),
        (&["-r", "15", "true"], 1),
        (&["/nonexistent/program"], 2),
    ] {
        let Some(output) = as_pid_1(&[&[dumb.path.as_str()], words].concat()) else { return };
        assert_eq!(code(&output), expected, "{words:?}");
    }
}
