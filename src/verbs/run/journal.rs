//! `--journal`: what a run writes down, and how it goes on where another one stopped.
//!
//! What became of each task before is its [`Fate`], decided once when the journal is opened. Then all inputs of the tasks that were
//! begun are compared with what is written, before anything is begun; what is not settled is given out first, and of that those
//! that live still before all others.

use super::bundle::Death;
use super::report::{Settled, Subject, joblog};
use super::template::{Inputs, quote};
use crate::error::{Failure, Kind};
use doula_host::jobs::journal::{
    self, Answer, Begin, End, Ended, Entry, Hired, Journal, JournalError, Past, Task, Text,
};
use doula_host::jobs::{Adopted, Attempt, Before, Identity, Kept};
use doula_host::{Command, ExitStatus, Usage};
use doula_model::task::{self, TaskId, Verdict};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

/// What a worker answered is in the journal itself, unless it is longer.
const LONGEST_IN_LINE: u64 = 64 << 10;

/// How a run is written down.
#[derive(Debug, clap::Args)]
pub(super) struct JournalArgs {
    /// Write down what is begun and how it ends, so that --resume can go on when doula is killed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["line_buffer", "ungroup"])]
    pub(super) journal: Option<PathBuf>,

    /// Go on where the journal ends: run what is not done, adopt what still runs
    #[arg(long, requires = "journal")]
    pub(super) resume: bool,

    /// Whether jobs whose end nobody knows are run again, or have failed
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "again|fail",
        hide_possible_values = true,
        requires = "resume"
    )]
    pub(super) unknown: Unknown,
}

/// What becomes of a job whose end nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Unknown {
    /// It is run again.
    Again,
    /// It has failed.
    #[default]
    Fail,
}

/// What became of a task before.
#[derive(Debug)]
enum Fate {
    /// It came to its end.
    Over,
    /// It is to be run, as this attempt.
    Again(u32),
    /// Somebody works at it, or did: its end comes, or is known, or nobody knows it.
    Begun(Adopted, Option<Ended>),
}

/// Who keeps the journal.
#[derive(Debug)]
pub(super) struct Keeper {
    journal: Journal,
    /// Jobs are done by workers: who had one can be asked no more, and it is given to another one.
    workers: bool,
    /// What is not done with yet.
    past: BTreeMap<TaskId, Task>,
    /// So many tasks were known before, and of so many of these the inputs were compared.
    known: u64,
    compared: u64,
    ready: VecDeque<Before>,
    adopted: BTreeMap<TaskId, Adopted>,
    /// Ends of adopted ones.
    ends: BTreeMap<TaskId, Ended>,
    /// How those ended who worked at them in runs before, of tasks of which somebody died.
    deaths: BTreeMap<TaskId, Vec<Death>>,
    /// Those in work, and which runs began them.
    runs: BTreeMap<TaskId, u32>,
    /// Those that came to their end before: that succeeded, and that failed.
    pub(super) before: (u64, u64),
    /// What to tell people when it goes on.
    pub(super) words: Vec<String>,
    trouble: Option<io::Error>,
}

impl Keeper {
    /// Opens the journal and takes it over. `template` says what is run, `slots` how many at once.
    pub(super) fn open(
        args: &JournalArgs,
        template: &str,
        (slots, workers): (u32, bool),
    ) -> Result<Option<Keeper>, Failure> {
        let Some(path) = &args.journal else { return Ok(None) };
        let mut journal = Journal::open(path, args.resume).map_err(refused)?;
        if let Some(head) = journal.past().head.as_ref().filter(|head| head.template != template) {
            let text = format!(
                "the journal `{}` is of `{}`, and this is `{template}`",
                path.display(),
                head.template
            );
            return Err(Failure::usage(text).hint("--resume needs the same command and options as before"));
        }
        let told = journal.past().head.as_ref().map_or(0, |head| head.damaged);
        let io = |error| refused(JournalError::Io(path.clone(), error));
        let past = journal.begin(template, slots).map_err(io)?.clone();
        let mut keeper = Keeper {
            journal,
            workers,
            known: past.tasks.keys().next_back().map_or(0, |task| task.0),
            past: BTreeMap::new(),
            compared: 0,
            ready: VecDeque::new(),
            adopted: BTreeMap::new(),
            ends: BTreeMap::new(),
            deaths: BTreeMap::new(),
            runs: BTreeMap::new(),
            before: (0, 0),
            words: Vec::new(),
            trouble: None,
        };
        keeper.sort(past, args.unknown, told).map_err(io)?;
        Ok(Some(keeper))
    }

