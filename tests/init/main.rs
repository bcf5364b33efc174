//! `doula init` as a real PID 1: each test starts it in a PID namespace of its own (by `unshare` of util-linux),
//! whose death ends everybody in it. And `doula up` in the same place.

mod child;
mod end;
mod faces;
mod harness;
mod signals;
#[path = "../common/terminal.rs"]
mod terminal;
mod terminals;
mod up;
