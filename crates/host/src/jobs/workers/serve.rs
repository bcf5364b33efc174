//! The other side of frames: a worker, which does one task after the other until there are no more.

use super::frames::{Inbox, Kind, Outbox, VERSION, add_item};
use super::ring::{Ring, Way};
use super::wire::{FRAMES, RING};
use crate::child::os_error;
use crate::worker::{inherited, number};
use doula_model::plan::Errno;
use doula_model::time::Time;
use doula_sys::fd::{self, AsFd, OwnedFd, RawFd};
use doula_sys::{poll, socket, time};
use std::io::{self, ErrorKind};
use std::os::unix::process::parent_id;
use std::time::Duration;

/// So much is read at once.
const PIECE: usize = 256 << 10;
/// No more answers are put into one frame.
const TOGETHER: usize = 64 << 10;
/// So often a worker that sleeps at its ring looks whether whoever would wake it is alive.
const LOOK: Duration = Duration::from_secs(1);

/// Does tasks as a worker by frames ([`Protocol::Frames`](super::Protocol::Frames) or
/// [`Ring`](super::Protocol::Ring)), until there are no more. `work` takes an input and appends the output; its error is the
/// failure of that one task.
///
/// An answer is sent when its task is done; those of tasks that came together are sent together, if they take next to no time.
///
/// # Errors
/// `NotFound` if nobody gave us a socket or a ring: then we are nobody's worker. Else what reading and writing fail with.
///
/// ```
/// let mut work = |input: &[u8], output: &mut Vec<u8>| {
///     output.extend(input.iter().rev());
///     Ok(())
/// };
/// let error = doula_host::pool::serve(&mut work).unwrap_err();    // nobody's worker, here
/// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
/// ```
pub fn serve(work: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), String>) -> io::Result<()> {
    let link = Link::inherited()?;
    let outbox = Outbox::default();
    let mut worker = Worker { files: matches!(link, Link::Socket(_)), link, outbox, open: None, work };
    worker.outbox.add((Kind::Hello, VERSION), false, |_| ())?;
    worker.send()?;
    let (mut inbox, mut buffer) = (Inbox::default(), vec![0; PIECE]);
    while worker.link.read(&mut buffer, &mut inbox)? {
        worker.answer_all(&mut inbox)?;
        worker.send()?;
    }
    Ok(())
}

struct Worker<F> {
    link: Link,
    /// Files can go along.
    files: bool,
    outbox: Outbox,
    /// The number behind the last of the frame that answers are added to.
    open: Option<u64>,
    work: F,
}

impl<F: FnMut(&[u8], &mut Vec<u8>) -> Result<(), String>> Worker<F> {
    fn answer_all(&mut self, inbox: &mut Inbox) -> io::Result<()> {
        let wrong = |text: String| io::Error::new(ErrorKind::InvalidData, text);
        let mut sent: Time = time::roughly();
        while let Some(frame) = inbox.next().map_err(wrong)? {
            if frame.kind != Kind::Task {
                return Err(wrong(format!("{:?} came instead of a task", frame.kind)));
            }
            self.answer(frame.id, frame.payload)?;
            let now = time::roughly();
            if now != sent || !inbox.is_in_several() {
                self.send()?;
                sent = now;
            }
        }
        Ok(())
    }

    fn answer(&mut self, id: u64, input: &[u8]) -> io::Result<()> {
        if self.open != Some(id) {
            self.close()?;
            self.outbox.open((Kind::DoneMany, id));
        }
        let (at, work) = (self.outbox.place(), &mut self.work);
        let done = add_item(self.outbox.bytes(), |output| work(input, output));
        self.open = Some(id + 1);
        if let Err(why) = done {
            // What it wrote until then is no answer.
            self.outbox.cut(at);
            match self.outbox.opened() {
                0 => self.forget(),
                _ => self.close()?,
            }
            return self
                .outbox
                .add((Kind::Failed, id), self.files, |to| to.extend_from_slice(why.as_bytes()));
        }
        if self.outbox.opened() > TOGETHER { self.close() } else { Ok(()) }
    }

    fn forget(&mut self) {
        self.open = None;
        self.outbox.drop_opened();
    }

    fn close(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(_) => self.outbox.close(self.files),
            None => Ok(()),
        }
    }

    /// Sends all there is.
    fn send(&mut self) -> io::Result<()> {
        self.close()?;
        while !self.outbox.is_empty() {
            self.link.write(&mut self.outbox)?;
        }
        self.link.wake()
    }
}

