//! Memory that several processes have together, and sleeping on a word of it: orders and answers between programs that are
//! compared and whoever compares them, and what a supervisor leaves to whoever keeps its fds. Feature `std`.

use crate::{Result, fd, raw};
use core::sync::atomic::AtomicU32;
use core::time::Duration;
use doula_model::plan::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// A mapping of a whole file of memory ([`crate::fd::memory`]), that copies of this process have too. It stays until
/// the process ends.
#[derive(Clone, Copy, Debug)]
pub struct Shared(&'static [AtomicU32]);

impl Shared {
    /// `ftruncate(file, …)` and `mmap(NULL, …, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)`: so many words, zero at first.
    ///
    /// <https://man7.org/linux/man-pages/man2/mmap.2.html>
    pub fn map(file: impl AsFd, words: usize) -> Result<Shared> {
        let (file, bytes) = (file.as_fd().as_raw_fd() as usize, words * 4);
        // SAFETY: takes numbers; the file becomes at least as long as what is mapped.
        unsafe { raw::call(libc::SYS_ftruncate, [file, bytes, 0, 0, 0, 0]) }?;
        let (access, how) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping where the kernel wants it, over nothing that is in use.
        let start = unsafe { raw::call(libc::SYS_mmap, [0, bytes, access as usize, how as usize, file, 0]) }?;
        // SAFETY: so many bytes are mapped there for good, aligned to a page; of others they are changed as atomic
        // words only, and any bits are a word.
        Ok(Shared(unsafe { core::slice::from_raw_parts(start as *const AtomicU32, words) }))
    }

    /// `mmap(NULL, …, MAP_SHARED | MAP_ANONYMOUS)`: so many words, zero at first, of this process and of its copies. What
    /// nobody has written to takes no memory.
    ///
    /// <https://man7.org/linux/man-pages/man2/mmap.2.html>
    pub fn anonymous(words: usize) -> Result<Shared> {
        let access = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let how = (libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as usize;
        // SAFETY: a new mapping where the kernel wants it, over nothing that is in use.
        let start = unsafe { raw::call(libc::SYS_mmap, [0, words * 4, access, how, usize::MAX, 0]) }?;
        // SAFETY: as for a file.
        Ok(Shared(unsafe { core::slice::from_raw_parts(start as *const AtomicU32, words) }))
    }

    /// The words.
    pub const fn words(&self) -> &'static [AtomicU32] {
        self.0
    }
}

/// Memory of a file that two processes have, to hand bytes over; unmapped when it is dropped. What the other process writes
/// meanwhile can be any bytes, and is never believed.
#[derive(Debug)]
pub struct Area {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and nobody has a reference to its bytes.
unsafe impl Send for Area {}

impl Area {
    /// `mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)`—EINVAL where the file is shorter, or its length is
    /// not [sealed](crate::fd::memory_of): whoever reads behind the end of a file is killed.
    ///
    /// <https://man7.org/linux/man-pages/man2/mmap.2.html>
    pub fn map(file: impl AsFd, bytes: usize) -> Result<Area> {
        let file = file.as_fd();
        if bytes == 0 || fd::sealed_length(file)? < bytes as u64 {
            return Err(Errno::EINVAL);
        }
        let access = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let args = [0, bytes, access, libc::MAP_SHARED as usize, file.as_raw_fd() as usize, 0];
        // SAFETY: a new mapping where the kernel wants it, over nothing that is in use.
        let start = unsafe { raw::call(libc::SYS_mmap, args) }?;
        Ok(Area { start: start as *mut u8, bytes })
    }

    /// The word at this place, counted in words.
    ///
    /// # Panics
    /// When it is not in the area.
    pub fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at < self.bytes / 4, "a word of the area");
        // SAFETY: inside of the mapping, as was asserted.
        let word = unsafe { self.start.cast::<u32>().add(at) };
        // SAFETY: aligned, because a mapping begins at a page; mapped as long as `self` lives. Words that are used so are
        // used in no other way: see `put`.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Copies these bytes to this place. Not where somebody takes [`Area::word`]s from.
    ///
    /// # Panics
    /// When they are not in the area.
    pub fn put(&self, at: usize, bytes: &[u8]) {
        assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= self.bytes), "a place in the area");
        // SAFETY: inside of the mapping, as was asserted.
        let to = unsafe { self.start.add(at) };
        // SAFETY: there is room, as was asserted; nobody in this process has a reference to the mapping's bytes.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Copies from this place.
    ///
    /// # Panics
    /// When that is not in the area.
    pub fn get(&self, at: usize, bytes: &mut [u8]) {
        assert!(at.checked_add(bytes.len()).is_some_and(|end| end <= self.bytes), "a place in the area");
        // SAFETY: inside of the mapping, as was asserted.
        let from = unsafe { self.start.add(at) };
        // SAFETY: so many bytes are there, as was asserted; any bits are a byte.
        unsafe { core::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) };
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has a reference into it any more.
        let unmapped = unsafe { raw::call(libc::SYS_munmap, [self.start as usize, self.bytes, 0, 0, 0, 0]) };
        debug_assert!(unmapped.is_ok(), "it is mapped");
    }
}

