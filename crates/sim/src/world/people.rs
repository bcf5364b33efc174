//! People who ask over the control socket: the production talk ([`doula_core::talk`]) on paper lines, with a protocol of a few words.
//!
//! A line has two pipes of few bytes. Who asks sends its requests in pieces, reads when it likes, vanishes in the middle, sends what
//! nobody understands, or asks for more than it may. The supervisor looks at its lines once in each turn, as an epoll set tells.
//!
//! | check | what it holds |
//! |---|---|
//! | `answers` | each request has one final answer or its client is gone, and no answer is to a request that was not asked |
//! | `memory` | what is kept for one client is bounded, whatever it sends or does not read |
//! | `deaf` | who reads and sends whole requests is answered, whatever others do |

use super::breakage::Breakage;
use super::faults::Fault;
use super::{Happening, World};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::engine::Engine;
use doula_core::talk::{
    self, Asked, CLIENT_LIMIT, Client, Clients, Frames, Garbled, Line, OPEN_LIMIT, Passed, Protocol,
    QUEUE_LIMIT_OF_ANSWERS, STREAM_LIMIT, Took, Wants, Why,
};
use doula_model::event::{Command, Event};

/// The buffer of a socket in each direction.
const BUFFER: usize = 2 << 10;
/// So much may be kept beside what waits to be sent and one request: what one turn reads.
const READ_AT_A_TIME: usize = 96 << 10;
/// So many come together, now and then: more than there is room for.
const MOST_AT_ONCE: u32 = 70;
/// The first come so soon.
const AGAIN: Duration = Duration::from_millis(500);
/// Who keeps to the rules has its answers when it has looked so often.
const PATIENCE: u32 = 100;
/// Records of the longest stream that somebody asks for, and how many go out in a turn.
const MOST_RECORDS: u64 = 20_000;
const RECORDS_AT_A_TIME: usize = 512;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// How is everybody?
    Status,
    /// A command for one service: start, stop, restart or reload.
    Command(u8, u32),
    /// So many records.
    Stream(u32),
    /// An end to that stream.
    Cancel(u32),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Hello,
    States(Vec<u8>),
    Heard,
    Record,
    /// The same, and it passes for an answer that may not be left out.
    KeptRecord,
    Missed,
    End,
    Refused(Why),
}

/// Bytes: a number of four, a letter, and what belongs to it.
#[derive(Debug)]
pub(super) struct Words;

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

impl Protocol for Words {
    type Id = u32;
    type Request = Request;
    type Reply = Reply;

    const VERSION: u32 = 1;
    const REQUEST_LIMIT: u32 = 256;
    const REPLY_LIMIT: u32 = 256 << 10;
    const NOBODY: u32 = 0;

    fn parse(frame: &[u8]) -> Result<Asked<u32, Request>, Garbled<u32>> {
        let id = number(frame);
        let garbled = || (id, String::from("nobody understands that"));
        let (id, rest) = (id.ok_or_else(garbled)?, &frame[4..]);
        let more = |at: usize| rest.get(at..).and_then(number).ok_or_else(garbled);
        Ok(match rest.first().ok_or_else(garbled)? {
            b'h' => Asked::Hello(id, more(1)?),
            b's' => Asked::Question(id, Request::Status),
            b'c' => Asked::Question(id, Request::Command(rest.get(5).copied().unwrap_or(0), more(1)?)),
            b'r' => Asked::Question(id, Request::Stream(more(1)?)),
            b'x' => Asked::Word(id, Request::Cancel(more(1)?)),
            _ => return Err(garbled()),
        })
    }

    fn write(id: u32, reply: &Reply, to: &mut Vec<u8>) -> bool {
        to.extend_from_slice(&id.to_le_bytes());
        match reply {
            Reply::Hello => to.push(b'h'),
            Reply::States(states) => {
                to.push(b's');
                to.extend_from_slice(states);
            }
            Reply::Heard => to.push(b'o'),
            Reply::Record | Reply::KeptRecord => to.extend_from_slice(&[b'r'; 40]),
            Reply::Missed => to.push(b'm'),
            Reply::End => to.push(b'e'),
            Reply::Refused(why) => to.extend_from_slice(&[b'n', *why as u8]),
        }
        true
    }

