//! Containment by cgroup v2: whoever is born in a leaf stays in it, with all its descendants, whatever sessions
//! they make and whoever adopts them. So "stopped" can be proven: a leaf that can be removed was empty.
//!
//! One directory for the family below our own cgroup, one leaf for each service in it. A leaf is kept over
//! restarts, because making and removing one is far more work for the kernel than asking whether it is empty;
//! unless it was killed as a whole ([`Leaf::kill`]).
//!
//! Deliberately absent: moving processes of others; killing by number.

mod find;
mod limit;
pub(crate) mod memory;

pub use limit::{Limited, Limiters};
pub(crate) use limit::{instead, sweep};

pub(crate) use find::{of as directory_of, unescape};

use crate::sweep;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::OwnedFd;
use doula_sys::fork::mark;
use doula_sys::poll::{Epoll, Happening, Interest};
use doula_sys::{fd, pidfd};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The directory of a family of services. Removed when dropped, as far as it is empty.
///
/// ```
/// use doula_host::cgroup::Cgroups;
/// // Without a cgroup v2 that we may write to there is none.
/// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
/// let leaf = family.leaf("web")?;
/// assert!(leaf.path().starts_with(family.path()) && family.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Cgroups {
    /// Our own cgroup at the start, below which everything is.
    own: PathBuf,
    family: PathBuf,
    /// The family's directory, to name leaves in it.
    place: OwnedFd,
    /// Its `cgroup.events`: whether anybody lives in any leaf.
    events: OwnedFd,
    /// What was switched on in our own cgroup for the sake of limits, to be switched off at the end.
    switched_on: Vec<&'static str>,
}

impl Cgroups {
    /// Finds a writable cgroup v2 hierarchy (also one without controllers) and makes the family's directory in
    /// it. `None` when there is none: then [`crate::sweep`] has to do.
    ///
    /// The name of the directory tells whose it is, by number, start time and PID namespace. Empty ones of
    /// supervisors that are dead are removed on the way.
    ///
    /// ```
    /// use doula_host::cgroup::Cgroups;
    /// if let Some(family) = Cgroups::discover("example") {
    ///     assert!(family.path().is_dir());
    /// }
    /// ```
    #[must_use]
    pub fn discover(name: &str) -> Option<Cgroups> {
        let own = find::own_v2()?;
        remove_stale(&own);
        let family = own.join(format!("{PREFIX}{}{}", plain(name), signature()?));
        std::fs::create_dir(&family).ok()?;
        let opened = Cgroups::open(&family);
        if opened.is_err() {
            let _ = std::fs::remove_dir(&family);
        }
        let (place, events) = opened.ok()?;
        Some(Cgroups { own, family, place, events, switched_on: Vec::new() })
    }

    /// The directory of a family that this very process has made when it was another program.
    ///
    /// # Errors
    /// Those of open(2).
    #[cfg(feature = "supervisor")]
    pub(crate) fn at(family: &Path) -> io::Result<Cgroups> {
        let (place, events) = Cgroups::open(family)?;
        let (own, family) = (family.parent().unwrap_or(family).to_owned(), family.to_owned());
        let switched_on = limit::switched_on(&own, &family);
        Ok(Cgroups { own, family, place, events, switched_on })
    }

    /// Without these files in it, a directory is no cgroup v2, or one that we may not use.
    fn open(family: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
        open(&family.join("cgroup.procs"), fd::Access::Write)?;
        let events = open(&family.join("cgroup.events"), fd::Access::Read)?;
        Ok((open(family, fd::Access::Place)?, events))
    }

