//! doula on Linux: does what the core decided and reports what happened. Holds no policy.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

pub mod init;

#[cfg(feature = "std")]
pub mod cgroup;
#[cfg(feature = "std")]
pub mod control;
#[cfg(feature = "std")]
pub mod detach;
#[cfg(feature = "std")]
mod linux;
#[cfg(feature = "std")]
pub mod listen;
#[cfg(feature = "std")]
pub mod logs;
#[cfg(feature = "std")]
pub mod notify;
#[cfg(feature = "std")]
mod people;
#[cfg(feature = "std")]
pub mod schedule;
#[cfg(feature = "std")]
pub mod spawn;
#[cfg(feature = "std")]
pub mod supervisor;
#[cfg(feature = "std")]
pub mod sweep;
#[cfg(feature = "std")]
pub mod terminal;
