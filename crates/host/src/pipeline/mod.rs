//! Several commands, each reading what the one before writes: `a | b | c` without a shell.
//!
//! ```
//! use doula_host::{Command, Pipeline};
//!
//! // ls / | grep usr | wc -l
//! let end = Pipeline::new(Command::new("ls").arg("/"))
//!     .pipe(Command::new("grep").arg("usr"))
//!     .pipe(Command::new("wc").arg("-l"))
//!     .output()?;
//! assert_eq!(end.stdout_text().trim(), "1");
//! for stage in &end.stages {
//!     println!("{} {} after {:?}, with {} kB", stage.name, stage.status, stage.wall, stage.usage.max_rss_kb);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Or with the operator: `Command::new("ls") | Command::new("wc").arg("-l")`.
//!
//! # What a stage gets
//!
//! What its [`Command`] says, and the ends of its own pipes: no stage ever holds an end of another's, so that each hears the end
//! of its input when the stage before has ended. The first reads our standard input and the last writes to our standard output
//! unless told otherwise; [`Pipeline::output`] captures instead. [`Pipeline::join`] joins any fds, [`Pipeline::pipe_both`] is
//! `|&`.
//!
//! # Who failed
//!
//! A stage failed if it did not succeed ([`StageEnd::failed`]), as with `set -o pipefail`, but for two kinds of ends:
//!
//! - *excused*: it died of SIGPIPE, or passed one on as code 141 as shells do, and is not the last one. `yes | head -1` is
//!   no failure; nobody but a reader that ended early sends this signal. The last stage's SIGPIPE is a failure.
//! - *killed*: we ended it, because time was over or another stage failed.
//!
//! # Bytes
//!
//! Nobody but the two stages sees what goes through a pipe, so counting has a price, and is done on request only:
//!
//! | | counts | costs |
//! |---|---|---|
//! | [`Pipeline::count_io`] | all that each stage read and wrote, of any file, as the kernel has it ([`Io`]) | opening one small file of `/proc` for each stage, and reading it at its end |
//! | [`Pipeline::count_pipes`] | exactly the bytes that were handed from stage to stage | a second pipe, and a wake-up of the waiting process for each pipe full: nothing flows while nobody waits |
//!
//! # The end
//!
//! [`Pipeline::timeout`] and [`Pipeline::kill_on_failure`] end all stages, from the last to the first, or all at once while they
//! stand still: so no stage takes the end of a killed one's words for the end of its input, and commits half of it. With
//! [`Pipeline::contained`] all their descendants end too, and [`PipelineEnd::proof`] says how we know. What becomes of a pipeline that is dropped while it runs is
//! said by each [`Command::on_drop`]. When a stage cannot be born, those before it are ended and buried.

mod birth;
mod children;
mod end;
mod error;

pub use children::Children;
pub use end::{PipelineEnd, StageEnd};
pub use error::PipelineError;

#[cfg(doc)]
use crate::Io;
use crate::child::talk::Rules;
use crate::child::{Capture, OnDrop};
use crate::command::{Command, Stdio};
use std::borrow::Borrow;
use std::ops::BitOr;
use std::os::fd::RawFd;
use std::time::Duration;

/// Commands in a row. See the [module](self) for the whole picture.
///
/// It can be started any number of times.
///
/// ```
/// use doula_host::{Command, Pipeline};
/// let end = Pipeline::new(Command::new("yes")).pipe(Command::new("head").arg("-1")).output()?;
/// assert_eq!(end.stdout_text(), "y\n");
/// assert!(end.success() && end.stages[0].excused); // `yes` was ended by SIGPIPE
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    stages: Vec<Command>,
    /// One less than stages.
    joints: Vec<Joint>,
    pipe_size: Option<usize>,
    contained: bool,
    count_io: bool,
    count_pipes: bool,
    rules: Rules,
}

/// How a stage and the next one are joined.
#[derive(Clone, Debug)]
struct Joint {
    /// Fds of the one.
    outputs: Vec<RawFd>,
    /// The fd of the next.
    input: RawFd,
}

