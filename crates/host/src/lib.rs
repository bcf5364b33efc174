//! doula on Linux: does what the core decided and reports what happened. Holds no policy.
#![cfg_attr(not(feature = "std"), no_std)]
extern crate alloc;

#[cfg(feature = "std")]
pub mod control;
#[cfg(feature = "std")]
pub mod listen;
#[cfg(feature = "std")]
pub mod logs;
#[cfg(feature = "std")]
pub mod notify;
#[cfg(feature = "std")]
pub mod schedule;
#[cfg(feature = "std")]
pub mod spawn;
#[cfg(feature = "std")]
pub mod terminal;
