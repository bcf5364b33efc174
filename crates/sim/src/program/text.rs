//! System calls as lines of words: `fork`, `kill 3 TERM`, `wait4 any nohang`.
//!
//! Numbers are those of the caller's namespace. What is printed is read back as the same call.

use crate::kernel::call::{Access, Advice, Call, Clone, Mask, Reply, TtyCall, Value, Wait, Who};
use crate::kernel::sigset::{Action, Disposition, SigSet};
use crate::kernel::{CgroupId, Program, Trace, Usage};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use doula_model::signal::Signal;

/// A line that is no call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCall {
    /// The line.
    pub line: String,
    /// The word that is wrong; empty when one is missing.
    pub word: String,
    /// Which word of the line that is, counted from 0.
    pub at: usize,
}

impl fmt::Display for BadCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.word.as_str() {
            "" => write!(f, "`{}` is not complete", self.line),
            word => write!(f, "`{word}` is not understood in `{}`", self.line),
        }
    }
}

impl core::error::Error for BadCall {}

/// One flag by its word.
type Flag<T> = (&'static str, fn(&mut T) -> &mut bool);

const CLONE_FLAGS: [Flag<Clone>; 7] = [
    ("vm", |how| &mut how.vm),
    ("files", |how| &mut how.files),
    ("sighand", |how| &mut how.sighand),
    ("thread", |how| &mut how.thread),
    ("parent", |how| &mut how.parent),
    ("vfork", |how| &mut how.vfork),
    ("newpid", |how| &mut how.new_pid),
];

const WAIT_FLAGS: [Flag<Wait>; 8] = [
    ("exited", |wait| &mut wait.exited),
    ("stopped", |wait| &mut wait.stopped),
    ("continued", |wait| &mut wait.continued),
    ("nohang", |wait| &mut wait.no_hang),
    ("nowait", |wait| &mut wait.no_wait),
    ("all", |wait| &mut wait.all),
    ("clone", |wait| &mut wait.clone),
    ("nothread", |wait| &mut wait.no_thread),
];

const ACTION_FLAGS: [Flag<Action>; 4] = [
    ("restart", |action| &mut action.restart),
    ("once", |action| &mut action.once),
    ("nocldstop", |action| &mut action.no_stop),
    ("nocldwait", |action| &mut action.no_wait),
];

const DISPOSITIONS: [(&str, Disposition); 3] =
    [("default", Disposition::Default), ("ignore", Disposition::Ignore), ("handler", Disposition::Handler)];

const MASKS: [(&str, Mask); 3] = [("block", Mask::Block), ("unblock", Mask::Unblock), ("set", Mask::Set)];

const ACCESS: [(&str, Access); 2] = [("read", Access::Read), ("write", Access::Write)];

const SHARING: [(&str, bool); 2] = [("private", false), ("shared", true)];

const ADVICE: [(&str, Advice); 3] =
    [("normal", Advice::Normal), ("dontfork", Advice::DontFork), ("wipeonfork", Advice::WipeOnFork)];

const ON_OFF: [(&str, bool); 2] = [("on", true), ("off", false)];

/// What stands between arguments and environment.
const ENVIRONMENT: &str = "%env";

/// What is not said of a clone.
const PLAIN: Clone = Clone { exit_signal: None, ..Clone::FORK };
/// What is not said of a wait.
const NOTHING: Wait = Wait { exited: false, ..Wait::any() };

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Clone(how) if *how == Clone::FORK => f.write_str("fork"),
            Call::Clone(how) => print_clone(f, *how),
            Call::Exit(code) => write!(f, "thread-exit {code}"),
            Call::ExitGroup(code) => write!(f, "exit {code}"),
            Call::Wait4(wait) => print_wait(f, "wait4", Wait { exited: false, ..*wait }),
            Call::Waitid(wait) => print_wait(f, "waitid", *wait),
            Call::Kill(pid, signal) => write!(f, "kill {pid} {}", Name(*signal)),
            Call::Tgkill(pid, tid, signal) => write!(f, "tgkill {pid} {tid} {}", Name(*signal)),
            Call::Sigqueue(pid, signal, number) => write!(f, "sigqueue {pid} {} {number}", Name(*signal)),
            Call::Sigaction(signal, action) => print_action(f, *signal, *action),
            Call::Sigprocmask(how, set) => {
                write!(f, "sigprocmask {}", word_of(&MASKS, *how))?;
                print_signals(f, *set)
            }
            Call::Sigpending => f.write_str("sigpending"),
            Call::Sigtake(set) => f.write_str("sigtake").and_then(|()| print_signals(f, *set)),
            Call::Pause => f.write_str("pause"),
            Call::Setpgid(pid, group) => write!(f, "setpgid {pid} {group}"),
            Call::Getpgid(pid) => write!(f, "getpgid {pid}"),
            Call::Setsid => f.write_str("setsid"),
            Call::Getsid(pid) => write!(f, "getsid {pid}"),
            Call::Getpid => f.write_str("getpid"),
            Call::Gettid => f.write_str("gettid"),
            Call::Getppid => f.write_str("getppid"),
            Call::SetSubreaper(on) => write!(f, "subreaper {}", on_off(*on)),
            Call::SetParentDeathSignal(signal) => {
                write!(f, "deathsignal {}", Name(signal.map_or(0, Signal::number)))
            }
            Call::GetParentDeathSignal => f.write_str("get-deathsignal"),
            Call::UnsharePid => f.write_str("unshare-pid"),
            Call::Setuid(uid) => write!(f, "setuid {uid}"),
            Call::LimitProcesses(most) => write!(f, "nproc {most}"),
            Call::Alarm(seconds) => write!(f, "alarm {seconds}"),
            Call::Pipe(cloexec) => write!(f, "pipe{}", if *cloexec { " cloexec" } else { "" }),
            Call::Read(fd, most) => write!(f, "read {fd} {most}"),
            Call::Write(fd, bytes) => write!(f, "write {fd} {}", Word(bytes)),
            Call::Open(path, access) => {
                write!(f, "open {} {}", Word(path.as_bytes()), word_of(&ACCESS, *access))
            }
            Call::Close(fd) => write!(f, "close {fd}"),
            Call::Socketpair => f.write_str("socketpair"),
            Call::Listen(backlog) => write!(f, "listen {backlog}"),
            Call::Accept(fd) => write!(f, "accept {fd}"),
            Call::Connect(fd) => write!(f, "connect {fd}"),
            Call::Dup(fd) => write!(f, "dup {fd}"),
            Call::Dup2(fd, onto) => write!(f, "dup2 {fd} {onto}"),
            Call::SetCloexec(fd, on) => write!(f, "cloexec {fd} {}", on_off(*on)),
            Call::SetNonblocking(fd, on) => write!(f, "nonblocking {fd} {}", on_off(*on)),
            Call::Pty => f.write_str("pty"),
            Call::OpenTty => f.write_str("open-tty"),
            Call::Terminal(fd, call) => print_tty(f, *fd, *call),
            Call::PidfdOpen(pid) => write!(f, "pidfd-open {pid}"),
            Call::PidfdSend(fd, signal) => write!(f, "pidfd-send {fd} {}", Name(*signal)),
            Call::PollPidfd(fd) => write!(f, "pidfd-poll {fd}"),
            Call::WaitidPidfd(fd, wait) => {
                write!(f, "pidfd-wait {fd}")?;
                print_flags(f, &WAIT_FLAGS, *wait)
            }
            Call::PidfdEnd(fd) => write!(f, "pidfd-end {fd}"),
            Call::Execve(program) => print_program(f, program),
            Call::Mmap(pages, shared) => write!(f, "mmap {pages} {}", word_of(&SHARING, *shared)),
            Call::Madvise(area, advice) => write!(f, "madvise {area} {}", word_of(&ADVICE, *advice)),
            Call::Touch(area, pages) => write!(f, "touch {area} {pages}"),
            Call::Resident(area) => write!(f, "resident {area}"),
            Call::LimitStack(bytes) => write!(f, "stack {bytes}"),
            Call::Ptrace(what) => print_trace(f, *what),
        }
    }
}

