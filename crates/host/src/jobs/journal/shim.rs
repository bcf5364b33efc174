//! The process that looks after one job: it writes down that the job begins and how it ended, and lives on when the run is killed.
//!
//! It has the job's streams, limits and cgroup, so that who ends the job's tree ends it too. Signals that are meant for the job
//! reach the job as well; it holds them back and waits on. Where no cgroup holds the tree, the run sends it [`ASK`], which it hands on.
//! If it is killed itself, so is the job's own process.
//!
//! Absent on purpose: time limits and retries. Who decides about them is the run, or the one that goes on for it.

use super::write::{append, read_from};
use super::{End, Ended, Entry, Started, micros, now};
use crate::cgroup::memory;
use crate::child::{MARK, os_error};
use crate::journal::line;
use crate::signals::{self, Held};
use crate::{Child, Command, Signal, cgroup, sweep};
use doula_model::exit::ExitStatus;
use doula_model::task::TaskId;
use doula_sys::fd;
use doula_sys::poll::{Epoll, Happening, Interest};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Instant;

/// The first argument of a shim.
///
/// ```no_run
/// use doula_host::jobs::journal::{WORD, look_after};
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     let mut words = std::env::args_os().skip(1);
///     if words.next().is_some_and(|word| word == WORD) {
///         // This program was executed again, for one job.
///         return look_after(words).into();
///     }
///     // Here the run begins.
///     ExitCode::SUCCESS
/// }
/// ```
pub const WORD: &str = "tend-job";
/// Asks the job to end.
///
/// ```
/// use doula_host::jobs::{Settings, journal};
/// // The commands of a run with a journal are shims.
/// let settings = Settings { ask: journal::ASK, ..Settings::default() };
/// # assert_eq!(settings.ask, doula_host::Signal::USR1);
/// ```
pub const ASK: Signal = Signal::USR1;
/// The fd of the journal.
pub(super) const JOURNAL: i32 = 3;
/// What doula ends with when it fails itself.
const FAILED: u8 = 125;
/// What reaches the job too, and is not for us.
const HELD: [Signal; 5] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM, ASK];

/// What a shim is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    task: TaskId,
    attempt: u32,
    run: u32,
    /// Where the `Begin` of this attempt ends.
    from: u64,
}

/// The command of a shim without the words of its job. The program is our own, which hands over to [`look_after`] what follows
/// [`WORD`].
pub(super) fn command((task, attempt): (TaskId, u32), run: u32, from: u64) -> Command {
    let mut command = Command::exact("/proc/self/exe");
    command.arg0("doula").arg(WORD).block(HELD);
    command.args([task.0, u64::from(attempt), u64::from(run), from].map(|number| number.to_string()));
    command
}

impl Order {
    fn parse(words: &mut impl Iterator<Item = OsString>) -> Option<Order> {
        let mut number = || words.next()?.to_str()?.parse::<u64>().ok();
        let (task, attempt, run, from) = (number()?, number()?, number()?, number()?);
        let small = |number| u32::try_from(number).ok();
        Some(Order { task: TaskId(task), attempt: small(attempt)?, run: small(run)?, from })
    }
}

/// Looks after a job to its end: the main function of a shim. Returns the code to end with, as a shell has it.
///
/// ```
/// use doula_host::jobs::journal::look_after;
/// // `WORD` has the `main` in which this is used. Without a job there is nothing to do.
/// assert_eq!(look_after(std::iter::empty()), 125);
/// ```
pub fn look_after(mut words: impl Iterator<Item = OsString>) -> u8 {
    let Some(order) = Order::parse(&mut words) else { return FAILED };
    let journal = match fd::inherited(JOURNAL) {
        Ok(journal) => File::from(journal),
        Err(_) => return FAILED,
    };
    match order.run(&journal, words) {
        Ok(code) => code,
        Err(error) => {
            // Standard error is that of the job: who reads it should know.
            drop(io::Write::write_all(
                &mut io::stderr(),
                format!("doula: the journal: {error}\n").as_bytes(),
            ));
            FAILED
        }
    }
}

impl Order {
    fn run(self, journal: &File, words: impl Iterator<Item = OsString>) -> io::Result<u8> {
        let ignored: Vec<Signal> = HELD.into_iter().filter(|signal| signals::is_ignored(*signal)).collect();
        let held = Held::back(&HELD)?;
        let places = std::fs::read("/proc/self/cgroup").unwrap_or_default();
        append(journal, &Entry::Started(self.started(&places)))?;
        if self.is_late(journal)? {
            return Ok(0);
        }
        let (began, clock) = (now(), Instant::now());
        // Those of jobs that were in this slot before.
        let before = memory::killed_of(&places);
        let mut words = words;
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).ignore(ignored).parent_death_signal(Signal::KILL);
        let mut pid = None;
        let (end, usage, code) = match command.spawn() {
            Ok(mut child) => {
                pid = Some(child.pid());
                let status = wait(&mut child, &held)?;
                (End::Status(status), child.usage().unwrap_or_default(), status.shell_code())
            }
            Err(error) => {
                let code = error.shell_code();
                (End::NotStarted(code, error.to_string()), crate::Usage::default(), code)
            }
        };
        let ended = Ended {
            task: self.task,
            attempt: self.attempt,
            run: self.run,
            end,
            pid,
            began,
            took: micros(clock.elapsed()),
            cpu: (micros(usage.user), micros(usage.system)),
            max_rss_kb: usage.max_rss_kb,
            oom_kills: before.and_then(|before| Some(memory::killed_of(&places)?.saturating_sub(before))),
        };
        // The run, if it lives, sees our own end.
        drop(append(journal, &Entry::Ended(ended)));
        Ok(code)
    }

    fn started(self, places: &[u8]) -> Started {
        let pid = doula_sys::group::pid();
        let mark = std::env::var_os(MARK).map(|list| list.as_bytes().to_vec());
        let mark = mark.as_deref().and_then(|list| list.rsplit(|byte| *byte == b',').next());
        Started {
            task: self.task,
            attempt: self.attempt,
            run: self.run,
            pid,
            start: sweep::start_ticks(pid).unwrap_or_default(),
            leaf: cgroup::single_in(places),
            mark: mark.and_then(|mark| String::from_utf8(mark.to_vec()).ok()),
        }
    }

    /// Whether another run began before we told that we are there: it takes our job for one that never ran.
    fn is_late(self, journal: &File) -> io::Result<bool> {
        let (text, _) = read_from(journal, self.from)?;
        for text in text.split(|byte| *byte == b'\n') {
            match line::parse(text) {
                Some(Entry::Head(head)) if head.run != self.run => return Ok(true),
                Some(Entry::Started(started)) if self.is_of(&started) => return Ok(false),
                _ => {}
            }
        }
        Err(io::Error::other("what was written is not there"))
    }

    fn is_of(self, started: &Started) -> bool {
        (started.task, started.attempt, started.run) == (self.task, self.attempt, self.run)
    }
}

/// Waits for the end of the job, and hands on what is meant for it.
fn wait(child: &mut Child, held: &Held) -> io::Result<ExitStatus> {
    let epoll = Epoll::new().map_err(os_error)?;
    epoll.add(held, Interest::READ, 0).map_err(os_error)?;
    epoll.add(&*child, Interest::READ, 1).map_err(os_error)?;
    loop {
        // Interrupted or not: looked at again.
        let _ = epoll.wait(&mut [Happening::EMPTY], None);
        while let Some(arrival) = held.take()? {
            if arrival.signal == ASK {
                child.signal(Signal::TERM)?;
            }
        }
        if let Some(status) = child.try_wait() {
            return Ok(status);
        }
    }
}
