//! Our own words to a service manager above us (systemd, a container engine, another doula).
//!
//! The variables concern us and not our services: whoever builds their environment leaves `NOTIFY_SOCKET`,
//! `WATCHDOG_USEC` and `WATCHDOG_PID` out of it.

use core::time::Duration;
use doula_model::time::Time;
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
    /// When the next `WATCHDOG=1` is due.
    pet: Option<Time>,
    /// What it heard last about how we are.
    stage: Stage,
    /// The last `STATUS=`.
    status: String,
    /// Lines that its queue had no room for.
    owed: String,
}

/// How we are, in the words of sd_notify(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Starting,
    Ready,
    Stopping,
}

/// When a full queue is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// So much is kept for whoever does not listen for long; a datagram must hold it.
const LONGEST_DEBT: usize = 4096;

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
        Ok(Some(Above {
            address,
            socket,
            watchdog: watchdog(variable),
            pet: None,
            stage: Stage::Starting,
            status: String::new(),
            owed: String::new(),
        }))
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

    /// When [`Above::turn`] has something to do though nothing happens; never, if nobody waits for a sign of life.
    pub fn deadline(&self) -> Option<Time> {
        self.pet
    }

    /// To be called by the loop itself, and by nobody else: a loop that is stuck gives no sign of life.
    pub fn turn(&mut self, now: Time) {
        let interval = self.watchdog();
        let due = self.pet.is_some_and(|due| now >= due);
        if due && interval.is_some() {
            self.say("WATCHDOG=1");
        } else if due {
            self.say("");
        }
        if due || self.pet.is_none() {
            self.pet = interval.map(|interval| now.after(interval));
        }
        if !self.owed.is_empty() {
            let again = now.after(AGAIN);
            self.pet = Some(self.pet.map_or(again, |pet| pet.min(again)));
        }
    }

    /// All that start with us have started, or have failed to.
    pub fn ready(&mut self) {
        if self.stage == Stage::Starting {
            self.stage = Stage::Ready;
            self.say("READY=1");
        }
    }

    /// The configuration is read again, from now until [`Above::reloaded`].
    pub fn reloading(&mut self, now: Time) {
        if self.stage == Stage::Ready {
            self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_nanos() / 1_000));
        }
    }

    /// It was read, or refused.
    pub fn reloaded(&mut self) {
        if self.stage == Stage::Ready {
            self.say("READY=1");
        }
    }

    /// The family ends.
    pub fn stopping(&mut self) {
        if self.stage != Stage::Stopping {
            self.stage = Stage::Stopping;
            self.say("STOPPING=1");
        }
    }

    /// How the family is, in one line for people.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            self.say(&format!("STATUS={status}"));
        }
    }

    /// Says it, or the first time there is room for it. Whether anybody listens is not our business.
    fn say(&mut self, lines: &str) {
        if !lines.is_empty() && !self.owed.is_empty() {
            self.owed.push('\n');
        }
        self.owed.push_str(lines);
        if self.owed.is_empty() {
            return;
        }
        match self.send(&self.owed) {
            Err(AboveError::Send(error))
                if error.kind() == io::ErrorKind::WouldBlock && self.owed.len() < LONGEST_DEBT => {}
            _ => self.owed.clear(),
        }
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
