//! Burying orphans without stealing anybody's child.
//!
//! ```
//! use doula_host::Command;
//! use doula_host::reaper::Reaper;
//!
//! let mut reaper = Reaper::new()?;                        // orphans of our descendants come to us from here on
//! // A daemon's way: the child leaves a grandchild behind, in a session of its own.
//! Command::new("sh").args(["-c", "sh -c 'exit 7' & exit 0"]).new_session().status()?;
//! let orphan = loop {
//!     if let Some(orphan) = reaper.wait()?.pop() { break orphan };
//! };
//! assert_eq!(orphan.status.exit_code(), Some(7));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! PID 1 of a container, and a process that made itself a subreaper (prctl(2) `PR_SET_CHILD_SUBREAPER`), become the parent
//! of every orphan below them and must bury it. But waitid(2) for *any* child also takes the children that other code of the same
//! program bore and waits for: `std::process`, a library, system(3). They are then told ECHILD, and the status is lost.
//!
//! # What can be known of a dead child
//!
//! The kernel does not say whether it was born by us or adopted. Two things prove it ([`Evidence`]):
//!
//! - it was seen with another parent before (a number and a start time in `/proc`; every look remembers all our descendants);
//! - it is in a session that is neither its own nor one we have been in. Nobody can join a session: a child is in that of its
//!   parent at its birth, or leads one that it made. So somebody else bore it.
//!
//! Of the others nothing is known: an orphan in our own session, or one that made a session of its own, that was never
//! seen while its parent lived. What becomes of these is a choice ([`Unknown`]), to leave them by default: better a zombie than
//! a stolen child. A child of this library is known and never taken ([`crate::Child`] counts as an owner until it was waited for);
//! one that another library bore is safe when it is claimed ([`Reaper::claim`]).
//!
//! One exception is for who uses it to know: a process that another one bears *for us* (clone(2) with `CLONE_PARENT`) in a
//! session of its own looks adopted. It must be claimed.
//!
//! The surest way remains not to adopt: run the program below `doula init`, and nobody's orphan ever comes to it.
//!
//! # When
//!
//! A reaper catches SIGCHLD by a handler that only writes into a pipe (one that was there before runs too); each look takes
//! all that is dead, so that it does not matter how many signals became one. It is an fd ([`std::os::fd::AsFd`]) for a poll loop.

mod judge;
pub(crate) mod owners;

use crate::child::{left, os_error};
use crate::sweep::{self, Stat};
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sys::catch::{Caught, Purpose};
use doula_sys::fd::{AsFd, BorrowedFd, OwnedFd};
use doula_sys::poll::{self, Epoll, Interest};
use doula_sys::wait::{self, Change, For, Usage, Who};
use doula_sys::{adopt, group, pidfd, time};
use judge::{Seen, Verdict};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

/// What becomes of a dead child that may be an orphan, or somebody's.
///
/// ```
/// use doula_host::reaper::{Reaper, Unknown};
/// let mut reaper = Reaper::new()?;
/// reaper.unknown(Unknown::Bury);      // all that this program bears, it bears by this library
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    /// It stays a zombie until its owner waits for it, or we end.
    #[default]
    Leave,
    /// It is buried when nobody did for this long. An owner that looks later loses the status.
    After(Duration),
    /// It is buried at once: for programs that bear children by this library only, and claim the others.
    Bury,
}

/// Why an orphan is one.
///
/// ```
/// use doula_host::reaper::Evidence;
/// assert_eq!(Evidence::Elsewhere.to_string(), "it had another parent before");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// It had another parent before.
    Elsewhere,
    /// It is in a session that only somebody else can have borne it in.
    Session,
    /// It was unknown, and buried by [`Unknown`].
    Unclaimed,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::Elsewhere => "it had another parent before",
            Evidence::Session => "it is in a session of others",
            Evidence::Unclaimed => "nobody claimed it",
        })
    }
}

/// Who had been a parent.
///
/// ```
/// use doula_host::reaper::Parent;
/// let parent = Parent { pid: doula_host::Pid::new(7).expect("a number"), name: "sh".into() };
/// assert_eq!(parent.to_string(), "7 (sh)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its number, for display.
    pub pid: Pid,
    /// Its name, with control characters escaped.
    pub name: String,
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}

