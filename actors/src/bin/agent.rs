//! Does on Linux what it is told, one call at a time: the real half of the comparison with the kernel on paper.
//!
//! `agent NAME` is PID 1 of a namespace. It receives lines on the abstract socket `NAME-0`; a line is a number
//! and a call of `doula_sim::program`. It does the call and sends back what came of it. The children that it
//! bears listen on `NAME-` and the number of their line, and do the same. `clear` makes init as it was at first.

use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Mask, Reply, Value, Wait, Waited, Who};
use doula_sim::kernel::sigset::{Action, Disposition, SigSet};
use doula_sim::program::Said;
use doula_sys::classic::{self, Flags, Handler};
use doula_sys::signal::SignalSet;
use doula_sys::{adopt, group, signal};
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;

/// The longest line.
const LINE: usize = 256;
const WNOHANG: i32 = 1;
const WSTOPPED: i32 = 2;
const WEXITED: i32 = 4;
const WCONTINUED: i32 = 8;
const WNOWAIT: i32 = 0x0100_0000;
const WALL: i32 = 0x4000_0000;
const WCLONE: i32 = i32::MIN;
const WNOTHREAD: i32 = 0x2000_0000;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else { return ExitCode::from(2) };
    begin();
    match serve(&name) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("agent: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As a newborn process has it: the runtime of Rust ignores SIGPIPE and has a handler for overflows of the stack.
fn begin() {
    signal::set_mask(SignalSet::EMPTY);
    for signal in Signal::all() {
        // The two that cannot be set, and the C library's own.
        let _ = classic::set_action(signal, Handler::Default, Flags::default());
    }
    // PID 1 of a namespace that was made by a program of another session has none of its own yet.
    let _ = group::setsid();
}

fn listen(name: &str, place: u32) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("{name}-{place}"))?)?;
    socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    socket.send(format!("born {place} {}", std::process::id()).as_bytes())?;
    Ok(socket)
}

