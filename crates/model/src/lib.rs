//! The words of doula: what a process, a signal, an exit and a service *are*.
//!
//! Row 1 of the architecture: only data and the arithmetic that belongs to it. No I/O, no clock, no
//! dependency but (optionally) serde, so that every other crate, the simulated kernel included, can speak
//! this language.
//!
//! Read in this order: [`id`], [`signal`] and [`exit`] name a process and its end; [`plan`] is a child
//! before it is born; [`service`] is what the user promised us, [`pool`] several of a kind, and [`recipe`] how their children are made; [`record`]
//! is a service as it is written down, and [`journal`] all that is; [`event`] and [`action`] are what
//! happens and what is done about it; [`process`] is what everybody sees of any process, [`snapshot`] a table of
//! them, and [`forecast`] what follows from a death in it; [`task`] is a piece of work and what became of it; [`words`] says it all to people. `control` (feature
//! `serde`) is what people may ask a running family.

#![no_std]
extern crate alloc;

pub mod action;
#[cfg(feature = "serde")]
pub mod control;
pub mod env;
pub mod event;
pub mod exit;
pub mod forecast;
pub mod id;
pub mod journal;
pub mod plan;
pub mod pool;
pub mod process;
pub mod recipe;
pub mod record;
pub mod service;
pub mod signal;
pub mod snapshot;
pub mod task;
pub mod time;
pub mod words;
