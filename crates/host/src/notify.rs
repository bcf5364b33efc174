//! What services say about themselves: sd_notify(3) as it is, the readiness fd of s6, and the other way round,
//! what the supervisor says to a systemd above it.
//!
//! ```text
//! Channel  one datagram socket for each service; the kernel proves who speaks
//! message  bytes into Heard: what a datagram means
//! store    the fds that a service leaves with us (FDSTORE=1)
//! parent   our own words to a service manager above us
//! ```
//!
//! A datagram is the word of a process that may be hostile: whatever is wrong with it is told as a complaint,
//! and fds that nobody asked for are closed with it. Whether the sender belongs to the service is for the loop
//! to judge, who knows its processes; [`Heard::sender`] is proven by the kernel.

mod message;
mod parent;
mod store;

pub use message::{Heard, LONGEST_MESSAGE, Offered};
pub use parent::{Above, AboveError};
pub use store::FdStore;

use crate::keeper::{Held, Ledger, Mark, Tag};
use doula_model::id::ServiceId;
use doula_model::plan::Errno;
use doula_sys::fd::{self, AsFd, BorrowedFd, OwnedFd};
use doula_sys::{poll, socket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest path of a Unix socket (`sun_path` of unix(7) less its NUL).
const LONGEST_PATH: usize = 107;

/// How many datagrams of one service are heard in one turn; the others wait for the next, so that a chatty
/// service cannot keep the loop.
const HEARD_PER_TURN: usize = 64;

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket could not be made.
    #[error("failed to open the notify socket {address}: {source}")]
    Bind {
        /// Its path, or `@` and its abstract name.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// Where one service speaks to us.
#[derive(Debug)]
pub struct Channel {
    /// Set when it outlives us.
    mark: Option<Mark>,
    socket: UnixDatagram,
    address: String,
    /// The socket file, which goes with the channel.
    file: Option<PathBuf>,
    /// The datagram that is next was heard, and stays there until what it says is written down.
    heard: bool,
}

impl AsFd for Channel {
    /// What the loop watches for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.mark = None;
        if let Some(file) = &self.file {
            // It may have been removed together with its directory.
            std::fs::remove_file(file).unwrap_or_default();
        }
    }
}

impl Channel {
    /// Opens the socket file `directory/name`, or, where that is too long for a socket, an abstract name that
    /// is unique to this process. A socket file that is left over is replaced: the directory is ours alone.
    ///
    /// Any user may speak (the service may run as one); the kernel tells who it was.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(directory: &Path, name: &str) -> Result<Channel, ChannelError> {
        let file = directory.join(name);
        match file.to_str() {
            Some(path) if path.len() <= LONGEST_PATH => Channel::at_path(path.to_owned(), file),
            Some(_) | None => Channel::open_abstract(name),
        }
    }

    /// Opens an abstract socket (unix(7)): for services that cannot reach our directory. They must share our
    /// network namespace.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open_abstract(name: &str) -> Result<Channel, ChannelError> {
        let pid = std::process::id();
        let short: String = name.chars().take(16).filter(char::is_ascii).collect();
        let name = format!("doula/{pid}/{short}-{:016x}", fnv(name.as_bytes()));
        let address = format!("@{name}");
        let fail = |source| ChannelError::Bind { address: address.clone(), source };
        let place = SocketAddr::from_abstract_name(&name).map_err(fail)?;
        let socket = UnixDatagram::bind_addr(&place).map_err(fail)?;
        prepare(&socket).map_err(fail)?;
        Ok(Channel { mark: None, socket, address, file: None, heard: false })
    }

    fn at_path(address: String, file: PathBuf) -> Result<Channel, ChannelError> {
        let open = || {
            if std::fs::symlink_metadata(&file).is_ok_and(|about| about.file_type().is_socket()) {
                std::fs::remove_file(&file)?;
            }
            let socket = UnixDatagram::bind(&file)?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666))?;
            prepare(&socket).map(|()| socket)
        };
        match open() {
            Ok(socket) => Ok(Channel { mark: None, socket, address, file: Some(file), heard: false }),
            Err(source) => Err(ChannelError::Bind { address, source }),
        }
    }

    /// One that a supervisor before us has opened.
    ///
    /// # Errors
    /// It is no such socket.
    pub(crate) fn inherit(socket: OwnedFd) -> std::io::Result<Channel> {
        let socket = UnixDatagram::from(socket);
        let place = socket.local_addr()?;
        let file = place.as_pathname().map(Path::to_owned);
        let name = place.as_abstract_name().map(|name| format!("@{}", String::from_utf8_lossy(name)));
        let address = file.as_ref().and_then(|file| file.to_str()).map(str::to_owned).or(name);
        let address = address.ok_or(std::io::ErrorKind::InvalidInput)?;
        Ok(Channel { mark: None, socket, address, file, heard: false })
    }

    /// It outlives us from now on.
    pub(crate) fn outlive_us(&mut self, ledger: Ledger, service: ServiceId) {
        self.mark = Some(ledger.mark(&self.socket, Tag::Notify(service)));
    }

    /// The value of `NOTIFY_SOCKET` for the service.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was said since, in its order. Do what the first ones say before the next ones are dropped: a
    /// barrier among them tells its sender, by being dropped, that everything before it was done.
    ///
    /// What changes how the service stands is the last of what is given, and leaves the socket only at the next call, when it has been
    /// done and written down: whoever comes after a SIGKILL of ours hears it again. All of that may be heard twice.
    pub fn hear(&mut self) -> Vec<Heard> {
        if std::mem::take(&mut self.heard) {
            self.drop_next();
        }
        let mut buffer = [0; LONGEST_MESSAGE];
        let mut heard = Vec::new();
        while heard.len() < HEARD_PER_TURN && !self.heard {
            match socket::peek(&self.socket, &mut buffer) {
                Ok(message) => {
                    let said = Heard::from_message(&buffer[..message.length], message);
                    self.heard = !said.is_passing();
                    heard.push(said);
                    if !self.heard {
                        self.drop_next();
                    }
                }
                Err(Errno::EINTR) => {}
                // Nothing more; any other error of recvmsg(2) on a bound socket would stay the same.
                Err(_) => break,
            }
        }
        heard
    }

    /// Whether anything waits to be heard, or to be taken out.
    pub(crate) fn has_more(&self) -> bool {
        poll::readable(&self.socket, Some(Duration::ZERO)) == Ok(true)
    }

    fn drop_next(&self) {
        while matches!(socket::receive(&self.socket, &mut []), Err(Errno::EINTR)) {}
    }
}

