//! Descriptors and handles as bare numbers: pipes, files, pidfds, execve(2). Who uses these has no descriptor by an owning type,
//! for any number may be closed.

use crate::{Result, raw};
use alloc::vec::Vec;
use core::ffi::CStr;
use doula_model::plan::Errno;

fn call(number: i64, args: [usize; 3]) -> Result<i32> {
    // SAFETY: each caller below passes numbers, or pointers to what outlives the call, as the call expects.
    unsafe { raw::call(number, [args[0], args[1], args[2], 0, 0, 0]) }.map(|value| value as i32)
}

/// `pipe2(fds, O_CLOEXEC or 0)`: for reading, for writing.
///
/// <https://man7.org/linux/man-pages/man2/pipe.2.html>
pub fn pipe(cloexec: bool) -> Result<(i32, i32)> {
    let mut fds = [0_i32; 2];
    let flags = if cloexec { libc::O_CLOEXEC as usize } else { 0 };
    call(libc::SYS_pipe2, [(&raw mut fds) as usize, flags, 0])?;
    Ok((fds[0], fds[1]))
}

/// `read(fd, buffer, most)`.
///
/// <https://man7.org/linux/man-pages/man2/read.2.html>
pub fn read(fd: i32, most: usize) -> Result<Vec<u8>> {
    let mut bytes = alloc::vec![0_u8; most];
    let length = call(libc::SYS_read, [fd as usize, bytes.as_mut_ptr() as usize, most])?;
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// `write(fd, bytes)`: how many were written.
///
/// <https://man7.org/linux/man-pages/man2/write.2.html>
pub fn write(fd: i32, bytes: &[u8]) -> Result<i32> {
    call(libc::SYS_write, [fd as usize, bytes.as_ptr() as usize, bytes.len()])
}

/// `open(path, O_RDONLY or O_WRONLY)`.
///
/// <https://man7.org/linux/man-pages/man2/open.2.html>
pub fn open(path: &CStr, for_writing: bool) -> Result<i32> {
    let flags = if for_writing { libc::O_WRONLY } else { libc::O_RDONLY };
    call(libc::SYS_openat, [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags as usize])
}

/// `close(fd)`.
///
/// <https://man7.org/linux/man-pages/man2/close.2.html>
pub fn close(fd: i32) -> Result<()> {
    call(libc::SYS_close, [fd as usize, 0, 0]).map(drop)
}

/// `dup(fd)`.
///
/// <https://man7.org/linux/man-pages/man2/dup.2.html>
pub fn dup(fd: i32) -> Result<i32> {
    call(libc::SYS_dup, [fd as usize, 0, 0])
}

/// `dup2(fd, onto)`, by dup3(2) where both are not the same.
///
/// <https://man7.org/linux/man-pages/man2/dup.2.html>
pub fn dup2(fd: i32, onto: i32) -> Result<i32> {
    if fd == onto {
        return call(libc::SYS_fcntl, [fd as usize, libc::F_GETFD as usize, 0]).map(|_| fd);
    }
    call(libc::SYS_dup3, [fd as usize, onto as usize, 0])
}

/// `fcntl(fd, F_SETFD, FD_CLOEXEC or 0)`.
///
/// <https://man7.org/linux/man-pages/man2/fcntl.2.html>
pub fn set_cloexec(fd: i32, on: bool) -> Result<()> {
    call(libc::SYS_fcntl, [fd as usize, libc::F_SETFD as usize, usize::from(on)]).map(drop)
}

/// `fcntl(fd, F_SETFL, …)` with or without `O_NONBLOCK`.
///
/// <https://man7.org/linux/man-pages/man2/fcntl.2.html>
pub fn set_nonblocking(fd: i32, on: bool) -> Result<()> {
    let flags = call(libc::SYS_fcntl, [fd as usize, libc::F_GETFL as usize, 0])?;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    call(libc::SYS_fcntl, [fd as usize, libc::F_SETFL as usize, flags as usize]).map(drop)
}

/// `socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)`, bound to a free abstract address (autobind), `listen(fd, backlog)`.
///
/// <https://man7.org/linux/man-pages/man2/listen.2.html>
pub fn listen(backlog: u32) -> Result<i32> {
    let fd = stream(0)?;
    let family = libc::AF_UNIX as libc::sa_family_t;
    let length = size_of::<libc::sa_family_t>();
    let bound = call(libc::SYS_bind, [fd as usize, (&raw const family) as usize, length])
        .and_then(|_| call(libc::SYS_listen, [fd as usize, backlog as usize, 0]));
    bound.map(|_| fd).inspect_err(|_| {
        let _ = close(fd);
    })
}

/// `socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)`.
///
/// <https://man7.org/linux/man-pages/man2/socketpair.2.html>
pub fn socketpair() -> Result<(i32, i32)> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    let mut both = [0_i32; 2];
    let args = [libc::AF_UNIX as usize, kind as usize, 0, both.as_mut_ptr() as usize, 0, 0];
    // SAFETY: the kernel writes two numbers, for which there is room.
    unsafe { raw::call(libc::SYS_socketpair, args) }?;
    Ok((both[0], both[1]))
}

