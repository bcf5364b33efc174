//! What the kernel counted of a child's reads and writes.

use super::Child;
use doula_sys::wait::{self, For, Who};
use std::fs;
use std::os::fd::AsFd as _;

/// How many bytes a process and its own reaped children read and wrote, of any file: `rchar` and `wchar` of
/// proc_pid_io(5). A pipe is only one of these files: what the loader reads of libraries counts too (some kB), and what goes
/// by splice(2) or through mapped memory does not.
///
/// ```
/// use doula_host::{Command, Pipeline};
/// let end = Pipeline::new(Command::new("printf").arg("12345")).pipe(Command::new("wc").arg("-c")).count_io().output()?;
/// if let Some(io) = end.stages[0].io {
///     assert_eq!(io.written, 5);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Io {
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

impl Child {
    /// Until its burial; `None` where the kernel does not count, or not for us.
    pub(super) fn io(&self) -> Option<Io> {
        // Not buried, so that its number is its own.
        wait::waitid(Who::Pidfd(self.handle.as_fd()), For::END.peeking()).ok()?;
        let text = fs::read_to_string(format!("/proc/{}/io", self.pid)).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Some(Io { read: field("rchar:")?, written: field("wchar:")? })
    }
}
