//! Birth: a [`ChildPlan`] becomes a process.
//!
//! The child is made by clone3(2) with `CLONE_VM | CLONE_VFORK`: it shares our memory and we stand still until
//! it executes its program or fails. So the cost does not depend on how much memory we have, and the child
//! can tell the step that failed by writing it into our memory. In exchange it may do nothing but bare system
//! calls on data that was prepared before (see `child`): no allocation, no lock, no libc, no closure.
//!
//! fork(2) into arbitrary Rust code is in `copy` (feature `std`), for those who must; `sibling` is the same for a zygote.

mod child;
pub(crate) mod clone;
mod close;
#[cfg(feature = "std")]
pub mod copy;
mod dumpable;
mod explain;
#[cfg(feature = "std")]
pub mod mark;
mod prepared;
#[cfg(feature = "std")]
pub mod sibling;
mod slots;
mod stack;
#[cfg(test)]
pub(crate) mod tests;

use crate::fd::{AsFd as _, OwnedFd};
use crate::signal::{self, SignalSet, set_mask};
use crate::wait::{self, Who};
use crate::{Result, pidfd};
use clone::{Refusals, Way};
use doula_model::id::Pid;
use doula_model::plan::{ChildPlan, Errno, SpawnError, Step};
use doula_model::signal::Signal;
pub use explain::explain;
use prepared::Prepared;
use slots::{Fds, Place};
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
/// Where the kernel or a sandbox refuses what is newer than Linux 5.2, lesser ways are taken, with the same
/// outcome (`docs/births.md`): clone(2) instead of clone3; a child that moves to its cgroup instead of being
/// born there; a copy of our whole fd table, closed one by one.
///
/// The parent-death signal of the plan is bound to the calling thread. Whether we ignore any real-time signal is
/// looked at before the first birth, and told by [`crate::signal::ignore`]; one that is ignored later by other means
/// stays so in the child.
///
/// <https://man7.org/linux/man-pages/man2/clone.2.html>
#[doc(alias = "clone3")]
#[doc(alias = "fork")]
#[doc(alias = "posix_spawn")]
pub fn spawn(plan: &ChildPlan) -> core::result::Result<Born, SpawnError> {
    spawn_knowing(plan, &REFUSALS)
}

/// As [`spawn`], for a process whose fds others open and close too: nothing is kept open for later births.
///
/// The child takes a copy of our fd table up to the highest number that its plan names, so with many open fds
/// a plan with low numbers is the cheaper one.
pub fn spawn_in_place(plan: &ChildPlan) -> core::result::Result<Born, SpawnError> {
    spawn_from(plan, &REFUSALS, Place::AsTheyAre)
}

/// What this process has learnt.
static REFUSALS: Refusals = Refusals::none();

fn spawn_knowing(plan: &ChildPlan, refusals: &Refusals) -> core::result::Result<Born, SpawnError> {
    spawn_from(plan, refusals, Place::Slots)
}

fn spawn_from(plan: &ChildPlan, refusals: &Refusals, place: Place) -> core::result::Result<Born, SpawnError> {
    let best = refusals.best(plan);
    let (mut way, mut refused) = (best, true);
    loop {
        let tried = spawn_by(plan, way, place);
        match lesser(way, &tried) {
            Some(next) => {
                refused &= !matches!(tried, Err(Failure::KilledAtBirth));
                way = next;
            }
            None => {
                if refused && !matches!(tried, Err(Failure::Clone(_))) {
                    refusals.learn(best, way);
                }
                return tried.map_err(|failure| failure.told(way));
            }
        }
    }
}

/// The way to try next, if this one was refused.
fn lesser(way: Way, tried: &core::result::Result<Born, Failure>) -> Option<Way> {
    match tried {
        Err(Failure::Clone(errno)) => way.after_clone(*errno),
        Err(Failure::Step(SpawnError { step: Step::CloseRest, errno })) => way.after_unshare(*errno),
        Err(Failure::KilledAtBirth) => way.after_killing(),
        Ok(_) | Err(Failure::Step(_)) => None,
    }
}

/// Why a birth by one way failed.
enum Failure {
    /// There never was a child.
    Clone(Errno),
    /// The child, or we before it, could not take this step.
    Step(SpawnError),
    /// The child was killed before its first step, in the cgroup that it was born into.
    KilledAtBirth,
}

impl Failure {
    /// A clone that fails for want of processes or memory is about the clone; into a cgroup, anything else is
    /// about that.
    fn told(self, way: Way) -> SpawnError {
        match self {
            Failure::Step(error) => error,
            Failure::KilledAtBirth => SpawnError { step: Step::Cgroup, errno: Errno::EAGAIN },
            Failure::Clone(errno) => {
                let limits = matches!(errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE);
                let step = if way.into_cgroup && !limits { Step::Cgroup } else { Step::Clone };
                SpawnError { step, errno }
            }
        }
    }
}

fn spawn_by(plan: &ChildPlan, way: Way, place: Place) -> core::result::Result<Born, Failure> {
    let mut fds = Fds::new(plan, way, place);
    let born = spawn_with(plan, &fds, way);
    fds.give_back();
    born
}

fn spawn_with(plan: &ChildPlan, fds: &Fds, way: Way) -> core::result::Result<Born, Failure> {
    let failed = |errno| Failure::Step(SpawnError { step: Step::Prepare, errno });
    let mut prepared = Prepared::new(plan, fds).map_err(failed)?;
    // clone3 leaves the child nothing but what we ignore; most of the calls would change nothing.
    let ignored = signal::real_time_may_be_ignored()
        || plan.ignored_signals.iter().any(|&one| signal::is_real_time(one));
    prepared.real_time_is_clean = way.clone3 && !ignored;
    let stack = Stack::take().map_err(failed)?;
    let changes_user = plan.credentials.is_some() || plan.capabilities.is_some();
    let guard = changes_user.then(dumpable::Guard::new);
    let before = set_mask(SignalSet::FULL);
    let cloned = clone::clone(&mut prepared, &stack, way);
    set_mask(before);
    drop(guard);
    stack.give_back();
    let born = cloned.map_err(Failure::Clone)?;
    if way.into_cgroup && !prepared.has_begun() {
        bury(&born);
        return Err(Failure::KilledAtBirth);
    }
    let born = match prepared.sibling() {
        None => born,
        Some((sibling, handle)) => replaced(born, sibling, handle).map_err(failed)?,
    };
    match prepared.failure() {
        None => Ok(born),
        Some(error) => {
            bury(&born);
            Err(Failure::Step(error))
        }
    }
}

/// The first child has made a session and ended; the one that goes on is a child of ours as well. Where it was not born with a
/// handle, it gets the number of the first one's, so that one free number is enough for a birth.
fn replaced(leader: Born, sibling: Pid, handle: Option<OwnedFd>) -> Result<Born> {
    bury(&leader);
    drop(leader);
    if let Some(pidfd) = handle {
        return Ok(Born { pid: sibling, pidfd });
    }
    pidfd::open(sibling).map(|pidfd| Born { pid: sibling, pidfd }).inspect_err(|_| {
        // Without a handle nobody could end it. The number is its own while nobody but us can bury it.
        let _ = pidfd::send_number(sibling, Signal::KILL);
        let _ = wait::end(Who::Pid(sibling));
    })
}

/// The child that failed before its program is ours to bury; ECHILD means that somebody was faster (a
/// waiting thread), or that SIGCHLD is ignored.
fn bury(born: &Born) {
    let end = wait::end(Who::Pidfd(born.pidfd.as_fd()));
    debug_assert!(matches!(end, Ok(_) | Err(Errno::ECHILD)));
}