/// An orphan that was buried.
///
/// ```
/// # use doula_host::reaper::Reaper;
/// for orphan in Reaper::new()?.bury()? {
///     println!("{orphan}");               // 4711 (worker) exited with code 3; its parent was 4700 (sh)
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its number, for display.
    pub pid: Pid,
    /// Its name, with control characters escaped.
    pub name: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it used.
    pub usage: Usage,
    /// Its parent when it was first seen, if that was not us.
    pub parent: Option<Parent>,
    /// Why it was buried.
    pub evidence: Evidence,
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}) {}", self.pid, self.name, self.status)?;
        self.parent.as_ref().map_or(Ok(()), |parent| write!(f, "; its parent was {parent}"))
    }
}

/// That somebody waits for a child of ours, until this is dropped: no reaper takes it.
///
/// ```
/// use doula_host::reaper::Reaper;
/// let mut child = std::process::Command::new("true").spawn()?;
/// let claim = Reaper::claim(&child).expect("a number");
/// child.wait()?;
/// drop(claim);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "what is not claimed can be taken"]
pub struct Claim(Pid);

impl Drop for Claim {
    fn drop(&mut self) {
        owners::release(self.0);
    }
}

/// How long until the next look when a birth is under way: nothing tells of its end.
const BIRTH: Duration = Duration::from_millis(5);

/// Buries the orphans that come to this process. See the [module](self).
///
/// ```
/// use doula_host::{Command, Stdio, reaper::Reaper};
/// let mut reaper = Reaper::new()?;
/// // The shell ends, and its child is ours from then on.
/// Command::new("sh").args(["-c", "setsid true &"]).stdout(Stdio::null()).status()?;
/// for orphan in reaper.wait()? {
///     println!("{} {}", orphan.pid, orphan.status);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Reaper {
    watch: Epoll,
    signals: Caught,
    timer: OwnedFd,
    seen: Seen,
    policy: Unknown,
    subreaper_before: bool,
}

