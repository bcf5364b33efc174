//! The supervisor's side: accepts, checks and serves clients for an event loop, and never blocks.
//!
//! The loop waits on [`Server::listener`] and on each client's fd, as [`Server::take_changes`] tells, calls
//! [`Server::accept`] and [`Server::ready`], carries out the requests and calls [`Server::answer`], now or
//! later. Waiting must be level-triggered: one call reads a bounded amount.

use super::client::{Client, Talk, Wire, Words};
use doula_core::talk::{Clients, Passed, Wants, Why};
use doula_model::control::{PROTOCOL, Reply, Request, RequestId};
use doula_model::id::Pid;
use doula_sys::poll::Interest;
use doula_sys::socket::{self, Peer};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

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
    clients: Clients<Wire, Words>,
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
            clients: Clients::default(),
            spare: spare(),
        }
    }

    /// Readable when [`Server::accept`] has something to do.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The fd of a client, to wait on.
    pub fn fd(&self, client: ClientId) -> Option<BorrowedFd<'_>> {
        self.clients.get(client.0).map(|client| client.line().stream.as_fd())
    }

    /// Who a client is, as the kernel proved when it connected.
    pub fn peer(&self, client: ClientId) -> Option<Peer> {
        self.clients.get(client.0).map(|client| client.line().peer)
    }

    /// Takes in those who wait to connect. Strangers are told so and dismissed.
    pub fn accept(&mut self) {
        for _ in 0..ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((stream, _)) => drop(self.welcome(stream)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.turn_one_away(),
            }
        }
    }

    /// The new client, if it may stay.
    fn welcome(&mut self, stream: UnixStream) -> Option<ClientId> {
        let peer = socket::peer(&stream).ok()?;
        stream.set_nonblocking(true).ok()?;
        let mut client = Client::new(Wire { stream, peer });
        if !may_ask(peer.uid, self.owner) {
            client.dismiss(Why::Unsupported, "only the owner of the family and root may ask");
            return None;
        }
        if self.clients.make_room().is_err() {
            client.dismiss(Why::Busy, "too many clients are connected");
            return None;
        }
        Some(ClientId(self.clients.take_in(client)))
    }

    /// Takes in a client that has asked this when we were another program, and answers it.
    pub(crate) fn answer_over(&mut self, stream: UnixStream, request: RequestId, reply: &Reply) {
        if let Some(id) = self.welcome(stream)
            && let Some(client) = self.clients.get_mut(id.0)
        {
            client.has_asked(request);
            self.answer(id, request, reply);
        }
    }

    /// How far the talk with each client is.
    pub(crate) fn talks(&self) -> impl Iterator<Item = (ClientId, Talk)> + '_ {
        self.clients.talks().map(|(id, talk)| (ClientId(id), talk.into()))
    }

    /// Goes on with a client that we had when we were another program. One without a connection is gone.
    pub(crate) fn take_in(&mut self, id: ClientId, stream: Option<UnixStream>, talk: Talk) {
        let line = stream.and_then(|stream| Some(Wire { peer: socket::peer(&stream).ok()?, stream }));
        self.clients.go_on_with(id.0, line, talk.into());
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
        self.clients.ready(id.0, &self.hello)
    }

    /// Answers a request. An answer to a client that is gone, or after the final one, is ignored.
    pub fn answer(&mut self, id: ClientId, request: RequestId, reply: &Reply) {
        self.clients.answer(id.0, request, reply);
    }

    /// Answers a request by records from `next`, at most `most`, as long as the client takes them: none is lost by
    /// a slow client, and none waits in our memory.
    pub fn pass_on(
        &mut self,
        (id, request): (ClientId, RequestId),
        most: usize,
        next: impl FnMut() -> Option<Reply>,
    ) -> Passed {
        self.clients.pass_on((id.0, request), most, next)
    }

    /// Ends the connection of this client, whatever waits.
    pub fn forget(&mut self, id: ClientId) {
        self.clients.forget(id.0);
    }

    /// What the loop has to wait for from now on, for each client for which that changed since the last call;
    /// also for new ones.
    pub fn take_changes(&mut self) -> Vec<(ClientId, Interest)> {
        self.clients.take_changes().into_iter().map(|(id, wants)| (ClientId(id), interest(wants))).collect()
    }

    /// The clients that are gone since the last call: nobody waits for their answers. Their fds are closed,
    /// and thereby no longer in an epoll.
    pub fn take_gone(&mut self) -> Vec<ClientId> {
        self.clients.take_gone().into_iter().map(ClientId).collect()
    }

    /// Whether answers wait to be sent.
    pub fn is_busy(&self) -> bool {
        self.clients.is_busy()
    }
}

fn interest(wants: Wants) -> Interest {
    let read = if wants.read { Interest::READ } else { Interest::NONE };
    let write = if wants.write { Interest::WRITE } else { Interest::NONE };
    read.and(write)
}

/// Whether user `peer` may ask a family of user `owner`.
pub(super) fn may_ask(peer: u32, owner: u32) -> bool {
    peer == owner || peer == 0
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
