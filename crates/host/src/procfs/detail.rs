//! Questions about one process that no list asks: its files, and texts of the kernel as they are.
//!
//! Whoever asks by a number looks at the identity before and after; a handle does that ([`crate::aim::Target`]).

use super::reader::refused;
use super::{Reader, aside};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_model::process::Answer;
use std::io;
use std::os::unix::ffi::OsStringExt as _;

/// A text of the kernel about one process, whose reading never waits for that process.
///
/// ```
/// use doula_host::procfs::{Reader, Text};
/// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
/// // What the kernel refuses to tell is told as refused.
/// let stack = Reader::open()?.text(us, Text::Stack);
/// println!("{stack:?}");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    /// `limits`: resource limits (proc_pid_limits(5)).
    Limits,
    /// `wchan`: the function of the kernel in which it waits.
    Wchan,
    /// `syscall`: the number and the arguments of the system call in which it is (proc_pid_syscall(5)).
    Syscall,
    /// `stack`: the functions of the kernel that it is in; for root (proc_pid_stack(5)).
    Stack,
}

impl Reader {
    /// Asks for such a text.
    ///
    /// ```
    /// use doula_host::procfs::{Reader, Text};
    /// let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let limits = Reader::open()?.text(us, Text::Limits);
    /// assert!(limits.known().is_some_and(|text| text.starts_with(b"Limit")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn text(&mut self, pid: Pid, text: Text) -> Answer<Vec<u8>> {
        let file = match text {
            Text::Limits => "limits",
            Text::Wchan => "wchan",
            Text::Syscall => "syscall",
            Text::Stack => "stack",
        };
        self.answer(pid, file, |text| Some(text.to_vec()))
    }

    /// Its environment, each variable ended by a NUL byte; asked aside, because that waits for the lock of the memory map.
    ///
    /// # Errors
    /// When no copy of us can be made that reads it.
    ///
    /// ```
    /// use doula_host::{Command, procfs::Reader};
    /// let mut child = Command::new("sleep").arg("1000").env("COLOUR", "red").spawn()?;
    /// let environment = Reader::open()?.environment(child.pid())?;
    /// let environment = environment.known().expect("it is ours");
    /// assert!(environment.split(|&byte| byte == 0).any(|variable| variable == b"COLOUR=red"));
    /// child.kill()?;
    /// # child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn environment(&mut self, pid: Pid) -> io::Result<Answer<Vec<u8>>> {
        let answers = aside::read(&self.proc, &[pid], c"environ")?;
        Ok(answers.into_iter().next().unwrap_or(Answer::None))
    }

    /// The text that begins at this address of its memory, up to its NUL byte; asked aside. `None` when we may not see it,
    /// when the memory map is locked, and when there is none.
    pub(crate) fn text_in_memory(&mut self, pid: Pid, address: u64) -> Option<Vec<u8>> {
        /// `PATH_MAX`.
        const MOST: usize = 4096;
        let Ok(Answer::Is(mut text)) = aside::memory(&self.proc, pid, address, MOST) else { return None };
        text.truncate(text.iter().position(|&byte| byte == 0)?);
        Some(text)
    }

    /// Its open files: number and target, as readlink(2) tells it (proc_pid_fd(5)), by rising numbers.
    ///
    /// ```
    /// use doula_host::procfs::Reader;
    /// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
    /// let _null = std::fs::File::open("/dev/null")?;
    /// let files = Reader::open()?.files(us);
    /// let files = files.known().expect("ours");
    /// assert!(files.iter().any(|(_, target)| target == b"/dev/null"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn files(&mut self, pid: Pid) -> Answer<Vec<(u32, Vec<u8>)>> {
        let directory = format!("/proc/{pid}/fd");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => return refused(Errno(error.raw_os_error().unwrap_or(0))),
        };
        let one = |entry: std::fs::DirEntry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let target = std::fs::read_link(entry.path()).ok()?;
            Some((number, target.into_os_string().into_vec()))
        };
        let mut files: Vec<(u32, Vec<u8>)> = entries.flatten().filter_map(one).collect();
        files.sort_unstable();
        Answer::Is(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Command, Signal};

    #[test]
    fn a_process_is_asked_for_its_files_its_environment_and_its_limits() {
        let mut child = Command::new("sleep").arg("1000").env("OF_THE_TEST", "yes").spawn().expect("sleep");
        let mut reader = Reader::open().expect("/proc");
        let files = reader.files(child.pid());
        assert!(files.known().is_some_and(|files| files.iter().any(|(number, _)| *number == 1)), "{files:?}");
        let variables = reader.environment(child.pid()).expect("to ask");
        let variables = variables.known().expect("ours");
        assert!(variables.split(|&byte| byte == 0).any(|one| one == b"OF_THE_TEST=yes"));
        assert!(reader.text(child.pid(), Text::Limits).known().is_some());
        child.signal(Signal::KILL).expect("ours");
        child.wait();
        assert_eq!(reader.files(child.pid()), Answer::None);
        assert_eq!(reader.text(child.pid(), Text::Limits), Answer::None);
    }
}
