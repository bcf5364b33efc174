//! A job and its result as they lie in the queue: JSON that other programs can make and read.
//!
//! A result is a line of JSON, then what the job wrote to standard output, then to standard error.

use super::super::template::{Inputs, Place, Template};
use super::super::{report, retry_on};
use doula_core::queue::Pause;
use doula_core::queue::RetryOn;
use doula_core::queue::far::Rules;
use doula_host::jobs::journal::Text;
use doula_host::jobs::{Attempt, Failure};
use doula_host::{ExitStatus, Signal, Usage};
use doula_model::task::Verdict;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

/// What there is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The words of the command with their places; without any, the input is the command.
    #[serde(default)]
    command: Vec<Text>,
    /// What stands for the input.
    #[serde(default = "braces")]
    replace: String,
    #[serde(default)]
    shell: bool,
    /// A word with a place in it comes once for each input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    context: bool,
    /// There is no command: it is for a worker that lives on, and is given the inputs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    for_workers: bool,
    /// Such a worker is given a list, also where there is one input.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    list: bool,
    #[serde(default)]
    inputs: Vec<Text>,
    /// How often, after what, and how long it is tried.
    #[serde(default)]
    retries: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_on: Option<String>,
    #[serde(default)]
    retry_delay: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<f64>,
    #[serde(default = "two")]
    quarantine: u32,
}

fn braces() -> String {
    "{}".to_owned()
}

const fn two() -> u32 {
    2
}

impl Job {
    /// One of these words, without inputs yet.
    pub(super) fn new(command: &[OsString], replace: &str, (shell, context): (bool, bool)) -> Job {
        Job {
            command: command.iter().map(|word| Text::from(word.as_bytes().to_vec())).collect(),
            replace: replace.to_owned(),
            shell,
            context,
            for_workers: false,
            list: false,
            inputs: Vec::new(),
            retries: 0,
            retry_on: None,
            retry_delay: 0.0,
            timeout: None,
            quarantine: two(),
        }
    }

    /// Without a command, for workers that live on.
    pub(super) fn for_workers(self, list: bool) -> Job {
        Job { for_workers: true, list, command: Vec::new(), ..self }
    }

    pub(super) fn is_for_workers(&self) -> bool {
        self.for_workers
    }

    /// Whether a worker that lives on is given a list.
    pub(super) fn is_list(&self) -> bool {
        self.list || self.inputs.len() != 1
    }

    /// How often it is tried, after what, and for how long.
    pub(super) fn tried(mut self, rules: &Rules, timeout: Option<Duration>) -> Job {
        self.retries = rules.retries;
        self.retry_on = (rules.retry_on != RetryOn::ALL).then(|| kinds(rules.retry_on));
        self.retry_delay = rules.pause.first.as_secs_f64();
        self.timeout = timeout.map(|time| time.as_secs_f64());
        self.quarantine = rules.deaths;
        self
    }

    /// The same for these inputs, as it is handed in.
    pub(super) fn of(&self, inputs: &Inputs) -> io::Result<Vec<u8>> {
        let inputs = inputs.iter().cloned().map(Text::from).collect();
        Ok(serde_json::to_vec(&Job { inputs, ..self.clone() })?)
    }

    /// The rules of its retries; an error when nobody can read them.
    pub(super) fn rules(&self) -> Result<Rules, String> {
        let on = self.retry_on.as_deref().map_or(Ok(RetryOn::ALL), retry_on)?;
        let first = seconds(self.retry_delay)?;
        let pause = Pause { first, most: first.max(Duration::from_secs(60)) };
        Ok(Rules { retries: self.retries, retry_on: on, pause, deaths: self.quarantine })
    }

    pub(super) fn timeout(&self) -> Result<Option<Duration>, String> {
        self.timeout.map(seconds).transpose()
    }

    pub(super) fn inputs(&self) -> Inputs {
        self.inputs.iter().map(|input| input.bytes().to_vec()).collect()
    }

    /// The words of its command.
    pub(super) fn words(&self, place: Place) -> Result<Vec<OsString>, String> {
        let command: Vec<OsString> =
            self.command.iter().map(|word| OsString::from_vec(word.bytes().to_vec())).collect();
        let template = match command.as_slice() {
            [] => Template::of_line(self.shell),
            words if self.context => Template::new(words, &self.replace, self.shell).repeated(),
            words => Template::new(words, &self.replace, self.shell),
        };
        template.fill(&self.inputs(), place)
    }
}

fn seconds(number: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(number).map_err(|_| format!("{number} is no time in seconds"))
}

/// Kinds of failure as `--retry-on` has them.
fn kinds(on: RetryOn) -> String {
    let codes: Vec<u8> = (1..=u8::MAX).filter(|code| on.has(Failure::Code(*code))).collect();
    let mut kinds: Vec<String> = match codes.len() {
        255 => vec!["code".to_owned()],
        _ => codes.iter().map(u8::to_string).collect(),
    };
    let others = [
        (Failure::Signal(Signal::KILL), "signal"),
        (Failure::OutOfMemory, "oom"),
        (Failure::TimedOut, "timeout"),
        (Failure::NotStarted(127), "start"),
        (Failure::Lost, "lost"),
        (Failure::Answered, "error"),
    ];
    kinds.extend(others.iter().filter(|(kind, _)| on.has(*kind)).map(|(_, word)| (*word).to_owned()));
    kinds.join(",")
}

