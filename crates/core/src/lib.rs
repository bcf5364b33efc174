//! The decisions of doula: same inputs, same outputs. No clock, no I/O, no randomness (a seed is data).
#![no_std]
extern crate alloc;
