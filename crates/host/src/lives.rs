//! Short lives: who was born and has ended between two looks, which no look can see. The kernel tells of them ([proc connector]).
//!
//! Names are asked of `/proc` as soon as a program begins, so one that ends at once may have none. Absent on purpose: what they
//! used, and threads.
//!
//! [proc connector]: https://docs.kernel.org/driver-api/connector.html

use crate::procfs::system_error;
use doula_model::exit::{Evidence, ExitStatus};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::connector::{Connector, Happened};
use doula_sys::fd::{AsFd, BorrowedFd};
use doula_sys::poll;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// Somebody who has lived.
///
/// ```
/// use doula_host::lives::Lives;
/// let Ok(mut lives) = Lives::listen() else { return Ok(()) };
/// lives.hear();
/// for life in lives.take(|_| false).0 {
///     println!("{} {} after {:?}", life.pid, life.status, life.lived);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its number, which others may have by now.
    pub pid: Pid,
    /// Whose child it was born as.
    pub parent: Pid,
    /// What it called itself; of one that ran no program of its own, what its parent does. `None` when both ended too fast.
    pub name: Option<Vec<u8>>,
    /// From its birth to its end.
    pub lived: Duration,
    /// How it ended.
    pub status: ExitStatus,
}

/// Who listens. Readable (as a file descriptor) when there is something to [hear](Lives::hear).
///
/// ```
/// use doula_host::lives::Lives;
/// let mut lives = match Lives::listen() {
///     Ok(lives) => lives,
///     // Not as an ordinary user before Linux 6.6, nor in a namespace of its own.
///     Err(why) => return Ok(println!("the kernel does not tell us: {why}")),
/// };
/// std::process::Command::new("true").status()?;
/// lives.hear();
/// // Nobody has seen anybody alive.
/// let (ended, missing) = lives.take(|_| false);
/// for life in &ended {
///     println!("{} {}, a child of {}, after {:?}", life.pid, life.status, life.parent, life.lived);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Lives {
    connector: Connector,
    /// Who was born and has not ended.
    open: BTreeMap<Pid, Open>,
    ended: Vec<Life>,
    /// Whom there was no room for.
    left_out: u64,
    /// How often the kernel told faster than we heard.
    lost: u64,
}

#[derive(Debug)]
struct Open {
    parent: Pid,
    born: Duration,
    name: Option<Vec<u8>>,
}

/// More lives are only counted until they are taken.
const MOST: usize = 1000;
/// So much is heard at once, so that who also does other things comes to them.
const AT_ONCE: usize = 1000;

impl Lives {
    /// Listens from now on.
    ///
    /// ```
    /// if let Err(why) = doula_host::lives::Lives::listen() {
    ///     println!("nobody tells us of births and ends: {why}");
    /// }
    /// ```
    ///
    /// # Errors
    /// EPERM without CAP_NET_ADMIN before Linux 6.6; ENODATA in a PID or user namespace of its own; ECONNREFUSED or EPROTONOSUPPORT in a network namespace
    /// of its own, and where the kernel has no `CONFIG_PROC_EVENTS`.
    pub fn listen() -> io::Result<Lives> {
        let connector = Connector::open().map_err(system_error)?;
        Ok(Lives { connector, open: BTreeMap::new(), ended: Vec::new(), left_out: 0, lost: 0 })
    }

    /// Hears what has been told, without waiting; some of it, if it is much: then there is more to hear at once.
    ///
    /// ```
    /// if let Ok(mut lives) = doula_host::lives::Lives::listen() {
    ///     lives.hear();
    /// }
    /// ```
    pub fn hear(&mut self) {
        for _ in 0..AT_ONCE {
            match self.connector.next() {
                Ok(Some((at, happened))) => self.note(at, happened),
                Ok(None) => return,
                Err(Errno::ENOBUFS) => self.lost += 1,
                // Nobody tells any more.
                Err(_) => return,
            }
        }
    }

    /// Waits at most so long until there is something to hear, and hears it.
    ///
    /// ```
    /// if let Ok(mut lives) = doula_host::lives::Lives::listen() {
    ///     lives.hear_within(std::time::Duration::from_millis(1));
    /// }
    /// ```
    pub fn hear_within(&mut self, time: Duration) {
        // A wait that was interrupted is a short one.
        if let Ok(true) = poll::readable(&self.connector, Some(time)) {
            self.hear();
        }
    }

