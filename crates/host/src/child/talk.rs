//! The one loop that waits for children while it speaks with them: it writes the input of the first, reads what all of them
//! say, carries bytes between them where these are counted, and sees who ends. A single child is a row of one.
//!
//! Deliberately absent: what an end means. That is for whoever asked ([`crate::pipeline`]), except for the one rule that
//! must act at once: a failure that ends the others.

use super::counts::Io;
use super::relay::{Link, Relay};
use super::{Capture, Child, Holder, NotEmpty, TreeEnd, end_together, holders, os_error};
use doula_model::exit::ExitStatus;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{self, AsFd, BorrowedFd};
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::signal::{self, Disposition, SignalSet};
use std::io::{self, PipeReader};
use std::time::{Duration, Instant};

/// As much as a pipe holds.
const PIECE: usize = 64 << 10;
/// How long a tree that was killed may take to be seen empty: what a busy machine may need for it.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);
/// So many events are taken at once.
const EVENTS: usize = 16;

/// What happened to which child: a token is its place, and one of these.
const INPUT: u64 = 0;
const OUTPUT: u64 = 1;
const ERROR: u64 = 2;
const DEATH: u64 = 3;
/// On which side of a relay: a token is its place, and one of these.
const FROM: u64 = 4;
const TO: u64 = 5;
/// The caller's own fd.
const BESIDE: u64 = 6;
const KINDS: u64 = 8;

/// How children are treated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) limits: Capture,
    /// Who fails ends the others.
    pub(crate) kill_on_failure: bool,
}

/// What is known of one child when all is over.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) lost: u64,
    /// When its end was seen.
    pub(crate) ended: Instant,
    pub(crate) io: Option<Io>,
    /// It lived when we ended everybody.
    pub(crate) killed: bool,
    /// SIGPIPE, and somebody comes after it: who reads no more is free to do so, and who writes hears it by this signal.
    pub(crate) excused: bool,
    /// How its tree ended, if we ended it and it was contained.
    pub(crate) tree: Option<Result<TreeEnd, NotEmpty>>,
    /// What went through the pipe to the next one, if that was counted.
    pub(crate) passed: Option<u64>,
}

/// One conversation.
#[derive(Debug)]
pub(crate) struct Talk<'a> {
    epoll: Epoll,
    input: &'a [u8],
    parts: Vec<Part>,
    links: Vec<Link>,
    rules: Rules,
    /// When the time of the children is over; after their ends, when that of the holders is.
    deadline: Option<Instant>,
    alive: usize,
    timed_out: bool,
    holders: Vec<Holder>,
}

/// One child in it.
#[derive(Debug)]
struct Part {
    stdout: Stream,
    stderr: Stream,
    /// When its end was seen.
    ended: Option<Instant>,
    io: Option<Io>,
    killed: bool,
    excused: bool,
    tree: Option<Result<TreeEnd, NotEmpty>>,
}

