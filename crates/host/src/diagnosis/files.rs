//! What a descriptor of somebody else names, without asking that file for anything.

use super::{Call, Mount, mounts};
use crate::procfs::Reader;
use doula_core::diagnosis::wait::{Open, takes_path};
use doula_model::id::Pid;
use doula_sys::fd::{self, Access, AsRawFd as _};
use std::ffi::CString;
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

/// The file whose path is in the arguments of a call, as the process wrote it, behind the directory where that begins.
pub(super) fn named(reader: &mut Reader, pid: Pid, call: Call) -> Option<Open> {
    /// `AT_FDCWD`: where the process is.
    const HERE: i32 = -100;
    let (directory, path) = takes_path(call.name)?;
    let path = reader.text_in_memory(pid, call.args[path]).filter(|path| !path.is_empty())?;
    let path = if path.starts_with(b"/") {
        path
    } else {
        let number = directory.map_or(HERE, |at| call.args[at] as u32 as i32);
        let place = if number == HERE { "cwd".to_owned() } else { format!("fd/{number}") };
        let begin = fs::read_link(format!("/proc/{pid}/{place}")).ok()?.into_os_string().into_vec();
        [begin.as_slice(), b"/", &path].concat()
    };
    let mount = if call.name == "mount" { mounted(reader, pid, call, &path) } else { mount_of(pid, &path) };
    Some(Open::File(path, mount))
}

/// What mount(2) is about to mount there.
fn mounted(reader: &mut Reader, pid: Pid, call: Call, point: &[u8]) -> Option<Mount> {
    let source = reader.text_in_memory(pid, call.args[0])?;
    let kind = String::from_utf8(reader.text_in_memory(pid, call.args[2])?).ok()?;
    Some(Mount { point: point.to_vec(), kind, source, device: (0, 0) })
}

/// The mount of a path, or of the directory that it would be in: by what the kernel knows of it already, else by its text.
fn mount_of(pid: Pid, path: &[u8]) -> Option<Mount> {
    let folder = &path[..path.iter().rposition(|&byte| byte == b'/')?];
    let root = CString::new(format!("/proc/{pid}/root")).ok()?;
    let root = fd::open(&root, Access::Place).ok();
    let known = root.and_then(|root| {
        let name = |path: &[u8]| fd::name_known(&root, &CString::new(path).ok()?).ok();
        let found = name(path).or_else(|| name(folder))?;
        info("/proc/self", found.as_raw_fd(), "mnt_id:")?.parse().ok()
    });
    // By the text, a path in /proc is one of /proc, though it may lead to any place.
    let by_text = || mounts::by_path(pid, path).filter(|mount| mount.kind != "proc");
    known.and_then(|number| mounts::by_number(pid, number)).or_else(by_text)
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
