//! The user's terminal: its size, and handing it over byte by byte.

use crate::child::os_error;
use crate::signals::Held;
use doula_model::control::WindowSize;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{self, AsFd, OwnedFd};
use doula_sys::group;
pub use doula_sys::group::TerminalModes;
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::signal::{self, SignalSet};
use std::io;
use std::time::Duration;

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

/// Waits for what the user does at a terminal.
#[derive(Debug)]
pub struct Watch {
    epoll: Epoll,
    resizes: OwnedFd,
}

/// What the user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// There is something to read, or the terminal is gone.
    Typed,
    /// The terminal may have another size.
    Resized,
}

const INPUT: u64 = 0;
const SIZE: u64 = 1;

impl Watch {
    /// Watches this terminal. SIGWINCH is read from now on instead of being delivered: to be called while there is
    /// only one thread, because the others inherit that.
    ///
    /// # Errors
    /// EPERM when it is a regular file; lack of fds.
    pub fn new(terminal: &impl AsFd) -> Result<Watch, Errno> {
        let set: SignalSet = [Signal::WINCH].into_iter().collect();
        let epoll = Epoll::new()?;
        epoll.add(terminal, Interest::READ, INPUT)?;
        let resizes = signal::signalfd(set)?;
        epoll.add(&resizes, Interest::READ, SIZE)?;
        signal::set_mask(set);
        Ok(Watch { epoll, resizes })
    }

    /// Waits until the user does something. Changes of size that follow closely may be told as one.
    pub fn next(&self) -> Done {
        let mut buffer = [Happening::EMPTY; 1];
        loop {
            let happened = match self.epoll.wait(&mut buffer, None) {
                Ok(happened) => happened.first(),
                Err(Errno::EINTR) => continue,
                Err(_) => return Done::Typed,
            };
            match happened.map(Happening::token) {
                None => {}
                Some(SIZE) => {
                    while let Ok(Some(_)) = signal::next(&self.resizes) {}
                    return Done::Resized;
                }
                Some(_) => return Done::Typed,
            }
        }
    }
}

/// A terminal that a program has for itself: raw, with the signals that concern it read instead of delivered. Dropping it
/// restores both.
#[derive(Debug)]
pub struct Desk {
    terminal: OwnedFd,
    raw: Option<Raw>,
    signals: Held,
    epoll: Epoll,
}

/// What happened at a desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Something was typed, or the terminal is gone: [`Desk::read`] tells.
    Typed,
    /// A signal came: WINCH for another size, TSTP for a pause, CONT after it, or one that asks us to end.
    Signal(Signal),
    /// What is waited for beside under this number can be read ([`Desk::beside`]).
    Beside(u32),
    /// The time is over.
    Time,
}

const SIGNALS: u64 = 2;
/// And all above.
const BESIDE: u64 = 3;

impl Desk {
    /// Takes this terminal. To be called while there is only one thread, because the others would get the signals.
    ///
    /// # Errors
    /// ENOTTY when it is none; lack of fds.
    pub fn take(terminal: &impl AsFd) -> io::Result<Desk> {
        let raw = Raw::enter(terminal).ok_or_else(|| os_error(Errno::ENOTTY))?;
        let signals = Held::back(&[
            Signal::WINCH,
            Signal::TSTP,
            Signal::CONT,
            Signal::TERM,
            Signal::INT,
            Signal::HUP,
            Signal::QUIT,
        ])?;
        let epoll = Epoll::new().map_err(os_error)?;
        epoll.add(terminal, Interest::READ, INPUT).map_err(os_error)?;
        epoll.add(&signals, Interest::READ, SIGNALS).map_err(os_error)?;
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        Ok(Desk { terminal, raw: Some(raw), signals, epoll })
    }

    /// Waits for this too, beside the terminal, as long as it is open.
    ///
    /// # Errors
    /// EPERM when it is a regular file; lack of memory.
    pub fn beside(&self, other: &impl AsFd, number: u32) -> io::Result<()> {
        self.epoll.add(other, Interest::READ, BESIDE + u64::from(number)).map_err(os_error)
    }

    /// Waits at most so long.
    pub fn next(&self, time: Duration) -> Happened {
        let mut buffer = [Happening::EMPTY; 1];
        let happened = match self.epoll.wait(&mut buffer, Some(time)) {
            Ok(happened) => happened.first().map(Happening::token),
            Err(_) => None,
        };
        match happened {
            Some(SIGNALS) => match self.signals.take() {
                Ok(Some(arrival)) => Happened::Signal(arrival.signal),
                Ok(None) | Err(_) => Happened::Time,
            },
            Some(token @ BESIDE..) => Happened::Beside((token - BESIDE) as u32),
            Some(_) => Happened::Typed,
            None => Happened::Time,
        }
    }

    /// What was typed; 0 bytes when the terminal is gone.
    pub fn read(&self, buffer: &mut [u8]) -> usize {
        fd::read(&self.terminal, buffer).unwrap_or(0)
    }

    /// How the terminal was before, for a [`Desk::restore`] from anywhere.
    pub fn before(&self) -> Option<TerminalModes> {
        self.raw.as_ref().map(|raw| raw.before.clone())
    }

    /// Gives the terminal these modes: for a hook of a panic, which has no desk.
    pub fn restore(terminal: &impl AsFd, modes: &TerminalModes) {
        // Nothing better can be done about a terminal that is gone.
        let _ = group::set_terminal_modes(terminal, modes);
    }

    /// Restores the terminal, stops this process as Ctrl-Z does, and takes the terminal again once it is continued.
    ///
    /// # Errors
    /// EIO and the like when the terminal is gone meanwhile.
    pub fn pause(&mut self) -> io::Result<()> {
        self.raw = None;
        signal::raise(Signal::STOP).map_err(os_error)?;
        self.raw = Some(Raw::enter(&self.terminal).ok_or_else(|| os_error(Errno::EIO))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn typing_is_told_and_what_can_always_be_read_is_not_watched() {
        let (reader, writer) = fd::pipe().expect("pipe");
        let watch = Watch::new(&reader).expect("a watch");
        fd::write(&writer, b"a").expect("writes");
        assert_eq!(watch.next(), Done::Typed);
        let file = std::fs::File::open(std::env::current_exe().expect("this test")).expect("opens");
        assert_eq!(Watch::new(&file).err(), Some(Errno::EPERM));
    }

    #[test]
    fn what_is_no_terminal_is_left_alone() {
        let (reader, _writer) = fd::pipe().expect("pipe");
        assert!(Raw::enter(&reader).is_none());
        assert_eq!(size(&reader), None);
    }
}
