//! What a supervisor hands over to the program that it becomes, beside what its keeper holds: a text in memory, and fds by number.

use crate::control::place::Place;
use crate::logs::Past;
use crate::people::handover::Handover;
use doula_model::control::RequestId;
use doula_model::plan::Errno;
use doula_model::time::Time;
use doula_sys::fd::{self, AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use serde::{Deserialize, Serialize};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

/// The words of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Text {
    /// The directory of the family.
    directory: PathBuf,
    lock: RawFd,
    control: RawFd,
    /// Who has asked for the upgrade, and the number of the request.
    asker: Option<(RawFd, RequestId)>,
    /// The version of the program that was before.
    from: String,
    /// When it ceased to look after the family, on the monotonic clock in nanoseconds.
    since: u64,
    #[serde(default)]
    people: Handover,
    #[serde(default)]
    past: Past,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Baton {
    pub(crate) directory: PathBuf,
    pub(crate) lock: OwnedFd,
    pub(crate) control: OwnedFd,
    pub(crate) asker: Option<(OwnedFd, RequestId)>,
    pub(crate) from: String,
    pub(crate) since: Time,
    /// Who is connected, and the connections, as long as we have them.
    pub(crate) people: (Handover, Vec<OwnedFd>),
    /// The last lines. They follow the text, behind a newline: most of their bytes are no text.
    pub(crate) past: Past,
}

impl Baton {
    /// What was handed over to us under this number.
    ///
    /// # Errors
    /// Nothing was, or it is not understood.
    pub fn take(number: RawFd) -> io::Result<Baton> {
        let owned = |number| fd::inherited(number).map_err(to_io);
        let (mut file, mut text) = (std::fs::File::from(owned(number)?), Vec::new());
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
        let mut bytes = text.split_off(end);
        bytes.drain(..1.min(bytes.len()));
        let text: Text = serde_json::from_slice(&text).map_err(io::Error::other)?;
        let mut past = text.past;
        past.bytes = bytes;
        // One who has hung up is missed by nobody.
        let asker = text.asker.and_then(|(number, request)| Some((fd::inherited(number).ok()?, request)));
        Ok(Baton {
            directory: text.directory,
            lock: owned(text.lock)?,
            control: owned(text.control)?,
            asker,
            from: text.from,
            since: Time::from_nanos(text.since),
            people: (text.people, Vec::new()),
            past,
        })
    }

    /// As a file in memory.
    pub(super) fn write(&self) -> Result<OwnedFd, Errno> {
        let text = Text {
            directory: self.directory.clone(),
            lock: self.lock.as_raw_fd(),
            control: self.control.as_raw_fd(),
            asker: self.asker.as_ref().map(|(stream, request)| (stream.as_raw_fd(), *request)),
            from: self.from.clone(),
            since: self.since.as_nanos(),
            people: self.people.0.clone(),
            past: self.past.clone(),
        };
        // A path that is no UTF-8 cannot be said.
        let mut text = serde_json::to_vec(&text).map_err(|_| Errno::EINVAL)?;
        text.push(b'\n');
        text.extend(&self.past.bytes);
        let mut file = std::fs::File::from(fd::memory(c"doula-baton")?);
        file.write_all(&text).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno))?;
        Ok(file.into())
    }

    /// The fds that are to stay open.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let asker = self.asker.iter().map(|(stream, _)| stream.as_fd());
        let clients = self.people.1.iter().map(AsFd::as_fd);
        [self.lock.as_fd(), self.control.as_fd()].into_iter().chain(asker).chain(clients)
    }

    /// The place of the family, and its control socket.
    pub(crate) fn place(&self) -> io::Result<(Place, UnixListener)> {
        let lock = fd::duplicate(&self.lock, 3).map_err(to_io)?;
        let control = fd::duplicate(&self.control, 3).map_err(to_io)?;
        Ok((Place::inherit(self.directory.clone(), lock.into()), control.into()))
    }

    /// The one who waits for the outcome.
    pub(crate) fn take_asker(&mut self) -> Option<(UnixStream, RequestId)> {
        self.asker.take().map(|(stream, request)| (stream.into(), request))
    }
}

fn to_io(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}
