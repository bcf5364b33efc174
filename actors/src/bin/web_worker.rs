//! `web_worker [PORT]`: a small HTTP service on the sockets of LISTEN_FDS, else on 127.0.0.1:PORT (8080 unless told).
//!
//! `/` says who answers, `/health` says ok, `/slow/MS` answers late, `/crash` aborts. On SIGTERM it answers those who
//! already wait, and ends with 0. One client at a time: it is a prop, no server.

use actors::{Inbox, notify, number, pass, say};
use doula_sys::poll::{Epoll, Happening, Interest};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A client that sends nothing for so long is hung up on.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many are answered at each socket after SIGTERM: those who wait already. Under load others come as fast as they are answered.
const LAST: usize = 64;
/// Enough for the first line of a request.
const REQUEST: usize = 4096;

const SIGNALS: u64 = u64::MAX;

fn main() {
    let inbox = Inbox::holding(&["TERM", "INT"]);
    let listeners = listeners();
    let epoll = Epoll::new().expect("an epoll");
    epoll.add(inbox.fd(), Interest::READ, SIGNALS).expect("signals to wait for");
    for (index, listener) in listeners.iter().enumerate() {
        listener.set_nonblocking(true).expect("a socket that does not block");
        epoll.add(listener, Interest::READ, index as u64).expect("clients to wait for");
        say(&format!("web_worker: listening on {}", address(listener)));
    }
    notify("READY=1", &[]);
    // One at a time, so that SIGTERM is heard however many wait.
    while !told_to_end(&epoll) {
        listeners.iter().for_each(|listener| serve(listener, 1));
    }
    notify("STOPPING=1", &[]);
    listeners.iter().for_each(|listener| serve(listener, LAST));
    say("web_worker: drained, bye");
}

fn told_to_end(epoll: &Epoll) -> bool {
    let mut room = [Happening::EMPTY; 8];
    let happened = epoll.wait(&mut room, None).expect("something to happen");
    happened.iter().any(|happening| happening.token() == SIGNALS)
}

fn listeners() -> Vec<TcpListener> {
    let given: i32 = std::env::var("LISTEN_FDS").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    if given == 0 {
        let port = u16::try_from(number(1, 8080)).expect("a port");
        return vec![TcpListener::bind(("127.0.0.1", port)).expect("a free port")];
    }
    (3..3 + given)
        .map(|fd| TcpListener::from(doula_sys::fd::inherited(fd).expect("an open descriptor")))
        .collect()
}

fn address(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|why| why.to_string(), |address| address.to_string())
}

/// Answers those who wait at this socket, at most so many.
fn serve(listener: &TcpListener, most: usize) {
    for _ in 0..most {
        let Ok((client, _)) = listener.accept() else { return };
        let _gone = answer(client);
    }
}

fn answer(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let path = path(&mut client)?;
    let (code, body) = reply(&path);
    let length = body.len();
    write!(client, "HTTP/1.1 {code}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// The path of the request, which is read to the end of its head.
fn path(client: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut piece = [0; 512];
    while head.len() < REQUEST && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut piece)? {
            0 => break,
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    let text = String::from_utf8_lossy(&head);
    Ok(text.split(' ').nth(1).unwrap_or("/").to_owned())
}

fn reply(path: &str) -> (&'static str, String) {
    if let Some(time) = path.strip_prefix("/slow/").and_then(|text| text.parse().ok()) {
        pass(Duration::from_millis(time));
    }
    match path {
        "/crash" => std::process::abort(),
        "/health" => ("200 OK", "ok\n".to_owned()),
        other if other == "/" || other.starts_with("/slow/") => {
            ("200 OK", format!("hello from web_worker, pid {}\n", std::process::id()))
        }
        _ => ("404 Not Found", "nothing here\n".to_owned()),
    }
}
