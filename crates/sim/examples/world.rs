//! How many events a second the world on paper does on one core: the production engine and driver, the kernel, the
//! programs, the faults and the checks together. Arguments: the first seed, how many, 1 to kill each supervisor once, and `pool` for
//! pools with clients.

use doula_sim::world::{Options, Scenario, run};
use std::io::{self, Write as _};

/// The nanoseconds that this process was on a CPU: others that want it too are not measured.
fn processor_time() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    text.split(' ').next().and_then(|word| word.parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
}

fn main() -> io::Result<()> {
    let arguments: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (first, count) =
        (arguments.first().copied().unwrap_or(0), arguments.get(1).copied().unwrap_or(2_000));
    let pool = std::env::args().any(|word| word == "pool");
    let kill = arguments.get(2).is_some_and(|kill| *kill > 0);
    let began = processor_time()?;
    let (mut events, mut hash, mut bad) = (0, 0_u64, 0);
    let mut out = io::stdout();
    for seed in first..first + count {
        let scenario = if pool { Scenario::of_pool(seed) } else { Scenario::of(seed) };
        let mut report = run(&scenario, &Options::default());
        if kill {
            let step = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % report.steps.max(1) + 1;
            report = run(&scenario, &Options { kill_at: Some(step), ..Options::default() });
        }
        events += report.events;
        hash = hash.rotate_left(1) ^ report.hash;
        if let Some(violation) = report.violation {
            bad += 1;
            writeln!(out, "seed {seed}: {}: {}", violation.check, violation.text)?;
        }
    }
    let seconds = (processor_time()? - began) as f64 / 1e9;
    writeln!(
        out,
        "{:.0} k events/s ({events} of {count} seeds in {seconds:.2} s on a CPU), {bad} violations, hash {hash:016x}",
        events as f64 / seconds / 1e3
    )
}
