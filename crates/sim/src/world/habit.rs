//! What simulated processes do: scripts of the same language that real ones play ([`crate::program`]). Most are the
//! cast; those that only a world needs are here. The seed gives each its own times.

use crate::program::{Script, cast};
use alloc::sync::Arc;
use core::time::Duration;
use doula_core::random::Random;

macro_rules! habits {
    ($($name:ident = $script:literal, $text:literal;)*) => {
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

            /// The name of its script.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Habit::$name => $script,)* }
            }
        }
    };
}

habits! {
    Polite = "polite", "ends at SIGTERM";
    IgnoresTerm = "ignores-term", "ignores SIGTERM";
    SlowStop = "slow-stop", "takes its time to stop";
    CrashLoop = "crash-loop", "ends badly after a while, again and again";
    ReadyThenDies = "ready-then-dies", "says that it is ready, and dies of SIGSEGV";
    DoubleForker = "double-forker", "leaves a grandchild in a session of its own, and ends well";
    ForkBomb = "fork-bomb", "becomes sixteen processes that stay";
    ZombieMaker = "zombie-maker", "has children and buries none";
    StopsItself = "stops-itself", "stops itself";
    StuckInD = "stuck-in-d", "sleeps in the kernel, where nothing but SIGKILL reaches it";
    HoldsThePipeOpen = "holds-the-pipe-open", "ends at once, and leaves a child with its output";
    ExitsWhileBeingStopped = "exits-while-being-stopped", "is told to stop, and dies badly on its own";
    LogFlooder = "log-flooder", "writes as fast as somebody reads";
    SaysThatItStops = "says-that-it-stops", "says that it stops, and takes its time";
    DeafGrandchild = "deaf-grandchild", "forks twice, stays, and the grandchild leaves the session and ignores SIGTERM";
    Storm = "storm", "forks as fast as it can, and so do its children";
    Orphans = "orphans", "leaves many orphans that all die in the same moment";
    Task = "task", "does its work and ends well";
    Server = "server", "answers one client after the other, and at SIGTERM the one that it has";
    ForkingServer = "forking-server", "has a child for each client, and waits for all of them at SIGTERM";
    HastyServer = "hasty-server", "answers one client after the other, and at SIGTERM nobody any more";
    WornServer = "worn-server", "answers a few clients, and ends well";
}

/// The scripts that are not in the cast.
const OWN: [(&str, &str); 9] = [
    (
        "says-that-it-stops",
        "on TERM { notify STOPPING=1\n sleep 2s\n exit 0 }\n notify READY=1\n loop { pause }",
    ),
    (
        "deaf-grandchild",
        "fork as middle { setsid\n fork { ignore TERM\n setsid\n loop { pause } } }
        wait4 pid $middle\n notify READY=1\n loop { pause }",
    ),
    (
        "storm",
        "notify READY=1
        loop {
            fork {
                repeat 2 { fork { sleep 25ms\n fork { ignore TERM\n sleep 2s } } }
                sleep 2s
            }
            sleep 25ms
        }",
    ),
    (
        "orphans",
        "notify READY=1
        loop {
            fork as middle { repeat 6 { fork { sleep 2s } }\n sleep 25ms }
            wait4 pid $middle\n sleep 10s
        }",
    ),
    ("task", "sleep 10s"),
    (
        "server",
        "on TERM { close 3 }\n notify READY=1
        loop { accept 3 as it\n if failed { exit 0 }\n sleep 300ms\n write $it ok\n close $it }",
    ),
    (
        "forking-server",
        "on TERM { close 3 }\n notify READY=1
        loop {
            accept 3 as it
            if failed { break }
            fork { ignore TERM\n sleep 300ms\n write $it ok }
            if failed { write $it busy }
            close $it
            loop { wait4 any nohang\n if failed { break }\n if none { break } }
        }
        loop { wait4 any\n if failed ECHILD { exit 0 } }",
    ),
    (
        "hasty-server",
        "on TERM { exit 0 }\n notify READY=1
        loop { accept 3 as it\n if failed { exit 0 }\n sleep 300ms\n write $it ok\n close $it }",
    ),
    (
        "worn-server",
        "on TERM { close 3 }\n notify READY=1
        repeat 5 { accept 3 as it\n if failed { exit 0 }\n sleep 300ms\n write $it ok\n close $it }",
    ),
];

/// Who only passes by.
pub(crate) const STRANGER: &str = "sleep 20s";

/// Who may bear a copy of itself at any moment.
pub(crate) const FORKS: &str = "ignore TERM\n loop { sleep 10s }";

impl Habit {
    /// Whether it ends only when all of its children have.
    pub(crate) const fn waits_for_children(self) -> bool {
        matches!(self, Habit::ForkingServer)
    }

    /// Whether it is up for ever once it is up, if nobody disturbs it.
    #[must_use]
    pub const fn is_steady(self) -> bool {
        !matches!(
            self,
            Habit::CrashLoop
                | Habit::ReadyThenDies
                | Habit::DoubleForker
                | Habit::StopsItself
                | Habit::HoldsThePipeOpen
                | Habit::Task
                | Habit::WornServer
        )
    }

    /// Those that serve the clients of a socket.
    pub const SERVERS: [Habit; 4] =
        [Habit::Server, Habit::ForkingServer, Habit::HastyServer, Habit::WornServer];

    /// Whether it needs a socket.
    #[must_use]
    pub fn serves(self) -> bool {
        Habit::SERVERS.contains(&self)
    }

    /// Whether it answers everybody whom it has taken, if it is asked to stop.
    #[must_use]
    pub const fn answers_all(self) -> bool {
        matches!(self, Habit::Server | Habit::ForkingServer | Habit::WornServer)
    }

    /// Whether it says that it is ready.
    #[must_use]
    pub fn says_ready(self) -> bool {
        self.source().contains("notify READY=1")
    }

    fn source(self) -> &'static str {
        let own = OWN.iter().find(|(name, _)| *name == self.name()).map(|(_, text)| *text);
        own.or_else(|| cast::find(self.name())).unwrap_or_default()
    }

    /// The program of such a service.
    pub(crate) fn script(self, random: &mut Random) -> Arc<Script> {
        read(self.source(), random)
    }
}

/// A command beside the main process: mostly it ends well and soon.
pub(crate) fn helper(random: &mut Random) -> Arc<Script> {
    let text = match random.below(8) {
        0 => "sleep 200ms\n exit 1",
        1 => "ignore TERM\n loop { pause }",
        2 => "sleep 3s",
        _ => "sleep 200ms",
    };
    read(text, random)
}

/// A script, each of whose sleeps is given a time of up to twice as long.
fn read(text: &str, random: &mut Random) -> Arc<Script> {
    let mut script = known(text);
    script.each_sleep(|time| Duration::from_millis(random.below(2 * time.as_millis() as u64) + 1));
    Arc::new(script)
}

/// A script that is known to be one.
pub(crate) fn known(text: &str) -> Script {
    text.parse().unwrap_or_else(|error| unreachable!("a script of ours is none: {error}"))
}
