//! The bare system call instruction, for what rustix does not wrap and for the child between clone and exec.
//!
//! The child shares its parent's memory there, so that no libc function may run: even `errno` would be the
//! parent's.

use crate::Result;
use core::arch::asm;
use doula_model::plan::Errno;

/// Six arguments, as every system call of Linux can take them.
pub(crate) type Args = [usize; 6];

/// Makes system call `number`; the answer is a value, or `-errno`.
///
/// # Safety
/// The arguments must be what this system call expects: each pointer valid for what the kernel reads or
/// writes through it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn syscall(number: i64, args: Args) -> isize {
    let answer: isize;
    // SAFETY: the caller vouches for the arguments; rcx and r11 are what `syscall` overwrites.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// Makes system call `number`; the answer is a value, or `-errno`.
///
/// # Safety
/// The arguments must be what this system call expects: each pointer valid for what the kernel reads or
/// writes through it.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) unsafe fn syscall(number: i64, args: Args) -> isize {
    let answer: isize;
    // SAFETY: the caller vouches for the arguments; x0 is all that `svc` overwrites.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") args[0] as isize => answer,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5],
            options(nostack),
        );
    }
    answer
}

/// Tells a value from an error.
#[inline(always)]
pub(crate) fn check(answer: isize) -> Result<usize> {
    if (-4095..0).contains(&answer) { Err(Errno(-answer as i32)) } else { Ok(answer as usize) }
}

/// [`syscall`] and [`check`] in one.
///
/// # Safety
/// As [`syscall`].
#[inline(always)]
pub(crate) unsafe fn call(number: i64, args: Args) -> Result<usize> {
    // SAFETY: the caller vouches for the arguments.
    check(unsafe { syscall(number, args) })
}

/// Makes `clone3` (or `clone`, where `args` are its own) with a stack for the child, on which `entry` runs
/// with `argument`. Returns in the parent only.
///
/// # Safety
/// The arguments must name a stack of the child's own with room for `entry`, and `entry` must live with what
/// it finds: the parent's memory, and nothing of the thread that called.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn clone(
    number: i64,
    args: Args,
    entry: extern "C" fn(usize) -> !,
    argument: usize,
) -> isize {
    let answer: isize;
    // SAFETY: the kernel preserves every register but rax, rcx and r11 on both sides; the child's branch
    // leaves for good on a stack that it aligns as the ABI of `entry` wants it.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "and rsp, -16",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") number as isize => answer,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5],
            in("r12") argument, in("r13") entry,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    answer
}

/// Makes `clone3` (or `clone`, where `args` are its own) with a stack for the child, on which `entry` runs
/// with `argument`. Returns in the parent only.
///
/// # Safety
/// The arguments must name a stack of the child's own with room for `entry`, and `entry` must live with what
/// it finds: the parent's memory, and nothing of the thread that called.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) unsafe fn clone(
    number: i64,
    args: Args,
    entry: extern "C" fn(usize) -> !,
    argument: usize,
) -> isize {
    let answer: isize;
    // SAFETY: the kernel preserves every register but x0 on both sides; the child's branch leaves for good
    // on a stack whose top is 16-byte aligned.
    unsafe {
        asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x9",
            "blr x10",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") args[0] as isize => answer,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4], in("x5") args[5],
            in("x9") argument, in("x10") entry,
        );
    }
    answer
}

/// Makes `clone` or `clone3` (`number`), and goes on in the new child only: whoever called ends by `exit_group(0)`, once the child
/// has executed a program or ended (`CLONE_VFORK`). Returns in the caller only to say why there is no child.
///
/// # Safety
/// The flags must have `CLONE_VM` and `CLONE_VFORK`, no stack be given, and the addresses be valid. The caller must be a process
/// whose end by itself is right.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn go_on_in_a_child(number: i64, args: Args) -> Result<()> {
    let answer: isize;
    // SAFETY: the child has our stack, as after vfork(2), and we use it no more: once the child lets us go on, only registers
    // are used until our end.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jle 2f",
            "xor edi, edi",
            "mov eax, {exit}",
            "syscall",
            "ud2",
            "2:",
            exit = const libc::SYS_exit_group,
            inlateout("rax") number as isize => answer,
            inlateout("rdi") args[0] => _,
            in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4],
            lateout("rcx") _, lateout("r11") _,
        );
    }
    check(answer).map(drop)
}

/// Makes `clone` or `clone3` (`number`), and goes on in the new child only: whoever called ends by `exit_group(0)`, once the child
/// has executed a program or ended (`CLONE_VFORK`). Returns in the caller only to say why there is no child.
///
/// # Safety
/// The flags must have `CLONE_VM` and `CLONE_VFORK`, no stack be given, and the addresses be valid. The caller must be a process
/// whose end by itself is right.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) unsafe fn go_on_in_a_child(number: i64, args: Args) -> Result<()> {
    let answer: isize;
    // SAFETY: the child has our stack, as after vfork(2), and we use it no more: once the child lets us go on, only registers
    // are used until our end.
    unsafe {
        asm!(
            "svc #0",
            "cmp x0, #0",
            "b.le 2f",
            "mov x0, xzr",
            "mov x8, {exit}",
            "svc #0",
            "brk #1",
            "2:",
            exit = const libc::SYS_exit_group,
            inlateout("x8") number => _,
            inlateout("x0") args[0] as isize => answer,
            in("x1") args[1], in("x2") args[2], in("x3") args[3], in("x4") args[4],
        );
    }
    check(answer).map(drop)
}
