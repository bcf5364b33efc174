//! The decisions of doula: same inputs, same outputs. No clock, no I/O, no randomness (a seed is data).
//!
//! [`engine::Engine`] decides for a family of services. What it is told and what it says are the words of
//! `doula-model`; [`drive`] is the loop that joins it to a world ([`kernel::Kernel`]). What people see of it
//! is in [`view`]. Start reading at `service`: the table of one service. [`diagnosis`] is apart: why processes of
//! anybody are not buried, or wait; [`queue`] too: who works at which task, and what if he dies of it;
//! and [`again`]: when a group is killed once more.

#![no_std]
extern crate alloc;

mod begin;
mod child;
mod command;
mod conclude;
mod context;
mod crew;
mod ready;
mod restart;
mod resume;
mod schedule;
mod service;
mod settle;
mod shutdown;
mod slope;
mod stop;
mod timers;
mod watch;

pub mod again;
pub mod apply;
pub mod arrears;
pub mod begun;
pub mod calendar;
pub mod claim;
pub mod deps;
pub mod diagnosis;
pub mod drive;
pub mod engine;
pub mod flood;
pub mod graceful;
pub mod init;
pub mod journal;
pub mod kernel;
pub mod pool;
pub mod queue;
pub mod random;
pub mod talk;
pub mod view;
