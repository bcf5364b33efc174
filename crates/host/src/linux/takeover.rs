//! What a supervisor before us has left: its journal, what its keeper holds, and its processes.
//!
//! The process table has the last word. Whom the journal names and nobody finds has ended; whom nobody has written down and
//! who has the mark of the family all the same is looked after from now on, so that nobody is started twice.

use super::home::Home;
use super::services::Service;
use super::token::Token;
use super::veiled;
use crate::cgroup::Leaf;
use crate::child::{DEATH, end_leaf};
use crate::control::place::Place as FamilyPlace;
use crate::journal::read::Written;
use crate::journal::write::Journal;
use crate::journal::{self, Entry, Head, Place};
use crate::keeper::heir::{Inheritance, Unheard};
use crate::keeper::{Held, Tag};
use crate::listen::{Inherited, borrowed};
use crate::logs::{Source, Stamp};
use crate::notify::{Channel, ReadyPipe};
use crate::{steps, sweep};
use core::time::Duration;
use doula_core::engine::Engine;
use doula_core::view::has_processes;
use doula_model::exit::{Evidence, ExitStatus};
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::recipe::Recipe;
use doula_model::record::{Child, Life, Record};
use doula_model::service::ServiceSpec;
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sys::fd::{AsRawFd, OwnedFd};
use doula_sys::poll::Interest;
use doula_sys::proc::Numbers;
use doula_sys::{group, pidfd, poll, time};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What is left of a family whose supervisor is dead.
pub(crate) struct Before {
    written: Written,
    inheritance: Option<Inheritance>,
    /// Those of its processes that lead a session, by what their marks say.
    marked: Vec<Marked>,
    /// What people should know about it.
    told: String,
    /// How many sockets were taken from those who have them.
    taken: usize,
    /// One who has sockets of the family and may not be asked for them.
    denied: Option<Pid>,
}

/// A process that carries the mark of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Marked {
    pid: Pid,
    service: String,
    token: String,
    id: ServiceId,
    generation: Generation,
    role: Role,
}

/// The variable by which a process that is no main process, and its children, say what they are.
pub(super) const ROLE: &str = "DOULA_ROLE";

/// The words for roles there.
const WORDS: [(Role, &str); 5] = [
    (Role::PreStart, "pre-start"),
    (Role::PostStop, "post-stop"),
    (Role::Reload, "reload"),
    (Role::ReadyProbe, "ready-probe"),
    (Role::LiveProbe, "live-probe"),
];

/// The word for a role; main processes have none.
pub(super) fn word(role: Role) -> Option<&'static str> {
    WORDS.iter().find(|(of, _)| *of == role).map(|(_, word)| *word)
}

/// What a process, or the one that it descends from, was started for.
fn role_of(pid: Pid) -> Role {
    let said = sweep::mark(pid, ROLE);
    let found = WORDS.iter().find(|(_, word)| said.as_deref() == Some(*word));
    found.map_or(Role::Main, |(role, _)| *role)
}

/// What was found.
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// Something of which nothing lives any more, and why it is of no use.
    Useless(String),
    /// Somebody to look after.
    Alive(Box<Before>),
    /// What a newer program has left, that we cannot read.
    Newer(u32),
}

impl Found {
    /// Says what was found. It is all ours now, if our own keeper answers in the place of the other one: then that one ends.
    /// Else it goes on holding what it holds, as long as we live and longer.
    ///
    /// To be called when nothing can fail any more: then nobody else has it.
    pub(crate) fn settle(self, home: &mut Home, ours: bool) {
        match self {
            Found::Nothing | Found::Newer(_) => {}
            Found::Useless(why) => {
                let text =
                    format!("what an earlier supervisor of this family has written down is left out: {why}");
                home.logs.say(Stamp::read(), &text);
            }
            Found::Alive(before) => {
                if !home.is_upgraded {
                    home.logs.say(Stamp::read(), &before.told);
                }
                match before.inheritance {
                    Some(inheritance) if ours => inheritance.release(),
                    kept => home.earlier_keeper = kept,
                }
            }
        }
    }
}

