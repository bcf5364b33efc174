//! An HTTP server of several processes, with kept connections, that loses no request when its workers are replaced:
//!
//!     cargo run -p doula-host --example prefork_server -- 127.0.0.1:8080 4
//!
//! SIGHUP replaces all workers, SIGTERM ends it. With sockets of a supervisor (`[pool.NAME]` in doula.toml) it is one worker of
//! a pool, by the same function.

use doula_host::prefork::Prefork;
use doula_host::shutdown::{Ready, Shutdown, Stop};
use doula_host::worker::Worker;
use std::error::Error;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// A connection on which nothing is asked for so long is closed: there is one at a time.
const IDLE: Duration = Duration::from_secs(2);
/// How long a request may be on its way when the end comes.
const LAST_CALL: Duration = Duration::from_millis(200);
/// After so many answers another connection has its turn.
const ANSWERS: u32 = 100;
/// A longer line is no request.
const LINE: u64 = 8192;

#[cfg_attr(test, expect(dead_code, reason = "the tests call `serve`"))]
fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "{error}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let worker = Worker::of_pool()?;
    if !worker.sockets().is_empty() {
        return Ok(serve(&worker).into());
    }
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let count = words.next().map_or(Ok(4), |word| word.parse())?;
    let socket = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
    let prefork = Prefork::new(|worker| serve(&worker))?.socket(socket).workers(count).pin(true);
    Ok(prefork.run()?.into())
}

/// The life of a worker.
pub(crate) fn serve(worker: &Worker) -> u8 {
    match accept(worker) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "worker {}: {error}", worker.slot().unwrap_or(0));
            1
        }
    }
}

fn accept(worker: &Worker) -> io::Result<()> {
    let listener = worker.listeners()?.into_iter().next().ok_or(io::ErrorKind::NotConnected)?;
    let shutdown = Shutdown::new()?;
    let stop = shutdown.stop();
    std::thread::spawn(move || shutdown.wait());
    worker.ready()?;
    while let Some((stream, _)) = stop.accept(&listener)? {
        // A client that goes away needs no answer.
        let _gone = converse(worker, &stop, &stream);
    }
    Ok(())
}

/// Answers one request after the other. The last answer says that it is the last.
fn converse(worker: &Worker, stop: &Stop, stream: &TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    for answered in 1..=ANSWERS {
        if lines.buffer().is_empty() && !comes(stop, stream)? {
            return Ok(());
        }
        let Some(path) = request(&mut lines)? else { return Ok(()) };
        let _work = worker.work();
        let last = answered == ANSWERS || stop.is_reached();
        let connection = if last { "close" } else { "keep-alive" };
        let (code, body) = answer(worker, &path);
        let length = body.len();
        let text =
            format!("HTTP/1.1 {code}\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut out = stream;
        out.write_all(text.as_bytes())?;
        if last {
            break;
        }
    }
    Ok(())
}

fn answer(worker: &Worker, path: &str) -> (&'static str, String) {
    let slot = worker.slot().unwrap_or(0);
    match path {
        "/" => ("200 OK", format!("slot {slot}, pid {}\n", std::process::id())),
        "/crash" => std::process::abort(),
        _ => ("404 Not Found", "nothing here\n".to_owned()),
    }
}

/// Waits for a request. At the end one may be on its way: it gets a last chance.
fn comes(stop: &Stop, stream: &TcpStream) -> io::Result<bool> {
    Ok(match stop.ready(stream, Some(IDLE))? {
        Ready::Fd => true,
        Ready::Timeout => false,
        Ready::Stop => {
            stream.set_read_timeout(Some(LAST_CALL))?;
            stream.peek(&mut [0]).is_ok_and(|length| length > 0)
        }
    })
}

/// The path of one request without a body; `None` at the end of the stream.
fn request(lines: &mut BufReader<&TcpStream>) -> io::Result<Option<String>> {
    let (mut path, mut line) = (None, String::new());
    loop {
        line.clear();
        if lines.by_ref().take(LINE).read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Ok(None);
        }
        match line.trim_end() {
            "" => return Ok(path.or(Some(String::new()))),
            head if path.is_none() => path = head.split(' ').nth(1).map(String::from),
            _ => {}
        }
    }
}
