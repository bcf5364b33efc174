//! Why processes are not buried, and what the blocked wait for: the facts, gathered from `/proc`.
//!
//! What follows from them is decided by `doula_core::diagnosis`, whose words are handed on here. Nothing here asks for what
//! waits for the lock of a memory map (`cmdline`, `environ`, `maps`), but for the path in the arguments of a call, which a copy of us reads
//! that is given up when it hangs; and no file system is asked for anything (no stat(2) of what a descriptor names; a path is followed only as far
//! as the kernel knows it without them), so that no question hangs.
//!
//! ```
//! use doula_host::diagnosis::{Doctor, On};
//! use doula_host::{Command, Stdio};
//! let mut child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn()?;
//! let mut doctor = Doctor::new()?;
//! let sleeps = |doctor: &mut Doctor| doctor.waits(child.pid()).iter().any(|wait| matches!(wait.on, On::Time | On::Hidden));
//! while !sleeps(&mut doctor) {}
//! child.kill()?;
//! # child.wait();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buried;
mod files;
mod freezer;
mod holders;
mod load;
mod locks;
mod mounts;
mod own;
mod tasks;

pub use doula_core::diagnosis::graph::{Circle, Graph};
pub use doula_core::diagnosis::wait::{Call, FileLock, Freezer, Kill, Mount, On, Open, Task, Wait};
pub use doula_core::diagnosis::zombie::{Cause, Chld, Cure, Finding, Growth, How, Parent, Room, Zombie};
pub use doula_core::diagnosis::{Party, zombie};
pub use load::{Load, Pressure, Waiting};
pub use own::{Offer, offers};

use crate::procfs::{Identity, Machine, ProcState, Process, Reader, Stat, Want};
use doula_model::id::Pid;
use doula_sys::poll;
use holders::Holders;
use locks::Locks;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

/// What is found about one process.
///
/// ```
/// # use doula_host::Pid;
/// # use doula_host::diagnosis::Doctor;
/// # let us = Pid::new(std::process::id() as i32).expect("a number");
/// let mut doctor = Doctor::new()?;
/// let found = doctor.diagnose(us)?.expect("we live");
/// for wait in &found.waits {
///     println!("{} {wait}", wait.task.thread);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// The process as it was seen.
    pub stat: Stat,
    /// About its zombies, or about itself if it is one.
    pub zombies: Vec<Finding>,
    /// For what each of its threads waits.
    pub waits: Vec<Wait>,
    /// Those whom it waits for, directly or by way of others, with what they wait for themselves.
    pub chain: Vec<Wait>,
    /// Who is at the end of all its waiting: those who wait for nobody.
    pub roots: Vec<Party>,
    /// Circles that it is in, or waits for.
    pub circles: Vec<Circle>,
}

/// What is found about all processes.
///
/// ```
/// let mut doctor = doula_host::diagnosis::Doctor::new()?;
/// let report = doctor.examine(std::time::Duration::from_millis(1))?;
/// for finding in &report.zombies {
///     println!("{} of {}, because {}", finding.zombies.len(), finding.parent.who, finding.cause);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// About zombies that stay.
    pub zombies: Vec<Finding>,
    /// How many zombies were buried while we looked, as it should be.
    pub passing: usize,
    /// Threads that are blocked, or would be once they are killed, and were so at both looks.
    pub blocked: Vec<Wait>,
    /// Processes that wait for each other.
    pub circles: Vec<Circle>,
}

impl Report {
    /// Whether nothing was found.
    ///
    /// ```
    /// use doula_host::diagnosis::Report;
    /// assert!(Report::default().is_healthy());
    /// ```
    pub fn is_healthy(&self) -> bool {
        self.zombies.is_empty() && self.blocked.is_empty() && self.circles.is_empty()
    }
}

