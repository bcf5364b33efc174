//! What the kernel knows of a thread ([`Task`]) and of all threads of a process together ([`Process`]).
//!
//! Linux keeps this in `task_struct`, `signal_struct` and `sighand_struct`; the last two are one here, because
//! nothing but threads shares them (CLONE_SIGHAND without CLONE_THREAD is not modelled).

use super::call::{Call, Caught, Reply, Wait};
use super::exec::Program;
use super::sigset::{Actions, Pending, SigSet};
use super::slab::{CgroupId, FilesId, MemoryId, OpenId, PidId, ProcessId, SpaceId, TaskId, TerminalId};
use alloc::vec::Vec;
use doula_model::signal::Signal;

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// In its program: the driver may make a call for it.
    User,
    /// In the kernel, on its way back to the program: signals are looked at here.
    Leaving,
    /// In a call that waits for something.
    Asleep { what: Sleep, woken: bool },
    /// Stopped by a signal, on its way back to the program.
    Stopped { woken: bool },
    /// Between its death and its end: the next step, as an index into the order of steps.
    Dying(u8),
    /// Ended, and not waited for.
    Zombie,
    /// Ended, and nobody will wait for it: its number is free after its own last step.
    Dead,
    /// A thread of the kernel, for ever; idle is who sleeps without being counted as load (TASK_NOLOAD).
    Kernel { idle: bool },
    /// Stopped for its tracer.
    Traced { woken: bool },
}

/// What a sleeping task waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sleep {
    /// A child, by wait(2). The object of the wait is fixed when the sleep begins.
    Child(Target, Wait),
    /// A signal with a handler.
    Pause,
    /// The child of vfork(2), which will be this number, to execute a program or to end.
    Vfork { child: TaskId, number: i32 },
    /// The other threads to be gone, before a program is executed.
    Alone,
    /// A pipe to have something, or room; so many bytes have been written before.
    Pipe { open: OpenId, done: usize },
    /// Bytes from the other end of a terminal.
    Terminal(OpenId),
    /// The end of a process, by a handle.
    Poll(PidId),
    /// A connection, at a socket that listens.
    Accept(OpenId),
    /// All others of the PID namespace to be gone: only its init sleeps so, when it dies.
    Zap,
    /// Its core to be written.
    Dump,
}

/// [`Who`](super::call::Who), looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    Any,
    Pid(PidId),
    Group(PidId),
}

/// What the kernel part of a call ended with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Return {
    Done(Reply),
    Restart(Restart),
    /// The call begins again as soon as no signal is left.
    Again,
}

/// How an interrupted call goes on when a handler has run; without a handler it always begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Restart {
    /// ERESTARTSYS: again if the handler has SA_RESTART, else EINTR.
    IfAsked,
    /// ERESTARTNOINTR: always again.
    Always,
    /// ERESTARTNOHAND: EINTR.
    Never,
}

/// The neighbours in a list of children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Family {
    pub(crate) parent: Option<TaskId>,
    pub(crate) first: Option<TaskId>,
    pub(crate) last: Option<TaskId>,
    pub(crate) next: Option<TaskId>,
    pub(crate) previous: Option<TaskId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    pub(crate) pid: PidId,
    pub(crate) process: ProcessId,
    /// The namespace into which its children are born.
    pub(crate) births: SpaceId,
    pub(crate) family: Family,
    pub(crate) place: Place,
    /// The call that is under way, for its restart.
    pub(crate) call: Option<Call>,
    pub(crate) ret: Option<Return>,
    pub(crate) reply: Option<Reply>,
    pub(crate) caught: Caught,
    pub(crate) blocked: SigSet,
    pub(crate) pending: Pending,
    /// TIF_SIGPENDING: it has to look at its signals before it goes on in its program.
    pub(crate) kicked: bool,
    /// A stop of the whole process in which this thread has yet to take part.
    pub(crate) stop_pending: Option<Signal>,
    pub(crate) death_signal: Option<Signal>,
    /// What tells the parent of the end; `None` for threads, and for children that asked so.
    pub(crate) exit_signal: Option<Signal>,
    /// PF_EXITING.
    pub(crate) exiting: bool,
    /// PF_FORKNOEXEC: no program was executed since its birth.
    pub(crate) no_exec: bool,
    pub(crate) exec_id: u32,
    pub(crate) parent_exec_id: u32,
    /// The wait status.
    pub(crate) code: i32,
    /// Descriptors; none after it has left them.
    pub(crate) files: Option<FilesId>,
    /// Open files that are to be closed on the way out.
    pub(crate) closing: Vec<OpenId>,
    pub(crate) memory: Option<MemoryId>,
    pub(crate) image: Option<Program>,
    /// PF_NPROC_EXCEEDED: it became a user who has too many already.
    pub(crate) over_limit: bool,
    /// The parent that waits by vfork(2).
    pub(crate) vfork_parent: Option<TaskId>,
    pub(crate) uid: u32,
    /// A number that is given once.
    pub(crate) birth: u64,
}

