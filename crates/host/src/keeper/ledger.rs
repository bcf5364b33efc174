//! Which fds outlive the supervisor, and what they are: a table in memory that the supervisor and its keeper have together.
//!
//! The supervisor writes, with plain stores and no system call; the keeper reads when the supervisor is dead. The word
//! that says what an fd is, is written last and emptied first, so that whenever the supervisor is killed, each entry is whole
//! or not there.

use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::plan::{Errno, Resource};
use doula_sys::fd::{self, AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use doula_sys::shared::Shared;
use doula_sys::{Result, limits};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// As many fds as are ever written down. What has a higher number does not outlive us.
const MOST: usize = 1 << 20;
/// Words for one fd.
const WIDTH: usize = 4;
/// Words before the first fd.
const HEAD: usize = 80;
/// The last number that was given to a socket or to something stored.
const NUMBER: usize = HEAD - 1;
/// In the head: the number of the listener and one more.
const LISTENER: usize = 0;
/// One more than the highest number that was ever written down.
const END: usize = 1;
/// The inode of the socket file of the listener.
const INODE: [usize; 2] = [2, 3];
/// The path of the socket file: its length, and its bytes.
const PATH: usize = 4;
/// So long it may be.
const PATH_ROOM: usize = (NUMBER - PATH - 1) * 4;

/// What an fd is. A life is a service and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// The handle of a child, and the number that it had.
    Child(ChildKey, Pid),
    /// The end of the output of a life that we read.
    Output(ServiceId, Generation),
    /// The end of the output that the next child of a life gets.
    Writer(ServiceId, Generation),
    /// Our end of the standard input of a life.
    Console(ServiceId, Generation),
    /// The readiness pipe of a life.
    ReadyPipe(ServiceId, Generation),
    /// The notify socket of a service.
    Notify(ServiceId),
    /// A socket that services listen on, by the number under which it was written down.
    Socket(u32),
    /// What a service left with us, by the number under which it was written down.
    Stored(ServiceId, u32),
    /// What a worker writes on in a life.
    Scoreboard(ServiceId, Generation),
    /// A pipe with the beginning of a line of a life; whether it goes on where a longer line was cut.
    Begun(ServiceId, Generation, bool),
}

const ROLES: [Role; 6] =
    [Role::Main, Role::PreStart, Role::PostStop, Role::Reload, Role::ReadyProbe, Role::LiveProbe];

impl Tag {
    /// As four words. The first is never 0.
    pub(super) fn pack(self) -> [u32; WIDTH] {
        let life = |kind, service: ServiceId, generation: Generation| [kind, service.0, generation.0, 0];
        match self {
            Tag::Child(ChildKey { service, generation, role }, pid) => {
                let role = ROLES.iter().position(|other| *other == role).unwrap_or_default();
                [1 | (role as u32) << 8, service.0, generation.0, pid.get() as u32]
            }
            Tag::Output(service, generation) => life(2, service, generation),
            Tag::Writer(service, generation) => life(3, service, generation),
            Tag::Console(service, generation) => life(4, service, generation),
            Tag::ReadyPipe(service, generation) => life(5, service, generation),
            Tag::Notify(service) => [6, service.0, 0, 0],
            Tag::Socket(number) => [7, 0, 0, number],
            Tag::Stored(service, number) => [8, service.0, 0, number],
            Tag::Scoreboard(service, generation) => life(9, service, generation),
            Tag::Begun(service, generation, continued) => [10, service.0, generation.0, continued.into()],
        }
    }

    /// The inverse of [`Tag::pack`]; `None` for what no version of it has written.
    pub(super) fn unpack(words: [u32; WIDTH]) -> Option<Tag> {
        let [kind, service, generation, number] = words;
        let (service, generation) = (ServiceId(service), Generation(generation));
        let role = ROLES.get((kind >> 8) as usize).copied();
        Some(match (kind & 0xff, role?) {
            (1, role) => Tag::Child(ChildKey { service, generation, role }, Pid::new(number as i32)?),
            (2, _) => Tag::Output(service, generation),
            (3, _) => Tag::Writer(service, generation),
            (4, _) => Tag::Console(service, generation),
            (5, _) => Tag::ReadyPipe(service, generation),
            (6, _) => Tag::Notify(service),
            (7, _) => Tag::Socket(number),
            (8, _) => Tag::Stored(service, number),
            (9, _) => Tag::Scoreboard(service, generation),
            (10, _) => Tag::Begun(service, generation, number != 0),
            _ => return None,
        })
    }
}

/// See the head of this file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ledger(&'static [AtomicU32]);

