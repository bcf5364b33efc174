//! What is told, in the words of the face: people and scripts look for those of tini and dumb-init.

use super::Face;
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;
use doula_model::exit::{ExitStatus, Outcome};
use doula_model::id::Pid;
use doula_model::plan::{Errno, SpawnError, Step};
use doula_model::signal::Signal;

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The main process could not be born.
    NotBorn {
        /// The name of the command.
        command: String,
        /// Where and why.
        error: SpawnError,
    },
    /// The main process was born.
    Born {
        /// The name of the command.
        command: String,
        /// Its number.
        pid: Pid,
        /// Whether it leads a session of its own.
        session: bool,
    },
    /// Orphans will not come to us.
    NoReaper,
    /// We cannot become a subreaper.
    SubreaperRefused(Errno),
    /// A signal arrived.
    Received(Signal),
    /// A signal was passed on.
    PassedOn(Signal),
    /// A signal was dropped, as the rewriting table says.
    Dropped(Signal),
    /// The main process ended.
    MainEnded(ExitStatus),
    /// A child was buried.
    Buried {
        /// Which.
        pid: Pid,
        /// How it ended.
        status: ExitStatus,
    },
    /// An orphan was buried, and this was to be told.
    OrphanBuried(Pid),
    /// The main process is gone, and others are not.
    AskingLeftovers(Duration),
    /// Time is over.
    Killing {
        /// Whether the main process is among them.
        main: bool,
    },
    /// Somebody outlives SIGKILL.
    Unkillable,
    /// We stop ourselves.
    Suspending,
    /// A signal that came from giving our terminal up was dropped.
    HandOver(Signal),
    /// All is over.
    Over(ExitStatus),
}

impl Line {
    /// Whether this is told at the third level of verbosity at the earliest, so that it need not be put into
    /// words below. These are the lines that come with every signal and every burial.
    pub const fn is_chatter(&self) -> bool {
        match self {
            Line::Born { .. }
            | Line::Received(_)
            | Line::PassedOn(_)
            | Line::Dropped(_)
            | Line::MainEnded(_)
            | Line::Buried { .. }
            | Line::AskingLeftovers(_)
            | Line::Suspending
            | Line::HandOver(_)
            | Line::Over(_) => true,
            Line::NotBorn { .. }
            | Line::NoReaper
            | Line::SubreaperRefused(_)
            | Line::OrphanBuried(_)
            | Line::Killing { .. }
            | Line::Unkillable => false,
        }
    }
}

/// The text for a line (with its end), and where it goes; `None` when this verbosity does not tell it.
pub fn say(face: Face, own: Pid, verbosity: u8, line: &Line) -> Option<(Stream, String)> {
    match face {
        Face::Native => native(verbosity, line),
        Face::Tini => tini(own, verbosity, line),
        Face::DumbInit => {
            dumb_init(verbosity, line).map(|text| (Stream::Err, format!("[dumb-init] {text}\n")))
        }
    }
}

fn native(verbosity: u8, line: &Line) -> Option<(Stream, String)> {
    let (level, text) = match line {
        Line::NotBorn { command, error } => (0, format!("cannot run `{command}`: {error}{}", hint(*error))),
        Line::Born { command, pid, .. } => (2, format!("`{command}` runs as process {pid}")),
        Line::NoReaper => (1, NO_REAPER.to_string()),
        Line::SubreaperRefused(errno) => {
            (1, format!("cannot adopt orphans (prctl PR_SET_CHILD_SUBREAPER): {errno}"))
        }
        Line::Received(signal) => (3, format!("{signal} arrived")),
        Line::PassedOn(signal) => (2, format!("{signal} passed on")),
        Line::Dropped(signal) => (2, format!("{signal} dropped, as asked")),
        Line::MainEnded(status) => (2, format!("the command {status}")),
        Line::Buried { pid, status } => (3, format!("process {pid} {status}")),
        Line::OrphanBuried(pid) => (1, format!("buried the orphan {pid}; its parent had ended before it")),
        Line::AskingLeftovers(grace) => {
            (2, format!("the command left processes behind; they have {grace:?} after this SIGTERM"))
        }
        Line::Killing { main: true } => {
            (1, "the time after the request to stop is over (--grace): SIGKILL for everybody".to_string())
        }
        Line::Killing { main: false } => (1, KILLING_LEFTOVERS.to_string()),
        Line::Unkillable => (0, UNKILLABLE.to_string()),
        Line::Suspending => (2, "stopping, as the command is stopped".to_string()),
        Line::HandOver(signal) => (3, format!("{signal} of the terminal's hand-over dropped")),
        Line::Over(status) => (3, format!("nobody is left; the command {status}")),
    };
    (level <= verbosity).then(|| (Stream::Err, format!("doula-init: {text}\n")))
}

const NO_REAPER: &str = "\
not PID 1, and not adopting orphans (--no-subreaper): what the command leaves behind goes to somebody else,
            and neither burial nor the end of it can be promised";

const KILLING_LEFTOVERS: &str = "\
processes that the command left behind ignored SIGTERM: SIGKILL for them
hint: --leftovers gives them more time; `-v` tells when it begins";

