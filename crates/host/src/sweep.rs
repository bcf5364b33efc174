//! Containment without cgroups: every descendant of a service is found in `/proc`, wherever it hides.
//!
//! The supervisor is a subreaper ([`doula_sys::adopt::set_subreaper`]), so that no descendant leaves its
//! tree. A process belongs to a service when it is in the session of its main process or of another one that was
//! seen, dead or alive; when its parent belongs to it; or when it was started with the service's mark `DOULA_ID` in its environment. So a daemon
//! that double-forks and makes its own session is found, and one that also empties its environment while a
//! parent of it is seen. Only who does all three between two passes counts as nobody's, until the
//! whole family is swept. Who is in the middle of execve(2) has no environment for a while: of such a one nothing is known,
//! also not that it is nobody's, until it can be asked.
//!
//! To win against processes that fork while we look, everybody is stopped first; only when a whole pass saw
//! nobody new are all killed. Nothing waits: an event loop calls [`Sweeper::pass`] when a child ended, and by
//! a short timer otherwise.

mod strangers;
mod told;

pub use strangers::{Strangers, end_strangers};

use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::OwnedFd;
use doula_sys::pidfd;
use doula_sys::proc::Numbers;
use doula_sys::wait::{self, For, Who};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::rc::Rc;
use told::{Doubts, Told, is_shortage, told};

/// The variable that marks the processes of a service: `DOULA_ID=<id>`.
///
/// ```
/// use doula_host::{Command, sweep::MARK};
/// let output = Command::new("env").env(MARK, "web").output()?;
/// assert!(output.stdout.split(|&byte| byte == b'\n').any(|line| line == b"DOULA_ID=web"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MARK: &str = "DOULA_ID";

/// What is to be done with those who are found.
///
/// ```
/// use doula_host::Signal;
/// use doula_host::sweep::{Order, Sweeper};
/// let mut sweeper = Sweeper::new();
/// sweeper.set("web", None, Order::Signal(Signal::TERM));
/// // Its time is over.
/// sweeper.set("web", None, Order::Kill);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Nothing.
    Look,
    /// Each gets this signal once.
    Signal(Signal),
    /// They are stopped until nobody new is seen, then killed.
    Kill,
}

/// What one pass saw of one service.
///
/// ```
/// # use doula_host::sweep::{Order, Sweeper};
/// let mut sweeper = Sweeper::new();
/// sweeper.set("nobody-has-this", None, Order::Look);
/// let found = sweeper.pass()?[0].1;
/// assert_eq!((found.alive, found.unreachable), (0, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Processes that live. None: it is empty.
    pub alive: usize,
    /// Those of them that no pass had seen before.
    pub fresh: usize,
    /// Dead ones that are to be reaped, by us (waitid(2) for any child) or by their parents.
    pub zombies: usize,
    /// Those that could not be reached, for want of a handle or of the right to signal them.
    pub unreachable: usize,
    /// Processes of anybody that ended while we looked at them: whose they were is not known, nor whom they bore.
    pub vanished: usize,
    /// In so many passes in a row, this one included, there has been somebody who may be of this service, and of whom that
    /// could not be told: in the middle of execve(2) or of its end a process has no environment. 0: everybody could be told.
    pub untold: u32,
}

/// What looks in a row have proven of one service.
///
/// One look alone can miss a process that was born behind its back under a lower number. A look during which anybody's
/// process vanished counts for less, for that one may have been of this service and have borne another. And whoever could not
/// be told by one of those looks that count must have been told since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looks {
    /// What they weigh.
    weight: u32,
    /// How many were taken since they weighed enough: who is met by these for the first time is none of theirs.
    since: u32,
    /// Somebody was not told by one that counts, and is not told yet.
    open: bool,
}

impl Looks {
    const PROOF: u32 = 6;
    const UNDISTURBED: u32 = 3;

    /// Takes what the next look has found; whether nobody can be left now.
    pub(crate) fn prove_empty(&mut self, found: Found) -> bool {
        if found.alive > 0 {
            *self = Looks::default();
            return false;
        }
        if self.weight >= Looks::PROOF {
            self.since = self.since.saturating_add(1);
        }
        let weight = if found.vanished > 0 { 1 } else { Looks::UNDISTURBED };
        self.weight = self.weight.saturating_add(weight);
        self.open = found.untold > self.since;
        self.is_proof()
    }

