//! `--bundle DIR`: what it takes to see again what a job in quarantine does: a folder with `run`, a script that does it, the
//! `input`, and `job.json`, which says how it ended.
//!
//! The environment is in `run`: nobody else may read the folder.

use super::template::quote;
use crate::error::Failure;
use doula_host::{ExitStatus, Pid};
use doula_model::task::TaskId;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Bundle {
    folder: PathBuf,
}

/// What is kept.
#[derive(Debug)]
pub(super) struct Case<'c> {
    pub(super) task: TaskId,
    pub(super) argv: &'c [OsString],
    /// Beside our own environment.
    pub(super) slot: Option<u32>,
    /// What its process reads from standard input.
    pub(super) input: &'c [u8],
    /// How those ended who worked at it.
    pub(super) ends: &'c [Death],
}

/// How somebody ended who worked at a job.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) pid: Option<Pid>,
    pub(super) status: Option<ExitStatus>,
    /// For people.
    pub(super) how: String,
}

impl Bundle {
    pub(super) fn open(folder: &Path) -> Result<Bundle, Failure> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        // The script goes elsewhere before it runs.
        let folder = made.and_then(|()| folder.canonicalize());
        let failed = |error| Failure::usage(format!("failed to make the folder of --bundle: {error}"));
        Ok(Bundle { folder: folder.map_err(failed)? })
    }

    /// Keeps it; where.
    pub(super) fn keep(&self, case: &Case<'_>) -> io::Result<PathBuf> {
        let folder = self.folder.join(format!("job-{}", case.task));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        write(&folder.join("input"), 0o600, case.input)?;
        write(&folder.join("job.json"), 0o600, format!("{:#}\n", as_json(case)).as_bytes())?;
        write(&folder.join("run"), 0o700, &script(case, &folder)?)?;
        Ok(folder)
    }
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    // One of an earlier run may be there, and be wider open.
    drop(fs::remove_file(path));
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(bytes)
}

fn script(case: &Case<'_>, folder: &Path) -> io::Result<Vec<u8>> {
    let mut text = b"#!/bin/sh\ncd ".to_vec();
    let mut add = |word: &OsString, end: &[u8]| {
        text.extend_from_slice(quote(word).as_bytes());
        text.extend_from_slice(end);
    };
    add(&std::env::current_dir()?.into_os_string(), b" || exit\nexec env -i \\\n");
    let slot = case.slot.map(|slot| (OsString::from("DOULA_SLOT"), OsString::from(slot.to_string())));
    for (mut name, value) in std::env::vars_os().chain(slot) {
        name.push("=");
        name.push(value);
        add(&name, b" \\\n");
    }
    case.argv.iter().for_each(|word| add(word, b" "));
    text.push(b'<');
    text.extend_from_slice(quote(folder.join("input").as_os_str()).as_bytes());
    text.push(b'\n');
    Ok(text)
}

fn as_json(case: &Case<'_>) -> Value {
    let argv: Vec<_> = case.argv.iter().map(|word| word.to_string_lossy()).collect();
    let ends = case.ends.iter().map(|Death { pid, status, how }| {
        let dumped = status.is_some_and(|status| status.dumped_core());
        json!({
            "pid": pid.map(Pid::get), "how": how, "core": pid.filter(|_| dumped).and_then(core),
            "code": status.and_then(ExitStatus::exit_code),
            "signal": status.and_then(ExitStatus::killed_by).map(|signal| signal.to_string()),
        })
    });
    json!({ "task": case.task.0, "command": argv, "ends": ends.collect::<Vec<_>>() })
}

/// Where the kernel puts the core of a process that had our directory (core(5)); `*` for what is known only while it lives.
fn core(pid: Pid) -> Option<String> {
    let setting = |name: &str| fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).ok();
    let pattern = setting("core_pattern")?;
    let pattern = pattern.trim_end();
    if pattern.starts_with('|') {
        return Some(pattern.to_owned());
    }
    let name = expanded(pattern, pid, setting("core_uses_pid").is_some_and(|text| text.trim() != "0"));
    Some(std::env::current_dir().ok()?.join(name).to_string_lossy().into_owned())
}

fn expanded(pattern: &str, pid: Pid, with_pid: bool) -> String {
    let (mut name, mut letters) = (String::new(), pattern.chars());
    while let Some(letter) = letters.next() {
        match (letter, if letter == '%' { letters.next() } else { None }) {
            ('%', Some('%')) => name.push('%'),
            ('%', Some('p' | 'P')) => name.push_str(&pid.to_string()),
            ('%', Some(_)) => name.push('*'),
            ('%', None) => {}
            (letter, _) => name.push(letter),
        }
    }
    if with_pid && !pattern.contains("%p") {
        name.push_str(&format!(".{pid}"));
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_core_follows_the_kernels_pattern() {
        let pid = Pid::new(7).expect("a pid");
        assert_eq!(expanded("core", pid, false), "core");
        assert_eq!(expanded("core", pid, true), "core.7");
        assert_eq!(expanded("/c/%e-%p%%", pid, true), "/c/*-7%");
    }

    #[test]
    fn a_script_keeps_every_word_as_it_is() {
        let argv = ["sh".into(), "-c".into(), "echo 'it'".into()];
        let case = Case { task: TaskId(7), argv: &argv, slot: None, input: b"", ends: &[] };
        let script = script(&case, Path::new("/a b")).expect("a directory");
        let script = String::from_utf8_lossy(&script).into_owned();
        assert!(script.ends_with("sh -c 'echo '\\''it'\\''' <'/a b/input'\n"), "{script}");
    }
}
