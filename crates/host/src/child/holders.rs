//! Who holds a pipe of a child open: processes that inherited an end of it.

use super::Child;
use crate::holder::{self, Holder};
use doula_sys::fd::{AsRawFd, RawFd};
use std::fs::DirEntry;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// In the mode of a link of `/proc/PID/fd`: it is open for writing.
const OWNER_WRITES: u32 = 0o200;

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

/// Everybody but us who has one of these pipes or files (as `/proc/PID/fd` names them) open for writing.
pub(crate) fn of(pipes: &[PathBuf]) -> Vec<Holder> {
    let us = doula_sys::group::pid();
    // Who can only read, a child of ours on its way that has a copy of our own end, keeps nothing open.
    let writes = |fd: &DirEntry| {
        fd.path().symlink_metadata().is_ok_and(|link| link.permissions().mode() & OWNER_WRITES != 0)
    };
    let mut holders: Vec<Holder> = holder::of(pipes, writes).filter(|holder| holder.pid != us).collect();
    holders.sort_unstable_by_key(|holder| holder.pid);
    holders
}
