//! A socket of the family that nobody holds for us any more: taken from a process that has it.

use super::resolve;
use doula_model::plan::Errno;
use doula_model::recipe::SocketAddress;
use doula_sys::fd::{AsFd, OwnedFd, RawFd};
use doula_sys::{fd, pidfd, socket};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;

/// The socket at this address that a process has, if it has one: the same open file. `pid` is the number of the one that is held.
///
/// # Errors
/// EPERM: we may not trace it (ptrace(2)).
pub(crate) fn take(
    holder: impl AsFd,
    pid: doula_model::id::Pid,
    address: &SocketAddress,
) -> Result<Option<OwnedFd>, Errno> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Err(Errno::EPERM) };
    for entry in entries.flatten() {
        let link = std::fs::read_link(entry.path());
        if link.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
            return Err(Errno::EPERM);
        }
        let is_socket = link.is_ok_and(|link| link.to_string_lossy().starts_with("socket:"));
        let number: Option<RawFd> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(number) = number.filter(|_| is_socket) else { continue };
        match pidfd::get_fd(&holder, number) {
            Ok(found) if is_at(&found, address) => return Ok(Some(found)),
            Err(Errno::EPERM) => return Err(Errno::EPERM),
            // Closed meanwhile.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

/// Whether this is the socket that was opened at the address: no connection of it.
fn is_at(found: &OwnedFd, address: &SocketAddress) -> bool {
    let listens = socket::listens(found) == Ok(true);
    let Ok(copy) = fd::duplicate(found, 3) else { return false };
    match address {
        SocketAddress::Tcp(text) => {
            let at = TcpListener::from(copy).local_addr().ok();
            listens && resolve(text).is_ok_and(|places| places.into_iter().any(|place| Some(place) == at))
        }
        SocketAddress::Udp(text) => {
            let socket = UdpSocket::from(copy);
            let at = socket.local_addr().ok().filter(|_| socket.peer_addr().is_err());
            resolve(text).is_ok_and(|places| places.into_iter().any(|place| Some(place) == at))
        }
        SocketAddress::Unix { path, .. } => {
            let at = UnixListener::from(copy).local_addr().ok();
            listens
                && at.and_then(|at| at.as_pathname().map(|at| at.as_os_str() == path.as_str())) == Some(true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn the_socket_that_listens_is_taken_and_no_connection_of_it() {
        let ours = pidfd::open(doula_sys::group::pid()).expect("we live");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let place = listener.local_addr().expect("its address");
        let client = TcpStream::connect(place).expect("it listens");
        let (accepted, _) = listener.accept().expect("the client");
        let address = SocketAddress::Tcp(place.to_string());
        let taken = take(&ours, doula_sys::group::pid(), &address)
            .expect("we may trace ourselves")
            .expect("it is there");
        drop(listener);
        assert_eq!(socket::listens(&taken), Ok(true));
        TcpStream::connect(place).expect("it listens still");
        drop(taken);
        let none = take(&ours, doula_sys::group::pid(), &address).expect("we may trace ourselves");
        assert!(none.is_none(), "the connections are none");
        drop((client, accepted));
    }

    #[test]
    fn a_datagram_socket_is_known_by_its_place() {
        let ours = pidfd::open(doula_sys::group::pid()).expect("we live");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = SocketAddress::Udp(socket.local_addr().expect("its address").to_string());
        assert!(take(&ours, doula_sys::group::pid(), &address).expect("we may").is_some());
        let other = SocketAddress::Udp("127.0.0.1:1".to_owned());
        assert!(take(&ours, doula_sys::group::pid(), &other).expect("we may").is_none());
    }
}
