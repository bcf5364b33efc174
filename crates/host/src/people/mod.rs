//! People: the control socket's requests carried out, and everybody told what they wait for.
//!
//! [`People`] owns the server and an epoll set for its clients, so that the main loop watches one fd. It is
//! called once in each turn ([`People::attend`]) with a view of the engine, and never decides: what is asked
//! becomes a [`doula_model::event::Command`] for the engine, what is waited for is compared with the engine's states.

mod answers;
pub(crate) mod handover;
mod history;
mod pools;
mod streams;
mod views;
mod waiters;

use crate::control::{ClientId, Identity, Server};
use crate::linux::home::Home;
use crate::logs::{SourceId, Stamp};
use doula_core::engine::Engine;
use doula_model::action::News;
use doula_model::action::Report;
use doula_model::control::{RefusalKind, Reply, RequestId, Wall};
use doula_model::event::{Event, Haste};
use doula_model::id::ServiceId;
use doula_model::plan::Errno;
use doula_model::time::Time;
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::poll::{Epoll, Happening, Interest};
use history::History;
use std::collections::VecDeque;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;
use streams::Streams;
use waiters::{Until, Waiter};

/// How long those who follow the family may take to read its last news, all together.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The token of the listener; clients have their own numbers, which begin at 1.
const LISTENER: u64 = 0;

/// Both clocks, to show a monotonic time as a wall-clock time.
pub(crate) struct Clocks {
    now: Time,
    wall: Duration,
}

impl Clocks {
    fn read() -> Clocks {
        let Stamp { now, wall } = Stamp::read();
        Clocks { now, wall }
    }

    fn wall_of(&self, at: Time) -> Wall {
        wall(self.wall.saturating_sub(self.now.since(at)))
    }
}

fn wall(since_1970: Duration) -> Wall {
    Wall(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
}

/// What people may look at and touch.
pub(crate) struct Desk<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) home: &'a mut Home,
    pub(crate) events: &'a mut VecDeque<Event>,
}

impl Desk<'_> {
    /// The name that a service has or had.
    fn name(&self, id: ServiceId) -> String {
        self.engine.status(id).map_or_else(|| self.home.logs.name(Some(id)).to_owned(), |view| view.name)
    }
}

/// Everybody who speaks with us over the control socket.
pub(crate) struct People {
    epoll: Epoll,
    server: Server,
    identity: Identity,
    started: Time,
    warnings: Vec<String>,
    waiters: Vec<Waiter>,
    streams: Streams,
    history: History,
    haste: Option<Haste>,
    /// SIGHUP came: the configuration is to be read again.
    reload: bool,
    /// Somebody's state may have changed since the waiters were looked at.
    news: bool,
    /// A stream could go on at once, after the others had their turn.
    more: bool,
    /// The family is over: what goes on ends as soon as all of it was passed on.
    over: bool,
}

impl AsFd for People {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl People {
    /// Serves on this listener.
    pub(crate) fn new(
        listener: UnixListener,
        identity: Identity,
        warnings: Vec<String>,
    ) -> Result<People, Errno> {
        let epoll = Epoll::new()?;
        epoll.add(&listener, Interest::READ, LISTENER)?;
        let (owner, _) = doula_sys::group::users();
        let server = Server::new(listener, owner, identity.clone());
        Ok(People {
            epoll,
            server,
            identity,
            started: Stamp::read().now,
            warnings,
            waiters: Vec::new(),
            streams: Streams::default(),
            history: History::default(),
            haste: None,
            reload: false,
            news: false,
            more: false,
            over: false,
        })
    }

    /// Where people come in.
    pub(crate) fn door(&self) -> BorrowedFd<'_> {
        self.server.listener()
    }

    /// The version of our program.
    pub(crate) fn version(&self) -> &str {
        &self.identity.version
    }

    /// The connection of somebody, for one who will answer in our place.
    pub(crate) fn line_to(&self, (client, request): (ClientId, RequestId)) -> Option<(OwnedFd, RequestId)> {
        Some((fd::duplicate(self.server.fd(client)?, 3).ok()?, request))
    }

    /// Answers over a connection that was [`People::line_to`].
    pub(crate) fn answer_over(&mut self, stream: UnixStream, request: RequestId, reply: &Reply) {
        self.server.answer_over(stream, request, reply);
    }

    /// It cannot be done, as came out later.
    pub(crate) fn refuse(
        &mut self,
        (client, request): (ClientId, RequestId),
        (kind, text): (RefusalKind, String),
    ) {
        self.server.answer(client, request, &Reply::refuse(kind, text));
    }