    fn goes_on(reply: &Reply) -> bool {
        matches!(reply, Reply::Record | Reply::Missed)
    }

    fn refusal(why: Why, _: String) -> Reply {
        Reply::Refused(why)
    }

    fn missed(_: u64) -> Reply {
        Reply::Missed
    }
}

/// A socket, from the side of the supervisor.
#[derive(Debug, Default)]
pub(super) struct Paper {
    to_us: VecDeque<u8>,
    to_them: VecDeque<u8>,
    /// They are gone.
    gone: bool,
    /// The next call is interrupted.
    interrupted: bool,
}

impl Line for Paper {
    fn read(&mut self, buffer: &mut [u8]) -> Took {
        if core::mem::take(&mut self.interrupted) {
            return Took::Interrupted;
        }
        let count = buffer.len().min(self.to_us.len());
        for (place, byte) in buffer.iter_mut().zip(self.to_us.drain(..count)) {
            *place = byte;
        }
        match count {
            0 if self.gone => Took::Over,
            0 => Took::Nothing,
            _ => Took::Bytes(count),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Took {
        if self.gone {
            return Took::Over;
        }
        let count = bytes.len().min(BUFFER - self.to_them.len());
        self.to_them.extend(&bytes[..count]);
        if count == 0 { Took::Nothing } else { Took::Bytes(count) }
    }
}

/// How somebody asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Keeps to the rules: sends whole requests and reads all.
    Polite,
    /// Reads little at a time.
    Slow,
    /// Reads nothing any more.
    Deaf,
    /// Is gone in the middle of a request.
    Vanishes,
    /// Sends what nobody understands.
    Garbage,
}

/// Somebody who asks.
#[derive(Debug)]
struct Asker {
    client: u64,
    manner: Manner,
    /// What is still to be sent.
    unsent: Vec<u8>,
    /// What was read and is no whole answer yet.
    frames: Frames,
    /// The requests that have no final answer yet.
    open: Vec<u32>,
    /// How often it has looked since it has sent all, each time after a turn of the supervisor.
    looks: u32,
}

/// Everybody who asks, and what the supervisor knows of them.
#[derive(Debug, Default)]
pub(super) struct Counter {
    clients: Clients<Paper, Words>,
    askers: Vec<Asker>,
    wants: BTreeMap<u64, Wants>,
    /// Streams: whose, and how many records are left.
    streams: BTreeMap<(u64, u32), u32>,
    /// Commands that the engine is to hear of before they are answered.
    asked: Vec<(u64, u32)>,
    /// Somebody has done something that a wait ends for.
    pub(super) news: bool,
    /// The supervisor has looked since they did something last.
    looked: bool,
}

impl Counter {
    /// A supervisor is dead: who had asked it is told so by the end of its line.
    pub(super) fn close(&mut self) {
        *self = Counter::default();
    }

    /// It is another program now, which has the lines and knows how far each talk is.
    pub(super) fn hand_over(&mut self) {
        let mut before = core::mem::take(&mut self.clients);
        let talks: Vec<_> = before.talks().collect();
        for (id, talk) in talks {
            let line = before.get_mut(id).map(|client| core::mem::take(client.line_mut()));
            self.clients.go_on_with(id, line, talk);
        }
        self.wants.clear();
        let clients = &self.clients;
        self.askers.retain(|asker| clients.get(asker.client).is_some());
        self.streams.retain(|(client, _), _| clients.get(*client).is_some());
    }

    /// Whether a wait for this line would end.
    fn is_ready(&self, id: u64) -> bool {
        let (Some(wants), Some(client)) = (self.wants.get(&id), self.clients.get(id)) else { return false };
        let line = client.line();
        wants.read && (line.gone || !line.to_us.is_empty())
            || wants.write && (line.gone || line.to_them.len() < BUFFER)
    }

