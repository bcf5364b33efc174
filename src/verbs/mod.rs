//! The verbs: one file each, whose doc comment is its help.
//!
//! A new verb is three lines: `mod`, a variant of [`Verb`], an arm in [`Verb::run`]. A verb has `Args` (its
//! doc comment is the help) and `run(args, ui) -> Outcome`.

mod assert;
mod check;
mod completions;
mod compress;
mod ctl;
mod daemonize;
mod doctor;
mod import;
pub(crate) mod init;
mod man;
mod pipe;
mod pool;
mod probe;
mod ps;
mod queue;
mod reap;
pub(crate) mod run;
mod signal;
pub(crate) mod sim;
mod top;
mod tree;
mod up;
mod why;

use crate::error::Outcome;
use crate::ui::{Color, Ui};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// Looks after a family of processes from birth to death
///
/// `doula up` starts what doula.toml describes, in order, restarts what crashes, and at the end leaves
/// nothing behind. `doula ctl` talks to a running family. `doula init` is an init for containers.
/// `doula pipe` runs a pipeline, `doula run` many jobs.
///
/// Exit codes: 0; 1 something ended badly; 2 usage or configuration; 125 doula itself failed; 126, 127 and
/// 128+n as shells do where a command's own result is passed on.
#[derive(Debug, Parser)]
#[command(name = "doula", version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_possible_values = true,
        help = "When to use colour: auto, always, never"
    )]
    pub color: Color,

    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Cli {
    /// What our arguments ask for. What is wrong with them, or the help that was asked for, is an error.
    pub(crate) fn read() -> Result<Cli, clap::Error> {
        // Only the options of the verb that is asked for are put together. Whoever is told of all verbs needs the rest.
        Cli::try_parse().or_else(|_| {
            let mut whole = Cli::command();
            whole.build();
            Cli::from_arg_matches(&whole.try_get_matches()?)
        })
    }
}

/// What doula can do.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    Assert(assert::Args),
    Check(check::Args),
    Ctl(ctl::Args),
    Completions(completions::Args),
    Daemonize(daemonize::Args),
    Doctor(doctor::Args),
    #[command(hide = true)]
    Compress(compress::Args),
    Init(init::Args),
    Import(import::Args),
    Man(man::Args),
    Pipe(pipe::Args),
    Pool(pool::Args),
    #[command(hide = true)]
    Probe(probe::Args),
    Sim(sim::Args),
    Ps(ps::Args),
    Queue(queue::Args),
    Reap(reap::Args),
    Run(Box<run::Args>),
    Signal(signal::SignalArgs),
    Stop(signal::StopArgs),
    Cont(signal::ContArgs),
    Kill(signal::KillArgs),
    Top(top::Args),
    Tree(tree::Args),
    Up(up::Args),
    Why(why::Args),
    Worker(run::far::WorkerArgs),
}

impl Verb {
    /// Does it.
    pub(crate) fn run(self, color: Color, ui: &mut Ui) -> Outcome {
        match self {
            Verb::Assert(args) => assert::run(args, ui),
            Verb::Check(args) => check::run(args, ui),
            Verb::Ctl(args) => ctl::run(args, ui),
            Verb::Completions(args) => completions::run(args, ui),
            Verb::Daemonize(args) => daemonize::run(args, ui),
            Verb::Doctor(args) => doctor::run(args, ui),
            Verb::Compress(args) => compress::run(args, ui),
            Verb::Init(args) => init::run(args),
            Verb::Import(args) => import::run(args, ui),
            Verb::Man(args) => man::run(args, ui),
            Verb::Pipe(args) => pipe::run(args, ui),
            Verb::Pool(args) => pool::run(args, ui),
            Verb::Probe(args) => probe::run(args, ui),
            Verb::Sim(args) => sim::run(args, ui),
            Verb::Ps(args) => ps::run(args, ui),
            Verb::Queue(args) => queue::run(args, ui),
            Verb::Reap(args) => reap::run(args, ui),
            Verb::Run(args) => run::run(*args, ui),
            Verb::Signal(args) => signal::send(args, ui),
            Verb::Stop(args) => signal::stop(args, ui),
            Verb::Cont(args) => signal::cont(args, ui),
            Verb::Kill(args) => signal::kill(args, ui),
            Verb::Top(args) => top::run(args, color, ui),
            Verb::Tree(args) => tree::run(args, ui),
            Verb::Up(args) => up::run(args, ui),
            Verb::Why(args) => why::run(&args, ui),
            Verb::Worker(args) => run::far::work(args, ui),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed_and_the_help_tells_of_each_verb() {
        Cli::command().debug_assert();
        let mut whole = Cli::command();
        whole.build();
        for verb in whole.get_subcommands() {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
        }
    }
}