impl Before {
    /// What a supervisor of this family has left in this directory.
    ///
    /// # Errors
    /// There is a keeper who does not give what it holds.
    pub(crate) fn find(directory: &Path, name: &str) -> Result<Found, Unheard> {
        let text = std::fs::read(journal::path(directory)).ok();
        let mut written = text.as_deref().map(Written::read).unwrap_or_default();
        match &written.head {
            Some(head) if head.version > journal::VERSION => return Ok(Found::Newer(head.version)),
            Some(head) if head.world != journal::this_world() => {
                return Ok(Found::Useless("it is of another start of this machine".to_owned()));
            }
            Some(_) => {}
            None => written = Written::unreadable(written.cut),
        }
        let inheritance = Inheritance::claim(directory)?;
        if text.is_none() && inheritance.is_none() {
            return Ok(Found::Nothing);
        }
        let all = inheritance.as_ref().is_some_and(|inheritance| inheritance.whole);
        let whole = written.head.is_some() && written.cut == 0 && all;
        let whole = whole && inheritance.iter().all(|inheritance| written.knows_mains_of(&inheritance.fds));
        let marked = if whole { Vec::new() } else { marked(name) };
        let veiled = || {
            written
                .records()
                .iter()
                .any(|record| alive(record).any(|(pid, born)| veiled::was_born(pid, born)))
        };
        if inheritance.is_none() && marked.is_empty() && !written.is_populated() && !veiled() {
            return Ok(Found::Useless("nothing of it lives any more".to_owned()));
        }
        Ok(Found::Alive(Box::new(Before {
            written,
            inheritance,
            marked,
            told: String::new(),
            taken: 0,
            denied: None,
        })))
    }
}

/// The processes that lead a session and carry the mark of this family.
fn marked(name: &str) -> Vec<Marked> {
    let leads = |pid: &Pid| group::getsid(Some(*pid)) == Ok(*pid);
    let found = Numbers::read().into_iter().flatten().filter(leads).filter_map(|pid| {
        let mark = sweep::mark(pid, sweep::MARK)?;
        let mut parts = mark.rsplitn(3, '/');
        let generation = Generation(parts.next()?.parse().ok()?);
        let id = ServiceId(parts.next()?.parse().ok()?);
        let token = parts.next()?.to_owned();
        // `name.pid.start`.
        let family = token.rsplitn(3, '.').nth(2)?;
        let service = sweep::mark(pid, "DOULA_SERVICE")?;
        (family == name).then(|| Marked {
            pid,
            service,
            token: token.clone(),
            id,
            generation,
            role: role_of(pid),
        })
    });
    found.collect()
}

impl Home {
    /// From now on another supervisor can take over, if this says so. Where that cannot be prepared, the family goes on without,
    /// and it is said.
    pub(crate) fn prepare_end(&mut self, family: &FamilyPlace, engine: &mut Engine, program: &str) -> bool {
        let done = self.begin_journal(family.dir(), engine, program);
        self.complain_of_journal(done);
        steps::reached("journal-begun");
        match self.await_heir(family) {
            Ok(awaited) => awaited,
            Err(error) => {
                self.logs.say(Stamp::read(), &format!("nobody could take over: {error}"));
                false
            }
        }
    }

    fn begin_journal(&mut self, directory: &Path, engine: &mut Engine, program: &str) -> std::io::Result<()> {
        let (token, cgroup) = self.trees.own_place();
        let head = Head {
            version: journal::VERSION,
            program: program.to_owned(),
            pid: group::pid(),
            world: journal::this_world(),
            token,
            cgroup,
        };
        let journal = self.journal.insert(Journal::new(journal::path(directory), head));
        for (id, place) in self.trees.inherited() {
            journal.note(Entry::Held(id, place));
        }
        for id in engine.ids() {
            note_stored(journal, self.services.get_mut(id));
        }
        for (number, address, slot) in self.sockets.take_fresh() {
            journal.note(Entry::Socket(number, address, slot));
        }
        engine.take_touched();
        journal.begin(engine.ids().filter_map(|id| engine.record(id)).collect())
    }

    /// Writes down these services, and the sockets that were opened. A disk without room is told once.
    pub(super) fn write_down(&mut self, engine: &Engine, touched: &[ServiceId]) {
        let Some(journal) = &mut self.journal else { return };
        for (number, address, slot) in self.sockets.take_fresh() {
            journal.note(Entry::Socket(number, address, slot));
        }
        for (id, place) in self.trees.take_moved() {
            journal.note(Entry::Held(id, place));
        }
        let done = if journal.is_full() {
            journal.begin(engine.ids().filter_map(|id| engine.record(id)).collect())
        } else {
            journal.write(touched.iter().filter_map(|id| engine.record(*id)))
        };
        self.complain_of_journal(done);
    }

