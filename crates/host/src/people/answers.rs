//! What each request does.

use super::views::refuse;
use super::waiters::Until;
use super::{Clocks, Desk, People, views};
use crate::control::ClientId;
use crate::upgrade::Upgrade;
use doula_model::control::{
    Change, ChangeKind, FamilyStatus, Goal, Refusal, RefusalKind, Reply, Request, RequestId, Why,
};
use doula_model::event::{Command, Event};
use doula_model::id::{PoolId, ServiceId};
use doula_model::plan::Errno;
use doula_model::service::{DependencyKind, Scope};
use doula_model::signal::Signal;
use doula_sys::time;
use std::collections::BTreeSet;

/// Which client asked, by which request.
pub(super) type Asker = (ClientId, RequestId);

/// The answer; `Ok(None)`: it comes later, or never. `Err`: it cannot be done.
pub(super) type Answer = Result<Option<Reply>, Refusal>;

/// Carries out one request.
pub(super) fn carry_out(people: &mut People, desk: &mut Desk<'_>, asker: Asker, request: Request) -> Answer {
    match request {
        Request::Hello { .. } => Ok(None),
        Request::Status { names } => status(people, desk, &names).map(Some),
        Request::Start { names, wait } => {
            command(people, desk, asker, (names, wait), (Command::Start, Until::Started))
        }
        Request::Stop { names, wait } => {
            let until = Until::Goal(Goal::Stopped);
            command(people, desk, asker, (names, wait), (Command::Stop, until))
        }
        Request::Restart { names, wait } => {
            command(people, desk, asker, (names, wait), (Command::Restart, Until::Started))
        }
        Request::Reload { names, wait } => {
            command(people, desk, asker, (names, wait), (Command::Reload, Until::Reloaded))
        }
        Request::ReloadConfig { dry_run } => reload_config(desk, dry_run).map(Some),
        Request::Signal { names, signal, scope } => {
            let ids = views::find(desk.engine, &names)?;
            send_signal(desk, &ids, signal, scope)?;
            people.wait_for(asker, ids, Until::Now, None);
            Ok(None)
        }
        Request::Wait { names, until, timeout } => {
            let ids = views::find(desk.engine, &names)?;
            people.wait_for(asker, ids, Until::Goal(until), timeout);
            Ok(None)
        }
        Request::Why { name } => why(people, desk, &name).map(Some),
        Request::Shutdown { haste, wait } => {
            desk.events.push_back(Event::Command(Command::Shutdown(haste)));
            let until = if wait { Until::Goal(Goal::Stopped) } else { Until::Now };
            people.wait_for(asker, desk.engine.ids().collect(), until, None);
            Ok(None)
        }
        Request::Upgrade { binary } => upgrade(people, desk, asker, binary.as_deref()),
        stream @ (Request::Logs { .. }
        | Request::Events { .. }
        | Request::Attach { .. }
        | Request::Input { .. }
        | Request::Resize { .. }
        | Request::Cancel { .. }) => super::streams::carry_out(people, desk, asker, stream),
    }
}

/// A command about some services, and how far they must come for the answer.
fn command(
    people: &mut People,
    desk: &mut Desk<'_>,
    asker: Asker,
    (names, wait): (Vec<String>, bool),
    (command, until): (fn(Vec<ServiceId>) -> Command, Until),
) -> Answer {
    if people.haste.is_some() {
        return Err(refuse(RefusalKind::ShuttingDown, "the family shuts down"));
    }
    let ids = views::find(desk.engine, &names)?;
    desk.events.push_back(Event::Command(command(ids.clone())));
    people.wait_for(asker, ids, if wait { until } else { Until::Now }, None);
    Ok(None)
}

fn status(people: &People, desk: &mut Desk<'_>, names: &[String]) -> Result<Reply, Refusal> {
    let clocks = Clocks::read();
    let mut ids = views::find(desk.engine, names)?;
    ids.retain(|id| views::is_worth_a_row(desk.engine, *id, names));
    let services = ids.iter().filter_map(|id| views::status(&clocks, desk, *id)).collect();
    let meant: BTreeSet<PoolId> = ids.iter().filter_map(|id| desk.engine.pool_of(*id)).collect();
    let named = |pool: &PoolId| views::is_named(desk.engine, *pool, names);
    let pools: Vec<PoolId> = desk.engine.pools().filter(|pool| meant.contains(pool) || named(pool)).collect();
    let pools = pools.into_iter().filter_map(|pool| super::pools::status(&clocks, desk, pool)).collect();
    Ok(Reply::Status(FamilyStatus {
        name: people.identity.family.clone(),
        pid: people.identity.pid,
        version: people.identity.version.clone(),
        since: clocks.wall_of(people.started),
        uptime: clocks.now.since(people.started),
        shutting_down: people.haste,
        warnings: people.warnings.clone(),
        services,
        pools,
    }))
}

