//! One pass over `/proc`: the numbers, then of each process the files that are needed for what was asked, each with one
//! open, one read and one close into the same buffer.

use super::aside;
use super::status::{parse_cgroup, parse_share, parse_status, parse_traffic};
use super::{parse_stat, system_error};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::process::{Answer, Namespaces, Process, Stat};
use doula_sys::fd::{self, Access, OwnedFd};
use std::ffi::CStr;
use std::io::{self, Write as _};

/// Larger than most files of `/proc/PID`; those that do not fit make it grow.
const ROOM: usize = 8 * 1024;
/// The kernel tells no more of the arguments than were given to execve, and those can be many.
const MOST: usize = 4 << 20;

/// What is asked of each process beside `/proc/PID/stat`. Each is one file more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Users, signals, namespaces and more.
    pub status: bool,
    /// The arguments. Read aside, because that waits for the lock of the memory map.
    pub args: bool,
    /// How the memory is shared; aside too, and slow: the kernel looks at every page.
    pub share: bool,
    /// What it read and wrote.
    pub traffic: bool,
    /// Where in the kernel it waits.
    pub wchan: bool,
    /// Its cgroup.
    pub cgroup: bool,
    /// How likely it is ended when memory runs out.
    pub oom_score: bool,
    /// The namespaces that it is in.
    pub namespaces: bool,
    /// Threads instead of processes.
    pub threads: bool,
}

/// A mount of procfs.
///
/// ```
/// use doula_host::procfs::{Reader, Want};
/// let mut reader = Reader::open()?;
/// let processes = reader.scan(&Want { status: true, ..Want::default() })?;
/// let us = processes.iter().find(|process| process.stat.pid.get() as u32 == std::process::id());
/// let us = us.expect("we are one of them");
/// assert_eq!(us.status.known().expect("nobody hides us from ourselves").tracer, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    pub(super) proc: OwnedFd,
    path: Vec<u8>,
    buffer: Vec<u8>,
}

impl Reader {
    /// That at `/proc`.
    ///
    /// # Errors
    /// When it is not there, or is no procfs.
    pub fn open() -> io::Result<Reader> {
        Reader::at(c"/proc")
    }

    /// Another one.
    ///
    /// # Errors
    /// When it is not there, or is no procfs.
    pub fn at(mount: &CStr) -> io::Result<Reader> {
        let proc = fd::open(mount, Access::Directory).map_err(system_error)?;
        let mut reader = Reader { proc, path: Vec::new(), buffer: vec![0; ROOM] };
        match reader.read(b"self/stat", false) {
            Ok(_) => Ok(reader),
            Err(errno) => Err(system_error(errno)),
        }
    }

    /// The numbers of all processes that we may see, in ascending order.
    ///
    /// # Errors
    /// What getdents64(2) says.
    pub fn numbers(&mut self) -> io::Result<Vec<Pid>> {
        self.numbers_in(b".").map_err(system_error)
    }

    /// The numbers of the threads of a process; none when it is gone.
    pub fn threads(&mut self, pid: Pid) -> Vec<Pid> {
        self.numbers_in(format!("{pid}/task").as_bytes()).unwrap_or_default()
    }

    /// Looks at one process.
    pub fn stat(&mut self, pid: Pid) -> Option<Stat> {
        let length = self.of(pid, "stat", false).ok()?;
        parse_stat(&self.buffer[..length])
    }

    /// Looks at one thread of a process.
    pub fn thread_stat(&mut self, pid: Pid, thread: Pid) -> Option<Stat> {
        let length = self.of(pid, &format!("task/{thread}/stat"), false).ok()?;
        parse_stat(&self.buffer[..length])
    }

    /// Where in the kernel a thread waits; nothing when it does not, or we may not see it.
    pub fn thread_wchan(&mut self, pid: Pid, thread: Pid) -> Option<Vec<u8>> {
        let length = self.of(pid, &format!("task/{thread}/wchan"), false).ok()?;
        waits_in(&self.buffer[..length])
    }

    /// Looks at all that we may see. Whoever ends meanwhile is left out; who is born meanwhile may be.
    ///
    /// # Errors
    /// When `/proc` cannot be listed, or no copy of us can be made that reads what may wait.
    pub fn scan(&mut self, want: &Want) -> io::Result<Vec<Process>> {
        let mut processes = Vec::new();
        for pid in self.numbers()? {
            let threads = if want.threads { self.threads(pid) } else { vec![pid] };
            for thread in threads {
                let stat = if want.threads { self.thread_stat(pid, thread) } else { self.stat(pid) };
                let Some(stat) = stat else { continue };
                processes.push(self.look(pid, stat, want));
            }
        }
        self.ask_aside(&mut processes, want)?;
        Ok(processes)
    }

    /// Looks at these only; of the same number, whoever has it now.
    ///
    /// # Errors
    /// As [`Reader::scan`].
    pub fn some(&mut self, pids: &[Pid], want: &Want) -> io::Result<Vec<Process>> {
        let mut processes = Vec::new();
        for &pid in pids {
            let Some(stat) = self.stat(pid) else { continue };
            processes.push(self.look(pid, stat, want));
        }
        self.ask_aside(&mut processes, want)?;
        Ok(processes)
    }

