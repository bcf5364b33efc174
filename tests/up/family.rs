//! A family under test: its configuration in a folder of its own, its supervisor as a child of this test, and
//! the proof at the end that nothing of it is left.

use crate::actors::actor;
use crate::bounded::{PATIENCE, Said, run};
use regex::{Captures, Regex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A service that answers requests at this port.
pub(crate) fn web_service(name: &str, port: u16) -> String {
    format!(
        "[service.{name}]\ncommand = \"ACTORS/web_worker\"\nready = \"notify\"\n\
         sockets = [{{ name = \"http\", tcp = \"127.0.0.1:{port}\" }}]\n"
    )
}

/// A port that nobody had a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|some| some.local_addr()).expect("a free port").port()
}

/// Whether the kernel tells how somebody ended whom others have buried (Linux 6.15).
pub(crate) fn exit_statuses_are_kept() -> bool {
    let mut child = Command::new("true").spawn().expect("true");
    let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("it is not buried");
    assert!(child.wait().is_ok_and(|status| status.success()));
    doula_sys::pidfd::exit_status(&handle).is_some()
}

/// What is told of an end that nobody saw.
const UNSEEN: &str = "ended, nobody saw how";

/// A folder with the configuration of one family, and the environment that its commands run in.
pub(crate) struct Home {
    pub(crate) dir: PathBuf,
    pub(crate) name: String,
}

/// A running `doula up`.
pub(crate) struct Family {
    pub(crate) home: Home,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    deadline: Instant,
    /// The keepers of supervisors that were killed: they outlive these, and are not to outlive the test.
    keepers: Vec<OwnedFd>,
}

