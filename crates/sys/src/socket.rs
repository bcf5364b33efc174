//! Unix sockets as the supervisor needs them: messages with fds and proven senders.
//!
//! Opening and listening is left to the standard library, but for what it cannot say.

use crate::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use crate::{Result, errno, fd, raw};
use alloc::vec::Vec;
use core::mem::{size_of, zeroed};
use doula_model::id::Pid;

/// The most fds that come with one message (`SCM_MAX_FD` of the kernel).
pub const MAX_FDS: usize = 253;

/// What kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream of bytes.
    Stream,
    /// Whole messages without a connection.
    Datagram,
    /// Whole messages over a connection.
    Packet,
}

/// `socketpair(AF_UNIX, kind | SOCK_CLOEXEC)`—two sockets that speak with each other.
///
/// <https://man7.org/linux/man-pages/man2/socketpair.2.html>
#[doc(alias = "socketpair")]
pub fn pair(kind: Kind) -> Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let kind = match kind {
        Kind::Stream => SocketType::STREAM,
        Kind::Datagram => SocketType::DGRAM,
        Kind::Packet => SocketType::SEQPACKET,
    };
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).map_err(errno)
}

/// `socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)`—a stream socket without a name.
///
/// <https://man7.org/linux/man-pages/man2/socket.2.html>
#[doc(alias = "socket")]
pub fn unix_stream() -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).map_err(errno)
}

/// `socket(AF_INET or AF_INET6, SOCK_STREAM or SOCK_DGRAM | SOCK_CLOEXEC)`, `setsockopt(SO_REUSEPORT)`, `bind(address)`—one of
/// several sockets at the same address, among which the kernel spreads what arrives. EADDRINUSE if one without that option has it.
/// A stream socket also gets `SO_REUSEADDR`, as the standard library's, and does not listen yet.
///
/// <https://man7.org/linux/man-pages/man7/socket.7.html>
#[doc(alias = "SO_REUSEPORT")]
pub fn bind_among_others(kind: Kind, address: core::net::SocketAddr) -> Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let stream = kind == Kind::Stream;
    let kind = if stream { SocketType::STREAM } else { SocketType::DGRAM };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).map_err(errno)?;
    if stream {
        sockopt::set_socket_reuseaddr(&socket, true).map_err(errno)?;
    }
    sockopt::set_socket_reuseport(&socket, true).map_err(errno)?;
    rustix::net::bind(&socket, &address).map_err(errno)?;
    Ok(socket)
}

/// `getsockopt(TCP_INFO)`, `tcpi_unacked`—how many connections wait to be accepted at a listening TCP socket. EINVAL, ENOPROTOOPT or
/// EOPNOTSUPP for another kind of socket.
///
/// <https://man7.org/linux/man-pages/man7/tcp.7.html>
#[doc(alias = "TCP_INFO")]
pub fn tcp_waiting(socket: impl AsFd) -> Result<u32> {
    // SAFETY: `tcp_info` is numbers only, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut size = size_of::<libc::tcp_info>() as u32;
    let (at, size_at) = (&raw mut info as usize, &raw mut size as usize);
    let socket = socket.as_fd().as_raw_fd() as usize;
    let args = [socket, libc::IPPROTO_TCP as usize, libc::TCP_INFO as usize, at, size_at, 0];
    // SAFETY: the kernel writes at most `size` bytes to `info`.
    unsafe { raw::call(libc::SYS_getsockopt, args) }?;
    Ok(info.tcpi_unacked)
}

/// `ioctl(socket, SIOCOUTQ)`—whether the other end of a pair of Unix sockets has not read all that was sent.
///
/// <https://man7.org/linux/man-pages/man7/unix.7.html>
#[doc(alias = "SIOCOUTQ")]
pub fn is_unread(socket: impl AsFd) -> Result<bool> {
    let mut room: libc::c_int = 0;
    let socket = socket.as_fd().as_raw_fd() as usize;
    let args = [socket, libc::TIOCOUTQ as usize, &raw mut room as usize, 0, 0, 0];
    // SAFETY: the kernel writes one number to what the last argument points to.
    unsafe { raw::call(libc::SYS_ioctl, args) }?;
    Ok(room > 0)
}

/// `bind(socket, path)`—makes a socket file. Nobody can connect to it before [`listen`]. EADDRINUSE if the
/// file exists, ENAMETOOLONG if the path has more than 107 bytes.
///
/// <https://man7.org/linux/man-pages/man2/bind.2.html>
#[doc(alias = "bind")]
pub fn bind_unix(socket: impl AsFd, path: &core::ffi::CStr) -> Result<()> {
    let address = rustix::net::SocketAddrUnix::new(path).map_err(errno)?;
    rustix::net::bind(socket, &address).map_err(errno)
}

/// `connect(socket, path)`—connects to who listens at this file. EAGAIN for a socket that does not wait, when the queue of that
/// one is full; ECONNREFUSED if nobody listens.
///
/// <https://man7.org/linux/man-pages/man2/connect.2.html>
#[doc(alias = "connect")]
pub fn connect_unix(socket: impl AsFd, path: &core::ffi::CStr) -> Result<()> {
    let address = rustix::net::SocketAddrUnix::new(path).map_err(errno)?;
    rustix::net::connect(socket, &address).map_err(errno)
}

