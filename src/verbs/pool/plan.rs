//! `doula pool plan`: a load, under every policy.

use super::load;
use crate::config;
use crate::error::{Exit, Failure, Outcome as Done};
use crate::ui::{Cell, Style, Table, Ui};
use clap::ValueEnum;
use doula_core::pool::{Bounds, Policy, Spare};
use doula_model::time::Time;
use doula_sim::pools::{Handler, Load, Outcome, Phase, Setup, run as play};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Plays a load through the policies by which servers find the number of their workers
///
/// LOAD is phases with commas between them: `64 clients for 12s, quiet for 1m` (each client asks again when it has
/// its answer), `200/s for 30s` (independent connections). Nothing is started: it is reckoned, in no time.
///
/// "Ideal" is what would be served if a worker were always there. A handler waits and needs no CPU: where it does,
/// more workers than CPUs help less than is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What comes, in phases
    #[arg(value_name = "LOAD", value_parser = phases, required_unless_present = "recorded")]
    load: Option<Phases>,

    /// Play what came once: a file of lines with the second of an arrival and the seconds that its handler took
    #[arg(long, value_name = "FILE", conflicts_with_all = ["load", "handler"])]
    recorded: Option<PathBuf>,

    /// How long a handler takes: `200ms`, or `50ms..400ms` for any time between
    #[arg(long, value_name = "TIME", value_parser = load::handler, default_value = "200ms")]
    handler: Handler,

    /// Only this policy (can be given again)
    #[arg(long, value_name = "NAME", value_enum)]
    policy: Vec<Name>,

    /// How many workers there are at first
    #[arg(long, value_name = "N", default_value_t = 5)]
    start: u32,

    /// How many workers there may be
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    max: u32,

    /// Fewer idle workers are too few (apache, fpm-dynamic)
    #[arg(long, value_name = "N", default_value_t = 5)]
    min_spare: u32,

    /// More idle workers are too many (apache, fpm-dynamic)
    #[arg(long, value_name = "N", default_value_t = 10)]
    max_spare: u32,

    /// Who is idle for longer leaves (fpm-ondemand)
    #[arg(long, value_name = "TIME", value_parser = config::duration, default_value = "10s")]
    idle_timeout: Duration,

    /// How many workers are added at once (uwsgi-spare)
    #[arg(long, value_name = "N", default_value_t = 1)]
    step: u32,

    /// After how many seconds in which all were busy (uwsgi-spare)
    #[arg(long, value_name = "N", default_value_t = 3)]
    overload: u32,

    /// From the start of a worker until it can serve
    #[arg(long, value_name = "TIME", value_parser = config::duration, default_value = "10ms")]
    boot: Duration,

    /// What a worker takes; then the memory of each policy is shown
    #[arg(long, value_name = "BYTES", value_parser = config::size)]
    worker_memory: Option<usize>,

    /// What all workers may take together
    #[arg(long, value_name = "BYTES", value_parser = config::size, requires = "worker_memory")]
    memory: Option<usize>,

    /// How many connections can wait
    #[arg(long, value_name = "N", default_value_t = 511)]
    backlog: u32,

    /// For how long the pool is watched after the load
    #[arg(long, value_name = "TIME", value_parser = config::duration, default_value = "1m")]
    after: Duration,

    /// Another course of a random load
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Print the result as JSON, one policy a line, with the number of workers in each second
    #[arg(long)]
    json: bool,
}

/// The phases of a load; a type of its own, for the command line takes a plain list for several arguments.
#[derive(Clone, Debug)]
struct Phases(Vec<Phase>);

fn phases(text: &str) -> Result<Phases, String> {
    load::phases(text).map(Phases)
}

/// The policies, as in doula.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Name {
    /// By what waits in the accept queue: doula's own
    Backlog,
    /// Apache's prefork
    Apache,
    /// php-fpm, `pm = dynamic`
    FpmDynamic,
    /// php-fpm, `pm = ondemand`
    FpmOndemand,
    /// uWSGI, `cheaper-algo = spare`
    UwsgiSpare,
    /// Always the maximum
    Fixed,
}

/// One policy's result, for programs.
#[derive(Debug, Serialize)]
struct Row {
    policy: Name,
    served: u64,
    ideal: u64,
    refused: u64,
    wait_p50_seconds: f64,
    wait_p99_seconds: f64,
    wait_longest_seconds: f64,
    most_workers: u32,
    worker_seconds: f64,
    most_bytes: Option<u64>,
    looks: u64,
    workers_each_second: Vec<u32>,
}

/// Does it.
pub(crate) fn run(args: &Args, ui: &mut Ui) -> Done {
    let load = args.load()?;
    let watched = load.ends().since(Time::ZERO).saturating_add(args.after);
    let setup = |policy| Setup {
        policy,
        bounds: Bounds { start: args.start, max: args.max },
        boot: args.boot,
        memory_for: args.memory_for(),
        backlog: args.backlog,
        seed: args.seed,
        watched,
    };
    let ideal = play(&ideal(setup(Policy::Fixed), &load), &load).served;
    let names = if args.policy.is_empty() { Name::value_variants() } else { &args.policy };
    let rows: Vec<Row> = names
        .iter()
        .map(|name| args.row(*name, &play(&setup(args.named(*name)), &load), ideal, watched))
        .collect();
    if args.json {
        rows.iter().try_for_each(|row| ui.json(row))?;
    } else {
        let text = args.table(&rows, watched).render(ui.color(), ui.width());
        ui.print(&text)?;
    }
    Ok(Exit::OK)
}

