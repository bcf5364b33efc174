//! How one worker is asked and answers: by lines over two pipes, by frames over a socket, or by frames through a ring.

use super::super::TaskId;
use super::frames::{Inbox, Kind, Outbox, VERSION, add_item};
use super::quiet::{has_open, name};
use super::ring::{self, Ring, Way};
use super::{LONGEST_ANSWER, Protocol, Rules};
use crate::child::{Child, os_error};
use crate::{Command, Stdio};
use doula_core::queue::{Answers, Closed, Ends as Own, Has};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::poll;
use doula_sys::socket::{self, Ways};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::path::PathBuf;

/// Where a worker looks for its fds, and which those are.
pub(super) const FRAMES: &str = "DOULA_FRAMES";
pub(super) const RING: &str = "DOULA_RING";
const FIRST: i32 = 3;
const SECOND: i32 = 4;

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Some,
    Nothing,
    /// Nobody can say anything any more: what was closed.
    End(&'static str),
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// There is no room now.
    Some,
    /// Nobody reads it: what was closed.
    Broken(&'static str),
}

/// What a worker said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said<'s> {
    /// A line, to the task that it has.
    Line(&'s [u8]),
    Done(TaskId, &'s [u8]),
    Failed(TaskId, &'s [u8]),
    /// It leaves; what it has it has not done.
    Leaves,
}

/// The ends that a worker gets, until it is born.
#[derive(Debug)]
pub(super) enum Ends {
    Pipes,
    Frames(Box<Frames>),
}

impl Ends {
    /// Puts them into its command.
    pub(super) fn new(rules: &Rules, command: &mut Command) -> io::Result<Ends> {
        let link = match rules.protocol {
            Protocol::Lines => {
                command.stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out()).stderr(Stdio::pipe_out());
                return Ok(Ends::Pipes);
            }
            Protocol::Frames => {
                let (ours, theirs) = socket::pair(socket::Kind::Stream).map_err(os_error)?;
                // Without /proc nobody is ever asked whether it has it.
                let theirs_is = name(&theirs).unwrap_or_default();
                command.fd(FIRST, theirs).env(FRAMES, FIRST.to_string()).env_remove(RING);
                Link::Socket { input: Some(ours.try_clone()?), output: ours, theirs: theirs_is }
            }
            Protocol::Ring => {
                let (file, bell) = (ring::file()?, poll::eventfd().map_err(os_error)?);
                let ring = Ring::in_file(&file)?;
                command.fd(FIRST, file).fd(SECOND, bell.try_clone()?);
                command.env(RING, format!("{FIRST},{SECOND}")).env_remove(FRAMES);
                Link::Ring { ring, bell }
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::same_as(2)).stderr(Stdio::pipe_out());
        let (outbox, inbox) = (Outbox::default(), Inbox::default());
        Ok(Ends::Frames(Box::new(Frames { link, outbox, inbox, greeted: false, fault: None, unread: false })))
    }

    /// Ours, now that it lives.
    pub(super) fn joined(self, child: &mut Child, rules: &Rules) -> io::Result<Wire> {
        let frames = match self {
            Ends::Frames(frames) => return Ok(Wire::Frames(frames)),
            Ends::Pipes => || io::Error::other("the pipes of a worker are missing"),
        };
        let input = child.stdin.take().ok_or_else(frames)?;
        let output = child.stdout.take().ok_or_else(frames)?;
        fd::set_nonblocking(&input, true).map_err(os_error)?;
        fd::set_nonblocking(&output, true).map_err(os_error)?;
        let answers = Answers::new(LONGEST_ANSWER, rules.skips_blank);
        Ok(Wire::Lines(Lines {
            input: Some(input),
            output,
            line: Vec::new(),
            written: 0,
            open: 0,
            sent: 0,
            answers,
        }))
    }
}

/// Our ends.
#[derive(Debug)]
pub(super) enum Wire {
    Lines(Lines),
    Frames(Box<Frames>),
}

#[derive(Debug)]
pub(super) struct Lines {
    input: Option<PipeWriter>,
    output: PipeReader,
    /// The lines that ask for tasks, and how much of them is in the pipe.
    line: Vec<u8>,
    written: usize,
    /// So many tasks are not answered, and so much was written since there were none.
    open: u64,
    sent: u64,
    answers: Answers,
}

#[derive(Debug)]
pub(super) struct Frames {
    link: Link,
    outbox: Outbox,
    inbox: Inbox,
    /// It said hello.
    greeted: bool,
    /// Its ring is broken.
    fault: Option<String>,
    /// It was gone before it had read all that was sent.
    unread: bool,
}

#[derive(Debug)]
enum Link {
    Socket { input: Option<OwnedFd>, output: OwnedFd, theirs: PathBuf },
    Ring { ring: Ring, bell: OwnedFd },
}

impl Wire {
    /// What is readable when it says something.
    pub(super) fn output(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Lines(lines) => lines.output.as_fd(),
            Wire::Frames(frames) => match &frames.link {
                Link::Socket { output, .. } => output.as_fd(),
                Link::Ring { bell, .. } => bell.as_fd(),
            },
        }
    }

    /// What is writable when it has room again; a ring tells that as it tells what is said.
    pub(super) fn input(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Wire::Lines(lines) => lines.input.as_ref().map(AsFd::as_fd),
            Wire::Frames(frames) => match &frames.link {
                Link::Socket { input, .. } => input.as_ref().map(AsFd::as_fd),
                Link::Ring { .. } => None,
            },
        }
    }

    /// Takes tasks to be asked for; `ask` appends what is said of one.
    pub(super) fn ask(&mut self, has: Has, ask: &mut dyn FnMut(TaskId, &mut Vec<u8>)) -> io::Result<()> {
        let frames = match self {
            Wire::Lines(lines) => {
                lines.forget_written();
                has.tasks().for_each(|task| ask(task, &mut lines.line));
                lines.open += u64::from(has.count);
                return Ok(());
            }
            Wire::Frames(frames) => frames,
        };
        let files = matches!(frames.link, Link::Socket { .. });
        match has.count {
            1 => frames.outbox.add((Kind::Task, has.task.0), files, |to| ask(has.task, to)),
            _ => frames.outbox.add((Kind::Tasks, has.task.0), files, |to| {
                has.tasks().for_each(|task| add_item(to, |to| ask(task, to)));
            }),
        }
    }

    /// Writes what there is room for.
    pub(super) fn send(&mut self) -> io::Result<Sent> {
        match self {
            Wire::Lines(lines) => lines.send(),
            Wire::Frames(frames) => match &frames.link {
                Link::Socket { input, .. } => send(input.as_ref(), &mut frames.outbox),
                Link::Ring { ring, .. } => match put(ring, &mut frames.outbox) {
                    Err(error) if error.kind() == ErrorKind::InvalidData => {
                        frames.fault = Some(error.to_string());
                        Ok(Sent::Some)
                    }
                    put => put,
                },
            },
        }
    }

    /// Reads what is there.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        match self {
            Wire::Lines(lines) => lines.read(buffer),
            Wire::Frames(frames) => frames.read(buffer),
        }
    }

    /// The next that it said. `Err`: that is no answer.
    pub(super) fn next(&mut self) -> Result<Option<Said<'_>>, String> {
        match self {
            Wire::Lines(lines) => {
                let line = lines.answers.line()?;
                lines.open = lines.open.saturating_sub(u64::from(line.is_some()));
                Ok(line.map(Said::Line))
            }
            Wire::Frames(frames) => frames.next(),
        }
    }

    /// Whether it said more than what was taken.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Wire::Lines(lines) => !lines.answers.is_empty(),
            Wire::Frames(frames) => !frames.inbox.is_empty(),
        }
    }

    /// Whether it says nothing behind its last answer.
    pub(super) const fn is_lines(&self) -> bool {
        matches!(self, Wire::Lines(_))
    }

    /// Whether it has not read what it was asked for, by lines not a byte of it: whatever it dies of, it is not that. `single`: that is
    /// one task.
    pub(super) fn took_nothing(&self, single: bool) -> bool {
        match self {
            Wire::Lines(lines) => {
                let unread = lines.input.as_ref().and_then(|input| fd::unread(input).ok()).unwrap_or(0);
                unread >= lines.sent
            }
            Wire::Frames(frames) => !frames.greeted || single && frames.has_unread(),
        }
    }

    /// Which of its ends this process has itself; `None` if that cannot be known, or it needs none.
    pub(super) fn ends(&self, pid: Pid) -> Option<Own> {
        match self {
            Wire::Lines(lines) => {
                let input = has_open(pid, &name(lines.input.as_ref()?).ok()?, 0)?;
                let output = has_open(pid, &name(&lines.output).ok()?, 1)?;
                Some(Own { input, output })
            }
            Wire::Frames(frames) => match &frames.link {
                Link::Socket { theirs, .. } => {
                    let has = has_open(pid, theirs, FIRST.unsigned_abs())?;
                    Some(Own { input: has, output: has })
                }
                // What is mapped needs no fd.
                Link::Ring { .. } => None,
            },
        }
    }

    /// What people call an end.
    pub(super) const fn called(&self, closed: Closed) -> &'static str {
        match (self, closed) {
            (Wire::Lines(_), Closed::Input) => "standard input",
            (Wire::Lines(_), Closed::Output) => "standard output",
            (Wire::Frames(_), _) => "socket",
        }
    }

    /// Whether nobody has read any of the tasks that it has: by lines they take so many bytes, by frames it has read no more of what
    /// it was sent.
    pub(super) fn has_read_nothing_of(&self, bytes: usize, single: bool) -> bool {
        match self {
            Wire::Lines(lines) => {
                let unread = lines.input.as_ref().and_then(|input| fd::unread(input).ok()).unwrap_or(0);
                unread + (lines.line.len() - lines.written) as u64 >= bytes as u64
            }
            Wire::Frames(frames) => match &frames.link {
                Link::Socket { output, .. } => single && socket::is_unread(output).unwrap_or(false),
                Link::Ring { .. } => false,
            },
        }
    }

    /// Whether we may sleep until its output is readable.
    pub(super) fn may_sleep(&self) -> bool {
        match self {
            Wire::Lines(_) => true,
            Wire::Frames(frames) => match &frames.link {
                Link::Socket { .. } => true,
                // A ring that is broken is read, to find that out.
                Link::Ring { ring, .. } => ring.may_sleep_to_read(Way::ToUs).unwrap_or(false),
            },
        }
    }

    /// Tells it that there is no more work.
    pub(super) fn finish(&mut self) {
        match self {
            Wire::Lines(lines) => lines.input = None,
            Wire::Frames(frames) => match &mut frames.link {
                Link::Socket { input, .. } => {
                    // Who is gone by now needs not be told.
                    let _ = input.take().map(|input| socket::shut_down(input, Ways::Out));
                }
                Link::Ring { ring, .. } => ring.close(),
            },
        }
    }
}

