//! A kernel in the state that a snapshot of a real machine tells of.
//!
//! What a snapshot does not tell is as it is in a process that never asked for anything: no subreaper, no signal at the
//! parent's death, signals at their defaults. Absent on purpose: threads beside the first, memory, descriptors.

use super::Kernel;
use super::call::Caught;
use super::signal::From;
use super::sigset::{Action, Code, SigSet};
use super::slab::{PidId, SpaceId, TaskId};
use super::task::{Family, Place, Process, Stop, Task};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use doula_model::signal::Signal;
use doula_model::snapshot::{self, Snapshot};

/// Why a snapshot is none of a machine. The number is that of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSnapshot {
    /// Its version is not known here.
    Version(u32),
    /// There is no PID 1.
    NoInit,
    /// A number that no process can have, or that two have.
    Number(i32),
    /// It is among its own ancestors.
    OwnAncestor(i32),
    /// Its namespaces are nested deeper than the model goes.
    TooDeep(i32),
}

impl fmt::Display for BadSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadSnapshot::Version(version) => {
                write!(f, "the snapshot has version {version}: only {} is understood", snapshot::VERSION)
            }
            BadSnapshot::NoInit => f.write_str(
                "the snapshot has no PID 1: take it where all processes can be seen (hidepid hides them)",
            ),
            BadSnapshot::Number(pid) => {
                write!(f, "the snapshot has process {pid} twice, or not with a number above 0")
            }
            BadSnapshot::OwnAncestor(pid) => write!(f, "process {pid} of the snapshot is its own ancestor"),
            BadSnapshot::TooDeep(pid) => write!(f, "the PID namespaces of process {pid} are nested too deep"),
        }
    }
}

impl core::error::Error for BadSnapshot {}

/// A kernel with the processes of a snapshot.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The kernel.
    pub kernel: Kernel,
    /// The tasks by their numbers in the snapshot.
    pub tasks: BTreeMap<i32, TaskId>,
    /// Those whose namespace is not known; they are in that of the snapshot.
    pub unplaced: Vec<i32>,
}

impl Kernel {
    /// A kernel in the state that a snapshot tells of.
    ///
    /// # Errors
    /// When it cannot be the table of a machine.
    pub fn load(snapshot: &Snapshot) -> Result<Loaded, BadSnapshot> {
        if snapshot.version != snapshot::VERSION {
            return Err(BadSnapshot::Version(snapshot.version));
        }
        check_ancestors(snapshot)?;
        let mut kernel = Kernel::new();
        // Who is PID 1 of a namespace further down is not the machine's init.
        let root = if snapshot.initial {
            kernel.root
        } else {
            kernel.make_space(kernel.root).map_err(|_| BadSnapshot::NoInit)?
        };
        let mut loader = Loader {
            kernel,
            root,
            spaces: Vec::new(),
            names: BTreeMap::new(),
            tasks: BTreeMap::new(),
            unplaced: Vec::new(),
        };
        let mut rows: Vec<&snapshot::Process> = snapshot.processes.iter().collect();
        // The outer namespaces first, then the elder.
        rows.sort_by_key(|row| (row.numbers.len(), row.started, row.pid));
        let spaces = rows.iter().map(|row| loader.space(row)).collect::<Result<Vec<SpaceId>, _>>()?;
        for (row, space) in rows.iter().zip(&spaces) {
            loader.name(row, *space)?;
        }
        for (row, space) in rows.iter().zip(&spaces) {
            loader.add(row, *space);
        }
        rows.iter().for_each(|row| loader.link(row));
        Ok(Loaded { kernel: loader.kernel, tasks: loader.tasks, unplaced: loader.unplaced })
    }

    /// A signal by kill(2) from PID 1 of the namespace of the snapshot, or from the machine's if that is another one.
    pub(crate) fn send_from(&mut self, sender: TaskId, task: TaskId, signal: Signal) {
        self.send(From::Task(sender, Code::User), task, signal, false);
    }

    /// A signal by the kernel itself.
    pub(crate) fn send_by_kernel(&mut self, task: TaskId, signal: Signal) {
        self.send(From::Kernel, task, signal, false);
    }

    /// A member of each group that was told because it was orphaned, since this was asked last.
    pub(crate) fn take_hung_up(&mut self) -> Vec<TaskId> {
        core::mem::take(&mut self.hung_up)
    }

    /// The wait status of who has begun to die.
    pub(crate) fn dies_of(&self, task: TaskId) -> Option<i32> {
        let process = self.tasks.get(task)?.process;
        self.processes[process].group_exit
    }

    /// The parent's process, by its first thread.
    pub(crate) fn parent_of(&self, task: TaskId) -> Option<TaskId> {
        let parent = self.tasks.get(task)?.family.parent?;
        Some(self.process(parent).leader)
    }

    /// The signals that handlers took, without taking them.
    pub(crate) fn caught(&self, task: TaskId) -> &Caught {
        &self.tasks[task].caught
    }
}

/// Nobody is a number that cannot be, twice, or above himself.
fn check_ancestors(snapshot: &Snapshot) -> Result<(), BadSnapshot> {
    let mut parents = BTreeMap::new();
    for row in &snapshot.processes {
        if row.pid < 1 || parents.insert(row.pid, row.ppid).is_some() {
            return Err(BadSnapshot::Number(row.pid));
        }
    }
    if !parents.contains_key(&1) {
        return Err(BadSnapshot::NoInit);
    }
    for pid in parents.keys() {
        let above = core::iter::successors(parents.get(pid), |above| parents.get(*above));
        if above.take(parents.len() + 1).count() > parents.len() {
            return Err(BadSnapshot::OwnAncestor(*pid));
        }
    }
    Ok(())
}

