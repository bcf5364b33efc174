//! How a pipeline ended.

use crate::child::{Holder, Io, NotEmpty, Proof, Survivor, TreeEnd};
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_sys::wait::Usage;
use std::fmt;
use std::time::Duration;

/// How one stage ended, and what it used.
///
/// ```
/// use doula_host::{Command, Pipeline};
/// let end = Pipeline::new(Command::new("false")).pipe(Command::new("true")).run()?;
/// let stage = &end.stages[0];
/// assert!(stage.failed() && stage.name == "false" && stage.status.exit_code() == Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StageEnd {
    /// Its program, as its command names it, with control characters escaped.
    pub name: String,
    /// Its number, for display.
    pub pid: Pid,
    /// How it ended.
    pub status: ExitStatus,
    /// What it and its own reaped children used.
    pub usage: Usage,
    /// From its birth until its end was seen.
    pub wall: Duration,
    /// What it read and wrote, if that was asked for ([`crate::Pipeline::count_io`]) and the kernel tells.
    pub io: Option<Io>,
    /// So many bytes were handed on to the next stage, which need not have read them; if that was asked for
    /// ([`crate::Pipeline::count_pipes`]) and there is a next one.
    pub passed: Option<u64>,
    /// What it wrote to standard output, if that was a pipe of ours.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, if that was a pipe of ours.
    pub stderr: Vec<u8>,
    /// How many bytes were above the limit, of both streams.
    pub lost: u64,
    /// SIGPIPE ended it, because somebody after it did not read on: no failure.
    pub excused: bool,
    /// We ended it: time was over, or another stage failed.
    pub killed: bool,
}

impl StageEnd {
    /// It did not succeed, and that was its own doing.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("yes")).pipe(Command::new("true")).run()?;
    /// assert!(!end.stages[0].failed() && end.stages[0].excused);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn failed(&self) -> bool {
        !self.status.success() && !self.excused && !self.killed
    }

    /// Its standard error as text; what is no UTF-8 is replaced.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("sh").args(["-c", "echo no >&2"])).pipe(Command::new("cat")).output()?;
    /// assert_eq!(end.stages[0].stderr_text(), "no\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// How a pipeline ended. Prints as a sentence.
///
/// ```
/// use doula_host::{Command, Pipeline};
/// let end = Pipeline::new(Command::new("true")).pipe(Command::new("false")).run()?;
/// assert_eq!(end.to_string(), "stage 2 (`false`) exited with code 1");
/// assert_eq!((end.success(), end.failure(), end.shell_code()), (false, Some(1), 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PipelineEnd {
    /// Each stage, from the first to the last.
    pub stages: Vec<StageEnd>,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// Who held a pipe open that we or a stage read from: when the time was over, or after the last stage's end. As far as we
    /// may see them.
    pub holders: Vec<Holder>,
    /// Whether a stream of ours was left before its end, because somebody held it open.
    pub cut: bool,
    /// If we ended it: how we know that nobody of it is left, the weakest proof of all stages. `None` where a stage was not
    /// [contained](crate::Pipeline::contained), or somebody is left.
    pub proof: Option<Proof>,
    /// If we ended it: who lives still.
    pub survivors: Vec<Survivor>,
}

impl PipelineEnd {
    pub(super) fn new(timed_out: bool, cut: bool, holders: Vec<Holder>) -> PipelineEnd {
        PipelineEnd { stages: Vec::new(), timed_out, holders, cut, proof: None, survivors: Vec::new() }
    }

    pub(super) fn add(&mut self, stage: StageEnd) {
        self.stages.push(stage);
    }

    /// The end of one more stage's tree.
    pub(super) fn prove(&mut self, tree: Option<Result<TreeEnd, NotEmpty>>) {
        let first = self.stages.len() == 1;
        self.proof = match tree {
            Some(Ok(end)) if first => Some(end.proof),
            Some(Ok(end)) => self.proof.map(|proof| proof.max(end.proof)),
            Some(Err(not_empty)) => {
                self.survivors.extend(not_empty.survivors);
                None
            }
            None => None,
        };
    }

    /// The place of the last stage that failed.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("false")).pipe(Command::new("false")).pipe(Command::new("true")).run()?;
    /// assert_eq!(end.failure(), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn failure(&self) -> Option<usize> {
        self.stages.iter().rposition(StageEnd::failed)
    }

    /// No stage failed, and time was not over.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// assert!(Pipeline::new(Command::new("true")).pipe(Command::new("true")).run()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn success(&self) -> bool {
        !self.timed_out && self.failure().is_none()
    }

    /// The exit code that a shell with `pipefail` would give: that of the last stage that failed, else 0; and 124 as timeout(1)
    /// when time was over. Without `pipefail` it is that of the last stage's status.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("sh").args(["-c", "exit 3"])).pipe(Command::new("true")).run()?;
    /// assert_eq!(end.shell_code(), 3);
    /// assert_eq!(end.stages[1].status.shell_code(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn shell_code(&self) -> u8 {
        /// That of timeout(1).
        const TIMED_OUT: u8 = 124;
        match self.failure() {
            _ if self.timed_out => TIMED_OUT,
            Some(place) => self.stages[place].status.shell_code(),
            None => 0,
        }
    }

    /// What the last stage wrote to standard output, if that was captured.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("echo").arg("a")).pipe(Command::new("cat")).output()?;
    /// assert_eq!(end.stdout(), b"a\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stdout(&self) -> &[u8] {
        self.stages.last().map_or(&[], |stage| &stage.stdout)
    }

    /// The same as text; what is no UTF-8 is replaced.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("echo").arg("a")).pipe(Command::new("cat")).output()?;
    /// assert_eq!(end.stdout_text(), "a\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(self.stdout()).into_owned()
    }
}

impl fmt::Display for PipelineEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.failure() {
            _ if self.timed_out => f.write_str("its time was over"),
            Some(place) => {
                write!(f, "stage {} (`{}`) {}", place + 1, self.stages[place].name, self.stages[place].status)
            }
            None => f.write_str("every stage did its work"),
        }
    }
}
