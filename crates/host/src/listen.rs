//! Sockets that are opened before a service starts, kept across its restarts, and passed on as
//! sd_listen_fds(3) describes.
//!
//! Names of hosts are looked up in `/etc/hosts` only: asking a name server could take longer than anybody
//! wants to wait, and a socket listens on an address of this machine anyway.

pub(crate) mod borrowed;
mod holder;

use crate::holder::Holder;
use crate::keeper::{Held, Ledger, Tag};
use doula_model::plan::Errno;
use doula_model::recipe::{Socket, SocketAddress};
use doula_sys::fd::{AsFd as _, BorrowedFd, OwnedFd};
use doula_sys::socket;
use std::cell::RefCell;
use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

/// Where names of hosts are looked up.
const HOSTS: &str = "/etc/hosts";

/// Why a socket could not be opened. Its text names the address, and who has it if `/proc` tells.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be understood.
    #[error("failed to understand the address {address}: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Somebody else has it.
    #[error("{address} is in use{}", by(holder))]
    InUse {
        /// Which.
        address: String,
        /// Who has it, if it can be seen.
        holder: Option<Holder>,
    },
    /// Something that is no socket is in its place.
    #[error("failed to listen on {address}: there is a file of another kind")]
    NotASocket {
        /// The path.
        address: String,
    },
    /// The kernel refused.
    #[error("failed to listen on {address}: {errno}")]
    Refused {
        /// Which.
        address: String,
        /// Why.
        errno: Errno,
    },
}

fn by(holder: &Option<Holder>) -> String {
    holder.as_ref().map_or(String::new(), |holder| format!(" by pid {holder}"))
}

/// The open sockets of one service.
#[derive(Debug, Default)]
pub struct Sockets {
    open: Vec<Open>,
    shared: Shared,
    /// They belong to this slot of a pool: other slots have their own at the same addresses (`SO_REUSEPORT`).
    slot: Option<u32>,
}

/// What the services of one family have open: instances of a service name the same address, and accept from
/// the same queue.
#[derive(Clone, Debug, Default)]
pub struct Shared(Rc<RefCell<List>>);

/// See [`Shared`].
#[derive(Debug)]
struct List {
    known: Vec<Known>,
    ledger: Ledger,
    /// What was opened since somebody wrote it down.
    fresh: Vec<Fresh>,
}

impl Default for List {
    fn default() -> List {
        List { known: Vec::new(), ledger: Ledger::none(), fresh: Vec::new() }
    }
}

/// The number under which a socket is written down, its address and its slot.
pub(crate) type Fresh = (u32, SocketAddress, Option<u32>);

/// A socket, its address and its slot, as long as somebody has it.
type Known = (SocketAddress, Option<u32>, Weak<Bound>);

#[derive(Debug)]
struct Open {
    spec: Socket,
    bound: Rc<Bound>,
}

/// A socket that is closed with the last service that has it.
#[derive(Debug)]
pub(crate) struct Bound {
    fd: Held,
    /// Removed when this is dropped.
    _file: Option<SocketFile>,
}

impl Shared {
    /// The socket at this address: the one that a service of the family has, or a new one.
    fn open(&self, spec: &Socket, slot: Option<u32>) -> Result<Open, ListenError> {
        // A Unix socket has its path for itself, so all slots share it.
        let slot = slot.filter(|_| !matches!(spec.address, SocketAddress::Unix { .. }));
        let mut list = self.0.borrow_mut();
        list.known.retain(|(.., bound)| bound.strong_count() > 0);
        let is = |(address, of, _): &&Known| *of == slot && same_place(address, &spec.address);
        let bound = match list.known.iter().find(is).and_then(|(.., bound)| bound.upgrade()) {
            Some(bound) => bound,
            None => {
                let (fd, file) = if slot.is_some() { bind_among_others(spec)? } else { bind(spec)? };
                let number = list.ledger.next_number();
                list.enter((fd, file), (number, spec.address.clone(), slot))
            }
        };
        Ok(Open { spec: spec.clone(), bound })
    }
}

impl Bound {
    pub(crate) fn fd(&self) -> &Held {
        &self.fd
    }
}

