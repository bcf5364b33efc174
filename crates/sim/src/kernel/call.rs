//! The system calls: what goes in, and what comes out.

use super::exec::Program;
use super::memory::Usage;
use super::sigset::{Action, SigInfo, SigSet};
use super::slab::{CgroupId, TaskId};
use super::trace::Trace;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// What a task asks the kernel for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// clone3(2), and with it fork(2), vfork(2) and the births of threads.
    Clone(Clone),
    /// `_exit` of one thread (exit(2) of the kernel). Only the low eight bits arrive.
    Exit(i32),
    /// `_exit` of the whole process: exit_group(2).
    ExitGroup(i32),
    /// wait4(2), which also is wait(2) and waitpid(2).
    Wait4(Wait),
    /// waitid(2).
    Waitid(Wait),
    /// kill(2): a process, 0 the own group, -1 all, below -1 a group; signal 0 only asks.
    Kill(i32, i32),
    /// tgkill(2): process, thread, signal.
    Tgkill(i32, i32, i32),
    /// sigqueue(3): process, signal, a number for its handler.
    Sigqueue(i32, i32, i32),
    /// sigaction(2).
    Sigaction(Signal, Action),
    /// sigprocmask(2).
    Sigprocmask(Mask, SigSet),
    /// sigpending(2).
    Sigpending,
    /// sigtimedwait(2) without time, as read(2) of a signalfd that does not block: takes one of these that waits.
    Sigtake(SigSet),
    /// pause(2).
    Pause,
    /// setpgid(2): process, group.
    Setpgid(i32, i32),
    /// getpgid(2).
    Getpgid(i32),
    /// setsid(2).
    Setsid,
    /// getsid(2).
    Getsid(i32),
    /// getpid(2).
    Getpid,
    /// gettid(2).
    Gettid,
    /// getppid(2): 0 when the parent is in a namespace that cannot be seen from here.
    Getppid,
    /// prctl(2) `PR_SET_CHILD_SUBREAPER`.
    SetSubreaper(bool),
    /// prctl(2) `PR_SET_PDEATHSIG`.
    SetParentDeathSignal(Option<Signal>),
    /// prctl(2) `PR_GET_PDEATHSIG`: 0 for none.
    GetParentDeathSignal,
    /// unshare(2) with `CLONE_NEWPID`: children are born into a new namespace.
    UnsharePid,
    /// setuid(2) by root, for good: real, effective and saved.
    Setuid(u32),
    /// setrlimit(2) `RLIMIT_NPROC`.
    LimitProcesses(u32),
    /// pipe2(2): with `O_CLOEXEC` or without.
    Pipe(bool),
    /// read(2): descriptor, most bytes. None at all are the end of the file.
    Read(i32, usize),
    /// write(2).
    Write(i32, Vec<u8>),
    /// open(2) of a file of the disk.
    Open(String, Access),
    /// close(2).
    Close(i32),
    /// dup(2).
    Dup(i32),
    /// dup2(2): descriptor, and the number that it shall also have.
    Dup2(i32, i32),
    /// fcntl(2) `F_SETFD` with `FD_CLOEXEC`: of the descriptor.
    SetCloexec(i32, bool),
    /// fcntl(2) `F_SETFL` with `O_NONBLOCK`: of the open file, for all who have it.
    SetNonblocking(i32, bool),
    /// openpty(3): a new terminal in raw mode, nobody's controlling one. Master and slave come back.
    Pty,
    /// open(2) of `/dev/tty`, for reading and writing.
    OpenTty,
    /// What is done with a terminal besides reading and writing: a descriptor of either end, and what.
    Terminal(i32, TtyCall),
    /// pidfd_open(2).
    PidfdOpen(i32),
    /// pidfd_send_signal(2): handle, signal.
    PidfdSend(i32, i32),
    /// poll(2) of a handle, without a time limit.
    PollPidfd(i32),
    /// waitid(2) with `P_PIDFD`.
    WaitidPidfd(i32, Wait),
    /// ioctl(2) `PIDFD_GET_INFO` for the end: the wait status.
    PidfdEnd(i32),
    /// execve(2).
    Execve(Box<Program>),
    /// mmap(2) of anonymous memory: pages, and whether children share them. The number of the area comes back.
    Mmap(u32, bool),
    /// madvise(2): area, advice.
    Madvise(usize, Advice),
    /// No call, but what programs do: a write to each of the first pages of an area. The faults that it cost come
    /// back.
    Touch(usize, u32),
    /// No call, but what `/proc/self/smaps` tells of an area.
    Resident(usize),
    /// setrlimit(2) `RLIMIT_STACK`, in bytes.
    LimitStack(u64),
    /// alarm(2): seconds; the seconds that were left come back.
    Alarm(u32),
    /// socket(2), bind(2) and listen(2) with this backlog: a new Unix socket, close-on-exec, at a free address.
    Listen(u32),
    /// socket(2), connect(2) without waiting, and close(2): a client of the socket with this descriptor, that asks and goes.
    Connect(i32),
    /// socketpair(2): two Unix sockets, close-on-exec, that are connected.
    Socketpair,
    /// accept4(2) with `SOCK_CLOEXEC`: of the descriptor.
    Accept(i32),
    /// ptrace(2).
    Ptrace(Trace),
}

