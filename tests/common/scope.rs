//! A cgroup of v2 that was handed to one program, as a service manager or a container engine does it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// It has nobody in it at first, and is removed when this is dropped.
pub(crate) struct Scope(PathBuf);

impl Scope {
    /// One that has these controllers. `None`, said aloud, where none can be made.
    #[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
    pub(crate) fn new(controllers: &[&str]) -> Option<Scope> {
        let scope = Scope::made(controllers);
        if scope.is_none() {
            println!(
                "skipped: no cgroup of v2 with the controllers {} can be made here",
                controllers.join(", ")
            );
        }
        scope
    }

    fn made(controllers: &[&str]) -> Option<Scope> {
        let path = Path::new("/sys/fs/cgroup").join(format!("test-scope-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        let scope = Scope(path);
        let has = std::fs::read_to_string(scope.0.join("cgroup.controllers")).ok()?;
        let has = |name: &&str| has.split_whitespace().any(|each| each == *name);
        controllers.iter().all(has).then_some(scope)
    }

    /// A shell that goes into it and becomes the program that its arguments from here on say.
    pub(crate) fn around(&self, mut shell: Command) -> Command {
        shell.args(["-c", "echo 0 >$0/cgroup.procs; exec \"$@\""]).arg(&self.0);
        shell
    }

    /// Nothing is left in it.
    pub(crate) fn remove(self) {
        std::fs::remove_dir(&self.0).expect("nothing is left in it");
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.0));
    }
}
