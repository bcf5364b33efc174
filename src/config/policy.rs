//! The promises of a service that the decisions need: restart, stop, readiness, probes, schedule.

use super::commands;
use super::keys::{self, Section};
use super::problem::Complaint;
use super::service::{Texts, ends};
use super::value;
use super::view::{Item, View, integer};
use doula_model::exit::Outcome;
use doula_model::recipe::{Probe, ReadySign};
use doula_model::service::{
    Kind, Overlap, ProbePolicy, ReadyBy, ReadyPolicy, Reload, RestartPolicy, RestartWhen, Scope, ServiceSpec,
    StartLimit, StopPolicy,
};
use std::time::Duration;

/// How long a hook may take that says nothing (as systemd's `DefaultTimeoutStartSec=`).
const HOOK_TIMEOUT: Duration = Duration::from_secs(90);
/// The pause between two attempts to find a service ready: short, since others wait for it.
const READY_INTERVAL: Duration = Duration::from_millis(250);
/// The pause between two looks at whether a service lives.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);

/// Everything about a service but its dependencies and its fingerprint.
pub(crate) fn spec(service: &View<'_>, name: &str) -> ServiceSpec {
    let kind = kind(service);
    ServiceSpec {
        kind,
        autostart: service.bool("autostart").unwrap_or(true),
        essential: service.bool("essential").unwrap_or(false),
        restart: restart(service, kind),
        stop: stop(service),
        ready: ready_policy(service),
        watchdog: service.duration("watchdog"),
        liveness: service.table("liveness", &keys::LIVENESS).map(|table| {
            let interval = table.duration("interval").unwrap_or(LIVENESS_INTERVAL);
            let failures = table.whole("failures");
            let policy = probe_policy(&table, interval, "timeout");
            ProbePolicy { failures: failures.unwrap_or(policy.failures), ..policy }
        }),
        pre_start: hook_timeout(service, "pre-start"),
        post_stop: hook_timeout(service, "post-stop"),
        reload: reload(service),
        ..ServiceSpec::new(name)
    }
}

fn kind(service: &View<'_>) -> Kind {
    match (schedule(service), service.text("kind")) {
        (Some((_, overlap)), _) => Kind::Scheduled { overlap },
        (None, Some("oneshot")) => Kind::Oneshot,
        (None, _) => Kind::Daemon,
    }
}

/// The cron line with its time zone, and what happens to runs that meet.
pub(crate) fn schedule(service: &View<'_>) -> Option<(String, Overlap)> {
    if let Some(text) = service.text("schedule") {
        return Some((value::schedule(text).ok()?, Overlap::default()));
    }
    let table = service.table("schedule", &keys::SCHEDULE)?;
    let overlap = table.text("overlap").map(value::overlap).unwrap_or_default();
    Some((value::schedule(table.text("cron")?).ok()?, overlap))
}

fn restart(service: &View<'_>, kind: Kind) -> RestartPolicy {
    let when = |text| match text {
        "always" => RestartWhen::Always,
        "never" => RestartWhen::Never,
        _ => RestartWhen::OnFailure,
    };
    let usual = if ends(kind) { RestartWhen::Never } else { RestartWhen::OnFailure };
    let policy =
        RestartPolicy { when: service.text("restart").map_or(usual, when), ..RestartPolicy::default() };
    let Some(table) = service.joined("restart", &keys::RESTART_TABLE) else { return policy };
    RestartPolicy {
        when: table.text("when").map_or(usual, when),
        success: table.list("success").filter_map(outcome).collect(),
        delay: table.duration("delay").unwrap_or(policy.delay),
        max_delay: table.duration("max-delay").unwrap_or(policy.max_delay),
        factor: table.number("factor").map_or(policy.factor, |factor| factor as f32),
        jitter: table.number("jitter").map_or(policy.jitter, |jitter| jitter as f32),
        reset_after: table.duration("reset-after").unwrap_or(policy.reset_after),
        limit: start_limit(&table),
    }
}

fn start_limit(restart: &View<'_>) -> Option<StartLimit> {
    if restart.bool("limit") == Some(false) {
        return None;
    }
    let usual = StartLimit::default();
    let Some(limit) = restart.joined("limit", &keys::START_LIMIT) else { return Some(usual) };
    Some(StartLimit {
        burst: limit.whole("burst").unwrap_or(usual.burst),
        interval: limit.duration("interval").unwrap_or(usual.interval),
    })
}

fn outcome(item: &Item<'_>) -> Option<Outcome> {
    match item.get_ref().as_str() {
        Some(text) => Some(Outcome::Signal { signal: value::signal(text).ok()?, core: false }),
        None => Some(Outcome::Code(u8::try_from(integer(item.get_ref())?).ok()?)),
    }
}