    fn forget_the_gone(&mut self) {
        for (id, wants) in self.clients.take_changes() {
            self.wants.insert(id, wants);
        }
        for gone in self.clients.take_gone() {
            self.wants.remove(&gone);
            self.streams.retain(|(client, _), _| *client != gone);
            self.asked.retain(|(client, _)| *client != gone);
            self.askers.retain(|asker| asker.client != gone);
        }
    }

    /// Passes on what streams have, a while for each.
    fn pump(&mut self, leaves_nothing_out: bool) {
        let mut over = Vec::new();
        for (asker, left) in &mut self.streams {
            if leaves_nothing_out && let Some(client) = self.clients.get_mut(asker.0) {
                let now = (*left).min(RECORDS_AT_A_TIME as u32);
                for _ in 0..now {
                    client.answer(asker.1, &Reply::KeptRecord);
                    client.has_asked(asker.1);
                }
                *left -= now;
            }
            let next = || {
                *left = left.checked_sub(1)?;
                Some(Reply::Record)
            };
            if self.clients.pass_on(*asker, RECORDS_AT_A_TIME, next) == Passed::All {
                over.push(*asker);
            }
        }
        for asker in over {
            self.streams.remove(&asker);
            self.clients.answer(asker.0, asker.1, &Reply::End);
        }
    }
}

fn frame(id: u32, words: &[u8], to: &mut Vec<u8>) {
    let body = |to: &mut Vec<u8>| {
        to.extend_from_slice(&id.to_le_bytes());
        to.extend_from_slice(words);
        true
    };
    let put = talk::put(u32::MAX, to, body);
    debug_assert!(put.is_ok(), "short words");
}

impl Asker {
    /// What it will send, by chance.
    fn new(client: u64, manner: Manner, mut below: impl FnMut(u64) -> u64) -> Asker {
        let (mut unsent, mut open) = (Vec::new(), Vec::from([1]));
        frame(1, b"h\x01\0\0\0", &mut unsent);
        // Some ask for more than may be open, or for more than may wait.
        let greedy = manner != Manner::Polite && below(4) == 0;
        let most = if greedy { 2 * OPEN_LIMIT as u64 } else { 8 };
        for id in 2..below(most) as u32 + 3 {
            open.push(id);
            match below(4) {
                0 => frame(id, b"s", &mut unsent),
                1 => {
                    let who = (below(8) as u32).to_le_bytes();
                    frame(id, &[&b"c"[..], &who, &[below(4) as u8]].concat(), &mut unsent);
                }
                2 => {
                    let most = if greedy { MOST_RECORDS } else { 200 };
                    let records = (below(most) as u32).to_le_bytes();
                    frame(id, &[&b"r"[..], &records].concat(), &mut unsent);
                }
                _ => {
                    // The end of the one before, if that is a stream.
                    open.pop();
                    frame(id, &[&b"x"[..], &(id - 1).to_le_bytes()].concat(), &mut unsent);
                }
            }
        }
        match manner {
            Manner::Polite | Manner::Slow | Manner::Deaf => {}
            Manner::Vanishes => unsent.truncate(below(unsent.len() as u64) as usize),
            Manner::Garbage => {
                let at = below(unsent.len() as u64) as usize;
                unsent[at] ^= below(256) as u8;
            }
        }
        Asker { client, manner, unsent, frames: Frames::new(Words::REPLY_LIMIT), open, looks: 0 }
    }

    /// Sends and reads; why not all is well.
    fn move_on(&mut self, line: &mut Paper, mut below: impl FnMut(u64) -> u64) -> Option<String> {
        let room = BUFFER - line.to_us.len();
        let piece = (below(300) as usize + 1).min(room).min(self.unsent.len());
        line.to_us.extend(self.unsent.drain(..piece));
        line.interrupted = below(8) == 0;
        if self.unsent.is_empty() && self.manner == Manner::Vanishes {
            line.gone = true;
            return None;
        }
        let most = match self.manner {
            Manner::Polite | Manner::Vanishes | Manner::Garbage => BUFFER,
            Manner::Slow => below(64) as usize,
            Manner::Deaf => 0,
        };
        let bytes: Vec<u8> = line.to_them.drain(..most.min(line.to_them.len())).collect();
        self.frames.push(&bytes);
        loop {
            match self.frames.take() {
                Ok(None) => return None,
                Ok(Some(frame)) => {
                    let (id, kind) = (number(frame), frame.get(4).copied());
                    if let Some(wrong) = self.hears(id.unwrap_or(0), kind.unwrap_or(0)) {
                        return Some(wrong);
                    }
                }
                Err(error) => return Some(alloc::format!("an answer is damaged: {error}")),
            }
        }
    }