    /// Something happened in the family.
    pub(crate) fn report(&mut self, report: &Report) {
        if let News::ShuttingDown { haste, .. } = report.news {
            self.haste = Some(haste);
        }
        self.history.push(Clocks::read().wall_of(report.at), report);
        self.news = true;
    }

    /// The configuration is read again at the next turn, as by `doula ctl reload`.
    pub(crate) fn reload_at_next_turn(&mut self) {
        self.reload = true;
    }

    /// When somebody's patience ends, or somebody is to be told more.
    pub(crate) fn deadline(&self) -> Option<Time> {
        if self.more {
            return Some(Time::ZERO);
        }
        self.waiters.iter().filter_map(|waiter| waiter.deadline).min()
    }

    /// Serves whoever has something for us, and tells whoever waits.
    pub(crate) fn attend(&mut self, desk: &mut Desk<'_>) {
        self.attend_within(Duration::ZERO, desk);
    }

    fn attend_within(&mut self, patience: Duration, desk: &mut Desk<'_>) {
        let mut buffer = [Happening::EMPTY; 32];
        let happened = self.epoll.wait(&mut buffer, Some(patience)).unwrap_or_default();
        for happening in happened {
            match happening.token() {
                LISTENER => self.server.accept(),
                client => self.serve(ClientId(client), desk),
            }
        }
        if std::mem::take(&mut self.reload) {
            answers::reload_by_signal(desk);
        }
        self.settle(desk);
        self.more = self.streams.pump(&mut self.server, &self.history, desk, self.over);
        self.keep_watch(desk);
    }

    /// The family is over: whoever has asked is answered, and those who follow it get everything up to the end. Who
    /// takes too long for that is left.
    pub(crate) fn say_goodbye(&mut self, desk: &mut Desk<'_>) {
        (self.reload, self.over) = (false, true);
        let end = Stamp::read().now.after(LAST_WORDS);
        // The first turn lets those in who stand at the door, the second hears them.
        let mut turns = 0;
        while turns < 2 || self.is_listened_to() {
            let left = end.since(Stamp::read().now);
            if left.is_zero() {
                break;
            }
            let at_once = turns < 2 || self.more;
            self.attend_within(if at_once { Duration::ZERO } else { left }, desk);
            desk.events.clear();
            turns += 1;
        }
    }

    /// Whether somebody has not got all yet that is for them.
    fn is_listened_to(&self) -> bool {
        !self.streams.is_empty() || self.server.is_busy()
    }

    fn serve(&mut self, client: ClientId, desk: &mut Desk<'_>) {
        for (id, request) in self.server.ready(client) {
            let answer = answers::carry_out(self, desk, (client, id), request);
            if let Some(reply) = answer.unwrap_or_else(|refusal| Some(Reply::Error(refusal))) {
                self.server.answer(client, id, &reply);
            }
        }
    }

    /// Answers the waiters whose time has come. Those who asked for something that the engine has not heard
    /// of yet wait at least until it has.
    fn settle(&mut self, desk: &Desk<'_>) {
        let now = Stamp::read().now;
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if !self.news && !due || !desk.events.is_empty() {
            return;
        }
        self.news = false;
        let server = &mut self.server;
        self.waiters.retain(|waiter| match waiter.answer(desk.engine, now) {
            None => true,
            Some(reply) => {
                server.answer(waiter.client, waiter.request, &reply);
                false
            }
        });
    }

    /// Waits for what the server wants to be told, and forgets those who are gone.
    fn keep_watch(&mut self, desk: &mut Desk<'_>) {
        for (client, interest) in self.server.take_changes() {
            let Some(fd) = self.server.fd(client) else { continue };
            let known = self.epoll.modify(fd, interest, client.0);
            if known == Err(Errno::ENOENT) && self.epoll.add(fd, interest, client.0).is_err() {
                self.server.forget(client);
            }
        }
        for client in self.server.take_gone() {
            self.waiters.retain(|waiter| waiter.client != client);
            self.streams.forget(client, desk);
        }
    }

    fn wait_for(
        &mut self,
        (client, request): answers::Asker,
        ids: Vec<ServiceId>,
        until: Until,
        patience: Option<Duration>,
    ) {
        let deadline = patience.map(|patience| Stamp::read().now.after(patience));
        self.waiters.push(Waiter { client, request, ids, until, deadline });
        self.news = true;
    }

    /// Raw output of a service that somebody is attached to.
    pub(crate) fn raw(&mut self, source: SourceId, bytes: &[u8]) {
        self.streams.raw(&mut self.server, source, bytes);
    }

    /// Nobody can write to this source any more.
    pub(crate) fn ended(&mut self, source: SourceId) {
        self.streams.ended(&mut self.server, source);
    }
}
