//! The user's terminal: its size, and handing it over byte by byte.

use doula_model::control::WindowSize;
use doula_sys::fd::{AsFd, OwnedFd};
use doula_sys::group::{self, TerminalModes};

/// The size of this terminal; `None` if it is none.
pub fn size(terminal: &impl AsFd) -> Option<WindowSize> {
    let (rows, columns) = group::window_size(terminal).ok()?;
    Some(WindowSize { rows, columns })
}

/// A terminal in raw mode: every byte is passed on as it is. Dropping it restores the terminal.
#[derive(Debug)]
pub struct Raw {
    terminal: OwnedFd,
    before: TerminalModes,
}

impl Raw {
    /// Puts this terminal into raw mode; `None` if it is none.
    pub fn enter(terminal: &impl AsFd) -> Option<Raw> {
        let before = group::terminal_modes(terminal).ok()?;
        let terminal = terminal.as_fd().try_clone_to_owned().ok()?;
        group::set_terminal_modes(&terminal, &before.clone().raw()).ok()?;
        Some(Raw { terminal, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing better can be done about a terminal that is gone.
        let _ = group::set_terminal_modes(&self.terminal, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_sys::fd;

    #[test]
    fn a_terminal_is_as_before_after_its_raw_time() {
        let (ours, theirs) = group::pseudo_terminal().expect("a pseudo terminal");
        group::set_window_size(&theirs, 30, 90).expect("sets");
        assert_eq!(size(&theirs), Some(WindowSize { rows: 30, columns: 90 }));
        let raw = Raw::enter(&theirs).expect("a terminal");
        fd::write(&theirs, b"a\n").expect("writes");
        let mut buffer = [0; 8];
        assert_eq!(fd::read(&ours, &mut buffer).map(|count| buffer[..count].to_vec()), Ok(b"a\n".to_vec()));
        drop(raw);
        fd::write(&theirs, b"a\n").expect("writes");
        assert_eq!(fd::read(&ours, &mut buffer).map(|count| buffer[..count].to_vec()), Ok(b"a\r\n".to_vec()));
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let (reader, _writer) = fd::pipe().expect("pipe");
        assert!(Raw::enter(&reader).is_none());
        assert_eq!(size(&reader), None);
    }
}
