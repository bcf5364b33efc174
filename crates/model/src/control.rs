//! The control protocol: what people (and programs) may ask a running family, and what it answers.
//!
//! On the wire each message is one frame: its length as four bytes, little-endian, then that many bytes of
//! JSON. A client sends [`Asked`], the supervisor [`Answer`]; the first request of a connection is
//! [`Request::Hello`]. A request has any number of answers that go on ([`Reply::goes_on`]) and then exactly
//! one that is final. Answers to different requests may be mixed; the id tells them apart.
//!
//! Deliberately absent: how bytes travel (`doula-host`, module `control`) and who may ask.

use crate::action::{Cause, News, State, Unkillable};
use crate::event::Haste;
use crate::exit::ExitStatus;
use crate::id::{Generation, Pid};
use crate::pool::PoolSpec;
use crate::service::Scope;
use crate::signal::Signal;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The version of the protocol. One more for each change that an older side cannot ignore; new optional
/// fields and new requests do not count.
pub const PROTOCOL: u32 = 1;

/// The longest request frame, in bytes without the length: a request is names and numbers, or 64 KiB of
/// input. A longer one ends the connection.
pub const REQUEST_LIMIT: u32 = 1 << 20;

/// The longest answer frame, in bytes without the length: a status of 10,000 services fits.
pub const REPLY_LIMIT: u32 = 16 << 20;

/// The number by which a client tells the answers to its requests apart. The client chooses it, and must
/// not use it again while a request with it is unanswered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(pub u32);

/// A request on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Its number.
    pub id: RequestId,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// An answer on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// To which request.
    pub id: RequestId,
    /// The answer.
    #[serde(flatten)]
    pub reply: Reply,
}

/// What may be asked. An empty list of names means every service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub enum Request {
    /// Who is there? Always the first. Answered by [`Reply::Hello`].
    Hello {
        /// The version that the client speaks.
        protocol: u32,
        /// What it is, for the supervisor's log: `doula ctl 0.1.0`.
        client: String,
    },
    /// How is everybody? Answered by [`Reply::Status`].
    Status {
        /// About whom.
        names: Vec<String>,
    },
    /// Start these. Answered by [`Reply::Settled`].
    Start {
        /// Whom.
        names: Vec<String>,
        /// Whether to answer only when each is ready or has failed.
        wait: bool,
    },
    /// Stop these, until nothing of them is left. Answered by [`Reply::Settled`].
    Stop {
        /// Whom.
        names: Vec<String>,
        /// Whether to answer only when nothing of them is left.
        wait: bool,
    },
    /// Stop, then start. Answered by [`Reply::Settled`].
    Restart {
        /// Whom.
        names: Vec<String>,
        /// Whether to answer only when each is ready again or has failed.
        wait: bool,
    },
    /// Let these read their own configuration again. Answered by [`Reply::Settled`].
    Reload {
        /// Whom.
        names: Vec<String>,
        /// Whether to answer only when each is ready again or has failed.
        wait: bool,
    },
    /// Read the family's file again and touch only what changed. Answered by [`Reply::Changes`].
    ReloadConfig {
        /// Only tell what would change.
        dry_run: bool,
    },
    /// Send a signal. Answered by [`Reply::Settled`].
    Signal {
        /// Whose processes.
        names: Vec<String>,
        /// What.
        signal: Signal,
        /// To which of their processes.
        scope: Scope,
    },
    /// What did they write? Answered by any number of [`Reply::Log`] and [`Reply::Missed`], then
    /// [`Reply::End`].
    Logs {
        /// Who.
        names: Vec<String>,
        /// Go on with what they write from now on, until [`Request::Cancel`].
        follow: bool,
        /// Only what was written then or later.
        since: Option<Wall>,
        /// Only the last so many lines of the past, of all services together.
        lines: Option<u32>,
    },
    /// What happened? Answered by any number of [`Reply::Event`] and [`Reply::Missed`], then
    /// [`Reply::End`].
    Events {
        /// About whom; reports about the family come in any case.
        names: Vec<String>,
        /// Go on with what happens from now on, until [`Request::Cancel`].
        follow: bool,
        /// What is remembered from then on; `None`: all that is remembered.
        since: Option<Wall>,
        /// At most so many of those, the last ones; `None`: all.
        #[serde(default)]
        lines: Option<u32>,
    },
    /// Why is it as it is? Answered by [`Reply::Why`].
    Why {
        /// Who.
        name: String,
    },
    /// Answer when all of these have come so far, or cannot any more. Answered by [`Reply::Settled`].
    Wait {
        /// Who.
        names: Vec<String>,
        /// How far.
        until: Goal,
        /// For how long; `None`: for ever. Afterwards the answer tells how far they came.
        timeout: Option<Duration>,
    },
    /// Stop the whole family, then end. Answered by [`Reply::Settled`] before the supervisor ends, if it is
    /// waited for; the connection closes at the very end.
    Shutdown {
        /// How patiently.
        haste: Haste,
        /// Whether to answer only when nothing is left.
        wait: bool,
    },
    /// Go on as another program. Answered by [`Reply::Upgraded`], by that program.
    Upgrade {
        /// The path of the program; `None`: the one that is now where ours was started from.
        binary: Option<String>,
    },
    /// Connect to the input and output of a service. Answered by any number of [`Reply::Output`], then
    /// [`Reply::End`].
    Attach {
        /// Whose.
        name: String,
        /// The size of the client's terminal, for a service with a terminal of its own.
        size: Option<WindowSize>,
    },
    /// Input for a service that this connection is attached to. Not answered.
    Input {
        /// By the request with this number.
        attach: RequestId,
        /// The bytes; none: the end of the input (which a terminal ignores).
        data: Bytes,
    },
    /// The client's terminal has a new size. Not answered.
    Resize {
        /// The request that attached.
        attach: RequestId,
        /// The size.
        size: WindowSize,
    },
    /// Ends a request that goes on. That one is then answered by [`Reply::End`]; this one is not answered.
    /// A number that names no such request is ignored (it may have just ended).
    Cancel {
        /// Which request.
        which: RequestId,
    },
}

