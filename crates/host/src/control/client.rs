//! One client as the supervisor sees it: bytes in, requests out; answers in, bytes out.

use super::frame::{self, Frames};
use doula_model::control::{
    Asked, Bytes, PROTOCOL, REPLY_LIMIT, REQUEST_LIMIT, RefusalKind, Reply, Request, RequestId,
};
use doula_sys::poll::Interest;
use doula_sys::socket::{self, Peer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Bytes that wait to be sent from which on records of streams are left out, and no request is read.
pub(super) const STREAM_LIMIT: usize = 256 << 10;
/// Bytes that wait to be sent from which on the client is given up: one longest answer and much more.
const QUEUE_LIMIT: usize = 2 * REPLY_LIMIT as usize;
/// Bytes that are read at a time before others have their turn.
const READ_BUDGET: usize = 64 << 10;
/// Requests of one client that may be unanswered at a time.
pub(super) const OPEN_LIMIT: usize = 64;

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    /// Who connected.
    pub(super) peer: Peer,
    frames: Frames,
    out: Vec<u8>,
    sent: usize,
    greeted: bool,
    /// Unanswered requests, with the number of records that were left out since the last one was sent.
    open: BTreeMap<RequestId, u64>,
    end: End,
    /// Requests were read that are not looked at yet, because too much waits to be sent.
    stalled: bool,
    /// When it last did something, on the server's own count; for who has to make room.
    pub(super) active: u64,
}

/// How far the talk with a client is, for the program that takes our place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Talk {
    unsent: Bytes,
    unread: Bytes,
    greeted: bool,
    open: Vec<(RequestId, u64)>,
    pub(super) active: u64,
}

/// How far a stream came in one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The client has everything.
    All,
    /// The client takes no more now. Its fd tells when it does.
    AsManyAsItTakes,
    /// So many as were allowed; there may be more.
    Most,
}

/// How far the end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It goes on.
    Open,
    /// Nothing is read any more; what waits is still sent.
    Closing,
    /// It is over.
    Gone,
}

/// [`doula_model::control::Answer`] without owning the reply.
#[derive(Serialize)]
struct Answering<'a> {
    id: RequestId,
    #[serde(flatten)]
    reply: &'a Reply,
}

/// What can be read of a request that is not understood.
#[derive(Deserialize)]
struct Stub {
    id: RequestId,
}

impl Client {
    pub(super) fn new(stream: UnixStream, peer: Peer) -> Client {
        let frames = Frames::new(REQUEST_LIMIT);
        let (out, open) = (Vec::new(), BTreeMap::new());
        Client {
            stream,
            peer,
            frames,
            out,
            sent: 0,
            greeted: false,
            open,
            end: End::Open,
            stalled: false,
            active: 0,
        }
    }

    /// How far it is; `None` if it ends.
    pub(super) fn talk(&self) -> Option<Talk> {
        let talk = || Talk {
            unsent: Bytes(self.out[self.sent..].to_vec()),
            unread: Bytes(self.frames.rest().to_vec()),
            greeted: self.greeted,
            open: self.open.iter().map(|(id, missed)| (*id, *missed)).collect(),
            active: self.active,
        };
        (self.end == End::Open).then(talk)
    }

    /// One with whom another program has talked so far.
    pub(super) fn going_on(stream: UnixStream, peer: Peer, talk: Talk) -> Client {
        let Talk { unsent, unread, greeted, open, active } = talk;
        let mut frames = Frames::new(REQUEST_LIMIT);
        frames.push(&unread.0);
        let open = open.into_iter().collect();
        // What was read may hold a whole request.
        let stalled = true;
        Client { frames, out: unsent.0, greeted, open, stalled, active, ..Client::new(stream, peer) }
    }

