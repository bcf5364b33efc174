//! Finds the programs of the package `actors` for tests of other packages, and builds them where they are
//! missing or older than their source (a test of one package alone does not build another package's programs).
//!
//! `CARGO_BIN_EXE_…` is only for the own package; so the folder of the test program itself says where to look.
//! From another package: `#[path = "../../../tests/common/actors.rs"] mod actors;`

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::SystemTime;

/// In seconds: a build from nothing takes no longer, on a busy machine either.
const PATIENCE: &str = "600";

static BUILT: Once = Once::new();

/// The path of an actor, for example `actor("polite")`.
pub(crate) fn actor(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let deps = test.parent().expect("tests are in a folder");
    let profile =
        if deps.ends_with("deps") { deps.parent().expect("deps is in a profile's folder") } else { deps };
    let program = profile.join(name);
    if is_older_than_its_source(&program, name) {
        BUILT.call_once(|| build(profile));
    }
    assert!(program.is_file(), "no actor is called {name}: {} is missing", program.display());
    program
}

fn is_older_than_its_source(program: &Path, name: &str) -> bool {
    let Some(built) = changed(program) else { return true };
    let actors = home().join("actors/src");
    let sources = [actors.join("lib.rs"), actors.join(format!("bin/{name}.rs"))];
    sources.iter().filter_map(|source| changed(source)).any(|source| source > built)
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|found| found.modified()).ok()
}

/// The root of the workspace: the nearest folder above that has a `Cargo.lock`.
fn home() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    home.expect("a workspace has a Cargo.lock").to_owned()
}

fn build(profile: &Path) {
    let name = profile.file_name().and_then(|name| name.to_str()).expect("a profile has a name");
    let name = if name == "debug" { "dev" } else { name };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = profile.parent().expect("a profile's folder is in the target folder");
    // Cargo is not quiet: from nothing this takes minutes, and whoever waits for the test shall see why.
    let status = Command::new("timeout")
        .args(["--kill-after=10", PATIENCE])
        .arg(cargo)
        .args(["build", "--package", "actors", "--bins", "--profile", name, "--target-dir"])
        .arg(target)
        .current_dir(home())
        .status()
        .expect("timeout, and cargo to build the actors");
    assert!(status.success(), "the actors do not build, or not within {PATIENCE} s: {status}");
}
