//! How a word and its bytes go over a socket: the length of each in four bytes, then the word as JSON, then the bytes as they are.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// Nobody of ours sends more at once.
const MOST: usize = 1 << 30;

/// One message, ready to be written.
pub(crate) fn frame(word: &impl Serialize, body: &[u8]) -> io::Result<Vec<u8>> {
    let head = serde_json::to_vec(word)?;
    let length = |bytes: usize| {
        let length = u32::try_from(bytes).ok().filter(|_| bytes <= MOST);
        length.ok_or_else(|| io::Error::other(format!("{bytes} bytes are too many for one message")))
    };
    let mut frame = Vec::with_capacity(8 + head.len() + body.len());
    frame.extend_from_slice(&length(head.len())?.to_le_bytes());
    frame.extend_from_slice(&length(body.len())?.to_le_bytes());
    frame.extend_from_slice(&head);
    frame.extend_from_slice(body);
    Ok(frame)
}

/// What was read, in pieces of any size, and not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    taken: usize,
}

impl Frames {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it is here.
    pub(crate) fn next<W: DeserializeOwned>(&mut self) -> io::Result<Option<(W, Vec<u8>)>> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((head, rest)) = length(rest) else { return Ok(None) };
        let Some((body, rest)) = length(rest) else { return Ok(None) };
        if head > MOST || body > MOST {
            return Err(io::Error::other("a message is longer than any that is sent"));
        }
        let (Some(word), Some(bytes)) = (rest.get(..head), rest.get(head..head + body)) else {
            return Ok(None);
        };
        let message = (serde_json::from_slice(word)?, bytes.to_vec());
        self.taken += 8 + head + body;
        Ok(Some(message))
    }
}

fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*length)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_in_whatever_pieces_they_are_read() {
        let sent = [("one", b"body".to_vec()), ("two", Vec::new()), ("three", vec![0; 999])];
        let bytes: Vec<u8> = sent.iter().flat_map(|(word, body)| frame(word, body).expect("short")).collect();
        for piece in [1, 7, 4096] {
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            for part in bytes.chunks(piece) {
                frames.push(part);
                while let Some((word, body)) = frames.next::<String>().expect("messages") {
                    got.push((word, body));
                }
            }
            assert!(
                got.iter()
                    .map(|(word, body)| (word.as_str(), body))
                    .eq(sent.iter().map(|(word, body)| (*word, body)))
            );
        }
    }

    #[test]
    fn what_is_no_message_is_an_error_and_not_waited_for() {
        let mut frames = Frames::default();
        frames.push(&[0xff; 8]);
        assert!(frames.next::<String>().is_err());
        let mut frames = Frames::default();
        frames.push(&[2, 0, 0, 0, 0, 0, 0, 0, b'{', b'{']);
        assert!(frames.next::<String>().is_err());
    }
}
