//! The columns: what each is called, what must be read for it, and what stands in it.

use super::value::Value;
use super::{Context, name_of};
use doula_host::procfs::Want;
use doula_model::process::{Delays, Namespaces, Process, Share, Signals, Status, Traffic};
use std::borrow::Cow;
use std::time::Duration;

/// One column.
#[derive(Debug)]
pub(crate) struct Column {
    /// What people ask for.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) what: &'static str,
    /// What must be read for it.
    needs: Need,
    value: for<'a> fn(&'a Process, &Context) -> Value<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Of `/proc/PID/stat`, what is always told.
    Always,
    Times,
    Memory,
    Rest,
    /// Beside it.
    Status,
    Args,
    Share,
    Traffic,
    Wchan,
    Cgroup,
    OomScore,
    Namespaces,
    Delays,
}

impl Column {
    /// The column that is called so.
    pub(crate) fn find(name: &str) -> Option<&'static Column> {
        COLUMNS.iter().find(|column| column.name == name)
    }

    /// What stands in it.
    pub(crate) fn value<'a>(&self, process: &'a Process, context: &Context) -> Value<'a> {
        (self.value)(process, context)
    }

    /// Asks for what it needs.
    pub(crate) fn want(&self, want: &mut Want) {
        match self.needs {
            Need::Always => {}
            Need::Times => want.spare.times = false,
            Need::Memory => want.spare.memory = false,
            Need::Rest => want.spare.rest = false,
            Need::Status => want.status = true,
            Need::Args => want.args = true,
            Need::Share => want.share = true,
            Need::Traffic => want.traffic = true,
            Need::Wchan => want.wchan = true,
            Need::Cgroup => want.cgroup = true,
            Need::OomScore => want.oom_score = true,
            Need::Namespaces => want.namespaces = true,
            Need::Delays => want.delays = true,
        }
    }

    /// What stands above it.
    pub(crate) fn head(&self, context: &Context) -> String {
        match (self.name, context.interval) {
            ("cpu", Some(interval)) => format!("CPU%/{}", doula_model::words::ShortSpan(interval)),
            ("cpu", None) => "CPU%".to_owned(),
            _ => self.name.to_ascii_uppercase(),
        }
    }
}

macro_rules! columns {
    ($($name:literal $needs:ident $what:literal $value:expr;)*) => {
        /// All of them, in the order in which they are explained.
        pub(crate) static COLUMNS: &[Column] =
            &[$(Column { name: $name, what: $what, needs: Need::$needs, value: $value }),*];
    };
}

