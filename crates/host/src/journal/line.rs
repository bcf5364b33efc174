//! A line of a journal: eight digits of a checksum, a blank, and words in JSON.
//!
//! What is torn, or was damaged later, is not taken for something else: its checksum is wrong.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The digits of the checksum, and the blank.
const SUM: usize = 9;

/// Appends a line.
pub(crate) fn put(text: &mut Vec<u8>, entry: &impl Serialize) {
    let start = text.len();
    text.extend(b"00000000 ");
    // Words and numbers only: there is nothing in an entry that JSON could not say.
    if serde_json::to_writer(&mut *text, entry).is_err() {
        return text.truncate(start);
    }
    let sum = format!("{:08x}", checksum(&text[start + SUM..]));
    text[start..start + SUM - 1].copy_from_slice(sum.as_bytes());
    text.push(b'\n');
}

/// The next line if it is whole, and what is behind it.
pub(crate) fn next<T: DeserializeOwned>(text: &[u8]) -> Option<(T, &[u8])> {
    let end = text.iter().position(|byte| *byte == b'\n')?;
    Some((parse(&text[..end])?, &text[end + 1..]))
}

/// What a line without its end says, if it is whole.
pub(crate) fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (sum, json) = line.split_at_checked(SUM)?;
    let sum = sum.strip_suffix(b" ").and_then(|digits| std::str::from_utf8(digits).ok())?;
    let right = u32::from_str_radix(sum, 16).ok()? == checksum(json);
    right.then(|| serde_json::from_slice(json).ok())?
}

/// What a line says after its checksum, whole or not.
pub(crate) fn words(line: &[u8]) -> &[u8] {
    line.get(SUM..).unwrap_or_default()
}

/// CRC-32 as in gzip.
fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
