//! The pages about one process.

use super::state::{Detail, Tab, Top};
use super::why::ASKING;
use crate::processes::{Column, printable};
use doula_host::procfs::{Answer, Process, Reader, Signals, Text, Want};
use doula_model::process::Identity;

/// Asks one process for what stands on a page. Whoever has its number now and is another is not asked.
pub(super) fn page(reader: &mut Reader, top: &Top, of: Identity, tab: Tab) -> Detail {
    let is_it = |reader: &mut Reader| reader.stat(of.pid).is_some_and(|stat| stat.identity() == of);
    let lines = if is_it(reader) { lines(reader, top, of, tab) } else { Vec::new() };
    // Only what was read while it had its number is of it.
    let lines = if is_it(reader) { lines } else { vec!["it is gone".to_owned()] };
    Detail { of, tab, lines }
}

/// What a record knows of it.
pub(super) fn of_record(top: &Top, of: Identity, tab: Tab) -> Detail {
    let found = top.look.iter().flat_map(|look| &look.processes).find(|one| one.stat.identity() == of);
    let lines = match (found, tab) {
        (Some(process), Tab::State) => facts(top, process, &[]),
        _ => vec!["a record does not have this".to_owned()],
    };
    Detail { of, tab, lines }
}

fn lines(reader: &mut Reader, top: &Top, of: Identity, tab: Tab) -> Vec<String> {
    match tab {
        Tab::State => state(reader, top, of),
        Tab::Signals => signals(reader, of),
        Tab::Files => told(reader.files(of.pid), |files| {
            files.iter().map(|(number, target)| format!("{number:>5}  {}", printable(target))).collect()
        }),
        Tab::Limits => text(reader.text(of.pid, Text::Limits), b'\n'),
        Tab::Environment => match reader.environment(of.pid) {
            Ok(answer) => text(answer, 0),
            Err(error) => vec![format!("nobody could be sent to ask: {error}")],
        },
        Tab::Stack => text(reader.text(of.pid, Text::Stack), b'\n'),
    }
}

/// An answer as lines, or why there is none.
fn told<T>(answer: Answer<T>, lines: impl FnOnce(&T) -> Vec<String>) -> Vec<String> {
    let none = |why: &str| vec![why.to_owned()];
    match answer {
        Answer::Is(fact) => {
            let lines = lines(&fact);
            if lines.is_empty() { none("there is none") } else { lines }
        }
        Answer::Denied => none("only root or its own user may see this"),
        Answer::Locked => none("its memory map is locked: whoever asks waits too"),
        Answer::None | Answer::Unasked => none("there is none"),
    }
}

fn text(answer: Answer<Vec<u8>>, end: u8) -> Vec<String> {
    told(answer, |text| {
        let lines = text.split(|&byte| byte == end).filter(|line| !line.is_empty());
        lines.map(printable).collect()
    })
}

fn state(reader: &mut Reader, top: &Top, of: Identity) -> Vec<String> {
    let want = Want {
        status: true,
        args: true,
        share: true,
        traffic: true,
        cgroup: true,
        oom_score: true,
        ..Want::default()
    };
    let Ok(found) = reader.some(&[of.pid], &want) else { return Vec::new() };
    let Some(process) = found.first() else { return Vec::new() };
    let waits = told(reader.text(of.pid, Text::Wchan), |text| {
        let name = printable(text.trim_ascii());
        if name == "0" || name.is_empty() { Vec::new() } else { vec![name] }
    });
    let call = text(reader.text(of.pid, Text::Syscall), b'\n');
    let mut waiting = vec![format!("it is {}", process.stat.state), ASKING.to_owned()];
    if let Some(end) = process.stat.end() {
        waiting.push(format!("it {end}, and its parent {} has not buried it", process.stat.ppid));
    }
    waiting.push(format!("waits in the kernel in: {}", waits.join(" ")));
    waiting.push(format!("system call and arguments: {}", call.join(" ")));
    facts(top, process, &waiting)
}

/// Columns that are told on the first page, a line for each group.
const FACTS: [&str; 8] = [
    "args",
    "pid ppid pgid sid tty",
    "user group uid gid nspid tracer",
    "age start time utime stime",
    "rss pss uss swap peak vsz",
    "nice prio policy core threads switches",
    "read written diskread diskwritten majflt",
    "cgroup container oom seccomp nnp",
];

fn facts(top: &Top, process: &Process, waiting: &[String]) -> Vec<String> {
    let Some(look) = &top.look else { return Vec::new() };
    let one = |name: &str| {
        let column = Column::find(name)?;
        Some(format!("{name} {}", column.value(process, &look.context).show()))
    };
    let group = |names: &&str| names.split(' ').filter_map(one).collect::<Vec<_>>().join("   ");
    waiting.iter().cloned().chain(FACTS.iter().map(group)).collect()
}

fn signals(reader: &mut Reader, of: Identity) -> Vec<String> {
    let want = Want { status: true, ..Want::default() };
    let found = reader.some(&[of.pid], &want).unwrap_or_default();
    let Some(process) = found.into_iter().next() else { return Vec::new() };
    told(process.status, |status| {
        let names = |set: Signals| {
            let all: Vec<String> = set.iter().map(|one| one.to_string().replacen("SIG", "", 1)).collect();
            if all.is_empty() { "-".to_owned() } else { all.join(" ") }
        };
        [
            ("waiting for it", Signals(status.pending.0 | status.shared_pending.0)),
            ("held back", status.blocked),
            ("ignored", status.ignored),
            ("caught", status.caught),
        ]
        .map(|(what, set)| format!("{what:>15}: {}", names(set)))
        .to_vec()
    })
}
