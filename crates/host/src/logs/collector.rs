//! Reads the pipes of all services, a fair share of each in turn.
//!
//! The pipes stand in an epoll set of their own inside of the set that the loop watches. When standard output
//! is full, the inner set is taken out: one call, however many services there are, and nobody wakes us for
//! bytes that we would not read.
//!
//! A pipe that outlives us keeps its bytes until they are written out: they are copied from it by tee(2), and taken out of it
//! after the sinks have them, but for the beginning of a line, which is moved elsewhere (`begun`). A supervisor that is killed in
//! between loses nothing; the next one may write a line again.

use super::begun::{Begun, Given, Place, Spare};
use super::lines::{Piece, Splitter};
use super::ring::{Filter, Followed, FollowerId, Past};
use super::sinks::{Options, Sinks};
use super::{MAX_LINE, Mark, Stamp};
use crate::keeper::{Held, Tag};
use core::time::Duration;
use doula_model::id::{Generation, ServiceId};
use doula_model::plan::Errno;
use doula_model::recipe::LogPolicy;
use doula_model::time::Time;
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::poll::{Epoll, Happening, Interest};
use regex::bytes::Regex;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// What is read from one pipe at once: half of what a pipe holds.
const READ: usize = 32 * 1024;

/// From how many pipes one turn reads; the others come next, because epoll hands them out in turn.
const SOURCES_PER_TURN: usize = 16;

/// What is read at most from a pipe whose writers are gone: the largest pipe of an ordinary user.
const DRAIN_MOST: usize = 1024 * 1024;

/// A standstill of standard output that was shorter is not worth a word.
const STANDSTILL: Duration = Duration::from_secs(1);

/// So much text of our own is not kept for later: a death of ours would lose it, and more does not make it
/// cheaper.
const WRITE_AT_ONCE: usize = 4 * 1024;

/// Tokens of the outer set.
const SOURCES: u64 = 0;
const SCREEN: u64 = 1;

/// Names one source. Never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(u64);

/// A pipe (or terminal) that a service writes to.
#[derive(Debug)]
pub struct Source {
    /// Whose.
    pub service: ServiceId,
    /// Of which life.
    pub generation: Generation,
    /// The end to read from. It is made non-blocking.
    pub output: Held,
    /// The line that shows readiness, if one does.
    pub ready: Option<Regex>,
}

/// What the loop should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The line that shows readiness has come.
    Ready {
        /// Whose.
        service: ServiceId,
        /// In which life.
        generation: Generation,
    },
    /// Nobody can write to this source any more, and everything is read. It is closed.
    Ended {
        /// Which.
        source: SourceId,
    },
    /// Bytes of a source that is tapped, as they came.
    Raw {
        /// Which.
        source: SourceId,
        /// What.
        bytes: Vec<u8>,
    },
    /// This file should be compressed ([`super::compress_file`]) in a child process. One at a time: the next
    /// one is told after [`Collector::compressed`].
    Compress {
        /// Which.
        path: PathBuf,
    },
}

/// What could not be passed on at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Lines that standard output did not take.
    pub screen: u64,
    /// Lines that the log files did not take.
    pub files: u64,
    /// Sources that still had something to read.
    pub unread: u64,
}

#[derive(Debug)]
struct Open {
    source: Source,
    splitter: Splitter,
    given: Given,
    tapped: bool,
    warned: bool,
    /// The sign of readiness is in what was given out, and may not be written down yet.
    unheard: bool,
}

/// The output of the whole family.
#[derive(Debug)]
pub struct Collector {
    outer: Epoll,
    inner: Epoll,
    /// Each in a box: the nodes of a map that grows at its end are half empty.
    open: BTreeMap<SourceId, Box<Open>>,
    /// The open sources of each service: one, and those of earlier lives that somebody still holds.
    of: BTreeMap<ServiceId, Vec<SourceId>>,
    next_source: u64,
    sinks: Sinks,
    news: VecDeque<News>,
    /// Since when standard output is full and no pipe is read.
    standstill: Option<Time>,
    screen_watched: bool,
    compressing: bool,
    buffer: Vec<u8>,
    /// A pipe to copy into, once there is a source that outlives us.
    copy: Option<(OwnedFd, OwnedFd)>,
    /// The sources of which something was given out and is not taken out yet.
    copied: Vec<SourceId>,
    /// For beginnings of lines.
    spare: Spare,
}