/// `listen(socket, backlog)`—listens, or changes the length of the accept queue of a socket that listens.
///
/// <https://man7.org/linux/man-pages/man2/listen.2.html>
pub fn listen(socket: impl AsFd, backlog: u32) -> Result<()> {
    rustix::net::listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(errno)
}

/// `getsockopt(SO_ACCEPTCONN)`—whether a socket listens.
///
/// <https://man7.org/linux/man-pages/man7/socket.7.html>
#[doc(alias = "SO_ACCEPTCONN")]
pub fn listens(socket: impl AsFd) -> Result<bool> {
    rustix::net::sockopt::socket_acceptconn(socket).map_err(errno)
}

/// Which ways of a connection end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// To us: reading gives the end (`SHUT_RD`).
    In,
    /// From us: the other side reads what is under way, and then the end (`SHUT_WR`).
    Out,
    /// Both (`SHUT_RDWR`).
    Both,
}

/// `shutdown(socket, how)`—ends a connection, or the listening, for everybody who has this open socket, and wakes who waits
/// on it: reading gives the end, accepting EINVAL.
///
/// <https://man7.org/linux/man-pages/man2/shutdown.2.html>
#[doc(alias = "shutdown")]
pub fn shut_down(socket: impl AsFd, ways: Ways) -> Result<()> {
    use rustix::net::{Shutdown, shutdown};
    let how = match ways {
        Ways::In => Shutdown::Read,
        Ways::Out => Shutdown::Write,
        Ways::Both => Shutdown::Both,
    };
    shutdown(socket, how).map_err(errno)
}

/// `setsockopt(SO_PASSCRED)`—every message tells who sent it, proven by the kernel.
///
/// <https://man7.org/linux/man-pages/man7/unix.7.html>
#[doc(alias = "SO_PASSCRED")]
pub fn set_pass_credentials(socket: impl AsFd, on: bool) -> Result<()> {
    rustix::net::sockopt::set_socket_passcred(socket, on).map_err(errno)
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number; `None` when it lives outside of our PID namespace.
    pub pid: Option<Pid>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl From<libc::ucred> for Peer {
    fn from(raw: libc::ucred) -> Peer {
        Peer { pid: Pid::new(raw.pid), uid: raw.uid, gid: raw.gid }
    }
}

/// `getsockopt(SO_PEERCRED)`—who connected to the other end (who *connected*: it may have passed the socket
/// on since).
///
/// <https://man7.org/linux/man-pages/man7/unix.7.html>
#[doc(alias = "SO_PEERCRED")]
pub fn peer(socket: impl AsFd) -> Result<Peer> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut size = size_of::<libc::ucred>() as u32;
    let (at, size_at) = (&raw mut peer as usize, &raw mut size as usize);
    let socket = socket.as_fd().as_raw_fd() as usize;
    let args = [socket, libc::SOL_SOCKET as usize, libc::SO_PEERCRED as usize, at, size_at, 0];
    // SAFETY: the kernel writes at most `size` bytes to `peer`.
    unsafe { raw::call(libc::SYS_getsockopt, args) }?;
    Ok(peer.into())
}

/// A message that arrived.
#[derive(Debug)]
pub struct Message {
    /// How many bytes of the buffer it fills; 0 at the end of a stream.
    pub length: usize,
    /// Who sent it, if the socket asks for that ([`set_pass_credentials`]).
    pub sender: Option<Peer>,
    /// The fds that came with it, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// It was longer than the buffer, and the rest is lost; or fds were lost (the limit of open files).
    pub truncated: bool,
}

/// Room for the fds and the credentials of one message.
#[repr(C, align(8))]
struct Control([u8; 2048]);

const _: () = assert!(size_of::<Control>() >= 16 + 4 * MAX_FDS + 16 + 16 + 64);

/// `recvmsg(socket, MSG_CMSG_CLOEXEC | MSG_DONTWAIT)`—the next message. EAGAIN when there is none.
///
/// Every fd that comes with it is owned by the result, so that dropping the message closes them.
///
/// <https://man7.org/linux/man-pages/man2/recv.2.html>
#[doc(alias = "recvmsg")]
pub fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<Message> {
    receive_with(socket.as_fd(), buffer, 0)
}

/// The same with `MSG_PEEK`: the message stays where it is, and comes once more. Its fds are duplicates.
///
/// <https://man7.org/linux/man-pages/man2/recv.2.html>
#[doc(alias = "MSG_PEEK")]
pub fn peek(socket: impl AsFd, buffer: &mut [u8]) -> Result<Message> {
    receive_with(socket.as_fd(), buffer, libc::MSG_PEEK)
}

