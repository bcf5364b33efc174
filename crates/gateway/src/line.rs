//! doula's end of the line to its gateway.
//!
//! Two sockets, because both ends may have much to say at once: what is written waits until there is room, which the gateway
//! always makes; what is read never waits.

use crate::wire::{self, Frames};
use crate::words::{Ask, Tell};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The program of the gateway.
pub const PROGRAM: &str = "doula-gateway";
/// So much is read at once.
const PIECE: usize = 64 << 10;

/// The line. Readable when something was told.
#[derive(Debug)]
pub struct Line {
    asks: UnixStream,
    tells: UnixStream,
    frames: Frames,
    /// What is put and not written yet.
    put: Vec<u8>,
}

impl Line {
    /// A new one, and the standard input and standard output of the gateway.
    ///
    /// # Errors
    /// EMFILE.
    pub fn new() -> io::Result<(Line, OwnedFd, OwnedFd)> {
        let (asks, input) = UnixStream::pair()?;
        let (tells, output) = UnixStream::pair()?;
        tells.set_nonblocking(true)?;
        Ok((Line { asks, tells, frames: Frames::default(), put: Vec::new() }, input.into(), output.into()))
    }

    /// Asks for something.
    ///
    /// # Errors
    /// EPIPE: the gateway is gone.
    pub fn ask(&mut self, ask: &Ask, body: &[u8]) -> io::Result<()> {
        self.put(ask, body)?;
        self.flush()
    }

    /// The same for one of several, which go out together at [`Line::flush`]: to be called before anything is waited for.
    ///
    /// # Errors
    /// EPIPE: the gateway is gone.
    pub fn put(&mut self, ask: &Ask, body: &[u8]) -> io::Result<()> {
        self.put.extend_from_slice(&wire::frame(ask, body)?);
        if self.put.len() > PIECE { self.flush() } else { Ok(()) }
    }

    /// Writes all that was put.
    ///
    /// # Errors
    /// EPIPE: the gateway is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        let written = self.asks.write_all(&self.put);
        self.put.clear();
        written
    }

    /// The next thing that was told, if there is one.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`]: the gateway is gone.
    pub fn told(&mut self) -> io::Result<Option<(Tell, Vec<u8>)>> {
        loop {
            if let Some(message) = self.frames.next()? {
                return Ok(Some(message));
            }
            let mut piece = [0; PIECE];
            match self.tells.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.frames.push(piece.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next thing that is told.
    ///
    /// # Errors
    /// Those of [`Line::told`].
    pub fn wait(&mut self) -> io::Result<(Tell, Vec<u8>)> {
        self.tells.set_nonblocking(false)?;
        let told = self.told();
        self.tells.set_nonblocking(true)?;
        told?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Says that nothing more will be asked: the gateway ends when all is done.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub fn close(&self) -> io::Result<()> {
        self.asks.shutdown(Shutdown::Write)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tells.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_is_told_comes_in_order_and_the_end_of_the_gateway_is_an_error() {
        let (mut line, input, output) = Line::new().expect("sockets");
        assert!(line.told().expect("nothing yet").is_none());
        line.put(&Ask::Task(7), b"do it").expect("put");
        line.ask(&Ask::Task(8), b"too").expect("asked");
        let mut frames = Frames::default();
        let mut piece = [0; 100];
        let read = File::from(input).read(&mut piece).expect("read");
        frames.push(&piece[..read]);
        for (number, bytes) in [(7, b"do it".as_slice()), (8, b"too")] {
            let (ask, body) = frames.next::<Ask>().expect("a message").expect("whole");
            assert!(matches!(ask, Ask::Task(task) if task == number) && body == bytes);
        }
        let mut output = File::from(output);
        for tell in [Tell::Stored(1), Tell::Stored(2)] {
            output.write_all(&wire::frame(&tell, b"").expect("short")).expect("told");
        }
        drop(output);
        assert!(matches!(line.wait(), Ok((Tell::Stored(1), _))));
        assert!(matches!(line.told(), Ok(Some((Tell::Stored(2), _)))));
        assert_eq!(line.told().expect_err("the end").kind(), ErrorKind::UnexpectedEof);
    }
}