/// What may be answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply")]
pub enum Reply {
    /// Who we are.
    Hello {
        /// The version that the supervisor speaks.
        protocol: u32,
        /// The family's name.
        family: String,
        /// The supervisor's pid.
        pid: Pid,
        /// The supervisor's program version.
        version: String,
    },
    /// How everybody is.
    Status(FamilyStatus),
    /// What became of the services that were asked about. Final, whether all went well or not.
    Settled {
        /// Each of them.
        services: Vec<Settled>,
        /// The time limit of the request passed before.
        timed_out: bool,
    },
    /// What changed, or would change.
    Changes {
        /// Each service that is new, gone or different.
        changes: Vec<Change>,
        /// Whether this was done, or only told.
        applied: bool,
    },
    /// A line of output.
    Log(LogRecord),
    /// Something that happened.
    Event(EventRecord),
    /// The client was too slow: so many records of this stream were left out here.
    Missed {
        /// How many.
        records: u64,
    },
    /// Why a service is as it is.
    Why(Why),
    /// The supervisor is another program now.
    Upgraded {
        /// The version that it was.
        from: String,
        /// The version that it is.
        to: String,
        /// Its number, as before.
        pid: Pid,
        /// For so long nobody looked after the family.
        took: Duration,
    },
    /// Output of a service that this connection is attached to.
    Output {
        /// The bytes.
        data: Bytes,
    },
    /// The end of a stream.
    End,
    /// It cannot be done.
    Error(Refusal),
}

impl Reply {
    /// Whether more answers to the same request follow.
    pub const fn goes_on(&self) -> bool {
        match self {
            Reply::Log(_) | Reply::Event(_) | Reply::Missed { .. } | Reply::Output { .. } => true,
            Reply::Hello { .. }
            | Reply::Status(_)
            | Reply::Settled { .. }
            | Reply::Changes { .. }
            | Reply::Why(_)
            | Reply::Upgraded { .. }
            | Reply::End
            | Reply::Error(_) => false,
        }
    }

    /// A refusal without advice.
    pub fn refuse(kind: RefusalKind, text: impl Into<String>) -> Reply {
        Reply::Error(Refusal { kind, text: text.into(), hint: None })
    }
}

/// How far to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// Ready to serve; a one-shot: ended well; a scheduled one: waits for its schedule.
    Ready,
    /// Nothing of it runs.
    Stopped,
    /// Ended by itself.
    Done,
}

/// Whether a service has come as far as somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It has.
    Reached,
    /// Not yet.
    Pending,
    /// It cannot any more without somebody's help.
    Lost,
}

