//! Errors that can be put into the kernel on purpose, to see that the comparisons find them.
//!
//! Each bends one rule at one place, named [`Kernel::bent`](super::Kernel) there. They are also the mistakes that
//! people make about processes.

/// A rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A parent that ignores SIGCHLD has zombies.
    NoAutoreap,
    /// SA_NOCLDWAIT has no effect.
    NoWaitIgnored,
    /// Orphans go to init always.
    SubreaperIgnored,
    /// wait(2) takes the youngest child first.
    WaitNewestFirst,
    /// A stopped group that an exit orphans is not told.
    NoOrphanHangup,
    /// SIGCONT leaves stops pending.
    ContinueKeepsStops,
    /// A stop leaves SIGCONT pending.
    StopKeepsContinue,
    /// A child has its parent's death signal.
    DeathSignalInherited,
    /// SIGTSTP stops in an orphaned group.
    StopsInOrphanedGroup,
    /// A group of another session may be joined.
    SetpgidAcrossSessions,
    /// Anybody may be moved, not only children.
    SetpgidAnybody,
    /// A session's leader may be moved.
    SetpgidLeader,
    /// Nobody is told of a zombie among its orphans.
    AdoptedZombieUntold,
    /// Adopted children come before one's own.
    AdoptedFirst,
    /// A child has a group of its own.
    ForkMakesGroup,
    /// Two SIGCHLD wait as two.
    StandardSignalsQueue,
    /// An init dies of what it has no handler for.
    InitKillable,
    /// A child blocks nothing.
    MaskNotInherited,
    /// A child has its parent's pending signals.
    PendingInherited,
    /// wait(2) leaves a stop to be told again.
    StopToldTwice,
    /// wait(2) leaves a continue to be told again.
    ContinueToldTwice,
    /// WCONTINUED finds nothing.
    ContinueNeverTold,
    /// SA_NOCLDSTOP has no effect.
    StopNoticeAlways,
    /// A group's leader may make a session.
    SetsidByGroupLeader,
    /// setsid(2) does not make a group.
    SetsidKeepsGroup,
    /// kill(2) of a zombie is ESRCH.
    KillZombieFails,
    /// kill(-1) hits the caller too.
    KillAllHitsOneself,
    /// WNOHANG with living children only is ECHILD.
    NothingYetIsEchild,
    /// waitid(P_PGID, 0) takes any child.
    GroupZeroIsAny,
    /// CLONE_PARENT makes a child.
    ParentFlagIgnored,
    /// Every end is told by SIGCHLD.
    ExitSignalIgnored,
    /// wait(2) sees children of another exit signal.
    CloneChildrenSeen,
    /// WNOWAIT buries.
    NoWaitBuries,
    /// Who is stopped dies of SIGTERM at once.
    StoppedDiesOfTerm,
    /// Who is stopped does not die of SIGKILL.
    KillWaitsForContinue,
    /// More than eight bits of an exit code arrive.
    CodeNotCut,
    /// A handler without SA_RESTART does not end a call.
    AlwaysRestarts,
    /// SA_RESTART has no effect.
    NeverRestarts,
    /// SA_RESETHAND has no effect.
    OnceStays,
    /// SA_RESETHAND takes the flags away too.
    OnceClearsFlags,
    /// A signal that becomes ignored stays pending.
    IgnoreKeepsPending,
    /// The parent of vfork(2) comes back at once.
    VforkDoesNotWait,
    /// The parent of vfork(2) wakes up for any signal.
    VforkStops,
    /// A stopped process that is killed counts as a stopped member of its group.
    KilledStillStopped,
    /// An orphan keeps its exit signal.
    OrphansKeepExitSignal,
    /// The death signal is not sent.
    NoDeathSignal,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 46] = [
        Mutant::NoAutoreap,
        Mutant::NoWaitIgnored,
        Mutant::SubreaperIgnored,
        Mutant::WaitNewestFirst,
        Mutant::NoOrphanHangup,
        Mutant::ContinueKeepsStops,
        Mutant::StopKeepsContinue,
        Mutant::DeathSignalInherited,
        Mutant::StopsInOrphanedGroup,
        Mutant::SetpgidAcrossSessions,
        Mutant::SetpgidAnybody,
        Mutant::SetpgidLeader,
        Mutant::AdoptedZombieUntold,
        Mutant::AdoptedFirst,
        Mutant::ForkMakesGroup,
        Mutant::StandardSignalsQueue,
        Mutant::InitKillable,
        Mutant::MaskNotInherited,
        Mutant::PendingInherited,
        Mutant::StopToldTwice,
        Mutant::ContinueToldTwice,
        Mutant::ContinueNeverTold,
        Mutant::StopNoticeAlways,
        Mutant::SetsidByGroupLeader,
        Mutant::SetsidKeepsGroup,
        Mutant::KillZombieFails,
        Mutant::KillAllHitsOneself,
        Mutant::NothingYetIsEchild,
        Mutant::GroupZeroIsAny,
        Mutant::ParentFlagIgnored,
        Mutant::ExitSignalIgnored,
        Mutant::CloneChildrenSeen,
        Mutant::NoWaitBuries,
        Mutant::StoppedDiesOfTerm,
        Mutant::KillWaitsForContinue,
        Mutant::CodeNotCut,
        Mutant::AlwaysRestarts,
        Mutant::NeverRestarts,
        Mutant::OnceStays,
        Mutant::OnceClearsFlags,
        Mutant::IgnoreKeepsPending,
        Mutant::VforkDoesNotWait,
        Mutant::VforkStops,
        Mutant::KilledStillStopped,
        Mutant::OrphansKeepExitSignal,
        Mutant::NoDeathSignal,
    ];
}
