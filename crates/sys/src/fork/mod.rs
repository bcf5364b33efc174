//! Birth: a [`ChildPlan`] becomes a process.
//!
//! The child is made by clone3(2) with `CLONE_VM | CLONE_VFORK`: it shares our memory and we stand still until
//! it executes its program or fails. So the cost does not depend on how much memory we have, and the child
//! can tell the step that failed by writing it into our memory. In exchange it may do nothing but bare system
//! calls on data that was prepared before (see `child`): no allocation, no lock, no libc, no closure.
//!
//! Deliberately absent: fork(2) into arbitrary Rust code.

mod child;
mod prepared;
mod slots;
mod stack;
#[cfg(test)]
pub(crate) mod tests;

use crate::fd::{AsFd as _, OwnedFd};
use crate::signal::{SignalSet, set_mask};
use crate::wait::{self, Who};
use crate::{Result, fd, raw};
use core::sync::atomic::{AtomicBool, Ordering};
use doula_model::id::Pid;
use doula_model::plan::{ChildPlan, Errno, SpawnError, Step};
use prepared::Prepared;
use slots::Fds;
use stack::Stack;

/// A process that was born: it executes its program.
#[derive(Debug)]
pub struct Born {
    /// Its number, for display and `/proc`.
    pub pid: Pid,
    /// Its handle: readable when it has ended.
    pub pidfd: OwnedFd,
}

/// `clone3(CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND)` and `execve`—gives birth.
///
/// Returns when the program is being executed, or with the first step that failed; then no child is left. The
/// calling *thread* stands still meanwhile (with all signals blocked), other threads go on.
///
/// When the kernel or a sandbox knows no clone3 (before 5.3), clone(2) is used; a plan with a cgroup then
/// fails at [`Step::Cgroup`].
///
/// The parent-death signal of the plan is bound to the calling thread.
///
/// <https://man7.org/linux/man-pages/man2/clone.2.html>
#[doc(alias = "clone3")]
#[doc(alias = "fork")]
#[doc(alias = "posix_spawn")]
pub fn spawn(plan: &ChildPlan) -> core::result::Result<Born, SpawnError> {
    let mut fds = Fds::lowered(plan);
    let shared = fds.shared_up_to.is_some();
    let born = spawn_with(plan, &fds);
    fds.give_back();
    match born {
        // Before Linux 5.9, or in a sandbox that does not know close_range.
        Err(SpawnError { step: Step::CloseRest, errno }) if shared => {
            if matches!(errno, Errno::ENOSYS | Errno::EPERM) {
                Fds::refuse();
            }
            spawn_with(plan, &Fds::in_place(plan))
        }
        born => born,
    }
}

fn spawn_with(plan: &ChildPlan, fds: &Fds) -> core::result::Result<Born, SpawnError> {
    let failed = |step| move |errno| SpawnError { step, errno };
    let mut prepared = Prepared::new(plan, fds).map_err(failed(Step::Prepare))?;
    let stack = Stack::take().map_err(failed(Step::Prepare))?;
    let before = set_mask(SignalSet::FULL);
    let cloned = clone(&mut prepared, &stack);
    set_mask(before);
    stack.give_back();
    let born = cloned.map_err(|errno| SpawnError { step: step_of_clone(plan, errno), errno })?;
    match prepared.failure() {
        None => Ok(born),
        Some(error) => {
            bury(&born);
            Err(error)
        }
    }
}

/// The child that failed before its program is ours to bury; ECHILD means that somebody was faster (a
/// waiting thread), or that SIGCHLD is ignored.
fn bury(born: &Born) {
    let end = wait::end(Who::Pidfd(born.pidfd.as_fd()));
    debug_assert!(matches!(end, Ok(_) | Err(Errno::ECHILD)));
}

/// A clone that fails for want of processes or memory is about the clone; with a cgroup, anything else is
/// about that.
fn step_of_clone(plan: &ChildPlan, errno: Errno) -> Step {
    let limits = matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE);
    if plan.cgroup.is_some() && !limits { Step::Cgroup } else { Step::Clone }
}

/// Whether clone3 was refused as such before: then it is not tried again.
static NO_CLONE3: AtomicBool = AtomicBool::new(false);

fn clone(prepared: &mut Prepared<'_>, stack: &Stack) -> Result<Born> {
    if !NO_CLONE3.load(Ordering::Relaxed) {
        match clone3(prepared, stack) {
            // Sandboxes answer EPERM for what they do not know; clone3 itself has no reason to.
            Err(Errno::ENOSYS | Errno::EPERM) if prepared.plan.cgroup.is_none() => {}
            answer => return answer,
        }
        NO_CLONE3.store(true, Ordering::Relaxed);
    }
    if prepared.plan.cgroup.is_some() {
        return Err(Errno::ENOSYS);
    }
    clone_old(prepared, stack)
}

/// `struct clone_args` up to what Linux 5.7 knows.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const FLAGS: u64 = (libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD) as u64;
const CLONE_CLEAR_SIGHAND: u64 = 1 << 32;
const CLONE_INTO_CGROUP: u64 = 1 << 33;

fn clone3(prepared: &mut Prepared<'_>, stack: &Stack) -> Result<Born> {
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
    if let Some(cgroup) = prepared.plan.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup).map_err(|_| Errno::EBADF)?;
    }
    let list = [&raw const args as usize, size_of::<CloneArgs>(), 0, 0, 0, 0];
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
    let pid = raw::check(answer)?;
    let pid = Pid::new(pid as i32).ok_or(Errno::ESRCH)?;
    Ok(Born { pid, pidfd: fd::adopt(pidfd as usize) })
}
