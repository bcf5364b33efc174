//! The world as the driver loop sees it: about twenty calls, none of which blocks but [`Kernel::poll`].
//!
//! `doula-host` implements this trait with Linux (epoll, pidfds, signalfd, cgroups), `doula-sim` on paper. The
//! loop over it ([`crate::drive`]) is the same code on both, because the bugs of supervisors live there:
//! coalesced SIGCHLD, a child that is dead before it is watched, a wait that finds nothing.
//!
//! Pools ([`Kernel::seat`] and the three after it) have defaults that do nothing, for worlds without.
//!
//! Deliberately absent: sockets, logs, probes and people. A world looks after those by itself in
//! [`Kernel::attend`] and tells their outcome as an [`Event`].

use crate::engine::Engine;
use alloc::vec::Vec;
use doula_model::action::Report;
use doula_model::event::Event;
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, Pid, PoolId, ServiceId};
use doula_model::plan::{Errno, SpawnError};
use doula_model::pool::{Checkup, Measure};
use doula_model::signal::Signal;
use doula_model::time::Time;

/// A change in the life of a child, as waitid(2) tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It ended.
    Exited(ExitStatus),
    /// It was stopped by a signal.
    Stopped,
    /// It goes on.
    Continued,
}

/// Why [`Kernel::poll`] returned. Spurious wakes are allowed; a missed one is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The watched child with this number may have ended.
    Child(Pid),
    /// Signals wait to be read.
    Signals,
    /// The processes of this generation may all be gone, or were killed a while ago and are not ([`Kernel::look`]).
    Tree(ServiceId, Generation),
}

/// What is left of one generation of a service, its main process included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Nothing, and this is proven.
    Empty,
    /// So many processes, as far as can be seen.
    Populated(u32),
}

/// The world. See the head of this file.
pub trait Kernel {
    /// An owned handle of a child that we gave birth to (on Linux: a pidfd).
    type Handle;

    /// The time on the monotonic clock.
    fn now(&mut self) -> Time;

    /// Gives birth to the child with this key (clone3(2), execve(2)).
    ///
    /// # Errors
    ///
    /// The step that failed; no child exists then.
    fn spawn(&mut self, key: ChildKey) -> Result<(Pid, Self::Handle), SpawnError>;

    /// Has [`Kernel::poll`] tell when the child ends, also if it ended before this call.
    ///
    /// # Errors
    ///
    /// When it cannot be watched (a limit). SIGCHLD still tells.
    fn watch(&mut self, pid: Pid, handle: &Self::Handle) -> Result<(), Errno>;

    /// Takes the end of a child, if it has ended, and buries it (waitid(2) `P_PIDFD`, `WNOHANG | WEXITED`).
    ///
    /// # Errors
    ///
    /// `ECHILD` when somebody else buried it.
    fn wait(&mut self, handle: &Self::Handle) -> Result<Option<ExitStatus>, Errno>;

    /// The child of this handle was buried: nobody will ask for it again.
    fn part(&mut self, handle: Self::Handle) {
        drop(handle);
    }

    /// How a child ended that somebody else buried, if the kernel still knows (`PIDFD_GET_INFO`).
    fn obituary(&mut self, handle: &Self::Handle) -> ExitStatus;

    /// Looks for any child with a change, our own or adopted. Stops and continues are consumed; ends are not
    /// (`P_ALL`, `WNOHANG | WNOWAIT`).
    fn next_change(&mut self) -> Option<(Pid, Change)>;

    /// Buries an adopted child that [`Kernel::next_change`] showed as ended. Its number cannot have been
    /// reused, because it is a zombie of ours.
    fn bury(&mut self, pid: Pid) -> Option<ExitStatus>;

    /// Sends a signal to a child; nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// `EPERM` when it has become somebody that we may not signal.
    fn signal(&mut self, handle: &Self::Handle, signal: Signal) -> Result<(), Errno>;

