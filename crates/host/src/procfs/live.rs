//! The same processes again and again, as `top` looks at them: only who has run is read.
//!
//! Where we may walk over the kernel's tasks and there are many (`iterator`), what a walk writes of a process is compared with what the
//! one before wrote, and only where they differ is it worked out what `stat` would say. Else the files are read:
//!
//! Of a process with one thread one file stays open, `schedstat`: how long it ran and how often. It is three numbers. While they are the same, it has done nothing, and what `stat` said still holds. What others can change
//! about who sleeps is its parent, which is looked at again when that one ends, and small things (nice value, pages that are
//! taken from it), which are looked at again every twenty looks, and at once by [`Live::refresh`].
//! Who has several threads, or a kernel that keeps no such account, is read by an open `stat`.
//!
//! Above the limit of open files the rest is opened, read and closed each time. The list of `/proc` is read only when somebody was
//! born since the last look (`processes` in `/proc/stat`), and every twenty looks. Absent on purpose: when to look.

use super::iterator::Walked;
use super::reader::open_at;
use super::{Reader, Spare, Want, parse_stat};
use doula_model::id::Pid;
use doula_model::plan::{Resource, Rlimit};
use doula_model::process::{Answer, Identity, ProcState, Process, Stat};
use doula_sys::fd::{self, OwnedFd};
use doula_sys::limits;
use std::collections::BTreeSet;
use std::io;

/// After so many looks everything was read again. With one look a second, nothing is older than this many seconds.
const TURNS: u32 = 20;
/// Of the open files that we may have, so many are left to others.
const SPARED: u64 = 256;
/// Longer than any line of `schedstat`, and of `stat`.
const LINE: usize = 2048;

/// All processes that we may see, kept from look to look.
///
/// ```
/// use doula_host::procfs::{Live, Want};
/// let mut live = Live::open()?;
/// live.look(&Want::default())?;
/// live.look(&Want::default())?;
/// let us = live.processes().iter().position(|process| process.stat.pid.get() as u32 == std::process::id());
/// // Between two looks it is known how much CPU time was spent.
/// assert!(live.spent(us.expect("we live")).is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Live {
    reader: Reader,
    processes: Vec<Process>,
    /// For each process, at the same place.
    kept: Vec<Kept>,
    /// So many more files may stay open.
    room: u64,
    /// `processes` of `/proc/stat` at the last list.
    forks: Option<u64>,
    turn: u32,
    line: Vec<u8>,
    /// What the last two walks over the kernel's tasks wrote, the later one first.
    walks: [Walked; 2],
}

#[derive(Debug)]
struct Kept {
    file: File,
    /// CPU time in ticks at the look before; nothing of who was not there.
    before: Option<u64>,
    /// Whether it was read in this look.
    read: bool,
}

#[derive(Debug)]
enum File {
    /// `schedstat`, with what it said.
    Account(OwnedFd, Vec<u8>),
    /// `stat`.
    Stat(OwnedFd),
    /// None stays open.
    Closed,
}

impl Kept {
    /// Of whom this look saw first.
    fn new(file: File) -> Kept {
        Kept { file, before: None, read: true }
    }
}

