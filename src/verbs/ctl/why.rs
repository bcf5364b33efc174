//! `doula ctl why SERVICE`: in which state, since when, because of what.

use super::link::{Link, unexpected};
use super::{events, json, status, times};
use crate::error::{Exit, Outcome};
use crate::ui::{Style, Ui, escape};
use doula_model::action::Cause;
use doula_model::control::{Reply, Request, ServiceStatus, Why};
use doula_model::words::{Size, Span};
use jiff::tz::TimeZone;

/// The longest chain of causes that is told.
const CHAIN_LIMIT: usize = 20;
/// The last so many events are told.
const HISTORY: usize = 10;

/// Tells why a service is as it is
///
/// In which state it is, since when and because of what; whom that goes back to; and what happened to it last.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service
    service: String,
}

/// Tells it.
pub(super) fn run(args: Args, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let Reply::Why(mut why) = link.ask(Request::Why { name: args.service })? else {
        return Err(unexpected());
    };
    link.measure(&mut why.services);
    if as_json {
        json::print(&why, ui)?;
    } else {
        ui.print(&text(&why, &TimeZone::system(), ui.color()))?;
    }
    Ok(Exit::OK)
}

/// The answer for people.
fn text(why: &Why, zone: &TimeZone, color: bool) -> String {
    let mut text = String::new();
    for (depth, service) in chain(why).into_iter().enumerate() {
        text.push_str(&"  ".repeat(depth));
        text.push_str(&sentence(service, zone, color));
        text.push('\n');
    }
    for detail in
        why.services.iter().find(|service| service.name == why.name).map(details).unwrap_or_default()
    {
        text.push_str(&format!("  {}\n", escape(&detail)));
    }
    text.push_str(&names("It needs", &why.needs));
    text.push_str(&names("It is needed by", &why.needed_by));
    if !why.history.is_empty() {
        text.push_str("\nWhat happened to it last:\n");
        for event in &why.history[why.history.len().saturating_sub(HISTORY)..] {
            text.push_str(&format!("  {}\n", events::line(event, zone, color)));
        }
    }
    text
}

/// The service, whom its cause names, whom that one's cause names …
fn chain(why: &Why) -> Vec<&ServiceStatus> {
    let mut chain: Vec<&ServiceStatus> = Vec::new();
    let mut name = Some(why.name.as_str());
    while let Some(wanted) = name.take() {
        let known = chain.iter().any(|service| service.name == wanted);
        let next = why.services.iter().find(|service| service.name == wanted);
        if let (Some(next), false, true) = (next, known, chain.len() < CHAIN_LIMIT) {
            chain.push(next);
            name = next.because.service();
        }
    }
    chain
}

/// `web is waiting since 2026-… (3 min 12 s), because db is not ready yet.`
fn sentence(service: &ServiceStatus, zone: &TimeZone, color: bool) -> String {
    format!(
        "{} is {} since {} ({}), because {}.",
        Style::Name.paint(&escape(&service.name), color),
        status::style(service).paint(&status::state(service), color),
        times::rfc3339(service.since, zone),
        Span(service.age),
        escape(&reason(service)),
    )
}

/// What the state goes back to: for who was started again by itself, what ended its last life.
fn reason(service: &ServiceStatus) -> String {
    match (&service.because, &service.fell) {
        (Cause::NextStep | Cause::BackOffOver, Some(fall)) => {
            format!("it was started again by itself after {}", fall.because)
        }
        (because, _) => because.to_string(),
    }
}

/// What else is known, a sentence each.
fn details(service: &ServiceStatus) -> Vec<String> {
    let mut details = Vec::new();
    if let Some(pid) = service.pid {
        let processes = service.processes.filter(|count| *count > 1);
        let more = processes.map(|count| format!(", with {count} processes in all")).unwrap_or_default();
        details.push(format!("Its main process is {pid}{more}."));
    }
    details.extend(service.next_start.map(|next| format!("It starts again in {}.", Span(next))));
    let times = if service.restarts == 1 { "once".to_owned() } else { format!("{} times", service.restarts) };
    let last = service.fell.as_ref().map(|fall| format!(", the last time {} ago", Span(fall.ago)));
    let restarted = || format!("It was restarted {times} by itself{}.", last.unwrap_or_default());
    details.extend((service.restarts > 0).then(restarted));
    details.extend(service.last_exit.map(|last| format!("Its main process last {last}.")));
    details.extend(service.status.as_ref().map(|status| format!("It says: {status}")));
    details.extend(service.memory.map(|bytes| format!("It uses {} of memory.", Size(bytes))));
    details.extend(service.unkillable.as_ref().map(|unkillable| format!("It {unkillable}.")));
    details.extend(service.notes.iter().map(|note| format!("Note: {note}.")));
    details.extend(service.cpu.map(|cpu| format!("It has used {} of CPU time.", Span(cpu))));
    details
}

fn names(what: &str, names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("  {what} {}.\n", escape(&names.join(", "))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::ctl::status::tests::service;
    use doula_model::action::{News, State};
    use doula_model::control::{EventRecord, Wall};
    use doula_model::exit::ExitStatus;
    use doula_model::id::Generation;
    use std::time::Duration;

    #[test]
    fn the_chain_of_causes_is_told_down_to_its_end() {
        let mut db = service("db", State::BackingOff, Cause::Exit { status: ExitStatus::code(3) });
        db.next_start = Some(Duration::from_millis(900));
        let mut api = service("api", State::Waiting, Cause::WaitsFor { service: "db".into() });
        (api.restarts, api.last_exit) = (1, Some(ExitStatus::code(1)));
        let event = EventRecord {
            at: Wall(1_769_860_800_000_000),
            service: Some("api".into()),
            generation: Generation(1),
            news: News::Escalated,
        };
        let why = Why {
            name: "api".into(),
            services: vec![db, api],
            needs: vec!["db".into()],
            needed_by: vec!["web".into(), "job".into()],
            history: vec![event],
        };
        let wanted = "\
api is waiting since 2026-01-31T12:00:00.000+00:00 (3 min 12 s), because db is not ready yet.
  db is backing off since 2026-01-31T12:00:00.000+00:00 (3 min 12 s), because it exited with code 3.
  It was restarted once by itself.
  Its main process last exited with code 1.
  It needs db.
  It is needed by web, job.

What happened to it last:
  2026-01-31T12:00:00.000+00:00 api did not end in its grace time: SIGKILL for all of it
";
        assert_eq!(text(&why, &TimeZone::UTC, false), wanted);
    }

    #[test]
    fn a_circle_of_causes_ends() {
        let a = service("a", State::Waiting, Cause::WaitsFor { service: "b".into() });
        let b = service("b", State::Up, Cause::NeededBy { service: "a".into() });
        let (needs, needed_by, history) = (Vec::new(), Vec::new(), Vec::new());
        let why = Why { name: "a".into(), services: vec![a, b], needs, needed_by, history };
        assert_eq!(chain(&why).len(), 2);
    }
}
