//! What simulated processes do: short rows of steps, played with virtual time.

use alloc::vec::Vec;
use core::time::Duration;
use doula_core::random::Random;
use doula_model::signal::Signal;

/// One thing that a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing, for a while.
    Sleep(Duration),
    /// Says `READY=1`.
    Ready,
    /// Says `STOPPING=1`.
    Stopping,
    /// Has a child that plays this part.
    Fork(usize),
    /// The same by vfork(2): it sleeps in the kernel (state D) until the child ends.
    Vfork(usize),
    /// Buries a child, waiting for its end.
    Bury,
    /// Ends.
    Exit(u8),
    /// Sends itself a signal.
    Raise(Signal),
    /// Has a handler for SIGTERM.
    Catch,
    /// Ignores a signal.
    Ignore(Signal),
    /// Makes a session of its own.
    Setsid,
    /// Waits for a signal, again and again.
    Pause,
    /// Goes on with this step.
    Goto(usize),
}

/// What one process of a program does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) acts: Vec<Act>,
    /// The part that is played when SIGTERM was caught.
    pub(crate) on_term: usize,
}

/// What a program does: its first process plays the first part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script(pub(crate) Vec<Part>);

macro_rules! habits {
    ($($name:ident = $text:literal;)*) => {
        /// The ways of the main processes of services.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Habit {
            $(#[doc = $text] $name,)*
        }

        impl Habit {
            /// All of them.
            pub const ALL: &[Habit] = &[$(Habit::$name,)*];

            /// In words.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Habit::$name => $text,)* }
            }
        }
    };
}

habits! {
    Polite = "ends at SIGTERM";
    Deaf = "ignores SIGTERM";
    Slow = "takes its time to stop";
    Crash = "ends badly after a while, again and again";
    ReadyThenDies = "says that it is ready, and dies";
    DoubleForker = "forks twice, and the grandchild leaves the session and ignores SIGTERM";
    Daemon = "leaves a daemon behind and ends well";
    Storm = "forks as fast as it can, and so do its children";
    ZombieMaker = "has children and buries none";
    StopsItself = "stops itself";
    EndsWhileStopping = "is told to stop, and ends badly on its own";
    Orphans = "leaves many orphans that all die in the same moment";
    Stuck = "sleeps in the kernel, where nothing but SIGKILL reaches it";
    Segfault = "dies of SIGSEGV";
    Task = "does its work and ends well";
}

impl Habit {
    /// Whether it is up for ever once it is up, if nobody disturbs it.
    #[must_use]
    pub const fn is_steady(self) -> bool {
        matches!(
            self,
            Habit::Polite
                | Habit::Deaf
                | Habit::Slow
                | Habit::DoubleForker
                | Habit::Storm
                | Habit::ZombieMaker
                | Habit::Orphans
                | Habit::Stuck
                | Habit::EndsWhileStopping
        )
    }

    /// The program of such a service.
    pub(crate) fn script(self, random: &mut Random) -> Script {
        let mut ms = |most: u64| Duration::from_millis(random.below(most) + 1);
        let (soon, later, work) = (ms(50), ms(3_000), ms(20_000));
        let last = |status| Part { acts: Vec::from([Act::Exit(status)]), on_term: 0 };
        let one = |acts: &[Act]| Script(Vec::from([part(acts)]));
        match self {
            Habit::Polite => one(&[Act::Sleep(soon), Act::Ready, Act::Pause]),
            Habit::Deaf => one(&[Act::Ignore(Signal::TERM), Act::Ready, Act::Pause]),
            Habit::Slow => {
                let stop = part(&[Act::Stopping, Act::Sleep(later), Act::Exit(0)]);
                Script(Vec::from([part(&[Act::Catch, Act::Ready, Act::Pause]), stop]))
            }
            Habit::Crash => one(&[Act::Sleep(soon), Act::Ready, Act::Sleep(later), Act::Exit(3)]),
            Habit::ReadyThenDies => one(&[Act::Ready, Act::Exit(1)]),
            Habit::DoubleForker => Script(Vec::from([
                part(&[Act::Fork(1), Act::Bury, Act::Ready, Act::Pause]),
                part(&[Act::Setsid, Act::Fork(2), Act::Exit(0)]),
                part(&[Act::Ignore(Signal::TERM), Act::Sleep(soon), Act::Setsid, Act::Pause]),
            ])),
            Habit::Daemon => Script(Vec::from([
                part(&[Act::Fork(1), Act::Exit(0)]),
                part(&[Act::Setsid, Act::Fork(2), Act::Exit(0)]),
                part(&[Act::Sleep(work), Act::Exit(0)]),
            ])),
            Habit::Storm => Script(Vec::from([
                part(&[Act::Ready, Act::Fork(1), Act::Sleep(soon), Act::Goto(1)]),
                part(&[Act::Fork(2), Act::Fork(2), Act::Sleep(later), Act::Exit(0)]),
                part(&[Act::Sleep(soon), Act::Fork(3), Act::Exit(0)]),
                part(&[Act::Ignore(Signal::TERM), Act::Sleep(later), Act::Exit(0)]),
            ])),
            Habit::ZombieMaker => Script(Vec::from([
                part(&[Act::Fork(1), Act::Fork(1), Act::Fork(1), Act::Ready, Act::Pause]),
                last(0),
            ])),
            Habit::Orphans => {
                let mut acts = alloc::vec![Act::Fork(2); 6];
                acts.extend([Act::Sleep(soon), Act::Exit(0)]);
                Script(Vec::from([
                    part(&[Act::Ready, Act::Fork(1), Act::Bury, Act::Sleep(work), Act::Goto(1)]),
                    part(&acts),
                    part(&[Act::Sleep(later), Act::Exit(0)]),
                ]))
            }
            Habit::Stuck => Script(Vec::from([
                part(&[Act::Ready, Act::Vfork(1), Act::Sleep(soon), Act::Goto(1)]),
                part(&[Act::Ignore(Signal::TERM), Act::Sleep(work), Act::Exit(0)]),
            ])),
            Habit::StopsItself => one(&[Act::Ready, Act::Sleep(soon), Act::Raise(Signal::STOP), Act::Pause]),
            Habit::EndsWhileStopping => {
                let stop = part(&[Act::Sleep(soon), Act::Exit(9)]);
                Script(Vec::from([part(&[Act::Catch, Act::Ready, Act::Pause]), stop]))
            }
            Habit::Segfault => one(&[Act::Ready, Act::Sleep(later), Act::Raise(Signal::SEGV)]),
            Habit::Task => one(&[Act::Sleep(work), Act::Exit(0)]),
        }
    }
}

/// SIGTERM, where it is caught, makes this part play the next one.
fn part(acts: &[Act]) -> Part {
    Part { acts: acts.to_vec(), on_term: 1 }
}

/// A command beside the main process: mostly it ends well and soon.
pub(crate) fn helper(random: &mut Random) -> Script {
    let time = Duration::from_millis(random.below(400) + 1);
    let acts = match random.below(8) {
        0 => [Act::Sleep(time), Act::Exit(1)],
        1 => [Act::Ignore(Signal::TERM), Act::Pause],
        2 => [Act::Sleep(Duration::from_secs(3)), Act::Exit(0)],
        _ => [Act::Sleep(time), Act::Exit(0)],
    };
    Script(Vec::from([part(&acts)]))
}
