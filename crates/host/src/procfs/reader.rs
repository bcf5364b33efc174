//! One pass over `/proc` (or, of what `stat` says, over the kernel's tasks, `iterator`): the numbers, then of each process the files that are needed for what was asked, each with one
//! open, one read and one close into the same buffer.

use super::accounts::Accounts;
use super::aside;
use super::iterator::{NoIterator, Rows, Tasks};
use super::status::{parse_cgroup, parse_share, parse_status, parse_traffic};
use super::together;
use super::{parse_stat, system_error};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::process::{Answer, Namespaces, Process, Stat};
use doula_sys::fd::{self, Access, OwnedFd};
use std::ffi::CStr;
use std::io::{self, Write as _};
use std::sync::Arc;

/// Larger than most files of `/proc/PID`; those that do not fit make it grow.
const ROOM: usize = 8 * 1024;
/// The kernel tells no more of the arguments than were given to execve, and those can be many.
const MOST: usize = 4 << 20;

/// What is asked of each process beside `/proc/PID/stat`. Each is one file more.
///
/// ```
/// use doula_host::procfs::{Reader, Want};
/// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
/// let want = Want { cgroup: true, oom_score: true, ..Want::default() };
/// let process = Reader::open()?.some(&[us], &want)?.pop().expect("we live");
/// assert!(process.oom_score.known().is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Users, signals, namespaces and more.
    pub status: bool,
    /// The arguments. Read aside, because that waits for the lock of the memory map.
    pub args: bool,
    /// How the memory is shared; aside too, and slow: the kernel looks at every page.
    pub share: bool,
    /// What it read and wrote.
    pub traffic: bool,
    /// Where in the kernel it waits.
    pub wchan: bool,
    /// Its cgroup.
    pub cgroup: bool,
    /// How likely it is ended when memory runs out.
    pub oom_score: bool,
    /// The namespaces that it is in.
    pub namespaces: bool,
    /// How long it was kept from running: a question to the kernel instead of a file. Only root gets an answer.
    pub delays: bool,
    /// Threads instead of processes.
    pub threads: bool,
    /// What nobody needs of `stat` itself.
    pub spare: Spare,
}

impl Want {
    /// Whether something is asked that makes whoever asks wait for the process.
    ///
    /// ```
    /// use doula_host::procfs::Want;
    /// assert!(Want { args: true, ..Want::default() }.is_aside() && !Want::default().is_aside());
    /// ```
    #[must_use]
    pub const fn is_aside(&self) -> bool {
        self.args || self.share
    }

    /// Whether nothing is asked here that is not asked there.
    ///
    /// ```
    /// use doula_host::procfs::Want;
    /// let more = Want { args: true, ..Want::default() };
    /// assert!(Want::default().is_within(&more) && !more.is_within(&Want::default()));
    /// ```
    #[must_use]
    pub fn is_within(&self, other: &Want) -> bool {
        let files = |of: &Want| {
            let Want { status, args, share, traffic, wchan, cgroup, .. } = *of;
            let Want { oom_score, namespaces, delays, .. } = *of;
            [status, args, share, traffic, wchan, cgroup, oom_score, namespaces, delays]
        };
        let asked = files(self).into_iter().zip(files(other)).all(|(here, there)| !here || there);
        asked && self.threads == other.threads && other.spare.is_within(self.spare)
    }
}

/// What is not needed of `/proc/PID/stat`, and is zero in [`Stat`] if a look is cheaper without it, as it is through the kernel's tasks.
/// Who it is, whose child, its state, flags and threads are always told.
///
/// ```
/// use doula_host::procfs::{Reader, Spare, Want};
/// // Who is whose child is all that a tree needs.
/// let want = Want { spare: Spare::ALL, ..Want::default() };
/// let parents: Vec<i32> = Reader::open()?.scan(&want)?.iter().map(|process| process.stat.ppid).collect();
/// # assert!(!parents.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spare {
    /// The CPU time of its own.
    pub times: bool,
    /// The address space, and what of it is in memory.
    pub memory: bool,
    /// All else: its group, session and terminal, faults, the CPU time of children, how it is scheduled, how it ended.
    pub rest: bool,
}

impl Spare {
    /// Everything that can be.
    ///
    /// ```
    /// use doula_host::procfs::Spare;
    /// let but_times = Spare { times: false, ..Spare::ALL };
    /// assert!(but_times.memory && but_times.rest);
    /// ```
    pub const ALL: Spare = Spare { times: true, memory: true, rest: true };

