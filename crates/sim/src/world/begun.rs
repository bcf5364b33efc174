//! Lines that services write in pieces, while their supervisor is killed in between. What becomes of the beginning of a line is the
//! production code, [`doula_core::begun`].
//!
//! | check | what it holds |
//! |---|---|
//! | `lines` | a line is in the log whole, in order and once, but for those that were written and not taken out yet at a death: they may be there twice |
//!
//! The keeper holds both pipes of each service: that of the service, and that of a beginning. Without it all is gone that was in
//! them, and nobody asks for it. Absent on purpose: that there is no room in a pipe, and lines longer than one is passed on. The bytes do
//! not come from the players, and the pipes are none of the kernel.

use super::World;
use super::breakage::Breakage;
use super::faults::Fault;
use alloc::string::String;
use alloc::vec::Vec;
use doula_core::begun::{Copied, Moves, moves};

/// A piece of a line is so long at the most: lines come whole, in pieces, and several at once.
const MOST_BYTES: u64 = 24;

/// What a service says, and where it is.
#[derive(Clone, Debug, Default)]
struct Speech {
    /// So many lines were begun, and what of the last one is not said yet.
    said: u64,
    unsaid: Vec<u8>,
    /// What is in the pipe of the service, and in that of a beginning.
    pipe: Vec<u8>,
    begun: Option<Vec<u8>>,
    /// In the memory of the supervisor: the beginning of a line.
    partial: Vec<u8>,
    /// The last line in the log, and the last one that is in no pipe any more.
    told: u64,
    taken: u64,
    /// The next line may be one of those that were written before a death.
    resumes: bool,
}

impl Speech {
    fn says(&mut self, at: usize, most: usize) {
        for _ in 0..most {
            if self.unsaid.is_empty() {
                self.said += 1;
                self.unsaid = line(at, self.said).into_bytes();
                self.unsaid.push(b'\n');
                self.unsaid.reverse();
            }
            self.pipe.extend(self.unsaid.pop());
        }
    }

    /// Bytes are given out: the lines that they end.
    fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                lines.push(core::mem::take(&mut self.partial));
            } else {
                self.partial.push(*byte);
            }
        }
        lines
    }

    /// A line is in the log; what is wrong with it.
    fn is_written(&mut self, at: usize, text: &[u8]) -> Option<String> {
        let before = self.last_lines().find(|before| line(at, before + 1).as_bytes() == text);
        self.resumes = false;
        match before {
            Some(before) => {
                self.told = before + 1;
                None
            }
            None => {
                let text = String::from_utf8_lossy(text);
                Some(alloc::format!("`{text}` is in the log of s{at} after line {}", self.told))
            }
        }
    }

    /// The last line in the log, or after a death each that may be the last one that is in no pipe.
    fn last_lines(&self) -> core::ops::RangeInclusive<u64> {
        if self.resumes { self.taken..=self.told } else { self.told..=self.told }
    }

    /// Whether not all that was said is in the log or on its way to it.
    fn misses(&self, at: usize) -> bool {
        let left = [self.partial.as_slice(), &self.pipe].concat();
        let is_left = |before: u64| {
            let lines = (before + 1..=self.said).map(|number| line(at, number) + "\n");
            let mut said = lines.collect::<String>().into_bytes();
            said.truncate(said.len().saturating_sub(self.unsaid.len()));
            said == left
        };
        !self.last_lines().any(is_left)
    }

    /// The supervisor is dead.
    fn survives(&mut self, pipes_are_kept: bool) {
        self.partial.clear();
        self.resumes = true;
        if !pipes_are_kept {
            let said = self.said;
            *self = Speech { said, told: said, taken: said, ..Speech::default() };
        }
    }
}

fn line(at: usize, number: u64) -> String {
    alloc::format!("line {number} of s{at}.")
}

/// All services.
#[derive(Debug)]
pub(super) struct Speeches {
    all: Vec<Speech>,
    /// This supervisor has not looked yet what there is.
    is_new: bool,
}

impl Speeches {
    pub(super) fn new(count: usize) -> Speeches {
        Speeches { all: alloc::vec![Speech::default(); count], is_new: true }
    }

