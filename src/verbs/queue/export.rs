//! `doula queue export`: a journal for other programs.
//!
//! A database of SQLite is made by the program `sqlite3` from a script, which can be had as well: the library is C, and doula is built
//! without a compiler for that.

use super::read;
use super::show::tries;
use super::state::State;
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use crate::verbs::run::{JOBLOG, command_line, joblog_line};
use doula_host::Command;
use doula_host::jobs::journal::{End, Past, Task};
use doula_model::exit::Outcome as Ended;
use doula_model::task::TaskId;
use std::path::{Path, PathBuf};

/// Writes a journal for other programs, to standard output or into a database
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("form").required(true).args(["joblog", "sql", "sqlite"])))]
pub(super) struct Args {
    /// The journal
    journal: PathBuf,

    /// The job log of GNU parallel
    #[arg(long)]
    joblog: bool,

    /// A script for sqlite3, which makes the tables `jobs` and `attempts`
    #[arg(long)]
    sql: bool,

    /// A new SQLite database with these tables, made by sqlite3
    #[arg(long, value_name = "FILE")]
    sqlite: Option<PathBuf>,
}

/// Writes it.
pub(super) fn run(args: &Args, ui: &mut Ui) -> Outcome {
    let (past, in_use) = read(&args.journal)?;
    if let Some(database) = &args.sqlite {
        return make(database, &script(&past, in_use));
    }
    let mut text = Vec::new();
    if args.joblog {
        text.extend_from_slice(JOBLOG.as_bytes());
        past.tasks.iter().filter_map(|(id, task)| joblog_line(*id, task)).for_each(|line| text.extend(line));
    } else {
        text.extend(script(&past, in_use).into_bytes());
    }
    ui.bytes(&text)?;
    Ok(Exit::OK)
}

/// Has sqlite3 make a database: all of it, or none.
fn make(database: &Path, script: &str) -> Outcome {
    let shown = database.display();
    if database.symlink_metadata().is_ok() {
        return Err(Failure::doula(format!("`{shown}` exists: a database is made anew"))
            .hint("remove it, or name another file"));
    }
    // With its whole path it is no option of sqlite3, and no name that means something else there (`:memory:`).
    let path = std::path::absolute(database);
    let path = path.map_err(|error| Failure::doula(format!("failed to make `{shown}`: {error}")))?;
    let made = Command::new("sqlite3").args(["-batch", "-bail"]).arg(path).output_of(script.as_bytes());
    let made = made.map_err(|error| {
        Failure::doula(format!("failed to make `{shown}`: {error}"))
            .hint("install sqlite3, or give it the script elsewhere: `doula queue export --sql JOURNAL | sqlite3 FILE`")
    })?;
    if made.status.success() {
        return Ok(Exit::OK);
    }
    // What was begun is nobody's.
    let _gone = std::fs::remove_file(database);
    let said = String::from_utf8_lossy(&made.stderr);
    Err(Failure::doula(format!("failed to make `{shown}`: sqlite3 {}: {}", made.status, said.trim())))
}

const TABLES: &str = "\
BEGIN;
CREATE TABLE jobs (job INTEGER PRIMARY KEY, state TEXT NOT NULL, attempts INTEGER NOT NULL, command TEXT);
CREATE TABLE attempts (job INTEGER NOT NULL REFERENCES jobs, run INTEGER NOT NULL, attempt INTEGER NOT NULL, began REAL, \
seconds REAL, code INTEGER, signal INTEGER, why TEXT);
";

fn script(past: &Past, in_use: bool) -> String {
    let mut text = TABLES.to_owned();
    for (id, task) in &past.tasks {
        let (state, attempts) = (State::of(task, in_use).word(), tries(task));
        let command = task.begin().map_or_else(|| "NULL".to_owned(), |begin| quote(&command_line(begin)));
        text.push_str(&format!("INSERT INTO jobs VALUES ({id}, '{state}', {attempts}, {command});\n"));
        add_attempts(&mut text, *id, task);
    }
    text.push_str("COMMIT;\n");
    text
}

fn add_attempts(text: &mut String, id: TaskId, task: &Task) {
    for attempt in &task.attempts {
        let seconds = |micros: u64| format!("{:.6}", std::time::Duration::from_micros(micros).as_secs_f64());
        let none = || "NULL".to_owned();
        let began = match (&attempt.ended, &attempt.begin) {
            (Some(ended), _) => seconds(ended.began),
            (None, Some(begin)) => seconds(begin.at),
            (None, None) => none(),
        };
        let took = attempt.ended.as_ref().map_or_else(none, |ended| seconds(ended.took));
        let (code, signal, why) = match attempt.ended.as_ref().map(|ended| &ended.end) {
            None => (none(), none(), none()),
            Some(End::NotStarted(code, why)) => (code.to_string(), none(), quote(why)),
            Some(End::Status(status)) => match status.outcome {
                Ended::Code(code) => (code.to_string(), none(), none()),
                Ended::Signal { signal, .. } => (none(), signal.number().to_string(), none()),
                Ended::Unknown => (none(), none(), none()),
            },
        };
        let (run, number) = (attempt.run, attempt.number);
        let row = format!("{id}, {run}, {number}, {began}, {took}, {code}, {signal}, {why}");
        text.push_str(&format!("INSERT INTO attempts VALUES ({row});\n"));
    }
}

/// As SQL has text. It has no zero byte, and neither has a command.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''").replace('\0', ""))
}
