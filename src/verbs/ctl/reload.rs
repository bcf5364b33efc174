//! `doula ctl reload`: the family's file, or the configuration of single services.

use super::act;
use super::json;
use super::link::{Link, unexpected};
use crate::error::{Exit, Failure, Outcome};
use crate::ui::{Style, Ui, escape};
use doula_model::control::{Change, ChangeKind, Reply, Request};

/// Reads the configuration again
///
/// Without services: the family's file. The difference is printed first; then only what changed is touched:
/// new services are started, changed ones restarted, missing ones stopped. With services: each of them reads
/// its own configuration again, by its `reload` setting (a signal, a command, or a restart).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// These services [default: the family's file]
    services: Vec<String>,

    /// Only print the difference
    #[arg(long, conflicts_with = "services")]
    dry_run: bool,

    /// Do not wait until they are ready again
    #[arg(long)]
    no_wait: bool,
}

/// Reloads.
pub(super) fn run(args: Args, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    if !args.services.is_empty() {
        let request = Request::Reload { names: args.services, wait: !args.no_wait };
        return act::perform(request, link, ui, as_json);
    }
    let changes = changes(link, true)?;
    if as_json {
        json::print(&changes, ui)?;
    } else {
        ui.print(&text(&changes, ui.color()))?;
    }
    if !args.dry_run && !changes.is_empty() {
        self::changes(link, false)?;
    }
    Ok(Exit::OK)
}

fn changes(link: &mut Link, dry_run: bool) -> Result<Vec<Change>, Failure> {
    match link.ask(Request::ReloadConfig { dry_run })? {
        Reply::Changes { changes, .. } => Ok(changes),
        _ => Err(unexpected()),
    }
}

/// The difference for people.
fn text(changes: &[Change], color: bool) -> String {
    if changes.is_empty() {
        return "nothing changed\n".to_owned();
    }
    changes.iter().map(|change| one(change, color)).collect()
}

fn one(change: &Change, color: bool) -> String {
    let (sign, what, style) = match change.kind {
        ChangeKind::Added => ("+", "new", Style::Good),
        ChangeKind::Removed => ("-", "is stopped and forgotten", Style::Bad),
        ChangeKind::Changed => ("~", "changed; restarted if it runs", Style::Busy),
        ChangeKind::Adjusted => ("~", "new rules; not restarted", Style::Busy),
    };
    let mut text = style.paint(&format!("{sign} {}: {what}", escape(&change.name)), color);
    text.push('\n');
    for detail in &change.details {
        text.push_str(&format!("    {}\n", escape(detail)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_each_service_and_what_happens_to_it() {
        let change = |name: &str, kind, details: &[&str]| Change {
            name: name.into(),
            kind,
            details: details.iter().map(|detail| (*detail).to_owned()).collect(),
        };
        let changes = [
            change("db", ChangeKind::Removed, &[]),
            change("web", ChangeKind::Changed, &["command: a → b"]),
            change("cache", ChangeKind::Added, &[]),
        ];
        let wanted = "- db: is stopped and forgotten\n\
                      ~ web: changed; restarted if it runs\n    command: a → b\n\
                      + cache: new\n";
        assert_eq!(text(&changes, false), wanted);
        assert_eq!(text(&[], false), "nothing changed\n");
    }
}