    fn hears(&mut self, id: u32, kind: u8) -> Option<String> {
        let known = self.open.iter().position(|open| *open == id);
        if self.manner == Manner::Garbage || id == Words::NOBODY {
            return None;
        }
        match known {
            None => Some(alloc::format!(
                "request {id} is answered by `{}`, and has been or was never asked",
                kind as char
            )),
            Some(_) if matches!(kind, b'r' | b'm') => None,
            Some(at) => {
                self.open.swap_remove(at);
                None
            }
        }
    }
}

impl World<'_> {
    fn people_ask(&self) -> bool {
        self.scenario.sites.has(Fault::PeopleAsk)
    }

    /// People begin to come.
    pub(super) fn open_the_counter(&mut self) {
        if self.people_ask() {
            self.later(AGAIN, Happening::Asks);
        }
    }

    /// They do something: some come, all who are there send and read.
    pub(super) fn ask(&mut self) {
        let pause = Duration::from_millis(self.faults.below(Fault::PeopleAsk, 400) + 1);
        self.later(pause, Happening::Asks);
        if self.killed {
            return;
        }
        if self.faults.fires(Fault::PeopleAsk) {
            let many = if self.faults.below(Fault::PeopleAsk, 30) == 0 { MOST_AT_ONCE } else { 1 };
            (0..many).for_each(|_| self.somebody_comes());
        }
        let looked = core::mem::take(&mut self.counter.looked);
        let mut askers = core::mem::take(&mut self.counter.askers);
        for asker in &mut askers {
            let Some(client) = self.counter.clients.get_mut(asker.client) else { continue };
            let faults = &mut self.faults;
            let wrong = asker.move_on(client.line_mut(), |bound| faults.below(Fault::PeopleAsk, bound));
            if let Some(wrong) = wrong {
                self.checks.fail("answers", wrong);
            }
            if asker.unsent.is_empty() && looked {
                asker.looks += 1;
            }
            if asker.manner == Manner::Polite && asker.looks > PATIENCE && !asker.open.is_empty() {
                let text =
                    alloc::format!("nobody answers the requests {:?} of client {}", asker.open, asker.client);
                self.checks.fail("deaf", text);
            }
        }
        self.counter.news |= !askers.is_empty();
        self.counter.askers = askers;
    }

    /// As accept(2) and what follows it.
    fn somebody_comes(&mut self) {
        if self.counter.clients.make_room().is_err() {
            return self.log.note(self.now, "no room for a client");
        }
        self.counter.forget_the_gone();
        let client = self.counter.clients.take_in(Client::new(Paper::default()));
        let manners =
            [Manner::Polite, Manner::Polite, Manner::Slow, Manner::Deaf, Manner::Vanishes, Manner::Garbage];
        let manner = manners[self.faults.below(Fault::PeopleAsk, manners.len() as u64) as usize];
        let faults = &mut self.faults;
        let asker = Asker::new(client, manner, |bound| faults.below(Fault::PeopleAsk, bound));
        self.log.note(self.now, ("client", client));
        self.log.say(
            self.now,
            "people",
            format_args!("client {client} comes, {manner:?}, with {} bytes", asker.unsent.len()),
        );
        self.counter.askers.push(asker);
    }

