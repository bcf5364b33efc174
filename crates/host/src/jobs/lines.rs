//! Output that is told line by line, so that no two jobs share a line.

use super::Stream;
use doula_sys::fd::{AsFd, BorrowedFd};
use doula_sys::poll;
use std::io::{self, PipeReader, Read as _};
use std::time::Duration;

/// A line that is longer is told in pieces of this size: nobody may fill our memory.
const LONGEST: usize = 1 << 20;

/// More than this is never in a pipe (pipe(7), `pipe-max-size`), unless root has raised that.
const LARGEST_PIPE: usize = 1 << 20;

/// One stream of one job.
#[derive(Debug)]
pub(super) struct Lines {
    pipe: PipeReader,
    pub(super) stream: Stream,
    /// The beginning of a line.
    part: Vec<u8>,
}

impl Lines {
    pub(super) fn new(pipe: PipeReader, stream: Stream) -> Lines {
        Lines { pipe, stream, part: Vec::new() }
    }

    /// Reads once, and tells whole lines; `false` at the end.
    pub(super) fn read(&mut self, tell: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>) -> io::Result<bool> {
        self.read_some(tell).map(|count| count > 0)
    }

    fn read_some(&mut self, tell: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>) -> io::Result<usize> {
        let mut buffer = [0; 64 << 10];
        let count = loop {
            match self.pipe.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.part.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let whole = self.part.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let whole = if whole == 0 && self.part.len() >= LONGEST { self.part.len() } else { whole };
        let lines: Vec<u8> = self.part.drain(..whole).collect();
        lines.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| tell(self.stream, line))?;
        Ok(count)
    }

    /// Reads what is there, without waiting, and tells the last line also without its end. Whoever was left behind may write
    /// on and on: no more is read than a pipe holds.
    pub(super) fn finish(&mut self, tell: &mut dyn FnMut(Stream, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut read = 0;
        while read < LARGEST_PIPE && poll::readable(&self.pipe, Some(Duration::ZERO)).unwrap_or(false) {
            match self.read_some(tell)? {
                0 => break,
                count => read += count,
            }
        }
        let part = std::mem::take(&mut self.part);
        if part.is_empty() { Ok(()) } else { tell(self.stream, &part) }
    }
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
