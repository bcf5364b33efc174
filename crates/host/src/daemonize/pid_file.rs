//! The file with the number of a daemon, which is also its lock.
//!
//! The lock is a flock(2) on the file itself. It belongs to the open file, so that it lasts as long as anybody has that: the
//! daemon, which inherits it, and children to which the daemon hands all its fds. The file appears under its name as
//! a whole, locked and with its number: it is made under another name and then linked, or renamed over one that nobody holds.
//!
//! A daemon that closes every fd at its start gives the lock up. So a file without a lock counts as held too while a process with its
//! number lives that is older than the file.

use crate::child::{holders_of, os_error};
use crate::holder::Holder;
use crate::shutdown::{TempFile, on_exit};
use crate::sweep;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::{fd, time};
use std::ffi::CString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A locked file that is not there for others yet.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    draft: TempFile,
    /// The one that it replaces, locked as well.
    old: Option<File>,
    /// Dropping it removes nothing any more.
    left: bool,
}

/// Why a pid file cannot be had.
#[derive(Debug)]
pub(super) enum Refused {
    /// Somebody holds it.
    Held(Vec<Holder>),
    /// It cannot be written.
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused::Io(error)
    }
}

/// Everybody may read it, as is the custom in `/run`.
const MODE: u32 = 0o644;
/// So often another launcher may come in between before that is an error.
const TRIES: u32 = 20;

impl PidFile {
    /// Locks the file that will be there, and the one that is.
    pub(super) fn lock(path: &Path) -> Result<PidFile, Refused> {
        let path = std::path::absolute(path)?;
        let name = path.file_name().ok_or_else(|| io::Error::from(ErrorKind::IsADirectory))?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let draft = TempFile::new_in(directory, &format!(".{}", name.to_string_lossy()))?;
        let mut lock = PidFile { path, draft, old: None, left: false };
        lock.draft.file().set_permissions(fs::Permissions::from_mode(MODE))?;
        lock.draft.file().try_lock().map_err(|error| io::Error::other(error.to_string()))?;
        lock.old = lock.take_old()?;
        Ok(lock)
    }

    /// For the daemon, which keeps it for its life.
    pub(super) fn file(&mut self) -> io::Result<File> {
        self.draft.file().try_clone()
    }

    /// The locked file that has the name now, if there is one.
    fn take_old(&self) -> Result<Option<File>, Refused> {
        for _ in 0..TRIES {
            let old = match File::open(&self.path) {
                Ok(old) => old,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match old.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Refused::Held(holders(&self.path))),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
            if let Some(owner) = living_owner(&old, &self.path) {
                return Err(Refused::Held(vec![owner]));
            }
            if is_at(&old, &self.path) {
                return Ok(Some(old));
            }
        }
        Err(Refused::Io(ErrorKind::ResourceBusy.into()))
    }

    /// Writes the number, and puts the file where it belongs.
    pub(super) fn publish(&mut self, pid: Pid) -> Result<(), Refused> {
        self.draft.file().write_all(format!("{pid}\n").as_bytes())?;
        if self.old.is_none() {
            match name_new(self.draft.path(), &self.path) {
                // Somebody was quicker: he holds it, or has left it meanwhile.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => self.old = self.take_old()?,
                named => return Ok(named?),
            }
        }
        Ok(fs::rename(self.draft.path(), &self.path)?)
    }

    /// The daemon that this process is removes it at its end.
    pub(super) fn remove_at_end(&mut self) -> io::Result<()> {
        let (file, path) = (self.file()?, self.path.clone());
        let remove = move || if is_at(&file, &path) { fs::remove_file(&path) } else { Ok(()) };
        on_exit("pid file", remove).map(drop)
    }

    /// It is the daemon's.
    pub(super) fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.left && is_at(self.draft.file(), &self.path) {
            // Whoever cannot remove it now cannot be told either.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Gives the file its name, unless that is taken.
fn name_new(draft: &Path, path: &Path) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    match fd::rename_new(&text(draft)?, &text(path)?) {
        // Not every file system can do that.
        Err(Errno::EINVAL) => fs::hard_link(draft, path).and_then(|()| fs::remove_file(draft)),
        renamed => renamed.map_err(os_error),
    }
}

/// Whether this open file is the one that has this name.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(file), Ok(there)) => (file.dev(), file.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

fn number_in(path: &Path) -> Option<Pid> {
    Pid::new(fs::read_to_string(path).ok()?.trim().parse().ok()?)
}

/// Everybody who has the file open as far as we may see, else who is in it.
fn holders(path: &Path) -> Vec<Holder> {
    let mut holders = holders_of(&fs::canonicalize(path).into_iter().collect::<Vec<_>>());
    // Another user's fds are not for us to see; its number is.
    if holders.is_empty() {
        let lives = |pid: &Pid| sweep::stat(*pid).is_some_and(|stat| !stat.dead());
        holders.extend(number_in(path).filter(lives).map(Holder::of));
    }
    holders
}

/// Start times are told in ticks, and files are dated by a clock that the kernel moves on a few times in a hundredth of a second:
/// a file may seem older than the process that it was written for. No number is given away again so soon.
const BLUR: Duration = Duration::from_millis(100);

/// The process of the file, if it lives and began before the file was written: not one that got its number later.
fn living_owner(file: &File, path: &Path) -> Option<Holder> {
    let pid = number_in(path)?;
    let stat = sweep::stat(pid).filter(|stat| !stat.dead())?;
    let began = Duration::from_secs(stat.start) / u32::try_from(time::clock_ticks()).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let up = Duration::from_nanos(time::boottime().as_nanos());
    let written = file.metadata().ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    (now.checked_sub(up)? + began <= written + BLUR).then(|| Holder::of(pid))
}
