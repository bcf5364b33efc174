//! The very first instructions of a program that has no C library and no standard library: `doula-init`.
//!
//! With the feature `start` and without `std` this module brings what every program needs and nobody else
//! brings: `_start`, the five memory functions that compilers call, an allocator, and the end after a panic.
//! When the whole workspace is built at once cargo turns `std` on for everybody; then all that comes from the
//! standard library, and [`crate::entry!`] makes an ordinary `main` of C.

use alloc::vec::Vec;
use core::ffi::{CStr, c_char};

/// What a program is started with, as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The arguments, `argv[0]` included.
    pub args: Vec<Vec<u8>>,
    /// The environment as `NAME=value`.
    pub env: Vec<Vec<u8>>,
}

impl Start {
    /// Copies the lists that the kernel put on the stack.
    ///
    /// # Safety
    /// Both must be lists of C strings that end with a null pointer, as a program is started with.
    #[doc(hidden)]
    pub unsafe fn from_lists(args: *const *const c_char, env: *const *const c_char) -> Start {
        // SAFETY: the caller vouches for it.
        let args = unsafe { list(args) };
        // SAFETY: the same.
        let env = unsafe { list(env) };
        Start { args, env }
    }
}

/// # Safety
/// As [`Start::from_lists`].
unsafe fn list(mut at: *const *const c_char) -> Vec<Vec<u8>> {
    let mut list = Vec::with_capacity(16);
    loop {
        // SAFETY: the list goes on until its null pointer.
        let string = unsafe { at.read() };
        if string.is_null() {
            return list;
        }
        // SAFETY: every entry is a C string.
        let string = unsafe { CStr::from_ptr(string) };
        list.push(string.to_bytes().to_vec());
        at = at.wrapping_add(1);
    }
}

/// `exit_group(code)`—ends this process at once: no destructor runs, nothing is flushed.
///
/// <https://man7.org/linux/man-pages/man2/exit_group.2.html>
#[doc(alias = "exit_group")]
pub fn exit(code: u8) -> ! {
    loop {
        // SAFETY: takes a number only, and does not return.
        unsafe { crate::raw::syscall(libc::SYS_exit_group, [usize::from(code), 0, 0, 0, 0, 0]) };
    }
}

/// Makes `fn(Start) -> u8` the beginning of a `#![no_std] #![no_main]` program.
#[cfg(all(feature = "start", not(feature = "std")))]
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// Called by `_start`.
        #[unsafe(no_mangle)]
        extern "Rust" fn doula_main(start: $crate::start::Start) -> u8 {
            $main(start)
        }
    };
}

/// Makes `fn(Start) -> u8` the beginning of a `#![no_std] #![no_main]` program.
#[cfg(not(all(feature = "start", not(feature = "std"))))]
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// Called by the C library.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            _count: i32,
            args: *const *const core::ffi::c_char,
            env: *const *const core::ffi::c_char,
        ) -> i32 {
            // SAFETY: these are the lists that the C library got from the kernel.
            i32::from($main(unsafe { $crate::start::Start::from_lists(args, env) }))
        }
    };
}

#[cfg(all(feature = "start", not(feature = "std"), not(test)))]
mod bare;
#[cfg(all(feature = "start", not(feature = "std"), not(test)))]
mod memory;
