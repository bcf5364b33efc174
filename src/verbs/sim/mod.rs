//! `doula sim`: Linux on paper.

mod cases;
mod load;
mod play;
mod run;
mod snapshot;
mod soak;
mod tell;
pub(crate) mod verify;
mod words;

use crate::error::Outcome;
use crate::ui::Ui;
use clap::Subcommand;

/// Linux on paper: an executable specification of what processes do, and doula's supervisor on it
///
/// A seed stands for a family, what its processes do, what people ask for, and what goes wrong. The engine and the
/// loop of `doula up` look after it, and what must hold is checked after every event.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    what: What,
}

/// What can be done with it.
#[derive(Debug, Subcommand)]
enum What {
    Run(run::Args),
    Soak(soak::Args),
    Load(load::Args),
    Play(play::Args),
    Snapshot(snapshot::Args),
    Verify(verify::Args),
}

/// Does it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    match args.what {
        What::Run(args) => run::run(args, ui),
        What::Soak(args) => soak::run(args, ui),
        What::Load(args) => load::run(args, ui),
        What::Play(args) => play::run(&args, ui),
        What::Snapshot(args) => snapshot::run(args, ui),
        What::Verify(args) => verify::run(args, ui),
    }
}
