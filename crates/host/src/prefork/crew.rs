//! The workers of a server at work: who is born, who is replaced, who ends.

use super::program::{Birth, Voice};
use super::{Order, Prefork, PreforkError, Workers};
use crate::child::os_error;
use crate::numa;
use crate::worker::read_board;
use crate::{Child, Signal};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::pool::Board;
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::group;
use doula_sys::poll::{self, Epoll, Happening, Interest};
use std::io;
use std::time::{Duration, Instant};

/// A worker that ended sooner than this has its successor only after a pause …
const QUICK: Duration = Duration::from_secs(1);
/// … which begins with this, and is twice as long each time,
const PAUSE: Duration = Duration::from_millis(100);
/// up to this many times.
const DOUBLED: u32 = 7;

/// In the set: what the caller waits for. Workers have their slots, and behind these what they say.
const FD: u64 = 0;
const SAYS: u64 = 1 << 32;

/// A server that serves.
///
/// ```
/// use doula_host::prefork::{Attended, Prefork};
/// let serve = |worker: doula_host::worker::Worker| {
///     let _work = worker.work();
///     u8::from(worker.ready().is_err())           // and ends
/// };
/// let mut crew = Prefork::new(serve)?.start()?;
/// let (reader, writer) = std::io::pipe()?;        // later than the workers' copy of us, who would hold it too
/// assert_eq!(crew.attend(&reader, None)?, Attended::Replaced(1));
/// drop(writer);
/// while crew.attend(&reader, None)? != Attended::Fd {}
/// assert!(crew.seats()[0].restarts > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "workers of a crew that is dropped are killed"]
pub struct Crew {
    prefork: Prefork,
    places: Vec<Place>,
}

/// One slot.
#[derive(Debug)]
struct Place {
    slot: u32,
    worker: Option<Alive>,
    restarts: u64,
    /// So many ended quickly, one after the other.
    quick: u32,
    /// When the next one is born.
    again_at: Option<Instant>,
}

/// A worker.
#[derive(Debug)]
struct Alive {
    child: Child,
    board: OwnedFd,
    born: Instant,
    says: Says,
}

/// How a worker says that it is ready.
#[derive(Debug)]
enum Says {
    /// Readable when it is, or when it is gone.
    Pipe(OwnedFd),
    /// By sd_notify(3), and more.
    Voice(Voice),
}

/// What is seen of one slot.
///
/// ```
/// let crew = doula_host::prefork::Prefork::new(|worker| {
///     drop(worker.work());
///     let told = worker.ready();
///     std::thread::park();
///     u8::from(told.is_err())
/// })?.start()?;
/// let seat = crew.seats().remove(0);
/// assert_eq!((seat.slot, seat.busy, seat.requests, seat.restarts), (1, Some(false), 1, 0));
/// # Ok::<(), doula_host::prefork::PreforkError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its number, from 1 on.
    pub slot: u32,
    /// Its worker, if there is one.
    pub pid: Option<Pid>,
    /// Whether that has work.
    pub busy: Option<bool>,
    /// How many requests it has answered.
    pub requests: u64,
    /// How long it has lived.
    pub age: Duration,
    /// How many workers before it ended by themselves.
    pub restarts: u64,
}

/// What [`Crew::attend`] returned for.
///
/// ```
/// assert_ne!(doula_host::prefork::Attended::Fd, doula_host::prefork::Attended::Replaced(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attended {
    /// The caller's fd is readable.
    Fd,
    /// The worker of this slot had ended, and has a successor, which may not be ready yet.
    Replaced(u32),
    /// The time is over.
    Timeout,
}

impl Crew {
    pub(super) fn start(prefork: Prefork) -> Result<Crew, PreforkError> {
        let place = |slot| Place { slot, worker: None, restarts: 0, quick: 0, again_at: None };
        let mut crew = Crew { places: (1..=prefork.count).map(place).collect(), prefork };
        for index in 0..crew.places.len() {
            crew.places[index].worker = Some(crew.bear(crew.places[index].slot)?);
        }
        let patience = crew.prefork.patience;
        for place in &mut crew.places {
            place.worker.as_mut().map_or(Ok(()), |worker| worker.wait_ready(place.slot, patience))?;
        }
        Ok(crew)
    }