    /// Whether nothing is spared here that is not spared there.
    ///
    /// ```
    /// use doula_host::procfs::Spare;
    /// assert!(Spare::default().is_within(Spare::ALL) && !Spare::ALL.is_within(Spare::default()));
    /// ```
    #[must_use]
    pub const fn is_within(self, other: Spare) -> bool {
        (!self.times || other.times) && (!self.memory || other.memory) && (!self.rest || other.rest)
    }
}

/// From where a [`Reader`] knows what `/proc/PID/stat` would say.
///
/// ```
/// use doula_host::procfs::{Reader, Source, Want};
/// let mut reader = Reader::open()?;
/// reader.scan(&Want::default())?;
/// match reader.source() {
///     Source::Iterator => println!("from the kernel's tasks"),
///     Source::Files(why) => println!("from files: {why}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the kernel's tasks, all at once.
    Iterator,
    /// From that file of each, for this reason.
    Files(NoIterator),
}

/// A mount of procfs.
///
/// A look at everybody goes through the kernel's tasks where we may and where that is faster ([`Reader::source`]); what it gives is
/// the same.
///
/// ```
/// use doula_host::procfs::{Reader, Want};
/// let mut reader = Reader::open()?;
/// let processes = reader.scan(&Want { status: true, ..Want::default() })?;
/// let us = processes.iter().find(|process| process.stat.pid.get() as u32 == std::process::id());
/// let us = us.expect("we are one of them");
/// assert_eq!(us.status.known().expect("nobody hides us from ourselves").tracer, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Reader {
    /// Shared with those who help with a long list.
    pub(super) proc: Arc<OwnedFd>,
    path: Vec<u8>,
    buffer: Vec<u8>,
    /// Of the kernel's tasks; or why not, unless that is still open.
    tasks: Result<Tasks, NoIterator>,
    /// Whether everybody was looked at before, so that another look is likely.
    again: bool,
    /// Opened by the first question for delays.
    accounts: Option<Accounts>,
}

/// From so many threads on, even a single look is faster through the kernel's tasks, with what it costs to begin.
const MANY: u64 = 2000;
/// In the flags of a thread of the kernel: it works for queues, and its name tells which (`PF_WQ_WORKER`).
const QUEUE_WORKER: u32 = 0x20;
/// The longest name in the kernel's structures.
const LONGEST_NAME: usize = 15;