struct Loader {
    kernel: Kernel,
    /// The namespace of the snapshot.
    root: SpaceId,
    /// Namespaces below: by their number, where it is known, and by their init's.
    spaces: Vec<(Option<u64>, i32, SpaceId)>,
    /// What numbers of the snapshot name.
    names: BTreeMap<i32, PidId>,
    tasks: BTreeMap<i32, TaskId>,
    unplaced: Vec<i32>,
}

impl Loader {
    /// The namespace of a process. Those of its elders are known.
    fn space(&mut self, row: &snapshot::Process) -> Result<SpaceId, BadSnapshot> {
        let depth = row.numbers.len();
        if depth <= 1 {
            return Ok(self.root);
        }
        let known = self.spaces.iter().find(|(number, ..)| number.is_some() && *number == row.namespace);
        if let Some((_, _, space)) = known {
            return Ok(*space);
        }
        let above = self.spaces.iter().find(|(_, init, _)| *init == row.ppid).map(|(.., space)| *space);
        if row.numbers.last() == Some(&1) {
            let space = self.kernel.make_space(above.unwrap_or(self.root));
            let space = space.map_err(|_| BadSnapshot::TooDeep(row.pid))?;
            self.spaces.push((row.namespace, row.pid, space));
            return Ok(space);
        }
        if above.is_none() {
            self.unplaced.push(row.pid);
        }
        Ok(above.unwrap_or(self.root))
    }

    /// Takes the numbers of a process.
    fn name(&mut self, row: &snapshot::Process, space: SpaceId) -> Result<(), BadSnapshot> {
        let first = self.kernel.spaces[self.root].level == 0 && row.pid == 1;
        let levels = self.kernel.spaces[space].level - self.kernel.spaces[self.root].level + 1;
        let numbers = if row.numbers.len() == levels { &row.numbers[..] } else { &[row.pid][..] };
        let name = match first {
            true => self.kernel.tasks[self.kernel.init].pid,
            false => self.kernel.load_pid(space, numbers).ok_or(BadSnapshot::Number(row.pid))?,
        };
        self.names.insert(row.pid, name);
        Ok(())
    }

    /// What a group or session is named by: also when its leader is gone. 0 is one of the host's.
    fn named(&mut self, number: i32) -> PidId {
        let host = self.kernel.tasks[self.kernel.init].pid;
        if let Some(name) = self.names.get(&number) {
            return *name;
        }
        let name = Some(number).filter(|number| *number > 0);
        let name = name.and_then(|number| self.kernel.load_pid(self.root, &[number])).unwrap_or(host);
        self.names.insert(number, name);
        name
    }

    fn add(&mut self, row: &snapshot::Process, space: SpaceId) {
        let pid = self.names[&row.pid];
        let (group, session) = (self.named(row.pgid), self.named(row.sid));
        let init = self.kernel.init;
        let (task, process) = rows_of(row, &self.kernel.tasks[init], self.kernel.process(init));
        let task = Task { pid, births: space, ..task };
        let process =
            Process { group, session, unkillable: row.numbers.last() == Some(&1) || row.pid == 1, ..process };
        let place = task.place;
        let id = if self.kernel.tasks[init].pid == pid {
            self.kernel.process_mut(init).actions = process.actions;
            self.kernel.tasks[init].blocked = task.blocked;
            init
        } else {
            self.kernel.insert(task, process)
        };
        self.kernel.set_place(id, place);
        if self.kernel.spaces[space].reaper.is_none() && self.kernel.number_in(pid, space) == 1 {
            self.kernel.spaces[space].reaper = Some(id);
        }
        self.tasks.insert(row.pid, id);
    }

    /// Puts it among the children of its parent; one whose parent is outside is the host's child.
    fn link(&mut self, row: &snapshot::Process) {
        let task = self.tasks[&row.pid];
        let parent = self.tasks.get(&row.ppid).copied().unwrap_or(self.kernel.init);
        if task != self.kernel.init && task != parent {
            self.kernel.adopt(task, Some(parent));
        }
    }
}

/// The rows of a process, made from those of an init that never did anything.
fn rows_of(row: &snapshot::Process, task: &Task, process: &Process) -> (Task, Process) {
    let signals = row.signals.unwrap_or_default();
    let (ignored, caught) = (SigSet::from_bits(signals.ignored), SigSet::from_bits(signals.caught));
    let mut actions = process.actions;
    for signal in Signal::all() {
        let action = if ignored.has(signal) {
            Action::IGNORE
        } else if caught.has(signal) {
            Action::HANDLER
        } else {
            Action::DEFAULT
        };
        actions.set(signal, action);
    }
    let (stopped, dead) = (matches!(row.state, 'T' | 't'), row.is_dead());
    let place = match (stopped, dead) {
        (true, _) => Place::Stopped { woken: false },
        (_, true) => Place::Zombie,
        _ => Place::User,
    };
    let task = Task {
        family: Family::default(),
        place,
        files: None,
        memory: None,
        image: None,
        blocked: SigSet::from_bits(signals.blocked).without(SigSet::KERNEL_ONLY),
        death_signal: row.death_signal.and_then(Signal::new),
        exiting: dead,
        uid: row.uid.unwrap_or(0),
        ..task.clone()
    };
    let process = Process {
        others: Vec::new(),
        live: u32::from(!dead),
        unhurt: u32::from(!dead),
        is_leader: row.pid == row.sid,
        actions,
        group_exit: dead.then_some(0),
        stop: Stop { stopped, ..Stop::default() },
        subreaper: row.subreaper == Some(true),
        below_subreaper: true,
        ..process.clone()
    };
    (task, process)
}
