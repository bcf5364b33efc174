//! `doula run` as people run it: what jobs get, what is shown of them, how they fail, and how a run ends.

#[path = "../common/actors.rs"]
mod actors;
mod bounded;
mod ending;
mod failing;
mod frames;
#[path = "../common/freezer.rs"]
mod freezer;
mod inputs;
mod journal;
mod kept;
mod limits;
mod looked_at;
mod missed;
mod output;
mod queue;
#[path = "../common/scope.rs"]
mod scope;
mod why;
mod workers;

use bounded::{Said, end_of};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const DOULA: &str = env!("CARGO_BIN_EXE_doula");

impl Said {
    /// Its lines in an order of their own: jobs end as they like.
    fn sorted(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.out.lines().collect();
        lines.sort_unstable();
        lines
    }
}

fn run(args: &[&str]) -> Said {
    run_of(b"", args)
}

fn run_of(input: &[u8], args: &[&str]) -> Said {
    let mut doula = start(args);
    let (mut stdin, input) = (doula.stdin.take().expect("a pipe"), input.to_vec());
    // One that fails at once reads nothing.
    let writes = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let said = end_of(doula);
    writes.join().expect("it cannot fail");
    said
}

fn start(args: &[&str]) -> Child {
    // Whoever runs the tests may ignore what they send.
    let mut doula = Command::new("env");
    doula
        .args(["--default-signal=HUP,INT,QUIT,TERM", DOULA, "run"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    doula.spawn().expect("doula starts")
}

/// Whether the jobs have cgroups here; says aloud when not.
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn has_cgroups() -> bool {
    let end = doula::Command::new("true").contained().spawn().map(|mut child| {
        let patience = std::time::Duration::from_secs(20);
        child.kill_tree(patience).map(|end| end.proof)
    });
    let has = matches!(end, Ok(Ok(doula::Proof::Cgroup)));
    if !has {
        println!("skipped: no cgroup may be made here");
    }
    has
}

/// A folder that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("doula-run-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a new folder");
        Scratch(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }

    /// A FIFO: opened for both, so that nobody waits for the other end.
    fn fifo(&self, name: &str) -> (String, std::fs::File) {
        let path = self.path(name);
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        let both = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("a FIFO");
        (path, both)
    }

    fn read(&self, name: impl AsRef<Path>) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("a file")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
