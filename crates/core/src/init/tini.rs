//! The command line and the environment variables of tini 0.19.

use super::getopt::{self, Known, Misuse};
use super::{Face, Options, Say, Stream, To, native, only_say, variable};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::service::Scope;
use doula_model::signal::Signal;

#[derive(Clone, Copy)]
enum Kind {
    Help,
    Subreaper,
    ParentDeathSignal,
    Verbose,
    TellOrphans,
    Group,
    Expect,
    Licence,
}

const fn letter(kind: Kind, short: u8, value: bool) -> Known<Kind> {
    Known { kind, short: Some(short), long: "", value }
}

const KNOWN: &[Known<Kind>] = &[
    letter(Kind::Help, b'h', false),
    letter(Kind::Subreaper, b's', false),
    letter(Kind::ParentDeathSignal, b'p', true),
    letter(Kind::Verbose, b'v', false),
    letter(Kind::TellOrphans, b'w', false),
    letter(Kind::Group, b'g', false),
    letter(Kind::Expect, b'e', true),
    letter(Kind::Licence, b'l', false),
];

/// The version whose behaviour this is; scripts look for the first two words.
const VERSION: &str = concat!("tini version 0.19.0 (doula-init ", env!("CARGO_PKG_VERSION"), ")");

pub(super) fn parse(name: &[u8], args: &[Vec<u8>], env: &[Vec<u8>]) -> Result<Options, Say> {
    if args == [b"--version".to_vec()] {
        return Err(only_say(Stream::Out, 0, format!("{VERSION}\n")));
    }
    let (read, command) = getopt::read(KNOWN, args).map_err(|wrong| misuse(name, wrong))?;
    let mut options = Options::of(Face::Tini);
    for (kind, value) in read {
        apply(&mut options, name, kind, value)?;
    }
    if command.is_empty() {
        return Err(only_say(Stream::Err, 1, usage(name)));
    }
    options.command = command.to_vec();
    obey(&mut options, env);
    Ok(options)
}

fn apply(options: &mut Options, name: &[u8], kind: Kind, value: &[u8]) -> Result<(), Say> {
    match kind {
        Kind::Help => return Err(only_say(Stream::Out, 0, usage(name))),
        Kind::Subreaper => options.subreaper = true,
        Kind::ParentDeathSignal => {
            options.parent_death_signal = Some(signal(value).ok_or_else(|| invalid("-p", value))?);
        }
        Kind::Verbose => options.verbosity = options.verbosity.saturating_add(1),
        Kind::TellOrphans => options.tell_orphans = true,
        Kind::Group => options.routes.send_to(To::Always(Scope::Group)),
        Kind::Expect => {
            let code = core::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            options.remap.push((code.ok_or_else(|| invalid("-e", value))?, 0));
        }
        Kind::Licence => return Err(only_say(Stream::Out, 0, native::LICENCE.to_owned())),
    }
    Ok(())
}

/// tini knows full names only, and no real-time signal.
fn signal(value: &[u8]) -> Option<Signal> {
    let text = core::str::from_utf8(value).ok().filter(|text| text.starts_with("SIG"))?;
    text.parse().ok().filter(|signal: &Signal| signal.number() < 32)
}

fn obey(options: &mut Options, env: &[Vec<u8>]) {
    if variable(env, "TINI_SUBREAPER").is_some() {
        options.subreaper = true;
    }
    if variable(env, "TINI_KILL_PROCESS_GROUP").is_some() {
        options.routes.send_to(To::Always(Scope::Group));
    }
    if let Some(value) = variable(env, "TINI_VERBOSITY") {
        options.verbosity = leading_number(value);
    }
}

/// As atoi(3): what does not begin with a number is 0.
fn leading_number(value: &[u8]) -> u8 {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0u8, |number, digit| number.saturating_mul(10).saturating_add(digit - b'0'))
}

fn invalid(option: &str, value: &[u8]) -> Say {
    let value = String::from_utf8_lossy(value);
    only_say(Stream::Err, 1, format!("[FATAL tini] Not a valid option for {option}: {value}\n"))
}

fn misuse(name: &[u8], misuse: Misuse<'_>) -> Say {
    let shown = String::from_utf8_lossy(name);
    let line = match misuse {
        Misuse::Short(letter) => format!("{shown}: invalid option -- '{}'\n", char::from(letter)),
        Misuse::Long(_) | Misuse::Surplus(_) => format!("{shown}: invalid option -- '-'\n"),
        Misuse::NoValue(letter) => {
            format!("{shown}: option requires an argument -- '{}'\n", String::from_utf8_lossy(letter))
        }
    };
    only_say(Stream::Err, 1, line + &usage(name))
}

fn usage(name: &[u8]) -> String {
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or(name);
    let base = String::from_utf8_lossy(base);
    format!(
        "{base} ({VERSION})
Usage: {base} [OPTIONS] PROGRAM -- [ARGS] | --version

Execute a program under the supervision of a valid init process ({base})

Command line options:

  --version: Show version and exit.
  -h: Show this help message and exit.
  -s: Register as a process subreaper (requires Linux >= 3.4).
  -p SIGNAL: Trigger SIGNAL when parent dies, e.g. \"-p SIGKILL\".
  -v: Generate more verbose output. Repeat up to 3 times.
  -w: Print a warning when processes are getting reaped.
  -g: Send signals to the child's process group.
  -e EXIT_CODE: Remap EXIT_CODE (from 0 to 255) to 0 (can be repeated).
  -l: Show license and exit.

Environment variables:

  TINI_SUBREAPER: Register as a process subreaper (requires Linux >= 3.4).
  TINI_VERBOSITY: Set the verbosity level (default: 1).
  TINI_KILL_PROCESS_GROUP: Send signals to the child's process group.

"
    )
}
