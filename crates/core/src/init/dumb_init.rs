//! The command line and the environment variables of dumb-init 1.2.5.

use super::getopt::{self, Known, Misuse};
use super::{Face, Options, Say, Standing, Stream, To, only_say, variable};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::service::Scope;
use doula_model::signal::Signal;

#[derive(Clone, Copy)]
enum Kind {
    Help,
    SingleChild,
    Rewrite,
    Verbose,
    Version,
}

const fn option(kind: Kind, short: u8, long: &'static str, value: bool) -> Known<Kind> {
    Known { kind, short: Some(short), long, value }
}

const KNOWN: &[Known<Kind>] = &[
    option(Kind::Help, b'h', "help", false),
    option(Kind::SingleChild, b'c', "single-child", false),
    option(Kind::Rewrite, b'r', "rewrite", true),
    option(Kind::Verbose, b'v', "verbose", false),
    option(Kind::Version, b'V', "version", false),
];

/// The version whose behaviour this is.
const VERSION: &str = "dumb-init v1.2.5\n";

/// dumb-init rewrites the signals 1 to 31 only.
const MAXSIG: i32 = 31;

const REWRITE_HELP: &str = "\
Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.
This option can be specified multiple times.
Use --help for full usage.
";

pub(super) fn parse(name: &[u8], args: &[Vec<u8>], env: &[Vec<u8>]) -> Result<Options, Say> {
    let shown = String::from_utf8_lossy(name);
    let (read, command) = getopt::read(KNOWN, args).map_err(|wrong| misuse(&shown, wrong))?;
    let mut options = Options::of(Face::DumbInit);
    for (kind, value) in read {
        match kind {
            Kind::Help => return Err(only_say(Stream::Err, 0, help(&shown))),
            Kind::SingleChild => single_child(&mut options),
            Kind::Rewrite => {
                let rewrite = rewrite(value);
                let (from, to) = rewrite.ok_or_else(|| only_say(Stream::Err, 1, REWRITE_HELP.to_owned()))?;
                options.routes.rewrite(from, to);
            }
            Kind::Verbose => options.verbosity = 3,
            Kind::Version => return Err(only_say(Stream::Err, 0, VERSION.to_owned())),
        }
    }
    if command.is_empty() {
        let text = format!("Usage: {shown} [option] program [args]\nTry {shown} --help for full usage.\n");
        return Err(only_say(Stream::Err, 1, text));
    }
    if variable(env, "DUMB_INIT_DEBUG") == Some(b"1") {
        options.verbosity = 3;
    }
    let single = variable(env, "DUMB_INIT_SINGLE_CHILD") == Some(b"1");
    if single || variable(env, "DUMB_INIT_SETSID") == Some(b"0") {
        single_child(&mut options);
    }
    options.command = command.to_vec();
    Ok(options)
}

/// Without a session of its own the main process hears signals alone, and stop signals as they are.
fn single_child(options: &mut Options) {
    options.standing = Standing::Ours;
    options.routes.send_to(To::Always(Scope::Main));
    options.routes.keep_stops();
}

/// As `sscanf("%d:%d")`: what follows the second number is not looked at.
fn rewrite(value: &[u8]) -> Option<(Signal, Option<Signal>)> {
    let text = core::str::from_utf8(value).ok()?;
    let (from, to) = text.split_once(':')?;
    let digits = to.bytes().take_while(u8::is_ascii_digit).count();
    let from = from.parse::<i32>().ok().filter(|number| (1..=MAXSIG).contains(number))?;
    let to = to.get(..digits)?.parse::<i32>().ok().filter(|number| (0..=MAXSIG).contains(number))?;
    Some((Signal::new(from)?, Signal::new(to)))
}

fn misuse(name: &str, misuse: Misuse<'_>) -> Say {
    let text = |bytes| String::from_utf8_lossy(bytes);
    let line = match misuse {
        Misuse::Short(letter) => format!("{name}: invalid option -- '{}'\n", char::from(letter)),
        Misuse::Long(long) => format!("{name}: unrecognized option '--{}'\n", text(long)),
        Misuse::NoValue(option) if option.len() == 1 => {
            format!("{name}: option requires an argument -- '{}'\n", text(option))
        }
        Misuse::NoValue(long) => format!("{name}: option '--{}' requires an argument\n", text(long)),
        Misuse::Surplus(long) => format!("{name}: option '--{}' doesn't allow an argument\n", text(long)),
    };
    only_say(Stream::Err, 1, line)
}

fn help(name: &str) -> String {
    format!(
        "{VERSION}Usage: {name} [option] command [[arg] ...]

dumb-init is a simple process supervisor that forwards signals to children.
It is designed to run as PID1 in minimal container environments.

Optional arguments:
   -c, --single-child   Run in single-child mode.
                        In this mode, signals are only proxied to the
                        direct child and not any of its descendants.
   -r, --rewrite s:r    Rewrite received signal s to new signal r before proxying.
                        To ignore (not proxy) a signal, rewrite it to 0.
                        This option can be specified multiple times.
   -v, --verbose        Print debugging information to stderr.
   -h, --help           Print this help message and exit.
   -V, --version        Print the current version and exit.

Full help is available online at https://github.com/Yelp/dumb-init
"
    )
}
