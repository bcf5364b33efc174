//! What a process tells of itself by its environment, and those who cannot tell just now.
//!
//! A process in the middle of execve(2) has a new memory map in which the kernel has not laid out the environment yet:
//! what is read of it then is nothing, as if it were empty. How long that lasts is for the scheduler to say, and for
//! the file system that has the program. Nothing is also read of a process that ends (it has no memory map any more), and
//! too little of one that is executed in the middle of the reading. So an environment counts only when it is as long as
//! the kernel says that it is; else its process is in doubt, and is asked again.

use super::{Stat, parse};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

/// What a process says of a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The value that it was started with.
    Mark(String),
    /// It has none, or we may not see it.
    Nothing,
    /// That cannot be told now.
    Doubt,
}

/// What the process of this number, which was `stat` just now, says of the mark of this name.
pub(super) fn told(pid: Pid, stat: &Stat, name: &str) -> Told {
    let place = format!("/proc/{pid}");
    if stat.dead() || stat.is_of_the_kernel() {
        Told::Nothing
    } else if stat.has_lost_its_first_thread() {
        by_its_threads(Path::new(&place), name)
    } else {
        of_task(Path::new(&place), stat, name)
    }
}

fn of_task(place: &Path, stat: &Stat, name: &str) -> Told {
    match std::fs::read(place.join("environ")) {
        Ok(bytes) => match value(&bytes, name) {
            Some(mark) => Told::Mark(mark),
            None if is_whole(&bytes, stat) => Told::Nothing,
            None => doubt(place),
        },
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Told::Nothing,
        Err(_) => doubt(place),
    }
}

/// A process goes on without its first thread, which has no memory map any more. The others have.
fn by_its_threads(place: &Path, name: &str) -> Told {
    let threads = std::fs::read_dir(place.join("task")).into_iter().flatten().flatten();
    let answers = threads.filter_map(|thread| {
        let stat = parse(&std::fs::read(thread.path().join("stat")).ok()?)?;
        Some(of_task(&thread.path(), &stat, name))
    });
    answers.into_iter().find(|told| *told != Told::Doubt).unwrap_or_else(|| doubt(place))
}

/// Who may not read the environments of others is in no doubt about them: theirs would be hidden later too. Whether we may
/// read it the kernel does not say of who has no memory map.
fn doubt(place: &Path) -> Told {
    use std::os::unix::fs::MetadataExt as _;
    let (_, us) = doula_sys::group::users();
    let could_be_read = us == 0 || std::fs::metadata(place).map_or(true, |found| found.uid() == us);
    if could_be_read { Told::Doubt } else { Told::Nothing }
}

/// All that the kernel says is there was read. Where it never says that, what was read has to do.
fn is_whole(environment: &[u8], stat: &Stat) -> bool {
    match stat.environment {
        (_, 0) => !environment.is_empty() || !is_said(),
        (from, to) => to.saturating_sub(from) == environment.len() as u64,
    }
}

/// Whether this kernel says where environments are: of us it would. What calls itself Linux and is not may say 0 of all.
fn is_said() -> bool {
    static SAID: OnceLock<bool> = OnceLock::new();
    *SAID.get_or_init(|| super::stat(doula_sys::group::pid()).is_some_and(|us| us.environment.1 != 0))
}

/// The value of this variable.
pub(super) fn value(environment: &[u8], name: &str) -> Option<String> {
    let value = environment.split(|&byte| byte == 0).find_map(|entry| {
        let rest = entry.strip_prefix(name.as_bytes())?;
        rest.strip_prefix(b"=")
    })?;
    String::from_utf8(value.to_vec()).ok()
}

/// Those of whom could not be told whose they are, for want of an environment.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: BTreeMap<Pid, Doubt>,
    /// Of these others tell whose they are, by number and start time.
    known: BTreeSet<(Pid, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    start: u64,
    /// So many passes in a row, the last one included, could not tell.
    passes: u32,
}

