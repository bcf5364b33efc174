//! Resource limits, the number of CPUs, and who has them.

use crate::{Result, raw};
use core::ptr;
use doula_model::plan::{Resource, Rlimit};

/// `prlimit(0, resource, NULL, old)`—our own limit. `u64::MAX` is "unlimited".
///
/// <https://man7.org/linux/man-pages/man2/getrlimit.2.html>
#[doc(alias = "getrlimit")]
pub fn get(resource: Resource) -> Result<Rlimit> {
    let mut old = [0u64; 2];
    prlimit(resource, ptr::null(), &mut old)?;
    Ok(Rlimit { resource, soft: old[0], hard: old[1] })
}

/// `prlimit(0, resource, new, NULL)`—sets our own limit. EPERM when the hard limit would be raised without
/// `CAP_SYS_RESOURCE`.
///
/// <https://man7.org/linux/man-pages/man2/setrlimit.2.html>
#[doc(alias = "setrlimit")]
pub fn set(limit: Rlimit) -> Result<()> {
    prlimit(limit.resource, &[limit.soft, limit.hard], ptr::null_mut())
}

/// `sysconf(_SC_PAGESIZE)`—so many bytes has a page of memory.
///
/// <https://man7.org/linux/man-pages/man3/sysconf.3.html>
pub fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

fn prlimit(resource: Resource, new: *const [u64; 2], old: *mut [u64; 2]) -> Result<()> {
    let args = [0, resource as usize, new as usize, old as usize, 0, 0];
    // SAFETY: both pointers are null or point to two 64-bit numbers, which is what `struct rlimit64` is.
    unsafe { raw::call(libc::SYS_prlimit64, args) }.map(drop)
}

/// `sched_getaffinity(0)`—the CPUs we may run on, counted. At least 1.
///
/// <https://man7.org/linux/man-pages/man2/sched_getaffinity.2.html>
#[doc(alias = "sched_getaffinity")]
pub fn cpu_count() -> Result<usize> {
    let mut mask = [0u64; MAX_CPUS / 64];
    let args = [0, size_of_val(&mask), mask.as_mut_ptr() as usize, 0, 0, 0];
    // SAFETY: the kernel writes at most as many bytes as the second argument says.
    unsafe { raw::call(libc::SYS_sched_getaffinity, args) }?;
    let count: u32 = mask.iter().map(|word| word.count_ones()).sum();
    Ok(count.max(1) as usize)
}

/// As many as any kernel can be built for (`CONFIG_NR_CPUS` ends at 8192).
pub(crate) const MAX_CPUS: usize = 8192;

/// `sched_yield()`—lets others who wait for this CPU have it first, those we have just woken among them.
/// Returns at once when there are none.
///
/// <https://man7.org/linux/man-pages/man2/sched_yield.2.html>
#[doc(alias = "sched_yield")]
pub fn give_way() {
    rustix::thread::sched_yield();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::tests::apart::alone;
    use doula_model::plan::Errno;

    #[test]
    fn a_limit_set_to_what_it_is_stays_what_it_is() {
        for &resource in Resource::ALL {
            let before = get(resource).expect("every listed resource exists");
            set(before).expect("no change is always allowed");
            assert_eq!(get(resource), Ok(before));
        }
    }

    #[test]
    fn a_limit_can_be_lowered_and_its_soft_part_not_above_the_hard_one() {
        let name = "limits::tests::a_limit_can_be_lowered_and_its_soft_part_not_above_the_hard_one";
        alone(
            name,
            |_| {},
            || {
                let lower = Rlimit { resource: Resource::Nofile, soft: 50, hard: 60 };
                assert_eq!((set(lower), get(Resource::Nofile)), (Ok(()), Ok(lower)));
                assert_eq!(set(Rlimit { soft: 61, ..lower }), Err(Errno::EINVAL));
                assert_eq!(get(Resource::Nofile), Ok(lower));
            },
        );
    }

    #[test]
    fn cpus_are_counted_as_the_standard_library_counts_them() {
        let counted = cpu_count().expect("sched_getaffinity");
        assert!(counted >= std::thread::available_parallelism().map_or(1, usize::from));
    }
}
