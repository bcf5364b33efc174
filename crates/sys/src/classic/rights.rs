//! Users, limits, namespaces, and the end of one thread alone.

use crate::{Result, raw};

fn call(number: i64, args: [usize; 4]) -> Result<usize> {
    // SAFETY: each caller below passes numbers, or pointers to what outlives the call, as the call expects.
    unsafe { raw::call(number, [args[0], args[1], args[2], args[3], 0, 0]) }
}

/// `setuid(uid)` of this thread: real, effective and saved, when it may.
///
/// <https://man7.org/linux/man-pages/man2/setuid.2.html>
pub fn setuid(uid: u32) -> Result<()> {
    call(libc::SYS_setuid, [uid as usize, 0, 0, 0]).map(drop)
}

/// `setrlimit(RLIMIT_NPROC, most)`, the soft one only.
///
/// <https://man7.org/linux/man-pages/man2/setrlimit.2.html>
pub fn limit_processes(most: u64) -> Result<()> {
    limit(libc::RLIMIT_NPROC as usize, most)
}

/// `setrlimit(RLIMIT_STACK, bytes)`, the soft one only.
pub fn limit_stack(bytes: u64) -> Result<()> {
    limit(libc::RLIMIT_STACK as usize, bytes)
}

/// `setitimer(ITIMER_REAL)` as alarm(2): the seconds that were left, rounded up.
///
/// <https://man7.org/linux/man-pages/man2/alarm.2.html>
pub fn alarm(seconds: u32) -> Result<u32> {
    let (new, mut old) = ([0, 0, i64::from(seconds), 0_i64], [0_i64; 4]);
    let list = [libc::ITIMER_REAL as usize, (&raw const new) as usize, (&raw mut old) as usize, 0];
    call(libc::SYS_setitimer, list)?;
    Ok((old[2] + i64::from(old[3] > 0)) as u32)
}

/// `setrlimit(RLIMIT_CORE, 0)`: nobody who dies here leaves a file.
pub fn no_cores() -> Result<()> {
    limit(libc::RLIMIT_CORE as usize, 0)
}

fn limit(kind: usize, most: u64) -> Result<()> {
    let mut both = [0_u64; 2];
    call(libc::SYS_prlimit64, [0, kind, 0, (&raw mut both) as usize])?;
    both[0] = most.min(both[1]);
    call(libc::SYS_prlimit64, [0, kind, (&raw const both) as usize, 0]).map(drop)
}

/// `unshare(CLONE_NEWPID)`: the next child is the init of a namespace, later ones are born into it.
///
/// <https://man7.org/linux/man-pages/man2/unshare.2.html>
pub fn unshare_pid() -> Result<()> {
    call(libc::SYS_unshare, [libc::CLONE_NEWPID as usize, 0, 0, 0]).map(drop)
}

/// `unshare(CLONE_NEWUSER)`: an own user namespace, in which one has all rights once its maps are written.
pub fn unshare_user() -> Result<()> {
    call(libc::SYS_unshare, [libc::CLONE_NEWUSER as usize, 0, 0, 0]).map(drop)
}

/// `prctl(PR_GET_PDEATHSIG)`: 0 for none.
pub fn death_signal() -> Result<i32> {
    let mut signal = 0_i32;
    call(libc::SYS_prctl, [libc::PR_GET_PDEATHSIG as usize, (&raw mut signal) as usize, 0, 0])?;
    Ok(signal)
}

/// `gettid()`.
pub fn gettid() -> i32 {
    call(libc::SYS_gettid, [0; 4]).map_or(0, |tid| tid as i32)
}

/// `exit(code)` of the calling thread alone. What it has on its stack stays there for good.
///
/// <https://man7.org/linux/man-pages/man2/_exit.2.html>
pub fn exit_thread(code: i32) -> ! {
    loop {
        let _ = call(libc::SYS_exit, [code as usize, 0, 0, 0]);
    }
}