const UNKILLABLE: &str = "\
a process survives SIGKILL: it waits in the kernel (state D), most often for a disk or a network file system";

fn hint(error: SpawnError) -> &'static str {
    match (error.step, error.errno) {
        (Step::Exec, Errno::ENOENT) => {
            "\nhint: no such file in PATH, or the interpreter of its first line is missing"
        }
        (Step::Exec, Errno::EACCES) => "\nhint: it is not executable (chmod +x), or a directory",
        (Step::Exec, Errno::ENOEXEC) => "\nhint: a script needs a first line like #!/bin/sh",
        _ => "",
    }
}

fn tini(own: Pid, verbosity: u8, line: &Line) -> Option<(Stream, String)> {
    let (level, text) = match line {
        Line::NotBorn { command, error } => (0, format!("exec {command} failed: {}", reason(error.errno))),
        Line::Born { command, pid, .. } => (2, format!("Spawned child process '{command}' with pid '{pid}'")),
        Line::NoReaper => (1, TINI_NO_REAPER.to_string()),
        Line::SubreaperRefused(errno) => {
            (0, format!("Failed to register as child subreaper: {}", reason(*errno)))
        }
        Line::Received(Signal::CHLD) => (3, "Received SIGCHLD".to_string()),
        Line::Received(signal) => (3, format!("Passing signal: '{signal}'")),
        Line::MainEnded(ExitStatus { outcome: Outcome::Signal { signal, .. }, .. }) => {
            (2, format!("Main child exited with signal (with signal '{signal}')"))
        }
        Line::MainEnded(status) => {
            (2, format!("Main child exited normally (with status '{}')", status.shell_code()))
        }
        Line::Buried { pid, .. } => (3, format!("Reaped child with pid: '{pid}'")),
        Line::OrphanBuried(pid) => (1, format!("Reaped zombie process with pid={pid}")),
        Line::Over(_) => (4, "Exiting: child has exited".to_string()),
        Line::PassedOn(_)
        | Line::Dropped(_)
        | Line::AskingLeftovers(_)
        | Line::Killing { .. }
        | Line::Unkillable
        | Line::HandOver(_)
        | Line::Suspending => return None,
    };
    let (name, stream) = match level {
        0 => ("FATAL", Stream::Err),
        1 => ("WARN ", Stream::Err),
        2 => ("INFO ", Stream::Out),
        3 => ("DEBUG", Stream::Out),
        _ => ("TRACE", Stream::Out),
    };
    (level <= verbosity).then(|| (stream, format!("[{name} tini ({own})] {text}\n")))
}

const TINI_NO_REAPER: &str = "\
Tini is not running as PID 1 and isn't registered as a child subreaper.
Zombie processes will not be re-parented to Tini, so zombie reaping won't work.
To fix the problem, use the -s option or set the environment variable TINI_SUBREAPER to register Tini as a \
child subreaper, or run Tini as PID 1.";

fn dumb_init(verbosity: u8, line: &Line) -> Option<String> {
    let (level, text) = match line {
        Line::NotBorn { command, error } => (0, format!("{command}: {}", reason(error.errno))),
        Line::Born { pid, session: true, .. } => {
            (2, format!("Child spawned with PID {pid}.\n[dumb-init] setsid complete."))
        }
        Line::Born { pid, session: false, .. } => (2, format!("Child spawned with PID {pid}.")),
        Line::Received(signal) => (2, format!("Received signal {}.", signal.number())),
        Line::PassedOn(signal) => (2, format!("Forwarded signal {} to children.", signal.number())),
        Line::Dropped(signal) => {
            (2, format!("Not forwarding signal {} to children (ignored).", signal.number()))
        }
        Line::Buried { pid, status } => (2, buried(*pid, *status)),
        Line::Over(status) => (2, format!("Child exited with status {}. Goodbye.", status.shell_code())),
        Line::HandOver(signal) => (2, format!("Ignoring tty hand-off signal {}.", signal.number())),
        Line::Suspending => (2, "Suspending self due to TTY signal.".to_string()),
        Line::NoReaper
        | Line::SubreaperRefused(_)
        | Line::MainEnded(_)
        | Line::OrphanBuried(_)
        | Line::AskingLeftovers(_)
        | Line::Killing { .. }
        | Line::Unkillable => return None,
    };
    (level <= verbosity).then_some(text)
}

fn buried(pid: Pid, status: ExitStatus) -> String {
    match status.outcome {
        Outcome::Signal { signal, .. } => {
            format!("A child with PID {pid} was terminated by signal {}.", signal.number())
        }
        Outcome::Code(_) | Outcome::Unknown => {
            format!("A child with PID {pid} exited with exit status {}.", status.shell_code())
        }
    }
}

/// The words of strerror(3) for what execve(2) most often says.
fn reason(errno: Errno) -> String {
    match errno {
        Errno::ENOENT => "No such file or directory".to_string(),
        Errno::EACCES => "Permission denied".to_string(),
        Errno::ENOEXEC => "Exec format error".to_string(),
        Errno::ENOTDIR => "Not a directory".to_string(),
        other => other.to_string(),
    }
}