    /// Asks the files that never wait.
    fn look(&mut self, tgid: Pid, stat: Stat, want: &Want) -> Process {
        let mut process = Process { tgid, ..Process::new(stat) };
        let thread = process.stat.pid;
        let at = |file: &str| if want.threads { format!("task/{thread}/{file}") } else { file.to_owned() };
        if want.status {
            process.status = self.answer(tgid, &at("status"), |text| Some(parse_status(text)));
        }
        if want.traffic {
            process.traffic = self.answer(tgid, &at("io"), parse_traffic);
        }
        if want.wchan {
            process.wchan = self.answer(tgid, &at("wchan"), waits_in);
        }
        if want.cgroup {
            process.cgroup = self.answer(tgid, &at("cgroup"), parse_cgroup);
        }
        if want.oom_score {
            let number = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse().ok();
            process.oom_score = self.answer(tgid, &at("oom_score"), number);
        }
        if want.namespaces {
            process.namespaces = self.namespaces(tgid, &at("ns"));
        }
        process
    }

    /// Asks the files that may wait.
    fn ask_aside(&mut self, processes: &mut [Process], want: &Want) -> io::Result<()> {
        let has_memory = |process: &&mut Process| !process.stat.is_kernel() && !process.stat.is_exiting();
        let mut asked: Vec<&mut Process> = processes.iter_mut().filter(has_memory).collect();
        let pids: Vec<Pid> = asked.iter().map(|process| process.tgid).collect();
        if want.args {
            let answers = aside::read(&self.proc, &pids, c"cmdline")?;
            asked.iter_mut().zip(answers).for_each(|(process, answer)| process.args = answer);
        }
        if want.share {
            let answers = aside::read(&self.proc, &pids, c"smaps_rollup")?;
            let parsed = answers.into_iter().map(|answer| answer.map(|text| parse_share(&text)));
            asked.iter_mut().zip(parsed).for_each(|(process, answer)| process.share = answer);
        }
        Ok(())
    }

    /// The numbers in links such as `pid:[4026531836]`.
    fn namespaces(&self, pid: Pid, directory: &str) -> Answer<Namespaces> {
        let mut denied = false;
        let mut one = |name: &str| {
            let mut room = [0; LONGEST];
            let path = format!("{pid}/{directory}/{name}");
            let link = with_nul(path.as_bytes(), |path| fd::read_link_at(&self.proc, path, &mut room));
            denied |= matches!(link, Err(Errno::EACCES | Errno::EPERM));
            let text = std::str::from_utf8(&room[..link.ok()?]).ok()?;
            text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
        };
        let found = Namespaces {
            cgroup: one("cgroup"),
            ipc: one("ipc"),
            mount: one("mnt"),
            net: one("net"),
            pid: one("pid"),
            time: one("time"),
            user: one("user"),
            uts: one("uts"),
        };
        match found {
            _ if denied => Answer::Denied,
            // It has let go of all but that of users, or is gone.
            Namespaces { net: None, mount: None, .. } => Answer::None,
            found => Answer::Is(found),
        }
    }

    fn answer<T>(&mut self, pid: Pid, file: &str, parse: impl FnOnce(&[u8]) -> Option<T>) -> Answer<T> {
        match self.of(pid, file, true) {
            Ok(length) => parse(&self.buffer[..length]).map_or(Answer::None, Answer::Is),
            Err(errno) => refused(errno),
        }
    }

    fn of(&mut self, pid: Pid, file: &str, whole: bool) -> Result<usize, Errno> {
        self.path.clear();
        // Writing into memory cannot fail.
        let _ = write!(self.path, "{pid}/{file}");
        let path = std::mem::take(&mut self.path);
        let read = self.read(&path, whole);
        self.path = path;
        read
    }

    /// How many bytes of the buffer the file fills. With `whole` it is read on until its end, which is one call more; the
    /// line of `stat` comes at once.
    fn read(&mut self, path: &[u8], whole: bool) -> Result<usize, Errno> {
        let file = open_at(&self.proc, path)?;
        let mut filled = fd::read(&file, &mut self.buffer)?;
        while whole && filled > 0 && filled < MOST {
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            match fd::read(&file, &mut self.buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn numbers_in(&mut self, path: &[u8]) -> Result<Vec<Pid>, Errno> {
        let directory = open_directory(&self.proc, path)?;
        let mut numbers = Vec::new();
        fd::entries(&directory, |name| {
            let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            numbers.extend(number.and_then(Pid::new));
        })?;
        Ok(numbers)
    }
}

/// Longer than the name of any file here.
const LONGEST: usize = 64;

fn with_nul<T>(path: &[u8], then: impl FnOnce(&CStr) -> Result<T, Errno>) -> Result<T, Errno> {
    let mut room = [0; LONGEST];
    room.get_mut(..path.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(path);
    then(CStr::from_bytes_until_nul(&room).map_err(|_| Errno::ENAMETOOLONG)?)
}

pub(super) fn open_at(proc: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    with_nul(path, |path| fd::open_at(proc, path, Access::Read))
}

fn open_directory(proc: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    with_nul(path, |path| fd::open_at(proc, path, Access::Directory))
}

/// `0` is for who does not wait, and for whom we may not see.
fn waits_in(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    (!matches!(text, b"" | b"0")).then(|| text.to_vec())
}

/// What an error means about the question.
pub(super) fn refused<T>(errno: Errno) -> Answer<T> {
    match errno {
        Errno::EACCES | Errno::EPERM => Answer::Denied,
        _ => Answer::None,
    }
}
