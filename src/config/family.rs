//! The whole file: its services in their order, and what ties them together.

use super::check;
use super::environment::Surroundings;
use super::keys::{FILE, SERVICE};
use super::pool;
use super::pool_keys::POOL;
use super::problem::{Complaint, did_you_mean};
use super::service::{self, Written};
use super::value;
use super::view::{Item, Table, View};
use doula_core::deps;
use doula_model::recipe::{FamilySpec, Recipe};
use doula_model::service::{Dependency, DependencyKind, ServiceSpec};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use toml::de::DeTable;

/// More services than this, instances included, are refused: each one costs processes, fds and memory.
pub(crate) const MAX_SERVICES: usize = 10_000;

/// More dependencies than this, instances multiplied by instances, are refused.
const MAX_DEPENDENCIES: usize = 200_000;

/// The keys that name other services, the strongest first.
const DEPENDENCY_KEYS: [(&str, DependencyKind); 3] = [
    ("requires", DependencyKind::Requires),
    ("wants", DependencyKind::Wants),
    ("after", DependencyKind::After),
];

/// The instances by the name that a dependency may use: `web` is all of them, `web@2` is one.
type Names = BTreeMap<String, Vec<String>>;

/// Reads the file; problems are noted, and what is returned then has no meaning.
pub(crate) fn read(around: &Surroundings<'_>) -> FamilySpec {
    let report = around.report;
    let (file, errors) = DeTable::parse_recoverable(report.text());
    if !errors.is_empty() {
        for error in &errors {
            // What follows a syntax error is guesswork, so nothing else is said about such a file.
            let span = error.span().unwrap_or(0..0);
            report.note(&span, Complaint::new(error.message(), "here"));
        }
        return FamilySpec::default();
    }
    let table = file.get_ref();
    check::section(&FILE, table, report);
    let family = View::new(&FILE, Some(table), None);
    let written = services(&family, around);
    let names = names(&written);
    let total: usize = written.iter().map(|service| service.names().len()).sum();
    if total > MAX_SERVICES {
        let title = format!("{total} services are more than {MAX_SERVICES}");
        report.note(&(0..0), Complaint::new(title, "instances are counted too"));
        return FamilySpec::default();
    }
    if too_many_dependencies(&written, &names, around) {
        return FamilySpec::default();
    }
    let services: Vec<_> = written.iter().flat_map(|written| one(written, &names, around)).collect();
    cycle(&services, &written, &names, around);
    let name = family.text("name").map_or_else(|| directory_name(around.dir), str::to_owned);
    FamilySpec { name, services }
}

/// Notes a family whose dependencies, instances multiplied by instances, would fill the memory.
fn too_many_dependencies(written: &[Written<'_>], names: &Names, around: &Surroundings<'_>) -> bool {
    let weight = |service: &Written<'_>| {
        let items = DEPENDENCY_KEYS.iter().flat_map(|(key, _)| service.keys.list(key));
        let on: usize = items.filter_map(|item| names.get(item.get_ref().as_str()?)).map(Vec::len).sum();
        on.saturating_mul(service.names().len())
    };
    let total = written.iter().map(weight).fold(0, usize::saturating_add);
    if total > MAX_DEPENDENCIES {
        let title = format!("{total} dependencies are more than {MAX_DEPENDENCIES}");
        around.report.note(&(0..0), Complaint::new(title, "each instance on each instance is counted"));
    }
    total > MAX_DEPENDENCIES
}

/// Notes a circle of dependencies where its first step is written.
fn cycle(
    services: &[(ServiceSpec, Recipe)],
    written: &[Written<'_>],
    names: &Names,
    around: &Surroundings<'_>,
) {
    let specs: Vec<ServiceSpec> = services.iter().map(|(spec, _)| spec.clone()).collect();
    let Err(cycle) = deps::order(&specs) else { return };
    let (Some(first), Some(second)) = (cycle.0.first(), cycle.0.get(1).or(cycle.0.first())) else { return };
    let service = written.iter().find(|service| service.names().contains(first));
    let item = service.and_then(|service| {
        let mut items = DEPENDENCY_KEYS.iter().flat_map(|(key, _)| service.keys.list(key));
        let leads = |item: &&Item<'_>| {
            let on = item.get_ref().as_str().and_then(|name| names.get(name));
            on.is_some_and(|instances| instances.contains(second))
        };
        items.find(leads)
    });
    let span = item.map_or(0..0, toml::Spanned::span);
    let complaint =
        Complaint::new(format!("services need each other in a circle: {cycle}"), "part of the circle");
    around.report.note(&span, complaint.help("leave out one of these dependencies"));
}

/// The name of a family that has none: that of its directory, as far as it can be a name.
pub(crate) fn directory_name(dir: &Path) -> String {
    let usable =
        |letter: char| if letter.is_ascii_alphanumeric() || "_.-".contains(letter) { letter } else { '-' };
    let directory = dir.file_name().unwrap_or_default().to_string_lossy();
    let name: String =
        directory.trim_start_matches(['.', '-']).chars().map(usable).take(value::MAX_NAME).collect();
    if value::name(&name).is_ok() { name } else { "doula".to_owned() }
}

