//! `--limit`: what each job may have with all its descendants, and what is told when that was too little.

use crate::config;
use crate::error::Failure;
use doula_host::jobs::Limits;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Bytes.
    Memory(u64),
    /// Processes and threads.
    Pids(u64),
    /// Thousandths of a CPU.
    Cpu(u64),
}

/// Linux has no numbers for more processes.
const MOST_PIDS: u64 = 1 << 22;

/// Reads one of them.
pub(super) fn parse(text: &str) -> Result<Limit, String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is no limit: write memory=512M"))?;
    match name {
        "memory" => config::size(value).map(|bytes| Limit::Memory(bytes as u64)),
        "pids" => match value.parse() {
            Ok(count) if (1..=MOST_PIDS).contains(&count) => Ok(Limit::Pids(count)),
            _ => Err(format!("`{value}` is no number of processes: write 100")),
        },
        "cpu" => config::cpu_share(value).map(Limit::Cpu),
        _ => Err(format!("`{name}` cannot be limited: there are memory, pids and cpu")),
    }
}

/// Those that a job leaves behind stay where they are counted.
pub(super) fn check(limits: &[Limit], leave: bool) -> Result<(), Failure> {
    if limits.is_empty() || !leave {
        return Ok(());
    }
    let text =
        "--limit and --leave do not go together: who is left behind would count towards the next job's limit";
    Err(Failure::usage(text).hint("a job can start what is to stay as a service of its own: `doula up`"))
}

/// All of them; the last one of a kind counts.
pub(super) fn joined(limits: &[Limit]) -> Limits {
    limits.iter().fold(Limits::default(), |all, limit| match *limit {
        Limit::Memory(bytes) => Limits { memory: Some(bytes), ..all },
        Limit::Pids(count) => Limits { pids: Some(count), ..all },
        Limit::Cpu(milli) => Limits { cpu_milli: Some(milli), ..all },
    })
}

/// How it is known that there was want of memory: what may follow a sentence that says so.
pub(super) fn evidence(oom_kills: Option<u64>) -> String {
    let count = oom_kills.filter(|count| *count > 0);
    count.map(|count| format!(" (its cgroup counts {count}: oom_kill)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_those_of_services_and_the_last_of_a_kind_counts() {
        let all: Vec<_> = ["memory=1G", "pids=7", "cpu=150%", "memory=64M"].map(parse).into_iter().collect();
        let all = all.into_iter().collect::<Result<Vec<_>, _>>().expect("limits");
        assert_eq!(joined(&all), Limits { memory: Some(64 << 20), pids: Some(7), cpu_milli: Some(1500) });
        for wrong in ["memory", "memory=x", "pids=0", "pids=5000000", "cpu=0", "disk=1G"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn want_of_memory_is_told_with_the_count_of_the_kernel_where_there_is_one() {
        assert_eq!([None, Some(0), Some(2)].map(evidence), ["", "", " (its cgroup counts 2: oom_kill)"]);
    }
}
