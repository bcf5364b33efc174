//! Numbers of processes: how they are given, who holds them, and namespaces of them.
//!
//! A [`Pid`] is what a number names. It has a number in its own namespace and in each above, and it holds them
//! as long as anybody is a task, in a group, or in a session by that number: so the number of a dead leader is
//! not given to a stranger while his group lives.

use super::Kernel;
use super::slab::{PidId, ProcessId, SpaceId, TaskId};
use alloc::vec::Vec;
use doula_model::plan::Errno;

/// How deep namespaces may be nested. Linux has 32; a number is a row of this many.
const DEEPEST: usize = 6;
/// Below this a number is given once only, before the cursor has passed it (`RESERVED_PIDS`).
const RESERVED: i32 = 300;
/// What `pid_max` can be at most (`PID_MAX_LIMIT`, 64 bits).
const LARGEST: i32 = 4 * 1024 * 1024;

/// What a number names (`struct pid`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pid {
    /// The depth of its own namespace.
    level: usize,
    numbers: [i32; DEEPEST],
    spaces: [SpaceId; DEEPEST],
    /// The task by this number.
    pub(crate) task: Option<TaskId>,
    /// The processes of the group, zombies too, in the order in which they came.
    pub(crate) members: Vec<ProcessId>,
    /// How many processes are in the session, zombies too.
    pub(crate) in_session: u32,
    /// Who needs the row after the numbers are free: sleepers in wait(2), pidfds.
    handles: u32,
    /// How its process ended, once it was released.
    pub(crate) end: Option<i32>,
    /// Whether the numbers are still taken.
    held: bool,
}

impl Pid {
    /// A row of the uppermost namespace's level that names nobody yet.
    fn unnamed(space: SpaceId, held: bool) -> Pid {
        Pid {
            level: 0,
            numbers: [0; DEEPEST],
            spaces: [space; DEEPEST],
            task: None,
            members: Vec::new(),
            in_session: 0,
            handles: 0,
            end: None,
            held,
        }
    }
}

/// A PID namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Space {
    parent: Option<SpaceId>,
    pub(super) level: usize,
    /// Who adopts its orphans.
    pub(crate) reaper: Option<TaskId>,
    /// The number that is tried next.
    next: i32,
    max: i32,
    /// The numbers that are taken, in their order.
    taken: Vec<(i32, PidId)>,
    /// No longer once its init has begun to die.
    open: bool,
    /// How many tasks have their children here.
    pub(crate) future: u32,
}

impl Space {
    pub(crate) fn first() -> Space {
        Space {
            parent: None,
            level: 0,
            reaper: None,
            next: 0,
            max: 0,
            taken: Vec::new(),
            open: true,
            future: 0,
        }
    }

    /// How many numbers are taken.
    pub(crate) fn population(&self) -> usize {
        self.taken.len()
    }

    /// All that is taken, by number.
    pub(crate) fn pids(&self) -> impl Iterator<Item = PidId> {
        self.taken.iter().map(|(_, pid)| *pid)
    }

    fn find(&self, number: i32) -> Option<PidId> {
        let at = self.taken.binary_search_by_key(&number, |(taken, _)| *taken).ok()?;
        Some(self.taken[at].1)
    }

    /// The next free number in cyclic order, from the cursor to the end and then from the beginning.
    fn pick(&self, max: i32) -> Option<i32> {
        let start = if self.next > RESERVED { RESERVED } else { 1 };
        let from = self.next.max(start);
        self.free_from(from, max).or_else(|| self.free_from(start, max))
    }

    fn free_from(&self, from: i32, max: i32) -> Option<i32> {
        let mut at = self.taken.partition_point(|(taken, _)| *taken < from);
        let mut number = from;
        while self.taken.get(at).is_some_and(|(taken, _)| *taken == number) {
            number += 1;
            at += 1;
        }
        (number < max).then_some(number)
    }

    fn take(&mut self, number: i32, pid: PidId) {
        let at = self.taken.partition_point(|(taken, _)| *taken < number);
        self.taken.insert(at, (number, pid));
    }

    fn release(&mut self, number: i32) {
        let at = self.taken.binary_search_by_key(&number, |(taken, _)| *taken);
        self.taken.remove(at.expect("a number is released once"));
    }
}

