//! doula on Linux: does what the core decided and reports what happened. Holds no policy.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

pub mod init;

#[cfg(feature = "std")]
pub mod aim;
#[cfg(feature = "std")]
pub mod cgroup;
#[cfg(feature = "std")]
pub mod child;
#[cfg(feature = "std")]
pub mod command;
#[cfg(feature = "conform")]
pub mod conform;
#[cfg(feature = "supervisor")]
pub mod control;
#[cfg(feature = "std")]
pub mod daemonize;
#[cfg(feature = "supervisor")]
pub mod detach;
#[cfg(feature = "std")]
pub mod diagnosis;
#[cfg(feature = "std")]
pub mod fork;
#[cfg(feature = "std")]
mod holder;
#[cfg(feature = "std")]
pub mod inject;
#[cfg(feature = "std")]
pub mod jobs;
#[cfg(feature = "supervisor")]
mod journal;
#[cfg(feature = "supervisor")]
pub mod keeper;
#[cfg(feature = "supervisor")]
mod linux;
#[cfg(feature = "supervisor")]
pub mod listen;
#[cfg(feature = "std")]
mod listening;
#[cfg(feature = "std")]
pub mod lives;
#[cfg(feature = "supervisor")]
pub mod logs;
#[cfg(feature = "supervisor")]
pub mod notify;
#[cfg(feature = "std")]
mod numa;
#[cfg(feature = "supervisor")]
mod people;
#[cfg(feature = "std")]
pub mod pipeline;
#[cfg(feature = "std")]
pub mod prefork;
#[cfg(feature = "std")]
pub mod procfs;
#[cfg(feature = "std")]
pub mod ready;
#[cfg(feature = "std")]
pub mod reaper;
#[cfg(feature = "std")]
pub mod room;
#[cfg(feature = "supervisor")]
pub mod schedule;
#[cfg(feature = "std")]
pub mod shutdown;
#[cfg(feature = "std")]
pub mod signals;
#[cfg(feature = "std")]
pub mod snapshot;
#[cfg(feature = "std")]
pub mod spawn;
#[cfg(feature = "supervisor")]
mod steps;
#[cfg(feature = "supervisor")]
pub mod supervisor;
#[cfg(feature = "std")]
pub mod sweep;
#[cfg(feature = "supervisor")]
pub mod terminal;
#[cfg(feature = "supervisor")]
pub mod upgrade;
#[cfg(feature = "supervisor")]
pub mod usage;
#[cfg(feature = "std")]
pub mod worker;
#[cfg(feature = "std")]
pub mod zygote;

#[cfg(feature = "std")]
pub use child::{
    Capture, CaptureError, Child, Holder, Io, NotEmpty, OnDrop, Output, Proof, Survivor, TreeEnd, reap_left,
};
#[cfg(feature = "std")]
pub use command::{Command, CommandError, Stdio};
#[cfg(feature = "std")]
pub use doula_model::{
    exit::{Evidence, ExitStatus, Outcome},
    id::Pid,
    plan::{Capabilities, Credentials, Errno, Resource, Rlimit, Step},
    signal::Signal,
};
#[cfg(feature = "std")]
pub use doula_sys::wait::Usage;
#[cfg(feature = "std")]
pub use jobs::workers::pool;
#[cfg(feature = "std")]
pub use pipeline::{Children, Pipeline, PipelineEnd, PipelineError, StageEnd};
#[cfg(feature = "std")]
pub use zygote::{Task, Zygote, ZygoteError};