/// Who looks. Keeps nothing between two questions but the open `/proc`.
///
/// ```
/// # use doula_host::Pid;
/// # use doula_host::diagnosis::Doctor;
/// # let us = Pid::new(std::process::id() as i32).expect("a number");
/// let mut doctor = Doctor::new()?;
/// assert!(doctor.zombies(|stat| stat.ppid == us.get())?.is_empty(), "we have buried everybody");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Doctor {
    reader: Reader,
}

impl Doctor {
    /// At `/proc`.
    ///
    /// ```
    /// doula_host::diagnosis::Doctor::new()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When it is not there.
    pub fn new() -> io::Result<Doctor> {
        Ok(Doctor { reader: Reader::open()? })
    }

    /// The reader with which it looks.
    ///
    /// ```
    /// # use doula_host::Pid;
    /// # use doula_host::diagnosis::Doctor;
    /// # let us = Pid::new(std::process::id() as i32).expect("a number");
    /// let mut doctor = Doctor::new()?;
    /// assert!(doctor.reader().stat(us).is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// For what each thread of a process waits; nothing of those that run, and nothing when it is gone.
    ///
    /// ```
    /// # use doula_host::Pid;
    /// # use doula_host::diagnosis::Doctor;
    /// # let us = Pid::new(std::process::id() as i32).expect("a number");
    /// let mut doctor = Doctor::new()?;
    /// // Whoever asks does not wait; other threads of ours may.
    /// assert!(doctor.waits(us).iter().all(|wait| wait.task.pid == us));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn waits(&mut self, pid: Pid) -> Vec<Wait> {
        let mut round = Round::new(&mut self.reader);
        round.waits(pid)
    }

    /// All about one process; `None` when there is none with this number.
    ///
    /// ```
    /// # use doula_host::Pid;
    /// # use doula_host::diagnosis::Doctor;
    /// # let us = Pid::new(std::process::id() as i32).expect("a number");
    /// let mut doctor = Doctor::new()?;
    /// assert_eq!(doctor.diagnose(us)?.expect("we live").stat.pid, us);
    /// assert!(doctor.diagnose(Pid::new(i32::MAX).expect("a number"))?.is_none());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn diagnose(&mut self, pid: Pid) -> io::Result<Option<Diagnosis>> {
        let Some(stat) = self.reader.stat(pid) else { return Ok(None) };
        let processes = self.reader.scan(&Want::default())?;
        let whose = if stat.is_zombie() || stat.is_headless() { stat.ppid } else { pid.get() };
        let only = |zombie: &Stat| stat.ppid != whose || zombie.pid == pid;
        let zombies =
            buried::findings(&mut self.reader, &processes, |zombie| zombie.ppid == whose && only(zombie));
        let mut round = Round::new(&mut self.reader);
        let waits = round.waits(pid);
        let chain = round.chain(&waits);
        let graph = Graph::of(waits.iter().chain(&chain));
        let roots = graph.roots(pid).into_iter().filter_map(|pid| round.party(pid)).collect();
        Ok(Some(Diagnosis { stat, zombies, waits, chain, roots, circles: graph.circles() }))
    }

    /// The zombies of all processes, or of those of whom this holds, as they are at this moment: also those that are about
    /// to be buried.
    ///
    /// ```
    /// # use doula_host::Pid;
    /// # use doula_host::diagnosis::Doctor;
    /// # let us = Pid::new(std::process::id() as i32).expect("a number");
    /// let mut doctor = Doctor::new()?;
    /// let mut child = doula_host::Command::new("true").spawn().expect("a child");
    /// // It ends, and stays a zombie until it is waited for.
    /// while doctor.zombies(|stat| stat.pid == child.pid())?.is_empty() {}
    /// child.wait();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn zombies(&mut self, of: impl Fn(&Stat) -> bool) -> io::Result<Vec<Finding>> {
        let processes = self.reader.scan(&Want::default())?;
        Ok(buried::findings(&mut self.reader, &processes, of))
    }

    /// Looks at all processes twice, so long apart: what is over by then is no finding.
    ///
    /// ```
    /// let mut doctor = doula_host::diagnosis::Doctor::new()?;
    /// let report = doctor.examine(std::time::Duration::from_millis(1))?;
    /// for wait in &report.blocked {
    ///     println!("{} {wait}: {}", wait.task.pid, wait.kill);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn examine(&mut self, apart: Duration) -> io::Result<Report> {
        let first = self.reader.scan(&Want::default())?;
        let dead = |processes: &[Process]| -> BTreeSet<Identity> {
            let ended =
                processes.iter().filter(|process| process.stat.is_zombie() || process.stat.is_headless());
            ended.map(|process| process.stat.identity()).collect()
        };
        let before = dead(&first);
        let doubtful = Round::new(&mut self.reader).all(&first);
        pause(apart)?;
        let second = self.reader.scan(&Want::default())?;
        let after = dead(&second);
        let stayed = |stat: &Stat| before.contains(&stat.identity());
        let zombies = buried::findings(&mut self.reader, &second, stayed);
        let pids: BTreeSet<Pid> = doubtful.iter().map(|wait| wait.task.pid).collect();
        let mut round = Round::new(&mut self.reader);
        let again: Vec<Wait> = pids.into_iter().flat_map(|pid| round.waits(pid)).collect();
        let known: BTreeMap<Pid, &On> = doubtful.iter().map(|wait| (wait.task.thread, &wait.on)).collect();
        let same = |wait: &&Wait| known.get(&wait.task.thread) == Some(&&wait.on);
        let lasting: Vec<Wait> = again.iter().filter(same).cloned().collect();
        let mut circles = Graph::of(&lasting).circles();
        circles.retain(|circle| circle.closed);
        let passing = before.difference(&after).count();
        let blocked = lasting.into_iter().filter(Wait::is_trouble).collect();
        Ok(Report { zombies, passing, blocked, circles })
    }

    /// The load of the machine, taken apart.
    ///
    /// ```
    /// let load = doula_host::diagnosis::Doctor::new()?.load()?;
    /// println!("{load:?}");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn load(&mut self) -> io::Result<Load> {
        load::take(&mut self.reader)
    }

    /// Measures how fast zombies become more: counts each parent's before and after this time.
    ///
    /// ```
    /// let mut doctor = doula_host::diagnosis::Doctor::new()?;
    /// for finding in doctor.measure(std::time::Duration::from_millis(1))? {
    ///     println!("{}: {:?}", finding.parent.who, finding.growth);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn measure(&mut self, over: Duration) -> io::Result<Vec<Finding>> {
        let first = self.reader.scan(&Want::default())?;
        let mut before: BTreeMap<i32, usize> = BTreeMap::new();
        for process in first.iter().filter(|process| process.stat.is_zombie()) {
            *before.entry(process.stat.ppid).or_default() += 1;
        }
        let begin = Instant::now();
        pause(over)?;
        let second = self.reader.scan(&Want::default())?;
        // On a busy machine it was longer than what was asked for.
        let over = begin.elapsed().max(over);
        let count = |parent: Pid| Some((before.get(&parent.get()).copied().unwrap_or(0), over));
        Ok(buried::measured(&mut self.reader, &second, |_| true, count))
    }
}

