//! `doula run`: many jobs, a few at a time.
//!
//! In three steps: the words and lists become inputs ([`input`]) and a command with places ([`template`]); each job is begun
//! and looked after by `doula_host::jobs`; and what became of it is told ([`work`] for commands, [`workers`] for jobs that are given to
//! workers, [`desk`] and [`report`] for both).

mod bundle;
mod desk;
pub(crate) mod far;
mod halt;
mod input;
mod journal;
mod limits;
mod protocol;
mod report;
mod room;
mod template;
mod work;
mod workers;

use crate::config;
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use doula_core::queue::{Counts, Halt, Pause, Policy, RetryOn, Timeout};
use doula_host::jobs::workers::Rules;
use doula_host::jobs::{self, Capture, Settings, journal as kept};
use doula_host::signals::{self, Held};
use doula_host::{Resource, Rlimit, Signal};
pub(super) use journal::{command_line, joblog_line, refused};
pub(super) use report::{JOBLOG, ended_so};

use input::{Fit, Grouping, Input};
use journal::{JournalArgs, Keeper};
use regex::bytes::{Regex, RegexBuilder};
use report::Report;
use room::Room;
use std::ffi::OsString;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use template::Template;
use work::Jobs;
use workers::Crew;

/// What a shell would hear of instead of the jobs.
const HEARD: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];
/// As xargs: the arguments of one command are no more than this, unless told otherwise.
const ROOM: usize = 128 << 10;

/// Runs a command for each input, a few at a time
///
/// Inputs are the lines of standard input, or what follows `:::` (words) or `::::` (files of lines). Several lists are
/// combined in every way; `:::+` and `::::+` go in step with the list before. In the words of the command
/// `{}` is the input, `{.}` without its extension, `{/}` without its directory, `{//}` its directory, `{/.}` its name without
/// both, `{1}` `{2.}` … a column, `{#}` the number of the job and `{%}` of its slot; without any of them the input comes
/// at the end. Without a command each input is a whole command. No shell is involved unless --shell is given,
/// and then inputs are quoted for it.
///
/// What a job says is shown when it has ended, so that no two mix. Each job has all its descendants ended with it, also
/// those in sessions of their own.
///
/// The exit code is 0 when every job succeeded, 1 when one failed, 2 when the command line is wrong, 125 when doula itself
/// failed, 128+n when signal n ended the run. SIGTERM lets running jobs end and begins no more; a second one, or Ctrl-C,
/// ends them too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula run convert {} {.}.png ::: *.jpg
  find . -name '*.log' -print0 | doula run -0 -j 4 gzip
  doula run -k --tag --timeout 10s ping -c1 {} :::: hosts.txt
  doula run --retries 3 --retry-on 75,timeout --joblog log.tsv fetch {1} {2} ::: a b ::: 1 2 3
  doula run --workers lines -j 4 python3 worker.py :::: inputs.txt
  doula run --shell 'zcat {} | wc -l >{.}.n' ::: *.gz")]
pub(crate) struct Args {
    /// The command with its places, and lists of inputs
    #[arg(trailing_var_arg = true, value_name = "COMMAND … ::: INPUT")]
    words: Vec<OsString>,

    #[command(flatten, next_help_heading = "How many")]
    many: Many,

    #[command(flatten, next_help_heading = "Workers")]
    workers: Workers,

    #[command(flatten, next_help_heading = "Inputs")]
    inputs: Inputs,

    #[command(flatten, next_help_heading = "Output")]
    output: Output,

    #[command(flatten, next_help_heading = "Failures")]
    failures: Failures,

    #[command(flatten, next_help_heading = "Going on after an end")]
    journal: JournalArgs,

    #[command(flatten, next_help_heading = "Many machines")]
    far: far::SubmitArgs,
}

/// How many jobs there are at once.
#[derive(Debug, clap::Args)]
struct Many {
    /// So many jobs at once; 50%: half as many as CPUs; 0: as many as there are [default: one for each CPU]
    #[arg(long, short, short_alias = 'P', alias = "max-procs", value_parser = slots, value_name = "N|N%")]
    jobs: Option<u32>,

