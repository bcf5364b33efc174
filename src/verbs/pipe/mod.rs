//! `doula pipe`: a pipeline without a shell, and how each of its stages ended.
//!
//! In three steps: the line becomes stages ([`line`]), the stages become children that are waited for beside signals
//! (here), and their ends become a table or JSON ([`report`]).

mod line;
mod report;

use crate::config;
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use clap::ValueEnum;
use doula_host::signals::{self, Held};
use doula_host::{Children, Command, Pipeline, PipelineEnd, PipelineError, Signal};
use line::Stage;
use report::Report;
use std::path::PathBuf;
use std::time::Duration;

/// What a shell would hear of instead of its stages.
const HEARD: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];
/// How long everybody may take to be gone who was killed: what a busy machine may need for it.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Runs a pipeline without a shell and tells how each stage ended
///
/// The line is split at `|` (`|&` passes standard error on too), and each stage into words as a shell does, with
/// quotes and backslashes. Nothing else of a shell is understood: a redirection, a variable, a pattern or `;`
/// outside of quotes is an error that says where it stands.
///
/// The stages have our standard streams. When all have ended, a table on standard error shows how each ended,
/// its time, CPU time, largest memory, and the bytes it read and wrote (of any file, as the kernel counts).
///
/// The exit code is that of the last stage that failed, else 0. A stage that SIGPIPE ended because a later one
/// did not read on has not failed. 124: the time was over; 126, 127: a stage could not be executed, was not
/// found; 2: the line is wrong; 125: doula itself failed.
///
/// Ctrl-C reaches every stage, as in a shell. SIGTERM and SIGHUP are passed on; a second one kills. Whoever is
/// left then, or when time is over, is killed too, in whatever session, and that is proven.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula pipe 'ls | grep .txt | wc -l'
  doula pipe --timeout 10s --json=report.json 'curl -s https://example.com/list | sort -u'
  doula pipe --kill-on-failure --count 'pg_dump shop | zstd | tee shop.zst | sha256sum'
  doula pipe -q \"sh -c 'make 2>&1' | tee build.log | tail -5\"")]
pub(crate) struct Args {
    /// The pipeline, quoted as one argument
    line: String,

    /// End all stages after this time; the exit code is then 124
    #[arg(long, short, value_parser = config::duration, value_name = "DURATION")]
    timeout: Option<Duration>,

    /// When a stage fails, end all the others
    #[arg(long, short)]
    kill_on_failure: bool,

    /// The exit code is that of the last stage, whatever the others do
    #[arg(long)]
    no_pipefail: bool,

    /// Count exactly what goes through each pipe, at the price of carrying it (PASSED)
    #[arg(long, short)]
    count: bool,

    /// Let each pipe hold at least so many bytes, such as 1M [default: 64K]
    #[arg(long, value_parser = config::size, value_name = "SIZE")]
    pipe_size: Option<usize>,

    /// When to show the table
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    table: When,

    /// Show no table: the same as --table never
    #[arg(long, short, conflicts_with_all = ["table", "json"])]
    quiet: bool,

    /// One JSON object instead of the table, on standard error or into a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, conflicts_with = "table")]
    json: Option<Option<PathBuf>>,
}

/// When to show the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum When {
    /// Always
    #[default]
    Always,
    /// When a stage failed or the time was over
    Failure,
    /// Never
    Never,
}

/// Runs it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let stages = match line::parse(&args.line) {
        Ok(stages) => stages,
        Err(problems) => {
            ui.diagnosis(&problems.render(ui.err_color()));
            return Ok(Kind::Usage.exit());
        }
    };
    let mut report = Report::open(&args, &stages)?;
    let (ignored, heard): (Vec<Signal>, Vec<Signal>) =
        HEARD.iter().partition(|signal| signals::is_ignored(**signal));
    let held = Held::back(&heard)
        .map_err(|error| Failure::doula(format!("failed to hold signals back: {error}")))?;
    let mut children = match pipeline(&args, &stages, &ignored).spawn() {
        Ok(children) => children,
        Err(PipelineError::Birth { stage, error }) => {
            let code = error.shell_code();
            report.not_born(stage, &error, code, ui)?;
            return Ok(Exit(code));
        }
        Err(error @ PipelineError::Io(_)) => return Err(Failure::doula(error.to_string())),
    };
    let (end, asked) = wait(&mut children, &held).map_err(|error| Failure::doula(error.to_string()))?;
    let code = code(&end, args.no_pipefail);
    report.end(&end, asked, code, ui)?;
    Ok(Exit(code))
}

fn code(end: &PipelineEnd, last_only: bool) -> u8 {
    match end.stages.last() {
        Some(last) if last_only && !end.timed_out => last.status.shell_code(),
        _ => end.shell_code(),
    }
}

fn pipeline(args: &Args, stages: &[Stage], ignored: &[Signal]) -> Pipeline {
    let mut commands = stages.iter().map(|stage| {
        let mut command = Command::new(&stage.words[0]);
        command.args(&stage.words[1..]).ignore(ignored.iter().copied());
        // Nobody waits for them any more when we are killed.
        command.parent_death_signal(Signal::KILL);
        command
    });
    let mut pipeline = Pipeline::new(commands.next().expect("a line has a stage"));
    for (command, before) in commands.zip(stages) {
        if before.both {
            pipeline.pipe_both(command)
        } else {
            pipeline.pipe(command)
        };
    }
    pipeline.contained().count_io();
    if args.count {
        pipeline.count_pipes();
    }
    if args.kill_on_failure {
        pipeline.kill_on_failure();
    }
    if let Some(time) = args.timeout {
        pipeline.timeout(time);
    }
    if let Some(size) = args.pipe_size {
        pipeline.pipe_size(size);
    }
    pipeline
}

/// Waits for the end, and passes signals on; also which one asked for the end.
fn wait(children: &mut Children, held: &Held) -> std::io::Result<(PipelineEnd, Option<Signal>)> {
    let mut asked = None;
    loop {
        if let Some(mut end) = children.wait_beside(held)? {
            if asked.is_some() {
                end.survivors =
                    children.kill_tree(GONE_WITHIN).err().map_or(Vec::new(), |left| left.survivors);
            }
            return Ok((end, asked));
        }
        while let Some(arrival) = held.take()? {
            if asked.is_some() && !arrival.from_kernel {
                // Whoever is left is told when all has ended.
                let _ = children.kill_tree(GONE_WITHIN);
            } else if !arrival.from_kernel {
                children.signal(arrival.signal)?;
            }
            asked = Some(arrival.signal);
        }
    }
}
