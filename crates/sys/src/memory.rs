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

/// `madvise(MADV_DONTNEED)`—the pages of our own program file, code and constants, are no longer counted as ours; those
/// that are used again come back from the page cache, one fault for sixteen of them.
///
/// `smaps` is the content of `/proc/self/smaps`. Nothing happens when our code is not found in it, or when the kernel does
/// not tell there which mappings have pages of their own (what the loader relocated is not in the file).
///
/// <https://man7.org/linux/man-pages/man2/madvise.2.html>
#[doc(alias = "madvise")]
pub fn forget_program(smaps: &str) {
    let here = forget_program as *const () as usize;
    let Some(Mapping { file, .. }) = mappings(smaps).find(|one| one.range.contains(&here)) else { return };
    for Mapping { range, .. } in mappings(smaps).filter(|one| one.file == file && one.is_as_in_the_file()) {
        let args = [range.start, range.end - range.start, libc::MADV_DONTNEED as usize, 0, 0, 0];
        // SAFETY: none of the mapping's pages differs from the file, and none can be written to, so that they come back as
        // they were. A kernel that refuses changes nothing.
        let _ = unsafe { raw::call(libc::SYS_madvise, args) };
    }
}

/// An entry of `/proc/pid/smaps`.
struct Mapping<'a> {
    range: Range<usize>,
    access: &'a str,
    /// Device and inode; the latter is 0 where there is no file.
    file: (&'a str, &'a str),
    /// It has no page of its own, as far as that is told.
    whole: bool,
}

impl Mapping<'_> {
    fn is_as_in_the_file(&self) -> bool {
        self.access.starts_with("r-") && self.file.1 != "0" && self.whole
    }
}

/// All mappings: a line as in `/proc/pid/maps` each, followed by lines of a key and a value.
fn mappings(smaps: &str) -> impl Iterator<Item = Mapping<'_>> {
    let mut lines = smaps.lines().peekable();
    core::iter::from_fn(move || {
        let (mut mapping, mut whole) = (lines.by_ref().find_map(head)?, false);
        while let Some(line) = lines.next_if(|line| head(line).is_none()) {
            let own = line.strip_prefix("Anonymous:").map(str::trim);
            whole = own.map_or(whole, |size| size == "0 kB");
        }
        mapping.whole = whole;
        Some(mapping)
    })
}

/// The first line of a mapping; `None` for the others.
fn head(line: &str) -> Option<Mapping<'_>> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    let (access, file) = (fields.next()?, (fields.nth(1)?, fields.next()?));
    Some(Mapping { range, access, file, whole: false })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, vec::Vec};

    /// Mappings of these heads and sizes of own pages that are as in their files.
    fn kept(heads: &[(&str, &str)]) -> Vec<Range<usize>> {
        let text: std::string::String =
            heads.iter().map(|(head, own)| format!("{head}\nSize: 4 kB\n{own}\nVmFlags: rd ex\n")).collect();
        mappings(&text).filter(Mapping::is_as_in_the_file).map(|one| one.range).collect()
    }

    #[test]
    fn only_pages_that_are_as_in_a_file_and_stay_so_are_forgotten() {
        let none = "Anonymous:             0 kB";
        assert_eq!(
            kept(&[
                ("1000-2000 r-xp 00000000 fd:00 77 /bin/doula", none),
                ("2000-3000 r--p 00001000 fd:00 77 /bin/doula (deleted)", none),
                ("3000-4000 r--p 00002000 fd:00 77 /bin/doula", "Anonymous:             4 kB"),
                ("4000-5000 rw-p 00003000 fd:00 77 /bin/doula", none),
                ("5000-6000 r-xp 00000000 00:00 0", none),
                ("6000-7000 r-xp 00000000 fd:00 77 /bin/doula", "Swap: 0 kB"),
            ]),
            [0x1000..0x2000, 0x2000..0x3000]
        );
    }

    #[test]
    fn program_and_heap_are_as_before_after_they_were_given_back() {
        static WORDS: [&str; 3] = ["as", "they", "were"];
        let kept: Vec<usize> = (0..10_000).collect();
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("/proc");
        trim_heap();
        forget_program(&smaps);
        assert_eq!(kept.iter().sum::<usize>(), 9_999 * 5_000);
        assert_eq!(WORDS.concat(), "astheywere");
    }
}
