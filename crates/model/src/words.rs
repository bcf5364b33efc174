//! News, states and causes as sentences for people. One place, so that the log, `ctl why` and the events
//! speak alike.

use crate::action::{Cause, News, State, Unkillable};
use crate::event::Haste;
use crate::id::Role;
use crate::pool::{PoolNews, Reason, Roll, StartFailure};
use core::fmt::{self, Display, Formatter};
use core::time::Duration;

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Stopped => "stopped",
            State::Scheduled => "scheduled",
            State::Waiting => "waiting",
            State::Preparing => "preparing",
            State::Starting => "starting",
            State::Up => "up",
            State::Stopping => "stopping",
            State::Clearing => "clearing",
            State::Cleaning => "cleaning",
            State::BackingOff => "backing off",
            State::Done => "done",
            State::Failed => "failed",
        })
    }
}

impl Display for Role {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Main => "main process",
            Role::PreStart => "pre-start command",
            Role::PostStop => "post-stop command",
            Role::Reload => "reload command",
            Role::ReadyProbe => "readiness probe",
            Role::LiveProbe => "liveness probe",
        })
    }
}

impl Display for Haste {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Haste::Orderly => "in order",
            Haste::Hurried => "in a hurry: all at once",
            Haste::Kill => "at once, by SIGKILL",
        })
    }
}

impl Display for Cause {
    /// The reason as half a sentence, to follow "because": `because it was asked for`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Autostart => f.write_str("the family starts"),
            Cause::Asked => f.write_str("somebody asked for it"),
            Cause::NeededBy { service } => write!(f, "{service} needs it"),
            Cause::WaitsFor { service } => write!(f, "{service} is not ready yet"),
            Cause::LostDependency { service } => write!(f, "{service}, which it requires, is not there"),
            Cause::NextStep => f.write_str("the step before succeeded"),
            Cause::Exit { status } => write!(f, "it {status}"),
            Cause::ReloadFailed { status } => write!(f, "its reload command {status}"),
            Cause::SpawnFailed { error } => write!(f, "it could not be started ({error})"),
            Cause::ReadyTimeout => f.write_str("it was not ready in time"),
            Cause::StepTimeout => f.write_str("the command of this step took too long"),
            Cause::WatchdogExpired => f.write_str("its watchdog heard nothing in time"),
            Cause::NotAlive => f.write_str("its liveness probe failed too often"),
            Cause::GraceOver => f.write_str("its grace time is over"),
            Cause::Empty => f.write_str("none of its processes is left"),
            Cause::BackOffOver => f.write_str("its pause is over"),
            Cause::StartLimit => f.write_str("it was restarted too often"),
            Cause::Schedule => f.write_str("its schedule is due"),
            Cause::Reconfigured => f.write_str("its configuration changed"),
            Cause::Shutdown => f.write_str("the family shuts down"),
            Cause::EssentialEnded { service } => write!(f, "{service}, which is essential, ended"),
            Cause::NothingLeft => f.write_str("no service is left that could run"),
            Cause::OwnWish => f.write_str("it said that it ends"),
            Cause::Pool { reason } => reason.fmt(f),
            Cause::Roll { because } => because.fmt(f),
        }
    }
}

