//! Bad situations: each gives one clear error, and nobody else is touched.

use crate::bounded::run;
use crate::contain::skipped;
use crate::family::{Family, Home, count, place};
use std::os::unix::fs::MetadataExt;

#[test]
fn a_program_that_does_not_exist_is_tried_a_few_times_and_has_then_failed_with_the_reason() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"no-such-program --port 80\"\nrestart = { delay = \"1ms\" }\n\
         env = { PATH = \"/usr/bin:/bin\" }\n\
         [service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("web is failed, because it could not be started (execve: ENOENT");
    let why = family.home.ctl(&["why", "web"]);
    assert!(why.out.contains("failed") && why.out.contains("execve: ENOENT"), "{why:?}");
    assert_eq!(family.status("other")["state"], "up");
    let (code, lines) = family.shut_down();
    assert_eq!(count(&lines, "web starts again in"), 5, "{}", lines.join("\n"));
    place(&lines, "`no-such-program` was not found in PATH=");
    place(&lines, "other exited cleanly");
    assert_eq!(code, Some(0), "it was asked to end");
}

#[test]
fn a_file_that_cannot_be_read_or_understood_is_refused_with_its_name_and_what_is_wrong() {
    for (text, parts) in [
        (&b"[service.a\n"[..], &["doula.toml:2:", "unclosed table"][..]),
        (b"[service.a]\ncommand = \"\xff\"\n", &["doula.toml", "not UTF-8 at byte"]),
        (b"", &["no services"]),
    ] {
        let home = Home::new("");
        let text = [format!("name = \"{}\"\n", home.name).as_bytes(), text].concat();
        std::fs::write(home.dir.join("doula.toml"), text).expect("to write the file");
        let said = home.doula(&["up"]);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{said:?}");
        parts.iter().for_each(|part| assert!(said.err.contains(part), "no `{part}` in {}", said.err));
    }
    let home = Home::new("");
    for (path, part) in [("nowhere.toml", "No such file"), (".", "is a directory")] {
        let said = home.doula(&["up", path]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(part) && said.err.contains("failed to read"), "{said:?}");
    }
}

