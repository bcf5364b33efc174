//! Who holds an open file: processes that have it among their fds.
//!
//! Best effort, for people: `/proc/PID/fd` of another user's process is not for us.

use crate::spawn::printable;
use doula_model::id::Pid;
use std::fmt;
use std::fs::{DirEntry, read_dir};
use std::path::PathBuf;

/// A process that holds something: the other end of a pipe of ours, or an address.
///
/// ```
/// use doula_host::Command;
/// // The child ends, its own child keeps standard output open: the capture ends all the same, and names it.
/// let output = Command::new("sh").args(["-c", "sleep 1000 & echo $!"]).output()?;
/// assert_eq!(output.holders[0].pid.to_string(), output.stdout_text().trim());
/// assert!(output.holders[0].to_string().ends_with("(sleep)"));
/// # doula_host::Command::new("kill").arg(output.stdout_text().trim()).status()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number, for display.
    pub pid: Pid,
    /// Its name (`/proc/PID/comm`), with control characters escaped.
    pub name: String,
}

impl fmt::Display for Holder {
    /// `4711 (sleep)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pid, self.name)
    }
}

impl Holder {
    /// This process.
    pub(crate) fn of(pid: Pid) -> Holder {
        let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
        Holder { pid, name: printable(name.trim_ascii_end()) }
    }
}

/// The processes that have one of these files open, as the links in `/proc/PID/fd` call them, by an fd of which `counts`
/// says so.
pub(crate) fn of<'a>(
    files: &'a [PathBuf],
    counts: impl Fn(&DirEntry) -> bool + 'a,
) -> impl Iterator<Item = Holder> + 'a {
    let processes = read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| Pid::new(entry.file_name().to_str()?.parse().ok()?));
    let holds = move |pid: &Pid| {
        let fds = read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let files_of = fds.filter(&counts).filter_map(|fd| std::fs::read_link(fd.path()).ok());
        files_of.into_iter().any(|file| files.contains(&file))
    };
    pids.filter(move |pid| !files.is_empty() && holds(pid)).map(Holder::of)
}
