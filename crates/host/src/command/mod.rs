//! Giving birth: a program, and all that it shall be born with, as data.
//!
//! ```
//! use doula_host::{Command, Resource, Stdio};
//!
//! let output = Command::new("sort")           // searched in PATH
//!     .arg("-r")
//!     .env("LC_ALL", "C")                     // ours, and this
//!     .limit(Resource::Core, 0)               // setrlimit(2)
//!     .no_new_privs()                         // prctl(2)
//!     .new_session()                          // setsid(2)
//!     .output_of(b"pear\napple\n")?;          // never deadlocks, never hangs on a grandchild
//! assert_eq!(output.stdout_text(), "pear\napple\n");
//! println!("sort {}", output.status);         // sort exited cleanly (code 0)
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A birth does not copy our memory: the child is made by clone3(2) with `CLONE_VM | CLONE_VFORK`, does bare system calls on
//! what was prepared before, and executes its program. So its cost is the same whether we have 10 MB or 10 GB. No step needs
//! fork(2); there is no hook in which code of ours would run ([`crate::fork`] is for those who must).
//!
//! # The child gets what is listed, and nothing else
//!
//! | | by default | otherwise |
//! |---|---|---|
//! | fds 0, 1, 2 | ours | [`Command::stdin`], [`Command::stdout`], [`Command::stderr`] |
//! | other fds | none | [`Command::fd`] |
//! | environment | ours | [`Command::env`], [`Command::env_remove`], [`Command::env_clear`] |
//! | signals | none ignored, none blocked | [`Command::ignore`], [`Command::block`] |
//! | alarm, pending signals, subreaper | none (they belong to us) | |
//! | directory, umask | ours | [`Command::dir`], [`Command::umask`] |
//! | session, group, terminal | ours | [`Command::new_session`], [`Command::new_session_unled`], [`Command::new_group`] … |
//! | limits, niceness, CPUs, OOM score | ours | [`Command::limit`], [`Command::nice`], [`Command::cpus`], [`Command::oom_score`] |
//! | user, groups, capabilities | ours | [`Command::user`], [`Command::capabilities`], [`Command::no_new_privs`] |
//! | cgroup | ours | [`Command::cgroup`], [`Command::contained`] |
//! | when our thread dies | lives on | [`Command::parent_death_signal`] |
//!
//! One thing is not seen: a real-time signal (32 to 64) that this process began to ignore after its first birth, by other
//! means than this library, stays ignored in its children.
//!
//! # Coming from exec(3)
//!
//! | C | here |
//! |---|---|
//! | `execl("/bin/ls", "ls", "-l", NULL)` | `Command::exact("/bin/ls").arg0("ls").arg("-l")` |
//! | `execlp("ls", "ls", "-l", NULL)` | `Command::new("ls").arg("-l")` |
//! | `execle("/bin/ls", "ls", "-l", NULL, envp)` | `Command::exact("/bin/ls").arg0("ls").arg("-l").env_clear().envs(vars)` |
//! | `execv("/bin/ls", argv)` | `Command::exact("/bin/ls").argv(argv)` |
//! | `execvp("ls", argv)` | `Command::new("ls").argv(argv)` |
//! | `execve("/bin/ls", argv, envp)` | `Command::exact("/bin/ls").argv(argv).env_clear().envs(vars)` |
//!
//! Two differences, on purpose. A file without `#!` is an error (ENOEXEC), where `execlp` and `execvp` hand it to
//! `/bin/sh`. And the `PATH` that counts is the child's, so that `env("PATH", …)` means what it says.
//!
//! # A program that was just written
//!
//! execve(2) answers ETXTBSY while anybody has the program open for writing: also a child that another thread is just giving
//! birth to, and that holds copies of our fds until it executes its own program. Births of this library wait for each
//! other in that case; for the children of others (a fork in another library) the birth is tried again for about a
//! second. If it is this process that still has the file open, the error comes at once.

mod barrier;
mod birth;
mod context;
mod environment;
mod error;
mod stdio;

pub use error::CommandError;
pub use stdio::Stdio;

use crate::child::{Capture, CaptureError, Child, OnDrop, Output, Row};
use doula_model::exit::ExitStatus;
use doula_model::plan::ChildPlan;
use doula_sys::fd::{OwnedFd, RawFd};
use environment::Environment;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

