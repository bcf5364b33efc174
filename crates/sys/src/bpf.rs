//! Programs that the kernel checks and runs for us: those that walk over all of its tasks.
//!
//! And the kernel's own types, which such programs are made of.
//!
//! Absent on purpose: every other kind of program, maps, and assembling (the caller has words of instructions).

use crate::fd::{self, AsFd, AsRawFd, OwnedFd};
use crate::{Result, errno, raw};
use core::ops::Deref;
use core::ptr::NonNull;
use core::slice;
use doula_model::plan::Errno;

/// `BPF_PROG_LOAD`, `BPF_LINK_CREATE` and `BPF_ITER_CREATE` of include/uapi/linux/bpf.h.
const PROG_LOAD: usize = 5;
const LINK_CREATE: usize = 28;
const ITER_CREATE: usize = 33;
/// `BPF_PROG_TYPE_TRACING` and `BPF_TRACE_ITER`.
const TRACING: u32 = 26;
const ITERATOR: u32 = 28;

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

/// `bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_TRACING)`—a program for each step of a walk. `function` is the number of the walk's
/// function among the kernel's types (`bpf_iter_task`). EACCES or EINVAL for a program that the kernel does not trust, EPERM
/// without CAP_BPF and CAP_PERFMON.
///
/// <https://man7.org/linux/man-pages/man2/bpf.2.html>
#[doc(alias = "bpf")]
pub fn load_iterator(code: &[u64], function: u32) -> Result<OwnedFd> {
    let attributes = Program {
        kind: TRACING,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        // Only programs under this licence may walk.
        license: c"GPL".as_ptr() as u64,
        name: *b"doula_tasks\0\0\0\0\0",
        attach_kind: ITERATOR,
        function,
        ..Program::default()
    };
    // SAFETY: the attributes name `code` with its length and a string that ends, and both live until the answer.
    unsafe { bpf(PROG_LOAD, &attributes) }
}

/// `bpf(BPF_LINK_CREATE, BPF_TRACE_ITER)`—ties a program to its walk.
#[doc(alias = "bpf")]
pub fn link_iterator(program: impl AsFd) -> Result<OwnedFd> {
    let attributes = [program.as_fd().as_raw_fd() as u32, 0, ITERATOR, 0];
    // SAFETY: these are numbers only.
    unsafe { bpf(LINK_CREATE, &attributes) }
}

/// `bpf(BPF_ITER_CREATE)`—a walk, as a file: reading it walks on, and gives what the program writes.
#[doc(alias = "bpf")]
pub fn walk(link: impl AsFd) -> Result<OwnedFd> {
    let attributes = [link.as_fd().as_raw_fd() as u32, 0];
    // SAFETY: these are numbers only.
    unsafe { bpf(ITER_CREATE, &attributes) }
}

/// The kernel's types (`/sys/kernel/btf/vmlinux`) where the kernel has them: nothing is copied.
#[derive(Debug)]
pub struct Types {
    at: NonNull<u8>,
    length: usize,
}

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
        let (protection, kind) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
        let args = [0, length, protection, kind, file.as_raw_fd() as usize, 0];
        // SAFETY: a new mapping, which touches nothing that is there.
        let at = unsafe { raw::call(libc::SYS_mmap, args) }?;
        let at = NonNull::new(core::ptr::with_exposed_provenance_mut(at)).ok_or(Errno::ENOMEM)?;
        Ok(Types { at, length })
    }
}

impl Deref for Types {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped to be read until the drop, and the kernel's types never change.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.length) }
    }
}

impl Drop for Types {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no borrow of it lives any longer. There is nothing to do if it fails.
        let _ = unsafe { raw::call(libc::SYS_munmap, [self.at.as_ptr() as usize, self.length, 0, 0, 0, 0]) };
    }
}

/// # Safety
/// `attributes` must be what this command expects. Each command here gives a new fd, close-on-exec.
unsafe fn bpf<T>(command: usize, attributes: &T) -> Result<OwnedFd> {
    let args = [command, core::ptr::from_ref(attributes) as usize, size_of::<T>(), 0, 0, 0];
    // SAFETY: the kernel reads so many bytes of `attributes`, for whose content the caller vouches.
    unsafe { raw::call(libc::SYS_bpf, args) }.map(fd::adopt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::Access;

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
}
