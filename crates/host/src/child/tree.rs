//! A child with all its descendants: holding them together, ending them, and the proof that none is left.

use super::{Child, pause};
use crate::cgroup::{Leaf, read_events};
use crate::sweep::{self, Looks, Order, Sweeper};
use doula_core::again::Again;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::plan::ChildPlan;
use doula_model::signal::Signal;
use doula_sys::fd::{AsRawFd as _, OwnedFd};
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::time;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The variable that marks a tree: the ids of all trees to which a process belongs, the outermost first.
pub(crate) const MARK: &str = "DOULA_TREE";
/// The pause between two looks at `/proc`: long enough for a signal to do its work, too short to be felt.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How long a row may take to stand still. Only who sleeps in the kernel's hands takes longer than a moment.
const STILL_WITHIN: Duration = Duration::from_secs(1);

/// How a tree is held together.
#[derive(Debug)]
pub(crate) enum Tree {
    /// Not at all.
    Open,
    /// By a cgroup of its own.
    Leaf(Leaf),
    /// By a mark in the environment.
    Marked(String),
    /// By the cgroup of a row of children, as one of them; by its own mark, if it is meant alone.
    InRow(Arc<Row>, String),
}

/// What holds a row of children together, so that all of them are ended at once: one cgroup for all is cheaper than one for
/// each. It is removed with the last of them.
#[derive(Debug)]
pub(crate) struct Row {
    leaf: Leaf,
    directory: OwnedFd,
    /// How many were marked as one of it.
    count: AtomicU64,
}

impl Row {
    /// `None` where no cgroup may be made.
    pub(crate) fn new() -> Option<Arc<Row>> {
        let leaf = Leaf::single()?;
        match leaf.open() {
            Ok(directory) => Some(Arc::new(Row { leaf, directory, count: AtomicU64::new(0) })),
            Err(_) => {
                leaf.try_remove();
                None
            }
        }
    }

    /// The row in a cgroup that is there already.
    pub(crate) fn at(leaf: Leaf) -> Option<Arc<Row>> {
        let directory = leaf.open().ok()?;
        Some(Arc::new(Row { leaf, directory, count: AtomicU64::new(0) }))
    }

    /// What tells when it becomes empty ([`Leaf::events`]).
    pub(crate) fn events(&self) -> io::Result<OwnedFd> {
        self.leaf.events()
    }

    /// Whether nobody is in it, by those events.
    pub(crate) fn is_empty(&self, events: &OwnedFd) -> io::Result<bool> {
        read_events(events)
    }

    /// Sends a signal to everybody in it.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        self.leaf.signal_all(signal).map(drop)
    }

    /// Kills everybody in it, without waiting: whoever waits kills again ([`Leaf::kill`]).
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.leaf.kill()
    }

    /// Kills everybody in it, until nobody is left; who lives when the time is over.
    pub(crate) fn end(&self, deadline: Option<Instant>) -> Result<(), Vec<Survivor>> {
        let ended = end_leaf(&self.leaf, deadline);
        self.leaf.thaw();
        ended.map_err(|_| seen(self.leaf.members()))
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.leaf.try_remove();
    }
}

impl Tree {
    /// Holds the child of a plan in a cgroup of its own if we may make one, else by a mark. The directory must stay
    /// open until the child is born.
    pub(crate) fn around(plan: &mut ChildPlan) -> (Tree, Option<OwnedFd>) {
        let leaf = if plan.cgroup.is_none() { Leaf::single() } else { None };
        let Some(leaf) = leaf else { return (Tree::marked(plan), None) };
        match leaf.open() {
            Ok(directory) => {
                plan.cgroup = Some(directory.as_raw_fd());
                (Tree::Leaf(leaf), Some(directory))
            }
            // Where the birth needs more fds than there are, it fails with that.
            Err(_) => {
                leaf.try_remove();
                (Tree::marked(plan), None)
            }
        }
    }