fn prepare(socket: &UnixDatagram) -> std::io::Result<()> {
    socket.set_nonblocking(true)?;
    socket::set_pass_credentials(socket, true).map_err(|errno| std::io::Error::from_raw_os_error(errno.0))
}

/// The FNV-1a hash of some bytes, to make a short name of a long one.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The readiness fd of s6: the service writes a newline on it when it is ready.
#[derive(Debug)]
pub struct ReadyPipe(Held);

/// What a readiness fd has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadySign {
    /// Nothing yet.
    Silent,
    /// The newline has come: it is ready. The pipe has done its work.
    Ready,
    /// It was closed without a newline: this life will never be ready.
    Closed,
}

impl AsFd for ReadyPipe {
    /// What the loop watches for reading.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl ReadyPipe {
    /// A new one, and the end that the child gets.
    ///
    /// # Errors
    /// EMFILE or ENFILE.
    pub fn new() -> Result<(ReadyPipe, OwnedFd), Errno> {
        let (reader, writer) = fd::pipe()?;
        fd::set_nonblocking(&reader, true)?;
        Ok((ReadyPipe(reader.into()), writer))
    }

    /// It outlives us from now on.
    pub(crate) fn outlive_us(self, ledger: Ledger, tag: Tag) -> ReadyPipe {
        ReadyPipe(ledger.keep(self.0, tag))
    }

    /// One that a supervisor before us has opened.
    pub(crate) fn inherit(pipe: OwnedFd) -> ReadyPipe {
        ReadyPipe(pipe.into())
    }

    /// Looks at what has come. In one that outlives us the newline stays, so that who comes after us sees it too: keep this
    /// until it is written down that it has come.
    pub fn look(&self) -> ReadySign {
        let mut buffer = [0; 256];
        // Without one the newline leaves it, which is no harm unless we are killed in this moment.
        let copy = if self.0.outlives_us() { fd::pipe().ok() } else { None };
        // Bounded: a service that writes other things for ever is looked at again in the next turn.
        for _ in 0..HEARD_PER_TURN {
            match self.0.look(copy.as_ref(), &mut buffer) {
                Ok((0, _)) => return ReadySign::Closed,
                Ok((count, _)) if buffer[..count].contains(&b'\n') => return ReadySign::Ready,
                Ok((count, true)) => drop(fd::read_full(&self.0, &mut buffer[..count])),
                Ok((_, false)) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return ReadySign::Silent,
                Err(_) => return ReadySign::Closed,
            }
        }
        ReadySign::Silent
    }
}

#[cfg(test)]
mod tests;
