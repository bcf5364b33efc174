//! Our own command line. It knows each letter of tini and of dumb-init, so that a line written for either
//! means the same here, unless the two contradict each other.

use super::getopt::{self, Known, Misuse};
use super::{Face, Options, Say, Standing, Stream, To, only_say};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::service::Scope;
use doula_model::signal::Signal;

#[derive(Clone, Copy)]
enum Kind {
    To,
    Group,
    Main,
    Rewrite,
    Session,
    Grace,
    Leftovers,
    Expect,
    Remap,
    DieBySignal,
    Subreaper,
    NoSubreaper,
    ParentDeathSignal,
    TellOrphans,
    Verbose,
    Quiet,
    Help,
    Version,
    Licence,
}

const fn option(kind: Kind, short: Option<u8>, long: &'static str, value: bool) -> Known<Kind> {
    Known { kind, short, long, value }
}

const KNOWN: &[Known<Kind>] = &[
    option(Kind::To, None, "to", true),
    option(Kind::Group, Some(b'g'), "group", false),
    option(Kind::Main, Some(b'c'), "single-child", false),
    option(Kind::Rewrite, Some(b'r'), "rewrite", true),
    option(Kind::Session, None, "session", true),
    option(Kind::Grace, None, "grace", true),
    option(Kind::Leftovers, None, "leftovers", true),
    option(Kind::Expect, Some(b'e'), "expect", true),
    option(Kind::Remap, None, "remap", true),
    option(Kind::DieBySignal, None, "die-by-signal", false),
    option(Kind::Subreaper, Some(b's'), "subreaper", false),
    option(Kind::NoSubreaper, None, "no-subreaper", false),
    option(Kind::ParentDeathSignal, Some(b'p'), "parent-death-signal", true),
    option(Kind::TellOrphans, Some(b'w'), "warn-orphans", false),
    option(Kind::Verbose, Some(b'v'), "verbose", false),
    option(Kind::Quiet, Some(b'q'), "quiet", false),
    option(Kind::Help, Some(b'h'), "help", false),
    option(Kind::Version, Some(b'V'), "version", false),
    option(Kind::Licence, Some(b'l'), "licence", false),
];

/// What `--help` says.
const HELP: &str = "\
Runs a command as PID 1 should: buries orphans, passes signals on, leaves nobody behind.

Usage: doula-init [OPTIONS] [--] COMMAND [ARGS...]

Signals
      --to auto|main|group|all   Whom signals go to. auto: SIGTERM to everybody, others to the command [auto]
  -g, --group                    As --to group
  -c, --single-child             As --to main
  -r, --rewrite FROM:TO          Pass TO on when FROM arrives; 0 drops it. Names or numbers. Repeatable
      --session new|group|keep   Where the command stands: in a session or a group of its own, or in ours [new]

The end
      --grace TIME|off           After SIGTERM, SIGINT or SIGQUIT: SIGKILL for everybody after TIME [off]
      --leftovers TIME|off       When the command has ended, the rest gets SIGTERM, and SIGKILL after TIME [5s]
  -e, --expect CODE              The command's exit code CODE becomes 0. Repeatable
      --remap FROM:TO            The command's exit code FROM becomes TO. Repeatable
      --die-by-signal            Die by the signal that the command died by, instead of exit code 128+n

Orphans, when we are not PID 1
  -s, --subreaper                Adopt orphans; this is what happens unless --no-subreaper is given
      --no-subreaper             Leave orphans to others
  -p, --parent-death-signal SIG  Receive SIG (and pass it on) when our own parent dies

Messages
  -w, --warn-orphans             Tell each orphan that is buried
  -v, --verbose                  Tell what happens; twice: everything
  -q, --quiet                    Tell failures only
  -h, --help   -V, --version   -l, --licence

Exit code: the command's own, 128+n when signal n ended it, 127 when it is missing, 126 when it cannot be
executed, 125 when we fail, 2 for a wrong option. Times: 30s, 500ms, 2m, or seconds without a unit.
Started under the name tini or dumb-init it takes their options and environment variables instead.
";

/// What `--version` says.
pub(super) const VERSION: &str = concat!("doula-init ", env!("CARGO_PKG_VERSION"), "\n");

/// What `--licence` says.
pub(super) const LICENCE: &str = "\
doula-init is free software, under the MIT licence or the Apache License 2.0, at your choice.
";

pub(super) fn parse(args: &[Vec<u8>]) -> Result<Options, Say> {
    let (read, command) = getopt::read(KNOWN, args).map_err(misuse)?;
    let mut options = Options::of(Face::Native);
    for (kind, value) in read {
        apply(&mut options, kind, value)?;
    }
    if command.is_empty() {
        return Err(wrong("the command is missing"));
    }
    if options.standing != Standing::Session {
        options.routes.keep_stops();
    }
    options.command = command.to_vec();
    Ok(options)
}