    /// Holds it as one of a row, where its plan has no cgroup of its own. The row must be there until the child is born.
    pub(crate) fn in_row(row: &Arc<Row>, plan: &mut ChildPlan) -> Tree {
        if plan.cgroup.is_some() {
            return Tree::marked(plan);
        }
        plan.cgroup = Some(row.directory.as_raw_fd());
        let id = format!("{}.{}", row.leaf.name(), row.count.fetch_add(1, Ordering::Relaxed));
        mark(plan, &id);
        Tree::InRow(Arc::clone(row), id)
    }

    /// Holds it by a mark.
    pub(crate) fn marked(plan: &mut ChildPlan) -> Tree {
        let id = new_id();
        mark(plan, &id);
        Tree::Marked(id)
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Tree::Open)
    }

    /// What its members are found by: their cgroup, and the mark in their environment.
    pub(super) fn found_by(&self) -> (Option<PathBuf>, Option<String>) {
        match self {
            Tree::Open => (None, None),
            Tree::Leaf(leaf) => (Some(leaf.path().to_owned()), None),
            Tree::Marked(id) => (None, Some(id.clone())),
            Tree::InRow(row, id) => (Some(row.leaf.path().to_owned()), Some(id.clone())),
        }
    }

    /// The row that it is in.
    pub(super) fn row(&self) -> Option<&Arc<Row>> {
        match self {
            Tree::InRow(row, _) => Some(row),
            Tree::Open | Tree::Leaf(_) | Tree::Marked(_) => None,
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let Tree::Leaf(leaf) = self {
            // It stays as long as somebody lives in it; a later birth of another process removes it then.
            leaf.try_remove();
        }
    }
}

/// Marks the child of a plan, and all its descendants.
fn mark(plan: &mut ChildPlan, id: &str) {
    let name = [MARK.as_bytes(), b"="].concat();
    let at = plan.env.iter().position(|entry| entry.starts_with(&name));
    match at {
        Some(at) => plan.env[at].extend_from_slice(format!(",{id}").as_bytes()),
        None => plan.env.push([name.as_slice(), id.as_bytes()].concat()),
    }
}

/// Never given twice on this machine since it was started.
fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let us = doula_sys::group::pid();
    let (start, count) = (sweep::start_ticks(us).unwrap_or_default(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{us}.{start}.{}.{count}", time::realtime().as_nanos())
}

/// How we know that nobody is left, from the strongest to the weakest.
///
/// ```
/// assert_eq!(doula_host::Proof::Cgroup.to_string(), "its cgroup");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// The kernel says that the cgroup of the tree is empty: nobody can leave it.
    Cgroup,
    /// Looks through `/proc` (two, or up to six while processes of anybody vanish) saw nobody with the tree's mark, in its
    /// session, or with a parent of it; and whoever could not be told by one of them (in the middle of execve(2) a process has
    /// no environment to read) has been told since. Only who emptied its environment or may hide it from us (another user's, not
    /// dumpable), made a session of its own and lost its parent before the first look is not seen.
    Mark,
    /// As [`Proof::Mark`], for a tree without a mark: who made a session of its own and lost its parent before is not
    /// seen.
    Parents,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::Cgroup => "its cgroup",
            Proof::Mark => "looks through /proc for its mark",
            Proof::Parents => "looks through /proc for its session and parents",
        })
    }
}

/// The end of a tree.
///
/// ```
/// use doula_host::Command;
/// use std::time::Duration;
/// let end = Command::new("sleep").arg("1000").spawn()?.kill_tree(Duration::from_secs(20))?;
/// assert_eq!(end.status.to_string(), "was killed by SIGKILL");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeEnd {
    /// How the child itself ended; it is buried.
    pub status: ExitStatus,
    /// How we know that nobody is left.
    pub proof: Proof,
}

