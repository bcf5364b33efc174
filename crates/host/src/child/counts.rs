//! What the kernel counts of children, and what that does not mean.

use super::Child;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

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

/// So many kB more than its parent's may be an error of counting: each CPU keeps a few pages to itself (Linux 6.2).
const MISCOUNTED: u64 = 1024;

/// Up to here, in kB, the largest memory of a child ([`crate::Usage::max_rss_kb`]) may be that of this process: a child shares
/// it until it executes its program, and the kernel counts that in. A child that is said to have had more had that itself.
/// `None` without `/proc`.
///
/// ```
/// use doula_host::{Command, child::shared_rss_kb};
/// let mut child = Command::new("true").spawn()?;
/// child.wait();
/// let most = child.usage().expect("it ended").max_rss_kb;
/// if shared_rss_kb().is_some_and(|shared| most <= shared) {
///     println!("true had at most {most} kB");
/// }
/// # Ok::<(), doula_host::CommandError>(())
/// ```
#[must_use]
pub fn shared_rss_kb() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let largest = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))?;
    Some(largest.trim().parse::<u64>().ok()? + MISCOUNTED)
}

impl Child {
    /// Opens the file of its counts: soon after its birth, for that of a dead process is open to root only.
    pub(crate) fn begin_counting(&mut self) {
        self.counts = File::open(format!("/proc/{}/io", self.pid)).ok();
    }

    /// Until its burial; `None` where the kernel does not count, or not for us.
    pub(super) fn io(&self) -> Option<Io> {
        let mut buffer = [0; LONGEST];
        let length = self.counts.as_ref()?.read_at(&mut buffer, 0).ok()?;
        let text = str::from_utf8(&buffer[..length]).ok()?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Some(Io { read: field("rchar:")?, written: field("wchar:")? })
    }
}

/// Seven lines of a name and a number.
const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    fn a_small_child_of_a_large_parent_is_not_said_to_be_large() {
        const MEGABYTES: usize = 64;
        let mut memory = vec![0u8; MEGABYTES << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        let mut child = Command::new("true").spawn().expect("a birth");
        child.wait();
        let most = child.usage().expect("it ended").max_rss_kb;
        let shared = shared_rss_kb().expect("/proc");
        assert!(shared > (MEGABYTES << 10) as u64 && most <= shared, "{most} {shared}");
        std::hint::black_box(&memory);
    }
}
