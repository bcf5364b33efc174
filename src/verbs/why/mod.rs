//! `doula why`: for what a job of a run waits, or how it ended, and how that is known.
//!
//! A run at work shows itself to others ([`crate::running`]); one with a journal can be asked at any time.

mod kept;
mod live;

use crate::error::{Exit, Failure, Outcome};
use crate::running::{Running, Runs};
use crate::ui::{Ui, escape};
use doula_host::control::place::Bases;
use std::path::{Path, PathBuf};

/// Tells why a job is as it is: for what it waits, or how it ended
///
/// Asks the `doula run` that is at work; with --journal the journal of one, which tells also when none is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula why 17
  doula why 17 --run 4711
  doula why 17 --journal thumbs.j

Of a service: doula ctl why SERVICE")]
pub(crate) struct Args {
    /// The number of the job, from 1 on
    #[arg(value_name = "JOB", value_parser = number)]
    job: u64,

    /// The process of the run, where several are at work
    #[arg(long, value_name = "PID", conflicts_with = "journal")]
    run: Option<i32>,

    /// The journal of its run
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// Tells it.
pub(crate) fn run(args: &Args, ui: &mut Ui) -> Outcome {
    let text = match &args.journal {
        Some(journal) => kept::tell(journal, args.job)?,
        None => {
            let Runs { at, runs } = Runs::now();
            let run = choose(&runs, Bases::from_env().uid(), args.run)?;
            match &run.journal {
                Some(journal) => kept::tell(Path::new(journal), args.job)?,
                None => live::tell(run, args.job, at)?,
            }
        }
    };
    ui.print(&text)?;
    Ok(Exit::OK)
}

fn number(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("jobs have numbers from 1 on; of a service: doula ctl why {text}"))
}

/// The run that is meant.
fn choose(runs: &[Running], us: u32, pid: Option<i32>) -> Result<&Running, Failure> {
    let is_meant = |run: &&Running| pid.map_or(run.owner == us, |pid| run.pid == pid);
    let mut meant: Vec<&Running> = runs.iter().filter(is_meant).collect();
    if meant.is_empty() && pid.is_none() {
        // Root sees those of others too, and means its own if it has one.
        meant.extend(runs);
    }
    match (meant.as_slice(), pid) {
        ([run], _) => Ok(run),
        ([], Some(pid)) => Err(Failure::usage(format!("process {pid} is no run of yours that is at work"))
            .hint("doula top --runs --once tells which there are")),
        ([], None) => Err(Failure::usage("no `doula run` of yours is at work").hint(
            "one that has ended tells only by its journal: doula why JOB --journal FILE (doula run --journal FILE)",
        )),
        (several, _) => {
            let names: Vec<_> =
                several.iter().map(|run| format!("{} ({})", run.pid, escape(&run.title))).collect();
            let text = format!("{} runs are at work: {}", several.len(), names.join(", "));
            Err(Failure::usage(text).hint(format!("doula why JOB --run {}", several[0].pid)))
        }
    }
}

/// A job waits because all slots are taken.
fn no_slot(slots: u32) -> String {
    format!("every place has a job that runs (-j {slots})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_runs_one_must_be_named() {
        let run = |pid, title: &str| Running { pid, title: title.to_owned(), ..Running::default() };
        let (one, two) =
            ([run(7, "doula run true")], [run(7, "doula run true"), run(8, "doula run \x1b[2J")]);
        assert_eq!(choose(&one, 0, None).map(|run| run.pid), Ok(7));
        assert_eq!(choose(&two, 0, Some(8)).map(|run| run.pid), Ok(8));
        let text = choose(&two, 0, None).expect_err("two").text;
        assert_eq!(text, "2 runs are at work: 7 (doula run true), 8 (doula run \\x1b[2J)");
        let mut others = two.clone();
        others[0].owner = 1000;
        assert_eq!(choose(&others, 0, None).map(|run| run.pid), Ok(8), "its own");
        assert_eq!(choose(&others[..1], 0, None).map(|run| run.pid), Ok(7), "there is no other one");
        assert!(choose(&[], 0, None).expect_err("none").text.contains("no `doula run`"));
        assert!(choose(&one, 0, Some(9)).expect_err("another").text.contains("process 9 is no run"));
    }
}
