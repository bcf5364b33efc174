//! `doula ctl`: everything that is asked of a running family. One file for each group of questions.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every answer that does not fit the question is one case"
)]

mod act;
mod attach;
mod events;
mod json;
mod link;
mod logs;
mod reload;
mod status;
mod times;
mod upgrade;
mod why;

use crate::error::Outcome;
use crate::ui::Ui;
use clap::Subcommand;
use link::Link;

/// Asks a running family, or tells it what to do
///
/// The family is the one of ./doula.toml, or the only one that runs, or the one that --name names.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The family
    #[arg(short, long, global = true, value_name = "NAME")]
    name: Option<String>,

    /// Print JSON, one value on a line
    #[arg(long, global = true)]
    json: bool,

    /// What to ask.
    #[command(subcommand)]
    ask: Ask,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
enum Ask {
    Status(status::Args),
    Start(act::StartArgs),
    Stop(act::StopArgs),
    Restart(act::RestartArgs),
    Reload(reload::Args),
    Signal(act::SignalArgs),
    Logs(logs::Args),
    Events(events::Args),
    Why(why::Args),
    Wait(act::WaitArgs),
    Shutdown(act::ShutdownArgs),
    Upgrade(upgrade::Args),
    Attach(attach::Args),
}

/// Finds the family and asks it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let Args { name, json, ask } = args;
    let mut link = Link::open(name.as_deref())?;
    match ask {
        Ask::Status(args) => status::run(args, &mut link, ui, json),
        Ask::Start(args) => act::start(args, &mut link, ui, json),
        Ask::Stop(args) => act::stop(args, &mut link, ui, json),
        Ask::Restart(args) => act::restart(args, &mut link, ui, json),
        Ask::Reload(args) => reload::run(args, &mut link, ui, json),
        Ask::Signal(args) => act::signal(args, &mut link, ui, json),
        Ask::Logs(args) => logs::run(args, &mut link, ui, json),
        Ask::Events(args) => events::run(args, &mut link, ui, json),
        Ask::Why(args) => why::run(args, &mut link, ui, json),
        Ask::Wait(args) => act::wait(args, &mut link, ui, json),
        Ask::Shutdown(args) => act::shutdown(args, &mut link, ui, json),
        Ask::Upgrade(args) => upgrade::run(args, &mut link, ui, json),
        Ask::Attach(args) => attach::run(args, &mut link, ui),
    }
}
