//! A question that another program of ours answers while the screen goes on: it may take its time, or hang.

use doula_host::child::Child;
use doula_host::{Command, Stdio};
use serde::de::DeserializeOwned;
use std::io::{self, PipeReader, Read as _};
use std::time::{Duration, Instant};

/// Whoever has not answered after this is asked no longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A question that is open.
pub(super) struct Aside {
    /// Killed and buried when it is dropped.
    _asked: Child,
    answer: PipeReader,
    text: Vec<u8>,
    due: Instant,
}

impl Aside {
    /// Asks `doula` with these arguments.
    pub(super) fn ask(args: &[&str]) -> io::Result<Aside> {
        let mut command = Command::new("/proc/self/exe");
        command.args(args);
        command.stdin(Stdio::null()).stdout(Stdio::pipe_out()).stderr(Stdio::null());
        let mut asked = command.spawn().map_err(io::Error::other)?;
        let answer = asked.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
        Ok(Aside { _asked: asked, answer, text: Vec::new(), due: Instant::now() + PATIENCE })
    }

    /// Where its answer can be read.
    pub(super) fn answer(&self) -> &PipeReader {
        &self.answer
    }

    /// Reads more of the answer, of which there must be some; all of it at its end.
    pub(super) fn hear(&mut self) -> Option<Vec<u8>> {
        let mut some = [0; 4096];
        match self.answer.read(&mut some) {
            Ok(0) | Err(_) => Some(std::mem::take(&mut self.text)),
            Ok(count) => {
                self.text.extend_from_slice(&some[..count]);
                None
            }
        }
    }

    /// The same of an answer in JSON.
    pub(super) fn hear_json<A: DeserializeOwned>(&mut self) -> Option<Result<A, String>> {
        let text = self.hear()?;
        Some(serde_json::from_slice(&text).map_err(|_| "nobody could be asked".to_owned()))
    }

    /// Whether there is no hope left.
    pub(super) fn is_overdue(&self) -> bool {
        Instant::now() >= self.due
    }
}
