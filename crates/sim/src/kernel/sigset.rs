//! Sets of signals, what waits in a queue, and what a process does about each signal.

use alloc::vec::Vec;
use doula_model::signal::Signal;

/// A set of signals, one bit each (sigsetops(3)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SigSet(u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// The two that can be neither caught, blocked nor ignored.
    pub const KERNEL_ONLY: SigSet = SigSet::of(&[Signal::KILL, Signal::STOP]);
    /// Those whose default is to stop.
    pub const STOPS: SigSet = SigSet::of(&[Signal::STOP, Signal::TSTP, Signal::TTIN, Signal::TTOU]);
    /// Those whose default is nothing. SIGCONT is one: it has done its work when it was sent.
    pub const IGNORED_BY_DEFAULT: SigSet =
        SigSet::of(&[Signal::CHLD, Signal::CONT, Signal::WINCH, number(23)]);
    /// Those that end with a core: QUIT ILL TRAP ABRT BUS FPE SEGV XCPU XFSZ SYS.
    pub const CORES: SigSet =
        SigSet(bit(3) | bit(4) | bit(5) | bit(6) | bit(7) | bit(8) | bit(11) | bit(24) | bit(25) | bit(31));
    /// Those that a fault of the task itself raises: they are taken before others.
    pub const SYNCHRONOUS: SigSet = SigSet(bit(4) | bit(5) | bit(7) | bit(8) | bit(11) | bit(31));

    /// Bit `n - 1` for signal `n`.
    pub const fn from_bits(bits: u64) -> SigSet {
        SigSet(bits)
    }

    /// Bit `n - 1` for signal `n`.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set of these.
    pub const fn of(signals: &[Signal]) -> SigSet {
        let (mut bits, mut at) = (0, 0);
        while at < signals.len() {
            bits |= bit(signals[at].number());
            at += 1;
        }
        SigSet(bits)
    }

    /// Whether it is in the set.
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & bit(signal.number()) != 0
    }

    /// With it in or out.
    pub const fn set(&mut self, signal: Signal, present: bool) {
        if present {
            self.0 |= bit(signal.number());
        } else {
            self.0 &= !bit(signal.number());
        }
    }

    /// What is in either.
    pub const fn or(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }

    /// What is in this one and not in the other.
    pub const fn without(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }

    /// What is in both.
    pub const fn and(self, other: SigSet) -> SigSet {
        SigSet(self.0 & other.0)
    }

    /// All others.
    pub const fn complement(self) -> SigSet {
        SigSet(!self.0)
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The lowest number in it.
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Signal::new(self.0.trailing_zeros() as i32 + 1) }
    }

    /// Its signals, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        Signal::all().filter(move |signal| self.has(*signal))
    }
}

const fn bit(number: i32) -> u64 {
    1 << (number - 1)
}

const fn number(number: i32) -> Signal {
    Signal::new(number).expect("a number of a signal")
}

/// Why a signal was sent (`si_code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// kill(2).
    User,
    /// tgkill(2).
    Tkill,
    /// sigqueue(3), with the number that came along.
    Queue(i32),
    /// The kernel itself.
    Kernel,
    /// A child exited, with this code.
    Exited(i32),
    /// A child was killed by this signal.
    Killed(i32),
    /// A child was killed by this signal and dumped core.
    Dumped(i32),
    /// A child was stopped by this signal.
    Stopped(i32),
    /// A tracee stands at the delivery of this signal.
    Trapped(i32),
    /// A child went on.
    Continued,
}

/// What comes with a signal (`siginfo_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SigInfo {
    /// Which signal.
    pub signal: Signal,
    /// Why.
    pub code: Code,
    /// Who sent it, as a number in the receiver's namespace; 0 for the kernel and for whom it cannot see.
    pub pid: i32,
}

/// Signals that wait. Of a standard signal one waits at most; of a real-time signal as many as were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Pending {
    pub(crate) set: SigSet,
    queue: Vec<SigInfo>,
}

