//! The oracle: what Linux does must be among what the model allows.
//!
//! A [`Script`] is a random program, decided by its seed; [`compare()`] plays it on paper and in a [`World`], one call at a time, and
//! follows those states of the model that agree with what was seen. Linux is such a world (`doula sim verify`), and so is a
//! model with an error in it ([`Bent`]): that shows whether the comparison would find the error.
//!
//! Absent on purpose: everything that touches Linux.

mod bent;
mod compare;
mod directed;
mod exhaustive;
mod families;
mod free;
mod paper;
mod script;
mod sockets;
mod terminals;
mod tracing;

pub use bent::Bent;
pub use compare::{Comparison, Tally, World, compare, shrink};
pub use directed::{Directed, directed};
pub use exhaustive::{Exploration, explore};
pub use families::{FILES, Family, File, PLAYER};
pub use free::{FreeWorld, run_freely};
pub use paper::{Observed, Paper, Seen, arguments, words_of};
pub use script::{Script, Step, generate};
