//! The kernel's types (`/sys/kernel/btf/vmlinux`, Documentation/bpf/btf.rst): where a member of a structure stands.
//!
//! One pass finds the structures and functions that are asked for by name; members are followed from there. Absent on purpose: all
//! else that BTF can tell.

/// What a type is (`BTF_KIND_*`).
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const PTR: u32 = 2;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const RESTRICT: u32 = 11;
    pub(super) const FUNC: u32 = 12;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const FLOAT: u32 = 16;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

const MAGIC: u32 = 0xeb9f;
/// Bytes of a type without what follows it, and of a member.
const TYPE: usize = 12;
const MEMBER: usize = 12;
/// Typedefs, qualifiers and anonymous structures within each other.
const DEEPEST: usize = 16;

/// Types between two whose begin is kept.
const STRIDE: usize = 32;

/// The types, and where they begin.
pub(super) struct Btf<'a> {
    bytes: &'a [u8],
    strings: usize,
    /// Where every [`STRIDE`]th type begins, by number; that of 0 is void. The kernel has more than a hundred thousand types, of which
    /// some dozens are looked at.
    begins: Vec<u32>,
    end: usize,
    /// Structures and functions that were asked for, in that order.
    named: Vec<Option<u32>>,
}

/// A part of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In bytes from its begin.
    pub(super) offset: u32,
    /// What stands there.
    pub(super) kind: u32,
}

impl<'a> Btf<'a> {
    /// Reads the types; `None` for what is none, or of a later format. `structures` and `functions` are to be found by name.
    pub(super) fn read(bytes: &'a [u8], structures: &[&str], functions: &[&str]) -> Option<Btf<'a>> {
        let header = |at: usize| word(bytes, at);
        if header(0)? & 0xffff != MAGIC {
            return None;
        }
        let base = header(4)? as usize;
        let (begin, length) = (base.checked_add(header(8)? as usize)?, header(12)? as usize);
        let strings = base.checked_add(header(16)? as usize)?;
        let end = begin.checked_add(length).filter(|end| *end <= bytes.len() && strings <= bytes.len())?;
        let mut btf = Btf {
            bytes,
            strings,
            begins: Vec::with_capacity(length / TYPE / STRIDE + 1),
            end,
            named: vec![None; structures.len() + functions.len()],
        };
        let (mut at, mut number) = (begin, 1);
        while at < end {
            if number % STRIDE == 1 {
                btf.begins.push(at as u32);
            }
            btf.look_at_name(at, number as u32, structures, functions)?;
            at = btf.after(at)?;
            number += 1;
        }
        Some(btf)
    }

    /// Keeps the number of a type that was asked for.
    fn look_at_name(
        &mut self,
        at: usize,
        number: u32,
        structures: &[&str],
        functions: &[&str],
    ) -> Option<()> {
        let (names, before) = match self.kind(at)? {
            kind::STRUCT => (structures, 0),
            kind::FUNC => (functions, structures.len()),
            _ => return Some(()),
        };
        // One look at its first letter spares most comparisons.
        let first = self.name(at)?.first();
        let is_it = |name: &&str| first == name.as_bytes().first() && self.is_called(at, name);
        if let Some(found) = names.iter().position(is_it) {
            self.named[before + found].get_or_insert(number);
        }
        Some(())
    }

    /// The number of a structure or function, by its place among those that were asked for.
    pub(super) fn named(&self, at: usize) -> Option<u32> {
        self.named.get(at).copied().flatten()
    }

    /// Where a path such as `pids[2]` or `thread_info.cpu` leads in a structure. No pointer is followed.
    pub(super) fn place(&self, structure: u32, path: &str) -> Option<Place> {
        let mut place = Place { offset: 0, kind: structure };
        for step in path.split('.') {
            let (name, index) = match step.split_once('[') {
                Some((name, index)) => (name, Some(index.strip_suffix(']')?.parse::<u32>().ok()?)),
                None => (step, None),
            };
            let member = self.member(self.plain(place.kind)?, name, 0)?;
            place = Place { offset: place.offset.checked_add(member.offset)?, kind: member.kind };
            if let Some(index) = index {
                let at = self.at(self.plain(place.kind)?).filter(|at| self.kind(*at) == Some(kind::ARRAY))?;
                let element = word(self.bytes, at + TYPE)?;
                let skipped = index.checked_mul(self.size(element)?)?;
                place = Place { offset: place.offset.checked_add(skipped)?, kind: element };
            }
        }
        Some(place)
    }

    /// What a pointer points to.
    pub(super) fn behind(&self, pointer: u32) -> Option<u32> {
        let at = self.at(self.plain(pointer)?).filter(|at| self.kind(*at) == Some(kind::PTR))?;
        self.plain(word(self.bytes, at + 8)?)
    }

    /// In bytes.
    pub(super) fn size(&self, number: u32) -> Option<u32> {
        let mut count: u32 = 1;
        let mut number = self.plain(number)?;
        for _ in 0..DEEPEST {
            let at = self.at(number)?;
            let own = match self.kind(at)? {
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                    word(self.bytes, at + 8)?
                }
                kind::PTR => 8,
                kind::ARRAY => {
                    count = count.checked_mul(word(self.bytes, at + TYPE + 8)?)?;
                    number = self.plain(word(self.bytes, at + TYPE)?)?;
                    continue;
                }
                _ => return None,
            };
            return own.checked_mul(count);
        }
        None
    }

