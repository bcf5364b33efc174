//! Workers that are a program of any kind, as `[pool.NAME]` of `doula up` starts them: the sockets as `LISTEN_FDS`
//! (sd_listen_fds(3)), its slot in `DOULA_SLOT`, its scoreboard in `DOULA_SCOREBOARD`, and a socket in `NOTIFY_SOCKET` where it says
//! that it is ready (sd_notify(3)), and what work it has if it likes (`X_DOULA_BUSY`, `X_DOULA_TASKS`).

use super::PreforkError;
use crate::child::os_error;
use crate::{Child, Command, Signal};
use doula_sys::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use doula_sys::socket;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU64, Ordering};

/// The first fd of sd_listen_fds(3).
const LISTEN_FDS_START: RawFd = 3;
/// A longer message is cut: what is read of it are its first lines.
const LONGEST: usize = 4096;
/// So many messages are read in one turn.
const TURN: usize = 64;

/// What workers execute.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) command: Command,
    /// Whether they say when they are ready; else they are as soon as the program runs.
    pub(super) speaks: bool,
}

/// What one is born with, beside its sockets.
pub(super) struct Birth<'a> {
    pub(super) slot: u32,
    pub(super) cpu: Option<u16>,
    pub(super) board: &'a OwnedFd,
    pub(super) sockets: &'a [OwnedFd],
}

impl Program {
    /// A worker, and where it speaks.
    pub(super) fn bear(&self, birth: &Birth<'_>) -> Result<(Child, Voice), PreforkError> {
        let voice = Voice::new(self.speaks)?;
        let mut command = self.command.clone();
        let mut number = LISTEN_FDS_START;
        for fd in birth.sockets.iter().chain([birth.board]) {
            command.fd(number, fd.try_clone()?);
            number += 1;
        }
        command.env_remove("LISTEN_FDNAMES");
        if birth.sockets.is_empty() {
            command.env_remove("LISTEN_FDS").env_remove("LISTEN_PID");
        } else {
            command.env("LISTEN_FDS", birth.sockets.len().to_string()).tell_listen_pid();
        }
        command.env("DOULA_SLOT", birth.slot.to_string());
        command.env("DOULA_SCOREBOARD", (number - 1).to_string());
        command.env("NOTIFY_SOCKET", &voice.address);
        command.parent_death_signal(Signal::TERM);
        if let Some(cpu) = birth.cpu {
            command.cpus([cpu]);
        }
        Ok((command.spawn().map_err(PreforkError::Program)?, voice))
    }
}

/// What one worker says, by sd_notify(3).
#[derive(Debug)]
pub(super) struct Voice {
    socket: UnixDatagram,
    address: String,
    pub(super) ready: bool,
    pub(super) busy: Option<bool>,
    pub(super) tasks: u64,
}

impl AsFd for Voice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Voice {
    fn new(speaks: bool) -> io::Result<Voice> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("doula/prefork/{}/{number}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket::set_pass_credentials(&socket, true).map_err(os_error)?;
        Ok(Voice { socket, address: format!("@{name}"), ready: !speaks, busy: None, tasks: 0 })
    }

    /// Reads what this worker has said. What others say is nothing: anybody can reach the address.
    pub(super) fn hear(&mut self, worker: &Child) {
        let mut buffer = [0; LONGEST];
        for _ in 0..TURN {
            let Ok(message) = socket::receive(&self.socket, &mut buffer) else { return };
            if message.sender.and_then(|sender| sender.pid) == Some(worker.pid()) {
                buffer[..message.length].split(|byte| *byte == b'\n').for_each(|line| self.line(line));
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        match line {
            b"READY=1" => self.ready = true,
            b"X_DOULA_BUSY=1" => self.busy = Some(true),
            b"X_DOULA_BUSY=0" => self.busy = Some(false),
            line => {
                let tasks =
                    line.strip_prefix(b"X_DOULA_TASKS=").and_then(|text| std::str::from_utf8(text).ok());
                // It counts on: a smaller number is an old message.
                self.tasks = self.tasks.max(tasks.and_then(|text| text.parse().ok()).unwrap_or(0));
            }
        }
    }
}
