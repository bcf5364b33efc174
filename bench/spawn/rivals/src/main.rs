//! Births of `/bin/true` by other libraries, in a parent of so many touched megabytes, for `bench/spawn/run`:
//! `rivals MEGABYTES` reads lines `MODE COUNT` and answers each with a line of microseconds.

use process_wrap::std::{CommandWrap, ProcessGroup, ProcessSession};
use std::io::{BufRead, Write};
use std::process::Command;
use std::time::Instant;

const PROGRAM: &str = "/bin/true";

/// One birth and its end: whether that was a success.
type Birth = Box<dyn FnMut() -> bool>;

fn birth(mode: &str) -> Birth {
    match mode {
        "std" => Box::new(|| Command::new(PROGRAM).status().unwrap().success()),
        "duct" => Box::new(|| duct::cmd!(PROGRAM).run().unwrap().status.success()),
        "subprocess" => Box::new(|| subprocess::Exec::cmd(PROGRAM).join().unwrap().success()),
        "wrap-group" => Box::new(|| {
            let mut command = CommandWrap::with_new(PROGRAM, |_| {});
            command.wrap(ProcessGroup::leader()).spawn().unwrap().wait().unwrap().success()
        }),
        // By std's pre_exec.
        "wrap-session" => Box::new(|| {
            let mut command = CommandWrap::with_new(PROGRAM, |_| {});
            command.wrap(ProcessSession).spawn().unwrap().wait().unwrap().success()
        }),
        "tokio" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            Box::new(move || runtime.block_on(async { tokio::process::Command::new(PROGRAM).status().await.unwrap().success() }))
        }
        _ => panic!("no such mode: {mode}"),
    }
}

fn main() {
    let megabytes: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut memory = vec![0u8; megabytes << 20];
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    let mut known: Vec<(String, Birth)> = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let (mode, count) = line.split_once(' ').unwrap();
        let at = known.iter().position(|(name, _)| name == mode).unwrap_or_else(|| {
            known.push((mode.to_owned(), birth(mode)));
            known.len() - 1
        });
        let mut text = String::new();
        for _ in 0..count.parse().unwrap() {
            let start = Instant::now();
            assert!(known[at].1());
            text += &format!("{:.1} ", start.elapsed().as_secs_f64() * 1e6);
        }
        println!("{text}");
        std::io::stdout().flush().unwrap();
    }
    std::hint::black_box(&memory);
}
