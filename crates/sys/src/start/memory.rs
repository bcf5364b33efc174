//! The memory functions that compilers call where code says "copy" or "compare". In assembly, because a loop
//! written in Rust would be recognised and turned into a call of itself.

use core::arch::asm;

/// `memcpy(3)`. # Safety: as there.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both areas.
    unsafe { forward(to, from, count) };
    to
}

/// `memmove(3)`. # Safety: as there.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: the caller vouches for both areas; going forward never overwrites what is still to be read.
        unsafe { forward(to, from, count) };
    } else {
        // SAFETY: the same, and the target is behind the source.
        unsafe { backward(to, from, count) };
    }
    to
}

/// `memset(3)`. # Safety: as there.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: the caller vouches for the area.
    unsafe { fill(to, byte as u8, count) };
    to
}

/// `memcmp(3)`. # Safety: as there.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for index in 0..count {
        // SAFETY: the caller vouches for both areas.
        let a = unsafe { one.wrapping_add(index).read() };
        // SAFETY: the same.
        let b = unsafe { other.wrapping_add(index).read() };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// `bcmp(3)`. # Safety: as there.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller vouches for both areas.
    unsafe { memcmp(one, other, count) }
}

/// `strlen(3)`. # Safety: as there.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(string: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: the caller vouches that the string ends. Volatile, so that this loop is not seen as strlen.
    while unsafe { string.wrapping_add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn forward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller vouches for both areas; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn backward(to: *mut u8, from: *const u8, count: usize) {
    let last = count.wrapping_sub(1);
    // SAFETY: the caller vouches for both areas; the direction flag is cleared again as the ABI wants it.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _, inout("rdi") to.wrapping_add(last) => _,
            inout("rsi") from.wrapping_add(last) => _, options(nostack));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn fill(to: *mut u8, byte: u8, count: usize) {
    // SAFETY: the caller vouches for the area; the direction flag is clear by the ABI.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte,
            options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn forward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller vouches for both areas.
    unsafe {
        asm!("2:", "cbz {n}, 3f", "ldrb {t:w}, [{s}], #1", "strb {t:w}, [{d}], #1", "sub {n}, {n}, #1", "b 2b",
            "3:", n = inout(reg) count => _, s = inout(reg) from => _, d = inout(reg) to => _, t = out(reg) _,
            options(nostack));
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn backward(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: the caller vouches for both areas.
    unsafe {
        asm!("2:", "cbz {n}, 3f", "sub {n}, {n}, #1", "ldrb {t:w}, [{s}, {n}]", "strb {t:w}, [{d}, {n}]", "b 2b",
            "3:", n = inout(reg) count => _, s = in(reg) from, d = in(reg) to, t = out(reg) _,
            options(nostack));
    }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn fill(to: *mut u8, byte: u8, count: usize) {
    // SAFETY: the caller vouches for the area.
    unsafe {
        asm!("2:", "cbz {n}, 3f", "strb {b:w}, [{d}], #1", "sub {n}, {n}, #1", "b 2b", "3:",
            n = inout(reg) count => _, d = inout(reg) to => _, b = in(reg) u32::from(byte),
            options(nostack));
    }
}
