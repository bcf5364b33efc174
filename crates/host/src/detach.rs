//! Into the background: a launcher starts a supervisor in a session of its own and returns only when that is
//! under way, or has failed.
//!
//! The child keeps our standard error until then, so that people read why it failed, and has nothing to do
//! with our terminal afterwards.

use crate::spawn;
use doula_model::env::Environment;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::plan::{Errno, FdMapping, Session};
use doula_model::recipe::Recipe;
use doula_sys::fd::{self, Access, AsFd, AsRawFd, OwnedFd, RawFd};
use doula_sys::fork::{self, Born};
use doula_sys::wait::{self, Who};
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

/// The number of the pipe to the launcher in the child.
const PIPE: RawFd = 3;

/// What became of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// It is under way.
    Ready(Pid),
    /// It ended before.
    Ended(ExitStatus),
}

/// Starts ourselves again with these arguments, in a session of its own, and waits until it tells that it is
/// under way ([`Launcher::ready`]) or has ended.
///
/// # Errors
///
/// It cannot be started.
pub fn launch(args: impl Iterator<Item = OsString>) -> io::Result<Detached> {
    let (read, write) = fd::pipe().map_err(to_io)?;
    let null = fd::open(c"/dev/null", Access::ReadWrite).map_err(to_io)?;
    let words = std::iter::once(OsString::from("/proc/self/exe")).chain(args);
    let words: Result<Vec<String>, OsString> = words.map(OsString::into_string).collect();
    let words = words.map_err(|word| io::Error::other(format!("{word:?} is not UTF-8")))?;
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut plan = spawn::plan(
        &Recipe { env: Environment::new(Arc::default(), env.collect()), ..Recipe::default() },
        &words,
        &[],
    );
    plan.session = Session::NewSession { terminal: None };
    let map = |from: &OwnedFd, to| FdMapping { from: from.as_raw_fd(), to };
    plan.fds = vec![map(&null, 0), map(&null, 1), map(&write, PIPE)];
    let born = fork::spawn(&plan).map_err(|error| io::Error::other(error.to_string()))?;
    drop(write);
    let mut told = [0];
    match fd::read_full(&read, &mut told).map_err(to_io)? {
        0 => ended(&born),
        _ => Ok(Detached::Ready(born.pid)),
    }
}

fn ended(born: &Born) -> io::Result<Detached> {
    wait::end(Who::Pidfd(born.pidfd.as_fd())).map(Detached::Ended).map_err(to_io)
}

/// The child's end: whoever waits for it to be under way.
#[derive(Debug)]
pub struct Launcher(OwnedFd);

impl Launcher {
    /// The launcher of this process, if it was started by [`launch`].
    ///
    /// # Errors
    ///
    /// Nobody waits.
    pub fn inherited() -> io::Result<Launcher> {
        let pipe = fd::inherited(PIPE).map_err(to_io)?;
        fd::set_cloexec(&pipe, true).map_err(to_io)?;
        Ok(Launcher(pipe))
    }

    /// Tells that we are under way, and lets go of its standard error.
    pub fn ready(self) {
        // A launcher that is gone needs not be told; without /dev/null its terminal stays ours to write to.
        let _ = fd::write(&self.0, b"!");
        if let Ok(null) = fd::open(c"/dev/null", Access::ReadWrite) {
            let _ = fd::duplicate_onto(&null, 2, false);
        }
    }
}

fn to_io(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}