    /// Whether nobody lives in any leaf of the family.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// assert!(family.is_empty(), "nobody was born into it");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        read_events(&self.events).unwrap_or(false)
    }

    /// The leaf of a service, made if it is not there yet.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// assert_eq!(family.leaf("web")?.path(), family.path().join("web"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of mkdir(2): EAGAIN when `cgroup.max.descendants` is reached, ENOENT when somebody removed the
    /// family's directory.
    pub fn leaf(&self, name: &str) -> io::Result<Leaf> {
        let name = plain(name);
        match fd::make_directory_at(&self.place, &CString::new(name.as_str())?) {
            Err(errno) if errno != Errno::EEXIST => Err(os_error(errno)),
            _ => Ok(Leaf { path: self.family.join(name) }),
        }
    }

    /// A leaf whose name is never given twice on this machine since it was started, as that of [`Leaf::single`].
    ///
    /// # Errors
    /// Those of [`Cgroups::leaf`].
    pub(crate) fn single(&self) -> io::Result<Leaf> {
        let name = single_name().ok_or(ErrorKind::NotFound)?;
        fd::make_directory_at(&self.place, &CString::new(name.as_str())?).map_err(os_error)?;
        Ok(Leaf { path: self.family.join(name) })
    }

    /// An fd of a leaf's directory, for [`doula_model::plan::ChildPlan::cgroup`]. Needed for the birth only:
    /// keeping it open for a thousand services would make every birth dearer.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// let leaf = family.leaf("web")?;
    /// family.open_leaf(&leaf)?;
    /// leaf.try_remove();
    /// assert!(family.open_leaf(&leaf).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of open(2): ENOENT after [`Leaf::try_remove`].
    pub fn open_leaf(&self, leaf: &Leaf) -> io::Result<OwnedFd> {
        let name = leaf.path.file_name().unwrap_or_default();
        fd::open_at(&self.place, &CString::new(name.as_bytes())?, fd::Access::Place).map_err(os_error)
    }

    /// The family's directory.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// assert!(family.path().join("cgroup.procs").exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.family
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        limit::switch_off(self);
        remove_tree(&self.family);
    }
}

/// How the names of all families start.
const PREFIX: &str = "doula-";
/// How the names of all leaves start that have no family.
const SINGLE: &str = "doula-command-";

/// The leaf that this text of `/proc/PID/cgroup` shows, if it is one of a family.
#[cfg(feature = "supervisor")]
pub(crate) fn leaf_in(places: &[u8]) -> Option<PathBuf> {
    let leaf = find::of(places, None)?;
    let family = leaf.parent()?.file_name()?.to_str()?;
    family.starts_with(PREFIX).then_some(leaf)
}

/// The leaf that this text of `/proc/PID/cgroup` shows, if it is that of one child or a row of them.
#[cfg(feature = "supervisor")]
pub(crate) fn single_in(places: &[u8]) -> Option<PathBuf> {
    let leaf = find::of(places, None)?;
    leaf.file_name()?.to_str()?.starts_with(SINGLE).then_some(leaf)
}

/// A name that no other leaf of this process has.
fn single_name() -> Option<String> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    Some(format!("{SINGLE}{}{}", COUNT.fetch_add(1, Ordering::Relaxed), signature()?))
}

/// Tells this process from every other one: `.pid.start.namespace`. Read once, and anew in a copy of this process.
fn signature() -> Option<String> {
    static KNOWN: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let us = mark::identity();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, signature)) = known.as_ref().filter(|(who, _)| *who == us) {
        return Some(signature.clone());
    }
    let pid = doula_sys::group::pid();
    let signature = format!(".{pid}.{}.{}", sweep::start_ticks(pid)?, pid_namespace()?);
    *known = Some((us, signature.clone()));
    Some(signature)
}

/// The number of our PID namespace: only within it a number of a process means something to us.
fn pid_namespace() -> Option<String> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_str()?.trim_matches(|c: char| !c.is_ascii_digit()).to_owned())
}

