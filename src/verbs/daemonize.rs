//! `doula daemonize`: starts a command as a daemon, and returns when it is ready or has failed.

use crate::config;
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use doula_host::daemonize::{Daemon, DaemonError, Readiness};
use doula_host::{Command, Credentials};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Starts a command as a daemon, and returns when it is ready or has failed
///
/// The daemon has no terminal and can get none, its input is /dev/null, and its output a log or /dev/null. Its process number is
/// printed when it is ready. Exit codes: 0 ready; that of the daemon when it ended before; 1 not ready in time (it is then
/// ended), or the pid file is held by another; 126 and 127 when the command cannot be executed; 125 when a step before that failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// When it is ready
    #[arg(
        long,
        default_value = "exec",
        value_parser = readiness,
        value_name = "HOW",
        help = "When it is ready: exec (at once), notify (sd_notify), fd (a line on its fd 3), tcp:HOST:PORT (something listens there that did not before)"
    )]
    ready: How,

    /// The longest time until then
    #[arg(long, default_value = "90s", value_parser = config::duration, value_name = "DURATION")]
    timeout: Duration,

    /// Where its number is written; locked as long as it lives
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Where its output goes, at the end of the file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,

    /// Its user, with the groups and the HOME of that one
    #[arg(long, value_name = "USER", value_parser = config::account)]
    user: Option<config::Account>,

    /// Its directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    chdir: PathBuf,

    /// Its umask, octal
    #[arg(long, value_name = "MASK", value_parser = umask)]
    umask: Option<u32>,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// When a daemon is ready, as it was written.
#[derive(Clone, Debug)]
enum How {
    Exec,
    Notify,
    Fd,
    Tcp(String),
}

fn readiness(text: &str) -> Result<How, String> {
    match text {
        "exec" => Ok(How::Exec),
        "notify" => Ok(How::Notify),
        "fd" => Ok(How::Fd),
        _ => match text.strip_prefix("tcp:") {
            Some(address) => Ok(How::Tcp(address.to_owned())),
            None => Err("write exec, notify, fd or tcp:HOST:PORT".to_owned()),
        },
    }
}

/// As chmod(1) has it: nothing but permissions.
const ALL_BITS: u32 = 0o777;

fn umask(text: &str) -> Result<u32, String> {
    let mask = u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= ALL_BITS);
    mask.ok_or_else(|| "write an octal number up to 777, such as 027".to_owned())
}

/// Starts it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let readiness = match &args.ready {
        How::Exec => Readiness::Exec,
        How::Notify => Readiness::Notify,
        How::Fd => Readiness::Fd,
        How::Tcp(address) => Readiness::tcp(address.as_str())
            .map_err(|error| Failure::usage(format!("`{address}` is no HOST:PORT: {error}")))?,
    };
    let mut daemon = Daemon::new(&command(&args)?).ready(readiness).timeout(args.timeout);
    if let Some(path) = &args.pid_file {
        daemon = daemon.pid_file(path);
    }
    if let Some(path) = &args.log {
        daemon = daemon.log(path);
    }
    match daemon.start() {
        Ok(started) => ui.line(&started.pid.to_string()).map(|()| Exit::OK),
        Err(error) => {
            let name = args.command[0].to_string_lossy();
            ui.failure(&failure(&name, &error, args.log.is_some()));
            Ok(Exit(error.exit_code()))
        }
    }
}

fn command(args: &Args) -> Result<Command, Failure> {
    let program = &args.command[0];
    // The daemon's directory is not the one in which its name was written.
    let mut command = match program.as_encoded_bytes().contains(&b'/') {
        true => {
            Command::exact(std::path::absolute(program).map_err(|error| Failure::doula(error.to_string()))?)
        }
        false => Command::new(program),
    };
    command.arg0(program).args(&args.command[1..]).dir(&args.chdir);
    if let Some(mask) = args.umask {
        command.umask(mask);
    }
    if let Some(account) = &args.user {
        command.envs(account.variables.iter().map(|(name, value)| (name, value)));
        command.user(Credentials::clone(&account.credentials));
    }
    Ok(command)
}

/// What went wrong, and what helps.
fn failure(name: &str, error: &DaemonError, logged: bool) -> Failure {
    let failed = |text: String| Failure::new(Kind::Ended, text);
    match error {
        DaemonError::Held { .. } | DaemonError::File { .. } | DaemonError::Own(_) => {
            failed(error.to_string())
        }
        DaemonError::Birth(birth) => match birth.hint() {
            // The hint stands apart.
            Some(hint) => failed(birth.what().to_owned()).hint(hint),
            None => failed(birth.to_string()),
        },
        DaemonError::Ended { words, .. } | DaemonError::Silent { words, .. } => {
            let failure = failed(format!("`{name}` is no daemon: {error}"));
            if words.is_empty() && !logged { failure.hint("--log FILE keeps its words") } else { failure }
        }
    }
}
