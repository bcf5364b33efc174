//! Who is meant: numbers for display, keys for decisions.
//!
//! A [`Pid`] is a number that the kernel gives to somebody else as soon as it is free; it is for display and
//! for `/proc`. Decisions use a [`ChildKey`], which is never reused, and actions use a handle (a pidfd).

use core::fmt;
use core::num::NonZeroI32;

/// A process number. For display and look-up only: after the process was reaped it may name a stranger.
///
/// ```
/// use doula_model::id::Pid;
/// let pid = Pid::new(4711).expect("a number");
/// assert_eq!(format!("/proc/{pid}/stat"), "/proc/4711/stat");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Pid(NonZeroI32);

impl Pid {
    /// PID 1: the init of the PID namespace.
    pub const INIT: Pid = Pid(NonZeroI32::new(1).unwrap());

    /// A process number, or `None` for zero and below (which mean groups to `kill(2)`).
    ///
    /// ```
    /// use doula_model::id::Pid;
    /// assert_eq!(Pid::new(1), Some(Pid::INIT));
    /// assert_eq!((Pid::new(0), Pid::new(-1)), (None, None));
    /// ```
    pub const fn new(raw: i32) -> Option<Pid> {
        match NonZeroI32::new(raw) {
            Some(number) if raw > 0 => Some(Pid(number)),
            _ => None,
        }
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(doula_model::id::Pid::INIT.get(), 1);
    /// ```
    pub const fn get(self) -> i32 {
        self.0.get()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A service (or one instance of it) in the family. Given in order of first appearance, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ServiceId(pub u32);

/// A pool of services of one kind. Given in order of first appearance, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PoolId(pub u32);

/// Which life of a service: one more at each start. A late message of an earlier life can never touch a
/// later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Generation(pub u32);

/// What a child does for its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum Role {
    /// The main process.
    Main,
    /// A command run to its end before the main process starts.
    PreStart,
    /// A command run after the last process of the generation is gone.
    PostStop,
    /// A command that asks the main process to reload.
    Reload,
    /// One attempt of the readiness probe.
    ReadyProbe,
    /// One attempt of the liveness probe.
    LiveProbe,
}

/// One child that doula gave birth to. Never used twice in the life of a supervisor, except that probes of
/// one generation follow each other under the same key, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ChildKey {
    /// Whose child.
    pub service: ServiceId,
    /// In which life of the service.
    pub generation: Generation,
    /// To do what.
    pub role: Role,
}
