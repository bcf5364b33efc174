//! The files of the project, and Rust source with its comments and literals blanked out.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are no part of the source.
const OUTSIDE: [&str; 3] = ["target", ".git", "node_modules"];
/// What is read as text.
const TEXT: [&str; 15] =
    ["rs", "toml", "md", "sh", "py", "c", "h", "json", "yaml", "yml", "conf", "service", "svg", "txt", "run"];

/// One file.
pub(crate) struct File {
    /// From the root of the project, with `/`.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
}

impl File {
    /// Whether it is only compiled for tests and measurements.
    pub(crate) fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
            || ["fuzz/", "bench/"].iter().any(|folder| self.path.starts_with(folder))
    }

    /// Whether the folder holds it.
    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// The source without comments and without what is in literals, line by line; nothing else is moved.
    pub(crate) fn code(&self) -> Vec<String> {
        blank(&self.text).lines().map(str::to_owned).collect()
    }

    /// [`File::code`] with the numbers of the lines, up to the tests at the end; nothing for a test's file.
    pub(crate) fn product(&self) -> Vec<(usize, String)> {
        if self.is_test() {
            return Vec::new();
        }
        let lines = self.code();
        let end = tests_begin(&lines).unwrap_or(lines.len());
        lines.into_iter().take(end).enumerate().map(|(index, line)| (index + 1, line)).collect()
    }

    /// Where a line is, as compilers say it.
    pub(crate) fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path)
    }
}

/// The line of the `#[cfg(test)]` that stands before the module of tests, which is the last thing in a file.
fn tests_begin(lines: &[String]) -> Option<usize> {
    let is_module = |line: &str| has_word(line, "mod") && line.ends_with('{');
    let opens = |at: usize| {
        lines[at + 1..].iter().find(|line| !line.starts_with("#[")).is_some_and(|line| is_module(line))
    };
    (0..lines.len()).find(|at| lines[*at].starts_with("#[cfg(test)]") && opens(*at))
}

/// The root of the project.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file, sorted by path.
pub(crate) fn files() -> Vec<File> {
    let mut found = Vec::new();
    collect(&root(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every Rust file.
pub(crate) fn sources() -> Vec<File> {
    files().into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn collect(folder: &Path, found: &mut Vec<File>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && !OUTSIDE.contains(&&*name) {
            collect(&path, found);
        } else if path.is_file() && is_text(&path) {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let path = path.strip_prefix(root()).expect("a file below the root");
            found.push(File { path: path.to_string_lossy().into_owned(), text });
        }
    }
}

fn is_text(path: &Path) -> bool {
    let ending = path.extension().or(path.file_name()).and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| TEXT.contains(&ending))
}

/// Fails with all findings, if there are any.
pub(crate) fn expect_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Whether `word` is in the line, and not as a part of a longer name.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !part_of_name(before) && !part_of_name(after)
    })
}

/// Replaces comments and the insides of literals by spaces; lines stay lines.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skip(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The end of the comment or literal that starts here; `at` itself when none does.
fn skip(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => find(chars, at, |rest| rest[0] == '\n'),
        '/' if next == Some('*') => block_comment(chars, at),
        'r' if !in_name(chars, at) => raw_string(chars, at).unwrap_or(at),
        '"' => quoted(chars, at, '"'),
        '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => quoted(chars, at, '\''),
        _ => at,
    }
}

/// Whether the `r` here belongs to a name; in `br"…"` and `cr"…"` it does not.
fn in_name(chars: &[char], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|index| chars[index]);
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    part(before(1)) && (part(before(2)) || !matches!(before(1), Some('b' | 'c')))
}

fn find(chars: &[char], from: usize, is_end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| is_end(&chars[*at..])).unwrap_or(chars.len())
}

fn block_comment(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => depth += 1,
            ('*', Some('/')) => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at.min(chars.len())
}

fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    let open = at + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes =
        |rest: &[char]| rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|c| *c == '#');
    Some((find(chars, open + 1, closes) + 1 + hashes).min(chars.len()))
}

fn quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

#[test]
fn comments_and_literals_are_blanked_and_the_rest_is_kept() {
    for (source, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                    e".trim_end()),
        (r#"x("a\"b", 'c', '\n', &'a T)"#, "x(      ,    ,     , &'a T)"),
        ("r#\"a\"b\"# + br\"c\" + var", "          + b     + var"),
    ] {
        let blanked = blank(source);
        assert_eq!(
            blanked.split_whitespace().collect::<Vec<_>>(),
            code.split_whitespace().collect::<Vec<_>>(),
            "{source}"
        );
        assert_eq!(blanked.chars().count(), source.chars().count(), "{source}");
    }
}
