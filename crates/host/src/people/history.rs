//! What is remembered of what happened, in bounded memory.

use doula_model::action::{News, Report};
use doula_model::control::{EventRecord, Wall};
use doula_model::id::{Generation, ServiceId};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// So many events of the whole family are remembered: a few hundred kB at the most.
const REMEMBERED: usize = 2_000;

/// Something that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// One more for each event, for those who follow.
    pub(super) number: u64,
    at: Wall,
    pub(super) service: Option<ServiceId>,
    generation: Generation,
    news: News,
}

impl Entry {
    /// Whether it is about one of these services, or about the family; none of them: about anything.
    pub(super) fn is_about(&self, services: &[ServiceId]) -> bool {
        services.is_empty() || self.service.is_none_or(|service| services.contains(&service))
    }

    /// For the protocol, with the name that the service has or had.
    pub(super) fn record(&self, name: impl FnOnce(ServiceId) -> String) -> EventRecord {
        EventRecord {
            at: self.at,
            service: self.service.map(name),
            generation: self.generation,
            news: self.news.clone(),
        }
    }
}

/// The last events, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct History {
    entries: VecDeque<Entry>,
    next: u64,
}

impl History {
    pub(super) fn push(&mut self, at: Wall, report: &Report) {
        if self.entries.len() == REMEMBERED {
            self.entries.pop_front();
        }
        let Report { at: _, service, generation, news } = report.clone();
        self.entries.push_back(Entry { number: self.next, at, service, generation, news });
        self.next += 1;
    }

    /// The number that the next event will have.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// The number of the oldest event that is remembered.
    pub(super) fn start(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    /// The number of the first event that is not older than this.
    pub(super) fn since(&self, at: Wall) -> u64 {
        self.entries.iter().find(|entry| entry.at >= at).map_or(self.next, |entry| entry.number)
    }

    /// The number from which on there are so many events about these services, and none older than `since`.
    pub(super) fn last(&self, since: u64, lines: u32, services: &[ServiceId]) -> u64 {
        let newest = self.entries.iter().rev().filter(|entry| entry.is_about(services));
        let wanted = newest.take_while(|entry| entry.number >= since).take(lines as usize);
        wanted.last().map_or(self.next, |entry| entry.number)
    }

    /// Everything from this number on.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = &Entry> + '_ {
        let skip = usize::try_from(number.saturating_sub(self.start())).unwrap_or(usize::MAX);
        self.entries.iter().skip(skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::time::Time;

    #[test]
    fn the_oldest_events_are_forgotten_first_and_numbers_go_on() {
        let mut history = History::default();
        let report =
            Report { at: Time::ZERO, service: None, generation: Generation(0), news: News::FamilyEmpty };
        for _ in 0..REMEMBERED + 10 {
            history.push(Wall(0), &report);
        }
        assert_eq!(history.start(), 10);
        assert_eq!(history.end(), REMEMBERED as u64 + 10);
        assert_eq!(history.from(0).count(), REMEMBERED);
        let last: Vec<_> = history.from(history.end() - 1).map(|entry| entry.number).collect();
        assert_eq!(last, [REMEMBERED as u64 + 9]);
        assert_eq!(history.last(0, 3, &[]), history.end() - 3);
        assert_eq!(history.last(history.end() - 2, 3, &[]), history.end() - 2);
        assert_eq!(history.last(0, 0, &[]), history.end());
        assert_eq!(history.last(0, u32::MAX, &[]), history.start());
    }
}
