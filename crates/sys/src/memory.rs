//! Memory that was needed once: given back to the kernel by whoever will live long and idle.
//!
//! The one place where a function of the C library is called on purpose: the allocator is its.

use crate::raw;
use core::ops::Range;

/// `malloc_trim(0)`—whole pages of the heap that nobody uses go back to the kernel, also between used ones.
/// Nothing happens with C libraries that have no such function.
///
/// <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
#[doc(alias = "malloc_trim")]
pub fn trim_heap() {
    #[cfg(all(feature = "std", target_env = "gnu"))]
    // SAFETY: takes a number only, and frees nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// `madvise(text, MADV_DONTNEED)`—the pages of our own program code are no longer counted as ours; those that
/// are used again come back from the page cache, one fault for sixteen of them.
///
/// `maps` is the content of `/proc/self/maps`. Nothing happens when our code is not found in it.
///
/// <https://man7.org/linux/man-pages/man2/madvise.2.html>
#[doc(alias = "madvise")]
pub fn forget_code(maps: &str) {
    let here = forget_code as *const () as usize;
    let Some(code) = maps.lines().find_map(|line| read_only_code(line, here)) else { return };
    let args = [code.start, code.end - code.start, libc::MADV_DONTNEED as usize, 0, 0, 0];
    // SAFETY: the mapping is of a file and was never writable, so that its pages are those of the file and come
    // back as they were. A kernel that refuses changes nothing.
    let _ = unsafe { raw::call(libc::SYS_madvise, args) };
}

/// The range of a line of proc_pid_maps(5), if `address` is in it and it is code of a file that nobody can have
/// changed in memory.
fn read_only_code(line: &str, address: usize) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (range, access, inode) = (fields.next()?, fields.next()?, fields.nth(2)?);
    let (start, end) = range.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    (access == "r-xp" && inode != "0" && range.contains(&address)).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_a_file_that_is_not_writable_is_forgotten() {
        let at = 0x1500;
        assert_eq!(read_only_code("1000-2000 r-xp 0 fd:00 77 /bin/doula", at), Some(0x1000..0x2000));
        for line in [
            "1000-2000 rwxp 0 fd:00 77 /bin/doula",
            "1000-2000 r--p 0 fd:00 77 /bin/doula",
            "1000-2000 r-xp 0 00:00 0",
            "2000-3000 r-xp 0 fd:00 77 /bin/doula",
            "2000-3000",
            "",
        ] {
            assert_eq!(read_only_code(line, at), None, "{line}");
        }
    }

    #[test]
    fn code_and_heap_are_as_before_after_they_were_given_back() {
        let kept: std::vec::Vec<usize> = (0..10_000).collect();
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc");
        trim_heap();
        forget_code(&maps);
        assert_eq!(kept.iter().sum::<usize>(), 9_999 * 5_000);
    }
}
