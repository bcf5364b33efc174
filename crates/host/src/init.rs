//! An init: the loop that feeds [`doula_core::init::Init`] and does what it says. Without the standard
//! library, so that `doula-init` is small.
//!
//! It waits for nothing but signals, so it needs no fd of its own but the main process's handle: every signal
//! is blocked, and the next one is taken when there is time for it. SIGCHLD means: bury whoever can be buried.
//!
//! Deliberately absent: any decision.

mod birth;
mod sweep;
mod terminal;

use alloc::vec::Vec;
use birth::Main;
use core::time::Duration;
use doula_core::init::{self, Act, Delivery, Ending, Face, Happened, Init, Line, Options, Say, Stream};
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::plan::{Errno, Resource, Rlimit};
use doula_model::service::Scope;
use doula_model::signal::Signal;
use doula_sys::fd::{self, Standard};
use doula_sys::signal::SignalSet;
use doula_sys::wait::{self, Change, For, Who};
use doula_sys::{adopt, group, limits, pidfd, signal, time};

/// Runs a command as an init does, and returns its exit code. `args` is the whole command line; the name in
/// `args[0]` chooses the dialect. `env` (`NAME=value`) is what the command gets.
///
/// The process should have one thread only, and no child of its own: every child it has is taken for an
/// orphan. All signals stay blocked afterwards, the working directory may be another, and orphans may go on
/// coming.
pub fn run(args: &[Vec<u8>], env: Vec<Vec<u8>>) -> u8 {
    let face = Face::of(args.first().map_or(&b""[..], Vec::as_slice));
    match init::parse(face, args, &env) {
        Err(Say { text, stream, code }) => {
            write(stream, text.as_bytes());
            code
        }
        Ok(options) => look_after(&options, env),
    }
}

fn look_after(options: &Options, env: Vec<Vec<u8>>) -> u8 {
    let own = group::pid();
    let inherited = birth::take_signals(options.keep_signals);
    let voice = Voice { options, own };
    let reach = match prepare(options, own, &voice) {
        Ok(reach) => reach,
        Err(code) => return code,
    };
    let ending = match birth::give(options, own, env, inherited) {
        Ok((main, suspend)) => {
            if voice.chatty() {
                let command = birth::shown(&options.command);
                voice.tell(&Line::Born { command, pid: main.pid, session: main.session });
            }
            if main.left_terminal {
                terminal::QUIRKS.iter().for_each(|signal| voice.tell(&Line::HandOver(*signal)));
            }
            let family = Init::new(options, suspend);
            let reach = look_around(reach);
            Keeper { voice, reach, main, family, acts: Vec::new(), status: ExitStatus::UNKNOWN, others: None }
                .run()
        }
        Err(error) => {
            voice.tell(&Line::NotBorn { command: birth::shown(&options.command), error });
            let code = if options.face == Face::DumbInit { 2 } else { error.shell_code() };
            Ending { code, signal: None }
        }
    };
    if let Some(signal) = ending.signal {
        die_by(signal);
    }
    ending.code
}

/// So long we sleep before a signal that the main process was given goes to everybody else, unless something happens. It may
/// have been woken on our CPU, and would wait there until we have looked for the others; sched_yield(2) does not yield to
/// another session (sched(7), autogroup). Longer than a tick, so that no CPU's timer is set for it alone.
const OTHERS_LATER: Duration = Duration::from_millis(10);

/// So many burials follow each other before it is looked whether another signal waits.
const BURIALS_AT_ONCE: u32 = 64;

/// How far our arm reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Everybody in this PID namespace is ours. With `listed`, `/proc` shows them all.
    Namespace {
        /// Whether it does.
        listed: bool,
    },
    /// Every descendant: orphans come to us.
    Descendants,
    /// The main process and its group; orphans go to others.
    Group,
}

/// What is asked of the kernel before the birth. `Err` is an exit code.
fn prepare(options: &Options, own: Pid, voice: &Voice<'_>) -> Result<Reach, u8> {
    if let Some(signal) = options.parent_death_signal
        && adopt::set_parent_death_signal(Some(signal)).is_err()
    {
        return Err(if options.face == Face::Native { 125 } else { 1 });
    }
    if own == Pid::INIT {
        return Ok(Reach::Namespace { listed: false });
    }
    if options.subreaper {
        match adopt::set_subreaper(true) {
            Ok(()) => return Ok(Reach::Descendants),
            Err(errno) => {
                voice.tell(&Line::SubreaperRefused(errno));
                if options.face != Face::Native {
                    return Err(1);
                }
            }
        }
    }
    // Somebody may have made us one before we were executed.
    if adopt::is_subreaper() == Ok(true) {
        return Ok(Reach::Descendants);
    }
    voice.tell(&Line::NoReaper);
    Ok(Reach::Group)
}

