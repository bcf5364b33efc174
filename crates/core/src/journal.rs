//! What a supervisor writes down of its family, and what the next one reads of it.
//!
//! [`Book`] says what is to be written when, [`Written`] what was. The same code does so for a file ([`Page`] is then a buffer of
//! text) and for the disk of a world on paper, on which a write is torn in any of its lines.
//!
//! Invariant: whatever was written up to a certain line is a family that was so at some time.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use doula_model::id::{ChildKey, Generation, Role, ServiceId};
pub use doula_model::journal::Entry;
use doula_model::recipe::SocketAddress;
use doula_model::record::{Life, Record};
use doula_model::service::ServiceSpec;

/// So many times as large as what counts a file may be.
const GROWTH: usize = 4;

/// What is written next.
pub trait Page<H, P> {
    /// Adds an entry. Two that say the same of one service give the same number.
    fn put(&mut self, entry: &Entry<H, P>) -> u64;
    /// Takes the last one back.
    fn take_back(&mut self);
}

/// Where the processes of a life are.
pub trait Whereabouts {
    /// Which life.
    fn generation(&self) -> Generation;
}

/// What was written last, and so what need not be written again.
#[derive(Debug)]
pub struct Book<H, P> {
    head: H,
    known: BTreeMap<ServiceId, Known>,
    /// What is not of the engine's, as it was said.
    fixed: BTreeMap<Fixed, Entry<H, P>>,
    /// What is to be written with the next news.
    news: Vec<Entry<H, P>>,
    /// So much of the file is ours and whole; `None` before there is one.
    size: Option<usize>,
    /// A file of this size is never written anew.
    small: usize,
    /// From this size on it is written anew.
    limit: usize,
}

/// What was written of a service last.
#[derive(Debug)]
struct Known {
    spec: Arc<ServiceSpec>,
    next: Option<Arc<ServiceSpec>>,
    life: u64,
}

/// What one entry is about, of those that are kept as they were said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fixed {
    Held(ServiceId),
    Socket(u32),
    Stored(u32),
}

impl<H: Clone, P: Clone> Book<H, P> {
    /// Nothing is written yet. Sizes are in whatever a world counts: a file of less than `small` is never written anew.
    pub fn new(head: H, small: usize) -> Book<H, P> {
        let (known, fixed, news) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Book { head, known, fixed, news, size: None, small, limit: 0 }
    }

    /// Remembers what is not of the engine's.
    pub fn note(&mut self, entry: Entry<H, P>) {
        let about = match &entry {
            Entry::Held(id, _) => Fixed::Held(*id),
            Entry::Socket(number, ..) => Fixed::Socket(*number),
            Entry::Stored(number, _) => Fixed::Stored(*number),
            Entry::Head(_) | Entry::Spec(..) | Entry::Next(..) | Entry::Life(..) | Entry::Gone(_) => return,
        };
        self.news.push(entry.clone());
        self.fixed.insert(about, entry);
    }

    /// A service is no longer part of the family.
    pub fn forget(&mut self, id: ServiceId) {
        if self.known.remove(&id).is_some() {
            self.news.push(Entry::Gone(id));
        }
        self.fixed.remove(&Fixed::Held(id));
    }

    /// Whether all is to be written anew: it has grown so much, could not be written, or is not there yet.
    pub fn is_full(&self) -> bool {
        self.size.is_none_or(|size| size > self.limit)
    }

    /// How much of the file is ours and whole.
    pub fn size(&self) -> usize {
        self.size.unwrap_or(0)
    }

    /// What has to be appended so that these are written down.
    pub fn append(&mut self, records: impl Iterator<Item = Record>, page: &mut impl Page<H, P>) {
        for entry in core::mem::take(&mut self.news) {
            page.put(&entry);
        }
        records.for_each(|record| self.add(record, page));
    }

    /// The whole file.
    pub fn anew(&mut self, records: impl Iterator<Item = Record>, page: &mut impl Page<H, P>) {
        self.known.clear();
        self.news.clear();
        page.put(&Entry::Head(self.head.clone()));
        for entry in self.fixed.values() {
            page.put(entry);
        }
        records.for_each(|record| self.add(record, page));
    }