/// All about one process, for those who ask once.
///
/// ```
/// use doula_host::{Pid, diagnosis};
/// let us = Pid::new(std::process::id() as i32).expect("a number");
/// let found = diagnosis::diagnose(us)?.expect("we live");
/// assert!(found.zombies.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As [`Doctor::diagnose`].
pub fn diagnose(pid: Pid) -> io::Result<Option<Diagnosis>> {
    Doctor::new()?.diagnose(pid)
}

/// Lets this much time pass.
pub(crate) fn pause(time: Duration) -> io::Result<()> {
    let refused = |errno: doula_model::plan::Errno| io::Error::from_raw_os_error(errno.0);
    let silent = poll::eventfd().map_err(refused)?;
    match poll::readable(&silent, Some(time)) {
        Ok(_) | Err(doula_model::plan::Errno::EINTR) => Ok(()),
        Err(errno) => Err(refused(errno)),
    }
}

/// One look, in which what was read once holds.
pub(crate) struct Round<'a> {
    pub(crate) reader: &'a mut Reader,
    locks: Locks,
    freezers: BTreeMap<Vec<u8>, Option<Freezer>>,
    /// Read when somebody waits for what others may have open; that costs a look at every descriptor.
    holders: Option<Holders>,
    /// Who is whose child; read when somebody waits for one.
    children: Option<BTreeMap<i32, Vec<Stat>>>,
    /// Those who were looked at because somebody waits for them.
    parties: BTreeMap<Pid, Option<Party>>,
}