    /// The shortest time between two beginnings
    #[arg(long, value_parser = config::duration, default_value = "0s", value_name = "DURATION")]
    delay: Duration,

    /// Begin nothing while less memory than this is available
    #[arg(long, value_parser = config::size, value_name = "SIZE")]
    memfree: Option<usize>,

    /// Begin nothing while the load average is higher; 80%: of the CPUs
    #[arg(long, value_parser = room::load, value_name = "N|N%")]
    load: Option<f64>,

    /// Begin nothing while tasks of the machine wait for CPU, memory or disk for more of the time (PSI, last 10 s)
    #[arg(long, value_parser = room::percent, value_name = "N%")]
    pressure: Option<f64>,

    /// The niceness of jobs
    #[arg(long, allow_hyphen_values = true, value_name = "N")]
    nice: Option<i8>,

    /// A limit of each process of a job: nofile=64, core=0, as=2G, cpu=60, and the others of `doula up`; SOFT:HARD for two
    #[arg(long, value_parser = rlimit, value_name = "NAME=N[:N]")]
    rlimit: Vec<Rlimit>,

    /// A limit of each job with all its descendants, or of each worker: memory=512M, pids=100, cpu=150%, as the `limits` of
    /// `doula up`
    #[arg(long, value_parser = limits::parse, value_delimiter = ',', value_name = "NAME=N,…")]
    limit: Vec<limits::Limit>,

    /// Each job has one CPU of its own, in turn
    #[arg(long)]
    pin: bool,
}

/// Workers that do one job after the other.
#[derive(Debug, clap::Args)]
struct Workers {
    /// Start the command as a worker, as many as there are jobs at once, and ask each for one job after the other: `lines` of
    /// JSON, {"id":7,"input":"…"} answered by {"id":7,"output":…} or {"id":7,"error":"…"}; `frames` of bytes over a socket, or
    /// the same through a `ring` of memory
    #[arg(long, value_name = "PROTOCOL")]
    workers: Option<Protocol>,

    /// So many jobs may be with one worker: the next is there when one is done. When a worker dies that has several,
    /// they are tried again one by one
    #[arg(long, value_name = "N", default_value_t = 1, requires = "workers", value_parser = clap::value_parser!(u32).range(1..=65536))]
    window: u32,

    /// So many of them are given to it together
    #[arg(long, value_name = "N", default_value_t = 1, requires = "workers", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,

    /// Replace a worker when it has answered so many jobs
    #[arg(long, value_name = "N", requires = "workers")]
    max_tasks: Option<NonZeroU64>,

    /// Replace a worker whose memory grows by so much with each job
    #[arg(long, value_name = "SIZE", requires = "workers", value_parser = growth)]
    max_growth: Option<NonZeroU64>,
}

/// How workers are spoken to.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Protocol {
    /// A line of JSON for each job on standard input, and one for its answer on standard output.
    Lines,
    /// A frame for each job over a socket, whose number is in `DOULA_FRAMES`, and one for its answer.
    Frames,
    /// The same through memory: for workers that use `doula::pool::serve`.
    Ring,
}

/// Where inputs come from.
#[derive(Debug, clap::Args)]
struct Inputs {
    /// Inputs end with a zero byte, not with a line
    #[arg(long, short = '0', conflicts_with = "delimiter")]
    null: bool,

    /// Inputs end with this character
    #[arg(long, short, value_parser = delimiter, value_name = "CHAR")]
    delimiter: Option<u8>,

    /// Read inputs from this file; `-` is standard input
    #[arg(long, short = 'a', value_name = "FILE")]
    arg_file: Vec<PathBuf>,

    /// Split each input into columns at this regular expression
    #[arg(long, short = 'C', value_parser = columns, value_name = "REGEX")]
    colsep: Option<Regex>,

    /// Up to so many inputs for each job
    #[arg(long, short = 'n', alias = "max-args", value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    max_args: Option<u32>,

    /// As many inputs for each job as fit into a command line (128 KiB of them)
    #[arg(long)]
    xargs: bool,

