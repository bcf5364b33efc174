//! Sleeping until something happens: epoll, poll, eventfd, inotify.

use crate::fd::{AsFd, AsRawFd, OwnedFd};
use crate::{Result, errno, raw};
use core::ffi::CStr;
use core::time::Duration;
use doula_model::plan::Errno;

/// What is waited for on an fd. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest(u32);

impl Interest {
    /// Nothing but errors and hang-ups.
    pub const NONE: Interest = Interest(0);
    /// Something can be read, or the other end is closed. For a pidfd: the process ended.
    pub const READ: Interest = Interest(libc::EPOLLIN as u32);
    /// Something can be written.
    pub const WRITE: Interest = Interest(libc::EPOLLOUT as u32);
    /// An exceptional condition: `cgroup.events` changed.
    pub const PRIORITY: Interest = Interest(libc::EPOLLPRI as u32);
    /// The other end of a stream socket will send no more.
    pub const PEER_CLOSED: Interest = Interest(libc::EPOLLRDHUP as u32);
    /// Reported once for each change instead of as long as it is so.
    pub const EDGE: Interest = Interest(libc::EPOLLET as u32);
    /// Reported once; then silent until [`Epoll::modify`].
    pub const ONCE: Interest = Interest(libc::EPOLLONESHOT as u32);

    /// Both.
    pub const fn and(self, other: Interest) -> Interest {
        Interest(self.0 | other.0)
    }
}

/// Something happened on an fd.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Happening(libc::epoll_event);

impl Happening {
    /// Room for one, for the buffer of [`Epoll::wait`].
    pub const EMPTY: Happening = Happening(libc::epoll_event { events: 0, u64: 0 });

    /// What was given to [`Epoll::add`].
    pub const fn token(&self) -> u64 {
        self.0.u64
    }

    /// Reading will not wait: there are bytes, or the end, or an error to be told.
    pub const fn readable(&self) -> bool {
        self.any(libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLRDHUP)
    }

    /// Writing will not wait: there is room, or an error to be told.
    pub const fn writable(&self) -> bool {
        self.any(libc::EPOLLOUT | libc::EPOLLERR)
    }

    /// An exceptional condition.
    pub const fn priority(&self) -> bool {
        self.any(libc::EPOLLPRI)
    }

    /// The other end is gone.
    pub const fn hung_up(&self) -> bool {
        self.any(libc::EPOLLHUP | libc::EPOLLERR)
    }

    const fn any(&self, bits: i32) -> bool {
        self.0.events & bits as u32 != 0
    }
}

impl core::fmt::Debug for Happening {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (events, token) = (self.0.events, self.0.u64);
        write!(f, "Happening {{ events: {events:#x}, token: {token} }}")
    }
}

