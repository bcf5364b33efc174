//! What is told of jobs: their output, failures, progress, and the files that keep it.

use super::Output;
use super::limits;
use super::template::quote;
use crate::error::Failure;
use crate::ui::{Ui, escape};
use doula_core::queue::Counts;
use doula_host::Outcome;
use doula_host::jobs::{Attempt, Kept, Stream};
use doula_model::task::{self, Failure::Lost, TaskId, Verdict};
use doula_model::words::Span;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A job that came to its end.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) task: TaskId,
    pub(super) verdict: Verdict,
    pub(super) attempts: u32,
    /// Its inputs, for people.
    pub(super) tag: Vec<u8>,
    pub(super) words: Vec<OsString>,
    /// Its last attempt, if it began.
    pub(super) attempt: Option<Attempt>,
    /// Why it could not begin.
    pub(super) not_born: Option<String>,
    pub(super) subject: Subject,
}

/// What the words of a job are.
#[derive(Debug)]
pub(super) enum Subject {
    /// Its command, whose output is shown when it has ended.
    Command,
    /// What a worker was given, that has told what was wrong already, all but how it failed: the rest of a sentence.
    Inputs { told: Option<String> },
}

/// Where all is told.
#[derive(Debug)]
pub(super) struct Report<'u> {
    ui: &'u mut Ui,
    tagged: bool,
    quiet: bool,
    results: Option<PathBuf>,
    joblog: Option<BufWriter<File>>,
    events: Option<Box<dyn Sink>>,
    progress: Option<Progress>,
    /// How many jobs there will be, if that is known.
    pub(super) total: Option<u64>,
    /// Output of several jobs that is written at once, and since when it waits.
    put_off: Vec<u8>,
    since: Option<Instant>,
    puts_off: bool,
}

/// A file or standard error.
trait Sink: Write + std::fmt::Debug {}
impl<T: Write + std::fmt::Debug> Sink for T {}

/// The line that shows how far it is.
#[derive(Debug)]
struct Progress {
    began: Instant,
    shown: Option<Instant>,
    total: Option<u64>,
}

/// The line is drawn no more often.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
/// Output that is put off waits no longer, and is no more.
const PUT_OFF: Duration = Duration::from_millis(2);
const MOST_PUT_OFF: u64 = 64 << 10;
/// The columns of GNU parallel's --joblog.
pub(in crate::verbs) const JOBLOG: &str =
    "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n";