    fn member(&self, structure: u32, name: &str, depth: usize) -> Option<Place> {
        let at = self.at(structure)?;
        let is_whole = matches!(self.kind(at)?, kind::STRUCT | kind::UNION);
        if !is_whole || depth > DEEPEST {
            return None;
        }
        let info = word(self.bytes, at + 4)?;
        // With this bit, the upper byte of an offset is the width of a bit field.
        let bits = if info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
        for number in 0..(info & 0xffff) as usize {
            let member = at + TYPE + number * MEMBER;
            let (kind, offset) = (word(self.bytes, member + 4)?, (word(self.bytes, member + 8)? & bits) / 8);
            if self.is_called(member, name) {
                return Some(Place { offset, kind });
            }
            if word(self.bytes, member)? == 0 {
                let inner = self.plain(kind).and_then(|inner| self.member(inner, name, depth + 1));
                if let Some(inner) = inner {
                    return Some(Place { offset: offset.checked_add(inner.offset)?, kind: inner.kind });
                }
            }
        }
        None
    }

    /// A type without other names and qualifiers.
    fn plain(&self, mut number: u32) -> Option<u32> {
        for _ in 0..DEEPEST {
            let at = self.at(number)?;
            match self.kind(at)? {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    number = word(self.bytes, at + 8)?;
                }
                _ => return Some(number),
            }
        }
        None
    }

    fn at(&self, number: u32) -> Option<usize> {
        let before = (number as usize).checked_sub(1)?;
        let mut at = *self.begins.get(before / STRIDE)? as usize;
        for _ in 0..before % STRIDE {
            at = self.after(at)?;
        }
        (at < self.end).then_some(at)
    }

    /// Where the next type begins.
    fn after(&self, at: usize) -> Option<usize> {
        at.checked_add(TYPE + self.tail(at)?)
    }

    fn kind(&self, at: usize) -> Option<u32> {
        Some(word(self.bytes, at + 4)? >> 24 & 0x1f)
    }

    /// How many bytes follow a type.
    fn tail(&self, at: usize) -> Option<usize> {
        let count = (word(self.bytes, at + 4)? & 0xffff) as usize;
        match self.kind(at)? {
            kind::INT | kind::VAR | kind::DECL_TAG => Some(4),
            kind::ARRAY => Some(12),
            kind::STRUCT | kind::UNION => Some(count * MEMBER),
            kind::ENUM | kind::FUNC_PROTO => Some(count * 8),
            kind::DATASEC | kind::ENUM64 => Some(count * 12),
            kind::PTR..=kind::TYPE_TAG => Some(0),
            _ => None,
        }
    }

    fn is_called(&self, at: usize, name: &str) -> bool {
        let text = self.name(at);
        text.is_some_and(|text| text.starts_with(name.as_bytes()) && text.get(name.len()) == Some(&0))
    }

    /// The name of a type or member, and all that follows.
    fn name(&self, at: usize) -> Option<&'a [u8]> {
        self.bytes.get(self.strings.checked_add(word(self.bytes, at)? as usize)?..)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Types as words, and strings: `int`, `struct inner { int a; int b; }`, and an outer one.
    fn blob() -> Vec<u8> {
        let strings = b"\0int\0inner\0a\0b\0outer\0list\0next\0walk\0";
        let name = |text: &str| {
            let with_nul = [b"\0", text.as_bytes(), b"\0"].concat();
            strings.windows(with_nul.len()).position(|part| part == with_nul).expect("a name") as u32 + 1
        };
        let kind = |kind: u32, count: u32| kind << 24 | count;
        let types = [
            // 1: int, 2: struct inner, 3: inner[4], 4: struct outer *, 5: const outer *, 7: what is anonymous.
            vec![name("int"), kind(kind::INT, 0), 4, 32],
            [vec![name("inner"), kind(kind::STRUCT, 2), 8], vec![name("a"), 1, 0, name("b"), 1, 32]].concat(),
            vec![0, kind(kind::ARRAY, 0), 0, 2, 1, 4],
            vec![0, kind(kind::PTR, 0), 6],
            vec![0, kind(kind::CONST, 0), 4],
            [
                vec![name("outer"), kind(kind::STRUCT, 3), 48],
                vec![0, 7, 0, name("next"), 5, 64, name("list"), 3, 128],
            ]
            .concat(),
            [vec![0, kind(kind::UNION, 1), 8], vec![name("b"), 1, 0]].concat(),
            vec![name("walk"), kind(kind::FUNC, 0), 0],
        ]
        .concat();
        let length = types.len() as u32 * 4;
        let header = [MAGIC | 1 << 16, 24, 0, length, length, strings.len() as u32];
        let words = header.into_iter().chain(types).flat_map(u32::to_ne_bytes);
        words.chain(strings.iter().copied()).collect()
    }

    #[test]
    fn members_are_found_through_anonymous_parts_arrays_and_qualified_pointers() {
        let blob = blob();
        let btf = Btf::read(&blob, &["outer", "absent"], &["walk"]).expect("types");
        let outer = btf.named(0).expect("outer");
        assert_eq!((btf.named(1), btf.named(2)), (None, Some(8)));
        let offset = |path: &str| btf.place(outer, path).map(|place| place.offset);
        assert_eq!((offset("b"), offset("next"), offset("list[3].b")), (Some(0), Some(8), Some(44)));
        assert_eq!(
            (offset("c"), offset("b[0]"), offset("list[x]"), offset("next.b")),
            (None, None, None, None)
        );
        let next = btf.place(outer, "next").expect("a pointer");
        assert_eq!(
            (btf.behind(next.kind), btf.size(next.kind), btf.size(outer)),
            (Some(outer), Some(8), Some(48))
        );
        let list = btf.place(outer, "list").expect("an array");
        assert_eq!((btf.size(list.kind), btf.behind(list.kind)), (Some(32), None));
    }

    #[test]
    fn a_kind_of_a_later_format_and_bytes_that_are_cut_are_refused() {
        let mut later = blob();
        later[24 + 7] = 0x1f;
        assert!(Btf::read(&later, &[], &[]).is_none());
        for length in 0..blob().len() - 40 {
            assert!(Btf::read(&blob()[..length], &[], &[]).is_none(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_change_of_a_byte_makes_it_panic(at in 0..300_usize, byte in any::<u8>()) {
            let mut bytes = blob();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(btf) = Btf::read(&bytes, &["outer"], &["walk"]) {
                let _ = btf.named(0).map(|outer| (btf.place(outer, "list[3].b"), btf.place(outer, "c"), btf.size(outer)));
            }
        }
    }
}