impl Live {
    /// At `/proc`. Our own soft limit of open files is raised to the hard one.
    ///
    /// # Errors
    /// When `/proc` is not there.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// let mut live = Live::open()?;
    /// assert!(live.processes().is_empty(), "nobody looked yet");
    /// live.look(&Want::default())?;
    /// assert!(!live.processes().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn open() -> io::Result<Live> {
        let limit = limits::get(Resource::Nofile).map_err(super::system_error)?;
        let raised = Rlimit { soft: limit.hard, ..limit };
        let files = if limits::set(raised).is_ok() { limit.hard } else { limit.soft };
        Live::with_room(files.saturating_sub(SPARED))
    }

    /// With at most so many files open.
    ///
    /// # Errors
    /// When `/proc` is not there.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// // For a program that needs its descriptors for itself: slower, and the same is seen.
    /// let mut live = Live::with_room(64)?;
    /// live.look(&Want::default())?;
    /// assert!(!live.processes().is_empty());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_room(room: u64) -> io::Result<Live> {
        let reader = Reader::open()?;
        let (processes, kept, line) = (Vec::new(), Vec::new(), vec![0; LINE]);
        let walks = Default::default();
        Ok(Live { reader, processes, kept, room, forks: None, turn: 0, line, walks })
    }

    /// Who was there at the last look, by rising numbers.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// let mut live = Live::open()?;
    /// live.look(&Want::default())?;
    /// assert!(live.processes().is_sorted_by_key(|process| process.stat.pid));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Makes an earlier copy of [`Live::processes`] the present one: who is as before is left as it is.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// let mut live = Live::open()?;
    /// live.look(&Want::default())?;
    /// let mut copy = live.processes().to_vec();
    /// live.look(&Want::default())?;
    /// live.copy_into(&mut copy);
    /// assert_eq!(copy, live.processes());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn copy_into(&self, copy: &mut Vec<Process>) {
        copy.truncate(self.processes.len());
        for (old, new) in copy.iter_mut().zip(&self.processes) {
            if old != new {
                old.clone_from(new);
            }
        }
        copy.extend_from_slice(&self.processes[copy.len()..]);
    }

    /// How many ticks of CPU time the process at this place spent between the last two looks; nothing of who was born since.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// let mut live = Live::open()?;
    /// live.look(&Want::default())?;
    /// assert!((0..live.processes().len()).all(|at| live.spent(at).is_none()), "there was one look only");
    /// live.look(&Want::default())?;
    /// for (at, process) in live.processes().iter().enumerate() {
    ///     println!("{}: {:?} ticks", process.stat.pid, live.spent(at));
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spent(&self, at: usize) -> Option<u64> {
        let kept = self.kept.get(at)?;
        Some(ticks(&self.processes.get(at)?.stat).saturating_sub(kept.before?))
    }

    /// How many were read in the last look, and not only found unchanged.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// let mut live = Live::open()?;
    /// live.look(&Want::default())?;
    /// assert_eq!(live.read_count(), live.processes().len(), "all of them are new");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn read_count(&self) -> usize {
        self.kept.iter().filter(|kept| kept.read).count()
    }

    /// The reader that is used, for questions about one process.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Text};
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let mut live = Live::open()?;
    /// assert!(live.reader().text(us, Text::Limits).known().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Looks again at all.
    ///
    /// # Errors
    /// When `/proc` cannot be listed, or no copy of us can be made that reads what may wait.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let mut live = Live::open()?;
    /// // The second look costs less: only who has run meanwhile is read.
    /// for _ in 0..2 {
    ///     live.look(&Want::default())?;
    ///     assert!(live.place(us).is_some());
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn look(&mut self, want: &Want) -> io::Result<()> {
        self.turn = self.turn.wrapping_add(1);
        if !self.walk(want.spare) {
            let ended = self.look_at_known();
            self.look_at_orphans(&ended);
            self.look_for_new()?;
        }
        if (Want { spare: Spare::default(), ..*want }) != Want::default() {
            let every: Vec<usize> = (0..self.processes.len()).collect();
            self.ask(&every, want)?;
        }
        Ok(())
    }

    /// Reads these anew, whether they have run or not, with what is asked; others with the same numbers are left alone.
    ///
    /// # Errors
    /// When no copy of us can be made that reads what may wait.
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let mut live = Live::open()?;
    /// live.look(&Want::default())?;
    /// let at = live.place(us).expect("we live");
    /// // What is dear is asked for the few that are shown.
    /// let shown = live.processes()[at].stat.identity();
    /// live.refresh(&[shown], &Want { args: true, ..Want::default() })?;
    /// assert!(live.processes()[at].args.known().is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn refresh(&mut self, whom: &[Identity], want: &Want) -> io::Result<()> {
        let mut places = Vec::new();
        for identity in whom {
            let Some(at) = self.place(identity.pid) else { continue };
            if self.processes[at].stat.identity() != *identity {
                continue;
            }
            if !self.kept[at].read
                && let Some(stat) = self.reader.stat(identity.pid).filter(|stat| stat.identity() == *identity)
            {
                self.processes[at].stat = stat;
                self.kept[at].read = true;
            }
            places.push(at);
        }
        self.ask(&places, want)
    }

    /// The place of a number in [`Live::processes`].
    ///
    /// ```
    /// use doula_host::procfs::{Live, Want};
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let mut live = Live::open()?;
    /// live.look(&Want::default())?;
    /// let at = live.place(us).expect("we live");
    /// assert_eq!(live.processes()[at].stat.pid, us);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn place(&self, pid: Pid) -> Option<usize> {
        self.processes.binary_search_by_key(&pid, |process| process.stat.pid).ok()
    }

    /// Looks at all by a walk over the kernel's tasks, if that can be.
    fn walk(&mut self, spare: Spare) -> bool {
        self.walks.swap(0, 1);
        let [now, before] = &mut self.walks;
        let want = Want { spare, ..Want::default() };
        let left_out = self.reader.with_rows(&want, |_, rows, left_out| {
            now.take(rows);
            left_out
        });
        let Some(left_out) = left_out else { return false };
        let (mut pids, mut fresh) = (Vec::with_capacity(self.processes.len()), Vec::new());
        let like = now.is_like(before);
        let mut before = before.processes().filter(|_| like).peekable();
        for (pid, written) in now.processes() {
            pids.push(pid);
            while before.next_if(|(old, _)| *old < pid).is_some() {}
            if before.peek() != Some(&(pid, written))
                && let Some(mut stat) = now.line(written)
            {
                self.reader.name_whole(&mut stat);
                fresh.push((pid, stat));
            }
        }
        drop(before);
        if !left_out.is_empty() {
            pids.extend(left_out.iter().map(|process| process.tgid));
            pids.sort_unstable();
            fresh.extend(left_out.into_iter().map(|process| (process.tgid, process.stat)));
            fresh.sort_by_key(|(pid, _)| *pid);
        }
        // None of the files is read any more.
        self.room += self.kept.iter().filter(|kept| !matches!(kept.file, File::Closed)).count() as u64;
        self.take(&pids, fresh);
        true
    }

    /// These there are, and of those more was learned.
    fn take(&mut self, pids: &[Pid], fresh: Vec<(Pid, Stat)>) {
        let mut fresh = fresh.into_iter().peekable();
        let mut next = |pid: Pid| fresh.next_if(|(of, _)| *of == pid).map(|(_, stat)| stat);
        if self.processes.iter().map(|process| &process.stat.pid).eq(pids) {
            let known = self.processes.iter_mut().zip(&mut self.kept);
            return known.for_each(|(process, kept)| renew(process, kept, next(process.stat.pid)));
        }
        let known = std::mem::take(&mut self.processes).into_iter().zip(std::mem::take(&mut self.kept));
        let mut known = known.peekable();
        for &pid in pids {
            while known.next_if(|(process, _)| process.stat.pid < pid).is_some() {}
            let stat = next(pid);
            let found = match (known.next_if(|(process, _)| process.stat.pid == pid), stat) {
                (Some((mut process, mut kept)), stat) => {
                    renew(&mut process, &mut kept, stat);
                    Some((process, kept))
                }
                (None, stat) => stat.map(|stat| (Process::new(stat), Kept::new(File::Closed))),
            };
            if let Some((process, kept)) = found {
                self.processes.push(process);
                self.kept.push(kept);
            }
        }
    }

    /// Drops who is gone; gives the numbers of those who have ended, also if they are not buried.
    fn look_at_known(&mut self) -> BTreeSet<i32> {
        let mut ended = BTreeSet::new();
        let known = std::mem::take(&mut self.processes).into_iter().zip(std::mem::take(&mut self.kept));
        for (mut process, mut kept) in known {
            kept.before = Some(ticks(&process.stat));
            let pid = process.stat.pid.get();
            if self.again(&mut process, &mut kept) {
                if process.stat.is_zombie() {
                    ended.insert(pid);
                }
                self.processes.push(process);
                self.kept.push(kept);
            } else {
                ended.insert(pid);
                self.close(kept.file);
            }
        }
        ended
    }

    /// Looks at one; `false` when it is gone.
    fn again(&mut self, process: &mut Process, kept: &mut Kept) -> bool {
        kept.read = true;
        let pid = process.stat.pid;
        let found = match &mut kept.file {
            File::Account(file, said) => match fd::read_at(&*file, &mut self.line, 0) {
                Err(_) => return false,
                Ok(length) => {
                    let same = self.line[..length] == **said && process.stat.state != ProcState::Running;
                    let due = (pid.get() as u32).wrapping_add(self.turn).is_multiple_of(TURNS);
                    if same && !due {
                        kept.read = false;
                        return true;
                    }
                    said.clear();
                    said.extend_from_slice(&self.line[..length]);
                    self.reader.stat(pid)
                }
            },
            File::Stat(file) => match fd::read_at(&*file, &mut self.line, 0) {
                Ok(length) => parse_stat(&self.line[..length]),
                Err(_) => return false,
            },
            File::Closed => self.reader.stat(pid),
        };
        let Some(stat) = found.filter(|stat| stat.identity() == process.stat.identity()) else {
            return false;
        };
        let regrown = (stat.threads > 1) != (process.stat.threads > 1);
        if stat.name != process.stat.name {
            // It runs another program, or says so: its arguments are others.
            process.args = Answer::Unasked;
        }
        process.stat = stat;
        if regrown {
            let before = std::mem::replace(&mut kept.file, File::Closed);
            self.close(before);
            kept.file = self.keep(&process.stat);
        }
        true
    }

    /// Whoever lost its parent has another one now, without having run.
    fn look_at_orphans(&mut self, ended: &BTreeSet<i32>) {
        if ended.is_empty() {
            return;
        }
        for (process, kept) in self.processes.iter_mut().zip(&mut self.kept) {
            if !kept.read
                && ended.contains(&process.stat.ppid)
                && let Some(stat) = self.reader.stat(process.stat.pid)
                && stat.identity() == process.stat.identity()
            {
                process.stat = stat;
                kept.read = true;
            }
        }
    }

    fn look_for_new(&mut self) -> io::Result<()> {
        // Before the list: who is born after this is found at the next look.
        let forks = forks();
        if forks.is_some() && forks == self.forks && !self.turn.is_multiple_of(TURNS) {
            return Ok(());
        }
        self.forks = forks;
        let numbers = self.reader.numbers()?;
        let mut new = Vec::new();
        for pid in numbers {
            if self.place(pid).is_none()
                && let Some(stat) = self.reader.stat(pid)
            {
                new.push((Process::new(stat.clone()), self.keep(&stat)));
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        let known = std::mem::take(&mut self.processes).into_iter().zip(std::mem::take(&mut self.kept));
        let new = new.into_iter().map(|(process, file)| (process, Kept::new(file)));
        let mut all: Vec<(Process, Kept)> = known.chain(new).collect();
        all.sort_by_key(|(process, _)| process.stat.pid);
        (self.processes, self.kept) = all.into_iter().unzip();
        Ok(())
    }

    /// Opens what is read of it from now on, and proves that it is of the same process.
    fn keep(&mut self, stat: &Stat) -> File {
        if self.room == 0 {
            return File::Closed;
        }
        let file = if stat.threads == 1 { self.account(stat.pid) } else { None };
        let file = file.or_else(|| {
            open_at(&self.reader.proc, format!("{}/stat", stat.pid).as_bytes()).ok().map(File::Stat)
        });
        // Now the file is open: who has the number still is whom it belongs to.
        let same = self.reader.stat(stat.pid).is_some_and(|now| now.identity() == stat.identity());
        match file.filter(|_| same) {
            Some(file) => {
                self.room -= 1;
                file
            }
            None => File::Closed,
        }
    }

    fn account(&mut self, pid: Pid) -> Option<File> {
        let file = open_at(&self.reader.proc, format!("{pid}/schedstat").as_bytes()).ok()?;
        let length = fd::read_at(&file, &mut self.line, 0).ok()?;
        // Nobody has lived without having run: this kernel keeps no account.
        let told = !self.line[..length].starts_with(b"0 ");
        // What it did since its line was read is not in the line: it must look different at the next look.
        told.then(|| File::Account(file, Vec::new()))
    }

    fn close(&mut self, file: File) {
        if !matches!(file, File::Closed) {
            self.room += 1;
        }
    }

    /// Asks what is wanted of those at these places; what was known and is not asked stays.
    fn ask(&mut self, places: &[usize], want: &Want) -> io::Result<()> {
        let mut fresh = Vec::with_capacity(places.len());
        for &at in places {
            let mut process = Process::new(self.processes[at].stat.clone());
            self.reader.look(&mut process, want);
            fresh.push(process);
        }
        self.reader.ask_aside(&mut fresh, want)?;
        for (&at, fresh) in places.iter().zip(fresh) {
            merge(&mut self.processes[at], fresh);
        }
        Ok(())
    }
}

/// After a walk, which says all that a file would: what differs now, if something does.
fn renew(process: &mut Process, kept: &mut Kept, fresh: Option<Stat>) {
    *kept = Kept { before: Some(ticks(&process.stat)), ..Kept::new(File::Closed) };
    match fresh {
        None => {}
        Some(stat) if stat.identity() == process.stat.identity() => {
            if stat.name != process.stat.name {
                process.args = Answer::Unasked;
            }
            process.stat = stat;
        }
        Some(stat) => {
            *process = Process::new(stat);
            kept.before = None;
        }
    }
}

fn merge(known: &mut Process, fresh: Process) {
    fn newer<T>(known: &mut Answer<T>, fresh: Answer<T>) {
        if !matches!(fresh, Answer::Unasked) {
            *known = fresh;
        }
    }
    newer(&mut known.status, fresh.status);
    newer(&mut known.args, fresh.args);
    newer(&mut known.share, fresh.share);
    newer(&mut known.traffic, fresh.traffic);
    newer(&mut known.wchan, fresh.wchan);
    newer(&mut known.cgroup, fresh.cgroup);
    newer(&mut known.oom_score, fresh.oom_score);
    newer(&mut known.namespaces, fresh.namespaces);
    newer(&mut known.delays, fresh.delays);
}

const fn ticks(stat: &Stat) -> u64 {
    stat.cpu.0 + stat.cpu.1
}

/// How many were born since the machine started; nothing where that is not told.
fn forks() -> Option<u64> {
    let text = std::fs::read("/proc/stat").ok()?;
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"processes "))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}