/// What can be done before it is needed, while the main process begins its life: the first signal shall not
/// wait for it.
fn look_around(reach: Reach) -> Reach {
    // The first look at the clock finds out where the kernel's fast one is.
    let _ = time::monotonic();
    touch_stack();
    match reach {
        Reach::Namespace { .. } => Reach::Namespace { listed: sweep::proc_is_ours() },
        Reach::Descendants | Reach::Group => reach,
    }
}

/// Has the kernel give us the stack that a signal will need: each page of it costs microseconds when it is first used.
#[inline(never)]
fn touch_stack() {
    const DEEPEST: usize = 12 << 10;
    core::hint::black_box([0_u8; DEEPEST]);
}

/// Ends us by this signal. PID 1 is spared by the kernel, and goes on.
fn die_by(signal: Signal) {
    // The main process has dumped core already, if it wanted to. Nothing is lost when one of these fails:
    // the exit code follows.
    let _ = limits::set(Rlimit { resource: Resource::Core, soft: 0, hard: 0 });
    let _ = signal::reset(signal);
    let _ = signal::raise(signal);
    signal::set_mask(SignalSet::FULL.without(signal));
}

/// Who tells what happens, in whose words.
struct Voice<'a> {
    options: &'a Options,
    own: Pid,
}

impl Voice<'_> {
    fn chatty(&self) -> bool {
        self.options.verbosity >= 2
    }

    fn tell(&self, line: &Line) {
        if line.is_chatter() && !self.chatty() {
            return;
        }
        if let Some((stream, text)) = init::say(self.options.face, self.own, self.options.verbosity, line) {
            write(stream, text.as_bytes());
        }
    }
}

