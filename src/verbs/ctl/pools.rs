//! The scoreboard of a pool, as `doula ctl status POOL` shows it: what each worker does, and how long the queue was.

use crate::ui::{Cell, Style, Table, escape};
use doula_host::procfs::{Reader, Want};
use doula_model::control::{FamilyStatus, PoolStatus, ServiceStatus, WorkerDoing, WorkerStatus};
use doula_model::id::Pid;
use doula_model::pool::Policy;
use doula_model::words::{ShortSpan, Size};

/// Fills in the memory of workers. That is slow (the kernel looks at each page), so only for those whose scoreboard is shown.
pub(super) fn measure(status: &mut FamilyStatus) {
    let pid = |worker: &WorkerStatus| service_of(&status.services, worker)?.pid;
    let pids: Vec<Pid> = status.pools.iter().flat_map(|pool| &pool.workers).filter_map(pid).collect();
    let want = Want { share: true, ..Want::default() };
    let seen = Reader::open().and_then(|mut reader| reader.some(&pids, &want)).unwrap_or_default();
    for worker in status.pools.iter_mut().flat_map(|pool| &mut pool.workers) {
        let pid = service_of(&status.services, worker).and_then(|service| service.pid);
        let process = seen.iter().find(|process| Some(process.stat.pid) == pid);
        worker.pss = process.and_then(|process| Some(process.share.known()?.pss));
    }
}

/// The lines about all pools, and the workers of those that were asked for by name.
pub(super) fn text(status: &FamilyStatus, named: &[String], color: bool, columns: Option<usize>) -> String {
    let mut text = String::new();
    for pool in &status.pools {
        text.push_str(&format!("\n{}: {}\n", Style::Name.paint(&escape(&pool.name), color), summary(pool)));
        if named.contains(&pool.name) {
            text.push_str(&workers(pool, &status.services).render(color, columns));
        }
    }
    text
}

/// `15 workers (2 to 20 by backlog), 3 busy; 0 connections wait ▁▂▇█ (in the last minute, at most 12)`.
fn summary(pool: &PoolStatus) -> String {
    let bounds = pool.spec.bounds;
    let size = match pool.spec.policy {
        Policy::Fixed => format!("always {}", bounds.max),
        Policy::Backlog
        | Policy::Apache(_)
        | Policy::FpmDynamic(_)
        | Policy::FpmOndemand { .. }
        | Policy::UwsgiSpare { .. } => {
            format!("{} to {} by {}", bounds.start, bounds.max, pool.spec.policy.name())
        }
    };
    let kinds = [
        WorkerDoing::Busy,
        WorkerDoing::Idle,
        WorkerDoing::Starting,
        WorkerDoing::Leaving,
        WorkerDoing::Held,
    ];
    let count = |kind: &WorkerDoing| pool.workers.iter().filter(|worker| worker.doing == *kind).count();
    let counts = kinds.iter().filter(|kind| count(kind) > 0);
    let counts: Vec<String> = counts.map(|kind| format!("{} {}", count(kind), kind.name())).collect();
    let counts = if counts.is_empty() { "nobody runs".to_owned() } else { counts.join(", ") };
    let most = pool.past.iter().copied().max().unwrap_or(0).max(pool.queue);
    let past =
        if most == 0 { String::new() } else { format!(" {} (at most {most})", chart(&pool.past, most)) };
    let rolling = pool.rolling.map(|(done, of)| format!("; {done} of {of} are replaced"));
    let stopped = if pool.wanted { "" } else { "; stopped" };
    let waiting =
        if pool.queue == 1 { "1 connection waits" } else { &format!("{} connections wait", pool.queue) };
    format!("{counts} ({size}){}{stopped}; {waiting}{past}", rolling.unwrap_or_default())
}

/// A bar for each two seconds of the queue; a queue of one is more than none.
fn chart(past: &[u32], most: u32) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |queues: &[u32]| {
        let longest = queues.iter().copied().max().unwrap_or(0) as usize;
        BARS[(longest * (BARS.len() - 1)).div_ceil((most as usize).max(1)).min(BARS.len() - 1)]
    };
    past.chunks(2).map(bar).collect()
}

fn workers(pool: &PoolStatus, services: &[ServiceStatus]) -> Table {
    let mut table =
        Table::new(&["SLOT", "WORKER", "DOES", "SINCE", "PID", "REQUESTS", "RESTARTS", "PSS", "CPU"]);
    for worker in &pool.workers {
        let service = service_of(services, worker);
        let right = |text: Option<String>| Cell::new(text.unwrap_or_default()).right();
        table.row(vec![
            Cell::new(worker.slot.to_string()).right(),
            Cell::new(&worker.service).style(Style::Name),
            Cell::new(worker.doing.name()).style(style(worker.doing)),
            right(service.map(|it| ShortSpan(it.age).to_string())),
            right(service.and_then(|it| Some(it.pid?.to_string()))),
            right(worker.requests.map(|count| count.to_string())),
            right(service.map(|it| it.restarts.to_string())),
            right(worker.pss.map(|bytes| Size(bytes).to_string())),
            right(service.and_then(|it| Some(ShortSpan(it.cpu?).to_string()))),
        ]);
    }
    table
}

fn service_of<'s>(services: &'s [ServiceStatus], worker: &WorkerStatus) -> Option<&'s ServiceStatus> {
    services.iter().find(|service| service.name == worker.service)
}

const fn style(doing: WorkerDoing) -> Style {
    match doing {
        WorkerDoing::Idle => Style::Good,
        WorkerDoing::Busy | WorkerDoing::Starting | WorkerDoing::Leaving => Style::Busy,
        WorkerDoing::Held => Style::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::service;
    use super::*;
    use doula_model::action::{Cause, State};
    use doula_model::control::Wall;
    use doula_model::pool::{Bounds, PoolSpec};
    use std::time::Duration;

    #[test]
    fn a_pool_has_a_line_and_a_scoreboard_when_it_is_named() {
        let worker = |number: u32, doing, requests| WorkerStatus {
            service: format!("web@{number}"),
            slot: number,
            doing,
            requests,
            pss: Some(3 << 20),
        };
        let mut past = vec![0; 56];
        past.extend([1, 4, 8, 2]);
        let pool = PoolStatus {
            name: "web".into(),
            spec: PoolSpec::new("web", Bounds { start: 2, max: 9 }),
            wanted: true,
            rolling: Some((1, 2)),
            queue: 2,
            past,
            workers: vec![worker(1, WorkerDoing::Busy, Some(17)), worker(2, WorkerDoing::Idle, None)],
        };
        let status = FamilyStatus {
            name: "demo".into(),
            pid: Pid::INIT,
            version: "0".into(),
            since: Wall(0),
            uptime: Duration::ZERO,
            shutting_down: None,
            warnings: Vec::new(),
            services: vec![service("web@1", State::Up, Cause::NextStep)],
            pools: vec![pool],
        };
        let line = "\nweb: 1 busy, 1 idle (2 to 9 by backlog); 1 of 2 are replaced; 2 connections wait                             \
                    ▄█ (at most 8)\n";
        assert_eq!(text(&status, &[], false, None), line);
        let wanted = "\
SLOT  WORKER  DOES  SINCE   PID  REQUESTS  RESTARTS    PSS  CPU
   1  web@1   busy  3m12s  4711        17         0  3 MiB
   2  web@2   idle                                   3 MiB
";
        assert_eq!(text(&status, &["web".into()], false, None), line.to_owned() + wanted);
    }
}