impl Call {
    /// The same call about other processes: every number of a process or group goes through `number`. So a
    /// program can be written before the numbers are known.
    ///
    /// ```
    /// use doula_sim::kernel::call::Call;
    /// assert_eq!(Call::Kill(-3, 15).with_numbers(|number| number * 10), Call::Kill(-30, 15));
    /// ```
    #[must_use]
    pub fn with_numbers(&self, number: impl Fn(i32) -> i32) -> Call {
        let wait = |wait: &Wait| {
            let who = match wait.who {
                Who::Any => Who::Any,
                Who::Pid(pid) => Who::Pid(number(pid)),
                Who::Group(group) => Who::Group(number(group)),
            };
            Wait { who, ..*wait }
        };
        match self {
            Call::Kill(pid, signal) => Call::Kill(number(*pid), *signal),
            Call::Tgkill(pid, tid, signal) => Call::Tgkill(number(*pid), number(*tid), *signal),
            Call::Clone(how) => Call::Clone(Clone { set_tid: how.set_tid.map(&number), ..*how }),
            Call::Sigqueue(pid, signal, value) => Call::Sigqueue(number(*pid), *signal, *value),
            Call::Setpgid(pid, group) => Call::Setpgid(number(*pid), number(*group)),
            Call::Getpgid(pid) => Call::Getpgid(number(*pid)),
            Call::Getsid(pid) => Call::Getsid(number(*pid)),
            Call::PidfdOpen(pid) => Call::PidfdOpen(number(*pid)),
            Call::Wait4(what) => Call::Wait4(wait(what)),
            Call::Waitid(what) => Call::Waitid(wait(what)),
            Call::Terminal(fd, TtyCall::SetForeground(group)) => {
                Call::Terminal(*fd, TtyCall::SetForeground(number(*group)))
            }
            Call::Ptrace(what) => Call::Ptrace(what.with_numbers(number)),
            Call::Exit(_)
            | Call::ExitGroup(_)
            | Call::Sigaction(..)
            | Call::Sigprocmask(..)
            | Call::Sigpending
            | Call::Sigtake(_)
            | Call::Pause
            | Call::Setsid
            | Call::Getpid
            | Call::Gettid
            | Call::Getppid
            | Call::SetSubreaper(_)
            | Call::SetParentDeathSignal(_)
            | Call::GetParentDeathSignal
            | Call::UnsharePid
            | Call::Setuid(_)
            | Call::LimitProcesses(_)
            | Call::Pipe(_)
            | Call::Read(..)
            | Call::Write(..)
            | Call::Open(..)
            | Call::Close(_)
            | Call::Dup(_)
            | Call::Dup2(..)
            | Call::SetCloexec(..)
            | Call::SetNonblocking(..)
            | Call::Pty
            | Call::OpenTty
            | Call::Terminal(..)
            | Call::PidfdSend(..)
            | Call::PollPidfd(_)
            | Call::WaitidPidfd(..)
            | Call::PidfdEnd(_)
            | Call::Execve(_)
            | Call::Mmap(..)
            | Call::Madvise(..)
            | Call::Touch(..)
            | Call::Resident(_)
            | Call::LimitStack(_)
            | Call::Alarm(_)
            | Call::Listen(_)
            | Call::Socketpair
            | Call::Connect(_)
            | Call::Accept(_) => self.clone(),
        }
    }
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `O_RDONLY`.
    Read,
    /// `O_WRONLY`.
    Write,
}

