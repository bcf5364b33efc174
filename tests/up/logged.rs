//! The output of services end to end: whole lines, floods, full disks, many files.

use crate::contain::skipped;
use crate::family::{Family, Home, count, place};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The log files of a service, the current one last.
fn files(home: &Home, service: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(home.dir.join("logs")).into_iter().flatten().flatten().map(|entry| entry.path());
    let own =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(service));
    let mut found: Vec<_> = names.filter(own).collect();
    found.sort();
    found
}

/// The lines of a log file, also of a compressed one.
fn lines_of(home: &Home, path: &Path) -> usize {
    if path.extension().is_some_and(|ending| ending == "gz") {
        let text = home.command("gzip").arg("-dc").arg(path).output().expect("gzip").stdout;
        return text.split(|byte| *byte == b'\n').count() - 1;
    }
    fs::read_to_string(path).map(|text| text.lines().count()).unwrap_or(0)
}

#[test]
fn full_files_are_changed_and_compressed_and_no_line_is_lost() {
    let home = Home::new(
        "[service.talker]\ncommand = \"ACTORS/log_flood 30000\"\nrestart = \"never\"\n\
         [service.other]\ncommand = \"sleep 1000\"\n",
    );
    let mut family = Family::start(home, &["--logs", "logs", "--log-size", "1"]);
    family.expect("talker exited cleanly");
    // A family that ends waits for the file that is being compressed.
    assert_eq!(family.home.ctl(&["shutdown"]).code, Some(0));
    let logs = family.home.dir.join("logs");
    let found = files(&family.home, "talker");
    assert!(found.len() > 2, "{found:?}");
    assert!(found.iter().any(|path| path.extension().is_some_and(|ending| ending == "gz")), "{found:?}");
    let total: usize = found.iter().map(|path| lines_of(&family.home, path)).sum();
    assert_eq!(total, 30_000, "{found:?} in {}", logs.display());
    let (code, lines) = family.end();
    assert_eq!(code, Some(0));
    assert_eq!(count(&lines, "belonged to no service"), 0, "a compressor is no stranger");
}

#[test]
fn a_flood_is_dropped_and_counted_and_others_lose_nothing() {
    let mut family = Family::up(
        "[service.flood]\ncommand = \"ACTORS/log_flood 50000 20\"\nlog = { flood = 100 }\nrestart = \"never\"\n\
         [service.calm]\nshell = true\ncommand = \"for i in $(seq 1 200); do echo calm $i; done; exec sleep 1000\"\n",
    );
    family.expect("flood exited cleanly");
    let (code, lines) = family.shut_down();
    assert_eq!(code, Some(0));
    assert_eq!(count(&lines, "calm | calm "), 200);
    // `dropped 49,000 lines in 20 ms`, perhaps more than once.
    let counts = lines.iter().filter_map(|line| line.split_once("dropped ")?.1.split(' ').next());
    let dropped: usize = counts.filter_map(|count| count.replace(',', "").parse::<usize>().ok()).sum();
    let number =
        |line: &String| line.strip_prefix("flood | ").is_some_and(|rest| rest.trim().parse::<u32>().is_ok());
    let shown = lines.iter().filter(|line| number(line)).count();
    assert_eq!(dropped + shown, 50_000, "dropped {dropped}, shown {shown}");
    assert!(dropped > 0);
}

#[test]
fn lines_that_are_torn_by_their_writer_are_whole_on_the_screen() {
    let (_, lines) =
        Family::up("[service.torn]\ncommand = \"ACTORS/torn_lines\"\nrestart = \"never\"\n").end();
    place(&lines, "torn | no newline at the end");
    let written: String =
        lines.iter().filter(|line| line.starts_with("torn | ")).map(|line| &line[7..]).collect();
    assert_eq!(written.matches("no newline at the end").count(), 1, "{written}");
}

#[test]
fn the_screen_has_time_tag_and_colour_and_no_control_byte_of_a_service() {
    let home = Home::new(
        "[service.web]\nshell = true\nrestart = \"never\"\ncommand = \"printf 'a\\\\033[2Jb\\\\007c\\n'\"\n",
    );
    // script(1) gives it a terminal, and passes on what is shown there.
    let shown = |colour: &str| {
        let doula = format!("{} --color {colour} up", env!("CARGO_BIN_EXE_doula"));
        let mut command = home.command("script");
        let output = command.args(["--quiet", "--return", "--command", &doula, "/dev/null"]).output();
        output.ok().map(|output| String::from_utf8_lossy(&output.stdout).replace('\r', ""))
    };
    let Some(coloured) = shown("always") else { return skipped("there is no script(1)") };
    let line = coloured.lines().find(|line| line.contains("[2J")).expect("the line");
    assert!(line.contains("web") && line.contains("\x1b["), "a coloured tag: {line:?}");
    assert!(line.contains("a\\x1b[2Jb\\x07c"), "{line:?}");
    let plain = shown("never").expect("script(1), again");
    let line = plain.lines().find(|line| line.contains("[2J")).expect("the line");
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    // On a terminal the time of the day does.
    let time = words.next().expect("a time");
    assert!(time.contains(':') && time.starts_with(|c: char| c.is_ascii_digit()), "{line:?}");
    assert_eq!(words.next(), Some("web"), "{line:?}");
    assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "{plain:?}");
}

/// `doula up --logs logs` where `logs` is a file system of its own that is full.
fn on_a_full_disk(home: &Home) -> Option<Command> {
    let full = "mkdir logs && mount -t tmpfs -o size=256k none logs && { cat /dev/zero > logs/filler 2> /dev/null; exec \"$@\"; }";
    let covered = |words: &[&str]| {
        let mut command = home.command("unshare");
        command.args(["--mount", "sh", "-c", full, "sh"]).args(words);
        command
    };
    let possible = covered(&["true"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    drop(fs::remove_dir(home.dir.join("logs")));
    if !possible {
        skipped("no small file system can be mounted here");
        return None;
    }
    Some(covered(&[env!("CARGO_BIN_EXE_doula"), "up", "--logs", "logs"]))
}

#[test]
fn a_full_disk_is_told_and_when_there_is_room_again_that_too() {
    let home = Home::new(
        "[service.talker]\nshell = true\ncommand = \"i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done\"\n\
         [service.cleaner]\nshell = true\n\
         command = \"trap 'rm logs/filler; echo cleaned' USR1; echo waits; while :; do sleep 0.05; done\"\n",
    );
    let Some(command) = on_a_full_disk(&home) else { return };
    let mut family = Family::with(home, command);
    let told = family.expect("error: failed to write");
    assert!(told.contains("ENOSPC") || told.contains("No space left"), "{told}");
    family.expect("talker | line ");
    assert_eq!(family.home.ctl(&["signal", "USR1", "cleaner"]).code, Some(0));
    family.expect("log files are written again");
    assert_eq!(family.shut_down().0, Some(0));
}