fn stream(flags: i32) -> Result<i32> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    call(libc::SYS_socket, [libc::AF_UNIX as usize, kind as usize, 0])
}

/// `connect` of a new socket, that does not wait, to the address of this one; then it is closed.
///
/// <https://man7.org/linux/man-pages/man2/connect.2.html>
pub fn connect(fd: i32) -> Result<()> {
    let mut address = [0_u8; size_of::<libc::sockaddr_un>()];
    let mut length = address.len() as libc::socklen_t;
    call(libc::SYS_getsockname, [fd as usize, address.as_mut_ptr() as usize, (&raw mut length) as usize])?;
    let client = stream(libc::SOCK_NONBLOCK)?;
    let length = (length as usize).min(address.len());
    let connected = call(libc::SYS_connect, [client as usize, address.as_ptr() as usize, length]);
    close(client)?;
    connected.map(drop)
}

/// `accept4(fd, NULL, NULL, SOCK_CLOEXEC)`.
///
/// <https://man7.org/linux/man-pages/man2/accept.2.html>
pub fn accept(fd: i32) -> Result<i32> {
    // SAFETY: nobody asks who connects.
    unsafe { raw::call(libc::SYS_accept4, [fd as usize, 0, 0, libc::SOCK_CLOEXEC as usize, 0, 0]) }
        .map(|fd| fd as i32)
}

/// `close_range(from, to, 0)`.
///
/// <https://man7.org/linux/man-pages/man2/close_range.2.html>
pub fn close_range(from: i32, to: i32) -> Result<()> {
    call(libc::SYS_close_range, [from as usize, to as usize, 0]).map(drop)
}

/// `pidfd_open(pid, 0)`, of any number.
///
/// <https://man7.org/linux/man-pages/man2/pidfd_open.2.html>
pub fn pidfd_open(pid: i32) -> Result<i32> {
    call(libc::SYS_pidfd_open, [pid as usize, 0, 0])
}

/// `pidfd_send_signal(fd, signal, NULL, 0)`, also signal 0 and numbers that are none.
///
/// <https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html>
pub fn pidfd_send(fd: i32, signal: i32) -> Result<()> {
    // SAFETY: the information about the signal is left to the kernel (null).
    unsafe { raw::call(libc::SYS_pidfd_send_signal, [fd as usize, signal as usize, 0, 0, 0, 0]) }.map(drop)
}

/// `poll({fd, POLLIN}, 1, -1)`: sleeps until something can be read, or for ever. EBADF when there is no such descriptor.
///
/// <https://man7.org/linux/man-pages/man2/poll.2.html>
pub fn poll(fd: i32) -> Result<i32> {
    let mut one = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, which outlives the call; no time limit, no mask.
    let ready = unsafe { raw::call(libc::SYS_ppoll, [(&raw mut one) as usize, 1, 0, 0, 0, 0]) }?;
    if one.revents & libc::POLLNVAL != 0 { Err(Errno::EBADF) } else { Ok(ready as i32) }
}

/// `ioctl(fd, PIDFD_GET_INFO, PIDFD_INFO_EXIT)`: the wait status of who was reaped.
pub fn pidfd_end(fd: i32) -> Result<i32> {
    crate::pidfd::exit_word(fd)
}

/// `execve(path, args, env)`; comes back with an error only.
///
/// <https://man7.org/linux/man-pages/man2/execve.2.html>
pub fn execve(path: &CStr, args: &[&CStr], env: &[&CStr]) -> Errno {
    let pointers = |list: &[&CStr]| -> Vec<*const core::ffi::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([core::ptr::null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    let done =
        call(libc::SYS_execve, [path.as_ptr() as usize, args.as_ptr() as usize, env.as_ptr() as usize]);
    done.err().unwrap_or(Errno::EINVAL)
}