    /// Decides what becomes of each task that was begun.
    fn sort(&mut self, past: Past, unknown: Unknown, told: u64) -> io::Result<()> {
        let (mut living, mut ended, mut again) = (Vec::new(), Vec::new(), Vec::new());
        let mut lost = 0;
        end_workers(&past.hired)?;
        for number in 1..=self.known {
            let task = TaskId(number);
            let none = Task::default();
            let before = past.tasks.get(&task).unwrap_or(&none);
            let attempt = before.last().map_or(1, |last| last.number);
            let this = Before { task, attempt, deaths: before.deaths() };
            if this.deaths > 0 && !before.again {
                self.deaths.insert(task, deaths(before));
            }
            match self.fate(task, before, past.hides_starts)? {
                Fate::Over => self.count(before),
                Fate::Again(attempt) if before.again => again.push(Before { task, attempt, deaths: 0 }),
                Fate::Again(attempt) => again.push(Before { attempt, ..this }),
                Fate::Begun(adopted, None) if adopted.lives() => {
                    self.adopt(this, adopted, before);
                    living.push(this);
                }
                Fate::Begun(adopted, None) => {
                    lost += 1;
                    if unknown == Unknown::Again {
                        adopted.end_rest()?;
                        again.push(Before { attempt: attempt + 1, ..this });
                    } else {
                        self.adopt(this, adopted, before);
                        ended.push(this);
                    }
                }
                Fate::Begun(adopted, Some(end)) => {
                    self.adopt(this, adopted, before);
                    self.ends.insert(task, end);
                    ended.push(this);
                }
            }
        }
        self.tell(&past, (living.len(), ended.len(), lost), (unknown, told));
        self.past = past.tasks;
        self.ready = ended.into_iter().chain(living).chain(again).collect();
        Ok(())
    }

    fn fate(&mut self, id: TaskId, task: &Task, hides_starts: bool) -> io::Result<Fate> {
        let Some(last) = task.last() else { return Ok(Fate::Again(1)) };
        let next = last.number + u32::from(last.failed.is_some());
        match task.settled.as_ref().map(|settled| settled.verdict) {
            Some(_) if task.again => return Ok(Fate::Again(1)),
            Some(Verdict::Done | Verdict::Failed(_) | Verdict::Quarantined(_)) => return Ok(Fate::Over),
            // Ended by the end of the run, and not by themselves.
            Some(Verdict::Cancelled | Verdict::Skipped) => return Ok(Fate::Again(next)),
            None if last.failed.is_some() || self.workers => return Ok(Fate::Again(next)),
            None => {}
        }
        let ended = match &last.ended {
            None if last.started.is_none() && !hides_starts => return Ok(Fate::Again(next)),
            ended => ended.clone(),
        };
        let started = last.started.as_ref().filter(|_| last.here);
        let adopted = match started {
            Some(started) => {
                let identity = (started.pid, started.start);
                Adopted::find(identity, started.leaf.clone(), started.mark.clone())
                    .map_err(io::Error::other)?
            }
            None => Adopted::gone(),
        };
        // It may have ended while we read and looked.
        let ended = match ended {
            None if !adopted.lives() => self.journal.ended(last.run, id, last.number)?,
            ended => ended,
        };
        Ok(Fate::Begun(adopted, ended))
    }

    fn adopt(&mut self, this: Before, adopted: Adopted, before: &Task) {
        self.adopted.insert(this.task, adopted);
        self.runs.insert(this.task, before.last().map_or(0, |last| last.run));
    }