impl Reaper {
    /// Makes this process the parent of the orphans below it (PID 1 is that already), and catches SIGCHLD. A program that
    /// leaves its session (setsid(2)) does so before.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] when there is one already; EMFILE.
    ///
    /// ```
    /// use doula_host::reaper::Reaper;
    /// let reaper = Reaper::new()?;
    /// assert_eq!(Reaper::new().unwrap_err().kind(), std::io::ErrorKind::ResourceBusy);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new() -> io::Result<Reaper> {
        Reaper::begin().map_err(os_error)
    }

    fn begin() -> Result<Reaper, Errno> {
        let signals = Caught::new(Purpose::Look, &[Signal::CHLD])?;
        let (watch, timer) = (Epoll::new()?, time::timer()?);
        watch.add(&signals, Interest::READ, 0)?;
        watch.add(&timer, Interest::READ, 0)?;
        // Who died before is looked at too.
        time::set_timer(&timer, Some(Time::ZERO))?;
        let subreaper_before = adopt::is_subreaper()?;
        adopt::set_subreaper(true)?;
        let mut reaper =
            Reaper { watch, signals, timer, seen: Seen::default(), policy: Unknown::Leave, subreaper_before };
        reaper.look();
        Ok(reaper)
    }

    /// What becomes of a dead child that may be an orphan, or somebody's.
    ///
    /// ```
    /// use doula_host::reaper::{Reaper, Unknown};
    /// Reaper::new()?.unknown(Unknown::After(std::time::Duration::from_secs(30)));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unknown(&mut self, policy: Unknown) -> &mut Reaper {
        self.policy = policy;
        // Who waits since before is judged by it at once. A timer of our own can always be set.
        let _ = time::set_timer(&self.timer, Some(Time::ZERO));
        self
    }

    /// No reaper of this process takes this child, as long as the answer lives. `None` for what is no process.
    ///
    /// ```
    /// # use doula_host::reaper::Reaper;
    /// let mut child = std::process::Command::new("true").spawn()?;
    /// let _claim = Reaper::claim(&child);
    /// assert!(child.wait()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn claim(child: &std::process::Child) -> Option<Claim> {
        Some(Reaper::claim_number(Pid::new(i32::try_from(child.id()).ok()?)?))
    }

    /// The same for a child of any other library, by its number: while it is not buried, that is its own.
    ///
    /// ```
    /// # use doula_host::reaper::Reaper;
    /// let claim = Reaper::claim_number(doula_host::Pid::new(4711).expect("a number"));
    /// ```
    pub fn claim_number(pid: Pid) -> Claim {
        owners::claim(pid);
        Claim(pid)
    }

    /// Buries all orphans that are dead now, and the children that were left ([`crate::OnDrop::Leave`]); nobody waits. To be
    /// called when the fd is readable.
    ///
    /// # Errors
    /// Those of the timer.
    ///
    /// ```
    /// # use doula_host::reaper::Reaper;
    /// assert!(Reaper::new()?.bury()?.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bury(&mut self) -> io::Result<Vec<Orphan>> {
        while self.signals.next().map_err(os_error)?.is_some() {}
        time::set_timer(&self.timer, None).map_err(os_error)?;
        left::bury();
        let (us, now) = (group::pid(), time::monotonic());
        let mut dead = self.look();
        dead.retain(|_, stat| stat.parent == us && stat.dead());
        let unclaimed = owners::unclaimed(&dead.keys().copied().collect());
        dead.retain(|pid, _| unclaimed.as_ref().map_or(!owners::is_claimed(*pid), |free| free.contains(pid)));
        // While a birth is under way only proofs count.
        let settled = unclaimed.is_some() || self.policy == Unknown::Leave;
        let policy = if settled { self.policy } else { Unknown::Leave };
        let (mut orphans, mut again) = (Vec::new(), None);
        for (pid, stat) in dead {
            match self.seen.judge(pid, &stat, policy, now) {
                Verdict::Bury(evidence, parent) => orphans.extend(bury(pid, &stat, evidence, parent)),
                Verdict::Leave if settled => {}
                // Nothing tells of the end of a birth.
                Verdict::Leave => again = Some(now.after(BIRTH)),
                Verdict::Later(at) => again = again.into_iter().chain([at]).min(),
            }
        }
        if again.is_some() {
            time::set_timer(&self.timer, again).map_err(os_error)?;
        }
        Ok(orphans)
    }

    /// As [`Reaper::bury`], and waits until there is something to look at. The answer may still be empty: children of others
    /// die too.
    ///
    /// # Errors
    /// Those of poll(2).
    ///
    /// ```
    /// # use doula_host::reaper::Reaper;
    /// let mut reaper = Reaper::new()?;
    /// assert!(reaper.wait()?.is_empty(), "the first look is at once");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait(&mut self) -> io::Result<Vec<Orphan>> {
        match poll::readable(&*self, None) {
            Ok(_) | Err(Errno::EINTR) => self.bury(),
            Err(errno) => Err(os_error(errno)),
        }
    }

    /// Looks at everybody, and remembers.
    fn look(&mut self) -> BTreeMap<Pid, Stat> {
        let (us, all) = (group::pid(), sweep::all());
        self.seen.sessions.extend(all.get(&us).map(|stat| stat.session));
        let name = |pid| sweep::name_and_state(pid).map_or_else(String::new, |(name, _)| name);
        self.seen.look(us, &all, name);
        all
    }
}

/// Readable when there may be something to bury; for poll(2) and epoll(7).
impl AsFd for Reaper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        // It cannot fail where it has succeeded before.
        let _ = adopt::set_subreaper(self.subreaper_before);
    }
}

/// Buries exactly this one: `None` when it is not dead, not ours, or somebody else was quicker.
fn bury(pid: Pid, seen: &Stat, evidence: Evidence, parent: Option<Parent>) -> Option<Orphan> {
    let handle = pidfd::open(pid).ok()?;
    let (name, _) = sweep::name_and_state(pid)?;
    // The handle is of the process that was judged, and of no later one.
    let same = |now: &Stat| now.start == seen.start && now.parent == seen.parent && now.dead();
    sweep::stat(pid).filter(same)?;
    let (news, usage) = wait::waitid_usage(Who::Pidfd(handle.as_fd()), For::END).ok()??;
    match news.change {
        Change::Exited(status) => Some(Orphan { pid, name, status, usage, parent, evidence }),
        Change::Stopped(_) | Change::Continued => None,
    }
}