    /// Whether those that were taken have proven it.
    pub(crate) fn is_proof(self) -> bool {
        self.weight >= Looks::PROOF && !self.open
    }
}

/// Looks for the descendants of several services at once: one look at `/proc` serves all.
///
/// ```
/// use doula_host::Command;
/// use doula_host::sweep::{MARK, Order, Sweeper};
/// let child = Command::new("sleep").arg("1000").env(MARK, "example").spawn()?;
/// let mut sweeper = Sweeper::new();
/// sweeper.set("example", None, Order::Kill);
/// // Marked, or born to somebody who is.
/// while sweeper.pass()?[0].1.alive > 0 {}
/// # drop(child);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Sweeper {
    us: Pid,
    scope: Scope,
    /// Whether the dead that became ours are buried here.
    buries: bool,
    targets: BTreeMap<Rc<str>, Target>,
    doubts: Doubts,
}

/// Among whom is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Our descendants, who cannot leave us because we are their subreaper; their mark is [`MARK`].
    Descendants,
    /// All processes, because orphans are given to others; their mark is a list of ids in this variable. Those of the
    /// orphans that became ours all the same are buried.
    Everybody(&'static str),
}

#[derive(Debug)]
struct Target {
    /// Number and start time of the main process, whose session counts.
    main: Option<(Pid, u64)>,
    /// Who was born before has no mark of it, whatever his environment is.
    marked_from: u64,
    order: Order,
    members: BTreeMap<Pid, Member>,
    /// The main process belongs to it, whatever it looks like.
    with_main: bool,
    /// Dead ones that their parents had not buried yet, with their start times.
    dead: BTreeMap<Pid, u64>,
    /// Those who made sessions, with their start times: nobody else can come into these, also when they are gone.
    leaders: BTreeMap<Pid, u64>,
    found: Found,
}

#[derive(Debug)]
struct Member {
    handle: OwnedFd,
    start: u64,
    /// What it got last.
    got: Option<Signal>,
}

impl Default for Sweeper {
    fn default() -> Sweeper {
        Sweeper::new()
    }
}

impl Sweeper {
    /// Looks for nobody yet.
    ///
    /// ```
    /// assert!(doula_host::sweep::Sweeper::new().is_idle());
    /// ```
    #[must_use]
    pub fn new() -> Sweeper {
        Sweeper {
            us: doula_sys::group::pid(),
            scope: Scope::Descendants,
            buries: false,
            targets: BTreeMap::new(),
            doubts: Doubts::default(),
        }
    }

    /// As [`Sweeper::new`], for a process that is no subreaper: looks among all processes for those whose variable
    /// `mark` has the id in its list (separated by commas).
    pub(crate) fn everywhere(mark: &'static str) -> Sweeper {
        Sweeper { scope: Scope::Everybody(mark), buries: true, ..Sweeper::new() }
    }

    /// As [`Sweeper::new`], for services that another supervisor has started: they do not descend from us.
    #[cfg(feature = "supervisor")]
    pub(crate) fn of_others() -> Sweeper {
        Sweeper { scope: Scope::Everybody(MARK), ..Sweeper::new() }
    }

    /// The main process belongs to the tree also if it has neither a mark nor a session of its own.
    pub(crate) fn include_main(&mut self, id: &str) {
        if let Some(target) = self.targets.get_mut(id) {
            target.with_main = true;
        }
    }

    /// Who was born before this time, in clock ticks since boot, has no mark of it.
    pub(crate) fn marked_from(&mut self, id: &str, start: u64) {
        if let Some(target) = self.targets.get_mut(id) {
            target.marked_from = target.marked_from.max(start);
        }
    }

    /// Whose these are others tell, by number and start time: nobody is in doubt about them.
    #[cfg(feature = "supervisor")]
    pub(crate) fn know(&mut self, known: BTreeSet<(Pid, u64)>) {
        self.doubts.know(known);
    }

    /// Who was seen and is not gone, by number.
    pub(crate) fn members(&self, id: &str) -> Vec<Pid> {
        self.targets.get(id).map(|target| target.members.keys().copied().collect()).unwrap_or_default()
    }

