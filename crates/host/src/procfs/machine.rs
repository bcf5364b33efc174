//! What must be known of the machine to understand its processes.

use doula_sys::{limits, time};
use std::time::Duration;

/// The machine at the moment of a look.
///
/// ```
/// use doula_host::procfs::{Machine, Reader};
/// # let us = doula_host::Pid::new(std::process::id() as i32).expect("a number");
/// let stat = Reader::open()?.stat(us).expect("we live");
/// let machine = Machine::now();
/// println!("{us} is {} s old and uses {} bytes", machine.age_of(stat.start_ticks).as_secs(),
///     stat.resident_pages * machine.page_size);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Which start of the machine this is (`/proc/sys/kernel/random/boot_id`); with it the identity of a process holds
    /// beyond a restart. Empty where it cannot be read.
    pub boot_id: String,
    /// Since the machine started, sleep included: the clock of [`doula_model::process::Stat::start_ticks`].
    pub uptime: Duration,
    /// The wall clock at the same moment, since 1970.
    pub wall: Duration,
    /// So many clock ticks are a second.
    pub ticks_per_second: u64,
    /// Bytes of a page.
    pub page_size: u64,
}

impl Machine {
    /// This machine, now.
    ///
    /// ```
    /// let machine = doula_host::procfs::Machine::now();
    /// assert!(machine.ticks_per_second > 0);
    /// assert!(machine.age_of(0) >= machine.age_of(machine.ticks_per_second));
    /// ```
    #[must_use]
    pub fn now() -> Machine {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Machine {
            boot_id: boot_id.trim().to_owned(),
            uptime: Duration::from_nanos(time::boottime().as_nanos()),
            wall: time::realtime(),
            ticks_per_second: time::clock_ticks(),
            page_size: limits::page_size(),
        }
    }

    /// So many clock ticks as a time.
    ///
    /// ```
    /// use doula_host::procfs::Machine;
    /// use std::time::Duration;
    /// let machine = Machine { ticks_per_second: 100, ..Machine::now() };
    /// assert_eq!(machine.ticks(250), Duration::from_millis(2500));
    /// ```
    #[must_use]
    pub fn ticks(&self, ticks: u64) -> Duration {
        let rest = ticks % self.ticks_per_second * 1_000_000_000 / self.ticks_per_second;
        Duration::new(ticks / self.ticks_per_second, rest as u32)
    }

    /// How old a process is that started so many ticks after the machine.
    ///
    /// ```
    /// use doula_host::procfs::Machine;
    /// use std::time::Duration;
    /// let machine = Machine { ticks_per_second: 100, uptime: Duration::from_secs(60), ..Machine::now() };
    /// assert_eq!(machine.age_of(1000), Duration::from_secs(50));
    /// ```
    #[must_use]
    pub fn age_of(&self, start_ticks: u64) -> Duration {
        self.uptime.saturating_sub(self.ticks(start_ticks))
    }

    /// When it started, on the wall clock. Only for display: that clock can be set.
    ///
    /// ```
    /// use doula_host::procfs::Machine;
    /// let machine = Machine::now();
    /// let born = std::time::UNIX_EPOCH + machine.born_at(0);
    /// assert!(born <= std::time::UNIX_EPOCH + machine.wall, "the machine did not start after now");
    /// ```
    #[must_use]
    pub fn born_at(&self, start_ticks: u64) -> Duration {
        self.wall.saturating_sub(self.age_of(start_ticks))
    }
}
