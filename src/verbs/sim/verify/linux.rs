//! Linux as a [`World`]: a stage, with the files that programs find, in a directory of its own.

use crate::error::Failure;
use doula_host::conform::{self, Heard, Stage, StageError};
use doula_sim::kernel::call::Call;
use doula_sim::kernel::version::{Config, KernelVersion};
use doula_sim::oracle::{FILES, FreeWorld, Observed, PLAYER, Seen, World};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Linux, in a namespace that is used again for one program after the other.
pub(super) struct Linux {
    stage: Stage,
    directory: PathBuf,
    places: usize,
    /// Files were opened for writing: they are as they were before the next program.
    written: bool,
    /// Why it is of no use any more.
    pub(super) broken: Option<StageError>,
}

impl Linux {
    /// For programs of so many calls.
    pub(super) fn new(calls: usize) -> Result<Linux, Failure> {
        // A motif may bear children at a few places after its own.
        Linux::with_places(calls + 16)
    }

    fn with_places(places: usize) -> Result<Linux, Failure> {
        let files = |error: io::Error| {
            Failure::doula(format!("failed to make the files that programs find: {error}"))
        };
        let program = std::env::current_exe().map_err(files)?.into_os_string();
        let directory = new_directory();
        let stage = Stage::new(&program, &directory, places).map_err(no_stage)?;
        symlink(&program, directory.join(PLAYER)).and_then(|()| write_files(&directory)).map_err(files)?;
        Ok(Linux { stage, directory, places, written: false, broken: None })
    }

    /// What came of orders; nothing at all when nobody comes to rest.
    fn observed(&mut self, heard: Result<Heard, StageError>) -> Observed {
        let heard = heard.unwrap_or_else(|error| {
            self.broken = Some(error);
            Heard::default()
        });
        let seen = heard.seen.into_iter().map(|(number, seen)| {
            let conform::Seen { state, parent, group, session, foreground } = seen;
            (number, Seen { state, parent, group, session, foreground })
        });
        Observed { said: heard.said, seen: seen.collect() }
    }

    fn restore(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.written) {
            write_files(&self.directory)?;
        }
        Ok(())
    }
}

fn no_stage(error: StageError) -> Failure {
    let no_namespace = matches!(error, StageError::NoNamespace(_));
    let failure = Failure::doula(format!("nothing can be compared with this kernel: {error}"));
    if no_namespace {
        failure.hint("run it as root, or allow user namespaces (user_namespaces(7))")
    } else {
        failure
    }
}

/// A path at which there is nothing.
fn new_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("doula-sim-{}-{number}", std::process::id()));
        if path.symlink_metadata().is_err() {
            return path;
        }
    }
}

fn write_files(directory: &Path) -> io::Result<()> {
    for file in FILES.iter().filter(|file| file.path != PLAYER) {
        let path = directory.join(file.path);
        match file.bytes {
            None if path.is_dir() => {}
            None => fs::create_dir(&path)?,
            Some(bytes) => {
                fs::write(&path, bytes)?;
                let mode = if file.executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            }
        }
    }
    Ok(())
}

impl FreeWorld for Linux {
    fn idle(&self) -> Vec<usize> {
        self.stage.idle()
    }

    fn perform_all(&mut self, orders: &[(usize, usize, Call)]) -> Observed {
        let lines: Vec<(usize, usize, String)> =
            orders.iter().map(|(by, place, call)| (*by, *place, call.to_string())).collect();
        let heard = self.stage.order_all(&lines);
        self.observed(heard)
    }
}

impl World for Linux {
    fn config(&self) -> Config {
        let read = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
        let known = Config::default();
        Config {
            version: KernelVersion::parse(&read("osrelease")).unwrap_or(known.version),
            pid_max: read("pid_max").trim().parse().unwrap_or(known.pid_max),
            ..known
        }
    }

    fn begin(&mut self) -> i32 {
        let next = self.restore().ok().and_then(|()| self.stage.clear());
        if let Some(next) = next {
            return next;
        }
        // What is not made now is made, or told of, by whoever finds this one broken.
        if let Ok(new) = Linux::with_places(self.places) {
            *self = new;
        }
        self.stage.clear().unwrap_or_else(|| {
            self.broken = Some(StageError::Silent);
            2
        })
    }

    fn number(&self, place: usize) -> Option<i32> {
        self.stage.number(place)
    }

    fn perform(&mut self, by: usize, place: usize, call: &Call) -> Observed {
        self.written |= matches!(call, Call::Open(..));
        let heard = self.stage.order(by, place, &call.to_string(), matches!(call, Call::Clone(_)));
        self.observed(heard)
    }
}
