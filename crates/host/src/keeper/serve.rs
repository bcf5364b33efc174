//! The life of a keeper: to sleep while the supervisor lives, then to keep, and to give all to who comes.

use super::ledger::{Ledger, Tag};
use super::{GREETING, LISTENER, PLACE, SUPERVISOR};
use crate::steps;
use crate::supervisor::give_back_memory;
use core::time::Duration;
use doula_model::plan::{Errno, Resource};
use doula_model::signal::Signal;
use doula_sys::fd::{self, AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::signal::{self, SignalSet};
use doula_sys::{group, limits, poll, socket, time, title};
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{UnixListener, UnixStream};

/// So long a keeper waits for the next supervisor after the last child has ended: what is left are exit statuses, and what
/// waits in sockets and pipes. Long enough for somebody who was called out of bed, and not for ever.
const ALONE: Duration = Duration::from_secs(3_600);

/// So long a keeper waits for an answer of who takes over. Shorter than that one waits for it: a client that says nothing is
/// gone before the next one gives up.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many fds go with one message: fewer than the kernel allows, so that the numbers fit in with them.
pub(super) const BATCH: usize = 200;

/// All that the copy needs to know. It owns nothing: what it uses is in the table that it has with the supervisor.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) ledger: Ledger,
    /// The set that wakes it.
    pub(super) wakes: RawFd,
    /// The handle of the supervisor.
    pub(super) supervisor: RawFd,
}

/// The whole life of a keeper; the code to end with.
pub(super) fn live(life: Life) -> u8 {
    become_nobody();
    give_back_memory();
    // Not owned: to close them would take them from the supervisor.
    let wakes = fd::inherited(life.wakes).map(|fd| ManuallyDrop::new(Epoll::from(fd)));
    let Ok(wakes) = wakes else { return 1 };
    let Some(heir) = await_death(&wakes, life) else { return 1 };
    let died = time::monotonic();
    let Some(listener) = life.ledger.listener() else { return 0 };
    let held = life.ledger.all();
    let numbers = held.iter().map(|(number, _)| *number);
    let heir_fd = heir.as_ref().map(AsRawFd::as_raw_fd);
    let kept: Vec<RawFd> = numbers.chain([listener, life.wakes, life.supervisor]).chain(heir_fd).collect();
    let own = held.iter().filter_map(|(number, tag)| Some((fd::inherited(*number).ok()?, *tag)));
    let (Ok(()), Ok(listener)) = (fd::close_all_but(&kept), fd::inherited(listener)) else { return 1 };
    let estate = Estate { held: own.collect(), died: died.as_nanos() };
    let mut given = false;
    if heir.is_some_and(|heir| estate.give(&heir, &mut given).is_some()) {
        return 0;
    }
    estate.keep(&wakes, life, &listener.into(), given)
}

/// Leaves the supervisor's session, takes no signal, and looks like what it is.
fn become_nobody() {
    signal::set_mask(SignalSet::FULL);
    // It leads no group, being a newborn copy.
    let _ = group::setsid();
    let _ = title::set_name(c"doula-keeper");
    title::set_command_line(&format!("doula-keeper of {}", group::parent().map_or(0, |pid| pid.get())));
    if let Ok(limit) = limits::get(Resource::Nofile) {
        let _ = limits::set(doula_model::plan::Rlimit { soft: limit.hard, ..limit });
    }
}

/// Until the supervisor is dead (`Some(None)`), or has become another program that wants to have all (`Some(Some)`).
fn await_death(wakes: &Epoll, life: Life) -> Option<Option<UnixStream>> {
    loop {
        let mut happened = [Happening::EMPTY; 2];
        let tokens: Vec<u64> = match wakes.wait(&mut happened, None) {
            Ok(happened) => happened.iter().map(Happening::token).collect(),
            Err(Errno::EINTR) => continue,
            Err(_) => return None,
        };
        if tokens.contains(&SUPERVISOR) {
            return Some(None);
        }
        let listener = ManuallyDrop::new(UnixListener::from(fd::inherited(life.ledger.listener()?).ok()?));
        let Ok((stream, _)) = listener.accept() else { continue };
        let ours = socket::peer(&stream).ok().and_then(|peer| peer.pid) == group::parent();
        if ours {
            return Some(Some(stream));
        }
    }
}

/// What is left to the next supervisor.
struct Estate {
    held: Vec<(OwnedFd, Tag)>,
    /// When the last one died, on the monotonic clock.
    died: u64,
}