impl<'u> Report<'u> {
    /// Makes the files that were asked for, or goes on with them.
    pub(super) fn open(
        output: &Output,
        total: Option<u64>,
        goes_on: bool,
        ui: &'u mut Ui,
    ) -> Result<Report<'u>, Failure> {
        let create = |path: &Path| create(path, goes_on);
        let joblog = output.joblog.as_deref().map(create).transpose()?;
        let is_new = joblog.as_ref().is_some_and(|log| log.metadata().is_ok_and(|data| data.len() == 0));
        let mut joblog = joblog.map(BufWriter::new);
        if let Some(log) = joblog.as_mut().filter(|_| is_new) {
            log.write_all(JOBLOG.as_bytes())
                .map_err(|error| Failure::doula(format!("failed to write the job log: {error}")))?;
        }
        let events = output.events.as_deref().map(|path| -> Result<Box<dyn Sink>, Failure> {
            Ok(if path == Path::new("-") { Box::new(io::stderr()) } else { Box::new(create(path)?) })
        });
        let events = events.transpose()?;
        if let Some(folder) = &output.results {
            fs::create_dir_all(folder)
                .map_err(|error| Failure::usage(format!("failed to make `{}`: {error}", folder.display())))?;
        }
        let seen = output.progress || (ui.notes_are_seen() && !ui.is_terminal());
        let progress = seen.then(|| Progress { began: Instant::now(), shown: None, total });
        let results = output.results.clone();
        let (tagged, quiet) = (output.tag, output.quiet);
        let (put_off, since, puts_off) = (Vec::new(), None, false);
        Ok(Report { ui, tagged, quiet, results, joblog, events, progress, total, put_off, since, puts_off })
    }

    /// From now on output that nobody watches may be put off, to be written for several jobs at once.
    pub(super) fn put_off(&mut self) {
        self.puts_off = !self.ui.is_terminal();
    }

    /// Writes what was put off, if it is time; else when it will be.
    pub(super) fn write_in_time(&mut self) -> io::Result<Option<Duration>> {
        let left = self.since.map(|since| PUT_OFF.saturating_sub(since.elapsed()));
        match left.filter(|left| !left.is_zero()) {
            None => self.write_put_off().map(|()| None),
            left => Ok(left),
        }
    }

    /// Writes what was put off.
    pub(super) fn write_put_off(&mut self) -> io::Result<()> {
        if self.since.take().is_none() {
            return Ok(());
        }
        let mut out = self.ui.out();
        let written = out.write_all(&self.put_off).and_then(|()| out.flush());
        self.put_off.clear();
        written
    }

    /// A line of a job that runs.
    pub(super) fn line(&mut self, tag: &[u8], stream: Stream, line: &[u8]) -> io::Result<()> {
        self.write_put_off()?;
        self.clear();
        let mut text = Vec::with_capacity(line.len() + tag.len() + 2);
        self.add_line(&mut text, tag, line);
        match stream {
            Stream::Out => self.ui.out().write_all(&text).and_then(|()| self.ui.out().flush()),
            Stream::Err => self.ui.err().write_all(&text),
        }
    }

    fn add_line(&self, text: &mut Vec<u8>, tag: &[u8], line: &[u8]) {
        if self.tagged {
            text.extend_from_slice(escape(&String::from_utf8_lossy(tag)).as_bytes());
            text.push(b'\t');
        }
        text.extend_from_slice(line);
        if line.last() != Some(&b'\n') {
            text.push(b'\n');
        }
    }

    /// All that a job said, and how it failed.
    pub(super) fn settled(&mut self, job: &Settled) -> io::Result<()> {
        if let Some(attempt) = &job.attempt {
            self.show(&job.tag, &attempt.output, Stream::Out)?;
            if matches!(job.subject, Subject::Command) {
                self.show(&job.tag, &attempt.error, Stream::Err)?;
            }
        }
        if let Some(text) = failure(job).filter(|_| !self.quiet) {
            self.write_put_off()?;
            self.clear();
            self.ui.note(&text);
        }
        self.keep(job)?;
        if let (Some(log), Some(line)) = (&mut self.joblog, joblog(job)) {
            log.write_all(&line)?;
            log.flush()?;
        }
        if !self.has_events() {
            return Ok(());
        }
        self.event(&json!({
            "event": "settled", "task": job.task.0, "verdict": verdict(job.verdict), "attempts": job.attempts,
        }))
    }

    fn show(&mut self, tag: &[u8], kept: &Kept, stream: Stream) -> io::Result<()> {
        if kept.is_empty() {
            return Ok(());
        }
        if self.puts_off && stream == Stream::Out && !self.tagged && kept.len() < MOST_PUT_OFF {
            kept.write_to(&mut self.put_off)?;
            self.since.get_or_insert_with(Instant::now);
            let full = self.put_off.len() as u64 >= MOST_PUT_OFF;
            return if full { self.write_put_off() } else { Ok(()) };
        }
        self.write_put_off()?;
        self.clear();
        if self.tagged {
            let mut text = Vec::new();
            let bytes = kept.bytes()?;
            bytes.split_inclusive(|byte| *byte == b'\n').for_each(|line| self.add_line(&mut text, tag, line));
            return match stream {
                Stream::Out => self.ui.out().write_all(&text).and_then(|()| self.ui.out().flush()),
                Stream::Err => self.ui.err().write_all(&text),
            };
        }
        match stream {
            Stream::Out => {
                let mut out = self.ui.out();
                kept.write_to(&mut out)?;
                out.flush()
            }
            Stream::Err => kept.write_to(&mut self.ui.err()),
        }
    }

    /// Writes the results of a job to its folder.
    fn keep(&self, job: &Settled) -> io::Result<()> {
        let Some(folder) = &self.results else { return Ok(()) };
        let folder = folder.join(job.task.to_string());
        fs::create_dir_all(&folder)?;
        if let Some(attempt) = &job.attempt {
            attempt.output.write_to(&mut File::create(folder.join("stdout"))?)?;
            attempt.error.write_to(&mut File::create(folder.join("stderr"))?)?;
        }
        fs::write(folder.join("job.json"), format!("{:#}\n", self.as_json(job)))
    }

    fn as_json(&self, job: &Settled) -> Value {
        let words: Vec<_> = job.words.iter().map(|word| word.to_string_lossy()).collect();
        let mut value =
            json!({ "task": job.task.0, "verdict": verdict(job.verdict), "attempts": job.attempts });
        match &job.subject {
            Subject::Command => value["command"] = json!(words),
            Subject::Inputs { told } => {
                value["inputs"] = json!(words);
                if let Some(told) = told {
                    value["why"] = json!(told.trim_start_matches([':', ' ']));
                }
            }
        }
        if let Some(attempt) = &job.attempt {
            value["attempt"] = attempt_json(attempt);
        }
        if let Some(why) = &job.not_born {
            value["not_started"] = json!(why);
        }
        value
    }

    /// Tells programs what happens.
    pub(super) fn event(&mut self, event: &Value) -> io::Result<()> {
        let Some(events) = &mut self.events else { return Ok(()) };
        let mut line = event.clone();
        line["time"] = json!(since_epoch(SystemTime::now()));
        events.write_all(format!("{line}\n").as_bytes())
    }

    /// Whether programs want to hear what happens.
    pub(super) fn has_events(&self) -> bool {
        self.events.is_some()
    }

    /// A name that people or programs asked for.
    pub(super) fn name(&mut self, name: &str) -> io::Result<()> {
        self.clear();
        writeln!(self.ui.out(), "{name}")
    }

    /// Tells people something.
    pub(super) fn note(&mut self, text: &str) {
        if !self.quiet {
            self.clear();
            self.ui.note(text);
        }
    }

    /// Draws how far it is, if that is seen.
    pub(super) fn progress(&mut self, counts: &Counts, in_work: usize) {
        let Some(progress) = &mut self.progress else { return };
        if progress.shown.is_some_and(|shown| shown.elapsed() < DRAWN_EVERY) {
            return;
        }
        progress.shown = Some(Instant::now());
        let line = progress_line(progress.total, progress.began.elapsed(), counts, in_work);
        // Nobody needs to know that it could not be shown.
        drop(write!(self.ui.err(), "\r\x1b[K{line}"));
    }

    /// Takes the line away, if there is one.
    pub(super) fn clear(&mut self) {
        if self.progress.as_mut().and_then(|progress| progress.shown.take()).is_some() {
            drop(write!(self.ui.err(), "\r\x1b[K"));
        }
    }
}

