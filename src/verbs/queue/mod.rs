//! `doula queue`: what is in the journal of a run of jobs, and which of them are to be run again.

mod export;
mod show;
mod state;

pub(super) use state::State;

use super::run::refused;
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use clap::Subcommand;
use doula_host::jobs::journal::{Entry, Journal, Past};
use doula_model::task::{TaskId, Verdict};
use std::path::{Path, PathBuf};

/// Shows the journal of a run of jobs, and says which of them are run again
///
/// `doula run --journal FILE` writes it. It can be shown at any time, also while the run is at work.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula queue show thumbs.j
  doula queue retry thumbs.j --failed && doula run --journal thumbs.j --resume convert {} {.}.png ::: *.jpg
  doula queue export thumbs.j --sqlite thumbs.db")]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum What {
    Show(show::Args),
    Retry(RetryArgs),
    Export(export::Args),
}

/// Has jobs that came to their end run again by the next `--resume`
#[derive(Debug, clap::Args)]
struct RetryArgs {
    /// The journal
    journal: PathBuf,

    /// The numbers of the jobs
    #[arg(value_name = "JOB", required_unless_present = "failed")]
    jobs: Vec<u64>,

    /// All that failed
    #[arg(long)]
    failed: bool,
}

/// Runs it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    match args.what {
        What::Show(args) => show::run(&args, ui),
        What::Retry(args) => retry(&args, ui),
        What::Export(args) => export::run(&args, ui),
    }
}

/// What a journal says, and whether a run is at work at it.
pub(super) fn read(path: &Path) -> Result<(Past, bool), Failure> {
    let past = Journal::read(path).map_err(refused)?;
    // Whoever may not look takes it for idle.
    Ok((past, Journal::is_in_use(path).unwrap_or(false)))
}

fn retry(args: &RetryArgs, ui: &mut Ui) -> Outcome {
    // Nobody else writes it until we have ended.
    let (_, _) = read(&args.journal)?;
    let mut journal = Journal::open(&args.journal, true).map_err(refused)?;
    let tasks = &journal.past().tasks;
    let failed = tasks.iter().filter(|(_, task)| {
        let verdict = task.settled.as_ref().map(|settled| settled.verdict);
        args.failed && matches!(verdict, Some(Verdict::Failed(_) | Verdict::Quarantined(_)))
    });
    let mut chosen: Vec<TaskId> = failed.map(|(id, _)| *id).collect();
    for job in &args.jobs {
        let id = TaskId(*job);
        if tasks.get(&id).is_none_or(|task| task.settled.is_none()) {
            return Err(Failure::usage(format!(
                "job {job} did not come to its end yet: --resume runs it anyway"
            )));
        }
        chosen.push(id);
    }
    chosen.sort_unstable();
    chosen.dedup();
    let unwritten = |error| Failure::doula(format!("failed to write the journal: {error}"));
    for id in &chosen {
        journal.append(&Entry::Retry(*id)).map_err(unwritten)?;
    }
    journal.sync().map_err(unwritten)?;
    let jobs = if chosen.len() == 1 { "1 job is" } else { &format!("{} jobs are", chosen.len()) };
    ui.note(&format!("{jobs} run again by the next doula run --resume"));
    Ok(Exit::OK)
}