    /// Writes down where a life goes on that a supervisor before us has begun elsewhere: before the birth of who is there.
    pub(super) fn write_moved(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let moved = self.trees.take_moved();
        if moved.is_empty() {
            return;
        }
        for (id, place) in moved {
            journal.note(Entry::Held(id, place));
        }
        let done = journal.write(std::iter::empty());
        self.complain_of_journal(done);
    }

    /// Writes all down anew, for somebody who reads it at once.
    pub(super) fn write_all_down(&mut self, engine: &Engine) -> std::io::Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        for (number, address, slot) in self.sockets.take_fresh() {
            journal.note(Entry::Socket(number, address, slot));
        }
        journal.begin(engine.ids().filter_map(|id| engine.record(id)).collect())
    }

    /// Writes down what a service has left with us.
    pub(super) fn write_stored(&mut self, id: ServiceId) {
        let Some(journal) = &mut self.journal else { return };
        if note_stored(journal, self.services.get_mut(id)) {
            let done = journal.write(std::iter::empty());
            self.complain_of_journal(done);
        }
    }

    fn complain_of_journal(&mut self, done: std::io::Result<()>) {
        if let Err(error) = done
            && !std::mem::replace(&mut self.journal_failed, true)
        {
            let text = format!("the state of the family cannot be written down: {error}");
            self.logs.say(Stamp::read(), &text);
        }
    }

    /// We were another program: what was found is our own, and goes on where it is.
    pub(crate) fn go_on_where_we_were(&mut self, found: &Found) {
        self.is_upgraded = true;
        let Found::Alive(before) = found else { return };
        if let Some(cgroup) = before.written.head.as_ref().and_then(|head| head.cgroup.as_deref()) {
            self.trees.go_on_in(cgroup);
        }
    }

    /// Takes over what was left, and has an engine go on with it.
    ///
    /// # Errors
    /// A socket of a service cannot be opened.
    pub(crate) fn take_over(
        &mut self,
        before: &mut Before,
        family: Vec<(ServiceSpec, Recipe)>,
        (seed, now): (u64, Time),
    ) -> Result<Engine, String> {
        let mut records = before.written.records();
        before.add_marked(&mut records, &family);
        let fds = before.inheritance.as_mut().map(|all| std::mem::take(&mut all.fds));
        let (sockets, others): (Vec<_>, Vec<_>) =
            fds.into_iter().flatten().partition(|(_, tag)| matches!(tag, Tag::Socket(_)));
        let kept: BTreeSet<u32> = sockets
            .iter()
            .filter_map(|(_, tag)| if let Tag::Socket(number) = tag { Some(*number) } else { None })
            .collect();
        let mut open: Vec<_> = sockets
            .into_iter()
            .filter_map(|(fd, tag)| {
                let Tag::Socket(number) = tag else { return None };
                let (address, slot) = before.written.sockets.get(&number)?;
                Some(self.sockets.inherit(fd, (number, address.clone(), *slot)))
            })
            .collect();
        open.extend(self.take_from_holders(before, &records, &kept));
        if let Err(error) = self.seat_services(before, &records, &family) {
            let error = match before.denied {
                Some(pid) => format!(
                    "{error}; it is of this family, its keeper is gone, and the kernel does not let us have the socket of pid {pid} (pidfd_getfd(2), ptrace(2)): stop that one, or be root"
                ),
                None => error,
            };
            // Dropped, they would take the socket files from the next one.
            std::mem::forget(open);
            return Err(error);
        }
        self.inherited_sockets = open;
        let mut numbers = BTreeMap::new();
        // Beginnings of lines come last: they belong to an output.
        let (begun, others): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|(_, tag)| matches!(tag, Tag::Begun(..)));
        for (fd, tag) in others.into_iter().chain(begun) {
            if let Tag::Child(key, pid) = tag {
                numbers.insert(key, pid);
                self.inherited.insert(key, self.ledger.hold(fd, tag));
            } else {
                self.inherit_fd(before, fd, tag);
            }
        }
        let born = self.find_children(&records, &numbers, &before.marked);
        before.told = self.account(before, &records);
        let specs = family.into_iter().map(|(spec, _)| spec).collect();
        let died = before.inheritance.as_ref().map(|inheritance| inheritance.died);
        Ok(Engine::resume(records, &born, specs, (seed, now), died))
    }

    /// The sockets that no keeper holds any more, from processes of the family that have them.
    fn take_from_holders(
        &self,
        before: &mut Before,
        records: &[Record],
        kept: &BTreeSet<u32>,
    ) -> Vec<Inherited> {
        if before.inheritance.as_ref().is_some_and(|inheritance| inheritance.whole) {
            return Vec::new();
        }
        let place_of = |number: &u32| before.written.sockets.get(number);
        let mut known: Vec<_> = kept.iter().filter_map(place_of).collect();
        let (mut taken, mut denied) = (Vec::new(), None);
        // The latest first: one that was closed may be written down still.
        for (number, place) in before.written.sockets.iter().rev() {
            let (address, slot) = place;
            if known.contains(&place) {
                continue;
            }
            let holders = records.iter().filter(|record| slot.is_none() || record.life.slot == *slot);
            for (record, pid) in
                holders.flat_map(|record| before.may_hold(record).into_iter().map(move |pid| (record, pid)))
            {
                let Ok(holder) = pidfd::open(pid) else { continue };
                // Looked at while we hold it: its number may be a stranger's by now.
                if !before.is_member(record, pid) && !is_veiled_main(record, pid) {
                    continue;
                }
                match borrowed::take(&holder, pid, address) {
                    Ok(Some(fd)) => {
                        known.push(place);
                        taken.push(self.sockets.inherit(fd, (*number, address.clone(), *slot)));
                        break;
                    }
                    Ok(None) => {}
                    Err(_) => denied = Some(pid),
                }
            }
        }
        (before.taken, before.denied) = (taken.len(), denied);
        taken
    }

    /// Gives every service its place: those of before under their numbers, and those that are new behind them.
    fn seat_services(
        &mut self,
        before: &Before,
        records: &[Record],
        family: &[(ServiceSpec, Recipe)],
    ) -> Result<(), String> {
        let recipes: BTreeMap<&str, &Recipe> =
            family.iter().map(|(spec, recipe)| (spec.name.as_str(), recipe)).collect();
        let mut known = BTreeSet::new();
        for record in records {
            let name = record.spec.name.as_str();
            known.insert(name);
            let recipe = recipes.get(name).map(|recipe| (*recipe).clone()).unwrap_or_default();
            self.seat_again(record.id, name, recipe)?;
            if let Some(service) = self.services.get_mut(record.id) {
                service.generation = record.life.generation;
            }
            let life = (record.id, record.life.generation);
            match before.place(record) {
                Some(place) if has_processes(record.life.state) => {
                    self.trees.inherit(life, place, main_of(record).map(|(pid, _)| pid));
                }
                place => end_all_in(place.and_then(|place| place.leaf)),
            }
        }
        before.end_strays(records);
        let fresh = family.iter().filter(|(spec, _)| !known.contains(spec.name.as_str()));
        self.admit(fresh.map(|(spec, recipe)| (spec.name.clone(), recipe.clone())).collect())
    }

    fn inherit_fd(&mut self, before: &Before, fd: OwnedFd, tag: Tag) {
        let (ledger, epoll) = (self.ledger, &self.epoll);
        match tag {
            Tag::Output(id, generation) => self.inherit_output(fd, tag, (id, generation)),
            Tag::Writer(id, generation) => {
                if let Some(service) = self.services.in_life(id, generation) {
                    service.output = Some(ledger.hold(fd, tag));
                }
            }
            Tag::Console(id, generation) => {
                if let Some(service) = self.services.in_life(id, generation) {
                    service.console = Some(ledger.hold(fd, tag));
                }
            }
            Tag::Scoreboard(id, generation) => {
                if let Some(service) = self.services.in_life(id, generation) {
                    service.scoreboard = Some(ledger.hold(fd, tag));
                }
            }
            Tag::ReadyPipe(id, generation) => {
                let Some(service) = self.services.in_life(id, generation) else { return };
                let pipe = ReadyPipe::inherit(fd).outlive_us(ledger, tag);
                if epoll.add(&pipe, Interest::READ, Token::ReadyFd(id).pack()).is_ok() {
                    service.ready_pipe = Some(pipe);
                }
            }
            Tag::Notify(id) => {
                let Some(service) = self.services.get_mut(id) else { return };
                let Ok(mut channel) = Channel::inherit(fd) else { return };
                channel.outlive_us(ledger, id);
                if epoll.add(&channel, Interest::READ, Token::Notify(id).pack()).is_ok() {
                    service.channel = Some(channel);
                }
            }
            Tag::Stored(id, number) => {
                let name = before.written.stored.get(&number).map_or("stored", String::as_str);
                if let Some(service) = self.services.get_mut(id) {
                    service.store.inherit(fd, number, name);
                }
            }
            Tag::Begun(id, generation, continued) => {
                self.logs.go_on_with(Stamp::read(), (id, generation), (fd, continued));
            }
            Tag::Child(..) | Tag::Socket(_) => {}
        }
    }

    /// What waits in the pipe is read in the next turn.
    fn inherit_output(&mut self, fd: OwnedFd, tag: Tag, (id, generation): (ServiceId, Generation)) {
        let Some(service) = self.services.get_mut(id) else { return };
        let ready = service.ready_line.clone().filter(|_| service.generation == generation);
        let output = self.ledger.hold(fd, tag);
        let source = self.logs.attach(Source { service: id, generation, output, ready }).ok();
        if service.generation == generation {
            service.source = source;
        }
    }

    /// Finds the children of whom no handle was left, and tells who of those was born whose birth nobody has written down.
    fn find_children(
        &mut self,
        records: &[Record],
        numbers: &BTreeMap<ChildKey, Pid>,
        marked: &[Marked],
    ) -> BTreeMap<ChildKey, Pid> {
        let mut born = BTreeMap::new();
        for record in records {
            // A service's other children lead sessions in its leaf too. Those of other services do not, and the number of one that
            // has ended may have been given to the one who is looked for.
            let mut taken: BTreeSet<Pid> = alive(record).map(|(pid, _)| pid).collect();
            for &(role, child) in &record.life.children {
                let (service, generation) = (record.id, record.life.generation);
                let key = ChildKey { service, generation, role };
                let born_at = if let Child::Alive { born, .. } = child { Some(born) } else { None };
                let pid = match child {
                    Child::Alive { pid, .. } => Some(pid),
                    Child::Asked { .. } => numbers.get(&key).copied().or_else(|| {
                        let can_be = |pid| !taken.contains(&pid) && role_of(pid) == role;
                        self.trees.leader(service, can_be).or_else(|| oldest(marked, key))
                    }),
                };
                let Some(pid) = pid.filter(|pid| self.has_handle(key, *pid, born_at)) else { continue };
                if matches!(child, Child::Asked { .. }) {
                    born.insert(key, pid);
                    taken.insert(pid);
                }
            }
        }
        born
    }

    /// Whether there is a handle of this child, if it can be had.
    fn has_handle(&mut self, key: ChildKey, pid: Pid, born: Option<Time>) -> bool {
        if self.inherited.contains_key(&key) {
            return true;
        }
        let Ok(handle) = pidfd::open(pid) else { return false };
        // Looked at while we hold it: the number may have been given to somebody else before.
        let ours = self.trees.has_member((key.service, key.generation), pid)
            || born.is_some_and(|born| veiled::was_born(pid, born));
        if ours {
            self.inherited.insert(key, self.ledger.hold(handle, Tag::Child(key, pid)));
        }
        ours
    }

    /// What people should know about it, in one paragraph.
    fn account(&self, before: &Before, records: &[Record]) -> String {
        let alive = |handle: &&Held| poll::readable(handle, Some(Duration::ZERO)) == Ok(false);
        let living = self.inherited.values().filter(alive).count();
        let known = records.iter().flat_map(|record| &record.life.children);
        let ended =
            known.filter(|(_, child)| matches!(child, Child::Alive { .. })).count().saturating_sub(living);
        let head = before.written.head.as_ref();
        let who = head.map_or("an earlier supervisor".to_owned(), |head| format!("pid {}", head.pid));
        let ago = before.inheritance.as_ref().map(|it| time::monotonic().since(it.died));
        let when = ago.map_or(String::new(), |ago| format!(", which ended {:.1} s ago", ago.as_secs_f64()));
        let mut told =
            format!("took over from {who}{when}: {living} processes go on, {ended} ended meanwhile");
        if before.inheritance.as_ref().is_some_and(|inheritance| !inheritance.whole) {
            told.push_str("; the keeper was killed in the middle of it: some sockets and output may be lost");
        }
        if before.inheritance.is_none() {
            told.push_str(
                "; no keeper was left: what was written meanwhile is lost, and nobody knows how those ended",
            );
        }
        if before.taken > 0 {
            told.push_str(&format!("; {} sockets were taken from those who have them", before.taken));
        }
        if before.written.cut > 0 {
            let cut = before.written.cut;
            told.push_str(&format!(
                "; the last {cut} bytes of what was written down were torn and are left out"
            ));
        }
        told
    }
}

