//! The scheduler: whose turn it is, and for how long.

use crate::limits::MAX_CPUS;
use crate::{Result, raw};
use core::time::Duration;
use doula_model::id::Pid;
use doula_model::plan::Errno;

/// How the scheduler treats the calling thread: `struct sched_attr` of
/// <https://man7.org/linux/man-pages/man2/sched_setattr.2.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// `SCHED_OTHER` (0), the policy of ordinary threads, or another.
    pub policy: u32,
    /// Its nice value: −20 to 19.
    pub nice: i32,
    /// Children begin with the slice of everybody (and, if ours is negative, nice value 0).
    pub reset_on_fork: bool,
    /// How long it runs at a time. Who asks for less is let to the CPU sooner when it wakes, though it gets no more of
    /// it (Linux 6.12 and later, 0.1 to 100 ms; before, always zero here and of no effect).
    pub slice: Duration,
}

impl Attributes {
    /// `SCHED_OTHER`.
    pub const ORDINARY: u32 = libc::SCHED_OTHER as u32;

    /// `sched_getattr(0)`—those of the calling thread.
    #[doc(alias = "sched_getattr")]
    pub fn get() -> Result<Attributes> {
        let mut raw = empty();
        let args = [0, &raw mut raw as usize, SIZE as usize, 0, 0, 0];
        // SAFETY: the kernel writes at most as many bytes as the third argument says, which is the size of the struct.
        unsafe { raw::call(libc::SYS_sched_getattr, args) }?;
        Ok(Attributes {
            policy: raw.sched_policy,
            nice: raw.sched_nice,
            reset_on_fork: raw.sched_flags & RESET_ON_FORK != 0,
            slice: Duration::from_nanos(raw.sched_runtime),
        })
    }

    /// `sched_setattr(0, …)`—makes them those of the calling thread, whose policy must be an ordinary one. EPERM when
    /// the nice value would be lowered, or `reset_on_fork` taken back, without `CAP_SYS_NICE`.
    #[doc(alias = "sched_setattr")]
    pub fn set(self) -> Result<()> {
        let mut raw = empty();
        raw.sched_policy = self.policy;
        raw.sched_nice = self.nice;
        raw.sched_flags = if self.reset_on_fork { RESET_ON_FORK } else { 0 };
        raw.sched_runtime = u64::try_from(self.slice.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: the struct says its own size, and is only read.
        unsafe { raw::call(libc::SYS_sched_setattr, [0, &raw const raw as usize, 0, 0, 0, 0]) }.map(drop)
    }
}

/// `setpriority(PRIO_PROCESS, pid, nice)`—how nice the thread with this number is; of a process, its first thread. EACCES or
/// EPERM when that needs `CAP_SYS_NICE`, ESRCH when there is none. A number can be somebody else's by now.
///
/// <https://man7.org/linux/man-pages/man2/setpriority.2.html>
#[doc(alias = "setpriority")]
pub fn set_nice(pid: Pid, nice: i32) -> Result<()> {
    // SAFETY: setpriority takes numbers only.
    unsafe { raw::call(libc::SYS_setpriority, [0, pid.get() as usize, nice as usize, 0, 0, 0]) }.map(drop)
}

/// `sched_setaffinity(pid, cpus)`—on which CPUs the thread with this number may run. EINVAL when none of them exists; EPERM
/// for others' threads, ESRCH when there is none. A number can be somebody else's by now.
///
/// <https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html>
#[doc(alias = "sched_setaffinity")]
pub fn set_affinity(pid: Pid, cpus: &[u16]) -> Result<()> {
    let mut mask = [0u64; MAX_CPUS / 64];
    for &cpu in cpus {
        let word = mask.get_mut(usize::from(cpu) / 64).ok_or(Errno::EINVAL)?;
        *word |= 1 << (cpu % 64);
    }
    let args = [pid.get() as usize, size_of_val(&mask), mask.as_ptr() as usize, 0, 0, 0];
    // SAFETY: the kernel reads as many bytes as the second argument says, which the mask has.
    unsafe { raw::call(libc::SYS_sched_setaffinity, args) }.map(drop)
}

const RESET_ON_FORK: u64 = libc::SCHED_FLAG_RESET_ON_FORK as u64;

/// Linux 5.3 made the struct longer; every kernel takes this first version of it.
const SIZE: u32 = size_of::<libc::sched_attr>() as u32;

fn empty() -> libc::sched_attr {
    libc::sched_attr {
        size: SIZE,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::tests::apart::apart;
    use std::println;

    #[test]
    fn niceness_and_cpus_of_a_process_are_set_by_its_number() {
        apart(|| {
            let us = Pid::new(rustix::thread::gettid().as_raw_nonzero().get()).expect("a number");
            set_nice(us, 7).expect("anybody may be nicer");
            assert_eq!(Attributes::get().expect("sched_getattr").nice, 7);
            assert_eq!(set_affinity(us, &[]), Err(Errno::EINVAL));
            assert_eq!(set_affinity(us, &[u16::MAX]), Err(Errno::EINVAL));
            let all: alloc::vec::Vec<u16> = (0..MAX_CPUS as u16).collect();
            set_affinity(us, &all).expect("those that there are");
        });
    }

    #[test]
    fn a_short_slice_is_ours_alone_and_no_child_inherits_it() {
        apart(|| {
            let before = Attributes::get().expect("sched_getattr");
            assert_eq!(before.policy, Attributes::ORDINARY, "the test runs as ordinary threads do");
            let short = Attributes { slice: Duration::from_micros(100), reset_on_fork: true, ..before };
            short.set().expect("nobody needs a privilege to ask for less");
            let after = Attributes::get().expect("sched_getattr");
            if before.slice.is_zero() {
                println!("skipped: this kernel knows no slice of its own for a thread (Linux 6.12)");
                return;
            }
            assert_eq!(after, short);
            let child = apart(|| Attributes::get().expect("sched_getattr"));
            assert_eq!((child.slice, child.nice), (before.slice, before.nice));
        });
    }
}