    /// Looks for the processes of `id` from the next pass on, or changes what is to be done with them. `main`
    /// is the number and [`start_ticks`] of a main process that leads a session of its own.
    ///
    /// ```
    /// # use doula_host::sweep::{Order, Sweeper};
    /// let mut sweeper = Sweeper::new();
    /// sweeper.set("web", None, Order::Look);
    /// assert!(!sweeper.is_idle());
    /// ```
    pub fn set(&mut self, id: &str, main: Option<(Pid, u64)>, order: Order) {
        let target = self.targets.entry(Rc::from(id)).or_insert_with(|| Target {
            main,
            marked_from: 0,
            order,
            members: BTreeMap::new(),
            with_main: false,
            dead: BTreeMap::new(),
            leaders: BTreeMap::new(),
            found: Found::default(),
        });
        target.main = main.or(target.main);
        target.marked_from = target.marked_from.max(main.map_or(0, |(_, start)| start));
        target.order = order;
    }

    /// Looks for it no more.
    ///
    /// ```
    /// # use doula_host::sweep::{Order, Sweeper};
    /// let mut sweeper = Sweeper::new();
    /// sweeper.set("web", None, Order::Look);
    /// sweeper.forget("web");
    /// assert!(sweeper.is_idle());
    /// ```
    pub fn forget(&mut self, id: &str) {
        self.targets.remove(id);
    }

    /// Whether there is nobody to look for.
    ///
    /// ```
    /// # use doula_host::sweep::{Order, Sweeper};
    /// let mut sweeper = Sweeper::new();
    /// assert!(sweeper.is_idle() && sweeper.pass()?.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.targets.is_empty()
    }

    /// Looks through `/proc` once, does to each process what was ordered, and tells what it saw, by id. Call
    /// again (when a child ended, or after some milliseconds) until `alive` is 0.
    ///
    /// ```
    /// # use doula_host::sweep::{Order, Sweeper};
    /// let mut sweeper = Sweeper::new();
    /// sweeper.set("web", None, Order::Look);
    /// assert_eq!(sweeper.pass()?[0].0, "web");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of opening `/proc`.
    pub fn pass(&mut self) -> io::Result<Vec<(String, Found)>> {
        self.targets.values_mut().for_each(Target::begin);
        let mut pass = Pass::of(&self.targets, self.us);
        // In ascending order, as new processes are numbered: whoever is born meanwhile is met further on.
        for pid in numbers()? {
            self.meet(pid, &mut pass);
        }
        // Most of those who could not be told are through what they were doing by now.
        for (pid, before) in std::mem::take(&mut pass.untold) {
            self.meet(pid, &mut pass);
            pass.settle(pid, before);
        }
        let Pass { vanished, untold, .. } = pass;
        self.doubts.are(untold.into_iter().map(|(pid, stat)| (pid, stat.map(|stat| stat.start))).collect());
        let end = |target: &mut Target| {
            let untold = self.doubts.since(target.marked_from);
            Found { vanished, untold, ..target.end() }
        };
        Ok(self.targets.iter_mut().map(|(id, target)| (id.to_string(), end(target))).collect())
    }

    fn meet(&mut self, pid: Pid, pass: &mut Pass) {
        let stat = match look(pid) {
            Ok(Some(stat)) => stat,
            Err(errno) if is_shortage(errno) => return pass.doubt(pid, None),
            Ok(None) | Err(_) => return pass.vanished += 1,
        };
        if pid == self.us || !self.is_in_scope(&stat, &pass.ours) {
            return;
        }
        pass.ours.insert(pid);
        let id = match pass.index.owner(pid, &stat, self.scope) {
            Owner::Target(id) => id,
            Owner::Nobody => return,
            Owner::Doubt => return pass.doubt(pid, Some(stat)),
        };
        if let Some(target) = self.targets.get_mut(&*id) {
            target.meet(pid, &stat);
            if self.buries && stat.dead() {
                target.bury(pid, &stat, self.us);
            }
            if stat.session == pid.get() {
                pass.index.sessions.insert(stat.session, (stat.start, id.clone()));
            }
            pass.index.members.insert(pid, (stat.start, id));
        }
    }

    fn is_in_scope(&self, stat: &Stat, ours: &BTreeSet<Pid>) -> bool {
        match self.scope {
            Scope::Everybody(_) => true,
            Scope::Descendants => ours.contains(&stat.parent) || descends(stat.parent, self.us),
        }
    }
}

