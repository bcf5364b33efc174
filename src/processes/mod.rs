//! Processes as people ask for them: columns by name, conditions, order. What `ps` and `tree` share.

mod columns;
mod condition;
mod value;

pub(crate) use columns::{COLUMNS, Column};
pub(crate) use condition::{Condition, unknown_column};
pub(crate) use value::{Value, printable};

use crate::ui::Style;
use doula_host::procfs::{Locker, Machine, Reader, locker};
use doula_model::id::Pid;
use doula_model::process::{Identity, ProcState, Process};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What must be known beside a process to tell of it.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The machine at the moment of the look.
    pub(crate) machine: Machine,
    /// All memory, in bytes.
    pub(crate) memory: Option<u64>,
    /// Over which time CPU use was measured.
    pub(crate) interval: Option<Duration>,
    /// The CPU time of each at its beginning, in ticks, by identity.
    before: Vec<(Identity, u64)>,
    users: RefCell<BTreeMap<u32, String>>,
    groups: RefCell<BTreeMap<u32, String>>,
}

impl Context {
    /// Now, without a measurement.
    pub(crate) fn now() -> Context {
        Context {
            machine: Machine::now(),
            memory: total_memory(),
            interval: None,
            before: Vec::new(),
            users: RefCell::default(),
            groups: RefCell::default(),
        }
    }

    /// Now, after so long a measurement that began with these.
    pub(crate) fn after(interval: Duration, before: &[Process]) -> Context {
        let ticks = |process: &Process| (process.stat.identity(), process.stat.cpu.0 + process.stat.cpu.1);
        let mut before: Vec<_> = before.iter().map(ticks).collect();
        before.sort_unstable();
        Context { interval: Some(interval), before, ..Context::now() }
    }

    /// At this moment, after a measurement that began with these ticks of each.
    pub(crate) fn measured(
        machine: Machine,
        memory: Option<u64>,
        interval: Option<Duration>,
        mut before: Vec<(Identity, u64)>,
    ) -> Context {
        before.sort_unstable();
        Context { machine, memory, interval, before, users: RefCell::default(), groups: RefCell::default() }
    }

    /// Keeps the names of users and groups that another one has looked up.
    pub(crate) fn with_names_of(mut self, other: Context) -> Context {
        (self.users, self.groups) = (other.users, other.groups);
        self
    }

    /// The CPU time of a process at the beginning of the measurement, in ticks.
    #[cfg(test)]
    pub(crate) fn before(&self, identity: Identity) -> Option<u64> {
        self.ticks_before(identity)
    }

    fn ticks_before(&self, identity: Identity) -> Option<u64> {
        let found = self.before.binary_search_by_key(&identity, |(of, _)| *of).ok()?;
        Some(self.before[found].1)
    }

    /// CPU use over the interval; nothing of whom was born in it.
    fn percent(&self, process: &Process) -> Value<'static> {
        let begun = self.interval.zip(self.ticks_before(process.stat.identity()));
        Value::some(begun, |(interval, before)| {
            let ticks = (process.stat.cpu.0 + process.stat.cpu.1).saturating_sub(before);
            Value::Percent(100.0 * self.machine.ticks(ticks).as_secs_f64() / interval.as_secs_f64())
        })
    }

    fn user(&self, uid: u32) -> String {
        let find = || uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned());
        self.users
            .borrow_mut()
            .entry(uid)
            .or_insert_with(|| find().unwrap_or_else(|| uid.to_string()))
            .clone()
    }

    fn group(&self, gid: u32) -> String {
        let find = || uzers::get_group_by_gid(gid).map(|group| group.name().to_string_lossy().into_owned());
        self.groups
            .borrow_mut()
            .entry(gid)
            .or_insert_with(|| find().unwrap_or_else(|| gid.to_string()))
            .clone()
    }
}

/// `MemTotal` of `/proc/meminfo`.
pub(crate) fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.strip_suffix("kB"))?;
    Some(total.trim().parse::<u64>().ok()? * 1024)
}

/// What stands for the arguments of who has none: its name in brackets, with what became of it.
pub(crate) fn name_of(process: &Process) -> Vec<u8> {
    let name = process.stat.name.as_slice();
    let after: &[u8] = match () {
        () if process.stat.is_zombie() => b"] zombie",
        () if process.stat.is_headless() => b"] ended, but for other threads",
        () => b"]",
    };
    [b"[", name, after].concat()
}

/// How a state is coloured.
pub(crate) fn style_of(state: ProcState) -> Style {
    match state {
        ProcState::Zombie | ProcState::Blocked => Style::Bad,
        ProcState::Stopped | ProcState::Traced => Style::Busy,
        ProcState::Running => Style::Good,
        ProcState::Sleeping | ProcState::Dead | ProcState::Idle | ProcState::Parked | ProcState::Other(_) => {
            Style::Plain
        }
    }
}

/// Whoever descends from this process, itself included.
pub(crate) fn below(processes: &[Process], root: Pid) -> BTreeSet<Pid> {
    let mut children: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
    for process in processes {
        children.entry(process.stat.ppid).or_default().push(process.tgid);
    }
    let (mut found, mut open) = (BTreeSet::new(), vec![root]);
    while let Some(pid) = open.pop() {
        if found.insert(pid) {
            open.extend(children.get(&pid.get()).into_iter().flatten());
        }
    }
    found
}

/// Why the arguments of a process are not to be had, as a sentence.
pub(crate) fn why_locked(reader: &mut Reader, pid: Pid) -> String {
    let by = match locker(reader, pid) {
        Some(Locker { thread, wchan: Some(wchan) }) => {
            format!(" by thread {thread}, which waits in {}", printable(&wchan))
        }
        Some(Locker { thread, wchan: None }) => format!(", probably by thread {thread}, which is blocked"),
        None => String::new(),
    };
    format!("memory map locked{by}: whoever asks for arguments or memory of {pid} waits too")
}

/// What is wrong with a regular expression, on one line: its last one, behind those that show the place.
pub(crate) fn in_short(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}