impl Before {
    /// Who may have the sockets of a life: its main process, then those of it that lead a session, for the birth of one may not be
    /// written down, then all others.
    fn may_hold(&self, record: &Record) -> Vec<Pid> {
        let life = (record.id, record.life.generation);
        let leaders = self.marked.iter().filter(|marked| (marked.id, marked.generation) == life);
        let members = self.place(record).map(|place| members_of(&place, record.id)).unwrap_or_default();
        let main = main_of(record).map(|(pid, _)| pid);
        main.into_iter().chain(leaders.map(|marked| marked.pid)).chain(members).collect()
    }

    /// Whether this process is of this life, by its leaf or by its mark.
    fn is_member(&self, record: &Record, pid: Pid) -> bool {
        let Some(place) = self.place(record) else { return false };
        let in_leaf = place.leaf.is_some() && leaf_of(pid) == place.leaf;
        in_leaf || sweep::mark(pid, sweep::MARK).as_deref() == Some(mark_in(&place, record.id).as_str())
    }

    /// Where the processes of a service are.
    fn place(&self, record: &Record) -> Option<Place> {
        let by_mark = || {
            let marked = oldest_of(&self.marked, (record.id, record.life.generation))?;
            Some(Place {
                generation: marked.generation,
                token: marked.token.clone(),
                leaf: leaf_of(marked.pid),
            })
        };
        self.written
            .place_of(record.id)
            .filter(|place| place.generation == record.life.generation)
            .or_else(by_mark)
    }

