//! Daemons: started so that no terminal and no launcher can trouble them, and told to be ready or to have failed.
//!
//! ```
//! use doula_host::Command;
//! use doula_host::daemonize::{Daemon, Readiness};
//!
//! let pid_file = std::env::temp_dir().join(format!("doula-daemon-{}.pid", std::process::id()));
//! let mut server = Command::new("sh");
//! server.args(["-c", "echo >&3; exec sleep 1000"]).dir("/").umask(0o027);
//! let started = Daemon::new(&server).ready(Readiness::Fd).pid_file(&pid_file).start()?;
//! // A second one is refused, and told by whom.
//! let error = Daemon::new(&server).pid_file(&pid_file).start().unwrap_err();
//! assert!(error.to_string().contains(&format!("is held by {}", started.pid)), "{error}");
//! # doula_host::Command::new("kill").arg(started.pid.to_string()).status()?;
//! # std::fs::remove_file(&pid_file)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is done, in this order
//!
//! 1. setsid(2), *then* a second birth: the daemon is in a session without a terminal whose leader is gone, so that opening a
//!    terminal can never give it one. (The other way round it leads its session, and can get one.) Our memory is not copied for
//!    either ([`Command::new_session_unled`]), so this works in a program of threads too.
//! 2. Standard input is `/dev/null`, output and error a log or `/dev/null`, unless the command says otherwise. Directory, umask, limits and
//!    user are those of the [`Command`]. No fd is inherited but those that are listed.
//! 3. The pid file is locked before the birth and appears, whole, before the launcher returns.
//! 4. The launcher returns when the daemon is ready ([`Readiness`]), or with what it said and how it ended. A daemon that
//!    failed or was too slow is ended with its descendants, and its pid file removed.
//!
//! # A daemon out of this process
//!
//! [`run`] makes a copy of this process, which must have one thread, and runs a closure in it: for programs that daemonize
//! themselves. A new program should rather stay in the foreground and let a supervisor (`doula up`) look after it.

mod own;
mod pid_file;
mod ready;

pub use own::{Announce, Own, run};
pub use ready::Readiness;

use crate::child::{Child, OnDrop};
use crate::command::{Command, CommandError, Stdio};
use crate::holder::Holder;
use crate::spawn::printable;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_sys::fd::OwnedFd;
use pid_file::{PidFile, Refused};
use ready::{Listener, Outcome as Answer};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a daemon may take to be ready unless something else is said: that of most service managers.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the end of one that failed may take.
const DEATH: Duration = Duration::from_secs(5);
/// So much of a log is told of a daemon that failed: its last words.
const LAST_WORDS: u64 = 2048;
/// The number of the lock in the daemon, or the next one that is free: after the one of readiness.
const LOCK: i32 = 4;

/// A program to be started as a daemon. See the [module](self).
///
/// ```
/// use doula_host::Command;
/// use doula_host::daemonize::Daemon;
/// let error = Daemon::new(&Command::new("no-such-program")).start().unwrap_err();
/// assert_eq!(error.exit_code(), 127);
/// ```
#[derive(Clone, Debug)]
pub struct Daemon {
    command: Command,
    readiness: Readiness,
    timeout: Duration,
    pid_file: Option<PathBuf>,
    log: Option<PathBuf>,
}

/// A daemon that is ready.
///
/// ```
/// use doula_host::Command;
/// use doula_host::daemonize::Daemon;
/// let started = Daemon::new(Command::new("sleep").arg("0.01")).start()?;
/// println!("{} is under way", started.pid);
/// # Ok::<(), doula_host::daemonize::DaemonError>(())
/// ```
#[derive(Debug)]
pub struct Started {
    /// Its number, for display: it may end at any time.
    pub pid: Pid,
    /// What it last said of itself (`STATUS=` of sd_notify(3)).
    pub status: Option<String>,
}

/// Why there is no daemon; nothing of it is left.
///
/// ```
/// use doula_host::Command;
/// use doula_host::daemonize::{Daemon, DaemonError, Readiness};
/// let error = Daemon::new(Command::new("sh").args(["-c", "exit 3"])).ready(Readiness::Fd).start().unwrap_err();
/// assert_eq!(error.to_string(), "it exited with code 3 before it was ready");
/// assert_eq!(error.exit_code(), 3);
/// ```
#[derive(Debug)]
pub enum DaemonError {
    /// Somebody has the pid file.
    Held {
        /// Which.
        path: PathBuf,
        /// Who, as far as we may see.
        holders: Vec<Holder>,
    },
    /// A file cannot be had.
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It was not born.
    Birth(CommandError),
    /// It ended before it was ready.
    Ended {
        /// How.
        status: ExitStatus,
        /// Its last words.
        words: String,
    },
    /// It was not ready in time, and was ended.
    Silent {
        /// After this time.
        after: Duration,
        /// Its last words.
        words: String,
    },
    /// This process cannot be copied, or the daemon not be listened to.
    Own(io::Error),
}