/// Removes what dead supervisors of our PID namespace left, if nobody lives in it.
fn remove_stale(own: &Path) {
    let (Ok(entries), Some(namespace)) = (std::fs::read_dir(own), pid_namespace()) else { return };
    for entry in entries.flatten() {
        // Whoever lives in one goes on under the next supervisor, which watches over its leaves.
        if entry.file_name().to_str().is_some_and(|name| is_stale(name, &namespace))
            && Leaf::at(entry.path()).is_empty().unwrap_or(false)
        {
            remove_tree(&entry.path());
        }
    }
}

/// Whether this is the name of a family whose supervisor, of our PID namespace, is dead for sure.
fn is_stale(directory: &str, ours: &str) -> bool {
    let Some(rest) = directory.strip_prefix(PREFIX) else { return false };
    let mut parts = rest.rsplitn(4, '.');
    let (Some(namespace), Some(start), Some(pid)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    if namespace != ours {
        return false;
    }
    let (Ok(pid), Ok(start)) = (pid.parse::<i32>(), start.parse::<u64>()) else { return false };
    let Some(pid) = Pid::new(pid) else { return false };
    sweep::is_gone(pid, start)
}

/// A name that can be one component of a path, and not the name of a file of the kernel's.
pub(crate) fn plain(name: &str) -> String {
    /// A file name has at most 255 bytes, and the signature needs some.
    const LONGEST: usize = 150;
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_@:".contains(c) { c } else { '_' };
    let kept: String = name.chars().take(LONGEST).map(safe).collect();
    // Files of the kernel have a dot in their names, ours have none.
    if kept.is_empty() { "_".to_owned() } else { kept }
}

/// Removes a cgroup and those in it, as far as nobody lives in them.
///
/// Most have none in them, so that a look inside is only for those that cannot be removed at once.
fn remove_tree(path: &Path) -> bool {
    match std::fs::remove_dir(path) {
        Ok(()) => return true,
        Err(error) if error.kind() == ErrorKind::NotFound => return true,
        Err(_) => {}
    }
    if let Ok(entries) = std::fs::read_dir(path) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_tree(&entry.path());
        }
    }
    match std::fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// The cgroup of one service.
///
/// ```
/// # use doula_host::cgroup::Cgroups;
/// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
/// let leaf = family.leaf("web")?;
/// assert!(leaf.is_empty()? && leaf.members().is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Leaf {
    path: PathBuf,
}

impl Leaf {
    /// One that is there already.
    pub(crate) fn at(path: PathBuf) -> Leaf {
        Leaf { path }
    }

    /// A leaf for one child or a row of them, with their descendants, beside no family. `None` where we may make none.
    pub(crate) fn single() -> Option<Leaf> {
        static OWN: OnceLock<Option<PathBuf>> = OnceLock::new();
        let own = OWN.get_or_init(|| find::own_v2().inspect(|own| remove_stale(own))).as_ref()?;
        let path = own.join(single_name()?);
        std::fs::create_dir(&path).ok()?;
        // Without this file in it, this is no cgroup v2.
        let leaf = Leaf { path };
        if leaf.path.join("cgroup.procs").exists() {
            return Some(leaf);
        }
        leaf.try_remove();
        None
    }

