//! One system call inside of another thread: it is held, made to call, and let go with every register restored.
//!
//! The thread is seized and interrupted (no signal is sent), all its signals are held back, and it makes the call through the
//! `syscall` instruction that every process has in its vDSO. The last stop is one at which the kernel decides whether an interrupted
//! call begins again; so with the registers of before, a thread that slept in a call goes on sleeping in it.
//!
//! Absent on purpose: programs of 32 bits, whose registers are others (EINVAL), and everything else that ptrace(2) can do.

use crate::{Result, fd, poll, raw, time};
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::time::Duration;
use doula_model::id::Pid;
use doula_model::plan::Errno;

/// Of `enum __ptrace_request`; the C libraries do not have all of them.
pub(crate) const SEIZE: usize = 0x4206;
pub(crate) const INTERRUPT: usize = 0x4207;
const GET_REGISTERS: usize = 0x4204;
const SET_REGISTERS: usize = 0x4205;
const GET_MASK: usize = 0x420a;
const SET_MASK: usize = 0x420b;
pub(crate) const DETACH: usize = 17;
pub(crate) const CONT: usize = 7;
/// Goes on to the next entry into a call, or return from one.
const TO_CALL: usize = 24;
/// Stops at calls are told from those by SIGTRAP (`PTRACE_O_TRACESYSGOOD`).
const MARK_CALLS: usize = 1;
/// The set of general registers (`NT_PRSTATUS`).
const GENERAL: usize = 1;
/// Of the auxiliary vector: where the vDSO is (`AT_SYSINFO_EHDR`).
const VDSO: u64 = 33;
/// No vDSO is longer.
const VDSO_LENGTH: usize = 16 * 1024;
/// `wait4(…, __WALL | WNOHANG)` inside of the other: it must not sleep there.
const WAIT_OPTIONS: usize = 0x4000_0000 | 1;

#[cfg(target_arch = "x86_64")]
mod arch {
    /// `struct user_regs_struct`: 27 words.
    pub(super) const WORDS: usize = 27;
    pub(super) const INSTRUCTION: &[u8] = &[0x0f, 0x05];
    /// Instructions may stand anywhere.
    pub(super) const STEP: usize = 1;
    const RAX: usize = 10;
    const ORIG_RAX: usize = 15;
    const RIP: usize = 16;
    /// rdi, rsi, rdx, r10.
    const ARGS: [usize; 4] = [14, 13, 12, 7];

    pub(super) fn call(registers: &mut [u64], at: u64, number: u64, args: [u64; 4]) {
        (registers[RIP], registers[RAX]) = (at, number);
        // No call was interrupted here, so that none begins again.
        registers[ORIG_RAX] = u64::MAX;
        ARGS.iter().zip(args).for_each(|(register, value)| registers[*register] = value);
    }

    pub(super) fn answer(registers: &[u64]) -> isize {
        registers[RAX] as isize
    }
}

#[cfg(target_arch = "aarch64")]
mod arch {
    /// `struct user_pt_regs`: x0 to x30, sp, pc, pstate.
    pub(super) const WORDS: usize = 34;
    /// `svc #0`.
    pub(super) const INSTRUCTION: &[u8] = &[0x01, 0x00, 0x00, 0xd4];
    pub(super) const STEP: usize = 4;
    const PC: usize = 32;
    const NUMBER: usize = 8;

    pub(super) fn call(registers: &mut [u64], at: u64, number: u64, args: [u64; 4]) {
        registers[..4].copy_from_slice(&args);
        (registers[NUMBER], registers[PC]) = (number, at);
    }

    pub(super) fn answer(registers: &[u64]) -> isize {
        registers[0] as isize
    }
}

type Registers = [u64; arch::WORDS];

/// `ptrace(PTRACE_SEIZE)`—from now on we trace this thread: its stops and its end are told to us first. It goes on running. EPERM
/// when we may not, or somebody else does. Who ends lets go.
///
/// <https://man7.org/linux/man-pages/man2/ptrace.2.html>
pub fn seize(thread: Pid) -> Result<()> {
    trace(SEIZE, thread, 0, MARK_CALLS).map(drop)
}

/// A thread that we hold. It is let go, with its registers and its mask of before, when this is dropped.
#[derive(Debug)]
pub struct Held {
    thread: Pid,
    instruction: u64,
    registers: Registers,
    mask: u64,
}