    fn bear(&self, slot: u32) -> Result<Alive, PreforkError> {
        let board = fd::memory_of(c"scoreboard", Board::LENGTH).map_err(os_error)?;
        let cpu = if self.prefork.pin { numa::cpu_of_slot(slot, &[]) } else { None };
        let zygote = match &self.prefork.workers {
            Workers::Function(zygote) => zygote,
            Workers::Program(program) => {
                let birth = Birth { slot, cpu, board: &board, sockets: &self.prefork.sockets };
                let (child, voice) = program.bear(&birth)?;
                return Ok(Alive { child, board, born: Instant::now(), says: Says::Voice(voice) });
            }
        };
        let (ready, theirs) = fd::pipe().map_err(os_error)?;
        let order = Order { slot, parent: group::pid().get(), cpu };
        let sockets = self.prefork.sockets.iter().map(AsFd::as_fd);
        let fds: Vec<BorrowedFd<'_>> = [board.as_fd(), theirs.as_fd()].into_iter().chain(sockets).collect();
        let child = zygote.spawn(&order.to_bytes(), &fds)?;
        Ok(Alive { child, board, born: Instant::now(), says: Says::Pipe(ready) })
    }

    /// What all workers do, by their scoreboards; of a program that writes nothing there, what it has said (`X_DOULA_BUSY`,
    /// `X_DOULA_TASKS`) and [`Crew::attend`] has heard.
    ///
    /// ```
    /// # let serve = |worker: doula_host::worker::Worker| {
    /// #     let told = worker.ready();
    /// #     std::thread::park();
    /// #     u8::from(told.is_err())
    /// # };
    /// let mut crew = doula_host::prefork::Prefork::new(serve)?.workers(2).start()?;
    /// for seat in crew.seats() {
    ///     println!("{}: {:?}, {} requests", seat.slot, seat.pid, seat.requests);
    /// }
    /// # crew.stop();
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    pub fn seats(&self) -> Vec<Seat> {
        let seat = |place: &Place| {
            let board = place.worker.as_ref().map(Alive::work).unwrap_or_default();
            Seat {
                slot: place.slot,
                pid: place.worker.as_ref().map(|worker| worker.child.pid()),
                busy: board.busy,
                requests: board.requests,
                age: place.worker.as_ref().map_or(Duration::ZERO, |worker| worker.born.elapsed()),
                restarts: place.restarts,
            }
        };
        self.places.iter().map(seat).collect()
    }