impl Ledger {
    /// An empty one, with room for as many fds as we may open.
    pub(crate) fn new() -> Result<Ledger> {
        let most = limits::get(Resource::Nofile)?.hard;
        let most = usize::try_from(most).unwrap_or(MOST).min(MOST);
        Shared::anonymous(HEAD + most * WIDTH).map(|shared| Ledger(shared.words()))
    }

    /// One in which nothing can be written: nothing outlives us.
    pub(crate) const fn none() -> Ledger {
        Ledger(&[])
    }

    /// Has this fd outlive us as long as the mark lives.
    pub(crate) fn mark(self, fd: impl AsFd, tag: Tag) -> Mark {
        let number = fd.as_fd().as_raw_fd();
        if let Some(entry) = self.entry(number) {
            let words = tag.pack();
            for (word, value) in entry.iter().zip(words).skip(1) {
                word.store(value, Ordering::Relaxed);
            }
            entry[0].store(words[0], Ordering::Release);
            self.0[END].fetch_max(number as u32 + 1, Ordering::Release);
        }
        Mark { ledger: self, number }
    }

    /// The same for an fd that we own.
    pub(crate) fn hold(self, fd: OwnedFd, tag: Tag) -> Held {
        Held { mark: Some(self.mark(&fd, tag)), fd }
    }

    /// The same for one that was held in another ledger, or in none.
    pub(crate) fn keep(self, held: Held, tag: Tag) -> Held {
        let Held { mark, fd } = held;
        drop(mark);
        self.hold(fd, tag)
    }

    fn entry(self, number: RawFd) -> Option<&'static [AtomicU32]> {
        let at = HEAD + usize::try_from(number).ok()? * WIDTH;
        self.0.get(at..at + WIDTH)
    }

    /// A number that was not given before, for [`Tag::Socket`] and [`Tag::Stored`].
    pub(crate) fn next_number(self) -> u32 {
        self.0.get(NUMBER).map_or(0, |last| last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A number that a supervisor before us has given: it stays what it is, and is not given again.
    pub(crate) fn keep_number(self, number: u32) {
        if let Some(last) = self.0.get(NUMBER) {
            last.fetch_max(number, Ordering::Relaxed);
        }
    }

    /// Where the next supervisor is awaited, once the socket file `new` has been renamed to `path`; whether that could be written.
    pub(super) fn set_listener(self, number: RawFd, new: &Path, path: &Path) -> bool {
        let (bytes, inode) = (path.as_os_str().as_bytes(), inode_of(new));
        let (Some(inode), false) = (inode, self.0.is_empty() || bytes.len() > PATH_ROOM) else {
            return false;
        };
        self.0[PATH].store(bytes.len() as u32, Ordering::Relaxed);
        for (word, bytes) in self.0[PATH + 1..NUMBER].iter().zip(bytes.chunks(4)) {
            let mut four = [0; 4];
            four[..bytes.len()].copy_from_slice(bytes);
            word.store(u32::from_ne_bytes(four), Ordering::Relaxed);
        }
        self.0[INODE[0]].store(inode as u32, Ordering::Relaxed);
        self.0[INODE[1]].store((inode >> 32) as u32, Ordering::Relaxed);
        self.0[LISTENER].store(number as u32 + 1, Ordering::Release);
        true
    }

    /// The listener, if the path is still that of its socket. Else another supervisor has taken over, or the folder is gone.
    pub(super) fn listener(self) -> Option<RawFd> {
        let number = self.0.first()?.load(Ordering::Acquire).checked_sub(1)?;
        let [low, high] = INODE.map(|at| u64::from(self.0[at].load(Ordering::Relaxed)));
        (inode_of(&self.path()) == Some(high << 32 | low)).then_some(number as RawFd)
    }

    /// Whether another file is at the path of our socket.
    pub(super) fn is_replaced(self) -> bool {
        let there = self.0.get(LISTENER).is_some_and(|number| number.load(Ordering::Acquire) > 0);
        there && self.listener().is_none() && inode_of(&self.path()).is_some()
    }

    /// Where the socket file of the listener is, or was.
    pub(super) fn path(self) -> PathBuf {
        let words =
            self.0[PATH + 1..NUMBER].iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
        let path: Vec<u8> = words.take(self.0[PATH].load(Ordering::Relaxed) as usize).collect();
        PathBuf::from(std::ffi::OsStr::from_bytes(&path))
    }

    /// All that is held.
    pub(crate) fn all(self) -> Vec<(RawFd, Tag)> {
        let end = self.0.get(END).map_or(0, |end| end.load(Ordering::Acquire)) as RawFd;
        let held = (0..end).filter_map(|number| {
            let entry = self.entry(number)?;
            let first = entry[0].load(Ordering::Acquire);
            let [second, third, fourth] = [1, 2, 3].map(|at| entry[at].load(Ordering::Relaxed));
            let tag = (first != 0).then(|| Tag::unpack([first, second, third, fourth]))?;
            Some((number, tag?))
        });
        held.collect()
    }
}

fn inode_of(path: &Path) -> Option<u64> {
    std::fs::symlink_metadata(path).ok().map(|found| found.ino())
}

/// An fd outlives us as long as this lives. To be dropped before the fd is closed: as a field, it stands before it.
#[derive(Debug)]
pub(crate) struct Mark {
    ledger: Ledger,
    number: RawFd,
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Some(entry) = self.ledger.entry(self.number) {
            entry[0].store(0, Ordering::Release);
        }
    }
}