/// When a process that nobody could ask began: later than all.
const NOT_KNOWN: u64 = u64::MAX;

impl Doubts {
    #[cfg(any(test, feature = "supervisor"))]
    pub(super) fn know(&mut self, known: BTreeSet<(Pid, u64)>) {
        self.known = known;
    }

    /// A pass is over, which could not tell of these. Those that could not be asked at all have no start time.
    pub(super) fn are(&mut self, met: BTreeMap<Pid, Option<u64>>) {
        let before = std::mem::take(&mut self.open);
        let starts = met.into_iter().map(|(pid, start)| (pid, start.unwrap_or(NOT_KNOWN)));
        let in_doubt = starts.filter(|met| !self.known.contains(met));
        let counted = in_doubt.map(|(pid, start)| {
            let before = before.get(&pid).filter(|before| before.start == start);
            (pid, Doubt { start, passes: before.map_or(1, |before| before.passes.saturating_add(1)) })
        });
        self.open = counted.collect();
    }

    /// For how many passes in a row there has been somebody who may be a descendant of one who was born at this time.
    pub(super) fn since(&self, birth: u64) -> u32 {
        let younger = self.open.values().filter(|doubt| doubt.start >= birth);
        younger.map(|doubt| doubt.passes).max().unwrap_or(0)
    }
}

/// Whether it says nothing of the process that it could not be looked at, but of us: we are short of something.
pub(super) fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a process with these flags, whose environment is there.
    fn stat(flags: u32, environment: (u64, u64)) -> Stat {
        let line = format!("7 (a) R 1 7 7 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 1 0 12345 0 0");
        Stat { environment, ..parse(line.as_bytes()).expect("a line of a kernel") }
    }

    #[test]
    fn an_environment_counts_when_it_is_as_long_as_the_kernel_says() {
        for (environment, place, whole) in [
            ("a=b", (70, 73), true),
            ("a=", (70, 73), false),
            ("", (70, 73), false),
            ("", (70, 70), true),
            // In the middle of execve(2), when one was asked; what was read afterwards is all there is.
            ("", (0, 0), false),
            ("a=b", (0, 0), true),
        ] {
            assert_eq!(
                is_whole(environment.as_bytes(), &stat(0, place)),
                whole,
                "{environment} at {place:?}"
            );
        }
    }

    #[test]
    fn a_thread_of_the_kernel_and_we_ourselves_are_in_no_doubt() {
        let us = doula_sys::group::pid();
        let now = super::super::stat(us).expect("we live");
        assert_eq!(told(us, &now, "NOBODY_HAS_THIS"), Told::Nothing);
        assert_eq!(told(us, &Stat { environment: (1, 2), ..now }, "NOBODY_HAS_THIS"), Told::Doubt, "torn");
        assert_eq!(
            told(Pid::new(i32::MAX).expect("positive"), &stat(0x0020_0040, (0, 0)), "A"),
            Told::Nothing
        );
    }

    #[test]
    fn doubts_count_passes_by_number_and_start_and_only_for_who_is_older() {
        let (one, two) = (Pid::new(7).expect("positive"), Pid::new(8).expect("positive"));
        let mut doubts = Doubts::default();
        doubts.are(BTreeMap::from([(one, Some(100))]));
        assert_eq!((doubts.since(100), doubts.since(101)), (1, 0), "who is older than a tree is none of it");
        doubts.are(BTreeMap::from([(one, Some(100)), (two, None)]));
        assert_eq!((doubts.since(0), doubts.since(101)), (2, 1), "of two no time is known");
        doubts.are(BTreeMap::from([(one, Some(200)), (two, None)]));
        assert_eq!(doubts.since(0), 2, "the number one is another process now");
        doubts.know(BTreeSet::from([(one, 300)]));
        doubts.are(BTreeMap::from([(one, Some(300))]));
        assert_eq!(doubts.since(0), 0, "others tell whose this is");
    }
}
