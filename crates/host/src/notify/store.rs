//! The fds that a service leaves with us, so that its next life gets them back (`LISTEN_FDS`).

use super::Offered;
use crate::keeper::{Held, Ledger, Tag};
use core::time::Duration;
use doula_model::id::ServiceId;
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::poll::{Epoll, Happening, Interest};

/// How many hang-ups are looked at in one turn.
const SWEPT_PER_TURN: usize = 16;

/// The fd store of one service.
#[derive(Debug, Default)]
pub struct FdStore {
    /// Where it is written what outlives us, and for whom.
    ledger: Option<(Ledger, ServiceId)>,
    limit: usize,
    kept: Vec<Kept>,
    next_token: u64,
    /// Made with the first fd that is watched: most services store none.
    watch: Option<Epoll>,
}

#[derive(Debug)]
struct Kept {
    token: u64,
    name: String,
    /// The number under which it is written down, until somebody has read it.
    fresh: Option<u32>,
    fd: Held,
    watched: bool,
}

impl FdStore {
    /// An empty store for at most `limit` fds ([`doula_model::recipe::Recipe::fd_store`]).
    pub fn new(limit: u32) -> FdStore {
        FdStore { limit: limit as usize, ..FdStore::default() }
    }

    /// Another limit from now on; what is kept beyond it stays.
    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit as usize;
    }

    /// Keeps what was offered; returns how many fds found no room and were closed. One that is kept already
    /// (a service that got it back offers it again) is closed too, and not counted.
    pub fn store(&mut self, offered: Offered) -> usize {
        let mut refused = 0;
        for fd in offered.fds {
            // A kernel without kcmp(2) cannot tell; then it is kept twice, up to the limit.
            if self.kept.iter().any(|kept| fd::same_open_file(&kept.fd, &fd).unwrap_or(false)) {
                continue;
            }
            if self.kept.len() >= self.limit {
                refused += 1;
                continue;
            }
            self.keep(fd, None, &offered.name, offered.watch);
        }
        refused
    }

    fn keep(&mut self, fd: OwnedFd, number: Option<u32>, name: &str, watch: bool) {
        let token = self.next_token;
        self.next_token += 1;
        let watched = watch && self.watch_fd(&fd, token);
        let (fd, fresh) = match self.ledger {
            None => (fd.into(), None),
            Some((ledger, service)) => {
                let number = number.unwrap_or_else(|| ledger.next_number());
                ledger.keep_number(number);
                (ledger.hold(fd, Tag::Stored(service, number)), Some(number))
            }
        };
        self.kept.push(Kept { token, name: name.to_owned(), fresh, fd, watched });
    }

    /// What is stored from now on outlives us.
    pub(crate) fn outlive_us(&mut self, ledger: Ledger, service: ServiceId) {
        self.ledger = Some((ledger, service));
    }

    /// Keeps what the supervisor before us kept, under the same number; whether it hangs up is not watched any more.
    pub(crate) fn inherit(&mut self, fd: OwnedFd, number: u32, name: &str) {
        self.keep(fd, Some(number), name, false);
    }

    /// The numbers and names of what was stored since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<(u32, String)> {
        self.kept.iter_mut().filter_map(|kept| Some((kept.fresh.take()?, kept.name.clone()))).collect()
    }

    /// Gives up every fd of this name; returns how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        self.give_up(|kept| kept.name == name)
    }

    /// What the next life gets, in the order in which it was stored, with the names for `LISTEN_FDNAMES`.
    pub fn fds(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.kept.iter().map(|kept| (kept.name.as_str(), kept.fd.as_fd()))
    }

    /// How many fds are kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What the loop watches for reading, once something is stored that is to be watched; then call
    /// [`FdStore::sweep`]. It stays the same from then on.
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Gives up the fds that hung up or failed; returns how many.
    pub fn sweep(&mut self) -> usize {
        let mut happened = [Happening::EMPTY; SWEPT_PER_TURN];
        let Some(Ok(happened)) = self.watch.as_ref().map(|set| set.wait(&mut happened, Some(Duration::ZERO)))
        else {
            return 0;
        };
        let tokens: Vec<u64> = happened.iter().map(Happening::token).collect();
        self.give_up(|kept| tokens.contains(&kept.token))
    }

    fn watch_fd(&mut self, fd: &OwnedFd, token: u64) -> bool {
        if self.watch.is_none() {
            self.watch = Epoll::new().ok();
        }
        // EPERM for files that cannot hang up; they are kept without being watched, as systemd does.
        self.watch.as_ref().is_some_and(|set| set.add(fd, Interest::NONE, token).is_ok())
    }

    fn give_up(&mut self, which: impl Fn(&Kept) -> bool) -> usize {
        let before = self.kept.len();
        let watch = self.watch.as_ref();
        self.kept.retain(|kept| {
            let gone = which(kept);
            if let (true, true, Some(set)) = (gone, kept.watched, watch) {
                // Its duplicates elsewhere would keep it in the set.
                set.delete(&kept.fd).unwrap_or_default();
            }
            !gone
        });
        before - self.kept.len()
    }
}
