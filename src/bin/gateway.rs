//! `doula-gateway`: the process that speaks to the network for `doula`, which starts it and looks for it beside itself.
//!
//! A program of its own, so that `doula` has neither its threads nor its secrets.

use std::process::ExitCode;

fn main() -> ExitCode {
    doula_gateway::serve()
}