columns! {
    "pid" Always "the number; of a thread, its own" |p, _| number(p.stat.pid.get());
    "ppid" Always "the parent's number; 0: outside of this PID namespace" |p, _| number(p.stat.ppid);
    "tgid" Always "of a thread: the process it belongs to" |p, _| number(p.tgid.get());
    "pgid" Rest "the process group" |p, _| number(p.stat.pgid);
    "sid" Rest "the session" |p, _| number(p.stat.sid);
    "tty" Rest "the controlling terminal" |p, _| terminal(p.stat.tty);
    "tpgid" Rest "the foreground group of that terminal" |p, _| Value::some((p.stat.tpgid > 0).then_some(p.stat.tpgid), number);
    "name" Always "what it calls itself" |p, _| Value::Text(Cow::Borrowed(&p.stat.name));
    "args" Args "the arguments; in brackets, the name of who has none" |p, _| arguments(p);
    "state" Always "R running, S sleeping, D blocked, T stopped, t traced, Z zombie, I idle" |p, _| letter(p.stat.state.letter());
    "exit" Rest "how a zombie ended" |p, _| Value::some(p.stat.end(), |end| Value::text(end.to_string()));
    "threads" Always "how many threads it has" |p, _| Value::Number(p.stat.threads.into());
    "user" Status "the effective user" |p, c| status(p, |s| Value::text(c.user(s.uids[1])));
    "uid" Status "its number" |p, _| status(p, |s| Value::Number(s.uids[1].into()));
    "ruser" Status "the real user" |p, c| status(p, |s| Value::text(c.user(s.uids[0])));
    "group" Status "the effective group" |p, c| status(p, |s| Value::text(c.group(s.gids[1])));
    "gid" Status "its number" |p, _| status(p, |s| Value::Number(s.gids[1].into()));
    "cpu" Times "CPU time over --interval, in percent of one CPU" |p, c| c.percent(p);
    "time" Times "CPU time so far" |p, c| ticks(c, p.stat.cpu.0 + p.stat.cpu.1);
    "utime" Times "of it, in the program" |p, c| ticks(c, p.stat.cpu.0);
    "stime" Times "of it, in the kernel" |p, c| ticks(c, p.stat.cpu.1);
    "ctime" Rest "CPU time of the children that it buried" |p, c| ticks(c, p.stat.buried_cpu.0 + p.stat.buried_cpu.1);
    "start" Always "when it started" |p, c| Value::Moment(c.machine.born_at(p.stat.start_ticks));
    "age" Always "how long ago that was" |p, c| Value::Span(c.machine.age_of(p.stat.start_ticks));
    "ticks" Always "when it started, in clock ticks since the machine did: with the number, its identity" |p, _| Value::Number(p.stat.start_ticks as i64);
    "rss" Memory "memory that is in RAM; what is shared counts in full" |p, c| Value::some(has_memory(p), |()| Value::Bytes(p.stat.resident_pages * c.machine.page_size));
    "mem" Memory "the same in percent of all memory" |p, c| Value::some(has_memory(p).and(c.memory), |all| Value::Percent(100.0 * (p.stat.resident_pages * c.machine.page_size) as f64 / all as f64));
    "pss" Share "memory with its part of what is shared" |p, _| share(p, |s| s.pss);
    "uss" Share "memory that nobody shares" |p, _| share(p, |s| s.uss);
    "swap" Status "memory that is swapped out" |p, _| status(p, |s| Value::some(s.swap, Value::Bytes));
    "peak" Status "most memory that it ever had in RAM" |p, _| status(p, |s| Value::some(s.peak, Value::Bytes));
    "vsz" Memory "its address space" |p, _| Value::some(has_memory(p), |()| Value::Bytes(p.stat.virtual_bytes));
    "minflt" Rest "page faults without a read from disk" |p, _| Value::Number(p.stat.faults.0 as i64);
    "majflt" Rest "page faults with one" |p, _| Value::Number(p.stat.faults.1 as i64);
    "read" Traffic "bytes that it read, from anywhere" |p, _| traffic(p, |t| t.read);
    "written" Traffic "bytes that it wrote, to anywhere" |p, _| traffic(p, |t| t.written);
    "diskread" Traffic "bytes that came from disks for it" |p, _| traffic(p, |t| t.disk_read);
    "diskwritten" Traffic "bytes that go to disks for it" |p, _| traffic(p, |t| t.disk_written);
    "iodelay" Rest "how long it waited for disks (if the kernel accounts for delays)" |p, c| ticks(c, p.stat.io_delay);
    "delaycpu" Delays "how long it was kept from running by others on the CPU; this and the next for root only" |p, _| delay(p, |d| Some(d.cpu));
    "delayio" Delays "by disks; this and the next as far as the kernel accounts for delays (kernel.task_delayacct)" |p, _| delay(p, |d| d.disk);
    "delayswap" Delays "by pages that came back from swap" |p, _| delay(p, |d| d.swap);
    "delaymem" Delays "by memory that had to be found" |p, _| delay(p, |d| d.memory);
    "nice" Rest "from -20 to 19: how nice it is to others" |p, _| number(p.stat.nice);
    "prio" Rest "the priority as the kernel counts it" |p, _| number(p.stat.priority);
    "rtprio" Rest "the real-time priority" |p, _| Value::some((p.stat.rt_priority > 0).then_some(p.stat.rt_priority), |prio| Value::Number(prio.into()));
    "policy" Rest "the scheduling policy" |p, _| policy(p.stat.policy);
    "core" Rest "the CPU on which it ran last" |p, _| Value::Number(p.stat.processor.into());
    "wchan" Wchan "the function of the kernel in which it waits" |p, _| Value::of(&p.wchan, |name| Value::Text(Cow::Borrowed(name)));
    "cgroup" Cgroup "its cgroup" |p, _| Value::of(&p.cgroup, |path| Value::Text(Cow::Borrowed(path)));
    "container" Cgroup "the container that its cgroup names" |p, _| Value::of(&p.cgroup, |path| Value::some(container(path), Value::text));
    "nspid" Status "its numbers, from our PID namespace inwards" |p, _| status(p, numbers);
    "pidin" Status "its number in its own PID namespace" |p, _| status(p, |s| Value::some(s.ns_pids.last().copied(), number));
    "cgroupns" Namespaces "its namespace of cgroups; each by the number that all in it have" |p, _| namespace(p, |n| n.cgroup);
    "ipcns" Namespaces "of System V IPC" |p, _| namespace(p, |n| n.ipc);
    "mntns" Namespaces "of mounts" |p, _| namespace(p, |n| n.mount);
    "netns" Namespaces "of networks" |p, _| namespace(p, |n| n.net);
    "pidns" Namespaces "of processes" |p, _| namespace(p, |n| n.pid);
    "timens" Namespaces "of clocks" |p, _| namespace(p, |n| n.time);
    "userns" Namespaces "of users" |p, _| namespace(p, |n| n.user);
    "utsns" Namespaces "of the machine's name" |p, _| namespace(p, |n| n.uts);
    "tracer" Status "who traces it" |p, _| status(p, |s| Value::some((s.tracer != 0).then_some(s.tracer), number));
    "pending" Status "signals that wait for it" |p, _| status(p, |s| Value::Signals(Signals(s.pending.0 | s.shared_pending.0)));
    "blocked" Status "signals that it holds back" |p, _| status(p, |s| Value::Signals(s.blocked));
    "ignored" Status "signals that it ignores" |p, _| status(p, |s| Value::Signals(s.ignored));
    "caught" Status "signals that it has a handler for" |p, _| status(p, |s| Value::Signals(s.caught));
    "switches" Status "context switches that it wanted, and that it did not" |p, _| status(p, |s| Value::some(s.switches, |(a, b)| Value::text(format!("{a}+{b}"))));
    "nnp" Status "1: execve gives it no more rights" |p, _| status(p, |s| Value::some(s.no_new_privs, |on| Value::Number(on.into())));
    "seccomp" Status "0 none, 1 strict, 2 filters" |p, _| status(p, |s| Value::some(s.seccomp, |mode| Value::Number(mode.into())));
    "caps" Status "effective capabilities, as bits" |p, _| status(p, |s| Value::some(s.capabilities, Value::Bits));
    "oom" OomScore "from 0 to 2000: who is ended first when memory runs out" |p, _| Value::of(&p.oom_score, |score| Value::Number((*score).into()));
    "flags" Always "the kernel's flags, as bits" |p, _| Value::Bits(p.stat.flags.into());
}

