//! How long functions and files may be, and that every file is used.

use crate::tree::{File, expect_none, root, sources};
use std::collections::BTreeSet;

/// Lines of a function that are neither empty nor comment.
const FUNCTION: usize = 70;
/// Lines of a file, its tests left out.
const FILE: usize = 800;
/// Files that are one table and nothing else: to be looked up, not to be read from end to end.
const TABLES: [&str; 1] = ["src/config/keys.rs"];

#[test]
fn no_function_is_longer_than_70_lines() {
    let mut findings = Vec::new();
    for file in sources() {
        for (number, length) in functions(&file.code()) {
            if length > FUNCTION {
                findings.push(format!("{}: a function of {length} lines; take it apart", file.at(number)));
            }
        }
    }
    expect_none(&findings);
}

#[test]
fn no_file_is_longer_than_800_lines_without_its_tests() {
    let mut findings = Vec::new();
    for file in sources() {
        let length = file.product().len();
        if length > FILE && !TABLES.contains(&file.path.as_str()) {
            findings.push(format!("{}: {length} lines; split it by subject", file.at(FILE)));
        }
    }
    expect_none(&findings);
}

/// Where each function begins, and how many lines of code it has.
fn functions(lines: &[String]) -> Vec<(usize, usize)> {
    let begins = |line: &String| {
        let name = line.trim_start().strip_prefix("fn ").or_else(|| Some(line.split_once(" fn ")?.1));
        name.is_some_and(|name| name.starts_with(|c: char| c.is_alphabetic() || c == '_'))
    };
    let starts = (0..lines.len()).filter(|at| begins(&lines[*at]));
    starts.filter_map(|at| Some((at + 1, length(&lines[at..])?))).collect()
}

/// The lines of code up to the brace that closes the first one opened; `None` for a function without a body.
fn length(lines: &[String]) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (index, line) in lines.iter().enumerate() {
        for c in line.chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => braces += 1,
                '}' => braces -= 1,
                ';' if braces == 0 && brackets == 0 => return None,
                _ => continue,
            }
            if c == '}' && braces == 0 {
                return Some(lines[..=index].iter().filter(|line| !line.trim().is_empty()).count());
            }
        }
    }
    None
}

#[test]
fn every_source_file_is_reached_by_a_mod_declaration() {
    let all = sources();
    let mut reached: BTreeSet<String> =
        all.iter().filter(|file| is_root(&file.path)).map(|file| file.path.clone()).collect();
    let mut waiting: Vec<String> = reached.iter().cloned().collect();
    while let Some(path) = waiting.pop() {
        let Some(file) = all.iter().find(|file| file.path == path) else { continue };
        for module in modules(file) {
            if reached.insert(module.clone()) {
                waiting.push(module);
            }
        }
    }
    let dead = all.iter().filter(|file| !reached.contains(&file.path));
    let findings: Vec<String> =
        dead.map(|file| format!("{}: no mod names it; use or remove it", file.at(1))).collect();
    expect_none(&findings);
}

/// Whether cargo finds it by itself.
fn is_root(path: &str) -> bool {
    let inside = ["crates/", "actors/", "fuzz/", "bench/spawn/rivals/"]
        .iter()
        .find_map(|place| path.strip_prefix(place));
    let within = match inside {
        Some(rest) if path.starts_with("crates/") => rest.split_once('/').map_or(rest, |(_, rest)| rest),
        Some(rest) => rest,
        None => path,
    };
    let parts: Vec<&str> = within.split('/').collect();
    match parts.as_slice() {
        ["build.rs"] | ["src", "lib.rs" | "main.rs"] | ["fuzz_targets", _] => true,
        ["src", "bin", _] | ["tests" | "examples" | "benches", _] => true,
        ["src", "bin", _, file] | ["tests" | "examples" | "benches", _, file] => *file == "main.rs",
        _ => false,
    }
}

/// The files that a file's `mod` declarations may mean; those in a module within the file included.
fn modules(file: &File) -> Vec<String> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let own = is_root(&file.path) || name == "mod.rs" || name == "main.rs";
    let below = if own { folder.to_owned() } else { format!("{folder}/{}", name.trim_end_matches(".rs")) };
    let mut found = Vec::new();
    for (line, code) in file.text.lines().zip(file.code()) {
        if let Some((_, path)) = line.trim().split_once("#[path = \"") {
            found.push(plain(&format!("{folder}/{}", path.trim_end_matches("\"]"))));
        }
        let words: Vec<&str> = code.split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| *word == "mod") {
            let module = words.get(at + 1).map_or("", |name| name.trim_end_matches(';'));
            found.push(format!("{below}/{module}.rs"));
            found.push(format!("{below}/{module}/mod.rs"));
        }
    }
    found.retain(|path| root().join(path).is_file());
    found
}

/// The path without `..`.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}
