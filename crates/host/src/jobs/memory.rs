//! Deaths for want of memory, by the kernel's count of them for the whole machine.
//!
//! A job that SIGKILL ended, which nobody of ours sent, while the count rose, is taken for one of them. The count of its own
//! cgroup would be surer, but is there only with the memory controller.

use std::fs;

/// What the count was when we looked last.
#[derive(Debug)]
pub(super) struct Deaths(Option<u64>);

impl Deaths {
    /// From now on.
    pub(super) fn new() -> Deaths {
        Deaths(counted())
    }

    /// Whether there were any since the last look.
    pub(super) fn any(&mut self) -> bool {
        let now = counted();
        let before = std::mem::replace(&mut self.0, now);
        matches!((before, now), (Some(before), Some(now)) if now > before)
    }
}

/// `oom_kill` of `/proc/vmstat` (Linux 4.13), which has those for want of memory in a cgroup too.
fn counted() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_counts_and_who_looks_twice_sees_each_death_once() {
        let mut deaths = Deaths(counted().map(|count| count.saturating_sub(1)));
        let some = counted().is_some_and(|count| count > 0);
        assert_eq!(deaths.any(), some);
        assert!(!Deaths(None).any());
    }
}
