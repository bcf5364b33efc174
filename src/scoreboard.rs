//! The scoreboard of a pool, as `doula ctl status POOL` and `doula top` show it: what each worker does, since when, with what, and
//! how long the queue was.

use crate::ui::{Cell, Style, Table, escape};
use doula_host::procfs::{Reader, Want};
use doula_model::control::{FamilyStatus, PoolStatus, ServiceStatus, WorkerDoing, WorkerStatus};
use doula_model::id::{Generation, Pid};
use doula_model::pool::Policy;
use doula_model::words::{ShortSpan, Size};
use std::collections::BTreeMap;
use std::time::Duration;

/// A line, as pieces with what they mean.
pub(crate) type Line = Vec<(String, Style)>;

/// A life of a worker.
type Life = (String, Generation);

/// From so many columns on rates and all else stand beside each other.
const WIDE: usize = 110;

/// Fills in the memory of workers. That is slow (the kernel looks at each page), so only for those whose scoreboard is shown.
pub(crate) fn measure(status: &mut FamilyStatus) {
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

/// What workers had answered and used at an earlier look, by which rates are told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Before {
    ago: Duration,
    had: BTreeMap<Life, (Option<u64>, Option<Duration>)>,
}

impl Before {
    /// What they have in a look of so long ago.
    pub(crate) fn of(status: &FamilyStatus, ago: Duration) -> Before {
        let workers = status.pools.iter().flat_map(|pool| &pool.workers);
        let one = |worker: &WorkerStatus| {
            let service = service_of(&status.services, worker)?;
            Some(((service.name.clone(), service.generation), (worker.requests, service.cpu)))
        };
        Before { ago, had: workers.filter_map(one).collect() }
    }

    fn seconds(&self) -> Option<f64> {
        (self.ago > Duration::ZERO).then_some(self.ago.as_secs_f64())
    }

    fn of_life(&self, service: &ServiceStatus) -> Option<&(Option<u64>, Option<Duration>)> {
        self.had.get(&(service.name.clone(), service.generation))
    }

    /// Requests in a second.
    fn rate(&self, worker: &WorkerStatus, service: &ServiceStatus) -> Option<f64> {
        let before = self.of_life(service)?.0?;
        Some(worker.requests?.saturating_sub(before) as f64 / self.seconds()?)
    }

    /// In percent of one CPU.
    fn percent(&self, service: &ServiceStatus) -> Option<f64> {
        let before = self.of_life(service)?.1?;
        Some(100.0 * service.cpu?.saturating_sub(before).as_secs_f64() / self.seconds()?)
    }
}

/// The lines about all pools, and the scoreboards of those that were asked for by name.
pub(crate) fn text(status: &FamilyStatus, named: &[String], color: bool, columns: Option<usize>) -> String {
    let mut text = String::new();
    for pool in &status.pools {
        text.push_str(&format!("\n{}\n", summary(pool, color, columns)));
        if named.contains(&pool.name) {
            for line in above(pool, &status.services, None, columns) {
                let pieces = line.iter().map(|(piece, style)| style.paint(piece, color));
                text.push_str(&(pieces.collect::<Vec<_>>().concat() + "\n"));
            }
            text.push_str(&workers(pool, &status.services, None, columns).render(color, columns));
        }
    }
    text
}

/// The whole scoreboard of one pool, for a screen of so many columns.
pub(crate) fn lines(
    status: &FamilyStatus,
    pool: &PoolStatus,
    before: Option<&Before>,
    columns: usize,
) -> Vec<Line> {
    let name = format!("{}/{}", escape(&status.name), escape(&pool.name));
    let mut lines = vec![vec![(name, Style::Name), (format!(": {}", size(pool)), Style::Plain)]];
    lines.push(vec![(queue(pool), if pool.queue > 0 { Style::Busy } else { Style::Plain })]);
    lines.extend(above(pool, &status.services, before, Some(columns)));
    let table = workers(pool, &status.services, before, Some(columns)).render(false, Some(columns));
    let styles = pool.workers.iter().map(|worker| style(worker.doing));
    let styles = std::iter::once(Style::Head).chain(styles);
    lines.extend(table.lines().zip(styles).map(|(line, style)| vec![(line.to_owned(), style)]));
    lines
}