impl List {
    fn enter(
        &mut self,
        (fd, file): (OwnedFd, Option<SocketFile>),
        (number, address, slot): Fresh,
    ) -> Rc<Bound> {
        let bound = Rc::new(Bound { fd: self.ledger.hold(fd, Tag::Socket(number)), _file: file });
        self.fresh.push((number, address.clone(), slot));
        self.known.push((address, slot, Rc::downgrade(&bound)));
        bound
    }
}

/// Keeps sockets open that nobody of the family has yet.
#[derive(Debug)]
pub(crate) struct Inherited {
    _bound: Rc<Bound>,
}

impl Shared {
    /// None is open yet; all that will be opened outlive us.
    pub(crate) fn outliving_us(ledger: Ledger) -> Shared {
        Shared(Rc::new(RefCell::new(List { ledger, ..List::default() })))
    }

    /// A socket that a supervisor before us has opened at this address, for this slot. It keeps its number, so that a journal
    /// of ours can be read with what the keeper before ours holds.
    pub(crate) fn inherit(&self, fd: OwnedFd, written: Fresh) -> Inherited {
        let file = match &written.1 {
            SocketAddress::Unix { path, .. } => SocketFile::at(path).ok(),
            SocketAddress::Tcp(_) | SocketAddress::Udp(_) => None,
        };
        let mut list = self.0.borrow_mut();
        list.ledger.keep_number(written.0);
        Inherited { _bound: list.enter((fd, file), written) }
    }

    /// The numbers, addresses and slots of what was opened since the last call.
    pub(crate) fn take_fresh(&self) -> Vec<Fresh> {
        std::mem::take(&mut self.0.borrow_mut().fresh)
    }
}

/// A socket file that goes with its socket, if it is still the same one.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn at(path: &str) -> io::Result<SocketFile> {
        let about = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: PathBuf::from(path), device: about.dev(), inode: about.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = |about: fs::Metadata| about.dev() == self.device && about.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(same) {
            // Nothing can be done about a directory that does not let us.
            fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

impl Sockets {
    /// None yet; those that other services of the family have open already will be shared with them.
    pub fn sharing(shared: &Shared) -> Sockets {
        Sockets { open: Vec::new(), shared: shared.clone(), slot: None }
    }

    /// They are those of this slot from now on: those of another one are given up.
    pub(crate) fn sit(&mut self, slot: Option<u32>) {
        if self.slot != slot {
            self.open.clear();
            self.slot = slot;
        }
    }

    /// The sockets that are open.
    pub(crate) fn bound(&self) -> impl Iterator<Item = &Rc<Bound>> {
        self.open.iter().map(|open| &open.bound)
    }

    /// Opens what is in the list and not open yet, and closes what is open and not in the list. A socket whose
    /// address stays is kept, with every connection that waits in it.
    ///
    /// # Errors
    /// The first that fails; then everything is as before.
    pub fn apply(&mut self, wanted: &[Socket]) -> Result<(), ListenError> {
        let is = |open: &Open, spec: &Socket| same_place(&open.spec.address, &spec.address);
        let is_new = |spec: &&Socket| !self.open.iter().any(|open| is(open, spec));
        let mut new: Vec<Open> = wanted
            .iter()
            .filter(is_new)
            .map(|spec| self.shared.open(spec, self.slot))
            .collect::<Result<_, _>>()?;
        let mut old = core::mem::take(&mut self.open);
        for spec in wanted {
            let from_old = old.iter().position(|open| is(open, spec));
            let from_new = new.iter().position(|open| is(open, spec));
            let mut found = match (from_old, from_new) {
                (Some(place), _) => old.remove(place),
                (None, Some(place)) => new.remove(place),
                // The same address twice in one list: it was taken by the first.
                (None, None) => continue,
            };
            adjust(&found, spec);
            found.spec = spec.clone();
            self.open.push(found);
        }
        Ok(())
    }

    /// The fds to pass on, with their names, in the order of the configuration.
    pub fn fds(&self) -> impl Iterator<Item = (&str, BorrowedFd<'_>)> {
        self.open.iter().map(|open| (open.spec.name.as_str(), open.bound.fd.as_fd()))
    }
}

/// `LISTEN_FDS` and `LISTEN_FDNAMES` for fds with these names, which the child gets from number 3 on;
/// `LISTEN_PID` is added at its birth ([`doula_model::plan::ChildPlan::listen_pid`]).
pub fn variables<'a>(names: impl Iterator<Item = &'a str>) -> [(String, String); 2] {
    let names: Vec<&str> = names.collect();
    [("LISTEN_FDS".to_owned(), names.len().to_string()), ("LISTEN_FDNAMES".to_owned(), names.join(":"))]
}

