//! A pipe in memory that doula and a worker share, one each way: bytes go without a system call while the other side is awake.
//!
//! Whoever finds nothing to read, or no room to write, says so in a word and looks again before it sleeps; whoever then writes or
//! reads wakes it. A worker sleeps on that word (futex(2)), doula in its epoll, on a counter (eventfd(2)).
//!
//! Neither side believes the other: what it says of its place is checked, and nothing outside of the ring is ever touched.

use doula_sys::fd::{self, AsFd};
use doula_sys::shared::{self, Area};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::Duration;

/// The bytes of one way, a power of two.
const SIZE: u32 = 1 << 18;
/// The words in front of both, each on a cache line of its own.
const CONTROL: usize = 4096;
pub(super) const BYTES: usize = CONTROL + 2 * SIZE as usize;
const LINE: usize = 16;
/// The word that says that there will be no more tasks.
const CLOSED: usize = 8 * LINE;

/// Which way, as a number in front of its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToWorker = 0,
    ToUs = 1,
}

/// What a place is for.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// So many bytes were ever written, and read.
    Written = 0,
    Read = 1,
    /// Its reader sleeps, or its writer.
    ReaderSleeps = 2,
    WriterSleeps = 3,
}

/// Memory that both have.
#[derive(Debug)]
pub(super) struct Ring {
    area: Area,
}

impl Ring {
    /// The ring in this file ([`fd::memory_of`] with [`BYTES`]).
    pub(super) fn in_file(file: impl AsFd) -> io::Result<Ring> {
        Area::map(file, BYTES).map(|area| Ring { area }).map_err(crate::child::os_error)
    }

    fn word(&self, way: Way, word: Word) -> &AtomicU32 {
        self.area.word((way as usize * 4 + word as usize) * LINE)
    }

    /// So many bytes wait to be read.
    fn waiting(&self, way: Way) -> io::Result<u32> {
        let written = self.word(way, Word::Written).load(Ordering::Acquire);
        let waiting = written.wrapping_sub(self.word(way, Word::Read).load(Ordering::Acquire));
        if waiting > SIZE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its ring says what cannot be"));
        }
        Ok(waiting)
    }

    /// Whether something waits to be read, as far as that can be believed.
    pub(super) fn has_unread(&self, way: Way) -> bool {
        self.waiting(way).is_ok_and(|waiting| waiting > 0)
    }

    /// Puts in what there is room for, which may be nothing, and returns how many bytes that was.
    pub(super) fn write(&self, way: Way, bytes: &[u8]) -> io::Result<usize> {
        let room = (SIZE - self.waiting(way)?) as usize;
        let bytes = bytes.get(..room).unwrap_or(bytes);
        let at = self.word(way, Word::Written).load(Ordering::Relaxed);
        let before_end = (SIZE - at % SIZE) as usize;
        let (first, rest) = bytes.split_at(before_end.min(bytes.len()));
        self.area.put(place(way, at), first);
        self.area.put(place(way, 0), rest);
        self.word(way, Word::Written).store(at.wrapping_add(bytes.len() as u32), Ordering::Release);
        Ok(bytes.len())
    }

    /// Takes what is there and fits into the buffer.
    pub(super) fn read(&self, way: Way, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.waiting(way)? as usize).min(buffer.len());
        let at = self.word(way, Word::Read).load(Ordering::Relaxed);
        let before_end = (SIZE - at % SIZE) as usize;
        let (first, rest) = buffer.split_at_mut(before_end.min(count));
        self.area.get(place(way, at), first);
        let behind = count - first.len();
        self.area.get(place(way, 0), rest.get_mut(..behind).unwrap_or_default());
        self.word(way, Word::Read).store(at.wrapping_add(count as u32), Ordering::Release);
        Ok(count)
    }

    /// Something was written: whether its reader has to be woken.
    pub(super) fn reader_sleeps(&self, way: Way) -> bool {
        sleeps(self.word(way, Word::ReaderSleeps))
    }

    /// Something was read: whether its writer has to be woken.
    pub(super) fn writer_sleeps(&self, way: Way) -> bool {
        sleeps(self.word(way, Word::WriterSleeps))
    }

    /// Says that the reader is about to sleep; whether it may, because there is nothing.
    pub(super) fn may_sleep_to_read(&self, way: Way) -> io::Result<bool> {
        let word = self.word(way, Word::ReaderSleeps);
        word.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may = self.waiting(way)? == 0 && !self.is_closed();
        if !may {
            word.store(0, Ordering::Relaxed);
        }
        Ok(may)
    }

    /// The same of the writer, because there is no room.
    pub(super) fn may_sleep_to_write(&self, way: Way) -> io::Result<bool> {
        let word = self.word(way, Word::WriterSleeps);
        word.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may = self.waiting(way)? == SIZE;
        if !may {
            word.store(0, Ordering::Relaxed);
        }
        Ok(may)
    }

    /// The worker sleeps until it is woken, or for so long.
    pub(super) fn sleep_to_read(&self, time: Duration) {
        sleep(self.word(Way::ToWorker, Word::ReaderSleeps), time);
    }

    /// The same while there is no room for its answers.
    pub(super) fn sleep_to_write(&self, time: Duration) {
        sleep(self.word(Way::ToUs, Word::WriterSleeps), time);
    }

    /// Wakes the worker if it sleeps for what we wrote or read.
    pub(super) fn wake_worker(&self, way: Way) {
        match way {
            Way::ToWorker if self.reader_sleeps(way) => shared::wake(self.word(way, Word::ReaderSleeps)),
            Way::ToUs if self.writer_sleeps(way) => shared::wake(self.word(way, Word::WriterSleeps)),
            Way::ToWorker | Way::ToUs => {}
        }
    }

    /// There will be no more tasks.
    pub(super) fn close(&self) {
        self.area.word(CLOSED).store(1, Ordering::Release);
        self.wake_worker(Way::ToWorker);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.area.word(CLOSED).load(Ordering::Acquire) == 1
    }
}