    fn count(&mut self, task: &Task) {
        match task.settled.as_ref().map(|settled| settled.verdict) {
            Some(Verdict::Done) => self.before.0 += 1,
            _ => self.before.1 += 1,
        }
    }

    /// Puts together what people should know.
    fn tell(
        &mut self,
        past: &Past,
        (living, ended, lost): (usize, usize, usize),
        (unknown, told): (Unknown, u64),
    ) {
        if self.journal.run() > 1 {
            let in_hands = |task: &&Task| {
                task.settled.is_none() && task.last().is_some_and(|last| last.failed.is_none())
            };
            let in_hands = past.tasks.values().filter(in_hands).count();
            let meanwhile = ended - if unknown == Unknown::Fail { lost } else { 0 };
            let mut words = format!("the journal goes on: {} jobs done before", self.before.0);
            let more = [
                (self.before.1 as usize, "failed"),
                (living, "run still and are adopted"),
                (if self.workers { in_hands } else { 0 }, "were with workers and are done again"),
                (meanwhile, "ended meanwhile"),
            ];
            for (count, what) in more.into_iter().filter(|(count, _)| *count > 0) {
                words.push_str(&format!(", {count} {what}"));
            }
            self.words.push(words);
        }
        if lost > 0 {
            let what = match unknown {
                Unknown::Again => "run again",
                Unknown::Fail => "taken as failed (--unknown again runs them again)",
            };
            self.words.push(format!("{lost} began, and nobody knows how they ended: they are {what}"));
        }
        if past.damaged > told {
            self.words.push(format!("{} damaged lines of the journal were passed over", past.damaged - told));
        }
    }

    /// Whether inputs of tasks from before were not compared yet.
    pub(super) fn compares(&self) -> bool {
        self.compared < self.known
    }

    /// Compares the inputs of the next task with those that it had before.
    pub(super) fn compare(&mut self, inputs: &Inputs) -> io::Result<TaskId> {
        self.compared += 1;
        let task = TaskId(self.compared);
        let begin = self.past.get(&task).and_then(Task::begin);
        let same = |begin: &Begin| begin.inputs.iter().map(Text::bytes).eq(inputs.iter().map(Vec::as_slice));
        match begin.filter(|begin| !same(begin)) {
            None => Ok(task),
            Some(begin) => Err(differ(format!(
                "job {task} had the input `{}` in the journal, and has `{}` now",
                String::from_utf8_lossy(&tag(begin)),
                String::from_utf8_lossy(&inputs.join(&b' ')),
            ))),
        }
    }

    /// There are no more inputs.
    pub(super) fn no_more_inputs(&self) -> io::Error {
        differ(format!(
            "the journal knows {} jobs, and there are inputs for {} only",
            self.known, self.compared
        ))
    }

    /// How those ended who worked at it in runs before, if somebody died of it.
    pub(super) fn deaths(&self, task: TaskId) -> &[Death] {
        self.deaths.get(&task).map_or(&[], Vec::as_slice)
    }

    /// The next task that was in work before.
    pub(super) fn next(&mut self) -> Option<Before> {
        self.ready.pop_front()
    }

    /// Takes what came to its end before: `Some` what was not shown yet.
    pub(super) fn over(&mut self) -> Vec<(TaskId, Option<Settled>)> {
        let open: BTreeSet<_> = self.ready.iter().map(|before| before.task).collect();
        let past = std::mem::take(&mut self.past);
        let (left, over): (Vec<_>, Vec<_>) = past.into_iter().partition(|(task, _)| open.contains(task));
        self.past = left.into_iter().collect();
        over.into_iter().map(|(task, before)| (task, self.unshown(task, &before))).collect()
    }

    fn unshown(&self, id: TaskId, task: &Task) -> Option<Settled> {
        let mut settled = settled_of(id, task).filter(|_| !task.shown)?;
        if let Some(attempt) = &mut settled.attempt {
            let in_line = [&mut attempt.output, &mut attempt.error].map(std::mem::take);
            self.fetch(attempt);
            for (kept, in_line) in [&mut attempt.output, &mut attempt.error].into_iter().zip(in_line) {
                if !in_line.is_empty() {
                    *kept = in_line;
                }
            }
        }
        Some(settled)
    }

