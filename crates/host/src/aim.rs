//! Signals for processes that are not our children, each by a handle that was checked.
//!
//! A number that was read from `/proc` may have passed to somebody else. So a handle is opened, and then the start time is
//! read again: if it is the same, the handle is of the process that was meant, and stays so ([`Target::take`]).
//!
//! Absent on purpose: who is meant, and for how long one is patient.

use crate::procfs::{Identity, ProcState, Process, Reader, Stat, Want};
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sys::fd::{AsFd, BorrowedFd, OwnedFd};
use doula_sys::{limits, pidfd, poll, sched};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// A process that is meant, and no other.
///
/// ```
/// use doula_host::{Command, Signal, aim::Target, procfs::Reader};
/// let mut child = Command::new("sleep").arg("1000").spawn()?;
/// let mut reader = Reader::open()?;
/// let stat = reader.stat(child.pid()).expect("it lives");
/// child.kill()?;
/// child.wait();
/// // Buried meanwhile: whoever gets the number next is not hit.
/// assert!(Target::take(&mut reader, &stat).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Target {
    identity: Identity,
    name: Vec<u8>,
    handle: OwnedFd,
}

/// Why a process was not reached.
///
/// ```
/// use doula_host::{Errno, aim::Missed};
/// assert_eq!(Missed::from(Errno::ESRCH), Missed::Gone);
/// assert_eq!(Missed::Denied.to_string(), "only root or its own user may do that");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// It has ended and was buried; its number may be somebody else's now.
    Gone,
    /// We have no right to do that to it (EPERM, EACCES).
    Denied,
    /// The system refused for another reason.
    Refused(Errno),
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missed::Gone => f.write_str("it is gone"),
            Missed::Denied => f.write_str("only root or its own user may do that"),
            Missed::Refused(errno) => write!(f, "{errno}"),
        }
    }
}

impl std::error::Error for Missed {}

impl From<Errno> for Missed {
    fn from(errno: Errno) -> Missed {
        match errno {
            Errno::ESRCH => Missed::Gone,
            Errno::EPERM | Errno::EACCES => Missed::Denied,
            other => Missed::Refused(other),
        }
    }
}