    /// The same, and the last of them are spread over all slots
    #[arg(short = 'm', conflicts_with = "xargs")]
    spread: bool,

    /// As -m, and a word with {} in it comes once for each input: pic{}.jpg is pic1.jpg pic2.jpg
    #[arg(short = 'X', conflicts_with_all = ["xargs", "spread"])]
    context: bool,

    /// This stands for the input, instead of {}
    #[arg(long, short = 'I', value_name = "WORD", default_value = "{}", hide_default_value = true)]
    replace: String,

    /// Hand the command to `sh -c`, with the inputs quoted
    #[arg(long)]
    shell: bool,

    /// Show the commands, and run none
    #[arg(long)]
    dry_run: bool,
}

/// What becomes of what jobs say.
#[derive(Debug, clap::Args)]
struct Output {
    /// Show output in the order of the inputs
    #[arg(long, short, conflicts_with_all = ["line_buffer", "ungroup"])]
    keep_order: bool,

    /// Show output line by line as it comes
    #[arg(long, alias = "lb", alias = "linebuffer", conflicts_with_all = ["ungroup", "workers"])]
    line_buffer: bool,

    /// Let jobs write as they like
    #[arg(long, short, conflicts_with_all = ["results", "workers"])]
    ungroup: bool,

    /// Begin each line with the input of its job
    #[arg(long, conflicts_with = "ungroup")]
    tag: bool,

    /// Also keep the output of each job in DIR/NUMBER/stdout and stderr, and what became of it in job.json
    #[arg(long, value_name = "DIR", conflicts_with = "line_buffer")]
    results: Option<PathBuf>,

    /// Write a line for each job that ended, as GNU parallel does
    #[arg(long, value_name = "FILE")]
    joblog: Option<PathBuf>,

    /// Write each event as a line of JSON; `-` is standard error
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,

    /// Say nothing about failures
    #[arg(long, short)]
    quiet: bool,

    /// Show progress on standard error; by default when that is a terminal and standard output is none
    #[arg(long)]
    progress: bool,
}

/// What happens when jobs fail.
#[derive(Debug, clap::Args)]
struct Failures {
    /// End a job after this time; 200%: after twice the median of those that succeeded
    #[arg(long, value_parser = timeout, value_name = "DURATION|N%")]
    timeout: Option<Timeout>,

    /// Between SIGTERM and SIGKILL for a job that is ended
    #[arg(long, value_parser = config::duration, default_value = "1s", value_name = "DURATION")]
    grace: Duration,

    /// Try a job that failed so many times more
    #[arg(long, default_value_t = 0, value_name = "N")]
    retries: u32,

    /// After which failures: exit codes, `code`, `signal`, `oom`, `timeout`, `start`; of workers also `lost`, `error` [default: all]
    #[arg(long, value_parser = retry_on, value_name = "LIST", requires = "retries")]
    retry_on: Option<RetryOn>,

    /// The longest pause before a retry: it doubles each time, up to a minute, and a random share of it is taken
    #[arg(long, value_parser = config::duration, default_value = "0s", value_name = "DURATION")]
    retry_delay: Duration,

    /// A job that was killed by a signal so many times, or that ended so many workers, is not tried again
    #[arg(long, default_value_t = 2, value_name = "N")]
    quarantine: u32,

    /// Keep what it takes to do a job again that was put into quarantine: DIR/job-7/run
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,

    /// When to give up: `soon` or `now`, `fail`, `success` or `done`, and how many or what share: now,fail=1 soon,fail=20%
    #[arg(long, value_parser = halt::parse, value_name = "WHEN,WHAT=N|N%")]
    halt: Option<Halt>,

    /// Let descendants of a job live on when it has ended
    #[arg(long)]
    leave: bool,
}

/// Looks after one job of a run with a journal, if that is what we were started for.
pub(crate) fn at_once() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    (args.next()? == kept::WORD).then(|| kept::look_after(args).into())
}