/// Whether this socket is the one that is wanted; its name, mode and queue may differ.
fn same_place(open: &SocketAddress, wanted: &SocketAddress) -> bool {
    match (open, wanted) {
        (SocketAddress::Unix { path, .. }, SocketAddress::Unix { path: other, .. }) => path == other,
        (is, wanted) => is == wanted,
    }
}

/// Gives a kept socket its new mode and queue length. A socket that listens already takes any length; a file
/// that is gone has no mode.
fn adjust(kept: &Open, wanted: &Socket) {
    if let SocketAddress::Unix { path, mode } = &wanted.address
        && kept.spec.address != wanted.address
    {
        fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap_or_default();
    }
    if kept.spec.backlog != wanted.backlog && !matches!(wanted.address, SocketAddress::Udp(_)) {
        socket::listen(&kept.bound.fd, wanted.backlog).unwrap_or_default();
    }
}

fn bind(spec: &Socket) -> Result<(OwnedFd, Option<SocketFile>), ListenError> {
    Ok(match &spec.address {
        SocketAddress::Tcp(text) => (open_tcp(text, spec.backlog)?, None),
        SocketAddress::Udp(text) => (open_udp(text)?, None),
        SocketAddress::Unix { path, mode } => {
            let (fd, file) = open_unix(path, *mode, spec.backlog)?;
            (fd, Some(file))
        }
    })
}

/// One of several at the same address.
fn bind_among_others(spec: &Socket) -> Result<(OwnedFd, Option<SocketFile>), ListenError> {
    let (text, kind) = match &spec.address {
        SocketAddress::Tcp(text) => (text, socket::Kind::Stream),
        SocketAddress::Udp(text) => (text, socket::Kind::Datagram),
        SocketAddress::Unix { .. } => return bind(spec),
    };
    let places = resolve(text)?;
    let opened = first(&places, |place| {
        socket::bind_among_others(kind, place).map_err(|Errno(code)| io::Error::from_raw_os_error(code))
    });
    let fd = opened.map_err(|error| {
        net_error(text, &error, || match kind {
            socket::Kind::Stream => holder::of_tcp(&places),
            socket::Kind::Datagram | socket::Kind::Packet => holder::of_udp(&places),
        })
    })?;
    if kind == socket::Kind::Stream {
        let refused = |errno| ListenError::Refused { address: text.clone(), errno };
        socket::listen(&fd, spec.backlog).map_err(refused)?;
    }
    Ok((fd, None))
}

fn open_tcp(text: &str, backlog: u32) -> Result<OwnedFd, ListenError> {
    let places = resolve(text)?;
    // The standard library sets SO_REUSEADDR, so that connections of an earlier life in TIME_WAIT do not hinder.
    let listener = first(&places, TcpListener::bind)
        .map_err(|error| net_error(text, &error, || holder::of_tcp(&places)))?;
    let fd = OwnedFd::from(listener);
    socket::listen(&fd, backlog).map_err(|errno| ListenError::Refused { address: text.to_owned(), errno })?;
    Ok(fd)
}

fn open_udp(text: &str) -> Result<OwnedFd, ListenError> {
    let places = resolve(text)?;
    // No SO_REUSEADDR: with UDP it would let two services steal each other's messages.
    let socket = first(&places, UdpSocket::bind)
        .map_err(|error| net_error(text, &error, || holder::of_udp(&places)))?;
    Ok(OwnedFd::from(socket))
}