fn serve(name: &str) -> io::Result<std::convert::Infallible> {
    let mut socket = listen(name, 0)?;
    let mut line = [0; LINE];
    loop {
        let length = match socket.recv(&mut line) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            received => received?,
        };
        let caught = caught();
        if &line[..length] == b"clear" {
            let next = clear()?;
            socket.send(format!("said {next}").as_bytes())?;
            continue;
        }
        let text = std::str::from_utf8(&line[..length]).unwrap_or("");
        let (place, call) = text.split_once(' ').unwrap_or(("", text));
        let call: Call = call.parse().map_err(io::Error::other)?;
        let reply = if let Call::Clone(how) = call {
            match copy(&how) {
                Ok(None) => {
                    // Its own door first; the parent's is closed with the old value.
                    socket = listen(name, place.parse().map_err(io::Error::other)?)?;
                    continue;
                }
                Ok(Some(number)) => Ok(Value::Number(number)),
                Err(errno) => Err(errno),
            }
        } else {
            perform(&call)
        };
        let answer = format!("said {}{caught}", Said(&reply));
        while let Err(error) = socket.send(answer.as_bytes()) {
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// The signals whose handlers ran since this was asked last, each as often as it ran.
fn caught() -> String {
    let times = Signal::all().map(|signal| (signal, classic::take_caught(signal)));
    times.filter(|(_, times)| *times > 0).map(|(signal, times)| format!(" {signal}*{times}")).collect()
}

/// Buries everybody, and is as at first: the number that comes next.
fn clear() -> io::Result<i32> {
    let _ = adopt::set_subreaper(false);
    // So that it ends with unshare.
    let _ = adopt::set_parent_death_signal(Some(Signal::KILL));
    begin();
    let _ = classic::kill(-1, Signal::KILL.number());
    while classic::wait4(-1, WALL).is_ok() {}
    caught();
    // A child that ends at once has the number before.
    let how = classic::Copy { vfork: false, parent: false, exit_signal: Some(Signal::CHLD) };
    let Some(last) = classic::copy(how).map_err(told)? else { classic::exit(0) };
    classic::wait4(last, 0).map_err(told)?;
    Ok(last + 1)
}

fn told(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

fn copy(how: &Clone) -> Result<Option<i32>, Errno> {
    let Clone { vfork, parent, exit_signal, .. } = *how;
    if (Clone { vfork, parent, exit_signal, ..Clone::FORK }) != (Clone { vm: false, ..*how }) {
        return Err(Errno::ENOSYS);
    }
    classic::copy(classic::Copy { vfork, parent, exit_signal })
}

fn perform(call: &Call) -> Reply {
    let zero = |()| Value::ZERO;
    match *call {
        Call::ExitGroup(code) | Call::Exit(code) => classic::exit(code),
        Call::Wait4(wait) => waited(classic::wait4(pid(wait.who), options(&wait) & !WEXITED)?),
        Call::Waitid(wait) => {
            let (kind, id) = match wait.who {
                Who::Any => (0, 0),
                Who::Pid(number) => (1, number),
                Who::Group(number) => (2, number),
            };
            waited(classic::waitid(kind, id, options(&wait))?)
        }
        Call::Kill(pid, signal) => classic::kill(pid, signal).map(zero),
        Call::Tgkill(pid, tid, signal) => classic::tgkill(pid, tid, signal).map(zero),
        Call::Sigaction(signal, action) => set_action(signal, action).map(zero),
        Call::Sigprocmask(how, set) => Ok(set_mask(how, set)),
        Call::Sigpending => classic::pending().map(|bits| Value::Signals(SigSet::from_bits(bits))),
        Call::Pause => classic::pause().map(zero),
        Call::Setpgid(pid, to) => classic::setpgid(pid, to).map(zero),
        Call::Getpgid(pid) => classic::getpgid(pid).map(Value::Number),
        Call::Setsid => group::setsid().map(|pid| Value::Number(pid.get())),
        Call::Getsid(pid) => classic::getsid(pid).map(Value::Number),
        Call::Getpid | Call::Gettid => Ok(Value::Number(group::pid().get())),
        Call::Getppid => Ok(Value::Number(group::parent().map_or(0, |pid| pid.get()))),
        Call::SetSubreaper(on) => adopt::set_subreaper(on).map(zero),
        Call::SetParentDeathSignal(signal) => adopt::set_parent_death_signal(signal).map(zero),
        Call::Clone(_)
        | Call::Sigqueue(..)
        | Call::GetParentDeathSignal
        | Call::UnsharePid
        | Call::Setuid(_)
        | Call::LimitProcesses(_)
        | Call::Alarm(_)
        | Call::Pipe(_)
        | Call::Read(..)
        | Call::Write(..)
        | Call::Open(..)
        | Call::Close(_)
        | Call::Dup(_)
        | Call::Dup2(..)
        | Call::SetCloexec(..)
        | Call::SetNonblocking(..)
        | Call::PidfdOpen(_)
        | Call::PidfdSend(..)
        | Call::PollPidfd(_)
        | Call::WaitidPidfd(..)
        | Call::PidfdEnd(_)
        | Call::Execve(_)
        | Call::Mmap(..)
        | Call::Madvise(..)
        | Call::Touch(..)
        | Call::LimitStack(_) => Err(Errno::ENOSYS),
    }
}

fn waited((pid, status): (i32, i32)) -> Reply {
    Ok(if pid == 0 { Value::ZERO } else { Value::Waited(Waited { pid, status }) })
}

/// As waitpid(2) names whom it means.
fn pid(who: Who) -> i32 {
    match who {
        Who::Any => -1,
        Who::Pid(number) => number,
        Who::Group(number) => number.wrapping_neg(),
    }
}

fn options(wait: &Wait) -> i32 {
    let flags = [
        (wait.no_hang, WNOHANG),
        (wait.stopped, WSTOPPED),
        (wait.exited, WEXITED),
        (wait.continued, WCONTINUED),
        (wait.no_wait, WNOWAIT),
        (wait.all, WALL),
        (wait.clone, WCLONE),
        (wait.no_thread, WNOTHREAD),
    ];
    flags.into_iter().filter(|(on, _)| *on).fold(0, |all, (_, flag)| all | flag)
}

fn set_action(signal: Signal, action: Action) -> Result<(), Errno> {
    let handler = match action.disposition {
        Disposition::Default => Handler::Default,
        Disposition::Ignore => Handler::Ignore,
        Disposition::Handler => Handler::Count,
    };
    let Action { restart, once, no_stop, no_wait, .. } = action;
    classic::set_action(signal, handler, Flags { restart, once, no_stop, no_wait })
}

fn set_mask(how: Mask, set: SigSet) -> Value {
    let how = match how {
        Mask::Block => 0,
        Mask::Unblock => 1,
        Mask::Set => 2,
    };
    Value::Signals(SigSet::from_bits(classic::change_mask(how, set.bits())))
}