    /// Who works at it since before.
    pub(super) fn take_adopted(&mut self, task: TaskId) -> Option<(Adopted, Vec<OsString>)> {
        let adopted = self.adopted.remove(&task)?;
        let before = self.past.remove(&task);
        Some((adopted, before.as_ref().and_then(Task::begin).map(words).unwrap_or_default()))
    }

    /// An attempt is about to begin.
    pub(super) fn begin(&mut self, begin: Begin) -> io::Result<()> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let task = begin.task;
        self.journal.begin_attempt(begin, self.runs.len()).map_err(unwritten)?;
        self.runs.insert(task, self.journal.run());
        Ok(())
    }

    /// A worker was started, and may be given jobs.
    pub(super) fn hired(&mut self, slot: u32, worker: &Identity) {
        let run = self.journal.run();
        self.note(&Entry::Hired(Hired { run, slot, worker: worker.clone() }));
    }

    /// A worker is given a job, as one of so many that are in work.
    pub(super) fn given(&mut self, begin: Begin, in_work: usize) {
        if let Err(error) = self.journal.begin_attempt(begin, in_work) {
            self.trouble.get_or_insert(unwritten(error));
        }
    }

    /// Whether all could be written so far.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.trouble.take().map_or(Ok(()), Err)
    }

    /// A job came to its end.
    pub(super) fn settled(&mut self, job: &Settled) {
        let answer = match (&job.subject, &job.attempt) {
            (Subject::Inputs { told }, Some(attempt)) => self.answer(attempt, told.clone()).map(Some),
            (Subject::Inputs { .. } | Subject::Command, _) => Ok(None),
        };
        let Settled { task, verdict, attempts, .. } = *job;
        match answer {
            Ok(answer) => {
                let at = journal::now();
                self.note(&Entry::Settled(journal::Settled { task, verdict, attempts, at, answer }));
            }
            Err(error) => drop(self.trouble.get_or_insert(unwritten(error))),
        }
    }

    fn answer(&self, attempt: &Attempt, told: Option<String>) -> io::Result<Answer> {
        let files = self.journal.output(attempt.task, attempt.number);
        let mut said = [&attempt.output, &attempt.error].into_iter().zip(files).map(|(kept, file)| {
            if kept.len() <= LONGEST_IN_LINE {
                return kept.bytes().map(Text::from);
            }
            kept.write_to(&mut File::create(file)?)?;
            Ok(Text::from(Vec::new()))
        });
        let mut next = || said.next().unwrap_or_else(|| Ok(Text::from(Vec::new())));
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Ok(Answer {
            slot: attempt.slot,
            began: micros(attempt.began.duration_since(UNIX_EPOCH).unwrap_or_default()),
            took: micros(attempt.took),
            status: attempt.status,
            output: next()?,
            error: next()?,
            told,
            oom_kills: attempt.oom_kills,
        })
    }

    /// The command for an attempt that was just written down.
    pub(super) fn command(&mut self, task: TaskId, attempt: u32, words: &[OsString]) -> io::Result<Command> {
        self.journal.command(task, attempt, words)
    }

    /// Finds out how an attempt ended and what it said. `Some`: it could not be started, with this code and for this reason.
    pub(super) fn learn(&mut self, attempt: &mut Attempt) -> io::Result<Option<(u8, String)>> {
        self.fetch(attempt);
        let run = self.runs.remove(&attempt.task).unwrap_or_default();
        let ended = match self.ends.remove(&attempt.task) {
            Some(ended) => Some(ended),
            None => self.journal.ended(run, attempt.task, attempt.number)?,
        };
        // Ours was the process beside it.
        attempt.pid = None;
        Ok(ended.and_then(|ended| learn(attempt, &ended)))
    }

    /// What it said. Where there is no file, it said nothing, or that was shown.
    fn fetch(&self, attempt: &mut Attempt) {
        let kept = |path| File::open(path).and_then(Kept::of).unwrap_or_default();
        [attempt.output, attempt.error] = self.journal.output(attempt.task, attempt.number).map(kept);
    }

    /// Writes down what may be lost: then it is found out again. No more is begun after a failure.
    pub(super) fn note(&mut self, entry: &Entry) {
        if let Err(error) = self.journal.append(entry) {
            self.trouble.get_or_insert(unwritten(error));
        }
    }

    /// All that was said was shown.
    pub(super) fn shown(&mut self, task: TaskId, attempts: u32) {
        self.note(&Entry::Shown(task));
        self.forget_output(task, attempts);
    }

    /// What was said until this attempt is needed no more.
    pub(super) fn forget_output(&self, task: TaskId, attempt: u32) {
        for path in (1..=attempt).flat_map(|attempt| self.journal.output(task, attempt)) {
            drop(fs::remove_file(path));
        }
    }

    /// Brings to the disk what was written, now and then.
    pub(super) fn sync(&mut self) {
        if let Err(error) = self.journal.sync_in_groups() {
            self.trouble.get_or_insert(unwritten(error));
        }
    }

    /// The run came to its end, in order or not.
    pub(super) fn close(mut self, in_order: bool) -> io::Result<()> {
        if in_order {
            self.note(&Entry::Over);
            self.journal.trim().map_err(unwritten)?;
        }
        // With what was not shown it stays.
        drop(fs::remove_dir(self.journal.folder()));
        self.journal.sync().map_err(unwritten)?;
        self.trouble.map_or(Ok(()), Err)
    }
}