/// A program, and what it shall be born with. See the [module](self) for the whole picture.
///
/// It can be started any number of times, also by several threads at once.
///
/// ```
/// use doula_host::Command;
/// let mut list = Command::new("ls");
/// list.arg("-l").dir("/");
/// assert!(list.output()?.status.success());
/// assert!(list.output()?.status.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Command {
    program: OsString,
    /// Whether the program is a path, also without a slash.
    exact: bool,
    /// `argv[0]`, if it is not the program as it was given.
    arg0: Option<OsString>,
    /// An empty argument list was asked for.
    nameless: bool,
    args: Vec<OsString>,
    env: Environment,
    fds: BTreeMap<RawFd, Stdio>,
    /// What goes into the plan as it is.
    context: ChildPlan,
    /// Kept open as long as the plan names their numbers.
    terminal: Option<Arc<OwnedFd>>,
    cgroup: Option<Arc<OwnedFd>>,
    contained: Contained,
    /// It is not born where it cannot be held so.
    contained_for_sure: bool,
    on_drop: OnDrop,
}

/// How a child is held together with its descendants.
#[derive(Clone, Debug, Default)]
enum Contained {
    /// Not at all.
    #[default]
    No,
    /// By itself.
    Alone,
    /// With a row of others.
    InRow(Arc<Row>),
}