    /// Ends those that carry the mark of a life of which nothing is known.
    fn end_strays(&self, records: &[Record]) {
        let goes_on = |marked: &&Marked| {
            records.iter().any(|record| {
                (record.id, record.life.generation) == (marked.id, marked.generation)
                    && has_processes(record.life.state)
            })
        };
        for stray in self.marked.iter().filter(|marked| !goes_on(marked)) {
            let Ok(handle) = pidfd::open(stray.pid) else { continue };
            // Read again while we hold it: the number may have been given to somebody else before.
            let mark = format!("{}/{}/{}", stray.token, stray.id.0, stray.generation.0);
            if sweep::mark(stray.pid, sweep::MARK).as_deref() == Some(mark.as_str()) {
                let _ = pidfd::send(&handle, Signal::KILL);
                end_all_in(leaf_of(stray.pid));
            }
        }
    }

    /// Makes records of those that have none, or one of an earlier life: they run, and that is all that is known.
    fn add_marked(&self, records: &mut Vec<Record>, family: &[(ServiceSpec, Recipe)]) {
        for marked in self.marked.iter().filter(|marked| marked.role == Role::Main) {
            let life = (marked.id, marked.generation);
            if oldest_of(&self.marked, life) != Some(marked) {
                continue;
            }
            let found = records.iter().position(|record| record.spec.name == marked.service);
            if found.is_some_and(|at| records[at].has_begun(marked.generation)) {
                continue;
            }
            let spec = match found {
                Some(at) => records.swap_remove(at).spec,
                None => {
                    let spec = family.iter().map(|(spec, _)| spec).find(|spec| spec.name == marked.service);
                    Arc::new(spec.cloned().unwrap_or_else(|| ServiceSpec::new(marked.service.as_str())))
                }
            };
            records.retain(|record| record.id != marked.id);
            records.push(Record { id: marked.id, spec, next: None, life: marked.life() });
        }
        records.sort_by_key(|record| record.id);
    }
}

