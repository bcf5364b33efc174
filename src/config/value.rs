//! The small languages inside of values: `"1m30s"`, `"512M"`, `"0-3,8"`, `"150%"`, `"022"`, `CAP_KILL`.
//!
//! Pure functions from text to meaning; the complaint says what would have been right.

use super::problem::{Complaint, did_you_mean};
use doula_model::plan::Capabilities;
use doula_model::service::Overlap;
use doula_model::signal::Signal;
use std::time::Duration;

/// No duration in a configuration is longer: a hundred years are "for ever", and sums stay far from overflow.
const MAX_DURATION: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The highest CPU number that an affinity may name (`CONFIG_NR_CPUS` is at most 8192).
const MAX_CPU: u16 = 8191;

/// The capabilities by number (capabilities(7), Linux 5.9 and later: 0 to 40).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// `10s`, `1m30s`, `500ms`, `1h 5m`, also fractions (`1.5s`): the friendly format of the `jiff` crate.
pub(crate) fn duration(text: &str) -> Result<Duration, Complaint> {
    let wrong = |label: &str| {
        Complaint::new(format!("`{text}` is not a duration"), label)
            .help("write it with its unit, such as \"10s\", \"1m30s\" or \"500ms\"")
    };
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("the unit is missing").help(format!("seconds are written \"{text}s\"")));
    }
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|_| wrong("not a duration"))?;
    let duration = Duration::try_from(parsed).map_err(|_| wrong("time does not run backwards"))?;
    if duration > MAX_DURATION {
        return Err(wrong("longer than a hundred years"));
    }
    Ok(duration)
}

/// Bytes: `4096`, `64K`, `512M`, `2G`, `1T`, also written `KiB` … (powers of 1024, as systemd and docker
/// read them), and `KB`, `MB` … (powers of 1000).
pub(crate) fn size(text: &str) -> Result<u64, Complaint> {
    let wrong = || {
        Complaint::new(format!("`{text}` is not a size"), "not a size")
            .help("write bytes with a unit, such as \"512M\" or \"1GiB\"")
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|letter: char| !letter.is_ascii_digit() && letter != '.');
    let (number, unit) = trimmed.split_at(digits.unwrap_or(trimmed.len()));
    let factor = size_unit(unit.trim()).ok_or_else(wrong)?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    // 2^53: above it, not every whole number is a float.
    if (0.0..9_007_199_254_740_992.0).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

fn size_unit(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    let (base, letter) = match lower.strip_suffix("ib").map(|letter| (1024, letter)) {
        Some(binary) => binary,
        None => match lower.strip_suffix('b') {
            Some("") | None => (1024, lower.trim_end_matches('b')),
            Some(letter) => (1000, letter),
        },
    };
    let power = ["", "k", "m", "g", "t"].iter().position(|known| *known == letter)?;
    u64::pow(base, power as u32).into()
}

/// Octal permission bits: `022`, `0o755`; at most `0o7777`.
pub(crate) fn octal(text: &str) -> Result<u32, Complaint> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o7777 && !digits.starts_with('+') => Ok(mode),
        _ => Err(Complaint::new(format!("`{text}` is not an octal mode"), "not octal")
            .help("write digits from 0 to 7, such as \"022\" or 0o022")),
    }
}

/// A signal by name or number.
pub(crate) fn signal(text: &str) -> Result<Signal, Complaint> {
    text.parse().map_err(|_| {
        let names: Vec<String> = Signal::all().map(|signal| signal.to_string()).collect();
        let upper = text.to_ascii_uppercase();
        let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
        let close = did_you_mean(&full, names.iter().map(String::as_str));
        let help = close.unwrap_or_else(|| "write a name such as \"TERM\" or \"SIGRTMIN+3\"".to_owned());
        Complaint::new(format!("there is no signal `{text}`"), "unknown signal").help(help)
    })
}

/// CPU numbers: `0-3,8`.
pub(crate) fn cpus(text: &str) -> Result<Vec<u16>, Complaint> {
    let wrong = || {
        Complaint::new(format!("`{text}` is not a list of CPUs"), "not a list of CPUs")
            .help("write numbers and ranges, such as \"0-3,8\" or [0, 1]")
    };
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first = cpu(first).ok_or_else(wrong)?;
        let last = cpu(last).ok_or_else(wrong)?;
        if first > last {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(cpus)
}

/// One CPU number that can exist.
fn cpu(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|number| *number <= MAX_CPU)
}

/// CPU time per time in thousandths of a CPU: `1.5` or `150%` is 1500.
pub(crate) fn cpu_share(text: &str) -> Result<u64, Complaint> {
    let wrong = || {
        Complaint::new(format!("`{text}` is not a share of CPU time"), "not a CPU share")
            .help("write CPUs or percent of one, such as \"1.5\" or \"150%\"")
    };
    let (number, per_unit) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 10.0),
        None => (text.trim(), 1000.0),
    };
    let milli = number.parse::<f64>().map_err(|_| wrong())? * per_unit;
    // From a thousandth of a CPU to all that can exist.
    if (1.0..=f64::from(MAX_CPU + 1) * 1000.0).contains(&milli) {
        Ok(milli.round() as u64)
    } else {
        Err(wrong())
    }
}

