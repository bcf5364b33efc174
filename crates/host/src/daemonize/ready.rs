//! When a daemon is ready, and listening for it.

use crate::child::{Child, os_error};
use crate::command::{Command, Stdio};
use crate::{holder, listening, sweep};
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::poll::{self, Epoll, Happening, Interest};
use doula_sys::socket::Peer;
use doula_sys::{fd, socket};
use std::io::{self, PipeReader};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// When a daemon is ready.
///
/// ```
/// use doula_host::daemonize::Readiness;
/// assert_eq!(Readiness::default(), Readiness::Exec);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// As soon as its program is executed.
    #[default]
    Exec,
    /// When it sends `READY=1` to `NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
    /// When it writes a line to its fd 3 (s6 does so); closing it without is a failure.
    Fd,
    /// When something listens at one of these addresses that did not before, or that the daemon was given: another program that
    /// has the port makes no daemon ready.
    Tcp(Vec<SocketAddr>),
}

impl Readiness {
    /// When something listens there: at any address of that name, as a name may have one that the daemon does not know of.
    ///
    /// # Errors
    /// The name has no address, or there is no such port.
    ///
    /// ```
    /// use doula_host::daemonize::Readiness;
    /// assert_eq!(Readiness::tcp("127.0.0.1:80")?, Readiness::Tcp(vec!["127.0.0.1:80".parse().expect("an address")]));
    /// assert!(Readiness::tcp("127.0.0.1:100000").is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tcp(place: impl ToSocketAddrs) -> io::Result<Readiness> {
        let addresses: Vec<SocketAddr> = place.to_socket_addrs()?.collect();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
        }
        Ok(Readiness::Tcp(addresses))
    }
}

/// What became of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ready,
    Ended(ExitStatus),
    Timeout,
}

/// The number of the pipe in the daemon.
const PIPE: i32 = 3;
/// How long until the next attempt to connect, and how long one may take.
const ATTEMPT: Duration = Duration::from_millis(20);
/// The longest notice.
const NOTICE: usize = 4096;

pub(super) enum Listener {
    Exec,
    /// And the user of the daemon.
    Notify(UnixDatagram, u32),
    Fd(Option<PipeReader>),
    Tcp(Port),
}

/// Where something is to listen.
pub(super) struct Port {
    addresses: Vec<SocketAddr>,
    /// The sockets that listened there before the daemon was born.
    before: Vec<PathBuf>,
}

impl Port {
    fn new(addresses: &[SocketAddr]) -> Port {
        Port { addresses: addresses.to_vec(), before: listening::tcp(addresses) }
    }

    /// Whether somebody listens, and that not since before; unless the daemon was given that socket.
    fn is_open(&self, daemon: Pid) -> bool {
        let now = listening::tcp(&self.addresses);
        let new = now.iter().any(|socket| !self.before.contains(socket));
        // Nothing is seen of what listens on another machine or in another network namespace.
        let theirs = new || now.is_empty() || holder::of(&now, |_| true).any(|one| is_of(one.pid, daemon));
        theirs && self.addresses.iter().any(|address| TcpStream::connect_timeout(address, ATTEMPT).is_ok())
    }

    /// Who has it, if it is not the daemon.
    fn taken(&self) -> Option<String> {
        let holder = holder::of(&self.before, |_| true).next()?;
        let address = self.addresses.first()?;
        Some(format!("{address} is held by {holder}"))
    }
}

impl Listener {
    /// Gives the command what it needs to tell.
    pub(super) fn for_daemon(readiness: &Readiness, command: &mut Command) -> io::Result<Listener> {
        Ok(match readiness {
            Readiness::Exec => Listener::Exec,
            Readiness::Tcp(addresses) => Listener::Tcp(Port::new(addresses)),
            Readiness::Fd => {
                if !command.give(PIPE, Stdio::pipe_out()) {
                    let what =
                        format!("its fd {PIPE} is given already: it is to tell by it when it is ready");
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
                }
                Listener::Fd(None)
            }
            Readiness::Notify => {
                let unique = doula_sys::time::boottime().as_nanos();
                let name = format!("doula-daemonize/{}/{unique}", std::process::id());
                let socket = UnixDatagram::bind_addr(&UnixAddr::from_abstract_name(&name)?)?;
                // Anybody may speak to an abstract name; the kernel tells who it was.
                socket::set_pass_credentials(&socket, true).map_err(os_error)?;
                command.env("NOTIFY_SOCKET", format!("@{name}"));
                Listener::Notify(socket, command.uid().unwrap_or_else(|| doula_sys::group::users().1))
            }
        })
    }