/// A signal as people write it; a number that is none stays a number.
pub(super) struct Name(pub(super) i32);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Signal::new(self.0).map(|signal| signal.to_string());
        match name.as_deref().and_then(|name| name.strip_prefix("SIG")) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

fn print_signals(f: &mut fmt::Formatter<'_>, set: SigSet) -> fmt::Result {
    set.iter().try_for_each(|signal| write!(f, " {}", Name(signal.number())))
}

fn on_off(on: bool) -> &'static str {
    word_of(&ON_OFF, on)
}

/// Bytes as one word: what is no visible ASCII or means something in a script is `%` and two digits, nothing at
/// all is `%`.
pub(crate) struct Word<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("%");
        }
        self.0.iter().try_for_each(|byte| match byte {
            byte if byte.is_ascii_graphic() && !b"%#${}".contains(byte) => write!(f, "{}", char::from(*byte)),
            byte => write!(f, "%{byte:02x}"),
        })
    }
}

fn bytes_of(word: &str) -> Option<Vec<u8>> {
    if word == "%" {
        return Some(Vec::new());
    }
    let mut parts = word.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.as_bytes().get(2..)?);
    }
    Some(bytes)
}

fn print_program(f: &mut fmt::Formatter<'_>, program: &Program) -> fmt::Result {
    write!(f, "execve {}", Word(program.path.as_bytes()))?;
    program.args.iter().try_for_each(|arg| write!(f, " {}", Word(arg.as_bytes())))?;
    if !program.env.is_empty() {
        write!(f, " {ENVIRONMENT}")?;
    }
    program.env.iter().try_for_each(|variable| write!(f, " {}", Word(variable.as_bytes())))
}

