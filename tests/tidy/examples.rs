//! That what the library offers to other programs is shown, each item with an example.

use crate::tree::{expect_none, sources};

/// The parts of the library that are a manual by now; more are added, none is taken away.
const SHOWN: [&str; 28] = [
    "crates/host/src/aim.rs",
    "crates/host/src/cgroup/",
    "crates/host/src/child/",
    "crates/host/src/command/",
    "crates/host/src/daemonize/",
    "crates/host/src/diagnosis/",
    "crates/host/src/fork.rs",
    "crates/host/src/inject.rs",
    "crates/host/src/jobs/",
    "crates/host/src/lives.rs",
    "crates/host/src/pipeline/",
    "crates/host/src/prefork/",
    "crates/host/src/procfs/",
    "crates/host/src/ready.rs",
    "crates/host/src/reaper/",
    "crates/host/src/room.rs",
    "crates/host/src/shutdown/",
    "crates/host/src/signals.rs",
    "crates/host/src/snapshot.rs",
    "crates/host/src/spawn.rs",
    "crates/host/src/sweep.rs",
    "crates/host/src/sweep/",
    "crates/host/src/worker.rs",
    "crates/host/src/zygote/",
    "crates/model/src/exit.rs",
    "crates/model/src/plan.rs",
    "crates/model/src/process.rs",
    "crates/model/src/signal.rs",
];

/// What begins an item that is called or made. Modules have the examples of what is in them.
const ITEMS: [&str; 7] =
    ["pub fn ", "pub async fn ", "pub const fn ", "pub struct ", "pub enum ", "pub trait ", "pub const "];

#[test]
fn every_public_item_of_the_library_has_an_example() {
    let mut findings = Vec::new();
    for file in sources().into_iter().filter(|file| SHOWN.iter().any(|part| file.path.starts_with(part))) {
        let (mut shown, mut looked, mut for_tests) = (false, 0, false);
        for (index, line) in file.text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
            if for_tests && line.starts_with("mod ") && line.ends_with('{') {
                break;
            }
            for_tests = line == "#[cfg(test)]";
            if line.starts_with("///") {
                shown |= line.starts_with("/// ```");
            } else if line.is_empty() || line.ends_with(['}', ';', ',']) && !line.starts_with("pub ") {
                shown = false;
            } else if ITEMS.iter().any(|item| line.starts_with(item)) {
                looked += 1;
                if !shown {
                    findings
                        .push(format!("{}: `{line}` has no example; show how it is used", file.at(index)));
                }
                shown = false;
            }
        }
        assert!(looked > 0 || !SHOWN.contains(&file.path.as_str()), "{}: nothing was found in it", file.path);
    }
    expect_none(&findings);
}
