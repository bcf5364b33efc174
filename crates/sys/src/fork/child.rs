//! The child between clone and exec: bare system calls in the order of [`Step`], nothing else.
//!
//! It shares the memory of its parent, whose calling thread stands still; other threads of it may hold any
//! lock. So nothing here allocates, locks, panics or calls a C library.

use super::clone::{CloneArgs, SIZE_WITHOUT_CGROUP};
use super::prepared::{PID_DIGITS, Prepared};
use crate::signal::Action;
use crate::{Result, raw, signal};
use core::ffi::CStr;
use doula_model::plan::{Capabilities, Credentials, Errno, Resource, Rlimit, Session, SpawnError, Step};
use doula_model::signal::Signal;

/// The result of a step: what failed, and why.
type Done = core::result::Result<(), SpawnError>;

/// Where the child begins, with the address of its [`Prepared`]; it ends in a program or in `_exit`.
pub(super) extern "C" fn main(prepared: usize) -> ! {
    // SAFETY: the parent passes the address of a `Prepared` that it does not touch until we are done.
    let prepared = unsafe { &mut *(prepared as *mut Prepared<'_>) };
    prepared.begin();
    if let Err(error) = become_program(prepared) {
        prepared.fail(error);
    }
    loop {
        // SAFETY: takes a number only, and does not return.
        unsafe { raw::syscall(libc::SYS_exit_group, [127, 0, 0, 0, 0, 0]) };
    }
}

fn become_program(prepared: &mut Prepared<'_>) -> Done {
    let plan = prepared.plan;
    if prepared.fds.session == Session::NewSessionUnled {
        leave_a_session_without_leader(prepared)?;
    } else {
        own_fd_table(prepared.fds.shared_up_to).or_fail(Step::CloseRest)?;
    }
    parent_death_signal(prepared).or_fail(Step::ParentDeathSignal)?;
    join_cgroups(prepared).or_fail(Step::Cgroup)?;
    stand_in_session(prepared.fds.session)?;
    set_rlimits(prepared)?;
    set_affinity(&prepared.affinity).or_fail(Step::Affinity)?;
    set_nice(plan.nice).or_fail(Step::Nice)?;
    set_oom_score(prepared).or_fail(Step::OomScore)?;
    change_directory(prepared).or_fail(Step::Directory)?;
    place_fds(prepared).or_fail(Step::Fds)?;
    if !plan.keep_fds {
        close_rest(&prepared.kept, prepared.nothing_above()).or_fail(Step::CloseRest)?;
    }
    set_late_rlimits(prepared)?;
    change_privileges(prepared)?;
    if plan.no_new_privs {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).or_fail(Step::NoNewPrivs)?;
    }
    write_listen_pid(prepared);
    clean_signals(prepared).or_fail(Step::Signals)?;
    execute(prepared).or_fail(Step::Exec)
}

/// Names the step that an error belongs to.
trait OrFail {
    fn or_fail(self, step: Step) -> Done;
}

impl<T> OrFail for Result<T> {
    #[inline(always)]
    fn or_fail(self, step: Step) -> Done {
        match self {
            Ok(_) => Ok(()),
            Err(errno) => Err(SpawnError { step, errno }),
        }
    }
}

/// A system call that takes numbers, or addresses inside of `Prepared`.
#[inline(always)]
pub(super) fn call(number: i64, a: usize, b: usize, c: usize) -> Result<usize> {
    // SAFETY: every caller, here and in `close`, passes numbers, or pointers to data that the parent keeps for us.
    unsafe { raw::call(number, [a, b, c, 0, 0, 0]) }
}

#[inline(always)]
fn prctl(option: i32, a: usize, b: usize) -> Result<usize> {
    // SAFETY: the options used here take numbers only.
    unsafe { raw::call(libc::SYS_prctl, [option as usize, a, b, 0, 0, 0]) }
}

/// Takes a copy of the lower end of a table that is shared with the parent.
fn own_fd_table(shared_up_to: Option<u32>) -> Result<()> {
    const CLOSE_RANGE_UNSHARE: usize = 1 << 1;
    let Some(highest) = shared_up_to else { return Ok(()) };
    call(libc::SYS_close_range, highest as usize + 1, u32::MAX as usize, CLOSE_RANGE_UNSHARE).map(drop)
}

/// Makes a session, and goes on as a sibling of its leader, who ends. It is a child of our parent too, and has a handle there from
/// its birth where the fds are still those of the parent.
fn leave_a_session_without_leader(prepared: &mut Prepared<'_>) -> Done {
    call(libc::SYS_setsid, 0, 0, 0).or_fail(Step::Session)?;
    let shared = prepared.fds.shared_up_to;
    if shared.is_some() && go_on_with_a_handle(prepared).is_ok() {
        return own_fd_table(shared).or_fail(Step::CloseRest);
    }
    own_fd_table(shared).or_fail(Step::CloseRest)?;
    let flags = SIBLING | libc::CLONE_PARENT_SETTID;
    let list = [flags as usize, 0, &raw mut prepared.sibling as usize, 0, 0, 0];
    // SAFETY: the flags are as they must be, the number goes into memory that our parent keeps for us, and we have nothing
    // else to do.
    unsafe { raw::go_on_in_a_child(libc::SYS_clone, list) }.or_fail(Step::Session)
}

const SIBLING: i32 = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT;

/// As a sibling whose handle is made in the fd table that it and we share with our parent: so it is there also when the sibling
/// ends at once, and the kernel or another thread buries it. It may fail for want of a number, or of clone3(2).
fn go_on_with_a_handle(prepared: &mut Prepared<'_>) -> Result<()> {
    let flags = SIBLING | libc::CLONE_PARENT_SETTID | libc::CLONE_PIDFD | libc::CLONE_FILES;
    let args = CloneArgs {
        flags: flags as u64,
        pidfd: &raw mut prepared.sibling_handle as u64,
        parent_tid: &raw mut prepared.sibling as u64,
        ..CloneArgs::default()
    };
    let list = [&raw const args as usize, SIZE_WITHOUT_CGROUP, 0, 0, 0, 0];
    // SAFETY: the flags are as they must be, the addresses are in memory that our parent keeps for us, and we have nothing
    // else to do.
    let gone_on = unsafe { raw::go_on_in_a_child(libc::SYS_clone3, list) };
    if gone_on.is_err() {
        // The kernel may have written it before it failed.
        prepared.sibling_handle = -1;
    }
    gone_on
}

/// The signal is bound to the parent's thread, which cannot die by anything but SIGKILL while it waits for us;
/// if it did before this call, nobody is left who would want us.
fn parent_death_signal(prepared: &Prepared<'_>) -> Result<()> {
    let Some(signal) = prepared.plan.parent_death_signal else { return Ok(()) };
    prctl(libc::PR_SET_PDEATHSIG, signal.number() as usize, 0)?;
    match call(libc::SYS_getppid, 0, 0, 0) {
        Ok(parent) if parent == prepared.parent as usize => Ok(()),
        _ => Err(Errno::ESRCH),
    }
}

/// A cgroup into which we were not born, then those of the v1 hierarchies. "0" is whoever writes.
fn join_cgroups(prepared: &Prepared<'_>) -> Result<()> {
    let join = |fd: usize| write_all(fd, b"0".as_ptr(), 1);
    if let Some(directory) = prepared.fds.cgroup {
        let fd = open_at(directory as usize, c"cgroup.procs", libc::O_WRONLY)?;
        let joined = join(fd);
        call(libc::SYS_close, fd, 0, 0)?;
        joined?;
    }
    prepared.fds.cgroup_procs.iter().try_for_each(|&fd| join(fd as usize))
}

pub(super) fn open_at(directory: usize, path: &CStr, flags: i32) -> Result<usize> {
    call(libc::SYS_openat, directory, path.as_ptr() as usize, (flags | libc::O_CLOEXEC) as usize)
}

fn write_all(fd: usize, bytes: *const u8, length: usize) -> Result<()> {
    match call(libc::SYS_write, fd, bytes as usize, length) {
        Ok(written) if written == length => Ok(()),
        Ok(_) => Err(Errno::EIO),
        Err(errno) => Err(errno),
    }
}

fn stand_in_session(session: Session) -> Done {
    match session {
        // The latter was done at the beginning.
        Session::Inherit | Session::NewSessionUnled => Ok(()),
        Session::JoinGroup(group) => call(libc::SYS_setpgid, 0, group.get() as usize, 0).or_fail(Step::Group),
        Session::NewGroup { terminal } => {
            call(libc::SYS_setpgid, 0, 0, 0).or_fail(Step::Group)?;
            let Some(fd) = terminal else { return Ok(()) };
            let group = call(libc::SYS_getpid, 0, 0, 0).unwrap_or(0) as i32;
            // Every signal is blocked, so that SIGTTOU cannot stop us.
            let request = libc::TIOCSPGRP as usize;
            call(libc::SYS_ioctl, fd as usize, request, &raw const group as usize).or_fail(Step::Terminal)
        }
        Session::NewSession { terminal } => {
            call(libc::SYS_setsid, 0, 0, 0).or_fail(Step::Session)?;
            let Some(fd) = terminal else { return Ok(()) };
            call(libc::SYS_ioctl, fd as usize, libc::TIOCSCTTY as usize, 0).or_fail(Step::Terminal)
        }
    }
}

fn set_rlimits(prepared: &Prepared<'_>) -> Done {
    for &limit in &prepared.plan.rlimits {
        let late = limit.resource == Resource::Nofile && prepared.late_nofile;
        if !late {
            prlimit(limit).or_fail(Step::Rlimit(limit.resource))?;
        }
    }
    Ok(())
}

/// Fewer open files than we may have: that would be in the way of the fds on their way, so it comes after them.
fn set_late_rlimits(prepared: &Prepared<'_>) -> Done {
    if !prepared.late_nofile {
        return Ok(());
    }
    let nofile = prepared.plan.rlimits.iter().filter(|limit| limit.resource == Resource::Nofile);
    nofile.copied().try_for_each(|limit| prlimit(limit).or_fail(Step::Rlimit(Resource::Nofile)))
}

fn prlimit(limit: Rlimit) -> Result<usize> {
    let value = [limit.soft, limit.hard];
    call(libc::SYS_prlimit64, 0, limit.resource as usize, value.as_ptr() as usize)
}

fn set_affinity(mask: &[u64]) -> Result<()> {
    if mask.is_empty() {
        return Ok(());
    }
    call(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr() as usize).map(drop)
}

fn set_nice(nice: Option<i8>) -> Result<()> {
    let Some(nice) = nice else { return Ok(()) };
    call(libc::SYS_setpriority, libc::PRIO_PROCESS as usize, 0, nice as isize as usize).map(drop)
}

/// The kernel knows that a vfork child means itself only, although the memory is its parent's too.
fn set_oom_score(prepared: &Prepared<'_>) -> Result<()> {
    let Some(text) = &prepared.oom_score_adj else { return Ok(()) };
    let fd = open_at(libc::AT_FDCWD as usize, c"/proc/self/oom_score_adj", libc::O_WRONLY)?;
    let written = write_all(fd, text.as_ptr(), text.length());
    call(libc::SYS_close, fd, 0, 0)?;
    written
}

fn change_directory(prepared: &Prepared<'_>) -> Result<()> {
    if let Some(mask) = prepared.plan.umask {
        call(libc::SYS_umask, mask as usize, 0, 0)?;
    }
    let Some(dir) = prepared.dir else { return Ok(()) };
    call(libc::SYS_chdir, dir as usize, 0, 0).map(drop)
}

/// Whoever stands on a number that another one gets steps aside first; then everybody goes to his place.
fn place_fds(prepared: &mut Prepared<'_>) -> Result<()> {
    let free = prepared.free_number as usize;
    for step in prepared.moves.iter_mut().filter(|step| step.aside) {
        step.from = call(libc::SYS_fcntl, step.from as usize, libc::F_DUPFD_CLOEXEC as usize, free)? as i32;
    }
    for step in &prepared.moves {
        let (from, to) = (step.from as usize, step.to as usize);
        if from == to {
            call(libc::SYS_fcntl, from, libc::F_SETFD as usize, 0)?;
        } else {
            call(libc::SYS_dup3, from, to, 0)?;
        }
    }
    Ok(())
}

fn close_rest(kept: &[i32], nothing_above: u32) -> Result<()> {
    let mut first = 0u32;
    for &number in kept {
        let number = number as u32;
        if number > first && first <= nothing_above {
            close_range(first, number - 1)?;
        }
        first = number.saturating_add(1);
    }
    if first <= nothing_above { close_range(first, u32::MAX) } else { Ok(()) }
}

fn close_range(first: u32, last: u32) -> Result<()> {
    match call(libc::SYS_close_range, first as usize, last as usize, 0) {
        // Before Linux 5.9, or in a sandbox that does not know it.
        Err(Errno::ENOSYS | Errno::EPERM) => {
            super::close::listed(first, last).or_else(|_| super::close::every(first, last))
        }
        answer => answer.map(drop),
    }
}

/// Bounding set first, while we may; then groups, user, and what is to be held by an ordinary user.
fn change_privileges(prepared: &Prepared<'_>) -> Done {
    let plan = prepared.plan;
    if let Some(capabilities) = plan.capabilities {
        drop_bounding(capabilities.bounding).or_fail(Step::Capabilities)?;
        if capabilities.ambient != 0 {
            prctl(libc::PR_SET_KEEPCAPS, 1, 0).or_fail(Step::Capabilities)?;
        }
    }
    if let Some(credentials) = &plan.credentials {
        set_groups(credentials, prepared.groups_are_right).or_fail(Step::Groups)?;
        let user = credentials.uid as usize;
        call(libc::SYS_setresuid, user, user, user).or_fail(Step::User)?;
    }
    if let Some(capabilities) = plan.capabilities {
        hold(capabilities).or_fail(Step::Capabilities)?;
    }
    if plan.credentials.is_some() || plan.capabilities.is_some() {
        // A change of user or capabilities takes it away.
        parent_death_signal(prepared).or_fail(Step::ParentDeathSignal)?;
    }
    Ok(())
}

fn set_groups(credentials: &Credentials, already: bool) -> Result<()> {
    if !already {
        let groups = &credentials.groups;
        call(libc::SYS_setgroups, groups.len(), groups.as_ptr() as usize, 0)?;
    }
    let group = credentials.gid as usize;
    call(libc::SYS_setresgid, group, group, group).map(drop)
}

/// Only what is there is dropped, so that nobody needs a privilege for nothing.
fn drop_bounding(bounding: u64) -> Result<()> {
    for capability in 0..64usize {
        match prctl(libc::PR_CAPBSET_READ, capability, 0) {
            Err(_) => return Ok(()),
            Ok(1) if bounding >> capability & 1 == 0 => {
                prctl(libc::PR_CAPBSET_DROP, capability, 0)?;
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// `struct __user_cap_data_struct`, version 3: two of them, the low and the high half.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// An ordinary user holds exactly `ambient`; root keeps what it has for the way to its program, whose sets
/// the kernel makes of the bounding set.
fn hold(capabilities: Capabilities) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut sets = [CapabilityData::default(); 2];
    let (header_at, sets_at) = (header.as_ptr() as usize, sets.as_mut_ptr() as usize);
    call(libc::SYS_capget, header_at, sets_at, 0)?;
    let root = call(libc::SYS_geteuid, 0, 0, 0) == Ok(0);
    let halves = [capabilities.ambient as u32, (capabilities.ambient >> 32) as u32];
    for (set, ambient) in sets.iter_mut().zip(halves) {
        set.inheritable = ambient;
        if !root {
            set.permitted = ambient;
            set.effective = ambient;
        }
    }
    call(libc::SYS_capset, header_at, sets_at, 0)?;
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, 0)?;
    for capability in (0..64usize).filter(|&number| capabilities.ambient >> number & 1 == 1) {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as usize, capability)?;
    }
    Ok(())
}

fn write_listen_pid(prepared: &Prepared<'_>) {
    let Some(at) = prepared.listen_pid else { return };
    let mut rest = call(libc::SYS_getpid, 0, 0, 0).unwrap_or(0);
    let mut digits = [0u8; PID_DIGITS];
    let mut first = PID_DIGITS;
    while rest > 0 && first > 0 {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // SAFETY: the parent left room for this many digits, and a NUL that stays behind them.
    unsafe { core::ptr::copy_nonoverlapping(digits.as_ptr().wrapping_add(first), at, PID_DIGITS - first) };
}

/// Every signal does what it does by default, or nothing if it is listed; none is blocked but the listed. Through the bare
/// calls, so that the C library's own 32 and 33 are clean too.
fn clean_signals(prepared: &Prepared<'_>) -> Result<()> {
    for signal in Signal::all() {
        let clean = prepared.real_time_is_clean && signal::is_real_time(signal);
        if clean || signal == Signal::KILL || signal == Signal::STOP {
            continue;
        }
        let ignore = prepared.ignored >> (signal.number() - 1) & 1 == 1;
        signal::set(signal, if ignore { &Action::IGNORE } else { &Action::DEFAULT })?;
    }
    signal::set_mask(prepared.blocked);
    Ok(())
}

/// What execvp(3) takes for "not in this directory": also a network file system that does not answer.
const fn is_missing(errno: Errno) -> bool {
    matches!(errno.0, libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT)
}

/// Tries the candidates as execvp(3) does: goes on after what is missing or forbidden, and remembers the
/// latter. A file without `#!` is an error, not a shell script.
fn execute(prepared: &Prepared<'_>) -> Result<()> {
    let (args, env) = (prepared.args.as_ptr() as usize, prepared.env.as_ptr() as usize);
    let mut error = Errno::ENOENT;
    for &program in &prepared.programs {
        match call(libc::SYS_execve, program as usize, args, env) {
            Err(Errno::EACCES) => error = Errno::EACCES,
            Err(errno) if is_missing(errno) => {
                if error != Errno::EACCES {
                    error = errno;
                }
            }
            Err(errno) => return Err(errno),
            Ok(_) => {}
        }
    }
    Err(error)
}