/// More processes of a chain are not followed: nobody reads that.
const LONGEST_CHAIN: usize = 64;
/// More of those who could end one wait are only counted: thousands can wait at one pipe of which each has both ends.
const MOST_PARTIES: usize = 32;

impl<'a> Round<'a> {
    pub(crate) fn new(reader: &'a mut Reader) -> Round<'a> {
        Round {
            reader,
            locks: Locks::read(),
            freezers: BTreeMap::new(),
            holders: None,
            children: None,
            parties: BTreeMap::new(),
        }
    }

    /// Somebody, as he was when he was met first.
    pub(crate) fn party(&mut self, pid: Pid) -> Option<Party> {
        let reader = &mut *self.reader;
        let look = || reader.stat(pid).map(|stat| Party { pid, name: stat.name, state: stat.state });
        self.parties.entry(pid).or_insert_with(look).clone()
    }

    /// For what each thread of a process waits.
    pub(crate) fn waits(&mut self, pid: Pid) -> Vec<Wait> {
        self.reader.threads(pid).into_iter().filter_map(|thread| self.wait(pid, thread)).collect()
    }

    fn wait(&mut self, pid: Pid, thread: Pid) -> Option<Wait> {
        let stat = self.reader.thread_stat(pid, thread)?;
        if stat.is_kernel() {
            return None;
        }
        let task = self.task(pid, &stat);
        let on = doula_core::diagnosis::wait::on(&task)?;
        let (parties, more) = self.parties(&task, &on);
        let holders = if let On::Page(Some(mount)) = &on
            && mount.is_fuse()
        {
            self.askers(&task, mount)
        } else {
            Vec::new()
        };
        let holders = holders.into_iter().filter_map(|pid| self.party(pid)).collect();
        Some(Wait::new(task, on, parties).and_more(more).held_by(holders))
    }

    /// For what all of them wait, without those who wait for time, events, or what we may not see.
    fn all(&mut self, processes: &[Process]) -> Vec<Wait> {
        let mut found = Vec::new();
        for process in
            processes.iter().filter(|process| !process.stat.is_kernel() && !process.stat.is_zombie())
        {
            let waits = self.waits(process.stat.pid);
            found.extend(waits.into_iter().filter(|wait| wait.is_trouble() || !wait.parties.is_empty()));
        }
        found
    }

    /// What those wait for who are waited for, and so on.
    fn chain(&mut self, begin: &[Wait]) -> Vec<Wait> {
        let mut known: BTreeSet<Pid> = begin.iter().map(|wait| wait.task.pid).collect();
        let parties = |wait: &Wait| wait.parties.iter().map(|party| party.pid).collect::<Vec<_>>();
        let mut open: Vec<Pid> = begin.iter().flat_map(parties).collect();
        let mut chain = Vec::new();
        while let Some(pid) = open.pop().filter(|_| known.len() < LONGEST_CHAIN) {
            if known.insert(pid) {
                let waits = self.waits(pid);
                open.extend(waits.iter().flat_map(parties));
                chain.extend(waits);
            }
        }
        chain
    }

    /// Who could end the wait, and how many more.
    fn parties(&mut self, task: &Task, on: &On) -> (Vec<Party>, usize) {
        let us = task.pid;
        let (pids, more) = if let On::PipeData(inode) = on {
            few(self.holders().writers(*inode), us)
        } else if let On::PipeRoom(inode) = on {
            few(self.holders().readers(*inode), us)
        } else if let On::Socket(inode) = on {
            few(self.holders().peers(*inode), us)
        } else {
            few(&self.others(task, on), us)
        };
        (pids.into_iter().filter_map(|pid| self.party(pid)).collect(), more)
    }

    /// Who could end a wait at something that has few ends.
    fn others(&mut self, task: &Task, on: &On) -> Vec<Pid> {
        let us = task.pid;
        match on {
            On::Tracer => tasks::tracer(us, task.thread).into_iter().collect(),
            On::Vfork => self
                .children_of(us)
                .into_iter()
                .max_by_key(|stat| stat.start_ticks)
                .map(|stat| stat.pid)
                .into_iter()
                .collect(),
            On::Child(Some(pid)) => vec![*pid],
            On::Child(None) => self
                .children_of(us)
                .into_iter()
                .filter(|stat| !stat.is_zombie())
                .map(|stat| stat.pid)
                .collect(),
            On::Lock(lock) => self.owners(task, lock),
            On::Fuse(Some(mount)) | On::Page(Some(mount)) if mount.is_fuse() => {
                self.holders().servers(mount.device.1)
            }
            On::PipeData(_)
            | On::PipeRoom(_)
            | On::Socket(_)
            | On::Stop
            | On::Freezer(_)
            | On::Fuse(_)
            | On::Nfs(_)
            | On::FrozenFileSystem(_)
            | On::Page(_)
            | On::MemoryMap
            | On::Futex
            | On::Events
            | On::Time
            | On::Signal
            | On::File(_)
            | On::Device
            | On::Hidden
            | On::Kernel(_) => Vec::new(),
        }
    }

    fn owners(&mut self, task: &Task, lock: &FileLock) -> Vec<Pid> {
        let told = self.locks.owners(task.pid, task.thread);
        let live: Vec<Pid> = told
            .into_iter()
            .filter(|pid| self.reader.stat(*pid).is_some_and(|stat| !stat.is_exiting()))
            .collect();
        // Who took it may have ended and left it to somebody who has the same open file.
        if live.is_empty() { files::who_locks(self.reader, &lock.file) } else { live }
    }

    fn holders(&mut self) -> &Holders {
        let reader = &mut *self.reader;
        self.holders.get_or_insert_with(|| Holders::look(reader))
    }

    fn children_of(&mut self, pid: Pid) -> Vec<Stat> {
        let reader = &mut *self.reader;
        let children = self.children.get_or_insert_with(|| {
            let mut children: BTreeMap<i32, Vec<Stat>> = BTreeMap::new();
            for process in reader.scan(&Want::default()).unwrap_or_default() {
                children.entry(process.stat.ppid).or_default().push(process.stat);
            }
            children
        });
        children.get(&pid.get()).cloned().unwrap_or_default()
    }
}

/// Some of them, and how many more there are, without this one.
fn few(pids: &[Pid], us: Pid) -> (Vec<Pid>, usize) {
    let others = || pids.iter().copied().filter(|pid| *pid != us);
    let some: Vec<Pid> = others().take(MOST_PARTIES).collect();
    let ours = usize::from(pids.contains(&us));
    let more = pids.len() - ours - some.len();
    (some, more)
}

/// What those threads of a process do that have not ended.
pub(crate) fn living(reader: &mut Reader, pid: Pid) -> Vec<(Pid, ProcState)> {
    let threads = reader.threads(pid).into_iter();
    let stats = threads.filter_map(|thread| reader.thread_stat(pid, thread));
    let alive = |stat: &Stat| !matches!(stat.state, ProcState::Zombie | ProcState::Dead);
    stats.filter(alive).map(|stat| (stat.pid, stat.state)).collect()
}

/// How long ago something with this start began.
pub(crate) fn age(machine: &Machine, stat: &Stat) -> Duration {
    machine.age_of(stat.start_ticks)
}
