//! Whether the machine has room for another job: free memory, load, and pressure.

use super::Many;
use doula_host::room;
use std::time::Duration;

/// What is asked of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Room {
    memfree: Option<u64>,
    load: Option<f64>,
    pressure: Option<f64>,
}

impl Room {
    /// How often it is looked.
    pub(super) const EVERY: Duration = Duration::from_millis(500);

    /// `None` when nothing is asked.
    pub(super) fn new(many: &Many) -> Option<Room> {
        let Many { memfree, load, pressure, .. } = *many;
        let memfree = memfree.map(|bytes| bytes as u64);
        let room = Room { memfree, load, pressure };
        (room != Room { memfree: None, load: None, pressure: None }).then_some(room)
    }

    /// What is short, as a sentence. What cannot be read is not.
    pub(super) fn short_of(&self) -> Option<&'static str> {
        let less = |limit: u64| room::available_memory().is_some_and(|bytes| bytes < limit);
        let loaded = |limit: f64| room::load_average().is_some_and(|load| load > limit);
        let pressed = |limit: f64| {
            ["cpu", "memory", "io"].iter().filter_map(|what| room::pressure(what)).any(|share| share > limit)
        };
        let found = [
            (self.memfree.is_some_and(less), "less memory is available than --memfree asks for"),
            (self.load.is_some_and(loaded), "the load is higher than --load allows"),
            (self.pressure.is_some_and(pressed), "tasks wait for more of the time than --pressure allows"),
        ];
        found.into_iter().find_map(|(short, what)| short.then_some(what))
    }
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
    fn shares_and_loads_are_read() {
        assert_eq!(load("4"), Ok(4.0));
        assert_eq!(load("100%"), Ok(f64::from(crate::verbs::run::cpus())));
        assert!(load("x").is_err() && load("-1").is_err() && percent("101%").is_err());
        assert_eq!(percent("30%"), Ok(30.0));
    }

    #[test]
    fn a_machine_that_has_less_memory_than_is_asked_for_is_short() {
        let ask = |memfree| Room { memfree: Some(memfree), load: None, pressure: None };
        assert!(ask(u64::MAX).short_of().is_some_and(|what| what.contains("--memfree")));
        assert_eq!(ask(1).short_of(), None);
    }
}