fn stop(service: &View<'_>) -> StopPolicy {
    let policy = StopPolicy::default();
    if let Some(signal) = service.signal("stop") {
        return StopPolicy { signal, ..policy };
    }
    let Some(table) = service.joined("stop", &keys::STOP) else { return policy };
    let scope = table.text("scope").map(|text| match text {
        "group" => Scope::Group,
        "tree" => Scope::Tree,
        _ => Scope::Main,
    });
    StopPolicy {
        signal: table.signal("signal").unwrap_or(policy.signal),
        scope: scope.unwrap_or(policy.scope),
        grace: table.duration("grace").unwrap_or(policy.grace),
        leftover_grace: table.duration("leftover-grace").unwrap_or(policy.leftover_grace),
    }
}

fn hook_timeout(service: &View<'_>, name: &str) -> Option<Duration> {
    service.item(name)?;
    let table = service.table(name, &keys::HOOK_TABLE);
    Some(table.and_then(|table| table.duration("timeout")).unwrap_or(HOOK_TIMEOUT))
}

fn reload(service: &View<'_>) -> Reload {
    if service.item("reload").is_none() {
        return Reload::Restart;
    }
    let table = service.table("reload", &keys::RELOAD);
    match table.and_then(|table| table.signal("signal")) {
        Some(signal) => Reload::Signal(signal),
        None => Reload::Command(table.and_then(|table| table.duration("timeout")).unwrap_or(HOOK_TIMEOUT)),
    }
}

fn ready_policy(service: &View<'_>) -> ReadyPolicy {
    let Some(table) = service.table("ready", &keys::READY) else {
        let by = if service.text("ready") == Some("notify") { ReadyBy::Notice } else { ReadyBy::Exec };
        return ReadyPolicy { by, timeout: None };
    };
    let by = match which(&table, &keys::READY) {
        "tcp" | "http" | "exec" => {
            let interval = table.duration("interval").unwrap_or(READY_INTERVAL);
            ReadyBy::Probe(probe_policy(&table, interval, "probe-timeout"))
        }
        "notify" | "fd" | "log-line" => ReadyBy::Notice,
        _ => ReadyBy::Exec,
    };
    ReadyPolicy { by, timeout: table.duration("timeout") }
}

fn probe_policy(table: &View<'_>, interval: Duration, timeout: &str) -> ProbePolicy {
    let usual = ProbePolicy::default();
    ProbePolicy {
        initial_delay: table.duration("initial-delay").unwrap_or(usual.initial_delay),
        interval,
        timeout: table.duration(timeout).unwrap_or(usual.timeout),
        failures: usual.failures,
    }
}

/// Which of the keys of which there must be one is there.
fn which(table: &View<'_>, section: &Section) -> &'static str {
    section.one_of.iter().find(|name| table.item(name).is_some()).copied().unwrap_or_default()
}

/// What shows that the service is ready.
pub(crate) fn ready_sign(service: &View<'_>, texts: &Texts<'_>, shell: bool) -> ReadySign {
    let Some(table) = service.table("ready", &keys::READY) else {
        return if service.text("ready") == Some("notify") { ReadySign::Notify } else { ReadySign::Exec };
    };
    for name in ["notify", "started"] {
        if let Some(item) = table.item(name).filter(|_| table.bool(name) == Some(false)) {
            let complaint =
                Complaint::new(format!("`{name} = false` says nothing about when it is ready"), "not true");
            texts.note(item, complaint.help("leave it out, or write another sign"));
        }
    }
    match which(&table, &keys::READY) {
        "notify" => ReadySign::Notify,
        "fd" => ReadySign::Fd(table.whole("fd").unwrap_or(3)),
        "log-line" => ReadySign::LogLine(table.text("log-line").unwrap_or_default().to_owned()),
        _ => probe(&table, texts, shell).map_or(ReadySign::Exec, ReadySign::Probe),
    }
}

/// What shows that the service lives.
pub(crate) fn liveness_probe(service: &View<'_>, texts: &Texts<'_>, shell: bool) -> Option<Probe> {
    probe(&service.table("liveness", &keys::LIVENESS)?, texts, shell)
}

fn probe(table: &View<'_>, texts: &Texts<'_>, shell: bool) -> Option<Probe> {
    let checked = |item: &Item<'_>, check: fn(&str) -> Result<(), Complaint>| {
        let text = texts.of(item);
        if let Err(complaint) = check(&text) {
            texts.note(item, complaint);
        }
        text
    };
    if let Some(item) = table.item("tcp") {
        return Some(Probe::Tcp(checked(item, value::host_port)));
    }
    if let Some(item) = table.item("http") {
        return Some(Probe::Http(checked(item, value::url)));
    }
    Some(Probe::Exec(commands::read(table.item("exec")?, shell, texts)))
}

/// Whether a service that says nothing about `notify` may speak.
pub(crate) fn speaks(ready: &ReadySign, watchdog: Option<Duration>, fd_store: u32) -> bool {
    *ready == ReadySign::Notify || watchdog.is_some() || fd_store > 0
}