impl Held {
    /// `ptrace(PTRACE_SEIZE)`, `ptrace(PTRACE_INTERRUPT)`—holds a thread. EPERM when we may not, or somebody else traces it;
    /// ESRCH when it is gone. Reads its memory (the vDSO), which waits for the lock of its memory map: whoever must not hang asks
    /// before whether that is free. ETIMEDOUT when it does not stop within this time (it is blocked, or frozen): it stays seized until
    /// the thread that called this ends, and stops when it can.
    ///
    /// <https://man7.org/linux/man-pages/man2/ptrace.2.html>
    pub fn take(thread: Pid, within: Duration) -> Result<Held> {
        // Before it is held: whoever waits for a lock that somebody held by us has would wait for ever.
        let instruction = instruction(thread)?;
        seize(thread)?;
        let held = hold(thread, instruction, within);
        if held.is_err() {
            // It never was changed. Who has not stopped cannot be let go yet.
            let _ = trace(DETACH, thread, 0, 0);
        }
        held
    }

    /// `wait4(pid, NULL, WNOHANG | __WALL, NULL)` inside of the thread—buries its child with this number, which is one of its
    /// own PID namespace. `false` when the child lives, or its tracer has not taken its end. ECHILD when it has none.
    ///
    /// <https://man7.org/linux/man-pages/man2/wait4.2.html>
    #[doc(alias = "wait4")]
    pub fn wait_for(&mut self, child: i32) -> Result<bool> {
        let args = [child as u64, 0, WAIT_OPTIONS as u64, 0];
        let answer = self.call(libc::SYS_wait4 as u64, args)?;
        raw::check(answer).map(|pid| pid == child as usize)
    }

    fn call(&mut self, number: u64, args: [u64; 4]) -> Result<isize> {
        let mut registers = self.registers;
        arch::call(&mut registers, self.instruction, number, args);
        set_registers(self.thread, &registers)?;
        leave_call(self.thread)?;
        // To its entry, and to its return.
        for _ in 0..2 {
            to_call(self.thread)?;
        }
        let answer = arch::answer(&get_registers(self.thread)?);
        // To a stop at which the kernel looks at the registers anew.
        trace(INTERRUPT, self.thread, 0, 0)?;
        trace(CONT, self.thread, 0, 0)?;
        interrupted(self.thread, FOR_EVER)?;
        Ok(answer)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Who was killed meanwhile needs none of it.
        let _ = set_registers(self.thread, &self.registers);
        let _ = trace(SET_MASK, self.thread, size_of::<u64>(), &raw const self.mask as usize);
        let _ = trace(DETACH, self.thread, 0, 0);
    }
}

fn hold(thread: Pid, instruction: u64, within: Duration) -> Result<Held> {
    trace(INTERRUPT, thread, 0, 0)?;
    interrupted(thread, within)?;
    let mut mask = 0_u64;
    trace(GET_MASK, thread, size_of::<u64>(), &raw mut mask as usize)?;
    let registers = get_registers(thread)?;
    let all = u64::MAX;
    trace(SET_MASK, thread, size_of::<u64>(), &raw const all as usize)?;
    Ok(Held { thread, instruction, registers, mask })
}

fn trace(request: usize, thread: Pid, address: usize, data: usize) -> Result<usize> {
    // SAFETY: whoever passes an address passes one of his own variables, of the size that the request reads or writes.
    unsafe { raw::call(libc::SYS_ptrace, [request, thread.get() as usize, address, data, 0, 0]) }
}

/// Why a thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// At a system call.
    Call,
    /// It was interrupted, or its process is stopped.
    Event,
    /// This signal is about to be delivered.
    Signal(usize),
}

/// A thread that was running is at its next call, or at its interruption, as soon as it gets a CPU.
const FOR_EVER: Duration = Duration::MAX;

/// Waits until the thread stops; ESRCH when it ends instead.
fn stopped(thread: Pid, within: Duration) -> Result<Stop> {
    const EVENT: i32 = 128;
    const AT_CALL: i32 = libc::SIGTRAP | 0x80;
    let (begin, silent) = (time::boottime(), poll::eventfd()?);
    loop {
        let mut status = 0_i32;
        let options = (libc::__WALL | libc::WNOHANG) as usize;
        let args = [thread.get() as usize, &raw mut status as usize, options, 0, 0, 0];
        // SAFETY: the status is ours and an int.
        let pid = unsafe { raw::call(libc::SYS_wait4, args) }?;
        match (pid, status & 0xff, status >> 16, (status >> 8) & 0xff) {
            (0, ..) => {}
            (_, 0x7f, EVENT, _) => return Ok(Stop::Event),
            (_, 0x7f, _, AT_CALL) => return Ok(Stop::Call),
            (_, 0x7f, _, signal) => return Ok(Stop::Signal(signal as usize)),
            (..) => return Err(Errno::ESRCH),
        }
        if u128::from(time::boottime().as_nanos() - begin.as_nanos()) > within.as_nanos() {
            return Err(Errno::ETIMEDOUT);
        }
        // No descriptor tells of the stops of a thread, and SIGCHLD may be somebody else's.
        let _ = poll::readable(&silent, Some(LOOK_EVERY));
    }
}

