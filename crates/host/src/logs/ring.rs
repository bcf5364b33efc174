//! The last records of the whole family in a bounded piece of memory, for those who ask and those who follow.
//!
//! One ring for all services: its size does not grow with their number. A follower is only a position in the
//! ring, so that a slow one costs nothing; when the ring has moved on past it, it is told how many records it
//! missed.

use super::{Mark, Stamp};
use core::time::Duration;
use doula_model::id::ServiceId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The bytes in front of each record: time, service, mark, length.
const HEADER: usize = 8 + 4 + 1 + 4;

/// The number that stands for the supervisor itself.
const OWN: u32 = u32::MAX;

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was read, as wall-clock time since 1970.
    pub at: Duration,
    /// Whose; `None`: the supervisor's own.
    pub service: Option<ServiceId>,
    /// What kind.
    pub mark: Mark,
    /// The line without its newline: any bytes.
    pub bytes: Vec<u8>,
}

/// What a follower gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// So many records that it wanted were lost at this place, because it was too slow.
    Missed(u64),
    /// The next record.
    Record(Record),
}

/// Which records are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Those of these services; of everybody, the supervisor included, if empty.
    pub services: BTreeSet<ServiceId>,
    /// Those not older than this (wall-clock time since 1970).
    pub since: Option<Duration>,
}

impl Filter {
    fn wants(&self, at: Duration, service: Option<ServiceId>) -> bool {
        let whose = self.services.is_empty() || service.is_some_and(|one| self.services.contains(&one));
        whose && self.since.is_none_or(|since| at >= since)
    }
}

/// Names a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FollowerId(u64);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Follower {
    filter: Filter,
    position: u64,
    /// Where it ends, if it does not go on with what is new.
    until: Option<u64>,
    missed: u64,
}

impl Follower {
    /// Whether the record at this position is still to come.
    fn awaits(&self, position: u64) -> bool {
        self.position <= position && self.until.is_none_or(|until| position < until)
    }
}

/// A ring, for another program.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Past {
    /// Its bytes; they go apart from the rest.
    #[serde(skip)]
    pub(crate) bytes: Vec<u8>,
    start: u64,
    followers: Vec<(FollowerId, Follower)>,
    next_follower: u64,
    /// The names of those whose records are in it.
    pub(crate) names: Vec<(ServiceId, String)>,
}

impl Past {
    /// Whether it consists of whole records.
    fn is_whole(&self) -> bool {
        let mut rest = self.bytes.as_slice();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
            let [.., mark, one, two, three, four] = *header;
            let length = u32::from_ne_bytes([one, two, three, four]) as usize;
            let Some((_, after)) = after.split_at_checked(length) else { return false };
            if usize::from(mark) >= Mark::ALL.len() {
                return false;
            }
            rest = after;
        }
        rest.is_empty()
    }
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: VecDeque<u8>,
    budget: usize,
    /// How many bytes have ever left the ring: the absolute position of its first byte.
    start: u64,
    followers: BTreeMap<FollowerId, Follower>,
    next_follower: u64,
}

struct Header {
    at: u64,
    service: Option<ServiceId>,
    mark: Mark,
    length: usize,
}

impl Header {
    fn wanted_by(&self, filter: &Filter) -> bool {
        filter.wants(Duration::from_nanos(self.at), self.service)
    }
}

impl Ring {
    /// A ring of at most `budget` bytes, which are taken as they are needed.
    pub(crate) fn new(budget: usize) -> Ring {
        let followers = BTreeMap::new();
        Ring { bytes: VecDeque::new(), budget, start: 0, followers, next_follower: 0 }
    }

    /// As it is, for another program.
    pub(crate) fn past(&self) -> Past {
        Past {
            bytes: self.bytes.iter().copied().collect(),
            start: self.start,
            followers: self.followers.iter().map(|(id, follower)| (*id, follower.clone())).collect(),
            next_follower: self.next_follower,
            names: Vec::new(),
        }
    }

