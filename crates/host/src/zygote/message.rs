//! What the two sides say to each other: one message each, by turns, over a socket that keeps messages whole.
//!
//! A request is a byte that says what follows, then its bytes; one that is longer comes as a file in memory, the last of
//! the fds, which only the child reads. An answer is two numbers, and the handle of who was born.

use doula_model::plan::Errno;
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::socket::{self, Kind, Message};
use doula_sys::{Result, poll};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

/// Up to here a request is in the message: what the smallest buffer that a socket can have (4608 bytes with the kernel's own
/// data) takes, and more than most requests need.
const INLINE: usize = 2048;

/// The request follows.
pub(super) const HERE: u8 = 0;
/// The request is in the last fd.
pub(super) const IN_MEMORY: u8 = 1;
/// The one who was born last is not wanted: kill it.
pub(super) const KILL: u8 = 2;

/// Room for every message.
pub(super) const ROOM: usize = INLINE + 1;

/// Our end and the zygote's.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socket::pair(Kind::Packet)
}

/// Asks for a birth.
pub(super) fn ask(socket: &OwnedFd, request: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    if request.len() <= INLINE {
        return send(socket, &[&[HERE], request].concat(), fds);
    }
    let mut file = File::from(fd::memory(c"request")?);
    file.write_all(request).map_err(|error| Errno(error.raw_os_error().unwrap_or(Errno::EIO.0)))?;
    let all: Vec<BorrowedFd<'_>> = fds.iter().copied().chain([file.as_fd()]).collect();
    send(socket, &[IN_MEMORY], &all)
}

/// The request of a message that asks for a birth; the fds that are left in it are for the child.
pub(super) fn request(bytes: &[u8], fds: &mut Vec<OwnedFd>) -> std::io::Result<Vec<u8>> {
    match bytes.split_first() {
        Some((&IN_MEMORY, _)) => {
            let file = fds.pop().map(File::from).ok_or(std::io::ErrorKind::UnexpectedEof)?;
            let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
            let mut request = vec![0; length];
            file.read_exact_at(&mut request, 0)?;
            Ok(request)
        }
        Some((_, rest)) => Ok(rest.to_vec()),
        None => Ok(Vec::new()),
    }
}

/// What the zygote answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Why not; 0 if all is well.
    pub(super) errno: i32,
    /// Who was born; also with an errno, if it had to be killed at once. At the start: how many threads there are.
    pub(super) number: i32,
}

impl Answer {
    /// What has nothing to tell but that all is well.
    pub(super) const DONE: Answer = Answer { errno: 0, number: 0 };

    pub(super) fn send(self, socket: &OwnedFd, handle: Option<BorrowedFd<'_>>) -> Result<()> {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.errno.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.number.to_ne_bytes());
        let handles: Vec<BorrowedFd<'_>> = handle.into_iter().collect();
        send(socket, &bytes, &handles)
    }

    /// Waits for the answer and the handle that came with it. `None` when the zygote has ended.
    pub(super) fn receive(socket: &OwnedFd) -> Result<Option<(Answer, Option<OwnedFd>)>> {
        let mut bytes = [0; 8];
        loop {
            let message = match poll::readable(socket, None).and_then(|_| socket::receive(socket, &mut bytes))
            {
                Ok(message) => message,
                Err(Errno::EINTR | Errno::EAGAIN) => continue,
                Err(errno) if is_gone(errno) => return Ok(None),
                Err(errno) => return Err(errno),
            };
            let Message { length: 8, mut fds, .. } = message else { return Ok(None) };
            let [errno, number] =
                [0, 4].map(|at| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
            return Ok(Some((Answer { errno, number }, fds.pop())));
        }
    }
}

/// What the kernel says of an end whose other end was closed.
pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::EPIPE | Errno::ECONNRESET)
}

pub(super) fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    loop {
        match socket::send(&socket, bytes, fds) {
            Err(Errno::EINTR) => {}
            answer => return answer.map(drop),
        }
    }
}
