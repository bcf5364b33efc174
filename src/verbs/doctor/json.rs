//! Findings as JSON, for programs: the same facts as in the sentences, and the sentences themselves.

use crate::processes::Value as Cell;
use doula_host::Pid;
use doula_host::diagnosis::{
    Cause, Circle, Cure, Diagnosis, Finding, How, Kill, On, Party, Report, Wait, Zombie,
};
use serde_json::{Value, json};

/// All that was found.
pub(super) fn report(report: &Report) -> Value {
    json!({
        "zombies": all(&report.zombies, finding),
        "passing": report.passing,
        "blocked": all(&report.blocked, wait),
        "circles": all(&report.circles, circle),
    })
}

/// All about one process.
pub(super) fn diagnosis(diagnosis: &Diagnosis) -> Value {
    json!({
        "pid": diagnosis.stat.pid.get(),
        "name": name(&diagnosis.stat.name),
        "state": diagnosis.stat.state.letter().to_string(),
        "zombies": all(&diagnosis.zombies, finding),
        "waits": all(&diagnosis.waits, wait),
        "chain": all(&diagnosis.chain, wait),
        "roots": all(&diagnosis.roots, party),
        "circles": all(&diagnosis.circles, circle),
    })
}

fn all<T>(items: &[T], tell: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(tell).collect()
}

fn name(bytes: &[u8]) -> Value {
    Cell::Text(bytes.into()).json()
}

fn party(party: &Party) -> Value {
    json!({ "pid": party.pid.get(), "name": name(&party.name), "state": party.state.letter().to_string() })
}

/// The zombies of one parent.
pub(in crate::verbs) fn finding(finding: &Finding) -> Value {
    let growth = finding.growth.map(|growth| {
        let how = if growth.how == How::Measured { "measured" } else { "births" };
        json!({ "per_hour": growth.per_hour, "over": growth.over.as_secs_f64(), "how": how })
    });
    let full = finding.full.as_ref().map(
        |(hours, room)| json!({ "hours": hours, "name": room.name, "used": room.used, "most": room.most }),
    );
    json!({
        "parent": party(&finding.parent.who),
        "cause": word(&finding.cause),
        "because": finding.cause.to_string(),
        "count": finding.zombies.len(),
        "zombies": all(&finding.zombies, zombie),
        "growth": growth,
        "too_early": finding.too_early().map(|since| since.as_secs_f64()),
        "full": full,
        "cures": finding.cures.iter().map(Cure::to_string).collect::<Vec<_>>(),
    })
}

fn zombie(zombie: &Zombie) -> Value {
    json!({
        "pid": zombie.who.pid.get(),
        "ticks": zombie.who.start_ticks,
        "name": name(&zombie.name),
        "exit": zombie.end.map(|end| end.to_string()),
        "age": zombie.age.as_secs_f64(),
        "living": zombie.living,
        "tracer": zombie.tracer.as_ref().map(party),
    })
}

/// A cause in one word that does not change.
fn word(cause: &Cause) -> &'static str {
    match cause {
        Cause::LeaderDead { .. } => "leader-dead",
        Cause::HeldByTracer(_) => "held-by-tracer",
        Cause::ParentStopped => "parent-stopped",
        Cause::ParentTraced(_) => "parent-traced",
        Cause::ParentBlocked => "parent-blocked",
        Cause::WaitsForAnother(_) => "waits-for-another",
        Cause::BlockedAndPending => "blocked-and-pending",
        Cause::Blocked => "blocked",
        Cause::InitBuriesLate => "init-buries-late",
        Cause::HandlerDoesNotWait => "handler-does-not-wait",
        Cause::IgnoredTooLate => "ignored-too-late",
        Cause::NeverWaits => "never-waits",
        Cause::Hidden => "hidden",
    }
}

fn wait(wait: &Wait) -> Value {
    let task = &wait.task;
    let (kill, until) = match &wait.kill {
        Kill::Works => ("works", None),
        Kill::When(what) => ("when", Some(what)),
        Kill::NotUntil(what) => ("not-until", Some(what)),
    };
    json!({
        "pid": task.pid.get(),
        "thread": task.thread.get(),
        "name": name(&task.name),
        "state": task.state.letter().to_string(),
        "on": on(&wait.on),
        "told": wait.to_string(),
        "wchan": task.wchan,
        "call": task.call.map(|call| call.name),
        "parties": all(&wait.parties, party),
        "more_parties": wait.more,
        "holders": all(&wait.holders, party),
        "kill": kill,
        "until": until,
        "cures": wait.cures(),
    })
}

/// What somebody waits for in one word that does not change.
fn on(on: &On) -> &'static str {
    match on {
        On::Stop => "stop",
        On::Tracer => "tracer",
        On::Freezer(_) => "freezer",
        On::Fuse(_) => "fuse",
        On::Nfs(_) => "nfs",
        On::FrozenFileSystem(_) => "frozen-file-system",
        On::Vfork => "vfork",
        On::Page(_) => "page",
        On::MemoryMap => "memory-map",
        On::Lock(_) => "lock",
        On::PipeData(_) => "pipe-data",
        On::PipeRoom(_) => "pipe-room",
        On::Socket(_) => "socket",
        On::Child(_) => "child",
        On::Futex => "futex",
        On::Events => "events",
        On::Time => "time",
        On::Signal => "signal",
        On::File(_) => "file",
        On::Device => "device",
        On::Hidden => "hidden",
        On::Kernel(_) => "kernel",
    }
}

fn circle(circle: &Circle) -> Value {
    json!({ "members": all(&circle.members, |pid: &Pid| json!(pid.get())), "closed": circle.closed })
}