impl AsFd for Collector {
    /// What the loop watches for [`Interest::READ`]; it stays the same.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outer.as_fd()
    }
}

impl Collector {
    /// Opens all sinks.
    ///
    /// # Errors
    /// When the directory of the log files cannot be made or read, or for lack of fds.
    pub fn new(options: Options) -> std::io::Result<Collector> {
        let to_io = |errno: Errno| std::io::Error::from_raw_os_error(errno.0);
        let (outer, inner) = (Epoll::new().map_err(to_io)?, Epoll::new().map_err(to_io)?);
        outer.add(&inner, Interest::READ, SOURCES).map_err(to_io)?;
        Ok(Collector {
            outer,
            inner,
            open: BTreeMap::new(),
            of: BTreeMap::new(),
            next_source: 0,
            sinks: Sinks::open(options)?,
            news: VecDeque::new(),
            standstill: None,
            screen_watched: false,
            compressing: false,
            buffer: Vec::new(),
            copy: None,
            copied: Vec::new(),
            spare: Spare::default(),
        })
    }

    /// A service gets its name and the limit of its output, before its first source and when they change.
    pub fn introduce(&mut self, stamp: Stamp, service: ServiceId, name: &str, policy: LogPolicy) {
        self.sinks.introduce(stamp, service, name, policy);
    }

    /// The name of a service that was introduced, also after it was forgotten; that of the supervisor for
    /// `None`.
    pub fn name(&self, service: Option<ServiceId>) -> &str {
        self.sinks.name(service)
    }

    /// Begins to read a source.
    ///
    /// # Errors
    /// When it cannot be watched: EPERM for a regular file, ENOMEM, ENOSPC.
    pub fn attach(&mut self, source: Source) -> Result<SourceId, Errno> {
        fd::set_nonblocking(&source.output, true)?;
        if self.copy.is_none() && source.output.outlives_us() {
            self.copy = Some(fd::pipe()?);
        }
        let id = SourceId(self.next_source);
        self.inner.add(&source.output, Interest::READ, id.0)?;
        self.next_source += 1;
        let splitter = Splitter::default();
        self.of.entry(source.service).or_default().push(id);
        let open =
            Open { source, splitter, given: Given::default(), tapped: false, warned: false, unheard: false };
        self.open.insert(id, Box::new(open));
        Ok(id)
    }

    /// Whether the bytes of a source are also told as they come ([`News::Raw`]).
    pub fn tap(&mut self, source: SourceId, on: bool) {
        if let Some(open) = self.open.get_mut(&source) {
            open.tapped = on;
        }
    }

    /// Reads and writes what can be read and written now. To be called when the fd is readable and when
    /// [`Collector::deadline`] has come; an additional call does no harm.
    pub fn turn(&mut self, stamp: Stamp) {
        self.flush(stamp);
        if self.standstill.is_none() {
            self.read_some(stamp);
            self.flush(stamp);
        }
    }

    /// When [`Collector::turn`] must be called although nothing happens; `None` in ordinary times.
    pub fn deadline(&self) -> Option<Time> {
        self.sinks.deadline()
    }

    /// The next thing that the loop should know.
    pub fn next_news(&mut self) -> Option<News> {
        if let Some(news) = self.news.pop_front() {
            return Some(news);
        }
        let path = if self.compressing { None } else { self.sinks.files.as_mut()?.jobs.pop_front() };
        self.compressing |= path.is_some();
        path.map(|path| News::Compress { path })
    }

    /// The child process that compressed a file has ended, well or badly (`Err`: in its words).
    pub fn compressed(&mut self, stamp: Stamp, end: Result<(), &str>) {
        self.compressing = false;
        if let Err(reason) = end {
            self.say(stamp, &format!("error: an old log file could not be compressed: {reason}"));
        }
    }

    /// Nobody of a generation is left: reads its last words now, before anybody is told that it is over.
    /// Sources that still have a writer elsewhere, or that standard output does not take yet, stay open.
    pub fn finish(&mut self, stamp: Stamp, service: ServiceId, generation: Generation) {
        for id in self.of.get(&service).cloned().unwrap_or_default() {
            if self.open.get(&id).is_some_and(|open| open.source.generation == generation) {
                self.drain(stamp, id);
            }
        }
    }