/// What is done with a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TtyCall {
    /// `TIOCGPTPEER` of the master: another open file of the slave. A session's leader that has no terminal has this one then.
    OpenSlave,
    /// `TIOCSCTTY`: makes it the controlling terminal of the caller's session; root may take it from another one.
    Take {
        /// Also from the session that has it.
        steal: bool,
    },
    /// `TIOCNOTTY`: gives the controlling terminal up; a session's leader does so for everybody in it.
    GiveUp,
    /// tcsetpgrp(3).
    SetForeground(i32),
    /// tcgetpgrp(3).
    Foreground,
    /// tcgetsid(3).
    Session,
    /// tcsetattr(3) with `TOSTOP` or without.
    StopWriters(bool),
    /// `TIOCSIG` of the master: the signal of a key (SIGINT, SIGQUIT or SIGTSTP) to the foreground group.
    Key(i32),
}

/// What madvise(2) says of an area at the next fork(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Nothing: `MADV_DOFORK`, `MADV_KEEPONFORK`.
    Normal,
    /// The child does not have it: `MADV_DONTFORK`.
    DontFork,
    /// The child has it empty: `MADV_WIPEONFORK`.
    WipeOnFork,
}

/// How sigprocmask(2) changes the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    /// `SIG_BLOCK`.
    Block,
    /// `SIG_UNBLOCK`.
    Unblock,
    /// `SIG_SETMASK`.
    Set,
}

/// What clone3(2) is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clone {
    /// `CLONE_VM`: one memory for both.
    pub vm: bool,
    /// `CLONE_FILES`: one table of descriptors for both.
    pub files: bool,
    /// `CLONE_SIGHAND`: one table of signal actions for both.
    pub sighand: bool,
    /// `CLONE_THREAD`: another thread of this process.
    pub thread: bool,
    /// `CLONE_PARENT`: a sibling instead of a child.
    pub parent: bool,
    /// `CLONE_VFORK`: the parent waits in the kernel until the child executes a program or ends.
    pub vfork: bool,
    /// `CLONE_NEWPID`: the child is the init of a new PID namespace.
    pub new_pid: bool,
    /// The signal that tells the parent of the end; none makes a child that wait(2) sees by `__WCLONE` only.
    pub exit_signal: Option<Signal>,
    /// `set_tid`, in the namespace of the child: the number that the child shall have.
    pub set_tid: Option<i32>,
    /// `CLONE_INTO_CGROUP`: where the child is born; with its parent if `None`.
    pub cgroup: Option<CgroupId>,
}

impl Clone {
    /// fork(2).
    pub const FORK: Clone = Clone {
        vm: false,
        files: false,
        sighand: false,
        thread: false,
        parent: false,
        vfork: false,
        new_pid: false,
        exit_signal: Some(Signal::CHLD),
        set_tid: None,
        cgroup: None,
    };
    /// vfork(2).
    pub const VFORK: Clone = Clone { vm: true, vfork: true, ..Clone::FORK };
    /// pthread_create(3).
    pub const THREAD: Clone =
        Clone { vm: true, files: true, sighand: true, thread: true, exit_signal: None, ..Clone::FORK };
    /// The birth of a container's init.
    pub const INIT: Clone = Clone { new_pid: true, ..Clone::FORK };
}

