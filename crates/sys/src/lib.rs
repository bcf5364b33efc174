//! The door to the kernel: one function is one system call, and all the unsafe code of doula is here.
//!
//! The chapters follow a life: [`fork`] and [`exec`] give birth to a [`doula_model::plan::ChildPlan`];
//! [`group`], [`limits`] and [`fd`] are its context; [`signal`], `catch`, [`pidfd`] and [`socket`] are how it is
//! spoken to; [`wait`] and [`adopt`] are its end; [`bpf`] sees all tasks at once; [`poll`], [`time`] and [`sched`] are how the supervisor sleeps and wakes; [`sandbox`] makes a
//! kernel that can do less.
//!
//! Nothing here (but one function of [`memory`]) calls a function of a C library, so that the small static `doula-init` can use all of it:
//! either rustix speaks to the kernel directly, or the few lines of assembly in the private module `raw` do.
//! There is no policy: no retry, no time limit, no decision. Errors are the kernel's [`Errno`].
#![no_std]
extern crate alloc;
#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod adopt;
pub mod bpf;
pub mod calls;
#[cfg(feature = "std")]
pub mod catch;
#[cfg(feature = "classic")]
pub mod classic;
pub mod connector;
pub mod diag;
pub mod exec;
pub mod fd;
pub mod fork;
pub mod group;
pub mod limits;
pub mod memory;
pub mod pidfd;
pub mod poll;
pub mod proc;
pub mod ptrace;
mod raw;
pub mod sandbox;
pub mod sched;
#[cfg(feature = "std")]
pub mod shared;
pub mod signal;
pub mod socket;
pub mod start;
#[cfg(feature = "classic")]
pub mod stuck;
pub mod taskstats;
pub mod time;
#[cfg(feature = "std")]
pub mod title;
pub mod wait;

use doula_model::plan::Errno;

/// What a system call gives: a value, or the kernel's reason.
pub type Result<T> = core::result::Result<T, Errno>;

/// The kernel's reason out of rustix's type.
fn errno(error: rustix::io::Errno) -> Errno {
    Errno(error.raw_os_error())
}
