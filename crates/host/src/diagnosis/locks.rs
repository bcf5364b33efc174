//! Who waits for a file lock, and who has it (`/proc/locks`, proc_locks(5)).

use super::FileLock;
use doula_model::id::Pid;
use std::fs;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// All who want one lock have its number.
    number: u64,
    waits: bool,
    lock: FileLock,
    /// -1 for a lock of an open file description, 0 for somebody outside of our PID namespace.
    pid: i32,
}

/// All locks at one moment.
#[derive(Debug, Default)]
pub(super) struct Locks(Vec<Line>);

impl Locks {
    pub(super) fn read() -> Locks {
        Locks::parse(&fs::read_to_string("/proc/locks").unwrap_or_default())
    }

    fn parse(text: &str) -> Locks {
        Locks(text.lines().filter_map(line).collect())
    }

    /// The lock that this thread, or its process, waits for.
    pub(super) fn wanted(&self, pid: Pid, thread: Pid) -> Option<FileLock> {
        self.wait_of(pid, thread).map(|line| line.lock.clone())
    }

    /// Who has it, as far as the kernel tells.
    pub(super) fn owners(&self, pid: Pid, thread: Pid) -> Vec<Pid> {
        let Some(wait) = self.wait_of(pid, thread) else { return Vec::new() };
        let has = |line: &&Line| line.number == wait.number && !line.waits;
        self.0.iter().filter(has).filter_map(|line| Pid::new(line.pid)).collect()
    }

    fn wait_of(&self, pid: Pid, thread: Pid) -> Option<&Line> {
        self.0.iter().find(|line| line.waits && (line.pid == pid.get() || line.pid == thread.get()))
    }
}

/// `1: POSIX  ADVISORY  WRITE 5433 08:01:7864448 128 128`, and `1: -> …` for who waits.
fn line(text: &str) -> Option<Line> {
    let mut words = text.split_ascii_whitespace().peekable();
    let number = words.next()?.strip_suffix(':')?.parse().ok()?;
    let mut waits = false;
    while words.next_if_eq(&"->").is_some() {
        waits = true;
    }
    let kind = words.next()?.to_owned();
    let (_advisory, _access) = (words.next()?, words.next()?);
    let pid = words.next()?.parse().ok()?;
    Some(Line { number, waits, lock: FileLock { kind, file: words.next()?.to_owned() }, pid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_with_who_has_the_lock() {
        let locks = Locks::parse(
            "1: FLOCK  ADVISORY  WRITE 10 08:01:5 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 11 08:01:5 0 EOF\n\
             2: OFDLCK ADVISORY  WRITE -1 08:01:6 0 EOF\n2: -> -> POSIX ADVISORY READ 12 08:01:6 0 EOF\n3: x\n\n",
        );
        let pid = |number| Pid::new(number).expect("a number");
        let wanted = locks.wanted(pid(11), pid(11)).expect("it waits");
        assert_eq!((wanted.kind.as_str(), wanted.file.as_str()), ("FLOCK", "08:01:5"));
        assert_eq!(locks.owners(pid(11), pid(11)), [pid(10)]);
        assert_eq!(locks.wanted(pid(10), pid(10)), None);
        assert!(locks.wanted(pid(12), pid(12)).is_some() && locks.owners(pid(12), pid(12)).is_empty());
    }
}