impl Target {
    /// A handle of the process that this line was read of.
    ///
    /// # Errors
    /// [`Missed::Gone`] also when its number is somebody else's now.
    ///
    /// ```
    /// use doula_host::aim::Target;
    /// use doula_host::procfs::Reader;
    /// use doula_host::{Command, Signal};
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// let mut reader = Reader::open()?;
    /// let stat = reader.stat(child.pid()).expect("it lives");
    /// Target::take(&mut reader, &stat)?.signal(Signal::TERM)?;
    /// assert_eq!(child.wait().killed_by(), Some(Signal::TERM));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take(reader: &mut Reader, stat: &Stat) -> Result<Target, Missed> {
        let identity = stat.identity();
        let handle = pidfd::open(identity.pid)?;
        let now = reader.stat(identity.pid).ok_or(Missed::Gone)?;
        if now.identity() != identity {
            return Err(Missed::Gone);
        }
        Ok(Target { identity, name: stat.name.clone(), handle })
    }

    /// Who it is.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// assert_eq!(target.identity(), stat.identity());
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its number, for people.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// assert_eq!(target.pid(), child.pid());
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pid(&self) -> Pid {
        self.identity.pid
    }

    /// What it called itself.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// assert_eq!(target.name(), stat.name);
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Sends it a signal. A zombie takes it without effect.
    ///
    /// # Errors
    /// When it is gone, or we may not.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// target.signal(doula_host::Signal::KILL)?;
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn signal(&self, signal: Signal) -> Result<(), Missed> {
        pidfd::send(&self.handle, signal).map_err(Missed::from)
    }

    /// Makes its first thread so nice (setpriority(2)).
    ///
    /// The kernel takes a number for that, not a handle. So it is looked before and after: if it is the same process both times,
    /// nobody else can have had its number between.
    ///
    /// # Errors
    /// [`Missed::Gone`] also when it ended meanwhile; then whoever got its number may have been hit.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// target.set_nice(&mut reader, 10)?;
    /// assert_eq!(reader.stat(target.pid()).map(|stat| stat.nice), Some(10));
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_nice(&self, reader: &mut Reader, nice: i32) -> Result<(), Missed> {
        self.by_number(reader, |pid| sched::set_nice(pid, nice))
    }

    /// Lets all its threads run on these CPUs only (sched_setaffinity(2)), by its numbers as [`Target::set_nice`].
    ///
    /// # Errors
    /// As [`Target::set_nice`]; EINVAL when there is none of these CPUs.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// target.set_affinity(&mut reader, &[stat.processor as u16])?;
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_affinity(&self, reader: &mut Reader, cpus: &[u16]) -> Result<(), Missed> {
        let threads = reader.threads(self.identity.pid);
        self.by_number(reader, |_| {
            for &thread in &threads {
                match sched::set_affinity(thread, cpus) {
                    // A thread that ended meanwhile runs nowhere.
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Ok(())
        })
    }

    fn by_number(
        &self,
        reader: &mut Reader,
        act: impl FnOnce(Pid) -> Result<(), Errno>,
    ) -> Result<(), Missed> {
        self.stat(reader).ok_or(Missed::Gone)?;
        act(self.identity.pid)?;
        self.stat(reader).map(drop).ok_or(Missed::Gone)
    }

    /// Whether it has ended, also if nobody has buried it.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// assert!(!target.has_ended());
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn has_ended(&self) -> bool {
        poll::readable(&self.handle, Some(Duration::ZERO)).unwrap_or(false)
    }

    /// What it does just now; `None` when it is buried.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// assert!(target.state(&mut reader).is_some(), "it is not buried");
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(&self, reader: &mut Reader) -> Option<ProcState> {
        self.stat(reader).map(|stat| stat.state)
    }

    /// How it ended: from the kernel's notes about the buried, or its line while it waits for its burial.
    ///
    /// ```
    /// # use doula_host::aim::Target;
    /// # use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").spawn()?;
    /// # let mut reader = Reader::open()?;
    /// # let stat = reader.stat(child.pid()).expect("it lives");
    /// let target = Target::take(&mut reader, &stat)?;
    /// target.signal(doula_host::Signal::KILL)?;
    /// doula_host::aim::wait(std::slice::from_ref(&target), std::time::Duration::from_secs(60))?;
    /// assert_eq!(target.end(&mut reader).killed_by(), Some(doula_host::Signal::KILL));
    /// # child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end(&self, reader: &mut Reader) -> ExitStatus {
        let buried = || pidfd::exit_status(&self.handle);
        let end = buried().or_else(|| self.stat(reader)?.end()).or_else(buried);
        end.unwrap_or(ExitStatus::UNKNOWN)
    }

    fn stat(&self, reader: &mut Reader) -> Option<Stat> {
        reader.stat(self.identity.pid).filter(|stat| stat.identity() == self.identity)
    }
}

impl AsFd for Target {
    /// Readable once it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Waits until all have ended or the time is over; `true` if all have.
///
/// # Errors
/// What ppoll(2) says.
///
/// ```
/// // Nobody is waited for.
/// assert!(doula_host::aim::wait(&[], std::time::Duration::ZERO)?);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wait(targets: &[Target], time: Duration) -> io::Result<bool> {
    let end = Instant::now() + time;
    let mut all = true;
    for target in targets {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match poll::readable(&target.handle, Some(left)) {
                Ok(ended) => all &= ended,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(io::Error::from_raw_os_error(errno.0)),
            }
            break;
        }
    }
    Ok(all)
}

/// A process and all that descend from it, as far as looks have found them. Without us and those above us.
///
/// Who is born between two looks and whose parent ends before the second is not found: he has another parent then. A tree
/// that is frozen has nobody like that.
///
/// ```
/// use doula_host::{Command, Signal, aim::Tree, procfs::Reader};
/// use std::time::Duration;
/// let mut child = Command::new("sh").args(["-c", "sleep 1000 & sleep 1000 & wait"]).spawn()?;
/// let mut reader = Reader::open()?;
/// let mut tree = Tree::below(&[reader.stat(child.pid()).expect("it lives").identity()]);
/// // Nobody of it can be born or get away any more.
/// assert!(tree.freeze(&mut reader, Duration::from_secs(60))?);
/// tree.members.iter().try_for_each(|member| member.signal(Signal::KILL))?;
/// assert_eq!(child.wait().killed_by(), Some(Signal::KILL));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Tree {
    roots: Vec<Identity>,
    known: BTreeSet<Identity>,
    /// Those that were found, in that order.
    pub members: Vec<Target>,
    /// Those that could not be reached, with the reason.
    pub missed: Vec<(Pid, Missed)>,
}