    fn add(&mut self, record: Record, page: &mut impl Page<H, P>) {
        let Record { id, spec, next, life } = record;
        let known = self.known.get(&id);
        let same = |one: &Arc<ServiceSpec>, other: &Arc<ServiceSpec>| Arc::ptr_eq(one, other);
        let same_spec = known.is_some_and(|known| same(&known.spec, &spec));
        let same_next = match (known.map(|known| &known.next), &next) {
            (None | Some(None), None) => true,
            (Some(Some(known)), Some(next)) => same(known, next),
            (None | Some(_), _) => false,
        };
        let before = known.map(|known| known.life);
        if !same_spec {
            page.put(&Entry::Spec(id, Arc::clone(&spec)));
        }
        if !same_next {
            page.put(&Entry::Next(id, next.clone()));
        }
        let life = page.put(&Entry::Life(id, Box::new(life)));
        if before == Some(life) {
            page.take_back();
        }
        self.known.insert(id, Known { spec, next, life });
    }

    /// All was written anew, so much of it, and has taken the place of the file before.
    pub fn begins(&mut self, size: usize) {
        (self.size, self.limit) = (Some(size), (size * GROWTH).max(self.small));
    }

    /// So much was appended.
    pub fn grew(&mut self, by: usize) {
        self.size = self.size.map(|size| size + by);
    }

    /// A write failed: nothing of it counts, and all is written anew as soon as there is anything to write. What could not be
    /// written may concern services of which nothing more is to be told for long.
    ///
    /// Until then the file is behind, and so must end in a line that is not whole: whoever reads it has to look at the processes too.
    pub fn failed(&mut self) {
        self.known.clear();
        self.limit = 0;
    }

    /// Whether there is a file to which nothing is to be added, for a write failed.
    pub fn is_behind(&self) -> bool {
        self.size.is_some() && self.limit == 0
    }
}

/// What a file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Written<H, P> {
    /// Who wrote it last.
    pub head: Option<H>,
    services: BTreeMap<ServiceId, Service<P>>,
    /// The sockets by number.
    pub sockets: BTreeMap<u32, (SocketAddress, Option<u32>)>,
    /// The names of what was left with the supervisor, by number.
    pub stored: BTreeMap<u32, String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Service<P> {
    spec: Option<Arc<ServiceSpec>>,
    next: Option<Arc<ServiceSpec>>,
    life: Option<Life>,
    place: Option<P>,
}

impl<P> Default for Service<P> {
    fn default() -> Service<P> {
        Service { spec: None, next: None, life: None, place: None }
    }
}

impl<H, P> Default for Written<H, P> {
    fn default() -> Written<H, P> {
        let (services, sockets, stored) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Written { head: None, services, sockets, stored }
    }
}

impl<H, P: Whereabouts> Written<H, P> {
    /// The next entry.
    pub fn take(&mut self, entry: Entry<H, P>) {
        match entry {
            Entry::Head(head) => self.head = Some(head),
            Entry::Spec(id, spec) => self.of(id).spec = Some(spec),
            Entry::Next(id, next) => self.of(id).next = next,
            Entry::Life(id, life) => self.of(id).life = Some(*life),
            Entry::Gone(id) => drop(self.services.remove(&id)),
            Entry::Held(id, place) => self.of(id).place = Some(place),
            Entry::Socket(number, address, slot) => drop(self.sockets.insert(number, (address, slot))),
            Entry::Stored(number, name) => drop(self.stored.insert(number, name)),
        }
    }

    fn of(&mut self, id: ServiceId) -> &mut Service<P> {
        self.services.entry(id).or_default()
    }

    /// The services of which everything is known.
    pub fn records(&self) -> Vec<Record> {
        let known = self.services.iter().filter_map(|(id, service)| {
            let (spec, life) = (service.spec.clone()?, service.life.clone()?);
            Some(Record { id: *id, spec, next: service.next.clone(), life })
        });
        known.collect()
    }

    /// Where lives are that somebody before the last writer began.
    pub fn places(&self) -> impl Iterator<Item = (ServiceId, &P)> {
        self.services.iter().filter_map(|(id, service)| Some((*id, service.place.as_ref()?)))
    }

    /// Whether all main processes among these are of lives that have begun as far as is written here. Else it is behind: the last
    /// of it found no room.
    pub fn knows_mains(&self, mut held: impl Iterator<Item = ChildKey>) -> bool {
        let begun = |key: &ChildKey| {
            let service = self.services.get(&key.service);
            let known = service.and_then(|service| Some((service.spec.clone()?, service.life.clone()?)));
            known.is_some_and(|(spec, life)| {
                Record { id: key.service, spec, next: None, life }.has_begun(key.generation)
            })
        };
        held.all(|key| key.role != Role::Main || begun(&key))
    }

