//! What is in a journal.

use super::{Begin, End, Ended, Entry, Failed, Head, Hired, Settled, Started, Text};
use crate::jobs::Identity;
use crate::journal::{line, this_world};
use doula_model::task::{Failure, TaskId};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What happened so far. It is read piece by piece, as the file grows.
///
/// ```
/// use doula_host::jobs::journal::Journal;
/// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
/// # let path = file.path();
/// let mut journal = Journal::open(path, false)?;
/// journal.begin("echo {}", 1)?;
/// let past = Journal::read(path)?;
/// let open = past.tasks.values().filter(|task| task.settled.is_none()).count();
/// assert_eq!((open, past.over, past.damaged), (0, false, 0));
/// # std::fs::remove_dir_all(journal.folder())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    /// Who worked at it last.
    pub head: Option<Head>,
    /// All that was begun.
    pub tasks: BTreeMap<TaskId, Task>,
    /// So many lines are damaged.
    pub damaged: u64,
    /// One of them may have said that a job was started.
    pub hides_starts: bool,
    /// The workers of all runs that were here.
    pub hired: Vec<Hired>,
    /// Nothing is begun, for want of this.
    pub short: Option<String>,
    /// The last run came to its end in order.
    pub over: bool,
    /// The last run was here: since this start of the machine, in our PID namespace.
    here: bool,
    /// The beginning of a line.
    part: Vec<u8>,
}

/// One task.
///
/// ```
/// use doula_host::jobs::journal::Task;
/// fn is_open(task: &Task) -> bool {
///     task.settled.is_none() || task.again
/// }
/// assert!(is_open(&Task::default()));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// In the order in which they began.
    pub attempts: Vec<Attempt>,
    /// What became of it at last.
    pub settled: Option<Settled>,
    /// What it said was shown.
    pub shown: bool,
    /// It is to be tried again nevertheless.
    pub again: bool,
}

/// One attempt.
///
/// ```
/// use doula_host::jobs::journal::Attempt;
/// /// What a run that goes on has to think of the last attempt of the run before.
/// fn told(attempt: &Attempt) -> &'static str {
///     match attempt {
///         Attempt { ended: Some(_), .. } => "it has ended",
///         Attempt { started: Some(_), here: true, .. } => "it may run still",
///         Attempt { started: Some(_), here: false, .. } => "nobody knows how it ended",
///         Attempt { started: None, .. } => "it never began",
///     }
/// }
/// assert_eq!(told(&Attempt::default()), "it never began");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempt {
    /// Of which run.
    pub run: u32,
    /// The n-th at its task, from 1.
    pub number: u32,
    /// What was to be done.
    pub begin: Option<Begin>,
    /// Its shim came in time.
    pub started: Option<Started>,
    /// The shim was born since this start of the machine, in our PID namespace: there its number means something.
    pub here: bool,
    /// Its job ended.
    pub ended: Option<Ended>,
    /// There was to be another one.
    pub failed: Option<Failed>,
}

impl Task {
    /// The last attempt.
    ///
    /// ```
    /// use doula_host::jobs::journal::{Attempt, Task};
    /// let attempts = [1, 2].map(|number| Attempt { number, ..Attempt::default() }).to_vec();
    /// let task = Task { attempts, ..Task::default() };
    /// assert_eq!(task.last().map(|attempt| attempt.number), Some(2));
    /// ```
    #[must_use]
    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// What was to be done, as far as that is known.
    ///
    /// ```
    /// use doula_host::jobs::journal::{Task, Text};
    /// fn command(task: &Task) -> Option<String> {
    ///     let words = task.begin()?.words.iter().map(Text::bytes);
    ///     Some(words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "))
    /// }
    /// assert_eq!(command(&Task::default()), None);
    /// ```
    #[must_use]
    pub fn begin(&self) -> Option<&Begin> {
        self.attempts.iter().rev().find_map(|attempt| attempt.begin.as_ref())
    }

