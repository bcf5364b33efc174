//! The file in which a supervisor writes down its family, on a disk that has no room now and then, and on which a write is torn
//! when its writer is killed in the middle of it.
//!
//! A line is an entry and needs no words here: that a torn line is not taken for another one is tested where it is text. What is
//! written when, what a failure leads to, and what is read again is as in `crates/host/src/journal`.

use crate::kernel::CgroupId;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use doula_model::id::{Generation, ServiceId};
use doula_model::record::{Life, Record};
use doula_model::service::ServiceSpec;

/// A file of fewer lines is never written anew …
const SMALL: usize = 32;
/// … nor is one that is less than so many times as long as what counts.
const GROWTH: usize = 4;

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entry {
    Head(Head),
    Spec(ServiceId, Arc<ServiceSpec>),
    Next(ServiceId, Option<Arc<ServiceSpec>>),
    Life(ServiceId, Box<Life>),
    Gone(ServiceId),
    Held(ServiceId, Place),
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The PID namespace, by the supervisor that is its init; 0: that of the machine.
    pub(super) world: u32,
    /// In this group are the leaves of the services.
    pub(super) family: CgroupId,
}

/// Where the processes of a life are that an earlier supervisor began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) generation: Generation,
    pub(super) family: CgroupId,
}

/// The lines on the disk; `None` is one that is not whole. They outlive supervisors.
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

    /// Up to the first line that is not whole.
    pub(super) fn read(&self) -> Written {
        let mut written = Written::default();
        let whole = self.0.iter().map_while(Option::as_ref);
        whole.for_each(|entry| written.take(entry.clone()));
        written.torn = self.0.iter().any(Option::is_none);
        written
    }
}

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) head: Option<Head>,
    services: BTreeMap<ServiceId, Service>,
    pub(super) torn: bool,
}

#[derive(Debug, Default)]
struct Service {
    spec: Option<Arc<ServiceSpec>>,
    next: Option<Arc<ServiceSpec>>,
    life: Option<Life>,
    place: Option<Place>,
}

impl Written {
    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Head(head) => self.head = Some(head),
            Entry::Spec(id, spec) => self.of(id).spec = Some(spec),
            Entry::Next(id, next) => self.of(id).next = next,
            Entry::Life(id, life) => self.of(id).life = Some(*life),
            Entry::Gone(id) => drop(self.services.remove(&id)),
            Entry::Held(id, place) => self.of(id).place = Some(place),
        }
    }

    fn of(&mut self, id: ServiceId) -> &mut Service {
        self.services.entry(id).or_default()
    }

    /// The services of which everything is known.
    pub(super) fn records(&self) -> Vec<Record> {
        let known = self.services.iter().filter_map(|(id, service)| {
            let (spec, life) = (service.spec.clone()?, service.life.clone()?);
            Some(Record { id: *id, spec, next: service.next.clone(), life })
        });
        known.collect()
    }

    /// The group of the family in whose leaf this life is.
    pub(super) fn family_of(&self, id: ServiceId) -> Option<CgroupId> {
        let (head, service) = (self.head?, self.services.get(&id)?);
        let generation = service.life.as_ref()?.generation;
        let earlier = service.place.filter(|place| place.generation == generation);
        Some(earlier.map_or(head.family, |place| place.family))
    }
}

/// What a supervisor knows of its file.
#[derive(Debug, Default)]
pub(super) struct Journal {
    head: Option<Head>,
    /// So many lines are ours and whole.
    pub(super) size: usize,
    /// From this size on it is written anew.
    limit: usize,
    /// What was written of each service last.
    known: BTreeMap<ServiceId, Known>,
    held: BTreeMap<ServiceId, Place>,
    gone: Vec<ServiceId>,
}

#[derive(Debug)]
struct Known {
    spec: Arc<ServiceSpec>,
    next: Option<Arc<ServiceSpec>>,
    life: Life,
}

impl Journal {
    pub(super) fn new(head: Head, held: BTreeMap<ServiceId, Place>) -> Journal {
        Journal { head: Some(head), held, ..Journal::default() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.size == 0 || self.size > self.limit
    }

    pub(super) fn forget(&mut self, id: ServiceId) {
        if self.known.remove(&id).is_some() {
            self.gone.push(id);
        }
        self.held.remove(&id);
    }

    /// What has to be appended so that these are written down.
    pub(super) fn news(&mut self, records: impl Iterator<Item = Record>) -> Vec<Entry> {
        let mut lines: Vec<Entry> = core::mem::take(&mut self.gone).into_iter().map(Entry::Gone).collect();
        records.for_each(|record| self.add(record, &mut lines));
        lines
    }

    fn add(&mut self, record: Record, lines: &mut Vec<Entry>) {
        let Record { id, spec, next, life } = record;
        let known = self.known.get(&id);
        if !known.is_some_and(|known| Arc::ptr_eq(&known.spec, &spec)) {
            lines.push(Entry::Spec(id, Arc::clone(&spec)));
        }
        let same_next = match (known.and_then(|known| known.next.as_ref()), &next) {
            (None, None) => true,
            (Some(known), Some(next)) => Arc::ptr_eq(known, next),
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !same_next {
            lines.push(Entry::Next(id, next.clone()));
        }
        if !known.is_some_and(|known| known.life == life) {
            lines.push(Entry::Life(id, Box::new(life.clone())));
        }
        self.known.insert(id, Known { spec, next, life });
    }

    /// The whole file anew.
    pub(super) fn anew(&mut self, records: impl Iterator<Item = Record>) -> Vec<Entry> {
        self.known.clear();
        self.gone.clear();
        let mut lines: Vec<Entry> = self.head.map(Entry::Head).into_iter().collect();
        lines.extend(self.held.iter().map(|(id, place)| Entry::Held(*id, *place)));
        records.for_each(|record| self.add(record, &mut lines));
        lines
    }

    /// It was written, and has taken the place of the old one.
    pub(super) fn begins(&mut self, lines: usize) {
        (self.size, self.limit) = (lines, (lines * GROWTH).max(SMALL));
    }

    /// A write failed: nothing of it counts.
    pub(super) fn failed(&mut self) {
        self.known.clear();
        self.limit = 0;
    }
}
