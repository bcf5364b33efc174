//! A process as `/proc` tells of it: the words of `ps`, `tree` and everybody else who looks.
//!
//! Names are bytes, as people and programs gave them. What could not be learned is [`Answer::Denied`] and its like, never a
//! zero that looks like a fact. Absent on purpose: reading (`doula-host`, `procfs`) and printing (the faces).

use crate::exit::{Evidence, ExitStatus};
use crate::id::Pid;
use crate::signal::Signal;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Who it is, also after its number was given to somebody else: the number and when it started, in clock ticks since the
/// machine did (proc_pid_stat(5), field 22).
///
/// ```
/// use doula_model::{id::Pid, process::Identity};
/// let before = Identity { pid: Pid::INIT, start_ticks: 7 };
/// let now = Identity { pid: Pid::INIT, start_ticks: 9000 };
/// assert_ne!(before, now, "the same number, but another process");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The number.
    pub pid: Pid,
    /// The start.
    pub start_ticks: u64,
}

/// What a process does just now (`task_state_array` in fs/proc/array.c).
///
/// ```
/// use doula_model::process::ProcState;
/// assert_eq!(ProcState::from_letter(b'D'), ProcState::Blocked);
/// assert_eq!(ProcState::Traced.to_string(), "stopped by its tracer");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcState {
    /// R: on a CPU or waiting for one.
    Running,
    /// S: waits for something, and a signal would wake it.
    Sleeping,
    /// D: waits for something, and no signal that it could catch wakes it.
    Blocked,
    /// T: stopped by a signal.
    Stopped,
    /// t: stopped by its tracer.
    Traced,
    /// Z: has ended and was not buried.
    Zombie,
    /// X: is being buried.
    Dead,
    /// I: a thread of the kernel that has nothing to do; it is in no load average.
    Idle,
    /// P: a parked thread of the kernel.
    Parked,
    /// A letter of another release.
    Other(u8),
}

/// Every letter with its state.
const LETTERS: [(u8, ProcState); 9] = [
    (b'R', ProcState::Running),
    (b'S', ProcState::Sleeping),
    (b'D', ProcState::Blocked),
    (b'T', ProcState::Stopped),
    (b't', ProcState::Traced),
    (b'Z', ProcState::Zombie),
    (b'X', ProcState::Dead),
    (b'I', ProcState::Idle),
    (b'P', ProcState::Parked),
];

impl ProcState {
    /// The state with this letter.
    ///
    /// ```
    /// use doula_model::process::ProcState;
    /// assert_eq!(ProcState::from_letter(b'Z'), ProcState::Zombie);
    /// ```
    pub fn from_letter(letter: u8) -> ProcState {
        let found = LETTERS.iter().find(|(known, _)| *known == letter);
        found.map_or(ProcState::Other(letter), |(_, state)| *state)
    }

    /// Its letter.
    ///
    /// ```
    /// use doula_model::process::ProcState;
    /// assert_eq!((ProcState::Stopped.letter(), ProcState::Traced.letter()), ('T', 't'));
    /// ```
    pub fn letter(self) -> char {
        let found = LETTERS.iter().find(|(_, state)| *state == self);
        let other = if let ProcState::Other(letter) = self { letter } else { b'?' };
        char::from(found.map_or(other, |(letter, _)| *letter))
    }
}

impl fmt::Display for ProcState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProcState::Running => "running",
            ProcState::Sleeping => "sleeping",
            ProcState::Blocked => "blocked",
            ProcState::Stopped => "stopped",
            ProcState::Traced => "stopped by its tracer",
            ProcState::Zombie => "a zombie",
            ProcState::Dead => "being buried",
            ProcState::Idle => "idle",
            ProcState::Parked => "parked",
            ProcState::Other(_) => "in an unknown state",
        })
    }
}

/// What came of a question about a process.
///
/// ```
/// use doula_model::process::Answer;
/// let cgroup: Answer<Vec<u8>> = Answer::Denied;
/// let shown = match &cgroup {
///     Answer::Is(name) => String::from_utf8_lossy(name).into_owned(),
///     Answer::Denied => "?".to_owned(),
///     Answer::Unasked | Answer::None | Answer::Locked => "-".to_owned(),
/// };
/// assert_eq!(shown, "?");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer<T> {
    /// Nobody asked.
    #[default]
    Unasked,
    /// This.
    Is(T),
    /// We may not see it (EACCES, EPERM).
    Denied,
    /// There is none: the process is gone or has no such thing, the kernel has no such file.
    None,
    /// Its memory map is locked, and whoever asks waits with it.
    Locked,
}