fn number(number: i32) -> Value<'static> {
    Value::Number(number.into())
}

fn ticks(context: &Context, ticks: u64) -> Value<'static> {
    Value::Span(context.machine.ticks(ticks))
}

fn status<'a>(process: &'a Process, value: impl FnOnce(&'a Status) -> Value<'a>) -> Value<'a> {
    Value::of(&process.status, |status| value(status))
}

fn share(process: &Process, bytes: impl FnOnce(&Share) -> u64) -> Value<'_> {
    Value::of(&process.share, |share| Value::Bytes(bytes(share)))
}

fn traffic(process: &Process, bytes: impl FnOnce(&Traffic) -> u64) -> Value<'_> {
    Value::of(&process.traffic, |traffic| Value::Bytes(bytes(traffic)))
}

fn namespace(process: &Process, number: impl FnOnce(&Namespaces) -> Option<u64>) -> Value<'_> {
    Value::of(&process.namespaces, |all| Value::some(number(all), |number| Value::Number(number as i64)))
}

fn delay(process: &Process, delay: impl FnOnce(&Delays) -> Option<Duration>) -> Value<'_> {
    Value::of(&process.delays, |delays| Value::some(delay(delays), Value::Span))
}

/// Threads of the kernel have none of their own, and the dead none any more.
fn has_memory(process: &Process) -> Option<()> {
    (!process.stat.is_kernel() && !process.stat.is_zombie()).then_some(())
}

