//! What follows from a death: a snapshot of a real machine is made a kernel on paper, the death is played in it, and what
//! differs afterwards is told. What the snapshot does not tell is said to be open, and not guessed.

use crate::kernel::call::{Call, Look};
use crate::kernel::sigset::SigSet;
use crate::kernel::{BadSnapshot, Kernel, Loaded, TaskId};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use doula_model::forecast::{Adoption, Burial, End, Fate, Forecast, HangUp, Heard, Note, Why, Zombie};
use doula_model::signal::Signal;
use doula_model::snapshot::{Process, Signals, Snapshot};

/// How a process is to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By this signal, from inside its namespace (from a namespace above it if it is an init of one below).
    Kill(Signal),
    /// By itself, with this code.
    Exit(i32),
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoForecast {
    /// The snapshot is none.
    Snapshot(BadSnapshot),
    /// It has no such process.
    Nobody(i32),
}

impl fmt::Display for NoForecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoForecast::Snapshot(error) => error.fmt(f),
            NoForecast::Nobody(pid) => write!(f, "the snapshot has no process {pid}"),
        }
    }
}

impl core::error::Error for NoForecast {}

/// What follows from the death of a process of a snapshot.
///
/// # Errors
/// When the snapshot is none, or has no such process.
pub fn forecast(snapshot: &Snapshot, pid: i32, death: Death) -> Result<Forecast, NoForecast> {
    let mut snapshot = snapshot.clone();
    let mut notes = find_subreapers(&mut snapshot);
    let loaded = Kernel::load(&snapshot).map_err(NoForecast::Snapshot)?;
    let victim = snapshot.find(pid).ok_or(NoForecast::Nobody(pid))?;
    let fate = fate(victim, death);
    if !matches!(fate, Fate::Dies(_)) {
        return Ok(Forecast { pid, fate, ..Forecast::default() });
    }
    notes.extend(open_questions(&snapshot, victim, &loaded));
    let mut scene = Scene {
        snapshot: &snapshot,
        before: looks(&loaded),
        loaded,
        ends: BTreeMap::new(),
        hung_up: Vec::new(),
    };
    scene.play(victim, death);
    Ok(Forecast { pid, fate, notes, ..scene.compare(pid) })
}

/// Whether it dies at all.
fn fate(victim: &Process, death: Death) -> Fate {
    if victim.is_dead() {
        return Fate::IsDead;
    }
    let stopped = matches!(victim.state, 'T' | 't');
    let signal = match death {
        Death::Exit(_) if stopped => return Fate::IsStopped,
        Death::Exit(code) => return Fate::Dies((code & 0xff) << 8),
        Death::Kill(signal) => signal,
    };
    let Signals { ignored, caught, blocked } = victim.signals.unwrap_or_default();
    let has = |bits| SigSet::from_bits(bits).has(signal) && !SigSet::KERNEL_ONLY.has(signal);
    let is_init = victim.pid == 1 || victim.numbers.last() == Some(&1);
    // Only SIGKILL and SIGSTOP reach an init from above without a handler.
    let from_above = victim.pid != 1 && signal == Signal::KILL;
    let survived = SigSet::IGNORED_BY_DEFAULT.or(SigSet::STOPS);
    if has(ignored) {
        Fate::Ignores
    } else if has(blocked) {
        Fate::Blocks
    } else if has(caught) {
        Fate::Catches
    } else if survived.has(signal) {
        Fate::Survives
    } else if is_init && !from_above {
        Fate::IsInit
    } else if stopped && signal != Signal::KILL {
        Fate::IsStopped
    } else {
        Fate::Dies(signal.number())
    }
}

/// Marks those who have a child that they cannot have borne: they have adopted it, and are no init.
fn find_subreapers(snapshot: &mut Snapshot) -> Vec<Note> {
    let mut notes = Vec::new();
    for at in 0..snapshot.processes.len() {
        let row = &snapshot.processes[at];
        let is_init = row.pid == 1 || row.numbers.last() == Some(&1);
        let mut children = snapshot.processes.iter().filter(|child| child.ppid == row.pid);
        let adopted = children.find(|child| is_of_anothers_session(snapshot, row, child));
        if let Some(child) = adopted.filter(|_| !is_init && row.subreaper.is_none()) {
            notes.push(Note::Subreaper { pid: row.pid, child: child.pid });
            snapshot.processes[at].subreaper = Some(true);
        }
    }
    notes
}

