//! Frames: four bytes of length, little-endian, then that many bytes of JSON.

use doula_core::talk;
use serde::Serialize;
use std::io;

pub use doula_core::talk::{Frames, TooLong};

/// Adds a message as one frame to the end of `to`. If it fails nothing is added.
///
/// # Errors
/// The message is longer than `limit` ([`io::ErrorKind::InvalidData`]), or cannot be written as JSON.
pub fn encode(message: &impl Serialize, limit: u32, to: &mut Vec<u8>) -> io::Result<()> {
    let mut failure = None;
    let put = talk::put(limit, to, |to| {
        serde_json::to_writer(to, message).map_err(|error| failure = Some(error)).is_ok()
    });
    put.map_err(|too_long| match (too_long, failure) {
        (Some(too_long), _) => io::Error::new(io::ErrorKind::InvalidData, too_long),
        (None, Some(failure)) => io::Error::from(failure),
        (None, None) => io::ErrorKind::InvalidData.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bytes of the length.
    const HEADER: usize = 4;

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