/// A number that two jobs have in common only by a rare chance (FNV-1a): a result is for this job and no other.
pub(super) fn mark(job: &[u8]) -> String {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let mark = job.iter().fold(BASIS, |mark, byte| (mark ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{mark:016x}")
}

/// What came of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// Of which job.
    pub(super) mark: String,
    pub(super) verdict: Verdict,
    pub(super) attempts: u32,
    /// Who did it.
    pub(super) worker: String,
    /// How the last attempt ended, if it began.
    pub(super) end: Option<End>,
    /// Why it could not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// So many bytes it wrote to standard output and to standard error.
    pub(super) out: usize,
    pub(super) err: usize,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) status: ExitStatus,
    /// Seconds since 1970.
    pub(super) began: f64,
    pub(super) seconds: f64,
    user_seconds: f64,
    system_seconds: f64,
    max_rss_kb: u64,
    pub(super) left_behind: bool,
    /// So many of it the kernel killed for want of memory, if anybody counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) oom_kills: Option<u64>,
}

impl End {
    fn of(attempt: &Attempt) -> End {
        let usage = attempt.usage;
        End {
            status: attempt.status,
            began: report::since_epoch(attempt.began),
            seconds: attempt.took.as_secs_f64(),
            user_seconds: usage.user.as_secs_f64(),
            system_seconds: usage.system.as_secs_f64(),
            max_rss_kb: usage.max_rss_kb,
            left_behind: attempt.left,
            oom_kills: attempt.oom_kills,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        let time = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let (user, system) = (time(self.user_seconds), time(self.system_seconds));
        Usage { user, system, max_rss_kb: self.max_rss_kb }
    }
}

impl Outcome {
    /// What came of it without any attempt.
    pub(super) fn bare(mark: String, verdict: Verdict, attempts: u32, worker: &str) -> Outcome {
        Outcome { mark, verdict, attempts, worker: worker.to_owned(), end: None, why: None, out: 0, err: 0 }
    }

    /// As it lies in the queue.
    pub(super) fn with(mut self, attempt: Option<&Attempt>) -> io::Result<Vec<u8>> {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        if let Some(attempt) = attempt {
            (out, err) = (attempt.output.bytes()?, attempt.error.bytes()?);
            self.end = Some(End::of(attempt));
        }
        (self.out, self.err) = (out.len(), err.len());
        let mut bytes = serde_json::to_vec(&self)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&out);
        bytes.extend_from_slice(&err);
        Ok(bytes)
    }

    /// Reads it, and what the job wrote.
    pub(super) fn read(bytes: &[u8]) -> Result<(Outcome, Vec<u8>, Vec<u8>), String> {
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(end);
        let outcome: Outcome = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let rest = rest.get(1..).unwrap_or_default();
        let (Some(out), Some(err)) = (rest.get(..outcome.out), rest.get(outcome.out..)) else {
            return Err("it is cut off".to_owned());
        };
        if err.len() != outcome.err {
            return Err("it is cut off".to_owned());
        }
        Ok((outcome, out.to_vec(), err.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_the_same_on_the_other_machine() {
        let rules = Rules {
            retries: 3,
            retry_on: RetryOn::NONE.code(75).code(3),
            pause: Pause { first: Duration::from_millis(1500), most: Duration::from_secs(60) },
            deaths: 4,
        };
        let command = [OsString::from("echo"), OsString::from_vec(b"\xff{}".to_vec())];
        let job = Job::new(&command, "{}", (false, false)).tried(&rules, Some(Duration::from_secs(7)));
        let bytes = job.of(&vec![b"\xfe a".to_vec()]).expect("JSON");
        let read: Job = serde_json::from_slice(&bytes).expect("the same");
        assert_eq!(read.rules(), Ok(rules));
        assert_eq!(read.timeout(), Ok(Some(Duration::from_secs(7))));
        let words = read.words(Place { number: 1, slot: 1 }).expect("words");
        assert_eq!(words, [OsString::from("echo"), OsString::from_vec(b"\xff\xfe a".to_vec())]);
        assert_ne!(mark(&bytes), mark(&job.of(&vec![b"b".to_vec()]).expect("JSON")));
    }

    #[test]
    fn others_need_not_say_more_than_the_command() {
        let job: Job = serde_json::from_str(r#"{"command":["true"]}"#).expect("a job");
        assert!(job.rules().is_ok_and(|rules| rules.retries == 0 && rules.deaths == 2));
        let wrong: Job = serde_json::from_str(r#"{"retry_on":"no","retry_delay":-1}"#).expect("JSON");
        assert!(wrong.rules().is_err());
    }

    #[test]
    fn kinds_of_failure_are_written_as_they_are_read() {
        for text in ["75,timeout", "code,signal", "oom,start,lost,error", "3,75"] {
            let on = retry_on(text).expect("kinds");
            assert_eq!(retry_on(&kinds(on)), Ok(on), "{text}");
        }
    }

    #[test]
    fn a_result_is_read_back_and_one_that_is_cut_off_is_none() {
        let outcome = Outcome::bare("9".to_owned(), Verdict::Done, 1, "here");
        let mut attempt = super::super::super::journal::bare(doula_model::task::TaskId(1), 1);
        (attempt.output, attempt.error) = (b"out\n".to_vec().into(), b"err".to_vec().into());
        attempt.status = ExitStatus::code(0);
        let bytes = outcome.with(Some(&attempt)).expect("memory");
        let (outcome, out, err) = Outcome::read(&bytes).expect("whole");
        assert_eq!(
            (outcome.mark.as_str(), out.as_slice(), err.as_slice()),
            ("9", &b"out\n"[..], &b"err"[..])
        );
        assert!(Outcome::read(&bytes[..bytes.len() - 1]).is_err());
        assert!(Outcome::read(b"no").is_err());
    }
}
