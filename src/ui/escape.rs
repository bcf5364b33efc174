//! Text from outside, made safe for a terminal.
//!
//! A name, a status text or a log line may hold escape sequences that move the cursor, rename the window or
//! answer as if the user had typed; and characters that reorder what is shown. None of them reaches a
//! terminal: each is shown as an escape of Rust's syntax.

use std::fmt::Write;

/// The text with every control character, and every character that changes the direction of the text or is
/// invisible, written as `\n`, `\t`, `\x1b` or `\u{202e}`. Everything else stays as it is.
pub(crate) fn escape(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_safe(character) {
            safe.push(character);
        } else {
            escape_one(character, &mut safe);
        }
    }
    safe
}

/// Whether nothing in it must be written otherwise, as in nearly all texts.
pub(super) fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn escape_one(character: char, into: &mut String) {
    let written = match character {
        '\n' => into.write_str("\\n"),
        '\r' => into.write_str("\\r"),
        '\t' => into.write_str("\\t"),
        other if other.is_ascii() => write!(into, "\\x{:02x}", u32::from(other)),
        other => write!(into, "\\u{{{:x}}}", u32::from(other)),
    };
    debug_assert!(written.is_ok(), "writing into a String cannot fail");
}

/// Whether a terminal shows the character and does nothing else.
fn is_safe(character: char) -> bool {
    let hidden = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !character.is_control() && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_survives() {
        for (raw, safe) in [
            ("plain text, ünïcode 안녕 🦀", "plain text, ünïcode 안녕 🦀"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("\u{9b}31m\x7f\0", "\\u{9b}31m\\x7f\\x00"),
            ("user\u{202e}gpj.exe", "user\\u{202e}gpj.exe"),
        ] {
            assert_eq!(escape(raw), safe);
        }
        let every = ('\0'..='\u{ffff}').collect::<String>();
        assert!(escape(&every).chars().all(is_safe));
    }
}