    /// It has said hello, and asked this, when we were another program.
    pub(super) fn has_asked(&mut self, request: RequestId) {
        self.greeted = true;
        self.open.insert(request, 0);
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> Interest {
        let read = if self.wants_more() { Interest::READ } else { Interest::NONE };
        let write = if self.queued() > 0 || self.stalled { Interest::WRITE } else { Interest::NONE };
        read.and(write)
    }

    /// Whether it is over.
    pub(super) fn is_gone(&self) -> bool {
        self.end == End::Gone
    }

    /// How little is lost if this client has to go: first those that end anyway, then those that never said
    /// who they are, then those that wait for nothing. `None`: it may stay.
    pub(super) fn idleness(&self) -> Option<u8> {
        match (self.end, self.greeted, self.open.is_empty()) {
            (End::Closing | End::Gone, _, _) => Some(0),
            (End::Open, false, _) => Some(1),
            (End::Open, true, true) => Some(2),
            (End::Open, true, false) => None,
        }
    }

    /// Bytes that wait to be sent.
    fn queued(&self) -> usize {
        self.out.len() - self.sent
    }

    fn wants_more(&self) -> bool {
        self.end == End::Open && self.queued() <= STREAM_LIMIT
    }

    /// Takes records of a stream from `next`, at most `most`, as long as they can be sent.
    pub(super) fn pass_on(
        &mut self,
        id: RequestId,
        most: usize,
        mut next: impl FnMut() -> Option<Reply>,
    ) -> Passed {
        for _ in 0..most {
            if self.queued() > STREAM_LIMIT {
                self.flush();
            }
            if self.queued() > STREAM_LIMIT || self.end == End::Gone {
                return Passed::AsManyAsItTakes;
            }
            let Some(record) = next() else { return Passed::All };
            self.answer(id, &record);
        }
        Passed::Most
    }

    /// Sends and reads what is possible now, and gives the requests that became whole.
    pub(super) fn ready(&mut self, hello: &Reply) -> Vec<(RequestId, Request)> {
        let mut requests = Vec::new();
        self.flush();
        if self.wants_more() {
            self.read();
        }
        self.stalled = true;
        while self.stalled && self.wants_more() {
            self.stalled = self.next_request(hello, &mut requests);
            if !self.wants_more() {
                self.flush();
            }
        }
        self.flush();
        requests
    }

    fn read(&mut self) {
        let mut buffer = [0; 16 << 10];
        let mut budget = READ_BUDGET;
        while budget > 0 {
            match self.stream.read(&mut buffer) {
                Ok(0) => return self.end = End::Gone,
                Ok(count) => {
                    self.frames.push(&buffer[..count]);
                    budget = budget.saturating_sub(count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.end = End::Gone,
            }
        }
    }

    /// Takes one frame out of what was read; `false` if there is no whole one.
    fn next_request(&mut self, hello: &Reply, requests: &mut Vec<(RequestId, Request)>) -> bool {
        let parsed = match self.frames.take() {
            Ok(None) => return false,
            Ok(Some(frame)) => parse(frame),
            Err(error) => Err((None, error.to_string())),
        };
        match parsed {
            Ok(asked) => self.take(asked, hello, requests),
            Err((Some(id), text)) => self.refuse(id, RefusalKind::BadRequest, text),
            Err((None, text)) => {
                self.refuse(RequestId(0), RefusalKind::BadRequest, text);
                self.close();
            }
        }
        true
    }

    fn take(&mut self, asked: Asked, hello: &Reply, requests: &mut Vec<(RequestId, Request)>) {
        let Asked { id, request } = asked;
        let needs_answer =
            !matches!(request, Request::Input { .. } | Request::Resize { .. } | Request::Cancel { .. });
        if let Request::Hello { protocol, .. } = request {
            self.greet(id, protocol, hello);
        } else if !self.greeted {
            self.refuse(id, RefusalKind::BadRequest, "the first request must be `hello`");
            self.close();
        } else if !needs_answer {
            requests.push((id, request));
        } else if self.open.contains_key(&id) {
            self.refuse(id, RefusalKind::BadRequest, format!("the request number {} is in use", id.0));
            self.close();
        } else if self.open.len() >= OPEN_LIMIT {
            self.refuse(id, RefusalKind::Busy, format!("{OPEN_LIMIT} requests are unanswered"));
        } else {
            self.open.insert(id, 0);
            requests.push((id, request));
        }
    }

    fn greet(&mut self, id: RequestId, protocol: u32, hello: &Reply) {
        if protocol == PROTOCOL {
            self.greeted = true;
            return self.queue(id, hello);
        }
        let text = format!("this supervisor speaks version {PROTOCOL} of the protocol, not {protocol}");
        self.refuse(id, RefusalKind::Version, text);
        self.close();
    }

    /// Queues the answer to an open request; an answer to any other is ignored. A record of a stream is left
    /// out if the client is too slow.
    pub(super) fn answer(&mut self, id: RequestId, reply: &Reply) {
        let Some(missed) = self.open.get(&id).copied() else { return };
        let goes_on = reply.goes_on();
        if goes_on && self.queued() > STREAM_LIMIT {
            self.open.insert(id, missed + 1);
            return;
        }
        if missed > 0 {
            self.open.insert(id, 0);
            self.queue(id, &Reply::Missed { records: missed });
        }
        self.queue(id, reply);
        if !goes_on {
            self.open.remove(&id);
        }
    }

    fn refuse(&mut self, id: RequestId, kind: RefusalKind, text: impl Into<String>) {
        self.queue(id, &Reply::refuse(kind, text));
    }

    /// Tells why, and ends the connection.
    pub(super) fn dismiss(&mut self, kind: RefusalKind, text: &str) {
        self.refuse(RequestId(0), kind, text);
        self.close();
        self.flush();
    }

    fn queue(&mut self, id: RequestId, reply: &Reply) {
        if frame::encode(&Answering { id, reply }, REPLY_LIMIT, &mut self.out).is_err() {
            let reply = Reply::refuse(RefusalKind::Internal, "the answer is too long");
            let sorry = frame::encode(&Answering { id, reply: &reply }, REPLY_LIMIT, &mut self.out);
            debug_assert!(sorry.is_ok(), "a short answer can be written");
        }
        if self.queued() > QUEUE_LIMIT {
            self.end = End::Gone;
        }
    }

    fn close(&mut self) {
        if self.end == End::Open {
            self.end = End::Closing;
        }
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) {
        while self.queued() > 0 && self.end != End::Gone {
            match socket::send(&self.stream, &self.out[self.sent..], &[]) {
                Ok(count) => self.sent += count,
                Err(doula_model::plan::Errno::EAGAIN) => break,
                Err(doula_model::plan::Errno::EINTR) => {}
                Err(_) => self.end = End::Gone,
            }
        }
        if self.sent == self.out.len() || self.sent > STREAM_LIMIT {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
        if self.out.is_empty() {
            self.after_all_is_sent();
        }
    }

    fn after_all_is_sent(&mut self) {
        if self.out.capacity() > STREAM_LIMIT {
            self.out = Vec::new();
        }
        if self.end == End::Closing {
            self.end = End::Gone;
            return;
        }
        let missed: Vec<_> = self.open.iter().filter(|(_, missed)| **missed > 0).collect();
        let missed: Vec<_> = missed.into_iter().map(|(id, missed)| (*id, *missed)).collect();
        for (id, records) in missed {
            self.open.insert(id, 0);
            self.queue(id, &Reply::Missed { records });
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// A request, or why it is none, with its number if at least that can be read.
fn parse(frame: &[u8]) -> Result<Asked, (Option<RequestId>, String)> {
    serde_json::from_slice(frame).map_err(|error| {
        let id = serde_json::from_slice::<Stub>(frame).ok().map(|stub| stub.id);
        (id, format!("the request is not understood: {error}"))
    })
}
