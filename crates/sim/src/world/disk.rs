//! The file in which a supervisor writes down its family, on a disk that has no room now and then, and on which a write is torn
//! when its writer is killed in the middle of it.
//!
//! What is written when and what is read again is the production code, [`doula_core::journal`]. A line is an entry and needs no
//! words here: that a torn line is not taken for another one is tested where it is text, in `crates/host/src/journal`.

use crate::kernel::CgroupId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use doula_core::journal::{self, Book, Page, Whereabouts};
use doula_model::id::{Generation, ServiceId};
use doula_model::record::Life;

/// A file of fewer lines is never written anew.
const SMALL: usize = 32;

/// What one line says.
pub(super) type Entry = journal::Entry<Head, Place>;
/// What a supervisor knows of its file.
pub(super) type Journal = Book<Head, Place>;
/// What a file says.
pub(super) type Written = journal::Written<Head, Place>;

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The PID namespace, by the supervisor that is its init; 0: that of the machine.
    pub(super) world: u32,
    /// In this group are the leaves of the services.
    pub(super) family: CgroupId,
}

/// Where the processes of a life are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) generation: Generation,
    pub(super) family: CgroupId,
}

impl Whereabouts for Place {
    fn generation(&self) -> Generation {
        self.generation
    }
}

/// A journal whose head this is.
pub(super) fn journal(head: Head) -> Journal {
    Book::new(head, SMALL)
}

/// The group of the family in whose leaf this life is, if it is the one that was written down.
pub(super) fn family_of(written: &Written, id: ServiceId, life: Generation) -> Option<CgroupId> {
    let (head, (generation, _, place)) = (written.head?, written.place(id)?);
    (generation == life).then(|| place.map_or(head.family, |place| place.family))
}

/// What is to be written next, line by line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) entries: Vec<Entry>,
    /// The last life of each service, and which of its lives that was.
    lives: BTreeMap<ServiceId, (Life, u64)>,
}

impl Page<Head, Place> for Lines {
    fn put(&mut self, entry: &Entry) -> u64 {
        self.entries.push(entry.clone());
        let Entry::Life(id, life) = entry else { return 0 };
        let before = self.lives.get(id);
        let same = before.filter(|(before, _)| before == &**life).map(|(_, number)| *number);
        let number = same.unwrap_or_else(|| before.map_or(0, |(_, number)| number + 1));
        if same.is_none() {
            self.lives.insert(*id, ((**life).clone(), number));
        }
        number
    }

    fn take_back(&mut self) {
        self.entries.pop();
    }
}

/// The lines on the disk, and whether the last one is not whole. They outlive supervisors.
#[derive(Debug, Default)]
pub(super) struct Disk(Vec<Option<Entry>>);

impl Disk {
    pub(super) fn put(&mut self, line: Entry) {
        self.0.push(Some(line));
    }

    /// A write ends in the middle of a line.
    pub(super) fn tear(&mut self) {
        self.0.push(None);
    }

    /// ftruncate(2).
    pub(super) fn cut(&mut self, lines: usize) {
        self.0.truncate(lines);
    }

    /// rename(2): another file takes the place of this one.
    pub(super) fn replace(&mut self, lines: Vec<Entry>) {
        self.0 = lines.into_iter().map(Some).collect();
    }

    /// Up to the first line that is not whole, and whether there is one.
    pub(super) fn read(&self) -> (Written, bool) {
        let mut written = Written::default();
        let whole = self.0.iter().map_while(Option::as_ref);
        whole.for_each(|entry| written.take(entry.clone()));
        (written, self.0.iter().any(Option::is_none))
    }
}
