//! Jobs on many machines: `doula run --submit` and `doula worker` with a real nats-server.

#[path = "../common/actors.rs"]
mod actors;
#[path = "../common/bounded.rs"]
mod bounded;
mod crew;
mod failing;
mod far;
mod inside;
mod login;
mod net;

use bounded::{PATIENCE, Said, run};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

const DOULA: &str = env!("CARGO_BIN_EXE_doula");

/// A program that runs beside the test, and the lines that it says on standard error. It is killed and buried at the end.
struct Beside {
    child: Child,
    lines: Receiver<String>,
}

impl Beside {
    fn start(command: &mut Command) -> Beside {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let said = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = channel();
        // It is read to its end, heard or not, so that nobody waits for us.
        std::thread::spawn(move || {
            said.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Beside { child, lines }
    }

    /// The next line that has this in it.
    fn says(&self, what: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(what) => return line,
                Ok(_) => {}
                Err(error) => panic!("it never says `{what}`: {error}"),
            }
        }
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it is not buried yet");
    }

    /// Its exit code, when it ended by itself; its lines end with it.
    fn end(mut self) -> Option<i32> {
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
        let ended = self.child.try_wait().expect("our child");
        let ended = ended.or_else(|| {
            let handle = rustix::process::pidfd_open(
                rustix::process::Pid::from_child(&self.child),
                rustix::process::PidfdFlags::empty(),
            );
            let handle = handle.expect("a handle");
            let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            let mut fds = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
            let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&patience)));
            assert_eq!(ended, Ok(1), "it never ends");
            self.child.try_wait().expect("our child")
        });
        ended.expect("an end").code()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("doula-queue-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a new folder");
        Scratch(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// A FIFO, opened for both, so that nobody waits for the other end.
    fn fifo(&self, name: &str) -> Fifo {
        let path = self.path(name);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        let file = OpenOptions::new().read(true).write(true).open(&path).expect("a FIFO");
        Fifo { path, file }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What jobs tell the test by, and wait at.
struct Fifo {
    path: String,
    file: File,
}

impl Fifo {
    fn says(&mut self) -> String {
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') {
            let mut fds = [rustix::event::PollFd::new(&self.file, rustix::event::PollFlags::IN)];
            let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&patience)));
            assert_eq!(ready, Ok(1), "no job says anything");
            self.file.read_exact(&mut byte).expect("a byte");
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("UTF-8").trim_end().to_owned()
    }

    fn open(&mut self, line: &str) {
        writeln!(self.file, "{line}").expect("room in a pipe");
    }
}

/// A server with a store of its own.
struct Server {
    server: Option<Beside>,
    port: u16,
    store: Scratch,
    args: Vec<String>,
}

impl Server {
    /// `None`, said aloud, where there is no nats-server.
    fn new(name: &str, args: &[&str]) -> Option<Server> {
        if !has_server() {
            return None;
        }
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut server = Server { server: None, port: 0, store: Scratch::new(name), args };
        server.start();
        Some(server)
    }

    fn start(&mut self) {
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let mut command = Command::new("nats-server");
        command.args(["-a", "127.0.0.1", "-js", "-p", &port, "-sd", &self.store.path("js")]).args(&self.args);
        let server = Beside::start(&mut command);
        let line = server.says("Listening for client connections on");
        self.port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok()).expect("a port");
        server.says("Server is ready");
        self.server = Some(server);
    }

    /// Kills it; the store stays.
    fn kill(&mut self) {
        drop(self.server.take());
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}/q", self.port)
    }

    fn worker(&self, args: &[&str]) -> Beside {
        let worker = Beside::start(&mut self.worker_command(args));
        worker.says("works at the queue");
        worker
    }

    fn worker_command(&self, args: &[&str]) -> Command {
        let mut command = doula();
        command.args(["worker", "--queue", &self.url()]).args(args);
        command
    }

    fn submit(&self, args: &[&str]) -> Said {
        run(doula().args(["run", "--submit", "--queue", &self.url()]).args(args)).expect("doula starts")
    }

    /// The same, while the test goes on.
    fn submit_beside(&self, args: &[&str]) -> std::thread::JoinHandle<Said> {
        let mut command = doula();
        command.args(["run", "--submit", "--queue", &self.url()]).args(args);
        std::thread::spawn(move || run(&mut command).expect("doula starts"))
    }
}

/// Whoever runs the tests may ignore signals, and may have a queue of his own.
fn doula() -> Command {
    let mut command = Command::new("env");
    command.args(["-u", "NATS_URL", "-u", "NATS_CREDS", "-u", "NATS_USER", "-u", "NATS_CA"]);
    command.args(["--default-signal=HUP,INT,QUIT,TERM", DOULA]);
    command
}

#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn has_server() -> bool {
    let has = Command::new("nats-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has {
        println!("skipped: there is no nats-server here");
    }
    has
}

/// The lines of what was shown, in an order of their own.
fn sorted(said: &Said) -> Vec<&str> {
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    lines
}

/// The numbers up to this one, as words.
fn numbers(last: u32) -> Vec<String> {
    (1..=last).map(|number| number.to_string()).collect()
}

/// The arguments of a run of this command for these inputs.
fn with<'a>(command: &[&'a str], inputs: &'a [String]) -> Vec<&'a str> {
    command.iter().copied().chain([":::"]).chain(inputs.iter().map(String::as_str)).collect()
}
