//! How the next supervisor gets what a keeper holds.

use super::ledger::Tag;
use super::{GREETING, SOCKET};
use crate::control::place;
use crate::steps;
use core::time::Duration;
use doula_model::time::Time;
use doula_sys::fd::{self, OwnedFd};
use doula_sys::{poll, socket};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A keeper answers at once. One that does not is stopped, or no keeper.
const PATIENCE: Duration = Duration::from_secs(5);
/// Room for one message.
const ROOM: usize = 4096;

/// What was held, and the keeper, who goes on holding it until it is released.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// The fds, and what each is.
    pub(crate) fds: Vec<(OwnedFd, Tag)>,
    /// When the supervisor before us died.
    pub(crate) died: Time,
    /// It was all that the keeper held: it did not die in the middle.
    pub(crate) whole: bool,
    keeper: UnixStream,
}

/// There is a keeper, and what it holds cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unheard {
    /// It says nothing, and lives: it is stopped, or somebody else listens in its place.
    Silent,
    /// It speaks as a keeper of another version does.
    Foreign,
    /// We may not have as many open files as it holds.
    Cut,
}

impl Inheritance {
    /// Everything that the keeper in this directory holds; `None` when there is no keeper.
    ///
    /// # Errors
    /// There is one who does not give it. Nobody may be started then: we do not know who lives.
    pub(crate) fn claim(directory: &Path) -> Result<Option<Inheritance>, Unheard> {
        let keeper = match place::connect_at_once(&directory.join(SOCKET)) {
            Ok(keeper) => keeper,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(_) => return Err(Unheard::Silent),
        };
        let mut buffer = [0; ROOM];
        let Some((greeting, _)) = hear(&keeper, &mut buffer)? else { return Ok(None) };
        let (count, died) = understand(greeting).ok_or(Unheard::Foreign)?;
        steps::reached("keeper-greeted");
        let mut all = Inheritance { fds: Vec::with_capacity(count), died, whole: false, keeper };
        let mut heard = 0;
        while heard < count {
            nod(&all.keeper);
            let Some((words, some)) = hear(&all.keeper, &mut buffer)? else { return Ok(Some(all)) };
            if words.len() != some.len() * 16 || some.is_empty() {
                return Err(Unheard::Foreign);
            }
            heard += some.len();
            for (fd, words) in some.into_iter().zip(words.chunks_exact(16)) {
                let word =
                    |at: usize| words[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap_or_default();
                all.fds.extend(Tag::unpack([word(0), word(4), word(8), word(12)]).map(|tag| (fd, tag)));
            }
        }
        nod(&all.keeper);
        all.whole = true;
        steps::reached("all-claimed");
        Ok(Some(all))
    }

    /// All of it is ours, and our own keeper holds it: the other one ends.
    pub(crate) fn release(&self) {
        // It ends by itself, if it does not hear us: our socket is at its path.
        nod(&self.keeper);
    }
}

/// How many fds there are, and when the supervisor died.
fn understand(greeting: &[u8]) -> Option<(usize, Time)> {
    let (start, rest) = greeting.split_at_checked(GREETING.len())?;
    let (count, died) = rest.split_at_checked(4)?;
    let count = u32::from_ne_bytes(count.try_into().ok()?) as usize;
    let died = Time::from_nanos(u64::from_ne_bytes(died.try_into().ok()?));
    (start == GREETING).then_some((count, died))
}

/// A keeper that is gone hears nothing, and says nothing either: that is seen by who listens next.
fn nod(keeper: &UnixStream) {
    let _ = fd::write(keeper, b".");
}

/// Words, and the fds that came with them.
type Message<'a> = (&'a [u8], Vec<OwnedFd>);

/// What it says next; `None`: it is gone.
fn hear<'a>(keeper: &UnixStream, buffer: &'a mut [u8]) -> Result<Option<Message<'a>>, Unheard> {
    if !poll::readable(keeper, Some(PATIENCE)).unwrap_or(false) {
        return Err(Unheard::Silent);
    }
    let Ok(message) = socket::receive(keeper, buffer) else { return Ok(None) };
    match message {
        message if message.length == 0 => Ok(None),
        message if message.truncated => Err(Unheard::Cut),
        message => Ok(Some((&buffer[..message.length], message.fds))),
    }
}
