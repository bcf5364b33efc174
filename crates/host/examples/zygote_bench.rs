//! Children that run an empty function, in a caller of so many touched megabytes, for `bench/zygote/run`:
//! `zygote_bench MEGABYTES` reads lines `MODE COUNT` and answers each with a line of microseconds.

use doula_host::Zygote;
use doula_host::fork::{Threads, fork};
use std::io::{BufRead as _, Write as _};
use std::time::Instant;

/// Memory is touched in steps of the smallest page.
const PAGE: usize = 4096;

fn main() -> std::io::Result<()> {
    let zygote = Zygote::start(|_| 0)?;
    let megabytes: usize = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(10);
    let mut memory = vec![0u8; megabytes << 20];
    memory.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (mode, count) = line.split_once(' ').unwrap_or((&line, "1"));
        let mut text = String::new();
        for _ in 0..count.parse().unwrap_or(1) {
            let start = Instant::now();
            let mut child = match mode {
                "fork" => fork(Threads::Refuse, || 0)?,
                _ => zygote.spawn(b"", &[])?,
            };
            let status = child.wait();
            text += &format!("{:.1} ", start.elapsed().as_secs_f64() * 1e6);
            assert!(status.success(), "a child {status}");
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()?;
    }
    std::hint::black_box(&memory);
    Ok(())
}