impl Home {
    /// A new folder with this configuration; `ACTORS/x` in it becomes the path of the actor `x`.
    pub(crate) fn new(configuration: &str) -> Home {
        let name = format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("doula-up-{name}"));
        fs::create_dir_all(&dir).expect("a folder for the test");
        let home = Home { dir, name };
        home.write(configuration);
        home
    }

    /// Writes the configuration anew.
    pub(crate) fn write(&self, configuration: &str) {
        let text = format!("name = \"{}\"\n{}", self.name, with_actors(configuration));
        fs::write(self.dir.join("doula.toml"), text).expect("to write the configuration");
    }

    /// A command that finds nothing of the user's, and runs in the folder.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", &self.dir).env("XDG_RUNTIME_DIR", &self.dir).stdin(Stdio::null());
        command
    }

    /// Runs doula to its end.
    pub(crate) fn doula(&self, words: &[&str]) -> Said {
        run(self.command(env!("CARGO_BIN_EXE_doula")).args(words)).expect("doula starts")
    }

    /// Asks the supervisor for something.
    pub(crate) fn ctl(&self, words: &[&str]) -> Said {
        self.ctl_of(&self.name, words)
    }

    /// Asks that of the family of this name.
    pub(crate) fn ctl_of(&self, name: &str, words: &[&str]) -> Said {
        run(self.command(env!("CARGO_BIN_EXE_doula")).args(["ctl", "--name", name]).args(words))
            .expect("doula starts")
    }

    /// Whether a process carries the mark of this family.
    fn is_ours(&self, pid: Pid) -> bool {
        let mark = format!("DOULA_ID={}.", self.name);
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(mark.as_bytes()))
    }

    fn left(&self) -> Vec<Pid> {
        let names = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.file_name());
        let pids = names.filter_map(|name| Pid::from_raw(name.to_str()?.parse().ok()?));
        pids.filter(|pid| self.is_ours(*pid)).collect()
    }

    /// Ends what a supervisor that had to be killed has left behind. Looks again once a process is held, because
    /// its number may belong to somebody else by then.
    fn sweep(&self) {
        for pid in self.left() {
            let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if self.is_ours(pid) {
                // It may have ended by itself meanwhile.
                let _: rustix::io::Result<()> = pidfd_send_signal(&handle, Signal::KILL);
            }
        }
    }

    /// Fails if a process or a cgroup of this family is left.
    pub(crate) fn expect_nothing_left(&self) {
        assert_eq!(self.left(), Vec::<Pid>::new(), "processes are left");
        assert_eq!(leaves(&format!("doula-{}", self.name)), Vec::<PathBuf>::new(), "cgroups are left");
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

impl Family {
    /// Starts a family of this configuration.
    pub(crate) fn up(configuration: &str) -> Family {
        Family::start(Home::new(configuration), &[])
    }

    /// Starts the family of this folder.
    pub(crate) fn start(home: Home, words: &[&str]) -> Family {
        let mut command = home.command(env!("CARGO_BIN_EXE_doula"));
        command.arg("up").args(words);
        Family::with(home, command)
    }

    /// Starts a family by this command.
    pub(crate) fn with(home: Home, mut command: Command) -> Family {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("doula up");
        let (sender, lines) = channel();
        pass_on(child.stdout.take().expect("a pipe"), sender.clone());
        pass_on(child.stderr.take().expect("a pipe"), sender);
        let deadline = Instant::now() + PATIENCE;
        Family { home, child, lines, seen: Vec::new(), deadline, keepers: Vec::new() }
    }

    /// Reads on until a line contains this, and gives that line. Panics when the family ends before.
    pub(crate) fn expect(&mut self, part: &str) -> String {
        self.expect_within(part, PATIENCE)
    }

    /// The same for what takes longer than anything else.
    pub(crate) fn expect_within(&mut self, part: &str, patience: Duration) -> String {
        self.expect_one_of(&[part.to_owned()], patience)
    }

    fn expect_one_of(&mut self, parts: &[String], patience: Duration) -> String {
        self.deadline = Instant::now() + patience;
        loop {
            let Some(line) = self.next() else {
                panic!("no line has {parts:?} in\n{}", self.seen.join("\n"))
            };
            if parts.iter().any(|part| line.contains(part)) {
                return line;
            }
        }
    }

    /// Waits until the end of a service is told that the supervisor does not see as its parent: as it was, or, where the kernel
    /// does not keep it, as one that nobody saw.
    pub(crate) fn expect_end_of(&mut self, service: &str, how: &str) {
        let ways = [how, UNSEEN].map(|how| format!("{service} {how}"));
        let ways = if exit_statuses_are_kept() { &ways[..1] } else { &ways[..] };
        self.expect_one_of(ways, PATIENCE);
    }

    fn next(&mut self) -> Option<String> {
        let patience = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(patience) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("waited too long after\n{}", self.seen.join("\n")),
        }
    }

    /// Sends the supervisor a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("to signal our own child");
    }

    /// Has the supervisor kill everybody, and gives it time for that.
    fn quit(&self) {
        let pid = Pid::from_child(&self.child);
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if pidfd_send_signal(&handle, Signal::QUIT).is_ok() {
            let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience));
        }
    }

    /// The keeper of the supervisor, held. A newborn one has no name yet, so that it is waited for.
    pub(crate) fn keeper(&self) -> Option<OwnedFd> {
        let deadline = Instant::now() + PATIENCE;
        let mut found = self.find_keeper();
        while found.is_none() && Instant::now() < deadline {
            std::thread::yield_now();
            found = self.find_keeper();
        }
        found
    }

    fn find_keeper(&self) -> Option<OwnedFd> {
        let us = self.child.id();
        let text = fs::read_to_string(format!("/proc/{us}/task/{us}/children")).ok()?;
        let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm"));
        let keeper = text.split_whitespace().find(|pid| name(pid).is_ok_and(|it| it == "doula-keeper\n"))?;
        pidfd_open(Pid::from_raw(keeper.parse().ok()?)?, PidfdFlags::empty()).ok()
    }

    /// Kills the supervisor, and nobody else, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.keepers.extend(self.keeper());
        self.signal(Signal::KILL);
        self.child.wait().expect("to wait for our own child");
    }

    /// The supervisor ends by SIGKILL, and nobody helps it to: it has come to this step.
    pub(crate) fn expect_killed(&mut self, step: &str) {
        self.deadline = Instant::now() + PATIENCE;
        while self.next().is_some() {}
        let status = self.child.wait().expect("to wait for our own child");
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        assert!(killed, "at the step {step}: {status}\n{}", self.seen.join("\n"));
    }

    /// Whether the supervisor has ended.
    pub(crate) fn is_dead(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// The children of the supervisor that nobody has buried.
    pub(crate) fn dead_children(&self) -> Vec<String> {
        let us = self.child.id();
        let all = fs::read_to_string(format!("/proc/{us}/task/{us}/children")).expect("it lives");
        let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        all.split_whitespace().map(stat).filter(|stat| stat.contains(") Z ")).collect()
    }

    /// Starts a supervisor of the same family again.
    pub(crate) fn up_again(&mut self, words: &[&str]) {
        let mut command = self.home.command(env!("CARGO_BIN_EXE_doula"));
        command.arg("up").args(words);
        self.again_with(command);
    }

    /// The same by this command.
    pub(crate) fn again_with(&mut self, mut command: Command) {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.child = command.spawn().expect("doula up");
        let (sender, lines) = channel();
        pass_on(self.child.stdout.take().expect("a pipe"), sender.clone());
        pass_on(self.child.stderr.take().expect("a pipe"), sender);
        self.lines = lines;
    }

    /// Asks for something that must succeed, and gives the answer.
    pub(crate) fn ask(&self, words: &[&str]) -> Value {
        let said = self.home.ctl(&[words, &["--json"]].concat());
        assert_eq!(said.code, Some(0), "{words:?}: {said:?}\n{}", self.seen.join("\n"));
        serde_json::from_str(&said.out).expect("an answer in JSON")
    }

    /// How a service is.
    pub(crate) fn status(&self, service: &str) -> Value {
        self.ask(&["status", service])["services"][0].clone()
    }

    /// The main process of a service, held.
    pub(crate) fn main_of(&self, service: &str) -> OwnedFd {
        let pid = self.status(service)["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32));
        pidfd_open(pid.expect("it runs"), PidfdFlags::empty()).expect("to hold it")
    }

    /// Waits for the end, proves that nothing is left, and gives the exit code and all that was said.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        self.deadline = Instant::now() + PATIENCE;
        while self.next().is_some() {}
        let status = self.child.wait().expect("to wait for our own child");
        self.home.expect_nothing_left();
        self.expect_no_keepers();
        (status.code(), std::mem::take(&mut self.seen))
    }

    /// The same, and looks at the folder before it is gone.
    pub(crate) fn shut_down_keeping(mut self, look: impl FnOnce(&Home)) {
        self.signal(Signal::TERM);
        self.deadline = Instant::now() + PATIENCE;
        while self.next().is_some() {}
        self.child.wait().expect("to wait for our own child");
        self.home.expect_nothing_left();
        self.expect_no_keepers();
        look(&self.home);
    }

    /// Fails if a keeper of an earlier supervisor lives on though all was taken over, or the family has ended.
    fn expect_no_keepers(&self) {
        for keeper in &self.keepers {
            expect_end(keeper);
        }
    }

    /// Asks the supervisor to end, as SIGTERM does, and waits.
    pub(crate) fn shut_down(self) -> (Option<i32>, Vec<String>) {
        self.signal(Signal::TERM);
        self.end()
    }
}

