//! `doula up`: a family from its first birth to its last burial.

use crate::config;
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use doula_host::detach::{self, Detached, Launcher};
use doula_host::keeper::Keeper;
use doula_host::logs::{Options as Logs, Rotation, Style};
use doula_host::supervisor::{self, Failed, Options};
use doula_host::upgrade::{self, Baton};
use doula_model::recipe::FamilySpec;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The memory for the last records of the whole family, in bytes.
const RING: usize = 256 * 1024;

/// Starts a family and looks after it until it is asked to end
///
/// Services start in the order of their dependencies, each when those that it needs are ready. What crashes
/// is started again as its configuration says. Ctrl-C (or SIGTERM) stops all in the opposite order; a second
/// one stops all at once, a third kills. At the end nothing is left: every descendant has ended.
///
/// The exit code is 0 if the family was asked to end, that of the essential service that ended it, or, when no
/// service is left that could run, 1 if one of them failed and else 0.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration [default: doula.toml, else Procfile]
    file: Option<PathBuf>,

    /// Find the family by this name instead of the one in the file
    #[arg(long, short)]
    name: Option<String>,

    /// Start only this service and those that it needs (may be given several times)
    #[arg(long, value_name = "SERVICE")]
    only: Vec<String>,

    /// Write the output of each service into a file in this directory, too
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,

    /// Start a new log file when one would get larger than this many MiB
    #[arg(long, value_name = "MIB", default_value_t = 10, requires = "logs")]
    log_size: u64,

    /// Start a new log file when one is older than this many hours
    #[arg(long, value_name = "HOURS", requires = "logs")]
    log_age: Option<u64>,

    /// Keep this many old log files of each service, compressed
    #[arg(long, value_name = "COUNT", default_value_t = 5, requires = "logs")]
    log_keep: usize,

    /// Go into the background once the family is under way; then `doula ctl` speaks with it
    #[arg(long, short)]
    detach: bool,

    /// Told to a detached supervisor: the fd on which its launcher waits.
    #[arg(long, hide = true)]
    launcher: bool,

    /// Told to the program that takes a supervisor's place: the fd of what is handed over.
    #[arg(long, hide = true)]
    successor: Option<i32>,

    /// Asked of that program before: whether it could go on with the family in this directory.
    #[arg(long, hide = true)]
    check_successor: Option<PathBuf>,
}

/// Starts the family, or has a detached supervisor start it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let baton = args.successor.map(Baton::take).transpose();
    let baton = baton
        .map_err(|error| Failure::doula(format!("failed to take what was handed over to us: {error}")))?;
    // Before anything is read: it is a copy of us, and has then next to nothing to copy.
    let keeper = if args.detach && !args.launcher { None } else { Keeper::start().ok() };
    let file = config::find(args.file.clone());
    let file = std::path::absolute(&file).unwrap_or(file);
    if let Some(directory) = &args.check_successor {
        return say_whether_we_fit(directory, &file, &args, ui);
    }
    let family = match load(&file, &args) {
        Ok(family) => family,
        Err(problems) => {
            ui.diagnosis(&problems.render(ui.err_color()));
            return Ok(Kind::Usage.exit());
        }
    };
    if args.detach && !args.launcher {
        return launch(&family.name, ui);
    }
    supervise(file, family, (args, keeper, baton), ui)
}

fn load(file: &Path, args: &Args) -> Result<FamilySpec, config::Problems> {
    let mut family = config::load(file)?;
    if let Some(name) = &args.name {
        family.name.clone_from(name);
    }
    if !args.only.is_empty() {
        let chosen = |name: &str| {
            let instance_of = name.split_once('@').map_or(name, |(service, _)| service);
            args.only.iter().any(|only| only == name || only == instance_of)
        };
        for (service, _) in &mut family.services {
            service.autostart = chosen(&service.name);
        }
    }
    Ok(family)
}

/// The file as it is now, for a supervisor that waits for nobody: a FIFO or a terminal gives its text when somebody wants.
fn load_again(file: &Path, args: &Args) -> Result<FamilySpec, String> {
    if std::fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Err(format!("`{}` is no regular file, and cannot be read again", file.display()));
    }
    load(file, args).map_err(|problems| problems.render(false))
}

