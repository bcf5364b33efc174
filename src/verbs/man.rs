//! `doula man`: manual pages, made from the same words as the help.

use super::Cli;
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use clap::CommandFactory;
use std::fs;
use std::path::PathBuf;

/// Writes the manual pages into a directory
///
/// One page for doula and one for each verb: doula.1, doula-up.1, doula-ctl-status.1 … To read one:
/// doula man /tmp/man && man -l /tmp/man/doula-ctl.1
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to; made if missing
    dir: PathBuf,
}

/// Writes the pages.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let unwritable = |error: std::io::Error| {
        Failure::doula(format!("failed to write manual pages into `{}`: {error}", args.dir.display()))
    };
    fs::create_dir_all(&args.dir).map_err(unwritable)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).map_err(unwritable)?;
    ui.line(&format!("wrote the manual pages into {}", crate::ui::escape(&args.dir.to_string_lossy())))?;
    Ok(Exit::OK)
}
