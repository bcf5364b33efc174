//! Programs that the kernel checks and runs for us: those that are called at each step of a walk over all of its tasks, and those that
//! run once when we say so, and write into memory that we read.
//!
//! And the kernel's own types, which such programs are made of.
//!
//! Absent on purpose: every other kind of program and map, and assembling (the caller has words of instructions).

use crate::fd::{self, AsFd, AsRawFd, OwnedFd};
use crate::{Result, errno, raw};
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;
use doula_model::plan::Errno;

/// `BPF_MAP_CREATE`, `BPF_PROG_LOAD`, `BPF_PROG_RUN`, `BPF_LINK_CREATE` and `BPF_ITER_CREATE` of include/uapi/linux/bpf.h.
const MAP_CREATE: usize = 0;
const PROG_LOAD: usize = 5;
const PROG_RUN: usize = 10;
const LINK_CREATE: usize = 28;
const ITER_CREATE: usize = 33;
/// `BPF_PROG_TYPE_TRACING` and `BPF_TRACE_ITER`.
const TRACING: u32 = 26;
const ITERATOR: u32 = 28;
/// `BPF_PROG_TYPE_SYSCALL`, and `BPF_F_SLEEPABLE`, which those must be.
const SYSCALL: u32 = 31;
const SLEEPABLE: u32 = 1 << 4;
/// `BPF_MAP_TYPE_ARRAY` and `BPF_F_MMAPABLE`.
const ARRAY: u32 = 2;
const MMAPABLE: u32 = 1 << 10;

/// The part of `union bpf_attr` for `BPF_PROG_LOAD`, as far as a program needs it that walks.
#[repr(C)]
#[derive(Default)]
struct Program {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log: [u32; 2],
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_kind: u32,
    debugging: [u64; 4],
    lines: u32,
    function: u32,
    target: [u32; 2],
}

impl Program {
    /// Of this code, which must outlive it: only its place and length are here.
    fn new(code: &[u64]) -> Program {
        Program {
            count: code.len() as u32,
            code: code.as_ptr() as u64,
            // Only programs under this licence may walk.
            license: c"GPL".as_ptr() as u64,
            name: *b"doula_tasks\0\0\0\0\0",
            ..Program::default()
        }
    }
}

/// `bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_TRACING)`—a program for each step of a walk. `function` is the number of the walk's
/// function among the kernel's types (`bpf_iter_task`). EACCES or EINVAL for a program that the kernel does not trust, EPERM
/// without CAP_BPF and CAP_PERFMON.
///
/// <https://man7.org/linux/man-pages/man2/bpf.2.html>
#[doc(alias = "bpf")]
pub fn load_iterator(code: &[u64], function: u32) -> Result<OwnedFd> {
    let attributes = Program { kind: TRACING, attach_kind: ITERATOR, function, ..Program::new(code) };
    // SAFETY: as `Program::new` says, and `code` lives until the answer.
    unsafe { bpf(PROG_LOAD, &attributes) }.map(fd::adopt)
}

/// `bpf(BPF_LINK_CREATE, BPF_TRACE_ITER)`—ties a program to its walk.
#[doc(alias = "bpf")]
pub fn link_iterator(program: impl AsFd) -> Result<OwnedFd> {
    let attributes = [program.as_fd().as_raw_fd() as u32, 0, ITERATOR, 0];
    // SAFETY: these are numbers only.
    unsafe { bpf(LINK_CREATE, &attributes) }.map(fd::adopt)
}

/// `bpf(BPF_ITER_CREATE)`—a walk, as a file: reading it walks on, and gives what the program writes.
#[doc(alias = "bpf")]
pub fn walk(link: impl AsFd) -> Result<OwnedFd> {
    let attributes = [link.as_fd().as_raw_fd() as u32, 0];
    // SAFETY: these are numbers only.
    unsafe { bpf(ITER_CREATE, &attributes) }.map(fd::adopt)
}

/// Memory that programs in the kernel write, mapped to be read.
#[derive(Debug)]
pub struct Slate {
    map: OwnedFd,
    bytes: Mapping,
}

