//! What the actors share: lines that leave whole, signals as something to wait for, and children that are
//! this same program in another part.
//!
//! An actor that cannot play its part panics: a test shall see that at once. Deliberately absent: anything
//! that doula itself needs.

use doula_model::signal::Signal;
use doula_sys::poll::readable;
use doula_sys::signal::{self, SignalSet};
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::{Duration, Instant};

/// Writes one line to stdout, in one write. A reader that has gone is no reason to fail.
pub fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _gone = stdout.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdout.flush());
}

/// The argument number `n`, counted from 1.
pub fn argument(n: usize) -> Option<String> {
    std::env::args().nth(n)
}

/// The argument number `n` as a number, or `default` where it is missing.
///
/// # Panics
/// When it is there and no number.
pub fn number(n: usize, default: u64) -> u64 {
    argument(n).map_or(default, |text| text.parse().expect("the argument is a number"))
}

/// The argument number `n` as milliseconds.
pub fn millis(n: usize, default: u64) -> Duration {
    Duration::from_millis(number(n, default))
}

/// The signal of this name, for example `TERM`.
///
/// # Panics
/// When there is none.
pub fn named(name: &str) -> Signal {
    name.parse().expect("the name of a signal")
}

/// This program, to be started again in another part.
///
/// # Panics
/// When `/proc` does not say which program this is.
pub fn again(part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.arg(part);
    command
}

/// Starts a child that nobody here waits for: an orphan to be.
///
/// # Panics
/// When it cannot be started.
#[expect(clippy::zombie_processes, reason = "its parent ends at once, so that someone else has to bury it")]
pub fn abandon(mut command: Command) {
    command.spawn().expect("a child");
}

/// Lets this much time pass.
pub fn pass(time: Duration) {
    let silent = doula_sys::poll::eventfd().expect("an eventfd");
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        let _nothing = readable(&silent, Some(left));
    }
}

/// Does nothing until a signal ends it.
pub fn forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Signals that are held back, to be taken one by one.
#[derive(Debug)]
pub struct Inbox(OwnedFd);

impl Inbox {
    /// Holds these signals back from now on.
    ///
    /// # Panics
    /// When a name is none of a signal, or no signalfd is to be had.
    pub fn holding(names: &[&str]) -> Inbox {
        let set: SignalSet = names.iter().map(|name| named(name)).collect();
        signal::set_mask(set);
        Inbox(signal::signalfd(set).expect("a signalfd"))
    }

    /// The next signal; `None` when the time is over.
    ///
    /// # Panics
    /// When the signalfd cannot be read.
    pub fn wait(&self, time: Option<Duration>) -> Option<Signal> {
        let end = time.map(|time| Instant::now() + time);
        loop {
            if let Some(arrived) = signal::next(&self.0).expect("signals to read") {
                return Some(arrived.signal);
            }
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            let _interrupted = readable(&self.0, left);
        }
    }

    /// The file to poll.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }
}

/// Tells the supervisor by sd_notify, with these files; says `false` when there is no `NOTIFY_SOCKET`.
///
/// # Panics
/// When there is one and it cannot be reached.
pub fn notify(state: &str, fds: &[BorrowedFd<'_>]) -> bool {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return false };
    let socket = UnixDatagram::unbound().expect("a socket");
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    socket.connect_addr(&address.expect("an address in NOTIFY_SOCKET")).expect("the notify socket");
    doula_sys::socket::send(&socket, state.as_bytes(), fds).expect("a datagram sent");
    true
}
