//! `doula completions`: completion scripts for shells.

use super::Cli;
use crate::error::{Exit, Outcome};
use crate::ui::Ui;
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the completion script for a shell
///
/// For bash: doula completions bash > ~/.local/share/bash-completion/completions/doula
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// bash, elvish, fish, powershell or zsh
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "doula", &mut script);
    ui.bytes(&script)?;
    Ok(Exit::OK)
}