impl Command {
    /// A program that is searched in the child's `PATH` unless there is a slash in its name. As execlp(3) and execvp(3).
    ///
    /// ```
    /// use doula_host::Command;
    /// assert!(Command::new("true").status()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            program: program.as_ref().to_owned(),
            exact: false,
            arg0: None,
            nameless: false,
            args: Vec::new(),
            env: Environment::default(),
            fds: BTreeMap::new(),
            context: ChildPlan::default(),
            terminal: None,
            cgroup: None,
            contained: Contained::default(),
            contained_for_sure: false,
            on_drop: OnDrop::default(),
        }
    }

    /// The program in exactly this file, seen from the child's directory. As execl(3), execv(3) and execve(2).
    ///
    /// ```
    /// use doula_host::Command;
    /// assert!(Command::exact("/bin/true").status()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn exact(file: impl AsRef<Path>) -> Command {
        Command { exact: true, ..Command::new(file.as_ref()) }
    }

    /// Its program for people.
    pub(crate) fn name(&self) -> String {
        crate::spawn::printable(self.program.as_bytes())
    }

    /// One more argument.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::new("echo").arg("a").arg("b c").output()?.stdout_text(), "a b c\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::new("echo").args(["a", "b"]).output()?.stdout_text(), "a b\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Command {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// The name by which the program is called, instead of the name by which it is found.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("sh").arg0("my-name").args(["-c", "echo $0"]).output()?;
    /// assert_eq!(output.stdout_text(), "my-name\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn arg0(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.arg0 = Some(name.as_ref().to_owned());
        self.nameless = false;
        self
    }

    /// The whole argument list, `argv[0]` included, instead of all that was given before. An empty one is an error: a
    /// program expects to have a name.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("sh").argv(["sh", "-c", "echo $# $1", "0", "one"]).output()?;
    /// assert_eq!(output.stdout_text(), "1 one\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn argv<A: AsRef<OsStr>>(&mut self, list: impl IntoIterator<Item = A>) -> &mut Command {
        let mut list = list.into_iter().map(|arg| arg.as_ref().to_owned());
        self.arg0 = list.next();
        self.nameless = self.arg0.is_none();
        self.args = list.collect();
        self
    }

    /// A variable of the environment, beside or instead of ours.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("sh").args(["-c", "echo $GREETING"]).env("GREETING", "hello").output()?;
    /// assert_eq!(output.stdout_text(), "hello\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.env.set(name.as_ref(), value.as_ref());
        self
    }

    /// More variables.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("env").env_clear().envs([("A", "1"), ("B", "2")]).output()?;
    /// assert_eq!(output.stdout_text(), "A=1\nB=2\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(
        &mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> &mut Command {
        variables.into_iter().for_each(|(name, value)| self.env.set(name.as_ref(), value.as_ref()));
        self
    }

    /// The child does not get this variable.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("sh").args(["-c", "echo ${HOME-none}"]).env_remove("HOME").output()?;
    /// assert_eq!(output.stdout_text(), "none\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.env.remove(name.as_ref());
        self
    }

    /// The child gets nothing of our environment, nor what was set before this call; only what is set after it.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::exact("/usr/bin/env").env_clear().output()?.stdout_text(), "");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn env_clear(&mut self) -> &mut Command {
        self.env.clear();
        self
    }

    /// The working directory of the child. A relative program is seen from there.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::new("pwd").dir("/usr").output()?.stdout_text(), "/usr\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.context.dir = Some(dir.as_ref().as_os_str().as_bytes().to_vec());
        self
    }

    /// As whom it runs, if not as us.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.context.credentials.as_ref().map(|credentials| credentials.uid)
    }

    /// Holds it together with its descendants, in this row if there is one.
    pub(crate) fn contain(&mut self, row: Option<Arc<Row>>) {
        self.contained = row.map_or(Contained::Alone, Contained::InRow);
    }

    /// Is not born at all where nobody may be moved into that row.
    pub(crate) fn contain_for_sure(&mut self) {
        self.contained_for_sure = true;
    }

    /// Writes itself into these files of v1 groups when it is born; they must be open then.
    pub(crate) fn enter(&mut self, procs: Vec<RawFd>) {
        self.context.cgroup_procs = procs;
    }

    /// What this fd is unless it was given.
    pub(crate) fn default_fd(&mut self, number: RawFd, stdio: Stdio) {
        self.fds.entry(number).or_insert(stdio);
    }

    /// Gives birth. Returns when the program is being executed, or with the first step that failed.
    ///
    /// # Errors
    /// The step that failed; then no child is left.
    ///
    /// ```
    /// use doula_host::{Command, OnDrop};
    /// let mut child = Command::new("sleep").arg("1000").spawn()?;
    /// child.kill()?;
    /// assert_eq!(child.wait().to_string(), "was killed by SIGKILL");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn(&self) -> Result<Child, CommandError> {
        birth::spawn(self)
    }

    /// Gives birth, and waits for the end.
    ///
    /// # Errors
    /// As [`Command::spawn`].
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::new("sh").args(["-c", "exit 256"]).status()?.exit_code(), Some(0));
    /// assert_eq!(Command::new("sh").args(["-c", "kill $$"]).status()?.to_string(), "was killed by SIGTERM");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn status(&self) -> Result<ExitStatus, CommandError> {
        birth::status(self)
    }

    /// Gives birth, and captures what is written to standard output and error, as far as those were not given
    /// otherwise. Standard input is `/dev/null` unless it was given. See [`Capture`] for the limits.
    ///
    /// # Errors
    /// As [`Command::spawn`]; and what reading says.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).output()?;
    /// assert_eq!(output.status.exit_code(), Some(3));
    /// assert_eq!((output.stdout, output.stderr), (b"out\n".to_vec(), b"err\n".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn output(&self) -> Result<Output, CaptureError> {
        birth::output(self, None, &Capture::new())
    }

    /// As [`Command::output`], and standard input is a pipe with these bytes. Whether the child reads them or not, and
    /// however much it writes meanwhile: nobody waits for the other for ever.
    ///
    /// # Errors
    /// As [`Command::output`].
    ///
    /// ```
    /// use doula_host::Command;
    /// let million = vec![b'x'; 1 << 20];
    /// assert_eq!(Command::new("cat").output_of(&million)?.stdout, million);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn output_of(&self, input: &[u8]) -> Result<Output, CaptureError> {
        birth::output(self, Some(input), &Capture::new())
    }

    /// As [`Command::output_of`], with other limits.
    ///
    /// # Errors
    /// As [`Command::output`].
    ///
    /// ```
    /// use doula_host::{Capture, Command};
    /// use std::time::Duration;
    /// let patience = Capture::new().timeout(Duration::from_millis(50));
    /// let output = Command::new("sleep").arg("1000").capture(None, &patience)?;
    /// assert!(output.timed_out);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn capture(&self, input: Option<&[u8]>, limits: &Capture) -> Result<Output, CaptureError> {
        birth::output(self, input, limits)
    }

    /// The very system calls of the birth, in their order, as strace(1) would write them. Nothing is opened or done; fds that
    /// would be opened have numbers that are only likely.
    ///
    /// # Errors
    /// What is wrong with the command itself.
    ///
    /// ```
    /// use doula_host::Command;
    /// let calls = Command::exact("/bin/ls").env_clear().umask(0o022).dir("/").explain()?;
    /// assert_eq!(calls, [
    ///     "clone3(CLONE_VM|CLONE_VFORK|CLONE_PIDFD|CLONE_CLEAR_SIGHAND|CLONE_FILES, exit_signal=SIGCHLD)",
    ///     "close_range(3, ~0, CLOSE_RANGE_UNSHARE)",
    ///     "umask(022)",
    ///     "chdir(\"/\")",
    ///     "rt_sigaction(every signal, SIG_DFL)",
    ///     "rt_sigprocmask(SIG_SETMASK, [])",
    ///     "execve(\"/bin/ls\", [\"/bin/ls\"], 0 variables)",
    /// ]);
    /// # Ok::<(), doula_host::CommandError>(())
    /// ```
    pub fn explain(&self) -> Result<Vec<String>, CommandError> {
        birth::explain(self)
    }
}