/// A job that came to its end, without what it said.
fn settled_of(id: TaskId, task: &Task) -> Option<Settled> {
    let settled = task.settled.as_ref()?;
    let (begin, last) = (task.begin(), task.last()?);
    let mut attempt = bare(id, last.number);
    let answer = settled.answer.as_ref();
    if let Some(answer) = answer {
        answered(&mut attempt, answer);
    }
    let not_born = last.ended.as_ref().and_then(|ended| learn(&mut attempt, ended));
    Some(Settled {
        task: id,
        verdict: settled.verdict,
        attempts: settled.attempts,
        tag: begin.map(tag).unwrap_or_default(),
        words: begin.map(words).unwrap_or_default(),
        attempt: not_born.is_none().then_some(attempt),
        not_born: not_born.map(|(_, why)| why),
        subject: match answer {
            Some(answer) => Subject::Inputs { told: answer.told.clone() },
            None => Subject::Command,
        },
    })
}

/// The line of a job log for a job that came to its end.
pub(in crate::verbs) fn joblog_line(id: TaskId, task: &Task) -> Option<Vec<u8>> {
    settled_of(id, task).and_then(|settled| joblog(&settled))
}

/// A command as a shell reads it back.
pub(in crate::verbs) fn command_line(begin: &Begin) -> String {
    let words: Vec<String> =
        words(begin).iter().map(|word| quote(word).to_string_lossy().into_owned()).collect();
    words.join(" ")
}

/// Takes over what is written of an end. `Some`: the job could not be started.
fn learn(attempt: &mut Attempt, ended: &Ended) -> Option<(u8, String)> {
    let micros = Duration::from_micros;
    (attempt.began, attempt.took) = (UNIX_EPOCH + micros(ended.began), micros(ended.took));
    let (user, system) = (micros(ended.cpu.0), micros(ended.cpu.1));
    attempt.usage = Usage { user, system, max_rss_kb: ended.max_rss_kb };
    attempt.oom_kills = ended.oom_kills.or(attempt.oom_kills);
    attempt.pid = ended.pid;
    match &ended.end {
        End::Status(status) => {
            attempt.status = *status;
            None
        }
        End::NotStarted(code, why) => Some((*code, why.clone())),
    }
}

