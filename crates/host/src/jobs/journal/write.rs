//! The file as it grows: who may write, what is appended, and when it is safe on the disk.

use super::{Begin, Ended, Ends, Entry, Head, Past, now, shim};
use crate::child::{os_error, pause};
use crate::journal::{line, this_world};
use crate::sweep;
use crate::{Command, Errno};
use doula_model::task::TaskId;
use doula_sys::fd::{self, OwnedFd};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lock of a run that was just killed is held for a moment by a child that it was giving birth to.
const LOCKED_FOR: Duration = Duration::from_secs(1);
/// So often the lock is tried.
const TRY_AGAIN: Duration = Duration::from_millis(5);
/// Lines are brought to the disk in groups: those of so long at once.
const GROUP: Duration = Duration::from_secs(1);
/// All lines of a job but the first take no more than this: names of cgroups, and why it could not be started.
const PER_JOB: u64 = 4096;
/// Room is taken in pieces of this size, if there is so much.
const ROOM: u64 = 64 << 10;
/// More than a first line that was torn.
const FIRST_LINE: usize = 64 << 10;

/// A journal that is ours to write.
///
/// ```
/// use doula_host::jobs::journal::{Entry, Journal};
/// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
/// # let path = file.path();
/// let mut journal = Journal::open(path, false)?;
/// journal.begin("echo {}", 1)?;
/// journal.append(&Entry::Over)?;
/// drop(journal);
/// // Another run goes on with it.
/// let mut journal = Journal::open(path, true)?;
/// assert!(journal.past().over);
/// journal.begin("echo {}", 1)?;
/// assert_eq!(journal.run(), 2);
/// # std::fs::remove_dir_all(journal.folder())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Ours, with the lock.
    file: File,
    /// For the shims: the lock must not be theirs.
    shared: Arc<OwnedFd>,
    past: Past,
    /// So far it was read.
    seen: u64,
    ends: Ends,
    run: u32,
    /// Up to here there is room for sure.
    room: u64,
    /// Something was written that may not be on the disk yet.
    dirty: bool,
    synced: Instant,
}

/// Why a journal cannot be used.
///
/// ```
/// use doula_host::jobs::journal::{Journal, JournalError};
/// let refused = Journal::open("/no/such/folder/journal".as_ref(), false);
/// assert!(matches!(refused, Err(JournalError::Io(..))));
/// ```
#[derive(Debug)]
pub enum JournalError {
    /// The system refused.
    Io(PathBuf, io::Error),
    /// There is one already.
    Exists(PathBuf),
    /// Another run writes it: its number, if that can be read.
    InUse(PathBuf, Option<i32>),
    /// It was written by a newer program.
    Newer(PathBuf, u32),
    /// It is another kind of file.
    NotOurs(PathBuf),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Io(path, error) => write!(f, "the journal `{}`: {error}", path.display()),
            JournalError::Exists(path) => write!(f, "there is a journal `{}` already", path.display()),
            JournalError::InUse(path, Some(pid)) => {
                write!(f, "another doula (PID {pid}) works at the journal `{}`", path.display())
            }
            JournalError::InUse(path, None) => {
                write!(f, "another doula works at the journal `{}`", path.display())
            }
            JournalError::Newer(path, version) => {
                write!(f, "the journal `{}` has version {version}, which a newer doula wrote", path.display())
            }
            JournalError::NotOurs(path) => write!(f, "`{}` is no journal of doula", path.display()),
        }
    }
}

impl std::error::Error for JournalError {}

