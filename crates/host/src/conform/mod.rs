//! The real half of the comparison with Linux on paper: a PID namespace with processes in it, each of which makes the calls that it
//! is told to make, one at a time, and says what came of it.
//!
//! What an order means is not known here: it is a line, and so is the answer. [`Stage`] gives orders and looks on from outside until
//! all are at rest; [`Agent`] is the other end, a program that was started by a stage; [`calls`] are the system calls that an
//! agent may have to make. They name processes and descriptors by bare numbers, as the programs do that are compared: nothing
//! else should use them.

mod agent;
mod look;
mod nursery;
mod slots;
mod stage;

pub use agent::{Agent, Part, begin, clear, close_all, part, undo_the_runtime};
pub use look::Seen;
pub use stage::{Heard, Stage, StageError};

/// Calls by bare numbers, for agents alone.
pub mod calls {
    pub use doula_sys::adopt::{set_parent_death_signal, set_subreaper};
    pub use doula_sys::classic::*;
    pub use doula_sys::group::setsid;
}

/// The descriptor of the slots, in everybody on a stage. Programs have numbers far below.
const SLOTS: i32 = 1000;
/// The descriptor by which the nursery sees whether there is still a stage: the end of a pipe.
const LIFE: i32 = 1001;

/// Whether a pseudo terminal can be made here.
pub fn has_terminals() -> bool {
    doula_sys::group::pseudo_terminal().is_ok()
}

/// Whether processes may be traced here: not in some sandboxes, nor where Yama forbids it to all (`ptrace_scope` 3).
pub fn can_trace() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    doula_sys::classic::tracing::is_there() && scope.map_or(true, |scope| scope.trim() != "3")
}

/// Whether births with a chosen number can be asked for here: not in some sandboxes.
pub fn can_choose_numbers() -> bool {
    doula_sys::classic::has_clone3()
}

/// Whether this process is root, so that the processes of a stage may become other users.
pub fn is_root() -> bool {
    doula_sys::group::users().1 == 0
}
