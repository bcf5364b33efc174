//! `doula ctl events`: what happened, and what happens.

use super::link::{Link, unexpected};
use super::{json, times};
use crate::error::{Exit, Failure, Outcome};
use crate::ui::{Style, Ui, escape};
use doula_model::control::{EventRecord, Reply, Request, Wall};
use jiff::tz::TimeZone;

/// Shows what happened to the family and its services
///
/// With --json each event is one line, for programs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only about these services (and about the family) [default: all]
    services: Vec<String>,

    /// Go on with what happens from now on, after the last 10 events (or those of --since or --lines)
    #[arg(short, long)]
    follow: bool,

    /// Only what happened since then: a duration ago (10m) or a time (2026-01-31T12:00:00Z)
    #[arg(long, value_parser = times::since, value_name = "WHEN")]
    since: Option<Wall>,

    /// Only the last so many events
    #[arg(short = 'l', long, value_name = "COUNT")]
    lines: Option<u32>,
}

/// So many events are shown before those that are followed, as `journalctl -f` and `tail -f` do.
const BEFORE: u32 = 10;

/// Shows them.
pub(super) fn run(args: Args, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let Args { services: names, follow, since, lines } = args;
    let lines = lines.or((follow && since.is_none()).then_some(BEFORE));
    let request = Request::Events { names, follow, since, lines };
    let zone = TimeZone::system();
    link.each(request, |reply| match reply {
        Reply::Event(event) if as_json => json::print(&event, ui),
        Reply::Event(event) => ui.line(&line(&event, &zone, ui.color())),
        missed @ Reply::Missed { .. } if as_json => json::print(&missed, ui),
        Reply::Missed { records } => {
            ui.note(&format!("missed {records} events: the output is read too slowly"));
            Ok(())
        }
        other => misplaced(&other),
    })?;
    Ok(Exit::OK)
}

/// Only events belong here.
pub(super) fn misplaced(_: &Reply) -> Result<(), Failure> {
    Err(unexpected())
}

/// `2026-01-31T12:00:00.000+01:00 web is ready after 120 ms`.
pub(super) fn line(event: &EventRecord, zone: &TimeZone, color: bool) -> String {
    let time = Style::Dim.paint(&times::rfc3339(event.at, zone), color);
    let who = event.service.as_deref().map_or_else(|| "the family".to_owned(), escape);
    format!("{time} {} {}", Style::Name.paint(&who, color), escape(&event.news.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::action::News;
    use doula_model::id::Generation;

    #[test]
    fn an_event_is_a_sentence_after_its_time() {
        let mut event = EventRecord {
            at: Wall(1_769_860_800_000_000),
            service: Some("web".into()),
            generation: Generation(1),
            news: News::Status { text: "5 \x1b[2J users".into() },
        };
        let text = line(&event, &TimeZone::UTC, false);
        assert_eq!(text, "2026-01-31T12:00:00.000+00:00 web says: 5 \\x1b[2J users");
        (event.service, event.news) = (None, News::FamilyEmpty);
        let text = line(&event, &TimeZone::UTC, false);
        assert!(text.ends_with(" the family is empty: every process has ended and was buried"), "{text}");
    }
}
