//! What differs between kernels, and between the kernel and how it is often told.

use super::mutant::Mutant;
use core::fmt;

/// A release of Linux, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelVersion {
    /// The 6 of 6.12.
    pub major: u16,
    /// The 12 of 6.12.
    pub minor: u16,
}

impl KernelVersion {
    /// Linux 6.18, what the model is compared with.
    pub const V6_18: KernelVersion = KernelVersion { major: 6, minor: 18 };

    /// An own `pid_max` for each PID namespace, which begins at its largest; before, all shared one.
    pub const PID_MAX_PER_NAMESPACE: KernelVersion = KernelVersion { major: 6, minor: 14 };
    /// `PIDFD_GET_INFO` tells the end of a process that was reaped.
    pub const PIDFD_EXIT_INFO: KernelVersion = KernelVersion { major: 6, minor: 15 };

    /// Kills of a control group are counted, and a birth that began before the last of them is killed at its end. One that began after it
    /// can be missed.
    pub const KILLS_ARE_COUNTED: KernelVersion = KernelVersion { major: 6, minor: 14 };

    /// execve(2) without arguments gives an empty first one.
    pub const EMPTY_ARGV: KernelVersion = KernelVersion { major: 5, minor: 18 };

    /// Reads the beginning of what `uname -r` prints.
    ///
    /// ```
    /// use doula_sim::kernel::version::KernelVersion;
    /// assert_eq!(KernelVersion::parse("6.18.44-cloud"), Some(KernelVersion::V6_18));
    /// assert_eq!(KernelVersion::parse("six"), None);
    /// ```
    pub fn parse(text: &str) -> Option<KernelVersion> {
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        let mut next = || parts.next()?.parse().ok();
        Some(KernelVersion { major: next()?, minor: next()? })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// In which order births and deaths go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// As Linux does it: orphans, zombie and news to the parent are one step that nobody sees half done.
    Linux,
    /// As it is told in textbooks: orphans first, then SIGCHLD, and the zombie last. A parent that runs between
    /// the last two is told of a death and finds nobody to bury.
    Textbook,
}

/// What a kernel is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Which release is imitated.
    pub version: KernelVersion,
    /// In which order births and deaths go.
    pub order: Order,
    /// `/proc/sys/kernel/threads-max`: more threads cannot be, for root neither.
    pub max_threads: u32,
    /// A rule that is bent on purpose, to see that this is found.
    pub mutant: Option<Mutant>,
    /// How many pages one address space may have.
    pub pages: u64,
    /// `/proc/sys/kernel/pid_max` of the first namespace.
    pub pid_max: i32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            version: KernelVersion::V6_18,
            order: Order::Linux,
            max_threads: 65_536,
            mutant: None,
            pages: 1 << 20,
            pid_max: 32_768,
        }
    }
}
