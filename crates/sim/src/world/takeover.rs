//! What a killed supervisor leaves and how the next one goes on with it, as in `crates/host/src/keeper`, `journal` and
//! `linux/takeover.rs`: a keeper that has the table of descriptors together with it, its file ([`super::disk`]), and its processes.
//!
//! The keeper is a task of the kernel. So it holds what the supervisor holds, no more and no less, and how somebody ended who was
//! buried by init is told by a handle or by nothing. Marks stand for the environment: a process has them from its program on, and
//! leaves them to its children.

use super::breakage::Breakage;
use super::calls::Handle;
use super::disk::{self, Entry, Head, Place, Written};
use super::faults::Fault;
use super::{Seat, World};
use crate::kernel::call::{Call, Clone as How, Value, Wait};
use crate::kernel::{CgroupId, TaskId};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use doula_core::engine::Engine;
use doula_core::view::has_processes;
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::record::{Child, Life, Record};
use doula_model::service::ServiceSpec;
use doula_model::signal::Signal;

/// A process that holds the descriptors of a supervisor, and what it knows of them.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    task: TaskId,
    birth: u64,
    /// The handles of children.
    children: BTreeMap<ChildKey, Handle>,
    /// Where their output comes in.
    outputs: Vec<i32>,
    /// The socket of a pool.
    socket: Option<i32>,
}

/// A process that carries the mark of a family.
#[derive(Clone, Copy, Debug)]
struct Marked {
    pid: Pid,
    task: TaskId,
    birth: u64,
    /// The place of its service in the scenario, which stands for the name.
    member: usize,
    service: ServiceId,
    generation: Generation,
    role: Role,
}

/// What was found of a family.
pub(super) struct Found {
    written: Written,
    handles: BTreeMap<ChildKey, Handle>,
    marked: Vec<Marked>,
}

impl Found {
    /// Those of a life that lead a session, by their marks.
    pub(super) fn leaders_of(&self, record: &Record) -> impl Iterator<Item = Pid> {
        let life = (record.id, record.life.generation);
        self.marked.iter().filter(move |one| (one.service, one.generation) == life).map(|one| one.pid)
    }

    /// The group of a life, as far as it is written down.
    pub(super) fn leaf_of(&self, world: &World<'_>, record: &Record) -> Option<CgroupId> {
        let family = disk::family_of(&self.written, record.id, record.life.generation)?;
        world.leaves.get(&(family, world.place(record.id))).copied()
    }
}

