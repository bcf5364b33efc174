//! Standard output: where people look, and where a container engine reads.
//!
//! It must never make the supervisor wait. A terminal or a pipe is opened a second time through `/proc`, so
//! that O_NONBLOCK is ours alone (on the shared open file it would upset the shell). A socket is written with
//! MSG_DONTWAIT. A regular file never waits and is not opened again, because its position is shared with
//! others. Where a second opening is refused, writes are small and only done after poll(2).
//!
//! A terminal gets escaped text, see [`super::escape`]; everything else gets the bytes as they are.

use super::text::{self, Clock};
use super::{Mark, Stamp, errno};
use core::time::Duration;
use doula_model::plan::Errno;
use doula_model::time::Time;
use doula_sys::fd::{self, AsFd, AsRawFd, BorrowedFd, OwnedFd};
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::socket;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;

/// With this much unwritten text the services' pipes are not read any more.
const FULL: usize = 256 * 1024;

/// With this little of it they are read again.
const LOW: usize = 64 * 1024;

/// Even the supervisor's own words are counted instead of kept beyond this.
const MOST: usize = 2 * FULL;

/// More than this is not kept for later when the text has been written.
const KEPT_CAPACITY: usize = 32 * 1024;

/// Tags are aligned up to this width; longer names stick out.
const WIDEST_TAG: usize = 24;

/// What is written at once where the fd may block: less than any pipe or terminal that is ready has room for.
const CAUTIOUS_WRITE: usize = 512;

/// The pause between attempts while standard output refuses text (disk full).
const RETRY: Duration = Duration::from_secs(1);

/// How records look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colours by SGR sequences, those of the services included. Only where it is a terminal.
    pub colours: bool,
    /// The time in front.
    pub time: bool,
    /// The name of the service in front.
    pub tags: bool,
}

impl Default for Style {
    fn default() -> Style {
        Style { colours: true, time: true, tags: true }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag<'a> {
    pub(crate) name: &'a str,
    /// The SGR parameter of its colour.
    pub(crate) colour: &'a str,
}

/// What is worth telling the other sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScreenNews {
    /// Lines get lost because of this.
    Refused(Errno),
    /// Nobody will ever read it again; nothing more is written.
    Gone(Errno),
    /// It works again; so many lines were lost.
    Works(u64),
}

#[derive(Debug)]
enum Way {
    /// Our own open file with O_NONBLOCK, or a regular file.
    Direct(OwnedFd),
    Socket(OwnedFd),
    /// May block: the set tells when it will not.
    Cautious(OwnedFd, Epoll),
}

#[derive(Debug)]
struct Outage {
    errno: Errno,
    lost: u64,
    retry_at: Time,
}

/// The sink.
#[derive(Debug)]
pub(crate) struct Screen {
    way: Option<Way>,
    terminal: bool,
    style: Style,
    clock: Clock,
    width: usize,
    pending: Vec<u8>,
    written: usize,
    stuck: bool,
    outage: Option<Outage>,
    overflow: u64,
    /// Nobody will ever read it again. The fd stays, so that it can be taken out of epoll sets.
    gone: bool,
}

impl Screen {
    /// Writes to (a duplicate of) standard output.
    pub(crate) fn open(output: OwnedFd, style: Style) -> Result<Screen, Errno> {
        let file = File::from(output);
        let kind = file.metadata().map_err(|error| errno(&error))?.file_type();
        let (terminal, output) = (file.is_terminal(), OwnedFd::from(file));
        let way = if kind.is_socket() {
            Way::Socket(output)
        } else if terminal || kind.is_fifo() {
            reopen(&output).map_or_else(|| cautious(output), |own| Ok(Way::Direct(own)))?
        } else {
            Way::Direct(output)
        };
        let style = Style { colours: style.colours && terminal, ..style };
        let clock = if terminal { Clock::local() } else { Clock::utc() };
        Ok(Screen { way: Some(way), terminal, style, clock, ..Screen::nowhere() })
    }

    /// A screen that nobody sees.
    pub(crate) fn nowhere() -> Screen {
        Screen {
            way: None,
            terminal: false,
            style: Style::default(),
            clock: Clock::utc(),
            width: 0,
            pending: Vec::new(),
            written: 0,
            stuck: false,
            outage: None,
            overflow: 0,
            gone: false,
        }
    }

    /// A name that tags are aligned to from now on.
    pub(crate) fn make_room(&mut self, name: &str) {
        self.width = self.width.max(name.chars().count()).min(WIDEST_TAG);
    }

    /// Takes a record in.
    pub(crate) fn line(&mut self, stamp: Stamp, tag: Tag<'_>, mark: Mark, bytes: &[u8]) {
        if self.gone || self.way.is_none() {
            return;
        }
        if let Some(outage) = &mut self.outage {
            outage.lost += 1;
            return;
        }
        if self.pending.len() - self.written >= MOST {
            self.overflow += 1;
            return;
        }
        if self.overflow > 0 {
            let text = format!("{} lines are missing here: standard output was blocked", self.overflow);
            self.overflow = 0;
            self.format(stamp, tag, Mark::Note, text.as_bytes());
        }
        self.format(stamp, tag, mark, bytes);
    }

