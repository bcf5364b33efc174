//! The other side of a pool: what a worker got (its slot, its sockets, its scoreboard), and what it says of its work.
//!
//! Deliberately absent: accepting and the end. A worker takes connections from its listeners as it likes, and ends when
//! [`crate::shutdown`] says so.

use doula_model::pool::Board;
use doula_sys::fd::{self, AsFd, OwnedFd, RawFd};
use doula_sys::socket;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The first fd of sd_listen_fds(3).
const LISTEN_FDS_START: RawFd = 3;

/// This process as a worker of a pool.
///
/// ```
/// use doula_host::worker::Worker;
/// let worker = Worker::of_pool()?;                        // nobody's worker, here
/// assert!(worker.slot().is_none() && worker.sockets().is_empty());
/// drop(worker.work());                                    // nobody reads it
/// assert!(Worker::of_pool().is_err(), "what was passed is taken once");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Worker {
    slot: Option<u32>,
    sockets: Vec<OwnedFd>,
    board: Option<File>,
    said: Mutex<Said>,
    /// Where it says that it is ready, if its parent is no supervisor.
    ready: Mutex<Option<File>>,
}

/// What is on the scoreboard.
#[derive(Debug, Default)]
struct Said {
    /// So many requests are answered just now.
    under: u32,
    answered: u64,
}

impl Worker {
    /// Takes what a supervisor passed: `DOULA_SLOT`, the sockets of sd_listen_fds(3), the file of `DOULA_SCOREBOARD`. What
    /// was not passed is not there, so that the program also runs by itself.
    ///
    /// # Errors
    /// `AlreadyExists` the second time; EBADF when there is no such fd, EINVAL when a number is none.
    ///
    /// ```
    /// use doula_host::worker::Worker;
    /// let worker = Worker::of_pool()?;
    /// println!("worker {:?} has {} sockets", worker.slot(), worker.sockets().len());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn of_pool() -> io::Result<Worker> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::AcqRel) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let ours = number("LISTEN_PID")?.is_none_or(|pid| pid == i64::from(std::process::id()));
        let count = number("LISTEN_FDS")?.filter(|_| ours).unwrap_or(0);
        let last = RawFd::try_from(count).map_err(|_| invalid())?.checked_add(LISTEN_FDS_START);
        let numbers = LISTEN_FDS_START..last.ok_or_else(invalid)?;
        let sockets = numbers.map(inherited).collect::<io::Result<_>>()?;
        let board = number("DOULA_SCOREBOARD")?.map(RawFd::try_from).transpose().map_err(|_| invalid())?;
        let board = board.map(inherited).transpose()?.map(File::from);
        let slot = number("DOULA_SLOT")?.map(u32::try_from).transpose().map_err(|_| invalid())?;
        Ok(Worker::new(slot, sockets, board))
    }

    pub(crate) fn new(slot: Option<u32>, sockets: Vec<OwnedFd>, board: Option<File>) -> Worker {
        let worker = Worker { slot, sockets, board, said: Mutex::default(), ready: Mutex::default() };
        worker.write(&Said::default());
        worker
    }

    /// It says in this pipe that it is ready.
    pub(crate) fn tells(self, ready: File) -> Worker {
        Worker { ready: Mutex::new(Some(ready)), ..self }
    }

    /// It accepts from now on: who waits for that goes on. With `ready = "notify"` the supervisor does (`READY=1` of
    /// sd_notify(3)), and so does [`crate::prefork`]; nobody else hears it.
    ///
    /// # Errors
    /// When whoever waits cannot be reached.
    ///
    /// ```
    /// # let worker = doula_host::worker::Worker::of_pool()?;
    /// worker.ready()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ready(&self) -> io::Result<()> {
        let pipe = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (pipe, std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())) {
            (Some(mut pipe), _) => pipe.write_all(b"1"),
            (None, Some(address)) => notify(&address),
            (None, None) => Ok(()),
        }
    }

    /// Under which number it serves, from 1 on.
    ///
    /// ```
    /// let worker = doula_host::worker::Worker::of_pool()?;
    /// let port = 9100 + worker.slot().unwrap_or(0);       // one for the figures of each worker
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub const fn slot(&self) -> Option<u32> {
        self.slot
    }

    /// The sockets that it was passed, in their order.
    ///
    /// ```
    /// let worker = doula_host::worker::Worker::of_pool()?;
    /// assert!(worker.sockets().is_empty(), "started by hand");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }

    /// Those of them that accept TCP connections. They do not block: others accept from them too, and whoever is woken may
    /// find nobody there.
    ///
    /// # Errors
    /// EMFILE.
    ///
    /// ```no_run
    /// use doula_host::{shutdown::Shutdown, worker::Worker};
    /// let (worker, shutdown) = (Worker::of_pool()?, Shutdown::new()?);
    /// let (listener, stop) = (worker.listeners()?.remove(0), shutdown.stop());
    /// std::thread::spawn(move || shutdown.wait());
    /// while let Some((client, _)) = stop.accept(&listener)? {
    ///     let _work = worker.work();
    ///     drop(client);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listeners(&self) -> io::Result<Vec<TcpListener>> {
        let all = self.sockets.iter().map(|socket| Ok(TcpListener::from(socket.try_clone()?)));
        // The address of a Unix socket is none of TCP; a UDP socket has no queue of connections.
        let is_tcp =
            |socket: &TcpListener| socket.local_addr().is_ok() && socket::tcp_waiting(socket).is_ok();
        let tcp = all.filter(|socket: &io::Result<TcpListener>| socket.as_ref().map_or(true, is_tcp));
        tcp.map(|socket| socket.and_then(|socket| socket.set_nonblocking(true).map(|()| socket))).collect()
    }

    /// A request is answered from now on, until this is dropped. Several threads may have one each.
    ///
    /// ```
    /// # let worker = doula_host::worker::Worker::of_pool()?;
    /// let answers = || {
    ///     let _work = worker.work();      // busy
    ///     // … the answer …
    /// };                                  // one more was answered
    /// answers();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use = "it is the time in which it works"]
    pub fn work(&self) -> Work<'_> {
        self.change(|said| said.under += 1);
        Work(self)
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut said);
        self.write(&said);
    }

    fn write(&self, said: &Said) {
        let board = Board { busy: Some(said.under > 0), requests: said.answered };
        // It has its whole length for good, so that the write cannot fail; what is not read is no loss of work.
        let written = self.board.as_ref().map_or(Ok(()), |file| file.write_all_at(&board.to_bytes(), 0));
        debug_assert!(written.is_ok(), "a file in memory");
    }
}

