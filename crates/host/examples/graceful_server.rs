//! A small HTTP server of threads that loses no request when it is asked to end. Try it, and Ctrl-C:
//!
//!     cargo run -p doula-host --example graceful_server -- 127.0.0.1:8080
//!
//! Each connection has a thread, each answer a few milliseconds of work. With an fd of a supervisor (`LISTEN_FDS`) those
//! who wait to be accepted at the end are left to the next server on that socket; with an address they are reset, for the
//! kernel has nobody to hand them to.

use doula_host::shutdown::{Hold, Phase, Ready, Shutdown, Stop};
use std::io::{self, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

#[cfg_attr(test, expect(dead_code, reason = "the tests call `serve`"))]
fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let served = TcpListener::bind(&address).and_then(serve);
    match served {
        Ok(code) => code.into(),
        Err(error) => {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "{address}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal asks for the end, and ends gracefully.
pub(crate) fn serve(listener: TcpListener) -> io::Result<u8> {
    let shutdown = Shutdown::new()?;
    let answered = Arc::new(AtomicU64::new(0));
    // Others may accept from this socket too.
    listener.set_nonblocking(true)?;
    let [pending, closing] = [Phase::FinishPending, Phase::CloseConnections].map(|phase| shutdown.at(phase));
    let server = Server { stop: shutdown.stop(), pending, closing, answered };
    let (accepting, hold) = (server.clone(), shutdown.stop().hold("the accepting thread"));
    thread::spawn(move || accepting.accept(&listener, hold));
    writeln!(io::stdout(), "ready")?;
    let report = shutdown.wait()?;
    writeln!(io::stdout(), "answered {}\n{report}", server.answered.load(Ordering::Acquire))?;
    Ok(report.exit_code())
}

#[derive(Clone)]
struct Server {
    stop: Stop,
    pending: Stop,
    closing: Stop,
    answered: Arc<AtomicU64>,
}

impl Server {
    fn accept(self, listener: &TcpListener, hold: Option<Hold>) {
        while let Ok(Some((stream, _))) = self.stop.accept(listener) {
            // It was accepted: it is answered, whatever happens meanwhile.
            let (server, connection) = (self.clone(), self.pending.hold("a connection"));
            thread::spawn(move || {
                // A client that goes away needs no answer.
                let _ = server.converse(&stream);
                drop(connection);
            });
        }
        drop(hold);
    }

    /// Answers one request after the other. The last answer says that it is the last.
    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        let mut lines = BufReader::new(stream);
        while (!lines.buffer().is_empty() || self.comes(stream)?) && read_request(&mut lines)? {
            thread::park_timeout(WORK);
            let last = self.stop.is_reached();
            let connection = if last { "close" } else { "keep-alive" };
            let body = "hello\n".repeat(1000);
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n");
            let mut out = stream;
            out.write_all([head, body].concat().as_bytes())?;
            self.answered.fetch_add(1, Ordering::AcqRel);
            if last {
                break;
            }
        }
        Ok(())
    }

    /// Waits for a request. At the end one may be on its way: it gets a last chance.
    fn comes(&self, stream: &TcpStream) -> io::Result<bool> {
        let first = self.stop.ready(stream, None)?;
        Ok(first == Ready::Fd || self.closing.ready(stream, Some(LAST_CALL))? == Ready::Fd)
    }
}

/// What an answer takes.
const WORK: Duration = Duration::from_millis(3);
/// How long a request may be on its way when the end comes.
const LAST_CALL: Duration = Duration::from_millis(500);

/// Reads one request without a body; `false` at the end of the stream.
fn read_request(lines: &mut impl io::BufRead) -> io::Result<bool> {
    let mut line = String::new();
    loop {
        line.clear();
        match lines.read_line(&mut line)? {
            0 => return Ok(false),
            _ if line.trim_end().is_empty() => return Ok(true),
            _ => {}
        }
    }
}
