//! `doula init`: the same as the small `doula-init`, for where the large binary is at hand anyway.

use crate::error::{Exit, Outcome};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

/// Runs a command as PID 1 should: buries orphans, passes signals on, leaves nobody behind
///
/// `doula init --help` lists the options. doula-init is the same in a small static file; started under the
/// name tini or dumb-init it takes their command lines.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Options, then the command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    words: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    Ok(Exit(look_after(args.words)))
}

/// Does it before the command line is parsed as a whole, for that would be most of the time between our start
/// and the command's: `doula init …` as the first words, or one of the names of [`Face`].
///
/// [`Face`]: doula_core::init::Face
pub(crate) fn at_once() -> Option<ExitCode> {
    let mut args = std::env::args_os();
    let name = args.next()?.into_vec();
    let foreign = doula_core::init::Face::of(&name) != doula_core::init::Face::Native;
    if foreign {
        let words = std::iter::once(name).chain(args.map(OsStringExt::into_vec)).collect::<Vec<_>>();
        return Some(doula_host::init::run(&words, environment()).into());
    }
    (args.next()? == "init").then(|| look_after(args).into())
}

fn look_after(words: impl IntoIterator<Item = OsString>) -> u8 {
    let words = words.into_iter().map(OsString::into_vec);
    let args: Vec<_> = std::iter::once(b"doula-init".to_vec()).chain(words).collect();
    doula_host::init::run(&args, environment())
}

fn environment() -> Vec<Vec<u8>> {
    let pair = |(name, value): (OsString, OsString)| [name.into_vec(), value.into_vec()].join(&b'=');
    std::env::vars_os().map(pair).collect()
}
