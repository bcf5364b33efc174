//! Births, programs and deaths of all processes, told by the kernel as they happen (the proc connector).
//!
//! The kernel tells everybody who listens the same, whether they wanted it or not. What comes faster than it is read is lost, and that is
//! told. Absent on purpose: changes of users, groups, sessions and tracers, which the kernel also tells, and filters.
//!
//! There is no manual page; <https://docs.kernel.org/driver-api/connector.html> and include/uapi/linux/cn_proc.h are what there is.

use crate::fd::{self, AsFd, AsRawFd, BorrowedFd, OwnedFd};
use crate::{Result, raw};
use core::time::Duration;
use doula_model::id::Pid;
use doula_model::plan::Errno;

/// `NETLINK_CONNECTOR`, and the number of the proc connector among its groups (`CN_IDX_PROC`) and values (`CN_VAL_PROC`).
const CONNECTOR: usize = 11;
const PROC: u32 = 1;
/// `PROC_CN_MCAST_LISTEN`.
const LISTEN: u32 = 1;
/// The lengths of `struct nlmsghdr`, and of it with `struct cn_msg` behind, and of both with the head of `struct proc_event`.
const HEAD: usize = 16;
const MESSAGE: usize = HEAD + 20;
const EVENT: usize = MESSAGE + 16;
/// `enum proc_cn_event`.
const NONE: u32 = 0;
const FORK: u32 = 1;
const EXEC: u32 = 2;
const EXIT: u32 = 0x8000_0000;
/// A message is less than a hundred bytes.
const ROOM: usize = 512;

/// What happened to a process or to one of its threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A process has a child.
    Born {
        /// Whose child it is.
        parent: Pid,
        /// The child.
        child: Pid,
    },
    /// It runs another program.
    Program {
        /// Who.
        pid: Pid,
    },
    /// It has ended: its first thread, to be exact, after which others may live on for a while.
    Ended {
        /// Who.
        pid: Pid,
        /// As wait(2) would tell it.
        status: i32,
    },
    /// Something that is not told here.
    Else,
}

/// The socket at which the kernel tells.
#[derive(Debug)]
pub struct Connector(OwnedFd);

impl Connector {
    /// `socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_CONNECTOR)`, `bind(CN_IDX_PROC)`, and a message that asks to
    /// be told. EPERM for who may not (CAP_NET_ADMIN, before Linux 6.6); ECONNREFUSED or EPROTONOSUPPORT in another network namespace and in a kernel
    /// without it (`CONFIG_PROC_EVENTS`); ENODATA when the kernel does not answer, as in another PID or user namespace.
    ///
    /// <https://man7.org/linux/man-pages/man7/netlink.7.html>
    pub fn open() -> Result<Connector> {
        let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as usize;
        // SAFETY: socket takes numbers only.
        let fd =
            unsafe { raw::call(libc::SYS_socket, [libc::AF_NETLINK as usize, kind, CONNECTOR, 0, 0, 0]) }?;
        let connector = Connector(fd::adopt(fd));
        let socket = connector.0.as_fd().as_raw_fd() as usize;
        // `struct sockaddr_nl`: the family, a number that the kernel chooses, the groups as bits.
        let address = [libc::AF_NETLINK as u32, 0, PROC];
        // SAFETY: the kernel reads twelve bytes of `address`.
        unsafe { raw::call(libc::SYS_bind, [socket, address.as_ptr() as usize, 12, 0, 0, 0]) }?;
        let question = question();
        // SAFETY: the kernel reads so many bytes of `question`, which lives during the call.
        unsafe {
            raw::call(libc::SYS_sendto, [socket, question.as_ptr() as usize, question.len(), 0, 0, 0])
        }?;
        connector.answered()?;
        Ok(connector)
    }

    /// The kernel answers while it is asked; who is not allowed to listen hears nothing.
    fn answered(&self) -> Result<()> {
        let mut room = [0; ROOM];
        loop {
            let length = match fd::read(&self.0, &mut room) {
                Err(Errno::EAGAIN) => return Err(Errno::ENODATA),
                read => read?,
            };
            if let (Some(NONE), error) = (word(&room[..length], MESSAGE), word(&room[..length], EVENT)) {
                return match error {
                    Some(0) => Ok(()),
                    error => Err(Errno(error.unwrap_or(0) as i32)),
                };
            }
        }
    }