    /// The supervisor looks at its lines.
    pub(super) fn serve_people(&mut self, engine: &Engine) {
        if !self.people_ask() || self.killed {
            return;
        }
        self.counter.forget_the_gone();
        if core::mem::take(&mut self.counter.news) {
            self.counter.looked = true;
            for client in self.ready_clients() {
                self.step();
                if self.killed {
                    return;
                }
                for (id, request) in self.counter.clients.ready(client, &Reply::Hello) {
                    self.carry_out(engine, (client, id), request);
                }
            }
        }
        // Who asked for something that the engine has not heard of yet waits at least until it has.
        if self.pending.is_empty() {
            core::mem::take(&mut self.counter.asked).into_iter().for_each(|asked| self.heard(asked));
        }
        self.counter.pump(self.is_broken(Breakage::LeavesNothingOut));
        self.counter.forget_the_gone();
        self.costs_little();
    }

    /// Whose lines a wait would tell of.
    fn ready_clients(&self) -> Vec<u64> {
        let counter = &self.counter;
        let mut ready: Vec<u64> = counter.wants.keys().copied().filter(|id| counter.is_ready(*id)).collect();
        if self.is_broken(Breakage::WaitsForSlow) {
            let full = |(id, wants): (&u64, &Wants)| (wants.write && !counter.is_ready(*id)).then_some(*id);
            let slow = counter.wants.iter().find_map(full).unwrap_or(u64::MAX);
            ready.retain(|id| *id <= slow);
        }
        if self.is_broken(Breakage::HearsHalf) {
            ready.retain(|id| counter.clients.get(*id).is_some_and(|client| client.kept() == 0));
        }
        ready
    }

    /// The engine has heard a command.
    fn heard(&mut self, (client, id): (u64, u32)) {
        if self.is_broken(Breakage::ForgetsAnswers) && self.dice.below(4) == 0 {
            return;
        }
        self.counter.clients.answer(client, id, &Reply::Heard);
        let again = self
            .counter
            .clients
            .get_mut(client)
            .filter(|_| self.options.broken == Some(Breakage::AnswersTwice));
        if let Some(client) = again {
            client.has_asked(id);
            client.answer(id, &Reply::Heard);
        }
    }

    fn carry_out(&mut self, engine: &Engine, (client, id): (u64, u32), request: Request) {
        self.log.note(self.now, ("asks", client, id));
        self.log.say(self.now, "people", format_args!("client {client} asks by {id}: {request:?}"));
        let counter = &mut self.counter;
        match request {
            Request::Status => {
                let states = engine.ids().filter_map(|id| Some(engine.status(id)?.state as u8)).collect();
                counter.clients.answer(client, id, &Reply::States(states));
            }
            Request::Stream(records) => drop(counter.streams.insert((client, id), records)),
            Request::Cancel(which) => {
                if counter.streams.remove(&(client, which)).is_some() {
                    counter.clients.answer(client, which, &Reply::End);
                }
            }
            Request::Command(what, who) => {
                counter.asked.push((client, id));
                self.command(what, who);
            }
        }
    }

    fn command(&mut self, what: u8, who: u32) {
        let places = self.scenario.members.len() as u32;
        let ids = Vec::from([self.checks.service(who as usize % places.max(1) as usize)]);
        // A pool as a whole is stopped and started, and each of its workers replaced.
        let command = match what {
            _ if self.scenario.is_pool() => Command::Restart(ids),
            0 => Command::Start(ids),
            1 => Command::Stop(ids),
            2 => Command::Restart(ids),
            _ => Command::Reload(ids),
        };
        if !self.quiet {
            self.checks.asked();
            self.last_deed = None;
            self.pending.push_back(Event::Command(command));
        }
    }

    fn costs_little(&mut self) {
        let most =
            QUEUE_LIMIT_OF_ANSWERS * Words::REPLY_LIMIT as usize + Words::REQUEST_LIMIT as usize + BUFFER;
        let (clients, wants) = (&self.counter.clients, &self.counter.wants);
        let kept = wants.keys().filter_map(|id| clients.get(*id)).map(Client::kept).max().unwrap_or(0);
        let count = clients.len();
        if kept > most.min(STREAM_LIMIT + 2 * READ_AT_A_TIME) || count > CLIENT_LIMIT {
            let text = alloc::format!("{kept} bytes are kept for one of {count} clients");
            self.checks.fail("memory", text);
        }
    }
}