impl Task {
    pub(crate) fn is_zombie(&self) -> bool {
        matches!(self.place, Place::Zombie)
    }

    /// Whether it has an exit state.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.place, Place::Zombie | Place::Dead)
    }

    /// Whether its kernel part has something to do.
    pub(crate) fn is_ready(&self) -> bool {
        match self.place {
            Place::User => self.kicked,
            Place::Leaving | Place::Dying(_) | Place::Dead => true,
            Place::Asleep { woken, .. } | Place::Stopped { woken } | Place::Traced { woken } => woken,
            Place::Zombie | Place::Kernel { .. } => false,
        }
    }

    /// The letter of `/proc/PID/stat`.
    pub(crate) fn letter(&self) -> char {
        match self.place {
            Place::User | Place::Leaving | Place::Dying(_) => 'R',
            Place::Asleep { woken: true, .. }
            | Place::Stopped { woken: true }
            | Place::Traced { woken: true } => 'R',
            Place::Asleep { what: Sleep::Vfork { .. } | Sleep::Alone | Sleep::Dump, .. } => 'D',
            Place::Asleep { .. } | Place::Kernel { idle: false } => 'S',
            Place::Kernel { idle: true } => 'I',
            Place::Stopped { .. } => 'T',
            Place::Traced { .. } => 't',
            Place::Zombie => 'Z',
            Place::Dead => 'X',
        }
    }
}

/// What a stop or continue has left to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Stop {
    /// SIGNAL_STOP_STOPPED: all threads are.
    pub(crate) stopped: bool,
    /// SIGNAL_STOP_CONTINUED: for WCONTINUED.
    pub(crate) continued: bool,
    /// The signal that stopped it, until a wait(2) has taken it.
    pub(crate) signal: Option<Signal>,
    /// The same until it goes on (JOBCTL_STOP_SIGMASK): for tracers.
    pub(crate) kind: Option<Signal>,
    /// SIGNAL_CLD_MASK: what the first thread that runs again tells the parent.
    pub(crate) tell: Option<Tell>,
    /// Threads that have yet to stop.
    pub(crate) count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tell {
    Continued,
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) leader: TaskId,
    /// The other threads that have not been released, oldest first.
    pub(crate) others: Vec<TaskId>,
    /// Threads that have not passed `exit_signals`.
    pub(crate) live: u32,
    /// Threads that have not begun to die.
    pub(crate) unhurt: u32,
    pub(crate) group: PidId,
    pub(crate) session: PidId,
    /// Leader of its session.
    pub(crate) is_leader: bool,
    /// The controlling terminal.
    pub(crate) terminal: Option<TerminalId>,
    /// Who was in its foreground when it was hung up; of leaders.
    pub(crate) hung_up_group: Option<PidId>,
    pub(crate) pending: Pending,
    pub(crate) actions: Actions,
    /// SIGNAL_GROUP_EXIT with the status: the process dies, and no signal reaches it any more.
    pub(crate) group_exit: Option<i32>,
    pub(crate) stop: Stop,
    /// SIGNAL_UNKILLABLE: the init of a namespace.
    pub(crate) unkillable: bool,
    pub(crate) subreaper: bool,
    /// An ancestor may be a subreaper.
    pub(crate) below_subreaper: bool,
    pub(crate) max_processes: u32,
    pub(crate) alarm: u32,
    /// RLIMIT_STACK, in bytes.
    pub(crate) stack_limit: u64,
    /// The thread that executes a program and waits to be alone.
    pub(crate) exec_task: Option<TaskId>,
    pub(crate) cgroup: CgroupId,
}

impl Process {
    /// All threads that have not been released, the leader first.
    pub(crate) fn threads(&self) -> impl Iterator<Item = TaskId> {
        core::iter::once(self.leader).chain(self.others.iter().copied())
    }
}
