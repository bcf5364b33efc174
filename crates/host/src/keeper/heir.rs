//! How the next supervisor gets what a keeper holds.

use super::ledger::Tag;
use super::{GREETING, SOCKET};
use crate::control::place;
use core::time::Duration;
use doula_model::time::Time;
use doula_sys::fd::{self, OwnedFd};
use doula_sys::{poll, socket};
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
    keeper: UnixStream,
}

impl Inheritance {
    /// Everything that the keeper in this directory holds; `None` when there is no keeper, or it breaks off.
    pub(crate) fn claim(directory: &Path) -> Option<Inheritance> {
        let keeper = place::connect(&directory.join(SOCKET)).ok()?;
        let mut buffer = [0; ROOM];
        let (greeting, _) = hear(&keeper, &mut buffer)?;
        let (start, rest) = greeting.split_at_checked(GREETING.len())?;
        let (count, died) = rest.split_at_checked(4)?;
        if start != GREETING {
            return None;
        }
        let count = u32::from_ne_bytes(count.try_into().ok()?) as usize;
        let died = Time::from_nanos(u64::from_ne_bytes(died.try_into().ok()?));
        let (mut fds, mut heard) = (Vec::with_capacity(count), 0);
        while heard < count {
            nod(&keeper)?;
            let (words, some) = hear(&keeper, &mut buffer)?;
            if words.len() != some.len() * 16 || some.is_empty() {
                return None;
            }
            heard += some.len();
            for (fd, words) in some.into_iter().zip(words.chunks_exact(16)) {
                let word =
                    |at: usize| words[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap_or_default();
                fds.extend(Tag::unpack([word(0), word(4), word(8), word(12)]).map(|tag| (fd, tag)));
            }
        }
        nod(&keeper)?;
        Some(Inheritance { fds, died, keeper })
    }

    /// All of it is ours, and our own keeper holds it: the other one ends.
    pub(crate) fn release(&self) {
        // It ends by itself, if it does not hear us: our socket is at its path.
        let _ = nod(&self.keeper);
    }
}

fn nod(keeper: &UnixStream) -> Option<()> {
    (fd::write(keeper, b".").ok()? == 1).then_some(())
}

fn hear<'a>(keeper: &UnixStream, buffer: &'a mut [u8]) -> Option<(&'a [u8], Vec<OwnedFd>)> {
    if !poll::readable(keeper, Some(PATIENCE)).ok()? {
        return None;
    }
    let message = socket::receive(keeper, buffer).ok()?;
    (!message.truncated && message.length > 0).then_some(())?;
    Some((&buffer[..message.length], message.fds))
}
