//! Births and children as another program sees them: the exec family of C, ends, captures, trees.

#![expect(clippy::print_stdout, reason = "a test that cannot run says so")]

#[path = "../../../../tests/common/actors.rs"]
mod actors;
mod capture;
mod child;
mod exec_family;
mod explain;
#[path = "../../../../tests/common/freezer.rs"]
mod freezer;
mod pipeline;
mod tree;

use doula_host::Pid;
use doula_sys::fd::OwnedFd;
use std::time::Duration;

/// So long that only a hang can be longer.
const LONG: Duration = Duration::from_secs(60);

/// Whether this process is gone, or dead and waiting for who buries it.
fn is_dead(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
    stat.is_empty() || state == Some('Z')
}

/// A handle of a process that lives.
fn handle(pid: Pid) -> OwnedFd {
    doula_sys::pidfd::open(pid).expect("a living process")
}

/// Ends a process that is no child of ours, and waits until it is dead.
fn end(pid: Pid) {
    let handle = handle(pid);
    doula_sys::pidfd::send(&handle, doula_host::Signal::KILL).expect("a process of ours");
    assert_eq!(doula_sys::poll::readable(&handle, Some(LONG)), Ok(true));
}