impl Goal {
    /// Whether a service in this state has come so far.
    ///
    /// ```
    /// use doula_model::{action::State, control::{Goal, Verdict}};
    /// assert_eq!(Goal::Ready.verdict(State::Up), Verdict::Reached);
    /// assert_eq!(Goal::Ready.verdict(State::Failed), Verdict::Lost);
    /// ```
    pub const fn verdict(self, state: State) -> Verdict {
        match (self, state) {
            (Goal::Ready, State::Up | State::Done | State::Scheduled)
            | (Goal::Stopped, State::Stopped | State::Scheduled | State::Done | State::Failed)
            | (Goal::Done, State::Done) => Verdict::Reached,
            (Goal::Ready | Goal::Done, State::Failed) => Verdict::Lost,
            (Goal::Ready | Goal::Done, State::Stopped)
            | (Goal::Done, State::Scheduled | State::Up)
            | (
                Goal::Stopped,
                State::Waiting | State::Preparing | State::Starting | State::Up | State::BackingOff,
            )
            | (
                Goal::Ready | Goal::Done,
                State::Waiting | State::Preparing | State::Starting | State::BackingOff,
            )
            | (
                Goal::Ready | Goal::Stopped | Goal::Done,
                State::Stopping | State::Clearing | State::Cleaning,
            ) => Verdict::Pending,
        }
    }

    /// The same for somebody who has just asked for a start: a service that is stopped, or that pauses after
    /// a crash, did not start.
    pub const fn verdict_of_start(state: State) -> Verdict {
        match state {
            State::Stopped | State::BackingOff => Verdict::Lost,
            State::Scheduled
            | State::Waiting
            | State::Preparing
            | State::Starting
            | State::Up
            | State::Stopping
            | State::Clearing
            | State::Cleaning
            | State::Done
            | State::Failed => Goal::Ready.verdict(state),
        }
    }
}

/// How the family is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FamilyStatus {
    /// Its name.
    pub name: String,
    /// The supervisor's pid.
    pub pid: Pid,
    /// The supervisor's program version.
    pub version: String,
    /// Since when it runs.
    pub since: Wall,
    /// For how long it has been running.
    pub uptime: Duration,
    /// Whether it shuts down, and how patiently.
    pub shutting_down: Option<Haste>,
    /// What the user should know: features that this machine does not offer …
    pub warnings: Vec<String>,
    /// The services that were asked about, in the order of the file. Of a pool those workers that run or should.
    pub services: Vec<ServiceStatus>,
    /// The pools of those services.
    #[serde(default)]
    pub pools: Vec<PoolStatus>,
}

/// How a pool is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// What it was promised to be.
    pub spec: PoolSpec,
    /// Whether somebody wants it to run.
    pub wanted: bool,
    /// How many workers are replaced, of how many, while that goes on.
    pub rolling: Option<(u32, u32)>,
    /// Connections that nobody has accepted yet.
    pub queue: u32,
    /// The longest queue of each of the last sixty seconds in which it was looked at, the last one at the end; 0 for the others.
    pub past: Vec<u32>,
    /// Its workers that run or should, by their slots.
    pub workers: Vec<WorkerStatus>,
}

/// What a worker of a pool does. The rest about it is in its [`ServiceStatus`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its name as a service.
    pub service: String,
    /// Under which number it serves.
    pub slot: u32,
    /// What it does.
    pub doing: WorkerDoing,
    /// For how long it has done so, as far as it was looked at: a pool at rest is not looked at.
    #[serde(default)]
    pub doing_for: Option<Duration>,
    /// How many requests it says that it has answered, if it says so.
    pub requests: Option<u64>,
    /// Its proportional share of memory in bytes, if that is known. Filled in by the client.
    pub pss: Option<u64>,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerDoing {
    /// It starts, or starts again.
    Starting,
    /// It serves, and has nothing to do.
    Idle,
    /// It serves, and is not proved to have nothing to do.
    Busy,
    /// It ends.
    Leaving,
    /// It should serve, and does not.
    Held,
}

