//! Frames: four bytes of length, little-endian, then that many bytes.

use alloc::vec::Vec;
use core::fmt;

/// The bytes of the length.
const HEADER: usize = 4;

/// Bytes that were read are moved to the front of the buffer only after this many, so that each is moved
/// once and not with every frame.
const COMPACT_AFTER: usize = 64 << 10;

/// A frame that says it is longer than allowed. The stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Adds what `write` writes as one frame to the end of `to`. If it fails nothing is added.
///
/// # Errors
/// `Some`: the message is longer than `limit`; `None`: it could not be written.
pub fn put(
    limit: u32,
    to: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> bool,
) -> Result<(), Option<TooLong>> {
    let start = to.len();
    to.extend_from_slice(&[0; HEADER]);
    let written = write(to);
    let length = u32::try_from(to.len() - start - HEADER).unwrap_or(u32::MAX);
    if written && length <= limit {
        to[start..start + HEADER].copy_from_slice(&length.to_le_bytes());
        return Ok(());
    }
    to.truncate(start);
    Err(written.then_some(TooLong { length, limit }))
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of {} bytes is longer than the limit of {}", self.length, self.limit)
    }
}

impl core::error::Error for TooLong {}
