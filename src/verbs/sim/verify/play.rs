//! The real half of `doula sim verify`: this program again, as PID 1 of a namespace and as its children, each of which makes the
//! calls that it is told to make and says what came of it.

use doula_host::conform::calls::{
    self as classic, Caught, Handler, files, pages::Advice, pages::Area, rights, terminals, tracing,
};
use doula_host::conform::{self, Agent, Part};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{self, Call, Clone, Mask, Reply, TtyCall, Value, Wait, Waited, Who};
use doula_sim::kernel::sigset::{Action, Code, Disposition, SigInfo, SigSet};
use doula_sim::kernel::{Program, Trace, Usage};
use doula_sim::oracle::{arguments, words_of};
use doula_sim::program::Said;
use std::cell::RefCell;
use std::ffi::CString;
use std::process::ExitCode;

const WNOHANG: i32 = 1;
const WSTOPPED: i32 = 2;
const WEXITED: i32 = 4;
const WCONTINUED: i32 = 8;
const WNOWAIT: i32 = 0x0100_0000;
const WCLONE: i32 = i32::MIN;
const WNOTHREAD: i32 = 0x2000_0000;

thread_local! {
    /// The areas of memory, by number, and what a child is to have of them.
    static AREAS: RefCell<Vec<(Area, Advice)>> = const { RefCell::new(Vec::new()) };
}

/// Plays its part if this process was started for one; does not come back from it.
pub(crate) fn at_once() -> Option<ExitCode> {
    match conform::part()? {
        Part::None => {}
        Part::Init(agent) => {
            conform::begin();
            agent.be_born();
            serve(agent);
        }
        Part::Executed(agent) => {
            conform::undo_the_runtime(&agent);
            agent.be_born();
            let args = Agent::arguments();
            agent.answer(&arguments(args.iter().map(Vec::as_slice)));
            serve(agent);
        }
    }
    Some(ExitCode::SUCCESS)
}

/// Until it is killed.
fn serve(mut agent: Agent) {
    loop {
        let (place, order) = agent.next_order();
        let caught = caught();
        if order == "clear" {
            AREAS.with_borrow_mut(|areas| areas.drain(..).for_each(|(area, _)| area.unmap()));
            let next = conform::clear();
            agent.answer(&next.map_or_else(|error| error.to_string(), |next| next.to_string()));
            continue;
        }
        let reply = match order.parse() {
            Err(_) => Err(Errno::EINVAL),
            Ok(Call::Clone(how)) if how.thread => begin_thread(&agent, place),
            Ok(Call::Clone(how)) => match copy(&how) {
                Ok(None) => {
                    AREAS.with_borrow_mut(|areas| areas.retain(|(_, advice)| *advice != Advice::DontFork));
                    let Some(child) = agent.at(place) else { return };
                    agent = child;
                    agent.be_born();
                    continue;
                }
                Ok(Some(number)) => Ok(Value::Number(number)),
                Err(errno) => Err(errno),
            },
            Ok(Call::Setuid(uid)) => rights::setuid(agent.user(uid)).map(|()| Value::ZERO),
            Ok(Call::Execve(program)) => Err(execute(&agent, &program)),
            Ok(Call::Alarm(seconds)) => rights::alarm(seconds).map(|left| Value::Number(in_thousands(left))),
            Ok(call) => perform(&call),
        };
        agent.answer(&format!("{}{caught}", Said(&reply)));
    }
}

/// Programs set alarms by thousands of seconds, so that it does not matter how much time has passed.
fn in_thousands(seconds: u32) -> i32 {
    seconds.next_multiple_of(1000) as i32
}

fn begin_thread(agent: &Agent, place: usize) -> Reply {
    let thread = agent.at(place).ok_or(Errno::EINVAL)?;
    let begun = std::thread::Builder::new().spawn(move || {
        thread.be_born();
        serve(thread);
    });
    begun.map_err(|error| error.raw_os_error().map_or(Errno::EAGAIN, Errno))?;
    agent.number_at(place).map(Value::Number).ok_or(Errno::EINVAL)
}

fn execute(agent: &Agent, program: &Program) -> Errno {
    let text = |text: &String| CString::new(text.as_str()).unwrap_or_default();
    let path = text(&program.path);
    let args: Vec<CString> = program.args.iter().map(text).collect();
    let env: Vec<CString> = program.env.iter().map(text).chain([agent.variable()]).collect();
    let args: Vec<_> = args.iter().map(CString::as_c_str).collect();
    let env: Vec<_> = env.iter().map(CString::as_c_str).collect();
    files::execve(&path, &args, &env)
}

/// The signals whose handlers ran since this was asked last.
fn caught() -> String {
    words_of(classic::take_caught().iter().filter_map(info))
}

