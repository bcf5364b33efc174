//! Our own words to a service manager above us (systemd, a container engine, another doula).
//!
//! The variables concern us and not our services: whoever builds their environment leaves `NOTIFY_SOCKET`,
//! `WATCHDOG_USEC` and `WATCHDOG_PID` out of it.

use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Why we cannot speak to who is above us.
#[derive(Debug, thiserror::Error)]
pub enum AboveError {
    /// `NOTIFY_SOCKET` is neither an absolute path nor an abstract name.
    #[error("failed to use NOTIFY_SOCKET={0:?}: want an absolute path or `@` and a name")]
    Address(OsString),
    /// No socket.
    #[error("failed to open a socket for NOTIFY_SOCKET: {0}")]
    Socket(#[source] io::Error),
    /// The message was not taken.
    #[error("failed to notify who is above us: {0}")]
    Send(#[source] io::Error),
}

/// The service manager that started us.
#[derive(Debug)]
pub struct Above {
    address: SocketAddr,
    socket: UnixDatagram,
    watchdog: Option<Duration>,
}

impl Above {
    /// Who is above us, by the variables that `variable` looks up (such as [`std::env::var_os`]); `None` when
    /// nobody wants to hear us.
    ///
    /// # Errors
    /// When the address is of no use, or for lack of fds.
    pub fn find(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Above>, AboveError> {
        let Some(text) = variable("NOTIFY_SOCKET").filter(|text| !text.is_empty()) else { return Ok(None) };
        let address = address(&text).ok_or(AboveError::Address(text))?;
        let socket = UnixDatagram::unbound().map_err(AboveError::Socket)?;
        socket.set_nonblocking(true).map_err(AboveError::Socket)?;
        Ok(Some(Above { address, socket, watchdog: watchdog(variable) }))
    }

    /// How often [`Above::send`] must say `WATCHDOG=1`: half of the time that is allowed, as
    /// sd_watchdog_enabled(3) recommends. `None` if nobody waits for it.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.map(|interval| interval / 2)
    }

    /// Says something, such as `READY=1\nSTATUS=5 services are up`. It never waits.
    ///
    /// # Errors
    /// When nobody listens, or the listener's queue is full (try again later).
    pub fn send(&self, text: &str) -> Result<(), AboveError> {
        self.socket.send_to_addr(text.as_bytes(), &self.address).map(drop).map_err(AboveError::Send)
    }
}

fn address(text: &OsStr) -> Option<SocketAddr> {
    match text.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(text).ok(),
        _ => None,
    }
}

fn watchdog(variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
    let for_us = match variable("WATCHDOG_PID") {
        None => true,
        Some(_) => number("WATCHDOG_PID") == Some(u64::from(std::process::id())),
    };
    number("WATCHDOG_USEC").filter(|micros| for_us && *micros > 0).map(Duration::from_micros)
}