impl DaemonError {
    /// The code for a launcher: that of the daemon if it ended, 126 and 127 as shells do, 125 if it could not be born for
    /// another reason, else 1.
    ///
    /// ```
    /// use doula_host::Command;
    /// use doula_host::daemonize::Daemon;
    /// assert_eq!(Daemon::new(&Command::exact("/etc/passwd")).start().unwrap_err().exit_code(), 126);
    /// ```
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            DaemonError::Birth(error) => error.shell_code(),
            DaemonError::Ended { status, .. } => status.shell_code().max(1),
            DaemonError::Held { .. } | DaemonError::File { .. } | DaemonError::Silent { .. } => 1,
            DaemonError::Own(_) => 125,
        }
    }
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            DaemonError::Held { path, holders } => {
                write!(f, "{} is held by ", path.display())?;
                return match holders.as_slice() {
                    [] => f.write_str("another start that is under way, or a process that we may not see"),
                    [first, rest @ ..] => {
                        write!(f, "{first}")?;
                        rest.iter().try_for_each(|holder| write!(f, ", {holder}"))
                    }
                };
            }
            DaemonError::File { path, error } => return write!(f, "{}: {error}", path.display()),
            DaemonError::Birth(error) => return error.fmt(f),
            DaemonError::Own(error) => return error.fmt(f),
            DaemonError::Ended { status, words } => {
                write!(f, "it {status} before it was ready")?;
                words
            }
            DaemonError::Silent { after, words } => {
                write!(f, "it was not ready after {} s, and was ended", after.as_secs_f64())?;
                words
            }
        };
        if words.is_empty() { Ok(()) } else { write!(f, ": {words}") }
    }
}

impl std::error::Error for DaemonError {}

impl Daemon {
    /// This command as a daemon. What it says of session and process group does not count.
    ///
    /// ```
    /// # use doula_host::{Command, daemonize::Daemon};
    /// let daemon = Daemon::new(&Command::new("sleep"));
    /// ```
    #[must_use]
    pub fn new(command: &Command) -> Daemon {
        Daemon {
            command: command.clone(),
            readiness: Readiness::Exec,
            timeout: PATIENCE,
            pid_file: None,
            log: None,
        }
    }