/// One pass of a sweeper.
struct Pass {
    index: Index,
    /// Those in scope.
    ours: BTreeSet<Pid>,
    vanished: usize,
    /// Those who could not be told, as they were then; `None`: they could not even be looked at.
    untold: BTreeMap<Pid, Option<Stat>>,
}

impl Pass {
    fn of(targets: &BTreeMap<Rc<str>, Target>, us: Pid) -> Pass {
        let (index, ours) = (Index::of(targets), BTreeSet::from([us]));
        Pass { index, ours, vanished: 0, untold: BTreeMap::new() }
    }

    fn doubt(&mut self, pid: Pid, stat: Option<Stat>) {
        self.untold.insert(pid, stat);
    }

    /// Who was asked twice, has all the while had the same environment, and could not be told by it, has made it unreadable: it is
    /// as good as empty.
    fn settle(&mut self, pid: Pid, before: Option<Stat>) {
        let place = |stat: Stat| (stat.start, stat.environment);
        let now = self.untold.get(&pid).copied().flatten().filter(|now| now.environment.1 != 0);
        if now.is_some() && now.map(place) == before.map(place) {
            self.untold.remove(&pid);
        }
    }
}

/// Whose a process is.
enum Owner {
    Target(Rc<str>),
    Nobody,
    /// That cannot be told now.
    Doubt,
}

/// To whom a process belongs, for all targets at once.
struct Index {
    /// The sessions of main processes and of others who were seen, by number, with the start time of their leaders.
    sessions: BTreeMap<i32, (u64, Rc<str>)>,
    /// Those seen before, or in this pass, with their start times.
    members: BTreeMap<Pid, (u64, Rc<str>)>,
    /// Main processes, and those who were dead when they were seen: of them there is no handle, so that only their
    /// start time tells whether they are still meant, and never their children.
    known: BTreeMap<Pid, (u64, Rc<str>)>,
    targets: BTreeSet<Rc<str>>,
}

impl Index {
    fn of(targets: &BTreeMap<Rc<str>, Target>) -> Index {
        let ids = targets.keys().cloned().collect();
        let mut index = Index {
            sessions: BTreeMap::new(),
            members: BTreeMap::new(),
            known: BTreeMap::new(),
            targets: ids,
        };
        for (id, target) in targets {
            let leaders = target.leaders.iter().map(|(&pid, &start)| (pid, start));
            for (pid, start) in leaders.chain(target.main) {
                index.sessions.insert(pid.get(), (start, id.clone()));
            }
            for (&pid, member) in &target.members {
                index.members.insert(pid, (member.start, id.clone()));
            }
            let main = target.main.filter(|_| target.with_main);
            let known = target.dead.iter().map(|(&pid, &start)| (pid, start)).chain(main);
            for (pid, start) in known {
                index.known.insert(pid, (start, id.clone()));
            }
        }
        index
    }

    /// Seen before, in the session of a main process, child of one seen before, or marked.
    fn owner(&self, pid: Pid, stat: &Stat, scope: Scope) -> Owner {
        let same = |(start, _): &&(u64, Rc<str>)| *start == stat.start;
        let seen = self.members.get(&pid).filter(same).or_else(|| self.known.get(&pid).filter(same));
        // The index holds handles of all of them, and a number is free only after its process was reaped; a
        // parent that was reaped has no children.
        let child = || self.members.get(&stat.parent);
        let session = || self.sessions.get(&stat.session).filter(|(start, _)| in_session(*start, stat));
        match seen.or_else(session).or_else(child) {
            Some((_, id)) => Owner::Target(id.clone()),
            None => self.marked(pid, stat, scope),
        }
    }

    fn marked(&self, pid: Pid, stat: &Stat, scope: Scope) -> Owner {
        let (name, is_list) = match scope {
            Scope::Descendants => (MARK, false),
            Scope::Everybody(name) => (name, true),
        };
        match told(pid, stat, name) {
            Told::Mark(id) if !is_list => Owner::Target(Rc::from(id)),
            Told::Mark(list) => {
                let target = list.split(',').find_map(|id| self.targets.get(id).cloned());
                target.map_or(Owner::Nobody, Owner::Target)
            }
            Told::Nothing => Owner::Nobody,
            Told::Doubt => Owner::Doubt,
        }
    }
}

