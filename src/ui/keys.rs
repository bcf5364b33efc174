//! What was typed at a terminal in raw mode, as keys: the sequences that xterm and its likes send (ctlseqs).
//!
//! A sequence can come in pieces: what is not whole yet is kept until more comes. An Escape that nothing follows is a key.

/// One key, or one movement of the mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// A character.
    Char(char),
    /// A letter together with Ctrl.
    Ctrl(char),
    Enter,
    Escape,
    Tab,
    BackTab,
    Backspace,
    Delete,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// F1 and so on.
    Function(u8),
    /// The left button, at this column and row from 0.
    Click(u16, u16),
    /// The wheel: up or down.
    Wheel(bool),
}

/// Takes keys out of bytes.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    waiting: Vec<u8>,
}

/// No sequence that means anything is longer.
const LONGEST: usize = 32;

impl Keys {
    /// The keys that are whole with these bytes.
    pub(crate) fn typed(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.waiting.extend_from_slice(bytes);
        let (mut keys, mut at) = (Vec::new(), 0);
        while let Some((key, length)) = first(&self.waiting[at..]) {
            at += length;
            keys.extend(key);
        }
        self.waiting.drain(..at);
        if self.waiting.len() > LONGEST {
            self.waiting.clear();
        }
        keys
    }

    /// Whether bytes wait for more.
    pub(crate) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nothing more comes: an Escape was a key, and other pieces mean nothing.
    pub(crate) fn give_up(&mut self) -> Option<Key> {
        let was_escape = self.waiting == b"\x1b";
        self.waiting.clear();
        was_escape.then_some(Key::Escape)
    }
}

/// The first key (nothing for what means nothing) with its length; `None` when more must come.
fn first(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    match *bytes.first()? {
        0x1b => sequence(bytes),
        b'\r' | b'\n' => Some((Some(Key::Enter), 1)),
        b'\t' => Some((Some(Key::Tab), 1)),
        0x7f | 0x08 => Some((Some(Key::Backspace), 1)),
        byte @ 1..=26 => Some((Some(Key::Ctrl(char::from(byte - 1 + b'a'))), 1)),
        byte if byte < b' ' => Some((None, 1)),
        byte => character(bytes, byte),
    }
}

/// A character of UTF-8.
fn character(bytes: &[u8], begin: u8) -> Option<(Option<Key>, usize)> {
    let length = match begin {
        0..0x80 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf8 => 4,
        _ => return Some((None, 1)),
    };
    let text = std::str::from_utf8(bytes.get(..length)?).ok();
    Some((text.and_then(|text| text.chars().next()).map(Key::Char), length))
}

/// What begins with Escape.
fn sequence(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    match bytes.get(1)? {
        b'[' => {
            let end = 2 + bytes[2..].iter().position(|byte| matches!(byte, b'@'..=b'~'))?;
            Some((control(&bytes[2..end], bytes[end]), end + 1))
        }
        b'O' => Some((letter(*bytes.get(2)?), 3)),
        0x1b => Some((Some(Key::Escape), 1)),
        // Alt and a key look like Escape and a key that came at once, as on a busy machine or a slow line: whoever pressed Escape
        // must not have the next keys taken by what he wanted to leave.
        _ => Some((Some(Key::Escape), 1)),
    }
}

fn letter(letter: u8) -> Option<Key> {
    Some(match letter {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        b'P'..=b'S' => Key::Function(letter - b'P' + 1),
        b'Z' => Key::BackTab,
        _ => return None,
    })
}

fn control(arguments: &[u8], end: u8) -> Option<Key> {
    if let Some(mouse) = arguments.strip_prefix(b"<") {
        return pointed(mouse, end);
    }
    if end != b'~' {
        return letter(end);
    }
    let number = std::str::from_utf8(arguments).ok()?.split(';').next()?.parse::<u8>().ok()?;
    Some(match number {
        1 | 7 => Key::Home,
        3 => Key::Delete,
        4 | 8 => Key::End,
        5 => Key::PageUp,
        6 => Key::PageDown,
        11..=15 => Key::Function(number - 10),
        17..=21 => Key::Function(number - 11),
        23 | 24 => Key::Function(number - 12),
        _ => return None,
    })
}

/// A report of the mouse in its newer form (1006): `button;column;row`, `M` for pressed.
fn pointed(report: &[u8], end: u8) -> Option<Key> {
    let mut numbers = std::str::from_utf8(report).ok()?.split(';').map(str::parse::<u16>);
    let mut next = || numbers.next()?.ok();
    let (button, column, row) = (next()?, next()?, next()?);
    match (button, end) {
        (0, b'M') => Some(Key::Click(column.saturating_sub(1), row.saturating_sub(1))),
        (64, _) => Some(Key::Wheel(true)),
        (65, _) => Some(Key::Wheel(false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: &[u8] = b"q\x03\x1b[A\x1b[5~\x1bOP\x1b[15~\x1b[<0;10;3M\x1b[<65;1;1M\r\x7f\xec\x95\x88\x1b[Z";

    fn expected() -> Vec<Key> {
        let (up, page) = (Key::Up, Key::PageUp);
        let (one, five) = (Key::Function(1), Key::Function(5));
        let (click, wheel) = (Key::Click(9, 2), Key::Wheel(false));
        let rest = [Key::Enter, Key::Backspace, Key::Char('안'), Key::BackTab];
        [&[Key::Char('q'), Key::Ctrl('c'), up, page, one, five, click, wheel][..], &rest].concat()
    }

    #[test]
    fn keys_are_the_same_in_one_piece_and_byte_by_byte() {
        assert_eq!(Keys::default().typed(ALL), expected());
        let mut keys = Keys::default();
        let slowly: Vec<Key> = ALL.iter().flat_map(|byte| keys.typed(&[*byte])).collect();
        assert_eq!(slowly, expected());
    }

    #[test]
    fn an_escape_is_a_key_when_nothing_follows() {
        let mut keys = Keys::default();
        assert_eq!(keys.typed(b"\x1b"), []);
        assert!(keys.are_waiting());
        assert_eq!(keys.give_up(), Some(Key::Escape));
        assert_eq!(keys.typed(b"\x1b\x1b"), [Key::Escape]);
        assert_eq!(keys.typed(b"["), []);
        assert_eq!(keys.give_up(), None);
    }

    #[test]
    fn an_escape_with_the_next_key_right_behind_it_is_both() {
        assert_eq!(Keys::default().typed(b"\x1bk\r"), [Key::Escape, Key::Char('k'), Key::Enter]);
        assert_eq!(Keys::default().typed(b"\x1b\xec\x95\x88"), [Key::Escape, Key::Char('안')]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_remember_much(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut keys = Keys::default();
            keys.typed(&bytes);
            prop_assert!(keys.waiting.len() <= LONGEST);
        }
    }
}