/// What stands above the table: a letter for each slot, what the letters mean, and the sums.
fn above(
    pool: &PoolStatus,
    services: &[ServiceStatus],
    before: Option<&Before>,
    columns: Option<usize>,
) -> Vec<Line> {
    let mut lines = board(pool, columns.unwrap_or(100).max(1));
    lines.push(legend(pool));
    lines.extend(sums(pool, services, before).map(|sums| vec![(sums, Style::Plain)]));
    lines
}

/// `web: 3 busy, 12 idle (2 to 20 by backlog); 0 connections wait ▁▂▇█ (at most 12)`, in two lines where one is too narrow.
fn summary(pool: &PoolStatus, color: bool, columns: Option<usize>) -> String {
    let (name, size, queue) = (escape(&pool.name), size(pool), queue(pool));
    let width = [&name, &size, &queue].map(|part| part.chars().count()).iter().sum::<usize>() + 4;
    let between = if columns.is_none_or(|columns| width <= columns) { "; " } else { "\n    " };
    format!("{}: {size}{between}{queue}", Style::Name.paint(&name, color))
}

/// How many do what, between which bounds.
fn size(pool: &PoolStatus) -> String {
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
    let rolling = pool.rolling.map(|(done, of)| format!("; {done} of {of} are replaced"));
    let stopped = if pool.wanted { "" } else { "; stopped" };
    format!("{counts} ({size}){}{stopped}", rolling.unwrap_or_default())
}