/// Runs it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let (command, mut lists) = input::split(args.words.clone());
    lists.extend(args.inputs.arg_file.iter().map(|path| (input::List::File(path.clone()), false)));
    let workers = args.workers.workers.is_some();
    let template = match command.as_slice() {
        [] if args.far.for_workers => Template::new(&["{}".into()], "{}", false),
        _ if args.far.for_workers => {
            return Err(Failure::usage(
                "--for-workers has no command: workers have it (doula worker --workers)",
            ));
        }
        [] if workers => return Err(Failure::usage("--workers needs the command of a worker")),
        [] => Template::of_line(args.inputs.shell),
        command => args.inputs.template(command),
    };
    args.workers.check()?;
    limits::check(&args.many.limit, args.failures.leave)?;
    let input = Input::new(lists, args.grouping(&template))?;
    if args.inputs.dry_run && workers {
        return workers::dry_run(input, args.workers.is_lines(), ui);
    }
    if args.inputs.dry_run {
        return work::dry_run(input, &template, ui);
    }
    if args.far.is_lost() {
        return Err(Failure::usage("--queue is for --submit; `doula worker` works at the jobs of a queue"));
    }
    if args.far.submit {
        let report = Report::open(&args.output, input.total(), false, ui)?;
        return far::run(&args, &command, template, input, report);
    }
    let keeper = Keeper::open(&args.journal, &args.template(&command), (args.slots(), workers))?;
    let report = Report::open(&args.output, input.total(), args.journal.resume, ui)?;
    let ignored: Vec<Signal> = HEARD.into_iter().filter(|signal| signals::is_ignored(*signal)).collect();
    let heard: Vec<Signal> = HEARD.into_iter().filter(|signal| !ignored.contains(signal)).collect();
    let held = Held::back(&heard)
        .map_err(|error| Failure::doula(format!("failed to hold signals back: {error}")))?;
    if workers {
        let mut crew = Crew::new(input, template, &args, ignored, report)?;
        crew.keep(keeper);
        let Workers { max_tasks, max_growth, .. } = args.workers;
        let protocol = args.workers.protocol();
        let rules =
            Rules { max_tasks, max_growth, skips_blank: true, protocol, ..Rules::new(settings(&args)) };
        let ended = jobs::workers::run(rules, &mut crew, &held);
        return crew.finish(ended);
    }
    let mut jobs = Jobs::new(input, template, &args, ignored, report)?;
    jobs.keep(keeper);
    let ended = jobs::run(settings(&args), &mut jobs, &held);
    jobs.finish(ended)
}

impl Args {
    fn slots(&self) -> u32 {
        self.many.jobs.unwrap_or_else(cpus)
    }

    fn grouping(&self, template: &Template) -> Grouping {
        let Inputs { null, delimiter, colsep, max_args, xargs, .. } = &self.inputs;
        let fits = *xargs || self.inputs.is_spread();
        let end = if *null { 0 } else { delimiter.unwrap_or(b'\n') };
        let most = max_args.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        // Whoever hands jobs in does not know how many slots there are elsewhere.
        let slots = if *xargs || self.far.submit { 1 } else { self.slots() };
        let slots = usize::try_from(slots).unwrap_or(usize::MAX);
        let room = fits.then(|| Fit { bytes: ROOM, template: template.clone(), slots });
        Grouping {
            end,
            columns: colsep.clone(),
            most: most.unwrap_or(if fits { usize::MAX } else { 1 }),
            room,
        }
    }

    /// What is run, for people who look.
    fn title(&self) -> String {
        let how = match (self.workers.workers, self.far.submit) {
            (Some(_), _) => "--workers ",
            (None, true) => "--submit ",
            (None, false) => "",
        };
        let is_word = |word: &&OsString| !word.as_encoded_bytes().starts_with(b":::");
        let words = self.words.iter().take_while(is_word);
        let quoted = words.map(|word| template::quote(word).to_string_lossy().into_owned());
        format!("doula run {how}{}", quoted.collect::<Vec<_>>().join(" "))
    }