/// Whether a child has got its session from somebody else than its parent, who was never in it: who leads no session is in that
/// of its birth, and a leader cannot have been in one that is younger than itself.
fn is_of_anothers_session(snapshot: &Snapshot, parent: &Process, child: &Process) -> bool {
    let made_by_itself = child.sid == child.pid;
    let leads = parent.sid == parent.pid;
    let is_younger = || snapshot.find(child.sid).is_some_and(|leader| leader.started > parent.started);
    child.sid != parent.sid && !made_by_itself && (!leads || is_younger())
}

fn open_questions(snapshot: &Snapshot, victim: &Process, loaded: &Loaded) -> Vec<Note> {
    let mut notes = Vec::new();
    let children = || snapshot.processes.iter().filter(|child| child.ppid == victim.pid);
    let unknown = children().filter(|child| child.death_signal.is_none() && !child.is_dead()).count();
    if unknown > 0 {
        notes.push(Note::DeathSignals { children: unknown as u32 });
    }
    if victim.state == 'D' {
        notes.push(Note::InD);
    }
    if victim.threads > 1 {
        notes.push(Note::Threads { count: victim.threads });
    }
    notes.extend(loaded.unplaced.iter().map(|pid| Note::NoNamespace { pid: *pid }));
    let near = |row: &Process| row.ppid == victim.pid || row.pid == victim.pid || row.pid == victim.ppid;
    let blind = snapshot.processes.iter().filter(|row| near(row) && row.signals.is_none() && !row.is_dead());
    notes.extend(blind.map(|row| Note::NoSignals { pid: row.pid }));
    notes
}

fn looks(loaded: &Loaded) -> BTreeMap<i32, Look> {
    let looks = loaded.tasks.iter().filter_map(|(pid, task)| Some((*pid, loaded.kernel.look(*task)?)));
    looks.collect()
}

struct Scene<'a> {
    snapshot: &'a Snapshot,
    loaded: Loaded,
    before: BTreeMap<i32, Look>,
    /// The wait status of who has died.
    ends: BTreeMap<i32, i32>,
    hung_up: Vec<HangUp>,
}

