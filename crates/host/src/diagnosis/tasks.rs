//! What is seen of one thread: the files of `/proc/PID/task/TID`.

use super::files;
use super::freezer;
use super::mounts;
use super::{Call, Mount, Round, Task};
use crate::procfs::{ProcState, Stat, parse_status};
use doula_core::diagnosis::wait::{Open, is_of_frozen, is_of_pages, takes_descriptor};
use doula_model::id::Pid;
use doula_model::signal::Signal;
use doula_sys::calls;
use std::fs;
use std::io::ErrorKind;

impl Round<'_> {
    /// A thread, with what its wait needs to be understood.
    pub(super) fn task(&mut self, pid: Pid, stat: &Stat) -> Task {
        let thread = stat.pid;
        let mut task = Task::new(pid, stat.state);
        (task.thread, task.name, task.dying) = (thread, stat.name.clone(), stat.is_exiting());
        if !matches!(stat.state, ProcState::Sleeping | ProcState::Blocked | ProcState::Other(_)) {
            return task;
        }
        let wchan = self.reader.thread_wchan(pid, thread);
        task.wchan = wchan.map(|name| String::from_utf8_lossy(&name).into_owned());
        match call(pid, thread) {
            Ok(call) => task.call = call,
            Err(kind) => task.hidden = kind == ErrorKind::PermissionDenied,
        }
        task.freezer = freezer::of(pid, &mut self.freezers);
        task.lock = self.locks.wanted(pid, thread);
        task.open = task.call.filter(|call| takes_descriptor(call.name)).and_then(|call| {
            let fd = i32::try_from(call.args[0] as u32).ok()?;
            files::open(pid, thread, fd)
        });
        let wchan = task.wchan.as_deref().unwrap_or("");
        let of_server =
            wchan == "request_wait_answer" || wchan.starts_with("rpc_") || wchan.starts_with("nfs");
        if let Some(call) = task.call.filter(|_| of_server || stat.state == ProcState::Blocked) {
            task.open = task.open.or_else(|| files::named(self.reader, pid, call));
        }
        let named = matches!(task.open, Some(Open::File(_, Some(_))));
        if !named && (wchan == "request_wait_answer" || is_of_pages(wchan)) {
            task.unanswered = mounts::unanswered(pid);
        }
        task.elsewhere = is_of_frozen(wchan) && mounts::are_others(pid);
        task
    }

    /// Who has asked the server of a file system for what is in this file, and waits for the answer: they have its pages
    /// locked. Of all files, where it is not known which one it is.
    pub(super) fn askers(&mut self, task: &Task, mount: &Mount) -> Vec<Pid> {
        let pids = self.reader.numbers().unwrap_or_default();
        let threads: Vec<(Pid, Pid)> = pids
            .into_iter()
            .flat_map(|pid| {
                self.reader.threads(pid).into_iter().map(move |thread| (pid, thread)).collect::<Vec<_>>()
            })
            .filter(|(_, thread)| *thread != task.thread)
            .collect();
        let mut found = Vec::new();
        for (pid, thread) in threads {
            let waits =
                self.reader.thread_wchan(pid, thread).is_some_and(|name| name == b"request_wait_answer");
            if let Some(stat) = self.reader.thread_stat(pid, thread).filter(|_| waits) {
                let other = self.task(pid, &stat);
                if asks_for_the_same(task, &other, mount) {
                    found.push(pid);
                }
            }
        }
        found.dedup();
        found
    }
}

fn asks_for_the_same(task: &Task, other: &Task, mount: &Mount) -> bool {
    match (&task.open, &other.open) {
        (Some(Open::File(path, _)), Some(Open::File(theirs, Some(on)))) => {
            on.device == mount.device && path == theirs
        }
        (_, Some(Open::File(_, Some(on)))) => on.device == mount.device,
        (_, _) => other.unanswered.iter().any(|on| on.device == mount.device),
    }
}

/// The call that a thread is in; `None` when it runs, or waits outside of a call.
fn call(pid: Pid, thread: Pid) -> Result<Option<Call>, ErrorKind> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).map_err(|error| error.kind())?;
    Ok(parse_call(&text))
}

/// `0 0x3 0x7ffe… … sp pc`, `-1 sp pc`, or `running`.
fn parse_call(text: &str) -> Option<Call> {
    let mut words = text.split_ascii_whitespace();
    let name = calls::name(words.next()?.parse().ok()?)?;
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some(Call { name, args })
}

/// The one child that a thread waits for, if it does.
pub(super) fn awaited(pid: Pid, thread: Pid) -> Option<Pid> {
    doula_core::diagnosis::wait::awaited(call(pid, thread).ok()??)
}

/// Who traces a thread: the process of the tracer.
pub(super) fn tracer(pid: Pid, thread: Pid) -> Option<Pid> {
    let status = parse_status(&fs::read(format!("/proc/{pid}/task/{thread}/status")).ok()?);
    process_of(Pid::new(status.tracer)?)
}

/// The process that a thread belongs to.
pub(super) fn process_of(thread: Pid) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).and_then(Pid::new)
}

/// Whether all threads hold SIGCHLD back, and whether it waits; `None` when we may not see.
pub(super) fn holds_back(pid: Pid, threads: &[Pid]) -> (bool, bool) {
    let status = |thread: &Pid| {
        fs::read(format!("/proc/{pid}/task/{thread}/status")).ok().map(|text| parse_status(&text))
    };
    let all: Vec<_> = threads.iter().filter_map(status).collect();
    let blocked = !all.is_empty() && all.iter().all(|status| status.blocked.contains(Signal::CHLD));
    let pending = |status: &crate::procfs::Status| {
        status.shared_pending.contains(Signal::CHLD) || status.pending.contains(Signal::CHLD)
    };
    (blocked, all.iter().any(pending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_with_its_arguments_and_no_text_makes_it_panic() {
        let number = (0..400).find(|number| calls::name(*number) == Some("read")).expect("a number");
        let text = format!("{number} 0x3 0x7ffe 0x10 0x0 0x0 0x0 0x1 0x2\n");
        assert_eq!(parse_call(&text), Some(Call { name: "read", args: [3, 0x7ffe, 16, 0, 0, 0] }));
        for text in ["", "running\n", "-1 0x1 0x2\n", "0", "0 0x1", "0 1 2 3 4 5 6", "99999999999999999999"] {
            assert_eq!(parse_call(text), None, "{text}");
        }
    }
}
