//! The zygote itself: it waits for requests, bears children, and does nothing else.

use super::ZygoteError;
use super::message::{self, Answer, KILL, ROOM};
use crate::fork;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{self, AsFd as _, OwnedFd, RawFd};
use doula_sys::fork::sibling::sibling;
use doula_sys::fork::{Born, copy};
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::signal::{self, Disposition, SignalSet};
use doula_sys::socket::{self, Message};
use doula_sys::{Result, group, pidfd};

/// The fd by which a program that is a zygote is asked.
pub(super) const SOCKET: RawFd = 3;

/// What a child is born for.
///
/// ```
/// use doula_host::Task;
/// let work = |task: Task| u8::try_from(task.request.len() + task.fds.len()).unwrap_or(u8::MAX);
/// assert_eq!(work(Task { request: b"four".to_vec(), fds: Vec::new() }), 4);
/// ```
#[derive(Debug)]
pub struct Task {
    /// The bytes of the request.
    pub request: Vec<u8>,
    /// Duplicates of the fds that came with it, in their order, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// Serves as the zygote that [`super::Zygote::exec`] has started: says that it is ready, and returns when whoever started it is
/// gone or dropped it, with the code for this process to end with. `work` runs in the children.
///
/// To be called while there is one thread.
///
/// # Errors
/// [`ZygoteError::NotAsked`] when this process was not started so (fd 3 is no socket); [`ZygoteError::Threads`] when it has several;
/// both before anything was changed.
///
/// ```no_run
/// use doula_host::{Command, Task, Zygote, zygote::serve};
///
/// fn work(task: Task) -> u8 { u8::from(task.request.is_empty()) }
///
/// fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
///     if std::env::args().nth(1).as_deref() == Some("zygote") {
///         return Ok(serve(work)?.into());
///     }
///     // At any time, beside any threads:
///     let zygote = Zygote::exec(Command::exact("/proc/self/exe").arg("zygote"))?;
///     println!("a child {}", zygote.spawn(b"work", &[])?.wait());
///     Ok(0.into())
/// }
/// ```
pub fn serve(work: impl Fn(Task) -> u8) -> std::result::Result<u8, ZygoteError> {
    let socket = fd::inherited(SOCKET).map_err(|_| ZygoteError::NotAsked)?;
    socket::peer(&socket).map_err(|_| ZygoteError::NotAsked)?;
    let threads = copy::count_threads()?;
    if threads > 1 {
        let answer = Answer { errno: Errno::EBUSY.0, number: i32::try_from(threads).unwrap_or(i32::MAX) };
        answer.send(&socket, None)?;
        return Err(ZygoteError::Threads(threads));
    }
    Ok(run(socket, &work))
}

/// The zygote could not be one.
const FAILED: u8 = 125;

/// The whole life of a zygote; the code to end with.
pub(super) fn run(socket: OwnedFd, work: &dyn Fn(Task) -> u8) -> u8 {
    clean_signals();
    let post = Post::new(socket);
    let ready = match &post {
        Ok(post) => Answer::DONE.send(&post.socket, None),
        Err((socket, errno)) => Answer { errno: errno.0, number: 0 }.send(socket, None),
    };
    let (Ok(post), Ok(())) = (post, ready) else { return FAILED };
    let mut zygote = Served { post: Some(post), last: None, work };
    let mut buffer = [0; ROOM];
    while let Some(message) = zygote.post.as_ref().and_then(|post| post.next(&mut buffer)) {
        let bytes = &buffer[..message.length];
        if zygote.answer(bytes, message.fds, message.truncated).is_err() {
            break;
        }
    }
    0
}

/// Nothing that is sent to our group (a Ctrl-C), and no handler of whoever we are a copy of. What the program's own faults mean
/// to it stays, and so do the two signals that the C library keeps for its threads.
fn clean_signals() {
    /// ILL, TRAP, BUS, FPE, SEGV; and those two.
    const KEPT: [i32; 7] = [4, 5, 7, 8, 11, 32, 33];
    signal::set_mask(SignalSet::FULL);
    for signal in Signal::all().filter(|signal| !KEPT.contains(&signal.number())) {
        match signal::disposition(signal) {
            Disposition::Caught => {}
            Disposition::Ignored if signal == Signal::CHLD => {}
            Disposition::Ignored | Disposition::Default => continue,
        }
        let reset = signal::reset(signal);
        debug_assert!(reset.is_ok(), "what is caught can be reset");
    }
}

/// Where requests come from, and how the end of whoever sends them is seen. A copy of it may hold its end of the socket, so
/// that this alone tells nothing.
struct Post {
    socket: OwnedFd,
    events: Epoll,
    /// The handle of who started us, if it has a number for us; it stays in `events`.
    _caller: Option<OwnedFd>,
    parent: Option<Pid>,
}

impl Post {
    fn new(socket: OwnedFd) -> std::result::Result<Post, (OwnedFd, Errno)> {
        let parent = group::parent();
        let watched = (|| {
            let caller = parent.map(pidfd::open).transpose()?;
            let events = Epoll::new()?;
            events.add(&socket, Interest::READ, FROM_SOCKET)?;
            if let Some(caller) = &caller {
                events.add(caller, Interest::READ, FROM_CALLER)?;
            }
            Ok((events, caller))
        })();
        match watched {
            Ok((events, caller)) => Ok(Post { socket, events, _caller: caller, parent }),
            Err(errno) => Err((socket, errno)),
        }
    }