impl Target {
    fn begin(&mut self) {
        self.found = Found::default();
        self.members.retain(|_, member| pidfd::exists(&member.handle));
    }

    fn meet(&mut self, pid: Pid, stat: &Stat) {
        if stat.session == pid.get() {
            self.leaders.insert(pid, stat.start);
        }
        if stat.dead() {
            self.found.zombies += 1;
            return;
        }
        self.found.alive += 1;
        if self.members.get(&pid).is_none_or(|member| member.start != stat.start) {
            self.found.fresh += 1;
            match handle(pid, stat.start) {
                Ok(Some(handle)) => {
                    self.members.insert(pid, Member { handle, start: stat.start, got: None });
                }
                Ok(None) => return,
                Err(_) => {
                    self.found.unreachable += 1;
                    return;
                }
            }
        }
        let wanted = match self.order {
            Order::Look => return,
            Order::Signal(signal) => signal,
            Order::Kill => Signal::STOP,
        };
        self.send(pid, wanted);
    }

    /// Buries an orphan of this target that became our child; the main process is its owner's to bury. Who has a
    /// parent still is remembered: a dead process has no mark by which it would be known when it is ours.
    fn bury(&mut self, pid: Pid, stat: &Stat, us: Pid) {
        if stat.parent != us {
            self.dead.insert(pid, stat.start);
        } else if self.main.is_none_or(|(main, _)| main != pid) {
            // ECHILD: somebody was faster.
            let _ = wait::waitid(Who::Pid(pid), For::END);
        }
    }

    /// Sends it a signal that it has not got yet.
    fn send(&mut self, pid: Pid, signal: Signal) {
        let Some(member) = self.members.get_mut(&pid) else { return };
        if member.got == Some(signal) || member.got == Some(Signal::KILL) {
            return;
        }
        match pidfd::send(&member.handle, signal) {
            Ok(()) => member.got = Some(signal),
            Err(Errno::ESRCH) => {}
            Err(_) => self.found.unreachable += 1,
        }
    }

    /// Nobody new: all of them stand still, so that none can fork any more.
    fn end(&mut self) -> Found {
        if self.order == Order::Kill && self.found.fresh == 0 {
            let all: Vec<Pid> = self.members.keys().copied().collect();
            all.into_iter().for_each(|pid| self.send(pid, Signal::KILL));
        }
        self.found
    }
}

/// Whether the session of a process is that of the leader who started at `start`. The number of a session is
/// not given to others while anybody is in it; so it is another session only if its leader lives and is
/// another one.
fn in_session(start: u64, of: &Stat) -> bool {
    Pid::new(of.session).is_some_and(|leader| stat(leader).is_none_or(|leader| leader.start == start))
}

/// A handle of the process that has this number and started then; `None` when it is gone.
fn handle(pid: Pid, start: u64) -> doula_sys::Result<Option<OwnedFd>> {
    let handle = match pidfd::open(pid) {
        Ok(handle) => handle,
        Err(Errno::ESRCH) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    Ok(look(pid)?.filter(|stat| stat.start == start).map(|_| handle))
}

/// The numbers of all processes, in ascending order, read as we go.
fn numbers() -> io::Result<Numbers> {
    Numbers::read().map_err(|errno| io::Error::from_raw_os_error(errno.0))
}

/// Buries the dead children of ours that lived in this cgroup or below: orphans that became ours, if we are PID 1 or a
/// subreaper.
pub(crate) fn bury_orphans_of(cgroup: &Path) {
    let us = doula_sys::group::pid();
    if us != Pid::INIT && !doula_sys::adopt::is_subreaper().unwrap_or(false) {
        return;
    }
    let Some(name) = cgroup.file_name().and_then(|name| name.to_str()) else { return };
    let dead = |pid: &Pid| stat(*pid).is_some_and(|stat| stat.parent == us && stat.dead());
    let lived = |pid: &Pid| {
        let places = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        places.lines().any(|place| place.starts_with("0::") && place.contains(name))
    };
    for pid in numbers().into_iter().flatten().filter(dead).filter(lived) {
        let _ = wait::waitid(Who::Pid(pid), For::END);
    }
}

/// What a process calls itself, escaped, and the letter of its state.
pub(crate) fn name_and_state(pid: Pid) -> Option<(String, char)> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some((crate::spawn::printable(name.trim_ascii_end()), char::from(stat(pid)?.state)))
}

