//! What belongs to a service as long as it is known: its recipe, its output, its sockets.

use super::token::Token;
use crate::keeper::{Held, Ledger, Tag};
use crate::listen::Sockets;
use crate::logs::{Collector, Source, SourceId};
use crate::notify::{Channel, ChannelError, FdStore, Heard, ReadyPipe, ReadySign as Shown};
use crate::worker::read_board;
use doula_model::event::{Event, Notice};
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::plan::Errno;
use doula_model::pool::Board;
use doula_model::recipe::{ReadySign, Recipe, Stdin};
use doula_sys::fd::{self, AsRawFd, OwnedFd, RawFd};
use doula_sys::poll::{Epoll, Interest};
use regex::bytes::Regex;
use std::path::Path;

/// More messages than the queue of a Unix socket holds (net.unix.max_dgram_qlen).
const LAST_WORDS: usize = 1024;

/// One service.
pub(crate) struct Service {
    id: ServiceId,
    pub(crate) name: String,
    pub(crate) recipe: Recipe,
    /// What it will be from the next life on.
    pub(super) next_recipe: Option<Box<Recipe>>,
    /// What it was before its last change.
    previous_recipe: Option<Box<Recipe>>,
    /// Its slot, as a worker of a pool.
    pub(super) slot: Option<u32>,
    /// Its main process while that was not buried.
    pub(super) main: Option<Pid>,
    /// The life that goes on, or the last one.
    pub(crate) generation: Generation,
    /// The end of the output that the children of this life get.
    pub(super) output: Option<Held>,
    /// Its output, as the collector knows it.
    pub(crate) source: Option<SourceId>,
    /// Our end of its standard input, when that is a pipe or a terminal.
    pub(crate) console: Option<Held>,
    pub(super) sockets: Sockets,
    pub(super) store: FdStore,
    pub(super) channel: Option<Channel>,
    pub(super) ready_pipe: Option<ReadyPipe>,
    pub(super) ready_line: Option<Regex>,
    /// What it writes on in this life, as a worker of a pool.
    pub(super) scoreboard: Option<Held>,
    /// What of it outlives us.
    ledger: Ledger,
    /// Why the last birth failed, in words.
    pub(crate) complaint: Option<String>,
    complaint_is_fresh: bool,
}

impl Service {
    /// A service of which nothing runs yet. `sockets` are open already.
    pub(super) fn new(id: ServiceId, name: String, recipe: Recipe, sockets: Sockets) -> Service {
        Service {
            id,
            ready_line: ready_line(&recipe),
            store: FdStore::new(recipe.fd_store),
            name,
            recipe,
            next_recipe: None,
            previous_recipe: None,
            slot: None,
            main: None,
            generation: Generation::default(),
            ledger: Ledger::none(),
            output: None,
            source: None,
            console: None,
            sockets,
            channel: None,
            ready_pipe: None,
            scoreboard: None,
            complaint: None,
            complaint_is_fresh: false,
        }
    }

    /// Its fds outlive us from now on.
    pub(super) fn outlive_us(mut self, ledger: Ledger) -> Service {
        self.ledger = ledger;
        self.store.outlive_us(ledger, self.id);
        self
    }

    /// The recipe that counts for whoever reads the configuration.
    pub(super) fn effective(&self) -> &Recipe {
        self.next_recipe.as_deref().unwrap_or(&self.recipe)
    }

    /// A child of this life is about to be born: with a new life begins what was changed.
    pub(super) fn enter(&mut self, generation: Generation) {
        if generation == self.generation {
            return;
        }
        self.generation = generation;
        if let Some(recipe) = self.next_recipe.take() {
            self.ready_line = ready_line(&recipe);
            self.store.set_limit(recipe.fd_store);
            if let Err(error) = self.sockets.apply(&recipe.sockets) {
                self.complain(error.to_string());
            }
            let before = std::mem::replace(&mut self.recipe, *recipe);
            self.previous_recipe = self.slot.map(|_| Box::new(before));
        }
    }

    /// It has another slot from the next life on, or none. Sockets that belong to the slot are opened or given back.
    pub(super) fn sit(&mut self, slot: Option<u32>) {
        self.slot = slot;
        if !self.has_own_sockets() {
            return;
        }
        self.sockets.sit(slot);
        let wanted = if slot.is_some() { self.effective().sockets.clone() } else { Vec::new() };
        if let Err(error) = self.sockets.apply(&wanted) {
            self.complain(error.to_string());
        }
    }

    fn has_own_sockets(&self) -> bool {
        self.effective().seat.is_some_and(|seat| seat.own_sockets)
    }

    /// Whether a socket that belongs to its slot could not be opened.
    pub(super) fn lacks_sockets(&self) -> bool {
        self.has_own_sockets() && self.sockets.fds().count() < self.recipe.sockets.len()
    }

