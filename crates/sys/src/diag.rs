//! The other end of a Unix socket, and how many wait at one that listens, as the kernel tells those who ask by sock_diag(7).

use crate::fd::{AsFd, AsRawFd, OwnedFd};
use crate::{Result, errno, fd, raw, socket};
use doula_model::plan::Errno;

/// `NETLINK_SOCK_DIAG`.
const SOCK_DIAG: usize = 4;
/// The type of the question and of its answers (`SOCK_DIAG_BY_FAMILY`).
const BY_FAMILY: u16 = 20;
/// The type of an error, and of an acknowledgement.
const ERROR: u16 = libc::NLMSG_ERROR as u16;
/// Asks for the inode of the peer (`UDIAG_SHOW_PEER`).
const SHOW_PEER: u32 = 4;
/// The attribute with that inode (`UNIX_DIAG_PEER`).
const PEER: u16 = 2;
/// Asks for the lengths of the queues (`UDIAG_SHOW_RQLEN`).
const SHOW_QUEUES: u32 = 0x10;
/// The attribute with them (`UNIX_DIAG_RQLEN`): the first word is the number of connections that wait.
const QUEUES: u16 = 4;
/// The lengths of `struct nlmsghdr`, and of it with `struct unix_diag_msg` behind.
const HEAD: usize = 16;
const ANSWER: usize = HEAD + 16;

/// The socket of the kernel that answers.
#[derive(Debug)]
pub struct UnixPeers(OwnedFd);

impl UnixPeers {
    /// `socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)`—EPROTONOSUPPORT in a kernel without it.
    ///
    /// <https://man7.org/linux/man-pages/man7/sock_diag.7.html>
    pub fn open() -> Result<UnixPeers> {
        let kind = (libc::SOCK_RAW | libc::SOCK_CLOEXEC) as usize;
        // SAFETY: socket takes numbers only.
        let fd =
            unsafe { raw::call(libc::SYS_socket, [libc::AF_NETLINK as usize, kind, SOCK_DIAG, 0, 0, 0]) }?;
        Ok(UnixPeers(fd::adopt(fd)))
    }

    /// Whether the kernel tells of Unix sockets: it is asked for the ends of a pair of our own. Where `unix_diag` is a module that
    /// cannot be loaded, the socket opens, and every question has the answer ENOENT.
    #[must_use]
    pub fn work() -> bool {
        let ask = || -> Result<bool> {
            let (one, other) = socket::pair(socket::Kind::Stream)?;
            Ok(UnixPeers::open()?.peer(inode(&one)?)? == Some(inode(&other)?))
        };
        ask().unwrap_or(false)
    }

    /// The inode of the socket at the other end of the one with this inode, in our network namespace; `None` when it has none.
    /// ENOENT when there is no such socket.
    pub fn peer(&self, inode: u32) -> Result<Option<u32>> {
        self.ask(inode, SHOW_PEER, PEER).map(|found| found.filter(|inode| *inode != 0))
    }

    /// How many connections wait at the listening socket with this inode, in our network namespace. ENOENT when there is no
    /// such socket.
    pub fn waiting(&self, inode: u32) -> Result<u32> {
        self.ask(inode, SHOW_QUEUES, QUEUES).map(Option::unwrap_or_default)
    }

    /// The first word of this attribute of a socket.
    fn ask(&self, inode: u32, show: u32, attribute: u16) -> Result<Option<u32>> {
        let question = question(inode, show);
        let socket = self.0.as_fd().as_raw_fd() as usize;
        let (at, length) = (question.as_ptr() as usize, question.len());
        // SAFETY: the bytes live during the call; no address is the kernel's.
        unsafe { raw::call(libc::SYS_sendto, [socket, at, length, 0, 0, 0]) }?;
        let mut buffer = [0; 512];
        let length = fd::read(&self.0, &mut buffer)?;
        answer(&buffer[..length], attribute)
    }
}

/// `fstat(socket)`—the number by which sock_diag(7) and `/proc` know a socket.
///
/// <https://man7.org/linux/man-pages/man2/fstat.2.html>
pub fn inode(socket: impl AsFd) -> Result<u32> {
    let stat = rustix::fs::fstat(socket).map_err(errno)?;
    // Inodes of sockets are counted in 32 bits (get_next_ino of fs/inode.c).
    u32::try_from(stat.st_ino).map_err(|_| Errno::EINVAL)
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn question(inode: u32, show: u32) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[0..4].copy_from_slice(&40_u32.to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    bytes[HEAD] = libc::AF_UNIX as u8;
    // All states, this inode, and any cookie.
    bytes[20..24].fill(0xff);
    bytes[24..28].copy_from_slice(&inode.to_ne_bytes());
    bytes[28..32].copy_from_slice(&show.to_ne_bytes());
    bytes[32..40].fill(0xff);
    bytes
}

fn answer(bytes: &[u8], attribute: u16) -> Result<Option<u32>> {
    let short = |at: usize| bytes.get(at..at + 2).map(|two| u16::from_ne_bytes([two[0], two[1]]));
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    match short(4) {
        Some(ERROR) => {
            return Err(word(HEAD).map_or(Errno::EINVAL, |errno| Errno((errno as i32).wrapping_neg())));
        }
        Some(BY_FAMILY) => {}
        _ => return Err(Errno::EINVAL),
    }
    let mut at = ANSWER;
    while let (Some(length), Some(kind)) = (short(at), short(at + 2)) {
        if kind == attribute {
            return Ok(word(at + 4));
        }
        at += usize::from(length.max(4)).next_multiple_of(4);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd as _;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn the_two_ends_of_a_pair_are_each_others_peer_where_it_is_said_to_work() {
        let (one, other) = socket::pair(socket::Kind::Stream).expect("a pair");
        let (one, other) = (inode(&one).expect("fstat"), inode(&other).expect("fstat"));
        match UnixPeers::open().and_then(|peers| Ok((peers.peer(one)?, peers.peer(other)?))) {
            Ok(found) => assert_eq!(found, (Some(other), Some(one))),
            Err(errno) => std::println!("skipped: no sock_diag for Unix sockets here ({errno})"),
        }
        let told = UnixPeers::open().is_ok_and(|peers| peers.peer(one).is_ok());
        assert_eq!(UnixPeers::work(), told);
    }

    #[test]
    fn connections_that_nobody_accepts_are_counted() {
        let path = std::env::temp_dir().join(std::format!("doula-diag-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("a socket").into_raw_fd();
        let listener = fd::adopt(usize::try_from(listener).expect("a number"));
        let connect = || UnixStream::connect(&path).expect("room in the queue");
        let held = [connect(), connect(), connect()];
        match UnixPeers::open().and_then(|peers| peers.waiting(inode(&listener)?)) {
            Ok(waiting) => assert_eq!(waiting, 3),
            Err(errno) => std::println!("skipped: no sock_diag for Unix sockets here ({errno})"),
        }
        drop((held, listener));
        std::fs::remove_file(&path).expect("to remove it");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        for length in 0..64 {
            for byte in [0, 1, 2, 4, 20, 0xff] {
                let mut bytes = std::vec![byte; length];
                let _ = answer(&bytes, PEER);
                if length > 6 {
                    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
                    let _ = answer(&bytes, PEER);
                }
            }
        }
    }
}
