//! Which processes belong to a service, and the proof that none is left.
//!
//! With a writable cgroup v2 each service has a leaf, kept across its lives: asking whether it is empty is one
//! small read. Without, the sweeper looks through `/proc`; one pass serves all who ask, so the answer to
//! [`Trees::look`] comes with the next pass.

use super::bounds::Bounds;
use super::token::Token;
use crate::cgroup::{Cgroups, Leaf, read_events};
use crate::journal::Place;
use crate::sweep::{self, Found, Looks, Order, Sweeper, start_ticks};
use doula_core::again::Again;
use doula_core::kernel::Tree;
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::plan::{ChildPlan, Errno, SpawnError, Step};
use doula_model::recipe::Limits;
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sys::fd::{AsRawFd, OwnedFd};
use doula_sys::poll::{Epoll, Interest};
use doula_sys::time;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The pause between two passes of the sweeper while somebody is to be gone: long enough not to eat the CPU,
/// short enough not to be felt.
const PASS_EVERY: Duration = Duration::from_millis(10);

/// One life of a service.
pub(super) type Life = (ServiceId, Generation);

/// The containment of a family.
pub(super) struct Trees {
    /// What makes the marks of this supervisor different from those of any other.
    family: String,
    cgroups: Option<Cgroups>,
    pub(super) bounds: Bounds,
    leaves: BTreeMap<ServiceId, Held>,
    sweeper: Sweeper,
    /// Looks for those whom a supervisor before us has started.
    others: Sweeper,
    /// The marks of lives that a supervisor before us has begun begin so.
    tokens: BTreeMap<Life, String>,
    /// What supervisors before us have made for the family.
    families: BTreeSet<PathBuf>,
    /// So many of our leaves are where a supervisor before us has made them.
    elsewhere: usize,
    /// Lives that a supervisor before us has begun and that go on in a leaf of ours, which is not written down yet.
    moved: Vec<Life>,
    mains: BTreeMap<Life, (Pid, u64)>,
    /// Those who are looked for.
    swept: BTreeMap<Life, Swept>,
    next_pass: Option<Time>,
    /// Those whose leaf was killed and who are not gone: the kill may have missed one ([`Leaf::kill`]).
    killed: BTreeMap<Life, Again>,
    /// No further life is expected.
    ending: bool,
}

/// A life that is looked for by the sweeper.
struct Swept {
    /// What was ordered.
    order: Order,
    /// What the last pass saw since.
    found: Option<Found>,
    looks: Looks,
}

/// The leaf of a service.
struct Held {
    leaf: Leaf,
    /// Everybody in it was killed at once.
    killed: bool,
    /// A supervisor before us has made it: the next life gets one of ours.
    elsewhere: bool,
    /// Watched while somebody waits for the leaf to become empty.
    events: Option<OwnedFd>,
}

impl Trees {
    /// Finds out what this machine offers to a family of this name.
    pub(super) fn new(name: &str) -> Trees {
        let pid = doula_sys::group::pid();
        let start = start_ticks(pid).unwrap_or_default();
        Trees {
            family: format!("{name}.{pid}.{start}"),
            cgroups: Cgroups::discover(name),
            bounds: Bounds::new(name),
            leaves: BTreeMap::new(),
            sweeper: Sweeper::new(),
            others: Sweeper::of_others(),
            tokens: BTreeMap::new(),
            families: BTreeSet::new(),
            elsewhere: 0,
            moved: Vec::new(),
            mains: BTreeMap::new(),
            swept: BTreeMap::new(),
            next_pass: None,
            killed: BTreeMap::new(),
            ending: false,
        }
    }

    /// Whether processes are held by cgroups, or have to be looked for.
    pub(super) fn has_cgroups(&self) -> bool {
        self.cgroups.is_some()
    }

    /// The value of `DOULA_ID` for the processes of a life.
    pub(super) fn marker(&self, service: ServiceId, generation: Generation) -> String {
        let family = self.tokens.get(&(service, generation)).unwrap_or(&self.family);
        format!("{family}/{}/{}", service.0, generation.0)
    }

    /// What the marks of the lives that we begin begin with, and where their leaves are.
    pub(super) fn own_place(&self) -> (String, Option<PathBuf>) {
        (self.family.clone(), self.cgroups.as_ref().map(|cgroups| cgroups.path().to_owned()))
    }

    /// Goes on in the directory that we had when we were another program.
    pub(super) fn go_on_in(&mut self, cgroup: &Path) {
        if let Ok(cgroups) = Cgroups::at(cgroup) {
            self.cgroups = Some(cgroups);
        }
    }

