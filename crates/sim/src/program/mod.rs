//! What simulated processes do, as text: each call of the kernel is a line that can be read and printed, and
//! lines with names, blocks, loops and handlers are a [`Script`].
//!
//! The same text is given to real processes, so that a program can be played on paper and on Linux.
//! A [`Player`] walks through a script and says what comes next; it knows neither a kernel nor a clock. Whoever
//! plays it makes the calls: [`Stage`] on the kernel on paper, an actor of the tests on Linux. [`cast`] has the
//! behaviours that supervisors meet.

pub mod cast;
mod names;
mod player;
mod read;
mod script;
mod stage;
mod text;

pub use player::{Player, Step};
pub use read::{BadScript, Wrong};
pub use script::Script;
pub use stage::{NoScript, Stage};
pub(crate) use text::Word;
pub use text::{BadCall, Said};