impl Marked {
    /// A life of which nothing is known but that it goes on.
    fn life(&self) -> Life {
        let now = time::monotonic();
        let up = Child::Alive { pid: self.pid, born: now };
        Life::going_on(self.generation, (Role::Main, up), now)
    }
}

/// The main process of a life, or the oldest of its descendants that is known.
fn oldest_of(marked: &[Marked], life: (ServiceId, Generation)) -> Option<&Marked> {
    oldest_as(marked, ChildKey { service: life.0, generation: life.1, role: Role::Main })
}

fn oldest_as(marked: &[Marked], key: ChildKey) -> Option<&Marked> {
    let of = marked.iter().filter(|marked| {
        (marked.id, marked.generation, marked.role) == (key.service, key.generation, key.role)
    });
    of.min_by_key(|marked| (sweep::start_ticks(marked.pid), marked.pid))
}

fn oldest(marked: &[Marked], key: ChildKey) -> Option<Pid> {
    oldest_as(marked, key).map(|marked| marked.pid)
}

/// Nobody knows of those who live here: the last of what was to be written down found no room. They are gone before anybody is
/// started in their place, but for who sleeps in the kernel's hands.
fn end_all_in(leaf: Option<PathBuf>) {
    if let Some(leaf) = leaf.map(Leaf::at).filter(|leaf| leaf.is_empty().is_ok_and(|empty| !empty)) {
        // Whom this does not reach, nothing would.
        let _ = end_leaf(&leaf, Instant::now().checked_add(DEATH));
    }
}

