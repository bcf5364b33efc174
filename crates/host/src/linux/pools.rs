//! Eyes for pools: how many connections wait, and what the workers do. Nothing is asked of a worker.
//!
//! - A TCP socket that listens tells the length of its queue (`TCP_INFO`), a Unix socket by sock_diag(7), any other only whether
//!   something waits. That costs microseconds, and is all that is looked at while nothing waits.
//! - A worker that sleeps in accept(2) is idle, that is proved. So is one that sleeps in epoll_wait(2) with a socket of the pool in
//!   the set, while nothing waits there: if something does, it would have woken up if it wanted it. Any other is busy: one in poll(2)
//!   or select(2) may as well wait for its database. (`/proc/PID/syscall`; who cannot be seen into is busy.) Only the main
//!   thread is looked at.
//! - A socket that listens is readable when somebody waits: so a pool that sleeps is woken by a connection and not by a clock.

use super::home::Home;
use super::services::Service;
use super::token::Token;
use crate::listen::Bound;
use crate::room;
use doula_model::id::{PoolId, ServiceId};
use doula_model::pool::{Checkup, Measure};
use doula_sys::diag::{self, UnixPeers};
use doula_sys::poll::{self, Epoll, Interest};
use doula_sys::proc::Sleep;
use doula_sys::socket;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Of free memory this share is left to others, in percent.
const SPARED: u64 = 10;
/// In more than this share of the last ten seconds work stood still for want of memory: no time for more workers.
const MEMORY_PRESSURE: f64 = 20.0;

/// What pools have told us to watch.
#[derive(Default)]
pub(super) struct Pools {
    /// The sockets that each pool awaits connections at, kept open until they are out of the epoll set.
    watched: BTreeMap<PoolId, Vec<Rc<Bound>>>,
    /// Whom we ask for the queues of Unix sockets.
    peers: Option<UnixPeers>,
}

impl Pools {
    /// Tells once when a connection waits at one of these sockets; at none: never again.
    fn watch(&mut self, pool: PoolId, sockets: Vec<Rc<Bound>>, epoll: &Epoll) {
        let (token, interest) = (Token::Pool(pool).pack(), Interest::READ.and(Interest::ONCE));
        let before = self.watched.remove(&pool).unwrap_or_default();
        for old in before.iter().filter(|old| !sockets.iter().any(|new| Rc::ptr_eq(old, new))) {
            // It may be closed by now; then it is out of the set.
            let _ = epoll.delete(old.fd());
        }
        for socket in &sockets {
            if epoll.modify(socket.fd(), interest, token).is_err() {
                // Two pools at one socket: the first one hears of it, the other one looks by the clock only.
                let _ = epoll.add(socket.fd(), interest, token);
            }
        }
        if !sockets.is_empty() {
            self.watched.insert(pool, sockets);
        }
    }

    /// How many wait at this socket.
    fn waiting(&mut self, socket: &Bound) -> u32 {
        let fd = socket.fd();
        if !poll::readable(fd, Some(Duration::ZERO)).unwrap_or(false) {
            return 0;
        }
        let told = socket::tcp_waiting(fd).ok().or_else(|| self.waiting_at_unix(socket));
        told.unwrap_or(1).max(1)
    }

    fn waiting_at_unix(&mut self, socket: &Bound) -> Option<u32> {
        let inode = diag::inode(socket.fd()).ok()?;
        if self.peers.is_none() {
            self.peers = UnixPeers::open().ok();
        }
        self.peers.as_ref()?.waiting(inode).ok()
    }
}

impl Home {
    /// A worker gets a slot, or gives it up.
    pub(super) fn seat(&mut self, service: ServiceId, slot: Option<u32>) {
        if let Some(service) = self.services.get_mut(service) {
            service.sit(slot);
        }
    }

    /// A worker is made as before its last change.
    pub(super) fn revert(&mut self, service: ServiceId) {
        if let Some(service) = self.services.get_mut(service) {
            service.revert();
        }
    }

