//! Every descendant, found through `/proc`, when we are not PID 1 and the kernel cannot do it for us.
//!
//! A number that was read may pass to a stranger at any time, and no stranger may be hit. So nothing is
//! believed before it was seen twice: a handle is taken, the parent is read again, and then both handles, the
//! process's and its parent's, still name living (or unburied) processes. Our own children need no such care:
//! only we bury them.

use alloc::vec::Vec;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{self, Access, AsFd, BorrowedFd};
use doula_sys::signal::SignalSet;
use doula_sys::{Result, pidfd};

/// How deep the tree is followed; one handle is held for each level. Deeper ones come up to us when those
/// above them end.
const DEEPEST: u32 = 200;

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
    let proc = fd::open(c"/proc", Access::Directory)?;
    let mut found = Vec::new();
    fd::entries(&proc, |name| {
        let pid = core::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).and_then(Pid::new);
        if let Some(pid) = pid
            && let Some(parent) = parent_of(pid)
        {
            found.push((pid.get(), parent));
        }
    })?;
    // An empty /proc (not mounted) must not pass for an empty family.
    if found.is_empty() { Err(Errno::ENOENT) } else { Ok(found) }
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
