//! `/bin/true | /bin/true | /bin/true` by this library, and 256 MiB through `head | cat | cat`, for `bench/pipeline/run`:
//! `pipeline_bench` reads lines `MODE COUNT`, runs as many pipelines and answers each line with an empty one.

use doula_host::{Command, Pipeline, Stdio};
use std::io::{BufRead as _, Write as _};

fn flow() -> Pipeline {
    let mut pipeline = Pipeline::new(Command::exact("/usr/bin/head").args(["-c", "256M", "/dev/zero"]));
    pipeline.pipe(Command::exact("/bin/cat")).pipe(Command::exact("/bin/cat").stdout(Stdio::null()));
    pipeline
}

fn main() -> std::io::Result<()> {
    let mut plain = Pipeline::new(Command::exact("/bin/true"));
    plain.pipe(Command::exact("/bin/true")).pipe(Command::exact("/bin/true"));
    let mut full = plain.clone();
    full.contained().count_io();
    let mut counted = plain.clone();
    counted.count_pipes();
    let (flow, mut flow_counted) = (flow(), flow());
    flow_counted.count_pipes();
    let mut flow_large = flow.clone();
    flow_large.pipe_size(1 << 20);
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (mode, count) = line.split_once(' ').unwrap_or((&line, "1"));
        let pipeline = match mode {
            "full" => &full,
            "counted" => &counted,
            "flow" => &flow,
            "flow-counted" => &flow_counted,
            "flow-large" => &flow_large,
            _ => &plain,
        };
        for _ in 0..count.parse().unwrap_or(1) {
            let end = pipeline.run()?;
            assert!(end.success(), "{end}");
        }
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}