    /// It is given to workers, and has no command of its own.
    ///
    /// ```
    /// use doula_host::jobs::{TaskId, journal::{Attempt, Begin, Task, Text}};
    /// let inputs = vec![Text::Plain("a.png".to_owned())];
    /// let begin = Begin { task: TaskId(1), attempt: 1, slot: 1, at: 0, words: Vec::new(), inputs };
    /// let task = Task { attempts: vec![Attempt { begin: Some(begin), ..Attempt::default() }], ..Task::default() };
    /// assert!(task.is_for_workers());
    /// ```
    #[must_use]
    pub fn is_for_workers(&self) -> bool {
        self.begin().is_some_and(|begin| begin.words.is_empty())
    }

    /// So many attempts ended in the death of their job, or of the worker that had it: that one dies of an exit code too.
    ///
    /// ```
    /// use doula_host::Signal;
    /// use doula_host::jobs::{Failure, TaskId, journal::{Attempt, Failed, Task}};
    /// let failed = |attempt, failure| Failed { task: TaskId(1), attempt, failure, until: 0 };
    /// let attempts = [failed(1, Failure::Code(1)), failed(2, Failure::Signal(Signal::SEGV))]
    ///     .map(|failed| Attempt { number: failed.attempt, failed: Some(failed), ..Attempt::default() });
    /// assert_eq!(Task { attempts: attempts.to_vec(), ..Task::default() }.deaths(), 1);
    /// ```
    #[must_use]
    pub fn deaths(&self) -> u32 {
        u32::try_from(self.deadly().count()).unwrap_or(u32::MAX)
    }

    /// Those of which [`deaths`](Self::deaths) is the count, and how they failed.
    ///
    /// ```
    /// use doula_host::jobs::{Failure, TaskId, journal::{Attempt, Begin, Failed, Task}};
    /// // Who has no words of a command of its own is given to a worker.
    /// let begin = Begin { task: TaskId(1), attempt: 1, slot: 1, at: 0, words: Vec::new(), inputs: Vec::new() };
    /// let failed = Failed { task: TaskId(1), attempt: 1, failure: Failure::Code(3), until: 0 };
    /// let attempt = Attempt { begin: Some(begin), failed: Some(failed), ..Attempt::default() };
    /// let task = Task { attempts: vec![attempt], ..Task::default() };
    /// assert!(task.deadly().map(|(_, failure)| failure).eq([Failure::Code(3)]));
    /// ```
    pub fn deadly(&self) -> impl Iterator<Item = (&Attempt, Failure)> {
        let by_worker = self.is_for_workers();
        let failed =
            self.attempts.iter().filter_map(|attempt| Some((attempt, attempt.failed.as_ref()?.failure)));
        failed.filter(move |(_, failure)| failure.is_death() || by_worker && failure.ends_worker())
    }
}

