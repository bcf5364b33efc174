//! For tests whose processes matter: each program under test is this very program, started again in a role. So a test is its
//! own harness (`harness = false`), and each role begins with one thread.

use doula_host::{Child, Command, ExitStatus, Stdio};
use std::io::{self, BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The argument before the name of a role.
pub(crate) const ROLE: &str = "--role";

/// Tests by their names.
macro_rules! tests {
    ($($name:path),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
}
pub(crate) use tests;

/// Plays the role that is asked for, or runs the tests; those whose names contain the first argument, if there is one.
pub(crate) fn run(tests: &[(&str, fn())], play: impl Fn(&str) -> io::Result<u8>) -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, role, name, ..] = args.as_slice()
        && role == ROLE
    {
        return play(name).unwrap_or_else(|error| panic!("{name}: {error}")).into();
    }
    let wanted = args.get(1).filter(|word| !word.starts_with('-'));
    let chosen = tests.iter().filter(|(name, _)| wanted.is_none_or(|word| name.contains(word.as_str())));
    let mut count = 0;
    for (name, test) in chosen {
        test();
        count += 1;
        println!("test {name} ... ok");
    }
    println!("\ntest result: ok. {count} passed; 0 failed; 0 ignored");
    ExitCode::SUCCESS
}

/// This program in a role; its standard output is a pipe.
pub(crate) fn role(name: &str) -> Command {
    let ourselves = std::env::current_exe().expect("the path of this program");
    let mut command = Command::exact(ourselves);
    command.args([ROLE, name]).stdout(Stdio::pipe_out());
    command
}

/// A program whose lines are read.
pub(crate) struct Actor {
    pub(crate) child: Child,
    lines: BufReader<PipeReader>,
}

impl Actor {
    pub(crate) fn of(command: &Command) -> Actor {
        let mut child = command.spawn().expect("a birth");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Actor { child, lines }
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a pipe");
        line.trim_end().to_owned()
    }

    pub(crate) fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// What it has said until its end, and that.
    pub(crate) fn end(mut self) -> (Vec<String>, ExitStatus) {
        let lines = self.lines.by_ref().lines().map(|line| line.expect("a pipe")).collect();
        (lines, self.child.wait())
    }
}

/// One line; without a buffer that a copy would write again.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

pub(crate) fn os_error(errno: doula_host::Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

/// A folder that is removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("doula-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        Folder(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A folder with a compiled program of C in it; `None`, said aloud, without a compiler.
pub(crate) fn compile(name: &str, source: &str) -> Option<Folder> {
    let folder = Folder::new(name);
    let file = folder.path().join(format!("{name}.c"));
    std::fs::write(&file, source).expect("a file");
    let mut compiler = std::process::Command::new("cc");
    match compiler.args(["-w", "-o", name]).arg(&file).current_dir(folder.path()).status() {
        Ok(status) if status.success() => Some(folder),
        _ => {
            println!("skipped: no C compiler");
            None
        }
    }
}
