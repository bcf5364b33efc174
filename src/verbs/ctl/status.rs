//! `doula ctl status`: how everybody is.

use super::json;
use super::link::{Link, failed, unexpected};
use crate::error::{Exit, Failure, Outcome};
use crate::scoreboard;
use crate::ui::{Cell, Style, Table, Ui, escape};
use doula_model::action::{Cause, State};
use doula_model::control::{FamilyStatus, Reply, Request, RequestId, ServiceStatus};
use doula_model::words::{ShortSpan, Size, Span};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long changes are collected before the screen is drawn again.
const SETTLE: Duration = Duration::from_millis(50);
/// How often the shown ages and what is used are refreshed when nothing happens. The supervisor is not asked for it.
const TICK: Duration = Duration::from_secs(1);

/// Shows how the services are
///
/// The exit code is 1 if one of them has failed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only these services [default: all]
    services: Vec<String>,

    /// Show it again whenever something changes, until Ctrl-C
    #[arg(short, long)]
    watch: bool,
}

/// Shows it.
pub(super) fn run(args: Args, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    if args.watch {
        return watch(args.services, link, ui, as_json);
    }
    let status = get(&args.services, link)?;
    show(&status, &args.services, ui, as_json)?;
    let failed = status.services.iter().any(|service| service.state == State::Failed);
    Ok(if failed { Exit(1) } else { Exit::OK })
}

fn get(names: &[String], link: &mut Link) -> Result<FamilyStatus, Failure> {
    match link.ask(Request::Status { names: names.to_vec() })? {
        Reply::Status(mut status) => {
            link.measure(&mut status.services);
            if status.pools.iter().any(|pool| names.contains(&pool.name)) {
                link.measure_workers(&mut status);
            }
            Ok(status)
        }
        _ => Err(unexpected()),
    }
}

fn show(status: &FamilyStatus, names: &[String], ui: &mut Ui, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return json::print(status, ui);
    }
    ui.print(&text(status, names, ui.color(), ui.width()))
}

/// Shows it, and again after each event.
fn watch(names: Vec<String>, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let request = Request::Events { names: names.clone(), follow: true, since: None, lines: Some(0) };
    let events = link.send(request)?;
    let live = ui.is_terminal() && !as_json;
    loop {
        let mut status = get(&names, link)?;
        let mut drawn = Instant::now();
        draw((&status, &names), ui, as_json, live)?;
        while !changed(events, link, live)? {
            grow_older(&mut status, drawn.elapsed());
            link.measure(&mut status.services);
            drawn = Instant::now();
            draw((&status, &names), ui, as_json, live)?;
        }
    }
}

fn draw(
    (status, names): (&FamilyStatus, &[String]),
    ui: &mut Ui,
    as_json: bool,
    live: bool,
) -> Result<(), Failure> {
    if !live {
        return show(status, names, ui, as_json);
    }
    let text = text(status, names, ui.color(), ui.width());
    let lines = fitting(&text, ui.height().unwrap_or(usize::MAX));
    // Home, each line with its rest erased, then what is below: without the flicker of erasing everything first.
    ui.print(&format!("\x1b[H{}\x1b[J", lines.join("\x1b[K\n")))
}

/// The lines that fit on the screen; the last one tells how many do not.
fn fitting(text: &str, height: usize) -> Vec<String> {
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let kept = height.max(2) - 1;
    if lines.len() <= kept {
        return lines.into_iter().chain([String::new()]).collect();
    }
    let more = format!("… and {} more lines: `doula ctl status` shows all", lines.len() - kept);
    lines.into_iter().take(kept).chain([more]).collect()
}

/// Waits for an event; `false` if only time passed. Events that follow closely count as one.
fn changed(events: RequestId, link: &mut Link, live: bool) -> Result<bool, Failure> {
    let mut patience = live.then_some(TICK);
    let mut seen = false;
    loop {
        match link.connection.next(patience).map_err(failed)? {
            Some(answer) if answer.id == events && !answer.reply.goes_on() => {
                return Err(Failure::doula("the family ended"));
            }
            Some(_) => (seen, patience) = (true, Some(SETTLE)),
            None => return Ok(seen),
        }
    }
}

fn grow_older(status: &mut FamilyStatus, by: Duration) {
    status.uptime += by;
    for service in &mut status.services {
        service.age += by;
        service.next_start = service.next_start.map(|next| next.saturating_sub(by));
    }
}

