//! What is said on paper, against Linux: deaths that were foretold, and the cast of behaviours played on both.

mod cast;
mod crowd;
mod death;
mod eyes;
mod letters;