    /// The service is gone from the family: its sources are read for the last time and closed.
    pub fn forget(&mut self, stamp: Stamp, service: ServiceId) {
        for id in self.of.get(&service).cloned().unwrap_or_default() {
            self.drain(stamp, id);
            self.end(stamp, id);
        }
        self.sinks.forget(stamp, service);
    }

    /// Says something as the supervisor, to all sinks. Several lines become several records.
    pub fn say(&mut self, stamp: Stamp, text: &str) {
        self.sinks.say(stamp, text);
        self.flush(stamp);
    }

    /// As [`Collector::say`], but standard output gets it together with what else is said soon:
    /// [`Collector::write_out`] must be called before the next wait. A thousand births are a few writes so.
    pub fn say_soon(&mut self, stamp: Stamp, text: &str) {
        self.sinks.say(stamp, text);
        if self.sinks.screen.waiting() >= WRITE_AT_ONCE {
            self.flush(stamp);
        }
    }

    /// Writes what was said by [`Collector::say_soon`]. All news were heard, and written down: so those lines leave their pipes
    /// too that were a sign of readiness.
    pub fn write_out(&mut self, stamp: Stamp) {
        if self.sinks.screen.waiting() > 0 && self.sinks.screen.blocked_on().is_none() {
            self.flush(stamp);
        }
        for id in std::mem::take(&mut self.copied) {
            self.take_out(id);
        }
    }

    /// Whether all that was read is written, but for the beginnings of lines.
    pub(crate) fn is_written_out(&self) -> bool {
        let kept = self.sinks.files.as_ref().map_or(0, |files| files.unwritten());
        self.standstill.is_none() && self.sinks.screen.waiting() == 0 && kept == 0
    }

    /// Goes on with the beginning of a line of this life that somebody before us has left in this pipe; `continued`: it goes on
    /// where a longer one was cut. Of several the longest is meant: the others were about to be left.
    pub(crate) fn go_on_with(&mut self, stamp: Stamp, life: (ServiceId, Generation), begun: (OwnedFd, bool)) {
        let is = |open: &Open| (open.source.service, open.source.generation) == life;
        let Some((id, _)) = self.open.iter().find(|(_, open)| is(open)) else { return };
        let (id, tag) = (*id, Tag::Begun(life.0, life.1, begun.1));
        self.buffer.resize(READ, 0);
        let Some((open, copy)) = self.open.get_mut(&id).zip(self.copy.as_ref()) else { return };
        let Some(reader) = open.source.output.ledger().map(|ledger| ledger.hold(begun.0, tag)) else {
            return;
        };
        let Ok((count, true)) = reader.look(Some(copy), &mut self.buffer) else { return };
        if open.splitter.rest().is_some_and(|(bytes, _)| bytes.len() >= count) {
            return;
        }
        open.splitter = Splitter::going_on(begun.1);
        open.given.inherit(Begun::inherit(reader, count));
        self.copied.push(id);
        Passing { stamp, open, sinks: &mut self.sinks, news: &mut self.news }.feed(&self.buffer[..count]);
    }

    /// The last records, and who follows them, for the program that takes our place.
    pub(crate) fn past(&self) -> Past {
        let mut past = self.sinks.ring.past();
        past.names = self.sinks.names();
        past
    }

    /// Goes on with what the program has handed over that was in our place. Nothing was said yet.
    pub(crate) fn remember(&mut self, stamp: Stamp, past: Past) {
        for (service, name) in &past.names {
            self.sinks.introduce(stamp, *service, name, LogPolicy { flood: None });
            self.sinks.forget(stamp, *service);
        }
        self.sinks.ring.remember(past);
    }

    /// Begins to follow the records, with the last `last` of those that are kept and wanted (`None`: with all of
    /// them), and goes on with what is new, or not.
    pub fn follow(&mut self, filter: Filter, last: Option<usize>, goes_on: bool) -> FollowerId {
        self.sinks.ring.follow(filter, last, goes_on)
    }

    /// Ends following.
    pub fn unfollow(&mut self, follower: FollowerId) {
        self.sinks.ring.unfollow(follower);
    }

    /// The next thing for a follower; `None` when it has everything. Ask after each turn, as long as it can
    /// take more.
    pub fn next_followed(&mut self, follower: FollowerId) -> Option<Followed> {
        self.sinks.ring.next(follower)
    }