/// The status for people: a line about the family, the warnings, the table, the pools. The workers of pools are shown with
/// their pool, or when something is wrong with them.
pub(super) fn text(status: &FamilyStatus, names: &[String], color: bool, columns: Option<usize>) -> String {
    let mut text = format!(
        "{}: {}, {} for {}, pid {}\n",
        Style::Name.paint(&escape(&status.name), color),
        count(status),
        if status.shutting_down.is_some() { "shutting down; ran" } else { "running" },
        Span(status.uptime),
        status.pid,
    );
    for warning in &status.warnings {
        text.push_str(&format!("{}: {}\n", Style::Busy.paint("warning", color), escape(warning)));
    }
    let workers: BTreeSet<&str> =
        status.pools.iter().flat_map(|pool| &pool.workers).map(|worker| worker.service.as_str()).collect();
    let is_worth_a_row = |service: &&ServiceStatus| {
        let well = service.state == State::Up && !service.paused;
        !workers.contains(service.name.as_str()) || !well || names.contains(&service.name)
    };
    let rows: Vec<&ServiceStatus> = status.services.iter().filter(is_worth_a_row).collect();
    if !rows.is_empty() || status.pools.is_empty() {
        text.push('\n');
        text.push_str(&table(&rows, columns).render(color, columns));
    }
    text + &scoreboard::text(status, names, color, columns)
}

/// `5 services, 1 failed`; a pool is one.
fn count(status: &FamilyStatus) -> String {
    let services = &status.services;
    let failed = services.iter().filter(|service| service.state == State::Failed).count();
    let is_worker = |service: &&ServiceStatus| {
        status.pools.iter().flat_map(|pool| &pool.workers).any(|worker| worker.service == service.name)
    };
    let count = services.len() - services.iter().filter(is_worker).count() + status.pools.len();
    let plural = if count == 1 { "" } else { "s" };
    let bad = if failed == 0 { String::new() } else { format!(", {failed} failed") };
    format!("{count} service{plural}{bad}")
}

/// From so many columns on the reason stands behind its row, else below it.
const WIDE: usize = 110;
/// The longest name that is shown whole on a narrow terminal, and on a wide one.
const NAME_MOST: [usize; 2] = [20, 40];

fn table(services: &[&ServiceStatus], columns: Option<usize>) -> Table {
    let wide = columns.is_none_or(|columns| columns >= WIDE);
    let used = services.iter().any(|service| service.processes.is_some());
    let mut heads = vec!["SERVICE", "STATE", "SINCE", "PID", "RESTARTS"];
    heads.extend(["PROCS", "MEMORY", "CPU"].into_iter().filter(|_| used));
    heads.extend(wide.then_some("WHY"));
    let name_most = columns.map(|_| NAME_MOST[usize::from(wide)]);
    let mut table = Table::new(&heads).first_most(name_most);
    for service in services {
        let mut row = vec![
            Cell::new(&service.name).style(Style::Name),
            Cell::new(state(service)).style(style(service)),
            Cell::new(ShortSpan(service.age).to_string()).right(),
            Cell::new(service.pid.map(|pid| pid.to_string()).unwrap_or_default()).right(),
            Cell::new(service.restarts.to_string()).right(),
        ];
        row.extend(usage(service).into_iter().filter(|_| used));
        let reason = Cell::new(reason(service)).style(Style::Dim);
        row.extend(wide.then(|| reason.clone()));
        table.row(row);
        if !wide && !reason.is_empty() {
            table.below(reason);
        }
    }
    table
}

/// Processes, memory, CPU time.
fn usage(service: &ServiceStatus) -> [Cell; 3] {
    let texts = [
        service.processes.map(|count| count.to_string()),
        service.memory.map(|bytes| Size(bytes).to_string()),
        service.cpu.map(|cpu| ShortSpan(cpu).to_string()),
    ];
    texts.map(|text| Cell::new(text.unwrap_or_default()).right())
}

/// The state in a word; a paused service is up only in name.
pub(super) fn state(service: &ServiceStatus) -> String {
    if service.paused { format!("{} (paused)", service.state) } else { service.state.to_string() }
}

/// What the state means.
pub(super) fn style(service: &ServiceStatus) -> Style {
    match service.state {
        _ if service.paused => Style::Busy,
        State::Up | State::Done | State::Scheduled => Style::Good,
        State::Failed => Style::Bad,
        State::Stopped => Style::Dim,
        State::Waiting
        | State::Preparing
        | State::Starting
        | State::Stopping
        | State::Clearing
        | State::Cleaning
        | State::BackingOff => Style::Busy,
    }
}

