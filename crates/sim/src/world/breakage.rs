//! Supervisors that are broken on purpose, to see that a soak finds it: each is a mistake that somebody has made.
//!
//! Only the simulated supervisor knows them; nothing of them is in production.

macro_rules! breakages {
    ($($name:ident = $text:literal, $what:literal;)*) => {
        /// What is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Breakage {
            $(#[doc = $what] $name,)*
        }

        impl Breakage {
            /// All of them.
            pub const ALL: &[Breakage] = &[$(Breakage::$name,)*];

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Breakage::$name => $text,)* }
            }
        }
    };
}

breakages! {
    ReapsOnce = "reaps-once", "one SIGCHLD, one wait: the reaper forgets to loop";
    KillsByNumber = "kills-by-number", "kill(2) by number instead of by handle";
    LosesTimers = "loses-timers", "now and then a deadline is forgotten";
    MaskInherited = "mask-inherited", "children have the mask of their supervisor";
    BuriesTwice = "buries-twice", "after a burial another wait(-1) for luck";
    NeverBuriesAdopted = "never-buries-adopted", "adopted children are nobody's business";
    ForgetsToWatch = "forgets-to-watch", "children are not watched, and nobody says so";
    DropsEvents = "drops-events", "now and then a command or a notice is lost";
    NoBackOff = "no-back-off", "restarts come at once";
    ReleasesPopulated = "releases-populated", "a tree is called empty without a look";
    IgnoresLock = "ignores-lock", "a supervisor takes its place though another one has the lock";
    AnswersTwice = "answers-twice", "a command is answered again";
    ForgetsAnswers = "forgets-answers", "now and then a command is carried out and not answered";
    WaitsForSlow = "waits-for-slow", "who does not read holds up all clients after him";
    HearsHalf = "hears-half", "who has sent half of a request is not read again";
    LeavesNothingOut = "leaves-nothing-out", "all records of a stream are kept for who does not read them";
    MissesSetClock = "misses-set-clock", "the timer of schedules goes on as if nobody had set the clock";
    SchedulesByTicks = "schedules-by-ticks", "after the clock was set, schedules follow the time since the machine was switched on";
    ForgetsDropped = "forgets-dropped", "lines of a log that were dropped are not counted in it";
    KeepsTorn = "keeps-torn", "a log is not cut back when half of a write was refused";
    KillsOnce = "kills-once", "a group is killed once, and whom that misses lives on";
    ForgetsBegun = "forgets-begun", "the beginning of a line is in the memory of the supervisor only";
}
