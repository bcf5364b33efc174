//! `doula top`: the processes of this machine, look by look.
//!
//! Three beats: [`watch`] reads (or [`record`] plays what was read), [`state`] decides what a key or a look means, without a
//! terminal or a clock, and [`draw`] shows it. [`session`] puts them together at a terminal; [`batch`] prints for pipes.

mod aside;
mod batch;
mod draw;
#[cfg(test)]
mod fixtures;
mod meters;
mod pages;
mod pools;
mod record;
mod rows;
mod runs;
mod session;
mod settings;
mod short;
mod state;
#[cfg(test)]
mod tests;
mod watch;
mod why;

use crate::config;
use crate::error::{Exit, Failure, Outcome};
use crate::ui::{Color, Ui};
use record::{Player, Recorder};
use session::{Session, Source};
use settings::{Settings, Theme};
use state::{Mode, Top};
use std::path::PathBuf;
use std::time::Duration;
use watch::Watcher;

/// What is shown of a record, which has no users.
const RECORDED: &str = "pid,ppid,state,cpu,rss,time,args";

/// Shows the processes of this machine, look by look
///
/// A list or a tree that can be searched, filtered and sorted, with all about a process, and signals, nice values and CPUs
/// for it: `h` shows the keys. What is done is done to the process that is shown and to no other: each on the screen is held by
/// a handle since it was drawn. CPU use is that of the interval, and `-` before there is one.
///
/// `$XDG_CONFIG_HOME/doula/top.toml` may set columns, sort, filter, interval, theme, tree, sums and kernel; options win.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula top -f 'user=www-data cpu>5'
  doula top --tree --sums --sort -rss
  doula top --once --sort -cpu | head
  doula top --batch --count 10 --interval 2s --json
  doula top --pools
  doula top --runs
  doula top --record night.top; doula top --replay night.top")]
pub(crate) struct Args {
    /// Only those of whom this holds: conditions as in `doula ps -w`, with blanks between
    #[arg(short, long, value_name = "CONDITIONS")]
    filter: Option<String>,

    /// Columns, with commas: those of `doula ps -o help`
    #[arg(short = 'o', long, value_name = "LIST")]
    columns: Option<String>,

    /// By this column; `-` before it: the largest first
    #[arg(short, long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,

    /// Look so often
    #[arg(short, long, value_name = "DURATION", value_parser = config::duration)]
    interval: Option<Duration>,

    /// Who is whose child
    #[arg(short, long)]
    tree: bool,

    /// In the tree: numbers of whole subtrees
    #[arg(long, requires = "tree")]
    sums: bool,

    /// Threads of the kernel too
    #[arg(short, long)]
    kernel: bool,

    /// dark, light or plain (which has no colour)
    #[arg(long, value_name = "NAME")]
    theme: Option<String>,

    /// Keep the looks in this new file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Play such a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "interval"])]
    replay: Option<PathBuf>,

    /// Print one look, after one interval, and end
    #[arg(long, conflicts_with = "batch")]
    once: bool,

    /// Print looks one after the other, for pipes and files
    #[arg(short, long)]
    batch: bool,

    /// End after so many looks
    #[arg(short = 'n', long, value_name = "COUNT", requires = "batch", conflicts_with = "once")]
    count: Option<u64>,

    /// One JSON object a look
    #[arg(long)]
    json: bool,

    /// Begin with what the workers of pools do
    #[arg(short, long, conflicts_with_all = ["replay", "once", "batch"])]
    pools: bool,

    /// Begin with what runs of jobs are at; with --once, print that
    #[arg(long, conflicts_with_all = ["replay", "batch", "pools"])]
    runs: bool,

    /// Ask all families for their pools, and print that as JSON. Said by `doula top` to a copy of itself.
    #[arg(long, hide = true)]
    ask_pools: bool,
}

/// Runs it.
pub(crate) fn run(args: Args, color: Color, ui: &mut Ui) -> Outcome {
    if args.ask_pools {
        return pools::ask(ui);
    }
    if args.runs && args.once {
        return runs::print(args.json, ui);
    }
    let mut settings = match Settings::load() {
        Ok(settings) => settings,
        Err(problems) => {
            ui.diagnosis(&problems.render(ui.err_color()));
            return Ok(Exit(2));
        }
    };
    set(&mut settings, &args).map_err(Failure::usage)?;
    if args.once || args.batch {
        return batch::run(&args, &settings, ui);
    }
    if args.json {
        return Err(Failure::usage("--json is for looks that are printed").hint("add --once or --batch"));
    }
    if !ui.is_terminal() {
        return Err(Failure::usage("standard output is no terminal").hint(
            "`doula top --once` prints one look, `--batch` one after the other, `--json` for programs",
        ));
    }
    let mut top = Top::new(settings.view);
    top.filter = settings.filter;
    let source = match &args.replay {
        Some(path) => Source::Record(Player::open(path)?),
        None => Source::Live(Box::new(Watcher::new().map_err(failed)?), recorder(&args)?),
    };
    top.replayed = args.replay.is_some();
    if args.pools {
        top.mode = Mode::Pools(0);
    }
    if args.runs {
        top.mode = Mode::Runs(0);
    }
    let colour = color != Color::Never && ui.color();
    let name = if colour { settings.theme.as_str() } else { "plain" };
    let theme = Theme::named(name).ok_or_else(|| Failure::usage(format!("there is no theme `{name}`")))?;
    Session::new(top, theme, source, settings.interval).run()
}

fn recorder(args: &Args) -> Result<Option<Recorder>, Failure> {
    args.record.as_deref().map(Recorder::create).transpose()
}

fn set(settings: &mut Settings, args: &Args) -> Result<(), String> {
    if args.replay.is_some() {
        settings.columns(RECORDED)?;
    }
    args.columns.as_deref().map_or(Ok(()), |list| settings.columns(list))?;
    args.sort.as_deref().map_or(Ok(()), |name| settings.sort(name))?;
    args.filter.as_deref().map_or(Ok(()), |text| settings.filter(text))?;
    args.interval.map_or(Ok(()), |interval| settings.interval(interval))?;
    args.theme.as_deref().map_or(Ok(()), |name| settings.theme(name))?;
    settings.view.tree |= args.tree;
    settings.view.sums |= args.sums;
    settings.view.kernel |= args.kernel;
    Ok(())
}

fn failed(error: std::io::Error) -> Failure {
    Failure::doula(format!("failed to look at the processes: {error}"))
}