fn print_flags<T: Copy>(f: &mut fmt::Formatter<'_>, flags: &[Flag<T>], mut of: T) -> fmt::Result {
    flags.iter().try_for_each(|(word, flag)| if *flag(&mut of) { write!(f, " {word}") } else { Ok(()) })
}

fn print_clone(f: &mut fmt::Formatter<'_>, how: Clone) -> fmt::Result {
    f.write_str("clone")?;
    print_flags(f, &CLONE_FLAGS, how)?;
    if let Some(signal) = how.exit_signal {
        write!(f, " signal {}", Name(signal.number()))?;
    }
    how.set_tid.map_or(Ok(()), |number| write!(f, " number {number}"))?;
    how.cgroup.map_or(Ok(()), |cgroup| write!(f, " cgroup {}", cgroup.number()))
}

fn print_wait(f: &mut fmt::Formatter<'_>, name: &str, wait: Wait) -> fmt::Result {
    match wait.who {
        Who::Any => write!(f, "{name} any")?,
        Who::Pid(number) => write!(f, "{name} pid {number}")?,
        Who::Group(number) => write!(f, "{name} group {number}")?,
    }
    print_flags(f, &WAIT_FLAGS, wait)
}

fn print_tty(f: &mut fmt::Formatter<'_>, fd: i32, call: TtyCall) -> fmt::Result {
    write!(f, "tty {fd} ")?;
    match call {
        TtyCall::OpenSlave => f.write_str("open"),
        TtyCall::Take { steal: false } => f.write_str("take"),
        TtyCall::Take { steal: true } => f.write_str("steal"),
        TtyCall::GiveUp => f.write_str("leave"),
        TtyCall::SetForeground(group) => write!(f, "foreground {group}"),
        TtyCall::Foreground => f.write_str("get-foreground"),
        TtyCall::Session => f.write_str("get-session"),
        TtyCall::StopWriters(on) => write!(f, "tostop {}", on_off(on)),
        TtyCall::Key(signal) => write!(f, "key {}", Name(signal)),
    }
}