/// How many wait, and how many did in the last minute.
fn queue(pool: &PoolStatus) -> String {
    let most = pool.past.iter().copied().max().unwrap_or(0).max(pool.queue);
    let past =
        if most == 0 { String::new() } else { format!(" {} (at most {most})", chart(&pool.past, most)) };
    let waiting =
        if pool.queue == 1 { "1 connection waits" } else { &format!("{} connections wait", pool.queue) };
    format!("{waiting}{past}")
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

/// The letters of Apache's scoreboard, where it has one for this.
const fn letter(doing: Option<WorkerDoing>) -> char {
    match doing {
        Some(WorkerDoing::Busy) => 'W',
        Some(WorkerDoing::Idle) => '_',
        Some(WorkerDoing::Starting) => 'S',
        Some(WorkerDoing::Leaving) => 'G',
        Some(WorkerDoing::Held) => 'H',
        None => '.',
    }
}

/// A letter for each slot. While a worker is replaced, two have one slot: the one that serves is shown.
fn slots(pool: &PoolStatus, columns: usize) -> Vec<Option<WorkerDoing>> {
    let highest = pool.workers.iter().map(|worker| worker.slot).max().unwrap_or(0) as usize;
    // Of those that nobody has only the rest of the last row.
    let row = highest.div_ceil(columns).max(1) * columns;
    let mut slots = vec![None; (pool.spec.bounds.max as usize).min(row).max(highest)];
    let before = |doing: Option<WorkerDoing>| match doing {
        Some(WorkerDoing::Busy | WorkerDoing::Idle) => 3,
        Some(WorkerDoing::Starting | WorkerDoing::Held) => 2,
        Some(WorkerDoing::Leaving) => 1,
        None => 0,
    };
    for worker in &pool.workers {
        if let Some(slot) = (worker.slot as usize).checked_sub(1).and_then(|at| slots.get_mut(at))
            && before(Some(worker.doing)) > before(*slot)
        {
            *slot = Some(worker.doing);
        }
    }
    slots
}

fn board(pool: &PoolStatus, columns: usize) -> Vec<Line> {
    let row = |slots: &[Option<WorkerDoing>]| {
        let alike = slots.chunk_by(|one, other| one == other);
        let piece = |run: &[Option<WorkerDoing>]| {
            (letter(run[0]).to_string().repeat(run.len()), run[0].map_or(Style::Dim, style))
        };
        alike.map(piece).collect()
    };
    slots(pool, columns).chunks(columns).map(row).collect()
}

/// What the letters that are there mean.
fn legend(pool: &PoolStatus) -> Line {
    let slots = slots(pool, usize::MAX);
    let all = [
        Some(WorkerDoing::Busy),
        Some(WorkerDoing::Idle),
        Some(WorkerDoing::Starting),
        Some(WorkerDoing::Leaving),
        Some(WorkerDoing::Held),
        None,
    ];
    let shown = all.iter().filter(|doing| slots.contains(doing));
    let words = shown.map(|doing| format!("{} {}", letter(*doing), doing.map_or("free", WorkerDoing::name)));
    vec![(words.collect::<Vec<_>>().join("   "), Style::Dim)]
}

/// `1803 requests, 12.3/s; CPU 1.2s, 3.4 %; 6.1 MiB of memory`, as far as it is known.
fn sums(pool: &PoolStatus, services: &[ServiceStatus], before: Option<&Before>) -> Option<String> {
    let of = || pool.workers.iter().filter_map(|worker| Some((worker, service_of(services, worker)?)));
    let requests: Vec<u64> = pool.workers.iter().filter_map(|worker| worker.requests).collect();
    let cpu: Vec<Duration> = of().filter_map(|(_, service)| service.cpu).collect();
    let pss: Vec<u64> = pool.workers.iter().filter_map(|worker| worker.pss).collect();
    let rate: Vec<f64> = of().filter_map(|(worker, service)| before?.rate(worker, service)).collect();
    let percent: Vec<f64> = of().filter_map(|(_, service)| before?.percent(service)).collect();
    let known = |there: bool, text: String| if there { text } else { String::new() };
    let parts = [
        known(
            !requests.is_empty(),
            format!("{} requests", requests.iter().sum::<u64>())
                + &known(!rate.is_empty(), format!(", {:.1}/s", rate.iter().sum::<f64>())),
        ),
        known(
            !cpu.is_empty(),
            format!("CPU {}", ShortSpan(cpu.iter().sum()))
                + &known(!percent.is_empty(), format!(", {:.1} %", percent.iter().sum::<f64>())),
        ),
        known(!pss.is_empty(), format!("{} of memory", Size(pss.iter().sum()))),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// The table. With rates a narrow screen has no room for all.
fn workers(
    pool: &PoolStatus,
    services: &[ServiceStatus],
    before: Option<&Before>,
    columns: Option<usize>,
) -> Table {
    let whole = before.is_none() || columns.is_none_or(|columns| columns >= WIDE);
    let mut heads = vec!["SLOT", "WORKER", "DOES", "SINCE"];
    heads.extend(whole.then_some("UP"));
    heads.extend(["PID", "REQUESTS"]);
    heads.extend(before.map(|_| "/S"));
    heads.extend(whole.then_some("RESTARTS"));
    heads.push("PSS");
    heads.extend(whole.then_some("CPU"));
    heads.extend(before.map(|_| "CPU%"));
    let mut table = Table::new(&heads);
    for worker in &pool.workers {
        table.row(row(worker, service_of(services, worker), before, whole));
    }
    table
}

fn row(
    worker: &WorkerStatus,
    service: Option<&ServiceStatus>,
    before: Option<&Before>,
    whole: bool,
) -> Vec<Cell> {
    let right = |text: Option<String>| Cell::new(text.unwrap_or_default()).right();
    let number = |number: f64| format!("{number:.1}");
    let mut cells = vec![
        Cell::new(worker.slot.to_string()).right(),
        Cell::new(&worker.service).style(Style::Name),
        Cell::new(worker.doing.name()).style(style(worker.doing)),
        right(since(worker, service).map(|span| ShortSpan(span).to_string())),
    ];
    cells.extend(whole.then(|| right(service.map(|it| ShortSpan(it.age).to_string()))));
    cells.push(right(service.and_then(|it| Some(it.pid?.to_string()))));
    cells.push(right(worker.requests.map(|count| count.to_string())));
    cells.extend(before.map(|before| right(service.and_then(|it| before.rate(worker, it)).map(number))));
    cells.extend(whole.then(|| right(service.map(|it| it.restarts.to_string()))));
    cells.push(right(worker.pss.map(|bytes| Size(bytes).to_string())));
    cells.extend(whole.then(|| right(service.and_then(|it| Some(ShortSpan(it.cpu?).to_string())))));
    cells.extend(before.map(|before| right(service.and_then(|it| before.percent(it)).map(number))));
    cells
}

/// For how long it has done what it does. Of one that serves only a look tells that; the others have a state.
fn since(worker: &WorkerStatus, service: Option<&ServiceStatus>) -> Option<Duration> {
    match worker.doing {
        WorkerDoing::Busy | WorkerDoing::Idle => worker.doing_for,
        WorkerDoing::Starting | WorkerDoing::Leaving | WorkerDoing::Held => service.map(|it| it.age),
    }
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
pub(crate) mod tests {
    use super::*;
    use doula_model::action::{Cause, State};
    use doula_model::control::Wall;
    use doula_model::pool::{Bounds, PoolSpec};

    /// A service that has been up for 192 seconds.
    pub(crate) fn service(name: &str, state: State, because: Cause) -> ServiceStatus {
        ServiceStatus {
            name: name.into(),
            state,
            since: Wall(1_769_860_800_000_000),
            age: Duration::from_secs(192),
            because,
            pid: (state == State::Up).then(|| Pid::new(4_711)).flatten(),
            paused: false,
            generation: Generation(1),
            restarts: 0,
            last_exit: None,
            fell: None,
            next_start: None,
            status: None,
            processes: None,
            memory: None,
            cpu: None,
            unkillable: None,
            cgroups: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A family with a pool of two that is being rolled, and one that starts.
    pub(crate) fn family() -> FamilyStatus {
        let worker = |number: u32, slot, doing, requests: Option<u64>| WorkerStatus {
            service: format!("web@{number}"),
            slot,
            doing,
            doing_for: requests.map(Duration::from_secs),
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
            workers: vec![
                worker(1, 1, WorkerDoing::Busy, Some(17)),
                worker(3, 1, WorkerDoing::Starting, None),
                worker(2, 2, WorkerDoing::Idle, None),
            ],
        };
        let named = |name: &str, state, cpu| ServiceStatus {
            cpu: Some(Duration::from_millis(cpu)),
            ..service(name, state, Cause::NextStep)
        };
        FamilyStatus {
            name: "demo".into(),
            pid: Pid::INIT,
            version: "0".into(),
            since: Wall(0),
            uptime: Duration::ZERO,
            shutting_down: None,
            warnings: Vec::new(),
            services: vec![named("web@1", State::Up, 1_200), named("web@3", State::Starting, 0)],
            pools: vec![pool],
        }
    }

    #[test]
    fn a_pool_has_a_line_and_a_scoreboard_when_it_is_named() {
        let status = family();
        let line = "\nweb: 1 busy, 1 idle, 1 starting (2 to 9 by backlog); 1 of 2 are replaced; 2 connections wait                             \
                    ▄█ (at most 8)\n";
        assert_eq!(text(&status, &[], false, None), line);
        let narrow = text(&status, &[], false, Some(80));
        assert!(narrow.contains(" are replaced\n    2 connections wait "), "{narrow}");
        let wanted = "\
W_.......
W busy   _ idle   . free
17 requests; CPU 1.2s; 9 MiB of memory
SLOT  WORKER  DOES      SINCE     UP   PID  REQUESTS  RESTARTS    PSS   CPU
   1  web@1   busy      17.0s  3m12s  4711        17         0  3 MiB  1.2s
   1  web@3   starting  3m12s  3m12s                         0  3 MiB   0ms
   2  web@2   idle                                              3 MiB
";
        assert_eq!(text(&status, &["web".into()], false, None), line.to_owned() + wanted);
    }

    #[test]
    fn between_two_looks_there_are_rates_and_a_new_life_has_none() {
        let mut now = family();
        let before = Before::of(&now, Duration::from_secs(2));
        now.pools[0].workers[0].requests = Some(42);
        now.services[0].cpu = Some(Duration::from_millis(1_700));
        now.services[1].generation = Generation(2);
        let shown = lines(&now, &now.pools[0], Some(&before), 80);
        let told: Vec<String> =
            shown.iter().map(|line| line.iter().map(|it| it.0.as_str()).collect()).collect();
        assert_eq!(told[4], "42 requests, 12.5/s; CPU 1.7s, 25.0 %; 9 MiB of memory");
        assert_eq!(
            told[5..],
            [
                "SLOT  WORKER  DOES      SINCE   PID  REQUESTS    /S    PSS  CPU%",
                "   1  web@1   busy      17.0s  4711        42  12.5  3 MiB  25.0",
                "   1  web@3   starting  3m12s                        3 MiB",
                "   2  web@2   idle                                   3 MiB",
            ]
        );
        assert_eq!(shown[6][0].1, Style::Busy);
    }

    #[test]
    fn a_large_pool_has_rows_of_letters_and_of_the_free_slots_the_rest_of_the_last_row() {
        let mut status = family();
        let pool = &mut status.pools[0];
        pool.spec.bounds.max = 1_000;
        pool.workers[2].slot = 12;
        let rows: Vec<String> =
            board(pool, 10).iter().map(|row| row.iter().map(|it| it.0.as_str()).collect()).collect();
        assert_eq!(rows, ["W.........", "._........"]);
        pool.workers.clear();
        assert_eq!(slots(pool, 10).len(), 10);
    }
}
