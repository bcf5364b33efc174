//! How long tasks were kept from running, as the kernel accounts for it (taskstats over generic netlink).
//!
//! Absent on purpose: all else that is in the answer and `/proc` tells too, and listening for the ends of tasks.

use crate::fd::{self, AsFd, AsRawFd, OwnedFd};
use crate::{Result, raw};
use alloc::vec::Vec;
use core::ffi::CStr;
use core::time::Duration;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::process::Delays;

/// `NETLINK_GENERIC`, its family that knows the others (`GENL_ID_CTRL`), the question for one by its name (`CTRL_CMD_GETFAMILY`,
/// `CTRL_ATTR_FAMILY_NAME`) and the attribute with its number (`CTRL_ATTR_FAMILY_ID`).
const GENERIC: usize = 16;
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_NAME: u16 = 2;
const FAMILY_ID: u16 = 1;
const NAME: &CStr = c"TASKSTATS";
/// `TASKSTATS_CMD_GET`, `TASKSTATS_CMD_ATTR_PID` and `TASKSTATS_CMD_ATTR_TGID`.
const GET: u8 = 1;
const OF_THREAD: u16 = 1;
const OF_PROCESS: u16 = 2;
/// `TASKSTATS_TYPE_STATS`; what holds it has this bit clear or set, as the kernel likes (`NLA_F_NESTED`).
const STATS: u16 = 3;
/// The type of an error (`NLMSG_ERROR`).
const ERROR: u16 = libc::NLMSG_ERROR as u16;
/// The lengths of `struct nlmsghdr`, and of it with `struct genlmsghdr` behind.
const HEAD: usize = 16;
const GENERIC_HEAD: usize = HEAD + 4;
/// `struct taskstats` is some hundred bytes.
const ROOM: usize = 4096;
/// In this version alone, other fields stood between those that were known.
const SCATTERED: u16 = 15;

/// The socket of the kernel that answers.
#[derive(Debug)]
pub struct Taskstats {
    socket: OwnedFd,
    family: u16,
}

impl Taskstats {
    /// `socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC)`, and the question for the family `TASKSTATS`. ENOENT in a kernel
    /// without it (`CONFIG_TASKSTATS`) and in another network namespace.
    ///
    /// <https://docs.kernel.org/accounting/taskstats.html>
    pub fn open() -> Result<Taskstats> {
        let kind = (libc::SOCK_RAW | libc::SOCK_CLOEXEC) as usize;
        // SAFETY: socket takes numbers only.
        let fd = unsafe { raw::call(libc::SYS_socket, [libc::AF_NETLINK as usize, kind, GENERIC, 0, 0, 0]) }?;
        let mut stats = Taskstats { socket: fd::adopt(fd), family: CONTROL };
        let mut room = [0; ROOM];
        let answer = stats.ask(GET_FAMILY, (FAMILY_NAME, NAME.to_bytes_with_nul()), &mut room)?;
        let id = attribute(answer, FAMILY_ID).and_then(|value| value.first_chunk());
        stats.family = u16::from_ne_bytes(*id.ok_or(Errno::EINVAL)?);
        Ok(stats)
    }

    /// Of all threads of this process together, those that have ended too. EPERM for who may not ask (CAP_NET_ADMIN), ESRCH
    /// when there is none, ENOTSUP for an answer that is not understood.
    pub fn of_process(&self, pid: Pid) -> Result<Delays> {
        self.delays(OF_PROCESS, pid)
    }

    /// Of this thread. As [`Taskstats::of_process`].
    pub fn of_thread(&self, thread: Pid) -> Result<Delays> {
        self.delays(OF_THREAD, thread)
    }

    fn delays(&self, of: u16, pid: Pid) -> Result<Delays> {
        let mut room = [0; ROOM];
        let answer = self.ask(GET, (of, &pid.get().to_ne_bytes()), &mut room)?;
        // One attribute holds all: the number and the account.
        let inner = answer.get(4..).unwrap_or_default();
        delays(attribute(inner, STATS).ok_or(Errno::EINVAL)?).ok_or(Errno::ENOTSUP)
    }