/// A set of fds that are waited for together (epoll(7)).
///
/// An fd leaves the set when its *last* duplicate is closed, not before: a child that inherited it keeps it
/// in. So delete before closing whatever may have been passed on.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl From<OwnedFd> for Epoll {
    /// A set that somebody else has made.
    fn from(set: OwnedFd) -> Epoll {
        Epoll(set)
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> crate::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Epoll {
    /// `epoll_create1(EPOLL_CLOEXEC)`—an empty set.
    ///
    /// <https://man7.org/linux/man-pages/man2/epoll_create.2.html>
    pub fn new() -> Result<Epoll> {
        rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).map(Epoll).map_err(errno)
    }

    /// `epoll_ctl(EPOLL_CTL_ADD)`—puts an fd into the set. EEXIST if it is in, EPERM for a regular file.
    ///
    /// <https://man7.org/linux/man-pages/man2/epoll_ctl.2.html>
    pub fn add(&self, fd: impl AsFd, interest: Interest, token: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, &fd, interest, token)
    }

    /// `epoll_ctl(EPOLL_CTL_MOD)`—changes what is waited for. ENOENT if it is not in.
    pub fn modify(&self, fd: impl AsFd, interest: Interest, token: u64) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, &fd, interest, token)
    }

    /// `epoll_ctl(EPOLL_CTL_DEL)`—takes an fd out of the set. ENOENT if it is not in.
    pub fn delete(&self, fd: impl AsFd) -> Result<()> {
        self.control(libc::EPOLL_CTL_DEL, &fd, Interest::NONE, 0)
    }

    fn control(&self, what: i32, fd: &impl AsFd, interest: Interest, token: u64) -> Result<()> {
        let mut event = libc::epoll_event { events: interest.0, u64: token };
        let fd = fd.as_fd().as_raw_fd() as usize;
        let args = [self.0.as_raw_fd() as usize, what as usize, fd, &raw mut event as usize, 0, 0];
        // SAFETY: the fourth argument points to an event that outlives the call.
        unsafe { raw::call(libc::SYS_epoll_ctl, args) }.map(drop)
    }

    /// `epoll_pwait(buffer, timeout)`—sleeps until something happens or the time is over (`None`: never), and
    /// returns what happened. The time is rounded up to milliseconds; finer alarms are a
    /// [`crate::time::timer`]. EINTR when a signal handler ran or the process was stopped and continued.
    ///
    /// <https://man7.org/linux/man-pages/man2/epoll_wait.2.html>
    #[doc(alias = "epoll_wait")]
    pub fn wait<'a>(
        &self,
        buffer: &'a mut [Happening],
        timeout: Option<Duration>,
    ) -> Result<&'a [Happening]> {
        let room = buffer.len().min(i32::MAX as usize);
        let timeout = milliseconds(timeout) as usize;
        let args = [self.0.as_raw_fd() as usize, buffer.as_mut_ptr() as usize, room, timeout, 0, 8];
        // SAFETY: the kernel writes at most `room` events, which the buffer holds; no signal mask is given.
        let count = unsafe { raw::call(libc::SYS_epoll_pwait, args) }?;
        Ok(&buffer[..count])
    }
}

/// Milliseconds, rounded up, -1 for "for ever".
fn milliseconds(timeout: Option<Duration>) -> i32 {
    let Some(timeout) = timeout else { return -1 };
    i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}

/// `poll(fd, POLLIN, timeout)`—whether an fd gets readable (or hangs up) in time; `None` waits for ever.
///
/// <https://man7.org/linux/man-pages/man2/poll.2.html>
#[doc(alias = "poll")]
pub fn readable(fd: impl AsFd, timeout: Option<Duration>) -> Result<bool> {
    happens(fd, libc::POLLIN, timeout)
}

/// `poll(fd, POLLOUT, timeout)`—whether an fd gets room to write (or nobody reads it) in time; `None` waits for ever.
///
/// <https://man7.org/linux/man-pages/man2/poll.2.html>
#[doc(alias = "poll")]
pub fn writable(fd: impl AsFd, timeout: Option<Duration>) -> Result<bool> {
    happens(fd, libc::POLLOUT, timeout)
}

fn happens(fd: impl AsFd, events: i16, timeout: Option<Duration>) -> Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 };
    let limit = timeout.map(|timeout| libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    });
    let limit = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let args = [&raw mut entry as usize, 1, limit as usize, 0, 8, 0];
    // SAFETY: one pollfd, and a time limit that is null or outlives the call; no signal mask is given.
    unsafe { raw::call(libc::SYS_ppoll, args) }.map(|count| count > 0)
}

/// `poll(fd, 0, 0)`—whether nobody has the other end open any more: the reader of a pipe that we write to.
///
/// <https://man7.org/linux/man-pages/man2/poll.2.html>
#[doc(alias = "POLLERR")]
pub fn is_broken(fd: impl AsFd) -> Result<bool> {
    happens(fd, 0, Some(Duration::ZERO))
}

/// `eventfd2(0, EFD_CLOEXEC | EFD_NONBLOCK)`—a counter that is readable while it is not zero.
///
/// <https://man7.org/linux/man-pages/man2/eventfd.2.html>
pub fn eventfd() -> Result<OwnedFd> {
    let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
    rustix::event::eventfd(0, flags).map_err(errno)
}

/// `inotify_init1(IN_CLOEXEC | IN_NONBLOCK)`—an empty set of watched files.
///
/// <https://man7.org/linux/man-pages/man2/inotify_init.2.html>
#[doc(alias = "inotify_init1")]
pub fn inotify() -> Result<OwnedFd> {
    use rustix::fs::inotify::{CreateFlags, init};
    init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(errno)
}