impl Kernel {
    /// A namespace below this one, without an init yet.
    pub(crate) fn make_space(&mut self, parent: SpaceId) -> Result<SpaceId, Errno> {
        let level = self.spaces[parent].level + 1;
        if level >= DEEPEST {
            return Err(Errno::ENOSPC);
        }
        let max = if self.has(super::version::KernelVersion::PID_MAX_PER_NAMESPACE) {
            LARGEST
        } else {
            self.config.pid_max
        };
        Ok(self.spaces.insert(Space { parent: Some(parent), level, max, ..Space::first() }))
    }

    /// Numbers in a namespace and all above it. EAGAIN when one has none left, ENOMEM when its init is dying,
    /// EEXIST when the wanted one is taken. With the wanted one goes whether the caller may choose.
    pub(crate) fn alloc_pid(&mut self, space: SpaceId, wanted: Option<(i32, bool)>) -> Result<PidId, Errno> {
        let level = self.spaces[space].level;
        let mut row = Pid { level, ..Pid::unnamed(space, true) };
        let mut at = Some(space);
        while let Some(space) = at {
            let own = wanted.filter(|_| self.spaces[space].level == level);
            let (level, number) = (self.spaces[space].level, self.pick_number(space, own)?);
            (row.numbers[level], row.spaces[level]) = (number, space);
            at = self.spaces[space].parent;
        }
        if !self.spaces[space].open {
            return Err(Errno::ENOMEM);
        }
        let pid = self.pids.insert(row.clone());
        for level in 0..=level {
            self.spaces[row.spaces[level]].take(row.numbers[level], pid);
        }
        Ok(pid)
    }

    /// Number 0: the group and the session of who was there before PID 1. Nobody finds it by its number.
    pub(crate) fn make_pid_zero(&mut self) -> PidId {
        self.pids.insert(Pid::unnamed(self.root, false))
    }

    /// A name with the numbers that it had when it was seen: the last in this namespace, those before in the ones above.
    /// Numbers that were not seen are any. `None` when one is taken.
    pub(crate) fn load_pid(&mut self, space: SpaceId, seen: &[i32]) -> Option<PidId> {
        let level = self.spaces[space].level;
        let mut row = Pid { level, ..Pid::unnamed(space, true) };
        let (mut at, mut seen) = (Some(space), seen.iter().rev());
        while let Some(space) = at {
            let found = &self.spaces[space];
            let number = seen.next().copied().or_else(|| found.pick(i32::MAX))?;
            if found.find(number).is_some() {
                return None;
            }
            (row.numbers[found.level], row.spaces[found.level]) = (number, space);
            at = found.parent;
        }
        let pid = self.pids.insert(row.clone());
        for level in 0..=level {
            self.spaces[row.spaces[level]].take(row.numbers[level], pid);
        }
        Some(pid)
    }

    /// Moves the cursor, also when the birth fails afterwards: a failed fork(2) uses numbers up.
    fn pick_number(&mut self, space: SpaceId, wanted: Option<(i32, bool)>) -> Result<i32, Errno> {
        let max = self.pid_max(space);
        let space = &mut self.spaces[space];
        match wanted {
            None => {
                let number = space.pick(max).ok_or(Errno::EAGAIN)?;
                space.next = number + 1;
                Ok(number)
            }
            Some((number, _)) if number < 1 || number >= max => Err(Errno::EINVAL),
            Some((number, _)) if number != 1 && space.reaper.is_none() => Err(Errno::EINVAL),
            Some((_, false)) => Err(Errno::EPERM),
            Some((number, _)) if space.find(number).is_some() => Err(Errno::EEXIST),
            Some((number, _)) => Ok(number),
        }
    }

    /// `/proc/sys/kernel/pid_max`, as it is seen in a namespace.
    pub(crate) fn pid_max(&self, space: SpaceId) -> i32 {
        match self.spaces[space].level {
            0 => self.config.pid_max,
            _ => self.spaces[space].max,
        }
    }

    /// What a number names in a namespace.
    pub(crate) fn find_pid(&self, space: SpaceId, number: i32) -> Option<PidId> {
        self.spaces[space].find(number)
    }