impl Tree {
    /// The tree below these, nobody of which was looked for yet.
    ///
    /// ```
    /// use doula_host::aim::Tree;
    /// use doula_host::procfs::Reader;
    /// # let mut child = doula_host::Command::new("sleep").arg("1000").contained().spawn()?;
    /// let mut reader = Reader::open()?;
    /// let root = reader.stat(child.pid()).expect("it lives").identity();
    /// let mut tree = Tree::below(&[root]);
    /// assert!(tree.freeze(&mut reader, std::time::Duration::from_secs(60))?);
    /// assert!(tree.members.iter().any(|member| member.identity() == root));
    /// # child.kill_tree(std::time::Duration::from_secs(60))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn below(roots: &[Identity]) -> Tree {
        Tree { roots: roots.to_vec(), known: BTreeSet::new(), members: Vec::new(), missed: Vec::new() }
    }

    /// Looks once, and sends a signal to those that are new. `true` if nobody was, and all are stopped or dead.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    ///
    /// ```
    /// # use doula_host::{Command, aim::Tree, procfs::Reader};
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// let mut reader = Reader::open()?;
    /// let mut tree = Tree::below(&[reader.stat(child.pid()).expect("it lives").identity()]);
    /// assert!(!tree.look(&mut reader, None)?);        // somebody is new
    /// assert_eq!(tree.members[0].pid(), child.pid());
    /// # child.kill()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn look(&mut self, reader: &mut Reader, signal: Option<Signal>) -> io::Result<bool> {
        let processes = reader.scan(&Want::default())?;
        let mut settled = true;
        for stat in family(&processes, &self.roots, &self.known) {
            settled &= !matches!(stat.state, ProcState::Running | ProcState::Sleeping);
            if !self.known.insert(stat.identity()) {
                continue;
            }
            settled = false;
            let taken = Target::take(reader, stat);
            match taken
                .and_then(|target| signal.map_or(Ok(()), |signal| target.signal(signal)).map(|()| target))
            {
                Ok(target) => self.members.push(target),
                Err(Missed::Gone) => {}
                Err(missed) => self.missed.push((stat.pid, missed)),
            }
        }
        Ok(settled)
    }

    /// Stops all of them, until a look sees nobody new and all of them stopped: then nobody is born any more, and it is the
    /// whole tree. `false` if the time was over before. Whoever forks meanwhile is found at the next look.
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    ///
    /// ```
    /// # use doula_host::{Command, Signal, aim::Tree, procfs::{ProcState, Reader}};
    /// # use std::time::Duration;
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// let mut reader = Reader::open()?;
    /// let mut tree = Tree::below(&[reader.stat(child.pid()).expect("it lives").identity()]);
    /// assert!(tree.freeze(&mut reader, Duration::from_secs(60))?);
    /// assert_eq!(tree.members[0].state(&mut reader), Some(ProcState::Stopped));
    /// tree.members[0].signal(Signal::CONT)?;
    /// # child.kill()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn freeze(&mut self, reader: &mut Reader, within: Duration) -> io::Result<bool> {
        let end = Instant::now() + within;
        for member in &self.members {
            // Whoever is gone needs no stop; whoever may not be signalled was told when it was found.
            let _ = member.signal(Signal::STOP);
        }
        while !self.look(reader, Some(Signal::STOP))? {
            if Instant::now() >= end {
                return Ok(false);
            }
            limits::give_way();
        }
        Ok(true)
    }
}

/// Those of the roots and the known that are there still, and whoever descends from them.
fn family<'a>(processes: &'a [Process], roots: &[Identity], known: &BTreeSet<Identity>) -> Vec<&'a Stat> {
    let spared = ourselves(processes);
    let mut children: BTreeMap<i32, Vec<&Stat>> = BTreeMap::new();
    let mut open = Vec::new();
    for process in processes {
        let stat = &process.stat;
        children.entry(stat.ppid).or_default().push(stat);
        if roots.contains(&stat.identity()) || known.contains(&stat.identity()) {
            open.push(stat);
        }
    }
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(stat) = open.pop() {
        if spared.contains(&stat.pid) || !seen.insert(stat.pid) {
            continue;
        }
        found.push(stat);
        open.extend(children.get(&stat.pid.get()).into_iter().flatten());
    }
    found
}