/// One who lives still.
///
/// ```
/// use doula_host::{Pid, Survivor};
/// let survivor = Survivor { pid: Pid::INIT, name: "init".into(), state: 'D' };
/// assert_eq!(survivor.to_string(), "1 (init, state D)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its number.
    pub pid: Pid,
    /// Its name, with control characters escaped.
    pub name: String,
    /// Its state, as in `/proc/PID/stat`: `D` waits in the kernel and dies when that is over.
    pub state: char,
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, state {})", self.pid, self.name, self.state)
    }
}

/// A tree that was not empty in time.
///
/// ```
/// use doula_host::{NotEmpty, Pid, Survivor};
/// let stuck = Survivor { pid: Pid::INIT, name: "dd".into(), state: 'D' };
/// assert_eq!(NotEmpty { survivors: vec![stuck] }.to_string(), "1 process of the tree lives still: 1 (dd, state D)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotEmpty {
    /// Who lives, as far as we may see.
    pub survivors: Vec<Survivor>,
}

impl fmt::Display for NotEmpty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who: Vec<String> = self.survivors.iter().map(Survivor::to_string).collect();
        match who.as_slice() {
            [] => f.write_str("the tree could not be seen to its end"),
            [one] => write!(f, "1 process of the tree lives still: {one}"),
            all => write!(f, "{} processes of the tree live still: {}", all.len(), all.join(", ")),
        }
    }
}

impl std::error::Error for NotEmpty {}

impl From<NotEmpty> for io::Error {
    fn from(error: NotEmpty) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, error)
    }
}

pub(super) fn kill(child: &mut Child, within: Duration) -> Result<TreeEnd, NotEmpty> {
    let deadline = Instant::now().checked_add(within);
    let proof = match &child.tree {
        Tree::Leaf(leaf) => {
            let leaf = leaf.clone();
            end_leaf(&leaf, deadline).map_err(|_| NotEmpty { survivors: seen(leaf.members()) })?;
            // Its own end is told here; only then is everybody else of the tree an orphan.
            if child.wait_until(deadline).is_some() {
                sweep::bury_orphans_of(leaf.path());
            }
            Proof::Cgroup
        }
        Tree::Marked(id) | Tree::InRow(_, id) => {
            let id = id.clone();
            // Whoever descends from a child of ours was born after us.
            let born_after = sweep::start_ticks(doula_sys::group::pid()).unwrap_or(0);
            end_by_sweep(child, &id, born_after, deadline)?;
            Proof::Mark
        }
        Tree::Open => {
            // No environment would tell of anybody that it is of it.
            end_by_sweep(child, &new_id(), u64::MAX, deadline)?;
            Proof::Parents
        }
    };
    buried(child, deadline, proof)
}

fn buried(child: &mut Child, deadline: Option<Instant>, proof: Proof) -> Result<TreeEnd, NotEmpty> {
    let ended = child.wait_until(deadline);
    let status = ended.ok_or_else(|| NotEmpty { survivors: seen(vec![child.pid]) })?;
    Ok(TreeEnd { status, proof })
}

/// How the tree of one of several children ended, if that was asked for.
pub(crate) type End = Option<Result<TreeEnd, NotEmpty>>;

