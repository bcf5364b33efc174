//! ptrace(2) by bare numbers, as far as signals, stops and ends go.

use crate::ptrace::{CONT, DETACH, INTERRUPT, SEIZE};
use crate::{Result, raw};
use doula_model::plan::Errno;

const TRACEME: usize = 0;
const ATTACH: usize = 16;
/// `PTRACE_O_EXITKILL`.
const EXIT_KILL: usize = 1 << 20;

fn trace(request: usize, pid: i32, data: usize) -> Result<()> {
    // SAFETY: each caller passes a request that takes numbers alone.
    unsafe { raw::call(libc::SYS_ptrace, [request, pid as usize, 0, data, 0, 0]) }.map(drop)
}

/// `ptrace(PTRACE_TRACEME)`—from now on the parent traces this thread. EPERM when it is traced already.
///
/// <https://man7.org/linux/man-pages/man2/ptrace.2.html>
pub fn trace_me() -> Result<()> {
    trace(TRACEME, 0, 0)
}

/// `ptrace(PTRACE_ATTACH, pid)`—the calling thread traces it, and sends it SIGSTOP.
pub fn attach(pid: i32) -> Result<()> {
    trace(ATTACH, pid, 0)
}

/// `ptrace(PTRACE_SEIZE, pid, 0, options)`—the calling thread traces it; it dies with the tracer if that is asked for.
pub fn seize(pid: i32, dies_with_us: bool) -> Result<()> {
    trace(SEIZE, pid, if dies_with_us { EXIT_KILL } else { 0 })
}

/// `ptrace(PTRACE_INTERRUPT, pid)`—stops one that was seized.
pub fn interrupt(pid: i32) -> Result<()> {
    trace(INTERRUPT, pid, 0)
}

/// `ptrace(PTRACE_CONT, pid, 0, signal)`—lets it go on from a stop.
pub fn go_on(pid: i32, signal: i32) -> Result<()> {
    trace(CONT, pid, signal as usize)
}

/// `ptrace(PTRACE_DETACH, pid, 0, signal)`—lets it go on from a stop, and be traced by nobody.
pub fn detach(pid: i32, signal: i32) -> Result<()> {
    trace(DETACH, pid, signal as usize)
}

/// Whether a sandbox lets ptrace(2) through: of a number that nobody has it says that nobody has it.
pub fn is_there() -> bool {
    seize(i32::MAX, false) == Err(Errno::ESRCH)
}