pub(in crate::verbs::sim) fn info(caught: &Caught) -> Option<SigInfo> {
    let Caught { signal, code, pid, value } = *caught;
    let signal = Signal::new(signal)?;
    let code = match code {
        0 => Code::User,
        -1 => Code::Queue(value),
        -6 => Code::Tkill,
        1 => Code::Exited(value),
        2 => Code::Killed(value),
        3 => Code::Dumped(value),
        4 => Code::Trapped(value),
        5 => Code::Stopped(value),
        6 => Code::Continued,
        _ => Code::Kernel,
    };
    Some(SigInfo { signal, code, pid })
}

pub(in crate::verbs::sim) fn copy(how: &Clone) -> Result<Option<i32>, Errno> {
    let Clone { vfork, parent, new_pid, exit_signal, set_tid: number, .. } = *how;
    let others = Clone { vfork, parent, new_pid, exit_signal, set_tid: number, ..Clone::FORK };
    if others != (Clone { vm: false, ..*how }) {
        return Err(Errno::ENOSYS);
    }
    // Whoever has no order sleeps until there is one, and who has one is in its call.
    classic::copy(classic::Copy { vfork, parent, new_pid, exit_signal, number, others_sleep: true })
}

pub(in crate::verbs::sim) fn perform(call: &Call) -> Reply {
    let zero = |()| Value::ZERO;
    match *call {
        Call::Exit(code) => rights::exit_thread(code),
        Call::ExitGroup(code) => classic::exit(code),
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
        Call::Sigqueue(pid, signal, value) => classic::sigqueue(pid, signal, value).map(zero),
        Call::Sigaction(signal, action) => set_action(signal, action).map(zero),
        Call::Sigprocmask(how, set) => Ok(set_mask(how, set)),
        Call::Sigpending => classic::pending().map(|bits| Value::Signals(SigSet::from_bits(bits))),
        Call::Pause => classic::pause().map(zero),
        Call::Setpgid(pid, to) => classic::setpgid(pid, to).map(zero),
        Call::Getpgid(pid) => classic::getpgid(pid).map(Value::Number),
        Call::Setsid => classic::setsid().map(|pid| Value::Number(pid.get())),
        Call::Getsid(pid) => classic::getsid(pid).map(Value::Number),
        Call::Getpid => Ok(Value::Number(std::process::id() as i32)),
        Call::Gettid => Ok(Value::Number(rights::gettid())),
        Call::Getppid => Ok(Value::Number(std::os::unix::process::parent_id() as i32)),
        Call::SetSubreaper(on) => classic::set_subreaper(on).map(zero),
        Call::SetParentDeathSignal(signal) => classic::set_parent_death_signal(signal).map(zero),
        Call::GetParentDeathSignal => rights::death_signal().map(Value::Number),
        Call::UnsharePid => rights::unshare_pid().map(zero),
        Call::LimitProcesses(most) => rights::limit_processes(u64::from(most)).map(zero),
        Call::LimitStack(bytes) => rights::limit_stack(bytes).map(zero),
        Call::Mmap(..) | Call::Madvise(..) | Call::Touch(..) | Call::Resident(_) => memory(call),
        Call::Pty => terminals::pair().map(|(master, slave)| Value::Pair(master, slave)),
        Call::OpenTty => terminals::open_own().map(Value::Number),
        Call::Terminal(fd, call) => terminal(fd, call),
        Call::Ptrace(what) => trace(what).map(zero),
        Call::Clone(_) | Call::Alarm(_) | Call::Execve(_) | Call::Setuid(_) | Call::Sigtake(_) => {
            Err(Errno::ENOSYS)
        }
        Call::Pipe(_)
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
        | Call::Listen(_)
        | Call::Socketpair
        | Call::Connect(_)
        | Call::Accept(_) => descriptor(call),
    }
}

fn terminal(fd: i32, call: TtyCall) -> Reply {
    let zero = |()| Value::ZERO;
    match call {
        TtyCall::OpenSlave => terminals::open_slave(fd).map(Value::Number),
        TtyCall::Take { steal } => terminals::take(fd, steal).map(zero),
        TtyCall::GiveUp => terminals::give_up(fd).map(zero),
        TtyCall::SetForeground(group) => terminals::set_foreground(fd, group).map(zero),
        TtyCall::Foreground => terminals::foreground(fd).map(Value::Number),
        TtyCall::Session => terminals::session(fd).map(Value::Number),
        TtyCall::StopWriters(on) => terminals::stop_writers(fd, on).map(zero),
        TtyCall::Key(signal) => terminals::press_key(fd, signal).map(zero),
    }
}

fn trace(what: Trace) -> Result<(), Errno> {
    match what {
        Trace::Me => tracing::trace_me(),
        Trace::Attach(pid) => tracing::attach(pid),
        Trace::Seize(pid, kills) => tracing::seize(pid, kills),
        Trace::Interrupt(pid) => tracing::interrupt(pid),
        Trace::Continue(pid, signal) => tracing::go_on(pid, signal),
        Trace::Detach(pid, signal) => tracing::detach(pid, signal),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "`perform` has sorted the calls")]