    /// What happened next, and when, since the machine started without the time that it slept (CLOCK_MONOTONIC); nothing when nothing
    /// has. ENOBUFS when some of it was lost; what came after is told then.
    pub fn next(&self) -> Result<Option<(Duration, Happened)>> {
        let mut room = [0; ROOM];
        match fd::read(&self.0, &mut room) {
            Ok(length) => Ok(Some((time(&room[..length]), happened(&room[..length])))),
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

/// Readable when something has happened.
impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `struct nlmsghdr`, `struct cn_msg` and the wish.
fn question() -> [u8; MESSAGE + 4] {
    let mut bytes = [0; MESSAGE + 4];
    bytes[0..4].copy_from_slice(&(MESSAGE as u32 + 4).to_ne_bytes());
    bytes[4..6].copy_from_slice(&(libc::NLMSG_DONE as u16).to_ne_bytes());
    bytes[HEAD..HEAD + 4].copy_from_slice(&PROC.to_ne_bytes());
    bytes[HEAD + 4..HEAD + 8].copy_from_slice(&PROC.to_ne_bytes());
    bytes[HEAD + 16..HEAD + 18].copy_from_slice(&4_u16.to_ne_bytes());
    bytes[MESSAGE..].copy_from_slice(&LISTEN.to_ne_bytes());
    bytes
}

fn time(bytes: &[u8]) -> Duration {
    let nanoseconds = bytes.get(MESSAGE + 8..).and_then(<[u8]>::first_chunk).copied();
    Duration::from_nanos(nanoseconds.map_or(0, u64::from_ne_bytes))
}

fn happened(bytes: &[u8]) -> Happened {
    let field = |at: usize| word(bytes, EVENT + at * 4);
    let pid = |at: usize| field(at).and_then(|number| Pid::new(number as i32));
    // Each tells of a thread first, and then of its process.
    let of_process = field(0) == field(1);
    let found = match word(bytes, MESSAGE) {
        // A thread is born of its own process.
        Some(FORK) if field(2) == field(3) => {
            pid(1).zip(pid(3)).map(|(parent, child)| Happened::Born { parent, child })
        }
        Some(EXEC) => pid(1).map(|pid| Happened::Program { pid }),
        Some(EXIT) if of_process => {
            pid(1).zip(field(2)).map(|(pid, status)| Happened::Ended { pid, status: status as i32 })
        }
        _ => None,
    };
    found.unwrap_or(Happened::Else)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poll;
    use std::process::Command;

    /// No child takes longer, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn the_birth_the_program_and_the_end_of_a_child_are_told_in_that_order() {
        let connector = match Connector::open() {
            Ok(connector) => connector,
            Err(errno) => return std::println!("skipped: the kernel does not tell us ({errno})"),
        };
        let mut child = Command::new("sh").args(["-c", "exit 7"]).spawn().expect("sh");
        let pid = Pid::new(child.id() as i32).expect("a number");
        child.wait().expect("ours");
        let (mut told, mut last, mut lost) = (std::vec::Vec::new(), Duration::ZERO, false);
        while !matches!(told.last(), Some(Happened::Ended { .. })) && !lost {
            match connector.next() {
                Ok(None) => {
                    assert_eq!(poll::readable(&connector, Some(PATIENCE)), Ok(true), "only {told:?}");
                }
                Ok(Some((at, happened))) => {
                    let who = match happened {
                        Happened::Born { child: pid, .. }
                        | Happened::Program { pid }
                        | Happened::Ended { pid, .. } => Some(pid),
                        Happened::Else => None,
                    };
                    if who == Some(pid) {
                        assert!(at >= last, "{happened:?} at {at:?}, after {last:?}");
                        last = at;
                        told.push(happened);
                    }
                }
                Err(errno) => {
                    assert_eq!(errno, Errno::ENOBUFS);
                    lost = true;
                }
            }
        }
        if lost {
            return std::println!("skipped: others are born faster than we read");
        }
        let us = Pid::new(std::process::id() as i32).expect("a number");
        let born = Happened::Born { parent: us, child: pid };
        assert_eq!(told, [born, Happened::Program { pid }, Happened::Ended { pid, status: 7 << 8 }]);
    }

    #[test]
    fn threads_are_no_processes_and_no_bytes_make_it_panic() {
        let message = |what: u32, fields: [u32; 4]| {
            let mut bytes = std::vec![0; EVENT + 24];
            bytes[MESSAGE..MESSAGE + 4].copy_from_slice(&what.to_ne_bytes());
            for (at, field) in fields.into_iter().enumerate() {
                bytes[EVENT + at * 4..EVENT + at * 4 + 4].copy_from_slice(&field.to_ne_bytes());
            }
            bytes
        };
        let pid = |number| Pid::new(number).expect("a number");
        let born = Happened::Born { parent: pid(5), child: pid(7) };
        assert_eq!(happened(&message(FORK, [6, 5, 7, 7])), born);
        assert_eq!(happened(&message(FORK, [5, 5, 8, 5])), Happened::Else);
        assert_eq!(happened(&message(EXIT, [5, 5, 9, 0])), Happened::Ended { pid: pid(5), status: 9 });
        assert_eq!(happened(&message(EXIT, [8, 5, 9, 0])), Happened::Else);
        assert_eq!(happened(&message(EXEC, [0, 0, 0, 0])), Happened::Else);
        let whole = message(EXIT, [5, 5, 9, 0]);
        for length in 0..whole.len() {
            let _ = happened(&whole[..length]);
        }
    }
}
