//! Jobs on many machines: who hands them in ([`submit`]), who works at them ([`worker`]), and the line that both have to the
//! process that speaks to the queue.

mod job;
mod place;
mod submit;
mod worker;

pub(in crate::verbs) use place::QueueArgs;
pub(super) use submit::{SubmitArgs, run};
pub(crate) use worker::{Args as WorkerArgs, run as work};

use super::HEARD;
use crate::error::{Failure, Outcome};
use doula_gateway::line::{Line, PROGRAM};
use doula_gateway::words::{Ask, Tell};
use doula_host::{Child, Command, Stdio};
use std::collections::VecDeque;
use std::env;
use std::io;
use std::time::Duration;

/// What is on its way to the queue when all is over may take so long; the gateway itself takes a little less.
const LAST: Duration = Duration::from_secs(35);

/// The gateway of this process.
#[derive(Debug)]
struct Gateway {
    line: Line,
    child: Child,
    /// What was told before all was ready.
    early: VecDeque<(Tell, Vec<u8>)>,
}

impl Gateway {
    /// Starts it, and has it do this.
    fn open(first: &Ask) -> Result<Gateway, Failure> {
        let broken = |error: io::Error| Failure::doula(format!("no line to {PROGRAM}: {error}"));
        let (mut line, input, output) = Line::new().map_err(broken)?;
        let beside = env::current_exe().ok().map(|program| program.with_file_name(PROGRAM));
        let mut command = match beside.filter(|program| program.exists()) {
            Some(program) => Command::exact(program),
            None => Command::new(PROGRAM),
        };
        command.stdin(Stdio::from(input)).stdout(Stdio::from(output));
        // What is asked of us by the terminal is not asked of it: it ends when we do, after what is on its way.
        command.ignore(HEARD);
        let child = command.spawn().map_err(|error| {
            Failure::doula(error.to_string())
                .hint(format!("{PROGRAM} speaks to the queue; it belongs beside doula, or in PATH"))
        })?;
        line.ask(first, b"").map_err(broken)?;
        let mut early = VecDeque::new();
        loop {
            match line.wait().map_err(broken)? {
                (Tell::Ready, _) => return Ok(Gateway { line, child, early }),
                (Tell::Refused { usage: true, why }, _) => return Err(Failure::usage(why)),
                (Tell::Refused { why, .. }, _) => return Err(Failure::doula(why)),
                told => early.push_back(told),
            }
        }
    }

    fn ask(&mut self, ask: &Ask, body: &[u8]) -> io::Result<()> {
        self.line.ask(ask, body).map_err(|error| gone(&error))
    }

    /// The same for one of several, which go out together.
    fn put(&mut self, ask: &Ask, body: &[u8]) -> io::Result<()> {
        self.line.put(ask, body).map_err(|error| gone(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.line.flush().map_err(|error| gone(&error))
    }

    /// The next thing that was told, if there is one.
    fn told(&mut self) -> io::Result<Option<(Tell, Vec<u8>)>> {
        match self.early.pop_front() {
            Some(told) => Ok(Some(told)),
            None => self.line.told().map_err(|error| gone(&error)),
        }
    }

    /// Lets it bring what is on its way to the queue; whether it could.
    fn close(mut self) -> bool {
        let closed = self.line.close();
        let ended = self.child.wait_timeout(LAST);
        closed.is_ok() && ended.is_some_and(|status| status.success())
    }
}

/// The error of a line that ended.
fn gone(error: &io::Error) -> io::Error {
    io::Error::other(format!("{PROGRAM}, which speaks to the queue, ended: {error}"))
}

/// Sixteen random letters.
fn random_name() -> Result<String, Failure> {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid");
    let uuid = uuid.map_err(|error| Failure::doula(format!("no random name: {error}")))?;
    Ok(uuid.chars().filter(char::is_ascii_alphanumeric).take(16).collect())
}

/// What a verb that has nothing to say to people ends with.
fn refuse_unless_stored(stored: bool) -> Outcome {
    if stored {
        return Ok(crate::error::Exit::OK);
    }
    Err(Failure::doula("not all results could be brought to the queue: their jobs are done again"))
}