fn print_trace(f: &mut fmt::Formatter<'_>, what: Trace) -> fmt::Result {
    f.write_str("ptrace ")?;
    match what {
        Trace::Me => f.write_str("me"),
        Trace::Attach(pid) => write!(f, "attach {pid}"),
        Trace::Seize(pid, kills) => write!(f, "seize {pid}{}", if kills { " exitkill" } else { "" }),
        Trace::Interrupt(pid) => write!(f, "interrupt {pid}"),
        Trace::Continue(pid, signal) => write!(f, "cont {pid} {}", Name(signal)),
        Trace::Detach(pid, signal) => write!(f, "detach {pid} {}", Name(signal)),
    }
}

fn print_action(f: &mut fmt::Formatter<'_>, signal: Signal, action: Action) -> fmt::Result {
    let what = word_of(&DISPOSITIONS, action.disposition);
    write!(f, "sigaction {} {what}", Name(signal.number()))?;
    print_flags(f, &ACTION_FLAGS, action)
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

/// The reply of a call as text: `3`, `3 status 0x100`, `signals USR1`, `ECHILD`.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a>(pub &'a Reply);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ok(Value::Number(number)) => write!(f, "{number}"),
            Ok(Value::Waited(waited)) => write!(f, "{} status {:#x}", waited.pid, waited.status),
            Ok(Value::Pair(one, other)) => write!(f, "{one} {other}"),
            Ok(Value::Bytes(bytes)) => write!(f, "bytes {}", Word(bytes)),
            Ok(Value::Pages(Usage { resident, private, shared, proportional, .. })) => {
                write!(f, "pages {resident} private {private} shared {shared} pss {}", proportional / 1024)
            }
            Ok(Value::Signals(set)) => {
                f.write_str("signals")?;
                print_signals(f, *set)
            }
            Err(errno) => match errno.name() {
                Some(name) => f.write_str(name),
                None => write!(f, "errno {}", errno.0),
            },
        }
    }
}

/// The words of a line that have not been read.
struct Words<'a> {
    line: &'a str,
    rest: core::iter::Peekable<core::str::SplitWhitespace<'a>>,
    /// How many have been read.
    read: usize,
}

impl<'a> Words<'a> {
    fn bad(&self, word: &str) -> BadCall {
        let at = if word.is_empty() { self.read } else { self.read.saturating_sub(1) };
        BadCall { line: self.line.to_owned(), word: word.to_owned(), at }
    }

    fn next(&mut self) -> Result<&'a str, BadCall> {
        let word = self.rest.next().ok_or_else(|| self.bad(""))?;
        self.read += 1;
        Ok(word)
    }

    fn read<T>(&mut self, read: impl FnOnce(&str) -> Option<T>) -> Result<T, BadCall> {
        let word = self.next()?;
        read(word).ok_or_else(|| self.bad(word))
    }

    fn number<T: FromStr>(&mut self) -> Result<T, BadCall> {
        self.read(|word| word.parse().ok())
    }

    /// A signal by name, or any number, also one that is no signal.
    fn signal_number(&mut self) -> Result<i32, BadCall> {
        self.read(|word| word.parse().ok().or_else(|| Some(word.parse::<Signal>().ok()?.number())))
    }

    fn signal(&mut self) -> Result<Signal, BadCall> {
        self.read(|word| word.parse().ok())
    }

    fn one_of<T: Copy>(&mut self, words: &[(&str, T)]) -> Result<T, BadCall> {
        self.read(|word| words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value))
    }

    fn text(&mut self) -> Result<String, BadCall> {
        self.read(|word| String::from_utf8(bytes_of(word)?).ok())
    }

    fn flags<T>(&mut self, flags: &[Flag<T>], of: &mut T) {
        while let Some((_, flag)) =
            self.rest.peek().and_then(|word| flags.iter().find(|(known, _)| known == word))
        {
            *flag(of) = true;
            self.rest.next();
            self.read += 1;
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let taken = self.rest.next_if(|next| *next == word).is_some();
        self.read += usize::from(taken);
        taken
    }
}