impl Slate {
    /// `bpf(BPF_MAP_CREATE, BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE)`—so many bytes, all zero. EINVAL before Linux 5.5, EPERM without CAP_BPF.
    #[doc(alias = "bpf")]
    pub fn new(length: u32) -> Result<Slate> {
        let (key, entries) = (4, 1);
        let attributes = [ARRAY, key, length, entries, MMAPABLE];
        // SAFETY: these are numbers only.
        let map = unsafe { bpf(MAP_CREATE, &attributes) }.map(fd::adopt)?;
        let bytes = Mapping::new(&map, length as usize, libc::MAP_SHARED)?;
        Ok(Slate { map, bytes })
    }

    /// The instruction, two words long, that brings the address of these bytes into a register (`BPF_PSEUDO_MAP_VALUE`).
    pub fn address(&self, register: u8) -> [u64; 2] {
        const LOAD_WIDE: u64 = 0x18;
        const MAP_VALUE: u64 = 2;
        let map = self.map.as_raw_fd() as u32;
        [LOAD_WIDE | u64::from(register & 0xf) << 8 | MAP_VALUE << 12 | u64::from(map) << 32, 0]
    }
}

/// A program that writes on a slate whenever it is told to.
#[derive(Debug)]
pub struct Scribe {
    program: OwnedFd,
    slate: Slate,
}

impl Scribe {
    /// `bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_SYSCALL)`—the code must write on no other slate. EACCES or EINVAL for a program that the
    /// kernel does not trust, EPERM without CAP_BPF and CAP_PERFMON.
    #[doc(alias = "bpf")]
    pub fn load(code: &[u64], slate: Slate) -> Result<Scribe> {
        let attributes = Program { kind: SYSCALL, flags: SLEEPABLE, ..Program::new(code) };
        // SAFETY: as `Program::new` says, and `code` lives until the answer.
        let program = unsafe { bpf(PROG_LOAD, &attributes) }.map(fd::adopt)?;
        Ok(Scribe { program, slate })
    }

    /// `bpf(BPF_PROG_RUN)`—runs it, and gives what stands on the slate then.
    #[doc(alias = "bpf")]
    pub fn run(&mut self) -> Result<&[u8]> {
        // `test` in `union bpf_attr`, up to `ctx_out`.
        let mut attributes = [0_u32; 16];
        attributes[0] = self.program.as_raw_fd() as u32;
        // SAFETY: there is neither data nor a context; what the program writes on the slate nobody else reads now.
        unsafe { bpf(PROG_RUN, &attributes) }?;
        Ok(&self.slate.bytes)
    }

    /// What stood on the slate after the last run.
    pub fn slate(&self) -> &[u8] {
        &self.slate.bytes
    }
}

/// The kernel's types (`/sys/kernel/btf/vmlinux`) where the kernel has them: nothing is copied.
#[derive(Debug)]
pub struct Types(Mapping);

impl Types {
    /// `mmap(NULL, length, PROT_READ, MAP_PRIVATE, file, 0)`—ENODEV before Linux 6.16, and for what is no file of sysfs, which
    /// somebody could cut while it is mapped.
    ///
    /// <https://man7.org/linux/man-pages/man2/mmap.2.html>
    #[doc(alias = "mmap")]
    pub fn map(file: impl AsFd) -> Result<Types> {
        const SYSFS_MAGIC: i64 = 0x6265_6572;
        let file = file.as_fd();
        if rustix::fs::fstatfs(file).map_err(errno)?.f_type != SYSFS_MAGIC {
            return Err(Errno::ENODEV);
        }
        let length = usize::try_from(rustix::fs::fstat(file).map_err(errno)?.st_size).unwrap_or(0);
        Mapping::new(file, length, libc::MAP_PRIVATE).map(Types)
    }
}