    /// Sends a signal to the process group that the child leads.
    ///
    /// # Errors
    ///
    /// As [`Kernel::signal`].
    fn signal_group(&mut self, pid: Pid, handle: &Self::Handle, signal: Signal) -> Result<(), Errno>;

    /// The next signal that was sent to us, without waiting.
    fn next_signal(&mut self) -> Option<Signal>;

    /// A signal was sent to us that is no request to end; it is the world's own business.
    fn signalled(&mut self, signal: Signal);

    /// Waits until something happens or `deadline` passes (`None`: no deadline), and appends what it was.
    fn poll(&mut self, deadline: Option<Time>, wakes: &mut Vec<Wake>);

    /// Looks at what is left of a generation. If something is, [`Wake::Tree`] follows when it may be gone; and, if it was sent
    /// SIGKILL by [`Kernel::signal_tree`], now and then until it is: then whoever is left is to be killed again.
    fn look(&mut self, service: ServiceId, generation: Generation) -> Tree;

    /// Sends a signal to every process of a generation. SIGKILL reaches those too who are born meanwhile, but for one whose
    /// birth ends in that very moment: Linux misses it now and then (`cgroup.kill`). So this kills for sure only whom it is
    /// repeated for, after each [`Wake::Tree`].
    fn signal_tree(&mut self, service: ServiceId, generation: Generation, signal: Signal);

    /// A generation is over and empty: its last output is taken, its containment can be reused.
    fn release(&mut self, service: ServiceId, generation: Generation);

    /// Tells by [`Event::Due`] when the schedule of the service comes due next.
    fn arm_schedule(&mut self, service: ServiceId);

    /// This worker of a pool has this slot from its next birth on, or gives its slot up.
    fn seat(&mut self, service: ServiceId, slot: Option<u32>) {
        let _ = (service, slot);
    }

    /// This worker is made again as before its last change of configuration, from its next life on.
    fn revert(&mut self, service: ServiceId) {
        let _ = service;
    }

    /// What waits at the sockets of these workers, and, if something does or `closely`, what they do.
    fn measure(&mut self, workers: &[ServiceId], closely: bool) -> Measure {
        let _ = (workers, closely);
        Measure::default()
    }

    /// The memory and the scoreboards of these workers.
    fn check_up(&mut self, workers: &[ServiceId]) -> Vec<Checkup> {
        let _ = workers;
        Vec::new()
    }

    /// Tells once by [`Event::Knocked`] when a connection waits at a socket of these workers, also if one does already.
    fn await_connection(&mut self, pool: PoolId, workers: &[ServiceId]) {
        let _ = (pool, workers);
    }

    /// The service is no longer part of the family.
    fn forget(&mut self, service: ServiceId);

    /// An adopted process was buried.
    fn buried(&mut self, pid: Pid, status: ExitStatus);

    /// News for people. What happened at [`Report::at`] may be told later: a batch of births is told when it is
    /// over.
    fn report(&mut self, report: &Report);

    /// These services may not be as they were when they were written down last. Called before an action that concerns one of
    /// them is carried out, and at the end of each turn. A world that writes nothing down does nothing.
    fn write_down(&mut self, engine: &Engine, touched: Vec<ServiceId>) {
        let _ = (engine, touched);
    }

    /// The handle of a child that a supervisor before us gave birth to; `None` when there is none: then it has ended, and
    /// nobody knows how.
    fn inherit(&mut self, key: ChildKey, pid: Pid) -> Option<Self::Handle> {
        let _ = (key, pid);
        None
    }

    /// Whom a supervisor before us gave birth to, and nobody has asked for by [`Kernel::inherit`], is of no use to anybody:
    /// it is ended. Most are probes.
    fn end_the_rest(&mut self) {}

    /// The world's own business (logs, sockets, people), one event at a time until there is none.
    fn attend(&mut self, engine: &Engine) -> Option<Event>;
}