impl<T> Answer<T> {
    /// The fact, if there is one.
    ///
    /// ```
    /// use doula_model::process::Answer;
    /// assert_eq!(Answer::Is(7).known(), Some(&7));
    /// assert_eq!(Answer::<u32>::Denied.known(), None);
    /// ```
    pub fn known(&self) -> Option<&T> {
        if let Answer::Is(fact) = self { Some(fact) } else { None }
    }

    /// The same answer about something that follows from it.
    ///
    /// ```
    /// use doula_model::process::{Answer, Share};
    /// let share = Answer::Is(Share { pss: 4096, ..Share::default() });
    /// assert_eq!(share.map(|share| Some(share.pss)), Answer::Is(4096));
    /// assert_eq!(Answer::<Share>::Locked.map(|share| Some(share.pss)), Answer::Locked);
    /// ```
    pub fn map<U>(self, from: impl FnOnce(T) -> Option<U>) -> Answer<U> {
        match self {
            Answer::Is(fact) => from(fact).map_or(Answer::None, Answer::Is),
            Answer::Unasked => Answer::Unasked,
            Answer::Denied => Answer::Denied,
            Answer::None => Answer::None,
            Answer::Locked => Answer::Locked,
        }
    }
}

/// What `/proc/PID/stat` says (proc_pid_stat(5)). Times are in clock ticks.
///
/// ```
/// use doula_model::id::Pid;
/// use doula_model::process::{ProcState, Stat};
/// let stat = Stat { name: b"sh".to_vec(), nice: 10, ..Stat::new(Pid::INIT, ProcState::Sleeping) };
/// assert!(!stat.is_zombie() && !stat.is_kernel());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The number; of a thread, its own.
    pub pid: Pid,
    /// What it calls itself: at most 15 bytes, of any kind; threads of the kernel may have more.
    pub name: Vec<u8>,
    /// What it does.
    pub state: ProcState,
    /// The parent's number; 0 when that is outside of our PID namespace, or there is none.
    pub ppid: i32,
    /// Its process group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
    /// The device of its controlling terminal; 0 for none.
    pub tty: u32,
    /// The foreground group of that terminal; -1 for none.
    pub tpgid: i32,
    /// The kernel's flags (`PF_*`).
    pub flags: u32,
    /// Page faults without and with a read from disk.
    pub faults: (u64, u64),
    /// CPU time in the program and in the kernel.
    pub cpu: (u64, u64),
    /// The same of the children that it buried.
    pub buried_cpu: (u64, u64),
    /// As the kernel counts it: 20 + nice, or negative for real-time.
    pub priority: i32,
    /// From -20 to 19.
    pub nice: i32,
    /// How many threads it has.
    pub threads: u32,
    /// When it started, since the machine did.
    pub start_ticks: u64,
    /// Its address space, in bytes.
    pub virtual_bytes: u64,
    /// What of it is in memory, in pages; what is shared counts in full.
    pub resident_pages: u64,
    /// The CPU on which it ran last.
    pub processor: u32,
    /// The real-time priority; 0 for none.
    pub rt_priority: u32,
    /// The scheduling policy (`SCHED_*`).
    pub policy: u32,
    /// How long it waited for disks.
    pub io_delay: u64,
    /// The status word with which a zombie waits for its burial; 0 also for whoever may not see it.
    pub exit_code: i32,
}

/// Of [`Stat::flags`]: a thread of the kernel (`PF_KTHREAD` in include/linux/sched.h).
const KERNEL_THREAD: u32 = 0x0020_0000;
/// Of [`Stat::flags`]: it has begun to end (`PF_EXITING`).
const EXITING: u32 = 0x4;

