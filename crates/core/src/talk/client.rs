//! One client: bytes in, requests out; answers in, bytes out.

use super::frames::{Frames, put};
use super::{Asked, Line, Protocol, Took, Why};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// Bytes that wait to be sent from which on records of streams are left out, and no request is read.
pub const STREAM_LIMIT: usize = 256 << 10;
/// So many longest answers may wait to be sent; with more bytes than that the client is given up: one and much more.
pub const QUEUE_LIMIT_OF_ANSWERS: usize = 2;
/// Bytes that are read at a time before others have their turn.
const READ_BUDGET: usize = 64 << 10;
/// Requests of one client that may be unanswered at a time.
pub const OPEN_LIMIT: usize = 64;

/// A connection.
pub struct Client<L, P: Protocol> {
    line: L,
    frames: Frames,
    out: Vec<u8>,
    sent: usize,
    greeted: bool,
    /// Unanswered requests, with the number of records that were left out since the last one was sent.
    open: BTreeMap<P::Id, u64>,
    end: End,
    /// Requests were read that are not looked at yet, because too much waits to be sent.
    stalled: bool,
    /// When it last did something, on its keeper's own count; for who has to make room.
    pub(super) active: u64,
}

impl<L: fmt::Debug, P: Protocol> fmt::Debug for Client<L, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let talk = (self.out.len() - self.sent, self.open.len(), self.end);
        f.debug_struct("Client").field("line", &self.line).field("talk", &talk).finish_non_exhaustive()
    }
}

/// How far the talk with a client is, for the program that takes our place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Talk<I> {
    /// What waits to be sent.
    pub unsent: Vec<u8>,
    /// What was read and not looked at.
    pub unread: Vec<u8>,
    /// Whether it has said hello.
    pub greeted: bool,
    /// Its unanswered requests, with the number of records that were left out of each.
    pub open: Vec<(I, u64)>,
    /// When it last did something.
    pub active: u64,
}

/// What to wait for on a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Something arrives, or the other side is gone.
    pub read: bool,
    /// There is room to send.
    pub write: bool,
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

impl<L: Line, P: Protocol> Client<L, P> {
    /// Somebody has connected.
    pub fn new(line: L) -> Client<L, P> {
        let frames = Frames::new(P::REQUEST_LIMIT);
        let (out, open) = (Vec::new(), BTreeMap::new());
        Client { line, frames, out, sent: 0, greeted: false, open, end: End::Open, stalled: false, active: 0 }
    }

    /// How far it is; `None` if it ends.
    pub fn talk(&self) -> Option<Talk<P::Id>> {
        let talk = || Talk {
            unsent: self.out[self.sent..].to_vec(),
            unread: self.frames.rest().to_vec(),
            greeted: self.greeted,
            open: self.open.iter().map(|(id, missed)| (*id, *missed)).collect(),
            active: self.active,
        };
        (self.end == End::Open).then(talk)
    }

    /// One with whom another program has talked so far.
    pub fn going_on(line: L, talk: Talk<P::Id>) -> Client<L, P> {
        let Talk { unsent, unread, greeted, open, active } = talk;
        let mut frames = Frames::new(P::REQUEST_LIMIT);
        frames.push(&unread);
        let open = open.into_iter().collect();
        // What was read may hold a whole request.
        let stalled = true;
        Client { frames, out: unsent, greeted, open, stalled, active, ..Client::new(line) }
    }

    /// It has said hello, and asked this, when we were another program.
    pub fn has_asked(&mut self, request: P::Id) {
        self.greeted = true;
        self.open.insert(request, 0);
    }

    /// What to wait for.
    pub fn wants(&self) -> Wants {
        Wants { read: self.wants_more(), write: self.queued() > 0 || self.stalled }
    }

    /// The line, to wait on.
    pub const fn line(&self) -> &L {
        &self.line
    }

    /// The same, to speak about it with the other side.
    pub const fn line_mut(&mut self) -> &mut L {
        &mut self.line
    }

    /// Bytes that are kept for it: what waits to be sent, and what was read and is no whole request.
    pub fn kept(&self) -> usize {
        self.queued() + self.frames.pending()
    }

    /// Whether it is over.
    pub fn is_gone(&self) -> bool {
        self.end == End::Gone
    }