impl Reader {
    /// That at `/proc`.
    ///
    /// # Errors
    /// When it is not there, or is no procfs.
    ///
    /// ```
    /// use doula_host::{Pid, procfs::Reader};
    /// assert!(Reader::open()?.stat(Pid::INIT).is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open() -> io::Result<Reader> {
        let mut reader = Reader::at(c"/proc")?;
        reader.tasks = Err(NoIterator::Few);
        Ok(reader)
    }

    /// Another one, of which only the files are read.
    ///
    /// # Errors
    /// When it is not there, or is no procfs.
    ///
    /// ```
    /// use doula_host::procfs::Reader;
    /// // That of a container, say, whose procfs is mounted somewhere else.
    /// assert!(Reader::at(c"/proc")?.numbers()?.len() > 0);
    /// assert!(Reader::at(c"/dev").is_err(), "it is no procfs");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn at(mount: &CStr) -> io::Result<Reader> {
        let proc = fd::open(mount, Access::Directory).map_err(system_error)?;
        let mut reader = Reader::of_files(Arc::new(proc));
        match reader.read(b"self/stat", false) {
            Ok(_) => Ok(reader),
            Err(errno) => Err(system_error(errno)),
        }
    }

    /// One of the files of a mount, which whoever has it may share with other threads.
    pub(super) fn of_files(proc: Arc<OwnedFd>) -> Reader {
        Reader {
            proc,
            path: Vec::new(),
            buffer: vec![0; ROOM],
            tasks: Err(NoIterator::Unwanted),
            again: false,
            accounts: None,
        }
    }

    /// From where the last [`Reader::scan`] had what `stat` says.
    ///
    /// ```
    /// use doula_host::procfs::{Reader, Source, Want};
    /// let mut reader = Reader::open()?;
    /// reader.scan(&Want::default())?;
    /// if let Source::Files(why) = reader.source() {
    ///     println!("each file was opened: {why}");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn source(&self) -> Source {
        self.tasks.as_ref().map_or_else(|why| Source::Files(*why), |_| Source::Iterator)
    }

    /// Goes through the kernel's tasks from now on, however few they are.
    ///
    /// # Errors
    /// Why that cannot be; the files are read then as before.
    ///
    /// ```
    /// use doula_host::procfs::{Reader, Source};
    /// let mut reader = Reader::open()?;
    /// match reader.iterate() {
    ///     Ok(()) => assert_eq!(reader.source(), Source::Iterator),
    ///     Err(why) => assert_eq!(reader.source(), Source::Files(why)),
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn iterate(&mut self) -> Result<(), NoIterator> {
        self.tasks = Err(NoIterator::Few);
        let again = std::mem::replace(&mut self.again, true);
        self.with_rows(&Want::default(), |_, _, _| ());
        self.again = again;
        self.tasks.as_ref().map(|_| ()).map_err(|why| *why)
    }

    /// The same as before Linux 6.7.
    #[cfg(test)]
    pub(super) fn iterate_by_steps(&mut self) -> Result<(), NoIterator> {
        self.tasks = Tasks::at_each_step(Spare::default());
        self.tasks.as_ref().map(|_| ()).map_err(|why| *why)
    }

    /// Goes through the files from now on.
    ///
    /// ```
    /// use doula_host::procfs::{NoIterator, Reader, Source, Want};
    /// let mut reader = Reader::open()?;
    /// reader.only_files();
    /// reader.scan(&Want::default())?;
    /// assert_eq!(reader.source(), Source::Files(NoIterator::Unwanted));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn only_files(&mut self) {
        self.tasks = Err(NoIterator::Unwanted);
    }

    /// The numbers of all processes that we may see, in ascending order.
    ///
    /// # Errors
    /// What getdents64(2) says.
    ///
    /// ```
    /// use doula_host::procfs::Reader;
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// assert!(Reader::open()?.numbers()?.binary_search(&us).is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn numbers(&mut self) -> io::Result<Vec<Pid>> {
        self.numbers_in(b".").map_err(system_error)
    }

    /// The numbers of the threads of a process; none when it is gone.
    ///
    /// ```
    /// use doula_host::procfs::Reader;
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// // The first thread has the number of the process.
    /// assert!(Reader::open()?.threads(us).contains(&us));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn threads(&mut self, pid: Pid) -> Vec<Pid> {
        self.numbers_in(format!("{pid}/task").as_bytes()).unwrap_or_default()
    }

    /// Looks at one process.
    ///
    /// ```
    /// use doula_host::procfs::Reader;
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let stat = Reader::open()?.stat(us).expect("we live");
    /// assert_eq!(stat.ppid as u32, std::os::unix::process::parent_id());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stat(&mut self, pid: Pid) -> Option<Stat> {
        let length = self.of(pid, "stat", false).ok()?;
        parse_stat(&self.buffer[..length])
    }

    /// Looks at one thread of a process.
    ///
    /// ```
    /// use doula_host::procfs::Reader;
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let mut reader = Reader::open()?;
    /// for thread in reader.threads(us) {
    ///     if let Some(stat) = reader.thread_stat(us, thread) {
    ///         println!("{thread} `{}` is {}", String::from_utf8_lossy(&stat.name), stat.state);
    ///     }
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn thread_stat(&mut self, pid: Pid, thread: Pid) -> Option<Stat> {
        let length = self.of(pid, &format!("task/{thread}/stat"), false).ok()?;
        parse_stat(&self.buffer[..length])
    }

    /// Where in the kernel a thread waits; nothing when it does not, or we may not see it.
    ///
    /// ```
    /// use doula_host::procfs::Reader;
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// // Whoever asks runs, and waits nowhere.
    /// let mut reader = Reader::open()?;
    /// for thread in reader.threads(us) {
    ///     println!("{thread}: {:?}", reader.thread_wchan(us, thread));
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn thread_wchan(&mut self, pid: Pid, thread: Pid) -> Option<Vec<u8>> {
        let length = self.of(pid, &format!("task/{thread}/wchan"), false).ok()?;
        waits_in(&self.buffer[..length])
    }

    /// Looks at all that we may see. Whoever ends meanwhile is left out; who is born meanwhile may be.
    ///
    /// # Errors
    /// When `/proc` cannot be listed, or no copy of us can be made that reads what may wait.
    ///
    /// ```
    /// use doula_host::procfs::{Reader, Want};
    /// let processes = Reader::open()?.scan(&Want { args: true, ..Want::default() })?;
    /// for process in &processes {
    ///     let args = process.args.known().map(|args| String::from_utf8_lossy(args).replace('\0', " "));
    ///     println!("{} {}", process.stat.pid, args.unwrap_or_default());
    /// }
    /// # assert!(!processes.is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn scan(&mut self, want: &Want) -> io::Result<Vec<Process>> {
        let mut processes = Vec::new();
        self.each(want, |process| processes.push(process))?;
        self.ask_aside(&mut processes, want)?;
        Ok(processes)
    }

    /// The same one after the other, without what is asked aside ([`Want::is_aside`]): lists of ten thousands need not be kept.
    /// Files of a thousand processes and more are read by as many threads as there are CPUs, at most four, which are over when this
    /// returns.
    ///
    /// ```
    /// use doula_host::procfs::{Reader, Want};
    /// let mut zombies = 0;
    /// Reader::open()?.each(&Want::default(), |process| zombies += usize::from(process.stat.is_zombie()))?;
    /// println!("{zombies} zombies");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When `/proc` cannot be listed.
    pub fn each(&mut self, want: &Want, mut take: impl FnMut(Process)) -> io::Result<()> {
        let mut looked_at = |reader: &mut Reader, mut process: Process| {
            reader.look(&mut process, want);
            take(process);
        };
        let told = self.with_rows(want, |reader, rows, left_out| {
            let mut left_out = left_out.into_iter().peekable();
            for mut process in rows.processes(want.threads) {
                let at = |one: &Process| (one.tgid, one.stat.pid);
                while let Some(before) = left_out.next_if(|one| at(one) < at(&process)) {
                    looked_at(reader, before);
                }
                reader.name_whole(&mut process.stat);
                looked_at(reader, process);
            }
            left_out.for_each(|process| looked_at(reader, process));
        });
        self.again = true;
        if told.is_some() {
            return Ok(());
        }
        let numbers = self.numbers()?;
        match together::helpers(numbers.len()) {
            0 => self.read_each(&numbers, want.threads, &mut looked_at),
            helpers => together::read(self, &numbers, want, helpers, take),
        }
        Ok(())
    }

    /// The files that never wait, of these.
    pub(super) fn gather(&mut self, pids: &[Pid], want: &Want) -> Vec<Process> {
        let mut processes = Vec::with_capacity(pids.len());
        self.read_each(pids, want.threads, &mut |reader, mut process| {
            reader.look(&mut process, want);
            processes.push(process);
        });
        processes
    }

    /// Walks over the kernel's tasks if we may and there are many, and gives those whom the walk left out.
    pub(super) fn with_rows<T>(
        &mut self,
        want: &Want,
        then: impl FnOnce(&mut Reader, &Rows<'_>, Vec<Process>) -> T,
    ) -> Option<T> {
        if matches!(self.tasks, Err(why) if why != NoIterator::Few) {
            return None;
        }
        let count = self.task_count();
        let (fresh, tasks) = match std::mem::replace(&mut self.tasks, Err(NoIterator::Few)) {
            Ok(tasks) if tasks.suffices(want.spare) => (false, Ok(tasks)),
            Err(why) if !self.again && count < MANY => (false, Err(why)),
            Ok(_) | Err(_) => (true, Tasks::open(want.spare, count)),
        };
        let told = tasks.and_then(|mut tasks| {
            let rows = tasks.walk(count)?;
            if fresh && !self.is_true_of_us(&rows, want.spare) {
                return Err(NoIterator::Differs);
            }
            let left_out = self.left_out(&rows, count, want.threads);
            let told = then(self, &rows, left_out);
            Ok((tasks, told))
        });
        match told {
            Ok((tasks, told)) => {
                self.tasks = Ok(tasks);
                Some(told)
            }
            Err(why) => {
                self.tasks = Err(why);
                None
            }
        }
    }

    /// Whether a walk says the same of ourselves as the file does.
    fn is_true_of_us(&mut self, rows: &Rows<'_>, spare: Spare) -> bool {
        let what_stays = |stat: &Stat| {
            let rest = (stat.pgid, stat.sid, stat.tty, stat.nice, stat.policy);
            let told = (!spare.memory && stat.virtual_bytes > 0, (!spare.rest).then_some(rest));
            (stat.identity(), stat.ppid, stat.name.clone(), told)
        };
        let Some(us) = self.stat(doula_sys::group::pid()) else { return false };
        let told = rows.of(us.pid);
        told.is_some_and(|told| what_stays(&told) == what_stays(&us))
    }

    /// A kernel can be made to leave some out of the walk whom `/proc` shows, as PID 1. So those who were met are counted: if
    /// they were fewer than there were before or after, `/proc` is listed too, and whoever is missing is read there.
    fn left_out(&mut self, rows: &Rows<'_>, count: u64, threads: bool) -> Vec<Process> {
        let mut found = Vec::new();
        if !rows.has(Pid::INIT) {
            self.read_each(&[Pid::INIT], threads, &mut |_, process| found.push(process));
        }
        let of_first =
            if threads { found.len() as u64 } else { found.first().map_or(0, |one| one.stat.threads.into()) };
        if rows.met() + of_first < count.max(self.task_count()) {
            let mut missing = self.numbers().unwrap_or_default();
            missing.retain(|pid| !rows.has(*pid));
            found.clear();
            self.read_each(&missing, threads, &mut |_, process| found.push(process));
        }
        found
    }

    fn read_each(&mut self, pids: &[Pid], threads: bool, take: &mut impl FnMut(&mut Reader, Process)) {
        for &pid in pids {
            if !threads {
                if let Some(stat) = self.stat(pid) {
                    take(self, Process::new(stat));
                }
                continue;
            }
            for thread in self.threads(pid) {
                if let Some(stat) = self.thread_stat(pid, thread) {
                    take(self, Process { tgid: pid, ..Process::new(stat) });
                }
            }
        }
    }

    /// How many threads there are on this machine; 0 where that is not told.
    fn task_count(&mut self) -> u64 {
        let text = self.read(b"loadavg", false).map(|length| &self.buffer[..length]).unwrap_or_default();
        // `0.00 0.00 0.00 1/123 4567`: how many run, of how many threads.
        let text = std::str::from_utf8(text).ok();
        text.and_then(|text| text.split(['/', ' ']).nth(4)?.parse().ok()).unwrap_or(0)
    }

    /// Threads of the kernel have names that only `/proc` tells to their end.
    pub(super) fn name_whole(&mut self, stat: &mut Stat) {
        let longer = stat.flags & QUEUE_WORKER != 0 || stat.name.len() == LONGEST_NAME;
        if stat.is_kernel()
            && longer
            && let Some(whole) = self.stat(stat.pid)
        {
            stat.name = whole.name;
        }
    }

    /// Looks at these only; of the same number, whoever has it now.
    ///
    /// # Errors
    /// As [`Reader::scan`].
    ///
    /// ```
    /// use doula_host::{Pid, procfs::{Reader, Want}};
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let gone = Pid::new(i32::MAX).expect("a number");
    /// let found = Reader::open()?.some(&[us, gone], &Want { traffic: true, ..Want::default() })?;
    /// assert_eq!(found.len(), 1, "who is gone is left out");
    /// assert!(found[0].traffic.known().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn some(&mut self, pids: &[Pid], want: &Want) -> io::Result<Vec<Process>> {
        let mut processes = Vec::new();
        for &pid in pids {
            processes.extend(self.stat(pid).map(Process::new));
        }
        for process in &mut processes {
            self.look(process, want);
        }
        self.ask_aside(&mut processes, want)?;
        Ok(processes)
    }

    /// Asks the files that never wait.
    pub(super) fn look(&mut self, process: &mut Process, want: &Want) {
        let (tgid, thread) = (process.tgid, process.stat.pid);
        let at = |file: &str| if want.threads { format!("task/{thread}/{file}") } else { file.to_owned() };
        if want.status {
            process.status = self.answer(tgid, &at("status"), |text| Some(Box::new(parse_status(text))));
        }
        if want.traffic {
            process.traffic = self.answer(tgid, &at("io"), parse_traffic);
        }
        if want.wchan {
            process.wchan = self.answer(tgid, &at("wchan"), waits_in);
        }
        if want.cgroup {
            process.cgroup = self.answer(tgid, &at("cgroup"), parse_cgroup);
        }
        if want.oom_score {
            let number = |text: &[u8]| std::str::from_utf8(text).ok()?.trim().parse().ok();
            process.oom_score = self.answer(tgid, &at("oom_score"), number);
        }
        if want.namespaces {
            process.namespaces = self.namespaces(tgid, &at("ns"));
        }
        if want.delays {
            let accounts = self.accounts.get_or_insert_with(Accounts::open);
            process.delays =
                if want.threads { accounts.of_thread(thread) } else { accounts.of_process(tgid) };
        }
    }

    /// Asks the files that may wait.
    pub(super) fn ask_aside(&mut self, processes: &mut [Process], want: &Want) -> io::Result<()> {
        let has_memory = |process: &&mut Process| !process.stat.is_kernel() && !process.stat.is_exiting();
        let mut asked: Vec<&mut Process> = processes.iter_mut().filter(has_memory).collect();
        let pids: Vec<Pid> = asked.iter().map(|process| process.tgid).collect();
        if want.args {
            let answers = aside::read(&self.proc, &pids, c"cmdline")?;
            asked.iter_mut().zip(answers).for_each(|(process, answer)| process.args = answer);
        }
        if want.share {
            let answers = aside::read(&self.proc, &pids, c"smaps_rollup")?;
            let parsed = answers.into_iter().map(|answer| answer.map(|text| parse_share(&text)));
            asked.iter_mut().zip(parsed).for_each(|(process, answer)| process.share = answer);
        }
        Ok(())
    }

    /// The numbers in links such as `pid:[4026531836]`.
    fn namespaces(&self, pid: Pid, directory: &str) -> Answer<Box<Namespaces>> {
        let mut denied = false;
        let mut one = |name: &str| {
            let mut room = [0; LONGEST];
            let path = format!("{pid}/{directory}/{name}");
            let link = with_nul(path.as_bytes(), |path| fd::read_link_at(&self.proc, path, &mut room));
            denied |= matches!(link, Err(Errno::EACCES | Errno::EPERM));
            let text = std::str::from_utf8(&room[..link.ok()?]).ok()?;
            text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
        };
        let found = Namespaces {
            cgroup: one("cgroup"),
            ipc: one("ipc"),
            mount: one("mnt"),
            net: one("net"),
            pid: one("pid"),
            time: one("time"),
            user: one("user"),
            uts: one("uts"),
        };
        match found {
            _ if denied => Answer::Denied,
            // It has let go of all but that of users, or is gone.
            Namespaces { net: None, mount: None, .. } => Answer::None,
            found => Answer::Is(Box::new(found)),
        }
    }

    pub(super) fn answer<T>(
        &mut self,
        pid: Pid,
        file: &str,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Answer<T> {
        match self.of(pid, file, true) {
            Ok(length) => parse(&self.buffer[..length]).map_or(Answer::None, Answer::Is),
            Err(errno) => refused(errno),
        }
    }

    fn of(&mut self, pid: Pid, file: &str, whole: bool) -> Result<usize, Errno> {
        self.path.clear();
        // Writing into memory cannot fail.
        let _ = write!(self.path, "{pid}/{file}");
        let path = std::mem::take(&mut self.path);
        let read = self.read(&path, whole);
        self.path = path;
        read
    }

    /// How many bytes of the buffer the file fills. With `whole` it is read on until its end, which is one call more; the
    /// line of `stat` comes at once.
    fn read(&mut self, path: &[u8], whole: bool) -> Result<usize, Errno> {
        let file = open_at(&self.proc, path)?;
        let mut filled = fd::read(&file, &mut self.buffer)?;
        while whole && filled > 0 && filled < MOST {
            if filled == self.buffer.len() {
                self.buffer.resize(filled * 2, 0);
            }
            match fd::read(&file, &mut self.buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn numbers_in(&mut self, path: &[u8]) -> Result<Vec<Pid>, Errno> {
        let directory = open_directory(&self.proc, path)?;
        let mut numbers = Vec::new();
        fd::entries(&directory, |name| {
            let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
            numbers.extend(number.and_then(Pid::new));
        })?;
        Ok(numbers)
    }
}

/// Longer than the name of any file here.
const LONGEST: usize = 64;

fn with_nul<T>(path: &[u8], then: impl FnOnce(&CStr) -> Result<T, Errno>) -> Result<T, Errno> {
    let mut room = [0; LONGEST];
    room.get_mut(..path.len()).ok_or(Errno::ENAMETOOLONG)?.copy_from_slice(path);
    then(CStr::from_bytes_until_nul(&room).map_err(|_| Errno::ENAMETOOLONG)?)
}

pub(super) fn open_at(proc: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    with_nul(path, |path| fd::open_at(proc, path, Access::Read))
}

fn open_directory(proc: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    with_nul(path, |path| fd::open_at(proc, path, Access::Directory))
}

/// `0` is for who does not wait, and for whom we may not see.
fn waits_in(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    (!matches!(text, b"" | b"0")).then(|| text.to_vec())
}

/// What an error means about the question.
pub(super) fn refused<T>(errno: Errno) -> Answer<T> {
    match errno {
        Errno::EACCES | Errno::EPERM => Answer::Denied,
        _ => Answer::None,
    }
}