impl Estate {
    /// Keeps it until somebody has taken it, or nobody comes.
    fn keep(&self, wakes: &Epoll, life: Life, listener: &UnixListener, mut given: bool) -> u8 {
        if let Ok(supervisor) = fd::inherited(life.supervisor) {
            let _ = wakes.delete(&supervisor);
        }
        let mut living = self.watch_children(wakes);
        let place = watch_place(wakes, life.ledger);
        loop {
            // Who was given all, and has not said so in time, has bound a socket of its own at our path: then it has all.
            if given && life.ledger.is_replaced() {
                return 0;
            }
            if living == 0 {
                // Nobody loses anything any more, so whoever wants our end (a machine that is switched off) may have it.
                signal::set_mask(SignalSet::FULL.without(Signal::TERM));
                if life.ledger.listener().is_none() {
                    return 0;
                }
            }
            let patience = (living == 0).then_some(ALONE);
            let mut happened = [Happening::EMPTY; 64];
            let tokens: Vec<u64> = match wakes.wait(&mut happened, patience) {
                Ok([]) => return 0,
                Ok(happened) => happened.iter().map(Happening::token).collect(),
                Err(Errno::EINTR) => continue,
                Err(_) => return 1,
            };
            for child in tokens.iter().filter(|token| **token > PLACE) {
                let Some((handle, _)) = self.held.get((child - PLACE - 1) as usize) else { continue };
                living -= usize::from(wakes.delete(handle).is_ok());
            }
            if let Some(place) = place.as_ref().filter(|_| tokens.contains(&PLACE)) {
                // What it was does not matter: we look ourselves.
                let _ = poll::changes(place, |_| {});
            }
            if tokens.contains(&LISTENER) {
                match listener.accept().ok().map(|(stream, _)| self.give(&stream, &mut given)) {
                    Some(Some(())) => return 0,
                    // Whoever takes over binds a socket of its own at our path, and then cannot but have taken all.
                    _ if life.ledger.listener().is_none() => return 0,
                    Some(None) | None => {}
                }
            }
        }
    }

    /// So many children live as far as can be seen.
    fn watch_children(&self, wakes: &Epoll) -> usize {
        let children = self.held.iter().enumerate().filter(|(_, (_, tag))| matches!(tag, Tag::Child(..)));
        children
            .filter(|(at, (handle, _))| wakes.add(handle, Interest::READ, PLACE + 1 + *at as u64).is_ok())
            .count()
    }

    /// Gives all to this supervisor, which is noted in `given`; `None` unless it says in time that it has taken all.
    fn give(&self, heir: &UnixStream, given: &mut bool) -> Option<()> {
        let uid = socket::peer(heir).ok()?.uid;
        if uid != 0 && uid != group::users().1 {
            return None;
        }
        let count = u32::try_from(self.held.len()).ok()?;
        let mut greeting = GREETING.to_vec();
        greeting.extend(count.to_ne_bytes());
        greeting.extend(self.died.to_ne_bytes());
        say(heir, &greeting, &[])?;
        steps::reached("keeper-gives");
        for batch in self.held.chunks(BATCH) {
            let words = batch.iter().flat_map(|(_, tag)| tag.pack()).flat_map(u32::to_ne_bytes);
            let fds: Vec<BorrowedFd<'_>> = batch.iter().map(|(fd, _)| fd.as_fd()).collect();
            say(heir, &words.collect::<Vec<u8>>(), &fds)?;
        }
        *given = true;
        steps::reached("keeper-has-given");
        hear(heir)
    }
}

/// Wakes us when the file of our socket is removed or replaced.
fn watch_place(wakes: &Epoll, ledger: Ledger) -> Option<OwnedFd> {
    let path = CString::new(ledger.path().as_os_str().as_bytes()).ok()?;
    let place = poll::inotify().ok()?;
    poll::watch_place(&place, &path).ok()?;
    wakes.add(&place, Interest::READ, PLACE).ok()?;
    Some(place)
}

/// Says something and waits until it was heard.
fn say(heir: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Option<()> {
    (socket::send(heir, bytes, fds).ok()? == bytes.len()).then_some(())?;
    hear(heir)
}

/// One byte is all that the other side says, and soon.
fn hear(heir: &UnixStream) -> Option<()> {
    loop {
        match poll::readable(heir, Some(PATIENCE)) {
            Ok(true) => return (fd::read(heir, &mut [0]) == Ok(1)).then_some(()),
            Err(Errno::EINTR) => {}
            Ok(false) | Err(_) => return None,
        }
    }
}