/// `inotify_add_watch(path, IN_MODIFY)`—reports changes of this file under the number that is returned.
///
/// <https://man7.org/linux/man-pages/man2/inotify_add_watch.2.html>
#[doc(alias = "inotify_add_watch")]
pub fn watch_changes(inotify: impl AsFd, path: &CStr) -> Result<i32> {
    rustix::fs::inotify::add_watch(inotify, path, rustix::fs::inotify::WatchFlags::MODIFY).map_err(errno)
}

/// `inotify_add_watch(path, IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)`—reports that this file was removed, replaced or renamed
/// (and that its mode changed) under the number that is returned.
///
/// <https://man7.org/linux/man-pages/man2/inotify_add_watch.2.html>
#[doc(alias = "inotify_add_watch")]
pub fn watch_place(inotify: impl AsFd, path: &CStr) -> Result<i32> {
    use rustix::fs::inotify::{WatchFlags, add_watch};
    add_watch(inotify, path, WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF)
        .map_err(errno)
}

/// `inotify_rm_watch(number)`—reports no more changes of it.
#[doc(alias = "inotify_rm_watch")]
pub fn unwatch(inotify: impl AsFd, number: i32) -> Result<()> {
    rustix::fs::inotify::remove_watch(inotify, number).map_err(errno)
}

/// Reads what [`inotify`] has to tell, and calls `changed` with the number of each changed file once or more.
///
/// # Errors
/// Those of read(2), but "nothing there" is a success.
pub fn changes(inotify: impl AsFd, mut changed: impl FnMut(i32)) -> Result<()> {
    let mut buffer = [core::mem::MaybeUninit::uninit(); 4096];
    let mut reader = rustix::fs::inotify::Reader::new(inotify, &mut buffer);
    loop {
        match reader.next().map_err(errno) {
            Ok(event) => changed(event.wd()),
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;

    #[test]
    fn epoll_tells_by_token_who_is_ready_and_forgets_who_was_deleted() {
        let epoll = Epoll::new().expect("epoll");
        let (reader, writer) = fd::pipe().expect("pipe");
        epoll.add(&reader, Interest::READ, u64::MAX - 1).expect("add");
        assert_eq!(epoll.add(&reader, Interest::READ, 1), Err(Errno::EEXIST));
        let mut buffer = [Happening::EMPTY; 4];
        assert!(epoll.wait(&mut buffer, Some(Duration::ZERO)).expect("wait").is_empty());
        fd::write(&writer, b"x").expect("write");
        let happened = epoll.wait(&mut buffer, None).expect("wait");
        assert_eq!(happened.len(), 1);
        assert_eq!(happened[0].token(), u64::MAX - 1);
        assert!(happened[0].readable() && !happened[0].hung_up());
        epoll.delete(&reader).expect("delete");
        assert!(epoll.wait(&mut buffer, Some(Duration::ZERO)).expect("wait").is_empty());
    }

    #[test]
    fn a_time_limit_is_never_rounded_down() {
        assert_eq!(milliseconds(Some(Duration::from_nanos(1))), 1);
        assert_eq!(milliseconds(Some(Duration::ZERO)), 0);
        assert_eq!(milliseconds(None), -1);
        assert_eq!(milliseconds(Some(Duration::MAX)), i32::MAX);
    }

    #[test]
    fn an_eventfd_is_readable_after_a_write() {
        let event = eventfd().expect("eventfd");
        assert_eq!(readable(&event, Some(Duration::ZERO)), Ok(false));
        fd::write(&event, &1u64.to_ne_bytes()).expect("write");
        assert_eq!(readable(&event, None), Ok(true));
    }

    #[test]
    fn a_changed_file_is_reported_under_its_number() {
        let path = std::env::temp_dir().join(std::format!("doula-inotify-{}", std::process::id()));
        std::fs::write(&path, "a").expect("write");
        let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).expect("no NUL");
        let inotify = inotify().expect("inotify");
        let number = watch_changes(&inotify, &name).expect("watch");
        std::fs::write(&path, "b").expect("write");
        let mut seen = std::vec::Vec::new();
        changes(&inotify, |number| seen.push(number)).expect("read");
        assert!(seen.contains(&number));
        unwatch(&inotify, number).expect("unwatch");
        std::fs::remove_file(&path).expect("remove");
    }
}