    /// Waits until the fd is readable or the time is over (`None`: never), and replaces whoever ends meanwhile.
    ///
    /// # Errors
    /// EMFILE; EPERM for a regular file.
    ///
    /// ```
    /// # let serve = |worker: doula_host::worker::Worker| {
    /// #     let told = worker.ready();
    /// #     std::thread::park();
    /// #     u8::from(told.is_err())
    /// # };
    /// use doula_host::prefork::{Attended, Prefork};
    /// use std::time::Duration;
    /// let mut crew = Prefork::new(serve)?.start()?;
    /// let (silent, _writer) = std::io::pipe()?;
    /// assert_eq!(crew.attend(&silent, Some(Duration::ZERO))?, Attended::Timeout);
    /// # crew.stop();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attend(&mut self, fd: impl AsFd, time: Option<Duration>) -> io::Result<Attended> {
        let end = time.map(|time| Instant::now() + time);
        loop {
            if let Some(slot) = self.replace() {
                return Ok(Attended::Replaced(slot));
            }
            let next = self.places.iter().filter_map(|place| place.again_at).chain(end).min();
            let pause = next.map(|at| at.saturating_duration_since(Instant::now()));
            if self.is_readable(fd.as_fd(), pause)? {
                return Ok(Attended::Fd);
            }
            self.bury();
            if end.is_some_and(|end| end <= Instant::now()) {
                return Ok(Attended::Timeout);
            }
        }
    }

    /// Waits for the fd and for the end of any worker; whether it was the fd.
    fn is_readable(&mut self, fd: BorrowedFd<'_>, pause: Option<Duration>) -> io::Result<bool> {
        let all = Epoll::new().map_err(os_error)?;
        all.add(fd, Interest::READ, FD).map_err(os_error)?;
        for place in &self.places {
            if let Some(worker) = &place.worker {
                let slot = u64::from(place.slot);
                all.add(&worker.child, Interest::READ, slot).map_err(os_error)?;
                if let Says::Voice(voice) = &worker.says {
                    all.add(voice, Interest::READ, SAYS | slot).map_err(os_error)?;
                }
            }
        }
        let mut room = [Happening::EMPTY; 16];
        match all.wait(&mut room, pause) {
            Ok(happened) => {
                if happened.iter().any(|one| one.token() & SAYS != 0) {
                    self.places.iter_mut().filter_map(|place| place.worker.as_mut()).for_each(Alive::hear);
                }
                Ok(happened.iter().any(|one| one.token() == FD))
            }
            Err(errno) if errno == Errno::EINTR => Ok(false),
            Err(errno) => Err(os_error(errno)),
        }
    }

    /// Those that have ended leave their places.
    fn bury(&mut self) {
        for place in &mut self.places {
            let Some(worker) = &mut place.worker else { continue };
            if worker.child.try_wait().is_none() {
                continue;
            }
            place.quick = if worker.born.elapsed() < QUICK { place.quick + 1 } else { 0 };
            let doubled = place.quick.checked_sub(1).map(|times| 1 << times.min(DOUBLED));
            place.again_at =
                Some(Instant::now() + doubled.map_or(Duration::ZERO, |times: u32| PAUSE * times));
            place.restarts += 1;
            place.worker = None;
        }
    }

    /// The first empty place whose time has come gets a worker. If none can be born, that is tried again after the longest pause.
    fn replace(&mut self) -> Option<u32> {
        self.bury();
        let now = Instant::now();
        let index = self.places.iter().position(|place| place.again_at.is_some_and(|at| at <= now))?;
        let slot = self.places[index].slot;
        let born = self.bear(slot);
        let place = &mut self.places[index];
        place.again_at = born.is_err().then(|| now + PAUSE * (1 << DOUBLED));
        place.worker = born.ok();
        place.worker.is_some().then_some(slot)
    }

    /// Replaces all workers, one after the other: the new one first, and the old one is asked to end when the new one is ready.
    /// The new ones are copies of what this process is now, if it has one thread; else of what it was. A program is executed anew.
    ///
    /// # Errors
    /// When a new one does not become ready: it is ended, and the old ones that are left go on.
    ///
    /// ```
    /// # let serve = |worker: doula_host::worker::Worker| {
    /// #     let told = worker.ready();
    /// #     std::thread::park();
    /// #     u8::from(told.is_err())
    /// # };
    /// let mut crew = doula_host::prefork::Prefork::new(serve)?.start()?;
    /// let before = crew.seats()[0].pid;
    /// crew.roll()?;
    /// assert_ne!(crew.seats()[0].pid, before);
    /// # crew.stop();
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    pub fn roll(&mut self) -> Result<(), PreforkError> {
        if let Workers::Function(zygote) = &mut self.prefork.workers {
            // With several threads it stays the same zygote.
            let _ = zygote.renew();
        }
        let (patience, grace) = (self.prefork.patience, self.prefork.grace);
        for index in 0..self.places.len() {
            let slot = self.places[index].slot;
            let mut new = self.bear(slot)?;
            new.wait_ready(slot, patience)?;
            let place = &mut self.places[index];
            (place.again_at, place.quick) = (None, 0);
            if let Some(old) = place.worker.replace(new) {
                end([old], grace);
            }
        }
        Ok(())
    }

    /// Ends all workers; how many had to be killed.
    ///
    /// ```
    /// # let serve = |worker: doula_host::worker::Worker| {
    /// #     let told = worker.ready();
    /// #     std::thread::park();
    /// #     u8::from(told.is_err())
    /// # };
    /// let mut crew = doula_host::prefork::Prefork::new(serve)?.start()?;
    /// assert_eq!(crew.stop(), 0, "SIGTERM was enough");
    /// # Ok::<(), doula_host::prefork::PreforkError>(())
    /// ```
    pub fn stop(&mut self) -> usize {
        let workers: Vec<Alive> = self.places.iter_mut().filter_map(|place| place.worker.take()).collect();
        self.places.iter_mut().for_each(|place| place.again_at = None);
        end(workers, self.prefork.grace)
    }
}

