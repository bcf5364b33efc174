//! Who holds a pipe open: processes that inherited an end of it.

use super::Child;
use crate::spawn::printable;
use doula_model::id::Pid;
use doula_sys::fd::{AsRawFd, RawFd};
use std::fmt;
use std::fs::DirEntry;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A process that holds the other end of a pipe of ours open.
///
/// ```
/// use doula_host::Command;
/// // The child ends, its own child keeps standard output open: the capture ends all the same, and names it.
/// let output = Command::new("sh").args(["-c", "sleep 1000 & echo $!"]).output()?;
/// assert_eq!(output.holders[0].pid.to_string(), output.stdout_text().trim());
/// assert!(output.holders[0].to_string().ends_with("(sleep)"));
/// # doula_host::Command::new("kill").arg(output.stdout_text().trim()).status()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number, for display.
    pub pid: Pid,
    /// Its name (`/proc/PID/comm`), with control characters escaped.
    pub name: String,
}

impl fmt::Display for Holder {
    /// `4711 (sleep)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}

/// Who keeps the streams open that we still read.
pub(super) fn of_open_streams(children: &[Child]) -> Vec<Holder> {
    let ends = children.iter().flat_map(|child| [child.stdout.as_ref(), child.stderr.as_ref()]).flatten();
    of(&ends.filter_map(name_of_ours).collect::<Vec<_>>())
}

/// What `/proc/PID/fd` says of an fd of ours.
pub(super) fn name_of_ours(fd: &impl AsRawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// And of an fd of a child.
pub(super) fn name_of(child: &Child, fd: RawFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{}/fd/{fd}", child.pid())).ok()
}

/// Everybody but us who has one of these pipes (as `/proc/PID/fd` names them) open for writing, as far as we may see it: that
/// of another user's process is not for us.
pub(super) fn of(pipes: &[PathBuf]) -> Vec<Holder> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| Pid::new(entry.file_name().to_str()?.parse().ok()?));
    let us = doula_sys::group::pid();
    let mut holders: Vec<Holder> = numbers.filter(|&pid| pid != us && holds(pid, pipes)).map(named).collect();
    holders.sort_unstable_by_key(|holder| holder.pid);
    holders
}

fn holds(pid: Pid, pipes: &[PathBuf]) -> bool {
    let Ok(fds) = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd")) else {
        return false;
    };
    // Who can only read, a child of ours on its way that has a copy of our own end, keeps nothing open.
    let writes = |fd: &DirEntry| {
        fd.path().symlink_metadata().is_ok_and(|link| link.permissions().mode() & OWNER_WRITES != 0)
    };
    let writable = fds.flatten().filter(writes);
    writable.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|file| pipes.contains(&file))
}

/// In the mode of a link of `/proc/PID/fd`: it is open for writing.
const OWNER_WRITES: u32 = 0o200;

fn named(pid: Pid) -> Holder {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    Holder { pid, name: printable(name.trim_ascii_end()) }
}
