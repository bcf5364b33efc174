//! Everything a child needs, laid out before it is born: it may allocate nothing.

use super::slots::Fds;
use crate::Result;
use crate::fd::{self, OwnedFd};
use crate::limits::MAX_CPUS;
use crate::signal::SignalSet;
use alloc::vec::Vec;
use doula_model::id::Pid;
use doula_model::plan::{ChildPlan, Errno, FdMapping, Resource, SpawnError};

/// A plan in the form in which the kernel takes it. The child reads it, and writes [`Prepared::fail`].
pub(super) struct Prepared<'a> {
    pub(super) plan: &'a ChildPlan,
    /// Where the fds of the plan are.
    pub(super) fds: &'a Fds,
    /// The strings of the three lists and the directory, each with its NUL. The lists point into it.
    strings: Vec<u8>,
    pub(super) programs: Vec<*const u8>,
    /// With a null pointer at the end.
    pub(super) args: Vec<*const u8>,
    /// With a null pointer at the end.
    pub(super) env: Vec<*const u8>,
    pub(super) dir: Option<*const u8>,
    /// Where the digits of the child's number go, with room for [`PID_DIGITS`] and a NUL.
    pub(super) listen_pid: Option<*mut u8>,
    pub(super) affinity: Vec<u64>,
    pub(super) oom_score_adj: Option<Text>,
    pub(super) moves: Vec<Move>,
    /// Above every number that a listed fd gets.
    pub(super) free_number: i32,
    /// What stays open after the moves, in ascending order, without repetition.
    pub(super) kept: Vec<i32>,
    /// The limit of open files is lower than ours and would be in the way of the moves: it is set after them.
    pub(super) late_nofile: bool,
    /// The groups are those of the plan already: no privilege is needed for them.
    pub(super) groups_are_right: bool,
    pub(super) ignored: u64,
    pub(super) blocked: SignalSet,
    /// Our number, if the child has to know it.
    pub(super) parent: i32,
    /// The number of the child that goes on for the first one ([`Session::NewSessionUnled`]); 0 without.
    ///
    /// [`Session::NewSessionUnled`]: doula_model::plan::Session::NewSessionUnled
    pub(super) sibling: i32,
    /// Its handle among our fds; -1 if it could not be made with it.
    pub(super) sibling_handle: i32,
    /// The child finds every real-time signal with its default action already.
    pub(super) real_time_is_clean: bool,
    failure: Option<SpawnError>,
    /// The child took its first step.
    begun: bool,
}

/// As many digits as a process number can have.
pub(super) const PID_DIGITS: usize = 10;

/// The way of one fd.
#[derive(Clone, Copy)]
pub(super) struct Move {
    pub(super) from: i32,
    pub(super) to: i32,
    /// Its number is somebody's target: it must step aside first.
    pub(super) aside: bool,
}

/// A short text.
pub(super) struct Text {
    bytes: [u8; 8],
    length: u8,
}

impl Text {
    pub(super) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    pub(super) fn length(&self) -> usize {
        usize::from(self.length)
    }
}