impl Deref for Types {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes of the kernel that do not become fewer, and change only when their owner says so.
#[derive(Debug)]
struct Mapping {
    at: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(file: impl AsFd, length: usize, kind: i32) -> Result<Mapping> {
        let file = file.as_fd().as_raw_fd() as usize;
        let args = [0, length, libc::PROT_READ as usize, kind as usize, file, 0];
        // SAFETY: a new mapping, which touches nothing that is there.
        let at = unsafe { raw::call(libc::SYS_mmap, args) }?;
        let at = NonNull::new(core::ptr::with_exposed_provenance_mut(at)).ok_or(Errno::ENOMEM)?;
        Ok(Mapping { at, length })
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped to be read until the drop. The kernel's types never change, and a slate only
        // in `Scribe::run`, for which nobody may be reading.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no borrow of it lives any longer. There is nothing to do if it fails.
        let _ = unsafe { raw::call(libc::SYS_munmap, [self.at.as_ptr() as usize, self.length, 0, 0, 0, 0]) };
    }
}

/// # Safety
/// `attributes` must be what this command expects. All commands here but `PROG_RUN` give a new fd, close-on-exec.
unsafe fn bpf<T>(command: usize, attributes: &T) -> Result<usize> {
    let args = [command, core::ptr::from_ref(attributes) as usize, size_of::<T>(), 0, 0, 0];
    // SAFETY: the kernel reads so many bytes of `attributes`, for whose content the caller vouches.
    unsafe { raw::call(libc::SYS_bpf, args) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::Access;
    use std::println;

    #[test]
    fn the_attributes_are_as_long_as_the_kernel_reads_them() {
        assert_eq!(core::mem::offset_of!(Program, attach_kind), 68);
        assert_eq!(core::mem::offset_of!(Program, function), 108);
        assert_eq!(size_of::<Program>(), 120);
    }

    #[test]
    fn the_types_are_mapped_as_they_are_read_or_not_at_all() {
        let own = fd::open(c"/proc/self/exe", Access::Read).expect("our program");
        assert_eq!(Types::map(&own).map(drop), Err(Errno::ENODEV), "it could be cut while it is mapped");
        let Ok(file) = fd::open(c"/sys/kernel/btf/vmlinux", Access::Read) else { return };
        let Ok(types) = Types::map(&file) else { return };
        let (mut page, mut at) = ([0; 4096], 0);
        loop {
            let length = fd::read(&file, &mut page).expect("a file of sysfs");
            if length == 0 {
                break;
            }
            assert!(types[at..at + length] == page[..length], "from byte {at} on");
            at += length;
        }
        assert_eq!(types.len(), at);
    }

    #[test]
    fn a_program_that_does_nothing_is_refused() {
        // No instruction at all: EINVAL from the kernel, EPERM for who may not, ENOSYS without bpf(2).
        let refused = load_iterator(&[], 1).map(drop);
        assert!(
            matches!(refused, Err(Errno::EINVAL | Errno::EPERM | Errno::ENOSYS | Errno(7))),
            "{refused:?}"
        );
        let (reader, _writer) = fd::pipe().expect("pipe");
        assert!(link_iterator(&reader).is_err() && walk(&reader).is_err());
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
    fn what_a_program_writes_is_read_after_each_run() {
        const SLATE: u8 = 1;
        let slate = match Slate::new(8) {
            Ok(slate) => slate,
            Err(errno) => return println!("skipped: no slate ({errno})"),
        };
        let [first, second] = slate.address(SLATE);
        // r1 = the slate; r0 = *r1; r0 += 7; *r1 = r0; r0 = 0; return
        let code = [first, second, 0x1079, 0x7_0000_0007, 0x017b, 0xb7, 0x95];
        let mut scribe = match Scribe::load(&code, slate) {
            Ok(scribe) => scribe,
            // EINVAL before Linux 5.14.
            Err(errno @ (Errno::EPERM | Errno::EINVAL)) => return println!("skipped: no program ({errno})"),
            Err(errno) => panic!("{errno}"),
        };
        for expected in [7_u64, 14] {
            let read = scribe.run().expect("it was checked");
            assert_eq!(read.first_chunk().copied().map(u64::from_ne_bytes), Some(expected));
        }
    }
}