    /// The next request; `None` when nobody is left to ask.
    fn next(&self, buffer: &mut [u8]) -> Option<Message> {
        let mut happened = [Happening::EMPTY; 2];
        loop {
            let happened = match self.events.wait(&mut happened, None) {
                Ok(happened) => happened,
                Err(Errno::EINTR) => continue,
                Err(_) => return None,
            };
            if happened.iter().any(|one| one.token() == FROM_CALLER) || group::parent() != self.parent {
                return None;
            }
            match socket::receive(&self.socket, buffer) {
                // Every message has at least one byte.
                Ok(message) => return Some(message).filter(|message| message.length > 0),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => return None,
            }
        }
    }
}

const FROM_SOCKET: u64 = 0;
const FROM_CALLER: u64 = 1;

struct Served<'a> {
    /// Taken by a child, which lets go of it.
    post: Option<Post>,
    /// The one who was born last.
    last: Option<OwnedFd>,
    work: &'a dyn Fn(Task) -> u8,
}

impl Served<'_> {
    /// Does what is asked. An error is that nobody hears us.
    fn answer(&mut self, bytes: &[u8], fds: Vec<OwnedFd>, truncated: bool) -> Result<()> {
        if bytes == [KILL] {
            self.last.take().map_or(Ok(()), |last| pidfd::send(last, Signal::KILL)).or_else(gone_is_fine)?;
            return Answer::DONE.send(self.socket()?, None);
        }
        self.last = None;
        let born = if truncated { Err(Errno::EMFILE) } else { self.bear(bytes, fds) };
        match born {
            Ok(born) => self.hand_over(born),
            Err(errno) => Answer { errno: errno.0, number: 0 }.send(self.socket()?, None),
        }
    }

    /// The fds are closed here when the child has them.
    fn bear(&mut self, bytes: &[u8], mut fds: Vec<OwnedFd>) -> Result<Born> {
        let (post, work) = (&mut self.post, self.work);
        sibling(move || {
            drop(post.take());
            signal::set_mask(SignalSet::EMPTY);
            fork::live(true, || {
                let request = message::request(bytes, &mut fds).expect("a file in memory can be read");
                work(Task { request, fds })
            })
        })
    }

    fn hand_over(&mut self, born: Born) -> Result<()> {
        let number = born.pid.get();
        match (Answer { errno: 0, number }).send(self.socket()?, Some(born.pidfd.as_fd())) {
            // Too many fds are on their way: whoever asked cannot have it.
            Err(errno) if !message::is_gone(errno) => {
                pidfd::send(&born.pidfd, Signal::KILL).or_else(gone_is_fine)?;
                Answer { errno: errno.0, number }.send(self.socket()?, None)
            }
            sent => {
                self.last = Some(born.pidfd);
                sent
            }
        }
    }

    fn socket(&self) -> Result<&OwnedFd> {
        self.post.as_ref().map(|post| &post.socket).ok_or(Errno::EBADF)
    }
}

/// A signal to who has ended.
fn gone_is_fine(errno: Errno) -> Result<()> {
    if errno == Errno::ESRCH { Ok(()) } else { Err(errno) }
}