/// The first place that works; the next one is tried only where the address family is missing.
fn first<S>(places: &[SocketAddr], bind: impl Fn(SocketAddr) -> io::Result<S>) -> io::Result<S> {
    const EAFNOSUPPORT: i32 = 97;
    let mut end = Err(io::Error::from_raw_os_error(Errno::EADDRNOTAVAIL.0));
    for place in places {
        end = bind(*place);
        let missing = [EAFNOSUPPORT, Errno::EADDRNOTAVAIL.0];
        if !end.as_ref().is_err_and(|error| error.raw_os_error().is_some_and(|code| missing.contains(&code)))
        {
            break;
        }
    }
    end
}

fn net_error(text: &str, error: &io::Error, holder: impl Fn() -> Option<Holder>) -> ListenError {
    let address = text.to_owned();
    match errno(error) {
        Errno::EADDRINUSE => ListenError::InUse { address, holder: holder() },
        errno => ListenError::Refused { address, errno },
    }
}

/// `host:port` as addresses to try in order. `*` is every address of the machine, over IPv6 if there is one.
fn resolve(text: &str) -> Result<Vec<SocketAddr>, ListenError> {
    let wrong = |reason| ListenError::Address { address: text.to_owned(), reason };
    if let Ok(place) = text.parse() {
        return Ok(vec![place]);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("want host:port"))?;
    let port: u16 = port.parse().map_err(|_| wrong("want a port from 0 to 65535"))?;
    let places: Vec<IpAddr> = match host {
        "*" => vec![Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()],
        "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        name => in_hosts(&fs::read_to_string(HOSTS).unwrap_or_default(), name),
    };
    if places.is_empty() {
        return Err(wrong("this host is not in /etc/hosts; give its number"));
    }
    Ok(places.into_iter().map(|place| SocketAddr::new(place, port)).collect())
}

/// The addresses of a host in the text of hosts(5).
fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    let found = lines.filter_map(|mut words| {
        let address = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
    });
    found.collect()
}

fn open_unix(path: &str, mode: u32, backlog: u32) -> Result<(OwnedFd, SocketFile), ListenError> {
    let refused = |errno| ListenError::Refused { address: path.to_owned(), errno };
    let name = CString::new(path).map_err(|_| refused(Errno::EINVAL))?;
    let fd = socket::unix_stream().map_err(refused)?;
    match socket::bind_unix(&fd, &name) {
        Err(Errno::EADDRINUSE) => {
            clear_away(path)?;
            socket::bind_unix(&fd, &name).map_err(refused)?;
        }
        other => other.map_err(refused)?,
    }
    let refused_io = |error: io::Error| refused(errno(&error));
    let file = SocketFile::at(path).map_err(refused_io)?;
    // Before listening: nobody can connect while the mode is still that of the umask.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(refused_io)?;
    socket::listen(&fd, backlog).map_err(refused)?;
    Ok((fd, file))
}

/// Removes the socket file of somebody who is gone.
fn clear_away(path: &str) -> Result<(), ListenError> {
    let address = || path.to_owned();
    let refused = |error: io::Error| ListenError::Refused { address: address(), errno: errno(&error) };
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        about => about.map_err(refused)?,
    };
    if !about.file_type().is_socket() {
        return Err(ListenError::NotASocket { address: address() });
    }
    match is_alive(Path::new(path)) {
        Ok(true) => Err(ListenError::InUse { address: address(), holder: holder::of_unix(path) }),
        Ok(false) => fs::remove_file(path).map_err(refused),
        Err(error) => Err(refused(error)),
    }
}

/// Whether a socket file has a socket. A datagram socket asks, because connecting it never waits: a stream
/// socket behind the file answers EPROTOTYPE, nobody behind it ECONNREFUSED.
fn is_alive(path: &Path) -> io::Result<bool> {
    const EPROTOTYPE: Errno = Errno(91);
    match UnixDatagram::unbound()?.connect(path) {
        Ok(()) => Ok(true),
        Err(error) => match errno(&error) {
            EPROTOTYPE => Ok(true),
            Errno::ECONNREFUSED => Ok(false),
            _ => Err(error),
        },
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno)
}

#[cfg(test)]
mod tests;
