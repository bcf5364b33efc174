//! Births of `/bin/true` by this library, in a parent of so many touched megabytes, for `bench/spawn/run`:
//! `spawn_bench MEGABYTES` reads lines `MODE COUNT` and answers each with a line of microseconds.

use doula_host::cgroup::Cgroups;
use doula_host::{Command, Resource, Signal};
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

/// Memory is touched in steps of the smallest page.
const PAGE: usize = 4096;

fn plain() -> Command {
    Command::exact("/bin/true")
}

/// All that a careful parent asks for.
fn full(cgroups: Option<&Cgroups>) -> Command {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u16);
    let mut command = plain();
    command
        .new_session()
        .limit(Resource::Core, 0)
        .cpus(0..cpus)
        .no_new_privs()
        .parent_death_signal(Signal::TERM)
        .block([Signal::USR1]);
    let leaf = cgroups.and_then(|cgroups| cgroups.leaf("bench").ok()?.open().ok());
    if let Some(directory) = leaf {
        command.cgroup(directory);
    }
    command
}

fn main() -> std::io::Result<()> {
    let megabytes: usize = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(10);
    let mut memory = vec![0u8; megabytes << 20];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    let cgroups = Cgroups::discover("bench");
    let (plain, full) = (plain(), full(cgroups.as_ref()));
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (mode, count) = line.split_once(' ').unwrap_or((&line, "1"));
        let command = if mode == "full" { &full } else { &plain };
        for _ in 0..count.parse().unwrap_or(1) {
            let start = Instant::now();
            let status = command.status()?;
            write!(out, "{:.1} ", start.elapsed().as_secs_f64() * 1e6)?;
            assert!(status.success(), "/bin/true {status}");
        }
        writeln!(out)?;
        out.flush()?;
    }
    std::hint::black_box(&memory);
    Ok(())
}
