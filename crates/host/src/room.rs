//! What room the machine has for more processes: memory, load, pressure, CPUs, open files.

use doula_model::id::Pid;
use doula_model::plan::{Resource, Rlimit};
use doula_sys::limits;
use std::fs;

/// `MemAvailable` of proc_meminfo(5), in bytes.
///
/// ```
/// assert!(doula_host::room::available_memory().is_some_and(|bytes| bytes > 0));
/// ```
#[must_use]
pub fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The load average over one minute (proc_loadavg(5)).
///
/// ```
/// assert!(doula_host::room::load_average().is_some());
/// ```
#[must_use]
pub fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The share of the last ten seconds, in per cent, in which some task waited for `cpu`, `memory` or `io`
/// (Documentation/accounting/psi.rst); `None` where the kernel does not tell.
///
/// ```
/// assert!(doula_host::room::pressure("memory").is_none_or(|share| share <= 100.0));
/// ```
#[must_use]
pub fn pressure(what: &str) -> Option<f64> {
    some_avg10(&fs::read_to_string(format!("/proc/pressure/{what}")).ok()?)
}

fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

/// What a process has for itself, with what was swapped out, in bytes (`RssAnon`, `VmSwap` of proc_pid_status(5)). Its
/// proportional share would be asked of the process's memory map, whose lock it may hold for long; this waits for nobody.
pub(crate) fn grown_memory(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((field("RssAnon:")? + field("VmSwap:").unwrap_or(0)) * 1024)
}

/// The CPUs that we may use (`Cpus_allowed_list: 0-3,8` of proc_pid_status(5)).
///
/// ```
/// assert!(!doula_host::room::allowed_cpus().is_empty());
/// ```
#[must_use]
pub fn allowed_cpus() -> Vec<u16> {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
    cpu_list(line)
}

/// `0-3,8` as numbers; what is none is left out.
pub(crate) fn cpu_list(text: &str) -> Vec<u16> {
    let ranges = text.trim().split(',').filter_map(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some(from.parse::<u16>().ok()?..=to.parse::<u16>().ok()?)
    });
    ranges.flatten().collect()
}

/// Raises our limit of open files as far as we may: a child costs us several, and the usual soft limit is 1,024. Returns
/// the limit for our children, who start with the one that we were given.
pub(crate) fn raise_open_files() -> Option<Rlimit> {
    let before = limits::get(Resource::Nofile).ok()?;
    let raised = Rlimit { soft: before.hard, ..before };
    limits::set(raised).ok().map(|()| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pressure_is_that_of_some_tasks() {
        let text = "some avg10=12.50 avg60=1.00 avg300=0.10 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(some_avg10(text), Some(12.5));
    }
}
