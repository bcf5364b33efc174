//! Who keeps a stage, and takes it down: also when whoever looks on was killed.
//!
//! Programs do to themselves what they like: their init may have no death signal, may be stopped, or sleep for ever. So nothing is asked
//! of them. Two processes that they cannot see stand above them:
//!
//! ```text
//! who looks on ── a pipe ──> nursery ── death signal ──> warden, PID 1 ── its namespace ──> init, PID 1 ──> programs
//! ```
//!
//! The *nursery* makes the directory, sleeps until nobody holds the other end of its pipe, ends the warden, and removes the directory. The *warden* is the
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
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

/// In the environment of the nursery: the directory that it makes, with its whole path.
pub(super) const DIRECTORY: &str = "DOULA_SIM_DIRECTORY";

/// With this begins why there is no stage when it is the directory.
pub(super) const NO_DIRECTORY: &str = "no directory: ";

/// Does not come back in the nursery and the warden.
pub(super) fn nurse(slots: Slots, users: u32) -> Part {
    let Some(slot) = slots.get(0) else { return Part::None };
    let refused = match make_directory() {
        Err(error) => format!("{NO_DIRECTORY}{error}"),
        Ok(directory) => match bear_warden(directory.clone()) {
            Ok(()) => return Part::Init(Agent::init(slots, slot, users)),
            Err(errno) => {
                // Only who bore a warden comes to where it is removed.
                let _gone = fs::remove_dir(directory);
                errno.to_string()
            }
        },
    };
    slot.answer(u32::MAX, refused.as_bytes());
    Part::None
}

/// It is made by whoever removes it, so that it is left behind at no moment.
fn make_directory() -> io::Result<PathBuf> {
    let directory = std::path::absolute(std::env::var_os(DIRECTORY).unwrap_or_default())?;
    fs::create_dir(&directory)?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
    std::env::set_current_dir(&directory)?;
    Ok(directory)
}

/// Comes back in init, or not at all but with an error.
fn bear_warden(directory: PathBuf) -> Result<(), Errno> {
    let life = fd::inherited(LIFE)?;
    let nursery = pidfd::open(group::pid())?;
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