impl Alive {
    /// Waits until it has said so.
    fn wait_ready(&mut self, slot: u32, patience: Duration) -> Result<(), PreforkError> {
        let Says::Pipe(ready) = &self.says else { return self.wait_voice(slot, patience) };
        if !poll::readable(ready, Some(patience)).map_err(os_error)? {
            return Err(PreforkError::Late(slot, patience));
        }
        match fd::read(ready, &mut [0]).map_err(os_error)? {
            // Nobody can write any more: it has ended, or will not say it.
            0 => match self.child.wait_timeout(patience) {
                Some(status) => Err(PreforkError::Ended(slot, status)),
                None => Err(PreforkError::Late(slot, patience)),
            },
            _ => Ok(()),
        }
    }
}

impl Alive {
    /// Waits until it has said `READY=1`, or has ended without.
    fn wait_voice(&mut self, slot: u32, patience: Duration) -> Result<(), PreforkError> {
        let over = Instant::now() + patience;
        loop {
            self.hear();
            if self.is_ready() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait() {
                return Err(PreforkError::Ended(slot, status));
            }
            let left = over.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(PreforkError::Late(slot, patience));
            }
            self.speaks_or_ends(left).map_err(os_error)?;
        }
    }

    fn speaks_or_ends(&self, time: Duration) -> Result<(), Errno> {
        let both = Epoll::new()?;
        both.add(&self.child, Interest::READ, FD)?;
        if let Says::Voice(voice) = &self.says {
            both.add(voice, Interest::READ, SAYS)?;
        }
        match both.wait(&mut [Happening::EMPTY; 2], Some(time)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    const fn is_ready(&self) -> bool {
        matches!(&self.says, Says::Voice(voice) if voice.ready)
    }

    fn hear(&mut self) {
        if let Says::Voice(voice) = &mut self.says {
            voice.hear(&self.child);
        }
    }

    /// What it does: what it writes goes before what it says.
    fn work(&self) -> Board {
        let board = read_board(&self.board).unwrap_or_default();
        match &self.says {
            Says::Voice(voice) if board == Board::default() => {
                Board { busy: voice.busy, requests: voice.tasks }
            }
            Says::Voice(_) | Says::Pipe(_) => board,
        }
    }
}

/// Asks all to end, and kills those that have not in this time; how many these were.
fn end(workers: impl IntoIterator<Item = Alive>, grace: Duration) -> usize {
    let mut workers: Vec<Alive> = workers.into_iter().collect();
    let asked = workers.iter().filter(|worker| worker.child.signal(Signal::TERM).is_ok()).count();
    debug_assert_eq!(asked, workers.len(), "they are ours");
    let over = Instant::now() + grace;
    let mut killed = 0;
    for worker in &mut workers {
        let left = over.saturating_duration_since(Instant::now());
        if worker.child.wait_timeout(left).is_none() {
            killed += 1;
        }
    }
    // Whoever is left is killed and buried by the drop.
    killed
}
