//! Refusing system calls of our own: how an older kernel, or the sandbox of a container engine, is made to
//! order.
//!
//! Every fallback in this crate is tried under such rules. Deliberately absent: any promise of security; who
//! wants to confine a program needs a list of what it may do, not of what it may not.

use crate::{Result, raw};
use alloc::vec::Vec;
use doula_model::plan::Errno;

/// Which calls are refused, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    call: i64,
    /// Also every call that came to the kernel later.
    later: bool,
    /// Only if this argument, as far as the mask reaches, has this value.
    argument: Option<Argument>,
    errno: Errno,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Argument {
    index: u32,
    mask: u32,
    value: u32,
}

impl Rule {
    /// The call of this number is answered with this error.
    pub const fn call(call: i64, errno: Errno) -> Rule {
        Rule { call, later: false, argument: None, errno }
    }

    /// This call and all that came to the kernel after it.
    pub const fn since(call: i64, errno: Errno) -> Rule {
        Rule { call, later: true, argument: None, errno }
    }

    /// Only when the lower half of argument `index` (counted from 0) has `value` in the bits of `mask`.
    #[must_use]
    pub const fn when(mut self, index: u32, mask: u32, value: u32) -> Rule {
        self.argument = Some(Argument { index, mask, value });
        self
    }
}

/// What Linux 5.10 does not know of the things that doula uses: no information in pidfds about the end, no
/// signal to a group by its leader's pidfd, no call that came with 5.11 or later.
pub const LINUX_5_10: &[Rule] = &[
    Rule::call(libc::SYS_ioctl, Errno::ENOTTY).when(1, u32::MAX, crate::pidfd::GET_INFO as u32),
    Rule::call(libc::SYS_pidfd_send_signal, Errno::EINVAL).when(3, PROCESS_GROUP, PROCESS_GROUP),
    Rule::call(libc::SYS_close_range, Errno::EINVAL).when(2, CLOSE_RANGE_CLOEXEC, CLOSE_RANGE_CLOEXEC),
    Rule::since(libc::SYS_epoll_pwait2, Errno::ENOSYS),
];

/// The sandbox of container engines of 2020, which says EPERM to every call that it has not heard of.
pub const CONTAINER_OF_2020: &[Rule] = &[
    Rule::call(libc::SYS_clone3, Errno::EPERM),
    Rule::call(libc::SYS_close_range, Errno::EPERM),
    Rule::since(libc::SYS_openat2, Errno::EPERM),
];

/// The sandbox of today's container engines, which cannot look into the arguments of clone3.
pub const CONTAINER: &[Rule] = &[Rule::call(libc::SYS_clone3, Errno::ENOSYS)];

const PROCESS_GROUP: u32 = crate::pidfd::PROCESS_GROUP as u32;
const CLOSE_RANGE_CLOEXEC: u32 = 4;

/// `prctl(PR_SET_NO_NEW_PRIVS, 1)`—execve gives this thread and its children no more privileges, for ever.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html>
#[doc(alias = "prctl")]
pub fn renounce_privileges() -> Result<()> {
    let args = [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0];
    // SAFETY: this option takes numbers only.
    unsafe { raw::call(libc::SYS_prctl, args) }.map(drop)
}

/// `seccomp(SECCOMP_SET_MODE_FILTER, 0, filter)`—refuses calls to this thread and to all its children, for
/// ever. EACCES without `CAP_SYS_ADMIN`, unless [`renounce_privileges`] came first.
///
/// <https://man7.org/linux/man-pages/man2/seccomp.2.html>
#[doc(alias = "seccomp")]
pub fn refuse(rules: &[Rule]) -> Result<()> {
    let mut filter = filter(rules);
    let length = u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    let args = [libc::SECCOMP_SET_MODE_FILTER as usize, 0, &raw const program as usize, 0, 0, 0];
    // SAFETY: the kernel reads the program and as many instructions as it says, which outlive the call.
    unsafe { raw::call(libc::SYS_seccomp, args) }.map(drop)
}

/// Where `struct seccomp_data` has the number, the machine and the first argument.
const NUMBER_AT: u32 = 0;
const MACHINE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// `AUDIT_ARCH_…` of the machine we are built for.
#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = 0xc000_00b7;

/// One rule after the other; what no rule refuses is allowed, also all calls of another machine.
fn filter(rules: &[Rule]) -> Vec<libc::sock_filter> {
    let allow = instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let mut filter = Vec::from([load(MACHINE_AT), unless(libc::BPF_JEQ, MACHINE, 0)]);
    // Another machine: on to the instruction that allows.
    filter[1].jt = 1;
    filter.push(allow);
    rules.iter().for_each(|rule| append(&mut filter, rule));
    filter.push(allow);
    filter
}

fn append(filter: &mut Vec<libc::sock_filter>, rule: &Rule) {
    let compare = if rule.later { libc::BPF_JGE } else { libc::BPF_JEQ };
    let refuse = instruction(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | rule.errno.0 as u32);
    filter.push(load(NUMBER_AT));
    match rule.argument {
        None => filter.extend([unless(compare, rule.call as u32, 1), refuse]),
        Some(Argument { index, mask, value }) => filter.extend([
            unless(compare, rule.call as u32, 4),
            load(ARGUMENTS_AT + 8 * index),
            instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask),
            unless(libc::BPF_JEQ, value, 1),
            refuse,
        ]),
    }
}

const fn load(at: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

/// Passes over `skip` instructions unless the comparison holds.
const fn unless(compare: u32, value: u32, skip: u8) -> libc::sock_filter {
    let mut jump = instruction(libc::BPF_JMP | compare | libc::BPF_K, value);
    jump.jf = skip;
    jump
}

const fn instruction(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::tests::apart::{apart, refusing};
    use crate::{fd, group};

    #[test]
    fn a_refused_call_says_what_it_was_told_to_and_others_go_on() {
        apart(|| {
            let rules = [
                Rule::call(libc::SYS_getpgid, Errno::ENXIO),
                Rule::call(libc::SYS_fcntl, Errno::EBUSY).when(1, u32::MAX, libc::F_SETFD as u32),
            ];
            if !refusing(&rules) {
                return;
            }
            assert_eq!(group::getpgid(None), Err(Errno::ENXIO));
            assert!(group::getsid(None).is_ok() || group::getsid(None) == Err(Errno::ENXIO));
            let (reader, _writer) = fd::pipe().expect("pipe");
            assert_eq!(fd::set_cloexec(&reader, true), Err(Errno::EBUSY));
            assert!(fd::duplicate(&reader, 3).is_ok(), "fcntl with another argument");
        });
    }

    #[test]
    fn what_a_kernel_does_not_know_yet_is_refused_with_all_that_came_later() {
        apart(|| {
            if !refusing(LINUX_5_10) {
                return;
            }
            let ask = |number| {
                // SAFETY: with bad arguments both calls fail, if they are there at all.
                unsafe { raw::call(number, [usize::MAX; 6]) }.map(drop)
            };
            assert_eq!(ask(libc::SYS_epoll_pwait2), Err(Errno::ENOSYS));
            assert_eq!(ask(libc::SYS_landlock_create_ruleset), Err(Errno::ENOSYS));
            assert_ne!(ask(libc::SYS_clone3), Err(Errno::ENOSYS), "Linux 5.3 has it");
        });
    }
}
