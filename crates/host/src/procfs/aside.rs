//! Files that wait for the lock of a process's memory map: `cmdline`, `environ`, `smaps_rollup`, `mem`.
//!
//! A process whose memory map is locked (a thread of it hangs in munmap(2) of a file on a dead server) hangs whoever asks for
//! one of them. So a copy of us asks (fork(2)): it sends what it reads through a pipe, and when nothing comes while it
//! waits in the kernel, the process that it is at is locked; the copy is killed, and another one goes on behind. Such a wait
//! ends by SIGKILL.

use super::reader::{open_at, refused};
use super::{parse_stat, system_error};
use crate::child::Child;
use crate::fork::{Threads, fork};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::process::{Answer, ProcState};
use doula_sys::fd::{self, OwnedFd};
use doula_sys::poll;
use std::ffi::CStr;
use std::io;
use std::time::Duration;

/// How long the copy may wait in the kernel for one answer, at first. A page that has to come back from a disk takes less.
const PATIENCE: Duration = Duration::from_millis(200);
/// With each one that is locked, patience halves down to this: many of them must not take long together.
const LEAST_PATIENCE: Duration = Duration::from_millis(10);
/// Most that is taken of one file.
const MOST: usize = 1 << 20;
/// Before each answer: its length, or the negative of an errno.
const HEAD: usize = 4;

/// The contents of a file of each of these processes, in their order.
pub(super) fn read(proc: &OwnedFd, pids: &[Pid], file: &CStr) -> io::Result<Vec<Answer<Vec<u8>>>> {
    ask(proc, pids, Part { file, from: 0, most: MOST })
}

/// What a process has in its memory from this address on: so many bytes, or fewer where the next page is not there.
pub(super) fn memory(proc: &OwnedFd, pid: Pid, from: u64, most: usize) -> io::Result<Answer<Vec<u8>>> {
    let answers = ask(proc, &[pid], Part { file: c"mem", from, most: most.min(MOST) })?;
    Ok(answers.into_iter().next().unwrap_or(Answer::None))
}

/// What is asked for.
#[derive(Clone, Copy)]
struct Part<'a> {
    file: &'a CStr,
    from: u64,
    most: usize,
}

fn ask(proc: &OwnedFd, pids: &[Pid], part: Part<'_>) -> io::Result<Vec<Answer<Vec<u8>>>> {
    let mut answers = Vec::with_capacity(pids.len());
    let mut patience = PATIENCE;
    while answers.len() < pids.len() {
        let mut copy = Copy::of_us(proc, &pids[answers.len()..], part)?;
        while let Some(answer) = copy.next(proc, patience)? {
            answers.push(answer);
        }
        if answers.len() < pids.len() {
            answers.push(if copy.is_stuck { Answer::Locked } else { Answer::None });
            patience = (patience / 2).max(LEAST_PATIENCE);
        }
    }
    Ok(answers)
}

/// A copy of us that reads. It is killed when this is dropped.
struct Copy {
    child: Child,
    answers: OwnedFd,
    /// What came through the pipe and was not looked at yet.
    come: Vec<u8>,
    is_stuck: bool,
}

impl Copy {
    fn of_us(proc: &OwnedFd, pids: &[Pid], part: Part<'_>) -> io::Result<Copy> {
        let (answers, into) = fd::pipe().map_err(system_error)?;
        // Before the fork: afterwards another thread's lock of the allocator could stand in the way.
        let mut room = vec![0; HEAD + part.most];
        let mut path = Vec::with_capacity(64);
        let child = fork(Threads::Accept, || {
            for pid in pids {
                name(&mut path, *pid, part.file);
                if tell(&into, &mut room, proc, &path, part.from).is_err() {
                    return 1;
                }
            }
            0
        })?;
        Ok(Copy { child, answers, come: Vec::new(), is_stuck: false })
    }

    /// The next answer; nothing when all have come, or when none comes any more.
    fn next(&mut self, proc: &OwnedFd, patience: Duration) -> io::Result<Option<Answer<Vec<u8>>>> {
        loop {
            if let Some(answer) = self.take() {
                return Ok(Some(answer));
            }
            if !poll::readable(&self.answers, Some(patience)).or_else(interrupted).map_err(system_error)? {
                // Who waits for a CPU on a busy machine is not stuck.
                if self.is_waiting(proc) {
                    self.is_stuck = true;
                    return Ok(None);
                }
                continue;
            }
            let mut some = [0; 64 * 1024];
            match fd::read(&self.answers, &mut some) {
                Ok(0) => return Ok(None),
                Ok(count) => self.come.extend_from_slice(&some[..count]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system_error(errno)),
            }
        }
    }

    fn take(&mut self) -> Option<Answer<Vec<u8>>> {
        let head = i32::from_ne_bytes(*self.come.first_chunk::<HEAD>()?);
        let Ok(length) = usize::try_from(head) else {
            self.come.drain(..HEAD);
            return Some(refused(Errno(-head)));
        };
        let text = self.come.get(HEAD..HEAD + length)?.to_vec();
        self.come.drain(..HEAD + length);
        Some(Answer::Is(text))
    }

    fn is_waiting(&self, proc: &OwnedFd) -> bool {
        let mut line = [0; 1024];
        let path = format!("{}/stat", self.child.pid());
        let read = open_at(proc, path.as_bytes()).and_then(|file| fd::read(&file, &mut line));
        let stat = read.ok().and_then(|length| parse_stat(&line[..length]));
        stat.is_some_and(|stat| matches!(stat.state, ProcState::Blocked | ProcState::Sleeping))
    }
}

fn interrupted(errno: Errno) -> Result<bool, Errno> {
    if errno == Errno::EINTR { Ok(false) } else { Err(errno) }
}

/// `PID/file`, without an allocation.
fn name(path: &mut Vec<u8>, pid: Pid, file: &CStr) {
    use std::io::Write as _;
    path.clear();
    // Writing into memory with room cannot fail.
    let _ = write!(path, "{pid}/");
    path.extend_from_slice(file.to_bytes());
}

/// In the copy: reads a file and sends it.
fn tell(into: &OwnedFd, room: &mut [u8], proc: &OwnedFd, path: &[u8], from: u64) -> Result<(), Errno> {
    let all = |file: OwnedFd| match from {
        0 => fd::read_full(&file, &mut room[HEAD..]),
        // Up to the first page that is not there: a second call would say of that one that it is an error.
        _ => fd::read_at(&file, &mut room[HEAD..], from),
    };
    let answer = open_at(proc, path).and_then(all);
    let (head, length) = match answer {
        Ok(length) => (length as i32, length),
        Err(errno) => (-errno.0, 0),
    };
    room[..HEAD].copy_from_slice(&head.to_ne_bytes());
    let mut rest = &room[..HEAD + length];
    while !rest.is_empty() {
        match fd::write(into, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