    /// Goes on with that of another program. What is not understood of it is missing, and followers are there all the same.
    pub(crate) fn remember(&mut self, past: Past) {
        let whole = past.is_whole();
        let Past { bytes, start, followers, next_follower, names: _ } = past;
        self.start = if whole { start } else { start + bytes.len() as u64 };
        self.bytes = if whole { bytes.into() } else { VecDeque::new() };
        self.followers = followers.into_iter().collect();
        self.next_follower = next_follower;
        while self.bytes.len() > self.budget {
            self.evict();
        }
    }

    /// Takes a record in; the oldest ones make room. One that is larger than the whole ring is left out, and
    /// followers are told.
    pub(crate) fn push(&mut self, stamp: Stamp, service: Option<ServiceId>, mark: Mark, bytes: &[u8]) {
        let size = HEADER + bytes.len();
        if size > self.budget {
            self.count_missed(self.end(), stamp.wall, service);
            return;
        }
        while self.bytes.len() + size > self.budget {
            self.evict();
        }
        let at = u64::try_from(stamp.wall.as_nanos()).unwrap_or(u64::MAX);
        self.bytes.extend(at.to_ne_bytes());
        self.bytes.extend(service.map_or(OWN, |id| id.0).to_ne_bytes());
        self.bytes.push_back(mark as u8);
        self.bytes.extend((bytes.len() as u32).to_ne_bytes());
        self.bytes.extend(bytes);
        assert!(self.bytes.len() <= self.budget);
    }

    /// Begins to follow, with the last `last` of the kept records that are wanted (`None`: with all of them), and
    /// goes on with what is new, or not.
    pub(crate) fn follow(&mut self, filter: Filter, last: Option<usize>, goes_on: bool) -> FollowerId {
        let id = FollowerId(self.next_follower);
        self.next_follower += 1;
        let position = last.map_or(self.start, |last| self.last(&filter, last));
        let until = (!goes_on).then(|| self.end());
        self.followers.insert(id, Follower { filter, position, until, missed: 0 });
        id
    }

    /// The position from which on there are at most so many records that are wanted.
    fn last(&self, filter: &Filter, count: usize) -> u64 {
        let (mut found, mut position) = (VecDeque::new(), self.start);
        while let Some(header) = self.header(position) {
            if header.wanted_by(filter) {
                found.push_back(position);
                if found.len() > count {
                    found.pop_front();
                }
            }
            position += (HEADER + header.length) as u64;
        }
        found.front().copied().unwrap_or(position)
    }

    /// Ends following.
    pub(crate) fn unfollow(&mut self, id: FollowerId) {
        self.followers.remove(&id);
    }

    /// The next thing for this follower; `None` when it has everything.
    pub(crate) fn next(&mut self, id: FollowerId) -> Option<Followed> {
        let mut follower = self.followers.remove(&id)?;
        let next = self.advance(&mut follower);
        self.followers.insert(id, follower);
        next
    }