impl WorkerDoing {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            WorkerDoing::Starting => "starting",
            WorkerDoing::Idle => "idle",
            WorkerDoing::Busy => "busy",
            WorkerDoing::Leaving => "leaving",
            WorkerDoing::Held => "held",
        }
    }
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: State,
    /// Since when.
    pub since: Wall,
    /// For how long.
    pub age: Duration,
    /// Why.
    pub because: Cause,
    /// Its main process.
    pub pid: Option<Pid>,
    /// Whether the main process was stopped by a signal and does not run.
    pub paused: bool,
    /// How often it was started.
    pub generation: Generation,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// How its main process ended last.
    pub last_exit: Option<ExitStatus>,
    /// Why it was started again by itself the last time, if people have not started it since.
    #[serde(default)]
    pub fell: Option<Fall>,
    /// When it starts again by itself, from now.
    pub next_start: Option<Duration>,
    /// What it says about itself (sd_notify(3) `STATUS=`).
    pub status: Option<String>,
    /// How many processes it has, if that is known. These three are filled in by the client: the supervisor does
    /// not read them for everybody who asks.
    pub processes: Option<u32>,
    /// Its memory in bytes, if that is known.
    pub memory: Option<u64>,
    /// The CPU time of its processes, if that is known.
    pub cpu: Option<Duration>,
    /// Those of its processes that were sent SIGKILL and cannot take it.
    #[serde(default)]
    pub unkillable: Option<Unkillable>,
    /// The cgroup directories that hold all its processes and no others, as the supervisor sees the file system.
    #[serde(default)]
    pub cgroups: Vec<String>,
    /// What else people should know, a sentence each: a limit that does not hold as it was asked for, processes
    /// that cannot be killed …
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Why a service was started again by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fall {
    /// What ended its last life.
    pub because: Cause,
    /// How long ago that was.
    pub ago: Duration,
}

/// What became of a service that something was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// Its name.
    pub name: String,
    /// Whether it came as far as was asked.
    pub verdict: Verdict,
    /// Where it is now.
    pub state: State,
    /// Why.
    pub because: Cause,
    /// Its main process.
    pub pid: Option<Pid>,
}

/// A difference between the family as it is and its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The service.
    pub name: String,
    /// What happens to it.
    pub kind: ChangeKind,
    /// What is different, one line for each key: `command: old → new`.
    pub details: Vec<String>,
}

/// What happens to a service in a change of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is stopped and forgotten.
    Removed,
    /// It is different; restarted if it runs.
    Changed,
    /// Only our own rules for it differ (restart, stop, dependencies …); its processes are not touched.
    Adjusted,
}

/// A line of output of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// When we read it.
    pub at: Wall,
    /// Who wrote it.
    pub service: String,
    /// To which of its outputs.
    pub stream: Stream,
    /// The line, without its newline.
    pub line: Bytes,
}

/// An output of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// doula itself, about the service.
    Doula,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When.
    pub at: Wall,
    /// About whom; `None`: the family.
    pub service: Option<String>,
    /// In which life.
    pub generation: Generation,
    /// What.
    #[serde(flatten)]
    pub news: News,
}

/// Why a service is as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Why {
    /// The service.
    pub name: String,
    /// How it is, and how those are that it depends on, directly or not: the causes name them.
    pub services: Vec<ServiceStatus>,
    /// Whom it needs.
    pub needs: Vec<String>,
    /// Who needs it.
    pub needed_by: Vec<String>,
    /// What is remembered of it, the oldest first.
    pub history: Vec<EventRecord>,
}

/// Why something cannot be done: one sentence, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What kind of reason.
    pub kind: RefusalKind,
    /// The sentence, without a final full stop; a wrong configuration: the whole diagnosis.
    pub text: String,
    /// What people can do about it.
    pub hint: Option<String>,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The request makes no sense: not JSON, unknown, out of order.
    BadRequest,
    /// The two sides speak different versions.
    Version,
    /// There is no such service.
    NoSuchService,
    /// The configuration is wrong.
    Configuration,
    /// The service has not what is needed (a pipe or terminal to attach to, a running process to signal).
    Unsupported,
    /// A limit is reached.
    Busy,
    /// The family shuts down.
    ShuttingDown,
    /// The supervisor failed.
    Internal,
}

/// The size of a terminal in characters (`TIOCSWINSZ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Wall-clock time in microseconds since 1970-01-01 00:00 UTC. For display only, never for a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wall(pub u64);

/// Bytes from outside: text in JSON if they are UTF-8, else a list of numbers, so that none is lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bytes(pub Vec<u8>);

mod bytes {
    use super::Bytes;
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::fmt;
    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            match core::str::from_utf8(&self.0) {
                Ok(text) => to.serialize_str(text),
                Err(_) => self.0.serialize(to),
            }
        }
    }

    struct TextOrList;

    impl<'de> Visitor<'de> for TextOrList {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text or a list of bytes")
        }

        fn visit_str<E>(self, text: &str) -> Result<Bytes, E> {
            Ok(Bytes(text.as_bytes().to_vec()))
        }

        fn visit_string<E>(self, text: String) -> Result<Bytes, E> {
            Ok(Bytes(text.into_bytes()))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bytes, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = list.next_element::<u8>()? {
                bytes.push(byte);
            }
            Ok(Bytes(bytes))
        }
    }

    impl<'de> Deserialize<'de> for Bytes {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
            from.deserialize_any(TextOrList)
        }
    }
}
