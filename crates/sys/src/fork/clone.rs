//! The ways to a new process: the best one that the kernel and a sandbox around us allow.
//!
//! A refusal is remembered, so that it costs one birth and not each; but only when the lesser way went, so that
//! a passing trouble is not taken for a refusal.

use super::Born;
use super::child;
use super::prepared::Prepared;
use super::stack::Stack;
use crate::{Result, fd, raw};
use core::sync::atomic::{AtomicBool, Ordering};
use doula_model::id::Pid;
use doula_model::plan::{ChildPlan, Errno};

/// How one birth is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// By clone3(2) (Linux 5.3, with all that we ask of it 5.5), or by clone(2).
    pub(super) clone3: bool,
    /// The child is born in its cgroup (Linux 5.7), or moves there itself.
    pub(super) into_cgroup: bool,
    /// The child shares our fd table until it has copied what it needs (Linux 5.9), or starts with a copy.
    pub(super) shared_files: bool,
}

/// What was refused before.
pub(super) struct Refusals {
    clone3: AtomicBool,
    into_cgroup: AtomicBool,
    shared_files: AtomicBool,
}

impl Refusals {
    pub(super) const fn none() -> Refusals {
        Refusals {
            clone3: AtomicBool::new(false),
            into_cgroup: AtomicBool::new(false),
            shared_files: AtomicBool::new(false),
        }
    }

    /// The best way that was not refused yet.
    pub(super) fn best(&self, plan: &ChildPlan) -> Way {
        let clone3 = !self.clone3.load(Ordering::Relaxed);
        Way {
            clone3,
            into_cgroup: clone3 && plan.cgroup.is_some() && !self.into_cgroup.load(Ordering::Relaxed),
            shared_files: !self.shared_files.load(Ordering::Relaxed),
        }
    }

    /// This way went, where `best` did not: what is missing in it is not tried again.
    pub(super) fn learn(&self, best: Way, went: Way) {
        let lost = |flag: &AtomicBool, before: bool, now: bool| {
            if before && !now {
                flag.store(true, Ordering::Relaxed);
            }
        };
        lost(&self.clone3, best.clone3, went.clone3);
        lost(&self.into_cgroup, best.into_cgroup, went.into_cgroup);
        lost(&self.shared_files, best.shared_files, went.shared_files);
    }
}

impl Way {
    /// The next lesser way after a clone that failed; `None` when that is no refusal, or nothing is lesser.
    pub(super) fn after_clone(self, errno: Errno) -> Option<Way> {
        match self {
            _ if !is_refusal(errno) => None,
            Way { into_cgroup: true, .. } => Some(Way { into_cgroup: false, ..self }),
            Way { clone3: true, .. } => Some(Way { clone3: false, ..self }),
            Way { .. } => None,
        }
    }

    /// The next lesser way after a child that was killed at birth. Linux 6.14 and later takes who is born into a cgroup
    /// for one of those whom a write to `cgroup.kill` was meant for, when its cgroup and ours were killed so in different
    /// numbers; who moves there lives.
    pub(super) fn after_killing(self) -> Option<Way> {
        self.into_cgroup.then_some(Way { into_cgroup: false, ..self })
    }

    /// The next lesser way after a child that could not take its copy of our fd table.
    pub(super) fn after_unshare(self, errno: Errno) -> Option<Way> {
        (self.shared_files && is_refusal(errno)).then_some(Way { shared_files: false, ..self })
    }
}

/// Too new for the kernel (ENOSYS for the call, EINVAL or E2BIG for its arguments), or unknown to a sandbox
/// (ENOSYS or EPERM). The flags that we use get EINVAL and EPERM for no other reason.
pub(super) const fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSYS | Errno::EPERM | Errno::EINVAL | Errno::E2BIG)
}

/// `struct clone_args` up to what Linux 5.7 knows.
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArgs {
    pub(crate) flags: u64,
    pub(crate) pidfd: u64,
    pub(crate) child_tid: u64,
    pub(crate) parent_tid: u64,
    pub(crate) exit_signal: u64,
    pub(crate) stack: u64,
    pub(crate) stack_size: u64,
    pub(crate) tls: u64,
    pub(crate) set_tid: u64,
    pub(crate) set_tid_size: u64,
    pub(crate) cgroup: u64,
}

/// Linux 5.3 knows the arguments up to `tls`, 5.5 up to `set_tid_size`.
pub(crate) const SIZE_WITHOUT_CGROUP: usize = size_of::<CloneArgs>() - size_of::<u64>();

const FLAGS: u64 = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64;
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Makes the child; returns when it executes its program or is dead.
pub(super) fn clone(prepared: &mut Prepared<'_>, stack: &Stack, way: Way) -> Result<Born> {
    if way.clone3 { clone3(prepared, stack, way.into_cgroup) } else { clone_old(prepared, stack) }
}

fn clone3(prepared: &mut Prepared<'_>, stack: &Stack, into_cgroup: bool) -> Result<Born> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: FLAGS | CLONE_CLEAR_SIGHAND,
        pidfd: &raw mut pidfd as u64,
        exit_signal: libc::SIGCHLD as u64,
        stack: stack.bottom() as u64,
        stack_size: stack.size() as u64,
        ..CloneArgs::default()
    };
    args.flags |= shared_files(prepared) as u64;
    let mut size = SIZE_WITHOUT_CGROUP;
    if let Some(cgroup) = prepared.plan.cgroup.filter(|_| into_cgroup) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup).map_err(|_| Errno::EBADF)?;
        size = size_of::<CloneArgs>();
    }
    let list = [&raw const args as usize, size, 0, 0, 0, 0];
    let argument = core::ptr::from_mut(prepared) as usize;
    // SAFETY: the stack is the child's alone until we go on, and `child::main` makes do with what it finds.
    let answer = unsafe { raw::clone(libc::SYS_clone3, list, child::main, argument) };
    born(answer, pidfd)
}

/// The child takes its own copy of the fd table, if it can do with a part of ours.
fn shared_files(prepared: &Prepared<'_>) -> i32 {
    if prepared.fds.shared_up_to.is_some() { libc::CLONE_FILES } else { 0 }
}

fn clone_old(prepared: &mut Prepared<'_>, stack: &Stack) -> Result<Born> {
    let mut pidfd: i32 = -1;
    let flags = FLAGS as usize | libc::SIGCHLD as usize | shared_files(prepared) as usize;
    let top = stack.bottom() + stack.size();
    let list = [flags, top, &raw mut pidfd as usize, 0, 0, 0];
    let argument = core::ptr::from_mut(prepared) as usize;
    // SAFETY: the stack is the child's alone until we go on, and `child::main` makes do with what it finds.
    let answer = unsafe { raw::clone(libc::SYS_clone, list, child::main, argument) };
    born(answer, pidfd)
}

fn born(answer: isize, pidfd: i32) -> Result<Born> {
    handle(raw::check(answer)?, pidfd)
}

/// What the parent's side of a clone that went has.
pub(super) fn handle(pid: usize, pidfd: i32) -> Result<Born> {
    let pid = Pid::new(pid as i32).ok_or(Errno::ESRCH)?;
    Ok(Born { pid, pidfd: fd::adopt(pidfd as usize) })
}
