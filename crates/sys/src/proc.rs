//! Who is there: the numbers of all processes, as `/proc` lists them.

use crate::fd::{self, Access, OwnedFd};
use crate::{Result, errno};
use core::mem::MaybeUninit;
use doula_model::id::Pid;
use rustix::fs::RawDir;

/// In which kind of system call a thread sleeps, by the number at the beginning of `/proc/PID/syscall`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// accept(2), accept4(2): for a connection.
    Accepting,
    /// epoll_wait(2) and its like: for any of several things, which `/proc/PID/fdinfo` of its first argument lists.
    Choosing,
    /// For something else, or not at all.
    Other,
}

impl Sleep {
    /// What the number of this system call, on this architecture, means.
    pub const fn of(number: i64) -> Sleep {
        match number as libc::c_long {
            libc::SYS_accept | libc::SYS_accept4 => Sleep::Accepting,
            libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Sleep::Choosing,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait => Sleep::Choosing,
            _ => Sleep::Other,
        }
    }
}

/// The numbers of all processes in ascending order, each read when it is asked for: who is born meanwhile under a higher
/// number is met further on. (The directory readers of libraries take thousands of names at once, and a process that lives
/// for a millisecond is gone before its turn.) Ends early where the list cannot be read on.
///
/// <https://man7.org/linux/man-pages/man2/getdents.2.html>
#[doc(alias = "getdents64")]
#[derive(Debug)]
pub struct Numbers {
    proc: OwnedFd,
    /// Those that came with the names that stand before them, the next one last.
    more: alloc::vec::Vec<Pid>,
}

/// Room for one entry whose name is a number, and not for two.
#[repr(align(8))]
struct One([MaybeUninit<u8>; 32]);

/// Room for an entry with the longest name.
#[repr(align(8))]
struct Long([MaybeUninit<u8>; 512]);

impl Numbers {
    /// `open("/proc")`.
    pub fn read() -> Result<Numbers> {
        Ok(Numbers { proc: fd::open(c"/proc", Access::Directory)?, more: alloc::vec::Vec::new() })
    }

    /// The numbers among the next entries; `None` at the end of the list.
    fn some(&mut self) -> Result<Option<()>> {
        let mut one = One([MaybeUninit::uninit(); 32]);
        match self.take(&mut one.0) {
            // The name is longer: one of the kernel's files, which come first.
            Err(doula_model::plan::Errno::EINVAL) => self.take(&mut Long([MaybeUninit::uninit(); 512]).0),
            answer => answer,
        }
    }

    fn take(&mut self, room: &mut [MaybeUninit<u8>]) -> Result<Option<()>> {
        let mut entries = RawDir::new(&self.proc, room);
        let mut end = None;
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(errno)?;
            let name = core::str::from_utf8(entry.file_name().to_bytes()).unwrap_or_default();
            self.more.extend(name.parse().ok().and_then(Pid::new));
            end = Some(());
            if entries.is_buffer_empty() {
                break;
            }
        }
        self.more.reverse();
        Ok(end)
    }
}

impl Iterator for Numbers {
    type Item = Pid;

    fn next(&mut self) -> Option<Pid> {
        while self.more.is_empty() {
            self.some().ok()??;
        }
        self.more.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use std::process::Command;

    #[test]
    fn all_processes_are_met_in_ascending_order() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("a child");
        let met: Vec<Pid> = Numbers::read().expect("/proc").collect();
        assert!(met.is_sorted_by(|one, next| one < next), "{met:?}");
        let number = |number: u32| Pid::new(number as i32).expect("a number");
        for known in [number(1), number(std::process::id()), number(child.id())] {
            assert!(met.contains(&known), "{known} is not in {met:?}");
        }
        child.kill().and_then(|()| child.wait()).expect("our child");
    }

    #[test]
    fn who_is_born_during_the_look_is_met() {
        // The kernel ends the list as it gives the last number. So there is one behind the first.
        let mut elder = Command::new("sleep").arg("1000").spawn().expect("a child");
        let mut look = Numbers::read().expect("/proc");
        let first = look.next().expect("somebody");
        let mut child = Command::new("sleep").arg("1000").spawn().expect("a child");
        let born = Pid::new(child.id() as i32).expect("a number");
        assert!(born < first || look.any(|met| met == born), "numbers can begin anew; else it is met");
        for ours in [&mut child, &mut elder] {
            ours.kill().and_then(|()| ours.wait()).expect("our child");
        }
    }
}