    /// The attributes of the answer.
    fn ask<'a>(&self, command: u8, of: (u16, &[u8]), room: &'a mut [u8]) -> Result<&'a [u8]> {
        let question = question(self.family, command, of);
        let socket = self.socket.as_fd().as_raw_fd() as usize;
        let (at, length) = (question.as_ptr() as usize, question.len());
        // SAFETY: the bytes live during the call; no address is the kernel's.
        unsafe { raw::call(libc::SYS_sendto, [socket, at, length, 0, 0, 0]) }?;
        let length = fd::read(&self.socket, room)?;
        let answer = &room[..length];
        if half(answer, 4) == Some(ERROR) {
            let errno = answer.get(HEAD..).and_then(<[u8]>::first_chunk).copied().map(i32::from_ne_bytes);
            return Err(Errno(errno.unwrap_or(0).wrapping_neg()));
        }
        answer.get(GENERIC_HEAD..).ok_or(Errno::EINVAL)
    }
}

/// `struct nlmsghdr`, `struct genlmsghdr` and one attribute.
fn question(family: u16, command: u8, (kind, value): (u16, &[u8])) -> Vec<u8> {
    let length = GENERIC_HEAD + (4 + value.len()).next_multiple_of(4);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(family.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([command, 1, 0, 0]);
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length, 0);
    bytes
}

/// What an attribute of this kind holds.
fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let (length, kind) = (usize::from(half(bytes, at)?), half(bytes, at + 2)?);
        if kind == wanted {
            return bytes.get(at + 4..at + length);
        }
        at += length.max(4).next_multiple_of(4);
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map(u16::from_ne_bytes)
}

/// `struct taskstats` (include/uapi/linux/taskstats.h), whose fields stay where they are from version to version, but for one.
fn delays(stats: &[u8]) -> Option<Delays> {
    if half(stats, 0)? == SCATTERED {
        return None;
    }
    let total = |at: usize| {
        let nanoseconds = stats.get(at..).and_then(<[u8]>::first_chunk).copied().map(u64::from_ne_bytes);
        nanoseconds.map(Duration::from_nanos)
    };
    // Reclaim, and, since they are told, thrashing and compaction.
    let memory = [336, 360].into_iter().filter_map(total).fold(total(320)?, Duration::saturating_add);
    Some(Delays { cpu: total(24)?, disk: total(40), swap: total(56), memory: Some(memory) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_where_its_fields_stand() {
        let mut stats = std::vec![0; 376];
        stats[0..2].copy_from_slice(&13_u16.to_ne_bytes());
        for (at, value) in [(24, 1_u64), (40, 2), (56, 3), (320, 10), (336, 20), (360, 30)] {
            stats[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        let nanos = Duration::from_nanos;
        let whole =
            Delays { cpu: nanos(1), disk: Some(nanos(2)), swap: Some(nanos(3)), memory: Some(nanos(60)) };
        assert_eq!(delays(&stats), Some(whole));
        assert_eq!(delays(&stats[..328]), Some(Delays { memory: Some(nanos(10)), ..whole }), "an old kernel");
        stats[0..2].copy_from_slice(&SCATTERED.to_ne_bytes());
        assert_eq!(delays(&stats), None);
        for length in 0..64 {
            for byte in [0, 1, 4, 0xff] {
                let bytes = std::vec![byte; length];
                let _ = (delays(&bytes), attribute(&bytes, STATS));
            }
        }
    }

    #[test]
    fn we_and_our_thread_are_accounted_for_and_nobody_is_nobody() {
        let us = crate::group::pid();
        let stats = match Taskstats::open().and_then(|stats| stats.of_process(us).map(|_| stats)) {
            Ok(stats) => stats,
            Err(errno) => return std::println!("skipped: the kernel does not account for us ({errno})"),
        };
        // Whoever has run has waited for a CPU, if only for a moment; a thread not longer than all together.
        let (thread, all) = (stats.of_thread(us).expect("ours"), stats.of_process(us).expect("ours"));
        assert!(thread.cpu <= all.cpu, "{thread:?} {all:?}");
        let nobody = Pid::new(i32::MAX).expect("a number");
        assert_eq!(stats.of_process(nobody), Err(Errno::ESRCH));
    }
}