    /// It is made as before its last change, from the next life on.
    pub(super) fn revert(&mut self) {
        if self.next_recipe.take().is_none() {
            self.next_recipe = self.previous_recipe.take();
        }
    }

    /// The fd for the output of a child; the collector reads the other end.
    pub(super) fn output(&mut self, key: ChildKey, logs: &mut Collector) -> Result<RawFd, Errno> {
        if let Some(output) = &self.output {
            return Ok(output.as_raw_fd());
        }
        let (read, write) = fd::pipe()?;
        self.collect(key, logs, read)?;
        let write = self.ledger.hold(write, Tag::Writer(key.service, key.generation));
        Ok(self.output.insert(write).as_raw_fd())
    }

    /// The terminal that a child reads from and writes to; the collector reads our end of it.
    pub(super) fn terminal(&mut self, key: ChildKey, logs: &mut Collector) -> Result<OwnedFd, Errno> {
        let (ours, theirs) = doula_sys::group::pseudo_terminal()?;
        self.collect(key, logs, fd::duplicate(&ours, 0)?)?;
        self.console = Some(self.ledger.hold(ours, Tag::Console(key.service, key.generation)));
        Ok(theirs)
    }

    fn collect(&mut self, key: ChildKey, logs: &mut Collector, output: OwnedFd) -> Result<(), Errno> {
        let ChildKey { service, generation, .. } = key;
        let ready = self.ready_line.clone();
        let output = self.ledger.hold(output, Tag::Output(service, generation));
        self.source = Some(logs.attach(Source { service, generation, output, ready })?);
        Ok(())
    }

    /// Whether it may speak by sd_notify(3).
    fn speaks(&self) -> bool {
        self.recipe.notify
            || self.recipe.fd_store > 0
            || self.recipe.watchdog.is_some()
            || self.recipe.ready == ReadySign::Notify
    }

    /// The value of NOTIFY_SOCKET, if it may speak. A service of another user cannot reach our directory: its
    /// socket has an abstract name.
    pub(super) fn notify_address(
        &mut self,
        id: ServiceId,
        epoll: &Epoll,
        directory: &Path,
    ) -> Result<Option<String>, Errno> {
        if !self.speaks() {
            return Ok(None);
        }
        if self.channel.is_none() {
            let opened = match self.recipe.credentials {
                Some(_) => Channel::open_abstract(&self.name),
                None => Channel::open(directory, &self.name),
            };
            let mut channel = opened.map_err(|ChannelError::Bind { source, .. }| errno(&source))?;
            channel.outlive_us(self.ledger, id);
            epoll.add(&channel, Interest::READ, Token::Notify(id).pack())?;
            self.channel = Some(channel);
        }
        Ok(self.channel.as_ref().map(|channel| channel.address().to_owned()))
    }

    /// The end of a readiness pipe for a child, if that is how it shows readiness.
    pub(super) fn ready_fd(
        &mut self,
        id: ServiceId,
        epoll: &Epoll,
    ) -> Result<Option<(OwnedFd, RawFd)>, Errno> {
        let ReadySign::Fd(number) = self.recipe.ready else { return Ok(None) };
        let (pipe, write) = ReadyPipe::new()?;
        epoll.add(&pipe, Interest::READ, Token::ReadyFd(id).pack())?;
        let tag = Tag::ReadyPipe(id, self.generation);
        self.ready_pipe = Some(pipe.outlive_us(self.ledger, tag));
        Ok(Some((write, RawFd::from(number))))
    }

    /// What the main process of this life may write on, if its pool wants it so.
    pub(super) fn new_scoreboard(&mut self) -> Result<Option<RawFd>, Errno> {
        if !self.recipe.seat.is_some_and(|seat| seat.scoreboard) {
            return Ok(None);
        }
        let file = fd::memory_of(c"scoreboard", Board::LENGTH)?;
        let held = self.ledger.hold(file, Tag::Scoreboard(self.id, self.generation));
        Ok(Some(self.scoreboard.insert(held).as_raw_fd()))
    }

    /// What it has written there.
    pub(super) fn board(&self) -> Option<Board> {
        read_board(self.scoreboard.as_ref()?)
    }

    /// Our end of the standard input of this life.
    pub(super) fn keep_console(&mut self, input: OwnedFd) {
        self.console = Some(self.ledger.hold(input, Tag::Console(self.id, self.generation)));
    }

    /// Whoever attached says that there is no more input. A terminal has no end.
    pub(crate) fn end_input(&mut self) {
        if self.recipe.stdin == Stdin::Pipe {
            self.console = None;
        }
    }

    /// A birth failed.
    pub(super) fn complain(&mut self, complaint: String) {
        self.complaint = Some(complaint);
        self.complaint_is_fresh = true;
    }