impl FromStr for Call {
    type Err = BadCall;

    fn from_str(line: &str) -> Result<Call, BadCall> {
        let mut words = Words { line, rest: line.split_whitespace().peekable(), read: 0 };
        let call = read_call(&mut words)?;
        match words.next() {
            Err(_) => Ok(call),
            Ok(word) => Err(words.bad(word)),
        }
    }
}

fn read_call(words: &mut Words<'_>) -> Result<Call, BadCall> {
    let name = words.next()?;
    Ok(match name {
        "fork" => Call::Clone(Clone::FORK),
        "clone" => Call::Clone(read_clone(words)?),
        "thread-exit" => Call::Exit(words.number()?),
        "exit" => Call::ExitGroup(words.number()?),
        "wait4" => Call::Wait4(Wait { exited: true, ..read_wait(words)? }),
        "waitid" => Call::Waitid(read_wait(words)?),
        "kill" => Call::Kill(words.number()?, words.signal_number()?),
        "tgkill" => Call::Tgkill(words.number()?, words.number()?, words.signal_number()?),
        "sigqueue" => Call::Sigqueue(words.number()?, words.signal_number()?, words.number()?),
        "sigaction" => read_action(words)?,
        "sigprocmask" => read_mask(words)?,
        "sigpending" => Call::Sigpending,
        "sigtake" => Call::Sigtake(read_signals(words)?),
        "pause" => Call::Pause,
        "setpgid" => Call::Setpgid(words.number()?, words.number()?),
        "getpgid" => Call::Getpgid(words.number()?),
        "setsid" => Call::Setsid,
        "getsid" => Call::Getsid(words.number()?),
        "getpid" => Call::Getpid,
        "gettid" => Call::Gettid,
        "getppid" => Call::Getppid,
        "subreaper" => Call::SetSubreaper(words.one_of(&ON_OFF)?),
        "deathsignal" => Call::SetParentDeathSignal(Signal::new(words.signal_number()?)),
        "get-deathsignal" => Call::GetParentDeathSignal,
        "unshare-pid" => Call::UnsharePid,
        "setuid" => Call::Setuid(words.number()?),
        "nproc" => Call::LimitProcesses(words.number()?),
        "alarm" => Call::Alarm(words.number()?),
        "ptrace" => Call::Ptrace(read_trace(words)?),
        _ => return read_file_call(name, words),
    })
}

fn read_file_call(name: &str, words: &mut Words<'_>) -> Result<Call, BadCall> {
    Ok(match name {
        "pipe" => Call::Pipe(words.take("cloexec")),
        "read" => Call::Read(words.number()?, words.number()?),
        "write" => Call::Write(words.number()?, words.read(bytes_of)?),
        "open" => Call::Open(words.text()?, words.one_of(&ACCESS)?),
        "close" => Call::Close(words.number()?),
        "socketpair" => Call::Socketpair,
        "listen" => Call::Listen(words.number()?),
        "connect" => Call::Connect(words.number()?),
        "accept" => Call::Accept(words.number()?),
        "dup" => Call::Dup(words.number()?),
        "dup2" => Call::Dup2(words.number()?, words.number()?),
        "cloexec" => Call::SetCloexec(words.number()?, words.one_of(&ON_OFF)?),
        "nonblocking" => Call::SetNonblocking(words.number()?, words.one_of(&ON_OFF)?),
        "pty" => Call::Pty,
        "open-tty" => Call::OpenTty,
        "tty" => Call::Terminal(words.number()?, read_tty(words)?),
        "pidfd-open" => Call::PidfdOpen(words.number()?),
        "pidfd-send" => Call::PidfdSend(words.number()?, words.signal_number()?),
        "pidfd-poll" => Call::PollPidfd(words.number()?),
        "pidfd-wait" => {
            let (fd, mut wait) = (words.number()?, NOTHING);
            words.flags(&WAIT_FLAGS, &mut wait);
            Call::WaitidPidfd(fd, wait)
        }
        "pidfd-end" => Call::PidfdEnd(words.number()?),
        "execve" => Call::Execve(Box::new(read_program(words)?)),
        "mmap" => Call::Mmap(words.number()?, words.one_of(&SHARING)?),
        "madvise" => Call::Madvise(words.number()?, words.one_of(&ADVICE)?),
        "touch" => Call::Touch(words.number()?, words.number()?),
        "resident" => Call::Resident(words.number()?),
        "stack" => Call::LimitStack(words.number()?),
        _ => return Err(words.bad(name)),
    })
}