/// Ends the children of one pipeline so that none takes the end of a killed one's words for the end of its input: those of a row
/// stand still meanwhile and are killed all at once; the others before them, from the last to the first, by `alone`. `before`
/// sees each of them while it is not buried by this.
pub(crate) fn end_together(
    children: &mut [Child],
    within: Duration,
    mut before: impl FnMut(usize, &mut Child),
    alone: impl Fn(&mut Child) -> End,
) -> Vec<End> {
    let deadline = Instant::now().checked_add(within);
    let mut ends: Vec<End> = children.iter().map(|_| None).collect();
    let row = children.iter().find_map(|child| child.tree.row().cloned());
    if let Some(row) = &row {
        // Who cannot be held is killed all the same.
        let _ = row.leaf.freeze(STILL_WITHIN.min(within));
    }
    let places = (0..children.len()).rev();
    let (in_row, others): (Vec<_>, Vec<_>) = places.partition(|&place| children[place].tree.row().is_some());
    for place in others {
        before(place, &mut children[place]);
        ends[place] = alone(&mut children[place]);
    }
    in_row.iter().for_each(|&place| before(place, &mut children[place]));
    let Some(row) = row else { return ends };
    let mut survivors = row.end(deadline).err();
    for place in in_row {
        ends[place] = Some(match &mut survivors {
            None => buried(&mut children[place], deadline, Proof::Cgroup),
            // Told once.
            Some(survivors) => Err(NotEmpty { survivors: std::mem::take(survivors) }),
        });
    }
    sweep::bury_orphans_of(row.leaf.path());
    ends
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// Everybody is dead when the kernel says so. A kill can miss one ([`Leaf::kill`]), so it is repeated.
pub(crate) fn end_leaf(leaf: &Leaf, deadline: Option<Instant>) -> io::Result<()> {
    let epoll = Epoll::new().map_err(super::os_error)?;
    let events = match leaf.events() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        events => events?,
    };
    epoll.add(&events, Interest::PRIORITY, 0).map_err(super::os_error)?;
    let mut again = Again::default();
    leaf.kill()?;
    again.killed(time::monotonic());
    while !read_events(&events)? {
        if is_over(deadline) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if again.is_due(time::monotonic()) {
            leaf.kill()?;
            again.killed(time::monotonic());
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let pause = again.deadline().map(|at| at.since(time::monotonic()));
        // Interrupted or not: looked at again.
        let _ = epoll.wait(&mut [Happening::EMPTY], left.into_iter().chain(pause).min());
    }
    Ok(())
}

/// Empty when it is proven to be ([`Looks`]). Who was born before `marked_from` has no mark of it.
fn end_by_sweep(
    child: &mut Child,
    id: &str,
    marked_from: u64,
    deadline: Option<Instant>,
) -> Result<(), NotEmpty> {
    // Until it is buried, its number is its own.
    let start = if child.end.is_none() { sweep::start_ticks(child.pid) } else { None };
    sweep_until_empty(id, start.map(|start| (child.pid, start)), marked_from, deadline)
}

/// Ends everybody who has this mark, and proves that nobody is left. `main` is the number and the start of the first of them.
pub(crate) fn end_marked(id: &str, main: Option<(Pid, u64)>, within: Duration) -> Result<(), NotEmpty> {
    sweep_until_empty(id, main, 0, Instant::now().checked_add(within))
}

/// Who was born before `main` or `marked_from` has no mark of it.
fn sweep_until_empty(
    id: &str,
    main: Option<(Pid, u64)>,
    marked_from: u64,
    deadline: Option<Instant>,
) -> Result<(), NotEmpty> {
    let mut sweeper = Sweeper::everywhere(MARK);
    sweeper.set(id, main, Order::Kill);
    sweeper.marked_from(id, marked_from);
    sweeper.include_main(id);
    let mut looks = Looks::default();
    loop {
        let found = sweeper.pass().unwrap_or_default().pop().map(|(_, found)| found);
        if found.is_some_and(|found| looks.prove_empty(found)) {
            return Ok(());
        }
        if is_over(deadline) {
            return Err(NotEmpty { survivors: seen(sweeper.members(id)) });
        }
        if found.is_none_or(|found| found.alive > 0 || found.untold > 0) {
            pause(LOOK_AGAIN);
        }
    }
}

/// Those of them that live, with names and states.
fn seen(pids: Vec<Pid>) -> Vec<Survivor> {
    let survivor = |pid| {
        let (name, state) = sweep::name_and_state(pid)?;
        (!matches!(state, 'Z' | 'X')).then_some(Survivor { pid, name, state })
    };
    pids.into_iter().filter_map(survivor).collect()
}
