//! Memory that is looked at page by page: mmap(2), madvise(2), and how many faults it costs to write.

use crate::{Result, raw};
use doula_model::plan::Errno;

/// The bytes of a page.
const PAGE: usize = 4096;

/// What mmap(2) made, between two pages that nobody may touch: so that no other mapping is joined with it. It stays until it is unmapped,
/// the process ends or executes a program.
#[derive(Debug)]
pub struct Area {
    start: usize,
    pages: usize,
}

fn call(number: i64, args: [usize; 6]) -> Result<usize> {
    // SAFETY: each caller below passes numbers that are about memory which belongs to an `Area` alone.
    unsafe { raw::call(number, args) }
}

impl Area {
    /// `mmap(NULL, …, MAP_ANONYMOUS | MAP_PRIVATE or MAP_SHARED, -1, 0)` without huge pages. EINVAL without a page.
    ///
    /// <https://man7.org/linux/man-pages/man2/mmap.2.html>
    pub fn map(pages: usize, shared: bool) -> Result<Area> {
        if pages == 0 {
            return Err(Errno::EINVAL);
        }
        let how = libc::MAP_ANONYMOUS | if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let bytes = pages * PAGE;
        let around = bytes + 2 * PAGE;
        let start =
            call(libc::SYS_mmap, [0, around, libc::PROT_NONE as usize, how as usize, usize::MAX, 0])? + PAGE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        call(libc::SYS_mprotect, [start, bytes, access as usize, 0, 0, 0])?;
        // EINVAL where the kernel has no huge pages.
        let _ = call(libc::SYS_madvise, [start, bytes, libc::MADV_NOHUGEPAGE as usize, 0, 0, 0]);
        Ok(Area { start, pages })
    }

    /// `madvise(area, advice)`.
    ///
    /// <https://man7.org/linux/man-pages/man2/madvise.2.html>
    pub fn advise(&self, advice: Advice) -> Result<()> {
        let advice = match advice {
            Advice::Fork => [libc::MADV_DOFORK, libc::MADV_KEEPONFORK].as_slice(),
            Advice::DontFork => &[libc::MADV_DONTFORK],
            Advice::WipeOnFork => &[libc::MADV_WIPEONFORK, libc::MADV_DOFORK],
        };
        advice.iter().try_for_each(|advice| {
            call(libc::SYS_madvise, [self.start, self.pages * PAGE, *advice as usize, 0, 0, 0]).map(drop)
        })
    }

    /// Writes to each of the first pages: how many minor faults that cost. EFAULT beyond the end.
    pub fn touch(&self, pages: usize) -> Result<i32> {
        if pages > self.pages {
            return Err(Errno::EFAULT);
        }
        // Our own stack and code may cost faults too, the first time after a fork: not those are to be counted.
        let mut mine = 0_u8;
        write(&raw mut mine, 1);
        Ok(write(self.start as *mut u8, pages) as i32)
    }

    /// `munmap(area)`, with the pages around it.
    ///
    /// <https://man7.org/linux/man-pages/man2/munmap.2.html>
    pub fn unmap(self) {
        let unmapped = call(libc::SYS_munmap, [self.start - PAGE, (self.pages + 2) * PAGE, 0, 0, 0, 0]);
        debug_assert!(unmapped.is_ok(), "it was mapped");
    }

    /// Where it begins, for `/proc/self/smaps`.
    pub const fn start(&self) -> usize {
        self.start
    }
}

/// Writes to the first byte of so many pages, which must be there and nobody's: the minor faults that it cost.
fn write(start: *mut u8, pages: usize) -> i64 {
    let before = minor_faults();
    for page in 0..pages {
        // SAFETY: the callers give a byte of their own, or pages of an `Area` that are mapped and have no reference.
        unsafe { core::ptr::write_volatile(start.wrapping_add(page * PAGE), 1) };
    }
    minor_faults() - before
}

/// What a child is to have of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// A copy: `MADV_DOFORK`, `MADV_KEEPONFORK`.
    Fork,
    /// Nothing: `MADV_DONTFORK`.
    DontFork,
    /// Empty pages: `MADV_WIPEONFORK`.
    WipeOnFork,
}

/// `getrusage(RUSAGE_THREAD)`: the faults of this thread for which nothing had to be read.
fn minor_faults() -> i64 {
    // SAFETY: `rusage` is numbers only, for which zero is a value.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    let done =
        call(libc::SYS_getrusage, [libc::RUSAGE_THREAD as usize, (&raw mut usage) as usize, 0, 0, 0, 0]);
    debug_assert!(done.is_ok(), "a known kind of usage");
    usage.ru_minflt as i64
}
