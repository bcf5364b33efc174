//! Pools on paper: the policies of `doula_core::pool` under a load, on a clock that only moves by events.
//!
//! Workers take one connection at a time, the longest waiting one first, and a handler takes its time whatever else happens: it waits
//! (for a database, say) and needs no CPU. So what is compared is the policy alone; where handlers want more CPU than there
//! is, more workers help less than is shown here.

mod load;
mod run;

#[cfg(test)]
mod tests;

pub use load::{Handler, Load, Phase, Source};
pub use run::{Outcome, Setup, run};
