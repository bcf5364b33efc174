//! All tasks at once, for who may: a program of ours in the kernel (BPF) walks over its tasks and writes a record of each, which costs a
//! fraction of opening a file for each.
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
use doula_model::process::Process;
use doula_sys::bpf;
use doula_sys::fd::{self, OwnedFd};
use program::{FUNCTIONS, Program, STRUCTURES};
use record::Record;
pub(super) use record::Walked;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

/// Where the kernel tells its types.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
/// What the kernel hands out at most at once, and more.
const ROOM: usize = 128 * 1024;
/// The numbers of the first namespaces of every machine (PROC_PID_INIT_INO, PROC_TIME_INIT_INO).
const FIRST_PIDS: u64 = 0xEFFF_FFFC;
const FIRST_TIME: u64 = 0xEFFF_FFFA;

/// Why a look goes through the files of `/proc`, one after the other.
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

/// The next that a walk writes, behind what it wrote before; nothing at its end.
fn next(walk: &OwnedFd, room: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match fd::read(walk, room) {
            // The kernel wants to breathe after so many.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            read => return read,
        }
    }
}

/// The program for this kernel that writes these words.
fn program(words: &[usize]) -> Result<Program, NoIterator> {
    let file = fs::File::open(TYPES).map_err(|_| NoIterator::NoTypes)?;
    let assemble = |types: &[u8]| {
        program::assemble(&Btf::read(types, &STRUCTURES, &FUNCTIONS).ok_or(NoIterator::NoTypes)?, words)
    };
    match bpf::Types::map(&file) {
        Ok(types) => assemble(&types),
        Err(_) => assemble(&fs::read(TYPES).map_err(|_| NoIterator::NoTypes)?),
    }
}

/// A program that walks over all tasks.
#[derive(Debug)]
pub(super) struct Tasks {
    link: OwnedFd,
    room: Vec<u8>,
    /// What it writes of each.
    words: Vec<usize>,
    spared: Spare,
}

impl Tasks {
    /// Puts a program into the kernel that leaves this out.
    pub(super) fn open(spare: Spare) -> Result<Tasks, NoIterator> {
        let is_first = |name: &str, first: u64| {
            let found = fs::metadata(format!("/proc/self/ns/{name}"));
            found.map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |found| found.ino() == first)
        };
        if !is_first("pid", FIRST_PIDS) || !is_first("time", FIRST_TIME) {
            return Err(NoIterator::Namespace);
        }
        if !may_load() {
            return Err(NoIterator::Denied);
        }
        let words = program::words(spare);
        let program = program(&words)?;
        let link = bpf::load_iterator(&program.code, program.function).and_then(bpf::link_iterator);
        let refused = |errno| match errno {
            Errno::EPERM => NoIterator::Denied,
            errno => NoIterator::Refused(errno),
        };
        Ok(Tasks { link: link.map_err(refused)?, room: vec![0; ROOM], words, spared: spare })
    }

    /// Whether it tells all that is not spared.
    pub(super) fn suffices(&self, spare: Spare) -> bool {
        self.spared.is_within(spare)
    }

    /// What `/proc/PID/stat` says of all, processes or all threads, of which there are about so many; and how many threads were
    /// met.
    ///
    /// The names of the kernel's threads can be longer than they are told here.
    pub(super) fn walk(&mut self, threads: bool, about: u64) -> Result<(Vec<Process>, u64), Errno> {
        let walk = bpf::walk(&self.link)?;
        let mut together = record::Together::new(threads, about as usize);
        let (mut kept, size) = (0, self.words.len() * 8);
        loop {
            let read = next(&walk, &mut self.room[kept..])?;
            if read == 0 {
                return Ok(together.all());
            }
            let filled = kept + read;
            let whole = filled - filled % size;
            let written = self.room[..whole].chunks_exact(size);
            written.for_each(|bytes| together.add(Record::read(bytes, &self.words)));
            // The rest of a record may come with the next read.
            self.room.copy_within(whole..filled, 0);
            kept = filled - whole;
        }
    }

    /// The same as it is written, to be compared with another walk; and how many threads were met.
    pub(super) fn walk_into(&mut self, walked: &mut Walked) -> Result<u64, Errno> {
        let walk = bpf::walk(&self.link)?;
        walked.words.clone_from(&self.words);
        let mut filled = 0;
        loop {
            if walked.bytes.len() < filled + ROOM {
                walked.bytes.resize((filled + ROOM) * 5 / 4, 0);
            }
            let read = next(&walk, &mut walked.bytes[filled..filled + ROOM])?;
            filled += read;
            if read == 0 {
                walked.bytes.truncate(filled);
                walked.gather();
                return Ok((filled / walked.size()) as u64);
            }
        }
    }
}
