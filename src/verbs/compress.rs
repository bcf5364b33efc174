//! `doula compress`: compresses a rotated log file, in a process of its own that may take its time.
//!
//! Hidden: the supervisor starts it. The exit code is the answer.

use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use std::path::PathBuf;

/// Compresses a log file that is no longer written to
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which
    file: PathBuf,
}

/// Compresses it.
pub(crate) fn run(args: Args, _: &mut Ui) -> Outcome {
    let done = doula_host::logs::compress_file(&args.file);
    done.map(|_| Exit::OK).map_err(|error| Failure::new(Kind::Ended, error.to_string()))
}
