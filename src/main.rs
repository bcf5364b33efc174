//! The whole life of a Linux process: parse the command line, run the verb, end with its code.
//!
//! Nothing is decided here. Each verb is one file under `verbs`; everything that people or programs read
//! leaves through `ui`; what went wrong and the exit code it means are in `error`.

mod config;
mod error;
mod processes;
mod running;
mod scoreboard;
mod ui;
mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) =
        verbs::init::at_once().or_else(verbs::run::at_once).or_else(verbs::sim::verify::at_once)
    {
        return code;
    }
    let cli = match verbs::Cli::read() {
        Ok(cli) => cli,
        Err(answer) => return ui::clap_answer(&answer),
    };
    let mut ui = ui::Ui::new(cli.color);
    match cli.verb.run(cli.color, &mut ui) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            ui.failure(&failure);
            failure.kind.exit().into()
        }
    }
}
