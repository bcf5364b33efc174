//! The log files of services, on a disk that has no room now and then, and on which single files are broken for a while. What is kept, counted
//! and written later is the production code, [`doula_core::arrears`], with a budget of few bytes.
//!
//! A line is a number here, from 1 for each service; a count of lines that are missing begins with `!`.
//!
//! | check | what it holds |
//! |---|---|
//! | `log` | lines are in their file whole, in order and once, or are counted where they are missing, or are kept and owed |
//!
//! What a supervisor kept when it was killed is gone with it.

use super::World;
use super::breakage::Breakage;
use super::faults::Fault;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use doula_core::arrears::Arrears;
use doula_model::time::Time;

/// So many bytes may be kept.
const BUDGET: usize = 48;
/// Lines that come together, at the most.
const MOST_LINES: u64 = 6;
/// The longest time without room, or with a broken file, in milliseconds.
const LONGEST: u64 = 15_000;

/// A file, and what was said for it.
#[derive(Clone, Debug, Default)]
struct Paper {
    said: u64,
    /// So many lines are in it, or counted in it, or gone with a supervisor.
    told: u64,
    /// The end of it that is no whole line.
    torn: Vec<u8>,
    broken_until: Time,
}

impl Paper {
    /// The end of the file has become longer; what is wrong with it.
    fn grows(&mut self, bytes: &[u8]) -> Option<String> {
        self.torn.extend_from_slice(bytes);
        while let Some(end) = self.torn.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.torn.drain(..=end).collect();
            let text = core::str::from_utf8(&line[..end]).unwrap_or_default();
            let is_next = match text.strip_prefix('!') {
                Some(count) => count.parse().map(|count: u64| self.told += count).is_ok(),
                None => {
                    self.told += 1;
                    text == self.told.to_string()
                }
            };
            if !is_next || self.told > self.said {
                return Some(alloc::format!("`{text}` is written as line {} of {}", self.told, self.said));
            }
        }
        None
    }
}

/// All files, and what is owed to them.
#[derive(Debug)]
pub(super) struct Logs {
    arrears: Arrears<usize>,
    files: Vec<Paper>,
    full_until: Time,
}

impl Logs {
    pub(super) fn new(count: usize) -> Logs {
        let files = alloc::vec![Paper::default(); count];
        Logs { arrears: Arrears::new(BUDGET), files, full_until: Time::ZERO }
    }

    /// What a supervisor kept is gone with it.
    pub(super) fn forget_kept(&mut self) {
        self.arrears = Arrears::new(BUDGET);
        self.files.iter_mut().for_each(|file| file.told = file.said);
    }
}

impl World<'_> {
    /// Somebody has said something, and what could not be written before is tried again.
    pub(super) fn write_logs(&mut self) {
        let sites = self.scenario.sites;
        if self.killed || !(sites.has(Fault::LogFull) || sites.has(Fault::LogBroken)) {
            return;
        }
        let at = self.faults.below(Fault::LogFull, self.logs.files.len() as u64) as usize;
        let count = self.faults.below(Fault::LogFull, MOST_LINES);
        let said = self.logs.files[at].said;
        let lines: String = (1..=count).map(|more| alloc::format!("{}\n", said + more)).collect();
        self.logs.files[at].said += count;
        if self.logs.arrears.is_behind(at) || !self.write_log(at, lines.as_bytes()) {
            self.logs.arrears.owe(at, lines.as_bytes());
        }
        self.pay_logs();
        let told: u64 = self.logs.files.iter().map(|file| file.told).sum();
        let said: u64 = self.logs.files.iter().map(|file| file.said).sum();
        let owed = self.logs.arrears.unwritten();
        if told + owed != said {
            let text = alloc::format!("of {said} lines {told} are written or counted, and {owed} are owed");
            self.checks.fail("log", text);
        }
    }

    fn pay_logs(&mut self) {
        for at in self.logs.arrears.due(self.now).into_iter().flatten() {
            let Some(owed) = self.logs.arrears.owed(at) else { continue };
            let mut text = owed.lines.clone();
            if owed.lost > 0 && !self.is_broken(Breakage::ForgetsDropped) {
                text.extend_from_slice(alloc::format!("!{}\n", owed.lost).as_bytes());
            }
            if self.write_log(at, &text) {
                self.logs.arrears.paid(at);
            }
        }
        if let Some(lost) = self.logs.arrears.is_over() {
            self.log.note(self.now, ("logs", lost));
            self.log.say(
                self.now,
                "supervisor",
                format_args!("logs are written again, without {lost} lines"),
            );
        }
    }

    /// As write(2), and ftruncate(2) when not all of it was written; whether it was.
    fn write_log(&mut self, at: usize, lines: &[u8]) -> bool {
        if self.faults.fires(Fault::LogFull) {
            self.logs.full_until = self.for_a_while(Fault::LogFull);
        }
        if self.faults.fires(Fault::LogBroken) {
            self.logs.files[at].broken_until = self.for_a_while(Fault::LogBroken);
        }
        let refused = self.now < self.logs.files[at].broken_until;
        let full = self.now < self.logs.full_until;
        let room = match (refused, full) {
            (true, _) => 0,
            (false, true) => self.faults.below(Fault::LogFull, lines.len() as u64 + 1) as usize,
            (false, false) => lines.len(),
        };
        let keeps_torn = self.is_broken(Breakage::KeepsTorn);
        if room == lines.len() || keeps_torn {
            let wrong = self.logs.files[at].grows(&lines[..room]);
            wrong.into_iter().for_each(|wrong| self.checks.fail("log", wrong));
        }
        if room < lines.len() && self.logs.arrears.refused(self.now) {
            self.log.note(self.now, ("log", at));
            self.log.say(self.now, "disk", format_args!("refuses lines of s{at}"));
        }
        room == lines.len()
    }

    fn for_a_while(&mut self, fault: Fault) -> Time {
        self.now.after(Duration::from_millis(self.faults.below(fault, LONGEST)))
    }

    /// The supervisor ends: what is owed is tried once more. Nothing goes wrong by then.
    pub(super) fn last_words(&mut self) {
        self.logs.arrears.hurry();
        self.pay_logs();
        let owed = self.logs.arrears.unwritten();
        if owed > 0 && self.quiet && self.now >= self.logs.full_until {
            let broken = self.logs.files.iter().any(|file| self.now < file.broken_until);
            if !broken {
                self.checks.fail("log", alloc::format!("{owed} lines are kept and never written"));
            }
        }
    }
}