/// An fd that outlives us.
#[derive(Debug)]
pub struct Held {
    mark: Option<Mark>,
    fd: OwnedFd,
}

impl From<OwnedFd> for Held {
    /// One that does not, for who has no ledger.
    fn from(fd: OwnedFd) -> Held {
        Held { mark: None, fd }
    }
}

impl Held {
    /// Whether it is in a ledger.
    pub(crate) fn outlives_us(&self) -> bool {
        self.mark.is_some()
    }

    /// What is in it, and whether it is in it still: as of a pipe that outlives us, which is copied from by means of another pipe.
    ///
    /// # Errors
    /// Those of tee(2) and read(2); EAGAIN when a non-blocking one has nothing.
    pub(crate) fn look(&self, copy: Option<&(OwnedFd, OwnedFd)>, buffer: &mut [u8]) -> Result<(usize, bool)> {
        if let Some((copied, copy)) = copy.filter(|_| self.outlives_us()) {
            match fd::tee(self, copy, buffer.len()) {
                // A terminal.
                Err(Errno::EINVAL) => {}
                answer => {
                    let count = answer?;
                    return fd::read_full(copied, &mut buffer[..count]).map(|count| (count, true));
                }
            }
        }
        fd::read(self, buffer).map(|count| (count, false))
    }

    /// The ledger that it is in.
    pub(crate) fn ledger(&self) -> Option<Ledger> {
        self.mark.as_ref().map(|mark| mark.ledger)
    }

    /// From now on it does not outlive us.
    pub(crate) fn release(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_sys::fd;
    use proptest::prelude::*;

    fn tag() -> impl Strategy<Value = Tag> {
        (0..10_u8, any::<u32>(), any::<u32>(), 0..ROLES.len()).prop_map(|(kind, one, other, role)| {
            let (service, generation) = (ServiceId(one), Generation(other));
            match kind {
                0 => Tag::Child(ChildKey { service, generation, role: ROLES[role] }, Pid::INIT),
                1 => Tag::Output(service, generation),
                2 => Tag::Writer(service, generation),
                3 => Tag::Console(service, generation),
                4 => Tag::ReadyPipe(service, generation),
                5 => Tag::Notify(service),
                6 => Tag::Socket(other),
                7 => Tag::Stored(service, other),
                8 => Tag::Begun(service, generation, role % 2 == 0),
                _ => Tag::Scoreboard(service, generation),
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_tag_survives_its_packing(tag in tag()) {
            prop_assert!(tag.pack()[0] != 0);
            prop_assert_eq!(Tag::unpack(tag.pack()), Some(tag));
        }

        #[test]
        fn any_words_are_a_tag_or_none(words: [u32; WIDTH]) {
            if let Some(tag) = Tag::unpack(words) {
                prop_assert_eq!(Tag::unpack(tag.pack()), Some(tag));
            }
        }
    }

    #[test]
    fn what_is_held_is_in_the_ledger_exactly_as_long() {
        let ledger = Ledger::new().expect("memory");
        assert_eq!(ledger.all(), []);
        let (reader, writer) = fd::pipe().expect("pipe");
        let tag = Tag::Output(ServiceId(3), Generation(2));
        let reader = ledger.hold(reader, tag);
        let mark = ledger.mark(&writer, Tag::Notify(ServiceId(9)));
        let mut expected = vec![(reader.as_raw_fd(), tag), (writer.as_raw_fd(), Tag::Notify(ServiceId(9)))];
        expected.sort_by_key(|(number, _)| *number);
        assert_eq!(ledger.all(), expected);
        drop(mark);
        assert_eq!(ledger.all(), [(reader.as_raw_fd(), tag)]);
        drop(reader);
        assert_eq!(ledger.all(), []);
        assert!(Ledger::none().hold(writer, tag).as_raw_fd() > 2);
        assert_eq!((Ledger::none().all(), Ledger::none().listener()), (vec![], None));
    }
}
