//! `doula ctl attach`: the input and output of a service at the user's terminal.

use super::events;
use super::link::Link;
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use doula_host::control::Connection;
use doula_host::terminal::{self, Done, Raw, Watch};
use doula_model::control::{Bytes, Reply, Request, RequestId, WindowSize};
use std::io::{self, Read};
use std::thread;

/// The key that ends it at a terminal: Ctrl-], as in telnet.
const ESCAPE: u8 = 0x1d;

/// Connects this terminal to a service
///
/// The service needs `stdin = "pipe"` or `stdin = "terminal"` in its configuration. At a terminal Ctrl-] ends
/// it; the service goes on.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service
    service: String,
}

/// Attaches until the service closes its end, or the user has enough.
pub(super) fn run(args: Args, link: &mut Link, ui: &mut Ui) -> Outcome {
    let stdin = io::stdin();
    let size = terminal::size(&stdin);
    let attach = link.send(Request::Attach { name: args.service, size })?;
    let sender = link.connection.sender();
    let sender =
        sender.map_err(|error| Failure::doula(format!("failed to share the connection: {error}")))?;
    if ui.is_terminal() && size.is_some() {
        ui.note("attached; Ctrl-] detaches");
    }
    let raw = Raw::enter(&stdin);
    // Only a terminal has a size that changes. Now, because nobody but us runs yet.
    let watch = raw.as_ref().and_then(|_| Watch::new(&stdin).ok());
    let keys = Keys { sender, attach, size, is_terminal: raw.is_some(), watch };
    // It ends with the process, in the middle of a read: nobody can interrupt that.
    drop(thread::spawn(move || keys.pass_on()));
    let ended = show(attach, link, ui);
    drop(raw);
    ended.map(|()| Exit::OK)
}

/// Shows the output until the end.
fn show(attach: RequestId, link: &mut Link, ui: &mut Ui) -> Result<(), Failure> {
    loop {
        let answer = link.next()?;
        match answer.reply {
            Reply::Output { data } => ui.bytes(&data.0)?,
            Reply::Missed { records } => ui.note(&format!("missed {records} pieces of output")),
            Reply::End if answer.id == attach => return Ok(()),
            other => events::misplaced(&other)?,
        }
    }
}

/// What the user types, on its way to the service.
struct Keys {
    sender: Connection,
    attach: RequestId,
    size: Option<WindowSize>,
    is_terminal: bool,
    /// At a terminal: tells of keys and of changes of its size.
    watch: Option<Watch>,
}

impl Keys {
    /// Sends it until the end of input, the escape key, or a broken connection (which the other side of this
    /// conversation reports).
    fn pass_on(mut self) {
        let mut buffer = [0; 4096];
        loop {
            if self.watch.as_ref().map(Watch::next) == Some(Done::Resized) {
                if self.send_size().is_none() {
                    return;
                }
                continue;
            }
            let count = io::stdin().lock().read(&mut buffer).unwrap_or(0);
            let bytes = &buffer[..count];
            let typed = bytes.iter().position(|byte| self.is_terminal && *byte == ESCAPE);
            let sent = self.send(&bytes[..typed.unwrap_or(count)]);
            if typed.is_some() {
                drop(self.sender.ask(Request::Cancel { which: self.attach }));
            }
            if sent.is_none() || typed.is_some() || count == 0 {
                return;
            }
        }
    }

    /// The size of the terminal, if it has changed.
    fn send_size(&mut self) -> Option<()> {
        let size = terminal::size(&io::stdin());
        if let (Some(size), true) = (size, size != self.size) {
            self.size = Some(size);
            self.sender.ask(Request::Resize { attach: self.attach, size }).ok()?;
        }
        Some(())
    }

    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        let data = Bytes(bytes.to_vec());
        self.sender.ask(Request::Input { attach: self.attach, data }).ok().map(drop)
    }
}
