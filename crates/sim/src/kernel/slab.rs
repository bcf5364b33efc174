//! A table whose rows have numbers that stay: rows are found by index, and a freed index is given out again.
//!
//! Two tables are equal when the same rows stand at the same numbers; which free number comes next is no
//! part of what they say.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;
use core::ops::{Index, IndexMut};

/// A number of a row. One type for each table, so that they cannot be confused.
pub(crate) trait Key: Copy {
    /// From a position.
    fn from_index(index: u32) -> Self;
    /// To a position.
    fn index(self) -> usize;
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);
        impl Key for $name {
            fn from_index(index: u32) -> $name { $name(index) }
            fn index(self) -> usize { self.0 as usize }
        }
    )*};
}

keys! {
    /// A task: one thread. The number is given out again after the task is gone.
    TaskId;
    /// A process: all its threads together.
    ProcessId;
    /// What a process number names (`struct pid`): it lives longer than the process, as a group or session.
    PidId;
    /// A PID namespace.
    SpaceId;
    /// A table of descriptors.
    FilesId;
    /// An open file description.
    OpenId;
    /// A pipe.
    PipeId;
    /// A file of the disk.
    NodeId;
    /// An address space.
    MemoryId;
    /// A shared mapping.
    ObjectId;
    /// A page of the machine.
    FrameId;
    /// A control group.
    CgroupId;
    /// A terminal.
    TerminalId;
    /// A socket that listens.
    SocketId;
    /// Two sockets that are connected.
    PairId;
}

impl CgroupId {
    /// The group of the machine as a whole.
    pub const ROOT: CgroupId = CgroupId(0);

    /// The group with this number: that of the root is 0.
    pub const fn numbered(number: u32) -> CgroupId {
        CgroupId(number)
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Slab<K, T> {
    rows: Vec<Option<T>>,
    free: Vec<u32>,
    key: PhantomData<K>,
}

impl<K, T> Default for Slab<K, T> {
    fn default() -> Slab<K, T> {
        Slab { rows: Vec::new(), free: Vec::new(), key: PhantomData }
    }
}

impl<K: Key, T> Slab<K, T> {
    pub(crate) fn insert(&mut self, row: T) -> K {
        let index = self.free.pop().unwrap_or(self.rows.len() as u32);
        match self.rows.get_mut(index as usize) {
            Some(place) => *place = Some(row),
            None => self.rows.push(Some(row)),
        }
        K::from_index(index)
    }

    pub(crate) fn remove(&mut self, key: K) -> T {
        self.free.push(key.index() as u32);
        self.rows[key.index()].take().expect("a row is removed once")
    }

    #[inline]
    pub(crate) fn get(&self, key: K) -> Option<&T> {
        self.rows.get(key.index())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.rows.get_mut(key.index())?.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        let rows = self.rows.iter().enumerate();
        rows.filter_map(|(index, row)| Some((K::from_index(index as u32), row.as_ref()?)))
    }

    /// All numbers up to the highest that was ever in use, also free ones; rows may be changed while they are gone
    /// through.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = K> + use<K, T> {
        (0..self.rows.len() as u32).map(K::from_index)
    }
}

impl<K: Key, T> Index<K> for Slab<K, T> {
    type Output = T;
    #[inline]
    fn index(&self, key: K) -> &T {
        self.rows[key.index()].as_ref().expect("the key of a row that is there")
    }
}

impl<K: Key, T> IndexMut<K> for Slab<K, T> {
    #[inline]
    fn index_mut(&mut self, key: K) -> &mut T {
        self.rows[key.index()].as_mut().expect("the key of a row that is there")
    }
}

impl<K: Key, T: PartialEq> PartialEq for Slab<K, T> {
    fn eq(&self, other: &Slab<K, T>) -> bool {
        let (mut one, mut two) = (self.rows.iter(), other.rows.iter());
        loop {
            match (one.next(), two.next()) {
                (None, None) => return true,
                // A row that was never there and one that is gone are the same.
                (a, b) if a.unwrap_or(&None) != b.unwrap_or(&None) => return false,
                _ => {}
            }
        }
    }
}

impl<K: Key, T: Eq> Eq for Slab<K, T> {}

impl<K: Key, T: Hash> Hash for Slab<K, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (key, row) in self.iter() {
            key.index().hash(state);
            row.hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_number_is_given_out_again_and_equality_looks_at_rows_only() {
        let mut one: Slab<TaskId, char> = Slab::default();
        let (a, b) = (one.insert('a'), one.insert('b'));
        let mut two = Slab::default();
        let a2 = two.insert('a');
        assert_ne!(one, two);
        assert_eq!(one.remove(b), 'b');
        assert_eq!(one, two, "a trailing empty row is no row");
        assert_eq!(one.insert('c'), b);
        assert_eq!((one[a], one.get(b)), ('a', Some(&'c')));
        assert_eq!(one.numbers().filter_map(|key| one.get(key)).count(), 2);
        assert_eq!(a, a2);
    }
}