    /// The end: reads what is left, writes what waits, and gives standard output at most this much time. This
    /// is the only call that waits.
    pub fn close(mut self, patience: Duration) -> Lost {
        let deadline = Stamp::read().now.after(patience);
        loop {
            let stamp = Stamp::read();
            self.drain_all(stamp);
            let left = deadline.since(stamp.now);
            let blocked = self.standstill.is_some() || self.sinks.screen.blocked_on().is_some();
            if !blocked || left.is_zero() {
                break;
            }
            if matches!(self.outer.wait(&mut [Happening::EMPTY; 1], Some(left)), Err(errno) if errno != Errno::EINTR)
            {
                break;
            }
        }
        self.last_words(Stamp::read())
    }

    fn drain_all(&mut self, stamp: Stamp) {
        self.flush(stamp);
        let ids: Vec<_> = self.open.keys().copied().collect();
        for id in ids {
            self.drain(stamp, id);
        }
        self.flush(stamp);
    }

    fn last_words(&mut self, stamp: Stamp) -> Lost {
        let unread = if self.standstill.is_some() { self.open.len() as u64 } else { 0 };
        let ids: Vec<_> = self.open.keys().copied().collect();
        for id in ids {
            self.end(stamp, id);
        }
        let services: Vec<_> = self.sinks.gaps();
        services.into_iter().for_each(|service| self.sinks.end_gap(stamp, service));
        if let Some(files) = &mut self.sinks.files {
            files.hurry();
        }
        self.sinks.flush(stamp);
        let files = self.sinks.files.as_ref().map_or(0, |files| files.unwritten());
        Lost { screen: self.sinks.screen.unwritten(), files, unread }
    }

    fn read_some(&mut self, stamp: Stamp) {
        let mut ready = [Happening::EMPTY; SOURCES_PER_TURN];
        // EINTR is the only error that can happen, and it means "nothing now".
        let Ok(ready) = self.inner.wait(&mut ready, Some(Duration::ZERO)) else { return };
        for happening in ready {
            self.read_once(stamp, SourceId(happening.token()));
        }
    }

    /// Reads everything that is there, unless standard output gets full.
    fn drain(&mut self, stamp: Stamp, id: SourceId) {
        let mut total = 0;
        while self.standstill.is_none() && total < DRAIN_MOST {
            match self.read_once(stamp, id) {
                0 => return,
                count => total += count,
            }
            self.flush(stamp);
        }
    }

    /// Reads once; returns how many bytes came. The source is closed when it is at its end.
    fn read_once(&mut self, stamp: Stamp, id: SourceId) -> usize {
        self.buffer.resize(READ, 0);
        self.take_out(id);
        let Some(open) = self.open.get_mut(&id) else { return 0 };
        match open.source.output.look(self.copy.as_ref(), &mut self.buffer) {
            Ok((count, stays)) if count > 0 => {
                let count = if stays { whole_lines(&self.buffer[..count]) } else { count };
                let bytes = &self.buffer[..count];
                if open.source.output.outlives_us() {
                    open.given.look(bytes, stays);
                    self.copied.push(id);
                }
                if open.tapped {
                    self.news.push_back(News::Raw { source: id, bytes: bytes.to_vec() });
                }
                let mut passing = Passing { stamp, open, sinks: &mut self.sinks, news: &mut self.news };
                passing.feed(bytes);
                count
            }
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            // A terminal says EIO when nobody holds its other end.
            Ok(_) | Err(_) => {
                self.end(stamp, id);
                0
            }
        }
    }