impl Past {
    /// Takes in what comes next. What is no whole line waits for its rest.
    ///
    /// ```
    /// use doula_host::jobs::journal::{Journal, Past};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// let text = std::fs::read(path)?;
    /// // In whatever pieces it comes.
    /// let mut past = Past::default();
    /// text.chunks(10).for_each(|piece| past.read(piece));
    /// assert_eq!(past, Journal::read(path)?);
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&mut self, text: &[u8]) {
        self.part.extend_from_slice(text);
        let part = std::mem::take(&mut self.part);
        let mut rest = part.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            self.line(&rest[..end]);
            rest = &rest[end + 1..];
        }
        self.part = rest.to_vec();
    }

    /// The n-th run is the next one.
    ///
    /// ```
    /// use doula_host::jobs::journal::{Journal, Past};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// assert_eq!(Past::default().next_run(), 1);
    /// let mut journal = Journal::open(path, false)?;
    /// assert_eq!(journal.begin("echo {}", 1)?.next_run(), 2);
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn next_run(&self) -> u32 {
        self.head.as_ref().map_or(1, |head| head.run + 1)
    }

    /// What it ends with, without the end of a line.
    pub(super) fn torn(&self) -> &[u8] {
        &self.part
    }

    fn line(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        match line::parse(text) {
            Some(entry) => self.take(entry),
            None => {
                self.damaged += 1;
                self.hides_starts |= may_be_a_start(text);
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        let run = self.head.as_ref().map_or(0, |head| head.run);
        match entry {
            Entry::Head(head) => {
                (self.over, self.short) = (false, None);
                self.damaged = self.damaged.max(head.damaged);
                self.here = head.world == this_world();
                self.head = Some(head);
            }
            Entry::Begin(begin) => {
                let task = self.tasks.entry(begin.task).or_default();
                (task.settled, task.shown, task.again) = (None, false, false);
                let attempt = task.attempt(run, begin.attempt);
                attempt.begin = Some(begin);
            }
            // Of an earlier run: it came too late, and its job never ran.
            Entry::Started(started) if started.run != run => {}
            Entry::Started(mut started) => {
                self.disown(&mut started.leaf, &mut started.mark);
                let task = self.tasks.entry(started.task).or_default();
                let attempt = task.attempt(run, started.attempt);
                (attempt.started, attempt.here) = (Some(started), self.here);
            }
            Entry::Ended(ended) => {
                let task = self.tasks.entry(ended.task).or_default();
                let attempt = task.attempt(ended.run, ended.attempt);
                attempt.ended = Some(ended);
            }
            Entry::Hired(hired) if hired.run != run || !self.here => {}
            Entry::Hired(mut hired) => {
                let Identity { leaf, mark, .. } = &mut hired.worker;
                self.disown(leaf, mark);
                self.hired.push(hired);
            }
            Entry::Failed(failed) => {
                let task = self.tasks.entry(failed.task).or_default();
                if let Some(last) = task.attempts.iter_mut().rev().find(|last| last.number == failed.attempt)
                {
                    last.failed = Some(failed);
                }
            }
            Entry::Settled(settled) => {
                let task = self.tasks.entry(settled.task).or_default();
                (task.settled, task.again) = (Some(settled), false);
            }
            Entry::Shown(task) => self.tasks.entry(task).or_default().set_shown(),
            Entry::Retry(task) => self.tasks.entry(task).or_default().again = true,
            Entry::Short(what) => self.short = what,
            Entry::Over => {
                self.over = true;
                self.hired.clear();
            }
        }
    }
}

impl Task {
    /// What it said is needed no more.
    fn set_shown(&mut self) {
        self.shown = true;
        if let Some(answer) = self.settled.as_mut().and_then(|settled| settled.answer.as_mut()) {
            (answer.output, answer.error) = (Text::Plain(String::new()), Text::Plain(String::new()));
        }
    }

    /// The attempt of this run and number.
    fn attempt(&mut self, run: u32, number: u32) -> &mut Attempt {
        let known = self.attempts.iter().rposition(|attempt| attempt.run == run && attempt.number == number);
        let at = known.unwrap_or_else(|| {
            self.attempts.push(Attempt { run, number, ..Attempt::default() });
            self.attempts.len() - 1
        });
        &mut self.attempts[at]
    }
}

impl Past {
    /// Forgets a cgroup or a mark that the last run did not make.
    fn disown(&self, leaf: &mut Option<PathBuf>, mark: &mut Option<String>) {
        let ours = |name: &str| self.head.as_ref().is_some_and(|head| is_made_by(head, name));
        leaf.take_if(|leaf| !ours(&leaf.to_string_lossy()));
        mark.take_if(|mark| !ours(mark));
    }
}

/// Whether this run gave a cgroup or a mark its name. One that was not is shared with others: with whoever began the run, perhaps.
fn is_made_by(head: &Head, name: &str) -> bool {
    let whose = format!("{}.{}.", head.pid, head.start);
    let name = name.rsplit('/').next().unwrap_or(name);
    name.starts_with(&whose) || name.contains(&format!(".{whose}"))
}

/// Whether a damaged line may have told of a start: it says nothing else.
fn may_be_a_start(text: &[u8]) -> bool {
    let words = line::words(text);
    let others: [&[u8]; 9] = [
        b"{\"head\"",
        b"{\"begin\"",
        b"{\"ended\"",
        b"{\"hired\"",
        b"{\"failed\"",
        b"{\"settled\"",
        b"{\"shown\"",
        b"{\"retry\"",
        b"{\"short\"",
    ];
    !others.iter().any(|other| words.starts_with(other))
}

/// The ends of jobs, as the file grows: what the run itself wants to know of it.
///
/// ```
/// use doula_host::jobs::{TaskId, journal::{End, Ended, Ends, Entry, Journal}};
/// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
/// # let path = file.path();
/// # let end = End::Status(doula_host::ExitStatus::code(0));
/// # let ended = Ended { task: TaskId(1), attempt: 1, run: 1, end, pid: None, began: 0, took: 9, cpu: (5, 1), max_rss_kb: 900, oom_kills: None };
/// let mut journal = Journal::open(path, false)?;
/// journal.begin("echo {}", 1)?;
/// journal.append(&Entry::Ended(ended.clone()))?;
/// let mut ends = Ends::default();
/// ends.read(&std::fs::read(path)?);
/// assert_eq!(ends.take(1, TaskId(1), 1), Some(ended));
/// # std::fs::remove_dir_all(journal.folder())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Ends {
    part: Vec<u8>,
    known: BTreeMap<(u32, TaskId, u32), Ended>,
}