/// A limit of setrlimit(2): a number (of bytes, with a unit if one likes) or `unlimited`.
pub(crate) fn rlimit(text: &str) -> Result<u64, Complaint> {
    if matches!(text, "unlimited" | "infinity") {
        return Ok(u64::MAX);
    }
    size(text).map_err(|_| {
        Complaint::new(format!("`{text}` is not a limit"), "not a limit")
            .help("write a number, a size such as \"64M\", or \"unlimited\"")
    })
}

/// A capability as its bit; `all` is every bit.
pub(crate) fn capability(text: &str) -> Result<u64, Complaint> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Ok(u64::MAX);
    }
    CAPABILITIES.iter().position(|known| *known == name).map(|number| 1 << number).ok_or_else(|| {
        let help = did_you_mean(name, CAPABILITIES.iter().copied());
        let complaint = Complaint::new(format!("there is no capability `{text}`"), "unknown capability");
        complaint.help(help.unwrap_or_else(|| "capabilities(7) lists them".to_owned()))
    })
}

/// Sets of capabilities that say nothing: all may be had.
pub(crate) const ALL_CAPABILITIES: Capabilities = Capabilities { bounding: u64::MAX, ambient: 0 };

/// Five cron fields and a time zone. Without a zone that of the machine is written in.
pub(crate) fn schedule(text: &str) -> Result<String, Complaint> {
    let fields = text.split_whitespace().count();
    let full = match fields {
        5 => format!("{} {}", text.trim(), system_zone()),
        _ => text.trim().to_owned(),
    };
    match cronexpr::parse_crontab(&full) {
        Ok(_) => Ok(full),
        Err(error) => {
            // The text again, a mark below the place, and behind the mark the reason.
            let told = error.to_string();
            let reason = told.rsplit("^ ").next().unwrap_or_default();
            let reason = reason.split("; for a list").next().unwrap_or_default().trim().to_owned();
            Err(Complaint::new(format!("`{text}` is not a schedule"), reason).help(
                "write minute, hour, day, month, weekday and a time zone, such as \"0 3 * * * Europe/Berlin\"",
            ))
        }
    }
}

/// The time zone of the machine by its name, or UTC if it has no name.
fn system_zone() -> String {
    jiff::tz::TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

/// What happens to a run that comes due too early.
pub(crate) fn overlap(text: &str) -> Overlap {
    if text == "queue" { Overlap::Queue } else { Overlap::Skip }
}

/// Splits a line into words as a shell does, without a shell. A word that only a shell understands is an
/// error: it would silently become an argument.
pub(crate) fn words(text: &str) -> Result<Vec<String>, Complaint> {
    let words = shell_words::split(text)
        .map_err(|_| Complaint::new("a quote of this command is never closed", "unclosed quote"))?;
    let Some(first) = words.first() else {
        return Err(Complaint::new("the command is empty", "no program is named"));
    };
    let operators = ["|", "||", "&", "&&", ";", "<", ">", ">>", "2>&1", "2>"];
    if let Some(operator) = words.iter().find(|word| operators.contains(&word.as_str())) {
        return Err(Complaint::new(
            format!("`{operator}` needs a shell, and none runs this command"),
            "no shell here",
        )
        .help("add `shell = true`, or write the command as a list if the program wants it as an argument"));
    }
    if first.contains('=') && first.split('=').next().is_some_and(super::expand::is_name) {
        return Err(Complaint::new(format!("`{first}` is an assignment, not a program"), "no shell here")
            .help("put it into `env`, or add `shell = true`"));
    }
    Ok(words)
}

/// `host:port` with a port that exists.
pub(crate) fn host_port(text: &str) -> Result<(), Complaint> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(()),
        _ => Err(Complaint::new(format!("`{text}` is not an address"), "not host:port")
            .help("write host and port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"")),
    }
}

/// The longest name of a service or family: it becomes part of cgroup, file and socket names.
pub(crate) const MAX_NAME: usize = 64;

/// A name of a service or a family: letters, digits, `_`, `.` and `-`, not only digits.
pub(crate) fn name(text: &str) -> Result<(), Complaint> {
    let wrong = |label: &str| {
        Complaint::new(format!("`{text}` cannot be a name"), label)
            .help("use letters, digits, `_`, `-` and `.`, beginning with a letter, a digit or `_`")
    };
    if text.is_empty() {
        return Err(wrong("the name is empty"));
    }
    if text.len() > MAX_NAME {
        return Err(wrong("longer than 64 bytes"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
        return Err(wrong("a character that names cannot have"));
    }
    if text.starts_with(['.', '-']) {
        return Err(wrong("begins with `.` or `-`"));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("only digits"));
    }
    Ok(())
}

/// The URL of a probe: plain HTTP, since a probe asks its own machine.
pub(crate) fn url(text: &str) -> Result<(), Complaint> {
    let host = text.strip_prefix("http://").and_then(|rest| rest.split(['/', '?']).next());
    let odd = |letter: char| letter.is_whitespace() || letter.is_control();
    if host.is_some_and(|host| !host.is_empty()) && !text.contains(odd) {
        return Ok(());
    }
    Err(Complaint::new(format!("`{text}` is not a URL that can be probed"), "not an http:// URL")
        .help("write it in full, such as \"http://127.0.0.1:8080/health\"; https needs an `exec` probe"))
}