impl Journal {
    /// Opens a journal, makes it if there is none, locks it, and reads it. With `resume` it may have something in it.
    ///
    /// # Errors
    /// See [`JournalError`].
    ///
    /// ```
    /// use doula_host::jobs::journal::{Journal, JournalError};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// assert!(matches!(Journal::open(path, true), Err(JournalError::InUse(..))), "it has one writer");
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// drop(journal);
    /// assert!(matches!(Journal::open(path, false), Err(JournalError::Exists(_))));
    /// assert!(Journal::open(path, true).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: &Path, resume: bool) -> Result<Journal, JournalError> {
        let io = |error| JournalError::Io(path.to_owned(), error);
        let open = || OpenOptions::new().read(true).append(true).create(true).mode(0o644).open(path);
        let file = open().map_err(io)?;
        lock(&file, path)?;
        let shared = Arc::new(OwnedFd::from(open().map_err(io)?));
        let mut journal = Journal {
            path: path.to_owned(),
            file,
            shared,
            past: Past::default(),
            seen: 0,
            ends: Ends::default(),
            run: 0,
            room: 0,
            dirty: false,
            synced: Instant::now(),
        };
        journal.read_on().map_err(io)?;
        check(&journal.past, path)?;
        if !resume && journal.past.head.is_some() {
            return Err(JournalError::Exists(path.to_owned()));
        }
        Ok(journal)
    }

    /// Reads a journal that another may be writing.
    ///
    /// # Errors
    /// See [`JournalError`].
    ///
    /// ```
    /// use doula_host::jobs::journal::{Journal, JournalError};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// assert!(matches!(Journal::read(path), Err(JournalError::NotOurs(_))), "it is empty");
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// assert!(Journal::read(path)?.tasks.is_empty());
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(path: &Path) -> Result<Past, JournalError> {
        let mut past = Past::default();
        past.read(&fs::read(path).map_err(|error| JournalError::Io(path.to_owned(), error))?);
        check(&past, path)?;
        match past.head {
            Some(_) => Ok(past),
            None => Err(JournalError::NotOurs(path.to_owned())),
        }
    }

    /// Whether a run works at this journal now.
    ///
    /// # Errors
    /// Those of open(2) and flock(2).
    ///
    /// ```
    /// use doula_host::jobs::journal::Journal;
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let journal = Journal::open(path, false)?;
    /// assert!(Journal::is_in_use(path)?);
    /// drop(journal);
    /// assert!(!Journal::is_in_use(path)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_in_use(path: &Path) -> io::Result<bool> {
        match File::open(path)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// What happened before.
    ///
    /// ```
    /// use doula_host::jobs::journal::Journal;
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// assert!(Journal::open(path, false)?.past().head.is_none(), "nobody worked at it before");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// From here on it is ours: whoever comes later of an earlier run ends without its job. Then what happened until
    /// here is read.
    ///
    /// # Errors
    /// Those of write(2) and read(2).
    ///
    /// ```
    /// use doula_host::jobs::journal::Journal;
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// let past = journal.begin("echo {}", 1)?;
    /// assert_eq!(past.head.as_ref().map(|head| head.run), Some(1));
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn begin(&mut self, template: &str, slots: u32) -> io::Result<&Past> {
        let pid = doula_sys::group::pid();
        self.run = self.past.next_run();
        let head = Head {
            version: super::VERSION,
            run: self.run,
            world: this_world(),
            pid,
            start: sweep::start_ticks(pid).unwrap_or_default(),
            at: now(),
            template: template.to_owned(),
            slots,
            damaged: self.past.damaged + u64::from(!self.past.torn().is_empty()),
        };
        self.append(&Entry::Head(head))?;
        self.read_on()?;
        self.sync()?;
        let folder = self.folder();
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(&self.past),
        }
    }

    /// Appends a line.
    ///
    /// # Errors
    /// Those of write(2). What was written of the line then is passed over by readers.
    ///
    /// ```
    /// use doula_host::jobs::journal::{Entry, Journal};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// journal.append(&Entry::Over)?;
    /// assert!(Journal::read(path)?.over);
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.dirty = true;
        append(&self.file, entry)
    }

    /// Writes down that an attempt is about to begin, if the disk has room for all that will be written of it and of so many that are
    /// in work: so that how they end is not lost for want of room.
    ///
    /// # Errors
    /// Those of fallocate(2) and write(2).
    ///
    /// ```
    /// use doula_host::jobs::{TaskId, journal::{Begin, Journal, Text, now}};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("true", 1)?;
    /// let words = vec![Text::Plain("true".to_owned())];
    /// let begin = Begin { task: TaskId(1), attempt: 1, slot: 1, at: now(), words, inputs: Vec::new() };
    /// // A full disk is an error here, and not when the job has ended.
    /// journal.begin_attempt(begin, 0)?;
    /// assert_eq!(Journal::read(path)?.tasks[&TaskId(1)].attempts.len(), 1);
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn begin_attempt(&mut self, begin: Begin, in_work: usize) -> io::Result<()> {
        let text: usize = begin.words.iter().chain(&begin.inputs).map(|text| text.bytes().len()).sum();
        // As JSON a byte has up to six characters.
        let jobs = u64::try_from(in_work).unwrap_or(u64::MAX).saturating_add(2);
        self.make_room(jobs.saturating_mul(PER_JOB).saturating_add(text as u64 * 6))?;
        self.append(&Entry::Begin(begin))
    }

    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        if end + bytes <= self.room {
            return Ok(());
        }
        for bytes in [bytes.saturating_add(ROOM), bytes] {
            match fd::allocate(&self.file, end, bytes) {
                Ok(()) => {
                    self.room = end.saturating_add(bytes);
                    return Ok(());
                }
                Err(Errno::ENOSPC) => {}
                // It cannot be made sure of here.
                Err(_) => return Ok(()),
            }
        }
        Err(os_error(Errno::ENOSPC))
    }

    /// Gives back the room that was not needed, when nobody writes any more.
    ///
    /// # Errors
    /// Those of ftruncate(2).
    ///
    /// ```
    /// use doula_host::jobs::journal::{Entry, Journal};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("true", 1)?;
    /// journal.append(&Entry::Over)?;
    /// journal.trim()?;
    /// assert!(Journal::read(path)?.over, "nothing is lost");
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trim(&mut self) -> io::Result<()> {
        self.file.set_len(self.file.metadata()?.len())
    }

    /// The command of a shim for this attempt, whose [`super::Begin`] must be the last line of ours. It writes to files in
    /// [`Journal::folder`].
    ///
    /// # Errors
    /// Those of lseek(2), and of making the files.
    ///
    /// ```no_run
    /// use doula_host::jobs::{TaskId, journal::{Begin, Journal, Text, now}};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("true", 1)?;
    /// let words = vec![Text::Plain("true".to_owned())];
    /// let begin = Begin { task: TaskId(1), attempt: 1, slot: 1, at: now(), words, inputs: Vec::new() };
    /// journal.begin_attempt(begin, 0)?;
    /// // This program, executed again; its `main` knows what to do.
    /// let mut shim = journal.command(TaskId(1), 1, &["true".into()])?.spawn()?;
    /// assert!(shim.wait().success());
    /// assert!(journal.ended(1, TaskId(1), 1)?.is_some_and(|ended| ended.success()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn command(&mut self, task: TaskId, attempt: u32, words: &[OsString]) -> io::Result<Command> {
        let mut command = shim::command((task, attempt), self.run, self.file.stream_position()?);
        command.args(words).fd(shim::JOURNAL, Arc::clone(&self.shared));
        let [out, error] = self.output(task, attempt).map(File::create);
        command.stdout(Arc::new(OwnedFd::from(out?))).stderr(Arc::new(OwnedFd::from(error?)));
        Ok(command)
    }

    /// What an attempt wrote to standard output and standard error, in files that may not be there.
    ///
    /// ```
    /// use doula_host::jobs::{TaskId, journal::Journal};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let journal = Journal::open(path, false)?;
    /// let [out, error] = journal.output(TaskId(7), 2);
    /// assert_eq!((out, error), (journal.folder().join("7.2.out"), journal.folder().join("7.2.err")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn output(&self, task: TaskId, attempt: u32) -> [PathBuf; 2] {
        ["out", "err"].map(|kind| self.folder().join(format!("{task}.{attempt}.{kind}")))
    }

    /// Which run this is, from 1.
    ///
    /// ```
    /// use doula_host::jobs::journal::Journal;
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// assert_eq!(journal.run(), 1);
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// How an attempt ended, if that was written down.
    ///
    /// # Errors
    /// Those of read(2).
    ///
    /// ```
    /// use doula_host::jobs::{TaskId, journal::Journal};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// assert_eq!(journal.ended(1, TaskId(1), 1)?, None, "nobody wrote that down");
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ended(&mut self, run: u32, task: TaskId, attempt: u32) -> io::Result<Option<Ended>> {
        let text = self.rest()?;
        self.ends.read(&text);
        Ok(self.ends.take(run, task, attempt))
    }

    /// Brings to the disk what was written, if that was not done for a while.
    ///
    /// # Errors
    /// Those of fdatasync(2).
    ///
    /// ```
    /// use doula_host::jobs::journal::{Entry, Journal};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// journal.append(&Entry::Over)?;
    /// // After each look at what has ended: it costs something once a second at most.
    /// journal.sync_in_groups()?;
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync_in_groups(&mut self) -> io::Result<()> {
        if self.dirty && self.synced.elapsed() >= GROUP { self.sync() } else { Ok(()) }
    }

    /// Brings to the disk what was written.
    ///
    /// # Errors
    /// Those of fdatasync(2).
    ///
    /// ```
    /// use doula_host::jobs::journal::{Entry, Journal};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// journal.append(&Entry::Over)?;
    /// journal.sync()?;
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sync(&mut self) -> io::Result<()> {
        (self.dirty, self.synced) = (false, Instant::now());
        self.file.sync_data()
    }

    /// Where the jobs write to.
    ///
    /// ```
    /// use doula_host::jobs::journal::Journal;
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// assert!(journal.folder().is_dir());
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        folder(&self.path)
    }

    fn read_on(&mut self) -> io::Result<()> {
        let text = self.rest()?;
        self.past.read(&text);
        Ok(())
    }

    fn rest(&mut self) -> io::Result<Vec<u8>> {
        let (text, seen) = read_from(&self.file, self.seen)?;
        self.seen = seen;
        Ok(text)
    }
}