/// Whether this process has that ancestor (or is it).
pub(crate) fn descends(mut pid: Pid, ancestor: Pid) -> bool {
    /// Deeper than any tree that fits under `pid_max` in practice, and an end if parents change while we climb.
    const DEEPEST: usize = 100_000;
    for _ in 0..DEEPEST {
        if pid == ancestor {
            return true;
        }
        match stat(pid) {
            Some(stat) if pid != Pid::INIT && stat.parent != pid => pid = stat.parent,
            _ => return false,
        }
    }
    false
}

/// The id that this process was started with. `None` also when we may not see it (another user's process).
#[cfg(feature = "supervisor")]
pub(crate) fn mark(pid: Pid, name: &str) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    told::value(&environment, name)
}

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) state: u8,
    pub(crate) parent: Pid,
    pub(crate) session: i32,
    pub(crate) threads: u32,
    pub(crate) start: u64,
    /// CPU time of its own and of those it buried, in clock ticks.
    pub(crate) ticks: u64,
    /// What the kernel knows of it, `PF_…`.
    pub(crate) flags: u32,
    /// Where its environment begins and ends in its memory. 0 where that is not for us to see, in the middle of execve(2), and
    /// when it has no memory map, or no more.
    pub(crate) environment: (u64, u64),
}

impl Stat {
    /// A zombie; but not one whose first thread only has ended.
    pub(crate) fn dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }

    /// It looks like a zombie and is none.
    fn has_lost_its_first_thread(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads > 1
    }

    /// Whether it is a thread of the kernel, which never had an environment.
    fn is_of_the_kernel(&self) -> bool {
        /// `PF_KTHREAD` of `include/linux/sched.h`.
        const KERNEL_THREAD: u32 = 0x0020_0000;
        self.flags & KERNEL_THREAD != 0
    }
}

/// The start time of a process in clock ticks since boot; with its number, its identity. `None` when it is
/// gone.
///
/// ```
/// use doula_host::Pid;
/// use doula_host::sweep::start_ticks;
/// let us = Pid::new(std::process::id() as i32).expect("a number");
/// assert!(start_ticks(us).is_some());
/// assert_eq!(start_ticks(Pid::new(i32::MAX).expect("a number")), None);
/// ```
#[must_use]
pub fn start_ticks(pid: Pid) -> Option<u64> {
    stat(pid).map(|stat| stat.start)
}

/// Whether a process is gone for sure: its number is nobody's, or somebody else's.
pub(crate) fn is_gone(pid: Pid, start: u64) -> bool {
    look(pid).is_ok_and(|stat| stat.is_none_or(|stat| stat.start != start))
}

/// What all processes are like just now.
pub(crate) fn all() -> BTreeMap<Pid, Stat> {
    numbers().into_iter().flatten().filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

pub(crate) fn stat(pid: Pid) -> Option<Stat> {
    look(pid).ok().flatten()
}

/// `None` when nobody has this number. Whoever cannot look, for want of fds or of rights, does not know.
fn look(pid: Pid) -> doula_sys::Result<Option<Stat>> {
    match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => parse(&text).ok_or(Errno::EIO).map(Some),
        Err(error) => match error.raw_os_error().map_or(Errno::EIO, Errno) {
            Errno::ENOENT | Errno::ESRCH => Ok(None),
            errno => Err(errno),
        },
    }
}

/// The name of a process can be anything, also `) R 1 (`: what counts begins behind the last parenthesis. A
/// parent outside of our PID namespace is 0; it counts as PID 1, which has the same meaning here.
fn parse(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(&text[end + 1..]).ok()?;
    // The first of these is field 3 of the manual page.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let place = |number: usize| field(number).and_then(|text| text.parse().ok()).unwrap_or(0);
    Some(Stat {
        state: *field(3)?.as_bytes().first()?,
        parent: Pid::new(field(4)?.parse().ok()?).unwrap_or(Pid::INIT),
        session: field(6)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
        start: field(22)?.parse().ok()?,
        ticks: (14..=17).filter_map(|number| field(number)?.parse::<u64>().ok()).sum(),
        flags: field(9)?.parse().ok()?,
        environment: (place(50), place(51)),
    })
}

#[cfg(test)]
mod tests;