/// We, and those above us: whoever stops them stops the one who does it.
///
/// ```
/// use doula_host::procfs::{Reader, Want};
/// let processes = Reader::open()?.scan(&Want::default())?;
/// assert!(doula_host::aim::ourselves(&processes).iter().any(|pid| pid.get() as u32 == std::process::id()));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn ourselves(processes: &[Process]) -> BTreeSet<Pid> {
    let parents: BTreeMap<Pid, i32> =
        processes.iter().map(|process| (process.stat.pid, process.stat.ppid)).collect();
    let mut above = BTreeSet::new();
    let mut at = Some(doula_sys::group::pid());
    while let Some(pid) = at.filter(|pid| above.insert(*pid)) {
        at = parents.get(&pid).copied().and_then(Pid::new);
    }
    above
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    fn a_line_of_somebody_whose_number_was_given_on_reaches_nobody() {
        let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let mut reader = Reader::open().expect("/proc");
        let mut stat = reader.stat(child.pid()).expect("it lives");
        stat.start_ticks -= 1;
        assert_eq!(Target::take(&mut reader, &stat).map(|_| ()), Err(Missed::Gone));
        assert_eq!(reader.stat(child.pid()).map(|stat| stat.is_exiting()), Some(false));
    }

    #[test]
    fn a_process_is_made_nicer_and_kept_to_its_cpus_and_one_that_is_gone_is_told() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let mut reader = Reader::open().expect("/proc");
        let stat = reader.stat(child.pid()).expect("it lives");
        let target = Target::take(&mut reader, &stat).expect("it lives");
        target.set_nice(&mut reader, 9).expect("ours");
        assert_eq!(reader.stat(child.pid()).map(|stat| stat.nice), Some(9));
        let cpu = stat.processor as u16;
        target.set_affinity(&mut reader, &[cpu]).expect("ours, and it has run there");
        assert!(target.set_affinity(&mut reader, &[]).is_err());
        target.signal(Signal::KILL).expect("ours");
        child.wait();
        assert_eq!(target.set_nice(&mut reader, 10), Err(Missed::Gone));
    }

    #[test]
    fn the_end_of_a_stranger_is_told_before_and_after_its_burial() {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("sleep");
        let mut reader = Reader::open().expect("/proc");
        let stat = reader.stat(child.pid()).expect("it lives");
        let target = Target::take(&mut reader, &stat).expect("it lives");
        assert!(!target.has_ended());
        target.signal(Signal::KILL).expect("ours");
        assert!(wait(std::slice::from_ref(&target), Duration::from_secs(60)).expect("to wait"));
        assert_eq!(target.end(&mut reader).killed_by(), Some(Signal::KILL));
        child.wait();
        let after = target.end(&mut reader);
        assert!(after == ExitStatus::UNKNOWN || after.killed_by() == Some(Signal::KILL), "{after:?}");
        assert_eq!(target.signal(Signal::TERM), Err(Missed::Gone));
    }

    #[test]
    fn a_tree_is_frozen_with_whoever_ran_into_a_session_of_its_own() {
        let script = "sleep 1000 & setsid sh -c 'sleep 1000 & wait' & wait";
        let mut child = Command::new("sh").args(["-c", script]).contained().spawn().expect("sh");
        let mut reader = Reader::open().expect("/proc");
        let root = reader.stat(child.pid()).expect("it lives").identity();
        // They are born while we look; the last look finds all four.
        let tree = loop {
            let mut tree = Tree::below(&[root]);
            assert!(tree.freeze(&mut reader, Duration::from_secs(60)).expect("to look"), "{tree:?}");
            if tree.members.len() == 4 {
                break tree;
            }
            for member in &tree.members {
                member.signal(Signal::CONT).expect("ours");
            }
        };
        assert!(tree.missed.is_empty(), "{tree:?}");
        for member in &tree.members {
            assert_eq!(member.state(&mut reader), Some(ProcState::Stopped));
        }
        child.kill_tree(Duration::from_secs(60)).expect("nobody is left");
    }
}