impl Ends {
    /// Takes in what comes next.
    ///
    /// ```
    /// use doula_host::jobs::{TaskId, journal::{End, Ended, Ends, Entry, Journal}};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// # let end = End::Status(doula_host::ExitStatus::code(0));
    /// # let ended = Ended { task: TaskId(1), attempt: 1, run: 1, end, pid: None, began: 0, took: 9, cpu: (5, 1), max_rss_kb: 900, oom_kills: None };
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// journal.append(&Entry::Ended(ended.clone()))?;
    /// let text = std::fs::read(path)?;
    /// let (before, rest) = text.split_at(text.len() - 1);
    /// let mut ends = Ends::default();
    /// ends.read(before);
    /// assert_eq!(ends.take(1, TaskId(1), 1), None, "a line counts when it is whole");
    /// ends.read(rest);
    /// assert_eq!(ends.take(1, TaskId(1), 1), Some(ended));
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&mut self, text: &[u8]) {
        self.part.extend_from_slice(text);
        let part = std::mem::take(&mut self.part);
        let mut rest = part.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let text = &rest[..end];
            if line::words(text).starts_with(b"{\"ended\"")
                && let Some(Entry::Ended(ended)) = line::parse(text)
            {
                self.known.insert((ended.run, ended.task, ended.attempt), ended);
            }
            rest = &rest[end + 1..];
        }
        self.part = rest.to_vec();
    }

    /// How this attempt ended, if that is known; once.
    ///
    /// ```
    /// use doula_host::jobs::{TaskId, journal::{End, Ended, Ends, Entry, Journal}};
    /// # let file = doula_host::shutdown::TempFile::new_in(std::env::temp_dir(), "journal")?;
    /// # let path = file.path();
    /// # let end = End::Status(doula_host::ExitStatus::code(0));
    /// # let ended = Ended { task: TaskId(1), attempt: 1, run: 1, end, pid: None, began: 0, took: 9, cpu: (5, 1), max_rss_kb: 900, oom_kills: None };
    /// let mut journal = Journal::open(path, false)?;
    /// journal.begin("echo {}", 1)?;
    /// journal.append(&Entry::Ended(ended.clone()))?;
    /// let mut ends = Ends::default();
    /// ends.read(&std::fs::read(path)?);
    /// assert!(ends.take(1, TaskId(1), 1).is_some());
    /// assert!(ends.take(1, TaskId(1), 1).is_none(), "it was taken");
    /// # std::fs::remove_dir_all(journal.folder())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take(&mut self, run: u32, task: TaskId, attempt: u32) -> Option<Ended> {
        self.known.remove(&(run, task, attempt))
    }
}

impl Ended {
    /// Whether it succeeded.
    ///
    /// ```
    /// use doula_host::jobs::{TaskId, journal::{End, Ended}};
    /// let end = End::NotStarted(127, "there is no such program".to_owned());
    /// let ended = Ended { task: TaskId(1), attempt: 1, run: 1, end, pid: None, began: 0, took: 0, cpu: (0, 0), max_rss_kb: 0, oom_kills: None };
    /// assert!(!ended.success());
    /// ```
    #[must_use]
    pub fn success(&self) -> bool {
        matches!(&self.end, End::Status(status) if status.success())
    }
}