    fn advance(&self, follower: &mut Follower) -> Option<Followed> {
        if follower.missed > 0 {
            return Some(Followed::Missed(core::mem::take(&mut follower.missed)));
        }
        follower.position = follower.position.max(self.start);
        while let Some(header) = self.header(follower.position).filter(|_| follower.awaits(follower.position))
        {
            let here = follower.position;
            follower.position += (HEADER + header.length) as u64;
            if header.wanted_by(&follower.filter) {
                return self.record(here).map(Followed::Record);
            }
        }
        None
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn evict(&mut self) {
        let Some(header) = self.header(self.start) else { return };
        self.count_missed(self.start, Duration::from_nanos(header.at), header.service);
        self.bytes.drain(..HEADER + header.length);
        self.start += (HEADER + header.length) as u64;
    }

    /// A record at this position is lost for those who have not come past it.
    fn count_missed(&mut self, position: u64, at: Duration, service: Option<ServiceId>) {
        for follower in self.followers.values_mut() {
            if follower.awaits(position) && follower.filter.wants(at, service) {
                follower.missed += 1;
            }
        }
    }

    fn header(&self, position: u64) -> Option<Header> {
        if position >= self.end() {
            return None;
        }
        let raw = self.copy::<HEADER>(position);
        let (at, rest) = raw.split_first_chunk::<8>()?;
        let (service, rest) = rest.split_first_chunk::<4>()?;
        let (mark, length) = rest.split_first_chunk::<1>()?;
        let service = u32::from_ne_bytes(*service);
        Some(Header {
            at: u64::from_ne_bytes(*at),
            service: (service != OWN).then_some(ServiceId(service)),
            mark: Mark::ALL[usize::from(mark[0])],
            length: u32::from_ne_bytes(*length.first_chunk::<4>()?) as usize,
        })
    }

    fn record(&self, position: u64) -> Option<Record> {
        let header = self.header(position)?;
        let begin = (position - self.start) as usize + HEADER;
        let bytes = self.bytes.range(begin..begin + header.length).copied().collect();
        Some(Record {
            at: Duration::from_nanos(header.at),
            service: header.service,
            mark: header.mark,
            bytes,
        })
    }

    fn copy<const N: usize>(&self, position: u64) -> [u8; N] {
        let begin = (position - self.start) as usize;
        let mut to = [0; N];
        for (to, from) in to.iter_mut().zip(self.bytes.range(begin..begin + N)) {
            *to = *from;
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::time::Time;

    const WEB: Option<ServiceId> = Some(ServiceId(0));
    const DB: Option<ServiceId> = Some(ServiceId(1));

    fn at(second: u64) -> Stamp {
        Stamp { now: Time::ZERO, wall: Duration::from_secs(second) }
    }

    /// The kept records that are wanted, at most the last `last` of them.
    fn kept(ring: &mut Ring, filter: Filter, last: Option<usize>) -> Vec<Record> {
        let id = ring.follow(filter, last, false);
        let followed = core::iter::from_fn(|| ring.next(id)).map(|followed| match followed {
            Followed::Record(record) => record,
            Followed::Missed(count) => panic!("missed {count}"),
        });
        let kept = followed.collect();
        ring.unfollow(id);
        kept
    }

    fn texts(records: &[Record]) -> Vec<String> {
        records.iter().map(|record| String::from_utf8_lossy(&record.bytes).into_owned()).collect()
    }

    fn filled() -> Ring {
        let mut ring = Ring::new(1000);
        ring.push(at(1), WEB, Mark::Line, b"one");
        ring.push(at(2), DB, Mark::Continued, b"two");
        ring.push(at(3), None, Mark::Note, b"three");
        ring.push(at(4), WEB, Mark::Line, b"");
        ring
    }

    #[test]
    fn records_come_back_as_they_went_in_and_can_be_chosen() {
        let mut ring = filled();
        let all = kept(&mut ring, Filter::default(), None);
        assert_eq!(texts(&all), ["one", "two", "three", ""]);
        assert_eq!((all[1].mark, all[1].service), (Mark::Continued, DB));
        assert_eq!((all[2].at, all[2].service), (Duration::from_secs(3), None));
        let web = Filter { services: BTreeSet::from([ServiceId(0)]), since: None };
        assert_eq!(texts(&kept(&mut ring, web, None)), ["one", ""]);
        let late = Filter { since: Some(Duration::from_secs(2)), ..Filter::default() };
        assert_eq!(texts(&kept(&mut ring, late, None)), ["two", "three", ""]);
        assert_eq!(texts(&kept(&mut ring, Filter::default(), Some(2))), ["three", ""]);
    }

    #[test]
    fn the_oldest_records_make_room_and_the_budget_holds() {
        let mut ring = Ring::new(10 * (HEADER + 3));
        for number in 100..200 {
            ring.push(at(number), WEB, Mark::Line, number.to_string().as_bytes());
            assert!(ring.bytes.len() <= ring.budget);
        }
        let all = kept(&mut ring, Filter::default(), None);
        assert_eq!((all.len(), texts(&all)[0].as_str()), (10, "190"));
        ring.push(at(1), WEB, Mark::Line, &[0; 10_000]);
        assert_eq!(kept(&mut ring, Filter::default(), None), all, "what fits nowhere displaces nobody");
    }

    #[test]
    fn another_program_goes_on_with_the_records_and_with_each_follower_where_it_was() {
        let mut ring = Ring::new(1_000);
        (0..3).for_each(|second| ring.push(at(second), WEB, Mark::Line, &[second as u8]));
        let follower = ring.follow(Filter::default(), None, true);
        ring.next(follower);
        let text = serde_json::to_vec(&ring.past()).expect("JSON");
        let past =
            || Past { bytes: ring.past().bytes, ..serde_json::from_slice(&text).expect("what was written") };
        let next = |ring: &mut Ring| match ring.next(follower) {
            Some(Followed::Record(record)) => Some(record.bytes),
            Some(Followed::Missed(_)) | None => None,
        };
        let mut other = Ring::new(1_000);
        other.remember(past());
        assert_eq!(
            [next(&mut other), next(&mut other), next(&mut other)],
            [Some(vec![1]), Some(vec![2]), None]
        );
        other.push(at(9), WEB, Mark::Line, b"new");
        assert_eq!(next(&mut other), Some(b"new".to_vec()));
        assert_eq!(kept(&mut other, Filter::default(), None).len(), 4);
        // A smaller one has room for the last two.
        let mut small = Ring::new(2 * (HEADER + 1));
        small.remember(past());
        assert_eq!(kept(&mut small, Filter::default(), None).len(), 2);
        // What is torn is left out, and what comes is not.
        let mut torn = Ring::new(1_000);
        let mut bytes = past().bytes;
        bytes.pop();
        torn.remember(Past { bytes, ..past() });
        torn.push(at(9), WEB, Mark::Line, b"new");
        assert_eq!(next(&mut torn), Some(b"new".to_vec()));
        assert_eq!(kept(&mut torn, Filter::default(), None).len(), 1);
    }

    #[test]
    fn a_follower_gets_the_past_if_it_wants_and_then_everything_new() {
        let mut ring = filled();
        let (old, new) =
            (ring.follow(Filter::default(), None, true), ring.follow(Filter::default(), Some(0), true));
        assert_eq!(ring.next(new), None);
        let kept = ring.follow(Filter::default(), None, false);
        let past = core::iter::from_fn(|| ring.next(old)).count();
        assert_eq!(past, 4);
        ring.push(at(5), DB, Mark::Line, b"five");
        for id in [old, new] {
            assert!(matches!(ring.next(id), Some(Followed::Record(record)) if record.bytes == b"five"));
            assert_eq!(ring.next(id), None);
        }
        assert_eq!(core::iter::from_fn(|| ring.next(kept)).count(), 4, "nothing new for who does not go on");
        ring.unfollow(kept);
        ring.unfollow(old);
        ring.unfollow(new);
        assert!(ring.followers.is_empty());
        assert_eq!(ring.next(old), None);
    }

    #[test]
    fn a_slow_follower_is_told_exactly_what_it_missed() {
        let mut ring = Ring::new(4 * (HEADER + 1));
        let db = Filter { services: BTreeSet::from([ServiceId(1)]), since: None };
        let slow = ring.follow(db, Some(0), true);
        for number in 0..20u8 {
            ring.push(at(1), if number % 2 == 0 { WEB } else { DB }, Mark::Line, &[number]);
        }
        ring.push(at(1), DB, Mark::Line, &[0; 1000]);
        assert_eq!(ring.next(slow), Some(Followed::Missed(9)));
        assert!(matches!(ring.next(slow), Some(Followed::Record(record)) if record.bytes == [17]));
        assert!(matches!(ring.next(slow), Some(Followed::Record(record)) if record.bytes == [19]));
        assert_eq!(ring.next(slow), None);
    }
}