    /// The task by a number, as `task` sees numbers.
    pub(crate) fn find_task(&self, task: TaskId, number: i32) -> Option<TaskId> {
        self.pids[self.find_pid(self.space_of(task), number)?].task
    }

    /// The namespace in which a task lives.
    pub(crate) fn space_of(&self, task: TaskId) -> SpaceId {
        self.own_space(self.tasks[task].pid)
    }

    /// The innermost namespace in which it has a number.
    pub(crate) fn own_space(&self, pid: PidId) -> SpaceId {
        let pid = &self.pids[pid];
        pid.spaces[pid.level]
    }

    /// How deep a task's namespace is.
    pub(crate) fn level_of(&self, task: TaskId) -> usize {
        self.pids[self.tasks[task].pid].level
    }

    /// The number in a namespace; 0 when it has none there.
    pub(crate) fn number_in(&self, pid: PidId, space: SpaceId) -> i32 {
        let (level, pid) = (self.spaces[space].level, &self.pids[pid]);
        if pid.held && level <= pid.level && pid.spaces[level] == space { pid.numbers[level] } else { 0 }
    }

    /// The number in a namespace, also of a group or session that is gone and whose number may be another's now.
    pub(crate) fn last_number_in(&self, pid: PidId, space: SpaceId) -> i32 {
        let (level, pid) = (self.spaces[space].level, &self.pids[pid]);
        if level <= pid.level && pid.spaces[level] == space { pid.numbers[level] } else { 0 }
    }

    /// No further number in this namespace: its init dies.
    pub(crate) fn close_space(&mut self, space: SpaceId) {
        self.spaces[space].open = false;
    }

    /// Whether anybody keeps the row by [`Kernel::hold_pid`].
    pub(crate) fn is_held(&self, pid: PidId) -> bool {
        self.pids[pid].handles > 0
    }

    /// Keeps the row although its numbers may be given away.
    pub(crate) fn hold_pid(&mut self, pid: PidId) {
        self.pids[pid].handles += 1;
    }

    /// Ends what [`Kernel::hold_pid`] began.
    pub(crate) fn let_go_of_pid(&mut self, pid: PidId) {
        self.pids[pid].handles -= 1;
        self.free_pid_if_unused(pid);
    }

    /// Gives the numbers free when nobody is a task, in a group or in a session by them.
    pub(crate) fn free_pid_if_unused(&mut self, pid: PidId) {
        let row = &self.pids[pid];
        if row.task.is_some() || !row.members.is_empty() || row.in_session > 0 {
            return;
        }
        if row.held {
            self.free_numbers(pid);
        }
        if self.pids[pid].handles == 0 {
            self.pids.remove(pid);
        }
    }

    fn free_numbers(&mut self, pid: PidId) {
        self.pids[pid].held = false;
        let row = self.pids[pid].clone();
        for level in 0..=row.level {
            let space = row.spaces[level];
            self.spaces[space].release(row.numbers[level]);
            match (self.spaces[space].population(), self.spaces[space].reaper) {
                (0, _) => self.remove_space_if_unused(space),
                (1 | 2, Some(reaper)) => self.wake_from_zap(reaper),
                _ => {}
            }
        }
    }

    /// A task whose children would be born here is gone.
    pub(crate) fn leave_births(&mut self, space: SpaceId) {
        self.spaces[space].future -= 1;
        self.remove_space_if_unused(space);
    }

    fn remove_space_if_unused(&mut self, space: SpaceId) {
        let row = &self.spaces[space];
        if row.level > 0 && row.population() == 0 && row.future == 0 {
            self.spaces.remove(space);
        }
    }

    /// Makes `next` the number that a namespace tries first (`/proc/sys/kernel/ns_last_pid`, plus one).
    pub fn set_next_pid(&mut self, task: TaskId, next: i32) {
        let space = self.space_of(task);
        self.spaces[space].next = next;
    }

    /// Sets `pid_max` of the namespace of a task: numbers stay below it.
    pub fn set_pid_max(&mut self, task: TaskId, max: i32) {
        let space = self.space_of(task);
        if self.spaces[space].level == 0 {
            self.config.pid_max = max;
        }
        self.spaces[space].max = max;
    }
}
