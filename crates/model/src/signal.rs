//! Signals by their names (signal(7)).

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// A signal number that exists on Linux: 1 to 64.
///
/// The numbers of x86-64, arm64, riscv and most others; alpha, mips and sparc differ and are not supported.
///
/// ```
/// use doula_model::signal::Signal;
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!("sigterm".parse(), Ok(Signal::TERM));
/// assert_eq!("RTMIN+3".parse(), Ok(Signal::new(37).expect("it exists")));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// The standard signals in the order of their numbers; index 0 is signal 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names that people use for the same signals.
const ALIASES: [(&str, &str); 4] = [("IOT", "ABRT"), ("CLD", "CHLD"), ("POLL", "IO"), ("UNUSED", "SYS")];

macro_rules! signals {
    ($($name:ident = $number:literal, $what:literal;)*) => {
        impl Signal {
            $(#[doc = $what] pub const $name: Signal = Signal($number);)*
        }
    };
}

signals! {
    HUP = 1, "Terminal hung up; by custom: reload.";
    INT = 2, "Interrupt from the keyboard (Ctrl-C).";
    QUIT = 3, "Quit from the keyboard (Ctrl-\\), with a core dump.";
    ABRT = 6, "The process aborted itself.";
    KILL = 9, "Ends a process; cannot be caught, blocked or ignored.";
    USR1 = 10, "For the program's own use.";
    SEGV = 11, "Invalid memory access.";
    USR2 = 12, "For the program's own use.";
    PIPE = 13, "Write to a pipe that nobody reads.";
    ALRM = 14, "Timer of alarm(2).";
    TERM = 15, "Asks a process to end.";
    CHLD = 17, "A child ended, stopped or went on.";
    CONT = 18, "Go on after a stop.";
    STOP = 19, "Stops a process; cannot be caught, blocked or ignored.";
    TSTP = 20, "Stop from the keyboard (Ctrl-Z).";
    TTIN = 21, "A background process read from its terminal.";
    TTOU = 22, "A background process wrote to its terminal.";
    WINCH = 28, "The terminal changed its size.";
}

impl Signal {
    /// The first real-time signal that programs may use; glibc keeps 32 and 33 for its threads.
    ///
    /// ```
    /// use doula_model::signal::Signal;
    /// let first = Signal::new(i32::from(Signal::RTMIN)).expect("it exists");
    /// assert_eq!(first.to_string(), "SIGRTMIN");
    /// ```
    pub const RTMIN: u8 = 34;
    /// The last real-time signal.
    ///
    /// ```
    /// use doula_model::signal::Signal;
    /// assert_eq!(Signal::all().last().map(Signal::number), Some(i32::from(Signal::RTMAX)));
    /// ```
    pub const RTMAX: u8 = 64;

    /// The signal with this number, or `None` outside of 1 to 64.
    ///
    /// ```
    /// use doula_model::signal::Signal;
    /// assert_eq!(Signal::new(9), Some(Signal::KILL));
    /// assert_eq!((Signal::new(0), Signal::new(65)), (None, None));
    /// ```
    pub const fn new(number: i32) -> Option<Signal> {
        if number >= 1 && number <= Signal::RTMAX as i32 { Some(Signal(number as u8)) } else { None }
    }

    /// The number.
    ///
    /// ```
    /// assert_eq!(doula_model::signal::Signal::KILL.number(), 9);
    /// ```
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// Every signal, in the order of the numbers.
    ///
    /// ```
    /// use doula_model::signal::Signal;
    /// assert_eq!(Signal::all().next(), Some(Signal::HUP));
    /// assert_eq!(Signal::all().count(), 64);
    /// ```
    pub fn all() -> impl Iterator<Item = Signal> {
        (1..=Signal::RTMAX).map(Signal)
    }
}

impl fmt::Display for Signal {
    /// `SIGTERM`, `SIGRTMIN+3`, or `signal 33` for the two without a public name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0) - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 < Signal::RTMIN => write!(f, "signal {}", self.0),
            None if self.0 == Signal::RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 == Signal::RTMAX => f.write_str("SIGRTMAX"),
            None => write!(f, "SIGRTMIN+{}", self.0 - Signal::RTMIN),
        }
    }
}

/// A text that names no signal.
///
/// ```
/// use doula_model::signal::{Signal, UnknownSignal};
/// assert_eq!("SIGHELP".parse::<Signal>(), Err(UnknownSignal("SIGHELP".to_owned())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownSignal(pub String);

impl fmt::Display for UnknownSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown signal `{}`", self.0)
    }
}

impl core::error::Error for UnknownSignal {}

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// Takes `TERM`, `SIGTERM`, `term`, `15`, `RTMIN`, `RTMIN+3`, `RTMAX-1`.
    fn from_str(text: &str) -> Result<Signal, UnknownSignal> {
        let unknown = || UnknownSignal(text.to_owned());
        if let Ok(number) = text.parse::<i32>() {
            return Signal::new(number).ok_or_else(unknown);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        named(name).or_else(|| real_time(name)).ok_or_else(unknown)
    }
}

fn named(name: &str) -> Option<Signal> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, real)| real);
    let index = NAMES.iter().position(|known| *known == name)?;
    Signal::new(index as i32 + 1)
}

fn real_time(name: &str) -> Option<Signal> {
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        i32::from(Signal::RTMIN) + offset(rest, '+')?
    } else {
        i32::from(Signal::RTMAX) - offset(name.strip_prefix("RTMAX")?, '-')?
    };
    (number >= i32::from(Signal::RTMIN)).then(|| Signal::new(number)).flatten()
}

/// What follows `RTMIN` or `RTMAX`: nothing, or the sign and a small number.
fn offset(rest: &str, sign: char) -> Option<i32> {
    match rest.strip_prefix(sign) {
        None => rest.is_empty().then_some(0),
        Some(digits) => digits.parse::<u8>().ok().map(i32::from),
    }
}

#[cfg(feature = "serde")]
mod as_text {
    use super::Signal;
    use alloc::string::String;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    impl Serialize for Signal {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Signal {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Signal, D::Error> {
            String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_signal_with_a_name_is_parsed_back_from_it() {
        for signal in Signal::all().filter(|signal| !(32..=33).contains(&signal.number())) {
            assert_eq!(signal.to_string().parse(), Ok(signal));
            assert_eq!(signal.number().to_string().parse(), Ok(signal));
        }
    }

    #[test]
    fn people_write_signals_in_many_ways() {
        for (text, number) in
            [("TERM", 15), ("sigterm", 15), ("cld", 17), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("64", 64)]
        {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "SIG", "TERMM", "RTMIN-1", "RTMIN+31", "RTMAX-31", "RTMINx"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
