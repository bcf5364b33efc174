//! A whole terminal as a canvas: the alternate screen, of which only what changed is sent.
//!
//! The frame before and the next one are buffers of cells; their difference leaves in one write. Absent on purpose: what is
//! drawn, and the modes of the terminal's line (`doula_host::terminal::Desk`).

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Takes the alternate screen, hides the cursor, asks for clicks and the wheel.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?1006h\x1b[2J";
/// The opposite.
const LEAVE: &str = "\x1b[0m\x1b[?1006l\x1b[?1000l\x1b[?25h\x1b[?1049l";

/// Standard output as a canvas.
#[derive(Debug)]
pub(crate) struct Screen {
    shown: Buffer,
}

impl Screen {
    /// Takes the terminal.
    pub(crate) fn enter() -> io::Result<Screen> {
        send(ENTER)?;
        Ok(Screen { shown: Buffer::empty(Rect::ZERO) })
    }

    /// Gives it back, also in a hook of a panic.
    pub(crate) fn leave() {
        // Nothing better can be done about a terminal that is gone.
        drop(send(LEAVE));
    }

    /// Takes it again after a pause.
    pub(crate) fn again(&mut self) -> io::Result<()> {
        self.shown = Buffer::empty(Rect::ZERO);
        send(ENTER)
    }

    /// Shows a frame.
    pub(crate) fn show(&mut self, frame: Buffer) -> io::Result<()> {
        let mut text = String::new();
        if self.shown.area != frame.area {
            text.push_str("\x1b[0m\x1b[2J");
            self.shown = Buffer::empty(frame.area);
        }
        write_changes(&self.shown, &frame, &mut text);
        self.shown = frame;
        if text.is_empty() { Ok(()) } else { send(&text) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        Screen::leave();
    }
}

fn send(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The sequences that make one frame the other.
fn write_changes(before: &Buffer, after: &Buffer, text: &mut String) {
    let (mut style, mut next) = (None, None);
    for (x, y, cell) in before.diff(after) {
        if next != Some((x, y)) {
            // Writing into a String cannot fail.
            let _ = write!(text, "\x1b[{};{}H", y + 1, x + 1);
        }
        if style != Some(cell.style()) {
            select(cell.style(), text);
            style = Some(cell.style());
        }
        text.push_str(cell.symbol());
        // Behind a wide character the place of the cursor is not relied on.
        next = cell.symbol().is_ascii().then_some((x + 1, y));
    }
    if style.is_some() {
        text.push_str("\x1b[0m");
    }
}

/// "Select graphic rendition" of ECMA-48.
fn select(style: Style, text: &mut String) {
    const MODIFIERS: [(Modifier, &str); 4] = [
        (Modifier::BOLD, ";1"),
        (Modifier::DIM, ";2"),
        (Modifier::UNDERLINED, ";4"),
        (Modifier::REVERSED, ";7"),
    ];
    text.push_str("\x1b[0");
    for (_, code) in MODIFIERS.iter().filter(|(modifier, _)| style.add_modifier.contains(*modifier)) {
        text.push_str(code);
    }
    color(style.fg, 38, text);
    color(style.bg, 48, text);
    text.push('m');
}

fn color(color: Option<Color>, base: u8, text: &mut String) {
    // Writing into a String cannot fail.
    let _ = match color {
        Some(Color::Indexed(index)) => write!(text, ";{base};5;{index}"),
        Some(Color::Rgb(red, green, blue)) => write!(text, ";{base};2;{red};{green};{blue}"),
        Some(named) => match ANSI.iter().position(|known| *known == named) {
            Some(index) => write!(text, ";{base};5;{index}"),
            None => Ok(()),
        },
        None => Ok(()),
    };
}

/// The sixteen colours of every terminal.
const ANSI: [Color; 16] = [
    Color::Black,
    Color::Red,
    Color::Green,
    Color::Yellow,
    Color::Blue,
    Color::Magenta,
    Color::Cyan,
    Color::Gray,
    Color::DarkGray,
    Color::LightRed,
    Color::LightGreen,
    Color::LightYellow,
    Color::LightBlue,
    Color::LightMagenta,
    Color::LightCyan,
    Color::White,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_sent_with_its_style_said_once() {
        let before = Buffer::with_lines(["abc", "def"]);
        let mut after = before.clone();
        after.set_string(1, 1, "XY", Style::new().fg(Color::Red).add_modifier(Modifier::BOLD));
        let mut text = String::new();
        write_changes(&before, &after, &mut text);
        assert_eq!(text, "\x1b[2;2H\x1b[0;1;38;5;1mXY\x1b[0m");
        text.clear();
        write_changes(&after, &after, &mut text);
        assert_eq!(text, "");
    }

    #[test]
    fn behind_a_wide_character_the_place_is_said_again() {
        let before = Buffer::with_lines(["     "]);
        let after = Buffer::with_lines(["안녕x"]);
        let mut text = String::new();
        write_changes(&before, &after, &mut text);
        assert_eq!(text, "\x1b[1;1H\x1b[0m안\x1b[1;3H녕\x1b[1;5Hx\x1b[0m");
    }
}
