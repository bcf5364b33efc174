//! The leases of `doula run` on Linux on paper: workers that live on are tasks of the simulated kernel, and whatever can happen to
//! a worker happens to them.
//!
//! What decides is production's: [`Queue`](doula_core::queue::Queue), [`Hiring`](doula_core::queue::Hiring), the hands and the desk
//! of each worker ([`Desk`](doula_core::queue::Desk)) and the lines that it answers ([`Answers`](doula_core::queue::Answers)). The
//! loop around them (`shop.rs`) is written after `doula-host`'s, call by call: pipes, a birth by vfork(2) into a control group, a
//! handle, reads and writes that do not block, and at the end the burial. So it is no proof of that loop, but of what it relies on:
//! in which order news may come, and what may be concluded from them.
//!
//! - `case.rs`: what a seed stands for
//! - `paper.rs`: the machine: time, calls, workers, and what goes wrong
//! - `actor.rs`: what a worker does
//! - `shop.rs`, `seat.rs`: the loop, and a worker as the loop has it
//! - `checks.rs`: what must hold
//!
//! ```
//! use doula_sim::leases::{Case, Options, run};
//! let report = run(&Case::of(7), &Options::default());
//! assert_eq!(report.violation, None);
//! assert_eq!(report.hash, run(&Case::of(7), &Options::default()).hash);
//! ```

mod actor;
mod case;
mod checks;
mod paper;
mod play;
mod seat;
mod shop;

pub use case::{Case, Cut, Deed, Trouble};
pub use play::{Breakage, Options, Report, Smallest, run, shrink};