fn folder(journal: &Path) -> PathBuf {
    let mut name = journal.as_os_str().to_owned();
    name.push(".d");
    PathBuf::from(name)
}

/// What is in the file from here on, and where that ends.
pub(super) fn read_from(file: &File, from: u64) -> io::Result<(Vec<u8>, u64)> {
    let length = file.metadata()?.len().saturating_sub(from);
    let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut read = 0;
    while read < text.len() {
        match file.read_at(&mut text[read..], from + read as u64)? {
            0 => break,
            count => read += count,
        }
    }
    text.truncate(read);
    Ok((text, from + read as u64))
}

/// Appends a line by one call, so that it is at one place of the file. One that was torn before it is ended first.
pub(super) fn append(file: &File, entry: &Entry) -> io::Result<()> {
    let mut text = Vec::new();
    if is_torn(file)? {
        text.push(b'\n');
    }
    line::put(&mut text, entry);
    let mut file = file;
    match file.write(&text)? {
        count if count == text.len() => Ok(()),
        _ => Err(io::ErrorKind::StorageFull.into()),
    }
}

/// Whether it does not end with the end of a line.
fn is_torn(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    Ok(file.read_at(&mut byte, last)? == 1 && byte != *b"\n")
}

fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    let end = Instant::now() + LOCKED_FOR;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(JournalError::Io(path.to_owned(), error)),
            Err(TryLockError::WouldBlock) if Instant::now() < end => pause(TRY_AGAIN),
            Err(TryLockError::WouldBlock) => {
                let head = Journal::read(path).ok().and_then(|past| past.head);
                return Err(JournalError::InUse(path.to_owned(), head.map(|head| head.pid.get())));
            }
        }
    }
}

/// Refuses what we do not understand.
fn check(past: &Past, path: &Path) -> Result<(), JournalError> {
    match &past.head {
        Some(head) if head.version > super::VERSION => {
            Err(JournalError::Newer(path.to_owned(), head.version))
        }
        Some(_) => Ok(()),
        None if is_begun(past) => Ok(()),
        None => Err(JournalError::NotOurs(path.to_owned())),
    }
}

/// Whether there is nothing in it but perhaps the beginning of a first line.
fn is_begun(past: &Past) -> bool {
    let torn = past.torn();
    let digits = torn.iter().take(8).all(u8::is_ascii_hexdigit);
    past.damaged == 0 && digits && torn.len() < FIRST_LINE && !torn.contains(&0)
}
