//! The supervisor's side: accepts, checks and serves clients for an event loop, and never blocks.
//!
//! The loop waits on [`Server::listener`] and on each client's fd, as [`Server::take_changes`] tells, calls
//! [`Server::accept`] and [`Server::ready`], carries out the requests and calls [`Server::answer`], now or
//! later. Waiting must be level-triggered: one call reads a bounded amount.

use super::client::{Client, Passed, Talk};
use doula_model::control::{PROTOCOL, RefusalKind, Reply, Request, RequestId};
use doula_model::id::Pid;
use doula_sys::poll::Interest;
use doula_sys::socket::{self, Peer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// Clients at a time. One more takes the place of a client that waits for nothing.
pub(super) const CLIENT_LIMIT: usize = 64;
/// Clients that are accepted at a time before others have their turn.
const ACCEPT_BUDGET: usize = 16;

/// A client; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub u64);

/// What the supervisor says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The family's name.
    pub family: String,
    /// Our pid.
    pub pid: Pid,
    /// Our program version.
    pub version: String,
}

/// The control socket and its clients.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    hello: Reply,
    owner: u32,
    clients: BTreeMap<ClientId, Client>,
    count: u64,
    /// What the loop was last told to wait for.
    told: BTreeMap<ClientId, Interest>,
    changed: BTreeSet<ClientId>,
    gone: Vec<ClientId>,
    /// An fd that is given up to accept, and refuse, a client when no other is left: else the listener would
    /// stay readable and the loop would spin.
    spare: Option<File>,
}

impl Server {
    /// Serves on this listener, which must be non-blocking, for processes of user `owner` and of root.
    pub fn new(listener: UnixListener, owner: u32, identity: Identity) -> Server {
        let Identity { family, pid, version } = identity;
        Server {
            listener,
            hello: Reply::Hello { protocol: PROTOCOL, family, pid, version },
            owner,
            clients: BTreeMap::new(),
            count: 0,
            told: BTreeMap::new(),
            changed: BTreeSet::new(),
            gone: Vec::new(),
            spare: spare(),
        }
    }