impl Stat {
    /// A process of which nothing else is known: all numbers are 0, but that of its threads, which is 1.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{ProcState, Stat};
    /// // A program that judges processes can be tested with some that are not there.
    /// let leaving = Stat { name: b"web".to_vec(), ..Stat::new(Pid::INIT, ProcState::Zombie) };
    /// assert!(leaving.is_zombie());
    /// ```
    pub const fn new(pid: Pid, state: ProcState) -> Stat {
        Stat {
            pid,
            name: Vec::new(),
            state,
            ppid: 0,
            pgid: 0,
            sid: 0,
            tty: 0,
            tpgid: 0,
            flags: 0,
            faults: (0, 0),
            cpu: (0, 0),
            buried_cpu: (0, 0),
            priority: 0,
            nice: 0,
            threads: 1,
            start_ticks: 0,
            virtual_bytes: 0,
            resident_pages: 0,
            processor: 0,
            rt_priority: 0,
            policy: 0,
            io_delay: 0,
            exit_code: 0,
        }
    }

    /// Who it is.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{ProcState, Stat};
    /// let stat = Stat { start_ticks: 7, ..Stat::new(Pid::INIT, ProcState::Running) };
    /// let later = Stat { state: ProcState::Zombie, ..stat.clone() };
    /// assert_eq!(stat.identity(), later.identity(), "whatever became of it");
    /// ```
    pub const fn identity(&self) -> Identity {
        Identity { pid: self.pid, start_ticks: self.start_ticks }
    }

    /// Whether it is a thread of the kernel. A program can call itself as one, but not be marked as one.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{ProcState, Stat};
    /// let imitator = Stat { name: b"kworker/0:1".to_vec(), ..Stat::new(Pid::INIT, ProcState::Sleeping) };
    /// assert!(!imitator.is_kernel());
    /// ```
    pub const fn is_kernel(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }

    /// Whether it has begun to end.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{ProcState, Stat};
    /// let stat = Stat { flags: 0x4, ..Stat::new(Pid::INIT, ProcState::Running) };
    /// assert!(stat.is_exiting() && !stat.is_zombie(), "it runs still, to its end");
    /// ```
    pub const fn is_exiting(&self) -> bool {
        self.flags & EXITING != 0
    }

    /// Whether it ended and waits for its burial; not one whose first thread only has ended.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{ProcState, Stat};
    /// let stat = Stat::new(Pid::INIT, ProcState::Zombie);
    /// assert!(stat.is_zombie());
    /// assert!(!Stat { threads: 2, ..stat }.is_zombie());
    /// ```
    pub fn is_zombie(&self) -> bool {
        self.state == ProcState::Zombie && self.threads <= 1
    }

    /// Whether its first thread has ended and others live on: its parent cannot bury it.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{ProcState, Stat};
    /// let stat = Stat { threads: 2, ..Stat::new(Pid::INIT, ProcState::Zombie) };
    /// assert!(stat.is_headless());
    /// ```
    pub fn is_headless(&self) -> bool {
        self.state == ProcState::Zombie && self.threads > 1
    }

    /// How a zombie ended. `None` when it lives, and for a status of 0, which is also what those see who may not.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{ProcState, Stat};
    /// use doula_model::signal::Signal;
    /// let stat = Stat { exit_code: 9, ..Stat::new(Pid::INIT, ProcState::Zombie) };
    /// assert_eq!(stat.end().and_then(|end| end.killed_by()), Some(Signal::KILL));
    /// ```
    pub fn end(&self) -> Option<ExitStatus> {
        let dead = self.is_zombie() && self.exit_code != 0;
        dead.then(|| ExitStatus::from_wait(self.exit_code, Evidence::Procfs)).flatten()
    }
}

/// A set of signals as `/proc/PID/status` prints it.
///
/// ```
/// use doula_model::process::Signals;
/// use doula_model::signal::Signal;
/// // As `SigIgn: 0000000000001001` of `/proc/PID/status`.
/// let ignored = Signals(0x1001);
/// assert!(ignored.contains(Signal::HUP) && ignored.contains(Signal::PIPE));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Signals(pub u64);

impl Signals {
    /// Whether a signal is in it.
    ///
    /// ```
    /// use doula_model::process::Signals;
    /// use doula_model::signal::Signal;
    /// assert!(Signals(1 << 14).contains(Signal::TERM));
    /// ```
    pub const fn contains(self, signal: Signal) -> bool {
        self.0 >> (signal.number() - 1) & 1 == 1
    }