impl Display for News {
    /// A sentence without its subject: `is ready after 120 ms`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            News::Turned { to, because, .. } => write!(f, "is {to}, because {because}"),
            News::Born { role: Role::Main, pid } => write!(f, "started as pid {pid}"),
            News::Born { role, pid } => write!(f, "{role} started as pid {pid}"),
            News::Exited { role: Role::Main, status, lived } => {
                write!(f, "{status} after {}", Span(*lived))
            }
            News::Exited { role, status, lived } => write!(f, "{role} {status} after {}", Span(*lived)),
            News::Ready { after } => write!(f, "is ready after {}", Span(*after)),
            News::RestartIn { delay: Duration::ZERO, attempt } => {
                write!(f, "starts again at once (restart {attempt} in a row)")
            }
            News::RestartIn { delay, attempt } => {
                write!(f, "starts again in {} (restart {attempt} in a row)", Span(*delay))
            }
            News::Empty { leftovers: 0 } => f.write_str("is empty: no process of it is left"),
            News::Empty { leftovers } => {
                write!(f, "is empty: no process of it is left ({leftovers} had outlived the main process)")
            }
            News::Escalated => f.write_str("did not end in its grace time: SIGKILL for all of it"),
            News::Paused => f.write_str("was stopped by a signal and does not run until it is continued"),
            News::Resumed => f.write_str("goes on"),
            News::Status { text } => write!(f, "says: {text}"),
            News::ProbeFailed { role, failures } => write!(f, "{role} failed ({failures} in a row)"),
            News::OutOfMemory { killed, limit } => {
                let what = if *killed == 1 { "process" } else { "processes" };
                write!(f, "ran out of memory: the kernel killed {killed} {what} of it")?;
                limit.map_or(Ok(()), |limit| write!(f, " (its limit is {})", Size(limit)))
            }
            News::Unkillable(unkillable) => unkillable.fmt(f),
            News::Pool { change, .. } => change.fmt(f),
            News::RunSkipped => f.write_str("was due, but its last run still goes on: this run is left out"),
            News::Upgraded { from, to, took } => {
                write!(f, "goes on under doula {to} instead of {from}, after {} ms", took.as_millis())
            }
            News::ShuttingDown { haste, because: Cause::Shutdown | Cause::Asked } => {
                write!(f, "shuts down {haste}, as it was asked to")
            }
            News::ShuttingDown { haste, because } => write!(f, "shuts down {haste}, because {because}"),
            News::FamilyEmpty => f.write_str("is empty: every process has ended and was buried"),
        }
    }
}

impl Display for Reason {
    /// As for [`Cause`]: `connections wait`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Steady => "there is nothing to change",
            Reason::BelowStart => "there are fewer workers than there always should be",
            Reason::FewIdle => "too few workers are idle",
            Reason::ManyIdle => "more workers are idle than are needed",
            Reason::Queue => "connections wait",
            Reason::AllBusy => "all workers were busy for too long",
            Reason::AtMaximum => "there are as many workers as there may be",
            Reason::Memory => "there is no memory for more workers",
            Reason::Pressure => "the machine is short of CPU or memory",
            Reason::Failing => "new workers end at once",
        })
    }
}

impl Display for Roll {
    /// As for [`Cause`]: `its configuration changed`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Roll::Asked => "somebody asked for it",
            Roll::Reconfigured => "its configuration changed",
            Roll::Reverted => "the new workers did not become ready",
            Roll::Requests => "a worker has answered as many requests as it may",
            Roll::Age => "a worker is as old as it may be",
            Roll::Leak => "the memory of a worker grows too fast",
        })
    }
}

impl Display for PoolNews {
    /// As for [`News`], after the name of the pool.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            PoolNews::Sized { from, to, reason } if to < from => {
                write!(f, "shrinks from {from} to {to} workers, because {reason}")
            }
            PoolNews::Sized { from, to, reason } => {
                write!(f, "grows from {from} to {to} workers, because {reason}")
            }
            PoolNews::Held { at, reason } => {
                write!(f, "stays at {at} workers though more are wanted, because {reason}")
            }
            PoolNews::RollBegins { workers: 1, because } => write!(f, "replaces a worker, because {because}"),
            PoolNews::RollBegins { workers, because } => {
                write!(f, "replaces its {workers} workers one after the other, because {because}")
            }
            PoolNews::Replaced { old, new, done, of } => {
                write!(f, "has replaced {old} by {new} ({done} of {of})")
            }
            PoolNews::RollOver { workers, took } => write!(f, "has replaced {workers} in {}", Span(*took)),
            PoolNews::RollFailed { worker, replaced, reverts } => {
                write!(f, "stops replacing workers: {worker}, a new one, did not become ready")?;
                match (replaced, reverts) {
                    (0, _) => f.write_str("; all the old ones serve"),
                    (count, true) => write!(f, "; the {count} that were replaced go back to what they were"),
                    (count, false) => write!(f, "; {count} were replaced before"),
                }
            }
            PoolNews::StartFailed { worker, then: StartFailure::Keep } => {
                write!(f, "starts without {worker}, which failed and is tried again")
            }
            PoolNews::StartFailed { worker, then: StartFailure::RollBack } => {
                write!(f, "is stopped again, because {worker} failed while it started")
            }
            PoolNews::Failed => f.write_str("has failed: none of its workers is left that could serve"),
        }
    }
}