/// Another supervisor asks whether we could go on in its place.
fn say_whether_we_fit(directory: &Path, file: &Path, args: &Args, ui: &mut Ui) -> Outcome {
    let family = load_again(file, args).map_err(Failure::usage)?;
    let fit = upgrade::fit(env!("CARGO_PKG_VERSION"), directory, &family).map_err(Failure::doula)?;
    ui.line(&serde_json::json!(fit).to_string())?;
    Ok(Exit::OK)
}

/// Our command line with one more word, for the program that takes our place.
fn words_with(word: String) -> Vec<OsString> {
    let ours = [upgrade::SUCCESSOR, upgrade::CHECK].map(|flag| format!("{flag}=").into_bytes());
    let kept = |word: &OsString| !ours.iter().any(|flag| word.as_bytes().starts_with(flag));
    let mut words: Vec<OsString> = std::env::args_os().filter(kept).collect();
    let verb = words.iter().skip(1).position(|word| word == "up").map_or(words.len(), |at| at + 2);
    words.insert(verb, word.into());
    words
}

/// Who we are beside the family and its file.
type Us = (Args, Option<Keeper>, Option<Baton>);

fn supervise(file: PathBuf, family: FamilySpec, (args, keeper, baton): Us, ui: &Ui) -> Outcome {
    if let Some(unknown) = args.only.iter().find(|only| !has(&family, only)) {
        return Err(Failure::usage(format!("no service `{unknown}` in {}", file.display())));
    }
    let waits = args.launcher && baton.is_none();
    let launcher = waits.then(Launcher::inherited).transpose().map_err(failed_to_detach)?;
    let logs = logs(&args, ui, args.launcher)?;
    let keep_alive = args.launcher;
    let options = Options {
        logs,
        keep_alive,
        keeper,
        words: Box::new(words_with),
        baton,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        on_ready: launcher.map(|launcher| -> Box<dyn FnOnce()> { Box::new(|| launcher.ready()) }),
        reader: Box::new(move || load_again(&file, &args)),
        family,
    };
    supervisor::run(options).map(Exit).map_err(failure)
}

fn has(family: &FamilySpec, only: &str) -> bool {
    let is = |name: &str| name == only || name.split_once('@').is_some_and(|(service, _)| service == only);
    family.services.iter().any(|(service, _)| is(&service.name))
}

fn logs(args: &Args, ui: &Ui, detached: bool) -> Result<Logs, Failure> {
    let output = if detached {
        None
    } else {
        let output = std::io::stdout().as_fd().try_clone_to_owned();
        Some(output.map_err(|error| Failure::doula(format!("failed to open standard output: {error}")))?)
    };
    let rotation = Rotation {
        max_size: args.log_size.saturating_mul(1024 * 1024),
        max_age: args.log_age.map(|hours| Duration::from_secs(hours.saturating_mul(3600))),
        keep: args.log_keep,
        compress: true,
    };
    let style = Style { colours: ui.color(), ..Style::default() };
    Ok(Logs { output, style, files: args.logs.clone().map(|dir| (dir, rotation)), ring: RING })
}

/// Starts a detached supervisor and waits until it is under way, or has failed.
fn launch(name: &str, ui: &mut Ui) -> Outcome {
    let words = std::env::args_os().skip(1).chain(["--launcher".into()]);
    match detach::launch(words).map_err(failed_to_detach)? {
        Detached::Ready(pid) => {
            ui.line(&format!("family {name} is under way (pid {pid}): doula ctl -n {name} status"))?;
            Ok(Exit::OK)
        }
        // It has told why on our standard error.
        Detached::Ended(status) => Ok(Exit(status.shell_code())),
    }
}

fn failed_to_detach(error: std::io::Error) -> Failure {
    Failure::doula(format!("failed to start in the background: {error}"))
}

fn failure(failed: Failed) -> Failure {
    use doula_host::control::place::PlaceError;
    let text = failed.to_string();
    match failed {
        Failed::Place(PlaceError::BadName(_)) => Failure::usage(text).hint("give another one by --name"),
        Failed::Place(PlaceError::Taken { name, .. }) => Failure::usage(text)
            .hint(format!("speak with it by `doula ctl -n {name} status`, or give another name by --name")),
        Failed::Socket(_) => Failure::usage(text).hint("end who has it, or change `sockets`"),
        Failed::Place(PlaceError::Kept { .. } | PlaceError::NotOurs(_) | PlaceError::Io { .. })
        | Failed::Logs(_)
        | Failed::Newer(_)
        | Failed::Keeper(_)
        | Failed::Baton(_)
        | Failed::Kernel { .. } => Failure::doula(text),
    }
}
