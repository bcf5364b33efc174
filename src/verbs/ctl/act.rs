//! `doula ctl start`, `stop`, `restart`, `signal`, `wait` and `shutdown`: something is done, and what became
//! of it is told.

use super::link::{Link, failed, unexpected};
use super::{json, times};
use crate::error::{Exit, Failure, Outcome};
use crate::ui::{Style, Ui, escape};
use clap::ValueEnum;
use doula_host::control::ConnectionError;
use doula_model::control::{Goal, Reply, Request, Settled, Verdict};
use doula_model::event::Haste;
use doula_model::service::Scope;
use doula_model::signal::Signal;
use std::time::Duration;

/// Which services, and whether to wait. At least one must be named, or --all given.
#[derive(Debug, clap::Args)]
struct Whom {
    /// The services
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    services: Vec<String>,

    /// Every service
    #[arg(long)]
    all: bool,

    /// Do not wait for the outcome
    #[arg(long)]
    no_wait: bool,
}

/// Starts services, and first whom they require
///
/// Waits until they are ready. The exit code is 1 if one of them did not start. A pause before a restart is
/// cut short.
#[derive(Debug, clap::Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Stops services, and first who requires them
///
/// Waits until nothing of them is left: every descendant has ended.
#[derive(Debug, clap::Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Stops services and starts them again
///
/// Those that require them are restarted too. The workers of a pool are replaced one after the other, each by a
/// new one that is ready first. Waits until all are ready again. The exit code is 1 if one of
/// them did not start.
#[derive(Debug, clap::Args)]
pub(super) struct RestartArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Sends a signal to services
#[derive(Debug, clap::Args)]
pub(super) struct SignalArgs {
    /// The signal: HUP, SIGUSR1, 15, RTMIN+3 …
    #[arg(value_parser = signal_before_services)]
    signal: Signal,

    /// The services
    #[arg(required = true)]
    services: Vec<String>,

    /// Who of their processes gets it
    #[arg(long, value_enum, default_value_t, value_name = "WHOM")]
    scope: Whose,
}

/// Who gives the name of a service first learns the order.
fn signal_before_services(text: &str) -> Result<Signal, String> {
    text.parse().map_err(|error| format!("{error} (the signal comes first, then the services)"))
}

/// The processes of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// The main process
    #[default]
    Main,
    /// The main process's group
    Group,
    /// Every descendant
    Tree,
}

/// Waits until services have come so far
///
/// The exit code is 1 if one of them cannot come so far any more, or if the time is over.
#[derive(Debug, clap::Args)]
pub(super) struct WaitArgs {
    /// Only these services [default: all]
    services: Vec<String>,

    /// How far
    #[arg(long, value_enum, default_value_t, value_name = "STATE")]
    until: Until,

    /// The longest time to wait: 30s, 5m
    #[arg(long, value_parser = times::duration, value_name = "DURATION")]
    timeout: Option<Duration>,
}

/// How far to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Until {
    /// Ready to serve; a one-shot: ended well
    #[default]
    Ready,
    /// Nothing of it runs
    Stopped,
    /// A one-shot: ended well
    Done,
}

/// Stops the whole family, then its supervisor
///
/// Waits until nothing is left.
#[derive(Debug, clap::Args)]
pub(super) struct ShutdownArgs {
    /// All services at once instead of in order, each with its grace time
    #[arg(long, conflicts_with = "kill")]
    hurry: bool,

    /// SIGKILL for everything
    #[arg(long)]
    kill: bool,

    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
}

/// `doula ctl start`.
pub(super) fn start(args: StartArgs, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let Whom { services: names, no_wait, .. } = args.whom;
    perform(Request::Start { names, wait: !no_wait }, link, ui, as_json)
}

/// `doula ctl stop`.
pub(super) fn stop(args: StopArgs, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let Whom { services: names, no_wait, .. } = args.whom;
    perform(Request::Stop { names, wait: !no_wait }, link, ui, as_json)
}

/// `doula ctl restart`.
pub(super) fn restart(args: RestartArgs, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let Whom { services: names, no_wait, .. } = args.whom;
    perform(Request::Restart { names, wait: !no_wait }, link, ui, as_json)
}

/// `doula ctl signal`.
pub(super) fn signal(args: SignalArgs, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let scope = match args.scope {
        Whose::Main => Scope::Main,
        Whose::Group => Scope::Group,
        Whose::Tree => Scope::Tree,
    };
    perform(Request::Signal { names: args.services, signal: args.signal, scope }, link, ui, as_json)
}

/// `doula ctl wait`.
pub(super) fn wait(args: WaitArgs, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let until = match args.until {
        Until::Ready => Goal::Ready,
        Until::Stopped => Goal::Stopped,
        Until::Done => Goal::Done,
    };
    let request = Request::Wait { names: args.services, until, timeout: args.timeout };
    perform(request, link, ui, as_json)
}

