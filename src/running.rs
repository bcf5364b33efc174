//! What a run of jobs shows of itself while it is at work, and how `doula top` shows that.
//!
//! The run's side is [`Board`]: it writes no more often than ten times a second, and nothing at all in its first tenth of a second.

mod fates;

pub(crate) use fates::{Failed, Fates, Resting};

use crate::scoreboard::Line;
use crate::ui::{Style, escape};
use doula_core::queue::Counts;
use doula_host::control::place::Bases;
use doula_host::jobs::shown::{self, Shown};
use doula_model::words::ShortSpan;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::{Duration, Instant};

/// It is written no more often.
const EVERY: Duration = Duration::from_millis(100);
/// So many jobs at work are shown of a run.
pub(crate) const MOST: usize = 200;
/// Longer inputs and commands are cut.
const LONGEST: usize = 200;

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Running {
    /// Who and whose; not written, but known by who reads it.
    pub(crate) pid: i32,
    pub(crate) owner: u32,
    /// What it does, for people.
    pub(crate) title: String,
    pub(crate) slots: Option<u32>,
    /// How many jobs there are, if that is known.
    pub(crate) total: Option<u64>,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Of the done and failed, those of an earlier run.
    pub(crate) before: u64,
    pub(crate) retried: u64,
    pub(crate) in_work: usize,
    /// Why nothing is begun now.
    pub(crate) waits: Option<String>,
    /// Since when it is at work, in seconds since the start of the machine.
    pub(crate) began: f64,
    pub(crate) jobs: Vec<Job>,
    /// Where it writes down what happens.
    pub(crate) journal: Option<String>,
    /// The queue at which it works, or to which it hands its jobs.
    pub(crate) queue: Option<String>,
    /// The jobs have these numbers: nobody has looked at the inputs of those beyond.
    pub(crate) read: u64,
    /// Those that are neither in work nor at their end, nor rest: the first of them.
    pub(crate) waiting: Vec<u64>,
    /// Those that failed and are tried again: the first of them.
    pub(crate) resting: Vec<Resting>,
    /// Those that came to their end without success: the last of them; and how many were shown before.
    pub(crate) failures: Vec<Failed>,
    pub(crate) forgotten: u64,
}

/// A job at work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) slot: u32,
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    /// Since when, in seconds since the start of the machine.
    pub(crate) since: f64,
    pub(crate) input: String,
}

impl Job {
    /// One that began at this moment; `now` is in seconds since the start of the machine.
    pub(crate) fn new(
        now: f64,
        (slot, number, attempt): (u32, u64, u32),
        began: Instant,
        input: &[u8],
    ) -> Job {
        let since = now - began.elapsed().as_secs_f64();
        Job { slot, number, attempt, since, input: cut(&String::from_utf8_lossy(input)) }
    }
}

/// As much of a text as a line needs.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// Seconds since the start of the machine.
fn uptime() -> f64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(' ').next().and_then(|seconds| seconds.parse().ok()).unwrap_or_default()
}

/// Where a run shows what it does.
#[derive(Debug)]
pub(crate) struct Board {
    running: Running,
    fates: Fates,
    place: Place,
    changed: bool,
    written: Instant,
}

#[derive(Debug)]
enum Place {
    /// Nothing was to be shown yet.
    Unasked,
    At(Shown),
    /// There is none.
    None,
}

impl Board {
    pub(crate) fn new(title: &str, slots: Option<u32>, total: Option<u64>) -> Board {
        let running = Running { title: cut(title), slots, total, ..Running::default() };
        let fates = Fates::default();
        Board { running, fates, place: Place::Unasked, changed: true, written: Instant::now() }
    }

    /// What is known of jobs that are not in work is there.
    #[must_use]
    pub(crate) fn of(mut self, journal: Option<&Path>, queue: Option<&str>) -> Board {
        let whole = journal.and_then(|path| std::path::absolute(path).ok());
        self.running.journal = whole.and_then(|path| path.into_os_string().into_string().ok());
        self.running.queue = queue.map(str::to_owned);
        self
    }

    /// A job has begun, or has failed and rests, or has failed for good.
    pub(crate) fn tell(&mut self, of: impl FnOnce(&mut Fates)) {
        of(&mut self.fates);
        self.changed = true;
    }

    /// How far it is; of that, so many came to their end in an earlier run.
    pub(crate) fn counts(&mut self, counts: &Counts, before: u64, in_work: usize) {
        let running = &mut self.running;
        let now = (counts.done, counts.failed, counts.retried, in_work);
        if now != (running.done, running.failed, running.retried, running.in_work) {
            (running.done, running.failed, running.retried, running.in_work) = now;
            running.before = before;
            self.changed = true;
        }
    }

