//! What could not be written to files: as much as a common budget allows is kept, the rest is counted, and all of it is owed.
//!
//! Lines of one batch are kept together or not at all. Once lines of a file were dropped, all its later ones are until it is paid: the count
//! is written where they are missing, behind what was kept. Every second one attempt is made for each file that is behind; one that still
//! refuses holds up no other.
//!
//! Absent on purpose: files, and the words in which a count is written (the world has them).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::time::Time;

/// The pause between two attempts to write after an error.
pub const RETRY: Duration = Duration::from_secs(1);

/// What is owed to all files, by their names.
#[derive(Clone, Debug)]
pub struct Arrears<K> {
    budget: usize,
    kept: usize,
    behind: BTreeMap<K, Owed>,
    outage: Option<Outage>,
}

/// What is owed to one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// Whole lines, in their order.
    pub lines: Vec<u8>,
    /// So many more were dropped after them.
    pub lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Outage {
    retry_at: Time,
    lost: u64,
}

impl<K: Ord + Copy> Arrears<K> {
    /// Nothing is owed. All files together may have so many bytes kept for them.
    #[must_use]
    pub const fn new(budget: usize) -> Arrears<K> {
        Arrears { budget, kept: 0, behind: BTreeMap::new(), outage: None }
    }

    /// Whether something is owed to this file: nothing else may be written to it before that.
    pub fn is_behind(&self, file: K) -> bool {
        self.behind.contains_key(&file)
    }

    /// A write has failed. Whether it is the first, of which people are told.
    pub fn refused(&mut self, now: Time) -> bool {
        let is_first = self.outage.is_none();
        if is_first {
            self.outage = Some(Outage { retry_at: now.after(RETRY), lost: 0 });
        }
        is_first
    }

    /// Takes whole lines in that cannot be written now: all or none of them are kept.
    pub fn owe(&mut self, file: K, lines: &[u8]) {
        let owed = self.behind.entry(file).or_default();
        if owed.lost == 0 && self.kept + lines.len() <= self.budget {
            owed.lines.extend_from_slice(lines);
            self.kept += lines.len();
            return;
        }
        let count = count(lines);
        owed.lost += count;
        if let Some(outage) = &mut self.outage {
            outage.lost += count;
        }
    }

    /// When [`Arrears::due`] wants to be asked.
    pub fn deadline(&self) -> Option<Time> {
        self.outage.map(|outage| outage.retry_at)
    }

    /// The next attempt shall not wait.
    pub fn hurry(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.retry_at = Time::ZERO;
        }
    }

    /// Whose debts an attempt is made to pay now; `None` if it is not time.
    pub fn due(&mut self, now: Time) -> Option<Vec<K>> {
        let outage = self.outage.as_mut().filter(|outage| outage.retry_at <= now)?;
        outage.retry_at = now.after(RETRY);
        Some(self.behind.keys().copied().collect())
    }

    /// What is to be written to this file.
    pub fn owed(&self, file: K) -> Option<&Owed> {
        self.behind.get(&file)
    }

    /// All of that was written.
    pub fn paid(&mut self, file: K) {
        if let Some(owed) = self.behind.remove(&file) {
            self.kept -= owed.lines.len();
        }
    }

    /// After an attempt: if nothing is owed any more, how many lines are missing in the files.
    pub fn is_over(&mut self) -> Option<u64> {
        let outage = self.outage.take_if(|_| self.behind.is_empty())?;
        Some(outage.lost)
    }

    /// How many lines would be missing if this were the end.
    pub fn unwritten(&self) -> u64 {
        self.behind.values().map(|owed| owed.lost + count(&owed.lines)).sum()
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Time {
        Time::from_nanos(second * 1_000_000_000)
    }

    #[test]
    fn a_batch_is_kept_whole_or_counted_and_so_is_all_after_it() {
        let mut arrears = Arrears::new(10);
        assert!(arrears.refused(at(1)));
        arrears.owe('a', b"1\n2\n");
        arrears.owe('a', b"3\n4\n5\n6\n");
        arrears.owe('a', b"7\n");
        arrears.owe('b', b"1\n");
        assert_eq!(arrears.owed('a'), Some(&Owed { lines: b"1\n2\n".to_vec(), lost: 5 }));
        assert_eq!(arrears.owed('b'), Some(&Owed { lines: b"1\n".to_vec(), lost: 0 }));
        assert_eq!(arrears.unwritten(), 8);
        arrears.paid('a');
        assert_eq!(arrears.is_over(), None, "b is still behind");
        arrears.owe('a', b"8\n9\n10\n");
        assert_eq!(arrears.owed('a').map(|owed| owed.lost), Some(0), "there is room again");
        arrears.paid('a');
        arrears.paid('b');
        assert_eq!((arrears.is_over(), arrears.unwritten(), arrears.kept), (Some(5), 0, 0));
        assert_eq!((arrears.is_over(), arrears.deadline()), (None, None));
    }

    #[test]
    fn one_attempt_is_made_each_second_and_people_are_told_once() {
        let mut arrears = Arrears::new(10);
        assert_eq!(arrears.due(at(0)), None);
        assert!(arrears.refused(at(1)));
        assert!(!arrears.refused(at(1)));
        arrears.owe('b', b"1\n");
        arrears.owe('a', b"1\n");
        assert_eq!((arrears.due(at(1)), arrears.deadline()), (None, Some(at(2))));
        assert_eq!(arrears.due(at(2)), Some(Vec::from(['a', 'b'])));
        assert_eq!(arrears.due(at(2)), None);
        arrears.hurry();
        assert_eq!((arrears.due(at(2)), arrears.deadline()), (Some(Vec::from(['a', 'b'])), Some(at(3))));
    }
}
