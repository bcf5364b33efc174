//! Another program in the place of this one: a supervisor becomes its next version by execve(2), with the same number.
//!
//! It is a take-over (`linux/takeover.rs`) whose supervisor does not die. At the execve our fd table, which we have together
//! with our keeper, becomes the keeper's alone: so that holds everything, the program that comes asks it for all, and goes on by the
//! journal, as after a kill. What a kill would lose is handed over beside: the lock, so that nobody else comes in between,
//! the control socket with those who wait at it, and the connection of the one who asked.
//!
//! The program is asked before, as a child, with our own command line: whether it starts, understands the configuration, and can
//! read what we have written down. One that cannot is not taken.
//!
//! - `check`: that question, from both sides
//! - `baton`: what is handed over beside

pub(crate) mod baton;
pub(crate) mod check;

pub use baton::Baton;
pub use check::{Fit, fit};

#[cfg(test)]
mod tests;

use crate::control::ClientId;
use crate::steps;
use check::Check;
use doula_model::control::RequestId;
use doula_model::id::Pid;
use doula_model::plan::{Errno, Resource, Rlimit};
use doula_model::time::Time;
use doula_sys::fd::{self, BorrowedFd};
use doula_sys::{exec, limits, time};
use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The command line of this process with one more word in it.
pub type Words = Box<dyn Fn(String) -> Vec<OsString>>;

/// What the program that comes is told: the number of the fd of its [`Baton`].
pub const SUCCESSOR: &str = "--successor";
/// What it is asked before: the directory of the family.
pub const CHECK: &str = "--check-successor";

/// So long an upgrade may wait for a good moment: for whoever reads our output, for a file that is being compressed.
const PATIENCE: Duration = Duration::from_secs(10);

/// An upgrade that somebody has asked for.
pub(crate) struct Upgrade {
    /// Who, and by which request.
    pub(crate) asker: (ClientId, RequestId),
    /// The program.
    binary: PathBuf,
    check: Check,
    /// What the check said, and when.
    verdict: Option<(Result<Fit, String>, Time)>,
}

impl Upgrade {
    /// Asks this program, or the one at our own path, whether it can go on in our place.
    ///
    /// # Errors
    /// It cannot even be asked; the text says why.
    pub(crate) fn begin(
        asker: (ClientId, RequestId),
        binary: Option<&str>,
        (words, directory, open_files): (&Words, &Path, Option<Rlimit>),
    ) -> Result<Upgrade, String> {
        let binary = binary.map_or_else(own_path, |path| Ok(PathBuf::from(path)))?;
        let words = words(format!("{CHECK}={}", directory.display()));
        let check = Check::begin(&binary, words, open_files)
            .map_err(|why| format!("`{}` is not taken: {why}", binary.display()))?;
        steps::reached("upgrade-asked");
        Ok(Upgrade { asker, binary, check, verdict: None })
    }

    /// This child has ended; whether it was the one who was asked.
    pub(crate) fn buried(&mut self, pid: Pid, well: bool) -> bool {
        let ours = self.check.pid() == pid && self.verdict.is_none();
        if ours {
            let verdict = self.check.verdict(&self.binary, well);
            let verdict = verdict.map_err(|why| format!("`{}` is not taken: {why}", self.binary.display()));
            self.verdict = Some((verdict, time::monotonic()));
        }
        ours
    }

    /// When something is to be done though nothing happens.
    pub(crate) fn deadline(&self) -> Time {
        self.verdict.as_ref().map_or(self.check.deadline(), |(_, at)| at.after(PATIENCE))
    }

    /// Ends a check that takes too long.
    pub(crate) fn look_at_the_clock(&mut self) {
        if self.verdict.is_none() && self.check.deadline() <= time::monotonic() {
            self.check.kill();
        }
    }

    /// Why the program is not taken, if so.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.verdict.as_ref().and_then(|(verdict, _)| verdict.as_ref().err()).map(String::as_str)
    }

    /// Whether the program is to be taken, as soon as it can be.
    pub(crate) fn is_due(&self) -> bool {
        self.verdict.as_ref().is_some_and(|(verdict, _)| verdict.is_ok())
    }

    /// Whether there was no good moment for too long.
    pub(crate) fn is_late(&self) -> bool {
        self.is_due() && self.deadline() <= time::monotonic()
    }

    /// Becomes the program. Comes back only to say why that failed; then everything is as it was.
    pub(crate) fn become_it(&self, baton: &Baton, words: &Words, open_files: Option<Rlimit>) -> String {
        let errno = self.exec(baton, words, open_files).unwrap_or_else(|errno| errno);
        format!("`{}` cannot be executed: {errno}; nothing has changed", self.binary.display())
    }

    fn exec(&self, baton: &Baton, words: &Words, open_files: Option<Rlimit>) -> Result<Errno, Errno> {
        let memory = baton.write()?;
        steps::reached("baton-written");
        let passed: Vec<BorrowedFd<'_>> = baton.fds().chain([fd::AsFd::as_fd(&memory)]).collect();
        let words = words(format!("{SUCCESSOR}={}", fd::AsRawFd::as_raw_fd(&memory)));
        let texts = |texts: Vec<OsString>| -> Vec<CString> {
            texts.into_iter().filter_map(|text| CString::new(text.into_vec()).ok()).collect()
        };
        let program = CString::new(self.binary.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let (words, env) = (texts(words), texts(environment()));
        let [words, env] =
            [&words, &env].map(|texts| texts.iter().map(CString::as_c_str).collect::<Vec<_>>());
        // It raises the limit itself, and has to know what it was.
        let raised = limits::get(Resource::Nofile);
        set(open_files);
        let opened = passed.iter().try_for_each(|passed| fd::set_cloexec(passed, false));
        let errno = opened.map_or_else(|errno| errno, |()| exec::execve(&program, &words, &env));
        for passed in passed {
            fd::set_cloexec(passed, true)?;
        }
        set(raised.ok());
        Ok(errno)
    }
}

fn set(limit: Option<Rlimit>) {
    // It may be kept as it is, and is set or raised again by whoever goes on.
    let _ = limit.map(limits::set);
}

/// Our environment, as it was given to us.
fn environment() -> Vec<OsString> {
    std::env::vars_os()
        .map(|(mut entry, value)| {
            entry.push("=");
            entry.push(value);
            entry
        })
        .collect()
}

/// Where our own program is, or another one that has taken its place since (proc_pid_exe(5)).
fn own_path() -> Result<PathBuf, String> {
    let link = std::fs::read_link("/proc/self/exe");
    let link = link.map_err(|error| format!("failed to find our own program in /proc: {error}"))?;
    let text = link.as_os_str().as_bytes();
    let text = text.strip_suffix(b" (deleted)").unwrap_or(text);
    Ok(PathBuf::from(OsString::from_vec(text.to_vec())))
}