    /// As [`Cgroups::open_leaf`], for a leaf that has no family.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// family.leaf("web")?.open()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn open(&self) -> io::Result<OwnedFd> {
        open(&self.path, fd::Access::Place)
    }

    /// An fd of `cgroup.events`: it gets "priority" ready ([`doula_sys::poll::Interest::PRIORITY`]) when the
    /// leaf becomes empty or inhabited. Read it ([`Leaf::is_empty`] with a new fd does not count) to arm it
    /// again.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// let events = family.leaf("web")?.events()?;
    /// assert!(doula_host::cgroup::read_events(&events)?, "it is empty");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of open(2).
    pub fn events(&self) -> io::Result<OwnedFd> {
        open(&self.path.join("cgroup.events"), fd::Access::Read)
    }

    /// Whether no process lives in it or below. Zombies do not count: they are dead, and waited for by others.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// let leaf = family.leaf("web")?;
    /// leaf.try_remove();
    /// assert!(leaf.is_empty()?, "what is not there is empty");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of open(2) and read(2); a leaf that was removed is empty.
    pub fn is_empty(&self) -> io::Result<bool> {
        match self.events() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
            Ok(events) => read_events(&events),
        }
    }

    /// The processes that live in it and below, by number. For display and counting.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// assert!(family.leaf("web")?.members().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn members(&self) -> Vec<Pid> {
        let mut members = Vec::new();
        collect_members(&self.path, &mut members);
        members
    }

    /// Sends a signal to every process in it and below, also to those that are born meanwhile, and returns
    /// how many there were. The signal reaches nobody outside, even when numbers are used again.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// assert_eq!(family.leaf("web")?.signal_all(doula_host::Signal::HUP)?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// EMFILE, and what else pidfd_open(2) says; those who ended meanwhile are no error.
    pub fn signal_all(&self, signal: Signal) -> io::Result<usize> {
        let mut reached = BTreeSet::new();
        let mut count = 0;
        // A process can be born by one that had not got the signal yet; so until nobody new is seen.
        for _ in 0..MOST_PASSES {
            let new: Vec<Pid> = self.members().into_iter().filter(|pid| !reached.contains(pid)).collect();
            if new.is_empty() {
                break;
            }
            for some in new.chunks(HELD_AT_ONCE) {
                count += self.signal_some(some, signal)?;
            }
            reached.extend(new);
        }
        Ok(count)
    }

    /// Sends a signal to those of these that are members still after their handles were taken: a handle that is
    /// of a stranger with the same number is not used.
    fn signal_some(&self, pids: &[Pid], signal: Signal) -> io::Result<usize> {
        let mut handles = Vec::with_capacity(pids.len());
        for pid in pids {
            match pidfd::open(*pid) {
                Ok(handle) => handles.push((*pid, handle)),
                Err(Errno::ESRCH) => {}
                Err(errno) => return Err(os_error(errno)),
            }
        }
        let members: BTreeSet<Pid> = self.members().into_iter().collect();
        let still = handles.iter().filter(|(pid, _)| members.contains(pid));
        Ok(still.filter(|(_, handle)| pidfd::send(handle, signal).is_ok()).count())
    }

    /// Sends SIGKILL to every process in it and below (`cgroup.kill`, Linux 5.14); before that, by freezing it first and then
    /// one by one. They are dead when the leaf is empty, not when this returns.
    ///
    /// It can miss one who is being born, also on Linux 6.14 and later, where the leaf counts its kills (`kernel/cgroup/cgroup.c`):
    /// `__cgroup_kill` counts first and then walks over the tasks, and its iterator steps on *before* it hands a task out. The
    /// last one can end a fork(2) then that it began after the count: `cgroup_post_fork` sees that the count is as it was at
    /// the beginning of the birth, nobody has sent a signal to the parent yet, and the child is put behind the end of the
    /// walk. Measured on Linux 6.18: 1 of 2,000 kills of a chain of processes that fork and end. So **whoever waits for it to
    /// become empty has to kill again** until it is.
    ///
    /// Nobody can be put into it by his birth from then on (Linux 6.14 and later kill them): make it anew.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// let leaf = family.leaf("web")?;
    /// leaf.kill()?;
    /// assert!(leaf.is_empty()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of write(2), or of [`Leaf::signal_all`].
    pub fn kill(&self) -> io::Result<()> {
        match write(&self.path.join("cgroup.kill"), "1") {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound && !self.path.is_dir() => Ok(()),
            // Removed at this very moment.
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV.0) => Ok(()),
            // There is no such file before Linux 5.14; or it is refused, for whatever reason.
            Err(_) => self.kill_one_by_one(),
        }
    }

    /// Lets everybody in it and below stand still (`cgroup.freeze`), as soon as they do or the time is over: who sleeps in the
    /// kernel's hands stands still only when it comes out, but does nothing of its own until then either. They can be
    /// killed so, and go on by [`Leaf::thaw`].
    ///
    /// # Errors
    /// Those of open(2), write(2) and poll(2).
    pub(crate) fn freeze(&self, within: Duration) -> io::Result<()> {
        let epoll = Epoll::new().map_err(os_error)?;
        let events = self.events()?;
        epoll.add(&events, Interest::PRIORITY, 0).map_err(os_error)?;
        write(&self.path.join("cgroup.freeze"), "1")?;
        let deadline = Instant::now() + within;
        while !read_event(&events, b"frozen 1")? && Instant::now() < deadline {
            // Interrupted or not: looked at again.
            let left = deadline.saturating_duration_since(Instant::now());
            let _ = epoll.wait(&mut [Happening::EMPTY], Some(left));
        }
        Ok(())
    }

    /// Ends [`Leaf::freeze`].
    pub(crate) fn thaw(&self) {
        // Where there is no freezer, nobody was frozen.
        let _ = write(&self.path.join("cgroup.freeze"), "0");
    }

    fn kill_one_by_one(&self) -> io::Result<()> {
        // Without the freezer (before 5.2) the passes of `signal_all` alone have to win the race.
        let _ = write(&self.path.join("cgroup.freeze"), "1");
        let done = self.signal_all(Signal::KILL);
        self.thaw();
        done.map(drop)
    }

    /// Removes the leaf and what the service may have made in it. `true` proves that nobody lived in it (or
    /// that it was gone already); `false`: somebody does.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// assert!(family.leaf("web")?.try_remove(), "nobody lived in it");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_remove(&self) -> bool {
        remove_tree(&self.path)
    }

    /// The name of its directory. That of a [`Leaf::single`] is never given twice on this machine since it was started.
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Its directory.
    ///
    /// ```
    /// # use doula_host::cgroup::Cgroups;
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// let leaf = family.leaf("web")?;
    /// assert!(leaf.path().join("cgroup.events").exists());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// So many members are held by handles at once: few enough for any limit of open files.