impl<'a> Talk<'a> {
    /// Begins it. Time runs from `began`.
    pub(crate) fn new(
        children: &mut [Child],
        input: &'a [u8],
        rules: Rules,
        began: Instant,
        mut links: Vec<Link>,
    ) -> io::Result<Talk<'a>> {
        let epoll = Epoll::new().map_err(os_error)?;
        for (place, child) in children.iter_mut().enumerate() {
            if input.is_empty() {
                child.stdin = None;
            }
            watch(&epoll, &child.stdin, Interest::WRITE, token(place, INPUT))?;
            watch(&epoll, &child.stdout, Interest::READ, token(place, OUTPUT))?;
            watch(&epoll, &child.stderr, Interest::READ, token(place, ERROR))?;
            epoll.add(&*child, Interest::READ, token(place, DEATH)).map_err(os_error)?;
        }
        for (place, link) in links.iter_mut().enumerate() {
            if let Some(relay) = &mut link.relay {
                relay.begin(&epoll, token(place, FROM), token(place, TO)).map_err(os_error)?;
            }
        }
        Ok(Talk {
            epoll,
            input,
            parts: children.iter().map(|_| Part::new(rules.limits.limit)).collect(),
            links,
            rules,
            deadline: rules.limits.timeout.and_then(|time| began.checked_add(time)),
            alive: children.len(),
            timed_out: false,
            holders: Vec::new(),
        })
    }

    /// Goes on until all is over, or until the caller's own fd is readable: then `false`.
    pub(crate) fn run(&mut self, children: &mut [Child], beside: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        let _quiet = NoSigpipe::new();
        let Some(beside) = beside else { return self.go_on(children) };
        self.epoll.add(beside, Interest::READ, BESIDE).map_err(os_error)?;
        let over = self.go_on(children);
        self.epoll.delete(beside).map_err(os_error)?;
        over
    }

    fn go_on(&mut self, children: &mut [Child]) -> io::Result<bool> {
        while !self.is_over(children) {
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                if self.alive == 0 {
                    self.read_what_is_there(children)?;
                    return Ok(true);
                }
                self.time_is_over(children);
            }
            let left = self.deadline.and(left);
            let mut room = [Happening::EMPTY; EVENTS];
            let happened = match self.epoll.wait(&mut room, left) {
                Ok(happened) => happened,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(os_error(errno)),
            };
            if self.take_all(children, happened)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the caller's own fd was among them.
    fn take_all(&mut self, children: &mut [Child], happened: &[Happening]) -> io::Result<bool> {
        let mut beside = false;
        for happening in happened {
            beside |= happening.token() == BESIDE;
            self.take(children, happening.token())?;
        }
        Ok(beside)
    }

    fn take(&mut self, children: &mut [Child], token: u64) -> io::Result<()> {
        let place = (token / KINDS) as usize;
        match token % KINDS {
            INPUT => self.write(&mut children[place]),
            OUTPUT => self.parts[place].stdout.read(&mut children[place].stdout, &self.epoll),
            ERROR => self.parts[place].stderr.read(&mut children[place].stderr, &self.epoll),
            DEATH => self.see_end(children, place),
            kind @ (FROM | TO) => match &mut self.links[place].relay {
                Some(relay) => relay.carry(&self.epoll, kind == TO).map_err(os_error),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn see_end(&mut self, children: &mut [Child], place: usize) -> io::Result<()> {
        let is_last = place + 1 == children.len();
        let (child, part) = (&mut children[place], &mut self.parts[place]);
        // It stays readable: looked at once.
        self.epoll.delete(&*child).map_err(os_error)?;
        part.io = child.io().or(part.io);
        let status = child.wait();
        part.ended = Some(Instant::now());
        part.excused = !is_last && is_sigpipe(status);
        let failed = !status.success() && !part.excused && !part.killed;
        self.alive -= 1;
        if self.alive == 0 {
            self.deadline = Instant::now().checked_add(self.rules.limits.grace);
        } else if failed && self.rules.kill_on_failure {
            self.end(children);
        }
        Ok(())
    }

    fn time_is_over(&mut self, children: &mut [Child]) {
        self.timed_out = true;
        self.deadline = None;
        self.holders = self.who_is_waited_for(children);
        self.end(children);
    }

    /// Who holds a pipe open between a child that has ended and one that lives.
    fn who_is_waited_for(&self, children: &[Child]) -> Vec<Holder> {
        let ended = |place: usize| self.parts[place].ended.is_some();
        let links = self.links.iter().enumerate().filter(|&(place, _)| ended(place) && !ended(place + 1));
        let pipes: Vec<_> = links.filter_map(|(place, link)| link.pipe(&children[place + 1])).collect();
        if pipes.is_empty() { Vec::new() } else { holders::of(&pipes) }
    }

    /// Ends everybody, and nobody takes the end of a killed one's words for the end of its input.
    fn end(&mut self, children: &mut [Child]) {
        let before = |place: usize, child: &mut Child| {
            let part = &mut self.parts[place];
            part.io = child.io().or(part.io);
            part.killed |= part.ended.is_none() && child.try_wait().is_none();
        };
        // Whoever may not be killed is waited for.
        let ends = end_together(children, EMPTY_WITHIN, before, |child| child.kill_all(EMPTY_WITHIN));
        for (part, end) in self.parts.iter_mut().zip(ends) {
            part.tree = end;
        }
    }

    /// All are dead, and all is read and carried.
    fn is_over(&self, children: &[Child]) -> bool {
        self.alive == 0 && !self.cut(children)
    }

    /// Whether a stream was left before its end.
    pub(crate) fn cut(&self, children: &[Child]) -> bool {
        let open = |child: &Child| child.stdout.is_some() || child.stderr.is_some();
        children.iter().any(open) || self.links.iter().any(Link::is_open)
    }

    pub(crate) fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// Who held a pipe open when the time was over, or holds one that we read still.
    pub(crate) fn take_holders(&mut self, children: &[Child]) -> Vec<Holder> {
        let mut holders = std::mem::take(&mut self.holders);
        if self.cut(children) {
            holders.extend(holders::of_open_streams(children));
        }
        holders
    }

    /// What was heard of each child. Everybody has ended.
    pub(crate) fn finish(self) -> Vec<Heard> {
        let passed = |link: &Link| link.relay.as_ref().map(Relay::passed);
        let passed = self.links.iter().map(passed).chain(std::iter::repeat(None));
        let heard = |(part, passed): (Part, Option<u64>)| Heard {
            lost: part.stdout.lost + part.stderr.lost,
            stdout: part.stdout.kept,
            stderr: part.stderr.kept,
            ended: part.ended.unwrap_or_else(Instant::now),
            io: part.io,
            killed: part.killed,
            excused: part.excused,
            tree: part.tree,
            passed,
        };
        self.parts.into_iter().zip(passed).map(heard).collect()
    }

    /// The last look at streams that others hold open: what the children themselves wrote may still be in them, but not more
    /// than a pipe can hold.
    fn read_what_is_there(&mut self, children: &mut [Child]) -> io::Result<()> {
        const LARGEST_PIPE: usize = 1 << 20;
        for _ in 0..LARGEST_PIPE / PIECE {
            for place in 0..children.len() {
                self.take(children, token(place, OUTPUT))?;
                self.take(children, token(place, ERROR))?;
            }
        }
        Ok(())
    }

    /// Who does not read, or reads no more, is free to do so.
    fn write(&mut self, child: &mut Child) -> io::Result<()> {
        let Some(pipe) = &child.stdin else { return Ok(()) };
        match fd::write(pipe, self.input) {
            Ok(written) => self.input = &self.input[written..],
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(Errno::EPIPE) => self.input = &[],
            Err(errno) => return Err(os_error(errno)),
        }
        if self.input.is_empty() {
            child.stdin = None;
        }
        Ok(())
    }
}

/// Also as a shell passes it on: whoever ends with this code by itself is believed.
fn is_sigpipe(status: ExitStatus) -> bool {
    let passed_on = ExitStatus::signal(Signal::PIPE).shell_code();
    status.killed_by() == Some(Signal::PIPE) || status.exit_code() == Some(passed_on)
}

fn token(place: usize, kind: u64) -> u64 {
    place as u64 * KINDS + kind
}

impl Part {
    fn new(limit: usize) -> Part {
        let stream = || Stream { kept: Vec::new(), lost: 0, limit };
        Part {
            stdout: stream(),
            stderr: stream(),
            ended: None,
            io: None,
            killed: false,
            excused: false,
            tree: None,
        }
    }
}

/// Watches an end that may be there. Our end alone does not wait: the child's is another open file.
fn watch(epoll: &Epoll, end: &Option<impl AsFd>, interest: Interest, token: u64) -> io::Result<()> {
    let Some(end) = end else { return Ok(()) };
    fd::set_nonblocking(end, true).map_err(os_error)?;
    epoll.add(end, interest, token).map_err(os_error)
}

/// What came out of one stream.
#[derive(Debug)]
struct Stream {
    kept: Vec<u8>,
    lost: u64,
    limit: usize,
}

impl Stream {
    /// One piece, so that every stream gets its turn. At its end the stream is closed.
    fn read(&mut self, stream: &mut Option<PipeReader>, epoll: &Epoll) -> io::Result<()> {
        let Some(reader) = stream else { return Ok(()) };
        let mut piece = [0; PIECE];
        match fd::read(&*reader, &mut piece) {
            Ok(0) => {
                // A copy that somebody made of our end would keep it in the set.
                epoll.delete(&*reader).map_err(os_error)?;
                *stream = None;
            }
            Ok(length) => {
                let room = self.limit - self.kept.len();
                let (kept, lost) = piece[..length].split_at(room.min(length));
                self.kept.extend_from_slice(kept);
                self.lost += lost.len() as u64;
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(os_error(errno)),
        }
        Ok(())
    }
}

/// Keeps SIGPIPE from ending this thread's process while it writes to a pipe that nobody may read. A Rust program
/// ignores it, but who uses this library may have it otherwise.
struct NoSigpipe(Option<SignalSet>);

impl NoSigpipe {
    fn new() -> NoSigpipe {
        let harmless = signal::disposition(Signal::PIPE) == Disposition::Ignored;
        NoSigpipe((!harmless).then(|| {
            let before = signal::set_mask(SignalSet::FULL);
            signal::set_mask(before.with(Signal::PIPE));
            before
        }))
    }
}

impl Drop for NoSigpipe {
    fn drop(&mut self) {
        let Some(before) = self.0 else { return };
        if !before.contains(Signal::PIPE) {
            // What our own write raised must not be delivered now.
            let _ = signal::wait(SignalSet::EMPTY.with(Signal::PIPE), Some(Duration::ZERO));
        }
        signal::set_mask(before);
    }
}