    /// Takes out of a pipe what was copied from it: it is written out.
    fn take_out(&mut self, id: SourceId) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.unheard = false;
        let life = (open.source.service, open.source.generation);
        let mut place = Place { spare: &mut self.spare, buffer: &mut self.buffer, life };
        open.given.take_out(&open.source.output, &open.splitter, &mut place);
    }

    /// Gives out the last unfinished line and closes the source.
    fn end(&mut self, stamp: Stamp, id: SourceId) {
        let Some(mut open) = self.open.remove(&id) else { return };
        let service = open.source.service;
        if let Some(sources) = self.of.get_mut(&service) {
            sources.retain(|source| *source != id);
            if sources.is_empty() {
                self.of.remove(&service);
            }
        }
        Passing { stamp, open: &mut open, sinks: &mut self.sinks, news: &mut self.news }.finish();
        self.sinks.end_gap(stamp, service);
        // It was added when it was attached; a set that does not know it does not hold it either.
        self.inner.delete(&open.source.output).unwrap_or_default();
        self.news.push_back(News::Ended { source: id });
    }

    /// Writes what was read, and takes it out of the pipes, but for signs of readiness: see [`Collector::write_out`].
    pub(crate) fn flush(&mut self, stamp: Stamp) {
        self.sinks.flush(stamp);
        let is_unheard = |id: &SourceId| self.open.get(id).is_some_and(|open| open.unheard);
        let (stay, heard): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.copied).into_iter().partition(is_unheard);
        self.copied = stay;
        for id in heard {
            self.take_out(id);
        }
        match self.standstill {
            None if self.sinks.screen.is_full() => self.pause(stamp),
            Some(since) if self.sinks.screen.is_low() => self.go_on(stamp, since),
            None | Some(_) => {}
        }
        self.watch_screen();
    }

    fn pause(&mut self, stamp: Stamp) {
        self.standstill = Some(stamp.now);
        self.outer.delete(&self.inner).unwrap_or_default();
    }

    fn go_on(&mut self, stamp: Stamp, since: Time) {
        if self.outer.add(&self.inner, Interest::READ, SOURCES).is_err() {
            // Out of memory: the next turn tries again.
            return;
        }
        self.standstill = None;
        let waited = stamp.now.since(since);
        if waited >= STANDSTILL {
            let seconds = waited.as_secs();
            let text =
                format!("standard output was blocked for {seconds} s; services that write had to wait");
            self.sinks.say(stamp, &text);
        }
    }

    /// Watches standard output exactly while it hinders us.
    fn watch_screen(&mut self) {
        let blocked = self.sinks.screen.blocked_on().is_some();
        if blocked == self.screen_watched {
            return;
        }
        let done = match self.sinks.screen.fd() {
            // Closed: it has left the set with that.
            None => Ok(()),
            Some(fd) if blocked => self.outer.add(fd, Interest::WRITE, SCREEN),
            Some(fd) => self.outer.delete(fd),
        };
        if done.is_ok() {
            self.screen_watched = blocked;
        }
    }
}

/// How much of a full buffer to take: up to the last newline, so that the beginning of a line waits in the pipe for its end.
fn whole_lines(bytes: &[u8]) -> usize {
    let end = bytes.iter().rposition(|byte| *byte == b'\n').filter(|_| bytes.len() == READ);
    end.map_or(bytes.len(), |end| end + 1)
}

/// Bytes of one source on their way to the sinks.
struct Passing<'a> {
    stamp: Stamp,
    open: &'a mut Open,
    sinks: &'a mut Sinks,
    news: &'a mut VecDeque<News>,
}

impl Passing<'_> {
    fn feed(&mut self, bytes: &[u8]) {
        let mut splitter = core::mem::take(&mut self.open.splitter);
        splitter.feed(bytes, |piece| self.piece(piece));
        self.open.splitter = splitter;
        self.sinks.end_batch(self.stamp, Some(self.open.source.service));
    }

    fn finish(&mut self) {
        let mut splitter = core::mem::take(&mut self.open.splitter);
        splitter.finish(|piece| self.piece(piece));
        self.sinks.end_batch(self.stamp, Some(self.open.source.service));
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let (service, generation) = (self.open.source.service, self.open.source.generation);
        let shown = piece.bytes.strip_suffix(b"\r").unwrap_or(piece.bytes);
        if self.open.source.ready.as_ref().is_some_and(|ready| ready.is_match(shown)) {
            // Taken: it is told once, and the pattern's memory goes back.
            self.open.source.ready = None;
            self.open.unheard = true;
            self.news.push_back(News::Ready { service, generation });
        }
        if piece.cut && !self.open.warned {
            self.open.warned = true;
            let limit = MAX_LINE / 1024;
            let text =
                format!("lines of more than {limit} KiB are passed on in pieces; further ones are marked +");
            self.sinks.note(self.stamp, service, &text);
        }
        let mark = if piece.continued { Mark::Continued } else { Mark::Line };
        self.sinks.line(self.stamp, service, mark, piece.bytes);
    }
}
