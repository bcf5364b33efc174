//! The living children of one pipeline.

use super::end::PipelineEnd;
use super::{Pipeline, StageEnd};
use crate::child::relay::Link;
use crate::child::talk::{Rules, Talk};
use crate::child::{Child, DEATH, NotEmpty, TreeEnd, end_together};
use doula_model::signal::Signal;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The children of one pipeline, from the first stage to the last; made by [`Pipeline::spawn`].
///
/// When it is dropped, our ends of all pipes are closed, and then each stage follows its own [`crate::OnDrop`], from the last
/// to the first.
///
/// ```
/// use doula_host::{Command, Pipeline};
/// let mut children = Pipeline::new(Command::new("true")).pipe(Command::new("true")).spawn()?;
/// println!("{} | {}", children.stages()[0].pid(), children.stages()[1].pid());
/// assert!(children.wait()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a pipeline that is dropped is killed, unless its commands say otherwise"]
pub struct Children {
    stages: Vec<Child>,
    births: Vec<Birth>,
    links: Vec<Link>,
    rules: Rules,
    talk: Option<Talk<'static>>,
}

/// What is known of a stage before its end.
#[derive(Debug)]
struct Birth {
    name: String,
    began: Instant,
    /// When its end was seen.
    ended: Option<Instant>,
}

impl Children {
    pub(super) fn none(pipeline: &Pipeline) -> Children {
        let count = pipeline.stages.len();
        Children {
            stages: Vec::with_capacity(count),
            births: Vec::with_capacity(count),
            links: Vec::with_capacity(count),
            rules: pipeline.rules,
            talk: None,
        }
    }

    pub(super) fn add(&mut self, name: String, began: Instant, child: Child) {
        self.births.push(Birth { name, began, ended: None });
        self.stages.push(child);
    }

    pub(super) fn link(&mut self, link: Link) {
        self.links.push(link);
    }

