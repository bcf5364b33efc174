//! A journal as the next supervisor reads it.

use super::line::next;
use super::{Entry, Head, Place};
use crate::cgroup::Leaf;
use crate::keeper::Tag;
use doula_model::id::{Role, ServiceId};
use doula_model::recipe::SocketAddress;
use doula_model::record::{Life, Record};
use doula_model::service::ServiceSpec;
use doula_sys::fd::OwnedFd;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Written {
    /// Who wrote it last.
    pub(crate) head: Option<Head>,
    services: BTreeMap<ServiceId, Service>,
    /// The sockets by number.
    pub(crate) sockets: BTreeMap<u32, (SocketAddress, Option<u32>)>,
    /// The names of what was left with us, by number.
    pub(crate) stored: BTreeMap<u32, String>,
    /// So many bytes at the end are not to be trusted.
    pub(crate) cut: usize,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Service {
    spec: Option<Arc<ServiceSpec>>,
    next: Option<Arc<ServiceSpec>>,
    life: Option<Life>,
    place: Option<Place>,
}

impl Written {
    /// Reads up to the first line that is not whole.
    pub(crate) fn read(text: &[u8]) -> Written {
        let (mut written, mut rest) = (Written::default(), text);
        while let Some((entry, after)) = next(rest) {
            written.take(entry);
            rest = after;
        }
        written.cut = rest.len();
        written
    }

    /// One of which nothing can be used.
    pub(crate) fn unreadable(cut: usize) -> Written {
        Written { cut, ..Written::default() }
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Head(head) => self.head = Some(head),
            Entry::Spec(id, spec) => self.services.entry(id).or_default().spec = Some(spec),
            Entry::Next(id, next) => self.services.entry(id).or_default().next = next,
            Entry::Life(id, life) => self.services.entry(id).or_default().life = Some(*life),
            Entry::Gone(id) => drop(self.services.remove(&id)),
            Entry::Held(id, place) => self.services.entry(id).or_default().place = Some(place),
            Entry::Socket(number, address, slot) => drop(self.sockets.insert(number, (address, slot))),
            Entry::Stored(number, name) => drop(self.stored.insert(number, name)),
        }
    }

    /// The services of which everything is known.
    pub(crate) fn records(&self) -> Vec<Record> {
        let known = self.services.iter().filter_map(|(id, service)| {
            let (spec, life) = (service.spec.clone()?, service.life.clone()?);
            Some(Record { id: *id, spec, next: service.next.clone(), life })
        });
        known.collect()
    }

    /// Whether all main processes that a keeper holds are of lives that have begun as far as we know. Else what is written is
    /// behind: the last of it found no room.
    pub(crate) fn knows_mains(&self, held: &[(OwnedFd, Tag)]) -> bool {
        let records = self.records();
        let begun = |id: ServiceId, generation| {
            records.iter().any(|record| record.id == id && record.has_begun(generation))
        };
        held.iter().all(|(_, tag)| match tag {
            Tag::Child(key, _) => key.role != Role::Main || begun(key.service, key.generation),
            Tag::Output(..)
            | Tag::Writer(..)
            | Tag::Console(..)
            | Tag::ReadyPipe(..)
            | Tag::Notify(_)
            | Tag::Socket(_)
            | Tag::Scoreboard(..)
            | Tag::Begun(..)
            | Tag::Stored(..) => true,
        })
    }

    /// Whether somebody lives in the cgroup of the family.
    pub(crate) fn is_populated(&self) -> bool {
        let cgroup = self.head.as_ref().and_then(|head| head.cgroup.clone());
        cgroup.is_some_and(|path| Leaf::at(path).is_empty().is_ok_and(|empty| !empty))
    }

    /// Where the processes of a service are in the life that goes on.
    pub(crate) fn place(&self, id: ServiceId) -> Option<Place> {
        let (head, service) = (self.head.as_ref()?, self.services.get(&id)?);
        let life = service.life.as_ref()?;
        let earlier = service.place.clone().filter(|place| place.generation == life.generation);
        Some(earlier.unwrap_or_else(|| {
            let name = service.spec.as_ref().map(|spec| crate::cgroup::plain(&spec.name));
            let leaf = head.cgroup.as_ref().zip(name).map(|(family, name)| family.join(name));
            Place { generation: life.generation, token: head.token.clone(), leaf }
        }))
    }
}