/// The services in the order of the file.
fn services<'a>(family: &View<'a>, around: &Surroundings<'_>) -> Vec<Written<'a>> {
    let mut services = tables(family, "service", around);
    let pools = tables(family, "pool", around);
    for pool in pools.iter().filter(|pool| services.iter().any(|service| service.name == pool.name)) {
        let title = format!("`{}` is a service already", pool.name);
        let complaint = Complaint::new(title, "the same name").help("give one of them another name");
        around.report.note(&pool.span, complaint);
    }
    services.extend(pools);
    services.sort_by_key(|service| service.span.start);
    if services.is_empty() {
        let span = family.item("service").map_or(0..0, toml::Spanned::span);
        let help = "write a table for each: [service.web] and below it command = \"…\"";
        around.report.note(&span, Complaint::new("the file has no services", "nothing to run").help(help));
    }
    services
}

/// The tables below `service` or `pool`.
fn tables<'a>(family: &View<'a>, kind: &str, around: &Surroundings<'_>) -> Vec<Written<'a>> {
    let defaults = family.item("defaults").and_then(|item| item.get_ref().as_table());
    let table = family.item(kind).and_then(|item| item.get_ref().as_table());
    let written = table.into_iter().flat_map(|table| table.iter()).filter_map(|(key, item)| {
        let name: &str = key.get_ref();
        if let Err(complaint) = value::name(name) {
            around.report.note(&key.span(), complaint);
        }
        let own: &Table<'a> = item.get_ref().as_table()?;
        Some(Written {
            name,
            span: key.span(),
            keys: View::new(&SERVICE, Some(own), defaults),
            family: *family,
            pool: (kind == "pool").then(|| View::new(&POOL, Some(own), None)),
        })
    });
    written.collect()
}

fn names(written: &[Written<'_>]) -> Names {
    let mut names = Names::new();
    for service in written {
        let instances = service.names();
        for instance in &instances {
            names.insert(instance.clone(), vec![instance.clone()]);
        }
        names.insert(service.name.to_owned(), instances);
    }
    names
}

/// All instances of one service, with their dependencies.
fn one(written: &Written<'_>, names: &Names, around: &Surroundings<'_>) -> Vec<(ServiceSpec, Recipe)> {
    let mut instances = service::read(written, around);
    let deps = dependencies(written, names, around);
    contradictions(written, around);
    for (spec, _) in &mut instances {
        spec.deps = deps.clone();
    }
    instances
}

fn dependencies(written: &Written<'_>, names: &Names, around: &Surroundings<'_>) -> Vec<Dependency> {
    let mut dependencies: Vec<Dependency> = Vec::new();
    for (key, kind) in DEPENDENCY_KEYS {
        for item in written.keys.list(key) {
            for on in resolve(written, item, names, around) {
                // The same service twice: the stronger need holds, and `requires` comes first.
                if !dependencies.iter().any(|known| known.on == *on) {
                    dependencies.push(Dependency { on: on.clone(), kind });
                }
            }
        }
    }
    dependencies
}

fn resolve<'n>(
    written: &Written<'_>,
    item: &Item<'_>,
    names: &'n Names,
    around: &Surroundings<'_>,
) -> &'n [String] {
    let Some(name) = item.get_ref().as_str() else { return &[] };
    let own =
        name == written.name || name.strip_prefix(written.name).is_some_and(|rest| rest.starts_with('@'));
    if own {
        let complaint = Complaint::new(format!("`{}` cannot depend on itself", written.name), "itself");
        around.report.note(&item.span(), complaint);
        return &[];
    }
    names.get(name).map_or_else(
        || {
            let help = did_you_mean(name, names.keys().map(String::as_str));
            let complaint = Complaint::new(format!("there is no service `{name}`"), "unknown service");
            let known = names.keys().take(20).cloned().collect::<Vec<_>>().join(", ");
            let help = help.unwrap_or_else(|| format!("the services are: {known}"));
            around.report.note(&item.span(), complaint.help(help));
            [].as_slice()
        },
        Vec::as_slice,
    )
}

/// Notes keys of one service that contradict each other.
fn contradictions(written: &Written<'_>, around: &Surroundings<'_>) {
    let keys = &written.keys;
    if let Some(own) = &written.pool {
        return pool::contradictions(written, own, around);
    }
    let note = |span: Range<usize>, title: &str, help: &str| {
        around.report.note(&span, Complaint::new(title, "does not go together").help(help));
    };
    let daemon = keys.item("kind").filter(|_| keys.text("kind") == Some("daemon"));
    if let (Some(item), Some(_)) = (daemon, keys.item("schedule")) {
        note(item.span(), "a scheduled job is no daemon", "leave `kind` out: it runs to its end each time");
    }
    let signal = keys.text("reload").filter(|text| value::signal(text).is_ok());
    if let (Some(text), Some(item)) = (signal, keys.item("reload")) {
        let help = format!("a signal is written {{ signal = \"{text}\" }}");
        note(item.span(), "this names a signal, not a program", &help);
    }
}
