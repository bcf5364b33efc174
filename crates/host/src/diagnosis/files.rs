//! What a descriptor of somebody else names, without asking that file for anything.

use super::mounts;
use crate::procfs::Reader;
use doula_core::diagnosis::wait::Open;
use doula_model::id::Pid;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;

/// What this descriptor names; `None` when it is closed, or we may not see it.
pub(super) fn open(pid: Pid, thread: Pid, fd: i32) -> Option<Open> {
    let folder = format!("/proc/{pid}/task/{thread}");
    let name = fs::read_link(format!("{folder}/fd/{fd}")).ok()?.into_os_string().into_vec();
    if let Some(inode) = inode(&name, b"pipe:[") {
        return Some(Open::Pipe(inode));
    }
    if let Some(inode) = inode(&name, b"socket:[") {
        return Some(Open::Socket(inode));
    }
    if !name.starts_with(b"/") {
        return Some(Open::Other(name));
    }
    let number = info(&folder, fd, "mnt_id:").and_then(|id| id.parse().ok());
    let mount = number.and_then(|number| mounts::by_number(pid, number));
    Some(Open::File(name, mount))
}

/// The number in `pipe:[4711]`.
pub(super) fn inode(name: &[u8], prefix: &[u8]) -> Option<u64> {
    std::str::from_utf8(name.strip_prefix(prefix)?.strip_suffix(b"]")?).ok()?.parse().ok()
}

/// What `fdinfo` says of a descriptor behind this word.
pub(super) fn info(folder: &str, fd: i32, word: &str) -> Option<String> {
    let text = fs::read_to_string(format!("{folder}/fdinfo/{fd}")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(word)).map(|rest| rest.trim().to_owned())
}

/// The descriptors of a process; none when we may not see them.
pub(super) fn descriptors(pid: Pid) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Who has a lock on this file (`major:minor:inode`) by an open file: a lock of flock(2), or of an open file description,
/// belongs to all who share that.
pub(super) fn who_locks(reader: &mut Reader, file: &str) -> Vec<Pid> {
    let has = |pid: &Pid| {
        let folder = format!("/proc/{pid}");
        descriptors(*pid).into_iter().filter_map(|fd| info(&folder, fd, "lock:")).any(|lock| {
            let waits = lock.split_ascii_whitespace().nth(1) == Some("->");
            !waits && lock.split_ascii_whitespace().any(|word| word == file)
        })
    };
    reader.numbers().unwrap_or_default().into_iter().filter(has).collect()
}
