//! Letters of `/proc` that programs of one call at a time do not show: the threads of the kernel.

use crate::eyes::skipped;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;

/// PF_KTHREAD.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What `/proc/PID/stat` has after the name: letter, parent, group, session, terminal, foreground, flags.
fn stat(pid: i32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').take(7).map(str::to_owned).collect())
}

fn is_kernel_thread(stat: &[String]) -> bool {
    stat.get(6).and_then(|flags| flags.parse::<u64>().ok()).is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

/// kthreadd; `None` where it is not seen, which is told.
fn kthreadd() -> Option<Vec<String>> {
    let found = stat(2).filter(|stat| is_kernel_thread(stat));
    if found.is_none() {
        skipped("no thread of the kernel is seen here: this is a PID namespace, or /proc hides it");
    }
    found
}

#[test]
fn r15_kthreadd_and_its_children_are_in_no_group_and_some_are_i() {
    let Some(kthreadd) = kthreadd() else { return };
    assert_eq!(kthreadd[1..4], ["0", "0", "0"], "no parent, no group, no session");
    let numbers = fs::read_dir("/proc").expect("/proc").flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let children: Vec<Vec<String>> = numbers.filter_map(stat).filter(|stat| stat[1] == "2").collect();
    assert!(children.iter().all(|stat| is_kernel_thread(stat) && stat[2..5] == ["0", "0", "0"]));
    assert!(children.iter().any(|stat| stat[0] == "I"), "{children:?}");
}

#[test]
fn r15_threads_of_the_kernel_ignore_signals() {
    let Some(before) = kthreadd() else { return };
    let handle = pidfd_open(Pid::from_raw(2).expect("a number"), PidfdFlags::empty()).expect("a handle");
    match pidfd_send_signal(&handle, Signal::USR1) {
        Err(rustix::io::Errno::PERM) => {
            return skipped("only root may send signals to threads of the kernel");
        }
        sent => sent.expect("a signal sent"),
    }
    let after = stat(2).expect("it is still there");
    assert_eq!(after[1..4], before[1..4]);
    let status = fs::read_to_string("/proc/2/status").expect("its status");
    let waiting = status.lines().filter(|line| line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"));
    assert!(waiting.clone().count() == 2 && waiting.clone().all(|line| line.ends_with("0000000000000000")));
    assert!(status.lines().any(|line| line.starts_with("SigIgn:") && line.ends_with("ffffffffffffffff")));
}