impl Lines {
    fn forget_written(&mut self) {
        self.line.drain(..self.written);
        self.written = 0;
        if self.open == 0 {
            self.sent = 0;
        }
    }

    fn send(&mut self) -> io::Result<Sent> {
        while let (Some(input), Some(rest)) =
            (&mut self.input, self.line.get(self.written..).filter(|rest| !rest.is_empty()))
        {
            match input.write(rest) {
                Ok(count) => {
                    self.written += count;
                    self.sent += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Sent::Some),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    return Ok(Sent::Broken("it closed its standard input"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Sent::All)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        loop {
            return match self.output.read(buffer) {
                Ok(0) => Ok(Heard::End("it closed its standard output")),
                Ok(count) => {
                    self.answers.add(buffer.get(..count).unwrap_or_default());
                    Ok(Heard::Some)
                }
                // Nothing means that there is nothing: its end may have been told.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Heard::Nothing),
                Err(error) => Err(error),
            };
        }
    }
}

impl Frames {
    /// Whether some of what was sent was never read.
    fn has_unread(&self) -> bool {
        let in_ring = match &self.link {
            Link::Socket { .. } => false,
            Link::Ring { ring, .. } => ring.has_unread(Way::ToWorker),
        };
        self.unread || in_ring || !self.outbox.is_empty()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        let (ring, bell) = match &self.link {
            Link::Socket { output, .. } => {
                let heard = receive(output, &mut self.inbox, buffer)?;
                self.unread |= heard == RESET;
                return Ok(heard);
            }
            Link::Ring { ring, bell } => (ring, bell),
        };
        let mut rung = [0; 8];
        // It tells nothing if it did not ring.
        let _ = fd::read(bell, &mut rung);
        match ring.read(Way::ToUs, buffer) {
            Ok(0) => Ok(Heard::Nothing),
            Ok(count) => {
                self.inbox.add(buffer.get(..count).unwrap_or_default(), Vec::new());
                ring.wake_worker(Way::ToUs);
                Ok(Heard::Some)
            }
            Err(error) => {
                self.fault = Some(error.to_string());
                Ok(Heard::Some)
            }
        }
    }

    fn next(&mut self) -> Result<Option<Said<'_>>, String> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if !self.greeted {
            match self.inbox.next()? {
                None => return Ok(None),
                Some(hello) if hello.kind == Kind::Hello && hello.id == VERSION => self.greeted = true,
                Some(hello) if hello.kind == Kind::Hello => {
                    return Err(format!("it speaks version {} of the protocol, not {VERSION}", hello.id));
                }
                Some(_) => return Err("it answered before it said hello".to_owned()),
            }
        }
        if self.inbox.is_flooded() {
            return Err("it sent files without end".to_owned());
        }
        let Some(frame) = self.inbox.next()? else { return Ok(None) };
        let task = TaskId(frame.id);
        match frame.kind {
            Kind::Done => Ok(Some(Said::Done(task, frame.payload))),
            Kind::Failed => Ok(Some(Said::Failed(task, frame.payload))),
            Kind::Leave => Ok(Some(Said::Leaves)),
            Kind::Hello | Kind::Task | Kind::Tasks | Kind::DoneMany => {
                Err(format!("it sent a frame that only we send: {:?}", frame.kind))
            }
        }
    }
}

/// Its end was closed with something in it that nobody had read (unix(7)).
const RESET: Heard = Heard::End("it closed its socket, and had not read what was in it");

fn receive(socket: &OwnedFd, inbox: &mut Inbox, buffer: &mut [u8]) -> io::Result<Heard> {
    loop {
        return match socket::receive(socket, buffer) {
            Ok(message) if message.length == 0 => Ok(Heard::End("it closed its socket")),
            Ok(message) => {
                inbox.add(buffer.get(..message.length).unwrap_or_default(), message.fds);
                Ok(Heard::Some)
            }
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => Ok(Heard::Nothing),
            Err(Errno::ECONNRESET) => Ok(RESET),
            Err(errno) => Err(os_error(errno)),
        };
    }
}

fn send(socket: Option<&OwnedFd>, outbox: &mut Outbox) -> io::Result<Sent> {
    while let Some(socket) = socket.filter(|_| !outbox.is_empty()) {
        let (bytes, file) = outbox.next();
        let files = file.map(AsFd::as_fd);
        match socket::send(socket, bytes, files.as_slice()) {
            Ok(count) => outbox.took(count),
            Err(Errno::EAGAIN) => return Ok(Sent::Some),
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Ok(Sent::Broken("it closed its socket")),
            Err(errno) => return Err(os_error(errno)),
        }
    }
    Ok(Sent::All)
}

fn put(ring: &Ring, outbox: &mut Outbox) -> io::Result<Sent> {
    while !outbox.is_empty() {
        let count = ring.write(Way::ToWorker, outbox.next().0)?;
        outbox.took(count);
        if count == 0 && ring.may_sleep_to_write(Way::ToWorker)? {
            ring.wake_worker(Way::ToWorker);
            return Ok(Sent::Some);
        }
    }
    ring.wake_worker(Way::ToWorker);
    Ok(Sent::All)
}
