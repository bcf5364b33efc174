//! What a worker does: it reads what it is asked, and does with each task what its [`Deed`] says.

use super::case::{Case, Deed};
use crate::kernel::call::{Call, Clone as How, Reply, Value};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::random::Random;
use doula_model::signal::Signal;
use doula_model::time::Time;

/// So much is read at once.
const PIECE: usize = 4096;
/// Longer than a pipe has room for.
const LARGE: usize = 70_000;

/// What a worker does next.
#[derive(Clone, Debug)]
pub(super) enum Move {
    Call(Call),
    /// It answers this task, whole: from here on the run may have heard it.
    Answer {
        task: u64,
        call: Call,
    },
    /// It sends itself this signal.
    Signal(Signal),
    /// A process of its own that holds what it has, and does nothing.
    Bear,
    Sleep(Time),
    /// Nothing, ever.
    Rest,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Actor {
    plan: VecDeque<Planned>,
    bytes: Vec<u8>,
    tasks: Vec<(u64, u32)>,
    /// All that it has read: tasks, and which attempts at them.
    pub(super) touched: Vec<(u64, u32)>,
    last: Option<u64>,
    random: Random,
    ignores_term: bool,
    begun: bool,
}

#[derive(Debug)]
enum Planned {
    Move(Move),
    For(Duration),
}

impl Actor {
    pub(super) fn new(case: &Case, number: u32) -> Actor {
        let mut random = Random::new(case.seed ^ u64::from(number) << 32 ^ 0x5eed);
        let ignores_term = random.below(4) == 0;
        Actor {
            plan: VecDeque::new(),
            bytes: Vec::new(),
            tasks: Vec::new(),
            touched: Vec::new(),
            last: None,
            random,
            ignores_term,
            begun: false,
        }
    }

    /// One that does nothing.
    pub(super) fn idle() -> Actor {
        let plan = VecDeque::from([Planned::Move(Move::Rest)]);
        Actor { plan, begun: true, ..Actor::new(&Case::with_one(Deed::Well, 1, 1), 0) }
    }

    pub(super) fn next(&mut self, case: &Case, now: Time) -> Move {
        if !core::mem::replace(&mut self.begun, true) && self.ignores_term {
            let ignore = crate::kernel::sigset::Action::IGNORE;
            return Move::Call(Call::Sigaction(Signal::TERM, ignore));
        }
        loop {
            match self.plan.pop_front() {
                Some(Planned::Move(Move::Rest)) => {
                    self.plan.push_front(Planned::Move(Move::Rest));
                    return Move::Rest;
                }
                Some(Planned::Move(next)) => return next,
                Some(Planned::For(time)) => return Move::Sleep(now.after(time)),
                None if self.tasks.is_empty() => return Move::Call(Call::Read(0, PIECE)),
                None => {
                    let many = self.tasks.len() as u64;
                    let at = if case.any_order { self.random.below(many) as usize } else { 0 };
                    let (task, attempt) = self.tasks.remove(at);
                    self.take_on(case, task, attempt);
                }
            }
        }
    }

    /// A read came back, or a write: who is stopped in one that had to wait has written a part.
    pub(super) fn reply(&mut self, call: &Call, reply: &Reply) {
        if let (Call::Write(fd, bytes), Ok(Value::Number(count))) = (call, reply)
            && let Some(rest @ [_, ..]) = bytes.get(*count as usize..)
        {
            return self.plan.push_front(Planned::Move(Move::Call(Call::Write(*fd, rest.to_vec()))));
        }
        let (Call::Read(..), Ok(Value::Bytes(bytes))) = (call, reply) else { return };
        if bytes.is_empty() {
            return self.plan.push_back(Planned::Move(Move::Call(Call::ExitGroup(0))));
        }
        self.bytes.extend(bytes);
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = core::str::from_utf8(&line).unwrap_or_default();
            let mut numbers = line.split_whitespace();
            let task = numbers.next().and_then(|word| word.parse().ok());
            let attempt = numbers.next().and_then(|word| word.parse().ok());
            self.touched.extend(task.zip(attempt));
            self.tasks.extend(task.zip(attempt));
        }
    }

    /// Begins a task.
    fn take_on(&mut self, case: &Case, task: u64, attempt: u32) {
        let deed = case.deed(task, attempt);
        let before = self.last;
        let say = |bytes: Vec<u8>| Move::Call(Call::Write(1, bytes));
        let word = if deed == Deed::Fails { "no" } else { "ok" };
        let whole = answer(case, task, word);
        let half = whole[..whole.len() / 2].to_vec();
        let well = Move::Answer { task, call: Call::Write(1, whole.clone()) };
        let end = |code| Move::Call(Call::ExitGroup(code));
        let die = Move::Signal;
        let moves = match deed {
            Deed::Well | Deed::Fails | Deed::Large => Vec::from([well]),
            Deed::KillsItself => Vec::from([die(Signal::KILL)]),
            Deed::Crashes => Vec::from([die(Signal::SEGV)]),
            Deed::Exits => Vec::from([end(0)]),
            Deed::ExitsBadly => Vec::from([end(3)]),
            Deed::ClosesOutput => Vec::from([Move::Call(Call::Close(1)), Move::Rest]),
            Deed::ClosesInput => Vec::from([Move::Call(Call::Close(0)), well, Move::Rest]),
            Deed::NeverAnswers => Vec::from([Move::Rest]),
            Deed::HalfThenExits => Vec::from([say(half), end(0)]),
            Deed::HalfThenHangs => Vec::from([say(half), Move::Rest]),
            Deed::Twice => {
                let call = Call::Write(1, [whole.as_slice(), &whole].concat());
                Vec::from([Move::Answer { task, call }])
            }
            Deed::Garbage => Vec::from([say(b"hm\n".to_vec())]),
            Deed::AnswersBefore => match before {
                Some(before) => Vec::from([say(answer(case, before, "ok")), well]),
                None => Vec::from([well]),
            },
            Deed::LeavesChild => Vec::from([Move::Bear, well]),
            Deed::Stops => Vec::from([die(Signal::STOP), well]),
            Deed::AnswersThenDies => Vec::from([well, die(Signal::KILL)]),
        };
        self.last = Some(task);
        self.plan.push_back(Planned::For(Duration::from_micros(self.random.below(20_000))));
        self.plan.extend(moves.into_iter().map(Planned::Move));
    }
}

/// What a worker says that has done this task, or failed at it.
pub(super) fn answer(case: &Case, task: u64, word: &str) -> Vec<u8> {
    let result = result(case, task);
    let mut line = match case.numbered {
        true => alloc::format!("{task} {word} {result:x}").into_bytes(),
        false => alloc::format!("{word} {result:x}").into_bytes(),
    };
    if case.deed(task, 1) == Deed::Large {
        line.resize(LARGE, b' ');
    }
    line.push(b'\n');
    line
}

/// The right result: no other task has the same.
pub(super) const fn result(case: &Case, task: u64) -> u64 {
    case.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ task
}

/// A child of a worker has what the worker has.
pub(super) const BIRTH: Call = Call::Clone(How::FORK);
