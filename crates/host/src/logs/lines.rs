//! Bytes into lines, however they are cut on their way.
//!
//! A pipe knows no lines: one read may end in the middle of one, or bring a hundred. Only the unfinished rest
//! of a line is kept, so that a service that says nothing costs no memory. A line that is longer than
//! [`MAX_LINE`] is passed on in pieces, never shortened.

/// The longest line that is passed on in one piece, in bytes without its newline. It bounds what a service
/// without newlines can make us hold.
pub const MAX_LINE: usize = 16 * 1024;

/// A line, or a piece of one that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// The bytes, without the newline.
    pub(crate) bytes: &'a [u8],
    /// It goes on where the piece before was cut.
    pub(crate) continued: bool,
    /// It is cut here; the next piece goes on.
    pub(crate) cut: bool,
}

/// Cuts one stream of bytes into lines.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    partial: Vec<u8>,
    continued: bool,
}

impl Splitter {
    /// One whose first line goes on where a longer one was cut, or not.
    pub(crate) fn going_on(continued: bool) -> Splitter {
        Splitter { partial: Vec::new(), continued }
    }

    /// What of a line is there and not given out, and whether it goes on where a longer one was cut; `None` between two lines.
    pub(crate) fn rest(&self) -> Option<(&[u8], bool)> {
        (!self.partial.is_empty() || self.continued).then_some((&self.partial, self.continued))
    }

    /// Takes the next bytes and gives out every line that they complete.
    pub(crate) fn feed(&mut self, mut rest: &[u8], mut emit: impl FnMut(Piece<'_>)) {
        while !rest.is_empty() {
            assert!(self.partial.len() <= MAX_LINE);
            let room = MAX_LINE - self.partial.len();
            // One byte more than fits: a newline there still ends a line of exactly the greatest length.
            let window = &rest[..rest.len().min(room + 1)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.emit(&rest[..end], false, &mut emit);
                rest = &rest[end + 1..];
            } else if window.len() > room {
                rest = self.cut(rest, room, &mut emit);
            } else {
                self.partial.extend_from_slice(rest);
                return;
            }
        }
    }

    /// The stream is at its end: gives out the last line if it had no newline.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(Piece<'_>)) {
        if !self.partial.is_empty() {
            self.emit(b"", false, &mut emit);
        }
    }

    fn emit(&mut self, tail: &[u8], cut: bool, emit: &mut impl FnMut(Piece<'_>)) {
        let continued = core::mem::replace(&mut self.continued, cut);
        if self.partial.is_empty() {
            return emit(Piece { bytes: tail, continued, cut });
        }
        // Taken, not cleared: the memory goes back until the next unfinished line.
        let mut line = core::mem::take(&mut self.partial);
        line.extend_from_slice(tail);
        emit(Piece { bytes: &line, continued, cut });
    }

    /// Gives out one full piece; returns what of `rest` is not used up.
    fn cut<'a>(&mut self, rest: &'a [u8], room: usize, emit: &mut impl FnMut(Piece<'_>)) -> &'a [u8] {
        if self.partial.is_empty() {
            let end = room - unfinished_char(&rest[..room]);
            self.emit(&rest[..end], true, emit);
            return &rest[end..];
        }
        self.partial.extend_from_slice(&rest[..room]);
        let end = self.partial.len() - unfinished_char(&self.partial);
        let begun = self.partial.split_off(end);
        self.emit(b"", true, emit);
        self.partial = begun;
        &rest[room..]
    }
}

/// How many bytes at the end are the beginning of a UTF-8 character whose rest is missing: 0 to 3.
fn unfinished_char(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let byte = bytes[bytes.len() - back];
        let length = match byte {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out, with the newlines put back and the number of pieces.
    fn through(chunks: &[&[u8]]) -> (Vec<u8>, Vec<(usize, bool, bool)>) {
        let (mut splitter, mut bytes, mut pieces) = (Splitter::default(), Vec::new(), Vec::new());
        let mut take = |piece: Piece<'_>| {
            bytes.extend_from_slice(piece.bytes);
            pieces.push((piece.bytes.len(), piece.continued, piece.cut));
            if !piece.cut {
                bytes.push(b'\n');
            }
        };
        for chunk in chunks {
            splitter.feed(chunk, &mut take);
        }
        splitter.finish(&mut take);
        assert!(splitter.partial.is_empty());
        (bytes, pieces)
    }

    #[test]
    fn a_line_torn_at_any_byte_comes_out_whole() {
        let text = "first\n\nzwölf Boxkämpfer\nlast\n".as_bytes();
        for cut in 0..=text.len() {
            let (bytes, pieces) = through(&[&text[..cut], &text[cut..]]);
            assert_eq!((bytes.as_slice(), pieces.len()), (text, 4), "cut at {cut}");
        }
    }

    #[test]
    fn a_last_line_without_newline_is_not_lost() {
        assert_eq!(through(&[b"a\nb"]).0, b"a\nb\n");
        assert_eq!(through(&[b""]).0, b"");
    }

    #[test]
    fn a_line_of_exactly_the_greatest_length_is_one_piece() {
        let line = [vec![b'x'; MAX_LINE], vec![b'\n']].concat();
        assert_eq!(through(&[&line]).1, [(MAX_LINE, false, false)]);
        assert_eq!(through(&[&line[..MAX_LINE], b"\n"]).1, [(MAX_LINE, false, false)]);
    }

    #[test]
    fn a_longer_line_is_cut_into_marked_pieces() {
        let line = [vec![b'x'; MAX_LINE + 1], b"\nnext\n".to_vec()].concat();
        let expected = [(MAX_LINE, false, true), (1, true, false), (4, false, false)];
        assert_eq!(through(&[&line]).1, expected);
        assert_eq!(through(&[&line[..5], &line[5..]]).1, expected);
    }

    #[test]
    fn a_character_is_never_cut() {
        let line = "€".repeat(MAX_LINE);
        for start in [0, 1, 2, 5] {
            let mut splitter = Splitter::default();
            let mut check = |piece: Piece<'_>| assert!(core::str::from_utf8(piece.bytes).is_ok());
            splitter.feed(&line.as_bytes()[..start], &mut check);
            splitter.feed(&line.as_bytes()[start..], &mut check);
            splitter.finish(&mut check);
        }
    }

    proptest! {
        #[test]
        fn bytes_in_are_bytes_out_for_any_chunking(
            parts in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    (0usize..3 * MAX_LINE).prop_map(|length| vec![0xe2; length]),
                    (0usize..MAX_LINE).prop_map(|length| vec![b'a'; length]),
                    Just(b"\n".to_vec()),
                ],
                0..12,
            ),
        ) {
            let chunks: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let (bytes, pieces) = through(&chunks);
            let mut expected = parts.concat();
            if expected.last().is_some_and(|byte| *byte != b'\n') {
                expected.push(b'\n');
            }
            prop_assert_eq!(bytes, expected);
            prop_assert!(pieces.iter().all(|(length, _, _)| *length <= MAX_LINE));
        }
    }
}