const HELD_AT_ONCE: usize = 512;

/// So often the members are looked at again. Whoever forks faster than that is a case for [`Leaf::kill`].
const MOST_PASSES: usize = 64;

/// Reads an fd of [`Leaf::events`] and arms it again: whether the leaf is empty. One that was removed is: only empty ones can be,
/// and whoever starts may remove what supervisors before us have made.
///
/// ```
/// # use doula_host::cgroup::Cgroups;
/// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
/// let events = family.leaf("web")?.events()?;
/// assert!(doula_host::cgroup::read_events(&events)?);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of read(2).
pub fn read_events(events: &OwnedFd) -> io::Result<bool> {
    match read_event(events, b"populated 0") {
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV.0) => Ok(true),
        answer => answer,
    }
}

/// Whether its file says this line.
fn read_event(events: &OwnedFd, wanted: &[u8]) -> io::Result<bool> {
    let mut text = [0; 256];
    let length = fd::read_at(events, &mut text, 0).map_err(os_error)?;
    let lines = || text[..length].split(|&byte| byte == b'\n');
    if !lines().any(|line| line.starts_with(b"populated ")) {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(lines().any(|line| line == wanted))
}

fn collect_members(path: &Path, members: &mut Vec<Pid>) {
    if let Ok(text) = std::fs::read_to_string(path.join("cgroup.procs")) {
        members.extend(text.lines().filter_map(|line| Pid::new(line.parse().ok()?)));
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        collect_members(&entry.path(), members);
    }
}

fn open(path: &Path, access: fd::Access) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    fd::open(&path, access).map_err(os_error)
}

/// Writes to a file of the kernel's in one piece. Never creates one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn os_error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

#[cfg(test)]
mod tests;
