//! The family as the control protocol shows it.

use super::{Clocks, Desk};
use doula_core::engine::Engine;
use doula_core::view::{Awaited, ServiceView};
use doula_model::action::State;
use doula_model::control::{Fall, Refusal, RefusalKind, ServiceStatus, Settled, Verdict};
use doula_model::id::{PoolId, ServiceId};

/// The services with these names; all of them for none. A name may stand for several instances.
pub(super) fn find(engine: &Engine, names: &[String]) -> Result<Vec<ServiceId>, Refusal> {
    if names.is_empty() {
        return Ok(engine.ids().collect());
    }
    let mut ids = Vec::new();
    for name in names {
        let found = engine.find(name);
        if found.is_empty() {
            return Err(unknown(engine, name));
        }
        ids.extend(found);
    }
    Ok(ids)
}

/// Whether people want to see it who asked for these names: a worker that its pool does not need only if it is named itself.
pub(super) fn is_worth_a_row(engine: &Engine, id: ServiceId, names: &[String]) -> bool {
    engine.pool_of(id).is_none()
        || engine.worker(id).is_some()
        || engine.status(id).is_some_and(|view| names.contains(&view.name))
}

/// Whether these names mean this pool; none means everybody.
pub(super) fn is_named(engine: &Engine, pool: PoolId, names: &[String]) -> bool {
    names.is_empty() || engine.pool(pool).is_some_and(|pool| names.contains(&pool.spec.name))
}

/// The one service with this name.
pub(super) fn find_one(engine: &Engine, name: &str) -> Result<ServiceId, Refusal> {
    match engine.find(name).as_slice() {
        [] => Err(unknown(engine, name)),
        [id] => Ok(*id),
        [first, ..] => {
            let example = engine.status(*first).map(|view| view.name).unwrap_or_default();
            let text = format!("`{name}` has several instances: name one of them, such as `{example}`");
            Err(refuse(RefusalKind::NoSuchService, text))
        }
    }
}

/// A refusal without advice.
pub(super) fn refuse(kind: RefusalKind, text: impl Into<String>) -> Refusal {
    Refusal { kind, text: text.into(), hint: None }
}

fn unknown(engine: &Engine, name: &str) -> Refusal {
    let known: Vec<_> =
        engine.ids().filter_map(|id| engine.status(id)).map(|view| view.name).take(20).collect();
    Refusal {
        kind: RefusalKind::NoSuchService,
        text: format!("no service `{name}` in this family"),
        hint: Some(format!("there are: {}", known.join(", "))),
    }
}

/// One service as people see it.
pub(super) fn status(clocks: &Clocks, desk: &Desk<'_>, id: ServiceId) -> Option<ServiceStatus> {
    let view = desk.engine.status(id)?;
    let restart = view.next.filter(|(_, what)| *what == Awaited::Restart).map(|(at, _)| at.since(clocks.now));
    let run = desk.home.next_run(id).filter(|_| view.state == State::Scheduled);
    let complaint = desk.home.services.get(id).and_then(|service| service.complaint.clone());
    Some(ServiceStatus {
        since: clocks.wall_of(view.since),
        age: clocks.now.since(view.since),
        next_start: restart.or(run),
        restarts: u32::try_from(view.restarts).unwrap_or(u32::MAX),
        status: said(&view).or(complaint),
        name: view.name,
        state: view.state,
        because: view.cause,
        pid: view.pid,
        paused: view.paused,
        generation: view.generation,
        last_exit: view.last_exit,
        fell: view.fell.map(|(because, at)| Fall { because, ago: clocks.now.since(at) }),
        processes: None,
        memory: None,
        cpu: None,
        unkillable: desk.home.unkillable((id, view.generation)),
        cgroups: desk.home.cgroups(id),
        notes: desk.home.notes(id),
    })
}

fn said(view: &ServiceView) -> Option<String> {
    (!view.status_text.is_empty()).then(|| view.status_text.clone())
}

/// How far a service came.
pub(super) fn settled(engine: &Engine, id: ServiceId, verdict: Verdict) -> Option<Settled> {
    let view = engine.status(id)?;
    let because = view.reload_failure.filter(|_| verdict == Verdict::Lost).unwrap_or(view.cause);
    Some(Settled { name: view.name, verdict, state: view.state, because, pid: view.pid })
}
