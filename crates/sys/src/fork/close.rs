//! Closing the fds of a range in a child where close_range(2) is missing. As in [`super::child`], nothing here
//! allocates, locks or panics.

use super::child::{call, open_at};
use crate::{Result, raw};
use doula_model::plan::Resource;

/// Those that `/proc/self/fd` names. ENOENT without `/proc`, EMFILE when no number is free to read it.
pub(super) fn listed(first: u32, last: u32) -> Result<()> {
    /// Some dozens of entries at a time.
    const ROOM: usize = 2048;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let directory = open_at(libc::AT_FDCWD as usize, c"/proc/self/fd", flags)?;
    let mut buffer = [0u8; ROOM];
    loop {
        let at = buffer.as_mut_ptr() as usize;
        // The place in this directory is the number itself, so that closing skips nobody.
        let length = call(libc::SYS_getdents64, directory, at, ROOM)?;
        if length == 0 {
            return call(libc::SYS_close, directory, 0, 0).map(drop);
        }
        for number in Numbers(buffer.get(..length).unwrap_or_default()) {
            if (first..=last).contains(&number) && number as usize != directory {
                // It is open, or was closed by us; there is nothing to be done about an error.
                let _ = call(libc::SYS_close, number as usize, 0, 0);
            }
        }
    }
}

/// The names in a buffer of getdents64(2) that are numbers.
struct Numbers<'a>(&'a [u8]);

impl Iterator for Numbers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        /// `struct linux_dirent64`: the length of an entry, and its name up to a NUL.
        const LENGTH_AT: usize = 16;
        const NAME_AT: usize = 19;
        loop {
            let length = u16::from_ne_bytes([*self.0.get(LENGTH_AT)?, *self.0.get(LENGTH_AT + 1)?]);
            let name = self.0.get(NAME_AT..usize::from(length))?;
            self.0 = self.0.get(usize::from(length)..)?;
            if let Some(number) = decimal(name) {
                return Some(number);
            }
        }
    }
}

fn decimal(name: &[u8]) -> Option<u32> {
    let digits = name.split(|&byte| byte == 0).next().filter(|digits| !digits.is_empty())?;
    let digit = |byte: &u8| byte.is_ascii_digit().then_some(u32::from(*byte & 0xf));
    digits.iter().try_fold(0u32, |sum, byte| sum.checked_mul(10)?.checked_add(digit(byte)?))
}

/// Every number up to the hard limit.
pub(super) fn every(first: u32, last: u32) -> Result<()> {
    let mut limit = [0u64; 2];
    let resource = Resource::Nofile as usize;
    let at = limit.as_mut_ptr() as usize;
    // SAFETY: the fourth argument points to the two numbers that the kernel writes.
    unsafe { raw::call(libc::SYS_prlimit64, [0, resource, 0, at, 0, 0]) }?;
    let end = u64::from(last).min(limit[1].min(HIGHEST_FD));
    for number in u64::from(first)..=end {
        // EBADF: there is none.
        let _ = call(libc::SYS_close, number as usize, 0, 0);
    }
    Ok(())
}

/// The default of `/proc/sys/fs/nr_open`, above which no number can be unless somebody raised it.
const HIGHEST_FD: u64 = 1024 * 1024;
