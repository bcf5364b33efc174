//! Memory that several processes have together, and sleeping on a word of it: orders and answers between programs that are
//! compared and whoever compares them, and what a supervisor leaves to whoever keeps its fds. Feature `std`.

use crate::{Result, raw};
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
}