    /// What a supervisor knew is gone with it, and what was in pipes if nobody kept them.
    pub(super) fn forget_last_life(&mut self, pipes_are_kept: bool) {
        self.is_new = true;
        self.all.iter_mut().for_each(|speech| speech.survives(pipes_are_kept));
    }
}

impl World<'_> {
    /// Somebody says something, and the supervisor listens.
    pub(super) fn hear_lines(&mut self) {
        let listens = self.keeper.is_some() && self.keeper_is_found && !self.killed;
        if !listens || !self.faults.fires(Fault::LinesInPieces) {
            return;
        }
        if core::mem::take(&mut self.speeches.is_new) {
            (0..self.speeches.all.len()).for_each(|at| self.go_on_with_beginning(at));
        }
        let at = self.faults.below(Fault::LinesInPieces, self.speeches.all.len() as u64) as usize;
        let most = self.faults.below(Fault::LinesInPieces, MOST_BYTES) as usize;
        self.speeches.all[at].says(at, most);
        self.listen(at);
    }

    /// What an earlier supervisor has left of a line.
    fn go_on_with_beginning(&mut self, at: usize) {
        if let Some(bytes) = self.speeches.all[at].begun.clone() {
            self.give_out(at, &bytes, (0, 0));
        }
        let speech = &mut self.speeches.all[at];
        if !self.killed && !speech.resumes {
            speech.taken = speech.told;
        }
    }

    /// A look into the pipe, as by tee(2): the bytes stay.
    fn listen(&mut self, at: usize) {
        self.step();
        let bytes = self.speeches.all[at].pipe.clone();
        let tail = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        self.give_out(at, &bytes, (bytes.len(), tail));
        let speech = &mut self.speeches.all[at];
        if !self.killed {
            (speech.taken, speech.resumes) = (speech.told, false);
        }
    }

    /// Writes out what these bytes end, then takes them out: so many of them are in the pipe of the service.
    fn give_out(&mut self, at: usize, bytes: &[u8], (count, tail): (usize, usize)) {
        if self.killed {
            return;
        }
        for text in self.speeches.all[at].feed(bytes) {
            self.step();
            if self.killed {
                return;
            }
            let wrong = self.speeches.all[at].is_written(at, &text);
            wrong.into_iter().for_each(|wrong| self.checks.fail("lines", wrong));
        }
        let speech = &self.speeches.all[at];
        let rest = Some(speech.partial.len()).filter(|rest| *rest > 0);
        let plan = moves(Copied { count, tail, rest, is_begun: speech.begun.is_some() });
        if self.is_broken(Breakage::ForgetsBegun) {
            self.speeches.all[at].pipe.drain(..count);
            self.speeches.all[at].begun = None;
        } else {
            self.take_out(at, count, plan);
        }
    }

    /// Each of these is a call, before which the supervisor can be killed.
    fn take_out(&mut self, at: usize, mut count: usize, plan: Moves) {
        if let Some(joins) = plan.joins {
            self.one_call(at, |speech| speech.splice(joins));
            self.one_call(at, |speech| speech.begun = None);
            count -= joins;
        }
        self.one_call(at, |speech| drop(speech.pipe.drain(..count - plan.stays)));
        let Some(keeps) = plan.keeps else { return };
        if plan.begins {
            self.one_call(at, |speech| speech.begun = Some(Vec::new()));
        }
        self.one_call(at, |speech| speech.splice(plan.stays));
        self.one_call(at, |speech| {
            if let Some(begun) = &mut speech.begun {
                begun.drain(..begun.len().saturating_sub(keeps));
            }
        });
    }

    fn one_call(&mut self, at: usize, call: impl FnOnce(&mut Speech)) {
        self.step();
        if !self.killed {
            call(&mut self.speeches.all[at]);
        }
    }

    /// The supervisor ends: nothing that was said is lost.
    pub(super) fn nothing_is_unheard(&mut self) {
        let lost = (0..self.speeches.all.len()).find(|at| self.speeches.all[*at].misses(*at));
        if let Some(at) = lost.filter(|_| !self.speeches.is_new) {
            self.checks.fail("lines", alloc::format!("what s{at} has said is not all there"));
        }
    }
}

impl Speech {
    /// As splice(2): no byte is in none of the two.
    fn splice(&mut self, count: usize) {
        let moved: Vec<u8> = self.pipe.drain(..count).collect();
        self.begun.get_or_insert_default().extend(moved);
    }
}
