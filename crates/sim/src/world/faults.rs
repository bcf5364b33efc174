//! What goes wrong in a world, in the manner of FoundationDB's BUGGIFY: each seed makes a quarter of the sites active,
//! and an active site fires now and then. So one seed has few kinds of trouble, and much of each.
//!
//! Each site has a stream of chance of its own: to take one out of a scenario does not move the others. Whether those that came
//! later are active is drawn apart too, so that a seed of before is what it was without them ([`Sites::when_there_were`]).

use doula_core::random::Random;

/// A place at which something can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name, as the command line takes it.
    pub name: &'static str,
    /// What goes wrong there.
    pub what: &'static str,
    /// How often an active site fires, in a thousand times that it could.
    pub per_mille: u16,
}

macro_rules! sites {
    ($($name:ident = $text:literal, $per_mille:literal, $what:literal;)*) => {
        /// One of [`SITES`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $(#[doc = $what] $name,)*
        }

        /// All sites, in the order of [`Fault`].
        pub const SITES: &[Site] =
            &[$(Site { name: $text, what: $what, per_mille: $per_mille },)*];

        impl Fault {
            /// All of them.
            pub const ALL: &[Fault] = &[$(Fault::$name,)*];
        }
    };
}

sites! {
    ForkAgain = "fork-again", 250, "a birth finds too many processes: EAGAIN";
    ForkMemory = "fork-memory", 250, "a birth finds no memory: ENOMEM";
    SlowBirth = "slow-birth", 250, "a birth takes up to three seconds";
    NoDescriptor = "no-descriptor", 100, "a birth cannot be prepared: EMFILE";
    NoGroup = "no-group", 100, "no control group can be made: ENOSPC";
    ChildFirst = "child-first", 500, "the child's program runs before the birth has returned";
    KilledBeforeFirstStep = "killed-before-first-step", 100, "the child dies before its first step";
    KilledBeforeExec = "killed-before-exec", 100, "the child dies between two steps of its plan";
    ExecMissing = "exec-missing", 150, "the program is gone for a moment: ENOENT";
    ExecRefused = "exec-refused", 150, "the program may not be executed: EACCES";
    ExecFormat = "exec-format", 150, "the program is damaged: ENOEXEC";
    ExecBusy = "exec-busy", 150, "the program is being written: ETXTBSY";
    ExecIo = "exec-io", 150, "the program cannot be read: EIO";
    ExecTooBig = "exec-too-big", 50, "the arguments are too long: E2BIG";
    ExecNoReturn = "exec-no-return", 100, "execve fails after its point of no return: SIGSEGV";
    NumberReused = "number-reused", 500, "a number that was given free is a stranger's at once";
    NoGroupKill = "no-group-kill", 250, "a group cannot be killed as a whole, as before Linux 5.14 or with EBUSY: each of it gets SIGKILL";
    WatchRefused = "watch-refused", 500, "a child cannot be watched: only SIGCHLD tells of its end";
    ChildSignalLate = "child-signal-late", 500, "SIGCHLD is looked at up to 50 ms late";
    ChildSignalSpurious = "child-signal-spurious", 50, "SIGCHLD comes though no child has changed";
    SpuriousWake = "spurious-wake", 250, "a wait ends though nothing has happened, as with EINTR";
    WakeLate = "wake-late", 250, "what happened is told by a later wait";
    WaitStolen = "wait-stolen", 100, "a library buries a child of ours";
    Preempted = "preempted", 100, "others run between two calls of the supervisor";
    SupervisorStopped = "supervisor-stopped", 10, "the supervisor is stopped for a while by SIGSTOP";
    TimerLate = "timer-late", 100, "a deadline is noticed seconds late";
    ClockJumps = "clock-jumps", 10, "nobody runs for hours, and the clock goes on";
    DiskFull = "disk-full", 100, "the state file finds no room: ENOSPC, in the middle of a write";
    DiskBroken = "disk-broken", 500, "what is torn of the state file cannot be cut off: EIO";
    KeeperLost = "keeper-lost", 500, "the keeper of a supervisor is killed together with it";
    EntryVanishes = "entry-vanishes", 100, "a process dies between the look into /proc and the one at its entry";
    OutOfMemory = "out-of-memory", 30, "the kernel kills a process of a service for want of memory";
    StoppedFromOutside = "stopped-from-outside", 30, "somebody stops a main process, and continues it later";
    KilledFromOutside = "killed-from-outside", 20, "somebody kills a process of a service";
    WallJumps = "wall-jumps", 20, "somebody sets the wall clock, up to an hour away from the time; schedules follow it, deadlines do not";
    SlowCore = "slow-core", 500, "a core is written for seconds: its process is alive until then, and only SIGKILL hastens it";
    Interrupted = "interrupted", 250, "the wait for events ends early with EINTR and without any";
    SecondSupervisor = "second-supervisor", 50, "another supervisor of the same family starts: it is refused, or goes on when the first is dead";
    PeopleAsk = "people-ask", 300, "people ask over the control socket, also in pieces, too much, without reading, or nonsense";
    LogFull = "log-full", 20, "log files find no room for a while: ENOSPC, in the middle of a write";
    LogBroken = "log-broken", 20, "a log file cannot be written for a while: EIO";
    KillMisses = "kill-misses", 250, "a write to cgroup.kill misses the child that the last of the group bears meanwhile, as on Linux 6.14 and later";
    LinesInPieces = "lines-in-pieces", 700, "services write lines in pieces, and the supervisor may be killed in between";
}