fn create(path: &Path, goes_on: bool) -> Result<File, Failure> {
    let mut options = File::options();
    options.create(true).write(true).append(goes_on).truncate(!goes_on);
    options
        .open(path)
        .map_err(|error| Failure::usage(format!("failed to make `{}`: {error}", path.display())))
}

fn progress_line(total: Option<u64>, passed: Duration, counts: &Counts, in_work: usize) -> String {
    let ended = counts.done + counts.failed;
    let mut line = match total {
        Some(total) => format!("{ended} of {total} jobs ended"),
        None => format!("{ended} jobs ended"),
    };
    if counts.failed > 0 {
        line.push_str(&format!(", {} failed", counts.failed));
    }
    line.push_str(&format!(", {in_work} run"));
    if let (Some(total), Some(each)) = (total, u32::try_from(ended).ok().filter(|ended| *ended > 0)) {
        let left = u32::try_from(total.saturating_sub(ended)).unwrap_or(u32::MAX);
        let rest = (passed / each).saturating_mul(left);
        line.push_str(&format!(", about {} s left", rest.as_secs().max(u64::from(left > 0))));
    }
    line
}

/// Why a job failed, in one line.
pub(super) fn failure(job: &Settled) -> Option<String> {
    let command = job.words.iter().map(|word| quote(word).to_string_lossy().into_owned());
    let name = format!("job {} ({})", job.task, shortened(&command.collect::<Vec<_>>().join(" ")));
    if let Subject::Inputs { told: Some(told) } = &job.subject {
        return Some(format!("{name}{told}"));
    }
    let tries = if job.attempts > 1 { format!(", {} times", job.attempts) } else { String::new() };
    match job.verdict {
        Verdict::Done | Verdict::Skipped | Verdict::Cancelled => None,
        Verdict::Failed(failure) => match &job.not_born {
            Some(why) => Some(format!("{name}: {why}")),
            None if failure == Lost && matches!(job.subject, Subject::Command) => {
                Some(format!("{name} ended, nobody knows how{tries}"))
            }
            None => Some(format!("{name} {failure}{}{tries}", evidence(failure, job))),
        },
        Verdict::Quarantined(failure) => {
            Some(format!("{name} {failure}{}{tries}, and is not tried again", evidence(failure, job)))
        }
    }
}

/// What is known of an attempt that ended.
pub(super) fn last_words(attempt: &Attempt) -> String {
    let Attempt { number, slot, pid, usage, .. } = attempt;
    let who = pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
    let place = if *slot > 0 { format!(", in slot {slot}{who}") } else { who };
    let counted = attempt.oom_kills.filter(|count| *count > 0).map(|count| limits::evidence(Some(count)));
    let end =
        ended_so(&attempt.status.to_string(), attempt.took, usage.user + usage.system, usage.max_rss_kb);
    format!("attempt {number}{place}: it {end}{}", counted.unwrap_or_default())
}

