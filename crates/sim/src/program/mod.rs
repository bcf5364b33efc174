//! What simulated processes do, as text: each call of the kernel is a line that can be read and printed.
//!
//! The same lines are given to real processes, so that a program can be played on paper and on Linux.

mod text;

pub use text::{BadCall, Said};