const COUNT: usize = SITES.len();
/// Of the stream that says which of the later ones are active.
const LATER: u64 = 0x6c61_7465_7273_6974;

impl Fault {
    const fn bit(self) -> u64 {
        1 << self as u32
    }

    /// The site.
    pub const fn site(self) -> &'static Site {
        &SITES[self as usize]
    }
}

/// Which sites are active, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sites(u64);

impl Sites {
    /// Nothing goes wrong.
    pub const NONE: Sites = Sites(0);
    /// See [`Sites::when_there_were`].
    pub const WHEN_FIRST_KEPT: u32 = 34;

    /// A quarter of them. The later ones have their chance from the seed alone.
    #[must_use]
    pub fn chosen(random: &mut Random, seed: u64) -> Sites {
        let mut apart = Random::new(seed ^ LATER);
        let mut chosen = Sites::NONE;
        for fault in Fault::ALL {
            let random = if (*fault as u32) < Sites::WHEN_FIRST_KEPT { &mut *random } else { &mut apart };
            if random.below(4) == 0 {
                chosen = chosen.with(*fault);
            }
        }
        chosen
    }

    /// Those among them that were there when there were so many: a scenario that was kept then is what it was. So many there were
    /// when the first ones were kept: [`Sites::WHEN_FIRST_KEPT`].
    #[must_use]
    pub const fn when_there_were(self, count: u32) -> Sites {
        Sites(self.0 & ((1 << count) - 1))
    }

    /// These without one.
    #[must_use]
    pub const fn without(self, fault: Fault) -> Sites {
        Sites(self.0 & !fault.bit())
    }

    /// These and one more.
    #[must_use]
    pub const fn with(self, fault: Fault) -> Sites {
        Sites(self.0 | fault.bit())
    }

    /// Whether it is among them.
    #[must_use]
    pub const fn has(self, fault: Fault) -> bool {
        self.0 & fault.bit() != 0
    }

    /// Those that are active.
    pub fn iter(self) -> impl Iterator<Item = Fault> {
        Fault::ALL.iter().copied().filter(move |fault| self.has(*fault))
    }
}

/// Fires.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    active: Sites,
    streams: [Random; COUNT],
    /// How often each has fired.
    pub(crate) fired: [u32; COUNT],
}

impl Faults {
    pub(crate) fn new(active: Sites, seed: u64) -> Faults {
        let stream =
            |place: usize| Random::new(seed ^ (place as u64 + 1).wrapping_mul(0xa076_1d64_78bd_642f));
        Faults { active, streams: core::array::from_fn(stream), fired: [0; COUNT] }
    }

    /// Whether it goes wrong this time.
    pub(crate) fn fires(&mut self, fault: Fault) -> bool {
        if !self.active.has(fault) {
            return false;
        }
        let fires = self.below(fault, 1_000) < u64::from(fault.site().per_mille);
        self.fired[fault as usize] += u32::from(fires);
        fires
    }

    /// A number from the stream of this site.
    pub(crate) fn below(&mut self, fault: Fault, bound: u64) -> u64 {
        self.streams[fault as usize].below(bound)
    }

    /// From now on nothing goes wrong.
    pub(crate) fn cease(&mut self) {
        self.active = Sites::NONE;
    }
}
