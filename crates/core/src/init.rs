//! The decisions of PID 1: what a command line means, whom a signal goes to, and when the family is over.
//!
//! [`parse`] turns arguments into [`Options`] (three dialects: our own, tini's and dumb-init's); [`Routes`]
//! says what becomes of a signal; [`Init`] is the life of the family from the first process to the last;
//! [`Line`] is what is told about it. All of it is data in, data out: `doula-host` feeds it and does what it
//! says.
//!
//! Deliberately absent: restarting. A container engine does that, or `doula up`.

mod command;
mod dumb_init;
mod family;
mod getopt;
mod native;
mod routes;
mod tini;
mod voice;

pub use command::{candidates, passes_sockets};
pub use family::{Act, Ending, Happened, Init, Patience, Suspend};
pub use routes::{Delivery, Routes, To};
pub use voice::{Line, Stream, say};

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::signal::Signal;

/// Whose command line is spoken, and whose behaviour is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Our own.
    Native,
    /// krallin/tini 0.19.
    Tini,
    /// Yelp/dumb-init 1.2.5.
    DumbInit,
}

impl Face {
    /// The face that belongs to the name under which the program was started: `argv[0]`, with or without a
    /// directory.
    pub fn of(argv0: &[u8]) -> Face {
        let name = argv0.rsplit(|byte| *byte == b'/').next().unwrap_or(argv0);
        match name {
            b"tini" | b"tini-static" | b"docker-init" => Face::Tini,
            b"dumb-init" => Face::DumbInit,
            _ => Face::Native,
        }
    }
}

/// Where the main process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads a session of its own where that is possible, else (when the terminal belongs to a shell above
    /// us) a group of its own in the terminal's foreground.
    Session,
    /// It leads a group of its own, in the foreground if there is a terminal.
    Group,
    /// It stays in our group.
    Ours,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose behaviour.
    pub face: Face,
    /// The command and its arguments; never empty.
    pub command: Vec<Vec<u8>>,
    /// Whom signals go to, and as what.
    pub routes: Routes,
    /// Where the main process stands.
    pub standing: Standing,
    /// Whether the main process keeps the signal mask and the ignored signals that we were started with,
    /// instead of clean ones.
    pub keep_signals: bool,
    /// Whether orphans become ours when we are not PID 1.
    pub subreaper: bool,
    /// What we get when our own parent dies.
    pub parent_death_signal: Option<Signal>,
    /// How long the main process has after a request to stop, and what outlives it after its end.
    pub patience: Patience,
    /// Exit codes that become others; the last mention of a code counts.
    pub remap: Vec<(u8, u8)>,
    /// Whether we die by the signal that the main process died by.
    pub die_by_signal: bool,
    /// How much is told: 0 only failures, 1 warnings too, 2 what happens, 3 every detail.
    pub verbosity: u8,
    /// Whether each buried orphan is told.
    pub tell_orphans: bool,
}

/// After the end of the main process: five seconds to clean up. Long enough for a flush to disk, and half of
/// the ten seconds that container engines wait by default.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(5);

impl Options {
    /// What each face does when nothing is asked for.
    fn of(face: Face) -> Options {
        let native = face == Face::Native;
        Options {
            face,
            command: Vec::new(),
            routes: Routes::of(face),
            standing: if face == Face::Tini { Standing::Group } else { Standing::Session },
            keep_signals: face == Face::Tini,
            subreaper: native,
            parent_death_signal: None,
            patience: Patience { grace: None, leftovers: native.then_some(LEFTOVER_GRACE) },
            remap: Vec::new(),
            die_by_signal: false,
            verbosity: u8::from(face != Face::DumbInit),
            tell_orphans: false,
        }
    }
}

/// What a command line means that runs nothing: say something, and end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// What.
    pub text: String,
    /// Where.
    pub stream: Stream,
    /// The exit code.
    pub code: u8,
}

/// Reads a command line and the environment (`NAME=value` each) in the dialect of a face. `argv[0]` comes
/// first; an empty list is treated as a missing command.
///
/// # Errors
/// When nothing is to be run: help was asked for, or an option is wrong.
pub fn parse(face: Face, args: &[Vec<u8>], env: &[Vec<u8>]) -> Result<Options, Say> {
    let name = args.first().map_or(&b"doula-init"[..], Vec::as_slice);
    let rest = args.get(1..).unwrap_or_default();
    match face {
        Face::Native => native::parse(rest),
        Face::Tini => tini::parse(name, rest, env),
        Face::DumbInit => dumb_init::parse(name, rest, env),
    }
}

/// The way out of parsing.
fn only_say(stream: Stream, code: u8, text: String) -> Say {
    Say { text, stream, code }
}

/// The value of a variable in an environment.
fn variable<'a>(env: &'a [Vec<u8>], name: &str) -> Option<&'a [u8]> {
    env.iter().find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests;