    /// What is run, as people write it: two runs of one journal must agree in it.
    fn template(&self, command: &[OsString]) -> String {
        let quoted = |word: &OsString| template::quote(word).to_string_lossy().into_owned();
        let mut words: Vec<String> = command.iter().map(quoted).collect();
        let Inputs { null, delimiter, colsep, max_args, xargs, context, replace, shell, .. } = &self.inputs;
        words.extend(self.workers.workers.map(|protocol| format!("--workers {}", protocol.called())));
        words.extend(shell.then(|| "--shell".to_owned()));
        words.extend(null.then(|| "-0".to_owned()));
        words.extend(delimiter.map(|byte| format!("-d {}", byte.escape_ascii())));
        words.extend(colsep.as_ref().map(|regex| format!("-C {regex}")));
        words.extend(max_args.map(|most| format!("-n {most}")));
        words.extend(xargs.then(|| "--xargs".to_owned()));
        let spread = if *context { "-X" } else { "-m" };
        // How many slots there are says which inputs come together.
        words.extend(self.inputs.is_spread().then(|| format!("{spread} -j {}", self.slots())));
        words.extend((replace != "{}").then(|| format!("-I {replace}")));
        let place = std::env::current_dir().unwrap_or_default();
        format!("{} (in {})", words.join(" "), place.display())
    }
}

impl Protocol {
    fn called(self) -> &'static str {
        match self {
            Protocol::Lines => "lines",
            Protocol::Frames => "frames",
            Protocol::Ring => "ring",
        }
    }
}

impl Workers {
    fn is_lines(&self) -> bool {
        matches!(self.workers, Some(Protocol::Lines))
    }

    fn protocol(&self) -> jobs::workers::Protocol {
        match self.workers {
            Some(Protocol::Lines) | None => jobs::workers::Protocol::Lines,
            Some(Protocol::Frames) => jobs::workers::Protocol::Frames,
            Some(Protocol::Ring) => jobs::workers::Protocol::Ring,
        }
    }

    fn check(&self) -> Result<(), Failure> {
        if self.batch > self.window {
            return Err(Failure::usage("--batch is a part of --window, and cannot be larger"));
        }
        Ok(())
    }
}

impl Inputs {
    fn is_spread(&self) -> bool {
        self.spread || self.context
    }

    fn template(&self, command: &[OsString]) -> Template {
        let template = Template::new(command, &self.replace, self.shell);
        if self.context { template.repeated() } else { template }
    }
}

fn settings(args: &Args) -> Settings {
    let Failures { timeout, grace, retries, retry_on, retry_delay, quarantine, halt, leave, .. } =
        &args.failures;
    let longest = Duration::from_secs(60).max(*retry_delay);
    let policy = Policy {
        window: args.workers.window,
        batch: args.workers.batch,
        retries: *retries,
        retry_on: retry_on.unwrap_or(RetryOn::ALL),
        pause: Pause { first: *retry_delay, most: longest },
        deaths: if *retries > 0 || args.workers.workers.is_some() { *quarantine } else { 0 },
        timeout: *timeout,
        grace: *grace,
        halt: *halt,
        delay: args.many.delay,
    };
    // With a journal they write to files of their own.
    let journal = args.journal.journal.is_some();
    let capture = match (args.output.ungroup || journal, args.output.line_buffer) {
        (true, _) => Capture::None,
        (_, true) => Capture::Lines,
        _ => Capture::Whole,
    };
    Settings {
        slots: args.slots(),
        policy,
        seed: u64::from(std::process::id()),
        capture,
        contain: !leave,
        limits: limits::joined(&args.many.limit),
        look_every: (journal || Room::new(&args.many).is_some()).then_some(Room::EVERY),
        ask: if journal { kept::ASK } else { Signal::TERM },
    }
}

/// The exit code of a run.
fn code(counts: &Counts, signal: Option<Signal>) -> Exit {
    match signal {
        Some(signal) => Exit(u8::try_from(128 + signal.number()).unwrap_or(u8::MAX)),
        None if counts.failed > 0 => Kind::Ended.exit(),
        None => Exit::OK,
    }
}

fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

