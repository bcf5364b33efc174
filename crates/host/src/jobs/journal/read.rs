//! What is in a journal.

use super::{Begin, End, Ended, Entry, Failed, Head, Settled, Started};
use crate::journal::{line, this_world};
use doula_model::task::TaskId;
use std::collections::BTreeMap;

/// What happened so far. It is read piece by piece, as the file grows.
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
    #[must_use]
    pub fn last(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    /// What was to be done, as far as that is known.
    #[must_use]
    pub fn begin(&self) -> Option<&Begin> {
        self.attempts.iter().rev().find_map(|attempt| attempt.begin.as_ref())
    }

    /// So many attempts ended in the death of their job.
    #[must_use]
    pub fn deaths(&self) -> u32 {
        let failed = self.attempts.iter().filter_map(|attempt| attempt.failed.as_ref());
        failed.map(|failed| u32::from(failed.failure.is_death())).sum()
    }
}

impl Past {
    /// Takes in what comes next. What is no whole line waits for its rest.
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
                let head = self.head.as_ref();
                started
                    .leaf
                    .take_if(|leaf| !head.is_some_and(|head| is_made_by(head, &leaf.to_string_lossy())));
                started.mark.take_if(|mark| !head.is_some_and(|head| is_made_by(head, mark)));
                let task = self.tasks.entry(started.task).or_default();
                let attempt = task.attempt(run, started.attempt);
                (attempt.started, attempt.here) = (Some(started), self.here);
            }
            Entry::Ended(ended) => {
                let task = self.tasks.entry(ended.task).or_default();
                let attempt = task.attempt(ended.run, ended.attempt);
                attempt.ended = Some(ended);
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
            Entry::Shown(task) => self.tasks.entry(task).or_default().shown = true,
            Entry::Retry(task) => self.tasks.entry(task).or_default().again = true,
            Entry::Short(what) => self.short = what,
            Entry::Over => self.over = true,
        }
    }
}

impl Task {
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

/// Whether this run gave a cgroup or a mark its name. One that was not is shared with others: with whoever began the run, perhaps.
fn is_made_by(head: &Head, name: &str) -> bool {
    let whose = format!("{}.{}.", head.pid, head.start);
    let name = name.rsplit('/').next().unwrap_or(name);
    name.starts_with(&whose) || name.contains(&format!(".{whose}"))
}

/// Whether a damaged line may have told of a start: it says nothing else.
fn may_be_a_start(text: &[u8]) -> bool {
    let words = line::words(text);
    let others: [&[u8]; 8] = [
        b"{\"head\"",
        b"{\"begin\"",
        b"{\"ended\"",
        b"{\"failed\"",
        b"{\"settled\"",
        b"{\"shown\"",
        b"{\"retry\"",
        b"{\"short\"",
    ];
    !others.iter().any(|other| words.starts_with(other))
}

/// The ends of jobs, as the file grows: what the run itself wants to know of it.
#[derive(Debug, Default)]
pub struct Ends {
    part: Vec<u8>,
    known: BTreeMap<(u32, TaskId, u32), Ended>,
}

impl Ends {
    /// Takes in what comes next.
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
    pub fn take(&mut self, run: u32, task: TaskId, attempt: u32) -> Option<Ended> {
        self.known.remove(&(run, task, attempt))
    }
}

impl Ended {
    /// Whether it succeeded.
    #[must_use]
    pub fn success(&self) -> bool {
        matches!(&self.end, End::Status(status) if status.success())
    }
}