    /// A life that a supervisor before us has begun, or we when we were another program, and its main process.
    pub(super) fn inherit(&mut self, life: Life, place: Place, main: Option<Pid>) {
        if place.token != self.family {
            self.tokens.insert(life, place.token);
        }
        if let Some(leaf) = place.leaf.map(Leaf::at).filter(|leaf| leaf.path().is_dir()) {
            let family = leaf.path().parent();
            let elsewhere = self.cgroups.as_ref().map(Cgroups::path) != family;
            if elsewhere {
                self.elsewhere += 1;
                self.families.extend(family.map(Path::to_owned));
            }
            // It may have been killed as a whole: a new one costs little.
            self.leaves.insert(life.0, Held { leaf, killed: true, elsewhere, events: None });
        } else if let Some((pid, start)) = main.and_then(|pid| Some((pid, start_ticks(pid)?))) {
            self.mains.insert(life, (pid, start));
        }
    }

    /// Those lives that go on where a supervisor before us has begun them.
    pub(super) fn inherited(&self) -> Vec<(ServiceId, Place)> {
        let place = |(life, token): (&Life, &String)| {
            let leaf = self.leaves.get(&life.0).filter(|held| held.elsewhere);
            let leaf = leaf.map(|held| held.leaf.path().to_owned());
            (life.0, Place { generation: life.1, token: token.clone(), leaf })
        };
        self.tokens.iter().map(place).collect()
    }

    /// Those that have moved since the last call, and where they are.
    pub(super) fn take_moved(&mut self) -> Vec<(ServiceId, Place)> {
        let place = |life: Life| {
            let token = self.tokens.get(&life).unwrap_or(&self.family).clone();
            let leaf = self.leaves.get(&life.0).map(|held| held.leaf.path().to_owned());
            (life.0, Place { generation: life.1, token, leaf })
        };
        std::mem::take(&mut self.moved).into_iter().map(place).collect()
    }

    /// The oldest process in the leaf of a service that leads a session, as our children do, and can be the one.
    pub(super) fn leader(&self, service: ServiceId, can_be: impl Fn(Pid) -> bool) -> Option<Pid> {
        let leads = |pid: &Pid| doula_sys::group::getsid(Some(*pid)) == Ok(*pid) && can_be(*pid);
        let leaders = self.leaves.get(&service)?.leaf.members().into_iter().filter(leads);
        leaders.min_by_key(|pid| (start_ticks(*pid), *pid))
    }

    /// Whether this process is of this life, as far as can be seen.
    pub(super) fn has_member(&self, life: Life, pid: Pid) -> bool {
        self.leaves.get(&life.0).is_some_and(|held| held.leaf.members().contains(&pid))
            || sweep::mark(pid, sweep::MARK).is_some_and(|mark| mark == self.marker(life.0, life.1))
    }

    /// Lays the containment of a child into its plan. The fd must stay open until the child is born.
    pub(super) fn contain(
        &mut self,
        key: ChildKey,
        name: &str,
        limits: Limits,
        plan: &mut ChildPlan,
    ) -> Result<Option<OwnedFd>, SpawnError> {
        let failed = |error: io::Error| SpawnError { step: Step::Cgroup, errno: errno(&error) };
        self.make_leaf((key.service, key.generation), name).map_err(failed)?;
        let leaf = self.leaves.get(&key.service).map(|held| &held.leaf);
        let place = (self.cgroups.as_mut(), leaf);
        self.bounds.lay((key.service, name), place, limits, plan).map_err(failed)?;
        let (Some(cgroups), Some(held)) = (&self.cgroups, self.leaves.get(&key.service)) else {
            return Ok(None);
        };
        let opened = if held.elsewhere { held.leaf.open() } else { cgroups.open_leaf(&held.leaf) };
        let directory = opened.map_err(failed)?;
        plan.cgroup = Some(directory.as_raw_fd());
        Ok(Some(directory))
    }

    /// Makes the leaf of a service, if it has none that can be used.
    ///
    /// Who is born into a leaf after its `cgroup.kill` was written dies at once on Linux 6.14 and later: the
    /// kernel takes the birth for one that was under way then, because it compares the leaf's count of kills
    /// with that of our own cgroup. So such a leaf is made anew.
    fn make_leaf(&mut self, life: Life, name: &str) -> io::Result<()> {
        let service = life.0;
        let Some(cgroups) = &self.cgroups else { return Ok(()) };
        let stale = |held: &&Held| (held.killed || held.elsewhere) && held.leaf.try_remove();
        if let Some(held) = self.leaves.get(&service).filter(stale) {
            self.elsewhere -= usize::from(held.elsewhere);
            self.moved.extend(Some(life).filter(|_| held.elsewhere));
            self.leaves.remove(&service);
            self.bounds.moved(service);
        }
        if let Entry::Vacant(vacant) = self.leaves.entry(service) {
            vacant.insert(Held { leaf: cgroups.leaf(name)?, killed: false, elsewhere: false, events: None });
        }
        Ok(())
    }

