//! Low numbers for the fds of a child, so that its birth does not depend on how many fds we have.
//!
//! A child with a file table of its own starts with a copy of ours, and closes it: a supervisor of a thousand
//! services would copy and close thousands of fds for each birth. So the child shares our table at first and
//! then takes a copy of its lower end only (close_range(2) with `CLOSE_RANGE_UNSHARE`). The fds that it needs
//! are put there, into slots that are kept for this since the first birth, when few fds were open.
//!
//! The slots belong to one birth at a time; another thread that gives birth meanwhile, or a plan that needs
//! more of them, goes the slow way.

use super::clone::Way;
use crate::fd::{self, Access, IntoRawFd, RawFd};
use crate::raw;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use doula_model::plan::{ChildPlan, Errno, FdMapping, Session};

/// Standard error, up to which a child inherits what its plan does not mention.
const HIGHEST_STANDARD: RawFd = 2;

/// Where the fds of a plan are for the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In slots, if they are free and enough: for a process whose fds are all its own business.
    Slots,
    /// Where they are: nothing is kept open, and no number is written to that somebody else may have closed.
    AsTheyAre,
}

/// As many as a service with a few sockets needs.
const COUNT: usize = 12;

/// The slots, and one more that fills the free ones; -1 before the first birth. They stay open for ever.
static NUMBERS: [AtomicI32; COUNT + 1] = [const { AtomicI32::new(-1) }; COUNT + 1];

/// Whether a birth uses them.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The fds of a plan, by the numbers at which the child finds them.
#[derive(Clone)]
pub(super) struct Fds {
    pub(super) mappings: Vec<FdMapping>,
    pub(super) session: Session,
    pub(super) cgroup_procs: Vec<i32>,
    /// The directory of the cgroup that the child moves to by itself.
    pub(super) cgroup: Option<i32>,
    /// The child shares our table: it must take its copy, without what is above this number.
    pub(super) shared_up_to: Option<u32>,
    /// How many slots are in use.
    used: usize,
}

impl Fds {
    /// For a birth by this way, from this place.
    pub(super) fn new(plan: &ChildPlan, way: Way, place: Place) -> Fds {
        let in_place = Fds::in_place(plan, way);
        // The lower end of our table is not enough for a child that keeps what it finds.
        match place {
            _ if plan.keep_fds || !way.shared_files => in_place,
            Place::Slots => in_place.lowered(),
            Place::AsTheyAre => in_place.low_end(),
        }
    }

    /// The child takes a copy of our table up to the highest number that it needs.
    fn low_end(mut self) -> Fds {
        let terminal = terminal_of(self.session);
        let named = self.mappings.iter().map(|fd| fd.from).chain(self.cgroup_procs.iter().copied());
        let highest = named.chain(self.cgroup).chain(terminal).chain([HIGHEST_STANDARD]).max();
        self.shared_up_to = highest.and_then(|number| u32::try_from(number).ok());
        self
    }

    /// As they are: the child gets a copy of our whole table.
    fn in_place(plan: &ChildPlan, way: Way) -> Fds {
        Fds {
            mappings: plan.fds.clone(),
            session: plan.session,
            cgroup_procs: plan.cgroup_procs.clone(),
            cgroup: plan.cgroup.filter(|_| !way.into_cgroup),
            shared_up_to: None,
            used: 0,
        }
    }

    /// In slots, if they are free and enough.
    fn lowered(self) -> Fds {
        let needed = self.mappings.len() + self.cgroup_procs.len() + usize::from(self.cgroup.is_some()) + 1;
        if needed > COUNT || TAKEN.swap(true, Ordering::Acquire) {
            return self;
        }
        let mut lowered = self.clone();
        match lowered.move_into_slots() {
            Ok(highest) => lowered.shared_up_to = Some(highest),
            Err(_) => {
                lowered.give_back();
                return self;
            }
        }
        lowered
    }

    /// The highest number that the child needs.
    fn move_into_slots(&mut self) -> Result<u32, Errno> {
        // Slot 0 is the filler; `used` counts what must be given back.
        self.used = 1;
        reserve()?;
        let highest = NUMBERS.iter().map(|number| number.load(Ordering::Relaxed)).max();
        let highest = highest.unwrap_or(2).max(2);
        let wanted = self.mappings.clone();
        for index in 0..wanted.len() {
            self.lower_mapping(index, highest, &wanted)?;
        }
        for index in 0..self.cgroup_procs.len() {
            self.cgroup_procs[index] = self.lower(self.cgroup_procs[index], highest)?;
        }
        if let Some(cgroup) = self.cgroup {
            self.cgroup = Some(self.lower(cgroup, highest)?);
        }
        if let Some(terminal) = terminal_of(self.session) {
            let slot = self.lower(terminal, highest)?;
            self.session = with_terminal(self.session, slot);
        }
        Ok(highest as u32)
    }

    /// A low number for an fd of ours: its own, if it is low already.
    fn lower(&mut self, number: RawFd, highest: RawFd) -> Result<RawFd, Errno> {
        if (0..=highest).contains(&number) {
            return Ok(number);
        }
        let slot = lower_into(self.used, number)?;
        self.used += 1;
        Ok(slot)
    }

    /// The same for the next mapping. Standard output and error are often one pipe, which takes one slot.
    fn lower_mapping(&mut self, index: usize, highest: RawFd, wanted: &[FdMapping]) -> Result<(), Errno> {
        let twin = wanted[..index].iter().position(|before| before.from == wanted[index].from);
        self.mappings[index].from = match twin {
            Some(before) => self.mappings[before].from,
            None => self.lower(wanted[index].from, highest)?,
        };
        Ok(())
    }

    /// The child has its own table: the slots are for the next birth.
    pub(super) fn give_back(&mut self) {
        if self.used == 0 {
            return;
        }
        for slot in 1..self.used {
            // It cannot fail: both numbers are open, and stay so.
            let _ = lower_into(slot, NUMBERS[0].load(Ordering::Relaxed));
        }
        self.used = 0;
        self.shared_up_to = None;
        TAKEN.store(false, Ordering::Release);
    }
}

/// Opens the slots, once.
fn reserve() -> Result<(), Errno> {
    for slot in &NUMBERS {
        if slot.load(Ordering::Relaxed) < 0 {
            let filler = fd::open(c"/", Access::Directory)?;
            slot.store(filler.into_raw_fd(), Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Puts an fd into a slot.
fn lower_into(slot: usize, number: RawFd) -> Result<RawFd, Errno> {
    let to = NUMBERS[slot].load(Ordering::Relaxed);
    let args = [number as usize, to as usize, libc::O_CLOEXEC as usize, 0, 0, 0];
    // SAFETY: dup3 takes numbers only, and the number that it changes is ours for ever.
    unsafe { raw::call(libc::SYS_dup3, args) }.map(|_| to)
}

const fn terminal_of(session: Session) -> Option<RawFd> {
    match session {
        Session::NewGroup { terminal } | Session::NewSession { terminal } => terminal,
        Session::Inherit | Session::NewSessionUnled | Session::JoinGroup(_) => None,
    }
}

const fn with_terminal(session: Session, fd: RawFd) -> Session {
    match session {
        Session::NewGroup { .. } => Session::NewGroup { terminal: Some(fd) },
        Session::NewSession { .. } => Session::NewSession { terminal: Some(fd) },
        Session::Inherit | Session::NewSessionUnled | Session::JoinGroup(_) => session,
    }
}