enum Link {
    Socket(OwnedFd),
    Ring { ring: Ring, bell: OwnedFd, parent: u32 },
}

impl Link {
    /// What whoever started us has given us.
    fn inherited() -> io::Result<Link> {
        if let Some(socket) = number(FRAMES)? {
            return Ok(Link::Socket(taken(socket)?));
        }
        let numbers = std::env::var(RING).map_err(|_| ErrorKind::NotFound)?;
        let number = |text: &str| text.parse::<RawFd>().ok();
        let numbers = numbers.split_once(',').and_then(|(ring, bell)| Some((number(ring)?, number(bell)?)));
        let (ring, bell) = numbers.ok_or(ErrorKind::InvalidInput)?;
        let (ring, bell) = (Ring::in_file(taken(ring)?)?, taken(bell)?);
        Ok(Link::Ring { ring, bell, parent: parent_id() })
    }

    /// Writes some, and waits for room if there is none.
    fn write(&self, outbox: &mut Outbox) -> io::Result<()> {
        let (bytes, file) = outbox.next();
        let count = match self {
            Link::Socket(socket) => match socket::send(socket, bytes, file.map(AsFd::as_fd).as_slice()) {
                Err(Errno::EAGAIN) => poll::writable(socket, None).map(|_| 0),
                Err(Errno::EINTR) => Ok(0),
                sent => sent,
            }
            .map_err(os_error)?,
            Link::Ring { ring, parent, .. } => {
                let count = ring.write(Way::ToUs, bytes)?;
                if count == 0 {
                    self.wake()?;
                    if ring.may_sleep_to_write(Way::ToUs)? {
                        ring.sleep_to_write(LOOK);
                        alive(*parent)?;
                    }
                }
                count
            }
        };
        outbox.took(count);
        Ok(())
    }

    /// Rings the bell if somebody sleeps until it rings.
    fn wake(&self) -> io::Result<()> {
        let Link::Ring { ring, bell, .. } = self else { return Ok(()) };
        let (reader, writer) = (ring.reader_sleeps(Way::ToUs), ring.writer_sleeps(Way::ToWorker));
        if reader || writer {
            fd::write(bell, &1_u64.to_ne_bytes()).map_err(os_error)?;
        }
        Ok(())
    }

    /// Waits for something to read, and reads it; `false` when there will be no more.
    fn read(&self, buffer: &mut [u8], inbox: &mut Inbox) -> io::Result<bool> {
        match self {
            Link::Socket(socket) => loop {
                match socket::receive(socket, buffer) {
                    Ok(message) => {
                        inbox.add(buffer.get(..message.length).unwrap_or_default(), message.fds);
                        return Ok(message.length > 0);
                    }
                    Err(Errno::EAGAIN) => drop(poll::readable(socket, None).map_err(os_error)),
                    Err(Errno::EINTR) => {}
                    Err(Errno::ECONNRESET) => return Ok(false),
                    Err(errno) => return Err(os_error(errno)),
                }
            },
            Link::Ring { ring, parent, .. } => loop {
                let count = ring.read(Way::ToWorker, buffer)?;
                if count > 0 {
                    inbox.add(buffer.get(..count).unwrap_or_default(), Vec::new());
                    self.wake_writer(ring)?;
                    return Ok(true);
                }
                if ring.is_closed() {
                    return Ok(false);
                }
                if ring.may_sleep_to_read(Way::ToWorker)? {
                    ring.sleep_to_read(LOOK);
                    alive(*parent)?;
                }
            },
        }
    }

    fn wake_writer(&self, ring: &Ring) -> io::Result<()> {
        let Link::Ring { bell, .. } = self else { return Ok(()) };
        if ring.writer_sleeps(Way::ToWorker) {
            fd::write(bell, &1_u64.to_ne_bytes()).map_err(os_error)?;
        }
        Ok(())
    }
}

/// Nobody else wakes who sleeps at a ring.
fn alive(parent: u32) -> io::Result<()> {
    if parent_id() == parent { Ok(()) } else { Err(ErrorKind::ConnectionAborted.into()) }
}

fn taken(number: impl TryInto<RawFd>) -> io::Result<OwnedFd> {
    let number = number.try_into().map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    inherited(number)
}