impl<'a> Prepared<'a> {
    /// EINVAL for a plan that means nothing: a NUL byte, no program, no `argv[0]`, two fds with one number, a
    /// CPU that no kernel has. EBADF for a negative fd.
    pub(super) fn new(plan: &'a ChildPlan, fds: &'a Fds) -> Result<Prepared<'a>> {
        if plan.programs.is_empty() || plan.args.is_empty() {
            return Err(Errno::EINVAL);
        }
        let moves = moves(&fds.mappings)?;
        let free_number = plan.fds.iter().map(|fd| fd.to).max().unwrap_or(2).max(2).saturating_add(1);
        let mut prepared = Prepared {
            plan,
            fds,
            strings: Vec::new(),
            programs: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            listen_pid: None,
            affinity: affinity(&plan.affinity)?,
            oom_score_adj: plan.oom_score_adj.map(decimal),
            kept: kept(&plan.fds),
            late_nofile: late_nofile(plan),
            moves,
            free_number,
            groups_are_right: groups_are_right(plan),
            ignored: plan.ignored_signals.iter().copied().collect::<SignalSet>().bits(),
            blocked: plan.blocked_signals.iter().copied().collect(),
            parent: plan.parent_death_signal.map_or(0, |_| crate::group::pid().get()),
            sibling: 0,
            sibling_handle: -1,
            real_time_is_clean: false,
            failure: None,
            begun: false,
        };
        prepared.lay_out_strings()?;
        Ok(prepared)
    }

    /// The number above which the child's table has nothing but what was moved there: it is a copy of our lower end, and
    /// nobody stepped aside.
    pub(super) fn nothing_above(&self) -> u32 {
        let aside = self.moves.iter().any(|step| step.aside);
        self.fds.shared_up_to.filter(|_| !aside).unwrap_or(u32::MAX)
    }

    /// One buffer for all strings, and the lists of pointers into it.
    fn lay_out_strings(&mut self) -> Result<()> {
        let plan = self.plan;
        let all = plan.programs.iter().chain(&plan.args).chain(&plan.env).chain(&plan.dir);
        let room = all.map(|string| string.len() + 1).sum::<usize>() + LISTEN_PID.len() + PID_DIGITS + 1;
        // Never grown again, so that the pointers stay true.
        self.strings.reserve_exact(room);
        self.programs = self.list(&plan.programs, |_| true)?;
        self.args = self.list(&plan.args, |_| true)?;
        let wanted = |entry: &[u8]| !(plan.listen_pid && entry.starts_with(LISTEN_PID));
        self.env = self.list(&plan.env, wanted)?;
        let names: Vec<&[u8]> = plan.env.iter().map(|entry| name_of(entry)).collect();
        let shared = plan
            .shared_env
            .iter()
            .filter(|entry| wanted(entry.to_bytes()) && !names.contains(&name_of(entry.to_bytes())));
        // They live as long as the plan, and need no copy.
        self.env.extend(shared.map(|entry| entry.as_ptr().cast::<u8>()));
        if plan.listen_pid {
            let at = self.end();
            self.env.push(at);
            self.strings.extend_from_slice(LISTEN_PID);
            self.listen_pid = Some(self.end().cast_mut());
            self.strings.extend_from_slice(&[0; PID_DIGITS + 1]);
        }
        if let Some(dir) = &plan.dir {
            self.dir = Some(self.string(dir)?);
        }
        self.args.push(core::ptr::null());
        self.env.push(core::ptr::null());
        assert!(self.strings.len() <= room, "the buffer may not have moved");
        Ok(())
    }

    fn list(&mut self, strings: &[Vec<u8>], wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<*const u8>> {
        // One more for the null pointer, one for LISTEN_PID.
        let mut list = Vec::with_capacity(strings.len() + 2);
        for string in strings.iter().filter(|string| wanted(string)) {
            list.push(self.string(string)?);
        }
        Ok(list)
    }

    fn string(&mut self, string: &[u8]) -> Result<*const u8> {
        if string.contains(&0) {
            return Err(Errno::EINVAL);
        }
        let at = self.end();
        self.strings.extend_from_slice(string);
        self.strings.push(0);
        Ok(at)
    }

    /// Where the next string will be.
    fn end(&mut self) -> *const u8 {
        let length = self.strings.len();
        self.strings.as_mut_ptr().wrapping_add(length)
    }

    /// Called in the child, first of all.
    pub(super) fn begin(&mut self) {
        // SAFETY: as in `fail`.
        unsafe { (&raw mut self.begun).write_volatile(true) };
    }

    /// Whether the child took its first step; if not, it was killed at birth.
    pub(super) fn has_begun(&self) -> bool {
        // SAFETY: as in `failure`.
        unsafe { (&raw const self.begun).read_volatile() }
    }

    /// The number of the child that went on for the first one, and its handle if it has one.
    pub(super) fn sibling(&self) -> Option<(Pid, Option<OwnedFd>)> {
        // SAFETY: as in `failure`.
        let number = unsafe { (&raw const self.sibling).read_volatile() };
        // SAFETY: as in `failure`.
        let handle = unsafe { (&raw const self.sibling_handle).read_volatile() };
        Some((Pid::new(number)?, usize::try_from(handle).ok().map(fd::adopt)))
    }

    /// Called in the child: what we find when we go on.
    pub(super) fn fail(&mut self, error: SpawnError) {
        // SAFETY: the field is ours alone while the parent stands still. Volatile, because the compiler of the
        // parent's code does not know that somebody else wrote.
        unsafe { (&raw mut self.failure).write_volatile(Some(error)) };
    }

    /// The step that failed in the child, if one did.
    pub(super) fn failure(&self) -> Option<SpawnError> {
        // SAFETY: the child is dead or has other memory by now.
        unsafe { (&raw const self.failure).read_volatile() }
    }
}

