//! `doula sim snapshot`: the table of processes, for `doula sim load`.

use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;

/// Prints the table of all processes as JSON, for `doula sim load`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Takes and prints it.
pub(crate) fn run(_: Args, ui: &mut Ui) -> Outcome {
    let snapshot = doula_host::snapshot::take()
        .map_err(|error| Failure::doula(format!("failed to read the processes from /proc: {error}")))?;
    ui.json(&snapshot)?;
    Ok(Exit::OK)
}
