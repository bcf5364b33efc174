//! All tasks at once, for who may: a program of ours in the kernel (BPF) walks over its tasks and writes a record of each into memory that we
//! read, which costs a fraction of opening a file for each. Before Linux 6.7 a program cannot walk, and is called at each step of the
//! kernel's own walk instead.
//!
//! Nothing but the kernel is needed for it: it tells the types of its own structures, and the instructions are put together
//! here. What `/proc/PID/stat` would say is worked out from the records as the kernel does it; before the first answer is used, what it says
//! of ourselves is compared with `/proc`.
//!
//! Only in the machine's first PID namespace, whose numbers the structures hold first.

mod btf;
mod program;
mod record;

use super::{Spare, parse_status};
use btf::Btf;
use doula_model::plan::Errno;
use doula_sys::bpf::{self, Scribe, Slate};
use doula_sys::fd::{self, OwnedFd};
use program::{FUNCTIONS, HEADER, STRUCTURES};
pub(super) use record::{Rows, Walked};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Where the kernel tells its types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// What the kernel hands out at most at once, and more.
const AT_ONCE: usize = 128 * 1024;
/// So many more are born while we prepare, beside an eighth of those who live.
const MORE_ROWS: u64 = 16;
/// The numbers of the first namespaces of every machine (PROC_PID_INIT_INO, PROC_TIME_INIT_INO).
const FIRST_PIDS: u64 = 0xEFFF_FFFC;
const FIRST_TIME: u64 = 0xEFFF_FFFA;

/// Why a look goes through the files of `/proc`, one after the other.
///
/// ```
/// use doula_host::procfs::{NoIterator, Reader, Source};
/// let mut reader = Reader::open()?;
/// reader.only_files();
/// assert_eq!(reader.source(), Source::Files(NoIterator::Unwanted));
/// assert_eq!(NoIterator::Denied.to_string(), "CAP_BPF and CAP_PERFMON are missing");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoIterator {
    /// It was asked for.
    Unwanted,
    /// There are so few processes that the files are faster.
    Few,
    /// We are in a PID or time namespace of our own: the kernel's structures have other numbers first.
    Namespace,
    /// We lack CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN.
    Denied,
    /// The kernel does not tell its types (`CONFIG_DEBUG_INFO_BTF`), or in a way that is not known here.
    NoTypes,
    /// Its structures have no such part.
    Field(&'static str),
    /// It refused the program.
    Refused(Errno),
    /// What it said of ourselves was not what `/proc` says.
    Differs,
}

impl fmt::Display for NoIterator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoIterator::Unwanted => f.write_str("the files of /proc were asked for"),
            NoIterator::Few => f.write_str("there are few processes"),
            NoIterator::Namespace => f.write_str("this is a PID or time namespace of its own"),
            NoIterator::Denied => f.write_str("CAP_BPF and CAP_PERFMON are missing"),
            NoIterator::NoTypes => write!(f, "the kernel does not tell its types ({TYPES})"),
            NoIterator::Field(name) => write!(f, "the kernel has no field `{name}` where it is known here"),
            NoIterator::Refused(errno) => write!(f, "the kernel refused the program: {errno}"),
            NoIterator::Differs => f.write_str("the kernel's structures told something else than /proc"),
        }
    }
}

impl std::error::Error for NoIterator {}

/// Whether we have CAP_SYS_ADMIN, or CAP_PERFMON and CAP_BPF: asked before the types are read, of which there are megabytes.
fn may_load() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    const PERFMON_AND_BPF: u64 = 3 << 38;
    let status = fs::read("/proc/self/status").map(|text| parse_status(&text)).unwrap_or_default();
    let has = status.capabilities.unwrap_or(0);
    has & SYS_ADMIN != 0 || has & PERFMON_AND_BPF == PERFMON_AND_BPF
}

/// Lets a program be made of the kernel's types.
fn with_types<T>(make: impl Fn(&Btf) -> Result<T, NoIterator>) -> Result<T, NoIterator> {
    let file = fs::File::open(TYPES).map_err(|_| NoIterator::NoTypes)?;
    let read = |types: &[u8]| make(&Btf::read(types, &STRUCTURES, &FUNCTIONS).ok_or(NoIterator::NoTypes)?);
    match bpf::Types::map(&file) {
        Ok(types) => read(&types),
        Err(_) => read(&fs::read(TYPES).map_err(|_| NoIterator::NoTypes)?),
    }
}

/// A program that walks over all tasks.
#[derive(Debug)]
pub(super) struct Tasks {
    way: Way,
    /// What it writes of each.
    words: Vec<usize>,
    spared: Spare,
}

#[derive(Debug)]
enum Way {
    /// The program walks by itself, and writes of so many.
    Itself(Scribe, u32),
    /// The kernel walks, and runs it at each step; what it wrote is read from a file.
    Steps(OwnedFd, Vec<u8>),
}

impl Tasks {
    /// Puts a program into the kernel that leaves this out, for about so many tasks.
    pub(super) fn open(spare: Spare, about: u64) -> Result<Tasks, NoIterator> {
        may_open()?;
        let words = program::words(spare);
        let way = with_types(|btf| by_itself(btf, &words, about).or_else(|_| at_each_step(btf, &words)))?;
        Ok(Tasks { way, words, spared: spare })
    }

    /// The same with the walk of the kernel, as before Linux 6.7.
    #[cfg(test)]
    pub(super) fn at_each_step(spare: Spare) -> Result<Tasks, NoIterator> {
        may_open()?;
        let words = program::words(spare);
        let way = with_types(|btf| at_each_step(btf, &words))?;
        Ok(Tasks { way, words, spared: spare })
    }

