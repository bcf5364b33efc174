//! `doula pipe` as people run it: what goes through it, what it tells, how it ends, and what signals do.

mod ending;
mod telling;

#[path = "../common/actors.rs"]
mod actors;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const DOULA: &str = env!("CARGO_BIN_EXE_doula");

/// What a run left.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn said(output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn pipe(args: &[&str]) -> Said {
    said(Command::new(DOULA).arg("pipe").args(args).stdin(Stdio::null()).output().expect("doula starts"))
}

fn pipe_of(input: &str, args: &[&str]) -> Said {
    let mut doula = Command::new(DOULA);
    doula.arg("pipe").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut doula = doula.spawn().expect("doula starts");
    doula.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    said(doula.wait_with_output().expect("its end"))
}

#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn skipped(reason: &str) {
    println!("skipped: {reason}");
}

/// A file that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(std::env::temp_dir().join(format!("doula-pipe-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