fn read_tty(words: &mut Words<'_>) -> Result<TtyCall, BadCall> {
    Ok(match words.next()? {
        "open" => TtyCall::OpenSlave,
        "take" => TtyCall::Take { steal: false },
        "steal" => TtyCall::Take { steal: true },
        "leave" => TtyCall::GiveUp,
        "foreground" => TtyCall::SetForeground(words.number()?),
        "get-foreground" => TtyCall::Foreground,
        "get-session" => TtyCall::Session,
        "tostop" => TtyCall::StopWriters(words.one_of(&ON_OFF)?),
        "key" => TtyCall::Key(words.signal_number()?),
        word => return Err(words.bad(word)),
    })
}

fn read_trace(words: &mut Words<'_>) -> Result<Trace, BadCall> {
    Ok(match words.next()? {
        "me" => Trace::Me,
        "attach" => Trace::Attach(words.number()?),
        "seize" => Trace::Seize(words.number()?, words.take("exitkill")),
        "interrupt" => Trace::Interrupt(words.number()?),
        "cont" => Trace::Continue(words.number()?, words.signal_number()?),
        "detach" => Trace::Detach(words.number()?, words.signal_number()?),
        word => return Err(words.bad(word)),
    })
}

fn read_program(words: &mut Words<'_>) -> Result<Program, BadCall> {
    let mut program = Program { path: words.text()?, args: Vec::new(), env: Vec::new() };
    while words.rest.peek().is_some_and(|word| *word != ENVIRONMENT) {
        program.args.push(words.text()?);
    }
    words.take(ENVIRONMENT);
    while words.rest.peek().is_some() {
        program.env.push(words.text()?);
    }
    Ok(program)
}

fn read_clone(words: &mut Words<'_>) -> Result<Clone, BadCall> {
    let mut how = PLAIN;
    words.flags(&CLONE_FLAGS, &mut how);
    if words.take("signal") {
        how.exit_signal = Some(words.signal()?);
    }
    if words.take("number") {
        how.set_tid = Some(words.number()?);
    }
    if words.take("cgroup") {
        how.cgroup = Some(CgroupId::numbered(words.number()?));
    }
    Ok(how)
}

fn read_wait(words: &mut Words<'_>) -> Result<Wait, BadCall> {
    let who = match words.next()? {
        "any" => Who::Any,
        "pid" => Who::Pid(words.number()?),
        "group" => Who::Group(words.number()?),
        word => return Err(words.bad(word)),
    };
    let mut wait = Wait { who, ..NOTHING };
    words.flags(&WAIT_FLAGS, &mut wait);
    Ok(wait)
}

fn read_action(words: &mut Words<'_>) -> Result<Call, BadCall> {
    let (signal, disposition) = (words.signal()?, words.one_of(&DISPOSITIONS)?);
    let mut action = Action { disposition, ..Action::DEFAULT };
    words.flags(&ACTION_FLAGS, &mut action);
    Ok(Call::Sigaction(signal, action))
}

