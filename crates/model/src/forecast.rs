//! What follows from the death of a process: the answer of `doula sim load`.

use crate::signal::Signal;
use alloc::vec::Vec;

/// What would follow. Numbers are those of the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Forecast {
    /// Who was to die.
    pub pid: i32,
    /// What becomes of it.
    pub fate: Fate,
    /// Who gets another parent, in the order of their numbers.
    pub adopted: Vec<Adoption>,
    /// The groups that are told of it, in the order in which they are.
    pub hung_up: Vec<HangUp>,
    /// Who dies of it.
    pub ended: Vec<End>,
    /// Who hears of it by a handler of its own: what that does is not known.
    pub heard: Vec<Heard>,
    /// Who was stopped and goes on.
    pub continued: Vec<i32>,
    /// Who is a zombie afterwards and was none before, or has another parent.
    pub zombies: Vec<Zombie>,
    /// Who leaves no zombie, because its parent ignores SIGCHLD.
    pub vanished: Vec<i32>,
    /// What the answer rests on beside the snapshot, and what it leaves open.
    pub notes: Vec<Note>,
}

/// What becomes of who was to die.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Fate {
    /// It dies, with this wait status.
    Dies(i32),
    /// It ignores the signal.
    Ignores,
    /// It has a handler for the signal.
    Catches,
    /// It has blocked the signal.
    Blocks,
    /// It is the init of its namespace, which no signal from inside kills.
    #[default]
    IsInit,
    /// It is dead already.
    IsDead,
    /// The signal does not kill by default.
    Survives,
    /// It is stopped, and does nothing before it is continued.
    IsStopped,
}

/// A process gets another parent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Adoption {
    /// Who.
    pub pid: i32,
    /// From whom.
    pub from: i32,
    /// By whom; 0 for somebody outside.
    pub by: i32,
    /// Ancestors nearer than that who would get it if they were subreapers, which is not known of them.
    pub unless: Vec<i32>,
}

/// Why a group is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Why {
    /// It was in the foreground of the terminal whose session has lost its leader.
    Foreground,
    /// It has a stopped member, and nobody is left who could continue it.
    Orphaned,
}

/// The kernel tells a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct HangUp {
    /// The group.
    pub pgid: i32,
    /// Why.
    pub why: Why,
    /// The signals, in their order.
    pub signals: Vec<Signal>,
    /// Who was in the group.
    pub members: Vec<i32>,
}

/// A death that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct End {
    /// Who.
    pub pid: i32,
    /// The wait status.
    pub status: i32,
}

/// A handler that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Heard {
    /// Whose.
    pub pid: i32,
    /// For which signals, in the order of their delivery.
    pub signals: Vec<Signal>,
}

/// Whether a zombie will be buried, as far as its parent shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Burial {
    /// The parent sleeps in wait(2).
    Waits,
    /// The parent has a handler for SIGCHLD, or reads it from a signalfd (it has blocked it).
    Hears,
    /// The parent does nothing about SIGCHLD: it has to ask by itself.
    Silent,
    /// The parent is outside, or its signals are not known.
    Unknown,
}

/// A process that has ended and is to be buried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Zombie {
    /// Who.
    pub pid: i32,
    /// Whose to bury; 0 for somebody outside.
    pub parent: i32,
    /// Whether it will.
    pub burial: Burial,
}

/// What is to be known with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Note {
    /// A subreaper, because it has a child of a session in which it never was itself.
    Subreaper {
        /// Who.
        pid: i32,
        /// The child.
        child: i32,
    },
    /// Whether children get a signal at the death (`PR_SET_PDEATHSIG`) is not known: of so many.
    DeathSignals {
        /// How many.
        children: u32,
    },
    /// It is in D: it dies when the kernel lets it.
    InD,
    /// Its threads die with it; adoption by another thread is no matter of this answer.
    Threads {
        /// How many it has.
        count: u32,
    },
    /// The namespace of this process is not known: it is taken to be that of the snapshot.
    NoNamespace {
        /// Which.
        pid: i32,
    },
    /// The signals of this process are not known: it is taken to do nothing about them.
    NoSignals {
        /// Which.
        pid: i32,
    },
}