    /// Those in it, in the order of their numbers.
    ///
    /// ```
    /// use doula_model::process::Signals;
    /// use doula_model::signal::Signal;
    /// assert_eq!(Signals(0b11).iter().collect::<Vec<_>>(), [Signal::HUP, Signal::INT]);
    /// ```
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        Signal::all().filter(move |signal| self.contains(*signal))
    }
}

/// What `/proc/PID/status` says beside (proc_pid_status(5)). What the kernel does not tell is `None`.
///
/// ```
/// use doula_model::process::{Signals, Status};
/// use doula_model::signal::Signal;
/// let status = Status { caught: Signals(1 << 14), ..Status::default() };
/// assert!(status.caught.contains(Signal::TERM), "it can be asked to end");
/// assert_eq!(status.swap, None, "not known, which is not 0");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Real, effective, saved and file system user.
    pub uids: [u32; 4],
    /// The same of groups.
    pub gids: [u32; 4],
    /// Who traces it; 0 for nobody.
    pub tracer: i32,
    /// Its numbers, from our PID namespace inwards.
    pub ns_pids: Vec<i32>,
    /// Signals that wait for this thread.
    pub pending: Signals,
    /// Signals that wait for the process.
    pub shared_pending: Signals,
    /// Signals that it holds back.
    pub blocked: Signals,
    /// Signals that it ignores.
    pub ignored: Signals,
    /// Signals that it has a handler for.
    pub caught: Signals,
    /// Swapped out, in bytes.
    pub swap: Option<u64>,
    /// Most memory that it ever had, in bytes.
    pub peak: Option<u64>,
    /// Context switches that it wanted, and that it did not want.
    pub switches: Option<(u64, u64)>,
    /// Whether execve gives it no more rights (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: Option<bool>,
    /// 0 without seccomp, 1 strict, 2 with filters.
    pub seccomp: Option<u32>,
    /// The effective capabilities.
    pub capabilities: Option<u64>,
}

/// How its memory is shared (`/proc/PID/smaps_rollup`, proc_pid_smaps(5)), in bytes.
///
/// ```
/// use doula_model::process::Share;
/// let workers = [Share { pss: 3 << 20, uss: 2 << 20, swap_pss: 0 }; 4];
/// // Proportional shares can be added up.
/// assert_eq!(workers.iter().map(|worker| worker.pss).sum::<u64>(), 12 << 20);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Proportional: each page counts for as much as one of those who share it.
    pub pss: u64,
    /// What nobody shares.
    pub uss: u64,
    /// Swapped out, proportionally.
    pub swap_pss: u64,
}

/// Bytes that it read and wrote (`/proc/PID/io`, proc_pid_io(5)).
///
/// ```
/// use doula_model::process::Traffic;
/// let traffic = Traffic { read: 8192, disk_read: 4096, ..Traffic::default() };
/// assert!(traffic.disk_read < traffic.read, "the rest was in memory already");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Through read(2) and its like, of any file.
    pub read: u64,
    /// Through write(2) and its like.
    pub written: u64,
    /// From disks.
    pub disk_read: u64,
    /// To disks, sooner or later.
    pub disk_written: u64,
}

/// How long it was kept from running, all its threads together (`struct taskstats`,
/// <https://docs.kernel.org/accounting/delay-accounting.html>). What the kernel does not account for is `None`.
///
/// ```
/// use core::time::Duration;
/// use doula_model::process::Delays;
/// let delays = Delays { cpu: Duration::from_millis(20), ..Delays::default() };
/// assert_eq!(delays.disk, None, "the kernel does not account for it");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// By others who were on the CPU.
    pub cpu: Duration,
    /// By disks.
    pub disk: Option<Duration>,
    /// By pages that came back from swap.
    pub swap: Option<Duration>,
    /// By memory that had to be found: reclaimed, moved together, read again because it had been given away.
    pub memory: Option<Duration>,
}

