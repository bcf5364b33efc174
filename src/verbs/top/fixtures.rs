//! Processes and looks for tests.

use super::meters::Meters;
use super::state::Look;
use crate::processes::Context;
use doula_host::procfs::{Answer, Machine, Process, Want, parse_stat};
use std::time::Duration;

/// A sleeper that started so that its number tells when, with arguments.
pub(super) fn process(pid: i32, parent: i32, name: &str) -> Process {
    let line = format!(
        "{pid} ({name}) S {parent} {pid} {pid} 0 -1 4194560 9 0 0 0 {pid} 2 0 0 20 0 1 0 {pid} 409600 {pages} 0 0 0 0 0 0 0 0 \
         0 0 0 0 0 17 1 0 0 0 0 0",
        pages = pid * 10
    );
    let mut process = Process::new(parse_stat(line.as_bytes()).expect("a line of a kernel"));
    process.args = Answer::Is(format!("/bin/{name}\0--of\0{pid}\0").into_bytes());
    process
}

/// A look at these on a small machine, a second after one at which each had used a tick less for each ten of its number.
pub(super) fn look(processes: Vec<Process>) -> Look {
    let machine = Machine {
        boot_id: "a".to_owned(),
        uptime: Duration::from_secs(100_000),
        wall: Duration::from_secs(1_000_000_000),
        ticks_per_second: 100,
        page_size: 4096,
    };
    let before = |process: &Process| {
        let now = process.stat.cpu.0 + process.stat.cpu.1;
        (process.stat.identity(), now.saturating_sub(process.stat.pid.get() as u64 / 10))
    };
    let before = processes.iter().map(before).collect();
    let context = Context::measured(machine, Some(1 << 30), Some(Duration::from_secs(1)), before);
    let meters = Meters {
        cpus: vec![(50, 100), (25, 100), (99, 100), (0, 100)],
        memory: Some((1 << 30, 1 << 29)),
        swap: Some((0, 0)),
        pressure: [Some(12.5), Some(0.0), None],
        load: Some([1.5, 0.75, 0.25]),
    };
    Look { processes, asked: Want::default(), context, meters, ended: None }
}