    /// The cgroups of a service: its leaf, and the groups that limit it.
    pub(super) fn cgroups_of(&self, service: ServiceId) -> Vec<String> {
        let leaf = self.leaves.get(&service).map(|held| held.leaf.path());
        let all = leaf.into_iter().chain(self.bounds.groups(service));
        all.map(|path| path.display().to_string()).collect()
    }

    /// How many processes of a service the kernel has killed for want of memory since the last call.
    pub(super) fn newly_killed(&mut self, service: ServiceId) -> u64 {
        let leaf = self.leaves.get(&service).map(|held| &held.leaf);
        self.bounds.newly_killed(service, leaf)
    }

    /// Has the kernel tell when a service with a limit of memory runs into it.
    pub(super) fn watch_memory(&mut self, service: ServiceId, epoll: &Epoll) {
        let leaf = self.leaves.get(&service).map(|held| &held.leaf);
        self.bounds.watch_memory(service, leaf, epoll);
    }

    /// A child was born. The session of a main process is a trace to its descendants.
    pub(super) fn born(&mut self, key: ChildKey, pid: Pid) {
        if self.cgroups.is_none() && key.role == Role::Main {
            let start = start_ticks(pid).unwrap_or_default();
            self.mains.insert((key.service, key.generation), (pid, start));
        }
    }

    /// The family ends: when nobody lives in any of its leaves, nobody lives in this one.
    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    /// What is left of a life. If something is, [`Token::Tree`] or [`Trees::due`] tells when to ask again; [`Trees::due`]
    /// now and then if it was killed.
    pub(super) fn look(&mut self, life: Life, epoll: &Epoll) -> Tree {
        if self.ending && self.elsewhere == 0 && self.cgroups.as_ref().is_some_and(Cgroups::is_empty) {
            return Tree::Empty;
        }
        match self.leaves.get_mut(&life.0) {
            Some(held) => held.look(life.0, epoll),
            None if self.cgroups.is_some() && !self.tokens.contains_key(&life) => Tree::Empty,
            None => self.look_by_sweep(life),
        }
    }

    fn look_by_sweep(&mut self, life: Life) -> Tree {
        match self.swept.get(&life) {
            Some(swept) if swept.looks.is_proof() => Tree::Empty,
            Some(swept) => Tree::Populated(swept.found.map_or(0, |found| found.alive as u32)),
            None => {
                self.order(life, Order::Look);
                Tree::Populated(0)
            }
        }
    }

    fn order(&mut self, life: Life, order: Order) {
        if self.swept.get(&life).is_some_and(|before| before.order == order) {
            return;
        }
        let marker = self.marker(life.0, life.1);
        let main = self.mains.get(&life).copied();
        self.sweeper_of(life).set(&marker, main, order);
        self.swept.insert(life, Swept { order, found: None, looks: Looks::default() });
        self.next_pass = Some(Time::ZERO);
    }

    fn sweeper_of(&mut self, life: Life) -> &mut Sweeper {
        if self.tokens.contains_key(&life) { &mut self.others } else { &mut self.sweeper }
    }

    /// Sends a signal to every process of a life.
    pub(super) fn signal(&mut self, life: Life, signal: Signal) {
        let Some(held) = self.leaves.get_mut(&life.0) else {
            let order = if signal == Signal::KILL { Order::Kill } else { Order::Signal(signal) };
            return self.order(life, order);
        };
        // Whoever is gone meanwhile needs no signal; whoever cannot be reached is still there at the next look.
        let _ = match signal {
            Signal::KILL => {
                held.killed = true;
                self.killed.entry(life).or_default().killed(time::monotonic());
                held.leaf.kill()
            }
            _ => held.leaf.signal_all(signal).map(drop),
        };
    }

    /// The processes of a life, as far as they are known.
    pub(super) fn members(&self, life: Life) -> Vec<Pid> {
        match self.leaves.get(&life.0) {
            Some(held) => held.leaf.members(),
            None => {
                let marker = self.marker(life.0, life.1);
                if self.tokens.contains_key(&life) {
                    self.others.members(&marker)
                } else {
                    self.sweeper.members(&marker)
                }
            }
        }
    }