/// How those ended who died of a task, as far as that is written.
fn deaths(task: &Task) -> Vec<Death> {
    let death = |(attempt, failure): (&journal::Attempt, task::Failure)| Death {
        pid: attempt.ended.as_ref().and_then(|ended| ended.pid),
        status: match attempt.ended.as_ref().map(|ended| &ended.end) {
            Some(End::Status(status)) => Some(*status),
            Some(End::NotStarted(..)) | None => None,
        },
        how: failure.to_string(),
    };
    task.deadly().map(death).collect()
}

/// The same of what a worker answered.
fn answered(attempt: &mut Attempt, answer: &Answer) {
    let micros = Duration::from_micros;
    (attempt.began, attempt.took) = (UNIX_EPOCH + micros(answer.began), micros(answer.took));
    (attempt.slot, attempt.status, attempt.oom_kills) = (answer.slot, answer.status, answer.oom_kills);
    attempt.output = answer.output.bytes().to_vec().into();
    attempt.error = answer.error.bytes().to_vec().into();
}

/// Ends workers of runs that were killed: nobody can speak to them any more. Most are gone with their run; where no cgroup
/// tells whether they left somebody behind, that is looked for only for the last one of each slot.
fn end_workers(hired: &[Hired]) -> io::Result<()> {
    let last: BTreeMap<_, _> = hired.iter().enumerate().map(|(at, it)| ((it.run, it.slot), at)).collect();
    for (at, hired) in hired.iter().enumerate() {
        let adopted = Adopted::of(&hired.worker).map_err(io::Error::other)?;
        let is_last = last.get(&(hired.run, hired.slot)) == Some(&at);
        if adopted.lives() || hired.worker.leaf.is_some() || is_last {
            adopted.end()?;
        }
    }
    Ok(())
}

/// An attempt of which nothing is known.
pub(super) fn bare(task: TaskId, number: u32) -> Attempt {
    Attempt {
        task,
        number,
        slot: 0,
        pid: None,
        status: ExitStatus::UNKNOWN,
        began: UNIX_EPOCH,
        took: Duration::ZERO,
        usage: Usage::default(),
        output: Kept::default(),
        error: Kept::default(),
        left: false,
        oom_kills: None,
    }
}

fn tag(begin: &Begin) -> Vec<u8> {
    begin.inputs.iter().map(Text::bytes).collect::<Vec<_>>().join(&b' ')
}

fn words(begin: &Begin) -> Vec<OsString> {
    // A worker is given the inputs alone.
    let words = if begin.words.is_empty() { &begin.inputs } else { &begin.words };
    words.iter().map(|word| OsString::from_vec(word.bytes().to_vec())).collect()
}

/// The line for an attempt that is about to begin.
pub(super) fn begin(task: TaskId, attempt: u32, slot: u32, (words, inputs): (&[OsString], &Inputs)) -> Begin {
    let words = words.iter().map(|word| Text::from(word.as_bytes().to_vec())).collect();
    let inputs = inputs.iter().cloned().map(Text::from).collect();
    Begin { task, attempt, slot, at: journal::now(), words, inputs }
}

/// The line for an attempt after which there is another.
pub(super) fn failed(task: TaskId, attempt: u32, failure: task::Failure, pause: Duration) -> Entry {
    let pause = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
    Entry::Failed(journal::Failed { task, attempt, failure, until: journal::now().saturating_add(pause) })
}

/// Inputs that are not those of before: the fault of whoever gave them.
fn differ(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

fn unwritten(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to write the journal: {error}"))
}

/// What a journal that cannot be used means.
pub(in crate::verbs) fn refused(error: JournalError) -> Failure {
    let (kind, hint) = match &error {
        JournalError::Io(..) => (Kind::Doula, None),
        JournalError::Exists(_) => (Kind::Usage, Some("--resume goes on with it; or remove it")),
        JournalError::InUse(..) => (Kind::Usage, Some("wait for its end")),
        JournalError::Newer(..) | JournalError::NotOurs(_) => (Kind::Usage, None),
    };
    let failure = Failure::new(kind, error.to_string());
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