/// As many workers as connections can be open at once, all ready, and room for everybody.
fn ideal(setup: Setup, load: &Load) -> Setup {
    let most = load.at_once();
    Setup { bounds: Bounds { start: most, max: most }, memory_for: None, backlog: u32::MAX, ..setup }
}

impl Args {
    fn load(&self) -> Result<Load, Failure> {
        match (&self.load, &self.recorded) {
            (Some(Phases(phases)), _) => Ok(Load::Described(phases.clone(), self.handler)),
            (None, Some(file)) => load::record(file).map(Load::Recorded),
            (None, None) => Err(Failure::usage("there is no load to play")),
        }
    }

    /// For how many workers there is memory.
    fn memory_for(&self) -> Option<u32> {
        let each = self.worker_memory?.max(1);
        self.memory.map(|all| u32::try_from(all / each).unwrap_or(u32::MAX))
    }

    fn named(&self, name: Name) -> Policy {
        let spare = Spare { min: self.min_spare, max: self.max_spare };
        match name {
            Name::Backlog => Policy::Backlog,
            Name::Apache => Policy::Apache(spare),
            Name::FpmDynamic => Policy::FpmDynamic(spare),
            Name::FpmOndemand => Policy::FpmOndemand { idle: self.idle_timeout },
            Name::UwsgiSpare => Policy::UwsgiSpare { step: self.step, overload: self.overload },
            Name::Fixed => Policy::Fixed,
        }
    }

    fn row(&self, policy: Name, outcome: &Outcome, ideal: u64, watched: Duration) -> Row {
        Row {
            policy,
            served: outcome.served,
            ideal,
            refused: outcome.refused,
            wait_p50_seconds: outcome.wait(500).as_secs_f64(),
            wait_p99_seconds: outcome.wait(990).as_secs_f64(),
            wait_longest_seconds: outcome.wait(1_000).as_secs_f64(),
            most_workers: outcome.most,
            worker_seconds: outcome.worker_time.as_secs_f64(),
            most_bytes: self.worker_memory.map(|each| each as u64 * u64::from(outcome.most)),
            looks: outcome.looks,
            workers_each_second: each_second(outcome, watched),
        }
    }

    fn table(&self, rows: &[Row], watched: Duration) -> Table {
        let over = format!("WORKERS OVER {}s", watched.as_secs());
        let mut heads =
            vec!["POLICY", "SERVED", "OF IDEAL", "WAIT P50", "P99", "LONGEST", "MOST", "WORKER-SECONDS"];
        if self.worker_memory.is_some() {
            heads.push("MEMORY");
        }
        heads.push(&over);
        let mut table = Table::new(&heads);
        let highest = rows.iter().map(|row| row.most_workers).max().unwrap_or(0);
        for row in rows {
            table.row(row.cells(highest));
            if row.refused > 0 {
                let text =
                    format!("{} tries found the queue full and came again after a second", row.refused);
                table.below(Cell::new(text));
            }
        }
        table
    }
}

impl Row {
    fn cells(&self, highest: u32) -> Vec<Cell> {
        let name = self.policy.to_possible_value().map(|name| name.get_name().to_owned()).unwrap_or_default();
        let share = if self.ideal == 0 { 100.0 } else { self.served as f64 * 100.0 / self.ideal as f64 };
        let right = |text: String| Cell::new(text).right();
        let mut cells = vec![
            Cell::new(name).style(Style::Name),
            right(self.served.to_string()),
            right(format!("{share:.1} %")),
            right(millis(self.wait_p50_seconds)),
            right(millis(self.wait_p99_seconds)),
            right(millis(self.wait_longest_seconds)),
            right(self.most_workers.to_string()),
            right(format!("{:.0}", self.worker_seconds)),
        ];
        cells.extend(self.most_bytes.map(|bytes| right(format!("{} MiB", bytes >> 20))));
        cells.push(Cell::new(chart(&self.workers_each_second, highest)));
        cells
    }
}

fn millis(seconds: f64) -> String {
    format!("{:.0} ms", seconds * 1_000.0)
}

/// How many workers lived in the middle of each second.
fn each_second(outcome: &Outcome, watched: Duration) -> Vec<u32> {
    let middle = |second| Time::ZERO.after(Duration::from_millis(second * 1_000 + 500));
    (0..watched.as_secs()).map(|second| outcome.workers_at(middle(second))).collect()
}

/// A line of bars, each the most workers of its stretch of time; all policies have the same scale.
fn chart(counts: &[u32], highest: u32) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const COLUMNS: usize = 48;
    let stretch = counts.len().div_ceil(COLUMNS).max(1);
    let bar = |counts: &[u32]| {
        let most = counts.iter().copied().max().unwrap_or(0) as usize;
        // Somebody is never nobody: the lowest bar is for any number above zero.
        BARS[(most * (BARS.len() - 1)).div_ceil((highest as usize).max(1)).min(BARS.len() - 1)]
    };
    counts.chunks(stretch).map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_one_scale_and_shows_few_as_more_than_nobody() {
        assert_eq!(chart(&[0, 1, 50, 100], 100), " ▁▄█");
        assert_eq!(chart(&[], 0), "");
        assert_eq!(chart(&[3; 480], 3).chars().count(), 48);
    }
}
