//! Any program as a server of several processes, on a socket that is opened once:
//!
//!     cargo run -p doula-host --example prefork_exec -- 127.0.0.1:8080 4 python3 examples/pool/worker.py 0.2
//!
//! SIGHUP replaces all workers by what the program is then, SIGTERM ends it. The program takes the socket from `LISTEN_FDS` and says
//! `READY=1` to `NOTIFY_SOCKET`; put `--silent` first for one that does not.

use doula_host::Command;
use doula_host::prefork::Prefork;
use std::error::Error;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::ExitCode;

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        // Nobody may be there to read it.
        let _ = writeln!(std::io::stderr(), "{error}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, Box<dyn Error>> {
    let mut words = std::env::args().skip(1).peekable();
    let silent = words.next_if(|word| word == "--silent").is_some();
    let usage = "usage: prefork_exec [--silent] ADDRESS COUNT PROGRAM [ARGUMENT …]";
    let (address, count) = (words.next().ok_or(usage)?, words.next().ok_or(usage)?.parse()?);
    let mut program = Command::new(words.next().ok_or(usage)?);
    program.args(words);
    let socket = TcpListener::bind(&address).map_err(|error| format!("{address}: {error}"))?;
    let prefork = Prefork::exec(program).socket(socket).workers(count).pin(true);
    let prefork = if silent { prefork.silent() } else { prefork };
    Ok(prefork.run()?.into())
}