/// Whoever changed something looks whether the other side went to sleep before.
fn sleeps(word: &AtomicU32) -> bool {
    fence(Ordering::SeqCst);
    word.load(Ordering::Relaxed) == 1 && word.swap(0, Ordering::AcqRel) == 1
}

fn sleep(word: &AtomicU32, time: Duration) {
    // Whatever ends it, the caller looks again.
    let _ = shared::sleep_while(word, 1, time);
}

/// Where a byte of a way is.
fn place(way: Way, at: u32) -> usize {
    CONTROL + way as usize * SIZE as usize + (at % SIZE) as usize
}

/// A file for a ring.
pub(super) fn file() -> io::Result<fd::OwnedFd> {
    fd::memory_of(c"doula ring", BYTES as u64).map_err(crate::child::os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_go_through_in_order_however_they_are_cut_while_one_side_sleeps_at_times() {
        let file = file().expect("a file");
        let (ours, theirs) = (Ring::in_file(&file).expect("a ring"), Ring::in_file(&file).expect("a ring"));
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = bytes.clone();
        let reader = std::thread::spawn(move || {
            let (mut got, mut buffer) = (Vec::new(), [0; 70_001]);
            loop {
                let count = theirs.read(Way::ToWorker, &mut buffer).expect("a sound ring");
                got.extend_from_slice(&buffer[..count]);
                if count == 0 && theirs.is_closed() {
                    return got;
                }
                if count == 0 && theirs.may_sleep_to_read(Way::ToWorker).expect("a sound ring") {
                    theirs.sleep_to_read(Duration::from_secs(60));
                }
            }
        });
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let count = ours.write(Way::ToWorker, &rest[..rest.len().min(33_333)]).expect("a sound ring");
            rest = &rest[count..];
            ours.wake_worker(Way::ToWorker);
        }
        while ours.waiting(Way::ToWorker).expect("a sound ring") > 0 {
            std::thread::yield_now();
        }
        ours.close();
        assert!(reader.join().expect("no panic") == expected);
    }

    #[test]
    fn a_side_that_says_what_cannot_be_is_found_out() {
        let file = file().expect("a file");
        let ring = Ring::in_file(&file).expect("a ring");
        ring.word(Way::ToUs, Word::Written).store(SIZE + 1, Ordering::Release);
        assert!(ring.read(Way::ToUs, &mut [0; 8]).is_err());
        ring.word(Way::ToWorker, Word::Read).store(1, Ordering::Release);
        assert!(ring.write(Way::ToWorker, b"x").is_err());
    }
}