    /// Why nothing is begun from now on, if that is so.
    pub(crate) fn waits(&mut self, why: Option<&str>) {
        if self.running.waits.as_deref() != why {
            self.running.waits = why.map(str::to_owned);
            self.changed = true;
        }
    }

    /// Shows it, if it is time for that; else when it will be. `jobs` are those in work; `open` all that did not come to their end,
    /// of those that have numbers up to `read`.
    pub(crate) fn show(
        &mut self,
        jobs: impl FnOnce(f64) -> Vec<Job>,
        (open, read): (impl Iterator<Item = u64>, u64),
    ) -> Option<Duration> {
        if !self.changed || matches!(self.place, Place::None) {
            return None;
        }
        let left = EVERY.saturating_sub(self.written.elapsed());
        if !left.is_zero() {
            return Some(left);
        }
        let now = uptime();
        if matches!(self.place, Place::Unasked) {
            self.place = Shown::place(&Bases::from_env()).map_or(Place::None, Place::At);
            self.running.began = now - self.written.elapsed().as_secs_f64();
        }
        let running = &mut self.running;
        running.jobs = jobs(now);
        running.jobs.truncate(MOST);
        running.read = read;
        self.fates.show(now, open, running);
        let written = serde_json::to_vec(&self.running).map_err(std::io::Error::other);
        if let Place::At(place) = &self.place
            && written.and_then(|text| place.show(&text)).is_err()
        {
            // A run is not ended because nobody can see it.
            self.place = Place::None;
        }
        (self.changed, self.written) = (false, Instant::now());
        None
    }
}

/// All runs at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Runs {
    /// In seconds since the start of the machine.
    pub(crate) at: f64,
    pub(crate) runs: Vec<Running>,
}

impl Runs {
    /// Those that this user may look at.
    pub(crate) fn now() -> Runs {
        let one = |run: shown::Run| {
            let running: Running = serde_json::from_slice(&run.text).ok()?;
            Some(Running { pid: run.pid.get(), owner: run.owner, ..running })
        };
        Runs { runs: shown::all(&Bases::from_env()).into_iter().filter_map(one).collect(), at: uptime() }
    }

    /// One below the other, in so many columns. With an earlier look there are rates of the time between.
    pub(crate) fn lines(&self, before: Option<&Runs>, columns: usize) -> Vec<Line> {
        if self.runs.is_empty() {
            let none = "no `doula run` or `doula worker` of yours is at work";
            return vec![vec![(none.to_owned(), Style::Plain)]];
        }
        let mut parts = Vec::new();
        for run in &self.runs {
            let last = before.and_then(|before| Some((before.of(run.pid)?, self.at - before.at)));
            let rate = last.filter(|(_, passed)| *passed > 0.0);
            let rate = rate.map(|(last, passed)| run.ended().saturating_sub(last.ended()) as f64 / passed);
            parts.push(run.lines(self.at, rate, columns));
        }
        parts.join(&Vec::new())
    }

    fn of(&self, pid: i32) -> Option<&Running> {
        self.runs.iter().find(|run| run.pid == pid)
    }
}

impl Running {
    fn ended(&self) -> u64 {
        self.done + self.failed
    }

    fn lines(&self, now: f64, rate: Option<f64>, columns: usize) -> Vec<Line> {
        let mut lines = vec![
            vec![(format!("{} ", self.pid), Style::Dim), (escape(&self.title), Style::Head)],
            self.counts(columns),
            vec![(self.pace(now, rate), Style::Plain)],
        ];
        let why = self.waits.iter();
        lines.extend(why.map(|why| vec![(format!("  nothing is begun: {}", escape(why)), Style::Bad)]));
        if !self.jobs.is_empty() {
            lines.push(vec![(
                format!("  {:>5} {:>8} {:>8}  {}", "SLOT", "JOB", "SINCE", "INPUT"),
                Style::Dim,
            )]);
        }
        lines.extend(self.jobs.iter().map(|job| job.line(now)));
        let more = self.in_work.saturating_sub(self.jobs.len());
        if more > 0 && self.jobs.len() >= MOST {
            lines.push(vec![(format!("  and {more} more"), Style::Dim)]);
        }
        lines
    }

    /// How far it is, as a bar where the end is known.
    fn counts(&self, columns: usize) -> Line {
        let ended = self.ended();
        let mut line = vec![("  ".to_owned(), Style::Plain)];
        if let Some(total) = self.total.filter(|total| *total > 0) {
            let room = columns.saturating_sub(50).clamp(10, 40) as u64;
            let filled = (ended.min(total) * room / total) as usize;
            line.push(("#".repeat(filled), Style::Good));
            line.push((format!("{} ", ".".repeat(room as usize - filled)), Style::Dim));
        }
        let of = self.total.map_or_else(String::new, |total| format!(" of {total}"));
        line.push((format!("{ended}{of} jobs ended"), Style::Plain));
        if self.failed > 0 {
            line.push((format!(", {} failed", self.failed), Style::Bad));
        }
        line
    }

