//! Loads as people write them: `64 clients for 12s, quiet for 1m`, and records of arrivals.

use crate::config;
use crate::error::Failure;
use doula_model::time::Time;
use doula_sim::pools::{Handler, Phase, Source};
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

/// More connections than this take too much memory to be worth a plan.
const MOST: u128 = 20_000_000;

/// Phases with commas between them.
pub(super) fn phases(text: &str) -> Result<Vec<Phase>, String> {
    let phases = text.split(',').map(|part| phase(part.trim())).collect::<Result<Vec<Phase>, String>>()?;
    let many = |phase: &Phase| match phase.source {
        Source::Rate(rate) => u128::from(rate) * phase.lasts.as_millis() / 1000,
        Source::Clients(count) => u128::from(count),
        Source::Quiet => 0,
    };
    if phases.iter().map(many).sum::<u128>() > MOST {
        return Err("that is more than twenty million connections: describe a shorter time".to_owned());
    }
    Ok(phases)
}

fn phase(text: &str) -> Result<Phase, String> {
    let wrong = || {
        format!(
            "`{text}` is no phase of a load: write `64 clients for 12s`, `200/s for 30s` or `quiet for 1m`"
        )
    };
    let (source, lasts) = text.split_once(" for ").ok_or_else(wrong)?;
    let source = source.trim();
    let number = |digits: &str| digits.trim().parse::<u32>().map_err(|_| wrong());
    let source = if source == "quiet" {
        Source::Quiet
    } else if let Some(rate) = source.strip_suffix("/s") {
        Source::Rate(number(rate)?)
    } else {
        let clients = source.strip_suffix("clients").or_else(|| source.strip_suffix("client"));
        Source::Clients(number(clients.ok_or_else(wrong)?)?)
    };
    Ok(Phase { source, lasts: config::duration(lasts.trim())? })
}

/// `200ms`, or `50ms..400ms` for every time between the two.
pub(super) fn handler(text: &str) -> Result<Handler, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let handler = Handler { least: config::duration(least)?, most: config::duration(most)? };
    if handler.least > handler.most {
        return Err(format!("`{text}` ends before it begins"));
    }
    Ok(handler)
}

/// Reads a record: on each line when a connection arrived and how long its handler took, in seconds, with blanks or a comma
/// between them. `-` is standard input.
pub(super) fn record(path: &Path) -> Result<Vec<(Time, Duration)>, Failure> {
    let name = path.display();
    let read = || {
        if path.as_os_str() != "-" {
            return fs::read_to_string(path);
        }
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    };
    let text = read().map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let row = row(line).ok_or_else(|| {
            let place = number + 1;
            Failure::usage(format!("{name}:{place}: `{line}` are not two numbers of seconds"))
                .hint("write when a connection arrived and how long its handler took: `12.5 0.2`")
        })?;
        rows.push(row);
    }
    let first = rows.iter().map(|(arrived, _)| *arrived).min();
    let Some(first) = first else { return Err(Failure::usage(format!("{name} has no connection in it"))) };
    let mut rows: Vec<(Time, Duration)> =
        rows.into_iter().map(|(arrived, took)| (Time::ZERO.after(arrived - first), took)).collect();
    rows.sort_unstable();
    Ok(rows)
}

fn row(line: &str) -> Option<(Duration, Duration)> {
    let mut parts = line.split([',', ' ', '\t', ';']).filter(|part| !part.is_empty());
    let mut seconds = || Duration::try_from_secs_f64(parts.next()?.parse().ok()?).ok();
    let row = (seconds()?, seconds()?);
    parts.next().is_none().then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_phases_with_commas() {
        let phases = phases("64 clients for 12s, 200/s for 1m30s,quiet for 1m").expect("a load");
        let sources: Vec<Source> = phases.iter().map(|phase| phase.source).collect();
        assert_eq!(sources, [Source::Clients(64), Source::Rate(200), Source::Quiet]);
        assert_eq!(phases[1].lasts, Duration::from_secs(90));
    }

    #[test]
    fn what_is_no_load_says_how_to_write_one() {
        for wrong in
            ["", "64 clients", "many clients for 1s", "64 for 1s", "-1/s for 1s", "5/s for 10", "quiet for"]
        {
            assert!(phases(wrong).is_err(), "{wrong}");
        }
        assert!(phases("4000000000/s for 1h").expect_err("too many").contains("twenty million"));
        assert!(handler("2s..1s").expect_err("backwards").contains("ends before it begins"));
    }

    #[test]
    fn a_row_of_a_record_has_two_numbers() {
        let row_of = |text| row(text).map(|(arrived, took)| (arrived.as_millis(), took.as_millis()));
        assert_eq!(row_of("1.5 0.25"), Some((1_500, 250)));
        assert_eq!(row_of("1,2"), Some((1_000, 2_000)));
        for wrong in ["1", "1 2 3", "a b", "-1 2", "1 NaN", "inf 1"] {
            assert_eq!(row_of(wrong), None, "{wrong}");
        }
    }
}