/// `doula ctl shutdown`.
pub(super) fn shutdown(args: ShutdownArgs, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let haste = match (args.hurry, args.kill) {
        (_, true) => Haste::Kill,
        (true, false) => Haste::Hurried,
        (false, false) => Haste::Orderly,
    };
    let exit = perform(Request::Shutdown { haste, wait: !args.no_wait }, link, ui, as_json)?;
    if !args.no_wait {
        await_end(link)?;
    }
    Ok(exit)
}

/// Waits until the supervisor closes the connection, which it does at its very end.
fn await_end(link: &mut Link) -> Result<(), Failure> {
    while link.next_or_end()?.is_some() {}
    Ok(())
}

/// Whether it was asked for that something has ended: then the end of the whole family is a good answer.
fn awaits_an_end(request: &Request) -> bool {
    matches!(
        request,
        Request::Stop { wait: true, .. }
            | Request::Shutdown { wait: true, .. }
            | Request::Wait { until: Goal::Stopped, .. }
    )
}

/// Asks for it and tells what became of it; meanwhile people at a terminal see what happens.
pub(super) fn perform(request: Request, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    if ui.notes_are_seen() && !as_json {
        link.send(Request::Events { names: named(&request), follow: true, since: None, lines: Some(0) })?;
    }
    let ends = awaits_an_end(&request);
    let id = link.send(request)?;
    loop {
        let answer = match link.next_or_end()? {
            Some(answer) => answer,
            None if ends => return conclude(&[], false, ui, as_json),
            None => return Err(failed(ConnectionError::Closed)),
        };
        match answer.reply {
            Reply::Settled { services, timed_out } if answer.id == id => {
                return conclude(&services, timed_out, ui, as_json);
            }
            Reply::Event(event) => {
                let who = event.service.as_deref().unwrap_or("the family");
                ui.note(&format!("{who} {}", event.news));
            }
            // The events end with the family.
            Reply::Missed { .. } | Reply::End => {}
            _ => return Err(unexpected()),
        }
    }
}

/// Whom a request names.
fn named(request: &Request) -> Vec<String> {
    match request {
        Request::Start { names, .. }
        | Request::Stop { names, .. }
        | Request::Restart { names, .. }
        | Request::Reload { names, .. }
        | Request::Signal { names, .. }
        | Request::Wait { names, .. } => names.clone(),
        Request::Hello { .. }
        | Request::Status { .. }
        | Request::ReloadConfig { .. }
        | Request::Logs { .. }
        | Request::Events { .. }
        | Request::Why { .. }
        | Request::Shutdown { .. }
        | Request::Upgrade { .. }
        | Request::Attach { .. }
        | Request::Input { .. }
        | Request::Resize { .. }
        | Request::Cancel { .. } => Vec::new(),
    }
}

/// Shows what became of each service; the exit code tells whether all went well.
fn conclude(services: &[Settled], timed_out: bool, ui: &mut Ui, as_json: bool) -> Outcome {
    if as_json {
        json::print(&services, ui)?;
    } else {
        ui.print(&services.iter().map(|service| line(service, ui.color())).collect::<String>())?;
    }
    let lost = services.iter().find(|service| service.verdict == Verdict::Lost);
    if timed_out && !as_json {
        ui.note("the time is over");
    }
    if let (Some(lost), false) = (lost, as_json) {
        ui.hint(&format!("see `doula ctl why {0}` and `doula ctl logs {0}`", lost.name));
    }
    Ok(if timed_out || lost.is_some() { Exit(1) } else { Exit::OK })
}

/// `web: up, pid 4711` or `db: failed, because it exited with code 3`.
fn line(service: &Settled, color: bool) -> String {
    let style = match service.verdict {
        Verdict::Reached => Style::Good,
        Verdict::Pending => Style::Busy,
        Verdict::Lost => Style::Bad,
    };
    let state = style.paint(&service.state.to_string(), color);
    let rest = match (service.verdict, service.pid) {
        (Verdict::Reached, Some(pid)) => format!(", pid {pid}"),
        (Verdict::Reached, None) => String::new(),
        (Verdict::Pending | Verdict::Lost, _) => format!(", because {}", service.because),
    };
    format!("{}: {state}{}\n", escape(&service.name), escape(&rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::action::{Cause, State};
    use doula_model::exit::ExitStatus;
    use doula_model::id::Pid;

    #[test]
    fn each_service_has_a_line_that_says_how_it_went() {
        let mut service = Settled {
            name: "web".into(),
            verdict: Verdict::Reached,
            state: State::Up,
            because: Cause::NextStep,
            pid: Pid::new(4_711),
        };
        assert_eq!(line(&service, false), "web: up, pid 4711\n");
        service.verdict = Verdict::Lost;
        (service.state, service.because) = (State::Failed, Cause::Exit { status: ExitStatus::code(3) });
        assert_eq!(line(&service, false), "web: failed, because it exited with code 3\n");
    }
}
