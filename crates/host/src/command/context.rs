//! The context of a child beside its program, arguments and environment.

use super::{Command, Stdio};
use crate::child::OnDrop;
use doula_model::id::Pid;
use doula_model::plan::{Capabilities, Credentials, Resource, Rlimit, Session};
use doula_model::signal::Signal;
use doula_sys::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;

impl Command {
    /// Standard input.
    ///
    /// ```
    /// use doula_host::{Command, Stdio};
    /// let output = Command::new("head").args(["-c", "4"]).stdin(Stdio::read("/proc/self/exe")).output()?;
    /// assert_eq!(output.stdout, b"\x7fELF");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdin(&mut self, from: impl Into<Stdio>) -> &mut Command {
        self.fd(0, from)
    }

    /// Standard output.
    ///
    /// ```
    /// use doula_host::{Command, Stdio};
    /// assert!(Command::new("echo").arg("unheard").stdout(Stdio::null()).status()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdout(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.fd(1, to)
    }

    /// Standard error.
    ///
    /// ```
    /// use doula_host::{Command, Stdio};
    /// assert!(Command::new("ls").arg("/no/such").stderr(Stdio::null()).status()?.exit_code() != Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stderr(&mut self, to: impl Into<Stdio>) -> &mut Command {
        self.fd(2, to)
    }

    /// Any fd of the child. Whatever numbers are used on both sides, they never get in each other's way. Our ends of its pipes
    /// are [`crate::Child::take_reader`] and [`crate::Child::take_writer`].
    ///
    /// ```
    /// use doula_host::{Command, Stdio};
    /// use std::io::Read as _;
    /// let mut child = Command::new("sh").args(["-c", "echo status >&9"]).fd(9, Stdio::pipe_out()).spawn()?;
    /// let mut text = String::new();
    /// child.take_reader(9).expect("a pipe").read_to_string(&mut text)?;
    /// assert_eq!(text, "status\n");
    /// child.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fd(&mut self, number: RawFd, stdio: impl Into<Stdio>) -> &mut Command {
        self.fds.insert(number, stdio.into());
        self
    }

    /// `LISTEN_PID` is the child (sd_listen_fds(3)).
    pub(crate) fn tell_listen_pid(&mut self) {
        self.context.listen_pid = true;
    }

    /// An fd, unless it is given already; whether it was not.
    pub(crate) fn give(&mut self, number: RawFd, stdio: Stdio) -> bool {
        let free = !self.fds.contains_key(&number);
        if free {
            self.fds.insert(number, stdio);
        }
        free
    }

    /// The first fd from this number on that is not given.
    pub(crate) fn give_from(&mut self, first: RawFd, stdio: Stdio) {
        let free = (first..RawFd::MAX).find(|number| !self.fds.contains_key(number));
        self.fds.insert(free.unwrap_or(RawFd::MAX), stdio);
    }

    /// The child also inherits every other fd of ours that is not close-on-exec, as it would by execve(2) alone.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert!(Command::new("true").keep_fds().status()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn keep_fds(&mut self) -> &mut Command {
        self.context.keep_fds = true;
        self
    }

    /// The child leads a new session without a terminal (setsid(2)), so that no signal of ours or of our terminal
    /// reaches it by accident.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("sh").args(["-c", "ps -o sid= -p $$; echo $$"]).new_session().output()?;
    /// let text = output.stdout_text();
    /// let numbers: Vec<&str> = text.split_whitespace().collect();
    /// assert_eq!(numbers[0], numbers[1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new_session(&mut self) -> &mut Command {
        self.stand(Session::NewSession { terminal: None }, None)
    }

    /// The child leads a new session with this terminal (`TIOCSCTTY`).
    ///
    /// ```
    /// use doula_host::Command;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # if !std::path::Path::new("/dev/ptmx").exists() { return Ok(()) }
    /// let terminal = std::fs::File::options().read(true).write(true).open("/dev/ptmx")?;
    /// let output = Command::new("sh").args(["-c", "ps -o tty= -p $$"]).new_session_on(terminal).output()?;
    /// assert!(output.stdout_text().starts_with("pts/"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn new_session_on(&mut self, terminal: impl Into<OwnedFd>) -> &mut Command {
        let terminal = terminal.into();
        self.stand(Session::NewSession { terminal: Some(terminal.as_raw_fd()) }, Some(terminal))
    }

    /// The child leads a new process group in our session (setpgid(2)), so that it can be signalled together with its own
    /// children, and Ctrl-C does not reach it.
    ///
    /// ```
    /// use doula_host::{Command, Signal};
    /// let mut child = Command::new("sh").args(["-c", "sleep 1000; :"]).new_group().spawn()?;
    /// child.signal_group(Signal::TERM)?;
    /// assert_eq!(child.wait().killed_by(), Some(Signal::TERM));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new_group(&mut self) -> &mut Command {
        self.stand(Session::NewGroup { terminal: None }, None)
    }

    /// The child leads a new process group that takes the foreground of this terminal, as shells do for their jobs.
    ///
    /// ```
    /// use doula_host::{Command, Step};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let no_terminal = std::fs::File::open("/dev/null")?;
    /// let error = Command::new("true").foreground_on(no_terminal).spawn().unwrap_err();
    /// assert_eq!(error.step(), Step::Terminal);
    /// # Ok(())
    /// # }
    /// ```
    pub fn foreground_on(&mut self, terminal: impl Into<OwnedFd>) -> &mut Command {
        let terminal = terminal.into();
        self.stand(Session::NewGroup { terminal: Some(terminal.as_raw_fd()) }, Some(terminal))
    }

    /// The child joins an existing process group of our session: that of an earlier child of the same pipeline.
    ///
    /// ```
    /// use doula_host::{Command, Signal};
    /// let mut first = Command::new("sleep").arg("1000").new_group().spawn()?;
    /// let mut second = Command::new("sleep").arg("1000").join_group(first.pid()).spawn()?;
    /// first.signal_group(Signal::TERM)?;
    /// assert_eq!(second.wait().killed_by(), Some(Signal::TERM));
    /// # first.wait();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn join_group(&mut self, group: Pid) -> &mut Command {
        self.stand(Session::JoinGroup(group), None)
    }

    /// In a new session whose leader is gone: it has no terminal, and no terminal that it opens becomes its controlling one. As
    /// setsid(2) followed by fork(2), the way of a daemon; but nothing of our memory is copied, and it is a child of ours.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("sh").args(["-c", "cut -d' ' -f1,6 /proc/$$/stat"]).new_session_unled().output()?;
    /// let text = output.stdout_text();
    /// let numbers: Vec<&str> = text.split_whitespace().collect();
    /// assert!(numbers[1] != "0" && numbers[0] != numbers[1], "it does not lead its session");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "daemon")]
    pub fn new_session_unled(&mut self) -> &mut Command {
        self.stand(Session::NewSessionUnled, None)
    }

    fn stand(&mut self, session: Session, terminal: Option<OwnedFd>) -> &mut Command {
        self.context.session = session;
        self.terminal = terminal.map(Arc::new);
        self
    }

    /// The bits that its new files do not get (umask(2)).
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::new("sh").args(["-c", "umask"]).umask(0o027).output()?.stdout_text(), "0027\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn umask(&mut self, mask: u32) -> &mut Command {
        self.context.umask = Some(mask);
        self
    }

    /// A resource limit, soft and hard (setrlimit(2)). `u64::MAX` is "unlimited".
    ///
    /// ```
    /// use doula_host::{Command, Resource};
    /// let output = Command::new("sh").args(["-c", "ulimit -n"]).limit(Resource::Nofile, 20).output()?;
    /// assert_eq!(output.stdout_text(), "20\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limit(&mut self, resource: Resource, most: u64) -> &mut Command {
        self.limits(Rlimit { resource, soft: most, hard: most })
    }

    /// A resource limit with a hard limit of its own.
    ///
    /// ```
    /// use doula_host::{Command, Resource, Rlimit};
    /// let limit = Rlimit { resource: Resource::Core, soft: 0, hard: 0 };
    /// assert!(Command::new("true").limits(limit).status()?.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limits(&mut self, limit: Rlimit) -> &mut Command {
        self.context.rlimits.push(limit);
        self
    }

    /// The same where nobody said anything of this resource.
    pub(crate) fn limits_else(&mut self, limit: Rlimit) {
        if !self.context.rlimits.iter().any(|known| known.resource == limit.resource) {
            self.context.rlimits.push(limit);
        }
    }

    /// The nice value, -20 to 19 (setpriority(2)). Only root can lower it.
    ///
    /// ```
    /// use doula_host::Command;
    /// assert_eq!(Command::new("nice").nice(19).output()?.stdout_text(), "19\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn nice(&mut self, nice: i8) -> &mut Command {
        self.context.nice = Some(nice);
        self
    }

    /// The CPUs on which it may run, by number (sched_setaffinity(2)).
    ///
    /// ```
    /// use doula_host::{Command, Errno, Step};
    /// let error = Command::new("true").cpus([60_000]).spawn().unwrap_err();
    /// assert_eq!((error.step(), error.errno()), (Step::Prepare, Errno::EINVAL));
    /// ```
    pub fn cpus(&mut self, numbers: impl IntoIterator<Item = u16>) -> &mut Command {
        self.context.affinity = numbers.into_iter().collect();
        self
    }

    /// How willingly the kernel kills it when memory is short: -1000 (never) to 1000 (`/proc/PID/oom_score_adj`). Only root can
    /// lower it.
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("cat").arg("/proc/self/oom_score_adj").oom_score(1000).output()?;
    /// assert_eq!(output.stdout_text(), "1000\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn oom_score(&mut self, score: i16) -> &mut Command {
        self.context.oom_score_adj = Some(score);
        self
    }

    /// User, group and supplementary groups, all three (setresuid(2), setresgid(2), setgroups(2)). No user is looked up by name
    /// here.
    ///
    /// ```
    /// use doula_host::{Command, Credentials, Step};
    /// let nobody = Credentials { uid: 65534, gid: 65534, groups: vec![] };
    /// match Command::new("id").arg("-u").user(nobody).output() {
    ///     Ok(output) => assert_eq!(output.stdout_text(), "65534\n"),
    ///     // Only root may.
    ///     Err(error) => assert_eq!(error.step(), Some(Step::Groups)),
    /// }
    /// ```
    pub fn user(&mut self, credentials: Credentials) -> &mut Command {
        self.context.credentials = Some(credentials);
        self
    }

    /// What it may ever have (bounding set), and what it holds also as an ordinary user (ambient set); capabilities(7).
    ///
    /// ```
    /// use doula_host::{Capabilities, Command, Step};
    /// match Command::new("true").capabilities(Capabilities { bounding: 0, ambient: 0 }).spawn() {
    ///     Ok(mut child) => assert!(child.wait().success()),
    ///     // Only who may set capabilities may give them up for ever.
    ///     Err(error) => assert_eq!(error.step(), Step::Capabilities),
    /// }
    /// ```
    pub fn capabilities(&mut self, sets: Capabilities) -> &mut Command {
        self.context.capabilities = Some(sets);
        self
    }

    /// Neither it nor its descendants can ever gain privileges by set-user-ID programs (prctl(2) `PR_SET_NO_NEW_PRIVS`).
    ///
    /// ```
    /// use doula_host::Command;
    /// let output = Command::new("grep").args(["NoNewPrivs", "/proc/self/status"]).no_new_privs().output()?;
    /// assert_eq!(output.stdout_text(), "NoNewPrivs:\t1\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn no_new_privs(&mut self) -> &mut Command {
        self.context.no_new_privs = true;
        self
    }

    /// The signal that it gets when the *thread* that gave birth to it dies (prctl(2) `PR_SET_PDEATHSIG`), also when that is
    /// not the last one of this process.
    ///
    /// ```
    /// use doula_host::{Command, Signal};
    /// let thread = std::thread::spawn(|| Command::new("sleep").arg("1000").parent_death_signal(Signal::TERM).spawn());
    /// let mut child = thread.join().expect("no panic")?;
    /// assert_eq!(child.wait().killed_by(), Some(Signal::TERM));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parent_death_signal(&mut self, signal: Signal) -> &mut Command {
        self.context.parent_death_signal = Some(signal);
        self
    }

    /// Starts with these signals ignored, as nohup(1) does with HUP. Every other one has its default action.
    ///
    /// ```
    /// use doula_host::{Command, Signal};
    /// let output = Command::new("sh").args(["-c", "kill -HUP $$; echo alive"]).ignore([Signal::HUP]).output()?;
    /// assert_eq!(output.stdout_text(), "alive\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ignore(&mut self, signals: impl IntoIterator<Item = Signal>) -> &mut Command {
        self.context.ignored_signals = signals.into_iter().collect();
        self
    }

    /// Starts with these signals blocked, and no others.
    ///
    /// ```
    /// use doula_host::{Command, Signal};
    /// let output = Command::new("grep").args(["SigBlk", "/proc/self/status"]).block([Signal::HUP]).output()?;
    /// assert_eq!(output.stdout_text(), "SigBlk:\t0000000000000001\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn block(&mut self, signals: impl IntoIterator<Item = Signal>) -> &mut Command {
        self.context.blocked_signals = signals.into_iter().collect();
        self
    }

    /// Born in this cgroup (v2): an open directory of it.
    ///
    /// ```
    /// use doula_host::{Command, Step};
    /// let no_cgroup = std::fs::File::open("/")?;
    /// assert_eq!(Command::new("true").cgroup(no_cgroup).spawn().unwrap_err().step(), Step::Cgroup);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cgroup(&mut self, directory: impl Into<OwnedFd>) -> &mut Command {
        let directory = directory.into();
        self.context.cgroup = Some(directory.as_raw_fd());
        self.cgroup = Some(Arc::new(directory));
        self
    }

    /// Keeps the child and all its descendants together, so that [`crate::Child::kill_tree`] can prove that none is left: in a
    /// cgroup of its own where we may make one; else by a mark in the environment (`DOULA_TREE`) by which they are found.
    ///
    /// ```
    /// use doula_host::Command;
    /// use std::time::Duration;
    /// let mut child = Command::new("sh").args(["-c", "setsid sleep 1000 & sleep 1000"]).contained().spawn()?;
    /// let end = child.kill_tree(Duration::from_secs(20))?;
    /// println!("all gone, proven by {}", end.proof);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contained(&mut self) -> &mut Command {
        self.contain(None);
        self
    }

    /// What becomes of a [`crate::Child`] that is dropped before its end was seen. It is killed unless something else is asked
    /// for; never is a zombie left.
    ///
    /// ```
    /// use doula_host::{Command, OnDrop};
    /// Command::new("true").on_drop(OnDrop::Wait).spawn()?;  // waits here
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_drop(&mut self, policy: OnDrop) -> &mut Command {
        self.on_drop = policy;
        self
    }
}