    /// Nobody looks for this life any more.
    pub(super) fn release(&mut self, life: Life) {
        let marker = self.marker(life.0, life.1);
        self.sweeper_of(life).forget(&marker);
        self.swept.remove(&life);
        self.mains.remove(&life);
        self.killed.remove(&life);
    }

    /// The service is gone for good.
    pub(super) fn forget(&mut self, service: ServiceId) {
        self.bounds.forget(service);
        if let Some(held) = self.leaves.remove(&service) {
            self.elsewhere -= usize::from(held.elsewhere);
            held.leaf.try_remove();
        }
        self.tokens.retain(|(of, _), _| *of != service);
        self.killed.retain(|(of, _), _| *of != service);
    }

    /// When [`Trees::due`] has something to do.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.killed.values().filter_map(Again::deadline).chain(self.next_pass).min()
    }

    /// Sweeps, if it is time to; whose answer is new, and who was killed and is to be looked at because nothing told of the end.
    pub(super) fn due(&mut self, now: Time) -> Vec<Life> {
        let mut due = self.sweep(now);
        for (life, again) in self.killed.iter_mut().filter(|(_, again)| again.is_due(now)) {
            due.push(*life);
            // Whoever looks kills them: this is only so that the next look comes later, whatever comes of this one.
            again.killed(now);
        }
        due
    }

    fn sweep(&mut self, now: Time) -> Vec<Life> {
        if self.next_pass.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut found = BTreeMap::new();
        self.next_pass = None;
        let known: BTreeSet<_> = self.mains.values().copied().collect();
        for sweeper in [&mut self.sweeper, &mut self.others] {
            if !sweeper.is_idle() {
                self.next_pass = Some(now.after(PASS_EVERY));
                sweeper.know(known.clone());
                found.extend(sweeper.pass().unwrap_or_default());
            }
        }
        let lives: BTreeSet<Life> = self.swept.keys().copied().collect();
        for life in &lives {
            let marker = self.marker(life.0, life.1);
            if let (Some(&found), Some(swept)) = (found.get(&marker), self.swept.get_mut(life)) {
                swept.found = Some(found);
                swept.looks.prove_empty(found);
            }
        }
        lives.into_iter().collect()
    }
}

impl Drop for Trees {
    /// What supervisors before us have made goes with what we have made.
    fn drop(&mut self) {
        for family in &self.families {
            Leaf::at(family.clone()).try_remove();
        }
    }
}

impl Held {
    fn look(&mut self, service: ServiceId, epoll: &Epoll) -> Tree {
        if self.leaf_is_empty() {
            if let Some(events) = self.events.take() {
                // It leaves the set when it is closed; nobody else holds it.
                drop(events);
            }
            return Tree::Empty;
        }
        if self.events.is_none() {
            self.events = self.watch(service, epoll).ok();
            // It may have become empty before the watch began.
            if self.leaf_is_empty() {
                return Tree::Empty;
            }
        }
        Tree::Populated(u32::try_from(self.leaf.members().len()).unwrap_or(u32::MAX))
    }

    /// A leaf that a supervisor before us has made looks left over to every other doula that starts, and is removed as soon as it is
    /// empty: then its events can be read no more, and it is looked for by its path.
    fn leaf_is_empty(&self) -> bool {
        let told = self.events.as_ref().and_then(|events| read_events(events).ok());
        told.or_else(|| self.leaf.is_empty().ok()).unwrap_or(false)
    }

    fn watch(&self, service: ServiceId, epoll: &Epoll) -> Result<OwnedFd, Errno> {
        let events = self.leaf.events().map_err(|error| errno(&error))?;
        epoll.add(&events, Interest::PRIORITY, Token::Tree(service).pack())?;
        Ok(events)
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    #[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
    fn a_leaf_that_somebody_removed_when_it_was_empty_is_empty() {
        let Some(leaf) = Leaf::single() else { return println!("skipped: no cgroup may be made here") };
        let (epoll, service) = (Epoll::new().expect("a set"), ServiceId(0));
        let place = leaf.open().expect("its directory");
        let mut child = Command::new("sleep").arg("1000").cgroup(place).spawn().expect("a child");
        let mut held = Held { leaf: leaf.clone(), killed: true, elsewhere: true, events: None };
        assert_eq!(held.look(service, &epoll), Tree::Populated(1));
        child.kill().expect("it is ours");
        child.wait();
        // It is known to be empty a moment after the end.
        while !leaf.try_remove() {}
        assert_eq!(held.look(service, &epoll), Tree::Empty);
    }
}