impl Pending {
    pub(crate) fn add(&mut self, info: SigInfo) {
        self.set.set(info.signal, true);
        self.queue.push(info);
    }

    /// Takes the oldest of this signal.
    pub(crate) fn take(&mut self, signal: Signal) -> Option<SigInfo> {
        let at = self.queue.iter().position(|info| info.signal == signal)?;
        let info = self.queue.remove(at);
        self.set.set(signal, self.queue.iter().any(|info| info.signal == signal));
        Some(info)
    }

    /// Forgets all of these.
    pub(crate) fn flush(&mut self, signals: SigSet) {
        if !self.set.and(signals).is_empty() {
            self.queue.retain(|info| !signals.has(info.signal));
            self.set = self.set.without(signals);
        }
    }
}

/// What is done about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// `SIG_DFL`.
    Default,
    /// `SIG_IGN`.
    Ignore,
    /// A function of the program.
    Handler,
}

/// What sigaction(2) sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Action {
    /// What is done.
    pub disposition: Disposition,
    /// `SA_RESTART`: a call that the handler interrupted begins again.
    pub restart: bool,
    /// `SA_RESETHAND`: the handler runs once.
    pub once: bool,
    /// `SA_NOCLDSTOP`, of SIGCHLD: stops and continues of children are not told.
    pub no_stop: bool,
    /// `SA_NOCLDWAIT`, of SIGCHLD: children that end leave no zombies.
    pub no_wait: bool,
}

impl Action {
    /// `SIG_DFL`.
    pub const DEFAULT: Action = Action {
        disposition: Disposition::Default,
        restart: false,
        once: false,
        no_stop: false,
        no_wait: false,
    };
    /// `SIG_IGN`.
    pub const IGNORE: Action = Action { disposition: Disposition::Ignore, ..Action::DEFAULT };
    /// A handler without flags.
    pub const HANDLER: Action = Action { disposition: Disposition::Handler, ..Action::DEFAULT };
}

/// The actions of all signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Actions {
    ignored: SigSet,
    handled: SigSet,
    restart: SigSet,
    once: SigSet,
    no_stop: bool,
    no_wait: bool,
}

impl Actions {
    pub(crate) fn disposition(&self, signal: Signal) -> Disposition {
        if self.ignored.has(signal) {
            Disposition::Ignore
        } else if self.handled.has(signal) {
            Disposition::Handler
        } else {
            Disposition::Default
        }
    }

    pub(crate) fn get(&self, signal: Signal) -> Action {
        let child = signal == Signal::CHLD;
        Action {
            disposition: self.disposition(signal),
            restart: self.restart.has(signal),
            once: self.once.has(signal),
            no_stop: child && self.no_stop,
            no_wait: child && self.no_wait,
        }
    }

    pub(crate) fn set(&mut self, signal: Signal, action: Action) {
        self.ignored.set(signal, action.disposition == Disposition::Ignore);
        self.handled.set(signal, action.disposition == Disposition::Handler);
        self.restart.set(signal, action.restart);
        self.once.set(signal, action.once);
        if signal == Signal::CHLD {
            (self.no_stop, self.no_wait) = (action.no_stop, action.no_wait);
        }
    }

    /// What execve(2) leaves: functions are gone with the old program, what is ignored stays ignored.
    pub(crate) fn forget_handlers(&mut self) {
        *self = Actions { ignored: self.ignored, ..Actions::default() };
    }

    pub(crate) const fn ignored(&self) -> SigSet {
        self.ignored
    }

    /// Whether the signal would do nothing at all.
    pub(crate) fn ignores(&self, signal: Signal) -> bool {
        self.ignored.has(signal) || (SigSet::IGNORED_BY_DEFAULT.has(signal) && !self.handled.has(signal))
    }

    /// Whether the signal would end the process.
    pub(crate) fn is_fatal(&self, signal: Signal) -> bool {
        self.disposition(signal) == Disposition::Default
            && !SigSet::IGNORED_BY_DEFAULT.or(SigSet::STOPS).has(signal)
    }
}
