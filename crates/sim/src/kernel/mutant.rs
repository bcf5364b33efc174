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
    /// A file is read from the same place again and again.
    OffsetsNotShared,
    /// Close-on-exec does not close.
    CloexecIgnored,
    /// A copy of a descriptor is close-on-exec too.
    DupKeepsCloexec,
    /// A write that nobody will read fails without a signal.
    NoSigpipe,
    /// An empty pipe is at its end, whoever could still write.
    EmptyPipeIsEnd,
    /// A new descriptor is not the lowest that is free.
    DescriptorAfterTheLast,
    /// O_NONBLOCK has no effect on a pipe.
    NonblockingIgnored,
    /// A handle can be read before the end of its process.
    HandleReadableAtOnce,
    /// A signal by the handle of a zombie is ESRCH.
    HandleOfZombieFails,
    /// PIDFD_GET_INFO tells the end of a zombie.
    EndToldBeforeBurial,
    /// Two real-time signals wait as one.
    RealTimeCollapses,
    /// The highest signal is delivered first.
    HighestSignalFirst,
    /// The number of sigqueue(3) does not arrive.
    QueuedValueLost,
    /// Handlers survive execve(2).
    ExecKeepsHandlers,
    /// What is ignored is default after execve(2).
    ExecForgetsIgnored,
    /// Nothing is blocked after execve(2).
    ExecClearsMask,
    /// A child may be moved after it executed a program.
    SetpgidAfterExec,
    /// A program that was executed has the exit signal of its birth.
    ExecKeepsExitSignal,
    /// The words of a `#!` line are arguments of their own.
    ScriptSplitsArguments,
    /// A script's interpreter is given the first argument too.
    ScriptKeepsFirstArgument,
    /// A file that is open for writing can be executed.
    BusyProgramRuns,
    /// A leader that ended before its other threads can be waited for.
    LeaderWaitable,
    /// The end of one thread is that of all.
    ThreadEndIsTheProcess,
    /// fork(2) copies every page at once.
    CopiedAtFork,
    /// The last who has a page writes to it without a fault.
    LastOwnerWritesFreely,
    /// MADV_WIPEONFORK has no effect.
    WipeIgnored,
    /// MADV_DONTFORK has no effect.
    DontForkIgnored,
    /// A child has the pages of a shared mapping mapped at once.
    SharedMappedByFork,
    /// A namespace lives on without its init.
    SpaceOutlivesInit,
    /// A process in a namespace sees its outer number.
    NumbersAreGlobal,
    /// RLIMIT_NPROC has no effect.
    LimitIgnored,
    /// RLIMIT_NPROC binds root.
    LimitBindsRoot,
    /// A stranger's process may be signalled.
    AnybodyMayKill,
    /// SIGCONT within a session needs the right to signal.
    ContinueForbidden,
    /// Who leads no session may make a terminal its controlling one.
    TerminalTakenByAnybody,
    /// A child has no controlling terminal.
    TerminalNotInherited,
    /// setsid(2) leaves the controlling terminal.
    SetsidKeepsTerminal,
    /// Who reads from the background is not stopped.
    BackgroundReads,
    /// TOSTOP has no effect.
    TostopIgnored,
    /// Who is in the background may change the foreground group, and write in spite of TOSTOP.
    BackgroundTakesForeground,
    /// Who is in an orphaned group may use the terminal from the background.
    OrphansUseTheTerminal,
    /// A group of another session may be the foreground.
    ForegroundOfAnotherSession,
    /// The foreground group is not told of the end of its session's leader.
    LeaderEndUntold,
    /// At the end of a session's leader the foreground group has SIGCONT too.
    LeaderEndContinues,
    /// A session keeps its terminal when its leader ends.
    TerminalOutlivesLeader,
    /// The leader of a session is not told that its terminal is hung up.
    HangupUntold,
    /// A birth that fails after the memory was copied leaves the copy behind.
    FailedBirthKeepsPages,
    /// A child has its parent's alarm.
    AlarmInherited,
    /// execve(2) ends the alarm.
    AlarmLostByExec,
    /// A program that cannot be mapped is an error of execve(2), and not a death.
    LateFailureReturns,
    /// RLIMIT_STACK does not limit the arguments of a program.
    StackLimitIgnored,
    /// The children of a thread that ends go to init at once.
    ThreadsChildrenToInit,
    /// A queue of connections takes as many as its backlog says.
    BacklogExact,
    /// A queue of connections takes any number.
    BacklogIgnored,
    /// accept(2) leaves a connection for the next one.
    AcceptLeavesIt,
    /// accept(2) sleeps also where O_NONBLOCK is set.
    AcceptWaitsAlways,
    /// A handler does not disturb accept(2), whatever its flags.
    AcceptGoesOn,
    /// A socket that listens is kept by execve(2).
    ListenerKeptByExec,
    /// A connection is kept by execve(2).
    ConnectionKeptByExec,
    /// What is written to a client that is gone arrives.
    GoneClientReads,
    /// A write to a client that is gone is EPIPE without SIGPIPE.
    NoSigpipeOfSockets,
    /// The parent hears of the end of who is traced by another, and not the tracer.
    ParentToldFirst,
    /// Nobody stops for a tracer at a signal that it ignores.
    TracersMissWhatIsIgnored,
    /// A signal that the tracer keeps is delivered.
    TracerHoldsNothingBack,
    /// PTRACE_O_EXITKILL has no effect.
    ExitKillIgnored,
    /// Who is let go by its tracer leaves the stop of its process.
    DetachedGoesOn,
    /// wait(2) tells a tracer of stops with WUNTRACED only.
    TrapsNeedUntraced,
    /// execve(2) of who is traced sends no SIGTRAP.
    ExecUntold,
    /// PTRACE_INTERRUPT stops also who was not seized.
    InterruptsWhomIsAttached,
    /// A stop that stands before its delivery survives SIGCONT.
    ContinueLetsStop,
    /// A signal of which no tracer was told is lost when the tracer ends.
    UntoldSignalLost,
    /// Who was seized does not stop when its process goes on.
    SeizedMissesContinue,
    /// Who was left with something unread is told by the end of the file alone.
    NoReset,
    /// The other end of a connection is told of a reset when all was read, too.
    AlwaysReset,
    /// ECONNRESET comes at every read.
    ResetStays,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 121] = [
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
        Mutant::OffsetsNotShared,
        Mutant::CloexecIgnored,
        Mutant::DupKeepsCloexec,
        Mutant::NoSigpipe,
        Mutant::EmptyPipeIsEnd,
        Mutant::DescriptorAfterTheLast,
        Mutant::NonblockingIgnored,
        Mutant::HandleReadableAtOnce,
        Mutant::HandleOfZombieFails,
        Mutant::EndToldBeforeBurial,
        Mutant::RealTimeCollapses,
        Mutant::HighestSignalFirst,
        Mutant::QueuedValueLost,
        Mutant::ExecKeepsHandlers,
        Mutant::ExecForgetsIgnored,
        Mutant::ExecClearsMask,
        Mutant::SetpgidAfterExec,
        Mutant::ExecKeepsExitSignal,
        Mutant::ScriptSplitsArguments,
        Mutant::ScriptKeepsFirstArgument,
        Mutant::BusyProgramRuns,
        Mutant::LeaderWaitable,
        Mutant::ThreadEndIsTheProcess,
        Mutant::CopiedAtFork,
        Mutant::LastOwnerWritesFreely,
        Mutant::WipeIgnored,
        Mutant::DontForkIgnored,
        Mutant::SharedMappedByFork,
        Mutant::SpaceOutlivesInit,
        Mutant::NumbersAreGlobal,
        Mutant::LimitIgnored,
        Mutant::LimitBindsRoot,
        Mutant::AnybodyMayKill,
        Mutant::ContinueForbidden,
        Mutant::TerminalTakenByAnybody,
        Mutant::TerminalNotInherited,
        Mutant::SetsidKeepsTerminal,
        Mutant::BackgroundReads,
        Mutant::TostopIgnored,
        Mutant::BackgroundTakesForeground,
        Mutant::OrphansUseTheTerminal,
        Mutant::ForegroundOfAnotherSession,
        Mutant::LeaderEndUntold,
        Mutant::LeaderEndContinues,
        Mutant::TerminalOutlivesLeader,
        Mutant::HangupUntold,
        Mutant::FailedBirthKeepsPages,
        Mutant::AlarmInherited,
        Mutant::AlarmLostByExec,
        Mutant::LateFailureReturns,
        Mutant::StackLimitIgnored,
        Mutant::ThreadsChildrenToInit,
        Mutant::BacklogExact,
        Mutant::BacklogIgnored,
        Mutant::AcceptLeavesIt,
        Mutant::AcceptWaitsAlways,
        Mutant::AcceptGoesOn,
        Mutant::ListenerKeptByExec,
        Mutant::ConnectionKeptByExec,
        Mutant::GoneClientReads,
        Mutant::NoSigpipeOfSockets,
        Mutant::ParentToldFirst,
        Mutant::TracersMissWhatIsIgnored,
        Mutant::TracerHoldsNothingBack,
        Mutant::ExitKillIgnored,
        Mutant::DetachedGoesOn,
        Mutant::TrapsNeedUntraced,
        Mutant::ExecUntold,
        Mutant::InterruptsWhomIsAttached,
        Mutant::ContinueLetsStop,
        Mutant::UntoldSignalLost,
        Mutant::SeizedMissesContinue,
        Mutant::NoReset,
        Mutant::AlwaysReset,
        Mutant::ResetStays,
    ];
}
