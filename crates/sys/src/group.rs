//! Process groups, sessions and their terminals, and who we are.

use crate::fd::{AsFd, OwnedFd};
use crate::{Result, errno, raw};
use alloc::vec::Vec;
use doula_model::id::Pid;
use rustix::process as rx;

/// `getpid()`—our own number.
pub fn pid() -> Pid {
    own(rx::getpid())
}

/// `getppid()`—the number of our parent; `None` when it lives outside of our PID namespace.
pub fn parent() -> Option<Pid> {
    rx::getppid().map(own)
}

/// `getuid()`, `geteuid()`—our real and effective user.
pub fn users() -> (u32, u32) {
    (rx::getuid().as_raw(), rx::geteuid().as_raw())
}

/// `getgid()`, `getegid()`—our real and effective group.
pub fn groups() -> (u32, u32) {
    (rx::getgid().as_raw(), rx::getegid().as_raw())
}

/// `getgroups()`—our supplementary groups.
///
/// <https://man7.org/linux/man-pages/man2/getgroups.2.html>
#[doc(alias = "getgroups")]
pub fn supplementary() -> Result<Vec<u32>> {
    // SAFETY: with a size of zero nothing is written.
    let count = unsafe { raw::call(libc::SYS_getgroups, [0; 6]) }?;
    let mut groups = alloc::vec![0u32; count];
    let args = [count, groups.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes at most `count` numbers, which the buffer holds.
    let count = unsafe { raw::call(libc::SYS_getgroups, args) }?;
    groups.truncate(count);
    Ok(groups)
}

/// `setgroups(groups)`, `setresgid(gid)`, `setresuid(uid)`—who we are from now on, for good. This thread only: for a process that has
/// no other. EPERM for who may not.
///
/// <https://man7.org/linux/man-pages/man2/setresuid.2.html>
#[doc(alias = "setuid")]
#[doc(alias = "setresuid")]
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    let list = [groups.len(), groups.as_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the list has as many numbers as is said.
    unsafe { raw::call(libc::SYS_setgroups, list) }?;
    for (call, id) in [(libc::SYS_setresgid, gid), (libc::SYS_setresuid, uid)] {
        // SAFETY: these take numbers only.
        unsafe { raw::call(call, [id as usize, id as usize, id as usize, 0, 0, 0]) }?;
    }
    Ok(())
}

/// `setsid()`—makes us the leader of a new session and group, without a terminal. EPERM for a group leader.
///
/// <https://man7.org/linux/man-pages/man2/setsid.2.html>
pub fn setsid() -> Result<Pid> {
    rx::setsid().map(own).map_err(errno)
}

/// `setpgid(pid, group)`—moves a process (`None`: us) into a group (`None`: a new one that it leads).
///
/// EACCES once a child has executed a program; EPERM for a session leader or across sessions.
///
/// <https://man7.org/linux/man-pages/man2/setpgid.2.html>
pub fn setpgid(pid: Option<Pid>, group: Option<Pid>) -> Result<()> {
    rx::setpgid(pid.map(theirs), group.map(theirs)).map_err(errno)
}

/// `getpgid(pid)`—the group of a process (`None`: us). ENXIO when its leader lives outside of our PID
/// namespace, where it has no number.
///
/// <https://man7.org/linux/man-pages/man2/getpgid.2.html>
pub fn getpgid(pid: Option<Pid>) -> Result<Pid> {
    ask(libc::SYS_getpgid, pid)
}

/// `getsid(pid)`—the session of a process (`None`: us). ENXIO when its leader lives outside of our PID
/// namespace, where it has no number.
///
/// <https://man7.org/linux/man-pages/man2/getsid.2.html>
pub fn getsid(pid: Option<Pid>) -> Result<Pid> {
    ask(libc::SYS_getsid, pid)
}

/// `isatty(fd)`—whether this is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// `tcgetpgrp(fd)`—the foreground group of our controlling terminal. ENOTTY when it is none, or not ours.
///
/// <https://man7.org/linux/man-pages/man3/tcgetpgrp.3.html>
pub fn foreground(terminal: impl AsFd) -> Result<Pid> {
    rustix::termios::tcgetpgrp(terminal).map(own).map_err(errno)
}

/// `tcsetpgrp(fd, group)`—makes a group of our session the foreground. From the background this sends
/// SIGTTOU to our group unless it is blocked or ignored.
///
/// <https://man7.org/linux/man-pages/man3/tcsetpgrp.3.html>
pub fn set_foreground(terminal: impl AsFd, group: Pid) -> Result<()> {
    rustix::termios::tcsetpgrp(terminal, theirs(group)).map_err(errno)
}

/// `ioctl(fd, TIOCSCTTY, 0)`—makes a free terminal the controlling one of the session that we lead.
///
/// <https://man7.org/linux/man-pages/man2/TIOCSCTTY.2const.html>
#[doc(alias = "TIOCSCTTY")]
pub fn take_terminal(terminal: impl AsFd) -> Result<()> {
    rx::ioctl_tiocsctty(terminal).map_err(errno)
}

/// `ioctl(fd, TIOCNOTTY)`—gives the controlling terminal up. When we lead the session, everybody in its
/// foreground group gets SIGHUP and SIGCONT, we included.
///
/// <https://man7.org/linux/man-pages/man2/TIOCNOTTY.2const.html>
#[doc(alias = "TIOCNOTTY")]
pub fn leave_terminal(terminal: impl AsFd) -> Result<()> {
    use crate::fd::AsRawFd as _;
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: this ioctl takes no third argument.
    unsafe { raw::call(libc::SYS_ioctl, [fd as usize, libc::TIOCNOTTY as usize, 0, 0, 0, 0]) }.map(drop)
}

/// `open("/dev/ptmx")`, `TIOCSPTLCK`, `TIOCGPTPEER`—a new pseudo terminal: its master and its slave, both
/// close-on-exec, the slave not our controlling terminal.
///
/// <https://man7.org/linux/man-pages/man7/pty.7.html>
#[doc(alias = "openpty")]
pub fn pseudo_terminal() -> Result<(OwnedFd, OwnedFd)> {
    use rustix::pty::OpenptFlags;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).map_err(errno)?;
    rustix::pty::unlockpt(&master).map_err(errno)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(errno)?;
    Ok((master, slave))
}