#[test]
fn a_circle_is_printed_as_a_circle() {
    let home = Home::new(
        "[service.a]\ncommand = \"true\"\nrequires = [\"b\"]\n[service.b]\ncommand = \"true\"\nafter = [\"c\"]\n\
         [service.c]\ncommand = \"true\"\nwants = [\"a\"]\n",
    );
    let said = home.doula(&["up"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("in a circle: a -> b -> c -> a"), "{said:?}");
}

#[test]
fn when_no_descriptor_is_left_births_fail_with_the_reason_and_who_runs_is_not_touched() {
    let home = Home::new("[service.web]\ncommand = \"ACTORS/sleeper\"\ninstances = 30\n");
    let mut command = home.command("sh");
    command.args(["-c", "ulimit -n 48; exec \"$0\" up", env!("CARGO_BIN_EXE_doula")]);
    let mut family = Family::with(home, command);
    let line = family.expect("EMFILE");
    assert!(line.contains("could not be started") && line.contains("raise `ulimit -n`"), "{line}");
    // Tried again after a pause, again in vain.
    family.expect("web@30 starts again");
    family.expect("web@30 starts again");
    let (code, lines) = family.shut_down();
    assert!(count(&lines, " started as pid") >= 3, "{}", lines.join("\n"));
    assert_eq!(count(&lines, "was killed by SIGKILL"), 0, "{}", lines.join("\n"));
    assert_eq!(count(&lines, "is failed"), 0, "a shortage passes: {}", lines.join("\n"));
    assert_eq!(code, Some(0));
}

#[test]
fn when_no_process_number_is_left_births_fail_with_the_reason_and_who_runs_is_not_touched() {
    let home = Home::new("[service.web]\ncommand = \"sleep 100000\"\ninstances = 12\n");
    if home.dir.metadata().expect("a folder").uid() != 0 {
        return skipped("only root can give a family a user of its own, who has few processes");
    }
    // A user of its own, since the limit counts all processes of a user.
    let user = 1_000_000_000 + std::process::id();
    let program = home.dir.join("doula-of-this-user");
    std::fs::copy(env!("CARGO_BIN_EXE_doula"), &program).expect("a copy that this user may execute");
    std::os::unix::fs::chown(&home.dir, Some(user), Some(user)).expect("root may give it away");
    let mut command = home.command("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
    command.args(["prlimit", "--nproc=6"]).arg(program).arg("up");
    let mut family = Family::with(home, command);
    let line = family.expect("EAGAIN");
    assert!(line.contains("`sleep` could not be started") && line.contains("ulimit -u"), "{line}");
    family.expect("web@12 starts again");
    family.expect("web@12 starts again");
    let (code, lines) = family.shut_down();
    assert!(count(&lines, " started as pid") >= 3, "{}", lines.join("\n"));
    assert_eq!(count(&lines, "was killed by SIGKILL"), 0, "{}", lines.join("\n"));
    assert_eq!(code, Some(0));
}

#[test]
fn who_is_stopped_by_sigstop_is_shown_so_goes_on_with_sigcont_and_can_be_ended() {
    let mut family = Family::up(
        "[service.web]\ncommand = \"ACTORS/polite\"\nstop = { grace = \"30s\" }\n\
         [service.other]\ncommand = \"ACTORS/polite\"\n",
    );
    family.expect("web | polite: ready");
    for last in [false, true] {
        family.home.ctl(&["signal", "STOP", "web"]);
        family.expect("web was stopped by a signal");
        let said = family.home.ctl(&["status"]);
        assert!(said.out.contains("paused") && said.out.contains("goes on with SIGCONT"), "{said:?}");
        if !last {
            family.home.ctl(&["signal", "CONT", "web"]);
            family.expect("web goes on");
            assert_eq!(family.status("web")["paused"], false);
        }
    }
    family.ask(&["stop", "web"]);
    let (code, lines) = family.shut_down();
    // It was polite: it heard the SIGTERM.
    place(&lines, "web exited cleanly");
    assert_eq!(code, Some(0));
}

#[test]
fn who_floods_its_log_is_cut_short_told_of_and_drowns_nobody() {
    let mut family = Family::up(
        "[service.flood]\ncommand = \"ACTORS/log_flood 50000\"\nlog = { flood = 100 }\n\
         [service.other]\nshell = true\n\
         command = \"for i in $(seq 1 200); do echo other $i; sleep 0.01; done; exec sleep 100000\"\n",
    );
    family.expect("other | other 200");
    let (code, lines) = family.shut_down();
    let passed = count(&lines, "flood | ");
    let dropped: usize = lines.iter().filter_map(|line| dropped(line)).sum();
    assert_eq!(passed + dropped, 50_000, "each line was passed on or counted");
    assert!(passed < 5_000, "{passed}");
    for number in 1..=200 {
        assert!(lines.contains(&format!("other | other {number}")), "line {number} is missing");
    }
    assert_eq!(code, Some(0));
}

/// The number in `flood ! dropped 79,434 lines in 1 s`.
fn dropped(line: &str) -> Option<usize> {
    let (number, _) = line.split_once("! dropped ")?.1.split_once(" line")?;
    number.replace(',', "").parse().ok()
}

#[test]
fn when_the_disk_of_the_logs_is_full_that_is_told_once_and_the_family_goes_on() {
    let home = Home::new(
        "[service.talker]\ncommand = \"ACTORS/log_flood 30000 100\"\nlog = { flood = false }\n\
         [service.other]\nshell = true\n\
         command = \"while [ ! -e now ]; do sleep 0.02; done; echo still here; exec sleep 100000\"\n",
    );
    std::fs::create_dir(home.dir.join("logs")).expect("a folder for the logs");
    let unshare = |home: &Home, script: &str| {
        let mut command = home.command("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command.arg(env!("CARGO_BIN_EXE_doula"));
        command
    };
    let mount = "mount -t tmpfs -o size=1m none logs";
    if run(&mut unshare(&home, mount)).map_or(true, |said| said.code != Some(0)) {
        return skipped("no mount namespace of our own is to be had");
    }
    let command = unshare(&home, &format!("{mount} && exec \"$0\" up --logs logs"));
    let mut family = Family::with(home, command);
    family.expect("talker exited cleanly");
    std::fs::write(family.home.dir.join("now"), "").expect("a sign");
    family.expect("other | still here");
    let (code, lines) = family.shut_down();
    assert_eq!(count(&lines, "error: failed to write"), 1, "told once");
    assert!(place(&lines, "ENOSPC") < place(&lines, "other | still here"));
    assert_eq!(count(&lines, "talker | "), 30_000, "nothing is lost on the screen");
    assert_eq!(code, Some(0));
}