    /// See the head of this file.
    pub(crate) fn measure(&mut self, workers: &[ServiceId], closely: bool) -> Measure {
        let sockets = self.sockets_of(workers);
        let queue = sockets.iter().map(|socket| self.pools.waiting(socket)).sum();
        if queue == 0 && !closely {
            return Measure::default();
        }
        let mut measure = Measure { queue, ..Measure::default() };
        let inodes: Vec<u32> = sockets.iter().filter_map(|socket| diag::inode(socket.fd()).ok()).collect();
        let mut resident = Vec::new();
        for id in workers {
            let Some((service, pid)) = self.services.get(*id).and_then(|it| Some((it, it.main?))) else {
                continue;
            };
            let board = service.board();
            measure.boards.extend(board.map(|board| (*id, service.generation, board)));
            // Who says nothing is looked at.
            let said = board.and_then(|board| board.busy);
            let busy = said.unwrap_or_else(|| !is_idle(&format!("/proc/{pid}"), queue, &inodes));
            measure.busy.push((*id, service.generation, busy));
            if queue > 0 && resident.len() < 4 {
                resident.extend(own_memory(&format!("/proc/{pid}/statm")));
            }
        }
        if queue > 0 {
            measure.memory_for = memory_for(&resident);
            measure.pressure = is_short_of_memory();
        }
        measure
    }

    /// How these workers are.
    pub(super) fn check_up(&self, workers: &[ServiceId]) -> Vec<Checkup> {
        let known = workers.iter().filter_map(|id| Some((*id, self.services.get(*id)?)));
        let look = |(worker, service): (ServiceId, &Service)| Checkup {
            worker,
            life: service.generation,
            memory: service.main.and_then(room::grown_memory),
            board: service.board(),
        };
        known.map(look).collect()
    }

    /// Tells once when a connection waits.
    pub(super) fn await_connection(&mut self, pool: PoolId, workers: &[ServiceId]) {
        let sockets = self.sockets_of(workers);
        self.pools.watch(pool, sockets, &self.epoll);
    }

    fn sockets_of(&self, workers: &[ServiceId]) -> Vec<Rc<Bound>> {
        let mut sockets: Vec<Rc<Bound>> = Vec::new();
        for service in workers.iter().filter_map(|id| self.services.get(*id)) {
            for bound in service.sockets.bound() {
                if !sockets.iter().any(|known| Rc::ptr_eq(known, bound)) {
                    sockets.push(Rc::clone(bound));
                }
            }
        }
        sockets
    }
}

/// Whether it is proved that this process has nothing to do and would take a connection from one of these sockets.
fn is_idle(process: &str, queue: u32, inodes: &[u32]) -> bool {
    let text = std::fs::read_to_string(format!("{process}/syscall")).unwrap_or_default();
    let mut words = text.split_whitespace();
    let number = words.next().and_then(|word| word.parse().ok());
    match number.map_or(Sleep::Other, Sleep::of) {
        Sleep::Accepting => true,
        Sleep::Choosing if queue == 0 => {
            let set =
                words.next().and_then(|word| u32::from_str_radix(word.trim_start_matches("0x"), 16).ok());
            set.is_some_and(|set| watches(&format!("{process}/fdinfo/{set}"), inodes))
        }
        Sleep::Choosing | Sleep::Other => false,
    }
}

/// Whether this epoll set has one of these sockets in it: `tfd: 5 events: 19 data: 5 pos:0 ino:61af sdev:8`.
fn watches(set: &str, inodes: &[u32]) -> bool {
    let text = std::fs::read_to_string(set).unwrap_or_default();
    let mut members = text.lines().filter(|line| line.starts_with("tfd:")).filter_map(|line| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix("ino:"))?;
        u32::from_str_radix(word, 16).ok()
    });
    members.any(|inode| inodes.contains(&inode))
}

/// The memory that a process has for itself, in pages: what is resident and not of a file or shared.
fn own_memory(path: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut pages = text.split_whitespace().skip(1).map(|word| word.parse::<u64>().ok());
    let (resident, shared) = (pages.next()??, pages.next()??);
    Some(resident.saturating_sub(shared))
}

/// For how many more of that size there is memory; `None` without an example.
fn memory_for(resident: &[u64]) -> Option<u32> {
    let count = u64::try_from(resident.len()).ok().filter(|count| *count > 0)?;
    let each = (resident.iter().sum::<u64>() / count).max(1) * doula_sys::limits::page_size();
    let usable = room::available_memory()? / 100 * (100 - SPARED);
    Some(u32::try_from(usable / each).unwrap_or(u32::MAX))
}

/// Pressure stall information, where the kernel has it.
fn is_short_of_memory() -> bool {
    room::pressure("memory").is_some_and(|share| share > MEMORY_PRESSURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_memory_for_at_least_one_that_takes_a_page_and_unknown_workers_say_nothing() {
        assert!(memory_for(&[1]).is_some_and(|count| count > 0));
        assert_eq!(memory_for(&[]), None);
    }

    #[test]
    fn who_is_not_there_is_not_proved_idle() {
        assert!(!is_idle("/proc/0", 0, &[]));
    }
}