/// Between two looks whether it has stopped.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// Lets it go on until it stops at a call. Signals that cannot be held back are passed on.
fn to_call(thread: Pid) -> Result<()> {
    let mut signal = 0;
    loop {
        trace(TO_CALL, thread, 0, signal)?;
        match stopped(thread, FOR_EVER)? {
            Stop::Call => return Ok(()),
            Stop::Event => signal = 0,
            Stop::Signal(number) => signal = number,
        }
    }
}

/// Waits until it stops because it was interrupted. Signals that come before are passed on.
fn interrupted(thread: Pid, within: Duration) -> Result<()> {
    loop {
        let signal = match stopped(thread, within)? {
            Stop::Event => return Ok(()),
            Stop::Call => 0,
            Stop::Signal(number) => number,
        };
        trace(CONT, thread, 0, signal)?;
    }
}

#[repr(C)]
struct Vector {
    base: usize,
    length: usize,
}

fn get_registers(thread: Pid) -> Result<Registers> {
    let mut registers = [0; arch::WORDS];
    let mut vector = Vector { base: registers.as_mut_ptr() as usize, length: size_of::<Registers>() };
    trace(GET_REGISTERS, thread, GENERAL, &raw mut vector as usize)?;
    // A program of 32 bits has fewer.
    if vector.length == size_of::<Registers>() { Ok(registers) } else { Err(Errno::EINVAL) }
}

fn set_registers(thread: Pid, registers: &Registers) -> Result<()> {
    let vector = Vector { base: registers.as_ptr() as usize, length: size_of::<Registers>() };
    trace(SET_REGISTERS, thread, GENERAL, &raw const vector as usize).map(drop)
}

/// Says that the thread is in no call (`NT_ARM_SYSTEM_CALL`): there, that is not among the registers.
#[cfg(target_arch = "aarch64")]
fn leave_call(thread: Pid) -> Result<()> {
    const SYSTEM_CALL: usize = 0x404;
    let number = -1_i32;
    let vector = Vector { base: &raw const number as usize, length: size_of::<i32>() };
    trace(SET_REGISTERS, thread, SYSTEM_CALL, &raw const vector as usize).map(drop)
}

#[cfg(target_arch = "x86_64")]
fn leave_call(_thread: Pid) -> Result<()> {
    Ok(())
}

/// Where the thread has an instruction that makes a system call. ENOEXEC when its vDSO has none.
fn instruction(thread: Pid) -> Result<u64> {
    let read = |path: &str, offset: u64, most: usize| -> Result<Vec<u8>> {
        let path = alloc::ffi::CString::new(path).map_err(|_| Errno::EINVAL)?;
        let path: &CStr = &path;
        let file = fd::open(path, fd::Access::Read)?;
        let mut bytes = alloc::vec![0; most];
        let length = fd::read_at(&file, &mut bytes, offset)?;
        bytes.truncate(length);
        Ok(bytes)
    };
    let vector = read(&format!("/proc/{thread}/auxv"), 0, 4096)?;
    let begin = vdso(&vector).ok_or(Errno::ENOEXEC)?;
    let code = read(&format!("/proc/{thread}/mem"), begin, VDSO_LENGTH)?;
    let at = find(&code).ok_or(Errno::ENOEXEC)?;
    Ok(begin + at as u64)
}

fn vdso(vector: &[u8]) -> Option<u64> {
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_ne_bytes);
    vector.chunks_exact(16).find_map(|pair| (word(&pair[..8])? == VDSO).then(|| word(&pair[8..]))?)
}

fn find(code: &[u8]) -> Option<usize> {
    let length = arch::INSTRUCTION.len();
    (0..code.len().saturating_sub(length))
        .step_by(arch::STEP)
        .find(|at| &code[*at..*at + length] == arch::INSTRUCTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vdso_of_everybody_has_an_instruction_for_system_calls() {
        let us = crate::group::pid();
        let at = instruction(us).expect("a vDSO");
        assert!(at > 0);
    }

    #[test]
    fn no_bytes_of_a_vector_make_it_panic() {
        for length in 0..70 {
            let _ = (vdso(&alloc::vec![33; length]), find(&alloc::vec![0x0f; length]));
        }
    }
}