    /// Writes what can be written now.
    pub(crate) fn flush(&mut self, stamp: Stamp) -> Option<ScreenNews> {
        let retry = match &self.outage {
            Some(outage) if stamp.now < outage.retry_at => return None,
            Some(outage) => Some((outage.errno, outage.lost)),
            None => None,
        };
        if let Some((errno, lost)) = retry {
            self.outage = None;
            let text = format!("{lost} lines are missing here: {errno}");
            let tag = Tag { name: "doula", colour: "1" };
            self.format(stamp, tag, Mark::Note, text.as_bytes());
        }
        let end = self.write_pending();
        match (end, retry) {
            (Ok(()), None) => None,
            (Ok(()), Some((_, lost))) => Some(ScreenNews::Works(lost)),
            (Err(errno @ (Errno::EPIPE | Errno::ENXIO | Errno::ECONNREFUSED | Errno::EBADF)), _) => {
                self.give_up(errno)
            }
            (Err(errno), _) if self.terminal => self.give_up(errno),
            (Err(errno), before) => self.pause(stamp, errno, before.map(|(_, lost)| lost)),
        }
    }

    /// How many bytes wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.pending.len() - self.written
    }

    /// Whether the services must wait.
    pub(crate) fn is_full(&self) -> bool {
        self.pending.len() - self.written >= FULL
    }

    /// Whether the services may go on.
    pub(crate) fn is_low(&self) -> bool {
        self.pending.len() - self.written <= LOW
    }

    /// The fd to wait for, if it is that which hinders writing.
    pub(crate) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        if self.stuck { self.fd() } else { None }
    }

    /// The fd that is written to.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.way.as_ref().map(|way| match way {
            Way::Direct(fd) | Way::Socket(fd) | Way::Cautious(fd, _) => fd.as_fd(),
        })
    }

    /// When [`Screen::flush`] wants to be called again after an error.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.outage.as_ref().map(|outage| outage.retry_at)
    }

    /// How many lines would be lost if this were the end.
    pub(crate) fn unwritten(&self) -> u64 {
        let waiting = self.pending[self.written..].iter().filter(|byte| **byte == b'\n').count() as u64;
        waiting + self.overflow + self.outage.as_ref().map_or(0, |outage| outage.lost)
    }

    fn format(&mut self, stamp: Stamp, tag: Tag<'_>, mark: Mark, bytes: &[u8]) {
        let Style { colours, time, tags } = self.style;
        let out = &mut self.pending;
        if time {
            out.extend_from_slice(if colours { b"\x1b[2m" } else { b"" });
            self.clock.write(stamp.wall, out);
            out.extend_from_slice(if colours { b"\x1b[0m " } else { b" " });
        }
        if tags {
            let (width, mark) = (self.width, char::from(mark.on_screen()));
            let (Tag { name, colour }, done) = (tag, "writing to memory cannot fail");
            let written = match colours {
                true => write!(out, "\x1b[{colour}m{name:width$} {mark}\x1b[0m "),
                false => write!(out, "{name:width$} {mark} "),
            };
            debug_assert!(written.is_ok(), "{done}");
        }
        match self.terminal {
            true => text::escape(bytes, colours, out),
            false => out.extend_from_slice(bytes),
        }
        out.push(b'\n');
    }

    fn write_pending(&mut self) -> Result<(), Errno> {
        self.stuck = false;
        while self.written < self.pending.len() {
            let (false, Some(way)) = (self.gone, &self.way) else { break };
            match way.write(&self.pending[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    self.stuck = true;
                    break;
                }
                Err(errno) => return Err(errno),
            }
        }
        self.compact();
        Ok(())
    }

    /// Gives memory back, and moves the rest to the front when that is cheap.
    fn compact(&mut self) {
        if self.written == self.pending.len() {
            self.pending.clear();
            self.written = 0;
            self.pending.shrink_to(KEPT_CAPACITY);
        } else if self.written > LOW {
            self.pending.drain(..self.written);
            self.written = 0;
        }
    }

    fn give_up(&mut self, errno: Errno) -> Option<ScreenNews> {
        (self.gone, self.outage, self.stuck, self.written) = (true, None, false, 0);
        self.pending = Vec::new();
        Some(ScreenNews::Gone(errno))
    }

    /// Keeps the rest of a half-written line, so that it is whole in the end, and counts the others.
    fn pause(&mut self, stamp: Stamp, errno: Errno, lost_before: Option<u64>) -> Option<ScreenNews> {
        let half = self.written > 0 && self.pending[self.written - 1] != b'\n';
        let rest = &self.pending[self.written..];
        let line_end = rest.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let keep = if half { line_end } else { 0 };
        let dropped = rest[keep..].iter().filter(|byte| **byte == b'\n').count() as u64;
        // One of the dropped lines is our own report of the attempt before.
        let lost = lost_before.map_or(dropped, |before| before + dropped.saturating_sub(1));
        self.pending.truncate(self.written + keep);
        if half {
            // What shows that the line is half written must stay in front of it.
            self.pending.drain(..self.written - 1);
            self.written = 1;
        } else {
            self.pending.clear();
            self.written = 0;
        }
        self.outage = Some(Outage { errno, lost, retry_at: stamp.now.after(RETRY) });
        lost_before.is_none().then_some(ScreenNews::Refused(errno))
    }
}

impl Way {
    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Way::Direct(fd) => fd::write(fd, bytes),
            Way::Socket(fd) => socket::send(fd, bytes, &[]),
            Way::Cautious(fd, set) => {
                let mut room = [Happening::EMPTY; 1];
                if set.wait(&mut room, Some(Duration::ZERO))?.is_empty() {
                    return Err(Errno::EAGAIN);
                }
                fd::write(fd, &bytes[..bytes.len().min(CAUTIOUS_WRITE)])
            }
        }
    }
}

/// Opens the same file again, for us alone; `None` where that is not allowed.
fn reopen(output: &OwnedFd) -> Option<OwnedFd> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", output.as_raw_fd())).ok()?;
    fd::open(&path, fd::Access::WriteNow).ok()
}

fn cautious(output: OwnedFd) -> Result<Way, Errno> {
    let set = Epoll::new()?;
    set.add(&output, Interest::WRITE, 0)?;
    Ok(Way::Cautious(output, set))
}
