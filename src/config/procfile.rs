//! A `Procfile` as it is: `name: command` lines, run as foreman runs them.
//!
//! Each command runs by `/bin/sh -c` in the directory of the file, with the variables of a `.env` beside it.
//! `PORT` is 5000 (or the `PORT` of the environment or `.env`) and 100 more for each further process; `PS` is
//! `name.1`. As with foreman the end of one process ends the family, with its exit code: whoever wants restarts
//! turns the file into a doula.toml (`doula import`).

use super::environment::{Environment, Surroundings};
use super::expand::Values as _;
use super::family;
use super::problem::{Complaint, Report};
use super::value;
use doula_model::recipe::{FamilySpec, Recipe};
use doula_model::service::{RestartPolicy, RestartWhen, ServiceSpec};
use std::ops::Range;
use std::path::Path;

/// The port of the first process, and the distance to that of the next (foreman's figures).
pub(crate) const FIRST_PORT: u32 = 5000;
/// The distance from one process to the next.
pub(crate) const PORT_STEP: u32 = 100;

/// One line.
pub(crate) struct Entry<'a> {
    /// The name of the process.
    pub(crate) name: &'a str,
    /// What the shell runs.
    pub(crate) command: &'a str,
    span: Range<usize>,
}

/// Whether a file is a Procfile: by its name, or else by its content.
pub(crate) fn is_procfile(path: &Path, text: &str) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if path.extension().is_some_and(|ending| ending == "toml") {
        return false;
    }
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    name.starts_with("Procfile") || (lines().next().is_some() && lines().all(|line| entry(line).is_some()))
}

/// The lines of the file; what is none is noted.
pub(crate) fn entries<'a>(text: &'a str, report: &Report) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut start = 0;
    for whole in text.split_inclusive('\n') {
        let line = whole.trim();
        let from = start + whole.len() - whole.trim_start().len();
        let span = from..from + line.len();
        start += whole.len();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, command)) = entry(line) else {
            let complaint = Complaint::new("this line of the Procfile is no process", "not `name: command`");
            report
                .note(&span, complaint.help("write a name, a colon and a command, such as `web: ./server`"));
            continue;
        };
        let name_span = span.start..span.start + name.len();
        if let Err(complaint) = value::name(name) {
            report.note(&name_span, complaint);
        }
        if entries.iter().any(|known| known.name == name) {
            let complaint = Complaint::new(format!("two processes have the name `{name}`"), "the second");
            report.note(&name_span, complaint);
        }
        entries.push(Entry { name, command, span });
        if entries.len() > family::MAX_SERVICES {
            break;
        }
    }
    entries
}

/// A line as name and command.
pub(crate) fn entry(line: &str) -> Option<(&str, &str)> {
    let (name, command) = line.split_once(':')?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let command = command.trim();
    (!name.is_empty() && name.bytes().all(word) && !command.is_empty()).then_some((name, command))
}

/// Reads the file; problems are noted, and what is returned then has no meaning.
pub(crate) fn read(around: &Surroundings<'_>) -> FamilySpec {
    let report = around.report;
    let entries = entries(report.text(), report);
    if entries.is_empty() {
        report.note(&(0..0), Complaint::new("the file has no processes", "nothing to run"));
    }
    if entries.len() > family::MAX_SERVICES {
        let title = format!("more than {} processes", family::MAX_SERVICES);
        report.note(&(0..0), Complaint::new(title, "too many"));
        return FamilySpec::default();
    }
    let mut common = Environment::all(around);
    common.optional_file(".env", around);
    let base = common.value("PORT").and_then(|port| port.parse().ok()).unwrap_or(FIRST_PORT);
    let services = entries.iter().enumerate().map(|(index, entry)| {
        let mut environment = common.clone();
        environment.set("PORT", &(base.saturating_add(PORT_STEP.saturating_mul(index as u32))).to_string());
        environment.set("PS", &format!("{}.1", entry.name));
        service(entry, environment, around)
    });
    FamilySpec { name: family::directory_name(around.dir), services: services.collect() }
}

fn service(
    entry: &Entry<'_>,
    environment: Environment<'_>,
    around: &Surroundings<'_>,
) -> (ServiceSpec, Recipe) {
    if entry.command.contains('\0') {
        around.report.note(&entry.span, Complaint::new("a NUL byte cannot be part of a command", "here"));
    }
    let recipe = Recipe {
        command: vec!["/bin/sh".to_owned(), "-c".to_owned(), entry.command.to_owned()],
        dir: Some(around.dir.to_string_lossy().into_owned()),
        ..Recipe::default()
    };
    let (recipe, fingerprint) = super::finish(recipe, environment, around);
    let spec = ServiceSpec {
        essential: true,
        restart: RestartPolicy { when: RestartWhen::Never, ..RestartPolicy::default() },
        fingerprint,
        ..ServiceSpec::new(entry.name)
    };
    (spec, recipe)
}