/// The namespaces that it is in (namespaces(7)), each by its number, which is the same for all who are in it
/// (`/proc/PID/ns`). `None` is one that this kernel has not.
///
/// ```
/// use doula_model::process::Namespaces;
/// let host = Namespaces { net: Some(4_026_531_840), ..Namespaces::default() };
/// let container = Namespaces { net: Some(4_026_532_008), ..host };
/// assert_ne!(host.net, container.net, "they see different networks");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Of cgroups.
    pub cgroup: Option<u64>,
    /// Of System V IPC and message queues.
    pub ipc: Option<u64>,
    /// Of mounts.
    pub mount: Option<u64>,
    /// Of networks.
    pub net: Option<u64>,
    /// Of processes.
    pub pid: Option<u64>,
    /// Of clocks.
    pub time: Option<u64>,
    /// Of users.
    pub user: Option<u64>,
    /// Of the machine's name.
    pub uts: Option<u64>,
}

/// One process, with what was asked for.
///
/// ```
/// use doula_model::id::Pid;
/// use doula_model::process::{Answer, ProcState, Process, Stat};
/// let mut process = Process::new(Stat::new(Pid::INIT, ProcState::Running));
/// process.args = Answer::Is(b"sleep\x001000\0".to_vec());
/// let args = process.args.known().expect("told");
/// assert_eq!(args.split(|&byte| byte == 0).next(), Some(b"sleep".as_slice()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Of `/proc/PID/stat`.
    pub stat: Stat,
    /// The process of a thread; its own number for a process.
    pub tgid: Pid,
    /// Of `/proc/PID/status`.
    pub status: Answer<Box<Status>>,
    /// Its arguments, each ended by a NUL byte. Empty for threads of the kernel and for zombies.
    pub args: Answer<Vec<u8>>,
    /// How its memory is shared.
    pub share: Answer<Share>,
    /// What it read and wrote.
    pub traffic: Answer<Traffic>,
    /// The function of the kernel in which it waits.
    pub wchan: Answer<Vec<u8>>,
    /// Its cgroup: of v2 if it has one there that is not the root, else the deepest of v1.
    pub cgroup: Answer<Vec<u8>>,
    /// From 0 to 2000: who is ended first when memory runs out.
    pub oom_score: Answer<u32>,
    /// The namespaces that it is in. Told to those who may trace it.
    pub namespaces: Answer<Box<Namespaces>>,
    /// How long it was kept from running. Told to root.
    pub delays: Answer<Box<Delays>>,
}

impl Process {
    /// One of whom nothing else was asked.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{Answer, ProcState, Process, Stat};
    /// let process = Process::new(Stat::new(Pid::INIT, ProcState::Running));
    /// assert_eq!((process.tgid, process.args), (Pid::INIT, Answer::Unasked));
    /// ```
    pub fn new(stat: Stat) -> Process {
        Process {
            tgid: stat.pid,
            stat,
            status: Answer::Unasked,
            args: Answer::Unasked,
            share: Answer::Unasked,
            traffic: Answer::Unasked,
            wchan: Answer::Unasked,
            cgroup: Answer::Unasked,
            oom_score: Answer::Unasked,
            namespaces: Answer::Unasked,
            delays: Answer::Unasked,
        }
    }

    /// Whether its memory map is locked, so that even a question about its arguments waits.
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// use doula_model::process::{Answer, ProcState, Process, Stat};
    /// let mut process = Process::new(Stat::new(Pid::INIT, ProcState::Blocked));
    /// process.args = Answer::Locked;
    /// assert!(process.is_locked());
    /// ```
    pub fn is_locked(&self) -> bool {
        self.args == Answer::Locked || self.share == Answer::Locked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_is_that_of_its_state() {
        for letter in 0..=u8::MAX {
            assert_eq!(ProcState::from_letter(letter).letter(), char::from(letter));
        }
    }

    #[test]
    fn a_set_of_signals_is_read_bit_by_bit() {
        let set = Signals(1 << 16 | 1);
        assert!(set.contains(Signal::CHLD) && set.contains(Signal::HUP) && !set.contains(Signal::TERM));
        assert!(set.iter().eq([Signal::HUP, Signal::CHLD]));
        assert!(Signals(u64::MAX).iter().eq(Signal::all()));
    }

    #[test]
    fn what_follows_from_an_answer_is_as_unknown_as_the_answer() {
        assert_eq!(Answer::Is(1).map(|number| Some(number + 1)), Answer::Is(2));
        assert_eq!(Answer::Is(1).map(|_| None::<u8>), Answer::None);
        assert_eq!(Answer::<u8>::Locked.map(Some), Answer::Locked);
        assert_eq!(Answer::<u8>::Denied.known(), None);
    }
}