fn slots(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a number of jobs: write 8, 50%, or 0 for no limit");
    if let Some(percent) = text.strip_suffix('%') {
        let percent: u32 = percent.parse().map_err(|_| wrong())?;
        return Ok((cpus().saturating_mul(percent) / 100).max(1));
    }
    match text.parse().map_err(|_| wrong())? {
        0 => Ok(u32::MAX / 8),
        slots => Ok(slots),
    }
}

fn rlimit(text: &str) -> Result<Rlimit, String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is no limit: write nofile=64"))?;
    let resource = Resource::ALL.iter().copied().find(|resource| resource.name() == name);
    let resource = resource.ok_or_else(|| {
        let names: Vec<_> = Resource::ALL.iter().map(|resource| resource.name()).collect();
        format!("`{name}` is no resource: there are {}", names.join(", "))
    })?;
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    let (soft, hard) = (config::rlimit(soft)?, config::rlimit(hard)?);
    if soft > hard {
        return Err(format!("`{text}`: the soft limit is above the hard one"));
    }
    Ok(Rlimit { resource, soft, hard })
}

fn growth(text: &str) -> Result<NonZeroU64, String> {
    let bytes = config::size(text)?;
    NonZeroU64::new(bytes as u64).ok_or_else(|| format!("`{text}` is no growth: write 100K or more"))
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\n" => Ok(b'\n'),
        b"\\t" => Ok(b'\t'),
        b"\\0" => Ok(0),
        [byte] => Ok(*byte),
        _ => Err(format!("`{text}` is not one character of ASCII; \\n, \\t and \\0 are")),
    }
}

/// Bytes are split, so that inputs need not be UTF-8.
fn columns(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).unicode(false).build().map_err(|error| error.to_string())
}

fn timeout(text: &str) -> Result<Timeout, String> {
    match text.strip_suffix('%') {
        Some(percent) => match percent.parse() {
            Ok(percent) if percent > 0 => Ok(Timeout::OfMedian(percent)),
            _ => Err(format!("`{text}` is not a share of the median: write 200% or more")),
        },
        None => config::duration(text).map(Timeout::After),
    }
}

fn retry_on(text: &str) -> Result<RetryOn, String> {
    let mut on = RetryOn::NONE;
    for kind in text.split(',') {
        match kind {
            "code" => on = on.any_code(),
            "signal" => on.signal = true,
            "oom" => on.out_of_memory = true,
            "timeout" => on.timeout = true,
            "start" => on.not_started = true,
            "lost" => on.lost = true,
            "error" => on.answered = true,
            code => match code.parse() {
                Ok(code) if code > 0 => on = on.code(code),
                _ => {
                    return Err(format!(
                        "`{kind}` is no kind of failure: write exit codes, code, signal, oom, timeout, start, lost or error"
                    ));
                }
            },
        }
    }
    Ok(on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::task::Failure as Kind;

    #[test]
    fn options_are_read_as_they_are_meant() {
        assert_eq!(slots("8"), Ok(8));
        assert_eq!(slots("100%"), Ok(cpus()));
        assert!(slots("0").is_ok_and(|slots| slots > 1_000_000));
        assert!(slots("many").is_err());
        assert_eq!(delimiter("\\t"), Ok(b'\t'));
        assert!(delimiter("ab").is_err());
        assert_eq!(timeout("200%"), Ok(Timeout::OfMedian(200)));
        assert_eq!(timeout("3s"), Ok(Timeout::After(Duration::from_secs(3))));
        assert!(timeout("0%").is_err() && timeout("3").is_err());
        let some = retry_on("75,timeout").expect("kinds");
        assert!(some.has(Kind::Code(75)) && some.has(Kind::TimedOut) && !some.has(Kind::Code(1)));
        assert!(retry_on("0").is_err() && retry_on("bad").is_err());
        let limit = |resource, soft, hard| Ok(Rlimit { resource, soft, hard });
        assert_eq!(rlimit("as=2G"), limit(Resource::As, 2 << 30, 2 << 30));
        assert_eq!(rlimit("core=0:unlimited"), limit(Resource::Core, 0, u64::MAX));
        assert!(["nofile", "files=1", "nofile=9:8", "nofile=x"].iter().all(|wrong| rlimit(wrong).is_err()));
    }
}
