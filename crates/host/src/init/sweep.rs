//! Every descendant, found through `/proc`.
//!
//! As PID 1 all is simple: everybody in the namespace is ours, and no number can name a stranger. Elsewhere a
//! number that was read may pass to a stranger at any time, and no stranger may be hit. So nothing is
//! believed before it was seen twice: a handle is taken, the parent is read again, and then both handles, the
//! process's and its parent's, still name living (or unburied) processes. Our own children need no such care:
//! only we bury them.

use alloc::vec::Vec;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{self, Access, AsFd, BorrowedFd};
use doula_sys::signal::SignalSet;
use doula_sys::{Result, group, pidfd};

/// How deep the tree is followed; one handle is held for each level. Deeper ones come up to us when those
/// above them end.
const DEEPEST: u32 = 200;

/// How often is looked for those who were born into a new group meanwhile. Whoever is faster than this all the
/// time cannot be had by looking.
const MOST_LOOKS: u32 = 16;

/// Whether `/proc` is the one of the namespace in which we are PID 1: only in its own is our number 1.
pub(super) fn proc_is_ours() -> bool {
    let mut buffer = [0; 2];
    let file = fd::open(c"/proc/self/stat", Access::Read);
    file.and_then(|file| fd::read_full(&file, &mut buffer)).is_ok() && buffer == *b"1 "
}

/// As PID 1: sends a signal to everybody whose group was not told yet, group by group, so that nobody can be
/// born past it within a group.
///
/// Never a part of its caller: its large buffer would cost a page of stack before the main process is told.
///
/// # Errors
/// When `/proc` cannot be read.
#[inline(never)]
pub(super) fn send_to_other_groups(told: Pid, signal: Signal) -> Result<()> {
    let ours = group::getpgid(None).ok();
    let mut told = Vec::from([told]);
    for _ in 0..MOST_LOOKS {
        let before = told.len();
        processes(|pid| {
            // A group whose leader lives outside of the namespace has no number here; and ours has us in it.
            let group = group::getpgid(Some(pid)).ok().filter(|group| Some(*group) != ours);
            let target = group.unwrap_or(pid);
            if pid == Pid::INIT || told.contains(&target) {
                return;
            }
            told.push(target);
            // It may be gone by now.
            let _ = match group {
                Some(group) => pidfd::send_group(group, signal),
                None => pidfd::open(pid).and_then(|handle| pidfd::send(handle, signal)),
            };
        })?;
        if told.len() == before {
            break;
        }
    }
    Ok(())
}

/// Sends a signal to every descendant but `except`, whose own descendants are not left out.
///
/// # Errors
/// When `/proc` cannot be read.
pub(super) fn send_to_descendants(own: Pid, except: Option<Pid>, signal: Signal) -> Result<()> {
    let sweep = Sweep { own, except, signal, seen: everybody()? };
    sweep.below(own, None, 0);
    Ok(())
}

/// A process and its parent.
type Pair = (i32, i32);

struct Sweep {
    own: Pid,
    except: Option<Pid>,
    signal: Signal,
    seen: Vec<Pair>,
}

impl Sweep {
    fn below(&self, parent: Pid, handle: Option<BorrowedFd<'_>>, depth: u32) {
        if depth >= DEEPEST {
            return;
        }
        let children = self.seen.iter().filter(|(_, above)| *above == parent.get());
        for child in children.filter_map(|(pid, _)| Pid::new(*pid)) {
            let Ok(own) = pidfd::open(child) else { continue };
            if !self.is_ours(child, own.as_fd(), parent, handle) {
                continue;
            }
            if self.except != Some(child) {
                // It may be gone by now.
                let _ = pidfd::send(&own, self.signal);
            }
            self.below(child, Some(own.as_fd()), depth + 1);
        }
    }

    /// Whether the process of this handle is a child of `parent`, or by now of us.
    fn is_ours(&self, pid: Pid, own: BorrowedFd<'_>, parent: Pid, handle: Option<BorrowedFd<'_>>) -> bool {
        let above = parent_of(pid);
        let adopted = above == Some(self.own.get());
        let still = above == Some(parent.get()) && handle.is_none_or(pidfd::exists);
        (adopted || still) && pidfd::exists(own)
    }
}

fn everybody() -> Result<Vec<Pair>> {
    let mut found = Vec::new();
    processes(|pid| {
        if let Some(parent) = parent_of(pid) {
            found.push((pid.get(), parent));
        }
    })?;
    Ok(found)
}

/// Calls `each` with the number of every process that `/proc` shows.
fn processes(mut each: impl FnMut(Pid)) -> Result<()> {
    let proc = fd::open(c"/proc", Access::Directory)?;
    let mut any = false;
    fd::entries(&proc, |name| {
        let pid = core::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).and_then(Pid::new);
        if let Some(pid) = pid {
            any = true;
            each(pid);
        }
    })?;
    // An empty /proc (not mounted) must not pass for an empty family.
    if any { Ok(()) } else { Err(Errno::ENOENT) }
}

/// The fourth field of `/proc/PID/stat`. The second is the name, which may hold anything, parentheses too.
fn parent_of(pid: Pid) -> Option<i32> {
    let mut buffer = [0; 512];
    let text = read(pid, "stat", &mut buffer)?;
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let rest = core::str::from_utf8(text.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The signals that a process catches or ignores.
pub(super) fn treated(pid: Pid) -> Option<SignalSet> {
    let mut buffer = [0; 2048];
    let text = core::str::from_utf8(read(pid, "status", &mut buffer)?).ok()?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(value.trim(), 16).ok()
    };
    let bits = field("SigIgn:")? | field("SigCgt:")?;
    Some(Signal::all().filter(|signal| bits >> (signal.number() - 1) & 1 == 1).collect())
}

fn read<'a>(pid: Pid, file: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let path = alloc::format!("/proc/{pid}/{file}\0");
    let path = core::ffi::CStr::from_bytes_with_nul(path.as_bytes()).ok()?;
    let file = fd::open(path, Access::Read).ok()?;
    let count = fd::read_full(&file, buffer).ok()?;
    buffer.get(..count)
}
