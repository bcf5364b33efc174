//! How records look: times, tags, and bytes that are safe for a terminal.
//!
//! A service may write anything. On a terminal no control byte of it gets through, except colours (SGR
//! sequences) if they are wanted: whoever reads a log must not be deceived, and their terminal must not be
//! reprogrammed. Files and pipes get the bytes as they are.

use core::time::Duration;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io::Write as _;

/// The longest SGR sequence that is believed to be one.
const MAX_SGR: usize = 32;

/// The colours that services get, as SGR parameters: readable on dark and on light ground.
const COLOURS: [&str; 12] =
    ["36", "33", "32", "35", "34", "96", "93", "92", "95", "94", "38;5;208", "38;5;141"];

/// The SGR parameter for the n-th service; neighbours differ.
pub fn colour(index: u32) -> &'static str {
    COLOURS[index as usize % COLOURS.len()]
}

/// Writes wall-clock times, and remembers the last second so that a burst of lines is cheap.
#[derive(Debug)]
pub struct Clock {
    zone: TimeZone,
    second: Option<u64>,
    text: Vec<u8>,
}

impl Clock {
    /// RFC 3339 in UTC with milliseconds: `2026-01-31T12:00:00.000Z`. For files and pipes.
    pub fn utc() -> Clock {
        Clock { zone: TimeZone::UTC, second: None, text: Vec::new() }
    }

    /// The time of day where we are: `12:00:00.000`. For people at a terminal.
    pub fn local() -> Clock {
        Clock { zone: TimeZone::system(), second: None, text: Vec::new() }
    }

    /// Writes this time (since 1970). One that no calendar knows becomes the last one known.
    pub fn write(&mut self, wall: Duration, out: &mut Vec<u8>) {
        if self.second != Some(wall.as_secs()) {
            self.second = Some(wall.as_secs());
            self.text = self.second_text(wall.as_secs()).into_bytes();
        }
        out.extend_from_slice(&self.text);
        let millis = wall.subsec_millis();
        out.push(b'.');
        out.extend([millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8));
        if self.is_utc() {
            out.push(b'Z');
        }
    }

    fn is_utc(&self) -> bool {
        self.zone == TimeZone::UTC
    }

    fn second_text(&self, second: u64) -> String {
        let second = i64::try_from(second).unwrap_or(i64::MAX);
        let time = Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        let here = time.to_zoned(self.zone.clone());
        let format = if self.is_utc() { "%Y-%m-%dT%H:%M:%S" } else { "%H:%M:%S" };
        here.strftime(format).to_string()
    }
}

/// Writes bytes so that they are harmless on a terminal: control characters, text-direction overrides and
/// invalid UTF-8 as escapes (`\x1b`, `\u{202e}`); tabs stay. SGR sequences stay with `colours`, and are left
/// out without. One carriage return at the end (of a line from a terminal) is left out.
pub fn escape(bytes: &[u8], colours: bool, out: &mut Vec<u8>) {
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return out.extend_from_slice(bytes);
    }
    let mut coloured = false;
    for chunk in bytes.utf8_chunks() {
        coloured |= escape_text(chunk.valid(), colours, out);
        for byte in chunk.invalid() {
            escape_byte(*byte, out);
        }
    }
    if coloured {
        out.extend_from_slice(b"\x1b[0m");
    }
}

/// Returns whether a colour was set.
fn escape_text(text: &str, colours: bool, out: &mut Vec<u8>) -> bool {
    let (mut rest, mut coloured) = (text, false);
    while let Some(character) = rest.chars().next() {
        let length = match sgr_length(rest.as_bytes()) {
            Some(length) => {
                if colours {
                    out.extend_from_slice(&rest.as_bytes()[..length]);
                    coloured = true;
                }
                length
            }
            None => {
                escape_char(character, out);
                character.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    coloured
}

fn escape_char(character: char, out: &mut Vec<u8>) {
    match character {
        '\t' => out.push(b'\t'),
        '\r' => out.extend_from_slice(b"\\r"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\0'..='\x1f' | '\x7f' => escape_byte(character as u8, out),
        '\u{80}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            out.extend(character.escape_unicode().map(|digit| digit as u8));
        }
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    write!(out, "\\x{byte:02x}").unwrap_or_default();
}

/// The length of the SGR sequence that these bytes begin with.
fn sgr_length(bytes: &[u8]) -> Option<usize> {
    let body = bytes.strip_prefix(b"\x1b[")?;
    let end = body.iter().take(MAX_SGR).position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (body[end] == b'm').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(bytes: &[u8], colours: bool) -> String {
        let mut out = Vec::new();
        escape(bytes, colours, &mut out);
        String::from_utf8(out).expect("escaped text is UTF-8")
    }

    #[test]
    fn no_control_byte_gets_through_but_colours_if_wanted() {
        let cases: [(&[u8], &str, &str); 9] = [
            (b"plain", "plain", "plain"),
            (b"tab\there\r", "tab\there", "tab\there"),
            (b"over\rwrite", "over\\rwrite", "over\\rwrite"),
            (b"\x1b[31mred", "red", "\x1b[31mred\x1b[0m"),
            (b"\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07", "\\x1b[2J\\x1b]0;title\\x07"),
            ("zwölf €".as_bytes(), "zwölf €", "zwölf €"),
            (b"\xff\xc3", "\\xff\\xc3", "\\xff\\xc3"),
            ("\u{9b}31m\u{202e}".as_bytes(), "\\u{9b}31m\\u{202e}", "\\u{9b}31m\\u{202e}"),
            (b"\x1b[1", "\\x1b[1", "\\x1b[1"),
        ];
        for (bytes, plain, coloured) in cases {
            assert_eq!(escaped(bytes, false), plain);
            assert_eq!(escaped(bytes, true), coloured);
        }
    }

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        let mut clock = Clock::utc();
        let cases = [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, 7, "2000-02-29T00:00:00.007Z"),
            (951_782_400, 123, "2000-02-29T00:00:00.123Z"),
        ];
        for (second, millis, text) in cases {
            let mut out = Vec::new();
            clock.write(Duration::from_secs(second) + Duration::from_millis(millis), &mut out);
            assert_eq!(out, text.as_bytes());
        }
        let mut out = Vec::new();
        clock.write(Duration::MAX, &mut out);
        assert!(out.starts_with(b"9999-"));
    }

    proptest! {
        #[test]
        fn whatever_a_service_writes_a_terminal_sees_only_text(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = escaped(&bytes, false);
            prop_assert!(text.chars().all(|character| character == '\t' || !character.is_control()));
        }
    }
}