    /// The life of a service that goes on, what it is, and where its processes are if that was said.
    pub fn place(&self, id: ServiceId) -> Option<(Generation, Option<&ServiceSpec>, Option<&P>)> {
        let service = self.services.get(&id)?;
        let generation = service.life.as_ref()?.generation;
        let place = service.place.as_ref().filter(|place| place.generation() == generation);
        Some((generation, service.spec.as_deref(), place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::action::{Cause, State};
    use doula_model::record::Child;
    use doula_model::time::Time;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct There(Generation);

    impl Whereabouts for There {
        fn generation(&self) -> Generation {
            self.0
        }
    }

    type Lines = Vec<Entry<&'static str, There>>;

    impl Page<&'static str, There> for Lines {
        fn put(&mut self, entry: &Entry<&'static str, There>) -> u64 {
            self.push(entry.clone());
            alloc::format!("{entry:?}")
                .bytes()
                .fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte))
        }

        fn take_back(&mut self) {
            self.pop();
        }
    }

    fn record(id: u32, generation: u32) -> Record {
        let up = Child::Alive { pid: doula_model::id::Pid::INIT, born: Time::ZERO };
        let life = Life::going_on(Generation(generation), (Role::Main, up), Time::ZERO);
        Record {
            id: ServiceId(id),
            spec: Arc::new(ServiceSpec::new(alloc::format!("s{id}"))),
            next: None,
            life,
        }
    }

    fn read(lines: &Lines) -> Written<&'static str, There> {
        let mut written = Written::default();
        lines.iter().for_each(|entry| written.take(entry.clone()));
        written
    }

    #[test]
    fn what_is_as_it_was_is_not_written_again_and_what_changed_is_one_line() {
        let (mut book, mut lines) = (Book::new("us", 100), Lines::new());
        let (mut web, db) = (record(0, 1), record(1, 1));
        book.anew([web.clone(), db.clone()].into_iter(), &mut lines);
        book.begins(lines.len());
        let all = lines.len();
        book.append([web.clone(), db.clone()].into_iter(), &mut lines);
        assert_eq!(lines.len(), all);
        web.life.cause = Cause::Asked;
        book.append([web.clone(), db.clone()].into_iter(), &mut lines);
        assert_eq!(lines.len(), all + 1);
        book.forget(ServiceId(1));
        book.append(core::iter::empty(), &mut lines);
        assert_eq!((read(&lines).records(), read(&lines).head), (alloc::vec![web], Some("us")));
    }

    #[test]
    fn where_a_life_is_counts_for_that_life_and_the_last_word_counts() {
        let (mut book, mut lines) = (Book::new("us", 100), Lines::new());
        book.note(Entry::Held(ServiceId(0), There(Generation(1))));
        book.anew([record(0, 1)].into_iter(), &mut lines);
        let place = |lines: &Lines| read(lines).place(ServiceId(0)).and_then(|(_, _, place)| place.copied());
        assert_eq!(place(&lines), Some(There(Generation(1))));
        book.append([record(0, 2)].into_iter(), &mut lines);
        assert_eq!(place(&lines), None, "another life is elsewhere");
        assert_eq!(read(&lines).places().collect::<Vec<_>>(), [(ServiceId(0), &There(Generation(1)))]);
        book.note(Entry::Held(ServiceId(0), There(Generation(2))));
        book.append(core::iter::empty(), &mut lines);
        assert_eq!(place(&lines), Some(There(Generation(2))));
    }

    #[test]
    fn after_a_write_that_failed_and_when_it_has_grown_all_is_written_anew() {
        let (mut book, mut lines) = (Book::new("us", 10), Lines::new());
        assert!(book.is_full() && !book.is_behind(), "there is none yet");
        book.anew([record(0, 1)].into_iter(), &mut lines);
        book.begins(lines.len());
        assert!(!book.is_full());
        book.failed();
        assert!(book.is_full() && book.is_behind());
        book.begins(3);
        book.grew(10);
        assert!(book.is_full() && book.size() == 13);
    }

    #[test]
    fn a_main_process_of_a_life_that_is_not_written_down_is_news() {
        let mut lines = Lines::new();
        let mut preparing = record(1, 3);
        (preparing.life.state, preparing.life.children) = (State::Preparing, Vec::new());
        Book::new("us", 10).anew([record(0, 1), preparing].into_iter(), &mut lines);
        let written = read(&lines);
        let knows = |service, generation, role| {
            let key = ChildKey { service: ServiceId(service), generation: Generation(generation), role };
            written.knows_mains([key].into_iter())
        };
        assert!(knows(0, 1, Role::Main) && knows(1, 2, Role::Main) && knows(9, 9, Role::LiveProbe));
        assert!(!knows(0, 2, Role::Main) && !knows(1, 3, Role::Main) && !knows(2, 1, Role::Main));
    }
}