    /// Readable when [`Server::accept`] has something to do.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The fd of a client, to wait on.
    pub fn fd(&self, client: ClientId) -> Option<BorrowedFd<'_>> {
        self.clients.get(&client).map(AsFd::as_fd)
    }

    /// Who a client is, as the kernel proved when it connected.
    pub fn peer(&self, client: ClientId) -> Option<Peer> {
        self.clients.get(&client).map(|client| client.peer)
    }

    /// Takes in those who wait to connect. Strangers are told so and dismissed.
    pub fn accept(&mut self) {
        for _ in 0..ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((stream, _)) => self.welcome(stream),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.turn_one_away(),
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream) {
        let Ok(peer) = socket::peer(&stream) else { return };
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        let mut client = Client::new(stream, peer);
        if !may_ask(peer.uid, self.owner) {
            return client.dismiss(RefusalKind::Unsupported, "only the owner of the family and root may ask");
        }
        if self.clients.len() >= CLIENT_LIMIT && !self.make_room() {
            return client.dismiss(RefusalKind::Busy, "too many clients are connected");
        }
        self.count += 1;
        client.active = self.count;
        let id = ClientId(self.count);
        self.clients.insert(id, client);
        self.changed.insert(id);
        assert!(self.clients.len() <= CLIENT_LIMIT, "clients are limited");
    }

    /// Takes in a client that has asked this when we were another program, and answers it.
    pub(crate) fn answer_over(&mut self, stream: UnixStream, request: RequestId, reply: &Reply) {
        let before = self.count;
        self.welcome(stream);
        let id = ClientId(self.count);
        if let Some(client) = self.clients.get_mut(&id).filter(|_| self.count > before) {
            client.has_asked(request);
            self.answer(id, request, reply);
        }
    }

    /// How far the talk with each client is.
    pub(crate) fn talks(&self) -> impl Iterator<Item = (ClientId, Talk)> + '_ {
        self.clients.iter().filter_map(|(id, client)| Some((*id, client.talk()?)))
    }

    /// Goes on with a client that we had when we were another program. One without a connection is gone.
    pub(crate) fn take_in(&mut self, id: ClientId, stream: Option<UnixStream>, talk: Talk) {
        let known = stream.and_then(|stream| Some((socket::peer(&stream).ok()?, stream)));
        let Some((peer, stream)) = known else { return self.gone.push(id) };
        self.count = self.count.max(id.0).max(talk.active);
        self.clients.insert(id, Client::going_on(stream, peer, talk));
        self.changed.insert(id);
    }

    /// Ends the connection of the client that is missed least; `false` if each waits for an answer.
    fn make_room(&mut self) -> bool {
        let idle = |(id, client): (&ClientId, &Client)| Some((client.idleness()?, client.active, *id));
        let Some((_, _, id)) = self.clients.iter().filter_map(idle).min() else { return false };
        self.forget(id);
        true
    }

    /// No fd is left: gives up the spare one to accept somebody, who is dismissed thereby.
    fn turn_one_away(&mut self) {
        self.spare = None;
        drop(self.listener.accept());
        self.spare = spare();
    }

    /// Something happened on the fd of this client: sends and reads what is possible now. Gives the requests
    /// that became whole; each but `input`, `resize` and `cancel` must be answered some time.
    pub fn ready(&mut self, id: ClientId) -> Vec<(RequestId, Request)> {
        let Some(client) = self.clients.get_mut(&id) else { return Vec::new() };
        let requests = client.ready(&self.hello);
        if !requests.is_empty() {
            self.count += 1;
            client.active = self.count;
        }
        if self.settle(id) { requests } else { Vec::new() }
    }

    /// Answers a request. An answer to a client that is gone, or after the final one, is ignored.
    pub fn answer(&mut self, id: ClientId, request: RequestId, reply: &Reply) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.answer(request, reply);
        client.flush();
        self.settle(id);
    }

    /// Answers a request by records from `next`, at most `most`, as long as the client takes them: none is lost by
    /// a slow client, and none waits in our memory.
    pub fn pass_on(
        &mut self,
        (id, request): (ClientId, RequestId),
        most: usize,
        next: impl FnMut() -> Option<Reply>,
    ) -> Passed {
        let Some(client) = self.clients.get_mut(&id) else { return Passed::All };
        let passed = client.pass_on(request, most, next);
        client.flush();
        self.settle(id);
        passed
    }

    /// Ends the connection of this client, whatever waits.
    pub fn forget(&mut self, id: ClientId) {
        if self.clients.remove(&id).is_some() {
            self.told.remove(&id);
            self.changed.remove(&id);
            self.gone.push(id);
        }
    }

    /// Notes what changed for this client; `false` if it is gone.
    fn settle(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get(&id) else { return false };
        if client.is_gone() {
            self.forget(id);
            return false;
        }
        if self.told.get(&id) != Some(&client.interest()) {
            self.changed.insert(id);
        }
        true
    }

    /// What the loop has to wait for from now on, for each client for which that changed since the last call;
    /// also for new ones.
    pub fn take_changes(&mut self) -> Vec<(ClientId, Interest)> {
        let mut changes = Vec::new();
        for id in std::mem::take(&mut self.changed) {
            let Some(client) = self.clients.get(&id) else { continue };
            let interest = client.interest();
            if self.told.insert(id, interest) != Some(interest) {
                changes.push((id, interest));
            }
        }
        changes
    }

    /// The clients that are gone since the last call: nobody waits for their answers. Their fds are closed,
    /// and thereby no longer in an epoll.
    pub fn take_gone(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.gone)
    }

    /// Whether answers wait to be sent.
    pub fn is_busy(&self) -> bool {
        self.clients.values().any(|client| client.interest() != Interest::READ)
    }
}

/// Whether user `peer` may ask a family of user `owner`.
pub(super) fn may_ask(peer: u32, owner: u32) -> bool {
    peer == owner || peer == 0
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