impl Drop for Family {
    /// After a failure: nothing here may panic, or the folder would be left behind.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.quit();
            drop(self.child.kill());
            drop(self.child.wait());
        }
        self.home.sweep();
        for keeper in &self.keepers {
            // It has ended by itself, if all went well.
            let _: rustix::io::Result<()> = pidfd_send_signal(keeper, Signal::KILL);
        }
    }
}

/// Waits for the end of a process, and fails if it does not come.
pub(crate) fn expect_end(process: &OwnedFd) {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&patience)).expect("poll");
    assert_eq!(ended, 1, "it lives on");
}

/// Where a line is, or a panic that shows them all.
pub(crate) fn place(lines: &[String], part: &str) -> usize {
    let found = lines.iter().position(|line| line.contains(part));
    found.unwrap_or_else(|| panic!("no line has `{part}` in\n{}", lines.join("\n")))
}

/// How many lines contain this.
pub(crate) fn count(lines: &[String], part: &str) -> usize {
    lines.iter().filter(|line| line.contains(part)).count()
}

/// In how many lines a service ended like this, where its supervisor was not its parent ([`Family::expect_end_of`]).
pub(crate) fn count_ends(lines: &[String], service: &str, how: &str) -> usize {
    let unseen = if exit_statuses_are_kept() { 0 } else { count(lines, &format!("{service} {UNSEEN}")) };
    unseen + count(lines, &format!("{service} {how}"))
}

pub(crate) fn with_actors(configuration: &str) -> String {
    let names = Regex::new(r"ACTORS/([a-z_]+)").expect("a regular expression");
    let path = |found: &Captures<'_>| actor(&found[1]).display().to_string();
    names.replace_all(configuration, path).into_owned()
}

/// Sends each line on, without its time and the padding of names.
pub(crate) fn pass_on(pipe: impl Read + Send + 'static, sender: Sender<String>) {
    let dressing = Regex::new(r"^[0-9]{4}-[^ ]+Z ([^ ]+) +\| ").expect("a regular expression");
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let line = dressing.replace(&line, "$1 | ").into_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

/// The cgroup directories whose names begin so.
fn leaves(prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let ours = entry
                    .file_name()
                    .to_string_lossy()
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('.'));
                if ours {
                    found.push(entry.path());
                }
                folders.push(entry.path());
            }
        }
    }
    found
}