/// A request that is answered. See [`Worker::work`].
///
/// ```
/// use doula_host::worker::{Work, Worker};
/// let worker = Worker::of_pool()?;
/// let one: Work<'_> = worker.work();
/// let other = worker.work();
/// drop(one);                              // still busy
/// drop(other);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Work<'a>(&'a Worker);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.change(|said| {
            said.under -= 1;
            said.answered += 1;
        });
    }
}

/// `READY=1`, to a path, or an abstract name behind `@`.
fn notify(address: &OsStr) -> io::Result<()> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
}

/// What is written on a scoreboard.
pub(crate) fn read_board(file: impl AsFd) -> Option<Board> {
    let mut bytes = [0; 16];
    let length = fd::read_at(file, &mut bytes, 0).ok()?;
    (length == bytes.len()).then(|| Board::from_bytes(bytes))
}

pub(crate) fn number(name: &str) -> io::Result<Option<i64>> {
    std::env::var(name).ok().map(|text| text.parse().map_err(|_| invalid())).transpose()
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    fd::inherited(number).map_err(|errno| io::Error::from_raw_os_error(errno.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(file: &File) -> Board {
        read_board(file).expect("its whole length")
    }

    #[test]
    fn the_scoreboard_says_busy_until_the_last_of_several_requests_is_answered() {
        let file = File::from(fd::memory_of(c"board", Board::LENGTH).expect("memory"));
        let worker = Worker::new(Some(7), Vec::new(), Some(file.try_clone().expect("an fd")));
        assert_eq!(written(&file), Board { busy: Some(false), requests: 0 });
        let (one, other) = (worker.work(), worker.work());
        drop(one);
        assert_eq!(written(&file), Board { busy: Some(true), requests: 1 });
        drop(other);
        assert_eq!((written(&file), worker.slot()), (Board { busy: Some(false), requests: 2 }, Some(7)));
        assert!(
            file.set_len(0).is_err() && file.set_len(1 << 30).is_err(),
            "nobody can make it longer or shorter"
        );
    }
}