    /// Who was born and has ended since the last time, and whom nobody saw alive: of those who live, a look has seen those of whom
    /// `seen` holds. And how many are missing: there were too many, or they were told too fast.
    ///
    /// ```
    /// if let Ok(mut lives) = doula_host::lives::Lives::listen() {
    ///     assert!(lives.take(|_| false).0.is_empty(), "nothing was heard yet");
    /// }
    /// ```
    pub fn take(&mut self, seen: impl Fn(Pid) -> bool) -> (Vec<Life>, u64) {
        self.open.retain(|pid, _| !seen(*pid));
        let missing = std::mem::take(&mut self.left_out) + std::mem::take(&mut self.lost);
        (std::mem::take(&mut self.ended), missing)
    }

    fn note(&mut self, at: Duration, happened: Happened) {
        match happened {
            Happened::Born { parent, child } => {
                self.open.insert(child, Open { parent, born: at, name: None });
            }
            Happened::Program { pid } => {
                if let Some(open) = self.open.get_mut(&pid) {
                    open.name = name(pid).or(open.name.take());
                }
            }
            Happened::Ended { pid, status } => {
                if let Some(open) = self.open.remove(&pid) {
                    self.end(pid, open, at, status);
                }
            }
            Happened::Else => {}
        }
    }

    fn end(&mut self, pid: Pid, open: Open, at: Duration, status: i32) {
        if self.ended.len() >= MOST {
            self.left_out += 1;
            return;
        }
        self.ended.push(Life {
            pid,
            parent: open.parent,
            name: open.name.or_else(|| name(open.parent)),
            lived: at.saturating_sub(open.born),
            status: ExitStatus::from_wait(status, Evidence::Connector).unwrap_or(ExitStatus::UNKNOWN),
        });
    }
}

impl AsFd for Lives {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connector.as_fd()
    }
}

fn name(pid: Pid) -> Option<Vec<u8>> {
    let mut name = fs::read(format!("/proc/{pid}/comm")).ok()?;
    // The kernel adds a newline; others in it are the name's own.
    name.pop();
    Some(name)
}

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
mod tests {
    use super::*;
    use crate::Command;

    fn listening() -> Option<Lives> {
        Lives::listen().map_err(|why| println!("skipped: the kernel does not tell us: {why}")).ok()
    }

    /// No child takes longer, however busy the machine is.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Hears until the end of this process was told, which is after its parent could know it.
    fn until_end(lives: &mut Lives, pid: Pid) {
        let has_ended = |lives: &Lives| lives.ended.iter().any(|life| life.pid == pid);
        while !has_ended(lives) && lives.lost + lives.left_out == 0 {
            assert_eq!(poll::readable(&*lives, Some(PATIENCE)), Ok(true), "{pid} has not ended");
            lives.hear();
        }
    }

    #[test]
    fn who_lives_between_two_looks_is_told_with_its_end_and_who_was_seen_is_not() {
        let Some(mut lives) = listening() else { return };
        let mut short = Command::new("sh").args(["-c", "exit 7"]).spawn().expect("sh");
        let mut seen = Command::new("sleep").arg("1000").spawn().expect("sleep");
        short.wait();
        lives.hear();
        until_end(&mut lives, short.pid());
        let (ended, lost) = lives.take(|pid| pid == seen.pid());
        assert!(!lives.open.contains_key(&seen.pid()), "its end will be no news");
        seen.kill().expect("ours");
        seen.wait();
        if lost > 0 {
            return println!("skipped: others are born faster than we hear");
        }
        let life = ended.iter().find(|life| life.pid == short.pid()).expect("it is told");
        assert_eq!((life.parent.get() as u32, life.status.exit_code()), (std::process::id(), Some(7)));
        assert!(life.lived > Duration::ZERO && life.name.is_some(), "{life:?}");
    }

    #[test]
    fn more_than_anybody_reads_are_counted_only() {
        let Some(mut lives) = listening() else { return };
        let pid = |number| Pid::new(number).expect("a number");
        for number in 1..=MOST as i32 + 5 {
            lives.note(Duration::ZERO, Happened::Born { parent: pid(1), child: pid(number + 10) });
            lives.note(Duration::ZERO, Happened::Ended { pid: pid(number + 10), status: 0 });
        }
        assert_eq!((lives.ended.len(), lives.left_out), (MOST, 5));
        assert!(lives.open.is_empty());
    }
}