    /// When it is ready; by default as soon as its program is executed.
    ///
    /// ```
    /// # use doula_host::{Command, daemonize::{Daemon, Readiness}};
    /// let daemon = Daemon::new(&Command::new("nginx")).ready(Readiness::tcp("127.0.0.1:80")?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn ready(mut self, readiness: Readiness) -> Daemon {
        self.readiness = readiness;
        self
    }

    /// How long that may take, instead of 90 seconds.
    ///
    /// ```
    /// use doula_host::{Command, daemonize::{Daemon, DaemonError, Readiness}};
    /// let never = Daemon::new(Command::new("sleep").arg("1000")).ready(Readiness::Fd);
    /// let error = never.timeout(std::time::Duration::from_millis(50)).start().unwrap_err();
    /// assert!(matches!(error, DaemonError::Silent { .. }));
    /// ```
    #[must_use]
    pub fn timeout(mut self, time: Duration) -> Daemon {
        self.timeout = time;
        self
    }

    /// Where its number is to be written; locked for its life, so that there is one such daemon.
    ///
    /// ```
    /// # use doula_host::{Command, daemonize::Daemon};
    /// let error = Daemon::new(&Command::new("true")).pid_file("/no/such/dir/x.pid").start().unwrap_err();
    /// assert!(error.to_string().starts_with("/no/such/dir/x.pid: "));
    /// ```
    #[must_use]
    pub fn pid_file(mut self, path: impl AsRef<Path>) -> Daemon {
        self.pid_file = Some(path.as_ref().to_owned());
        self
    }

    /// Where its standard output and error go, at the end of the file; else to `/dev/null`.
    ///
    /// ```
    /// # use doula_host::{Command, daemonize::{Daemon, Readiness}};
    /// let log = std::env::temp_dir().join(format!("doula-daemon-{}.log", std::process::id()));
    /// let failing = Daemon::new(Command::new("sh").args(["-c", "echo no port >&2; exit 1"])).ready(Readiness::Fd);
    /// let error = failing.log(&log).start().unwrap_err();
    /// assert_eq!(error.to_string(), "it exited with code 1 before it was ready: no port");
    /// # std::fs::remove_file(log)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn log(mut self, path: impl AsRef<Path>) -> Daemon {
        self.log = Some(path.as_ref().to_owned());
        self
    }

    /// Starts it; returns when it is ready, or with what became of it.
    ///
    /// It stays our child as long as we live: a later birth or [`crate::reap_left`] buries it.
    ///
    /// # Errors
    /// See [`DaemonError`]. Nothing is left of the daemon then.
    ///
    /// ```
    /// # use doula_host::{Command, daemonize::Daemon};
    /// assert!(Daemon::new(Command::new("sleep").arg("0.01")).start().is_ok());
    /// ```
    pub fn start(&self) -> Result<Started, DaemonError> {
        let mut pid_file = self.pid_file.as_deref().map(lock).transpose()?;
        let mut command = self.command.clone();
        let log = self.streams(&mut command)?;
        if let Some(file) = &mut pid_file {
            let held = file.file().map_err(DaemonError::Own)?;
            command.give_from(LOCK, Stdio::from(OwnedFd::from(held)));
        }
        let listener = Listener::for_daemon(&self.readiness, &mut command).map_err(DaemonError::Own)?;
        command.new_session_unled().on_drop(OnDrop::Kill);
        let mut child = command.spawn().map_err(DaemonError::Birth)?;
        let pid = child.pid();
        if let Some(file) = &mut pid_file {
            // Dropping the child ends it.
            file.publish(pid).map_err(|refused| told(refused, self.pid_file.as_deref()))?;
        }
        let (answer, status) = listener.listen(&mut child, self.timeout);
        match answer {
            Ok(Answer::Ready) => {
                child.leave();
                pid_file.into_iter().for_each(PidFile::leave);
                Ok(Started { pid, status })
            }
            Ok(failure) => Err(self.conclude(child, failure, [status, log.and_then(last_words)])),
            Err(error) => Err(DaemonError::Own(error)),
        }
    }

    /// Standard streams; returns the log with the place where this daemon begins in it.
    fn streams(&self, command: &mut Command) -> Result<Option<File>, DaemonError> {
        command.default_fd(0, Stdio::null());
        let Some(path) = &self.log else {
            command.default_fd(1, Stdio::null());
            command.default_fd(2, Stdio::null());
            return Ok(None);
        };
        let failed = |error| DaemonError::File { path: path.clone(), error };
        let writer = File::options().append(true).create(true).open(path).map_err(failed)?;
        let mut reader = File::open(path).map_err(failed)?;
        reader.seek(SeekFrom::End(0)).map_err(failed)?;
        command.default_fd(1, Stdio::from(writer));
        command.default_fd(2, Stdio::same_as(1));
        Ok(Some(reader))
    }

    fn conclude(&self, mut child: Child, answer: Answer, words: [Option<String>; 2]) -> DaemonError {
        // Whoever cannot be ended in time is named by nobody here; its pid file is gone.
        let _ = child.kill_tree(DEATH);
        let words =
            words.into_iter().flatten().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        match answer {
            Answer::Ended(status) => DaemonError::Ended { status, words },
            Answer::Ready | Answer::Timeout => DaemonError::Silent { after: self.timeout, words },
        }
    }
}

fn lock(path: &Path) -> Result<PidFile, DaemonError> {
    PidFile::lock(path).map_err(|refused| told(refused, Some(path)))
}

fn told(refused: Refused, path: Option<&Path>) -> DaemonError {
    let path = path.unwrap_or(Path::new("")).to_owned();
    match refused {
        Refused::Held(holders) => DaemonError::Held { path, holders },
        Refused::Io(error) => DaemonError::File { path, error },
    }
}

/// What was written since, as one line.
fn last_words(mut log: File) -> Option<String> {
    let begin = log.stream_position().ok()?;
    let end = log.seek(SeekFrom::End(0)).ok()?;
    log.seek(SeekFrom::Start(begin.max(end.saturating_sub(LAST_WORDS)))).ok()?;
    let mut bytes = Vec::new();
    log.take(LAST_WORDS).read_to_end(&mut bytes).ok()?;
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    Some(lines.map(printable).collect::<Vec<_>>().join(" / "))
}