/// Whom wait(2) is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Every child (`P_ALL`, -1).
    Any,
    /// This one (`P_PID`).
    Pid(i32),
    /// Those of this group (`P_PGID`); 0 is the group of the caller.
    Group(i32),
}

/// What wait4(2) and waitid(2) are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// Whom it is about.
    pub who: Who,
    /// `WEXITED`: ends. wait4(2) always asks for them.
    pub exited: bool,
    /// `WSTOPPED`, `WUNTRACED`: stops.
    pub stopped: bool,
    /// `WCONTINUED`: continues.
    pub continued: bool,
    /// `WNOHANG`: do not sleep.
    pub no_hang: bool,
    /// `WNOWAIT`, of waitid(2): leave it as it is, so that it can be waited for again.
    pub no_wait: bool,
    /// `__WALL`: children whatever their exit signal.
    pub all: bool,
    /// `__WCLONE`: only children whose exit signal is not SIGCHLD.
    pub clone: bool,
    /// `__WNOTHREAD`: not the children of other threads.
    pub no_thread: bool,
}

impl Wait {
    /// wait(2): the end of any child.
    pub const fn any() -> Wait {
        Wait {
            who: Who::Any,
            exited: true,
            stopped: false,
            continued: false,
            no_hang: false,
            no_wait: false,
            all: false,
            clone: false,
            no_thread: false,
        }
    }

    /// waitpid(2) of a number as that call takes it: -1 any, 0 the own group, below -1 a group.
    ///
    /// ```
    /// use doula_sim::kernel::call::{Wait, Who};
    /// assert_eq!(Wait::pid(-7).who, Who::Group(7));
    /// ```
    pub const fn pid(pid: i32) -> Wait {
        let who = match pid {
            -1 => Who::Any,
            1.. => Who::Pid(pid),
            _ => Who::Group(pid.wrapping_neg()),
        };
        Wait { who, ..Wait::any() }
    }

    /// The same, without sleeping.
    #[must_use]
    pub const fn no_hang(self) -> Wait {
        Wait { no_hang: true, ..self }
    }
}

/// What wait(2) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waited {
    /// Whose end, stop or continue, as a number in the caller's namespace.
    pub pid: i32,
    /// The status word of wait4(2): `WIFEXITED` and its like read it.
    pub status: i32,
}

/// What a call gave back when it did not fail.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// A number: a process, a group, or 0.
    Number(i32),
    /// A child's end, stop or continue.
    Waited(Waited),
    /// A set of signals.
    Signals(SigSet),
    /// Two descriptors: for reading, for writing.
    Pair(i32, i32),
    /// What was read.
    Bytes(Vec<u8>),
    /// The pages of an area.
    Pages(Usage),
}

impl Value {
    /// What calls give back that have nothing to say.
    pub const ZERO: Value = Value::Number(0);
}

/// The result of a call, as the program sees it.
pub type Reply = Result<Value, Errno>;

/// How a call ended that was made by [`call`](super::Kernel::call).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It came back.
    Done(Reply),
    /// The task sleeps in it, was stopped before it came back, or begins it again for ever.
    Blocked,
    /// The task did not survive it.
    Gone,
}

/// A signal that a handler took, for whoever plays the program.
pub type Caught = Vec<SigInfo>;

/// What can be seen of a process from outside (`/proc/PID/stat`), in numbers of the first namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    /// The task.
    pub task: TaskId,
    /// Its number.
    pub pid: i32,
    /// The parent's number; 0 when there is none.
    pub ppid: i32,
    /// The group.
    pub pgid: i32,
    /// The session.
    pub sid: i32,
    /// The letter: R S D T t Z X I.
    pub state: char,
    /// The foreground group of its controlling terminal; -1 without one, 0 when there is none or it cannot be seen.
    pub foreground: i32,
}
