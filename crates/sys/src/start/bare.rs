//! What the standard library would bring.

use super::{Start, exit};
use crate::fd::{self, Standard};
use crate::raw;
use core::alloc::{GlobalAlloc, Layout};
use core::arch::global_asm;
use core::ffi::c_char;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

// The kernel starts us with the number of arguments, the arguments, a null, the environment and a null on the
// stack, and no return address: the stack pointer is handed on, and the frame chain ends here.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin,
);
#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {begin}",
    "brk #1",
    begin = sym begin,
);

unsafe extern "Rust" {
    /// Defined by [`crate::entry!`].
    safe fn doula_main(start: Start) -> u8;
}

extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the kernel put the number of arguments there.
    let count = unsafe { stack.read() };
    let args = stack.wrapping_add(1).cast::<*const c_char>();
    let env = args.wrapping_add(count + 1);
    // SAFETY: both lists are the kernel's and end with null pointers.
    let start = unsafe { Start::from_lists(args, env) };
    exit(doula_main(start))
}

/// There is nobody to unwind to and nothing to save: the message, and our own failure's code.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let text = alloc::format!("doula-init: {info}\n");
    // Nobody is left who could be told of a failure.
    let _ = fd::write(fd::standard(Standard::Err), text.as_bytes());
    exit(125)
}

/// Gives memory out in one direction and takes back only what was given out last. An init allocates while it
/// starts, and then next to nothing.
struct Bump;

#[global_allocator]
static MEMORY: Bump = Bump;

/// Where the next block begins, and where the mapping ends. There is one thread.
static NEXT: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// How much is mapped at a time. What is not touched costs address space only.
const STRIDE: usize = 1024 * 1024;

// SAFETY: blocks never overlap: `NEXT` only grows past what is given out, except when the last block is given
// back or resized, whose owner then holds nothing beyond its new end.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(start) = NEXT.load(Ordering::Relaxed).checked_next_multiple_of(layout.align()) else {
            return ptr::null_mut();
        };
        let Some(end) = start.checked_add(layout.size()) else { return ptr::null_mut() };
        if start != 0 && end <= END.load(Ordering::Relaxed) {
            NEXT.store(end, Ordering::Relaxed);
            return ptr::with_exposed_provenance_mut(start);
        }
        match map(layout.size()) {
            // A mapping is aligned to pages, which no layout here exceeds.
            Some(start) if layout.align() <= 4096 => {
                NEXT.store(start + layout.size(), Ordering::Relaxed);
                ptr::with_exposed_provenance_mut(start)
            }
            _ => ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if block.addr() + layout.size() == NEXT.load(Ordering::Relaxed) {
            NEXT.store(block.addr(), Ordering::Relaxed);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let last = block.addr() + layout.size() == NEXT.load(Ordering::Relaxed);
        let end = block.addr().saturating_add(size);
        if last && end <= END.load(Ordering::Relaxed) {
            NEXT.store(end, Ordering::Relaxed);
            return block;
        }
        if size <= layout.size() {
            return block;
        }
        // SAFETY: the caller vouches that this is a valid layout.
        let larger = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: a larger size is not zero.
        let new = unsafe { self.alloc(larger) };
        if !new.is_null() {
            // SAFETY: both blocks are at least this long, and the new one overlaps no other.
            unsafe { ptr::copy_nonoverlapping(block, new, layout.size()) };
        }
        new
    }
}

/// A new stretch of memory, which becomes the current one.
fn map(least: usize) -> Option<usize> {
    let size = least.checked_next_multiple_of(STRIDE)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let args = [0, size, access as usize, flags as usize, usize::MAX, 0];
    // SAFETY: a new private mapping touches no memory of anybody.
    let start = unsafe { raw::call(libc::SYS_mmap, args) }.ok()?;
    END.store(start + size, Ordering::Relaxed);
    Some(start)
}

/// Named by the landing pads of the precompiled `alloc`, which nobody lands on: a panic aborts.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(125)
}

/// Named beside it in the tables of the same landing pads.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