fn receive_with(socket: BorrowedFd<'_>, buffer: &mut [u8], more: i32) -> Result<Message> {
    let mut control = Control([0; 2048]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: `msghdr` is numbers and pointers only, for which zero is a value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_iov = &mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT | more;
    let args = [socket.as_raw_fd() as usize, &raw mut header as usize, flags as usize, 0, 0, 0];
    // SAFETY: the header names one buffer and one control area with their true sizes; both outlive the call.
    let length = unsafe { raw::call(libc::SYS_recvmsg, args) }?;
    let filled = (header.msg_controllen as usize).min(control.0.len());
    let (sender, fds) = unpack(&control.0[..filled]);
    let truncated = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    Ok(Message { length, sender, fds, truncated })
}

/// The size of `struct cmsghdr`: a length in 8 bytes, a level and a type in 4 each.
const HEADER: usize = 16;

/// Takes credentials and fds out of the control area that the kernel filled.
fn unpack(mut control: &[u8]) -> (Option<Peer>, Vec<OwnedFd>) {
    let (mut sender, mut fds) = (None, Vec::new());
    while let Some((header, _)) = control.split_at_checked(HEADER) {
        let (length, level, kind) = (number(header, 0), number(header, 8), number(header, 12));
        let Some(data) = control.get(HEADER..length as usize) else { break };
        match (level as i32, kind as i32) {
            (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                fds.extend(data.chunks_exact(4).map(|fd| fd::adopt(number(fd, 0) as usize)));
            }
            (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) if data.len() >= 12 => {
                let (pid, uid, gid) = (number(data, 0) as i32, number(data, 4), number(data, 8));
                sender = Some(Peer { pid: Pid::new(pid), uid, gid });
            }
            _ => {}
        }
        control = control.get((length as usize).next_multiple_of(8)..).unwrap_or_default();
    }
    (sender, fds)
}

/// The 4-byte number at this place.
fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// `sendmsg(socket, MSG_NOSIGNAL | MSG_DONTWAIT)`—sends bytes, and with them duplicates of these fds (at most
/// [`MAX_FDS`]); returns how many bytes were taken. EAGAIN when the other end does not keep up, EPIPE or
/// ECONNREFUSED when it is gone.
///
/// <https://man7.org/linux/man-pages/man2/send.2.html>
#[doc(alias = "sendmsg")]
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[crate::fd::BorrowedFd<'_>]) -> Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let mut space = [core::mem::MaybeUninit::uninit(); size_of::<Control>()];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(doula_model::plan::Errno::EINVAL);
    }
    let parts = [rustix::io::IoSlice::new(bytes)];
    sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map_err(errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::BorrowedFd;
    use doula_model::plan::Errno;

    #[test]
    fn what_was_sent_is_unread_until_all_of_it_was_taken() {
        let (ours, theirs) = pair(Kind::Stream).expect("socketpair");
        assert_eq!(is_unread(&ours), Ok(false));
        assert_eq!(send(&ours, b"task", &[]), Ok(4));
        assert_eq!(is_unread(&ours), Ok(true));
        let mut room = [0; 8];
        assert_eq!(receive(&theirs, &mut room).map(|message| message.length), Ok(4));
        assert_eq!(is_unread(&ours), Ok(false));
    }

    #[test]
    fn a_message_brings_its_fds_and_its_proven_sender() {
        let (ours, theirs) = pair(Kind::Datagram).expect("socketpair");
        set_pass_credentials(&ours, true).expect("SO_PASSCRED");
        let (reader, writer) = fd::pipe().expect("pipe");
        assert_eq!(send(&theirs, b"FDSTORE=1", &[reader.as_fd(), writer.as_fd()]), Ok(9));
        let mut buffer = [0; 64];
        let message = receive(&ours, &mut buffer).expect("a message");
        assert_eq!(&buffer[..message.length], b"FDSTORE=1");
        assert_eq!(message.sender.and_then(|peer| peer.pid), Some(crate::group::pid()));
        assert_eq!(message.fds.len(), 2);
        fd::write(&message.fds[1], b"x").expect("write");
        assert_eq!(fd::read(&reader, &mut [0; 2]), Ok(1));
        assert_eq!(receive(&ours, &mut buffer).map(drop), Err(Errno::EAGAIN));
    }

    #[test]
    fn as_many_fds_as_the_kernel_allows_arrive_and_a_long_message_is_said_to_be_cut() {
        let (ours, theirs) = pair(Kind::Packet).expect("socketpair");
        let (reader, _writer) = fd::pipe().expect("pipe");
        let many: Vec<BorrowedFd<'_>> = (0..MAX_FDS).map(|_| reader.as_fd()).collect();
        send(&theirs, b"long text", &many).expect("send");
        let message = receive(&ours, &mut [0; 4]).expect("a message");
        assert_eq!((message.length, message.fds.len(), message.truncated), (4, MAX_FDS, true));
    }

    #[test]
    fn a_connected_peer_is_known() {
        let (ours, theirs) = pair(Kind::Stream).expect("socketpair");
        let peer = peer(&ours).expect("SO_PEERCRED");
        assert_eq!((peer.pid, peer.uid), (Some(crate::group::pid()), crate::group::users().1));
        drop(theirs);
        assert_eq!(send(&ours, b"x", &[]), Err(Errno::EPIPE));
    }
}