    /// Whether it tells all that is not spared.
    pub(super) fn suffices(&self, spare: Spare) -> bool {
        self.spared.is_within(spare)
    }

    /// Walks over all tasks, of which there are about so many.
    pub(super) fn walk(&mut self, about: u64) -> Result<Rows<'_>, NoIterator> {
        self.make_room(about)?;
        self.run()?;
        Ok(Rows::new(self.written()?, &self.words))
    }

    /// Makes the slate large enough.
    fn make_room(&mut self, about: u64) -> Result<(), NoIterator> {
        match self.way {
            Way::Itself(_, room) if u64::from(room) < about => {
                *self = Tasks::open(self.spared, about)?;
            }
            Way::Itself(..) | Way::Steps(..) => {}
        }
        Ok(())
    }

    /// Lets the program write, on a slate on which all find room.
    fn run(&mut self) -> Result<(), NoIterator> {
        while let Way::Itself(scribe, room) = &mut self.way {
            let count = count(scribe.run().map_err(NoIterator::Refused)?);
            if count <= u64::from(*room) {
                return Ok(());
            }
            // More were born than there was room for.
            self.make_room(count)?;
        }
        if let Way::Steps(link, written) = &mut self.way {
            read_whole(link, written).map_err(NoIterator::Refused)?;
        }
        Ok(())
    }

    /// The records of all tasks.
    fn written(&self) -> Result<&[u8], NoIterator> {
        match &self.way {
            Way::Itself(scribe, _) => {
                let slate = scribe.slate();
                let end = HEADER + count(slate) as usize * self.words.len() * 8;
                slate.get(HEADER..end).ok_or(NoIterator::Differs)
            }
            Way::Steps(_, written) => Ok(written),
        }
    }
}

/// Whether the numbers are the machine's, and we may.
fn may_open() -> Result<(), NoIterator> {
    let is_first = |name: &str, first: u64| {
        let found = fs::metadata(format!("/proc/self/ns/{name}"));
        found.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |found| found.ino() == first)
    };
    if !is_first("pid", FIRST_PIDS) || !is_first("time", FIRST_TIME) {
        return Err(NoIterator::Namespace);
    }
    if may_load() { Ok(()) } else { Err(NoIterator::Denied) }
}

fn by_itself(btf: &Btf, words: &[usize], about: u64) -> Result<Way, NoIterator> {
    let room = about + about / 8 + MORE_ROWS;
    let bytes = u32::try_from(room * words.len() as u64 * 8 + HEADER as u64);
    let (room, bytes) = (room as u32, bytes.map_err(|_| NoIterator::Refused(Errno::E2BIG))?);
    let slate = Slate::new(bytes).map_err(refused)?;
    let code = program::by_itself(btf, words, slate.address(program::OUT), room)?;
    Ok(Way::Itself(Scribe::load(&code, slate).map_err(refused)?, room))
}

fn at_each_step(btf: &Btf, words: &[usize]) -> Result<Way, NoIterator> {
    let (code, function) = program::at_each_step(btf, words)?;
    let link = bpf::load_iterator(&code, function).and_then(bpf::link_iterator);
    Ok(Way::Steps(link.map_err(refused)?, Vec::new()))
}

const fn refused(errno: Errno) -> NoIterator {
    match errno {
        Errno::EPERM => NoIterator::Denied,
        errno => NoIterator::Refused(errno),
    }
}

/// How many records are on a slate, or would be if it were large enough.
fn count(slate: &[u8]) -> u64 {
    slate.first_chunk().copied().map_or(0, u64::from_ne_bytes)
}

/// All that a walk of the kernel's writes.
fn read_whole(link: &OwnedFd, into: &mut Vec<u8>) -> Result<(), Errno> {
    let walk = bpf::walk(link)?;
    let mut filled = 0;
    loop {
        if into.len() < filled + AT_ONCE {
            into.resize((filled + AT_ONCE) * 5 / 4, 0);
        }
        match fd::read(&walk, &mut into[filled..filled + AT_ONCE]) {
            // The kernel wants to breathe after so many.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(0) => break,
            Ok(read) => filled += read,
        }
    }
    into.truncate(filled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::id::Pid;

    #[test]
    #[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
    fn a_kernel_that_can_walk_for_a_program_takes_ours() {
        if let Err(why) = may_open() {
            return println!("skipped: {why}");
        }
        match with_types(|btf| by_itself(btf, &program::words(Spare::default()), 10)) {
            Ok(way) => assert!(matches!(way, Way::Itself(..))),
            Err(why @ (NoIterator::Field(_) | NoIterator::NoTypes)) => println!("skipped: {why}"),
            Err(why) => panic!("{why}"),
        }
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
    fn either_way_meets_everybody_also_when_more_live_than_there_was_room_for() {
        let us = doula_sys::group::pid();
        for opened in [Tasks::open(Spare::ALL, 0), Tasks::at_each_step(Spare::ALL)] {
            let mut tasks = match opened {
                Ok(tasks) => tasks,
                Err(why) => return println!("skipped: {why}"),
            };
            let rows = tasks.walk(0).expect("it walks");
            let (found, met) = (rows.processes(true).collect::<Vec<_>>(), rows.met());
            assert!(met > MORE_ROWS && met == found.len() as u64, "{met} were met, {} are told", found.len());
            let in_order = found.is_sorted_by_key(|process| (process.tgid, process.stat.pid));
            assert!(in_order && found.iter().any(|process| process.stat.pid == us));
            assert!(found.iter().all(|process| process.stat.pid >= Pid::INIT));
        }
    }
}
