//! `doula ctl logs`: what the services wrote.

use super::link::Link;
use super::{events, json, times};
use crate::error::{Exit, Outcome};
use crate::ui::{Style, Ui, escape};
use doula_host::logs;
use doula_model::control::{LogRecord, Reply, Request, Stream, Wall};
use jiff::tz::TimeZone;

/// Shows what the services wrote
///
/// The supervisor remembers the last lines of each service; older ones are in the files of `doula up --logs`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these services [default: all]
    services: Vec<String>,

    /// Go on with what they write from now on
    #[arg(short, long)]
    follow: bool,

    /// Only what was written since then: a duration ago (10m) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_parser = times::since, value_name = "WHEN")]
    since: Option<Wall>,

    /// Only the last so many lines
    #[arg(short = 'l', long, value_name = "COUNT")]
    lines: Option<u32>,

    /// Only the lines themselves, byte for byte
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// Shows them.
pub(super) fn run(args: Args, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let Args { services: names, follow, since, lines, raw } = args;
    let zone = TimeZone::system();
    link.each(Request::Logs { names, follow, since, lines }, |reply| match reply {
        Reply::Log(record) if as_json => json::print(&record, ui),
        Reply::Log(mut record) if raw => {
            record.line.0.push(b'\n');
            ui.bytes(&record.line.0)
        }
        Reply::Log(record) => ui.line(&line(&record, &zone, ui.color())),
        missed @ Reply::Missed { .. } if as_json => json::print(&missed, ui),
        Reply::Missed { records } => {
            ui.note(&format!("missed {records} lines: the output is read too slowly"));
            Ok(())
        }
        other => events::misplaced(&other),
    })?;
    Ok(Exit::OK)
}

/// `2026-01-31T12:00:00.000+01:00 web | a line`.
fn line(record: &LogRecord, zone: &TimeZone, color: bool) -> String {
    let time = Style::Dim.paint(&times::rfc3339(record.at, zone), color);
    let mut text = Vec::new();
    logs::escape(&record.line.0, color, &mut text);
    let bar = match record.stream {
        Stream::Stdout => Style::Dim.paint("|", color),
        Stream::Stderr => Style::Busy.paint("!", color),
        Stream::Doula => Style::Name.paint("*", color),
    };
    let who = Style::Name.paint(&escape(&record.service), color);
    format!("{time} {who} {bar} {}", String::from_utf8_lossy(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::control::Bytes;

    #[test]
    fn a_line_shows_when_who_and_where_without_control_bytes() {
        let mut record = LogRecord {
            at: Wall(1_769_860_800_000_000),
            service: "web".into(),
            stream: Stream::Stdout,
            line: Bytes(b"GET \x1b[2J / \xff".to_vec()),
        };
        let text = line(&record, &TimeZone::UTC, false);
        assert_eq!(text, "2026-01-31T12:00:00.000+00:00 web | GET \\x1b[2J / \\xff");
        record.stream = Stream::Stderr;
        assert!(line(&record, &TimeZone::UTC, false).contains("web ! GET"));
    }
}
