//! What doula says to the network, and the process that says it: jobs over NATS JetStream.
//!
//! doula has one thread and no asynchronous runtime, so that births stay safe. Whatever speaks to the network is a process of its
//! own, `doula-gateway`, which has two sockets of doula: questions come in by one ([`words::Ask`]), answers go out by the
//! other ([`words::Tell`]). doula's end is [`line::Line`].
//!
//! The gateway decides nothing: how often a task is tried and when it is buried is said by `doula_core::queue::far`, on doula's
//! side. It keeps leases alive only as long as doula says that it works at them.
//!
//! Absent on purpose: a second queue. What is not in JetStream is lost with its process, and given out again by JetStream.

pub mod line;
pub mod words;

mod wire;

#[cfg(feature = "nats")]
mod connect;
#[cfg(feature = "nats")]
mod ends;
#[cfg(feature = "nats")]
mod names;
#[cfg(feature = "nats")]
mod open;
#[cfg(feature = "nats")]
mod results;
#[cfg(feature = "nats")]
mod serve;
#[cfg(feature = "nats")]
mod submitter;
#[cfg(feature = "nats")]
mod worker;

#[cfg(feature = "nats")]
pub use serve::serve;