fn why(people: &People, desk: &Desk<'_>, name: &str) -> Result<Reply, Refusal> {
    let clocks = Clocks::read();
    let id = views::find_one(desk.engine, name)?;
    let mut chain = vec![id];
    for other in desk.engine.why(id).iter().flat_map(|reason| desk.engine.find(&reason.service)) {
        if !chain.contains(&other) {
            chain.push(other);
        }
    }
    let name = desk.engine.status(id).map(|view| view.name).unwrap_or_default();
    let history = people.history.from(0).filter(|entry| entry.service == Some(id));
    Ok(Reply::Why(Why {
        services: chain.iter().filter_map(|id| views::status(&clocks, desk, *id)).collect(),
        needs: needs(desk, id),
        needed_by: desk
            .engine
            .ids()
            .filter(|other| needs(desk, *other).contains(&name))
            .filter_map(|other| desk.engine.status(other).map(|view| view.name))
            .collect(),
        history: history.map(|entry| entry.record(|_| name.clone())).collect(),
        name: name.clone(),
    }))
}

/// Whom a service requires or wants.
fn needs(desk: &Desk<'_>, id: ServiceId) -> Vec<String> {
    let Some(spec) = desk.engine.spec(id) else { return Vec::new() };
    let real = spec.deps.iter().filter(|dependency| dependency.kind != DependencyKind::After);
    real.map(|dependency| dependency.on.clone()).collect()
}

fn send_signal(desk: &mut Desk<'_>, ids: &[ServiceId], signal: Signal, scope: Scope) -> Result<(), Refusal> {
    for id in ids {
        let Some(view) = desk.engine.status(*id) else { continue };
        let sent = match (scope, view.pid) {
            (Scope::Tree, _) => {
                desk.home.signal_tree(*id, view.generation, signal);
                Ok(())
            }
            (_, None) => {
                let text = format!("{} does not run: it is {}", view.name, view.state);
                return Err(refuse(RefusalKind::Unsupported, text));
            }
            (Scope::Main | Scope::Group, Some(pid)) => {
                desk.home.signal_main((*id, view.generation), pid, (signal, scope))
            }
        };
        match sent {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                let text = format!("failed to send {signal} to {}: {errno}", view.name);
                return Err(refuse(RefusalKind::Internal, text));
            }
        }
    }
    Ok(())
}

fn reload_config(desk: &mut Desk<'_>, dry_run: bool) -> Result<Reply, Refusal> {
    if let Some(above) = desk.home.above.as_mut().filter(|_| !dry_run) {
        above.reloading(time::monotonic());
    }
    let result = read_and_compare(desk, dry_run);
    if let Some(above) = desk.home.above.as_mut().filter(|_| !dry_run) {
        above.reloaded();
    }
    result
}

fn read_and_compare(desk: &mut Desk<'_>, dry_run: bool) -> Result<Reply, Refusal> {
    let family = desk.home.read_configuration().map_err(|text| refuse(RefusalKind::Configuration, text))?;
    let specs: Vec<_> = family.services.iter().map(|(spec, _)| spec.clone()).collect();
    let diff = desk.engine.diff(&specs);
    let listed = |names: &[String], kind| -> Vec<Change> {
        names.iter().map(|name| Change { name: name.clone(), kind, details: Vec::new() }).collect()
    };
    let mut changes = listed(&diff.added, ChangeKind::Added);
    changes.extend(listed(&diff.removed, ChangeKind::Removed));
    changes.extend(listed(&diff.adjusted, ChangeKind::Adjusted));
    changes.extend(desk.home.describe(listed(&diff.changed, ChangeKind::Changed), desk.engine, &family));
    if !dry_run && !changes.is_empty() {
        let refused = |text| refuse(RefusalKind::Configuration, text);
        desk.home.adopt(desk.engine, family).map_err(refused)?;
        desk.events.push_back(Event::Command(Command::Apply(specs)));
    }
    crate::supervisor::give_back_memory();
    Ok(Reply::Changes { changes, applied: !dry_run })
}

/// The program is asked now; what comes of it is answered later, by it or by us.
fn upgrade(people: &People, desk: &mut Desk<'_>, asker: Asker, binary: Option<&str>) -> Answer {
    if people.haste.is_some() {
        return Err(refuse(RefusalKind::ShuttingDown, "the family shuts down"));
    }
    let home = &mut *desk.home;
    if home.upgrade.is_some() {
        return Err(refuse(RefusalKind::Busy, "an upgrade is under way already"));
    }
    let ours = (&home.words, home.notify_dir.as_path(), home.open_files);
    let begun = Upgrade::begin(asker, binary, ours);
    home.upgrade = Some(begun.map_err(|text| refuse(RefusalKind::Unsupported, text))?);
    Ok(None)
}

/// SIGHUP: as [`Request::ReloadConfig`]; what comes of it is told in the log.
pub(super) fn reload_by_signal(desk: &mut Desk<'_>) {
    let told = match reload_config(desk, false) {
        Ok(Reply::Changes { changes, .. }) => match changes.as_slice() {
            [] => "SIGHUP: the configuration is read again, nothing changed".to_owned(),
            changes => {
                let names: Vec<_> = changes.iter().map(|change| change.name.as_str()).collect();
                format!("SIGHUP: the configuration is read again, changed: {}", names.join(", "))
            }
        },
        Err(refusal) => format!("SIGHUP: the configuration is not taken:\n{}", refusal.text),
        Ok(_) => return,
    };
    desk.home.logs.say(crate::logs::Stamp::read(), &told);
}
