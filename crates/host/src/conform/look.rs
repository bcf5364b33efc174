//! Looking at the processes of a stage from outside, until all are at rest.
//!
//! That everybody sleeps cannot be seen at one glance. It is proven by two: nobody was on a CPU at either of them, and nobody came
//! onto one in between (`/proc/PID/schedstat` counts that), so that all slept at the moment between the two. Where a task sleeps
//! (`/proc/PID/wchan`) is only told of those that are off their CPU: a task says that it sleeps (`S`) before it really does.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// What `/proc/PID/stat` says of a process or thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its letter.
    pub state: char,
    /// The number of its parent: as the stage's init sees it; 0 for whom that does not see.
    pub parent: i32,
    /// Its group, likewise.
    pub group: i32,
    /// Its session, likewise.
    pub session: i32,
    /// The foreground group of its controlling terminal, likewise; -1 without a terminal.
    pub foreground: i32,
}

/// A process or thread that is looked at. The files mean this one for ever, whoever gets its number.
#[derive(Debug)]
pub(super) struct Watched {
    stat: File,
    runs: Option<File>,
    place: Option<File>,
    call: Option<File>,
}

impl Watched {
    pub(super) fn new(process: i32, thread: i32) -> std::io::Result<Watched> {
        let open = |name| File::open(format!("/proc/{process}/task/{thread}/{name}"));
        Ok(Watched {
            stat: open("stat")?,
            runs: open("schedstat").ok(),
            place: open("wchan").ok(),
            call: open("syscall").ok(),
        })
    }

    /// How it is; `None` when it is gone. Numbers are those of our own namespace.
    pub(super) fn look(&self) -> Option<Seen> {
        let text = read(&self.stat)?;
        let (_, rest) = text.rsplit_once(") ")?;
        let mut words = rest.split(' ');
        let state = words.next()?.chars().next()?;
        let mut next = || words.next()?.parse().ok();
        let (parent, group, session) = (next()?, next()?, next()?);
        let _terminal = next()?;
        Some(Seen { state, parent, group, session, foreground: next()? })
    }

    /// How often it came onto a CPU.
    pub(super) fn runs(&self) -> Option<u64> {
        read(self.runs.as_ref()?)?.split_whitespace().nth(2)?.parse().ok()
    }

    /// Of a zombie, whether it has left its CPU for good, so that it does nothing more; `None` where the kernel does not
    /// tell such things.
    pub(super) fn is_off_for_good(&self) -> Option<bool> {
        Some(read(self.call.as_ref()?)?.starts_with("-1 0x0 "))
    }

    /// Where it sleeps; `None` where the kernel does not tell such things.
    pub(super) fn sleeps_in(&self) -> Option<Bed> {
        Some(Bed::of(&read(self.place.as_ref()?)?))
    }
}

/// Where a task sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bed {
    /// It does not: it is on a CPU, or about to be.
    None,
    /// In a function of the kernel that waits for another process.
    Known,
    /// Where it waits until all others are gone.
    Alone,
    /// Somewhere else.
    Elsewhere,
}

impl Bed {
    /// By the name of a function of the kernel.
    fn of(place: &str) -> Bed {
        let is_in = |names: &[&str]| names.iter().any(|name| place.contains(name));
        match place {
            "0" => Bed::None,
            _ if is_in(&ALONE) => Bed::Alone,
            _ if is_in(&WAITS) => Bed::Known,
            _ => Bed::Elsewhere,
        }
    }

    /// Whether it waits for nobody: in D it waits for a disk, or for what the kernel's own threads have yet to do.
    pub(super) fn goes_on_by_itself(self, state: char) -> bool {
        self == Bed::None || (self == Bed::Elsewhere && state == 'D')
    }
}

/// Parts of names of functions in which a task in D waits for another process that can be seen: vfork(2).
const WAITS: [&str; 2] = ["clone", "fork"];
/// Where the init of a namespace and a thread that executes a program wait for all others to be gone. The last things that those
/// do are done when nobody can see them any more.
const ALONE: [&str; 2] = ["zap_pid_ns", "exec"];

fn read(file: &File) -> Option<String> {
    let mut buffer = [0; 1024];
    let length = file.read_at(&mut buffer, 0).ok()?;
    String::from_utf8(buffer[..length].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::Bed;

    #[test]
    fn who_waits_for_a_disk_or_the_kernels_own_work_is_not_at_rest() {
        assert!(Bed::of("0").goes_on_by_itself('S'));
        assert!(Bed::of("__flush_work").goes_on_by_itself('D'));
        for (place, state) in [("do_wait", 'S'), ("kernel_clone", 'D'), ("zap_pid_ns_processes", 'D')] {
            assert!(!Bed::of(place).goes_on_by_itself(state), "{place}");
        }
    }
}
