//! A daemon out of this process itself: for programs that daemonize themselves. It goes on in a copy.

use super::pid_file::PidFile;
use super::{DaemonError, Started, lock, told};
use crate::child::os_error;
use crate::fork::{self, Threads};
use doula_model::id::Pid;
use doula_model::plan::{Credentials, Errno};
use doula_sys::fd::{self, Access, OwnedFd};
use doula_sys::group;
use doula_sys::poll::{Epoll, Happening, Interest};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// How the daemon out of this process shall be. See [`run`].
///
/// ```
/// use doula_host::daemonize::Own;
/// let own = Own::new().umask(0o027).pid_file("/run/mine.pid").log("/var/log/mine.log");
/// ```
#[derive(Clone, Debug)]
pub struct Own {
    dir: PathBuf,
    umask: Option<u32>,
    user: Option<Credentials>,
    pid_file: Option<PathBuf>,
    log: Option<PathBuf>,
}

impl Default for Own {
    fn default() -> Own {
        Own { dir: PathBuf::from("/"), umask: None, user: None, pid_file: None, log: None }
    }
}

impl Own {
    /// In the directory `/`, without anything else.
    ///
    /// ```
    /// let own = doula_host::daemonize::Own::new();
    /// ```
    #[must_use]
    pub fn new() -> Own {
        Own::default()
    }

    /// Its directory.
    ///
    /// ```
    /// let own = doula_host::daemonize::Own::new().dir("/var/lib");
    /// ```
    #[must_use]
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Own {
        self.dir = dir.as_ref().to_owned();
        self
    }

    /// Its umask(2), instead of ours.
    ///
    /// ```
    /// let own = doula_host::daemonize::Own::new().umask(0o077);
    /// ```
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Own {
        self.umask = Some(mask);
        self
    }

    /// Its user, group and supplementary groups, once its files are open.
    ///
    /// ```
    /// # use doula_host::{Credentials, daemonize::Own};
    /// let own = Own::new().user(Credentials { uid: 65534, gid: 65534, groups: vec![] });
    /// ```
    #[must_use]
    pub fn user(mut self, credentials: Credentials) -> Own {
        self.user = Some(credentials);
        self
    }

    /// Where its number is written; locked for its life.
    ///
    /// ```
    /// let own = doula_host::daemonize::Own::new().pid_file("/run/mine.pid");
    /// ```
    #[must_use]
    pub fn pid_file(mut self, path: impl AsRef<Path>) -> Own {
        self.pid_file = Some(path.as_ref().to_owned());
        self
    }

    /// Where its output goes from [`Announce::ready`] on; else to `/dev/null`.
    ///
    /// ```
    /// let own = doula_host::daemonize::Own::new().log("/var/log/mine.log");
    /// ```
    #[must_use]
    pub fn log(mut self, path: impl AsRef<Path>) -> Own {
        self.log = Some(path.as_ref().to_owned());
        self
    }
}

/// By which the daemon tells its launcher what became of it. Until then it has the standard output and error of the
/// launcher, so that people read its words.
///
/// ```no_run
/// use doula_host::daemonize::{Own, run};
/// let started = run(&Own::new(), |announce| {
///     let socket = match std::net::TcpListener::bind("127.0.0.1:80") {
///         Ok(socket) => socket,
///         Err(error) => return announce.failed(&error.to_string(), 3),
///     };
///     if announce.ready().is_err() {
///         return 1;
///     }
///     while socket.accept().is_ok() {}
///     0
/// })?;
/// println!("{} listens", started.pid);
/// # Ok::<(), doula_host::daemonize::DaemonError>(())
/// ```
#[derive(Debug)]
pub struct Announce {
    launcher: OwnedFd,
    log: OwnedFd,
}

/// The first byte of what the launcher hears.
const READY: u8 = b'+';
const FAILED: u8 = b'-';

impl Announce {
    /// It is ready: the launcher returns, and the output goes to the log.
    ///
    /// # Errors
    /// Those of dup3(2).
    ///
    /// ```no_run
    /// use doula_host::daemonize::{Own, run};
    /// let log = Own::new().log("/var/log/mine.log");
    /// run(&log, |announce| {
    ///     println!("still to the terminal of the launcher");
    ///     u8::from(announce.ready().is_err())     // and from here on to the log
    /// })?;
    /// # Ok::<(), doula_host::daemonize::DaemonError>(())
    /// ```
    pub fn ready(self) -> io::Result<()> {
        io::stdout().flush()?;
        for number in [1, 2] {
            fd::duplicate_onto(&self.log, number, false).map_err(os_error)?;
        }
        // A launcher that is gone needs not be told.
        let _ = fd::write(&self.launcher, format!("{}{}", char::from(READY), group::pid()).as_bytes());
        Ok(())
    }

    /// It cannot do its work: the launcher returns with this text. Returns the code, for the end of the closure.
    ///
    /// ```no_run
    /// use doula_host::daemonize::{Own, run};
    /// let error = run(&Own::new(), |announce| announce.failed("no socket", 3)).unwrap_err();
    /// assert_eq!(error.to_string(), "it exited with code 3 before it was ready: no socket");
    /// ```
    #[must_use]
    pub fn failed(self, why: &str, code: u8) -> u8 {
        let _ = fd::write(&self.launcher, &[&[FAILED], why.as_bytes()].concat());
        code
    }
}

