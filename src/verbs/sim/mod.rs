//! `doula sim`: Linux on paper.

pub(crate) mod verify;

use crate::error::Outcome;
use crate::ui::Ui;
use clap::Subcommand;

/// Linux on paper: an executable specification of what processes do
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    what: What,
}

/// What can be done with it.
#[derive(Debug, Subcommand)]
enum What {
    Verify(verify::Args),
}

/// Does it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    match args.what {
        What::Verify(args) => verify::run(args, ui),
    }
}
