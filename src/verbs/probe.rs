//! `doula probe`: one attempt of a readiness or liveness probe, in a process of its own that may hang or die.
//!
//! Hidden: the supervisor starts it. The exit code is the answer.

use crate::config;
use crate::error::{Exit, Failure, Outcome};
use crate::ui::Ui;
use clap::Subcommand;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Tries once whether something answers: exit code 0 or 1
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to try.
    #[command(subcommand)]
    what: What,

    /// The longest time it may take
    #[arg(long, global = true, default_value = "5s", value_parser = config::duration, value_name = "DURATION")]
    timeout: Duration,
}

/// What to try.
#[derive(Debug, Subcommand)]
enum What {
    /// Connects to HOST:PORT
    Tcp {
        /// Where
        address: String,
    },
    /// Gets URL and wants a status of 200 to 399
    Http {
        /// What
        url: String,
    },
}

/// Tries it.
pub(crate) fn run(args: Args, _: &mut Ui) -> Outcome {
    let tried = match args.what {
        What::Tcp { address } => tcp(&address, args.timeout),
        What::Http { url } => http(&url, args.timeout),
    };
    tried.map(|()| Exit::OK).map_err(|text| Failure::new(crate::error::Kind::Ended, text))
}

/// Connects to one of the host's addresses.
fn tcp(address: &str, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let found = address.to_socket_addrs().map_err(|error| format!("failed to find `{address}`: {error}"))?;
    let mut last = format!("`{address}` has no address");
    for socket in found {
        match connect(socket, deadline) {
            Ok(()) => return Ok(()),
            Err(error) => last = format!("failed to connect to {socket}: {error}"),
        }
    }
    Err(last)
}

fn connect(address: SocketAddr, deadline: Instant) -> std::io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    TcpStream::connect_timeout(&address, left).map(drop)
}

/// Gets the page, without following redirects: a redirect is an answer.
fn http(url: &str, timeout: Duration) -> Result<(), String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        .build();
    let answer = ureq::Agent::new_with_config(config).get(url).call();
    let status = answer.map_err(|error| format!("failed to get `{url}`: {error}"))?.status().as_u16();
    if (200..400).contains(&status) { Ok(()) } else { Err(format!("`{url}` answers with status {status}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn a_listening_port_answers_and_a_closed_one_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("an address").to_string();
        assert_eq!(tcp(&address, PATIENCE), Ok(()));
        drop(listener);
        assert!(tcp(&address, PATIENCE).is_err());
        assert!(tcp("no port", PATIENCE).is_err());
    }

    #[test]
    fn a_page_answers_by_its_status() {
        for (status, good) in [("200 OK", true), ("302 Found", true), ("404 Not Found", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
            let url = format!("http://{}/health", listener.local_addr().expect("an address"));
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("accepts");
                let count = stream.read(&mut [0; 4096]).expect("reads");
                let answer = format!("HTTP/1.1 {status}\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).expect("writes");
                count
            });
            assert_eq!(http(&url, PATIENCE).is_ok(), good, "{status}");
            assert!(server.join().expect("no panic") > 0);
        }
    }

    #[test]
    fn a_server_that_never_answers_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        assert!(http(&url, Duration::from_millis(50)).is_err());
    }
}
