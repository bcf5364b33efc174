//! `doula sim play`: plays a script for real. This process becomes the one whose script it is.
//!
//! The same player that walks through scripts on paper says what to do; here the calls are Linux's, and time is real.
//! A signal that comes in the instant before a wait(2) begins is acted upon when that wait is over, as in any program that
//! has nothing but a handler; before a sleep or a pause(2) it is seen a tenth of a second later.

use super::verify::play::{copy, info, perform};
use crate::error::{Failure, Outcome};
use crate::ui::Ui;
use doula_host::conform::calls::{self, Flags, Handler, files};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sim::kernel::call::{Call, Value};
use doula_sim::program::{Player, Script, Step, cast};
use std::convert::Infallible;
use std::env;
use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::thread;
use std::time::{Duration, Instant};

/// Nobody sleeps longer without looking whether a signal came just before.
const LOOK: Duration = Duration::from_millis(100);

/// Plays a script for real, as this process
///
/// SCRIPT is a file (a path with a `/` in it) or one of the cast: polite, ignores-term, slow-stop, crash-loop, ready-then-dies,
/// double-forker, fork-bomb, zombie-maker, stops-itself, stuck-in-d, holds-the-pipe-open, exits-while-being-stopped,
/// log-flooder. Notices go to $NOTIFY_SOCKET, or else to standard output.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Args {
    /// The script
    #[arg(group = "what", value_name = "SCRIPT")]
    script: Option<String>,

    /// The script itself, as text
    #[arg(short, group = "what", value_name = "TEXT")]
    command: Option<String>,
}

/// Plays it; comes back only with a failure.
pub(crate) fn run(args: &Args, ui: &mut Ui) -> Outcome {
    let script = read(args)?;
    // As execve(2) leaves it: the runtime of Rust ignores SIGPIPE and has handlers for overflows of the stack.
    for signal in ["PIPE", "SEGV", "BUS"].into_iter().filter_map(|name| name.parse().ok()) {
        set_default(signal)?;
    }
    match (Actor { player: Player::new(script.into()), began: Instant::now() }).play(ui)? {}
}

fn set_default(signal: Signal) -> Result<(), Failure> {
    calls::set_action(signal, Handler::Default, Flags::default())
        .map_err(|errno| Failure::doula(format!("failed to set {signal} to its default: {errno}")))
}

fn read(args: &Args) -> Result<Script, Failure> {
    let (name, text) = match (&args.command, &args.script) {
        (Some(text), _) => ("-c", text.clone()),
        (None, Some(file)) if file.contains('/') => {
            let text = fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("failed to read the script {file}: {error}")))?;
            (file.as_str(), text)
        }
        (None, name) => {
            let name = name.as_deref().unwrap_or_default();
            let missing = || Failure::usage(format!("no script is called `{name}`"));
            let text = cast::find(name).ok_or_else(missing).map_err(|failure| {
                failure.hint("`doula sim play --help` names the cast; a file has a `/` in its path")
            })?;
            (name, text.to_owned())
        }
    };
    text.parse().map_err(|error| Failure::usage(format!("{name}: {error}")))
}

struct Actor {
    player: Player,
    began: Instant,
}

impl Actor {
    /// Until a call ends the process.
    fn play(mut self, ui: &mut Ui) -> Result<Infallible, Failure> {
        loop {
            self.take_caught();
            match self.player.next(self.now()) {
                Step::Call(call) => self.call(&call),
                Step::Sleep(until) => thread::park_timeout(until.since(self.now()).min(LOOK)),
                Step::Notify(text) => notify(&text, ui)?,
                Step::Exec(name) => {
                    let error = if cast::find(&name).is_some() { become_again(&name) } else { Errno::ENOENT };
                    self.player.reply(&Err(error));
                }
            }
        }
    }

    fn now(&self) -> Time {
        Time::ZERO.after(self.began.elapsed())
    }

    /// Whether handlers took any signal.
    fn take_caught(&mut self) -> bool {
        let caught = calls::take_caught();
        caught.iter().filter_map(info).for_each(|signal| self.player.catch(signal));
        !caught.is_empty()
    }

    fn call(&mut self, call: &Call) {
        let reply = if let Call::Clone(how) = call {
            copy(how).map(|child| child.map_or(Value::ZERO, Value::Number))
        } else if *call == Call::Pause {
            while !self.take_caught() {
                thread::park_timeout(LOOK);
            }
            Err(Errno::EINTR)
        } else {
            perform(call)
        };
        // Handlers ran before the call came back.
        self.take_caught();
        self.player.reply(&reply);
    }
}

/// This program with another script, by execve(2) itself: what it leaves is left. Comes back with an error only.
fn become_again(name: &str) -> Errno {
    let text = |bytes: &[u8]| CString::new(bytes).unwrap_or_default();
    let variables =
        env::vars_os().map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
    let variables: Vec<CString> = variables.collect();
    let env: Vec<&CStr> = variables.iter().map(CString::as_c_str).collect();
    files::execve(c"/proc/self/exe", &[c"doula", c"sim", c"play", &text(name.as_bytes())], &env)
}

fn notify(text: &str, ui: &mut Ui) -> Result<(), Failure> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return ui.line(&crate::ui::escape(text)) };
    let send = || -> io::Result<usize> {
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&path)?,
        };
        UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)
    };
    // Who does not listen any more is not waited for.
    let _ = send();
    Ok(())
}