fn arguments(process: &Process) -> Value<'_> {
    match process.args.known() {
        Some(args) if !args.is_empty() => Value::Words(args.strip_suffix(b"\0").unwrap_or(args)),
        _ => Value::Text(Cow::Owned(name_of(process))),
    }
}

/// The letters of states.
pub(super) const LETTERS: &str = "RSDTtZXIP";

/// Each letter without a text of its own.
fn letter(letter: char) -> Value<'static> {
    match LETTERS.find(letter) {
        Some(at) => Value::text(&LETTERS[at..=at]),
        None => Value::text(letter.to_string()),
    }
}

fn numbers(status: &Status) -> Value<'_> {
    let numbers: Vec<String> = status.ns_pids.iter().map(i32::to_string).collect();
    Value::some((!numbers.is_empty()).then(|| numbers.join(" ")), Value::text)
}

/// The name of a terminal from its device (`new_decode_dev` in include/linux/kdev_t.h).
fn terminal(device: u32) -> Value<'static> {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    Value::some((device != 0).then_some(()), |()| {
        Value::text(match (major, minor) {
            (136..=143, _) => format!("pts/{}", (major - 136) * 256 + minor),
            (4, 0..64) => format!("tty{minor}"),
            (4, _) => format!("ttyS{}", minor - 64),
            (5, 1) => "console".to_owned(),
            _ => format!("{major}:{minor}"),
        })
    })
}

fn policy(number: u32) -> Value<'static> {
    /// `SCHED_*` of include/uapi/linux/sched.h.
    const NAMES: [&str; 8] = ["other", "fifo", "rr", "batch", "4", "idle", "deadline", "ext"];
    match NAMES.get(number as usize) {
        Some(name) => Value::text(*name),
        None => Value::Number(number.into()),
    }
}

/// The first twelve digits of the long number that engines give to containers.
fn container(cgroup: &[u8]) -> Option<String> {
    const LENGTH: usize = 64;
    const SHOWN: usize = 12;
    let mut runs = cgroup.rsplit(|byte| !byte.is_ascii_hexdigit());
    let id = runs.find(|run| run.len() == LENGTH)?;
    Some(String::from_utf8_lossy(&id[..SHOWN]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_name_of_its_own_and_is_found_by_it() {
        for (at, column) in COLUMNS.iter().enumerate() {
            let found = Column::find(column.name).expect("it is there");
            assert!(std::ptr::eq(found, &COLUMNS[at]), "{} is there twice", column.name);
            assert!(column.name.bytes().all(|byte| byte.is_ascii_lowercase()), "{}", column.name);
        }
    }

    #[test]
    fn terminals_have_their_names() {
        for (device, name) in [(0x8803, "pts/3"), (0x0401, "tty1"), (0x0440, "ttyS0"), (0x0501, "console")] {
            assert_eq!(terminal(device), Value::text(name));
        }
        assert_eq!(terminal(0x8800 | 1 << 20), Value::text("pts/256"));
        assert_eq!(terminal(0), Value::None);
    }

    #[test]
    fn the_container_is_that_of_the_innermost_long_number() {
        let (outer, inner) = ("a".repeat(64), "0123456789abcdef".repeat(4));
        for path in [
            format!("/docker/{inner}"),
            format!("/system.slice/docker-{inner}.scope"),
            format!("/kubepods/besteffort/{outer}/cri-containerd-{inner}.scope/init"),
        ] {
            assert_eq!(container(path.as_bytes()).as_deref(), Some("0123456789ab"), "{path}");
        }
        assert_eq!(container(b"/system.slice/cron.service"), None);
    }
}