    /// What was wrong is wrong still.
    pub(super) fn complain_again(&mut self) {
        self.complaint_is_fresh = self.complaint.is_some();
    }

    /// Why the last birth failed, once.
    pub(super) fn take_fresh_complaint(&mut self) -> Option<String> {
        std::mem::take(&mut self.complaint_is_fresh).then(|| self.complaint.clone()).flatten()
    }

    /// What it said since the last look, and what was wrong with it.
    pub(super) fn hear(&mut self) -> (Vec<Notice>, Vec<String>) {
        let (mut notices, mut complaints) = (Vec::new(), Vec::new());
        let heard = self.channel.as_mut().map(Channel::hear).unwrap_or_default();
        for mut heard in heard {
            if !self.trusts(&heard) {
                complaints.push("a notify message of another user was ignored".to_owned());
                continue;
            }
            complaints.extend(heard.complaint.take());
            notices.append(&mut heard.notices);
            if let Some(name) = heard.removed.take() {
                self.store.remove(&name);
            }
            let refused = heard.offered.take().map_or(0, |offered| self.store.store(offered));
            if refused > 0 {
                complaints.push(format!(
                    "{refused} fds found no room in its fd store (fd-store in its configuration)"
                ));
            }
        }
        (notices, complaints)
    }

    /// What is still to be heard of a life that is over, before the next one can speak: what it left with us counts, and nothing of what
    /// it said of itself. Returns what was wrong with it.
    pub(super) fn hear_out(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        // Bounded, for strangers may write too.
        for _ in 0..LAST_WORDS {
            if !self.channel.as_ref().is_some_and(Channel::has_more) {
                break;
            }
            complaints.extend(self.hear().1);
        }
        complaints
    }

    /// Only the service's own user, ours and root may speak for it.
    fn trusts(&self, heard: &Heard) -> bool {
        let (ours, _) = doula_sys::group::users();
        let own = self.recipe.credentials.as_ref().map_or(ours, |credentials| credentials.uid);
        heard.sender.as_ref().is_some_and(|peer| peer.uid == own || peer.uid == ours || peer.uid == 0)
    }
}

fn ready_line(recipe: &Recipe) -> Option<Regex> {
    match &recipe.ready {
        ReadySign::LogLine(pattern) => Regex::new(pattern).ok(),
        ReadySign::Exec | ReadySign::Notify | ReadySign::Fd(_) | ReadySign::Probe(_) => None,
    }
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno)
}

/// All services, by number. Numbers are given in order and never again.
#[derive(Default)]
pub(crate) struct Services {
    table: Vec<Option<Box<Service>>>,
}

impl Services {
    /// Makes a service known.
    pub(super) fn insert(&mut self, id: ServiceId, service: Service) {
        let index = id.0 as usize;
        if self.table.len() <= index {
            self.table.resize_with(index + 1, || None);
        }
        self.table[index] = Some(Box::new(service));
    }

    pub(crate) fn get(&self, id: ServiceId) -> Option<&Service> {
        self.table.get(id.0 as usize)?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, id: ServiceId) -> Option<&mut Service> {
        self.table.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// The service, if it is in this life.
    pub(super) fn in_life(&mut self, id: ServiceId, generation: Generation) -> Option<&mut Service> {
        self.get_mut(id).filter(|service| service.generation == generation)
    }

    pub(super) fn remove(&mut self, id: ServiceId) {
        if let Some(service) = self.table.get_mut(id.0 as usize) {
            *service = None;
        }
    }

    /// The readiness pipe of a service has something to show: the sign, and the pipe, which holds it until it is written down.
    pub(super) fn look_at_ready_pipe(&mut self, id: ServiceId) -> Option<(Event, ReadyPipe)> {
        let service = self.get_mut(id)?;
        let shown = service.ready_pipe.as_ref()?.look();
        let pipe = service.ready_pipe.take_if(|_| shown != Shown::Silent)?;
        let (generation, notice) = (service.generation, Notice::Ready);
        (shown == Shown::Ready).then_some((Event::Noticed { service: id, generation, notice }, pipe))
    }

    /// A child has this number.
    pub(super) fn lives(&mut self, key: ChildKey, pid: Pid) {
        if let Some(service) = self.in_life(key.service, key.generation).filter(|_| key.role == Role::Main) {
            service.main = Some(pid);
        }
    }

    /// A life is over: what its children could write to is closed.
    pub(super) fn end_of_life(&mut self, id: ServiceId) {
        if let Some(service) = self.get_mut(id) {
            service.output = None;
            service.main = None;
            service.source = None;
            service.console = None;
            service.ready_pipe = None;
            service.scoreboard = None;
        }
    }
}