fn apply(options: &mut Options, kind: Kind, value: &[u8]) -> Result<(), Say> {
    match kind {
        Kind::To => options.routes.send_to(whom(value)?),
        Kind::Group => options.routes.send_to(To::Always(Scope::Group)),
        Kind::Main => options.routes.send_to(To::Always(Scope::Main)),
        Kind::Rewrite => {
            let (from, to) = rewrite(value)?;
            options.routes.rewrite(from, to);
        }
        Kind::Session => options.standing = standing(value)?,
        Kind::Grace => options.patience.grace = time(value)?,
        Kind::Leftovers => options.patience.leftovers = time(value)?,
        Kind::Expect => options.remap.push((code(value)?, 0)),
        Kind::Remap => options.remap.push(remap(value)?),
        Kind::DieBySignal => options.die_by_signal = true,
        Kind::Subreaper => options.subreaper = true,
        Kind::NoSubreaper => options.subreaper = false,
        Kind::ParentDeathSignal => options.parent_death_signal = Some(signal(value)?),
        Kind::TellOrphans => options.tell_orphans = true,
        Kind::Verbose => options.verbosity = options.verbosity.saturating_add(1),
        Kind::Quiet => options.verbosity = 0,
        Kind::Help => return Err(only_say(Stream::Out, 0, HELP.to_owned())),
        Kind::Version => return Err(only_say(Stream::Out, 0, VERSION.to_owned())),
        Kind::Licence => return Err(only_say(Stream::Out, 0, LICENCE.to_owned())),
    }
    Ok(())
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).escape_debug().to_string()
}

fn wrong(what: &str) -> Say {
    let text = format!("doula-init: {what}\nhint: `doula-init --help` lists the options\n");
    only_say(Stream::Err, 2, text)
}

fn misuse(misuse: Misuse<'_>) -> Say {
    wrong(&match misuse {
        Misuse::Short(letter) => format!("unknown option `-{}`", char::from(letter).escape_debug()),
        Misuse::Long(name) => format!("unknown option `--{}`", text(name)),
        Misuse::NoValue(name) => format!("option `{}` needs a value", text(name)),
        Misuse::Surplus(name) => format!("option `--{}` takes no value", text(name)),
    })
}

fn whom(value: &[u8]) -> Result<To, Say> {
    match value {
        b"auto" => Ok(To::Auto),
        b"main" => Ok(To::Always(Scope::Main)),
        b"group" => Ok(To::Always(Scope::Group)),
        b"all" => Ok(To::Always(Scope::Tree)),
        other => Err(wrong(&format!("`--to {}`: expected auto, main, group or all", text(other)))),
    }
}

fn standing(value: &[u8]) -> Result<Standing, Say> {
    match value {
        b"new" => Ok(Standing::Session),
        b"group" => Ok(Standing::Group),
        b"keep" => Ok(Standing::Ours),
        other => Err(wrong(&format!("`--session {}`: expected new, group or keep", text(other)))),
    }
}

fn signal(value: &[u8]) -> Result<Signal, Say> {
    let text = text(value);
    text.parse().map_err(|_| wrong(&format!("`{text}` is no signal; expected a name like TERM or a number")))
}

/// `FROM:TO`, where TO may be 0.
fn rewrite(value: &[u8]) -> Result<(Signal, Option<Signal>), Say> {
    let (from, to) = pair(value)?;
    let from = signal(from)?;
    if matches!(from, Signal::KILL | Signal::STOP | Signal::CHLD) {
        return Err(wrong(&format!("`{from}` never arrives here to be passed on")));
    }
    Ok((from, if to == b"0" { None } else { Some(signal(to)?) }))
}

fn remap(value: &[u8]) -> Result<(u8, u8), Say> {
    let (from, to) = pair(value)?;
    Ok((code(from)?, code(to)?))
}

fn pair(value: &[u8]) -> Result<(&[u8], &[u8]), Say> {
    let colon = value.iter().position(|byte| *byte == b':');
    let halves = colon.and_then(|at| Some((value.get(..at)?, value.get(at + 1..)?)));
    halves.ok_or_else(|| wrong(&format!("`{}`: expected FROM:TO", text(value))))
}

fn code(value: &[u8]) -> Result<u8, Say> {
    let text = text(value);
    text.parse().map_err(|_| wrong(&format!("`{text}` is no exit code; expected 0 to 255")))
}

/// `30s`, `500ms`, `2m`, `1h`, `30`; `off` is none.
fn time(value: &[u8]) -> Result<Option<Duration>, Say> {
    if value == b"off" {
        return Ok(None);
    }
    let text = text(value);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let number = number.parse::<u32>().ok();
    let time = number.zip(unit).map(|(number, unit)| Duration::from_millis(u64::from(number) * unit));
    time.map(Some).ok_or_else(|| wrong(&format!("`{text}` is no time; expected 30s, 500ms, 2m or off")))
}