impl Scene<'_> {
    fn play(&mut self, victim: &Process, death: Death) {
        let task = self.loaded.tasks[&victim.pid];
        let kernel = &mut self.loaded.kernel;
        match death {
            Death::Exit(code) => kernel.enter(task, Call::ExitGroup(code)),
            Death::Kill(signal) => {
                let sender = kernel.init();
                kernel.send_from(sender, task, signal);
            }
        }
        self.hang_up_terminal(victim);
        loop {
            let Some(next) = self.loaded.kernel.ready().next() else { return };
            self.loaded.kernel.step(next);
            self.take_notes();
        }
    }

    /// A session whose leader ends loses its terminal. Its foreground group gets SIGHUP, and no SIGCONT: that comes
    /// with a hang-up of the line, to the leader.
    fn hang_up_terminal(&mut self, victim: &Process) {
        let Some(terminal) = victim.terminal.filter(|_| victim.pid == victim.sid) else { return };
        let group = terminal.foreground;
        let members = self.members(group);
        let rest: Vec<i32> = members.iter().copied().filter(|member| *member != victim.pid).collect();
        if group < 1 || rest.is_empty() {
            return;
        }
        for member in &rest {
            let task = self.loaded.tasks[member];
            self.loaded.kernel.send_by_kernel(task, Signal::HUP);
        }
        self.hung_up.push(HangUp {
            pgid: group,
            why: Why::Foreground,
            signals: Vec::from([Signal::HUP]),
            members: rest,
        });
    }

    /// Who is in a group, and not dead.
    fn members(&self, group: i32) -> Vec<i32> {
        let rows = self.snapshot.processes.iter().filter(|row| row.pgid == group && !row.is_dead());
        let mut members: Vec<i32> = rows.map(|row| row.pid).collect();
        members.sort_unstable();
        members
    }

    fn take_notes(&mut self) {
        for (pid, task) in &self.loaded.tasks {
            if let Some(status) = self.loaded.kernel.dies_of(*task) {
                self.ends.insert(*pid, status);
            }
        }
        for task in self.loaded.kernel.take_hung_up() {
            let of = self.loaded.tasks.iter().find(|(_, known)| **known == task).map_or(0, |(pid, _)| *pid);
            let group = self.snapshot.find(of).map_or(0, |row| row.pgid);
            let members: Vec<i32> =
                self.members(group).into_iter().filter(|member| !self.ends.contains_key(member)).collect();
            let signals = Vec::from([Signal::HUP, Signal::CONT]);
            self.hung_up.push(HangUp { pgid: group, why: Why::Orphaned, signals, members });
        }
    }

    fn compare(mut self, victim: i32) -> Forecast {
        let after = looks(&self.loaded);
        let mut forecast = Forecast { hung_up: core::mem::take(&mut self.hung_up), ..Forecast::default() };
        for (pid, before) in &self.before {
            let row = self.snapshot.find(*pid).expect("whoever was loaded is in the snapshot");
            let Some(now) = after.get(pid) else {
                forecast.vanished.push(*pid);
                forecast.ended.extend(self.end(*pid, victim));
                continue;
            };
            let parent = self.number_of(*now);
            let (was_dead, is_dead) = (row.is_dead(), now.state == 'Z');
            if parent != row.ppid {
                forecast.adopted.push(self.adoption(row, parent));
            }
            if is_dead && (!was_dead || parent != row.ppid) {
                forecast.zombies.push(Zombie { pid: *pid, parent, burial: self.burial(parent) });
            }
            if is_dead && !was_dead {
                forecast.ended.extend(self.end(*pid, victim));
            }
            if before.state == 'T' && !matches!(now.state, 'T' | 'Z') {
                forecast.continued.push(*pid);
            }
            let signals: Vec<Signal> =
                self.caught(*pid).into_iter().filter(|signal| *signal != Signal::CHLD).collect();
            if !signals.is_empty() {
                forecast.heard.push(Heard { pid: *pid, signals });
            }
        }
        forecast
    }

    /// The parent's number as the snapshot has it.
    fn number_of(&self, look: Look) -> i32 {
        let parent = self.loaded.kernel.parent_of(look.task);
        self.loaded.tasks.iter().find(|(_, task)| Some(**task) == parent).map_or(0, |(pid, _)| *pid)
    }

    fn end(&self, pid: i32, victim: i32) -> Option<End> {
        let status = self.ends.get(&pid).copied().unwrap_or(0);
        (pid != victim).then_some(End { pid, status })
    }

    fn caught(&self, pid: i32) -> Vec<Signal> {
        let task: TaskId = self.loaded.tasks[&pid];
        self.loaded.kernel.caught(task).iter().map(|info| info.signal).collect()
    }

    /// Whoever is above the old parent, and nearer than the new one, would have got it as a subreaper.
    fn adoption(&self, row: &Process, by: i32) -> Adoption {
        let old = self.snapshot.find(row.ppid);
        let depth = row.numbers.len();
        let above = core::iter::successors(old, |above| self.snapshot.find(above.ppid));
        let unless = above
            .skip(1)
            .take_while(|above| above.pid != by && above.numbers.len() == depth)
            .filter(|above| above.subreaper.is_none() && !self.ends.contains_key(&above.pid));
        Adoption { pid: row.pid, from: row.ppid, by, unless: unless.map(|above| above.pid).collect() }
    }

    fn burial(&self, parent: i32) -> Burial {
        let Some(row) = self.snapshot.find(parent) else { return Burial::Unknown };
        let Some(signals) = row.signals else { return Burial::Unknown };
        let hears = SigSet::from_bits(signals.caught | signals.blocked).has(Signal::CHLD);
        match row.waits {
            Some(true) => Burial::Waits,
            _ if hears => Burial::Hears,
            _ => Burial::Silent,
        }
    }
}