    /// How little is lost if this client has to go: first those that end anyway, then those that never said
    /// who they are, then those that wait for nothing. `None`: it may stay.
    pub fn idleness(&self) -> Option<u8> {
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
    pub fn pass_on(&mut self, id: P::Id, most: usize, mut next: impl FnMut() -> Option<P::Reply>) -> Passed {
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
    pub fn ready(&mut self, hello: &P::Reply) -> Vec<(P::Id, P::Request)> {
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
            match self.line.read(&mut buffer) {
                Took::Bytes(count) => {
                    self.frames.push(&buffer[..count]);
                    budget = budget.saturating_sub(count);
                }
                Took::Nothing => return,
                Took::Interrupted => {}
                Took::Over => return self.end = End::Gone,
            }
        }
    }

    /// Takes one frame out of what was read; `false` if there is no whole one.
    fn next_request(&mut self, hello: &P::Reply, requests: &mut Vec<(P::Id, P::Request)>) -> bool {
        let parsed = match self.frames.take() {
            Ok(None) => return false,
            Ok(Some(frame)) => P::parse(frame),
            Err(error) => Err((None, error.to_string())),
        };
        match parsed {
            Ok(asked) => self.take(asked, hello, requests),
            Err((Some(id), text)) => self.refuse(id, Why::BadRequest, text),
            Err((None, text)) => {
                self.refuse(P::NOBODY, Why::BadRequest, text);
                self.close();
            }
        }
        true
    }

    fn take(
        &mut self,
        asked: Asked<P::Id, P::Request>,
        hello: &P::Reply,
        requests: &mut Vec<(P::Id, P::Request)>,
    ) {
        match asked {
            Asked::Hello(id, version) => self.greet(id, version, hello),
            Asked::Question(id, _) | Asked::Word(id, _) if !self.greeted => {
                self.refuse(id, Why::BadRequest, "the first request must be `hello`");
                self.close();
            }
            Asked::Word(id, request) => requests.push((id, request)),
            Asked::Question(id, _) if self.open.contains_key(&id) => {
                self.refuse(id, Why::BadRequest, "the number of this request is in use");
                self.close();
            }
            Asked::Question(id, _) if self.open.len() >= OPEN_LIMIT => {
                self.refuse(id, Why::Busy, format!("{OPEN_LIMIT} requests are unanswered"));
            }
            Asked::Question(id, request) => {
                self.open.insert(id, 0);
                requests.push((id, request));
            }
        }
    }

    fn greet(&mut self, id: P::Id, protocol: u32, hello: &P::Reply) {
        if protocol == P::VERSION {
            self.greeted = true;
            return self.queue(id, hello);
        }
        let ours = P::VERSION;
        let text = format!("this supervisor speaks version {ours} of the protocol, not {protocol}");
        self.refuse(id, Why::Version, text);
        self.close();
    }

    /// Queues the answer to an open request; an answer to any other is ignored. A record of a stream is left
    /// out if the client is too slow.
    pub fn answer(&mut self, id: P::Id, reply: &P::Reply) {
        let Some(missed) = self.open.get(&id).copied() else { return };
        let goes_on = P::goes_on(reply);
        if goes_on && self.queued() > STREAM_LIMIT {
            self.open.insert(id, missed + 1);
            return;
        }
        if missed > 0 {
            self.open.insert(id, 0);
            self.queue(id, &P::missed(missed));
        }
        self.queue(id, reply);
        if !goes_on {
            self.open.remove(&id);
        }
    }

    fn refuse(&mut self, id: P::Id, why: Why, text: impl Into<String>) {
        self.queue(id, &P::refusal(why, text.into()));
    }

    /// Tells why, and ends the connection.
    pub fn dismiss(&mut self, why: Why, text: &str) {
        self.refuse(P::NOBODY, why, text);
        self.close();
        self.flush();
    }

    fn queue(&mut self, id: P::Id, reply: &P::Reply) {
        let put_in =
            |reply: &P::Reply, out: &mut Vec<u8>| put(P::REPLY_LIMIT, out, |to| P::write(id, reply, to));
        if put_in(reply, &mut self.out).is_err() {
            let reply = P::refusal(Why::Internal, "the answer is too long".into());
            let sorry = put_in(&reply, &mut self.out);
            debug_assert!(sorry.is_ok(), "a short answer can be written");
        }
        if self.queued() > QUEUE_LIMIT_OF_ANSWERS * P::REPLY_LIMIT as usize {
            self.end = End::Gone;
        }
    }

    fn close(&mut self) {
        if self.end == End::Open {
            self.end = End::Closing;
        }
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self) {
        while self.queued() > 0 && self.end != End::Gone {
            match self.line.write(&self.out[self.sent..]) {
                Took::Bytes(count) => self.sent += count,
                Took::Nothing => break,
                Took::Interrupted => {}
                Took::Over => self.end = End::Gone,
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
            self.queue(id, &P::missed(records));
        }
    }
}
