//! Who keeps a stage, and takes it down: also when whoever looks on was killed.
//!
//! Programs do to themselves what they like: their init may have no death signal, may be stopped, or sleep for ever. So nothing is asked
//! of them. Two processes that they cannot see stand above them:
//!
//! ```text
//! who looks on ── a pipe ──> nursery ── death signal ──> warden, PID 1 ── its namespace ──> init, PID 1 ──> programs
//! ```
//!
//! The *nursery* sleeps until nobody holds the other end of its pipe, ends the warden, and removes the directory. The *warden* is the
//! init of the namespace around the programs' own: with it the kernel kills everybody below, whatever they did, and it is gone
//! only when all are. It bears the programs' init and never buries it, so that init's number cannot pass to a stranger.

use super::LIFE;
use super::agent::{Agent, Part};
use super::slots::Slots;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::classic::{self, rights};
use doula_sys::fd::OwnedFd;
use doula_sys::{adopt, fd, group, pidfd, poll};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Does not come back in the nursery and the warden.
pub(super) fn nurse(slots: Slots, users: u32) -> Part {
    let Some(slot) = slots.get(0) else { return Part::None };
    match bear_warden() {
        Ok(()) => Part::Init(Agent::init(slots, slot, users)),
        Err(errno) => {
            slot.answer(u32::MAX, errno.to_string().as_bytes());
            Part::None
        }
    }
}

/// Comes back in init, or not at all but with an error.
fn bear_warden() -> Result<(), Errno> {
    let life = fd::inherited(LIFE)?;
    let nursery = pidfd::open(group::pid())?;
    let directory = std::env::current_dir().map_err(|_| Errno::ENOENT)?;
    make_namespace()?;
    match bear()? {
        None => bear_init(&nursery),
        Some(warden) => keep(&life, warden, directory),
    }
}

/// What the nursery does from then on.
fn keep(life: &OwnedFd, warden: i32, directory: PathBuf) -> ! {
    // A warden that has ended has said why, or was killed; its number is its own until it is buried here.
    while matches!(fd::read(life, &mut [0]), Ok(1..) | Err(Errno::EINTR)) {}
    let _gone = classic::kill(warden, Signal::KILL.number());
    while classic::wait4(warden, classic::WALL) == Err(Errno::EINTR) {}
    let _gone = fs::remove_dir_all(directory);
    classic::exit(0)
}

/// What the warden does: comes back in init.
fn bear_init(nursery: &OwnedFd) -> Result<(), Errno> {
    adopt::set_parent_death_signal(Some(Signal::KILL))?;
    // A nursery that died before that call is told of by nobody.
    if poll::readable(nursery, Some(Duration::ZERO))? {
        classic::exit(1);
    }
    rights::unshare_pid()?;
    if bear()?.is_none() {
        return Ok(());
    }
    loop {
        let _ = classic::pause();
    }
}

fn bear() -> Result<Option<i32>, Errno> {
    classic::copy(classic::Copy { exit_signal: Some(Signal::CHLD), ..classic::Copy::default() })
}

/// As root at once, as somebody else in a user namespace where that is allowed.
fn make_namespace() -> Result<(), Errno> {
    let Err(refused) = rights::unshare_pid() else { return Ok(()) };
    let ((uid, _), (gid, _)) = (group::users(), group::groups());
    rights::unshare_user().map_err(|_| refused)?;
    let write = |name: &str, text: String| fs::write(format!("/proc/self/{name}"), text).map_err(|_| refused);
    write("setgroups", "deny".into())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))?;
    rights::unshare_pid()
}
