//! `doula queue show`: all jobs of a journal, or those in one state.

use super::read;
use super::state::State;
use crate::error::{Exit, Outcome};
use crate::ui::{Cell, Table, Ui};
use crate::verbs::run::command_line;
use doula_host::jobs::journal::{Begin, Task, Text};
use doula_model::task::TaskId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Shows the jobs of a journal: where each is, how often it was tried, how long it took
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The journal
    journal: PathBuf,

    /// Only those in this state: waits, runs, rests, ended, unknown, done, failed, quarantined, cancelled
    #[arg(long, value_name = "STATE")]
    state: Option<String>,

    /// One JSON object for each job
    #[arg(long)]
    json: bool,
}

/// Shows them.
pub(super) fn run(args: &Args, ui: &mut Ui) -> Outcome {
    let (past, in_use) = read(&args.journal)?;
    let wanted = |state: State| args.state.as_ref().is_none_or(|wanted| wanted == state.word());
    let mut table = Table::new(&["JOB", "STATE", "TRIES", "SECONDS", "COMMAND"]);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (id, task) in &past.tasks {
        let state = State::of(task, in_use);
        *counts.entry(state.word()).or_default() += 1;
        if !wanted(state) {
            continue;
        }
        if args.json {
            ui.json(&as_json(*id, task, state))?;
            continue;
        }
        let seconds = took(task).map(|took| format!("{:.2}", took.as_secs_f64())).unwrap_or_default();
        table.row([
            Cell::new(id.to_string()).right(),
            Cell::new(state.word()).style(state.style()),
            Cell::new(tries(task).to_string()).right(),
            Cell::new(seconds).right(),
            Cell::new(task.begin().map(command_line).unwrap_or_default()),
        ]);
    }
    if !args.json {
        ui.print(&table.render(ui.color(), ui.width()))?;
        let counts: Vec<String> =
            counts.into_iter().map(|(state, count)| format!("{count} {state}")).collect();
        let work = if in_use {
            "a run is at work"
        } else if past.over {
            "the run came to its end"
        } else {
            "no run is at work"
        };
        ui.note(&format!("{}: {work}", counts.join(", ")));
    }
    Ok(Exit::OK)
}

/// So many attempts began.
pub(super) fn tries(task: &Task) -> u32 {
    task.last().map_or(0, |last| last.number)
}

fn took(task: &Task) -> Option<Duration> {
    let answer = task.settled.as_ref().and_then(|settled| settled.answer.as_ref());
    let ended = || Some(task.last()?.ended.as_ref()?.took);
    answer.map(|answer| answer.took).or_else(ended).map(Duration::from_micros)
}

fn as_json(id: TaskId, task: &Task, state: State) -> Value {
    let begin = task.begin();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let list = |list: fn(&Begin) -> &Vec<Text>| -> Vec<String> {
        begin.iter().flat_map(|begin| list(begin)).map(|word| text(word.bytes())).collect()
    };
    let failure = match state {
        State::Failed(failure) | State::Quarantined(failure) => Some(failure),
        State::Waits
        | State::Runs
        | State::Rests(_)
        | State::Ended
        | State::Unknown
        | State::Done
        | State::Cancelled => None,
    };
    let (what, words) = match task.is_for_workers() {
        true => ("inputs", list(|begin| &begin.inputs)),
        false => ("command", list(|begin| &begin.words)),
    };
    json!({
        "task": id.0, "state": state.word(), "failure": failure, "attempts": tries(task), what: words,
        "seconds": took(task).map(|took| took.as_secs_f64()),
        "end": task.last().and_then(|last| last.ended.as_ref()).map(|ended| &ended.end),
    })
}