const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// What stands before the first `=`.
fn name_of(entry: &[u8]) -> &[u8] {
    entry.split(|byte| *byte == b'=').next().unwrap_or(entry)
}

fn moves(fds: &[FdMapping]) -> Result<Vec<Move>> {
    let mut moves = Vec::with_capacity(fds.len());
    for (index, &FdMapping { from, to }) in fds.iter().enumerate() {
        if from < 0 || to < 0 {
            return Err(Errno::EBADF);
        }
        if fds[..index].iter().any(|other| other.to == to) {
            return Err(Errno::EINVAL);
        }
        let aside = from != to && fds.iter().any(|other| other.to == from);
        moves.push(Move { from, to, aside });
    }
    Ok(moves)
}

fn kept(fds: &[FdMapping]) -> Vec<i32> {
    let mut kept: Vec<i32> = fds.iter().map(|fd| fd.to).chain(0..=2).collect();
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Whether the limit of open files gets lower than it is here. How low does not matter: our own fds are in the
/// child's table until they are closed, and stand where the limit allows no new one.
pub(super) fn late_nofile(plan: &ChildPlan) -> bool {
    let ours = || crate::limits::get(Resource::Nofile).map_or(u64::MAX, |limit| limit.soft);
    plan.rlimits.iter().any(|limit| limit.resource == Resource::Nofile && limit.soft < ours())
}

fn affinity(cpus: &[u16]) -> Result<Vec<u64>> {
    let Some(&highest) = cpus.iter().max() else { return Ok(Vec::new()) };
    let highest = usize::from(highest);
    if highest >= MAX_CPUS {
        return Err(Errno::EINVAL);
    }
    let mut mask = alloc::vec![0; highest / 64 + 1];
    for &cpu in cpus {
        mask[usize::from(cpu) / 64] |= 1 << (cpu % 64);
    }
    Ok(mask)
}

fn groups_are_right(plan: &ChildPlan) -> bool {
    let Some(wanted) = &plan.credentials else { return false };
    let Ok(mut ours) = crate::group::supplementary() else { return false };
    let mut theirs = wanted.groups.clone();
    ours.sort_unstable();
    theirs.sort_unstable();
    ours == theirs
}

fn decimal(number: i16) -> Text {
    let mut text = Text { bytes: [0; 8], length: 0 };
    let mut push = |byte| {
        text.bytes[usize::from(text.length)] = byte;
        text.length += 1;
    };
    if number < 0 {
        push(b'-');
    }
    let mut digits = [0; 5];
    let mut rest = number.unsigned_abs();
    let mut count = 0;
    while rest > 0 || count == 0 {
        digits[count] = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    digits[..count].iter().rev().for_each(|&digit| push(digit));
    text
}
