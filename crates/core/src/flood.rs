//! How much of a service's output is passed on: a token bucket over ten seconds.
//!
//! A service that floods its log must cost neither the disk nor the other services their share, and nobody
//! may believe that nothing was lost: whatever is dropped is counted, and the count is told at the place where
//! the lines are missing.
//!
//! Once the bucket is empty, everything is dropped until one second's worth of lines has come together again.
//! Without this pause a steady flood would alternate between one line and one gap, with a report for each.
//!
//! Absent on purpose: how lines are told apart (the world does that) and the figure of the limit itself (it is
//! the user's, see [`doula_model::recipe::LogPolicy`]).

use core::time::Duration;
use doula_model::time::Time;

/// The limit is an average over this time: a burst of ten seconds' lines passes at once.
const AVERAGED_OVER_SECONDS: u64 = 10;

/// After this long without a line the dropped ones are reported anyway.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// A token is this many units, so that nanoseconds times lines a second need no division.
const UNITS: u128 = 1_000_000_000;

/// The flood gate of one service.
#[derive(Clone, Debug)]
pub struct Flood {
    lines_per_second: u32,
    level: u128,
    filled: Time,
    gap: Option<Gap>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    since: Time,
    last: Time,
    lines: u64,
}

/// What happens to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is passed on.
    Pass,
    /// It is passed on; before it belongs the report about the lines that are missing.
    PassAfter(Dropped),
    /// It is dropped and counted.
    Drop,
}

/// Lines that are missing at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// How many; at least one.
    pub lines: u64,
    /// Between the first of them and the end of the gap.
    pub over: Duration,
}

impl core::fmt::Display for Dropped {
    /// `dropped 12,345 lines in 3 s`.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("dropped ")?;
        grouped(f, self.lines)?;
        let noun = if self.lines == 1 { "line" } else { "lines" };
        match self.over.as_secs() {
            0 => write!(f, " {noun} in {} ms", self.over.as_millis()),
            seconds => write!(f, " {noun} in {seconds} s"),
        }
    }
}

/// Writes a number with a comma before each group of three digits.
fn grouped(f: &mut core::fmt::Formatter<'_>, number: u64) -> core::fmt::Result {
    if number < 1000 {
        return write!(f, "{number}");
    }
    grouped(f, number / 1000)?;
    write!(f, ",{:03}", number % 1000)
}

impl Flood {
    /// A gate that lets `lines_per_second` through on average; its bucket is full. Zero drops everything.
    pub fn new(lines_per_second: u32, now: Time) -> Flood {
        let mut flood = Flood { lines_per_second, level: 0, filled: now, gap: None };
        flood.level = flood.capacity();
        flood
    }

    /// Decides about one line at this time. Times must not go backwards; if they do, nothing is refilled.
    pub fn admit(&mut self, now: Time) -> Verdict {
        self.refill(now);
        let needed =
            if self.gap.is_some() { u128::from(self.lines_per_second.max(1)) * UNITS } else { UNITS };
        if self.level < needed {
            let gap = self.gap.get_or_insert(Gap { since: now, last: now, lines: 0 });
            gap.lines += 1;
            gap.last = now;
            return Verdict::Drop;
        }
        self.level -= UNITS;
        match self.end_gap(now) {
            None => Verdict::Pass,
            Some(dropped) => Verdict::PassAfter(dropped),
        }
    }

    /// When [`Flood::overdue`] wants to be asked, if no line comes before.
    pub fn deadline(&self) -> Option<Time> {
        self.gap.map(|gap| gap.last.after(REPORT_AFTER))
    }

    /// The report about dropped lines that no further line has brought to light until the deadline.
    pub fn overdue(&mut self, now: Time) -> Option<Dropped> {
        if self.deadline().is_some_and(|deadline| now >= deadline) { self.end_gap(now) } else { None }
    }

    /// The report about dropped lines when no line can follow any more.
    pub fn finish(&mut self, now: Time) -> Option<Dropped> {
        self.end_gap(now)
    }

    fn capacity(&self) -> u128 {
        u128::from(self.lines_per_second) * u128::from(AVERAGED_OVER_SECONDS) * UNITS
    }

    fn refill(&mut self, now: Time) {
        let gained = now.since(self.filled).as_nanos() * u128::from(self.lines_per_second);
        self.level = (self.level + gained).min(self.capacity());
        self.filled = self.filled.max(now);
        assert!(self.level <= self.capacity());
    }

    fn end_gap(&mut self, now: Time) -> Option<Dropped> {
        let gap = self.gap.take()?;
        assert!(gap.lines > 0);
        Some(Dropped { lines: gap.lines, over: now.since(gap.since) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    const MILLI: u64 = 1_000_000;

    fn at(millis: u64) -> Time {
        Time::from_nanos(millis * MILLI)
    }

    #[test]
    fn a_burst_of_ten_seconds_passes_and_the_next_line_does_not() {
        let mut flood = Flood::new(5, at(0));
        for _ in 0..50 {
            assert_eq!(flood.admit(at(0)), Verdict::Pass);
        }
        assert_eq!(flood.admit(at(0)), Verdict::Drop);
    }

    #[test]
    fn what_was_dropped_is_told_before_the_next_line() {
        let mut flood = Flood::new(1, at(0));
        for _ in 0..12 {
            flood.admit(at(0));
        }
        assert_eq!(flood.admit(at(500)), Verdict::Drop);
        let dropped = Dropped { lines: 3, over: Duration::from_secs(3) };
        assert_eq!(flood.admit(at(3000)), Verdict::PassAfter(dropped));
        assert_eq!(flood.admit(at(3000)), Verdict::Pass);
    }

    #[test]
    fn a_flood_that_ends_is_reported_without_a_further_line() {
        let mut flood = Flood::new(0, at(0));
        assert_eq!(flood.deadline(), None);
        assert_eq!(flood.admit(at(0)), Verdict::Drop);
        assert_eq!(flood.deadline(), Some(at(2000)));
        assert_eq!(flood.overdue(at(1999)), None);
        assert_eq!(flood.overdue(at(2000)), Some(Dropped { lines: 1, over: Duration::from_secs(2) }));
        assert_eq!((flood.deadline(), flood.finish(at(2000))), (None, None));
    }

    #[test]
    fn the_report_reads_like_a_sentence() {
        let cases = [
            (1, 0, "dropped 1 line in 0 ms"),
            (999, 20, "dropped 999 lines in 20 ms"),
            (12_345, 3999, "dropped 12,345 lines in 3 s"),
            (1_002_003, 60_000, "dropped 1,002,003 lines in 60 s"),
        ];
        for (lines, millis, text) in cases {
            assert_eq!(Dropped { lines, over: Duration::from_millis(millis) }.to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_uncounted_and_the_average_holds(
            limit in 1u32..50,
            steps in prop::collection::vec((0u64..300, 0u32..200), 1..80),
        ) {
            let (mut flood, mut now, mut sent, mut passed, mut told) = (Flood::new(limit, at(0)), 0, 0, 0, 0);
            for (pause, lines) in steps {
                now += pause;
                for _ in 0..lines {
                    sent += 1;
                    match flood.admit(at(now)) {
                        Verdict::Drop => {}
                        Verdict::Pass => passed += 1,
                        Verdict::PassAfter(dropped) => { passed += 1; told += dropped.lines; }
                    }
                }
            }
            told += flood.finish(at(now)).map_or(0, |dropped| dropped.lines);
            prop_assert_eq!(sent, passed + told);
            prop_assert!(passed <= u64::from(limit) * 10 + u64::from(limit) * now / 1000 + 1);
        }
    }
}
