//! Runs of programs that must end in time: a test that hangs would cost the whole run of all tests.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// No test waits longer for anything. Long, because the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs it to its end, without input; whoever hangs is killed, and the test fails. An error when it cannot be started.
pub(crate) fn run(command: &mut Command) -> io::Result<Said> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let out = collect(child.stdout.take().expect("a pipe"));
    let err = collect(child.stderr.take().expect("a pipe"));
    let texts = [out, err].map(|text| text.recv_timeout(PATIENCE));
    if texts.iter().any(Result::is_err) {
        drop(child.kill());
    }
    let status = child.wait().expect("to wait for our own child");
    let [Ok(out), Ok(err)] = texts else { panic!("{command:?} hangs, having said {texts:?}") };
    Ok(Said { code: status.code(), out, err })
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    receiver
}