impl World<'_> {
    /// The supervisor makes its keeper, as the first thing that it does.
    pub(super) fn make_keeper(&mut self) {
        let Ok(Value::Number(number)) = self.call(Call::Clone(How { files: true, ..How::FORK })) else {
            return;
        };
        let task = Some(self.supervisor).filter(|_| !self.killed);
        let Some(task) = task.and_then(|task| self.kernel.find_as(task, number)) else { return };
        // It takes no signal of terminals and none but SIGKILL.
        self.kernel.call(task, Call::Setsid);
        let birth = self.kernel.birth(task);
        self.lock.share((task, birth));
        self.keeper =
            Some(Keeper { task, birth, children: BTreeMap::new(), outputs: Vec::new(), socket: None });
    }

    /// The family is over.
    pub(super) fn end_keeper(&mut self) {
        let Some(keeper) = self.keeper.clone().filter(|_| !self.killed) else { return };
        let number = self.kernel.look_as(self.supervisor, keeper.task).map_or(0, |look| look.pid);
        if self.kernel.lives(keeper.task, keeper.birth)
            && let Ok(Value::Number(fd)) = self.call(Call::PidfdOpen(number))
        {
            let _ = self.call(Call::PidfdSend(fd, Signal::KILL.number()));
            let _ = self.call(Call::WaitidPidfd(fd, Wait::any()));
        }
        if !self.killed {
            self.keeper = None;
        }
    }

    pub(super) fn hold_child(&mut self, key: ChildKey, handle: Handle) {
        if let Some(keeper) = &mut self.keeper {
            keeper.children.insert(key, handle);
        }
    }

    pub(super) fn hold_output(&mut self, fd: i32) {
        self.outputs.push(fd);
        if let Some(keeper) = &mut self.keeper {
            keeper.outputs.push(fd);
        }
    }

    pub(super) fn hold_socket(&mut self, fd: i32) {
        if let Some(keeper) = &mut self.keeper {
            keeper.socket = Some(fd);
        }
    }

    pub(super) fn let_go_of(&mut self, birth: u64) {
        if let Some(keeper) = &mut self.keeper {
            keeper.children.retain(|_, handle| handle.birth != birth);
        }
    }

    /// The supervisor is dead. Its keeper goes on if it can be found; else it ends, and an earlier one goes on if there is one.
    pub(super) fn leave_estate(&mut self) {
        let own = self.keeper.take().filter(|keeper| self.kernel.lives(keeper.task, keeper.birth));
        if self.has_second()
            && let Some(keeper) = &own
        {
            self.lets_go_soon(keeper.birth);
        }
        let unheard = if self.keeper_is_found { core::mem::replace(&mut self.left, own) } else { own };
        self.end_by_itself(unheard);
        if self.faults.fires(Fault::KeeperLost) {
            let left = self.left.take();
            self.end_by_itself(left);
        }
        self.left = self.left.take().filter(|keeper| self.kernel.lives(keeper.task, keeper.birth));
        self.sockets_are_lost = self.left.is_none();
        let handles = self.left.iter().flat_map(|keeper| keeper.children.values());
        self.handles_left = handles.map(|handle| handle.birth).collect();
    }

    fn end_by_itself(&mut self, keeper: Option<Keeper>) {
        if let Some(keeper) = keeper.filter(|keeper| self.kernel.lives(keeper.task, keeper.birth)) {
            self.kernel.signal_from_kernel(keeper.task, Signal::KILL);
        }
    }

    /// An engine that goes on with what is left, or `None`: nothing is. The second half of the start of `doula up`.
    pub(super) fn take_over(&mut self, family: &[ServiceSpec]) -> Option<Engine> {
        let found = self.find()?;
        let mut records = found.written.records();
        self.add_marked(&mut records, &found.marked, family);
        self.take_from_holders(&records, &found);
        let Found { written, handles, marked } = found;
        self.open_socket();
        self.seat_again(&records, &written, &marked);
        self.end_strays(&records, &marked);
        self.inherited = handles;
        let born = self.find_children(&records, &marked);
        self.log.note(self.now, ("takes over", self.inherited.len()));
        let count = self.inherited.len();
        self.log.say(self.now, "supervisor", format_args!("takes over {count} processes"));
        let engine =
            Engine::resume(records, &born, family.to_vec(), (self.scenario.seed, self.now), Some(self.died));
        self.number_members(&engine);
        Some(engine)
    }

    /// What is left.
    fn find(&mut self) -> Option<Found> {
        self.step();
        let (mut written, torn) = self.disk.read();
        if written.head.is_none_or(|head| head.world != self.namespace) {
            written = Written::default();
        }
        let kept = self.left.is_some();
        let handles = self.claim();
        let known = written.knows_mains(handles.keys().copied());
        let whole = written.head.is_some() && !torn && kept && known;
        let marked = if whole { Vec::new() } else { self.marked() };
        let populated = self.is_populated_as_written(&written);
        (kept || !marked.is_empty() || populated).then_some(Found { written, handles, marked })
    }

    /// Whether somebody lives in the group of the family, or in one of an earlier supervisor where a life went on.
    fn is_populated_as_written(&self, written: &Written) -> bool {
        let leaf =
            |(id, place): (ServiceId, &Place)| self.leaves.get(&(place.family, self.place(id))).copied();
        let moved = written.places().filter_map(leaf);
        let family = written.head.map(|head| head.family);
        family.into_iter().chain(moved).any(|group| self.kernel.cgroup_is_populated(group))
    }

    /// What the keeper of before holds, one message after the other.
    fn claim(&mut self) -> BTreeMap<ChildKey, Handle> {
        let mut handles = BTreeMap::new();
        let Some(left) = self.left.clone() else { return handles };
        for fd in &left.outputs {
            self.step();
            if let Some(fd) = self.pass(&left, *fd) {
                self.hold_output(fd);
            }
        }
        if let Some(fd) = left.socket {
            self.step();
            if let Some(fd) = self.pass(&left, fd) {
                self.inherit_socket(fd);
            }
        }
        for (key, handle) in &left.children {
            self.step();
            if let Some(fd) = self.pass(&left, handle.fd) {
                let handle = Handle { fd, ..*handle };
                self.hold_child(*key, handle);
                handles.insert(*key, handle);
            }
        }
        handles
    }

    fn pass(&mut self, left: &Keeper, fd: i32) -> Option<i32> {
        if self.killed { None } else { self.kernel.pass_descriptor((left.task, fd), self.supervisor) }
    }

    /// Those who lead a session and carry a mark, in the order of their births.
    fn marked(&mut self) -> Vec<Marked> {
        self.step();
        let mut found = Vec::new();
        if self.killed {
            return found;
        }
        let entries = self.kernel.cgroup_members(self.families);
        let entries: Vec<_> = entries.into_iter().map(|task| (task, self.kernel.birth(task))).collect();
        for (task, birth) in entries {
            // Whoever is in the directory may be gone when its entry is opened.
            self.step();
            if self.killed {
                return found;
            }
            if self.faults.fires(Fault::EntryVanishes) && self.kernel.lives(task, birth) {
                self.kernel.signal_from_kernel(task, Signal::KILL);
                self.bury_by_init();
            }
            if !self.kernel.lives(task, birth) {
                continue;
            }
            let (Some(look), Some(voice)) =
                (self.kernel.look_as(self.supervisor, task), self.stage.voice_of(&self.kernel, task))
            else {
                continue;
            };
            if let (true, Some(pid)) = (look.sid == look.pid, Pid::new(look.pid)) {
                let ChildKey { service, generation, role } = voice.key;
                let member = voice.member;
                found.push(Marked { pid, task, birth, member, service, generation, role });
            }
        }
        found.sort_by_key(|marked| marked.birth);
        found
    }

    /// Makes records of those that have none, or one of an earlier life: they run, and that is all that is known.
    fn add_marked(&self, records: &mut Vec<Record>, marked: &[Marked], family: &[ServiceSpec]) {
        let mains: Vec<&Marked> = marked.iter().filter(|one| one.role == Role::Main).collect();
        for (at, one) in mains.iter().enumerate() {
            let life = (one.service, one.generation);
            if mains[..at].iter().any(|other| (other.service, other.generation) == life) {
                continue;
            }
            let name = &self.scenario.members[one.member].spec.name;
            let found = records.iter().position(|record| record.spec.name == *name);
            if found.is_some_and(|at| records[at].has_begun(one.generation)) {
                continue;
            }
            let spec = match found {
                Some(at) => records.swap_remove(at).spec,
                None => Arc::new(family[one.member].clone()),
            };
            records.retain(|record| record.id != one.service);
            let up = Child::Alive { pid: one.pid, born: self.now };
            let life = Life::going_on(one.generation, (Role::Main, up), self.now);
            records.push(Record { id: one.service, spec, next: None, life });
        }
        records.sort_by_key(|record| record.id);
    }

    /// Gives every service of before its leaf again.
    fn seat_again(&mut self, records: &[Record], written: &Written, marked: &[Marked]) {
        for record in records {
            let member = self.place(record.id);
            let generation = record.life.generation;
            self.seats[member].life = generation;
            if !has_processes(record.life.state) {
                let family = disk::family_of(written, record.id, generation);
                self.end_all_in(family.and_then(|family| self.leaves.get(&(family, member)).copied()));
                continue;
            }
            let of = |one: &&Marked| (one.service, one.generation) == (record.id, generation);
            let by_mark = || self.leaf_of(marked.iter().find(of)?);
            let written = disk::family_of(written, record.id, generation).map(|family| (family, member));
            let leaf = match written {
                Some(place) => self.leaves.get(&place).copied(),
                None => by_mark(),
            };
            self.seats[member] = Seat { leaf, killed: true, life: generation };
            let found = self.leaves.iter().find(|(_, other)| Some(**other) == leaf);
            if let Some((&(family, _), _)) = found {
                self.held.insert(record.id, Place { generation, family });
            }
        }
    }

    /// The group of one that may have ended since it was found.
    fn leaf_of(&self, of: &Marked) -> Option<CgroupId> {
        self.kernel.lives(of.task, of.birth).then(|| self.kernel.cgroup_of(of.task))
    }

    /// Nobody knows of those who live here. They are gone before anybody is started in their place.
    fn end_all_in(&mut self, leaf: Option<CgroupId>) {
        self.step();
        let Some(leaf) = leaf else { return };
        while !self.killed && self.kernel.cgroup_is_populated(leaf) {
            let missed = self.kill_group(leaf);
            self.bury_by_init();
            if !missed || self.is_broken(Breakage::KillsOnce) {
                return;
            }
            self.step();
        }
    }

    /// Ends those that carry the mark of a life of which nothing is known.
    fn end_strays(&mut self, records: &[Record], marked: &[Marked]) {
        let goes_on = |one: &&Marked| {
            records.iter().any(|record| {
                (record.id, record.life.generation) == (one.service, one.generation)
                    && has_processes(record.life.state)
            })
        };
        let strays = marked.iter().filter(|one| !goes_on(one));
        let leaves: Vec<CgroupId> = strays.filter_map(|stray| self.leaf_of(stray)).collect();
        for leaf in leaves.into_iter().filter(|leaf| *leaf != CgroupId::ROOT) {
            self.end_all_in(Some(leaf));
        }
    }

    /// Finds the children of whom no handle was left, and tells who of those was born whose birth nobody has written down.
    fn find_children(&mut self, records: &[Record], marked: &[Marked]) -> BTreeMap<ChildKey, Pid> {
        let mut born = BTreeMap::new();
        let alive = |(_, child): &(Role, Child)| match child {
            Child::Alive { pid, .. } => Some(*pid),
            Child::Asked { .. } => None,
        };
        for record in records {
            // A service's other children lead sessions in its leaf too.
            let mut taken: Vec<Pid> = record.life.children.iter().filter_map(alive).collect();
            for &(role, child) in &record.life.children {
                let key = ChildKey { service: record.id, generation: record.life.generation, role };
                let (pid, is_asked) = match child {
                    Child::Alive { pid, .. } => (Some(pid), false),
                    Child::Asked { .. } => (self.number_of(key, marked, &taken), true),
                };
                let Some(pid) = pid.filter(|pid| self.has_handle(key, *pid)) else { continue };
                if is_asked {
                    born.insert(key, pid);
                    taken.push(pid);
                }
            }
        }
        born
    }

    /// Who was born to this key, though nobody has written down that he was.
    fn number_of(&mut self, key: ChildKey, marked: &[Marked], taken: &[Pid]) -> Option<Pid> {
        let held = self.inherited.get(&key).map(|handle| handle.pid);
        let of = |one: &&Marked| {
            (one.service, one.generation, one.role) == (key.service, key.generation, key.role)
        };
        let oldest = || marked.iter().find(of).map(|one| one.pid);
        held.or_else(|| self.leader(key, taken)).or_else(oldest)
    }

    /// The oldest process in the leaf of a service that leads a session, as our children do, and can be the one.
    fn leader(&mut self, key: ChildKey, taken: &[Pid]) -> Option<Pid> {
        let leaf = self.seats[self.place(key.service)].leaf.filter(|_| !self.killed)?;
        let is_free = |number: i32| Pid::new(number).is_some_and(|pid| !taken.contains(&pid));
        let leads = |task: &TaskId| {
            let role = self.stage.voice_of(&self.kernel, *task).map_or(Role::Main, |voice| voice.key.role);
            let look = self.kernel.look_as(self.supervisor, *task);
            role == key.role && look.is_some_and(|look| look.sid == look.pid && is_free(look.pid))
        };
        let members = self.kernel.cgroup_members(leaf);
        let oldest = members.into_iter().filter(leads).min_by_key(|task| self.kernel.birth(*task))?;
        Pid::new(self.kernel.look_as(self.supervisor, oldest)?.pid)
    }

    /// Whether there is a handle of this child, if it can be had.
    fn has_handle(&mut self, key: ChildKey, pid: Pid) -> bool {
        if self.inherited.contains_key(&key) {
            return true;
        }
        let Ok(Value::Number(fd)) = self.call(Call::PidfdOpen(pid.get())) else { return false };
        let task = self.kernel.find_as(self.supervisor, pid.get());
        let leaf = self.seats[self.place(key.service)].leaf;
        let Some(task) = task.filter(|task| leaf == Some(self.kernel.cgroup_of(*task))) else {
            let _ = self.call(Call::Close(fd));
            return false;
        };
        let handle = Handle { pid, fd, birth: self.kernel.birth(task) };
        self.hold_child(key, handle);
        self.inherited.insert(key, handle);
        true
    }

    /// Services that were not written down have got other numbers than they have in the scenario.
    fn number_members(&mut self, engine: &Engine) {
        let members = &self.scenario.members;
        let numbered = engine.ids().filter_map(|id| {
            let name = engine.status(id)?.name;
            Some((id, members.iter().position(|member| member.spec.name == name)?))
        });
        self.checks.number_members(numbered.collect());
    }

    /// From now on another supervisor can take over from this one. When nothing can fail any more: what was left is ours then.
    pub(super) fn prepare_end(&mut self, engine: &mut Engine) {
        let head = Head { world: self.namespace, family: self.family };
        let journal = self.journal.insert(disk::journal(head));
        for (id, place) in core::mem::take(&mut self.held) {
            journal.note(Entry::Held(id, place));
        }
        engine.take_touched();
        self.write_anew(engine);
        self.step();
        if self.killed || self.keeper.is_none() {
            return;
        }
        // rename(2) of its socket: the one moment in which our keeper takes the place of the other one.
        self.keeper_is_found = true;
        self.step();
        if !self.killed {
            let before = self.left.take();
            self.end_by_itself(before);
        }
    }

    /// Writes down these services.
    pub(super) fn note_services(&mut self, engine: &Engine, touched: &[ServiceId]) {
        let Some(journal) = &mut self.journal else { return };
        if journal.is_full() {
            self.write_anew(engine);
            return;
        }
        journal.append(touched.iter().filter_map(|id| engine.record(*id)), &mut self.lines);
        self.append();
    }

    /// Everything anew, beside the old file, which it then replaces.
    pub(super) fn write_anew(&mut self, engine: &Engine) -> bool {
        self.step();
        if self.killed {
            return false;
        }
        let Some(journal) = &mut self.journal else { return false };
        self.lines.entries.clear();
        journal.anew(engine.ids().filter_map(|id| engine.record(id)), &mut self.lines);
        // A supervisor that finds no room for its first file says so: what it does is not known to the next one.
        if journal.size() > 0 && self.faults.fires(Fault::DiskFull) {
            journal.failed();
            self.disk.tear();
            self.log.note(self.now, "no room for a file");
            return false;
        }
        self.step();
        if self.killed {
            return false;
        }
        let lines = core::mem::take(&mut self.lines.entries);
        if let Some(journal) = &mut self.journal {
            journal.begins(lines.len());
        }
        self.disk.replace(lines);
        self.log.note(self.now, "state written anew");
        true
    }

    /// One write(2). Its writer can be killed before it, and in each of its lines.
    fn append(&mut self) {
        let lines = core::mem::take(&mut self.lines.entries);
        if lines.is_empty() {
            return;
        }
        self.step();
        let ends_at = self
            .faults
            .fires(Fault::DiskFull)
            .then(|| self.faults.below(Fault::DiskFull, lines.len() as u64) as usize);
        let count = lines.len();
        for (at, line) in lines.into_iter().enumerate() {
            if self.killed {
                return;
            }
            self.step();
            if self.killed || ends_at == Some(at) {
                self.disk.tear();
                return self.write_failed();
            }
            self.disk.put(line);
        }
        if let Some(journal) = &mut self.journal {
            journal.grew(count);
        }
        self.log.note(self.now, ("state", count));
    }

    fn write_failed(&mut self) {
        if self.killed {
            return;
        }
        let Some(journal) = &mut self.journal else { return };
        if !self.faults.fires(Fault::DiskBroken) {
            self.disk.cut(journal.size());
            self.disk.tear();
        }
        journal.failed();
        self.log.note(self.now, "the state is not written");
    }

    /// A leaf for a service of this family, as a directory by its name.
    pub(super) fn make_leaf(&mut self, member: usize) -> Result<CgroupId, doula_model::plan::Errno> {
        let leaf = self.kernel.make_cgroup(self.family)?;
        self.kernel.limit_cgroup(leaf, self.scenario.members[member].most);
        self.leaves.insert((self.family, member), leaf);
        Ok(leaf)
    }

    /// The life of this child goes on in a leaf of ours, and no longer where a supervisor before us has begun it. It is written down
    /// before the child is born.
    pub(super) fn has_moved(&mut self, child: ChildKey) {
        let place = Place { generation: child.generation, family: self.family };
        let Some(journal) = &mut self.journal else { return };
        journal.note(Entry::Held(child.service, place));
        if !journal.is_behind() {
            journal.append(core::iter::empty(), &mut self.lines);
            self.append();
        }
    }

    /// As `doula up` does at its start: what dead supervisors left is removed, if nobody lives in it.
    pub(super) fn clear_stale_groups(&mut self) {
        for leaf in self.leaves.values().copied().collect::<Vec<_>>() {
            self.remove_leaf(leaf);
        }
        let kernel = &mut self.kernel;
        self.old_families.retain(|family| kernel.remove_cgroup(*family).is_err());
    }

    /// Whether nobody lived in it.
    pub(super) fn remove_leaf(&mut self, leaf: CgroupId) -> bool {
        let removed = self.kernel.remove_cgroup(leaf).is_ok();
        if removed {
            self.leaves.retain(|_, other| *other != leaf);
        }
        removed
    }

    /// The place of a service in the scenario.
    pub(super) fn place(&self, service: ServiceId) -> usize {
        self.checks.place(service)
    }
}