/// The bytes of a file that nobody can change any more ([`crate::fd::frozen`]), without a copy.
#[derive(Debug)]
pub struct Frozen {
    start: *const u8,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, and nobody can change it.
unsafe impl Send for Frozen {}

impl Frozen {
    /// `mmap(NULL, …, PROT_READ, MAP_PRIVATE, file, 0)`: all of it. EINVAL where its bytes are not sealed.
    ///
    /// <https://man7.org/linux/man-pages/man2/mmap.2.html>
    pub fn map(file: impl AsFd) -> Result<Frozen> {
        let file = file.as_fd();
        let bytes = usize::try_from(fd::frozen_length(file)?).map_err(|_| Errno::EFBIG)?;
        if bytes == 0 {
            return Ok(Frozen { start: core::ptr::dangling(), bytes });
        }
        let number = file.as_raw_fd() as usize;
        let args = [0, bytes, libc::PROT_READ as usize, libc::MAP_PRIVATE as usize, number, 0];
        // SAFETY: a new mapping where the kernel wants it, over nothing that is in use.
        let start = unsafe { raw::call(libc::SYS_mmap, args) }?;
        Ok(Frozen { start: start as *const u8, bytes })
    }
}

impl core::ops::Deref for Frozen {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped there, as long as `self` lives; the seals of the file keep everybody from
        // changing or shortening it.
        unsafe { core::slice::from_raw_parts(self.start, self.bytes) }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        // SAFETY: the mapping is ours, and nobody has a reference into it any more.
        let unmapped = unsafe { raw::call(libc::SYS_munmap, [self.start as usize, self.bytes, 0, 0, 0, 0]) };
        debug_assert!(unmapped.is_ok(), "it is mapped");
    }
}

/// `futex(word, FUTEX_WAIT, value, timeout)`: sleeps while the word has this value, but no longer than the time. Also
/// signals and other wake-ups end it.
///
/// <https://man7.org/linux/man-pages/man2/futex.2.html>
pub fn sleep_while(word: &AtomicU32, value: u32, time: Duration) -> Result<()> {
    let time = libc::timespec { tv_sec: time.as_secs() as _, tv_nsec: i64::from(time.subsec_nanos()) as _ };
    let args =
        [word.as_ptr() as usize, libc::FUTEX_WAIT as usize, value as usize, &raw const time as usize, 0, 0];
    // SAFETY: the kernel reads the word and the time, which both outlive the call.
    match unsafe { raw::call(libc::SYS_futex, args) } {
        Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// `futex(word, FUTEX_WAKE, INT_MAX)`: whoever sleeps on the word looks again.
pub fn wake(word: &AtomicU32) {
    let args = [word.as_ptr() as usize, libc::FUTEX_WAKE as usize, i32::MAX as usize, 0, 0, 0];
    // SAFETY: the address is a number for the kernel.
    let woken = unsafe { raw::call(libc::SYS_futex, args) };
    debug_assert!(woken.is_ok(), "the word is there");
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::Ordering;

    #[test]
    fn two_mappings_of_one_file_are_one_memory_and_a_sleeper_is_woken() {
        let file = crate::fd::memory(c"shared").expect("a file of memory");
        let (one, other) =
            (Shared::map(&file, 8).expect("a mapping"), Shared::map(&file, 8).expect("another"));
        let thread = std::thread::spawn(move || {
            while other.words()[3].load(Ordering::Acquire) == 0 {
                sleep_while(&other.words()[3], 0, Duration::from_secs(60)).expect("a word to sleep on");
            }
        });
        one.words()[3].store(7, Ordering::Release);
        wake(&one.words()[3]);
        thread.join().expect("it woke up");
        assert_eq!(
            sleep_while(&one.words()[3], 6, Duration::from_secs(60)),
            Ok(()),
            "another value: no sleep"
        );
        assert_eq!(sleep_while(&one.words()[3], 7, Duration::ZERO), Err(Errno(libc::ETIMEDOUT)));
    }

    #[test]
    fn bytes_that_one_puts_into_an_area_the_other_gets_and_a_file_that_may_become_shorter_is_refused() {
        let file = fd::memory_of(c"area", 8192).expect("a file of memory");
        let (one, other) =
            (Area::map(&file, 8192).expect("a mapping"), Area::map(&file, 8192).expect("another"));
        one.put(4090, b"over a page");
        let mut got = [0; 11];
        other.get(4090, &mut got);
        assert_eq!(&got, b"over a page");
        one.word(2).store(9, Ordering::Release);
        assert_eq!(other.word(2).load(Ordering::Acquire), 9);
        drop(one);
        assert_eq!(other.word(2).load(Ordering::Acquire), 9);
        assert_eq!(Area::map(&file, 8193).map(drop), Err(Errno::EINVAL));
        let loose = fd::memory(c"loose").expect("a file of memory");
        assert_eq!(Area::map(&loose, 1).map(drop), Err(Errno::EINVAL));
    }

    #[test]
    fn what_is_frozen_is_read_in_place_and_only_then() {
        let file = fd::frozen(c"frozen", b"for good").expect("a file of memory");
        assert_eq!(&*Frozen::map(&file).expect("a mapping"), b"for good");
        assert_eq!(fd::write(&file, b"x"), Err(Errno::EPERM));
        assert_eq!(&*Frozen::map(fd::frozen(c"empty", b"").expect("a file")).expect("nothing"), b"");
        let length = fd::memory_of(c"length", 8).expect("a file of memory");
        assert_eq!(Frozen::map(&length).map(drop), Err(Errno::EINVAL));
        let (pipe, _) = fd::pipe().expect("a pipe");
        assert_eq!(Frozen::map(&pipe).map(drop), Err(Errno::EINVAL));
    }
}
