//! Burying zombies of somebody else: a wait4(2) inside of their parent, by ptrace(2).
//!
//! The last resort against a parent that never waits and must not be restarted. It harms: the parent never learns how that child
//! ended, and a later wait for it fails with ECHILD. A call in which the parent sleeps begins again, as after a stop and a
//! SIGCONT (signal(7) names those that end with EINTR then: epoll_wait(2) is one). Who can do with SIGCHLD or a restart
//! should.
//!
//! Refused is whatever could hang us or break the parent: a locked memory map, a parent that is blocked or frozen, one
//! whose system calls are filtered (a filter could kill it for wait4), one that has a tracer, one of 32 bits.

use crate::diagnosis::{Doctor, On};
use crate::procfs::{Answer, Identity, ProcState, Reader, Want};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::ptrace::Held;
use std::fmt;
use std::time::Duration;

/// How long the parent may take to stop. Who runs or sleeps does so at once; a loaded machine needs longer.
const STOPS_WITHIN: Duration = Duration::from_secs(2);

/// Why nobody was buried.
///
/// ```
/// assert_eq!(doula_host::inject::Refused::Gone.to_string(), "it is gone");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The parent is gone.
    Gone,
    /// What we must know of it, only root may see, or its own user.
    Hidden,
    /// Its memory map is locked: whoever looks into its memory waits.
    Locked,
    /// It is blocked in the kernel, or frozen, and could not stop.
    Blocked,
    /// Its system calls are filtered (seccomp(2)).
    Filtered,
    /// Somebody else traces it.
    Traced,
    /// ptrace(2) or the call inside of the parent failed with this.
    Failed(Errno),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Gone => f.write_str("it is gone"),
            Refused::Hidden => f.write_str("only root or its own user may look into it"),
            Refused::Locked => {
                f.write_str("its memory map is locked, and whoever looks into its memory would wait")
            }
            Refused::Blocked => f.write_str("it is blocked or frozen, and could not be stopped for it"),
            Refused::Filtered => {
                f.write_str("its system calls are filtered (seccomp), and one more could end it")
            }
            Refused::Traced => f.write_str("somebody else traces it"),
            Refused::Failed(Errno::EPERM) => {
                f.write_str("we may not trace it (root, or CAP_SYS_PTRACE, is needed)")
            }
            Refused::Failed(errno) => write!(f, "ptrace failed: {errno}"),
        }
    }
}

impl std::error::Error for Refused {}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Refused {
        match errno {
            Errno::ESRCH => Refused::Gone,
            Errno::ETIMEDOUT => Refused::Blocked,
            other => Refused::Failed(other),
        }
    }
}

/// Buries these zombies inside of their parent; the number of those that were. A zombie that is somebody else's by now, or is
/// none yet, is left.
///
/// # Errors
/// [`Refused`], with nothing changed; [`Refused::Failed`] with ECHILD when they are no children of it.
///
/// ```no_run
/// use doula_host::{Pid, inject};
/// use doula_host::procfs::Reader;
/// let mut reader = Reader::open()?;
/// let zombie = reader.stat(Pid::new(4711).expect("a number")).expect("it is there");
/// let parent = Pid::new(zombie.ppid).expect("a parent that we see");
/// inject::bury(&mut reader, parent, &[zombie.identity()])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bury(reader: &mut Reader, parent: Pid, zombies: &[Identity]) -> Result<usize, Refused> {
    let before = reader.stat(parent).ok_or(Refused::Gone)?.identity();
    let depth = check(reader, parent)?;
    let thread = thread(reader, parent)?;
    let numbers: Vec<(Identity, i32)> = zombies
        .iter()
        .filter_map(|zombie| Some((*zombie, inner_number(reader, zombie.pid, depth)?)))
        .collect();
    let mut held = Held::take(thread, STOPS_WITHIN)?;
    // Its number may have passed on before it was held.
    if reader.stat(parent).map(|stat| stat.identity()) != Some(before) {
        return Err(Refused::Gone);
    }
    let mut buried = 0;
    for (zombie, number) in numbers {
        let is_there =
            reader.stat(zombie.pid).is_some_and(|stat| stat.identity() == zombie && stat.is_zombie());
        if is_there && held.wait_for(number)? {
            buried += 1;
        }
    }
    Ok(buried)
}

/// Whether the parent can be held without harm; in how many PID namespaces it is, from ours inwards.
fn check(reader: &mut Reader, parent: Pid) -> Result<usize, Refused> {
    let want = Want { status: true, args: true, ..Want::default() };
    let found = reader.some(&[parent], &want).map_err(|_| Refused::Gone)?;
    let process = found.first().ok_or(Refused::Gone)?;
    if process.args == Answer::Locked {
        return Err(Refused::Locked);
    }
    let status = process.status.known().ok_or(Refused::Hidden)?;
    match status.seccomp {
        None | Some(0) => {}
        Some(_) => return Err(Refused::Filtered),
    }
    if status.tracer != 0 {
        return Err(Refused::Traced);
    }
    Ok(status.ns_pids.len().max(1))
}

/// A thread of the parent that can stop: each may wait for the children of all.
fn thread(reader: &mut Reader, parent: Pid) -> Result<Pid, Refused> {
    let frozen = Doctor::new().map_err(|_| Refused::Gone)?.waits(parent);
    if frozen.iter().any(|wait| matches!(wait.on, On::Freezer(_))) {
        return Err(Refused::Blocked);
    }
    let can_stop = |state| matches!(state, ProcState::Running | ProcState::Sleeping | ProcState::Stopped);
    let threads = crate::diagnosis::living(reader, parent);
    threads.into_iter().find(|(_, state)| can_stop(*state)).map(|(thread, _)| thread).ok_or(Refused::Blocked)
}

/// The number of a process in the PID namespace that is so deep.
fn inner_number(reader: &mut Reader, pid: Pid, depth: usize) -> Option<i32> {
    let found = reader.some(&[pid], &Want { status: true, ..Want::default() }).ok()?;
    let numbers = &found.first()?.status.known()?.ns_pids;
    // Kernels without namespaces tell of none.
    if numbers.is_empty() { Some(pid.get()) } else { numbers.get(depth - 1).copied() }
}