    /// Waits for an answer; and what the daemon last said of itself.
    pub(super) fn listen(
        mut self,
        child: &mut Child,
        time: Duration,
    ) -> (io::Result<Outcome>, Option<String>) {
        let mut said = None;
        if let Listener::Fd(pipe) = &mut self {
            *pipe = child.take_reader(PIPE);
        }
        let outcome = self.wait(child, Instant::now().checked_add(time), &mut said);
        if let (Listener::Tcp(port), Ok(Outcome::Ended(_) | Outcome::Timeout)) = (&self, &outcome) {
            said = said.or_else(|| port.taken());
        }
        (outcome, said)
    }

    fn wait(
        &mut self,
        child: &mut Child,
        deadline: Option<Instant>,
        said: &mut Option<String>,
    ) -> io::Result<Outcome> {
        let watch = Epoll::new().map_err(os_error)?;
        watch.add(&*child, Interest::READ, 0).map_err(os_error)?;
        match &*self {
            Listener::Notify(socket, _) => watch.add(socket, Interest::READ, 0),
            Listener::Fd(Some(pipe)) => watch.add(pipe, Interest::READ, 0),
            Listener::Fd(None) | Listener::Exec | Listener::Tcp(_) => Ok(()),
        }
        .map_err(os_error)?;
        loop {
            // What it said last counts, also when it has ended since.
            let ready = self.heard(&watch, child.pid(), said)?;
            if let Some(status) = child.try_wait().filter(|_| !(ready && matches!(self, Listener::Exec))) {
                return Ok(Outcome::Ended(status));
            }
            if ready {
                return Ok(Outcome::Ready);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Outcome::Timeout);
            }
            let step = matches!(self, Listener::Tcp(_)).then_some(ATTEMPT);
            let longest = left.into_iter().chain(step).min();
            match watch.wait(&mut [Happening::EMPTY], longest) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(os_error(errno)),
            }
        }
    }

    /// Whether it has told to be ready.
    fn heard(&mut self, watch: &Epoll, daemon: Pid, said: &mut Option<String>) -> io::Result<bool> {
        Ok(match self {
            Listener::Exec => true,
            Listener::Tcp(port) => port.is_open(daemon),
            Listener::Fd(slot) => {
                let Some(pipe) =
                    slot.as_ref().filter(|pipe| poll::readable(pipe, Some(Duration::ZERO)) == Ok(true))
                else {
                    return Ok(false);
                };
                let told = fd::read(pipe, &mut [0; NOTICE]).map_err(os_error)? > 0;
                if !told {
                    // Closed without a word: it will never tell. Its own end is waited for, within the time.
                    watch.delete(pipe).map_err(os_error)?;
                    *slot = None;
                }
                told
            }
            Listener::Notify(socket, user) => {
                let (mut ready, mut buffer) = (false, [0; NOTICE]);
                while let Ok(message) = socket::receive(&*socket, &mut buffer) {
                    if !message.sender.is_some_and(|sender| speaks_for(sender, daemon, *user)) {
                        continue;
                    }
                    for line in buffer[..message.length].split(|byte| *byte == b'\n') {
                        ready |= line == b"READY=1";
                        if let Some(text) = line.strip_prefix(b"STATUS=") {
                            *said = Some(crate::spawn::printable(text));
                        }
                    }
                }
                ready
            }
        })
    }
}

/// Whether it is one of the daemon's family: a descendant, or one in its session. Of a helper that is gone by now nothing is known
/// but its user.
fn speaks_for(sender: Peer, daemon: Pid, user: u32) -> bool {
    match sender.pid.filter(|pid| sweep::stat(*pid).is_some()) {
        Some(pid) => is_of(pid, daemon),
        None => [user, 0].contains(&sender.uid),
    }
}

fn is_of(pid: Pid, daemon: Pid) -> bool {
    let session = |pid| sweep::stat(pid).map(|stat| stat.session);
    sweep::descends(pid, daemon) || session(pid).is_some_and(|its| session(daemon) == Some(its))
}