    /// How fast it goes, and how long yet.
    fn pace(&self, now: f64, rate: Option<f64>) -> String {
        let slots = self.slots.map_or_else(String::new, |slots| format!(" of {slots} at a time"));
        let mut text = format!("  {} in work{slots}", self.in_work);
        if self.retried > 0 {
            text.push_str(&format!(", {} tried again", self.retried));
        }
        let (ended, passed) = (self.ended(), (now - self.began).max(0.001));
        let mean = ended.saturating_sub(self.before) as f64 / passed;
        text.push_str(&format!(", {:.1}/s", rate.unwrap_or(mean)));
        let left = self.total.map(|total| total.saturating_sub(ended)).filter(|left| *left > 0);
        if let Some(left) = left.filter(|_| mean > 0.0) {
            let rest = Duration::try_from_secs_f64(left as f64 / mean).unwrap_or(Duration::MAX);
            text.push_str(&format!(", about {} left", ShortSpan(rest)));
        }
        text
    }
}

impl Job {
    fn line(&self, now: f64) -> Line {
        let since = Duration::try_from_secs_f64(now - self.since).unwrap_or_default();
        let again = if self.attempt > 1 { format!(" (attempt {})", self.attempt) } else { String::new() };
        let text = format!("  {:>5} {:>8} {:>8}  ", self.slot, self.number, ShortSpan(since).to_string());
        vec![(text, Style::Plain), (escape(&self.input), Style::Plain), (again, Style::Busy)]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run with so many jobs ended, at this moment.
    pub(crate) fn runs(at: f64, ended: u64) -> Runs {
        let job = |slot: u32, number, attempt, input: &str| Job {
            slot,
            number,
            attempt,
            since: 90.0 + f64::from(slot),
            input: input.to_owned(),
        };
        let running = Running {
            pid: 4711,
            owner: 1000,
            title: "convert '{}' '{.}.png'".to_owned(),
            slots: Some(2),
            total: Some(300),
            done: ended - 2,
            failed: 2,
            before: 20,
            retried: 1,
            in_work: 2,
            waits: None,
            began: 90.0,
            jobs: vec![job(1, ended + 1, 1, "a\x1b[2J.jpg"), job(2, ended + 2, 3, "b.jpg")],
            read: ended + 2,
            ..Running::default()
        };
        Runs { at, runs: vec![running] }
    }

    fn text(lines: &[Line]) -> String {
        let line = |line: &Line| line.iter().map(|(text, _)| text.as_str()).collect::<String>();
        lines.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_run_has_its_counts_its_rate_the_rest_and_its_jobs() {
        let said = text(&runs(100.0, 120).lines(None, 80));
        assert_eq!(
            said,
            "4711 convert '{}' '{.}.png'\n  \
             ############.................. 120 of 300 jobs ended, 2 failed\n  \
             2 in work of 2 at a time, 1 tried again, 10.0/s, about 18.0s left\n   \
             SLOT      JOB    SINCE  INPUT\n      \
             1      121     9.0s  a\\x1b[2J.jpg\n      \
             2      122     8.0s  b.jpg (attempt 3)"
        );
        let said = text(&runs(102.0, 160).lines(Some(&runs(100.0, 120)), 80));
        assert!(said.contains("160 of 300") && said.contains(", 20.0/s"), "{said}");
        assert!(text(&Runs::default().lines(None, 80)).starts_with("no `doula run`"));
    }

    #[test]
    fn what_a_run_writes_is_what_is_read() {
        let all = runs(100.0, 120);
        let text = serde_json::to_vec(&all).expect("JSON");
        assert_eq!(serde_json::from_slice::<Runs>(&text).expect("runs"), all);
        // A later one may say more, an earlier one less.
        assert!(serde_json::from_slice::<Running>(br#"{"title":"x","new":1}"#).is_ok());
    }

    #[test]
    fn what_lasts_a_moment_shows_nothing_and_asks_for_no_jobs() {
        let mut board = Board::new("true", Some(1), None);
        board.counts(&Counts::default(), 0, 1);
        let left = board.show(|_| panic!("nobody looks yet"), (std::iter::empty(), 0));
        assert!(left.is_some_and(|left| left <= EVERY));
        assert!(matches!(board.place, Place::Unasked));
    }
}
