//! `doula ctl upgrade`: another program takes the supervisor's place, and the family goes on.

use super::json;
use super::link::{Link, unexpected};
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use doula_model::control::{Reply, Request};
use std::path::PathBuf;

/// Has the supervisor go on as another program, without touching a service
///
/// The program is asked first whether it starts, understands the configuration and can read what was written down; one that
/// cannot is not taken. The supervisor keeps its number, and the services keep theirs; whoever follows logs or events has to
/// begin again. A configuration that has changed takes effect as by `reload`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The program [default: the one that is now where the supervisor was started from]
    binary: Option<PathBuf>,
}

/// Upgrades.
pub(super) fn run(args: Args, link: &mut Link, ui: &mut Ui, as_json: bool) -> Outcome {
    let binary = args.binary.map(path).transpose()?;
    let Reply::Upgraded { from, to, pid, took } = link.ask(Request::Upgrade { binary })? else {
        return Err(unexpected());
    };
    if as_json {
        json::print(&serde_json::json!({ "from": from, "to": to, "pid": pid, "took": took }), ui)?;
    } else {
        let took = took.as_secs_f64() * 1_000.0;
        ui.line(&format!("upgraded {from} → {to} in {took:.0} ms (pid {pid})"))?;
    }
    Ok(Exit::OK)
}

/// The supervisor is elsewhere.
fn path(binary: PathBuf) -> Result<String, Failure> {
    let absolute = std::path::absolute(&binary).unwrap_or(binary);
    let told = |path: std::ffi::OsString| Failure::usage(format!("{path:?} is not UTF-8"));
    absolute.into_os_string().into_string().map_err(told)
}
