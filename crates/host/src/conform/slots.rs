//! Where orders and answers are left: a slot of shared memory for each process, of which every process of the stage has the mapping.
//!
//! A slot is a few words and two texts. A number that changes says that a text is new; who waits sleeps on it (futex(2)).

use doula_sys::shared::{self, Shared};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The longest order and the longest answer, in words of four bytes: an argument that is too long for execve(2) fits.
const TEXT: usize = 40_960;
/// The words before the texts.
const HEAD: usize = 8;
const SLOT: usize = HEAD + 2 * TEXT;

/// The words of a slot.
#[derive(Clone, Copy)]
enum Word {
    /// The number of the last order.
    Order,
    /// The number of the order that was answered last.
    Answer,
    /// The process, as who made the slots sees its number; 0 before its birth.
    Process,
    /// The thread, likewise.
    Thread,
    /// The thread's number in its own namespace.
    Number,
    OrderLength,
    AnswerLength,
}

/// All slots.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    words: &'static [AtomicU32],
}

/// The place of one process or thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    words: &'static [AtomicU32],
}

/// Who serves a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    pub(super) process: i32,
    pub(super) thread: i32,
    pub(super) number: i32,
}

impl Slots {
    /// So many slots in a file of memory.
    pub(super) fn map(file: impl AsFd, count: usize) -> Result<Slots, doula_model::plan::Errno> {
        Ok(Slots { words: Shared::map(file, count * SLOT)?.words() })
    }

    pub(super) fn count(&self) -> usize {
        self.words.len() / SLOT
    }

    /// The slot of a place; none beyond the last.
    pub(super) fn get(&self, place: usize) -> Option<Slot> {
        Some(Slot { words: self.words.get(place * SLOT..(place + 1) * SLOT)? })
    }
}

impl Slot {
    fn word(&self, word: Word) -> &'static AtomicU32 {
        &self.words[word as usize]
    }

    fn read(&self, word: Word) -> u32 {
        self.word(word).load(Ordering::Acquire)
    }

    /// As if nobody had ever been here.
    pub(super) fn clear(&self) {
        self.words[..HEAD].iter().for_each(|word| word.store(0, Ordering::Release));
    }

    /// Leaves an order; false when it is too long.
    pub(super) fn order(&self, text: &[u8]) -> bool {
        let fits = self.put(Word::OrderLength, HEAD, text);
        if fits {
            self.word(Word::Order).fetch_add(1, Ordering::AcqRel);
            shared::wake(self.word(Word::Order));
        }
        fits
    }

    /// The number of the last order.
    pub(super) fn last_order(&self) -> u32 {
        self.read(Word::Order)
    }

    /// Sleeps until there is another order than this; `None` when that takes too long.
    pub(super) fn await_order(&self, last: u32, time: Duration) -> Option<(u32, Vec<u8>)> {
        if self.read(Word::Order) == last {
            // Whatever ended the sleep is seen below.
            let _ = shared::sleep_while(self.word(Word::Order), last, time);
        }
        let number = self.read(Word::Order);
        (number != last).then(|| (number, self.text(Word::OrderLength, HEAD)))
    }

    /// Answers the order of this number. What is too long is cut.
    pub(super) fn answer(&self, number: u32, text: &[u8]) {
        self.put(Word::AnswerLength, HEAD + TEXT, &text[..text.len().min(TEXT * 4)]);
        self.word(Word::Answer).store(number, Ordering::Release);
        shared::wake(self.word(Word::Answer));
    }

    /// Sleeps until the last order is answered, but no longer than the time.
    pub(super) fn await_answer(&self, time: Duration) {
        let number = self.read(Word::Answer);
        if number != self.last_order() {
            let _ = shared::sleep_while(self.word(Word::Answer), number, time);
        }
    }

    /// Why there will be nobody here, if that was said.
    pub(super) fn refusal(&self) -> Option<String> {
        (self.read(Word::Answer) == u32::MAX).then(|| self.said())
    }

    /// The answer to the last order, if it is there.
    pub(super) fn answered(&self) -> Option<String> {
        (self.read(Word::Answer) == self.last_order()).then(|| self.said())
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.text(Word::AnswerLength, HEAD + TEXT)).into_owned()
    }

    /// Says who serves this slot from now on.
    pub(super) fn be_born(&self, birth: Birth) {
        self.word(Word::Thread).store(birth.thread as u32, Ordering::Release);
        self.word(Word::Number).store(birth.number as u32, Ordering::Release);
        self.word(Word::Process).store(birth.process as u32, Ordering::Release);
        shared::wake(self.word(Word::Process));
    }

    /// Who serves it; `None` before the birth.
    pub(super) fn birth(&self) -> Option<Birth> {
        let process = self.read(Word::Process) as i32;
        let birth =
            Birth { process, thread: self.read(Word::Thread) as i32, number: self.read(Word::Number) as i32 };
        (process != 0).then_some(birth)
    }

    /// Sleeps until somebody serves it, but no longer than the time.
    pub(super) fn await_birth(&self, time: Duration) {
        if self.read(Word::Process) == 0 {
            let _ = shared::sleep_while(self.word(Word::Process), 0, time);
        }
    }

    fn put(&self, length: Word, at: usize, text: &[u8]) -> bool {
        let Some(room) = self.words.get(at..at + text.len().div_ceil(4)).filter(|_| text.len() <= TEXT * 4)
        else {
            return false;
        };
        for (word, bytes) in room.iter().zip(text.chunks(4)) {
            let mut four = [0; 4];
            four[..bytes.len()].copy_from_slice(bytes);
            word.store(u32::from_le_bytes(four), Ordering::Relaxed);
        }
        self.word(length).store(text.len() as u32, Ordering::Release);
        true
    }

    fn text(&self, length: Word, at: usize) -> Vec<u8> {
        let length = (self.read(length) as usize).min(TEXT * 4);
        let words = &self.words[at..at + length.div_ceil(4)];
        let mut bytes: Vec<u8> =
            words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_arrive_whole_and_what_is_too_long_is_refused() {
        let file = doula_sys::fd::memory(c"slots").expect("a file of memory");
        let slots = Slots::map(&file, 2).expect("slots");
        let slot = slots.get(1).expect("the second");
        assert!((slots.count() == 2 && slots.get(2).is_none()) && slot.birth().is_none());
        assert!(slot.order(b"three") && !slot.order(&[b'x'; TEXT * 4 + 1]));
        let (number, text) = slot.await_order(0, Duration::ZERO).expect("an order");
        assert_eq!((number, &text[..]), (1, &b"three"[..]));
        assert_eq!((slot.await_order(1, Duration::ZERO), slot.answered()), (None, None));
        slot.answer(1, b"done");
        assert_eq!(slot.answered().as_deref(), Some("done"));
        slot.clear();
        assert_eq!(slot.answered().as_deref(), Some(""), "nothing asked, nothing answered");
    }
}
