//! Terminals by bare numbers of descriptors: pairs, whose controlling terminal one is, and who is in the foreground.

use super::files;
use crate::{Result, raw};
use alloc::vec::Vec;
use doula_model::plan::Errno;

/// How the slave is opened: for both directions.
const BOTH: usize = libc::O_RDWR as usize;

/// `ioctl(fd, request, value)` with a number.
fn plain(fd: i32, request: u64, value: usize) -> Result<i32> {
    // SAFETY: each caller passes a request that takes a number, or nothing.
    unsafe { raw::call(libc::SYS_ioctl, [fd as usize, request as usize, value, 0, 0, 0]) }.map(|it| it as i32)
}

/// `ioctl(fd, request, &number)`: what the kernel reads or writes there.
fn with_number(fd: i32, request: u64, mut number: i32) -> Result<i32> {
    let args = [fd as usize, request as usize, (&raw mut number) as usize, 0, 0, 0];
    // SAFETY: each caller passes a request about one number, which outlives the call.
    unsafe { raw::call(libc::SYS_ioctl, args) }?;
    Ok(number)
}

/// openpty(3) with cfmakeraw(3): master and slave, nobody's controlling terminal.
///
/// <https://man7.org/linux/man-pages/man3/openpty.3.html>
pub fn pair() -> Result<(i32, i32)> {
    let flags = BOTH | libc::O_NOCTTY as usize;
    let args = [libc::AT_FDCWD as usize, c"/dev/ptmx".as_ptr() as usize, flags, 0, 0, 0];
    // SAFETY: the path outlives the call.
    let master = unsafe { raw::call(libc::SYS_openat, args) }? as i32;
    let slave = with_number(master, libc::TIOCSPTLCK, 0)
        .and_then(|_| plain(master, libc::TIOCGPTPEER, flags))
        .and_then(|slave| make_raw(slave).map(|()| slave));
    if slave.is_err() {
        files::close(master)?;
    }
    Ok((master, slave?))
}

/// `open("/dev/tty", O_RDWR)`: the controlling terminal; ENXIO without one.
///
/// <https://man7.org/linux/man-pages/man4/tty.4.html>
pub fn open_own() -> Result<i32> {
    let args = [libc::AT_FDCWD as usize, c"/dev/tty".as_ptr() as usize, BOTH, 0, 0, 0];
    // SAFETY: the path outlives the call.
    unsafe { raw::call(libc::SYS_openat, args) }.map(|fd| fd as i32)
}

/// `ioctl(master, TIOCGPTPEER, O_RDWR)`: another open file of the slave.
///
/// <https://man7.org/linux/man-pages/man2/TIOCGPTPEER.2const.html>
pub fn open_slave(master: i32) -> Result<i32> {
    plain(master, libc::TIOCGPTPEER, BOTH)
}

/// `ioctl(fd, TIOCSCTTY, steal)`.
///
/// <https://man7.org/linux/man-pages/man2/TIOCSCTTY.2const.html>
pub fn take(fd: i32, steal: bool) -> Result<()> {
    plain(fd, libc::TIOCSCTTY, usize::from(steal)).map(drop)
}

/// `ioctl(fd, TIOCNOTTY)`.
///
/// <https://man7.org/linux/man-pages/man2/TIOCNOTTY.2const.html>
pub fn give_up(fd: i32) -> Result<()> {
    plain(fd, libc::TIOCNOTTY, 0).map(drop)
}

/// `tcsetpgrp(fd, group)`.
///
/// <https://man7.org/linux/man-pages/man3/tcsetpgrp.3.html>
pub fn set_foreground(fd: i32, group: i32) -> Result<()> {
    with_number(fd, libc::TIOCSPGRP, group).map(drop)
}

/// `tcgetpgrp(fd)`: 0 when nobody is in the foreground.
///
/// <https://man7.org/linux/man-pages/man3/tcgetpgrp.3.html>
pub fn foreground(fd: i32) -> Result<i32> {
    with_number(fd, libc::TIOCGPGRP, 0)
}

/// `tcgetsid(fd)`.
///
/// <https://man7.org/linux/man-pages/man3/tcgetsid.3.html>
pub fn session(fd: i32) -> Result<i32> {
    with_number(fd, libc::TIOCGSID, 0)
}

/// `ioctl(master, TIOCSIG, signal)`: as if the key of this signal was pressed.
pub fn press_key(master: i32, signal: i32) -> Result<()> {
    plain(master, libc::TIOCSIG, signal as usize).map(drop)
}

/// `tcsetattr(fd, TCSANOW, …)` with `TOSTOP` or without.
///
/// <https://man7.org/linux/man-pages/man3/termios.3.html>
pub fn stop_writers(fd: i32, on: bool) -> Result<()> {
    change(fd, |settings| {
        settings.c_lflag = settings.c_lflag & !libc::TOSTOP | if on { libc::TOSTOP } else { 0 };
    })
}

fn make_raw(fd: i32) -> Result<()> {
    change(fd, |settings| {
        // SAFETY: changes the fields of what it is given.
        unsafe { libc::cfmakeraw(settings) }
    })
}

fn change(fd: i32, change: impl FnOnce(&mut libc::termios)) -> Result<()> {
    // SAFETY: `termios` is numbers only, for which zero is a value.
    let mut settings: libc::termios = unsafe { core::mem::zeroed() };
    // SAFETY: the library writes a whole `termios`, which outlives the call.
    if unsafe { libc::tcgetattr(fd, &raw mut settings) } != 0 {
        return Err(crate::fork::copy::last_error());
    }
    change(&mut settings);
    // SAFETY: the library reads a whole `termios`, which outlives the call.
    match unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const settings) } {
        0 => Ok(()),
        _ => Err(crate::fork::copy::last_error()),
    }
}

/// Reads what has been written to the other end, also what a worker of the kernel has yet to carry: poll(2) waits for that when
/// nothing else is there. `first` is what read(2) gave.
pub fn read_on(fd: i32, mut first: Vec<u8>, most: usize) -> Vec<u8> {
    // SAFETY: takes a number.
    let terminal = unsafe { libc::isatty(fd) } == 1;
    while terminal && !first.is_empty() && first.len() < most {
        let mut end = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
        if !poll_now(&mut end) || end[0].revents & libc::POLLIN == 0 {
            break;
        }
        match files::read(fd, most - first.len()) {
            Ok(more) if !more.is_empty() => first.extend(more),
            _ => break,
        }
    }
    first
}

/// Waits until what was written to a master has arrived: a worker of the kernel carries it, and poll(2) of the slave waits for
/// that. Nothing is done where nobody has the slave open, for to open it would be seen.
pub fn let_arrive(master: i32) {
    let mut ends = [libc::pollfd { fd: master, events: 0, revents: 0 }];
    if poll_now(&mut ends) && ends[0].revents & libc::POLLHUP != 0 {
        return;
    }
    let flags = BOTH | libc::O_NOCTTY as usize;
    let Ok(slave) = plain(master, libc::TIOCGPTPEER, flags) else { return };
    poll_now(&mut [libc::pollfd { fd: slave, events: libc::POLLIN, revents: 0 }]);
    let closed: core::result::Result<(), Errno> = files::close(slave);
    debug_assert!(closed.is_ok(), "it was just opened");
}

fn poll_now(ends: &mut [libc::pollfd; 1]) -> bool {
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let args = [ends.as_mut_ptr() as usize, 1, (&raw const now) as usize, 0, 0, 0];
    // SAFETY: one entry and a time, which outlive the call; no mask.
    unsafe { raw::call(libc::SYS_ppoll, args) }.is_ok_and(|ready| ready > 0)
}
