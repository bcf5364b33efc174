//! `env_dump [ARG…]`: says all that it was born with, one `key value` a line: arguments, environment, directory,
//! descriptors, session and group, identity, masks, limits. Ends with 0.
//!
//! The directory of descriptors that it reads is open meanwhile and left out.

use std::fs;
use std::io::Write;

/// Lines of `/proc/self/status` that a supervisor can set.
const STATUS: [&str; 14] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "SigBlk",
    "SigIgn",
    "SigCgt",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Cpus_allowed_list",
];

fn main() {
    let mut lines = Vec::new();
    lines.extend(std::env::args().enumerate().map(|(index, arg)| format!("arg.{index} {arg}")));
    lines
        .extend(std::env::vars_os().map(|(key, value)| format!("env.{} {}", key.display(), value.display())));
    let directory =
        std::env::current_dir().map_or_else(|why| why.to_string(), |path| path.display().to_string());
    lines.push(format!("cwd {directory}"));
    lines.extend(descriptors());
    lines.extend(stat());
    lines.extend(status());
    lines.extend(["oom_score_adj", "cgroup"].iter().map(|name| format!("{name} {}", own(name).trim())));
    lines.extend(own("limits").lines().skip(1).map(|line| format!("limit {line}")));
    let _gone = std::io::stdout().write_all((lines.join("\n") + "\n").as_bytes());
}

fn own(name: &str) -> String {
    fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

fn descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut open: Vec<(u32, String)> = entries
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, fs::read_link(entry.path()).ok()?))
        })
        .map(|(fd, target)| (fd, target.display().to_string()))
        .filter(|(_, target)| !(target.starts_with("/proc/") && target.ends_with("/fd")))
        .collect();
    open.sort();
    open.into_iter().map(|(fd, target)| format!("fd.{fd} {target}")).collect()
}

/// pid, parent, group, session, terminal and nice value, from proc_pid_stat(5).
fn stat() -> Vec<String> {
    let text = own("stat");
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or("?").to_owned();
    let mut lines = vec![format!("pid {}", std::process::id())];
    for (name, number) in [("ppid", 4), ("pgid", 5), ("sid", 6), ("tty", 7), ("nice", 19)] {
        lines.push(format!("{name} {}", field(number)));
    }
    lines
}

fn status() -> Vec<String> {
    let text = own("status");
    let parts = text.lines().filter_map(|line| line.split_once(':'));
    let wanted = parts.filter(|(key, _)| STATUS.contains(key));
    wanted.map(|(key, value)| format!("{key} {}", value.trim().replace('\t', " "))).collect()
}