/// The most useful reason in few words.
fn reason(service: &ServiceStatus) -> String {
    let because = service.because.to_string();
    if let Some(unkillable) = &service.unkillable {
        return unkillable.to_string();
    }
    match (service.state, &service.next_start, &service.status) {
        _ if service.paused => "stopped by a signal; goes on with SIGCONT".to_owned(),
        (State::BackingOff, Some(next), _) => format!("{because}; again in {}", Span(*next)),
        (State::Scheduled, Some(next), _) => format!("next run in {}", Span(*next)),
        (State::Up, _, Some(status)) => status.clone(),
        (State::Up, _, None) => match service.last_exit {
            Some(last) if service.restarts > 0 => format!("before, it {last}"),
            Some(_) | None => plain(&service.because).unwrap_or(because),
        },
        (
            State::Stopped
            | State::Scheduled
            | State::Waiting
            | State::Preparing
            | State::Starting
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::BackingOff
            | State::Done
            | State::Failed,
            _,
            _,
        ) => because,
    }
}

/// A cause that goes without saying for a service that is up says nothing.
fn plain(cause: &Cause) -> Option<String> {
    matches!(cause, Cause::Autostart | Cause::NextStep).then(String::new)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use doula_model::control::Wall;
    use doula_model::exit::ExitStatus;
    use doula_model::id::Pid;
    use doula_model::signal::Signal;

    pub(in crate::verbs::ctl) use crate::scoreboard::tests::service;

    fn family(services: Vec<ServiceStatus>) -> FamilyStatus {
        FamilyStatus {
            name: "demo".into(),
            pid: Pid::INIT,
            version: "0.1.0".into(),
            since: Wall(1_769_860_800_000_000),
            uptime: Duration::from_secs(7_200),
            shutting_down: None,
            warnings: Vec::new(),
            services,
            pools: Vec::new(),
        }
    }

    #[test]
    fn the_status_is_a_table_with_the_most_useful_reason() {
        let mut crasher = service("crasher", State::BackingOff, Cause::Exit { status: ExitStatus::code(3) });
        (crasher.restarts, crasher.next_start) = (12, Some(Duration::from_millis(1_600)));
        let mut web = service("web", State::Up, Cause::NextStep);
        (web.restarts, web.last_exit) = (1, Some(ExitStatus::signal(Signal::KILL)));
        let mut paused = service("paused", State::Up, Cause::NextStep);
        paused.paused = true;
        let waiting = service("api", State::Waiting, Cause::WaitsFor { service: "db\x1b".into() });
        let plain = service("plain", State::Up, Cause::Autostart);
        let family = family(vec![crasher, web, paused, waiting, plain]);
        let wanted = "\
demo: 5 services, running for 2 h 0 min, pid 1

SERVICE  STATE        SINCE   PID  RESTARTS
crasher  backing off  3m12s              12
    it exited with code 3; again in 1.6 s
web      up           3m12s  4711         1
    before, it was killed by SIGKILL
paused   up (paused)  3m12s  4711         0
    stopped by a signal; goes on with SIGCONT
api      waiting      3m12s               0
    db\\x1b is not ready yet
plain    up           3m12s  4711         0
";
        assert_eq!(text(&family, &[], false, Some(80)), wanted);
        let wide = text(&family, &[], false, Some(110));
        let line = "api      waiting      3m12s               0  db\\x1b is not ready yet\n";
        assert!(wide.contains(line), "{wide}");
    }

    #[test]
    fn a_screen_that_is_too_small_says_how_much_is_missing() {
        assert_eq!(fitting("a\nb\nc\n", 4), ["a", "b", "c", ""]);
        assert_eq!(fitting("a\nb\nc\n", 3), ["a", "b", "… and 1 more lines: `doula ctl status` shows all"]);
        assert_eq!(fitting("a\nb\n", 0).len(), 2);
    }

    #[test]
    fn what_is_used_has_columns_where_it_is_known_and_warnings_come_first() {
        let mut web = service("web", State::Up, Cause::NextStep);
        (web.memory, web.status, web.processes) = (Some(12 << 20), Some("5 users".into()), Some(3));
        web.cpu = Some(Duration::from_millis(12_340));
        let mut family = family(vec![web]);
        family.warnings.push("no cgroup v2".into());
        let wanted = "\
demo: 1 service, running for 2 h 0 min, pid 1
warning: no cgroup v2

SERVICE  STATE  SINCE   PID  RESTARTS  PROCS  MEMORY    CPU  WHY
web      up     3m12s  4711         0      3  12 MiB  12.3s  5 users
";
        assert_eq!(text(&family, &[], false, None), wanted);
    }
}