/// The mark of the processes of a life.
fn mark_in(place: &Place, id: ServiceId) -> String {
    format!("{}/{}/{}", place.token, id.0, place.generation.0)
}

/// The processes of a life: those in its leaf, or if it has none all that have its mark.
fn members_of(place: &Place, id: ServiceId) -> Vec<Pid> {
    if let Some(leaf) = &place.leaf {
        return Leaf::at(leaf.clone()).members();
    }
    let mark = mark_in(place, id);
    let has_it = |pid: &Pid| sweep::mark(*pid, sweep::MARK).as_deref() == Some(mark.as_str());
    Numbers::read().into_iter().flatten().filter(has_it).collect()
}

/// The cgroup of a process, if it looks like a leaf of ours.
fn leaf_of(pid: Pid) -> Option<PathBuf> {
    let places = std::fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    crate::cgroup::leaf_in(&places)
}

fn note_stored(journal: &mut Journal, service: Option<&mut Service>) -> bool {
    let fresh = service.map(|service| service.store.take_fresh()).unwrap_or_default();
    for (number, name) in &fresh {
        journal.note(Entry::Stored(*number, name.clone()));
    }
    !fresh.is_empty()
}

fn alive(record: &Record) -> impl Iterator<Item = (Pid, Time)> {
    record.life.children.iter().filter_map(|(_, child)| match child {
        Child::Alive { pid, born } => Some((*pid, *born)),
        Child::Asked { .. } => None,
    })
}

fn main_of(record: &Record) -> Option<(Pid, Time)> {
    record.life.children.iter().find_map(|(role, child)| match child {
        Child::Alive { pid, born } => (*role == Role::Main).then_some((*pid, *born)),
        Child::Asked { .. } => None,
    })
}

/// Whether this is the main process of a life that hides its mark.
fn is_veiled_main(record: &Record, pid: Pid) -> bool {
    main_of(record).is_some_and(|(main, born)| main == pid && veiled::was_born(pid, born))
}

/// How a process ended that nobody has buried yet, as `/proc` shows it (proc_pid_stat(5), field 52). To who may not see it, 0 is
/// shown; such a one may not follow the link to its program either.
pub(super) fn shown(handle: &Held) -> Option<ExitStatus> {
    let pid = number(handle)?;
    let hidden = std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let rest = std::str::from_utf8(&text[text.iter().rposition(|byte| *byte == b')')? + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let dead = fields.next() == Some("Z");
    let code = fields.nth(52 - 3 - 1)?.parse().ok()?;
    let status = ExitStatus::from_wait(code, Evidence::Procfs)?;
    (dead && !hidden && number(handle) == Some(pid)).then_some(status)
}

/// The number of a process that is not buried yet, by its handle.
pub(super) fn number(handle: &Held) -> Option<Pid> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"))?;
    Pid::new(line.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    #[expect(clippy::print_stdout, reason = "the reason of a skipped test is read in the test's output")]
    fn those_of_whom_nobody_knows_are_gone_before_anybody_is_started_in_their_place() {
        let Some(leaf) = Leaf::single() else { return println!("skipped: no cgroup may be made here") };
        let place = leaf.open().expect("its directory");
        let mut child = Command::new("sleep").arg("1000").cgroup(place).spawn().expect("a child");
        end_all_in(Some(leaf.path().to_owned()));
        assert!(leaf.try_remove(), "nobody lives in it");
        assert_eq!(child.wait().killed_by(), Some(Signal::KILL));
    }
}
