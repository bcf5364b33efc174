//! Frames: four bytes of length, little-endian, then that many bytes of JSON.

use serde::Serialize;
use std::io;

/// The bytes of the length.
const HEADER: usize = 4;

/// Bytes that were read are moved to the front of the buffer only after this many, so that each is moved
/// once and not with every frame.
const COMPACT_AFTER: usize = 64 << 10;

/// A frame that says it is longer than allowed. The stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is longer than the limit of {limit}")]
pub struct TooLong {
    /// What it says.
    pub length: u32,
    /// What is allowed.
    pub limit: u32,
}

/// Bytes that arrived and are not yet whole frames.
#[derive(Debug)]
pub struct Frames {
    bytes: Vec<u8>,
    taken: usize,
    limit: u32,
}

impl Frames {
    /// An empty buffer for frames of at most `limit` bytes.
    pub fn new(limit: u32) -> Frames {
        Frames { bytes: Vec::new(), taken: 0, limit }
    }

    /// Adds what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole frame, without its length; `None` until more bytes arrive.
    ///
    /// # Errors
    /// The length at the front is more than the limit. It stays there: every further call fails too.
    pub fn take(&mut self) -> Result<Option<&[u8]>, TooLong> {
        self.compact();
        let Some((header, rest)) = self.bytes[self.taken..].split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header);
        if length > self.limit {
            return Err(TooLong { length, limit: self.limit });
        }
        if rest.len() < length as usize {
            return Ok(None);
        }
        let start = self.taken + HEADER;
        self.taken = start + length as usize;
        Ok(Some(&self.bytes[start..self.taken]))
    }

    /// The bytes that wait here.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// How many bytes wait here.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.taken
    }

    fn compact(&mut self) {
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.taken >= COMPACT_AFTER {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > COMPACT_AFTER {
            self.bytes = Vec::new();
        }
    }
}

/// Adds a message as one frame to the end of `to`. If it fails nothing is added.
///
/// # Errors
/// The message is longer than `limit` ([`io::ErrorKind::InvalidData`]), or cannot be written as JSON.
pub fn encode(message: &impl Serialize, limit: u32, to: &mut Vec<u8>) -> io::Result<()> {
    let start = to.len();
    to.extend_from_slice(&[0; HEADER]);
    let written = serde_json::to_writer(&mut *to, message).map_err(io::Error::from);
    let length = to.len() - start - HEADER;
    let fits = written.and_then(|()| match u32::try_from(length) {
        Ok(length) if length <= limit => Ok(length),
        Ok(length) => Err(io::Error::new(io::ErrorKind::InvalidData, TooLong { length, limit })),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, TooLong { length: u32::MAX, limit })),
    });
    match fits {
        Ok(length) => to[start..start + HEADER].copy_from_slice(&length.to_le_bytes()),
        Err(_) => to.truncate(start),
    }
    fits.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_comes_out_as_it_went_in_however_it_is_cut() {
        let mut wire = Vec::new();
        encode(&"first", 100, &mut wire).expect("fits");
        encode(&[1, 2, 3], 100, &mut wire).expect("fits");
        for size in 1..=wire.len() {
            let mut frames = Frames::new(100);
            let mut seen = Vec::new();
            for piece in wire.chunks(size) {
                frames.push(piece);
                while let Some(frame) = frames.take().expect("short frames") {
                    seen.push(String::from_utf8_lossy(frame).into_owned());
                }
            }
            assert_eq!(seen, ["\"first\"", "[1,2,3]"], "pieces of {size} bytes");
            assert_eq!(frames.pending(), 0);
        }
    }

    #[test]
    fn a_message_over_the_limit_is_neither_sent_nor_waited_for() {
        let mut wire = vec![7];
        assert!(encode(&"12345678", 9, &mut wire).is_err());
        assert_eq!(wire, [7]);
        let mut frames = Frames::new(9);
        frames.push(&10_u32.to_le_bytes());
        assert_eq!(frames.take(), Err(TooLong { length: 10, limit: 9 }));
        frames.push(b"more");
        assert!(frames.take().is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_or_refused_and_no_frame_is_over_the_limit(
            pieces in prop::collection::vec(prop::collection::vec(0_u8..4, 0..40), 0..40)
        ) {
            let mut frames = Frames::new(300);
            let total: usize = pieces.iter().map(Vec::len).sum();
            let mut cut = 0;
            'stream: for piece in &pieces {
                frames.push(piece);
                loop {
                    match frames.take() {
                        Ok(Some(frame)) => {
                            prop_assert!(frame.len() <= 300);
                            cut += frame.len() + HEADER;
                        }
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
            prop_assert!(cut + frames.pending() <= total);
        }
    }
}