impl Pipeline {
    /// A row of one.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// assert!(Pipeline::new(Command::new("true")).run()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(first: impl Borrow<Command>) -> Pipeline {
        Pipeline {
            stages: vec![first.borrow().clone()],
            joints: Vec::new(),
            pipe_size: None,
            contained: false,
            count_io: false,
            count_pipes: false,
            rules: Rules::default(),
        }
    }

    /// `| next`: the last stage's standard output is the next one's standard input.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("echo").arg("hello")).pipe(Command::new("rev")).output()?;
    /// assert_eq!(end.stdout_text(), "olleh\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipe(&mut self, next: impl Borrow<Command>) -> &mut Pipeline {
        self.join([1], 0, next)
    }

    /// `|& next`: standard output and standard error both.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("sh").args(["-c", "echo a; echo b >&2"]))
    ///     .pipe_both(Command::new("cat")).output()?;
    /// assert_eq!(end.stdout_text(), "a\nb\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipe_both(&mut self, next: impl Borrow<Command>) -> &mut Pipeline {
        self.join([1, 2], 0, next)
    }

    /// These fds of the last stage are the writing end of a pipe, and that fd of the next stage is its reading end.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// // sh -c 'echo status >&3' 3>&1 >/dev/null | …, without the juggling.
    /// let end = Pipeline::new(Command::new("sh").args(["-c", "echo status >&3"]))
    ///     .join([3], 7, Command::new("sh").args(["-c", "cat <&7"])).output()?;
    /// assert_eq!(end.stdout_text(), "status\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join(
        &mut self,
        outputs: impl IntoIterator<Item = RawFd>,
        input: RawFd,
        next: impl Borrow<Command>,
    ) -> &mut Pipeline {
        self.joints.push(Joint { outputs: outputs.into_iter().collect(), input });
        self.stages.push(next.borrow().clone());
        self
    }

    /// Each pipe holds at least so many bytes (`F_SETPIPE_SZ`); the kernel's own size is 64 kB. Larger ones mean fewer
    /// changes between stages. Without privileges `/proc/sys/fs/pipe-max-size` is the most.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let million = vec![b'x'; 1 << 20];
    /// let end = Pipeline::new(Command::new("cat")).pipe(Command::new("wc").arg("-c")).pipe_size(1 << 20).output_of(&million)?;
    /// assert_eq!(end.stdout_text(), "1048576\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn pipe_size(&mut self, bytes: usize) -> &mut Pipeline {
        self.pipe_size = Some(bytes);
        self
    }

    /// The first stage that fails ends all the others.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("sleep").arg("1000")).pipe(Command::new("false")).kill_on_failure().run()?;
    /// assert!(end.stages[0].killed && end.failure() == Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_on_failure(&mut self) -> &mut Pipeline {
        self.rules.kill_on_failure = true;
        self
    }

    /// All stages that live after this time are ended.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// use std::time::Duration;
    /// let end = Pipeline::new(Command::new("sleep").arg("1000")).pipe(Command::new("cat"))
    ///     .timeout(Duration::from_millis(10)).run()?;
    /// assert!(end.timed_out && end.shell_code() == 124);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout(&mut self, time: Duration) -> &mut Pipeline {
        self.rules.limits = self.rules.limits.timeout(time);
        self
    }

    /// The limits of what is captured, of each stream, instead of those of [`Capture::new`]; and its time limit.
    ///
    /// ```
    /// use doula_host::{Capture, Command, Pipeline};
    /// let end = Pipeline::new(Command::new("yes")).pipe(Command::new("head").args(["-c", "1000"]))
    ///     .limits(Capture::new().limit(4)).output()?;
    /// assert_eq!((end.stdout_text().as_str(), end.stages[1].lost), ("y\ny\n", 996));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limits(&mut self, limits: Capture) -> &mut Pipeline {
        self.rules.limits = limits;
        self
    }

    /// Every stage is held together with its descendants, so that the end of the pipeline can be the end of all of them, with a
    /// proof: all stages in one cgroup where we may make one, and each by a mark as [`Command::contained`] has it.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// use std::time::Duration;
    /// let end = Pipeline::new(Command::new("sh").args(["-c", "setsid sleep 1000"])).pipe(Command::new("cat"))
    ///     .contained().timeout(Duration::from_millis(100)).run()?;
    /// assert!(end.proof.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contained(&mut self) -> &mut Pipeline {
        self.contained = true;
        self
    }

    /// [`StageEnd::io`] is known.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("printf").arg("12345")).pipe(Command::new("wc")).count_io().output()?;
    /// assert!(end.stages[0].io.is_none_or(|io| io.written == 5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count_io(&mut self) -> &mut Pipeline {
        self.count_io = true;
        self
    }

    /// [`StageEnd::passed`] is known. Nothing flows while nobody waits for the pipeline.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("printf").arg("12345")).pipe(Command::new("wc")).count_pipes().output()?;
    /// assert_eq!(end.stages[0].passed, Some(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn count_pipes(&mut self) -> &mut Pipeline {
        self.count_pipes = true;
        self
    }

    /// Starts all stages.
    ///
    /// # Errors
    /// The first stage that could not be born, with the step that failed. The stages before it are ended and buried then.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline, Stdio};
    /// use std::io::Read as _;
    /// let mut children = Pipeline::new(Command::new("echo").arg("hello"))
    ///     .pipe(Command::new("rev").stdout(Stdio::pipe_out())).spawn()?;
    /// let mut text = String::new();
    /// children.stages_mut()[1].stdout.take().expect("a pipe").read_to_string(&mut text)?;
    /// assert_eq!(text, "olleh\n");
    /// assert!(children.wait()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn(&self) -> Result<Children, PipelineError> {
        birth::spawn(self.clone())
    }

    /// Starts all stages, and waits until all have ended. Streams are ours unless a stage says otherwise.
    ///
    /// # Errors
    /// Those of [`Pipeline::spawn`] and [`Children::wait`]; no stage is left then.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("sh").args(["-c", "exit 3"])).pipe(Command::new("true")).run()?;
    /// assert_eq!((end.shell_code(), end.to_string().as_str()), (3, "stage 1 (`sh`) exited with code 3"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run(&self) -> Result<PipelineEnd, PipelineError> {
        finish(self.clone(), &[])
    }

    /// As [`Pipeline::run`], and what the last stage writes to standard output is captured, and what each stage writes to
    /// standard error, within limits and without deadlock. Standard input of the first is `/dev/null`. What a stage or a joint
    /// says otherwise is left as it is.
    ///
    /// # Errors
    /// As [`Pipeline::run`].
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("sh").args(["-c", "echo out; echo err >&2"])).pipe(Command::new("cat")).output()?;
    /// assert_eq!((end.stdout_text().as_str(), end.stages[0].stderr_text().as_str()), ("out\n", "err\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn output(&self) -> Result<PipelineEnd, PipelineError> {
        finish(self.capturing(Stdio::null()), &[])
    }

    /// As [`Pipeline::output`], and these bytes are the standard input of the first stage. Whether anybody reads them or not:
    /// nobody waits for the other for ever.
    ///
    /// # Errors
    /// As [`Pipeline::run`].
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let end = Pipeline::new(Command::new("sort")).pipe(Command::new("head").arg("-1")).output_of(b"pear\napple\n")?;
    /// assert_eq!(end.stdout_text(), "apple\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn output_of(&self, input: &[u8]) -> Result<PipelineEnd, PipelineError> {
        let mut pipeline = self.capturing(Stdio::null());
        pipeline.stages[0].stdin(Stdio::pipe_in());
        finish(pipeline, input)
    }

    /// The same with pipes for what is to be captured.
    fn capturing(&self, input: Stdio) -> Pipeline {
        let mut pipeline = self.clone();
        pipeline.stages[0].give(0, input);
        let last = pipeline.stages.len() - 1;
        pipeline.stages[last].give(1, Stdio::pipe_out());
        for (place, stage) in pipeline.stages.iter_mut().enumerate() {
            if !self.joints.get(place).is_some_and(|joint| joint.outputs.contains(&2)) {
                stage.give(2, Stdio::pipe_out());
            }
        }
        pipeline
    }
}

/// Whatever goes wrong on the way, nobody is left.
fn finish(mut pipeline: Pipeline, input: &[u8]) -> Result<PipelineEnd, PipelineError> {
    for stage in &mut pipeline.stages {
        stage.on_drop(OnDrop::Kill);
    }
    birth::spawn(pipeline)?.communicate(input).map_err(PipelineError::Io)
}

/// `a | b`, of commands as they are and as their builders leave them.
///
/// ```
/// use doula_host::Command;
/// let pipeline = Command::new("printf").arg("b\na\n") | Command::new("sort") | Command::new("head").arg("-1");
/// assert_eq!(pipeline.output()?.stdout_text(), "a\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<C: Borrow<Command>> BitOr<C> for Command {
    type Output = Pipeline;

    fn bitor(self, next: C) -> Pipeline {
        Pipeline::new(self) | next
    }
}

impl<C: Borrow<Command>> BitOr<C> for &mut Command {
    type Output = Pipeline;

    fn bitor(self, next: C) -> Pipeline {
        Pipeline::new(self) | next
    }
}

impl<C: Borrow<Command>> BitOr<C> for Pipeline {
    type Output = Pipeline;

    fn bitor(mut self, next: C) -> Pipeline {
        self.pipe(next);
        self
    }
}