    /// Each stage.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline};
    /// let children = Pipeline::new(Command::new("sleep").arg("1000")).pipe(Command::new("cat")).spawn()?;
    /// assert_eq!(children.stages().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stages(&self) -> &[Child] {
        &self.stages
    }

    /// Each stage, to take our ends of its pipes or to end it.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline, Stdio};
    /// use std::io::Write as _;
    /// let mut children = Pipeline::new(Command::new("cat").stdin(Stdio::pipe_in()))
    ///     .pipe(Command::new("grep").arg("-q").arg("hello")).spawn()?;
    /// children.stages_mut()[0].stdin.take().expect("a pipe").write_all(b"hello\n")?;
    /// assert!(children.wait()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stages_mut(&mut self) -> &mut [Child] {
        &mut self.stages
    }

    /// Waits until all have ended, and buries them. Streams that are pipes of ours and were not taken are captured meanwhile,
    /// and the standard input of the first is closed.
    ///
    /// # Errors
    /// Those of reading and polling: EMFILE, ENOMEM.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline, Stdio};
    /// let mut children = Pipeline::new(Command::new("echo").arg("hello"))
    ///     .pipe(Command::new("rev").stdout(Stdio::pipe_out())).spawn()?;
    /// assert_eq!(children.wait()?.stdout_text(), "olleh\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&mut self) -> io::Result<PipelineEnd> {
        let mut talk = self.talk()?;
        talk.run(&mut self.stages, None)?;
        Ok(self.end_of(talk))
    }

    /// As [`Children::wait`], until this fd is readable: then `None`. For a signalfd, or whatever else a program wants to hear
    /// of meanwhile. It can be called again.
    ///
    /// # Errors
    /// As [`Children::wait`].
    ///
    /// ```
    /// use doula_host::{Command, Pipeline, Signal};
    /// let mut children = Pipeline::new(Command::new("sleep").arg("1000")).pipe(Command::new("cat")).spawn()?;
    /// let (reader, writer) = std::io::pipe()?;
    /// drop(writer); // the end of a pipe is readable
    /// assert!(children.wait_beside(&reader)?.is_none());
    /// children.signal(Signal::TERM)?;
    /// assert_eq!(children.wait()?.stages[1].status.killed_by(), Some(Signal::TERM));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_beside(&mut self, fd: impl AsFd) -> io::Result<Option<PipelineEnd>> {
        let mut talk = self.talk()?;
        if talk.run(&mut self.stages, Some(fd.as_fd()))? {
            return Ok(Some(self.end_of(talk)));
        }
        self.talk = Some(talk);
        Ok(None)
    }

    /// Sends a signal to every stage that lives, from the last to the first; not to their descendants.
    ///
    /// # Errors
    /// EPERM when one of them runs as somebody else by now. The others have got it.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline, Signal};
    /// let mut children = Pipeline::new(Command::new("sleep").arg("1000")).pipe(Command::new("cat")).spawn()?;
    /// children.signal(Signal::KILL)?;
    /// assert_eq!(children.wait()?.shell_code(), 137);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let sent: Vec<_> = self.stages.iter().rev().map(|stage| stage.signal(signal)).collect();
        sent.into_iter().collect()
    }

    /// Ends all stages and all their descendants, buries the stages, and proves that nobody is left: see
    /// [`Child::kill_tree`]. How each ended, from the first to the last. Stages that share a cgroup stand still and are killed
    /// at once, others before them from the last to the first.
    ///
    /// # Errors
    /// Somebody lives still when the time is over: who, and in which state.
    ///
    /// ```
    /// use doula_host::{Command, Pipeline, Proof};
    /// use std::time::Duration;
    /// let mut children = Pipeline::new(Command::new("sh").args(["-c", "setsid sleep 1000 & wait"]))
    ///     .pipe(Command::new("cat")).contained().spawn()?;
    /// let ends = children.kill_tree(Duration::from_secs(20))?;
    /// assert!(ends.iter().all(|end| end.proof != Proof::Parents));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill_tree(&mut self, within: Duration) -> Result<Vec<TreeEnd>, NotEmpty> {
        let deadline = Instant::now().checked_add(within);
        let left = || deadline.map_or(within, |deadline| deadline.saturating_duration_since(Instant::now()));
        let alone = |stage: &mut Child| Some(stage.kill_tree(left()));
        let (mut ends, mut survivors) = (Vec::new(), None);
        for end in end_together(&mut self.stages, within, |_, _| {}, alone).into_iter().flatten() {
            match end {
                Ok(end) => ends.push(end),
                Err(NotEmpty { survivors: more }) => survivors.get_or_insert_with(Vec::new).extend(more),
            }
        }
        survivors.map_or(Ok(ends), |survivors| Err(NotEmpty { survivors }))
    }

    pub(super) fn communicate(mut self, input: &[u8]) -> io::Result<PipelineEnd> {
        let (links, began) = (std::mem::take(&mut self.links), self.began());
        let mut talk = Talk::new(&mut self.stages, input, self.rules, began, links)?;
        talk.run(&mut self.stages, None)?;
        Ok(self.end_of(talk))
    }

    /// The one that was begun, or a new one.
    fn talk(&mut self) -> io::Result<Talk<'static>> {
        if let Some(talk) = self.talk.take() {
            return Ok(talk);
        }
        let (links, began) = (std::mem::take(&mut self.links), self.began());
        Talk::new(&mut self.stages, &[], self.rules, began, links)
    }

    fn began(&self) -> Instant {
        self.births[0].began
    }

    fn end_of(&mut self, mut talk: Talk<'_>) -> PipelineEnd {
        let mut end =
            PipelineEnd::new(talk.timed_out(), talk.cut(&self.stages), talk.take_holders(&self.stages));
        for ((child, birth), heard) in self.stages.iter_mut().zip(&mut self.births).zip(talk.finish()) {
            let wall = birth.ended.get_or_insert(heard.ended).saturating_duration_since(birth.began);
            end.add(StageEnd {
                name: birth.name.clone(),
                pid: child.pid(),
                status: child.wait(),
                usage: child.usage().unwrap_or_default(),
                wall,
                io: heard.io,
                passed: heard.passed,
                stdout: heard.stdout,
                stderr: heard.stderr,
                lost: heard.lost,
                excused: heard.excused,
                killed: heard.killed,
            });
            end.prove(heard.tree);
        }
        end
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        // Nobody may wait for us while we wait for him.
        self.talk = None;
        self.links.clear();
        for stage in &mut self.stages {
            (stage.stdin, stage.stdout, stage.stderr) = (None, None, None);
        }
        if self.stages.iter().any(Child::falls_with_its_row)
            && self.stages.iter().all(|stage| stage.falls_with_its_row() || stage.has_ended())
        {
            // Whoever cannot be killed is left to be buried later.
            let _ = self.kill_tree(DEATH);
        }
        while self.stages.pop().is_some() {}
    }
}
