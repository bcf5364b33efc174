//! Words and calls that must not stand in the source, each with what to write instead.

use crate::tree::{File, expect_none, files, has_word, sources};

/// What must not be called in the product: the words, what to do instead, and the folders where it may be.
const BANNED: [(&[&str], &str, &[&str]); 4] = [
    (
        &["print!", "println!", "eprint!", "eprintln!"],
        "all output leaves by src/ui",
        // The two build scripts run at build time only, and cargo listens to nothing but their standard output.
        &["src/ui", "actors/src/", "crates/sys/build.rs", "crates/init/build.rs"],
    ),
    (&["todo!", "unimplemented!", "dbg!"], "finish it or leave it out", &[]),
    (&["unsafe"], "put the call in crates/sys", &["crates/sys/"]),
    (&["unwrap"], "handle it, or say in an expect() why it cannot be", &[]),
];

/// What must not be written even in tests.
const BANNED_EVERYWHERE: [(&str, &str); 5] = [
    ("thread::sleep", "wait for an event: a pidfd, a readable fd, a reply"),
    ("process::exit", "return an ExitCode from main"),
    ("#[allow(", "write #[expect(lint, reason = \"…\")]"),
    ("#![allow(", "write #![expect(lint, reason = \"…\")]"),
    ("#[ignore", "a test that cannot run here prints `skipped: …` and why"),
];

/// Where the words above are the subject: that exit(3) in a copy of a process runs nothing of its original can only be shown
/// by calling it.
const SUBJECTS: [(&str, &str); 1] = [("process::exit", "crates/host/tests/shutdown/copies.rs")];

/// Promises to do something later; put together here so that this file does not make one.
const LATER: [[&str; 2]; 3] = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]];

/// Places on a workplace, and hosts of package registries: nobody else has them.
const NOT_OURS: [[&str; 2]; 6] = [
    ["/wo", "rk/"],
    ["/fa", "rm"],
    ["crates", ".io"],
    ["pyp", "i.org"],
    ["registry.npm", "js"],
    ["proxy.go", "lang"],
];

#[test]
fn the_product_calls_nothing_that_is_banned() {
    let mut findings = Vec::new();
    for file in sources() {
        for (words, cure, homes) in BANNED {
            if homes.iter().any(|home| file.is_in(home)) {
                continue;
            }
            for (number, line) in
                file.product().into_iter().filter(|(_, line)| !is_computed_before(line, words))
            {
                for word in words.iter().filter(|word| has_word(&line, word)) {
                    findings.push(format!("{}: {word}; {cure}", file.at(number)));
                }
            }
        }
    }
    expect_none(&findings);
}

/// An `unwrap` in a constant fails when it is compiled, or never.
fn is_computed_before(line: &str, words: &[&str]) -> bool {
    words == ["unwrap"] && names_a_constant(line)
}

#[test]
fn nobody_sleeps_exits_allows_or_ignores() {
    let mut findings = Vec::new();
    for file in sources() {
        for (index, line) in file.code().iter().enumerate() {
            let found = BANNED_EVERYWHERE.iter().filter(|(word, _)| line.contains(word));
            for (word, cure) in found.filter(|(word, _)| !SUBJECTS.contains(&(*word, &file.path))) {
                findings.push(format!("{}: {word}; {cure}", file.at(index + 1)));
            }
        }
    }
    expect_none(&findings);
}

#[test]
fn unsafe_code_is_in_crates_sys_only_also_in_tests() {
    let mut findings = Vec::new();
    for file in sources().iter().filter(|file| !file.is_in("crates/sys/")) {
        for (index, line) in file.code().iter().enumerate().filter(|(_, line)| has_word(line, "unsafe")) {
            findings.push(format!("{}: {}; put it in crates/sys", file.at(index + 1), line.trim()));
        }
    }
    expect_none(&findings);
}

#[test]
fn nothing_is_put_off_until_later() {
    find_everywhere(&LATER, "do it now, or leave it out", has_word);
}

#[test]
fn no_place_or_host_of_one_workplace_is_named() {
    find_everywhere(&NOT_OURS, "nobody else has it; say it without", |line, word| line.contains(word));
}

fn find_everywhere(words: &[[&str; 2]], cure: &str, is_in: impl Fn(&str, &str) -> bool) {
    let words: Vec<String> = words.iter().map(|halves| halves.concat()).collect();
    let mut findings = Vec::new();
    for file in files() {
        for (index, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| is_in(line, word)) {
                findings.push(format!("{}: {word}; {cure}", file.at(index + 1)));
            }
        }
    }
    expect_none(&findings);
}

#[test]
fn host_has_no_figures_but_named_ones() {
    let mut findings = Vec::new();
    for file in sources().iter().filter(|file| file.is_in("crates/host/src/")) {
        for (number, line) in file.product() {
            if has_figure(&line) && !names_a_constant(&line) {
                let cure = "policy is core's; a limit of the mechanism is a named const with its why";
                findings.push(format!("{}: {}; {cure}", file.at(number), line.trim()));
            }
        }
    }
    expect_none(&findings);
}

/// A span of time by number. One unit of anything is no figure: that is rounding.
fn has_figure(line: &str) -> bool {
    let calls = line.match_indices("Duration::from_").filter_map(|(at, _)| line[at..].split_once('('));
    calls
        .map(|(_, rest)| rest)
        .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()) && !rest.starts_with("1)"))
}

fn names_a_constant(line: &str) -> bool {
    line.trim_start().starts_with("const ") || line.contains(" const ")
}

#[test]
fn every_source_file_begins_by_saying_what_it_is() {
    let begins = |file: &File| file.text.starts_with("//!") || file.text.starts_with("#!");
    let bad = sources().into_iter().filter(|file| !begins(file));
    let findings: Vec<String> =
        bad.map(|file| format!("{}: no head comment; begin with //!", file.at(1))).collect();
    expect_none(&findings);
}