fn read_mask(words: &mut Words<'_>) -> Result<Call, BadCall> {
    Ok(Call::Sigprocmask(words.one_of(&MASKS)?, read_signals(words)?))
}

fn read_signals(words: &mut Words<'_>) -> Result<SigSet, BadCall> {
    let mut signals = Vec::new();
    while words.rest.peek().is_some() {
        signals.push(words.signal()?);
    }
    Ok(SigSet::of(&signals))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line for each call and each of its forms.
    const LINES: &[&str] = &[
        "fork",
        "clone vm files sighand thread",
        "clone parent vfork signal USR1 number 77",
        "clone newpid signal CHLD",
        "clone vm vfork signal CHLD cgroup 2",
        "thread-exit 1",
        "exit -1",
        "wait4 any",
        "wait4 pid 3 stopped continued nohang",
        "waitid group 0 exited nowait all clone nothread",
        "kill -1 0",
        "kill 3 TERM",
        "kill 3 99",
        "tgkill 2 3 RTMIN+3",
        "sigqueue 2 33 -5",
        "sigaction CHLD handler restart once nocldstop nocldwait",
        "sigaction USR1 ignore",
        "sigprocmask block USR1 USR2",
        "sigprocmask set",
        "sigpending",
        "sigtake TERM CHLD",
        "pause",
        "setpgid 0 -1",
        "getpgid 0",
        "setsid",
        "getsid 4",
        "getpid",
        "gettid",
        "getppid",
        "subreaper on",
        "deathsignal KILL",
        "deathsignal 0",
        "get-deathsignal",
        "unshare-pid",
        "setuid 65534",
        "nproc 3",
        "alarm 9",
        "pipe",
        "pipe cloexec",
        "read 0 65536",
        "write 1 a%20b%25%0a",
        "write 1 %",
        "open /etc/passwd read",
        "open /tmp/x write",
        "close 3",
        "dup 1",
        "dup2 1 9",
        "cloexec 3 on",
        "nonblocking 3 off",
        "pty",
        "open-tty",
        "tty 0 open",
        "tty 1 take",
        "tty 1 steal",
        "tty 1 leave",
        "tty 1 foreground -1",
        "tty 1 get-foreground",
        "tty 1 get-session",
        "tty 1 tostop on",
        "tty 0 key INT",
        "pidfd-open 5",
        "pidfd-send 3 KILL",
        "pidfd-poll 3",
        "pidfd-wait 3 exited nowait",
        "pidfd-end 3",
        "execve /bin/true",
        "execve /bin/sh sh -c exit%203 %env PATH=/bin",
        "mmap 16384 private",
        "madvise 0 wipeonfork",
        "touch 0 4096",
        "stack 8388608",
        "ptrace me",
        "ptrace attach 3",
        "ptrace seize 3",
        "ptrace seize 3 exitkill",
        "ptrace interrupt 3",
        "ptrace cont 3 0",
        "ptrace detach 3 STOP",
    ];

    #[test]
    fn every_call_is_read_back_from_what_is_printed() {
        for line in LINES {
            let call: Call = line.parse().expect(line);
            assert_eq!(call.to_string(), *line);
        }
    }

    #[test]
    fn what_is_no_call_is_told_by_its_word() {
        for (line, told) in [
            ("", "`` is not complete"),
            ("kill 3", "`kill 3` is not complete"),
            ("kill x TERM", "`x` is not understood in `kill x TERM`"),
            ("fork now", "`now` is not understood in `fork now`"),
            ("spoon", "`spoon` is not understood in `spoon`"),
            ("wait4 some", "`some` is not understood in `wait4 some`"),
        ] {
            assert_eq!(line.parse::<Call>().expect_err(line).to_string(), told);
        }
    }
}