fn descriptor(call: &Call) -> Reply {
    let zero = |()| Value::ZERO;
    match call {
        Call::Pipe(cloexec) => files::pipe(*cloexec).map(|(read, write)| Value::Pair(read, write)),
        Call::Read(fd, most) => {
            let bytes = files::read(*fd, *most)?;
            Ok(Value::Bytes(terminals::read_on(*fd, bytes, *most)))
        }
        Call::Write(fd, bytes) => {
            let written = files::write(*fd, bytes)?;
            terminals::let_arrive(*fd);
            Ok(Value::Number(written))
        }
        Call::Open(path, access) => {
            let path = CString::new(path.as_str()).map_err(|_| Errno::ENOENT)?;
            files::open(&path, *access == call::Access::Write).map(Value::Number)
        }
        Call::Close(fd) => files::close(*fd).map(zero),
        Call::Dup(fd) => files::dup(*fd).map(Value::Number),
        Call::Dup2(fd, onto) => files::dup2(*fd, *onto).map(Value::Number),
        Call::SetCloexec(fd, on) => files::set_cloexec(*fd, *on).map(zero),
        Call::SetNonblocking(fd, on) => files::set_nonblocking(*fd, *on).map(zero),
        Call::PidfdOpen(pid) => files::pidfd_open(*pid).map(Value::Number),
        Call::PidfdSend(fd, signal) => files::pidfd_send(*fd, *signal).map(zero),
        Call::PollPidfd(fd) => files::poll(*fd).map(Value::Number),
        Call::WaitidPidfd(fd, wait) => waited(classic::waitid(3, *fd, options(wait))?),
        Call::PidfdEnd(fd) => files::pidfd_end(*fd).map(Value::Number),
        Call::Socketpair => files::socketpair().map(|(one, other)| Value::Pair(one, other)),
        Call::Listen(backlog) => files::listen(*backlog).map(Value::Number),
        Call::Connect(fd) => files::connect(*fd).map(zero),
        Call::Accept(fd) => files::accept(*fd).map(Value::Number),
        _ => Err(Errno::ENOSYS),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "`perform` has sorted the calls")]
fn memory(call: &Call) -> Reply {
    AREAS.with_borrow_mut(|areas| match *call {
        Call::Mmap(pages, shared) => {
            areas.push((Area::map(pages as usize, shared)?, Advice::Fork));
            Ok(Value::Number(areas.len() as i32 - 1))
        }
        Call::Madvise(area, advice) => {
            let advice = match advice {
                call::Advice::Normal => Advice::Fork,
                call::Advice::DontFork => Advice::DontFork,
                call::Advice::WipeOnFork => Advice::WipeOnFork,
            };
            let (area, kept) = areas.get_mut(area).ok_or(Errno::ENOMEM)?;
            area.advise(advice)?;
            *kept = advice;
            Ok(Value::ZERO)
        }
        Call::Touch(area, pages) => {
            let (area, _) = areas.get(area).ok_or(Errno::EFAULT)?;
            area.touch(pages as usize).map(Value::Number)
        }
        Call::Resident(area) => {
            let (area, _) = areas.get(area).ok_or(Errno::EFAULT)?;
            resident(area.start()).map(Value::Pages).ok_or(Errno::EFAULT)
        }
        _ => Err(Errno::ENOSYS),
    })
}

/// What `/proc/self/smaps` tells of the mapping that begins at an address.
fn resident(start: usize) -> Option<Usage> {
    let text = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let head = format!("{start:x}-");
    let lines = text.lines().skip_while(|line| !line.starts_with(&head)).skip(1);
    let kb = |name: &str| -> Option<u64> {
        let line = lines.clone().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    };
    let pages = |kb: u64| kb / 4;
    Some(Usage {
        resident: pages(kb("Rss")?),
        private: pages(kb("Private_Dirty")? + kb("Private_Clean")?),
        shared: pages(kb("Shared_Dirty")? + kb("Shared_Clean")?),
        proportional: kb("Pss")? * 1024,
        ..Usage::default()
    })
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
        (wait.all, classic::WALL),
        (wait.clone, WCLONE),
        (wait.no_thread, WNOTHREAD),
    ];
    flags.into_iter().filter(|(on, _)| *on).fold(0, |all, (_, flag)| all | flag)
}

fn set_action(signal: Signal, action: Action) -> Result<(), Errno> {
    let handler = match action.disposition {
        Disposition::Default => Handler::Default,
        Disposition::Ignore => Handler::Ignore,
        Disposition::Handler => Handler::Note,
    };
    let Action { restart, once, no_stop, no_wait, .. } = action;
    classic::set_action(signal, handler, classic::Flags { restart, once, no_stop, no_wait })
}

fn set_mask(how: Mask, set: SigSet) -> Value {
    let how = match how {
        Mask::Block => 0,
        Mask::Unblock => 1,
        Mask::Set => 2,
    };
    Value::Signals(SigSet::from_bits(classic::change_mask(how, set.bits())))
}
