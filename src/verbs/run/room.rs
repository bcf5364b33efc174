//! Whether the machine has room for another job: free memory, load, and pressure.

use super::Many;
use std::fs;
use std::time::Duration;

/// What is asked of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Room {
    memfree: Option<usize>,
    load: Option<f64>,
    pressure: Option<f64>,
}

impl Room {
    /// How often it is looked.
    pub(super) const EVERY: Duration = Duration::from_millis(500);

    /// `None` when nothing is asked.
    pub(super) fn new(many: &Many) -> Option<Room> {
        let Many { memfree, load, pressure, .. } = *many;
        let room = Room { memfree, load, pressure };
        (room != Room { memfree: None, load: None, pressure: None }).then_some(room)
    }

    /// Whether something is short. What cannot be read is not.
    pub(super) fn is_short(&self) -> bool {
        let less = |limit: usize| available().is_some_and(|bytes| bytes < limit);
        let loaded = |limit: f64| load_average().is_some_and(|load| load > limit);
        let pressed = |limit: f64| {
            ["cpu", "memory", "io"].iter().filter_map(|what| pressure(what)).any(|share| share > limit)
        };
        self.memfree.is_some_and(less) || self.load.is_some_and(loaded) || self.pressure.is_some_and(pressed)
    }
}

/// `MemAvailable` of proc_meminfo(5), in bytes.
fn available() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
}

/// The first figure of proc_loadavg(5).
fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The share of the last ten seconds in which some task waited, in per cent (Documentation/accounting/psi.rst).
fn pressure(what: &str) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/pressure/{what}")).ok()?;
    some_avg10(&text)
}

fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

/// A load, or a share of the CPUs.
pub(super) fn load(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a load: write 4, or 80%");
    let (number, unit) = match text.strip_suffix('%') {
        Some(percent) => (percent, f64::from(super::cpus()) / 100.0),
        None => (text, 1.0),
    };
    let number = number.parse::<f64>().map_err(|_| wrong())?;
    if number.is_finite() && number >= 0.0 { Ok(number * unit) } else { Err(wrong()) }
}

/// A share in per cent.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    let share = number.ok().filter(|percent| (0.0..=100.0).contains(percent));
    share.ok_or_else(|| format!("`{text}` is not a share: write 30%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let text = "some avg10=12.50 avg60=1.00 avg300=0.10 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(some_avg10(text), Some(12.5));
        assert!(available().is_some_and(|bytes| bytes > 0));
        assert!(load_average().is_some());
    }

    #[test]
    fn shares_and_loads_are_read() {
        assert_eq!(load("4"), Ok(4.0));
        assert_eq!(load("100%"), Ok(f64::from(crate::verbs::run::cpus())));
        assert!(load("x").is_err() && load("-1").is_err() && percent("101%").is_err());
        assert_eq!(percent("30%"), Ok(30.0));
    }

    #[test]
    fn a_machine_that_has_less_memory_than_is_asked_for_is_short() {
        let ask = |memfree| Room { memfree: Some(memfree), load: None, pressure: None };
        assert!(ask(usize::MAX).is_short());
        assert!(!ask(1).is_short());
    }
}
