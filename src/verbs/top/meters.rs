//! What the head of the screen tells of the machine: CPUs, memory, pressure, load.
//!
//! Each file that is missing (`subset=pid`, a kernel without PSI) costs its own line only.

use serde::{Deserialize, Serialize};

/// The machine at one look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Meters {
    /// Of each CPU, by number: ticks that it was busy, and all ticks.
    pub(super) cpus: Vec<(u64, u64)>,
    /// Memory in bytes: all, and what could be had.
    pub(super) memory: Option<(u64, u64)>,
    /// Swap in bytes: all, and what is free.
    pub(super) swap: Option<(u64, u64)>,
    /// `/proc/pressure`: of ten seconds, in percent, some waited for CPU, memory, disks.
    pub(super) pressure: [Option<f64>; 3],
    /// Load averages of 1, 5 and 15 minutes.
    pub(super) load: Option<[f64; 3]>,
}

impl Meters {
    /// Now.
    pub(super) fn now() -> Meters {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let meminfo = read("/proc/meminfo");
        Meters {
            cpus: cpus(&read("/proc/stat")),
            memory: pair(&meminfo, "MemTotal:", "MemAvailable:"),
            swap: pair(&meminfo, "SwapTotal:", "SwapFree:"),
            pressure: ["cpu", "memory", "io"].map(|of| pressure(&read(&format!("/proc/pressure/{of}")))),
            load: load(&read("/proc/loadavg")),
        }
    }

    /// How busy each CPU was since an earlier look, in percent; nothing for those that have not ticked.
    pub(super) fn busy(&self, earlier: &Meters) -> Vec<Option<f64>> {
        let one = |(at, now): (usize, &(u64, u64))| {
            let before = earlier.cpus.get(at)?;
            let all = now.1.checked_sub(before.1).filter(|all| *all > 0)?;
            Some(100.0 * now.0.saturating_sub(before.0) as f64 / all as f64)
        };
        self.cpus.iter().enumerate().map(one).collect()
    }
}

/// The lines `cpuN` of proc_stat(5).
fn cpus(text: &str) -> Vec<(u64, u64)> {
    let one = |line: &str| {
        let rest = line.strip_prefix("cpu").filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))?;
        let numbers: Vec<u64> = rest.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; what guests use is in the first two already.
        let all: u64 = numbers.iter().take(8).sum();
        let idle = numbers.get(3)? + numbers.get(4).unwrap_or(&0);
        Some((all.saturating_sub(idle), all))
    };
    text.lines().filter_map(one).collect()
}

fn pair(text: &str, one: &str, two: &str) -> Option<(u64, u64)> {
    let find = |name: &str| {
        let kilobytes = text.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"))?;
        kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some((find(one)?, find(two)?))
}

/// `some avg10=0.12 …`.
fn pressure(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    some.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

fn load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_kernel_are_read_and_others_are_not_known() {
        let stat = "cpu  9 9 9 9\ncpu0 10 0 5 80 5 0 0 0 7 0\ncpu1 1 1 1 1 1 1 1 1\nprocesses 5\n";
        assert_eq!(cpus(stat), [(15, 100), (6, 8)]);
        let meminfo = "MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable: 50 kB\n";
        assert_eq!(pair(meminfo, "MemTotal:", "MemAvailable:"), Some((102_400, 51_200)));
        assert_eq!(pair(meminfo, "SwapTotal:", "SwapFree:"), None);
        assert_eq!(pressure("some avg10=1.50 avg60=0.00 total=5\nfull avg10=9.00\n"), Some(1.5));
        assert_eq!((pressure(""), load("0.5 1 2 3/4 5\n"), load("x")), (None, Some([0.5, 1.0, 2.0]), None));
    }

    #[test]
    fn how_busy_a_cpu_was_is_told_over_an_interval_only() {
        let before = Meters { cpus: vec![(10, 100), (0, 0)], ..Meters::default() };
        let after = Meters { cpus: vec![(60, 200), (0, 0), (5, 9)], ..Meters::default() };
        assert_eq!(after.busy(&before), [Some(50.0), None, None]);
        assert_eq!(after.busy(&Meters::default()), [None, None, None]);
    }
}
