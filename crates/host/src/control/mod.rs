//! The control socket: how `doula ctl` and other programs speak with a running family.
//!
//! [`place`] says where the socket is and sees that no other family has the name; [`frame`] cuts the stream
//! of bytes into messages; [`Server`] is the supervisor's side, whose decisions are in [`doula_core::talk`];
//! [`Connection`] is the other side, which does. The messages are in `doula_model::control`.
//!
//! Invariant: whatever a client sends, or does not read, costs the supervisor a bounded amount of memory and
//! time, and at the worst the client its connection.
//!
//! Deliberately absent: what the answers are. The supervisor gives them.

mod client;
mod connection;
pub mod frame;
pub mod place;
mod server;

pub(crate) use client::Talk;
pub use connection::{Connection, ConnectionError};
pub use doula_core::talk::Passed;
pub use server::{ClientId, Identity, Server};

#[cfg(test)]
mod tests;