/// How a process ended, and what it used: the rest of a sentence.
pub(in crate::verbs) fn ended_so(how: &str, took: Duration, cpu: Duration, max_rss_kb: u64) -> String {
    let used = format!("{} of CPU time, at most {max_rss_kb} KiB", Span(cpu));
    format!("{how} after {}, waited for by its parent ({used})", Span(took))
}

/// How that is known.
fn evidence(failure: task::Failure, job: &Settled) -> String {
    let counted = job.attempt.as_ref().and_then(|attempt| attempt.oom_kills);
    if failure == task::Failure::OutOfMemory { limits::evidence(counted) } else { String::new() }
}

/// As much of a command as a line can bear.
fn shortened(command: &str) -> String {
    const LONGEST: usize = 80;
    if command.chars().count() <= LONGEST {
        return command.to_owned();
    }
    command.chars().take(LONGEST - 1).chain(['…']).collect()
}

fn verdict(verdict: Verdict) -> Value {
    match verdict {
        Verdict::Done => json!("done"),
        Verdict::Failed(failure) => json!({ "failed": failure }),
        Verdict::Quarantined(failure) => json!({ "quarantined": failure }),
        Verdict::Cancelled => json!("cancelled"),
        Verdict::Skipped => json!("skipped"),
    }
}

/// An attempt for programs.
pub(super) fn attempt_json(attempt: &Attempt) -> Value {
    let usage = &attempt.usage;
    json!({
        "number": attempt.number, "slot": attempt.slot,
        "code": attempt.status.exit_code(), "signal": attempt.status.killed_by().map(|signal| signal.to_string()),
        "began": since_epoch(attempt.began), "seconds": attempt.took.as_secs_f64(),
        "user_seconds": usage.user.as_secs_f64(), "system_seconds": usage.system.as_secs_f64(),
        "max_rss_kb": usage.max_rss_kb, "left_behind": attempt.left, "oom_kills": attempt.oom_kills,
    })
}

pub(super) fn since_epoch(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A line of GNU parallel's job log; jobs that never began have none.
pub(super) fn joblog(job: &Settled) -> Option<Vec<u8>> {
    let (began, took, received, code, signal) = match &job.attempt {
        Some(attempt) => {
            let (code, signal) = match attempt.status.outcome {
                Outcome::Code(code) => (i32::from(code), 0),
                Outcome::Signal { signal, .. } => (0, signal.number()),
                Outcome::Unknown => (-1, 0),
            };
            (attempt.began, attempt.took, attempt.output.len(), code, signal)
        }
        None if job.not_born.is_some() => (SystemTime::now(), Duration::ZERO, 0, 127, 0),
        None => return None,
    };
    let figures = format!(
        "{}\t:\t{:.3}\t{:10.3}\t0\t{received}\t{code}\t{signal}\t",
        job.task,
        since_epoch(began),
        took.as_secs_f64()
    );
    let mut line = figures.into_bytes();
    for (at, word) in job.words.iter().enumerate() {
        if at > 0 {
            line.push(b' ');
        }
        // A tab or a line end would be one of the log's own.
        let quoted = quote(word);
        line.extend(quoted.as_bytes().iter().map(|byte| if b"\t\n".contains(byte) { b' ' } else { *byte }));
    }
    line.push(b'\n');
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::task::Failure;

    #[test]
    fn a_failure_names_the_job_and_how_it_failed() {
        let job = |verdict, attempts| Settled {
            task: TaskId(7),
            verdict,
            attempts,
            tag: b"x".to_vec(),
            words: vec!["sh".into(), "-c".into(), "exit 3".into()],
            attempt: None,
            not_born: None,
            subject: Subject::Command,
        };
        let said = |verdict, attempts| failure(&job(verdict, attempts));
        assert_eq!(said(Verdict::Done, 1), None);
        let failed = Verdict::Failed(Failure::Code(3));
        assert_eq!(said(failed, 1).as_deref(), Some("job 7 (sh -c 'exit 3') exited with code 3"));
        assert_eq!(said(failed, 3).as_deref(), Some("job 7 (sh -c 'exit 3') exited with code 3, 3 times"));
    }

    #[test]
    fn the_rest_is_estimated_from_what_was_done() {
        let counts = Counts { done: 9, failed: 1, ..Counts::default() };
        let line = progress_line(Some(30), Duration::from_secs(20), &counts, 2);
        assert_eq!(line, "10 of 30 jobs ended, 1 failed, 2 run, about 40 s left");
        assert_eq!(progress_line(None, Duration::ZERO, &Counts::default(), 1), "0 jobs ended, 1 run");
    }
}
