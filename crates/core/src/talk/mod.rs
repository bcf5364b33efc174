//! How a supervisor talks with the clients of its control socket: bytes in, requests out; answers in, bytes out. It never waits for
//! a client, and whatever one sends, or does not read, costs a bounded amount of memory and time and at the worst the client its
//! connection.
//!
//! [`Frames`] cuts bytes into messages, [`Client`] is one connection, [`Clients`] is all of them. The socket is a [`Line`], the words
//! are a [`Protocol`]: `doula-host` has unix sockets and JSON, `doula-sim` has paper.
//!
//! Each request but those that need no answer has exactly one final answer, if the client is still there.
//!
//! Deliberately absent: what the answers are, and who may ask.

mod client;
mod clients;
mod frames;

pub use client::{Client, OPEN_LIMIT, Passed, QUEUE_LIMIT_OF_ANSWERS, STREAM_LIMIT, Talk, Wants};
pub use clients::{CLIENT_LIMIT, Clients, Full};
pub use frames::{Frames, TooLong, put};

use alloc::string::String;
use alloc::vec::Vec;

/// What came of a read(2) or write(2) that does not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing now; the line tells when it can go on.
    Nothing,
    /// A signal came first: at once again.
    Interrupted,
    /// The other side is gone.
    Over,
}

/// A connection that never blocks.
pub trait Line {
    /// Takes what has arrived.
    fn read(&mut self, buffer: &mut [u8]) -> Took;
    /// Sends what there is room for.
    fn write(&mut self, bytes: &[u8]) -> Took;
}

/// What was read of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<I, R> {
    /// Somebody says hello and which version of the protocol it speaks.
    Hello(I, u32),
    /// It must be answered.
    Question(I, R),
    /// It belongs to an earlier one and has no answer of its own.
    Word(I, R),
}

/// A request that is none, and why; with its number if at least that can be read.
pub type Garbled<I> = (Option<I>, String);

/// What a frame is read as.
pub type Heard<P> =
    Result<Asked<<P as Protocol>::Id, <P as Protocol>::Request>, Garbled<<P as Protocol>::Id>>;

/// Why a client is refused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Nobody understands it.
    BadRequest,
    /// Too much is under way.
    Busy,
    /// It speaks another version.
    Version,
    /// The answer cannot be given.
    Internal,
    /// It may not.
    Unsupported,
}

/// The words that are spoken.
pub trait Protocol: Sized {
    /// By which a client tells the answers to its requests apart.
    type Id: Copy + Ord + core::fmt::Debug;
    /// What is asked.
    type Request;
    /// What is answered.
    type Reply;

    /// Which version it is.
    const VERSION: u32;
    /// The longest request, in bytes.
    const REQUEST_LIMIT: u32;
    /// The longest answer, in bytes.
    const REPLY_LIMIT: u32;
    /// The number of an answer to no request.
    const NOBODY: Self::Id;

    /// Reads a request.
    ///
    /// # Errors
    /// It is none.
    fn parse(frame: &[u8]) -> Heard<Self>;
    /// Writes an answer; `false` if it cannot be written.
    fn write(id: Self::Id, reply: &Self::Reply, to: &mut Vec<u8>) -> bool;
    /// Whether another answer follows this one.
    fn goes_on(reply: &Self::Reply) -> bool;
    /// The answer that refuses.
    fn refusal(why: Why, text: String) -> Self::Reply;
    /// The answer that so many records of a stream were left out.
    fn missed(records: u64) -> Self::Reply;
}
