//! The race between writing a program and running it (ETXTBSY).
//!
//! A child between clone and exec holds copies of fds of its parent, also of one by which another thread is writing a
//! program. That thread may close its own fd and execute the program before: ETXTBSY. Our own births are counted, so
//! that a birth that failed so can be tried again while no other one of ours is under way: then no copy is left that we
//! are to blame for. Children of others (a fork in another library, which executes soon) can only be waited for a while.

use crate::child::pause;
use crate::spawn;
use doula_model::plan::{ChildPlan, Errno, SpawnError, Step};
use doula_sys::fork::{self, Born};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a birth waits for others of ours to be over: as long as a program on a slow file system may take to be
/// executed, but not for ever if one hangs there.
const OTHERS: Duration = Duration::from_secs(1);
/// The first pause between two attempts while somebody else's child holds the file: a fork and an exec take about this.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// How often the pause is doubled: about a second in all, after which it is no race but somebody who writes.
const PAUSES: u32 = 10;

static BIRTHS: Births =
    Births { state: Mutex::new(State { under_way: 0, alone: false }), changed: Condvar::new() };

struct Births {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Births that may hold copies of fds.
    under_way: usize,
    /// Somebody gives birth alone.
    alone: bool,
}

/// Gives birth; repeats it where ETXTBSY may be a race.
pub(super) fn give_birth(plan: &ChildPlan) -> Result<Born, SpawnError> {
    match BIRTHS.among_others(|| fork::spawn_in_place(plan)) {
        Err(error) if is_busy(error) => insist(plan, error),
        answer => answer,
    }
}

fn is_busy(error: SpawnError) -> bool {
    error == SpawnError { step: Step::Exec, errno: Errno::ETXTBSY }
}

fn insist(plan: &ChildPlan, error: SpawnError) -> Result<Born, SpawnError> {
    match BIRTHS.alone(|| fork::spawn_in_place(plan)) {
        Err(again) if is_busy(again) => {}
        answer => return answer,
    }
    for doubled in 0..PAUSES {
        if we_write(plan) {
            break;
        }
        pause(FIRST_PAUSE * (1 << doubled));
        match BIRTHS.among_others(|| fork::spawn_in_place(plan)) {
            Err(again) if is_busy(again) => {}
            answer => return answer,
        }
    }
    Err(error)
}

impl Births {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics while holding it, and two numbers cannot be half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn among_others<T>(&self, birth: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        while state.alone {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.under_way += 1;
        drop(state);
        let born = birth();
        let mut state = self.lock();
        state.under_way -= 1;
        // Nobody waits for a birth but who wants to be alone.
        if state.alone {
            self.changed.notify_all();
        }
        born
    }

    /// While no other birth is under way, if the others are over in time.
    fn alone<T>(&self, birth: impl FnOnce() -> T) -> T {
        let mut state = self.lock();
        while state.alone {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.alone = true;
        let waited = self.changed.wait_timeout_while(state, OTHERS, |state| state.under_way > 0);
        drop(waited);
        let born = birth();
        self.lock().alone = false;
        self.changed.notify_all();
        born
    }
}

/// Whether this very process has the program open for writing: then it is no race, and no patience helps.
fn we_write(plan: &ChildPlan) -> bool {
    let Some(program) = spawn::existing(plan).and_then(|file| file.metadata().ok()) else { return false };
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return false };
    entries.flatten().any(|entry| {
        let same = std::fs::metadata(entry.path())
            .is_ok_and(|open| (open.dev(), open.ino()) == (program.dev(), program.ino()));
        same && is_writable(&entry.file_name().to_string_lossy())
    })
}

fn is_writable(number: &str) -> bool {
    /// `O_WRONLY` and `O_RDWR`.
    const WRITING: u32 = 0o3;
    let text = std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(number)).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & WRITING != 0)
}