impl Display for Unkillable {
    /// As for [`News`]: `waits for pid 7, which sleeps …`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Unkillable { pid, count, function } = self;
        write!(f, "waits for pid {pid}, which sleeps in the kernel (state D")?;
        function.as_ref().map_or(Ok(()), |function| write!(f, ", in {function}"))?;
        f.write_str(") and cannot be killed before it wakes up")?;
        if *count > 1 { write!(f, "; {count} processes are so") } else { Ok(()) }
    }
}

/// A duration with the two units that matter: `1.2 ms`, `3.5 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 if self.0 < Duration::from_millis(1) => write!(f, "{} µs", self.0.as_micros()),
            0 => write!(f, "{} ms", self.0.as_millis()),
            1..=59 => write!(f, "{}.{} s", seconds, self.0.subsec_millis() / 100),
            60..=3_599 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            3_600..=86_399 => write!(f, "{} h {} min", seconds / 3_600, seconds / 60 % 60),
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
        }
    }
}

/// A duration for a column of a table: `1ms`, `3.5s`, `2m5s`, `3h20m`, `4d2h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortSpan(pub Duration);

impl Display for ShortSpan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{}ms", self.0.as_millis()),
            1..=59 => write!(f, "{}.{}s", seconds, self.0.subsec_millis() / 100),
            60..=3_599 => write!(f, "{}m{}s", seconds / 60, seconds % 60),
            3_600..=86_399 => write!(f, "{}h{}m", seconds / 3_600, seconds / 60 % 60),
            _ => write!(f, "{}d{}h", seconds / 86_400, seconds / 3_600 % 24),
        }
    }
}

/// An amount of memory with the unit that fits: `512 B`, `1.5 KiB`, `64 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut tenths = self.0 / 1024 * 10 + self.0 % 1024 * 10 / 1024;
        let mut unit = 0;
        while tenths >= 10_240 && unit + 1 < UNITS.len() {
            tenths /= 1024;
            unit += 1;
        }
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} {}", UNITS[unit]),
            (whole @ 0..10, rest) => write!(f, "{whole}.{rest} {}", UNITS[unit]),
            (whole, _) => write!(f, "{whole} {}", UNITS[unit]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitStatus;
    use alloc::string::ToString;

    #[test]
    fn spans_show_the_two_units_that_matter() {
        let shown = |millis| Span(Duration::from_millis(millis)).to_string();
        assert_eq!(Span(Duration::from_micros(17)).to_string(), "17 µs");
        assert_eq!(shown(999), "999 ms");
        assert_eq!(shown(3_550), "3.5 s");
        assert_eq!(shown(125_000), "2 min 5 s");
        assert_eq!(shown(12_000_000), "3 h 20 min");
        assert_eq!(shown(352_800_000), "4 d 2 h");
        let short = |millis| ShortSpan(Duration::from_millis(millis)).to_string();
        assert_eq!(
            [0, 3_550, 125_000, 12_000_000, 352_800_000].map(short),
            ["0ms", "3.5s", "2m5s", "3h20m", "4d2h"]
        );
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        for (bytes, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64 MiB"), (3 << 40, "3 TiB")]
        {
            assert_eq!(Size(bytes).to_string(), shown);
        }
        assert_eq!(Size(u64::MAX).to_string(), "16777215 TiB");
    }

    #[test]
    fn what_the_kernel_does_to_a_service_is_told_with_its_reason() {
        let news = News::OutOfMemory { killed: 1, limit: Some(16 << 20) };
        assert_eq!(
            news.to_string(),
            "ran out of memory: the kernel killed 1 process of it (its limit is 16 MiB)"
        );
        let pid = crate::id::Pid::INIT;
        let news = News::Unkillable(Unkillable { pid, count: 2, function: Some("nfs_wait".into()) });
        assert_eq!(
            news.to_string(),
            "waits for pid 1, which sleeps in the kernel (state D, in nfs_wait) and cannot be killed before it \
             wakes up; 2 processes are so"
        );
    }

    #[test]
    fn news_read_as_sentences_after_the_name_of_the_service() {
        let news =
            News::Exited { role: Role::Main, status: ExitStatus::code(3), lived: Duration::from_millis(120) };
        assert_eq!(news.to_string(), "exited with code 3 after 120 ms");
        let news = News::Turned {
            from: State::Up,
            to: State::Failed,
            because: Cause::LostDependency { service: "db".into() },
        };
        assert_eq!(news.to_string(), "is failed, because db, which it requires, is not there");
    }
}