/// Nobody could be told that telling failed. A reader that is gone must not end us: SIGPIPE is blocked, and
/// dropped when it comes from ourselves.
fn write(stream: Stream, mut text: &[u8]) {
    let standard = match stream {
        Stream::Out => Standard::Out,
        Stream::Err => Standard::Err,
    };
    while !text.is_empty() {
        match fd::write(fd::standard(standard), text) {
            Ok(count) => text = text.get(count..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// The family and everything needed to act on it.
struct Keeper<'a> {
    voice: Voice<'a>,
    reach: Reach,
    main: Main,
    family: Init,
    acts: Vec<Act>,
    status: ExitStatus,
    /// What only the main process has been told yet.
    others: Option<Others>,
}

impl Keeper<'_> {
    fn run(mut self) -> Ending {
        loop {
            let ending = match self.next_signal() {
                Ok(Some(Signal::CHLD)) => {
                    self.voice.tell(&Line::Received(Signal::CHLD));
                    self.bury()
                }
                Ok(Some(signal)) => self.signalled(signal),
                Ok(None) => self.happened(Happened::Tick),
                // EINTR: we were stopped and go on. Nothing else can happen to a valid call.
                Err(_) => None,
            };
            if let Some(ending) = ending {
                self.voice.tell(&Line::Over(self.status));
                self.main.take_terminal_back();
                return ending;
            }
        }
    }

    fn signalled(&mut self, signal: Signal) -> Option<Ending> {
        self.voice.tell(&Line::Received(signal));
        self.happened(Happened::Signal(signal))
    }

    /// The next signal that is meant for us, `None` when a deadline passed first.
    fn next_signal(&mut self) -> Result<Option<Signal>, Errno> {
        let timeout = self.family.deadline().map(|deadline| deadline.since(time::monotonic()));
        let deaths = self.family.listens_to_deaths();
        let set = if deaths { SignalSet::FULL } else { SignalSet::FULL.without(Signal::CHLD) };
        if self.others.is_none() {
            return self.take_signal(set, timeout);
        }
        let soon = timeout.map_or(OTHERS_LATER, |timeout| timeout.min(OTHERS_LATER));
        let soon = self.take_signal(set, Some(soon));
        self.tell_others();
        // Nothing came; a deadline that has passed is met by the next call.
        if soon == Ok(None) { Err(Errno::EINTR) } else { soon }
    }

    fn take_signal(&self, set: SignalSet, timeout: Option<Duration>) -> Result<Option<Signal>, Errno> {
        match signal::wait(set, timeout)? {
            // Our own words to somebody who does not listen any more.
            Some(arrived) if arrived.signal == Signal::PIPE && arrived.sender == Some(self.voice.own) => {
                Err(Errno::EINTR)
            }
            Some(arrived) => Ok(Some(arrived.signal)),
            None => Ok(None),
        }
    }

    /// Buries everybody who can be. Other signals do not wait for the end of a long row.
    fn bury(&mut self) -> Option<Ending> {
        for turn in 1_u32.. {
            if turn.is_multiple_of(BURIALS_AT_ONCE)
                && let Ok(Some(signal)) =
                    self.take_signal(SignalSet::FULL.without(Signal::CHLD), Some(Duration::ZERO))
                && let Some(ending) = self.signalled(signal)
            {
                return Some(ending);
            }
            let before = time::monotonic();
            let drained = |empty| Happened::Drained { empty, look: time::monotonic().since(before) };
            let news = match wait::waitid(Who::Any, For::CHANGE) {
                Ok(Some(news)) => news,
                Ok(None) => return self.happened(drained(false)),
                Err(_) => return self.happened(drained(true)),
            };
            let is_main = news.pid == self.main.pid && !self.main.buried;
            let happened = match news.change {
                Change::Exited(status) => {
                    self.voice.tell(&Line::Buried { pid: news.pid, status });
                    if is_main {
                        self.main.buried = true;
                        self.status = status;
                        Happened::MainEnded(status)
                    } else {
                        Happened::OrphanEnded(news.pid)
                    }
                }
                Change::Stopped(Signal::TTIN | Signal::TTOU) if is_main && self.main.lend_terminal() => {
                    Happened::MainGotTerminal
                }
                Change::Stopped(_) if is_main => Happened::MainStopped,
                Change::Stopped(_) | Change::Continued => continue,
            };
            if let Some(ending) = self.happened(happened) {
                return Some(ending);
            }
        }
        None
    }

    fn happened(&mut self, happened: Happened) -> Option<Ending> {
        let mut acts = core::mem::take(&mut self.acts);
        self.family.handle(time::monotonic(), happened, &mut acts);
        let mut ending = None;
        for act in acts.drain(..) {
            match act {
                Act::Send(delivery) => self.send(delivery),
                Act::LendTerminal => drop(self.main.lend_terminal()),
                Act::StopSelf => {
                    self.voice.tell(&Line::Suspending);
                    self.tell_others();
                    // SIGSTOP cannot fail to be sent to ourselves.
                    let _ = signal::raise(Signal::STOP);
                }
                Act::Tell(line) => self.voice.tell(&line),
                Act::End(end) => ending = Some(end),
            }
        }
        self.acts = acts;
        ending
    }

    /// Whoever is gone by now does not need the signal: failures are no news.
    fn send(&mut self, Delivery { mut signal, scope, or_stop }: Delivery) {
        if or_stop && self.main.leaves_to_default(signal) {
            signal = Signal::STOP;
        }
        let told = match scope {
            Scope::Main => pidfd::send(&self.main.handle, signal),
            Scope::Group => self.main.send_group(signal),
            Scope::Tree => self.send_tree(signal),
        };
        let _ = told;
        self.voice.tell(&Line::PassedOn(signal));
    }

    /// Sends a signal to everybody in our reach: to the main process and its group first, for that is who is waited for,
    /// and the way to the others is long. SIGKILL goes to all at once, so that nobody can be born past it.
    fn send_tree(&mut self, signal: Signal) -> Result<(), Errno> {
        self.tell_others();
        let apart = match self.reach {
            Reach::Namespace { listed } => listed && self.main.leads,
            Reach::Descendants => true,
            Reach::Group => return self.main.send_group(signal),
        };
        let main_first = apart && !self.main.buried && signal != Signal::KILL;
        let others = Others { signal, but_main: main_first };
        if !main_first {
            return self.send_others(others);
        }
        self.others = Some(others);
        match self.reach {
            Reach::Namespace { .. } => self.main.send_group(signal),
            Reach::Descendants | Reach::Group => pidfd::send(&self.main.handle, signal),
        }
    }

    fn tell_others(&mut self) {
        if let Some(others) = self.others.take() {
            // Whoever is gone by now does not need it.
            let _ = self.send_others(others);
        }
    }

    /// Without `/proc` after all, some hear it twice, which is better than never.
    fn send_others(&self, Others { signal, but_main }: Others) -> Result<(), Errno> {
        let main = but_main.then_some(self.main.pid);
        match (self.reach, main) {
            (Reach::Namespace { .. }, Some(main)) => {
                sweep::send_to_other_groups(main, signal).or_else(|_| pidfd::send_all(signal))
            }
            (Reach::Namespace { .. }, None) => pidfd::send_all(signal),
            (Reach::Descendants | Reach::Group, main) => {
                sweep::send_to_descendants(self.voice.own, main, signal)
                    .or_else(|_| self.main.send_group(signal))
            }
        }
    }
}

/// A signal for everybody in our reach.
#[derive(Clone, Copy)]
struct Others {
    signal: Signal,
    /// The main process has got it already; in a namespace of ours, its group too.
    but_main: bool,
}
