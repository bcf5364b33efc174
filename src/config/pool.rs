//! What makes a service a pool: how many workers there are, and by which rules they come and go.

use super::environment::Surroundings;
use super::pool_keys::{LEAK, POLICY};
use super::problem::Complaint;
use super::service::{Written, bytes};
use super::value;
use super::view::View;
use doula_model::pool::{Bounds, Leak, Policy, PoolSpec, Recycle, Spare, StartFailure};
use doula_model::recipe::Seat;
use doula_model::service::{ReadyBy, RestartWhen, ServiceSpec};
use std::sync::Arc;
use std::time::Duration;

/// A worker that is ready as soon as it is executed may end right after: so long it is watched before it replaces one.
const MIN_READY: Duration = Duration::from_secs(1);

/// In how much time the memory of a worker may grow by `max-leak`, unless it is said.
const HOUR: Duration = Duration::from_secs(3600);

/// What `pm.process_idle_timeout` of php-fpm is.
const IDLE: Duration = Duration::from_secs(10);

/// The promises of a pool, without those that depend on its workers' own.
pub(super) fn spec(name: &str, pool: &View<'_>, ready: ReadyBy) -> PoolSpec {
    let (policy, bounds) = size(pool);
    let at_once = if ready == ReadyBy::Exec { MIN_READY } else { Duration::ZERO };
    PoolSpec {
        policy,
        autostart: pool.bool("autostart").unwrap_or(true),
        surge: pool.whole("surge").unwrap_or(1),
        min_ready: pool.duration("min-ready").unwrap_or(at_once),
        on_start_failure: match pool.text("on-start-failure") {
            Some("roll-back") => StartFailure::RollBack,
            _ => StartFailure::Keep,
        },
        recycle: Recycle {
            requests: pool.whole("max-requests"),
            age: pool.duration("max-age"),
            leak: leak(pool),
        },
        scoreboard: has_scoreboard(pool),
        ..PoolSpec::new(name, bounds)
    }
}

/// How many workers a pool needs in the family.
pub(super) fn places(pool: &View<'_>) -> u32 {
    size(pool).1.max.saturating_add(pool.whole("surge").unwrap_or(1))
}

/// What belongs to a slot.
pub(super) fn seat(pool: &View<'_>) -> Seat {
    Seat {
        pin: pool.bool("pin").unwrap_or(false),
        own_sockets: pool.bool("reuseport").unwrap_or(false),
        scoreboard: has_scoreboard(pool),
    }
}

fn has_scoreboard(pool: &View<'_>) -> bool {
    pool.bool("scoreboard").unwrap_or(false)
}

/// How fast the memory of a worker may grow.
fn leak(pool: &View<'_>) -> Option<Leak> {
    let table = pool.table("max-leak", &LEAK)?;
    let memory = table.item("memory").and_then(|item| bytes(item.get_ref(), value::size))?;
    Some(Leak { memory, within: table.duration("within").unwrap_or(HOUR) })
}

fn size(pool: &View<'_>) -> (Policy, Bounds) {
    if let Some(count) = count(pool, "workers") {
        return (Policy::Fixed, Bounds { start: count, max: count });
    }
    let max = count(pool, "max").unwrap_or(1);
    let policy = policy(pool);
    let usual = if matches!(policy, Policy::FpmOndemand { .. }) { 0 } else { 1 };
    (policy, Bounds { start: pool.whole("min").unwrap_or(usual).min(max), max })
}

/// A number of workers; `"auto"` is that of the CPUs that we may use.
fn count(pool: &View<'_>, name: &str) -> Option<u32> {
    match pool.text(name) {
        Some(_) => u32::try_from(std::thread::available_parallelism().map_or(1, usize::from)).ok(),
        None => pool.whole(name),
    }
}

fn policy(pool: &View<'_>) -> Policy {
    let table = pool.table("policy", &POLICY);
    let whole = |name: &str, usual: u32| table.and_then(|table| table.whole(name)).unwrap_or(usual);
    let spare = Spare { min: whole("min-spare", 5), max: whole("max-spare", 10) };
    let by = table.map_or_else(|| pool.text("policy"), |table| table.text("by"));
    match by {
        Some("fixed") => Policy::Fixed,
        Some("apache") => Policy::Apache(spare),
        Some("fpm-dynamic") => Policy::FpmDynamic(spare),
        Some("fpm-ondemand") => {
            let idle = table.and_then(|table| table.duration("idle-timeout")).unwrap_or(IDLE);
            Policy::FpmOndemand { idle }
        }
        Some("uwsgi-spare") => Policy::UwsgiSpare { step: whole("step", 1), overload: whole("overload", 3) },
        _ => Policy::Backlog,
    }
}

/// Makes the services of a pool its workers: they come and go with it, and whoever ends starts again.
pub(super) fn enlist(written: &Written<'_>, pool: &View<'_>, workers: &mut [ServiceSpec]) {
    let Some(first) = workers.first() else { return };
    let shared = Arc::new(spec(written.name, pool, first.ready.by));
    let said = written.keys.table("restart", &super::keys::RESTART_TABLE);
    let when = said.map_or_else(|| written.keys.text("restart"), |table| table.text("when"));
    let limit = said.is_some_and(|table| table.item("limit").is_some());
    for worker in workers {
        worker.pool = Some(Arc::clone(&shared));
        (worker.kind, worker.essential, worker.autostart) =
            (doula_model::service::Kind::Daemon, false, false);
        if when.is_none() {
            worker.restart.when = RestartWhen::Always;
        }
        if !limit {
            // Its pool does not grow while workers fail; one that fails for a while is not to be missing for ever.
            worker.restart.limit = None;
        }
    }
}

/// Notes keys of a pool that contradict each other.
pub(super) fn contradictions(written: &Written<'_>, pool: &View<'_>, around: &Surroundings<'_>) {
    let note = |key: &str, title: &str, help: &str| {
        let span = pool.item(key).map_or(written.span.clone(), toml::Spanned::span);
        around.report.note(&span, Complaint::new(title, "does not go together").help(help));
    };
    let has = |key: &str| pool.item(key).is_some();
    if !has("workers") && !has("max") {
        let title = "a pool needs `workers` or `max`";
        let help =
            "write `workers = \"auto\"` for a fixed number, or `max = 50` for one that follows the work";
        let complaint = Complaint::new(title, "how many workers?").help(help);
        around.report.note(&written.span, complaint);
    }
    for key in ["min", "max", "policy"].into_iter().filter(|key| has("workers") && has(key)) {
        let title = format!("`workers` is a fixed number, `{key}` is for one that follows the work");
        note(key, &title, "leave out one of them");
    }
    let (min, max) = (pool.whole::<u32>("min"), count(pool, "max"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        note("min", &format!("`min` is {min} and `max` is {max}"), "the smaller number is `min`");
    }
    if !has("workers") && seat(pool).own_sockets {
        let help = "write `workers` for a fixed number, or leave `reuseport` out";
        note("reuseport", "a slot of its own for each socket needs a fixed number of workers", help);
    }
    if has("max") && policy(pool) != Policy::Fixed && written.keys.list("sockets").next().is_none() {
        let help = "open them here: sockets = [{ tcp = \"127.0.0.1:8080\" }]";
        note("max", "nothing can be seen of the work of a pool without `sockets`", help);
    }
}
