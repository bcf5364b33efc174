//! `doula pool`: the sizes of worker pools.

mod load;
mod plan;

use crate::error::Outcome;
use crate::ui::Ui;
use clap::Subcommand;

/// Finds the size of a pool of workers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    what: What,
}

/// What can be done.
#[derive(Debug, Subcommand)]
enum What {
    Plan(plan::Args),
}

/// Does it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    match args.what {
        What::Plan(args) => plan::run(&args, ui),
    }
}
