//! What the user wrote (`doula.toml` or a `Procfile`) becomes what the decisions and the world need.
//!
//! In three steps: the text is parsed with the place of every value ([`toml`]); everything is held against
//! the one table of keys ([`keys`], [`check`]); then the values are read ([`family`], [`service`]). Problems of
//! all steps are collected ([`problem`]), so that a file with five mistakes tells of five.

mod accounts;
mod check;
mod commands;
mod envfile;
mod environment;
mod expand;
mod family;
mod keys;
mod policy;
mod pool;
mod pool_keys;
mod problem;
mod procfile;
mod schema;
mod service;
mod value;
mod view;

pub(crate) use environment::read as read_text;
pub(crate) use expand::is_name as is_variable;
pub(crate) use problem::{Complaint, Problem, Problems, Report, Source, did_you_mean};
pub(crate) use procfile::{FIRST_PORT, PORT_STEP, entry as procfile_line, is_procfile};
pub(crate) use schema::text as schema;
pub(crate) use value::MAX_NAME;

pub(crate) use accounts::Account;
use doula_model::recipe::{FamilySpec, Recipe};
use environment::{Environment, Surroundings};
use expand::Variables;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A duration as in doula.toml, for options of the command line; else why it is none, and how to write it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    value::duration(text).map_err(spoken)
}

/// A user as in doula.toml, for options of the command line.
pub(crate) fn account(text: &str) -> Result<Account, String> {
    accounts::user(text).map_err(spoken)
}

/// A number of bytes as in doula.toml, for options of the command line.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let bytes = value::size(text).map_err(spoken)?;
    usize::try_from(bytes).map_err(|_| format!("`{text}` is too large"))
}

/// A resource limit as in doula.toml: `4096`, `64M`, `unlimited`.
pub(crate) fn rlimit(text: &str) -> Result<u64, String> {
    value::rlimit(text).map_err(spoken)
}

/// A share of CPU time as in doula.toml, in thousandths of one CPU: `150%`, `1.5`.
pub(crate) fn cpu_share(text: &str) -> Result<u64, String> {
    value::cpu_share(text).map_err(spoken)
}

/// Numbers of CPUs as in doula.toml: `0,2-3`.
pub(crate) fn cpus(text: &str) -> Result<Vec<u16>, String> {
    value::cpus(text).map_err(spoken)
}

/// A complaint in one sentence.
fn spoken(complaint: Complaint) -> String {
    match complaint.help {
        Some(help) => format!("{}: {help}", complaint.title),
        None => complaint.title,
    }
}

/// The names that are looked for, in this order, when none is given.
const FILE_NAMES: [&str; 2] = ["doula.toml", "Procfile"];

/// The configuration that is meant: the one that was named, else the first of the usual names that exists.
pub(crate) fn find(named: Option<PathBuf>) -> PathBuf {
    named.unwrap_or_else(|| {
        let existing = FILE_NAMES.iter().map(Path::new).find(|name| name.exists());
        existing.unwrap_or(Path::new(FILE_NAMES[0])).to_owned()
    })
}

/// Reads a configuration: names of users are resolved, the environment is complete, paths are absolute.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub(crate) fn load(path: &Path) -> Result<FamilySpec, Problems> {
    let name = path.display().to_string();
    let text = environment::read(path).map_err(|error| {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let help = missing.then(|| "write a doula.toml, or name the file".to_owned());
        Problems::unreadable(format!("failed to read `{name}`: {error}"), help)
    })?;
    let dir = directory(path).map_err(|error| {
        Problems::unreadable(format!("failed to find the directory of `{name}`: {error}"), None)
    })?;
    parse(Source { name, text }, &dir, &own_environment())
}

/// Whether a text that is to become the file at `path` would be a good one.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub(crate) fn check_text(path: &Path, text: &str) -> Result<FamilySpec, Problems> {
    let source = Source { name: path.display().to_string(), text: text.to_owned() };
    parse(source, &directory(path).unwrap_or_default(), &own_environment())
}

/// Whether a text is a duration as the file has them.
pub(crate) fn is_duration(text: &str) -> bool {
    value::duration(text).is_ok()
}

/// The variables of doula itself that are text.
fn own_environment() -> Variables {
    let text =
        |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

/// The same from a text: everything that is not in the text is an argument.
fn parse(source: Source, dir: &Path, inherited: &Variables) -> Result<FamilySpec, Problems> {
    let report = Report::new(source);
    let around = Surroundings::new(dir, inherited, &report);
    let is_procfile = is_procfile(Path::new(report.name()), report.text());
    let spec = if is_procfile { procfile::read(&around) } else { family::read(&around) };
    report.finish(spec)
}

/// The directory of a file, absolute.
fn directory(path: &Path) -> std::io::Result<PathBuf> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    std::path::absolute(parent.unwrap_or(Path::new(".")))
}

/// A recipe with its environment, and the digest of both: over its JSON and the variables.
fn finish(mut recipe: Recipe, env: Environment<'_>, around: &Surroundings<'_>) -> (Recipe, u64) {
    let json = serde_json::to_vec(&recipe).unwrap_or_default();
    recipe.env = env.finish();
    let fingerprint = environment::digest(&json, around.digest(&recipe.env));
    (recipe, fingerprint)
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
