//! `doula sim load`: what would follow if a process died.

use super::words;
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use doula_model::signal::Signal;
use doula_model::snapshot::Snapshot;
use doula_sim::what_if::{Death, forecast};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Says what would follow if a process died: nothing is done to it
///
/// The processes of a snapshot are put into the kernel on paper, and the death is played there: who is adopted by whom, which
/// groups get SIGHUP, which zombies appear and who will bury them. What the snapshot does not tell is said to be open.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("death").required(true), group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct Args {
    /// The snapshot (of `doula sim snapshot`), - for standard input
    #[arg(group = "source", value_name = "SNAPSHOT")]
    file: Option<PathBuf>,

    /// Take the processes that are there now
    #[arg(long, group = "source")]
    live: bool,

    /// Who is killed
    #[arg(long, group = "death", value_name = "PID")]
    kill: Option<i32>,

    /// Who exits
    #[arg(long, group = "death", value_name = "PID")]
    exit: Option<i32>,

    /// By which signal (KILL), or with which code (0)
    #[arg(long = "as", value_name = "SIGNAL|CODE")]
    how: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads the snapshot and answers.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let (pid, death) = death(&args)?;
    let snapshot = match &args.file {
        Some(file) => read(file)?,
        None => doula_host::snapshot::take()
            .map_err(|error| Failure::doula(format!("failed to read the processes from /proc: {error}")))?,
    };
    let answer = forecast(&snapshot, pid, death).map_err(|error| Failure::usage(error.to_string()))?;
    if args.json {
        ui.json(&answer)?;
    } else {
        ui.print(&words::tell(&snapshot, &answer))?;
    }
    Ok(Exit::OK)
}

fn death(args: &Args) -> Result<(i32, Death), Failure> {
    let how = args.how.as_deref();
    if let Some(pid) = args.kill {
        let signal = how.map_or(Ok(Signal::KILL), str::parse);
        let signal = signal.map_err(|error| Failure::usage(format!("--as: {error}")))?;
        return Ok((pid, Death::Kill(signal)));
    }
    let code = how.map_or(Ok(0), str::parse::<u8>);
    let code = code.map_err(|_| {
        Failure::usage(format!("--as: `{}` is no exit code", how.unwrap_or_default()))
            .hint("give a number from 0 to 255")
    })?;
    Ok((args.exit.unwrap_or(0), Death::Exit(i32::from(code))))
}

fn read(file: &Path) -> Result<Snapshot, Failure> {
    let shown = file.display();
    let text = if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    let text =
        text.map_err(|error| Failure::usage(format!("failed to read the snapshot {shown}: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!("{shown} is no snapshot: {error}")).hint("make one by `doula sim snapshot`")
    })
}
