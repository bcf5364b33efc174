//! Waiting that ends: what takes longer than a minute fails, and tells what is known.

#[path = "../common/ended.rs"]
mod ended;

pub(super) use ended::{PATIENCE, Said, end_of, wait};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::AsFd;

/// A reader that does not wait for ever.
pub(super) struct Bounded<F>(pub(super) F);

impl<F: AsFd + Read> Read for Bounded<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if ended::is_ready(&self.0) { self.0.read(buffer) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

/// Reads by lines.
pub(super) fn lines<F: AsFd + Read>(from: F) -> BufReader<Bounded<F>> {
    BufReader::new(Bounded(from))
}

/// The next line.
pub(super) fn line<F: AsFd + Read>(from: &mut BufReader<Bounded<F>>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap_or_else(|error| panic!("no line after `{line}`: {error}"));
    line
}

/// Waits until nobody has it open for writing.
pub(super) fn await_end(from: impl AsFd + Read) {
    Bounded(from).read_to_end(&mut Vec::new()).expect("nobody writes any more");
}
