//! `doula import`: what other supervisors read, as a doula.toml.
//!
//! Everything is either carried over or named in a comment; nothing is dropped in silence.

mod compose;
mod draft;
mod ini;
mod supervisord;
mod systemd;
mod yaml;

use crate::config;
use crate::error::{Exit, Failure, Kind, Outcome};
use crate::ui::Ui;
use draft::{Draft, Service};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Turns the files of other supervisors into a doula.toml
///
/// Reads supervisord.conf, systemd units (*.service), compose.yaml and Procfiles. What has no equal is named
/// in a comment. Several files become one family.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The files
    #[arg(required = true)]
    files: Vec<PathBuf>,

    /// Write to this file instead of standard output
    #[arg(short, long)]
    output: Option<PathBuf>,

    /// Write over a file that exists
    #[arg(long, requires = "output")]
    force: bool,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Supervisord,
    Systemd,
    Compose,
    Procfile,
}

/// Imports the files.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    let mut draft = Draft::default();
    for path in &args.files {
        let text = config::read_text(path)
            .map_err(|error| Failure::usage(format!("failed to read `{}`: {error}", path.display())))?;
        add(path, &text, &mut draft)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    }
    systemd::finish(&mut draft);
    let names: Vec<String> = args.files.iter().map(|path| path.display().to_string()).collect();
    let text = draft.text(&names);
    match &args.output {
        None => ui.print(&text)?,
        Some(path) => write(path, &text, args.force)?,
    }
    let place = args.output.as_deref().unwrap_or(Path::new("doula.toml"));
    if let Err(problems) = config::check_text(place, &text) {
        ui.note("some of it does not hold on this machine as it is:");
        ui.diagnosis(&problems.render(ui.err_color()));
    }
    Ok(Exit::OK)
}

/// Adds one file to the draft; the error is a sentence.
fn add(path: &Path, text: &str, draft: &mut Draft) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match format(path, text)
        .ok_or("neither a supervisord.conf, a systemd unit, a compose.yaml nor a Procfile")?
    {
        Format::Supervisord => supervisord::import(text, draft),
        Format::Systemd => systemd::import(&name, text, draft),
        Format::Compose => compose::import(text, draft)?,
        Format::Procfile => procfile(text, draft),
    }
    Ok(())
}

/// What a file is, by its ending, or else by its content.
fn format(path: &Path, text: &str) -> Option<Format> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let section = |name: &str| text.lines().any(|line| line.trim_start().starts_with(name));
    match ending.as_str() {
        "service" => Some(Format::Systemd),
        "yaml" | "yml" => Some(Format::Compose),
        _ if section("[program:") || section("[supervisord]") || section("[fcgi-program:") => {
            Some(Format::Supervisord)
        }
        _ if section("[Service]") => Some(Format::Systemd),
        _ if section("services:") => Some(Format::Compose),
        _ if config::is_procfile(path, text) => Some(Format::Procfile),
        _ => None,
    }
}

fn procfile(text: &str, draft: &mut Draft) {
    draft.notes.push("a Procfile ends when one process ends; here each one is started again".to_owned());
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    for (index, (name, command)) in lines.filter_map(config::procfile_line).enumerate() {
        let mut service = Service::new(name);
        service.set("command", command);
        service.set("shell", true);
        service.set("env-file", optional(".env"));
        let port = i64::from(config::FIRST_PORT) + i64::from(config::PORT_STEP) * index as i64;
        service.table("env").insert("PORT".to_owned(), port.into());
        draft.services.push(service);
    }
}

/// An environment file that may be missing.
fn optional(path: &str) -> toml::Table {
    [("path".to_owned(), path.into()), ("optional".to_owned(), true.into())].into_iter().collect()
}

/// Writes the result; an existing file only if that was asked for.
fn write(path: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let name = path.display();
        if error.kind() == ErrorKind::AlreadyExists {
            return Failure::usage(format!("`{name}` exists already")).hint("--force writes over it");
        }
        Failure::new(Kind::Doula, format!("failed to write `{name}`: {error}"))
    })
}

#[cfg(test)]
mod tests;
