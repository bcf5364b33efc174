//! Whether another program can go on in our place: it is started as a child, with our own command line and one word more, and says.

use crate::journal::read::Written;
use crate::journal::{self, VERSION};
use crate::listen::{Shared, Sockets};
use doula_model::id::Pid;
use doula_model::plan::{ChildPlan, FdMapping, Resource, Rlimit, Session};
use doula_model::recipe::FamilySpec;
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sys::fd::{self, Access, AsRawFd as _, OwnedFd};
use doula_sys::fork::{self, Born};
use doula_sys::{pidfd, time};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// So long a program may take for its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// So much of what it says is read: one line, or why not.
const ROOM: usize = 16 * 1024;

/// A program that can go on says so by this, as one line of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// The version of the program.
    pub program: String,
    /// The version of the state that it writes down.
    pub state: u32,
}

/// Whether we, a program of this version, could go on with the family in this directory, which is to have this configuration.
///
/// # Errors
/// Why not, as a sentence.
pub fn fit(program: &str, directory: &Path, family: &FamilySpec) -> Result<Fit, String> {
    if directory.file_name().is_none_or(|name| *name != *family.name) {
        return Err(format!("the configuration is now that of another family, `{}`", family.name));
    }
    let text = std::fs::read(journal::path(directory));
    let text = text.map_err(|error| format!("failed to read the state of the family: {error}"))?;
    let written = Written::read(&text);
    match &written.head {
        Some(head) if head.version > VERSION => {
            let theirs = head.version;
            return Err(format!(
                "the state of the family has version {theirs}, and this program reads up to {VERSION}"
            ));
        }
        Some(_) if written.cut == 0 => {}
        Some(_) | None => return Err("this program does not understand the state of the family".to_owned()),
    }
    can_open_what_is_new(&written, family)?;
    Ok(Fit { program: program.to_owned(), state: VERSION })
}

/// Opens each socket that the family does not have yet, and closes it again.
fn can_open_what_is_new(written: &Written, family: &FamilySpec) -> Result<(), String> {
    let known = |address| written.sockets.values().any(|(known, _)| known == address);
    // Those of the slots of a pool share their address with others.
    let wanted =
        family.services.iter().filter(|(_, recipe)| recipe.seat.is_none_or(|seat| !seat.own_sockets));
    let shared = Shared::default();
    for socket in wanted.flat_map(|(_, recipe)| &recipe.sockets).filter(|socket| !known(&socket.address)) {
        let opened = Sockets::sharing(&shared).apply(std::slice::from_ref(socket));
        opened.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Which file a program is: device, inode, size, and when it changed.
type File = (u64, u64, u64, i64, i64);

/// The question to a program, as a child.
pub(super) struct Check {
    born: Born,
    /// What it says.
    words: OwnedFd,
    deadline: Time,
    file: File,
}

impl Check {
    /// Starts the program with these words.
    ///
    /// # Errors
    /// It cannot be started; the text says why.
    pub(super) fn begin(
        binary: &Path,
        words: Vec<OsString>,
        open_files: Option<Rlimit>,
    ) -> Result<Check, String> {
        let file = file(binary)?;
        let failed = |errno: doula_model::plan::Errno| errno.to_string();
        let (read, write) = fd::pipe().map_err(failed)?;
        fd::set_nonblocking(&read, true).map_err(failed)?;
        let null = fd::open(c"/dev/null", Access::ReadWrite).map_err(failed)?;
        let map = |from: &OwnedFd, to| FdMapping { from: from.as_raw_fd(), to };
        let env = super::environment().into_iter().map(OsStringExt::into_vec).collect();
        let plan = ChildPlan {
            programs: vec![binary.as_os_str().as_bytes().to_vec()],
            args: words.into_iter().map(OsStringExt::into_vec).collect(),
            env,
            session: Session::NewSession { terminal: None },
            fds: vec![map(&null, 0), map(&write, 1), map(&write, 2)],
            rlimits: open_files.into_iter().filter(|limit| limit.resource == Resource::Nofile).collect(),
            ..ChildPlan::default()
        };
        let born = fork::spawn(&plan).map_err(|error| error.errno.to_string())?;
        Ok(Check { born, words: read, deadline: time::monotonic().after(PATIENCE), file })
    }

    pub(super) fn pid(&self) -> Pid {
        self.born.pid
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    /// It takes too long.
    pub(super) fn kill(&self) {
        // One that has just ended is as good.
        let _ = pidfd::send(&self.born.pidfd, Signal::KILL);
    }

    /// What it has said; it has ended, well or not.
    pub(super) fn verdict(&self, binary: &Path, well: bool) -> Result<Fit, String> {
        let mut text = vec![0; ROOM];
        // All that was said is in the pipe; one who says more than fits has not ended well.
        let length = fd::read(&self.words, &mut text).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..length]);
        let text = text.trim();
        if !well {
            let late = self.deadline <= time::monotonic();
            let silent = if late { "it does not answer" } else { "it does not start, or is no doula" };
            return Err(if text.is_empty() { silent.to_owned() } else { text.to_owned() });
        }
        let last = text.lines().last().unwrap_or_default();
        let fit = serde_json::from_str(last).map_err(|_| "it is no doula that can upgrade".to_owned())?;
        if file(binary)? != self.file {
            return Err("it was replaced while it was asked".to_owned());
        }
        Ok(fit)
    }
}

fn file(binary: &Path) -> Result<File, String> {
    let about = std::fs::metadata(binary).map_err(|error| error.to_string())?;
    Ok((about.dev(), about.ino(), about.size(), about.mtime(), about.mtime_nsec()))
}