/// `ioctl(fd, TIOCSWINSZ)`—sets the size of a terminal in characters; the foreground group gets SIGWINCH.
///
/// <https://man7.org/linux/man-pages/man2/TIOCSWINSZ.2const.html>
#[doc(alias = "TIOCSWINSZ")]
pub fn set_window_size(terminal: impl AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(terminal, size).map_err(errno)
}

/// `ioctl(fd, TIOCGWINSZ)`—the size of a terminal in characters: rows, columns.
///
/// <https://man7.org/linux/man-pages/man2/TIOCGWINSZ.2const.html>
#[doc(alias = "TIOCGWINSZ")]
pub fn window_size(terminal: impl AsFd) -> Result<(u16, u16)> {
    rustix::termios::tcgetwinsize(terminal).map(|size| (size.ws_row, size.ws_col)).map_err(errno)
}

/// How a terminal treats input and output (termios(3)).
#[derive(Clone, Debug)]
pub struct TerminalModes(rustix::termios::Termios);

/// `tcgetattr(terminal)`—how a terminal treats input and output. ENOTTY if it is none.
///
/// <https://man7.org/linux/man-pages/man3/termios.3.html>
#[doc(alias = "tcgetattr")]
pub fn terminal_modes(terminal: impl AsFd) -> Result<TerminalModes> {
    rustix::termios::tcgetattr(terminal).map(TerminalModes).map_err(errno)
}

/// `tcsetattr(terminal, TCSADRAIN, modes)`—sets them, after all output has been shown.
///
/// <https://man7.org/linux/man-pages/man3/termios.3.html>
#[doc(alias = "tcsetattr")]
pub fn set_terminal_modes(terminal: impl AsFd, modes: &TerminalModes) -> Result<()> {
    use rustix::termios::{OptionalActions, tcsetattr};
    tcsetattr(terminal, OptionalActions::Drain, &modes.0).map_err(errno)
}

impl TerminalModes {
    /// `cfmakeraw(modes)`—every byte as it is, at once, without echo and without keys that mean a signal.
    #[doc(alias = "cfmakeraw")]
    pub fn raw(mut self) -> TerminalModes {
        self.0.make_raw();
        self
    }
}

/// Calls that take a process and answer with one. Not by rustix, which does not expect the 0 of a stranger.
fn ask(number: i64, pid: Option<Pid>) -> Result<Pid> {
    let pid = pid.map_or(0, Pid::get);
    // SAFETY: the callers' calls take one number only.
    let answer = unsafe { raw::call(number, [pid as usize, 0, 0, 0, 0, 0]) }?;
    Pid::new(answer as i32).ok_or(doula_model::plan::Errno::ENXIO)
}

/// Our word for rustix's. Both are positive by construction.
fn own(pid: rx::Pid) -> Pid {
    Pid::new(pid.as_raw_nonzero().get()).unwrap_or(Pid::INIT)
}

/// Rustix's word for ours.
pub(crate) fn theirs(pid: Pid) -> rx::Pid {
    rx::Pid::from_raw(pid.get()).unwrap_or(rx::Pid::INIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_pseudo_terminal_has_the_size_it_was_given_and_is_not_ours() {
        let (master, slave) = pseudo_terminal().expect("/dev/ptmx");
        set_window_size(&master, 40, 132).expect("TIOCSWINSZ");
        assert_eq!(window_size(&slave), Ok((40, 132)));
        assert!(is_terminal(&slave));
        assert!(foreground(&slave).is_err(), "not our controlling terminal");
    }

    #[test]
    fn we_know_who_we_are() {
        assert_eq!(pid().get() as u32, std::process::id());
        assert_eq!(getsid(Some(pid())), getsid(None));
        assert_eq!(getpgid(Some(pid())), getpgid(None));
    }

    /// As in a container: whoever started us leads our session and has no number in our namespace.
    #[test]
    fn a_leader_outside_of_our_namespace_is_enxio_and_no_number() {
        let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
        let fields = stat.rsplit_once(')').expect("a name in brackets").1;
        let numbers: Vec<i32> =
            fields.split_whitespace().skip(2).map_while(|word| word.parse().ok()).collect();
        let told = |number: i32| Pid::new(number).ok_or(doula_model::plan::Errno::ENXIO);
        assert_eq!((getpgid(None), getsid(None)), (told(numbers[0]), told(numbers[1])), "{stat}");
    }
}