/// Runs `daemon` in a copy of this process that is a daemon, and returns when it is ready or has failed. Its answer is its
/// exit code. The session is made first, then the second copy: it leads no session, and gets no terminal.
///
/// # Errors
/// [`DaemonError::Own`] with [`io::ErrorKind::ResourceBusy`] in a process with several threads; those of the files; and
/// [`DaemonError::Ended`] with its text and code when it failed.
///
/// ```
/// use doula_host::daemonize::{Own, run};
/// # let (stop, wait) = std::sync::mpsc::channel::<()>();
/// let other = std::thread::spawn(move || wait.recv());
/// let error = run(&Own::new(), |_| 0).unwrap_err();
/// assert!(error.to_string().starts_with("this process has 2 threads"), "{error}");
/// # drop(stop);
/// # let _ = other.join();
/// ```
pub fn run(own: &Own, daemon: impl FnOnce(Announce) -> u8) -> Result<Started, DaemonError> {
    let mut pid_file = own.pid_file.as_deref().map(lock).transpose()?;
    let log = open_log(own)?;
    let pipe = || fd::pipe().map_err(|errno| DaemonError::Own(os_error(errno)));
    let (hear, tell) = pipe()?;
    // The process between stays until we let go of the leash, so that the end of a daemon that failed is known.
    let (leash, held) = pipe()?;
    let mut ours = Some((hear, held));
    let middle = fork::fork(Threads::Refuse, || {
        // The copies of our ends: nobody else may keep them open.
        drop(ours.take());
        let announce = Announce { launcher: tell, log };
        between(&leash, || become_daemon(own, announce, pid_file.as_mut(), daemon))
    });
    let mut middle = middle.map_err(DaemonError::Own)?;
    let Some((hear, held)) = ours else { unreachable!("taken in the copy only") };
    let heard = hear_all(&hear).map_err(DaemonError::Own)?;
    match heard.split_first() {
        Some((&READY, number)) => {
            drop(held);
            middle.wait();
            pid_file.into_iter().for_each(PidFile::leave);
            let number = std::str::from_utf8(number).ok().and_then(|text| Pid::new(text.parse().ok()?));
            let pid = number.ok_or_else(|| DaemonError::Own(io::ErrorKind::InvalidData.into()))?;
            Ok(Started { pid, status: None })
        }
        // Whoever has not told to be ready, and cannot any more, is about to end.
        text => {
            let status = middle.wait();
            let words = text.map_or_else(String::new, |(_, text)| crate::spawn::printable(text));
            Err(DaemonError::Ended { status, words })
        }
    }
}

fn open_log(own: &Own) -> Result<OwnedFd, DaemonError> {
    let path = own.log.as_deref().unwrap_or(Path::new("/dev/null"));
    let opened = File::options().append(true).create(true).open(path);
    opened.map(OwnedFd::from).map_err(|error| DaemonError::File { path: path.to_owned(), error })
}

/// Until it is ready, or there is nobody who could tell any more.
fn hear_all(hear: &OwnedFd) -> io::Result<Vec<u8>> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 512]);
    loop {
        match fd::read(hear, &mut buffer) {
            Ok(0) => return Ok(heard),
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(os_error(errno)),
        }
        if heard.first() == Some(&READY) {
            return Ok(heard);
        }
    }
}

/// The leader of the session, between the launcher and the daemon.
fn between(leash: &OwnedFd, daemon: impl FnOnce() -> u8) -> u8 {
    const TROUBLE: u8 = 125;
    let watch = || {
        group::setsid()?;
        let watch = Epoll::new()?;
        watch.add(leash, Interest::READ, 0)?;
        Ok::<_, Errno>(watch)
    };
    let (Ok(watch), Ok(mut daemon)) = (watch(), fork::fork(Threads::Refuse, daemon)) else { return TROUBLE };
    if watch.add(&daemon, Interest::READ, 0).is_err() {
        return TROUBLE;
    }
    while matches!(watch.wait(&mut [Happening::EMPTY], None), Err(Errno::EINTR)) {}
    match daemon.try_wait() {
        Some(status) => status.shell_code(),
        None => {
            daemon.leave();
            0
        }
    }
}

/// The daemon: in a session that it does not lead.
fn become_daemon(
    own: &Own,
    announce: Announce,
    pid_file: Option<&mut PidFile>,
    daemon: impl FnOnce(Announce) -> u8,
) -> u8 {
    match prepare(own, pid_file) {
        Ok(()) => daemon(announce),
        Err(error) => announce.failed(&error.to_string(), error.exit_code()),
    }
}

fn prepare(own: &Own, pid_file: Option<&mut PidFile>) -> Result<(), DaemonError> {
    let system = |errno| DaemonError::Own(os_error(errno));
    let null = fd::open(c"/dev/null", Access::ReadWrite).map_err(system)?;
    fd::duplicate_onto(&null, 0, false).map_err(system)?;
    if let Some(mask) = own.umask {
        fd::set_umask(mask);
    }
    std::env::set_current_dir(&own.dir)
        .map_err(|error| DaemonError::File { path: own.dir.clone(), error })?;
    if let Some(file) = pid_file {
        file.publish(group::pid()).map_err(|refused| told(refused, own.pid_file.as_deref()))?;
        file.remove_at_end().map_err(DaemonError::Own)?;
    }
    own.user
        .as_ref()
        .map_or(Ok(()), |user| group::become_user(user.uid, user.gid, &user.groups))
        .map_err(system)
}
