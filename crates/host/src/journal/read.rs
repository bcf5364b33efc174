//! A journal as the next supervisor reads it.

use super::line::next;
use super::{Head, Place};
use crate::cgroup::Leaf;
use crate::keeper::Tag;
use core::ops::Deref;
use doula_core::journal::Written as Told;
use doula_model::id::{ChildKey, ServiceId};
use doula_sys::fd::OwnedFd;

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Written {
    told: Told<Head, Place>,
    /// So many bytes at the end are not to be trusted.
    pub(crate) cut: usize,
}

impl Deref for Written {
    type Target = Told<Head, Place>;

    fn deref(&self) -> &Told<Head, Place> {
        &self.told
    }
}

impl Written {
    /// Reads up to the first line that is not whole.
    pub(crate) fn read(text: &[u8]) -> Written {
        let (mut told, mut rest) = (Told::default(), text);
        while let Some((entry, after)) = next(rest) {
            told.take(entry);
            rest = after;
        }
        Written { told, cut: rest.len() }
    }

    /// One of which nothing can be used.
    pub(crate) fn unreadable(cut: usize) -> Written {
        Written { cut, ..Written::default() }
    }

    /// Whether all main processes that a keeper holds are of lives that have begun as far as we know.
    pub(crate) fn knows_mains_of(&self, held: &[(OwnedFd, Tag)]) -> bool {
        self.told.knows_mains(held.iter().filter_map(|(_, tag)| child_of(tag)))
    }

    /// Whether somebody lives in the cgroup of the family, or in one of an earlier supervisor where a life went on.
    pub(crate) fn is_populated(&self) -> bool {
        let cgroup = self.head.as_ref().and_then(|head| head.cgroup.clone());
        let leaves = self.places().filter_map(|(_, place)| place.leaf.clone());
        cgroup.into_iter().chain(leaves).any(|path| Leaf::at(path).is_empty().is_ok_and(|empty| !empty))
    }

    /// Where the processes of a service are in the life that goes on.
    pub(crate) fn place_of(&self, id: ServiceId) -> Option<Place> {
        let (generation, spec, place) = self.told.place(id)?;
        let head = self.head.as_ref()?;
        Some(place.cloned().unwrap_or_else(|| {
            let name = spec.map(|spec| crate::cgroup::plain(&spec.name));
            let leaf = head.cgroup.as_ref().zip(name).map(|(family, name)| family.join(name));
            Place { generation, token: head.token.clone(), leaf }
        }))
    }
}

const fn child_of(tag: &Tag) -> Option<ChildKey> {
    match tag {
        Tag::Child(key, _) => Some(*key),
        Tag::Output(..)
        | Tag::Writer(..)
        | Tag::Console(..)
        | Tag::ReadyPipe(..)
        | Tag::Notify(_)
        | Tag::Socket(_)
        | Tag::Scoreboard(..)
        | Tag::Begun(..)
        | Tag::Stored(..) => None,
    }
}
