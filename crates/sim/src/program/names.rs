//! Names for numbers inside calls: a name is a number so large that no process, group or descriptor has it.
//!
//! So a call with names is a call like any other: it is read once, and the real numbers are put in when it is made.

use crate::kernel::call::{Call, TtyCall, Wait, Who};

/// The number of the first name. No process number reaches it (PID_MAX_LIMIT is 2^22), nor does a descriptor.
pub(super) const FIRST: i32 = 1 << 30;
/// The slot of `$self`.
pub(super) const SELF: usize = 0;
/// The slot of `$parent`.
pub(super) const PARENT: usize = 1;

/// The number that stands for a name.
pub(super) fn number_of(slot: usize) -> i32 {
    FIRST + slot as i32
}

/// The name that a number stands for; of `-$name` too.
pub(super) fn slot_of(number: i32) -> Option<usize> {
    let slot = number.unsigned_abs().checked_sub(FIRST as u32)?;
    Some(slot as usize)
}

/// Every number of a process, a group or a descriptor in a call.
pub(super) fn each_number(call: &mut Call, mut each: impl FnMut(&mut i32)) {
    match call {
        Call::Kill(number, _)
        | Call::Sigqueue(number, ..)
        | Call::Getpgid(number)
        | Call::Getsid(number)
        | Call::Read(number, _)
        | Call::Write(number, _)
        | Call::Accept(number)
        | Call::Connect(number)
        | Call::Close(number)
        | Call::Dup(number)
        | Call::SetCloexec(number, _)
        | Call::SetNonblocking(number, _)
        | Call::PidfdOpen(number)
        | Call::PidfdSend(number, _)
        | Call::PollPidfd(number)
        | Call::WaitidPidfd(number, _)
        | Call::PidfdEnd(number)
        | Call::Wait4(Wait { who: Who::Pid(number) | Who::Group(number), .. })
        | Call::Waitid(Wait { who: Who::Pid(number) | Who::Group(number), .. }) => each(number),
        Call::Tgkill(one, other, _)
        | Call::Setpgid(one, other)
        | Call::Dup2(one, other)
        | Call::Terminal(one, TtyCall::SetForeground(other)) => {
            each(one);
            each(other);
        }
        Call::Terminal(number, _) => each(number),
        Call::Ptrace(what) => what.numbers().into_iter().for_each(each),
        Call::Wait4(Wait { who: Who::Any, .. })
        | Call::Waitid(Wait { who: Who::Any, .. })
        | Call::Clone(_)
        | Call::Exit(_)
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
        | Call::Pty
        | Call::OpenTty
        | Call::Open(..)
        | Call::Execve(_)
        | Call::Mmap(..)
        | Call::Madvise(..)
        | Call::Touch(..)
        | Call::Resident(_)
        | Call::LimitStack(_)
        | Call::Alarm(_)
        | Call::Socketpair
        | Call::Listen(_) => {}
    }
}
