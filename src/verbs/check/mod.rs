//! `doula check`: whether a configuration is right, and what it means.

mod tree;

use crate::config::{self, Problem};
use crate::error::{Exit, Kind, Outcome};
use crate::ui::Ui;
use serde::Serialize;
use std::path::PathBuf;

/// Checks a configuration and shows the order in which it starts
///
/// Every problem is shown at once, with its line and what to write instead; the exit code is then 2. Nothing
/// is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration [default: doula.toml, else Procfile]
    file: Option<PathBuf>,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,

    /// Print the JSON schema of doula.toml, by which editors complete it
    #[arg(long, conflicts_with_all = ["file", "json"])]
    schema: bool,
}

/// The result, for programs.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    ok: bool,
    name: Option<&'a str>,
    services: Vec<&'a str>,
    problems: Vec<Finding<'a>>,
}

/// One problem, for programs.
#[derive(Debug, Serialize)]
struct Finding<'a> {
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    message: &'a str,
    help: Option<&'a str>,
}

impl Finding<'_> {
    fn new(problem: &Problem) -> Finding<'_> {
        let (file, line, column) = match problem.position() {
            Some((file, line, column)) => (Some(file), Some(line), Some(column)),
            None => (None, None, None),
        };
        Finding { file, line, column, message: problem.title(), help: problem.help() }
    }
}

/// Checks the file.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    if args.schema {
        ui.print(&config::schema())?;
        return Ok(Exit::OK);
    }
    let loaded = config::load(&config::find(args.file));
    match (&loaded, args.json) {
        (Ok(family), true) => {
            let services = family.services.iter().map(|(spec, _)| spec.name.as_str()).collect();
            ui.json(&Answer { ok: true, name: Some(&family.name), services, problems: Vec::new() })?;
        }
        (Ok(family), false) => {
            let count = tree::count(&family.services);
            let services = if count == 1 { "service starts" } else { "services start" };
            ui.line(&format!("ok: {}, {count} {services} in this order:", family.name))?;
            let lines =
                tree::lines(family).iter().fold(String::new(), |text, line| text + "  " + line + "\n");
            ui.print(&lines)?;
        }
        (Err(problems), true) => {
            let problems = problems.iter().map(Finding::new).collect();
            ui.json(&Answer { ok: false, name: None, services: Vec::new(), problems })?;
        }
        (Err(problems), false) => ui.diagnosis(&problems.render(ui.err_color())),
    }
    Ok(if loaded.is_ok() { Exit::OK } else { Kind::Usage.exit() })
}
